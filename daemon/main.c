// SPDX-License-Identifier: GPL-2.0-or-later
/* main.c: options and exit statuses. */
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "guard.h"
#include "pileguard/api.h"

#ifndef PILE_SYSCONFDIR
#define PILE_SYSCONFDIR "/etc"
#endif
#ifndef PILE_LOCALSTATEDIR
#define PILE_LOCALSTATEDIR "/var"
#endif

static const char usage_text[] =
	"pileguardd: keeps an API host reachable when requests pile up\n"
	"usage: pileguardd [--policy FILE] [--state DIR] [--socket PATH] [--motd FILE]\n"
	"       pileguardd --undo [--socket PATH]\n"
	"       pileguardd --version | --help\n"
	"Runs in the foreground; systemd starts it (pileguard.service). SIGHUP reloads the policy.\n"
	"--undo sets back what a guard that is gone had throttled, where it is still as that one set it.\n"
	"Exit status: 0 stopped, 1 failed, 2 wrong usage, 78 the policy is broken and none was committed before.\n";

int main(int argc, char **argv)
{
	static const struct option longopts[] = {
		{ "policy", required_argument, NULL, 'p' },
		{ "state", required_argument, NULL, 's' },
		{ "socket", required_argument, NULL, 'S' },
		{ "motd", required_argument, NULL, 'm' },
		{ "undo", no_argument, NULL, 'u' },
		{ "version", no_argument, NULL, 'V' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	struct pile_options options = {
		.policy_path = PILE_SYSCONFDIR "/pileguard/policy.yaml",
		.state_dir = PILE_LOCALSTATEDIR "/lib/pileguard",
		.socket_path = PILE_API_SOCKET,
		.motd_path = PILE_MOTD_FILE,
	};
	bool undo = false;
	int c;

	while ((c = getopt_long(argc, argv, "p:s:S:m:uVh", longopts, NULL)) != -1) {
		switch (c) {
		case 'p':
			options.policy_path = optarg;
			break;
		case 's':
			options.state_dir = optarg;
			break;
		case 'S':
			options.socket_path = optarg;
			break;
		case 'm':
			options.motd_path = optarg;
			break;
		case 'u':
			undo = true;
			break;
		case 'V':
			printf("pileguardd %s\n", PILE_VERSION);
			return PILE_EXIT_OK;
		case 'h':
			fputs(usage_text, stdout);
			return PILE_EXIT_OK;
		default:
			fputs(usage_text, stderr);
			return PILE_EXIT_USAGE;
		}
	}
	if (optind < argc) {
		fprintf(stderr, "pileguardd: '%s' is not an option: see --help\n", argv[optind]);
		return PILE_EXIT_USAGE;
	}
	return undo ? pile_throttled_undo(&options) : pile_guard_run(&options);
}

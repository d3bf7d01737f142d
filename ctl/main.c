// SPDX-License-Identifier: GPL-2.0-or-later
/* pileguardctl: options, and which command is meant: one table. */
#include <getopt.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "ctl.h"
#include "pileguard/api.h"
#include "util/macro.h"
#include "util/quantity.h"

/* Options that only some commands take. */
#define OPT_FOLLOW (1u << 0)
#define OPT_FOR (1u << 1)
#define OPT_GROUP (1u << 2)
#define OPT_FILE (1u << 3)
#define OPT_WITH (1u << 4)
#define OPT_TEXTFILE (1u << 5)

#define ARGS_MAX 100000 /* of run: the kernel has its own limit, in bytes */

static int help_show(const struct pile_ctl *ctl);
static int version_show(const struct pile_ctl *ctl);

struct command {
	const char *name;
	int min_args, max_args;
	unsigned int options;
	int (*run)(const struct pile_ctl *ctl);
	const char *usage;
	const char *help;
};

static const struct command commands[] = {
	{ "status", 0, 0, OPT_FILE, pile_status_show, "status",
	  "who waits, how old, what an outage would do; start here" },
	{ "groups", 0, 0, OPT_GROUP, pile_lists_groups, "groups",
	  "every watched service and its counters" },
	{ "workers", 0, 0, OPT_GROUP, pile_lists_workers, "workers",
	  "every worker: waiting, p50, p99, memory" },
	{ "dependencies", 0, 0, OPT_GROUP, pile_lists_dependencies, "dependencies",
	  "where the services connect to, and how that goes" },
	{ "events", 0, 0, OPT_FOLLOW, pile_events_show, "events [--follow]",
	  "what was decided, done, and undone" },
	{ "explain", 1, 1, 0, pile_explain_show, "explain ID",
	  "one decision: why, did, did not, cost, undo" },
	{ "metrics", 0, 0, OPT_TEXTFILE, pile_metrics_command, "metrics [--textfile PATH]",
	  "for Prometheus; into a file for node_exporter" },
	{ "policy", 1, 2, OPT_FILE | OPT_WITH, pile_policy_command,
	  "policy show|check|diff|init [FILE]",
	  "in force; on disk, checked, or compared with it; a first one" },
	{ "reload", 0, 0, 0, pile_hand_reload, "reload",
	  "take the policy on disk, whole or not at all (root)" },
	{ "hold", 2, 2, OPT_FOR, pile_hand_hold, "hold GROUP DESTINATION [--for 10min]",
	  "refuse connects to it now (root)" },
	{ "release", 2, 2, OPT_FOR, pile_hand_release, "release GROUP DESTINATION [--for 10min]",
	  "allow connects to it now (root)" },
	{ "disarm", 0, 0, OPT_FOR, pile_hand_disarm, "disarm [--for TIME]",
	  "open everything now and only observe, also after a reboot, until armed (root)" },
	{ "arm", 0, 0, 0, pile_hand_arm, "arm", "end disarm: the policy decides again (root)" },
	{ "run", 1, ARGS_MAX, OPT_GROUP | OPT_FILE, pile_run_command,
	  "run --group NAME -- COMMAND...", "start it inside a group (root)" },
	{ "unplace", 0, 1, 0, pile_unplace_command, "unplace [GROUP]",
	  "processes that were placed go back to where they were (root)" },
	{ "residue", 0, 0, 0, pile_residue_show, "residue",
	  "what of pileguard is on this host; nothing, when it is stopped (root)" },
	{ "version", 0, 0, 0, version_show, "version", "the version of this command" },
	{ "help", 0, 1, 0, help_show, "help", "this page" },
};

static int help_show(const struct pile_ctl *ctl)
{
	(void)ctl;
	printf("pileguardctl: ask pileguard what waits, why it acted, and how to undo it\n\n"
	       "usage: pileguardctl [--json] [--socket PATH] COMMAND\n\n");
	for (size_t i = 0; i < ARRAY_LEN(commands); i++)
		printf("  %-39s  %s\n", commands[i].usage, commands[i].help);
	printf("\n"
	       "  --json           print the API's JSON instead of a table\n"
	       "  --socket PATH    default %s\n"
	       "  --group NAME     groups, workers, dependencies: only this group; run: inside this one\n"
	       "  --file PATH      status, policy: the policy on disk (%s)\n"
	       "  --with NAME=FILE policy check, diff: as if FILE stood in the place of policy.yaml or a\n"
	       "                   fragment, like 50-api.yaml=new.yaml; 50-api.yaml= : as if it were gone\n"
	       "  --for TIME       hold, release: how long, 1s to 24h (10min); disarm: 1s to 720h "
	       "(until armed)\n"
	       "  --textfile PATH  metrics: into this file, whole or not at all\n"
	       "  --every TIME     metrics: again and again; the file goes when pileguard does\n\n"
	       "exit status: 0 done, 1 refused or failed, 2 usage, 3 pileguard does not answer,\n"
	       "4 the policy's files are not the policy in force (status, policy diff), 78 policy not valid;\n"
	       "run: the command's own, or 125 when it was not started, 126, 127 when it cannot be\n",
	       PILE_API_SOCKET, PILE_CTL_POLICY_FILE);
	return PILE_EXIT_OK;
}

static int version_show(const struct pile_ctl *ctl)
{
	printf(ctl->json ? "{\"version\":\"%s\"}\n" : "pileguardctl %s\n", PILE_VERSION);
	return PILE_EXIT_OK;
}

static const struct command *command_find(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(commands); i++)
		if (strcmp(commands[i].name, name) == 0)
			return &commands[i];
	return NULL;
}

/** COLUMNS, else the terminal's own width, else no limit. */
static unsigned int width_find(void)
{
	const char *columns = getenv("COLUMNS");
	struct winsize size;

	if (columns && atoi(columns) > 0)
		return (unsigned int)atoi(columns);
	if (isatty(STDOUT_FILENO) && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0)
		return size.ws_col;
	return 0;
}

static bool color_wanted(void)
{
	const char *term = getenv("TERM");
	const char *no = getenv("NO_COLOR");

	return isatty(STDOUT_FILENO) && term && strcmp(term, "dumb") != 0 && !(no && no[0]);
}

/** NAME=FILE; FILE may be empty. Cuts the argument at its '='. */
static bool with_add(struct pile_ctl *ctl, char *arg)
{
	char *equal = strchr(arg, '=');

	if (!equal || equal == arg || ctl->n_with == ARRAY_LEN(ctl->with)) {
		fprintf(stderr,
			"--with %s: give NAME=FILE, like 50-api.yaml=new.yaml, at most %zu times\n",
			arg, ARRAY_LEN(ctl->with));
		return false;
	}
	*equal = '\0';
	ctl->with[ctl->n_with++] = (struct pile_files_with){ .name = arg, .path = equal + 1 };
	return true;
}

/** A time with its unit. Says what is wrong, and returns false, when it is none, or 0. */
static bool time_parse(const char *option, const char *text, uint64_t *ret_ns)
{
	if (pile_quantity_parse_duration(text, ret_ns) == 0 && *ret_ns)
		return true;
	fprintf(stderr, "%s %s: give a time with its unit (s, min, h), like 10min, 90s or 48h\n",
		option, text);
	return false;
}

/** Takes the value of an option, or says what is wrong with it. */
static bool value_take(struct pile_ctl *ctl, int option, char *value)
{
	switch (option) {
	case 's':
		ctl->socket = value;
		return true;
	case 'g':
		ctl->group = value;
		return true;
	case 'p':
		ctl->file = value;
		return true;
	case 'w':
		return with_add(ctl, value);
	case 't':
		return time_parse("--for", value, &ctl->for_ns);
	case 'T':
		ctl->textfile = value;
		return true;
	case 'e':
		return time_parse("--every", value, &ctl->every_ns);
	default:
		return false;
	}
}

/** The bit of an option that only some commands take. */
static unsigned int option_bit(int option)
{
	switch (option) {
	case 'f':
		return OPT_FOLLOW;
	case 'g':
		return OPT_GROUP;
	case 'p':
		return OPT_FILE;
	case 'w':
		return OPT_WITH;
	case 't':
		return OPT_FOR;
	case 'T':
	case 'e':
		return OPT_TEXTFILE;
	default:
		return 0;
	}
}

/** Reads the options into @ctl and what was used of the special ones into @used. Returns an exit
 * status. */
static int options_parse(int argc, char **argv, struct pile_ctl *ctl, unsigned int *used)
{
	static const struct option options[] = {
		{ "json", no_argument, NULL, 'j' },
		{ "socket", required_argument, NULL, 's' },
		{ "follow", no_argument, NULL, 'f' },
		{ "for", required_argument, NULL, 't' },
		{ "group", required_argument, NULL, 'g' },
		{ "file", required_argument, NULL, 'p' },
		{ "with", required_argument, NULL, 'w' },
		{ "textfile", required_argument, NULL, 'T' },
		{ "every", required_argument, NULL, 'e' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, "jfh", options, NULL)) != -1) {
		*used |= option_bit(c);
		if (c == 'j')
			ctl->json = true;
		else if (c == 'f')
			ctl->follow = true;
		else if (c == 'h')
			exit(help_show(ctl));
		else if (c == 'V')
			exit(version_show(ctl));
		else if (!value_take(ctl, c, optarg))
			return PILE_EXIT_USAGE;
	}
	return PILE_EXIT_OK;
}

int main(int argc, char **argv)
{
	struct pile_ctl ctl = { .socket = PILE_API_SOCKET };
	const struct command *command;
	unsigned int used = 0;
	int r;

	setlocale(LC_CTYPE, "");
	r = options_parse(argc, argv, &ctl, &used);
	if (r != PILE_EXIT_OK)
		return r;
	if (optind == argc) {
		help_show(&ctl);
		return PILE_EXIT_USAGE;
	}
	command = command_find(argv[optind]);
	if (!command) {
		fprintf(stderr, "pileguardctl has no command \"%s\"; see: pileguardctl help\n",
			argv[optind]);
		return PILE_EXIT_USAGE;
	}
	ctl.args = argv + optind + 1;
	ctl.n_args = argc - optind - 1;
	if (ctl.n_args < command->min_args || ctl.n_args > command->max_args ||
	    used & ~command->options) {
		fprintf(stderr, "usage: pileguardctl %s\n", command->usage);
		return PILE_EXIT_USAGE;
	}
	ctl.width = width_find();
	ctl.color = color_wanted();
	r = command->run(&ctl);
	if (fflush(stdout) != 0 && r == PILE_EXIT_OK)
		r = PILE_EXIT_FAILURE;
	return r;
}

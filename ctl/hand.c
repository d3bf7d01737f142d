// SPDX-License-Identifier: GPL-2.0-or-later
/* pileguardctl reload, hold, release, disarm, arm: the operator's hand. The guard itself checks that it is
 * root's. */
#include <ctype.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "ctl.h"
#include "http.h"
#include "pileguard/api.h"
#include "util/endpoint.h"
#include "util/macro.h"
#include "value.h"

/* The api gives up after 15 s; its answer must still arrive. */
#define COMMAND_SECONDS 20
#define STATUS_NOT_VALID 422

/** POSTs and prints the guard's sentence. @not_valid: the exit status of a 422. */
static int post(const struct pile_ctl *ctl, const char *path, const char *body, int not_valid)
{
	struct pile_http_answer answer = { 0 };
	_cleanup_free_ char *bytes = NULL;
	char text[1024];
	json_t *value;
	int r = pile_http_request(ctl->socket, path, body, COMMAND_SECONDS, &answer);

	if (r != 0)
		return pile_http_complain(ctl, r);
	bytes = answer.body;
	if (ctl->json)
		fwrite(answer.body, 1, answer.size, stdout);
	if (answer.status != 200) {
		if (!ctl->json)
			fprintf(stderr, "%s\n", pile_http_error_text(&answer, text, sizeof(text)));
		return answer.status == STATUS_NOT_VALID ? not_valid : PILE_EXIT_FAILURE;
	}
	if (!ctl->json) {
		value = json_loadb(answer.body, answer.size, 0, NULL);
		printf("%s\n", pile_value_format_text(value, "text", text, sizeof(text)));
		json_decref(value);
	}
	return PILE_EXIT_OK;
}

int pile_hand_reload(const struct pile_ctl *ctl)
{
	return post(ctl, "/v1/reload", "{}", PILE_EXIT_CONFIG);
}

/** @port_optional: without a port, every port of the address is meant. */
static int hold_or_release(const struct pile_ctl *ctl, const char *path, bool port_optional)
{
	struct pile_endpoint endpoint;
	_cleanup_free_ char *body = NULL;
	json_t *value;

	if (pile_endpoint_parse(ctl->args[1], port_optional, &endpoint) != 0) {
		fprintf(stderr,
			"\"%s\" is no destination: give an address and a port, like 10.9.0.2:3306 "
			"or [2001:db8::1]:443\n",
			ctl->args[1]);
		return PILE_EXIT_USAGE;
	}
	if (ctl->for_ns &&
	    (ctl->for_ns < NS_PER_SEC || ctl->for_ns > PILE_HAND_SECONDS_MAX * NS_PER_SEC)) {
		fprintf(stderr, "--for must be from 1s to 24h\n");
		return PILE_EXIT_USAGE;
	}
	value = json_pack("{s:s,s:s}", "group", ctl->args[0], "endpoint", ctl->args[1]);
	if (value && ctl->for_ns)
		json_object_set_new(value, "seconds",
				    json_integer((json_int_t)(ctl->for_ns / NS_PER_SEC)));
	body = json_dumps(value, JSON_COMPACT);
	json_decref(value);
	if (!body) {
		fprintf(stderr, "\"%s\" is no group's name\n", ctl->args[0]);
		return PILE_EXIT_USAGE;
	}
	return post(ctl, path, body, PILE_EXIT_FAILURE);
}

int pile_hand_hold(const struct pile_ctl *ctl)
{
	return hold_or_release(ctl, "/v1/hold", false);
}

int pile_hand_release(const struct pile_ctl *ctl)
{
	return hold_or_release(ctl, "/v1/release", true);
}

/** Who does this, for the records: whoever called sudo, or logged in, or is. An odd name must not stop anybody. */
static const char *whoami(char *buf, size_t size)
{
	const char *name = getenv("SUDO_USER");
	unsigned int uid = (unsigned int)getuid();
	const struct passwd *pw;
	FILE *file;

	if (!name || !name[0]) {
		file = fopen("/proc/self/loginuid", "re");
		if (file && (fscanf(file, "%u", &uid) != 1 || uid == (unsigned int)-1))
			uid = (unsigned int)getuid();
		if (file)
			fclose(file);
		pw = getpwuid(uid);
		name = pw ? pw->pw_name : "root";
	}
	snprintf(buf, size, "%s", name);
	for (char *c = buf; *c; c++)
		if (!isascii((unsigned char)*c) || !isgraph((unsigned char)*c))
			*c = '?';
	return buf;
}

static int disarm_or_arm(const struct pile_ctl *ctl, const char *path)
{
	_cleanup_free_ char *body = NULL;
	char by[PILE_NAME_MAX];
	json_t *value;

	if (ctl->for_ns &&
	    (ctl->for_ns < NS_PER_SEC || ctl->for_ns > PILE_DISARM_SECONDS_MAX * NS_PER_SEC)) {
		fprintf(stderr, "--for must be from 1s to 720h\n");
		return PILE_EXIT_USAGE;
	}
	value = json_object();
	json_object_set_new(value, "by", json_string(whoami(by, sizeof(by))));
	if (ctl->for_ns)
		json_object_set_new(value, "seconds",
				    json_integer((json_int_t)(ctl->for_ns / NS_PER_SEC)));
	body = json_dumps(value, JSON_COMPACT);
	json_decref(value);
	if (!body)
		return PILE_EXIT_FAILURE;
	return post(ctl, path, body, PILE_EXIT_FAILURE);
}

int pile_hand_disarm(const struct pile_ctl *ctl)
{
	int r = disarm_or_arm(ctl, "/v1/disarm");

	if (r == PILE_EXIT_UNREACHABLE)
		fprintf(stderr,
			"without a guard nothing is refused. So that none is started: sudo touch " PILE_CTL_DISABLED_FILE
			"\n");
	return r;
}

int pile_hand_arm(const struct pile_ctl *ctl)
{
	return disarm_or_arm(ctl, "/v1/arm");
}

// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * pileguardctl policy init: a first policy, from the services that the guard found listening. Nothing in it acts: each
 * group's enforce is a comment. What is printed has passed the loader; with FILE it is written there, too, where no
 * policy stands.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ctl.h"
#include "http.h"
#include "pileguard/api.h"
#include "policy/format.h"
#include "policy/load.h"
#include "util/endpoint.h"
#include "util/macro.h"
#include "value.h"

#define GROUP_TEXT_MAX 2048

/** The text as it grows, checked after each group. */
struct draft {
	char *text; /* heap */
	size_t size;
	FILE *out;
	unsigned int n;
};

/* By how a program is known to work: its name, or its unit's, begins so. What is not here is for the operator to say. */
static const struct {
	const char *begins;
	enum pile_workers workers;
} kinds[] = {
	{ "php", PILE_WORKERS_PREFORK },      { "uwsgi", PILE_WORKERS_PREFORK },
	{ "gunicorn", PILE_WORKERS_PREFORK }, { "unicorn", PILE_WORKERS_PREFORK },
	{ "postgres", PILE_WORKERS_PREFORK }, { "nginx", PILE_WORKERS_EVENTS },
	{ "node", PILE_WORKERS_EVENTS },      { "haproxy", PILE_WORKERS_EVENTS },
	{ "redis", PILE_WORKERS_EVENTS },     { "memcached", PILE_WORKERS_EVENTS },
	{ "envoy", PILE_WORKERS_EVENTS },     { "caddy", PILE_WORKERS_EVENTS },
	{ "varnish", PILE_WORKERS_THREADS },  { "mariadb", PILE_WORKERS_THREADS },
	{ "mysql", PILE_WORKERS_THREADS },    { "tomcat", PILE_WORKERS_THREADS },
	{ "java", PILE_WORKERS_THREADS },
};

/* The way in for people and for the host's own needs: nothing to guard there. */
static const char *const left_out[] = { "ssh",	   "sshd",	 "systemd-", "dbus",
					"rpcbind", "init.scope", "user@",    "pileguard" };

static bool begins(const char *text, const char *with)
{
	return !strncmp(text, with, strlen(with));
}

static enum pile_workers kind_of(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
		if (begins(name, kinds[i].begins))
			return kinds[i].workers;
	return PILE_WORKERS_UNKNOWN;
}

static bool is_left_out(const json_t *g)
{
	const char *unit = pile_value_text(g, "unit");
	const char *name = unit[0] ? unit : pile_value_text(g, "name");

	for (size_t i = 0; i < ARRAY_LEN(left_out); i++)
		if (begins(name, left_out[i]))
			return true;
	return pile_value_is(g, "foreign");
}

/** One listener is named; of several the group takes all. */
static void listen_take(const json_t *g, struct pile_policy_group *ret)
{
	const json_t *listeners = pile_value_get(g, "listeners");

	if (json_array_size(listeners) == 1)
		pile_endpoint_parse(pile_value_text(json_array_get(listeners, 0), "endpoint"),
				    false, &ret->listen);
}

static void group_take(const json_t *g, struct pile_policy_group *ret)
{
	pile_policy_group_init(ret, pile_value_text(g, "name"));
	snprintf(ret->unit, sizeof(ret->unit), "%s", pile_value_text(g, "unit"));
	if (!ret->unit[0])
		snprintf(ret->cgroup, sizeof(ret->cgroup), "%s", pile_value_text(g, "cgroup"));
	listen_take(g, ret);
	ret->workers = kind_of(ret->name);
}

static void group_format(const struct pile_policy_group *group, char *buf, size_t size)
{
	static const char *const keys[] = { "name", "unit", "cgroup", "listen", "workers" };
	char value[PILE_FORMAT_VALUE_MAX];
	size_t used = 0;

	for (size_t i = 0; i < PILE_FORMAT_KEYS; i++) {
		const struct pile_format_key *key = &pile_format_keys[i];

		for (size_t k = 0; k < ARRAY_LEN(keys); k++) {
			value[0] = '\0';
			if (!strcmp(key->name, keys[k]))
				key->value(group, value, sizeof(value));
			if (value[0] && used < size)
				used += (size_t)snprintf(buf + used, size - used, "%s%s: %s\n",
							 used ? "    " : "  - ", key->name, value);
		}
	}
	if (used < size)
		snprintf(
			buf + used, size - used,
			"    # enforce: [fail_fast]       # mildest: refuse what cannot be reached; no kills, no refused clients\n");
}

/* The draft with this group is a policy, or why not. */
static bool fits(struct draft *draft, const char *group, struct pile_error *err)
{
	static struct pile_policy policy;
	_cleanup_free_ char *whole = NULL;
	int n;

	fflush(draft->out);
	n = asprintf(&whole, "%s%s%s", draft->text, draft->n ? "" : "groups:\n", group);
	return n >= 0 && pile_load_text(whole, (size_t)n, "policy", &policy, err) == 0;
}

static void group_add(struct draft *draft, const json_t *g)
{
	char text[GROUP_TEXT_MAX], name[80];
	struct pile_policy_group group;
	struct pile_error err = { 0 };

	group_take(g, &group);
	group_format(&group, text, sizeof(text));
	if (!fits(draft, text, &err)) {
		fprintf(draft->out, "# left out: %s: %s\n",
			pile_value_format_text(g, "name", name, sizeof(name)), err.text);
		return;
	}
	fprintf(draft->out, "%s%s", draft->n++ ? "" : "groups:\n", text);
}

static void draft_write(struct draft *draft, const json_t *groups, bool whole)
{
	const json_t *g;
	char name[80];
	size_t i;

	fprintf(draft->out, "%s",
		whole ? "mode: observe                    # nothing below acts until you say enforce\n"
		      : "# services that the policy in force does not name: for a fragment, like /etc/pileguard/policy.d/50-more.yaml\n");
	json_array_foreach(groups, i, g)
		if (!pile_value_is(g, "configured") && is_left_out(g))
			fprintf(draft->out, "# left out: %s: %s\n",
				pile_value_format_text(g, "name", name, sizeof(name)),
				pile_value_is(g, "foreign")
					? "another manager's, observed only"
					: "the way in for people, or the host's own");
	json_array_foreach(groups, i, g)
		if (!pile_value_is(g, "configured") && !is_left_out(g))
			group_add(draft, g);
	if (!draft->n)
		fprintf(draft->out, "# no %sservice listens\n", whole ? "" : "other ");
}

static bool any_configured(const json_t *groups)
{
	const json_t *g;
	size_t i;

	json_array_foreach(groups, i, g)
		if (pile_value_is(g, "configured"))
			return true;
	return false;
}

/* What stands there may go: nothing, or a file without a group, such as the package's sample. */
static bool may_go(const char *path)
{
	static struct pile_policy policy;
	struct pile_error err = { 0 };
	char text[1024];
	struct stat st;
	int r;

	if (stat(path, &st) == 0 && st.st_size == 0)
		return true;
	r = pile_load_file(path, &policy, &err);
	if (r == -ENOENT || (r == 0 && policy.n_groups == 0))
		return true;
	fprintf(stderr, "%s\n%s: nothing is written\n",
		r < 0 ? pile_error_format(&err, text, sizeof(text)) : "there is a policy already",
		path);
	return false;
}

/* What was there, if anything: kept as FILE.old, and whose it is. */
static int old_keep(const char *path, const char *old, FILE *out)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (unlink(old) < 0 && errno != ENOENT)
		return -errno;
	if (link(path, old) < 0 || fchown(fileno(out), st.st_uid, st.st_gid) < 0 ||
	    fchmod(fileno(out), st.st_mode & 07777) < 0)
		return -errno;
	return 0;
}

/* All of it or nothing: beside it first, then in its place. */
static int file_write(const char *path, const char *text)
{
	char fresh[PATH_MAX], old[PATH_MAX], real[PATH_MAX];
	FILE *out;
	int r;

	if (!may_go(path))
		return PILE_EXIT_FAILURE;
	if (realpath(path, real)) /* a link stays one */
		path = real;
	if ((size_t)snprintf(fresh, sizeof(fresh), "%s.new", path) >= sizeof(fresh) ||
	    (size_t)snprintf(old, sizeof(old), "%s.old", path) >= sizeof(old))
		return PILE_EXIT_USAGE;
	out = fopen(fresh, "we");
	r = out ? old_keep(path, old, out) : -errno;
	if (out && (fputs(text, out) < 0 || fflush(out) != 0 || fsync(fileno(out)) < 0))
		r = r ? r : -errno;
	if (out && fclose(out) != 0)
		r = r ? r : -errno;
	if (r == 0 && rename(fresh, path) < 0)
		r = -errno;
	if (r == 0)
		return PILE_EXIT_OK;
	fprintf(stderr, "%s: %s: nothing is written\n", path, strerror(-r));
	unlink(fresh);
	return PILE_EXIT_FAILURE;
}

int pile_init_show(const struct pile_ctl *ctl)
{
	struct draft draft = { 0 };
	json_t *groups;
	int r;

	if (ctl->json) {
		fprintf(stderr, "policy init writes a policy, not JSON\n");
		return PILE_EXIT_USAGE;
	}
	r = pile_http_get(ctl, "/v1/groups", &groups);
	if (!groups)
		return r;
	draft.out = open_memstream(&draft.text, &draft.size);
	if (draft.out) {
		draft_write(&draft, groups, !any_configured(groups));
		fclose(draft.out);
		if (ctl->n_args > 1)
			r = file_write(ctl->args[1], draft.text);
		if (r == PILE_EXIT_OK)
			fputs(draft.text, stdout);
	}
	free(draft.text);
	json_decref(groups);
	return r;
}

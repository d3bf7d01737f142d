// SPDX-License-Identifier: GPL-2.0-or-later
/* pileguardctl policy show|check|diff|init. check works without the daemon: it is the daemon's own
 * loader. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "ctl.h"
#include "http.h"
#include "pileguard/api.h"
#include "policy/diff.h"
#include "policy/load.h"
#include "util/macro.h"
#include "value.h"

/* Some 400 KB each: not for the stack. */
static struct pile_policy candidate, in_force;

static int show(const struct pile_ctl *ctl)
{
	char source[280];
	json_t *policy;
	int r = pile_http_get(ctl, "/v1/policy", &policy);

	if (!policy)
		return r;
	printf("# %s, hash %s, generation %.0f\n",
	       pile_value_format_text(policy, "source", source, sizeof(source)),
	       pile_value_text(policy, "hash"), pile_value_number(policy, "generation"));
	if (pile_value_is(policy, "truncated"))
		puts("# too large to be shown here: see the file");
	fputs(pile_value_text(policy, "text"), stdout);
	json_decref(policy);
	return PILE_EXIT_OK;
}

static void complain(const struct pile_ctl *ctl, const struct pile_error *err)
{
	char text[1024];
	json_t *value;

	if (!ctl->json) {
		fprintf(stderr, "%s\n", pile_error_format(err, text, sizeof(text)));
		return;
	}
	value = json_pack("{s:b,s:s,s:i,s:i,s:s}", "ok", 0, "file", err->file, "line",
			  (int)err->line, "column", (int)err->column, "text", err->text);
	json_dumpf(value, stdout, JSON_COMPACT);
	putchar('\n');
	json_decref(value);
}

int pile_policy_read(const struct pile_ctl *ctl, const char *path, struct pile_policy *ret,
		     struct pile_error *err)
{
	_cleanup_free_ struct pile_files *files = calloc(1, sizeof(*files));
	int r = -ENOMEM;

	if (files)
		r = pile_files_read(path, ctl->with, ctl->n_with, files, err);
	if (r < 0)
		return r;
	r = pile_load_files(files, ret, err);
	pile_files_fini(files);
	return r;
}

const char *pile_policy_path(const struct pile_ctl *ctl, const json_t *status)
{
	const char *daemons = status ? pile_value_text(status, "policy.path") : "";

	if (ctl->file)
		return ctl->file;
	return daemons[0] == '/' ? daemons : PILE_CTL_POLICY_FILE;
}

/* The daemon's status, or NULL: without a daemon, or a permission to ask it, the usual file is looked at. */
static json_t *status_get(const struct pile_ctl *ctl)
{
	struct pile_http_answer answer = { 0 };
	_cleanup_free_ char *body = NULL;

	if (pile_http_request(ctl->socket, "/v1/status", NULL, 5, &answer) != 0)
		return NULL;
	body = answer.body;
	return answer.status == 200 ? json_loadb(answer.body, answer.size, 0, NULL) : NULL;
}

/**
 * Loads what the arguments name: a file by itself, or the usual files together. Of files that are to come, revisions
 * may disagree until all are there; of what lies on disk they may not. Returns an exit status.
 */
static int candidate_load(const struct pile_ctl *ctl)
{
	json_t *status = ctl->n_args > 1 || ctl->file ? NULL : status_get(ctl);
	struct pile_error err = { 0 };
	char path[512], text[1024];
	int r;

	snprintf(path, sizeof(path), "%s",
		 ctl->n_args > 1 ? ctl->args[1] : pile_policy_path(ctl, status));
	json_decref(status);
	r = ctl->n_args > 1 ? pile_load_file(path, &candidate, &err)
			    : pile_policy_read(ctl, path, &candidate, &err);
	if (r == 1 && ctl->n_with) {
		fprintf(stderr, "note: %s\n", pile_error_format(&err, text, sizeof(text)));
		r = 0;
	}
	if (r == 0)
		return PILE_EXIT_OK;
	if (!err.text[0])
		pile_error_set_at(&err, r, path, 0, 0, "%s", strerror(-r));
	complain(ctl, &err);
	return PILE_EXIT_CONFIG;
}

/** The daemon's, when it can be asked. Returns 0, or negative errno. */
static int asked(const struct pile_ctl *ctl, struct pile_policy *ret)
{
	struct pile_http_answer answer = { 0 };
	_cleanup_free_ char *body = NULL;
	struct pile_error err = { 0 };
	const char *text;
	json_t *policy;
	int r = pile_http_request(ctl->socket, "/v1/policy", NULL, 5, &answer);

	if (r != 0)
		return r;
	body = answer.body;
	policy = json_loadb(answer.body, answer.size, 0, NULL);
	text = json_string_value(json_object_get(policy, "text"));
	if (answer.status != 200 || !text || pile_value_is(policy, "truncated"))
		r = -EPROTO;
	else
		r = pile_load_text(text, strlen(text), "policy in force", ret, &err);
	json_decref(policy);
	return r;
}

int pile_policy_in_force(const struct pile_ctl *ctl, struct pile_policy *ret,
			 struct pile_error *err)
{
	const char *path = pile_policy_path(ctl, NULL);
	int r = asked(ctl, ret);

	if (r != -ENOENT && r != -ECONNREFUSED && r != -EPROTO)
		return r < 0 ? pile_error_set(err, r, "the daemon cannot be asked: %s",
					      strerror(-r))
			     : 0;
	r = pile_policy_read(ctl, path, ret, err);
	if (r < 0 && !err->text[0])
		pile_error_set_at(err, r, path, 0, 0, "%s", strerror(-r));
	return MIN(r, 0);
}

/** What would change, when the daemon can be asked. Returns 0, or negative errno. */
static int changes_find(const struct pile_ctl *ctl, char *buf, size_t size, bool *ret_same)
{
	int r = asked(ctl, &in_force);

	if (r == 0)
		*ret_same = pile_diff_format(&in_force, &candidate, buf, size) == 0;
	return r;
}

/** Why the daemon did not tell what changes; @r: of changes_find(). */
static const char *why_not_asked(int r)
{
	if (r == -EACCES)
		return "only root and the group pileguard may ask the daemon";
	if (r == -ENOENT || r == -ECONNREFUSED)
		return "the daemon does not run";
	return strerror(-r);
}

/** @r: of changes_find(); 0: @changes is text. */
static void ok_print(const struct pile_ctl *ctl, int r, const char *changes)
{
	json_t *value;

	if (!ctl->json && changes) {
		printf("ok: %s\n", changes);
	} else if (!ctl->json) {
		printf("ok: mode %s, %u group%s, hash %.7s (what changes is not known: %s)\n",
		       candidate.mode == PILE_MODE_ENFORCE ? "enforce" : "observe",
		       candidate.n_groups, candidate.n_groups == 1 ? "" : "s", candidate.hash,
		       why_not_asked(r));
	} else {
		value = json_pack("{s:b,s:s,s:i,s:s?}", "ok", 1, "hash", candidate.hash, "groups",
				  (int)candidate.n_groups, "changes", changes);
		json_dumpf(value, stdout, JSON_COMPACT);
		putchar('\n');
		json_decref(value);
	}
}

static int check(const struct pile_ctl *ctl)
{
	char changes[2048];
	bool same;
	int r = candidate_load(ctl);

	if (r != PILE_EXIT_OK)
		return r;
	r = changes_find(ctl, changes, sizeof(changes), &same);
	ok_print(ctl, r, r == 0 ? changes : NULL);
	return PILE_EXIT_OK;
}

static int diff(const struct pile_ctl *ctl)
{
	char changes[4096];
	bool same = false;
	int r = candidate_load(ctl);

	if (r != PILE_EXIT_OK)
		return r;
	r = changes_find(ctl, changes, sizeof(changes), &same);
	if (r != 0)
		return pile_http_complain(ctl, r);
	if (ctl->json)
		ok_print(ctl, 0, changes);
	else
		printf("%s\n", changes);
	return same ? PILE_EXIT_OK : PILE_EXIT_DIFFERS;
}

int pile_policy_command(const struct pile_ctl *ctl)
{
	static const struct {
		const char *name;
		int n_args; /* at most, with the name */
		bool with;  /* --with, where no FILE is given */
		int (*run)(const struct pile_ctl *ctl);
	} verbs[] = {
		{ "show", 1, false, show },
		{ "check", 2, true, check },
		{ "diff", 2, true, diff },
		{ "init", 2, false, pile_init_show },
	};

	for (size_t i = 0; i < ARRAY_LEN(verbs); i++) {
		bool with = verbs[i].with && ctl->n_args == 1;

		if (strcmp(ctl->args[0], verbs[i].name) == 0 && ctl->n_args <= verbs[i].n_args &&
		    (!ctl->n_with || with))
			return verbs[i].run(ctl);
	}
	fprintf(stderr,
		"usage: pileguardctl policy show | init [FILE] | check [FILE] | diff [FILE] | "
		"check or diff --with NAME=FILE ...\n");
	return PILE_EXIT_USAGE;
}

// SPDX-License-Identifier: GPL-2.0-or-later
#include "policy/convert.h"

#include <errno.h>
#include <string.h>

#include "policy/format.h"
#include "policy/hint.h"
#include "policy/scalar.h"

struct text_key {
	const char *key;
	size_t from; /* char * in struct pile_schema_group */
	size_t to;   /* in struct pile_policy_group */
	pile_scalar_fn *convert;
};

#define KEY(key, field, convert)                                           \
	{                                                                  \
#key, offsetof(struct pile_schema_group, key),             \
			offsetof(struct pile_policy_group, field), convert \
	}

static const struct text_key text_keys[] = {
	KEY(name, name, pile_scalar_name),
	KEY(unit, unit, pile_scalar_unit),
	KEY(cgroup, cgroup, pile_scalar_cgroup),
	KEY(listen, listen, pile_scalar_listen),
	KEY(workers_max, workers_max, pile_scalar_workers_max),
	{ "memory_budget", offsetof(struct pile_schema_group, memory_budget), 0,
	  pile_scalar_budget },
	KEY(dead_after, dead_after_ns, pile_scalar_duration),
	KEY(probe_every, probe_every_ns, pile_scalar_duration),
	KEY(connect_deadline, connect_deadline_ns, pile_scalar_deadline),
	KEY(baseline_waiting, baseline_waiting, pile_scalar_baseline),
	KEY(connections_max, connections_max, pile_scalar_connections_max),
	KEY(shed_share, shed_share_permille, pile_scalar_shed_share),
	KEY(stop_hold, stop_hold_ns, pile_scalar_duration),
	KEY(cache_life, cache_life_ns, pile_scalar_life),
};

#define MATCH_KEY(key, convert)                                          \
	{                                                                \
#key, offsetof(struct pile_schema_match, key),           \
			offsetof(struct pile_policy_match, key), convert \
	}

static const struct text_key match_keys[] = {
	MATCH_KEY(exe, pile_scalar_exe),
	MATCH_KEY(user, pile_scalar_user),
	MATCH_KEY(cgroup, pile_scalar_cgroup),
	MATCH_KEY(port, pile_scalar_port),
};

static const char *next_rung(const void *words, size_t i)
{
	(void)words;
	return i < PILE_FORMAT_RUNGS ? pile_format_rungs[i].name : NULL;
}

static int convert_rung(const char *text, struct pile_policy_group *group, struct pile_error *err)
{
	const char *near;

	for (size_t i = 0; i < PILE_FORMAT_RUNGS; i++)
		if (strcmp(pile_format_rungs[i].name, text) == 0) {
			group->enforce |= pile_format_rungs[i].bit;
			return 0;
		}
	near = pile_hint_nearest(text, next_rung, NULL);
	return pile_error_set(
		err, EINVAL,
		"enforce: '%.64s' is not a rung%s%s: write any of [fail_fast, shed, throttle, evict, stop], or []",
		text, near ? ", did you mean " : "", near ? near : "");
}

/* Port 0 is every port. A unix path is never refused anyway: what is written must mean something.
 */
static int convert_exempt(const char *text, struct pile_policy_group *group, struct pile_error *err)
{
	struct pile_endpoint *ep = &group->exempt[group->n_exempt];

	if (text[0] == '/' || text[0] == '@')
		return pile_error_set(
			err, EINVAL,
			"exempt: '%.128s' is a unix socket, which is never refused: leave it out",
			text);
	if (pile_endpoint_parse(text, true, ep) < 0)
		return pile_error_set(
			err, EINVAL,
			"exempt: '%.128s' is not an address: write 10.9.0.2:3306, 10.9.0.2, "
			"\"[2001:db8::1]:443\" or :3306 (no names)",
			text);
	group->n_exempt++;
	return 0;
}

/* A client's address has no port; a listener has one, or is a path. */
static int convert_shed_exempt(const char *text, struct pile_policy_group *group,
			       struct pile_error *err)
{
	if (pile_endpoint_parse(text, true, &group->shed_exempt[group->n_shed_exempt]) < 0)
		return pile_error_set(
			err, EINVAL,
			"shed_exempt: '%.128s' is neither a client's address nor a listener: write 10.0.0.5, "
			":8081, 127.0.0.1:8081 or /run/app-status.sock (no names)",
			text);
	group->n_shed_exempt++;
	return 0;
}

/* With a port: what else listens on that host need not speak first. */
static int convert_speaks_first(const char *text, struct pile_policy_group *group,
				struct pile_error *err)
{
	struct pile_endpoint *ep = &group->server_speaks_first[group->n_server_speaks_first];

	if (text[0] == '/' || text[0] == '@')
		return pile_error_set(
			err, EINVAL,
			"server_speaks_first: '%.128s' is a unix socket, which is never refused: leave it out",
			text);
	if (pile_endpoint_parse(text, false, ep) < 0)
		return pile_error_set(
			err, EINVAL,
			"server_speaks_first: '%.128s' is not an address with a port: write "
			"10.9.0.2:3306 or \"[2001:db8::1]:3306\" (no names)",
			text);
	group->n_server_speaks_first++;
	return 0;
}

typedef int (*entry_converter)(const char *, struct pile_policy_group *, struct pile_error *);

static int convert_list(const char *key, char **entries, uint32_t n, entry_converter convert,
			struct pile_policy_group *group, char *ret_key, size_t size,
			struct pile_error *err)
{
	for (uint32_t i = 0; i < n; i++) {
		int r = convert(entries[i], group, err);

		if (r < 0) {
			snprintf(ret_key, size, "%s[%u]", key, i);
			return r;
		}
	}
	return 0;
}

/* @prefix: of the key that the error names; @from, @to: structs that the table's offsets are in */
static int convert_texts(const struct text_key *keys, size_t n, const char *prefix,
			 const void *from, void *to, char *ret_key, size_t size,
			 struct pile_error *err)
{
	for (size_t i = 0; i < n; i++) {
		const struct text_key *k = &keys[i];
		const char *text = *(char *const *)((const char *)from + k->from);
		int r = text ? k->convert(k->key, text, (char *)to + k->to, err) : 0;

		if (r < 0) {
			snprintf(ret_key, size, "%s%s", prefix, k->key);
			return r;
		}
	}
	return 0;
}

static int convert_group(const struct pile_schema_group *from, struct pile_policy_group *to,
			 char *ret_key, size_t size, struct pile_error *err)
{
	int r;

	pile_policy_group_init(to, "");
	to->workers = from->workers;
	to->fail_fast = from->fail_fast;
	if (from->refuse_with)
		to->refuse_errno = from->refuse_with;
	to->place = from->place;
	r = convert_texts(text_keys, ARRAY_LEN(text_keys), "", from, to, ret_key, size, err);
	if (r == 0 && from->match)
		r = convert_texts(match_keys, ARRAY_LEN(match_keys), "match.", from->match,
				  &to->match, ret_key, size, err);
	if (r == 0)
		r = convert_list("enforce", from->enforce, from->n_enforce, convert_rung, to,
				 ret_key, size, err);
	if (r == 0)
		r = convert_list("exempt", from->exempt, from->n_exempt, convert_exempt, to,
				 ret_key, size, err);
	if (r == 0)
		r = convert_list("shed_exempt", from->shed_exempt, from->n_shed_exempt,
				 convert_shed_exempt, to, ret_key, size, err);
	if (r == 0)
		r = convert_list("server_speaks_first", from->server_speaks_first,
				 from->n_server_speaks_first, convert_speaks_first, to, ret_key,
				 size, err);
	return r;
}

/* target: inside struct pile_policy, at the key's offset */
struct root_key {
	const char *key;
	size_t from; /* char * in struct pile_schema_root */
	pile_scalar_fn *convert;
	size_t to; /* in struct pile_policy */
};

#define ROOT_KEY(key, field, convert)                                  \
	{                                                              \
#key, offsetof(struct pile_schema_root, key), convert, \
			offsetof(struct pile_policy, field)            \
	}

static const struct root_key root_keys[] = {
	ROOT_KEY(revision, revision, pile_scalar_revision),
	ROOT_KEY(enforce_share, enforce_share_permille, pile_scalar_permille),
	ROOT_KEY(memory_reserve, memory_reserve_bytes, pile_scalar_reserve),
	ROOT_KEY(leak_notice, leak_notice_ns, pile_scalar_notice),
};

static int convert_root_texts(const struct pile_schema_root *root, struct pile_policy *policy,
			      char *ret_path, size_t size, struct pile_error *err)
{
	for (size_t i = 0; i < ARRAY_LEN(root_keys); i++) {
		const struct root_key *k = &root_keys[i];
		const char *text = *(char *const *)((const char *)root + k->from);
		int r = text ? k->convert(k->key, text, (char *)policy + k->to, err) : 0;

		if (r < 0) {
			snprintf(ret_path, size, "%s", k->key);
			return r;
		}
	}
	return 0;
}

static int convert_fingerprints(const struct pile_schema_root *root, struct pile_policy *policy,
				char *ret_path, size_t size, struct pile_error *err)
{
	for (uint32_t i = 0; i < root->n_fingerprints; i++) {
		int r;

		snprintf(ret_path, size, "fingerprints[%u]", i);
		if (policy->n_fingerprints == PILE_FINGERPRINTS_MAX)
			return pile_error_set(
				err, EINVAL,
				"fingerprints: more than %u in all files: leave some out",
				PILE_FINGERPRINTS_MAX);
		r = pile_scalar_path("fingerprints", root->fingerprints[i],
				     policy->fingerprints[policy->n_fingerprints], err);
		if (r < 0)
			return r;
		policy->n_fingerprints++;
	}
	return 0;
}

/* A list that is given replaces what earlier files, or the defaults, named. */
static int convert_protect(const struct pile_schema_root *root, struct pile_policy *policy,
			   char *ret_path, size_t size, struct pile_error *err)
{
	if (root->n_protect)
		policy->n_protect = 0;
	for (uint32_t i = 0; i < root->n_protect; i++) {
		int r;

		snprintf(ret_path, size, "protect[%u]", i);
		r = pile_scalar_unit("protect", root->protect[i],
				     policy->protect[policy->n_protect], err);
		if (r < 0)
			return r;
		policy->n_protect++;
	}
	return 0;
}

static int convert_groups(const struct pile_schema_root *root, struct pile_policy *policy,
			  char *ret_path, size_t size, struct pile_error *err)
{
	char key[32] = "";

	for (uint32_t i = 0; i < root->n_groups; i++) {
		int r;

		if (policy->n_groups == PILE_GROUPS_MAX) {
			snprintf(ret_path, size, "groups[%u]", i);
			return pile_error_set(err, EINVAL,
					      "groups: more than %u in all files: leave some out",
					      PILE_GROUPS_MAX);
		}
		r = convert_group(&root->groups[i], &policy->groups[policy->n_groups], key,
				  sizeof(key), err);
		if (r < 0) {
			snprintf(ret_path, size, "groups[%u].%s", i, key);
			return r;
		}
		policy->n_groups++;
	}
	return 0;
}

int pile_convert_policy(const struct pile_schema_root *root, struct pile_policy *policy,
			char *ret_path, size_t size, struct pile_error *err)
{
	int r;

	if (root->mode)
		policy->mode = *root->mode;
	r = convert_root_texts(root, policy, ret_path, size, err);
	if (r == 0)
		r = convert_fingerprints(root, policy, ret_path, size, err);
	if (r == 0)
		r = convert_protect(root, policy, ret_path, size, err);
	if (r == 0)
		r = convert_groups(root, policy, ret_path, size, err);
	return r;
}

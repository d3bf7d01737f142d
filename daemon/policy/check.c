// SPDX-License-Identifier: GPL-2.0-or-later
#include "policy/check.h"

#include <errno.h>
#include <string.h>

#include "policy/check_rules.h"
#include "policy/claim.h"

#define NOTICE_MIN_NS (24 * 60 * NS_PER_SEC) /* below it ten seconds would have to tell */
#define NOTICE_MAX_NS (720 * 3600 * NS_PER_SEC)

static int check_twice(const struct pile_policy_group *a, const struct pile_policy_group *b,
		       struct pile_check_fault *f)
{
	f->key = "name";
	if (!strcmp(a->name, b->name))
		return pile_error_set(f->err, EINVAL,
				      "name: '%s' is the name of an earlier group: write another",
				      b->name);
	return 0;
}

static int check_listen(const struct pile_policy_group *a, const struct pile_policy_group *b,
			struct pile_check_fault *f)
{
	char text[PILE_ENDPOINT_TEXT_MAX];

	f->key = "listen";
	if (!pile_endpoint_matches(&a->listen, &b->listen) &&
	    !pile_endpoint_matches(&b->listen, &a->listen))
		return 0;
	return pile_error_set(f->err, EINVAL,
			      "listen: '%s' belongs to group '%s' already: name another listener",
			      pile_endpoint_format(&b->listen, text, sizeof(text)), a->name);
}

static int check_claims(const struct pile_policy_group *a, const struct pile_policy_group *b,
			struct pile_check_fault *f)
{
	enum pile_claim claim = pile_claim_compare(a, b);
	const char *place = b->unit[0] ? b->unit : b->cgroup;

	f->key = b->unit[0] ? "unit" : b->cgroup[0] ? "cgroup" : "match";
	if (claim != PILE_CLAIM_APART && (pile_policy_matches(a) || pile_policy_matches(b)))
		return pile_error_set(f->err, EINVAL,
				      "%s: group '%s' has the same processes: keep one of the two",
				      f->key, a->name);
	if (claim == PILE_CLAIM_INSIDE)
		return pile_error_set(
			f->err, EINVAL,
			"%s: '%.200s' and group '%s' hold the same processes, one inside the other: "
			"keep one of the two",
			f->key, place, a->name);
	if (claim == PILE_CLAIM_APART || (a->listen.family && b->listen.family))
		return 0; /* check_listen() saw to it that the listeners differ */
	return pile_error_set(
		f->err, EINVAL,
		"%s: '%.200s' is guarded by group '%s' already: give each of the two a listen of "
		"its own",
		f->key, place, a->name);
}

/* The whole unit is stopped: every group of it says so, or none. */
static int check_stop_pair(const struct pile_policy_group *a, const struct pile_policy_group *b,
			   struct pile_check_fault *f)
{
	f->key = "enforce";
	if (!b->unit[0] || strcmp(a->unit, b->unit) ||
	    !((a->enforce ^ b->enforce) & PILE_RUNG_STOP))
		return 0;
	return pile_error_set(
		f->err, EINVAL,
		"enforce: stop is for the whole of '%.200s', which group '%s' is a part of, too: write it for both, "
		"or for none",
		b->unit, a->name);
}

/* What throttles one of them throttles all that are in the unit. */
static int check_throttle(const struct pile_policy_group *a, const struct pile_policy_group *b,
			  struct pile_check_fault *f)
{
	f->key = "enforce";
	if (!((a->enforce | b->enforce) & PILE_RUNG_THROTTLE) ||
	    pile_claim_compare(a, b) == PILE_CLAIM_APART)
		return 0;
	return pile_error_set(
		f->err, EINVAL,
		"enforce: throttle acts on all of %s, which group '%s' is part of as well: take throttle out of both",
		b->unit[0] ? b->unit : b->cgroup, a->name);
}

typedef int (*pair_rule)(const struct pile_policy_group *, const struct pile_policy_group *,
			 struct pile_check_fault *);

static const pair_rule pair_rules[] = { check_twice, check_listen, check_claims, check_stop_pair,
					check_throttle };

static int check_group(const struct pile_policy *policy, uint32_t n, struct pile_check_fault *f)
{
	const struct pile_policy_group *g = &policy->groups[n];
	int r = pile_check_group(g, f);

	for (uint32_t j = 0; j < n && r == 0; j++)
		for (size_t i = 0; i < ARRAY_LEN(pair_rules) && r == 0; i++)
			r = pair_rules[i](&policy->groups[j], g, f);
	return r;
}

static int check_reserve(const struct pile_policy *p, struct pile_check_fault *f)
{
	f->key = "memory_reserve";
	if (!p->memory_reserve_bytes || p->memory_reserve_bytes >= PILE_CHECK_MEMORY_MIN)
		return 0;
	return pile_error_set(
		f->err, EINVAL,
		"memory_reserve: %llu bytes keep no login alive: write 64MiB, or auto",
		(unsigned long long)p->memory_reserve_bytes);
}

static int check_notice(const struct pile_policy *p, struct pile_check_fault *f)
{
	f->key = "leak_notice";
	if (!p->leak_notice_ns ||
	    (p->leak_notice_ns >= NOTICE_MIN_NS && p->leak_notice_ns <= NOTICE_MAX_NS))
		return 0;
	return pile_error_set(
		f->err, EINVAL,
		"leak_notice: growth is measured over 1/144 of it (10 min of 24h): write 24min to 720h, or none");
}

/* Where reading may never end, or is not reading a file. */
static bool is_special(const char *path)
{
	static const char *const trees[] = { "/proc/", "/sys/", "/dev/", "/run/" };

	for (size_t i = 0; i < ARRAY_LEN(trees); i++)
		if (!strncmp(path, trees[i], strlen(trees[i])))
			return true;
	return false;
}

static int check_fingerprints(const struct pile_policy *p, struct pile_check_fault *f)
{
	f->key = "fingerprints";
	for (uint32_t i = 0; i < p->n_fingerprints; i++) {
		const char *path = p->fingerprints[i];

		f->index = i + 1;
		if (path[0] != '/' || strstr(path, "/../") || strstr(path, "//") ||
		    path[strlen(path) - 1] == '/')
			return pile_error_set(
				f->err, EINVAL,
				"fingerprints: '%s' is not a file's full path: write one like "
				"/etc/php/8.2/fpm/pool.d/www.conf",
				path);
		if (is_special(path))
			return pile_error_set(
				f->err, EINVAL,
				"fingerprints: '%s' is no file on a disk: leave it out", path);
		for (uint32_t j = 0; j < i; j++)
			if (!strcmp(path, p->fingerprints[j]))
				return pile_error_set(
					f->err, EINVAL,
					"fingerprints: '%s' is given twice: remove one", path);
	}
	f->index = 0;
	return 0;
}

static bool is_unit(const char *text)
{
	static const char *const suffixes[] = { ".service", ".slice", ".scope" };
	size_t len = strlen(text);

	for (size_t i = 0; i < ARRAY_LEN(suffixes); i++) {
		size_t n = strlen(suffixes[i]);

		if (len > n && !strcmp(text + len - n, suffixes[i]))
			return !strchr(text, '/') && strcmp(text, "-.slice");
	}
	return false;
}

/* The cgroup of a process, below the mount: not the root, and nothing that leads out of it. */
static bool is_cgroup(const char *text)
{
	return text[0] == '/' && text[1] && !strstr(text, "/../") && !strstr(text, "//") &&
	       text[strlen(text) - 1] != '/';
}

/* What is protected from a group cannot be throttled as that group, nor with it; nor as a part of what is protected. */
static const struct pile_policy_group *throttled_find(const struct pile_policy *p,
						      const char *protect)
{
	for (uint32_t i = 0; i < p->n_groups; i++)
		if (p->groups[i].enforce & PILE_RUNG_THROTTLE &&
		    pile_claim_protect(&p->groups[i], protect) != PILE_CLAIM_APART)
			return &p->groups[i];
	return NULL;
}

static int check_protect(const struct pile_policy *p, struct pile_check_fault *f)
{
	const struct pile_policy_group *group;

	f->key = "protect";
	for (uint32_t i = 0; i < p->n_protect; i++) {
		const char *text = p->protect[i];

		f->index = i + 1;
		if (!is_unit(text) && !is_cgroup(text))
			return pile_error_set(
				f->err, EINVAL,
				"protect: '%.200s' is neither a unit nor a cgroup: write ssh.service, user.slice or /app/admin",
				text);
		for (uint32_t j = 0; j < i; j++)
			if (!strcmp(text, p->protect[j]))
				return pile_error_set(
					f->err, EINVAL,
					"protect: '%.200s' is given twice: remove one", text);
		group = throttled_find(p, text);
		if (group)
			return pile_error_set(
				f->err, EINVAL,
				"protect: '%.200s' is group '%s', %swhich is to be throttled: take it out of one of the two",
				text, group->name,
				pile_claim_protect(group, text) == PILE_CLAIM_SAME
					? ""
					: "or one is a part of the other, ");
	}
	f->index = 0;
	return 0;
}

typedef int (*top_rule)(const struct pile_policy *, struct pile_check_fault *);

static const top_rule top_rules[] = { check_reserve, check_notice, check_fingerprints,
				      check_protect };

static void path_format(const struct pile_check_fault *f, const char *prefix, char *buf,
			size_t size)
{
	int n = snprintf(buf, size, "%s%s", prefix, f->key);

	if (f->index && n > 0 && (size_t)n < size)
		snprintf(buf + n, size - (size_t)n, "[%u]", f->index - 1);
}

int pile_check_policy(const struct pile_policy *policy, char *ret_path, size_t size,
		      struct pile_error *err)
{
	struct pile_check_fault f = { .err = err };
	char prefix[24];
	int r = 0;

	for (size_t i = 0; i < ARRAY_LEN(top_rules) && r == 0; i++)
		r = top_rules[i](policy, &f);
	if (r < 0) {
		path_format(&f, "", ret_path, size);
		return r;
	}
	for (uint32_t i = 0; i < policy->n_groups; i++) {
		r = check_group(policy, i, &f);
		if (r == 0)
			continue;
		snprintf(prefix, sizeof(prefix), "groups[%u].", i);
		path_format(&f, prefix, ret_path, size);
		return r;
	}
	return 0;
}

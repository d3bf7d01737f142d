// SPDX-License-Identifier: GPL-2.0-or-later
#include "policy/claim.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MOUNT "/sys/fs/cgroup"
#define DEFAULT_SLICE \
	"/system.slice" /* systemd.service(5): where services live unless told otherwise */

/* systemd.unit(5): which kinds have a cgroup with processes, and which have not. */
static const char *const kinds[] = { ".service", ".scope" };
static const char *const empty_kinds[] = {
	".socket", ".target", ".timer", ".path", ".mount", ".automount", ".device", ".swap",
};

static bool ends_with(const char *text, const char *end)
{
	size_t n = strlen(text), m = strlen(end);

	return n > m && !strcmp(text + n - m, end);
}

/* "/a/b" holds "/a/b/c", not "/a/bc". */
static bool path_holds(const char *outer, const char *inner)
{
	size_t n = strlen(outer);

	return !strncmp(outer, inner, n) && inner[n] == '/';
}

static bool path_names(const char *path, const char *unit)
{
	size_t n = strlen(unit);

	for (path = strchr(path, '/'); path; path = strchr(path + 1, '/'))
		if (!strncmp(path + 1, unit, n) && (path[1 + n] == '/' || !path[1 + n]))
			return true;
	return false;
}

enum pile_claim pile_claim_paths(const char *a, const char *b)
{
	if (!strcmp(a, b))
		return PILE_CLAIM_SAME;
	return path_holds(a, b) || path_holds(b, a) ? PILE_CLAIM_INSIDE : PILE_CLAIM_APART;
}

/* The last component decides whether the path is the unit, or lies inside it; the slice of all services holds each. */
static enum pile_claim compare_mixed(const char *unit, const char *path)
{
	const char *last = strrchr(path, '/') + 1;

	if (!strcmp(last, unit))
		return PILE_CLAIM_SAME;
	return path_names(path, unit) || !strcmp(path, DEFAULT_SLICE) ? PILE_CLAIM_INSIDE
								      : PILE_CLAIM_APART;
}

/* Where rules only overlap the first group has the process. The cgroup that one is placed in is nobody else's. */
static enum pile_claim compare_match(const struct pile_policy_group *match,
				     const struct pile_policy_group *other)
{
	char placed[PILE_CGROUP_MAX];

	if (pile_policy_matches(other))
		return pile_policy_match_equal(&match->match, &other->match) ? PILE_CLAIM_SAME
									     : PILE_CLAIM_APART;
	pile_policy_placed(match->name, placed, sizeof(placed));
	return other->unit[0] ? compare_mixed(other->unit, placed)
			      : pile_claim_paths(other->cgroup, placed);
}

enum pile_claim pile_claim_compare(const struct pile_policy_group *a,
				   const struct pile_policy_group *b)
{
	if (pile_policy_matches(a))
		return compare_match(a, b);
	if (pile_policy_matches(b))
		return compare_match(b, a);
	if (a->unit[0] && b->unit[0])
		return strcmp(a->unit, b->unit) ? PILE_CLAIM_APART : PILE_CLAIM_SAME;
	if (!a->unit[0] && !b->unit[0])
		return pile_claim_paths(a->cgroup, b->cgroup);
	return a->unit[0] ? compare_mixed(a->unit, b->cgroup) : compare_mixed(b->unit, a->cgroup);
}

/* By where units stand unless they say otherwise; and where one of the two is a path, by the names in it. */
enum pile_claim pile_claim_protect(const struct pile_policy_group *group, const char *protect)
{
	char a[PILE_CGROUP_MAX], b[PILE_CGROUP_MAX];
	enum pile_claim claim;

	if (group->unit[0])
		pile_policy_unit_path(group->unit, a, sizeof(a));
	else if (pile_policy_matches(group))
		pile_policy_placed(group->name, a, sizeof(a));
	else
		snprintf(a, sizeof(a), "%s", group->cgroup);
	if (protect[0] == '/')
		snprintf(b, sizeof(b), "%s", protect);
	else
		pile_policy_unit_path(protect, b, sizeof(b));
	claim = pile_claim_paths(a, b);
	if (claim == PILE_CLAIM_APART && ((protect[0] != '/' && path_names(a, protect)) ||
					  (group->unit[0] && path_names(b, group->unit))))
		claim = PILE_CLAIM_INSIDE;
	return claim;
}

static const char *find_kind(const char *unit, const char *const *names, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (ends_with(unit, names[i]))
			return names[i];
	return NULL;
}

int pile_claim_check_unit(const char *unit, struct pile_error *err)
{
	static const char valid[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:_.\\-@";
	const char *kind = find_kind(unit, kinds, ARRAY_LEN(kinds));

	if (unit[strspn(unit, valid)])
		return pile_error_set(
			err, EINVAL,
			"unit: '%.200s' is not a unit's name: write it as systemctl does, "
			"NAME.service",
			unit);
	if (!kind && find_kind(unit, empty_kinds, ARRAY_LEN(empty_kinds)))
		return pile_error_set(
			err, EINVAL,
			"unit: '%.200s' holds no processes: name the service that it starts", unit);
	if (!kind && ends_with(unit, ".slice"))
		return pile_error_set(
			err, EINVAL,
			"unit: '%.200s' is a slice, which holds other units: name the service of "
			"the workers",
			unit);
	if (!kind)
		return pile_error_set(
			err, EINVAL,
			"unit: '%.200s' is no service and no scope: write %.200s.service, or "
			"the unit that holds its processes",
			unit, unit);
	if (strchr(unit, '@') && strchr(unit, '@') + 1 == unit + strlen(unit) - strlen(kind))
		return pile_error_set(err, EINVAL,
				      "unit: '%.200s' is a template: name an instance, %.*sNAME%s",
				      unit, (int)(strlen(unit) - strlen(kind)), unit, kind);
	return 0;
}

/* No empty, "." or ".." components, so that paths can be compared as texts. */
static bool is_plain_path(const char *path)
{
	if (path[0] != '/')
		return false;
	for (; path; path = strchr(path + 1, '/')) {
		size_t n = strcspn(path + 1, "/");

		if (!n || (path[1] == '.' && (n == 1 || (n == 2 && path[2] == '.'))))
			return false;
	}
	return true;
}

int pile_claim_check_cgroup(const char *cgroup, struct pile_error *err)
{
	if (!strcmp(cgroup, "/"))
		return pile_error_set(
			err, EINVAL,
			"cgroup: '/' is the whole host: name the cgroup of the workers");
	if (!strcmp(cgroup, MOUNT) || path_holds(MOUNT, cgroup))
		return pile_error_set(err, EINVAL,
				      "cgroup: '%.200s' has the mount in it: leave out " MOUNT,
				      cgroup);
	if (!is_plain_path(cgroup))
		return pile_error_set(
			err, EINVAL,
			"cgroup: '%.200s' is not a plain absolute path: write /NAME or "
			"/NAME/NAME, without '.', '..' and a slash at the end",
			cgroup);
	return 0;
}

/* "00" is root too. Returns false where it is a name. */
static bool is_number(const char *user, uint64_t *ret)
{
	if (!user[0] || user[strspn(user, "0123456789")])
		return false;
	errno = 0;
	*ret = strtoull(user, NULL, 10);
	if (errno)
		*ret = UINT64_MAX;
	return true;
}

int pile_claim_check_match(const struct pile_policy_match *match, const char **ret_key,
			   struct pile_error *err)
{
	uint64_t uid = UINT64_MAX;
	bool number = is_number(match->user, &uid);

	*ret_key = "match.exe";
	if (match->exe[0] && (!is_plain_path(match->exe) || !strcmp(match->exe, "/")))
		return pile_error_set(
			err, EINVAL,
			"exe: '%.200s' is not a program's full path: write one like /usr/bin/node",
			match->exe);
	*ret_key = "match.cgroup";
	if (match->cgroup[0] && !is_plain_path(match->cgroup))
		return pile_error_set(
			err, EINVAL,
			"cgroup: '%.200s' is not the path of a cgroup: write /NAME or /NAME/*",
			match->cgroup);
	*ret_key = "match";
	if (!match->exe[0] && !match->user[0] && !match->port)
		return pile_error_set(
			err, EINVAL,
			"match: says where processes are, not which: write exe, user or port as well, "
			"or cgroup: %.200s instead of match",
			match->cgroup);
	*ret_key = "match.user";
	/* the last number means nobody, in each call of the kernel */
	if (number && uid >= UINT32_MAX)
		return pile_error_set(err, EINVAL,
				      "user: '%s' is no user's number: write one below %u",
				      match->user, UINT32_MAX);
	if (!match->exe[0] && !match->port &&
	    (!strcmp(match->user, "root") || (number && uid == 0)))
		return pile_error_set(
			err, EINVAL,
			"user: '%s' alone is most of the host: write exe or port as well",
			match->user);
	return 0;
}

// SPDX-License-Identifier: GPL-2.0-or-later
#include "policy/policy.h"

#include <errno.h>
#include <string.h>

void pile_policy_init(struct pile_policy *policy)
{
	memset(policy, 0, offsetof(struct pile_policy, groups));
	memset(policy->hash, 0, sizeof(policy->hash));
	memset(policy->source, 0, sizeof(policy->source));
	policy->mode = PILE_MODE_OBSERVE;
	policy->enforce_share_permille = 1000;
	policy->leak_notice_ns = 24 * 3600 * NS_PER_SEC; /* a working day, and a night, to look */
	/* how an operator comes in (Debian's names), and where he is then */
	policy->n_protect = 2;
	snprintf(policy->protect[0], sizeof(policy->protect[0]), "ssh.service");
	snprintf(policy->protect[1], sizeof(policy->protect[1]), "user.slice");
	snprintf(policy->source, sizeof(policy->source), "%s", PILE_POLICY_BUILT_IN);
}

void pile_policy_copy(struct pile_policy *to, const struct pile_policy *from)
{
	memcpy(to, from,
	       offsetof(struct pile_policy, groups) + from->n_groups * sizeof(from->groups[0]));
	memcpy(to->hash, from->hash, sizeof(to->hash));
	memcpy(to->source, from->source, sizeof(to->source));
}

enum pile_mode pile_policy_mode(const struct pile_policy *policy, uint32_t share_permille)
{
	bool inside = policy->enforce_share_permille >= 1000 ||
		      share_permille < policy->enforce_share_permille;

	return inside ? policy->mode : PILE_MODE_OBSERVE;
}

bool pile_policy_matches(const struct pile_policy_group *group)
{
	const struct pile_policy_match *m = &group->match;

	return m->exe[0] || m->user[0] || m->cgroup[0] || m->port;
}

bool pile_policy_match_equal(const struct pile_policy_match *a, const struct pile_policy_match *b)
{
	return !strcmp(a->exe, b->exe) && !strcmp(a->user, b->user) &&
	       !strcmp(a->cgroup, b->cgroup) && a->port == b->port;
}

const char *pile_policy_placed(const char *name, char *ret, size_t size)
{
	snprintf(ret, size, "/" PILE_PLACE_SLICE "/" PILE_PLACE_PREFIX "%s.scope", name);
	return ret;
}

void pile_policy_group_init(struct pile_policy_group *group, const char *name)
{
	memset(group, 0, sizeof(*group));
	snprintf(group->name, sizeof(group->name), "%s", name);
	/*
	 * A SYN lost at once is sent again after 1 s and after 3 s: a blip of 2 s shows a success
	 * at 2 s (a fresh connect) or 3 s (a retransmission), so the proof must be older than 2 s;
	 * 3 s is what a client may wait for the first effect.
	 */
	group->dead_after_ns = 2400 * NS_PER_MS;
	group->probe_every_ns = NS_PER_SEC;
	group->refuse_errno = ECONNREFUSED;
	group->stop_hold_ns = 10 * NS_PER_SEC;
	group->cache_life_ns = 240 * NS_PER_SEC; /* incident.md: three to four minutes */
}

/* "a-b.slice" stands in "a.slice". */
static void slice_path(const char *slice, char *ret, size_t size)
{
	size_t len = 0;

	ret[0] = '\0';
	for (const char *dash = strchr(slice, '-'); dash && len < size;
	     dash = strchr(dash + 1, '-'))
		len += (size_t)snprintf(ret + len, size - len, "/%.*s.slice", (int)(dash - slice),
					slice);
	if (len < size)
		snprintf(ret + len, size - len, "/%s", slice);
}

/* An instance gets its template's slice. */
void pile_policy_unit_path(const char *unit, char *ret, size_t size)
{
	const char *at = strchr(unit, '@'), *dot = strrchr(unit, '.');

	if (dot && strcmp(dot, ".slice") == 0)
		slice_path(unit, ret, size);
	else if (at)
		snprintf(ret, size, "/system.slice/system-%.*s.slice/%s", (int)(at - unit), unit,
			 unit);
	else
		snprintf(ret, size, "/system.slice/%s", unit);
}

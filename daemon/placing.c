// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * placing.c: what the policy wants placed, handed to the thread that does it (act/place.h), and what came of it, told.
 * Everything here runs on the control loop.
 */
#include <errno.h>
#include <string.h>

#include "guard.h"
#include "util/clock.h"

#define MOVED_EVERY_NS \
	(60 * NS_PER_SEC) /* one line for all that were placed meanwhile: a pool starts many */
#define STAYS_EVERY_NS \
	(600 * NS_PER_SEC)	  /* who stays outside may be anybody's, and change all the time */
#define LATE_NS (30 * NS_PER_SEC) /* without a look: something that it asked for does not answer */

int pile_placing_open(struct pile_guard *g)
{
	char dir[200];
	char *slash;

	snprintf(dir, sizeof(dir), "%s", g->options.socket_path);
	slash = strrchr(dir, '/');
	if (!slash)
		snprintf(dir, sizeof(dir), ".");
	else
		*slash = '\0';
	return pile_place_open(&g->place, &g->groups.hierarchy, dir);
}

static enum pile_place_want want_of(const struct pile_guard *g,
				    const struct pile_policy_group *group)
{
	/* observe changes nothing, so what an enforcing policy had changed is changed back */
	if (!group->place || g->view.mode != PILE_MODE_ENFORCE)
		return PILE_PLACE_BACK;
	return g->view.disarmed ? PILE_PLACE_HOLD : PILE_PLACE_PUT;
}

/* In the order of the policy: where two rules hold, the first one's group has the process. */
static void rules_give(struct pile_guard *g, uint64_t now_ns)
{
	static struct pile_place_rule rules[PILE_GROUPS_MAX];
	uint32_t n = 0;

	for (uint32_t i = 0; i < g->policy.n_groups; i++) {
		const struct pile_policy_group *group = &g->policy.groups[i];
		struct pile_place_rule *to = &rules[n];

		if (!pile_policy_matches(group))
			continue;
		*to = (struct pile_place_rule){ .want = want_of(g, group) };
		to->rule.match = group->match;
		to->rule.place = group->place;
		snprintf(to->rule.group, sizeof(to->rule.group), "%s", group->name);
		n++;
	}
	if (!g->placing.n_rules)
		g->placing.told_ns = now_ns;
	g->placing.n_rules = n;
	memset(g->placing.said, 0, sizeof(g->placing.said));
	pile_place_rules(&g->place, rules, n, ++g->placing.generation);
}

static void rules_follow(struct pile_guard *g, uint64_t now_ns)
{
	uint64_t key = g->generation << 3 | 4u | (g->view.mode == PILE_MODE_ENFORCE ? 2u : 0u) |
		       (g->view.disarmed ? 1u : 0u);

	if (key == g->placing.key)
		return;
	g->placing.key = key;
	rules_give(g, now_ns);
}

const struct pile_place_status *pile_placing_status(const struct pile_guard *g, const char *name)
{
	const struct pile_place_told *told = &g->placing.told;

	for (uint32_t i = 0; i < told->n_statuses; i++)
		if (strcmp(told->statuses[i].group, name) == 0)
			return &told->statuses[i];
	return NULL;
}

uint32_t pile_placing_late(const struct pile_guard *g, uint64_t now_ns)
{
	uint64_t for_ns = now_ns - MIN(g->placing.told_ns, now_ns);

	return g->placing.n_rules && for_ns > LATE_NS ? (uint32_t)(for_ns / NS_PER_SEC) : 0;
}

/* ---- told ---- */

static void moved_say(struct pile_guard *g, const struct pile_place_status *s,
		      struct pile_place_said *said, uint32_t slot, uint64_t now_ns)
{
	uint64_t n = s->moved - said->moved;
	char cgroup[PILE_CGROUP_MAX];

	if (!n || (said->moved_ns && now_ns - said->moved_ns < MOVED_EVERY_NS))
		return;
	said->moved = s->moved;
	said->moved_ns = now_ns;
	pile_guard_say(g, PILE_EVENT_GROUP, slot, "%s: %llu process%s placed in %.150s", s->group,
		       (unsigned long long)n, n == 1 ? "" : "es",
		       pile_policy_placed(s->group, cgroup, sizeof(cgroup)));
}

static void trouble_say(struct pile_guard *g, const struct pile_place_status *s,
			struct pile_place_said *said, uint32_t slot, uint64_t now_ns)
{
	bool unknown = s->unknown_user || s->unknown_exe;
	char why[200];

	if (s->error && s->error != said->error)
		pile_guard_say(g, PILE_EVENT_TROUBLE, slot,
			       "%s: its processes cannot be placed (%s): trying again", s->group,
			       g->placing.refusal[0] && g->placing.refused == s->error
				       ? g->placing.refusal
				       : strerror(-s->error));
	said->error = s->error;
	if (unknown && !said->unknown)
		pile_guard_say(g, PILE_EVENT_TROUBLE, slot,
			       "%s: no process can match: there is no such %s on this host",
			       s->group, s->unknown_user ? "user" : "program");
	said->unknown = unknown;
	if (s->stay == PILE_MATCH_MAY_MOVE ||
	    (said->stay == s->stay && now_ns - said->stay_ns < STAYS_EVERY_NS))
		return;
	said->stay = s->stay;
	said->stay_ns = now_ns;
	pile_guard_say(g, PILE_EVENT_GROUP, slot,
		       "%s: process %u matches and stays where it is: %s", s->group, s->stay_pid,
		       pile_place_why(s, why, sizeof(why)));
}

/* Each look finds them again. */
static bool news_again(struct pile_guard *g, enum pile_place_news_kind kind, uint64_t now_ns)
{
	uint64_t *at = &g->placing.news_ns[kind];

	if (kind < PILE_PLACE_FULL)
		return false;
	if (*at && now_ns - *at < STAYS_EVERY_NS)
		return true;
	*at = now_ns;
	return false;
}

static void news_say(struct pile_guard *g, const struct pile_place_news *news, uint64_t now_ns)
{
	if (news_again(g, news->kind, now_ns))
		return;
	switch (news->kind) {
	case PILE_PLACE_WENT_BACK:
		if (news->error)
			pile_guard_say(
				g, PILE_EVENT_TROUBLE, PILE_NO_GROUP,
				"%s: not all processes could be moved back (%s): sudo pileguardctl unplace %s",
				news->group, strerror(-news->error), news->group);
		else
			pile_guard_say(g, PILE_EVENT_GROUP, PILE_NO_GROUP,
				       "%s: its processes are back where they were%s", news->group,
				       news->n ? ", but for those that were started inside" : "");
		break;
	case PILE_PLACE_KEPT:
		pile_guard_say(
			g, PILE_EVENT_TROUBLE, PILE_NO_GROUP,
			"%s: what was placed stays in its scope; to undo it: sudo pileguardctl unplace %s",
			news->group, news->group);
		break;
	case PILE_PLACE_FULL:
		pile_guard_say(
			g, PILE_EVENT_TROUBLE, PILE_NO_GROUP,
			"%s: %u processes are placed, and there is no room to write down more",
			news->group, news->n);
		break;
	case PILE_PLACE_ORIGINS:
		pile_guard_say(
			g, PILE_EVENT_TROUBLE, PILE_NO_GROUP,
			"%s: processes of %u cgroups are placed, and there is no room to write down more cgroups",
			news->group, PILE_PLACED_ORIGINS_MAX);
		break;
	case PILE_PLACE_RECORD:
		pile_guard_say(
			g, PILE_EVENT_TROUBLE, PILE_NO_GROUP,
			"the record of where processes come from cannot be read or written (%s): nobody is placed",
			strerror(-news->error));
		break;
	case PILE_PLACE_CUT:
		pile_guard_say(g, PILE_EVENT_TROUBLE, PILE_NO_GROUP,
			       "more than %u processes: some are not looked at for match", news->n);
		break;
	case PILE_PLACE_NEWS_KINDS:
		break;
	}
}

static void told_take(struct pile_guard *g, uint64_t now_ns)
{
	static struct pile_matched matched[PILE_MATCHED_MAX];
	struct pile_place_told *told = &g->placing.told;
	uint32_t n = 0;

	for (uint32_t i = 0; i < told->n_news; i++)
		news_say(g, &told->news[i], now_ns);
	told->n_news = 0;
	/* of rules before the last: the next look tells of these */
	if (told->generation != g->placing.generation) {
		told->n_statuses = 0;
		return;
	}
	for (uint32_t i = 0; i < told->n_matched; i++) {
		matched[n].tgid = told->matched[i].tgid;
		matched[n].group =
			pile_groups_find(&g->groups, told->statuses[told->matched[i].rule].group);
		n += matched[n].group != PILE_NO_GROUP;
	}
	pile_groups_matched(&g->groups, matched, n);
	for (uint32_t i = 0; i < told->n_statuses; i++) {
		const struct pile_place_status *s = &told->statuses[i];
		uint32_t slot = pile_groups_find(&g->groups, s->group);

		moved_say(g, s, &g->placing.said[i], slot, now_ns);
		trouble_say(g, s, &g->placing.said[i], slot, now_ns);
	}
}

/* ---- systemd ---- */

static void question_pass(struct pile_guard *g, uint64_t now_ns)
{
	struct pile_manager_job job = { .verb = PILE_MANAGER_SCOPE, .owner = PILE_MANAGER_PLACE };
	struct pile_place_ask ask;
	int r;

	_Static_assert(PILE_PLACE_ASK_MAX <= PILE_MANAGER_PIDS_MAX, "in one job");
	if (!pile_place_asks(&g->place, &ask))
		return;
	job.id = ++g->placing.asked;
	snprintf(job.unit, sizeof(job.unit), PILE_PLACE_PREFIX "%s.scope", ask.group);
	snprintf(job.slice, sizeof(job.slice), PILE_PLACE_SLICE);
	job.n_pids = ask.n;
	memcpy(job.pids, ask.pids, ask.n * sizeof(ask.pids[0]));
	r = pile_manager_submit(&g->manager, &job, now_ns);
	if (r < 0)
		pile_place_answer(&g->place, r);
}

void pile_placing_result(struct pile_guard *g, const struct pile_manager_result *result)
{
	if (result->error < 0) {
		g->placing.refused = result->error;
		snprintf(g->placing.refusal, sizeof(g->placing.refusal), "%s", result->text);
	}
	if (result->job.id == g->placing.asked)
		pile_place_answer(&g->place, result->error);
}

void pile_placing_tick(struct pile_guard *g, uint64_t now_ns)
{
	rules_follow(g, now_ns);
	if (g->groups.holders_new && pile_place_holders(&g->place, &g->groups.holders))
		g->groups.holders_new = false;
	question_pass(g, now_ns);
	if (!pile_place_take(&g->place, &g->placing.told))
		return;
	g->placing.told_ns = now_ns;
	told_take(g, now_ns);
}

void pile_placing_stop(struct pile_guard *g)
{
	pile_place_close(&g->place);
	if (!pile_place_take(&g->place, &g->placing.told))
		return;
	for (uint32_t i = 0; g->slow.running && i < g->placing.told.n_news; i++)
		news_say(g, &g->placing.told.news[i], pile_clock_ns(CLOCK_MONOTONIC));
}

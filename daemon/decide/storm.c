// SPDX-License-Identifier: GPL-2.0-or-later
/* storm.c: is this a fork storm? */
#include <string.h>

#include "decide/decide.h"
#include "util/macro.h"

/* A pause: a storm forks in every look; 300 ms are three of them. */
#define PAUSE_NS (300 * NS_PER_MS)
#define RECENT_NS (400 * NS_PER_MS) /* over which the rate is taken: as evict's */
#define RISING_MIN_NS (200 * NS_PER_MS)
#define CALM_NS (10 * NS_PER_SEC)
#define RECURS_NS NS_PER_SEC /* so long after the most: another time, not the same peak */
#define FORGET_SHARE 360     /* each ten seconds: an hour */
#define BEYOND_TIMES 2	     /* far beyond calm: so many times that, */
#define BEYOND_TASKS 32	     /* and so many more: a shell script or a cron job on top is none */
/* beyond the pool that the policy declares: a quarter more, and its master and helpers */
#define POOL_SHARE 4
#define POOL_TASKS 8
#define HEADROOM_SHARE 4 /* of what it has in calm */
#define HEADROOM_TASKS 8

static const struct pile_storm_look *look_back(const struct pile_storm *s, uint64_t span_ns)
{
	const struct pile_storm_look *now = &s->ring[s->head], *then = now;

	for (uint32_t back = 1; back < s->n; back++) {
		then = &s->ring[(s->head + PILE_STORM_RING - back) % PILE_STORM_RING];
		if (now->t_ns - then->t_ns >= span_ns)
			break;
	}
	return then;
}

static void look_push(struct pile_storm *s, const struct pile_storm_look *look)
{
	s->head = (s->head + 1) % PILE_STORM_RING;
	s->n = MIN(s->n + 1, PILE_STORM_RING);
	s->ring[s->head] = *look;
}

/*
 * What the group has in calm: the most that recurred in ten seconds without more. Forgotten by and by where it has
 * less, within hours; not learned of a storm that was stopped.
 */
static void calm_update(struct pile_storm *s, uint32_t tasks, uint64_t now_ns)
{
	if (!s->settled_ns || tasks > s->most) {
		s->settled_ns = now_ns;
		s->most = tasks;
		s->recurred = 0;
	}
	if (!s->calm)
		s->calm = tasks;
	if (now_ns - s->settled_ns >= RECURS_NS)
		s->recurred = MAX(s->recurred, tasks);
	if (now_ns - s->settled_ns < CALM_NS)
		return;
	if (s->recurred < s->calm)
		s->calm -= (s->calm - s->recurred + FORGET_SHARE - 1) / FORGET_SHARE;
	s->calm = MAX(s->calm, s->recurred);
	s->most = tasks;
	s->recurred = 0;
	s->settled_ns = now_ns;
}

/* Since when they come, without a look (or three) in which none came. */
static void rising_update(struct pile_storm *s, uint64_t now_ns)
{
	const struct pile_storm_look *now = &s->ring[s->head], *then = look_back(s, PAUSE_NS);

	if (s->n < 2 || now->tasks <= then->tasks) {
		s->rising_ns = 0;
		return;
	}
	if (s->rising_ns)
		return;
	/* from the last look on that had no more than the one before */
	s->rising_ns = now_ns;
	s->risen_from = now->tasks;
	for (uint32_t back = 1; back < s->n; back++) {
		then = &s->ring[(s->head + PILE_STORM_RING - back) % PILE_STORM_RING];
		if (now_ns - then->t_ns > PAUSE_NS || then->tasks >= s->risen_from)
			break;
		s->rising_ns = then->t_ns;
		s->risen_from = then->tasks;
	}
}

static uint64_t lasts_ns(uint64_t free, uint64_t rate)
{
	return rate ? free * NS_PER_SEC / rate : UINT64_MAX;
}

/* How long the limit of its own cgroup, or of one above it, lasts: its growth ends there by itself. */
static uint64_t own_lasts_ns(uint32_t limit, uint32_t tasks, uint64_t rate)
{
	if (!limit)
		return UINT64_MAX;
	return limit > tasks ? lasts_ns(limit - tasks, rate) : 0;
}

/*
 * The bound that is reached first by what this group forks, and nobody else. Its own limit is none, where it declares no
 * pool: whoever sets a limit lets it be reached, and nobody else loses anything there.
 */
static uint64_t bound_find(const struct pile_storm *s, const struct pile_rung_context *ctx,
			   uint32_t group, uint64_t rate, struct pile_why *why)
{
	const struct pile_storm_look *now = &s->ring[s->head], *then = look_back(s, RECENT_NS);
	const struct pile_sample *sample = ctx->sample;
	uint32_t limit = sample->groups[group].tasks_limit, host = sample->host_tasks_limit;
	uint64_t left_ns = UINT64_MAX, own_ns = own_lasts_ns(limit, now->tasks, rate), lasts;
	bool most_of_it = now->host_tasks <= then->host_tasks ||
			  2 * (now->tasks - then->tasks) >= now->host_tasks - then->host_tasks;

	if (limit > now->tasks && ctx->view->groups[group].config.workers_max) {
		left_ns = own_ns;
		why->throttle.bound = PILE_STORM_LIMIT;
		why->throttle.tasks_free = limit - now->tasks;
	}
	lasts = host > now->host_tasks ? lasts_ns(host - now->host_tasks, rate) : UINT64_MAX;
	if (most_of_it && lasts < left_ns && lasts <= own_ns) {
		left_ns = lasts;
		why->throttle.bound = PILE_STORM_HOST;
		why->throttle.tasks_free = host - now->host_tasks;
	}
	/* what the group takes: where that is not known risk counts what the host loses, to whomever */
	lasts = sample->groups[group].memory_bytes && ctx->risk[group].growth_bytes
			? ctx->risk[group].exhaustion_ns
			: UINT64_MAX;
	if (lasts < left_ns && lasts <= own_ns) {
		left_ns = lasts;
		why->throttle.bound = PILE_STORM_MEMORY;
		why->throttle.tasks_free = 0;
	}
	return left_ns;
}

uint64_t pile_storm_pool(const struct pile_policy_group *config)
{
	uint64_t max = config->workers_max;

	return max ? max + max / POOL_SHARE + POOL_TASKS : 0;
}

/* Far beyond what it ever had in calm, and beyond the pool that is declared. */
static bool is_far_beyond(const struct pile_storm *s, const struct pile_policy_group *config)
{
	uint64_t tasks = s->ring[s->head].tasks;

	return tasks >= (uint64_t)BEYOND_TIMES * s->calm + BEYOND_TASKS &&
	       tasks > pile_storm_pool(config) && tasks >= s->risen_from + BEYOND_TASKS;
}

bool pile_storm_update(struct pile_storm *s, const struct pile_rung_context *ctx, uint32_t group,
		       bool learn, struct pile_why *why)
{
	const struct pile_sample *sample = ctx->sample;
	uint64_t now_ns = sample->now_ns, rate, left_ns, seen_ns, span_ns;
	const struct pile_storm_look *then;

	if (ctx->late || !sample->groups[group].tasks) {
		s->n = 0;
		s->rising_ns = 0;
		return false;
	}
	if (sample->load_ns != now_ns)
		return false;
	look_push(s, &(struct pile_storm_look){ .t_ns = now_ns,
						.tasks = sample->groups[group].tasks,
						.host_tasks = sample->host_tasks });
	if (learn)
		calm_update(s, sample->groups[group].tasks, now_ns);
	else
		s->settled_ns = 0;
	rising_update(s, now_ns);
	if (!s->rising_ns)
		return false;
	then = look_back(s, RECENT_NS);
	span_ns = now_ns - then->t_ns;
	rate = span_ns && s->ring[s->head].tasks > then->tasks
		       ? (uint64_t)(s->ring[s->head].tasks - then->tasks) * NS_PER_SEC / span_ns
		       : 0;
	left_ns = bound_find(s, ctx, group, rate, why);
	seen_ns = left_ns < PILE_STORM_LAST_NS ? left_ns / 2 : left_ns;
	why->exhaustion_ns = left_ns;
	why->throttle.tasks = s->ring[s->head].tasks;
	why->throttle.tasks_calm = s->calm;
	why->throttle.tasks_rate = (uint32_t)MIN(rate, UINT32_MAX);
	why->throttle.rising_ns = now_ns - s->rising_ns;
	return rate && left_ns < PILE_STORM_NS &&
	       why->throttle.rising_ns >= MAX(seen_ns, RISING_MIN_NS) &&
	       is_far_beyond(s, &ctx->view->groups[group].config);
}

uint64_t pile_storm_cap(const struct pile_storm *s)
{
	return s->ring[s->head].tasks + MAX(s->calm / HEADROOM_SHARE, HEADROOM_TASKS);
}

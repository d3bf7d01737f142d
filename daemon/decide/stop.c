// SPDX-License-Identifier: GPL-2.0-or-later
#include "decide/stop.h"

#include <errno.h>
#include <string.h>

#include "decide/decide.h"
#include "util/macro.h"

#define RESULT_NS (30 * NS_PER_SEC) /* act tells within some seconds; then nothing is known */
#define QUIET_NS \
	(10 * NS_PER_SEC) /* a virtual one whose service has not grown for so long is over */
/* of what was free when it began to grow: less is no danger that this service has brought about */
#define RISEN_SHARE 2
/* of what the host lost meanwhile */
#define CAUSE_PERMILLE 600

static uint64_t minus(uint64_t a, uint64_t b)
{
	return a > b ? a - b : 0;
}

void pile_stops_forget(struct pile_stops *stops, uint32_t group)
{
	memset(&stops->groups[group], 0, sizeof(stops->groups[group]));
	/* the timer starts it; nobody is told under the new group's name */
	for (int i = 0; i < PILE_STOPS_MAX; i++)
		if (stops->table[i].group == group)
			stops->table[i].used = false;
}

enum pile_blocked pile_stop_blocked(const struct pile_decide_view *view, uint32_t group)
{
	const struct pile_decide_group *g = &view->groups[group];

	if (g->foreign)
		return PILE_BLOCKED_FOREIGN;
	if (view->mode != PILE_MODE_ENFORCE)
		return pile_breaker_observing(view);
	if (!(g->config.enforce & PILE_RUNG_STOP))
		return PILE_BLOCKED_RUNG;
	if (view->disarmed)
		return PILE_BLOCKED_DISARMED;
	return view->stop_ready ? PILE_BLOCKED_NO : PILE_BLOCKED_KERNEL;
}

/* ---- budgets ---- */

static void past_add(struct pile_stops *stops, const char *group, uint64_t at_ns, bool blocked)
{
	struct pile_stop_past *to = &stops->past[stops->past_next++ % PILE_STOP_PAST_MAX];

	*to = (struct pile_stop_past){ .at_ns = at_ns, .blocked = blocked };
	snprintf(to->group, sizeof(to->group), "%s", group);
}

void pile_stops_recall(struct pile_stops *stops, const char *group, uint64_t ago_ns,
		       uint64_t now_ns)
{
	if (group[0] && ago_ns < PILE_STOP_SPAN_NS)
		past_add(stops, group, now_ns - MIN(ago_ns, now_ns), false);
}

static uint32_t past_count(const struct pile_stops *stops, const char *group, bool blocked,
			   uint64_t now_ns)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < PILE_STOP_PAST_MAX; i++) {
		const struct pile_stop_past *past = &stops->past[i];

		n += past->blocked == blocked && now_ns - past->at_ns < PILE_STOP_SPAN_NS &&
		     strcmp(past->group, group) == 0;
	}
	return n;
}

/* splitmix64's last step (Steele, Lea, Flood 2014): hosts whose seeds are near are not near in what comes out */
uint64_t pile_stop_apart_ns(uint64_t cache_life_ns, uint32_t seed, uint32_t nth)
{
	uint64_t x = ((uint64_t)nth << 32 | seed) * 0x9e3779b97f4a7c15ULL;
	unsigned __int128 most = (unsigned __int128)cache_life_ns * PILE_STOP_APART_PERMILLE / 1000;

	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
	x ^= x >> 31;
	return (uint64_t)(most * x >> 64);
}

/* ---- the rule ---- */

/* A group that grows again, after a second without growth, begins anew. */
static void growth_follow(struct pile_stop_group *g, const struct pile_stop_context *ctx,
			  uint32_t group)
{
	const struct pile_sample *sample = ctx->sample;

	if (!ctx->risk[group].growth_bytes || !sample->groups[group].memory_bytes) {
		g->since_ns = 0;
		g->run = 0;
		return;
	}
	if (g->since_ns)
		return;
	g->since_ns = sample->now_ns;
	g->used_bytes = sample->groups[group].memory_bytes;
	g->available_bytes = sample->memory_available_bytes;
}

static void why_fill(const struct pile_stop_group *g, const struct pile_stop_context *ctx,
		     uint32_t group, struct pile_why *why)
{
	const struct pile_sample *sample = ctx->sample;
	uint64_t free_bytes = minus(sample->memory_available_bytes, ctx->reserve_bytes);

	pile_risk_explain(&ctx->risk[group], sample->groups[group].waiting, why);
	why->oldest_ns = sample->groups[group].oldest_ns;
	/* the host's, whatever else bounds the group */
	why->free_bytes = free_bytes;
	why->exhaustion_ns = why->growth_bytes
				     ? (uint64_t)MIN((unsigned __int128)free_bytes * NS_PER_SEC /
							     why->growth_bytes,
						     (unsigned __int128)PILE_RISK_NEVER - 1)
				     : PILE_RISK_NEVER;
	why->stop.used_bytes = sample->groups[group].memory_bytes;
	why->stop.risen_bytes = minus(why->stop.used_bytes, g->used_bytes);
	why->stop.rising_ns = sample->now_ns - g->since_ns;
	why->stop.fell_bytes = minus(g->available_bytes, sample->memory_available_bytes);
	why->stop.then_bytes = minus(g->available_bytes, ctx->reserve_bytes);
}

/*
 * The host's memory is gone within 1.5 s at this service's rate; it has taken half of what was free when it began, and
 * most of what the host lost since; and the host has lost it: a forecast that has come true. What was used up before is a
 * level, whoever brought it there.
 */
static bool is_time(const struct pile_stop_group *g, const struct pile_why *why)
{
	const struct pile_why_stop *s = &why->stop;

	return g->since_ns && why->exhaustion_ns < PILE_STOP_LEFT_NS && s->then_bytes > 0 &&
	       s->risen_bytes >= s->then_bytes / RISEN_SHARE &&
	       s->fell_bytes >= s->risen_bytes / 2 &&
	       (unsigned __int128)s->risen_bytes * 1000 >=
		       (unsigned __int128)s->fell_bytes * CAUSE_PERMILLE;
}

/* The milder rungs go first: what they have just done must be seen before anything worse is. */
static void milder_note(struct pile_stops *stops, const struct pile_intents *out, uint64_t now_ns)
{
	for (uint32_t i = 0; i < out->n; i++) {
		const struct pile_intent *intent = &out->list[i];

		if (intent->blocked == PILE_BLOCKED_NO && intent->group < PILE_GROUPS_MAX &&
		    (intent->kind == PILE_INTENT_BREAKER_OPEN ||
		     intent->kind == PILE_INTENT_SHED_OPEN || intent->kind == PILE_INTENT_EVICT ||
		     intent->kind == PILE_INTENT_EVICT_OVER))
			stops->groups[intent->group].milder_ns = now_ns;
	}
}

/* ---- episodes ---- */

const struct pile_stop_episode *pile_stop_held(const struct pile_stops *stops, uint32_t group)
{
	for (int i = 0; i < PILE_STOPS_MAX; i++)
		if (stops->table[i].used && !stops->table[i].blocked &&
		    stops->table[i].group == group)
			return &stops->table[i];
	return NULL;
}

/* One of a unit at a time; a virtual one is told once. */
static struct pile_stop_episode *episode_take(struct pile_stops *stops, uint32_t group)
{
	struct pile_stop_episode *free_one = NULL;

	for (int i = 0; i < PILE_STOPS_MAX; i++) {
		struct pile_stop_episode *e = &stops->table[i];

		if (e->used && e->group == group)
			return NULL;
		if (!e->used)
			free_one = e;
	}
	return free_one;
}

static void stop(struct pile_stops *stops, const struct pile_stop_context *ctx, uint32_t group,
		 const struct pile_why *why, struct pile_intents *out)
{
	const struct pile_policy_group *config = &ctx->view->groups[group].config;
	enum pile_blocked blocked = pile_stop_blocked(ctx->view, group);
	uint64_t now_ns = ctx->sample->now_ns;
	uint32_t nth = past_count(stops, config->name, blocked != PILE_BLOCKED_NO, now_ns) + 1;
	struct pile_stop_episode *e = episode_take(stops, group);
	struct pile_intent *intent;

	if (!e || nth > PILE_STOP_PER_SPAN)
		return;
	intent = pile_intents_add(out, PILE_INTENT_STOP, group);
	if (!intent)
		return;
	past_add(stops, config->name, now_ns, blocked != PILE_BLOCKED_NO);
	stops->past_changes += blocked == PILE_BLOCKED_NO;
	intent->explain_id = pile_explain_id_take(ctx->next_explain_id);
	intent->blocked = blocked;
	intent->grace_ns = PILE_STOP_GRACE_NS;
	intent->why = *why;
	intent->why.stop.nth = nth;
	intent->why.stop.jitter_ns =
		pile_stop_apart_ns(config->cache_life_ns, ctx->view->host_seed, nth);
	intent->why.stop.hold_ns = (config->stop_hold_ns << (nth - 1)) + intent->why.stop.jitter_ns;
	*e = (struct pile_stop_episode){
		.used = true,
		.group = group,
		.explain_id = intent->explain_id,
		.blocked = blocked,
		.at_ns = now_ns,
		.until_ns = now_ns + intent->why.stop.hold_ns,
	};
}

static struct pile_intent *episode_tell(const struct pile_stop_episode *e,
					enum pile_intent_kind kind, struct pile_intents *out)
{
	struct pile_intent *intent = pile_intents_add(out, kind, e->group);

	if (!intent)
		return NULL;
	intent->blocked = e->blocked;
	intent->explain_id = e->explain_id;
	return intent;
}

static void episode_close(struct pile_stop_episode *e, enum pile_close_reason reason, int error,
			  uint64_t now_ns, struct pile_intents *out)
{
	struct pile_intent *intent = episode_tell(e, PILE_INTENT_STOP_OVER, out);

	e->used = false;
	if (!intent)
		return;
	intent->close_reason = reason;
	intent->outage_ns = now_ns - e->at_ns;
	intent->why.stop.error = error;
	intent->why.stop.down_ns = e->down_ns ? e->down_ns - e->at_ns : 0;
}

static void result_take(struct pile_stop_episode *e, const struct pile_sample *sample,
			struct pile_intents *out)
{
	const struct pile_sample_stopped *result = NULL;
	struct pile_intent *intent;

	for (uint32_t i = 0; i < MIN(sample->n_stopped, PILE_SAMPLE_STOPPED_MAX); i++)
		if (sample->stopped[i].explain_id == e->explain_id)
			result = &sample->stopped[i];
	if (!result && sample->now_ns - e->at_ns < RESULT_NS)
		return;
	if (!result || !result->down_ns) {
		episode_close(e, PILE_CLOSE_NOT_ENDED, result ? result->error : ETIMEDOUT,
			      sample->now_ns, out);
		return;
	}
	e->down_ns = MAX(result->down_ns, e->at_ns + 1);
	intent = episode_tell(e, PILE_INTENT_STOP_DOWN, out);
	if (!intent)
		return;
	intent->why.stop.down_ns = e->down_ns - e->at_ns;
	intent->outage_ns = minus(e->until_ns, sample->now_ns);
}

/* It is down until its time, or until what lets the guard hold it is switched off. */
static void held_follow(struct pile_stop_episode *e, const struct pile_stop_context *ctx,
			struct pile_intents *out)
{
	bool present = ctx->sample->groups[e->group].present;
	uint64_t now_ns = ctx->sample->now_ns;

	e->was_away |= !present;
	if (present && (e->was_away || now_ns >= e->until_ns)) {
		episode_close(e, PILE_CLOSE_STARTED, 0, now_ns, out);
		return;
	}
	if (now_ns >= e->until_ns + PILE_STOP_STARTED_NS) {
		episode_close(e, PILE_CLOSE_NOT_STARTED, 0, now_ns, out);
		return;
	}
	if (!e->start_asked && now_ns < e->until_ns &&
	    pile_stop_blocked(ctx->view, e->group) != PILE_BLOCKED_NO)
		e->start_asked = episode_tell(e, PILE_INTENT_STOP_START, out) != NULL;
}

static void virtual_follow(struct pile_stop_episode *e, const struct pile_stops *stops,
			   const struct pile_stop_context *ctx, struct pile_intents *out)
{
	if (stops->groups[e->group].since_ns)
		e->until_ns = ctx->sample->now_ns + QUIET_NS;
	if (!ctx->sample->groups[e->group].present)
		episode_close(e, PILE_CLOSE_GONE, 0, ctx->sample->now_ns, out);
	else if (ctx->sample->now_ns >= e->until_ns)
		episode_close(e, PILE_CLOSE_QUIET, 0, ctx->sample->now_ns, out);
}

static void episodes_update(struct pile_stops *stops, const struct pile_stop_context *ctx,
			    struct pile_intents *out)
{
	for (int i = 0; i < PILE_STOPS_MAX; i++) {
		struct pile_stop_episode *e = &stops->table[i];

		if (!e->used)
			continue;
		if (e->blocked)
			virtual_follow(e, stops, ctx, out);
		else if (e->down_ns)
			held_follow(e, ctx, out);
		else
			result_take(e, ctx->sample, out);
	}
}

static void group_update(struct pile_stops *stops, const struct pile_stop_context *ctx,
			 uint32_t group, struct pile_intents *out)
{
	struct pile_stop_group *g = &stops->groups[group];
	struct pile_why why = { 0 };

	growth_follow(g, ctx, group);
	if (!g->since_ns)
		return;
	why_fill(g, ctx, group, &why);
	g->run = is_time(g, &why) ? g->run + 1 : 0;
	if (g->run < PILE_STOP_TICKS ||
	    (g->milder_ns && ctx->sample->now_ns - g->milder_ns < PILE_STOP_MILDER_NS))
		return;
	stop(stops, ctx, group, &why, out);
}

void pile_stops_update(struct pile_stops *stops, const struct pile_stop_context *ctx,
		       struct pile_intents *out)
{
	milder_note(stops, out, ctx->sample->now_ns);
	for (uint32_t i = 0; i < ctx->view->n_groups; i++) {
		const struct pile_decide_group *g = &ctx->view->groups[i];

		if (ctx->late || !g->used || !g->named || !g->config.unit[0] ||
		    !ctx->sample->groups[i].present) {
			stops->groups[i].since_ns = 0;
			stops->groups[i].run = 0;
			continue;
		}
		group_update(stops, ctx, i, out);
	}
	episodes_update(stops, ctx, out);
}

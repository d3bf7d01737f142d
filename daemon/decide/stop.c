// SPDX-License-Identifier: GPL-2.0-or-later
#include "decide/stop.h"

#include <errno.h>
#include <string.h>

#include "decide/decide.h"
#include "util/macro.h"
#include "util/number.h"

/* act tells when systemd has answered, which may take it that long (manager.h: a stop is some calls and two waits) */
#define RESULT_NS (90 * NS_PER_SEC)
#define QUIET_NS \
	(10 * NS_PER_SEC)	 /* a virtual one whose service has not grown for so long is over */
#define NOISE_BYTES (1ULL << 20) /* a second; risk.c */
#define NOISE_SHARE 200		 /* of what is free */
/* large beside the host, as in evict.c: half of what it keeps by default, and a hundredth */
#define LARGE_BYTES (32ULL << 20)
#define LARGE_SHARE 100
/* of what was free when it began to grow: less is no danger that this service has brought about */
#define RISEN_SHARE 2
/* of what the host lost meanwhile */
#define CAUSE_PERMILLE 600

void pile_stops_forget(struct pile_stops *stops, uint32_t group)
{
	memset(&stops->groups[group], 0, sizeof(stops->groups[group]));
	for (int i = 0; i < PILE_STOPS_MAX; i++)
		if (stops->table[i].used && stops->table[i].group == group)
			stops->table[i].orphan = true;
}

enum pile_blocked pile_stop_blocked(const struct pile_decide_view *view, uint32_t group)
{
	enum pile_blocked blocked = pile_decide_switch(view, group, PILE_RUNG_STOP);

	if (blocked != PILE_BLOCKED_NO)
		return blocked;
	if (!view->stop_ready)
		return PILE_BLOCKED_KERNEL;
	return view->groups[group].stop_fit ? PILE_BLOCKED_NO : PILE_BLOCKED_UNFIT;
}

/* ---- budgets ---- */

static void past_add(struct pile_stops *stops, const char *group, uint64_t at_ns)
{
	struct pile_stop_past *to = &stops->past[stops->past_next++ % PILE_STOP_PAST_MAX];

	to->at_ns = at_ns;
	snprintf(to->group, sizeof(to->group), "%s", group);
}

void pile_stops_recall(struct pile_stops *stops, const char *group, uint64_t ago_ns,
		       uint64_t now_ns)
{
	if (group[0] && ago_ns < PILE_STOP_SPAN_NS)
		past_add(stops, group, now_ns - MIN(ago_ns, now_ns));
}

static uint32_t past_count(const struct pile_stops *stops, const char *group, uint64_t now_ns)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < PILE_STOP_PAST_MAX; i++)
		n += now_ns - stops->past[i].at_ns < PILE_STOP_SPAN_NS &&
		     strcmp(stops->past[i].group, group) == 0;
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

static const struct pile_stop_point *point(const struct pile_stop_group *g, uint32_t back)
{
	return &g->ring[(g->head + PILE_STOP_POINTS - MIN(back, g->n - 1)) % PILE_STOP_POINTS];
}

/* Bytes a second over the last second; 0 = within the noise, or not known yet. */
static uint64_t growth(const struct pile_stop_group *g, uint64_t free_bytes)
{
	const struct pile_stop_point *now = point(g, 0), *then = point(g, PILE_STOP_POINTS - 1);
	uint64_t span_ns = now->t_ns - then->t_ns, rate;

	/* half a second at least: shorter spans turn one allocation into a landslide */
	if (g->n <= PILE_STOP_POINTS / 2 || !span_ns)
		return 0;
	rate = (uint64_t)((unsigned __int128)pile_number_minus(now->used_bytes, then->used_bytes) *
			  NS_PER_SEC / span_ns);
	return rate > MAX(NOISE_BYTES, free_bytes / NOISE_SHARE) ? rate : 0;
}

/* It grew in this tick by at least half of what it does on the whole: what has ended is no danger. */
static bool grows_now(const struct pile_stop_group *g, uint64_t rate)
{
	const struct pile_stop_point *now = point(g, 0), *then = point(g, 1);

	return (unsigned __int128)pile_number_minus(now->used_bytes, then->used_bytes) *
		       NS_PER_SEC * 2 >=
	       (unsigned __int128)rate * (now->t_ns - then->t_ns);
}

/* Returns its growth. One that grows again, after a second without, begins anew. */
static uint64_t growth_follow(struct pile_stop_group *g, const struct pile_rung_context *ctx,
			      uint32_t group)
{
	const struct pile_sample *sample = ctx->sample;
	uint64_t used = sample->groups[group].memory_bytes, rate;

	if (!used) {
		memset(g, 0, offsetof(struct pile_stop_group, milder_ns));
		return 0;
	}
	g->head = (g->head + 1) % PILE_STOP_POINTS;
	g->n = MIN(g->n + 1, PILE_STOP_POINTS);
	g->ring[g->head] =
		(struct pile_stop_point){ sample->now_ns, used, sample->memory_available_bytes };
	rate = growth(g, pile_number_minus(sample->memory_available_bytes, ctx->reserve_bytes));
	if (!rate)
		g->began.t_ns = 0;
	else if (!g->began.t_ns)
		g->began = *point(g, PILE_STOP_POINTS - 1);
	return rate;
}

static void why_fill(const struct pile_stop_group *g, const struct pile_rung_context *ctx,
		     uint32_t group, uint64_t rate, struct pile_why *why)
{
	const struct pile_sample *sample = ctx->sample;

	pile_risk_explain(&ctx->risk[group], sample->groups[group].waiting, why);
	why->oldest_ns = sample->groups[group].oldest_ns;
	why->growth_bytes = rate;
	/* the host's, whatever else bounds the group */
	why->stop.swap_bytes = sample->swap_free_bytes;
	why->free_bytes = pile_number_minus(sample->memory_available_bytes, ctx->reserve_bytes) +
			  sample->swap_free_bytes;
	why->exhaustion_ns = (uint64_t)MIN((unsigned __int128)why->free_bytes * NS_PER_SEC / rate,
					   (unsigned __int128)PILE_RISK_NEVER - 1);
	why->stop.used_bytes = sample->groups[group].memory_bytes;
	why->stop.risen_bytes = pile_number_minus(why->stop.used_bytes, g->began.used_bytes);
	why->stop.rising_ns = sample->now_ns - g->began.t_ns;
	why->stop.fell_bytes =
		pile_number_minus(g->began.available_bytes, sample->memory_available_bytes);
	why->stop.then_bytes = pile_number_minus(g->began.available_bytes, ctx->reserve_bytes);
}

/* Where its cgroup's limit comes first the kernel ends one of its own processes, and the host lives. */
static bool limit_comes_first(const struct pile_sample_group *g, uint64_t free_bytes)
{
	return g->memory_limit_bytes &&
	       pile_number_minus(g->memory_limit_bytes, g->memory_bytes) < free_bytes;
}

/*
 * The host's memory, and swap, are gone within 1.5 s at this service's rate; it has taken half of what was free when it
 * began, much beside the host, and most of what the host lost since; and the host has lost it: a forecast that has come
 * true. What was used up before is a level, whoever brought it there.
 */
static bool is_time(const struct pile_rung_context *ctx, uint32_t group, const struct pile_why *why)
{
	const struct pile_why_stop *s = &why->stop;
	uint64_t total = ctx->sample->memory_total_bytes;

	return why->exhaustion_ns < PILE_STOP_LEFT_NS &&
	       s->then_bytes >= total / PILE_STOP_THEN_SHARE &&
	       s->risen_bytes >=
		       MAX(s->then_bytes / RISEN_SHARE, LARGE_BYTES + total / LARGE_SHARE) &&
	       s->fell_bytes >= s->risen_bytes / 2 &&
	       (unsigned __int128)s->risen_bytes * 1000 >=
		       (unsigned __int128)s->fell_bytes * CAUSE_PERMILLE &&
	       !limit_comes_first(&ctx->sample->groups[group], why->free_bytes);
}

/* Of the groups of one unit the first: it is one cgroup, and is stopped as a whole. */
static uint32_t leader_of(const struct pile_decide_view *view, uint32_t group)
{
	for (uint32_t i = 0; i < group; i++)
		if (view->groups[i].used && view->groups[i].named &&
		    strcmp(view->groups[i].config.unit, view->groups[group].config.unit) == 0)
			return i;
	return group;
}

/* The milder rungs go first: what they have just done must be seen before anything worse is. */
static void milder_note(struct pile_stops *stops, const struct pile_rung_context *ctx,
			const struct pile_intents *out)
{
	for (uint32_t i = 0; i < out->n; i++) {
		const struct pile_intent *intent = &out->list[i];
		bool acted = intent->kind == PILE_INTENT_BREAKER_OPEN ||
			     intent->kind == PILE_INTENT_SHED_OPEN ||
			     (intent->kind == PILE_INTENT_THROTTLE &&
			      intent->why.throttle.knob == PILE_KNOB_TASKS) ||
			     intent->kind == PILE_INTENT_EVICT ||
			     (intent->kind == PILE_INTENT_EVICT_OVER &&
			      intent->close_reason == PILE_CLOSE_ENDED);

		if (acted && intent->blocked == PILE_BLOCKED_NO &&
		    intent->group < ctx->view->n_groups)
			stops->groups[leader_of(ctx->view, intent->group)].milder_ns =
				ctx->sample->now_ns;
	}
}

/* ---- episodes ---- */

const struct pile_stop_episode *pile_stop_held(const struct pile_stops *stops, uint32_t group)
{
	for (int i = 0; i < PILE_STOPS_MAX; i++)
		if (stops->table[i].used && !stops->table[i].blocked && !stops->table[i].orphan &&
		    stops->table[i].group == group)
			return &stops->table[i];
	return NULL;
}

static struct pile_intent *episode_tell(const struct pile_stop_episode *e,
					enum pile_intent_kind kind, struct pile_intents *out)
{
	struct pile_intent *intent = pile_intents_add(out, kind, e->group);

	if (!intent)
		return NULL;
	intent->blocked = e->blocked;
	intent->explain_id = e->explain_id;
	intent->over = e->orphan; /* its slot may be another group's */
	intent->why.stop.early = e->start_asked;
	intent->why.stop.late = e->late_told;
	intent->why.stop.down_ns = e->down_ns ? e->down_ns - e->at_ns : 0;
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
}

/* One of a unit at a time; a virtual one is told once, and makes room for a real one. */
static struct pile_stop_episode *episode_take(struct pile_stops *stops, uint32_t group,
					      enum pile_blocked blocked, uint64_t now_ns,
					      struct pile_intents *out)
{
	struct pile_stop_episode *free_one = NULL;

	for (int i = 0; i < PILE_STOPS_MAX; i++) {
		struct pile_stop_episode *e = &stops->table[i];

		if (e->used && e->blocked && !blocked && (e->group == group || !free_one))
			episode_close(e, e->group == group ? PILE_CLOSE_SWITCHED : PILE_CLOSE_ROOM,
				      0, now_ns, out);
		if (e->used && e->group == group)
			return NULL;
		if (!e->used)
			free_one = e;
	}
	return free_one;
}

static void stop(struct pile_stops *stops, const struct pile_rung_context *ctx, uint32_t group,
		 const struct pile_why *why, struct pile_intents *out)
{
	const struct pile_policy_group *config = &ctx->view->groups[group].config;
	enum pile_blocked blocked = pile_stop_blocked(ctx->view, group);
	uint64_t now_ns = ctx->sample->now_ns;
	uint32_t nth = past_count(stops, config->name, now_ns) + 1;
	struct pile_stop_episode *e;
	struct pile_intent *intent;

	if (blocked == PILE_BLOCKED_NO && nth > PILE_STOP_PER_SPAN)
		blocked = PILE_BLOCKED_BUDGET;
	nth = MIN(nth, PILE_STOP_PER_SPAN);
	e = episode_take(stops, group, blocked, now_ns, out);
	intent = e ? pile_intents_add(out, PILE_INTENT_STOP, group) : NULL;
	if (!intent)
		return;
	if (blocked == PILE_BLOCKED_NO) {
		past_add(stops, config->name, now_ns);
		stops->past_changes++;
	}
	intent->explain_id = pile_explain_id_take(ctx->next_explain_id);
	intent->blocked = blocked;
	intent->grace_ns = MIN(PILE_STOP_GRACE_NS, why->exhaustion_ns / 4);
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
		.until_ns = now_ns + (blocked ? QUIET_NS : intent->why.stop.hold_ns),
		.restarts = ctx->view->groups[group].restarts,
	};
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
	intent->why.stop.error = result->error;
	intent->outage_ns = pile_number_minus(e->until_ns, sample->now_ns);
}

/* It is down until its time, or until what lets the guard hold it is switched off. */
static void held_follow(struct pile_stop_episode *e, const struct pile_rung_context *ctx,
			struct pile_intents *out)
{
	const struct pile_decide_group *g = &ctx->view->groups[e->group];
	uint64_t now_ns = ctx->sample->now_ns;

	/* its cgroup is another than the one that was stopped: whoever started it */
	if (ctx->sample->groups[e->group].present && g->restarts != e->restarts) {
		episode_close(e, PILE_CLOSE_STARTED, 0, now_ns, out);
		return;
	}
	if (!e->late_told && now_ns >= e->until_ns + PILE_STOP_LATE_NS) {
		e->late_told = true;
		episode_tell(e, PILE_INTENT_STOP_LATE, out);
	}
	if (!e->start_asked && now_ns < e->until_ns &&
	    pile_stop_blocked(ctx->view, e->group) != PILE_BLOCKED_NO) {
		e->start_asked = true;
		episode_tell(e, PILE_INTENT_STOP_START, out);
	}
}

static void virtual_follow(struct pile_stop_episode *e, const struct pile_stops *stops,
			   const struct pile_rung_context *ctx, struct pile_intents *out)
{
	if (stops->groups[e->group].began.t_ns)
		e->until_ns = ctx->sample->now_ns + QUIET_NS;
	if (!ctx->sample->groups[e->group].present)
		episode_close(e, PILE_CLOSE_GONE, 0, ctx->sample->now_ns, out);
	else if (ctx->sample->now_ns >= e->until_ns)
		episode_close(e, PILE_CLOSE_QUIET, 0, ctx->sample->now_ns, out);
}

/* The policy does not name it any more: it is started, whatever systemd is about to answer. */
static void orphan_end(struct pile_stop_episode *e, const struct pile_rung_context *ctx,
		       struct pile_intents *out)
{
	e->orphan = true;
	if (!e->blocked) {
		e->start_asked = true;
		episode_tell(e, PILE_INTENT_STOP_START, out);
	}
	episode_close(e, PILE_CLOSE_POLICY, 0, ctx->sample->now_ns, out);
}

static void episodes_update(struct pile_stops *stops, const struct pile_rung_context *ctx,
			    struct pile_intents *out)
{
	for (int i = 0; i < PILE_STOPS_MAX; i++) {
		struct pile_stop_episode *e = &stops->table[i];

		if (!e->used)
			continue;
		if (e->orphan || !ctx->view->groups[e->group].used)
			orphan_end(e, ctx, out);
		else if (e->blocked)
			virtual_follow(e, stops, ctx, out);
		else if (e->down_ns)
			held_follow(e, ctx, out);
		else
			result_take(e, ctx->sample, out);
	}
}

static void group_update(struct pile_stops *stops, const struct pile_rung_context *ctx,
			 uint32_t group, struct pile_intents *out)
{
	struct pile_stop_group *g = &stops->groups[group];
	uint64_t rate = growth_follow(g, ctx, group);
	struct pile_why why = { 0 };

	if (!rate) {
		g->run = 0;
		return;
	}
	why_fill(g, ctx, group, rate, &why);
	g->run = !ctx->late && grows_now(g, rate) && is_time(ctx, group, &why) ? g->run + 1 : 0;
	/* proved over some ticks, done in the last moment: a heap may be full before that */
	if (g->run < PILE_STOP_TICKS ||
	    why.free_bytes >= ctx->sample->memory_total_bytes / PILE_STOP_LEFT_SHARE ||
	    (g->milder_ns && ctx->sample->now_ns - g->milder_ns < PILE_STOP_MILDER_NS))
		return;
	stop(stops, ctx, group, &why, out);
}

void pile_stops_update(struct pile_stops *stops, const struct pile_rung_context *ctx,
		       struct pile_intents *out)
{
	milder_note(stops, ctx, out);
	for (uint32_t i = 0; i < ctx->view->n_groups; i++) {
		const struct pile_decide_group *g = &ctx->view->groups[i];

		if (g->used && g->named && g->config.unit[0] && ctx->sample->groups[i].present &&
		    leader_of(ctx->view, i) == i)
			group_update(stops, ctx, i, out);
		else
			stops->groups[i].n = stops->groups[i].run = 0;
	}
	episodes_update(stops, ctx, out);
}

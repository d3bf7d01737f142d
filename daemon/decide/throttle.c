// SPDX-License-Identifier: GPL-2.0-or-later
#include "decide/throttle.h"

#include <errno.h>
#include <string.h>

#include "decide/decide.h"
#include "pileguard/abi.h"
#include "util/macro.h"

#define JITTER_PERMILLE 200 /* hosts of a fleet let go at different moments */
#define SETTLE_NS NS_PER_SEC
#define TAKEN_SEEN_NS (1500 * NS_PER_MS)
#define TASKS_SLACK 8		   /* threads that ended, and others that came, between two reads */
#define APPLY_NS (15 * NS_PER_SEC) /* systemd answers within ten, or act tells that it did not */

void pile_throttles_forget(struct pile_throttles *t, uint32_t group)
{
	memset(&t->groups[group], 0, sizeof(t->groups[group]));
	t->starves.cpu_ns[group] = 0;
	t->starves.last.share_permille[group] = 0;
	/* what is turned is another's knob by now: closed by the next tick */
	for (uint32_t i = 0; i < ARRAY_LEN(t->table); i++)
		if (t->table[i].used && t->table[i].group == group)
			t->table[i].until_ns = 0;
}

enum pile_blocked pile_throttle_blocked(const struct pile_decide_view *view, uint32_t group)
{
	const struct pile_decide_group *g = &view->groups[group];
	enum pile_blocked blocked = pile_decide_switch(view, group, PILE_RUNG_THROTTLE);

	if (blocked != PILE_BLOCKED_NO)
		return blocked;
	if (g->shared)
		return PILE_BLOCKED_SHARED;
	if (g->protects)
		return PILE_BLOCKED_PROTECTED;
	return view->throttle_ready ? PILE_BLOCKED_NO : PILE_BLOCKED_KERNEL;
}

static struct pile_throttle *find(struct pile_throttles *t, uint32_t group, uint32_t knob,
				  bool blocked)
{
	for (uint32_t i = 0; i < ARRAY_LEN(t->table); i++) {
		struct pile_throttle *e = &t->table[i];

		if (e->used && e->group == group && e->knob == knob &&
		    (e->blocked != PILE_BLOCKED_NO) == blocked)
			return e;
	}
	return NULL;
}

const struct pile_throttle *pile_throttle_find(const struct pile_throttles *t, uint32_t group,
					       uint32_t knob, bool blocked)
{
	return find((struct pile_throttles *)t, group, knob, blocked);
}

/* Half of the places are for those that act: as many as the record on /run has. */
static struct pile_throttle *place_take(struct pile_throttles *t, bool blocked)
{
	uint32_t from = blocked ? PILE_THROTTLES_MAX : 0;

	for (uint32_t i = from; i < from + PILE_THROTTLES_MAX; i++)
		if (!t->table[i].used)
			return &t->table[i];
	return NULL;
}

/* ---- begin ---- */

/* For how long: longer each time when the last was over only just now. Not in step with other hosts. */
static uint64_t for_take(struct pile_throttle_group *g, uint32_t knob, uint32_t seed,
			 uint64_t now_ns)
{
	bool again = g->over_ns[knob] && now_ns - g->over_ns[knob] < PILE_THROTTLE_AGAIN_NS;
	uint64_t span = again && g->for_ns[knob]
				? MIN(2 * g->for_ns[knob], PILE_THROTTLE_FOR_MAX_NS)
				: PILE_THROTTLE_FOR_NS;

	g->for_ns[knob] = span;
	return span / 1000 * (1000 - JITTER_PERMILLE / 2 + seed % JITTER_PERMILLE);
}

static bool rests(const struct pile_throttle_group *g, uint32_t knob, uint64_t now_ns)
{
	return now_ns < g->rest_until_ns[knob] || now_ns < g->taken_until_ns[knob];
}

static void begin(struct pile_throttles *t, const struct pile_rung_context *ctx, uint32_t group,
		  uint32_t knob, uint64_t value, const struct pile_why *why,
		  struct pile_intents *out)
{
	enum pile_blocked blocked = pile_throttle_blocked(ctx->view, group);
	struct pile_throttle_group *g = &t->groups[group];
	uint64_t now_ns = ctx->sample->now_ns;
	struct pile_throttle *e = NULL;
	struct pile_intent *intent;

	if (!find(t, group, knob, blocked != PILE_BLOCKED_NO) && !rests(g, knob, now_ns))
		e = place_take(t, blocked != PILE_BLOCKED_NO);
	intent = e ? pile_intents_add(out, PILE_INTENT_THROTTLE, group) : NULL;
	if (!intent)
		return;
	intent->blocked = blocked;
	intent->explain_id = pile_explain_id_take(ctx->next_explain_id);
	intent->why = *why;
	intent->why.waiting = ctx->sample->groups[group].waiting;
	intent->why.growth_bytes = ctx->risk[group].growth_bytes;
	intent->why.free_bytes = ctx->risk[group].free_bytes;
	intent->why.throttle.knob = knob;
	intent->why.throttle.value = value;
	intent->why.throttle.for_ns =
		for_take(g, knob, ctx->view->host_seed + intent->explain_id, now_ns);
	*e = (struct pile_throttle){
		.used = true,
		.group = group,
		.knob = knob,
		.explain_id = intent->explain_id,
		.restarts = ctx->view->groups[group].restarts,
		.blocked = blocked,
		.at_ns = now_ns,
		.until_ns = now_ns + intent->why.throttle.for_ns,
		.value = value,
		.ratio_milli = why->throttle.ratio_milli,
		.ratio_least_milli = UINT32_MAX,
	};
}

/* ---- end ---- */

static void end(struct pile_throttles *t, struct pile_throttle *e, enum pile_close_reason reason,
		int error, uint64_t now_ns, struct pile_intents *out)
{
	struct pile_throttle_group *g = &t->groups[e->group];
	struct pile_intent *intent = pile_intents_add(out, PILE_INTENT_THROTTLE_OVER, e->group);

	e->used = false;
	g->over_ns[e->knob] = now_ns;
	/* nor what could not be turned, again and again */
	if (reason == PILE_CLOSE_TAKEN) {
		g->taken_until_ns[e->knob] = now_ns + PILE_THROTTLE_REST_MAX_NS;
	} else if (reason == PILE_CLOSE_USELESS || reason == PILE_CLOSE_NOT_DONE) {
		g->rest_ns[e->knob] = g->rest_ns[e->knob] ? MIN(2 * g->rest_ns[e->knob],
								PILE_THROTTLE_REST_MAX_NS)
							  : PILE_THROTTLE_REST_NS;
		g->rest_until_ns[e->knob] = now_ns + g->rest_ns[e->knob];
	} else if (reason == PILE_CLOSE_TIME) {
		g->rest_ns[e->knob] = 0;
	}
	if (!intent)
		return;
	intent->blocked = e->blocked;
	intent->explain_id = e->explain_id;
	intent->close_reason = reason;
	intent->outage_ns = now_ns - e->at_ns;
	intent->why.throttle.knob = e->knob;
	intent->why.throttle.value = e->value;
	intent->why.throttle.error = error;
	intent->why.throttle.on_ns = e->on_ns ? MAX(e->on_ns - e->at_ns, 1) : 0;
	intent->why.throttle.ratio_after_milli =
		e->ratio_least_milli == UINT32_MAX ? 0 : e->ratio_least_milli;
	intent->why.throttle.tasks_after = e->tasks_most;
}

static const struct pile_sample_throttled *result_find(const struct pile_sample *sample,
						       uint32_t id)
{
	for (uint32_t i = 0; i < MIN(sample->n_throttled, PILE_SAMPLE_THROTTLED_MAX); i++)
		if (sample->throttled[i].explain_id == id)
			return &sample->throttled[i];
	return NULL;
}

/* What a switch, another hand or the clock says. */
static enum pile_close_reason over(struct pile_throttle *e, const struct pile_rung_context *ctx,
				   int *ret_error)
{
	const struct pile_sample *sample = ctx->sample;
	const struct pile_sample_throttled *result =
		e->blocked ? NULL : result_find(sample, e->explain_id);
	const struct pile_decide_group *g = &ctx->view->groups[e->group];
	enum pile_blocked blocked = g->used ? pile_throttle_blocked(ctx->view, e->group) : 0;

	*ret_error = result ? result->error : 0;
	if (result && result->on_ns)
		e->on_ns = result->on_ns;
	/* made anew: whoever starts it again has it as it was before */
	if (!g->used || !e->until_ns || !sample->groups[e->group].present ||
	    g->restarts != e->restarts)
		return PILE_CLOSE_GONE;
	if (result && result->error)
		return PILE_CLOSE_NOT_DONE;
	if (result && result->taken)
		return PILE_CLOSE_TAKEN;
	if (blocked != e->blocked)
		return blocked == PILE_BLOCKED_DISARMED ? PILE_CLOSE_DISARMED
		       : e->blocked			? PILE_CLOSE_SWITCHED
							: PILE_CLOSE_POLICY;
	/* a reload has declared a larger pool */
	if (e->knob == PILE_KNOB_TASKS && e->value < pile_storm_pool(&g->config))
		return PILE_CLOSE_POLICY;
	if (!e->blocked && !e->on_ns && sample->now_ns - e->at_ns >= APPLY_NS) {
		*ret_error = ETIMEDOUT;
		return PILE_CLOSE_NOT_DONE;
	}
	return sample->now_ns >= e->until_ns ? PILE_CLOSE_TIME : PILE_CLOSE_NONE;
}

/*
 * Once, some seconds after it came into force. A cap on tasks has helped where no more have come than it says, or than
 * there were when it came (more than it says: nobody is ended); a weight or a quota where the protected wait half as
 * much as before, or not enough to be called suffering. A weight on which a quota follows is judged with that.
 */
static bool is_useless(struct pile_throttle *e, const struct pile_throttles *t,
		       const struct pile_rung_context *ctx)
{
	const struct pile_starve_window *w = &t->starves.last;
	uint64_t judge_ns = e->on_ns + PILE_THROTTLE_JUDGE_NS;

	if (e->judged || e->blocked || !e->on_ns || ctx->late)
		return false;
	if (e->knob == PILE_KNOB_TASKS) {
		bool more = ctx->sample->groups[e->group].tasks >
			    MAX(e->value, e->tasks_on) + TASKS_SLACK;

		/* more than it says: somebody else may have set it since, which is noticed within a second */
		if (ctx->sample->now_ns < judge_ns + (more ? TAKEN_SEEN_NS : 0))
			return false;
		e->judged = true;
		return more;
	}
	if (w->to_ns < judge_ns || (e->knob == PILE_KNOB_WEIGHT &&
				    pile_throttle_find(t, e->group, PILE_KNOB_QUOTA, false)))
		return false;
	e->judged = true;
	return w->suffers && w->ratio_milli > e->ratio_milli / 2;
}

static void follow(struct pile_throttle *e, const struct pile_throttles *t,
		   const struct pile_sample *sample, bool window)
{
	if (!e->on_ns && !e->blocked)
		return;
	if (e->on_ns && sample->now_ns < e->on_ns + SETTLE_NS)
		e->tasks_on = sample->groups[e->group].tasks;
	e->tasks_most = MAX(e->tasks_most, sample->groups[e->group].tasks);
	if (window && t->starves.last.from_ns >= e->on_ns)
		e->ratio_least_milli = MIN(e->ratio_least_milli, t->starves.last.ratio_milli);
}

static void ends_update(struct pile_throttles *t, const struct pile_rung_context *ctx, bool window,
			struct pile_intents *out)
{
	for (uint32_t i = 0; i < ARRAY_LEN(t->table); i++) {
		struct pile_throttle *e = &t->table[i], *weight;
		enum pile_close_reason reason;
		int error;

		if (!e->used)
			continue;
		follow(e, t, ctx->sample, window);
		reason = over(e, ctx, &error);
		if (reason == PILE_CLOSE_NONE && is_useless(e, t, ctx))
			reason = PILE_CLOSE_USELESS;
		if (reason == PILE_CLOSE_NONE)
			continue;
		end(t, e, reason, error, ctx->sample->now_ns, out);
		/* a quota that does not help: nor did the weight before it */
		weight = reason == PILE_CLOSE_USELESS && e->knob == PILE_KNOB_QUOTA
				 ? find(t, e->group, PILE_KNOB_WEIGHT, false)
				 : NULL;
		if (weight)
			end(t, weight, reason, 0, ctx->sample->now_ns, out);
	}
}

/* ---- who, and what next ---- */

static bool may_be_throttled(const struct pile_rung_context *ctx, uint32_t group)
{
	const struct pile_decide_group *g = &ctx->view->groups[group];

	return g->used && g->named && ctx->sample->groups[group].present;
}

static void storms_update(struct pile_throttles *t, const struct pile_rung_context *ctx,
			  struct pile_intents *out)
{
	for (uint32_t i = 0; i < ctx->view->n_groups; i++) {
		struct pile_storm *storm = &t->groups[i].storm;
		struct pile_why why = { 0 };
		uint32_t limit = ctx->sample->groups[i].tasks_limit;
		bool stormy;

		if (!may_be_throttled(ctx, i)) {
			storm->n = 0;
			storm->rising_ns = 0;
			continue;
		}
		stormy = find(t, i, PILE_KNOB_TASKS, false) || find(t, i, PILE_KNOB_TASKS, true);
		if (!pile_storm_update(storm, ctx, i, !stormy, &why))
			continue;
		/* where its own limit is as near, it has its cap already */
		if (!limit || pile_storm_cap(storm) < limit)
			begin(t, ctx, i, PILE_KNOB_TASKS, pile_storm_cap(storm), &why, out);
	}
}

/* All processors but half a one; of a single one half. */
static uint64_t quota_of(const struct pile_sample *sample)
{
	return (uint64_t)MAX(sample->n_cpus, 1) * 1000000 - PILE_THROTTLE_RESERVE_US;
}

static void why_fill(const struct pile_throttles *t, const struct pile_rung_context *ctx,
		     uint32_t group, struct pile_why *why)
{
	const struct pile_starve_window *w = &t->starves.last;
	struct pile_why_throttle *to = &why->throttle;

	why->exhaustion_ns = UINT64_MAX;
	to->protect = w->who;
	snprintf(to->protected_name, sizeof(to->protected_name), "%.63s",
		 ctx->view->protect[w->who % PILE_PROTECT_MAX]);
	to->waited_ns = w->waited_ns;
	to->ran_ns = w->ran_ns;
	to->span_ns = w->to_ns - w->from_ns;
	to->ratio_milli = w->ratio_milli;
	to->calm_milli = t->starves.protected[w->who].calm_milli;
	to->cpu_permille = w->share_permille[group];
	to->tasks = ctx->sample->groups[group].tasks;
	to->tasks_calm = t->groups[group].storm.calm;
}

/* The group that takes most; at least half of all processors' time, so more than all others together. */
static uint32_t taker_find(const struct pile_throttles *t, const struct pile_rung_context *ctx)
{
	const struct pile_starve_window *w = &t->starves.last;
	uint32_t most = PILE_NO_GROUP;

	for (uint32_t i = 0; i < ctx->view->n_groups; i++)
		if (may_be_throttled(ctx, i) &&
		    w->share_permille[i] >= PILE_STARVE_SHARE_PERMILLE &&
		    (most == PILE_NO_GROUP || w->share_permille[i] > w->share_permille[most]))
			most = i;
	return most;
}

static void starves_act(struct pile_throttles *t, const struct pile_rung_context *ctx,
			struct pile_intents *out)
{
	const struct pile_starve_window *w = &t->starves.last;
	bool proven = w->run >= PILE_STARVE_RUN || w->severe;
	uint32_t group = proven ? taker_find(t, ctx) : PILE_NO_GROUP;
	const struct pile_throttle *weight;
	struct pile_why why = { 0 };

	/* a protected unit that is a group itself keeps itself waiting */
	if (group == PILE_NO_GROUP)
		return;
	weight = find(t, group, PILE_KNOB_WEIGHT, false);
	why_fill(t, ctx, group, &why);
	if (!weight)
		begin(t, ctx, group, PILE_KNOB_WEIGHT, PILE_THROTTLE_WEIGHT, &why, out);
	/* a weight that was in force for all of two windows, and they suffer still */
	else if (weight && weight->on_ns && w->from_ns >= weight->on_ns + PILE_STARVE_WINDOW_NS)
		begin(t, ctx, group, PILE_KNOB_QUOTA, quota_of(ctx->sample), &why, out);
}

/* Nobody is throttled for the processors, or would be. */
static bool is_free(const struct pile_throttles *t)
{
	for (uint32_t i = 0; i < ARRAY_LEN(t->table); i++)
		if (t->table[i].used && t->table[i].knob != PILE_KNOB_TASKS)
			return false;
	return true;
}

void pile_throttles_update(struct pile_throttles *t, const struct pile_rung_context *ctx,
			   struct pile_intents *out)
{
	bool window = pile_starves_update(&t->starves, ctx, is_free(t));

	ends_update(t, ctx, window, out);
	storms_update(t, ctx, out);
	if (window)
		starves_act(t, ctx, out);
}

void pile_throttles_reloaded(struct pile_throttles *t)
{
	for (uint32_t i = 0; i < PILE_GROUPS_MAX; i++)
		memset(t->groups[i].taken_until_ns, 0, sizeof(t->groups[i].taken_until_ns));
}

void pile_throttles_close_all(struct pile_throttles *t, enum pile_close_reason reason,
			      uint64_t now_ns, struct pile_intents *out)
{
	for (uint32_t i = 0; i < ARRAY_LEN(t->table); i++)
		if (t->table[i].used)
			end(t, &t->table[i], reason, 0, now_ns, out);
}

// SPDX-License-Identifier: GPL-2.0-or-later
#include "decide/evict.h"

#include <errno.h>
#include <string.h>

#include "decide/candidates.h"
#include "decide/decide.h"
#include "util/macro.h"
#include "util/number.h"

#define LOOKS_MIN 2
#define RECENT_MIN_NS (150 * NS_PER_MS) /* two ticks: one allocation is no growth */
#define LARGE_SHARE 32			/* of a budget or limit */
/* of the host: half of what it keeps by default (policy.h), whatever the policy's reserve is */
#define HOST_LARGE_BYTES (32ULL << 20)
#define HOST_LARGE_SHARE 100
#define LEAK_SEEN_NS (60 * NS_PER_SEC)
#define RISEN_MIN_BYTES (8ULL << 20) /* what the kernel's own counters are off by, and more */
#define OUTLIER 2		     /* holds so many times what the others do */
#define BUYS 2 /* memory lasts so many times as long without it, or as long as nobody is at risk */
#define GRACE_MIN_NS (100 * NS_PER_MS)
#define GRACE_MAX_NS NS_PER_SEC
#define GRACE_SHARE 4 /* of what is left */
#define OTHER_GROWTH \
	2 /* a leak is not what memory runs out by while something grows by more than this many of it */
#define RESULT_NS (30 * NS_PER_SEC) /* act tells within some seconds; then nothing is known */
#define QUIET_NS \
	(10 * NS_PER_SEC) /* a virtual one whose worker has not grown for so long is over */

/* Of the reserve: when less than that is available nothing can be less, and nobody's growth is seen in it any more. */
#define KNOWN_SHARE 4

/** A decision in the making. */
struct chosen {
	enum pile_evict_cause cause;
	struct pile_candidates_sum sum;
	uint32_t few, share_permille;
	uint64_t rate_bytes;   /* of these few */
	uint64_t others_bytes; /* what the others hold on average */
	/* of the bound that is reached first */
	enum pile_evict_bound bound;
	uint64_t free_bytes, bound_growth_bytes, left_ns, after_ns;
	uint64_t fell_bytes;  /* a second: what the bound itself lost */
	uint64_t large_bytes; /* less than that is nothing beside the bound */
};

void pile_evicts_forget(struct pile_evicts *evicts, uint32_t group)
{
	memset(&evicts->groups[group], 0, sizeof(evicts->groups[group]));
}

enum pile_blocked pile_evict_blocked(const struct pile_decide_view *view, uint32_t group)
{
	enum pile_blocked blocked = pile_decide_switch(view, group, PILE_RUNG_EVICT);

	if (blocked != PILE_BLOCKED_NO)
		return blocked;
	return view->evict_ready ? PILE_BLOCKED_NO : PILE_BLOCKED_KERNEL;
}

/* ---- budgets ---- */

static void past_add(struct pile_evicts *evicts, const char *group, uint64_t at_ns, bool blocked)
{
	struct pile_evict_past *to = &evicts->past[evicts->past_next++ % PILE_EVICT_PAST_MAX];

	*to = (struct pile_evict_past){ .at_ns = at_ns, .blocked = blocked };
	snprintf(to->group, sizeof(to->group), "%s", group);
}

void pile_evicts_recall(struct pile_evicts *evicts, const char *group, uint64_t ago_ns,
			uint64_t now_ns)
{
	if (group[0] && ago_ns < PILE_EVICT_SPAN_NS)
		past_add(evicts, group, now_ns - MIN(ago_ns, now_ns), false);
}

static bool within_budget(const struct pile_evicts *evicts, const char *group, uint32_t workers,
			  bool blocked, uint64_t now_ns)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < PILE_EVICT_PAST_MAX; i++) {
		const struct pile_evict_past *past = &evicts->past[i];

		if (!past->group[0] || past->blocked != blocked)
			continue;
		if (now_ns - past->at_ns < PILE_EVICT_EVERY_NS)
			return false;
		n += now_ns - past->at_ns < PILE_EVICT_SPAN_NS && !strcmp(past->group, group);
	}
	return n < MAX(workers / PILE_EVICT_FEW, 1);
}

/* ---- what is left, and who takes it ---- */

static uint64_t lasts_ns(uint64_t bytes, uint64_t rate_bytes)
{
	if (!rate_bytes)
		return UINT64_MAX;
	return (uint64_t)MIN((unsigned __int128)bytes * NS_PER_SEC / rate_bytes,
			     (unsigned __int128)UINT64_MAX - 1);
}

/* What the cgroup has, or where that is not known (cgroup v1) what its workers hold. */
static uint64_t used_of(const struct pile_sample *sample, uint32_t group,
			const struct pile_candidates_sum *sum)
{
	uint64_t known = sample->groups[group].memory_bytes;

	return known ? known : sum->private_bytes;
}

static void look_push(struct pile_evict_group *g, const struct pile_sample *sample,
		      uint64_t used_bytes)
{
	g->head = (g->head + 1) % PILE_EVICT_LOOKS;
	g->n = MIN(g->n + 1, PILE_EVICT_LOOKS);
	g->ring[g->head] = (struct pile_evict_look){
		.t_ns = sample->now_ns,
		.available_bytes = sample->memory_available_bytes,
		.used_bytes = used_bytes,
	};
}

/* The look that the workers' recent growth is counted from, or the oldest. */
static const struct pile_evict_look *look_then(const struct pile_evict_group *g, uint64_t recent_ns)
{
	const struct pile_evict_look *now = &g->ring[g->head], *then = now;

	for (uint32_t back = 1; back < g->n; back++) {
		then = &g->ring[(g->head + PILE_EVICT_LOOKS - back) % PILE_EVICT_LOOKS];
		if (now->t_ns - then->t_ns >= recent_ns)
			break;
	}
	return then;
}

/*
 * The bound that these few reach first, of those that run out by them and not by something else. False: there is none
 * that is known to. @leak: by no more than what is left; what a group or a host takes in a moment says nothing there.
 */
static bool bound_find(const struct pile_evict_group *g, const struct pile_rung_context *ctx,
		       uint32_t group, bool leak, struct chosen *c)
{
	const struct pile_evict_look *now = &g->ring[g->head],
				     *then = look_then(g, ctx->sample->recent_ns);
	const struct pile_policy_group *config = &ctx->view->groups[group].config;
	uint64_t span_ns = now->t_ns - then->t_ns,
		 budget = config->memory_budget_permille ? ctx->sample->memory_total_bytes / 1000 *
								   config->memory_budget_permille
							 : config->memory_budget_bytes,
		 limit = ctx->sample->groups[group].memory_limit_bytes;
	uint64_t group_growth = pile_number_per_second(
		pile_number_minus(now->used_bytes, then->used_bytes), span_ns);
	const struct {
		enum pile_evict_bound bound;
		bool known;
		uint64_t free_bytes, growth_bytes, large_bytes;
	} bounds[] = {
		{ PILE_EVICT_HOST, now->available_bytes >= ctx->reserve_bytes / KNOWN_SHARE,
		  pile_number_minus(now->available_bytes, ctx->reserve_bytes),
		  pile_number_per_second(
			  pile_number_minus(then->available_bytes, now->available_bytes), span_ns),
		  HOST_LARGE_BYTES + ctx->sample->memory_total_bytes / HOST_LARGE_SHARE },
		{ PILE_EVICT_BUDGET, budget > 0, pile_number_minus(budget, now->used_bytes),
		  group_growth, budget / LARGE_SHARE },
		{ PILE_EVICT_LIMIT, limit > 0, pile_number_minus(limit, now->used_bytes),
		  group_growth, limit / LARGE_SHARE },
	};

	c->left_ns = UINT64_MAX;
	for (size_t i = 0; i < ARRAY_LEN(bounds); i++) {
		uint64_t growth = leak ? c->sum.growth_bytes
				       : MAX(bounds[i].growth_bytes, c->sum.growth_bytes),
			 left_ns = lasts_ns(bounds[i].free_bytes, c->rate_bytes);

		/* one that is used up already is a level, whoever brought it there */
		if (!bounds[i].known || !bounds[i].free_bytes || (!leak && !span_ns) ||
		    left_ns >= c->left_ns ||
		    (unsigned __int128)c->rate_bytes * 1000 <
			    (unsigned __int128)growth * PILE_EVICT_SHARE_PERMILLE)
			continue;
		c->bound = bounds[i].bound;
		c->free_bytes = bounds[i].free_bytes;
		c->bound_growth_bytes = growth;
		c->fell_bytes = bounds[i].growth_bytes;
		c->large_bytes = MAX(bounds[i].large_bytes, RISEN_MIN_BYTES);
		c->left_ns = left_ns;
	}
	return c->left_ns < UINT64_MAX;
}

/* ---- the rules ---- */

/* One worker, or few, take most of it; who takes most is @evicts->candidates' first. */
static bool few_take_it(struct pile_evicts *evicts, const struct pile_rung_context *ctx,
			uint32_t group, struct chosen *c)
{
	struct pile_candidates *list = &evicts->candidates;

	pile_candidates_rank(ctx->sample, group, c->cause == PILE_EVICT_LEAK, list, &c->sum);
	c->few = pile_candidates_few(list, &c->sum, MAX(c->sum.workers / PILE_EVICT_FEW, 1),
				     PILE_EVICT_SHARE_PERMILLE, PILE_EVICT_SHARE_FEW_PERMILLE,
				     &c->share_permille, &c->rate_bytes);
	c->others_bytes = c->few ? pile_candidates_others(list, &c->sum, c->few) : 0;
	return c->few > 0;
}

/* Nobody is ended who holds no more than others do, or without whom memory is gone as soon. */
static bool is_worth_it(const struct pile_candidate *first, struct chosen *c)
{
	c->after_ns = lasts_ns(c->free_bytes + first->private_bytes,
			       pile_number_minus(c->bound_growth_bytes, first->growth_bytes));
	return first->private_bytes >= OUTLIER * c->others_bytes &&
	       (c->after_ns >= PILE_RISK_HORIZON_NS || c->after_ns / BUYS >= c->left_ns);
}

static void looks_count(struct pile_evict_group *g, const struct pile_candidate *first)
{
	if (!first || g->pid != first->pid || g->start_ns != first->start_ns)
		g->looks = 0;
	g->pid = first ? first->pid : 0;
	g->start_ns = first ? first->start_ns : 0;
	g->looks += first != NULL;
}

/*
 * Memory is gone in less than 3 s by this worker's growth; and the forecast has come true for as long as it reaches,
 * or, in the last second, for half of that.
 */
static bool is_hog(struct pile_evicts *evicts, const struct pile_rung_context *ctx, uint32_t group,
		   struct chosen *c)
{
	struct pile_evict_group *g = &evicts->groups[group];
	const struct pile_candidate *first = &evicts->candidates.list[0];
	uint64_t seen_ns, risen = 0;

	c->cause = PILE_EVICT_HOG;
	if (!few_take_it(evicts, ctx, group, c) || !bound_find(g, ctx, group, false, c) ||
	    c->left_ns >= PILE_EVICT_HOG_NS) {
		looks_count(g, NULL);
		return false;
	}
	looks_count(g, first);
	for (uint32_t i = 0; i < MIN(ctx->sample->n_workers, PILE_SAMPLE_WORKERS_MAX); i++)
		if (ctx->sample->workers[i].pid == first->pid)
			risen = ctx->sample->workers[i].risen_bytes;
	seen_ns = c->left_ns < PILE_EVICT_LAST_NS ? c->left_ns / 2 : c->left_ns;
	/* the bound itself must fall by it: what others give back meanwhile is as good as free */
	return g->looks >= LOOKS_MIN && ctx->sample->recent_ns >= RECENT_MIN_NS &&
	       first->rising_ns >= MAX(seen_ns, RECENT_MIN_NS) && risen >= c->large_bytes &&
	       c->fell_bytes >= c->rate_bytes / 2 && is_worth_it(first, c);
}

/*
 * The bound has fallen by what this worker took since it was first seen to be the one, for as long as is left, a minute
 * at most: a forecast that has come true.
 */
static bool has_fallen(struct pile_evict_group *g, const struct pile_candidate *first,
		       const struct chosen *c, uint64_t now_ns)
{
	const struct pile_evict_look *now = &g->ring[g->head];
	uint64_t fell, took, span_ns;

	if (g->leak.pid != first->pid || g->leak.start_ns != first->start_ns ||
	    g->leak.bound != c->bound || g->leak.free_bytes < c->free_bytes ||
	    now_ns - g->leak.at_ns > 2 * LEAK_SEEN_NS) {
		g->leak =
			(struct pile_evict_leak){ first->pid, c->bound,	     first->start_ns,
						  now_ns,     c->free_bytes, first->private_bytes };
		return false;
	}
	span_ns = now_ns - g->leak.at_ns;
	if (!now->t_ns || span_ns < MIN(c->left_ns, LEAK_SEEN_NS))
		return false;
	fell = pile_number_minus(g->leak.free_bytes, c->free_bytes);
	took = pile_number_minus(first->private_bytes, g->leak.private_bytes);
	return took > 0 && fell >= took / 2;
}

/*
 * Memory is gone within ten minutes by a worker that grew all the while for as long: ended when it is idle, or in the
 * last tenth of that in any case. Not while something else takes more in this second.
 */
static bool is_leak(struct pile_evicts *evicts, const struct pile_rung_context *ctx, uint32_t group,
		    struct chosen *c)
{
	const struct pile_candidate *first = &evicts->candidates.list[0];
	uint64_t within_ns = MIN(PILE_EVICT_LEAK_NS, ctx->sample->grown_over_ns);

	c->cause = PILE_EVICT_LEAK;
	if (!few_take_it(evicts, ctx, group, c) ||
	    !bound_find(&evicts->groups[group], ctx, group, true, c) || c->left_ns >= within_ns)
		return false;
	if (!has_fallen(&evicts->groups[group], first, c, ctx->sample->now_ns))
		return false;
	return ctx->risk[group].growth_bytes <= OTHER_GROWTH * c->rate_bytes &&
	       (!first->waiting || c->left_ns < within_ns / PILE_EVICT_LEAK_LAST) &&
	       is_worth_it(first, c);
}

/* ---- episodes ---- */

static struct pile_evict_episode *episode_take(struct pile_evicts *evicts)
{
	for (int i = 0; i < PILE_EVICTS_MAX; i++)
		if (!evicts->table[i].used)
			return &evicts->table[i];
	return NULL;
}

static void episode_close(struct pile_evict_episode *e, enum pile_close_reason reason,
			  const struct pile_sample_evicted *result, uint64_t now_ns,
			  struct pile_intents *out)
{
	struct pile_intent *intent = pile_intents_add(out, PILE_INTENT_EVICT_OVER, e->group);

	e->used = false;
	if (!intent)
		return;
	intent->blocked = e->blocked;
	intent->explain_id = e->explain_id;
	intent->close_reason = reason;
	intent->outage_ns = now_ns - e->at_ns;
	intent->why.pid = e->pid;
	intent->why.evict.error = ETIMEDOUT;
	if (!result)
		return;
	intent->why.evict.signal = result->signal;
	intent->why.evict.error = result->error;
	intent->why.evict.gone_ns = pile_number_minus(result->gone_ns, e->at_ns);
	intent->why.evict.freed_bytes = result->freed_bytes;
}

/* The oldest of those that were only told. */
static struct pile_evict_episode *episode_virtual(struct pile_evicts *evicts)
{
	struct pile_evict_episode *oldest = NULL;

	for (int i = 0; i < PILE_EVICTS_MAX; i++)
		if (evicts->table[i].blocked && (!oldest || evicts->table[i].at_ns < oldest->at_ns))
			oldest = &evicts->table[i];
	return oldest;
}

/* One at a time: what the last one frees is not free yet. A virtual one for this worker is told already. */
static bool under_way(const struct pile_evicts *evicts, uint32_t group,
		      const struct pile_candidate *c, enum pile_blocked blocked)
{
	for (int i = 0; i < PILE_EVICTS_MAX; i++) {
		const struct pile_evict_episode *e = &evicts->table[i];

		if (!e->used || e->group != group || (e->blocked != 0) != (blocked != 0))
			continue;
		if (!e->blocked || (e->pid == c->pid && e->start_ns == c->start_ns))
			return true;
	}
	return false;
}

static void why_fill(const struct pile_rung_context *ctx, uint32_t group, const struct chosen *c,
		     const struct pile_candidate *first, struct pile_why *why)
{
	why->pid = first->pid;
	why->waiting = first->waiting;
	why->oldest_ns = first->oldest_ns;
	why->share_permille = c->share_permille;
	why->growth_bytes = first->growth_bytes;
	why->free_bytes = c->free_bytes;
	why->exhaustion_ns = c->left_ns;
	why->rate_milli = ctx->risk[group].rate_milli;
	why->grown_over_ns =
		c->cause == PILE_EVICT_LEAK ? ctx->sample->grown_over_ns : ctx->sample->recent_ns;
	why->evict = (struct pile_why_evict){
		.cause = c->cause,
		.bound = c->bound,
		.workers = c->sum.workers,
		.few = c->few,
		.start_ns = first->start_ns,
		.private_bytes = first->private_bytes,
		.rising_ns = first->rising_ns,
		.others_bytes = c->others_bytes,
		.bound_growth_bytes = c->bound_growth_bytes,
		.after_ns = c->after_ns,
		.idle = !first->waiting,
	};
}

static uint64_t grace_of(const struct chosen *c)
{
	if (c->cause == PILE_EVICT_LEAK)
		return GRACE_MAX_NS;
	if (c->left_ns < PILE_EVICT_LAST_NS)
		return GRACE_MIN_NS;
	return CLAMP(c->left_ns / GRACE_SHARE, GRACE_MIN_NS, GRACE_MAX_NS);
}

static bool evict(struct pile_evicts *evicts, const struct pile_rung_context *ctx, uint32_t group,
		  const struct chosen *c, struct pile_intents *out)
{
	struct pile_candidate *first = &evicts->candidates.list[0];
	const char *name = ctx->view->groups[group].config.name;
	enum pile_blocked blocked = pile_evict_blocked(ctx->view, group);
	struct pile_evict_episode *e = episode_take(evicts), *virtual;
	uint64_t now_ns = ctx->sample->now_ns;
	struct pile_intent *intent;

	pile_candidates_kin(&evicts->candidates, ctx->sample, group);
	if (under_way(evicts, group, first, blocked))
		return false;
	/* why nothing is done is told, too */
	if (!pile_candidate_may(first)) {
		if (blocked != PILE_BLOCKED_NO)
			return false;
		blocked = PILE_BLOCKED_SPARED;
	}
	if (blocked == PILE_BLOCKED_NO &&
	    !within_budget(evicts, name, c->sum.workers, false, now_ns))
		blocked = PILE_BLOCKED_BUDGET;
	virtual = !e && blocked == PILE_BLOCKED_NO ? episode_virtual(evicts) : NULL;
	if ((!e && !virtual) || under_way(evicts, group, first, blocked) ||
	    (blocked != PILE_BLOCKED_NO &&
	     !within_budget(evicts, name, c->sum.workers, true, now_ns)))
		return false;
	if (virtual) {
		episode_close(virtual, PILE_CLOSE_ROOM, NULL, now_ns, out);
		e = virtual;
	}
	intent = pile_intents_add(out, PILE_INTENT_EVICT, group);
	if (!intent)
		return false;
	past_add(evicts, name, now_ns, blocked != PILE_BLOCKED_NO);
	evicts->past_changes += blocked == PILE_BLOCKED_NO;
	intent->explain_id = pile_explain_id_take(ctx->next_explain_id);
	intent->blocked = blocked;
	intent->grace_ns = grace_of(c);
	why_fill(ctx, group, c, first, &intent->why);
	*e = (struct pile_evict_episode){
		.used = true,
		.group = group,
		.pid = first->pid,
		.explain_id = intent->explain_id,
		.blocked = blocked,
		.start_ns = first->start_ns,
		.at_ns = now_ns,
		.grew_ns = now_ns,
	};
	return true;
}

/* ---- how it ends ---- */

static const struct pile_sample_evicted *result_find(const struct pile_sample *sample, uint32_t id)
{
	for (uint32_t i = 0; i < MIN(sample->n_evicted, PILE_SAMPLE_EVICTED_MAX); i++)
		if (sample->evicted[i].explain_id == id)
			return &sample->evicted[i];
	return NULL;
}

/* A virtual one: its worker is gone by itself, or grows no more. */
static enum pile_close_reason virtual_over(struct pile_evict_episode *e,
					   const struct pile_sample *sample)
{
	for (uint32_t i = 0; i < MIN(sample->n_workers, PILE_SAMPLE_WORKERS_MAX); i++) {
		const struct pile_sample_worker *w = &sample->workers[i];

		if (w->pid != e->pid || w->start_ns != e->start_ns)
			continue;
		if (w->rising_ns || w->rate_bytes)
			e->grew_ns = sample->now_ns;
		return sample->now_ns - e->grew_ns >= QUIET_NS ? PILE_CLOSE_QUIET : PILE_CLOSE_NONE;
	}
	return PILE_CLOSE_GONE;
}

static void episodes_update(struct pile_evicts *evicts, const struct pile_sample *sample,
			    struct pile_intents *out)
{
	for (int i = 0; i < PILE_EVICTS_MAX; i++) {
		struct pile_evict_episode *e = &evicts->table[i];
		const struct pile_sample_evicted *result;
		enum pile_close_reason reason = PILE_CLOSE_NONE;

		if (!e->used)
			continue;
		result = e->blocked ? NULL : result_find(sample, e->explain_id);
		if (result)
			reason = result->gone_ns ? PILE_CLOSE_ENDED : PILE_CLOSE_NOT_ENDED;
		else if (!e->blocked && sample->now_ns - e->at_ns >= RESULT_NS)
			reason = PILE_CLOSE_NOT_ENDED;
		else if (e->blocked && sample->looked_ns == sample->now_ns)
			reason = virtual_over(e, sample);
		if (reason != PILE_CLOSE_NONE)
			episode_close(e, reason, result, sample->now_ns, out);
	}
}

static bool group_decide(struct pile_evicts *evicts, const struct pile_rung_context *ctx,
			 uint32_t group, struct pile_intents *out)
{
	struct chosen c = { 0 };

	pile_candidates_rank(ctx->sample, group, false, &evicts->candidates, &c.sum);
	look_push(&evicts->groups[group], ctx->sample, used_of(ctx->sample, group, &c.sum));
	if (is_hog(evicts, ctx, group, &c) || is_leak(evicts, ctx, group, &c))
		return evict(evicts, ctx, group, &c, out);
	return false;
}

void pile_evicts_update(struct pile_evicts *evicts, const struct pile_rung_context *ctx,
			struct pile_intents *out)
{
	const struct pile_sample *sample = ctx->sample;

	episodes_update(evicts, sample, out);
	for (uint32_t i = 0; i < ctx->view->n_groups; i++) {
		const struct pile_decide_group *g = &ctx->view->groups[i];

		if (ctx->late || !g->used || !g->named || !sample->groups[i].present ||
		    g->config.workers != PILE_WORKERS_PREFORK) {
			evicts->groups[i].n = evicts->groups[i].looks = 0;
			continue;
		}
		/* the candidates kept are this one's: no second in the same tick */
		if (sample->looked_ns == sample->now_ns && group_decide(evicts, ctx, i, out))
			return;
	}
}

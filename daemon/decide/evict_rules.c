// SPDX-License-Identifier: GPL-2.0-or-later
/* evict_rules.c: is memory about to be used up, and by whom? */
#include "decide/decide.h"
#include "decide/evict_inner.h"
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
#define OTHER_GROWTH \
	2 /* a leak is not what memory runs out by while something grows by more than this many of it */

/* Of the reserve: when less than that is available nothing can be less, and nobody's growth is seen in it any more. */
#define KNOWN_SHARE 4

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
		       uint32_t group, bool leak, struct pile_evict_chosen *c)
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
			uint32_t group, struct pile_evict_chosen *c)
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
static bool is_worth_it(const struct pile_candidate *first, struct pile_evict_chosen *c)
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
bool pile_evict_is_hog(struct pile_evicts *evicts, const struct pile_rung_context *ctx,
		       uint32_t group, struct pile_evict_chosen *c)
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
		       const struct pile_evict_chosen *c, uint64_t now_ns)
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
bool pile_evict_is_leak(struct pile_evicts *evicts, const struct pile_rung_context *ctx,
			uint32_t group, struct pile_evict_chosen *c)
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

void pile_evict_look_take(struct pile_evicts *evicts, const struct pile_sample *sample,
			  uint32_t group, struct pile_evict_chosen *c)
{
	pile_candidates_rank(sample, group, false, &evicts->candidates, &c->sum);
	look_push(&evicts->groups[group], sample, used_of(sample, group, &c->sum));
}

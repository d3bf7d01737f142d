// SPDX-License-Identifier: GPL-2.0-or-later
#include "decide/evict.h"

#include <errno.h>
#include <string.h>

#include "decide/candidates.h"
#include "decide/decide.h"
#include "decide/evict_inner.h"
#include "util/macro.h"
#include "util/number.h"

#define GRACE_MIN_NS (100 * NS_PER_MS)
#define GRACE_MAX_NS NS_PER_SEC
#define GRACE_SHARE 4		    /* of what is left */
#define RESULT_NS (30 * NS_PER_SEC) /* act tells within some seconds; then nothing is known */
#define QUIET_NS \
	(10 * NS_PER_SEC) /* a virtual one whose worker has not grown for so long is over */

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

static void why_fill(const struct pile_rung_context *ctx, uint32_t group,
		     const struct pile_evict_chosen *c, const struct pile_candidate *first,
		     struct pile_why *why)
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

static uint64_t grace_of(const struct pile_evict_chosen *c)
{
	if (c->cause == PILE_EVICT_LEAK)
		return GRACE_MAX_NS;
	if (c->left_ns < PILE_EVICT_LAST_NS)
		return GRACE_MIN_NS;
	return CLAMP(c->left_ns / GRACE_SHARE, GRACE_MIN_NS, GRACE_MAX_NS);
}

static bool evict(struct pile_evicts *evicts, const struct pile_rung_context *ctx, uint32_t group,
		  const struct pile_evict_chosen *c, struct pile_intents *out)
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
	struct pile_evict_chosen c = { 0 };

	pile_evict_look_take(evicts, ctx->sample, group, &c);
	if (pile_evict_is_hog(evicts, ctx, group, &c) || pile_evict_is_leak(evicts, ctx, group, &c))
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

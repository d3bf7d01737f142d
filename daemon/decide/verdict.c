// SPDX-License-Identifier: GPL-2.0-or-later
#include "decide/verdict.h"

#include <string.h>

#include "util/macro.h"

/* design.md, "Verdict" */
#define N0_MAX 16
#define N0_BUDGET_SHARE 20 /* 5 % of the memory budget */
#define IMBALANCE_MIN 12
#define IMBALANCE_PERMILLE 300
#define SUSPECT_FOR_NS (300 * NS_PER_MS)
#define RELIEVE_FOR_NS NS_PER_SEC
#define EVICT_AFTER_NS NS_PER_SEC
#define EVICT_FOR_NS (300 * NS_PER_MS)
#define EVICT_EXHAUSTION_NS (3 * NS_PER_SEC)
#define CLEAR_FOR_NS (10 * NS_PER_SEC)
/* four relapses: a pile-up every few minutes is one story */
#define CLEAR_FOR_MAX_NS (160 * NS_PER_SEC)
/* after ten quiet minutes a new pile-up is a new story */
#define RELAPSE_WITHIN_NS (600 * NS_PER_SEC)

void pile_verdict_init(struct pile_verdict *verdict)
{
	memset(verdict, 0, sizeof(*verdict));
	verdict->hold_ns = CLEAR_FOR_NS;
}

static uint32_t root(uint64_t x)
{
	uint64_t r = 0;

	if (!x)
		return 0;
	for (uint64_t bit = 1ULL << ((63 - __builtin_clzll(x)) / 2); bit; bit >>= 1)
		if ((r + bit) * (r + bit) <= x)
			r += bit;
	return (uint32_t)r;
}

static const struct pile_verdict_point *point(const struct pile_verdict *verdict, uint32_t back)
{
	back = MIN(back, verdict->n - 1);
	return &verdict->ring[(verdict->head + PILE_VERDICT_WINDOW - back) % PILE_VERDICT_WINDOW];
}

static void push(struct pile_verdict *verdict, uint64_t now_ns, const struct pile_sample_group *g)
{
	uint64_t ended = g->answered + g->closed;

	/* totals that go back belong to a new object */
	if (verdict->n &&
	    (g->opened < point(verdict, 0)->opened || ended < point(verdict, 0)->ended))
		verdict->n = 0;
	verdict->head = (verdict->head + 1) % PILE_VERDICT_WINDOW;
	verdict->n = MIN(verdict->n + 1, PILE_VERDICT_WINDOW);
	verdict->ring[verdict->head] = (struct pile_verdict_point){
		.t_ns = now_ns,
		.opened = g->opened,
		.ended = ended,
		.waiting = g->waiting,
	};
}

/* Waits on dependencies: connects for > 500 ms, and those that are established but dumb. */
static uint32_t waits_of(const struct pile_sample *sample, uint32_t group)
{
	uint64_t waits = 0;

	for (uint32_t i = 0; i < MIN(sample->n_dependencies, PILE_SAMPLE_DEPENDENCIES_MAX); i++) {
		const struct pile_sample_dependency *dep = &sample->dependencies[i];

		if (dep->group == group)
			waits += (uint64_t)dep->stuck + MAX(dep->silent, dep->unacked);
	}
	return (uint32_t)MIN(waits, UINT32_MAX);
}

/* Half the excess is older than X. */
static bool is_old(const struct pile_sample_group *g, uint32_t w99, uint64_t patience_ns)
{
	uint64_t old = 0;

	for (unsigned int i = (unsigned int)MIN(patience_ns / PILE_WHEEL_SLOT_NS, PILE_WHEEL_SLOTS);
	     i <= PILE_WHEEL_SLOTS; i++)
		old += g->age[i];
	return g->waiting > w99 && old * 2 >= g->waiting - w99;
}

static uint32_t slack(const struct pile_risk *risk)
{
	if (!risk->request_bytes)
		return N0_MAX;
	return (uint32_t)CLAMP(risk->budget_bytes / N0_BUDGET_SHARE / risk->request_bytes, 1ULL,
			       (uint64_t)N0_MAX);
}

static void look(struct pile_verdict *verdict, const struct pile_baseline *baseline,
		 const struct pile_risk *risk, const struct pile_policy_group *config,
		 uint64_t reserve_bytes, const struct pile_sample *sample, uint32_t group)
{
	const struct pile_sample_group *g = &sample->groups[group];
	const struct pile_verdict_point *then = point(verdict, PILE_VERDICT_WINDOW - 1),
					*now = point(verdict, 0);
	struct pile_verdict_terms *t = &verdict->now;
	uint32_t w99 = pile_baseline_waiting(baseline, config->baseline_waiting), n0 = slack(risk);
	uint64_t grown;
	bool falling = g->waiting < point(verdict, 10)->waiting; /* 10 ticks: 1 s */

	t->ready = pile_baseline_ready(baseline, config->baseline_waiting);
	t->excess_bound = w99 + root(16 * ((uint64_t)w99 + 1)) + n0;
	t->clear_bound = w99 + root(4 * ((uint64_t)w99 + 1)) + n0 / 2;
	t->waits = waits_of(sample, group);
	t->sum_opened = now->opened - then->opened;
	t->sum_ended = now->ended - then->ended;
	grown = t->sum_opened > t->sum_ended ? t->sum_opened - t->sum_ended : 0;
	t->excess = t->ready && g->waiting > t->excess_bound;
	t->imbalance = grown >= IMBALANCE_MIN && grown * 1000 >= t->sum_opened * IMBALANCE_PERMILLE;
	/*
	 * "A <= C": per tick chance decides, so over 2 s, within the noise of a queue that is in
	 * balance
	 */
	t->balanced = grown <= 2ULL * root(t->sum_opened);
	t->relieve = t->excess && pile_risk_at_risk(risk) &&
		     (risk->growth_bytes > risk->budget_bytes / 100 ||
		      is_old(g, w99, pile_baseline_patience_ns(baseline)) ||
		      t->waits * 2ULL >= g->waiting);
	t->evict = t->excess && !falling &&
		   ((risk->growth_bytes && risk->exhaustion_ns < EVICT_EXHAUSTION_NS) ||
		    sample->memory_available_bytes < reserve_bytes);
}

/* Has @holds been true for @for_ns? @since_ns: kept by the caller, 0 while it does not hold. */
static bool lasts(bool holds, uint64_t *since_ns, uint64_t now_ns, uint64_t for_ns)
{
	if (!holds)
		*since_ns = 0;
	else if (!*since_ns)
		*since_ns = now_ns;
	return holds && now_ns - *since_ns >= for_ns;
}

static void begin_episode(struct pile_verdict *verdict, uint64_t now_ns)
{
	bool relapse = verdict->cleared_ns && now_ns - verdict->cleared_ns < RELAPSE_WITHIN_NS;

	verdict->hold_ns = relapse ? MIN(verdict->hold_ns * 2, CLEAR_FOR_MAX_NS) : CLEAR_FOR_NS;
}

static enum pile_stage next_stage(struct pile_verdict *verdict, uint32_t waiting, uint64_t now_ns)
{
	const struct pile_verdict_terms *t = &verdict->now;
	enum pile_stage stage = verdict->stage;
	bool suspect =
		lasts(t->excess && t->imbalance, &verdict->suspect_ns, now_ns, SUSPECT_FOR_NS);
	bool relieve = lasts(stage >= PILE_STAGE_SUSPECT && t->relieve, &verdict->relieve_ns,
			     now_ns, RELIEVE_FOR_NS);
	bool evict = lasts(stage >= PILE_STAGE_RELIEVE &&
				   now_ns - verdict->since_ns >= EVICT_AFTER_NS && t->evict,
			   &verdict->evict_ns, now_ns, EVICT_FOR_NS);
	bool clear = lasts(waiting < t->clear_bound && t->balanced, &verdict->clear_ns, now_ns,
			   verdict->hold_ns);

	if (stage == PILE_STAGE_CALM)
		return suspect ? PILE_STAGE_SUSPECT : stage;
	if (clear)
		return PILE_STAGE_CALM;
	if (stage == PILE_STAGE_SUSPECT && relieve)
		return PILE_STAGE_RELIEVE;
	if (stage == PILE_STAGE_RELIEVE && evict)
		return PILE_STAGE_EVICT;
	return stage;
}

static void start_again(struct pile_verdict *verdict)
{
	verdict->n = 0;
	verdict->suspect_ns = verdict->relieve_ns = verdict->evict_ns = verdict->clear_ns = 0;
}

bool pile_verdict_update(struct pile_verdict *verdict, const struct pile_baseline *baseline,
			 const struct pile_risk *risk, const struct pile_policy_group *config,
			 uint64_t reserve_bytes, const struct pile_sample *sample, uint32_t group,
			 bool late, enum pile_stage *ret_from)
{
	uint64_t now_ns = sample->now_ns;
	enum pile_stage from = verdict->stage, to;

	if (late)
		start_again(verdict);
	push(verdict, now_ns, &sample->groups[group]);
	look(verdict, baseline, risk, config, reserve_bytes, sample, group);
	to = next_stage(verdict, sample->groups[group].waiting, now_ns);
	if (late || to == from)
		return false;
	if (from == PILE_STAGE_CALM)
		begin_episode(verdict, now_ns);
	if (to == PILE_STAGE_CALM)
		verdict->cleared_ns = now_ns;
	verdict->stage = to;
	verdict->since_ns = now_ns;
	*ret_from = from;
	return true;
}

// SPDX-License-Identifier: GPL-2.0-or-later
/* share.c: how many of all new connections are refused while requests pile up: rung 2 without a fixed limit. */
#include <string.h>

#include "decide/decide.h"
#include "util/macro.h"

/* design.md, "Ladder": ramp x1.25 per 2 s */
#define STEP_NS (2 * NS_PER_SEC)
/* ... and four times as fast where it is over: a service is to be back within seconds of its cause */
#define BACK_NS (500 * NS_PER_MS)
#define FIRST 100 /* permille: less is not felt */
#define LAST 50	  /* ... and not worth another step on the way back */

static uint32_t wanted(const struct pile_verdict_terms *t, uint32_t max_permille)
{
	uint64_t more = t->sum_opened > t->sum_ended ? t->sum_opened - t->sum_ended : 0;
	uint64_t permille = t->sum_opened ? more * 1000 / t->sum_opened : 0;

	return (uint32_t)MIN(MAX(permille, FIRST), max_permille);
}

static uint32_t a_quarter_more(uint32_t permille)
{
	return permille + MAX(permille / 4, 1);
}

void pile_share_update(struct pile_share *share, const struct pile_verdict *verdict, bool acts,
		       uint32_t max_permille, uint32_t waiting, uint64_t now_ns)
{
	bool holds = acts && max_permille && verdict->stage >= PILE_STAGE_RELIEVE &&
		     verdict->now.relieve;
	uint32_t want = holds ? wanted(&verdict->now, max_permille) : 0;

	if (want > share->permille) {
		*share = (struct pile_share){ want, waiting, now_ns };
		return;
	}
	share->permille = MIN(share->permille, max_permille);
	if (!share->permille || now_ns - share->step_ns < (holds ? STEP_NS : BACK_NS))
		return;
	if (!holds) {
		uint32_t let_in = MIN(a_quarter_more(1000 - share->permille), 1000);

		share->permille = let_in >= 1000 - LAST ? 0 : 1000 - let_in;
	} else if (waiting >= share->waiting) {
		share->permille = MIN(a_quarter_more(share->permille), max_permille);
	}
	share->waiting = waiting;
	share->step_ns = now_ns;
}

static bool piles_up(const struct pile_decide *state, const struct pile_decide_view *view,
		     uint32_t group)
{
	return view->groups[group].used && view->groups[group].named &&
	       state->verdict[group].stage >= PILE_STAGE_RELIEVE;
}

/* Does this group connect to a listener of that one? Only listeners with a door are known here. */
static bool connects_to(const struct pile_sample *sample, uint32_t group, uint32_t other)
{
	for (uint32_t i = 0; i < sample->n_dependencies; i++) {
		const struct pile_sample_dependency *d = &sample->dependencies[i];

		if (d->group != group)
			continue;
		for (uint32_t j = 1; j < PILE_DOORS_MAX; j++)
			if (sample->doors[j].used && sample->doors[j].group == other &&
			    pile_endpoint_matches(&sample->doors[j].endpoint, &d->endpoint))
				return true;
	}
	return false;
}

bool pile_share_deepest(const struct pile_decide *state, const struct pile_decide_view *view,
			const struct pile_sample *sample, uint32_t group)
{
	bool proxy = view->groups[group].config.workers == PILE_WORKERS_EVENTS;

	for (uint32_t i = 0; i < view->n_groups; i++) {
		if (i == group || !piles_up(state, view, i))
			continue;
		if (proxy && view->groups[i].config.workers != PILE_WORKERS_EVENTS)
			return false;
		if (connects_to(sample, group, i))
			return false;
	}
	return true;
}

// SPDX-License-Identifier: GPL-2.0-or-later
#include "decide/loop.h"

#include "util/macro.h"

static bool may_act(const struct pile_decide *state, const struct pile_decide_view *view,
		    const struct pile_sample *sample, uint32_t group)
{
	const struct pile_decide_group *g = &view->groups[group];

	return g->used && sample->groups[group].present && view->mode == PILE_MODE_ENFORCE &&
	       (g->config.enforce & PILE_RUNG_FAIL_FAST) && !g->foreign && g->gate_ready &&
	       !view->disarmed && !state->network.suspect && !state->network.forming &&
	       !pile_hands_released(&state->breakers.hands, group);
}

void pile_loop_rule(const struct pile_decide *state, const struct pile_decide_view *view,
		    const struct pile_sample *sample, uint32_t group, struct pile_bpf_rule *ret)
{
	const struct pile_policy_group *config = &view->groups[group].config;
	const struct pile_sample_group *g = &sample->groups[group];
	const struct pile_risk *risk = &state->risk[group];

	*ret = (struct pile_bpf_rule){ 0 };
	if (!may_act(state, view, sample, group))
		return;
	*ret = (struct pile_bpf_rule){
		.armed = 1,
		.refuse_errno = (uint32_t)config->refuse_errno,
		.always = config->fail_fast == PILE_FAIL_FAST_ALWAYS,
		.pool_limit = risk->pool_limit,
		.workers = config->workers == PILE_WORKERS_PREFORK ? g->workers : 0,
		.waiting = g->waiting,
		.free_bytes = risk->free_bytes,
		.request_bytes = risk->request_bytes,
		.drift = g->drift,
		.dead_after_ns = MAX(config->dead_after_ns, NS_PER_SEC),
	};
}

// SPDX-License-Identifier: GPL-2.0-or-later
#include "decide/loop.h"

#include <sys/socket.h>

#include "util/macro.h"

/* Something of the group's is released by hand, whatever it is, but for its own listeners (rung 2). */
static bool is_released(const struct pile_decide *state, uint32_t group)
{
	for (unsigned int i = 0; i < PILE_HANDS_MAX; i++) {
		const struct pile_hand *hand = &state->breakers.hands.table[i];

		if (hand->used && !hand->hold && hand->group == group &&
		    hand->endpoint.family != AF_UNIX &&
		    !pile_shed_is_listener(&state->sheds, group, &hand->endpoint))
			return true;
	}
	return false;
}

static bool may_act(const struct pile_decide *state, const struct pile_decide_view *view,
		    const struct pile_sample *sample, uint32_t group)
{
	const struct pile_decide_group *g = &view->groups[group];

	return g->used && sample->groups[group].present && view->mode == PILE_MODE_ENFORCE &&
	       (g->config.enforce & PILE_RUNG_FAIL_FAST) && !g->foreign && g->gate_ready &&
	       !view->disarmed && !state->network.suspect && !state->network.forming &&
	       !is_released(state, group);
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

// SPDX-License-Identifier: GPL-2.0-or-later
#include "decide/decide.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "util/macro.h"

#define RESERVE_BYTES (64ULL << 20) /* product default: 64 MiB + 2 % of memory (policy.h) */
#define RESERVE_SHARE 50
#define LATE_NS (PILE_DECIDE_LATE_PERIODS * PILE_TICK_NS)

struct pile_intent *pile_intents_add(struct pile_intents *intents, enum pile_intent_kind kind,
				     uint32_t group)
{
	struct pile_intent *intent;

	if (intents->n >= PILE_INTENTS_MAX) {
		intents->lost++;
		return NULL;
	}
	intent = &intents->list[intents->n++];
	memset(intent, 0, sizeof(*intent));
	intent->kind = kind;
	intent->group = group;
	return intent;
}

static void forget_group(struct pile_decide *state, uint32_t group)
{
	pile_baseline_init(&state->baseline[group]);
	pile_risk_init(&state->risk[group]);
	pile_verdict_init(&state->verdict[group]);
	pile_leak_init(&state->leak[group]);
	memset(&state->sheds.shares[group], 0, sizeof(state->sheds.shares[group]));
	pile_throttles_forget(&state->throttles, group);
	pile_evicts_forget(&state->evicts, group);
	pile_stops_forget(&state->stops, group);
	pile_proofs_forget(&state->breakers.proofs, group);
	pile_mutes_forget(&state->breakers.mutes, group);
	pile_hands_forget(&state->breakers.hands, group);
	pile_forks_forget(&state->forks[group]);
}

void pile_decide_init(struct pile_decide *state, uint32_t first_explain_id)
{
	memset(state, 0, sizeof(*state));
	pile_breakers_init(&state->breakers);
	pile_network_init(&state->network);
	for (uint32_t i = 0; i < PILE_GROUPS_MAX; i++)
		forget_group(state, i);
	state->next_explain_id = MAX(first_explain_id, 1);
}

void pile_decide_group_reset(struct pile_decide *state, uint32_t group)
{
	if (group >= PILE_GROUPS_MAX)
		return;
	forget_group(state, group);
	for (uint32_t i = 0; i < state->breakers.n_places; i++)
		if (state->breakers.table[i].group == group)
			state->breakers.table[i].orphan = true;
}

static uint64_t reserve_of(const struct pile_decide_view *view, const struct pile_sample *sample)
{
	return view->memory_reserve_bytes
		       ? view->memory_reserve_bytes
		       : RESERVE_BYTES + sample->memory_total_bytes / RESERVE_SHARE;
}

/*
 * Groups that are used in the view and in the sample; the others stay NULL. Returns the longest
 * dead_after.
 */
static uint64_t list_groups(const struct pile_decide_view *view, const struct pile_sample *sample,
			    const struct pile_policy_group *ret[PILE_GROUPS_MAX])
{
	uint64_t longest_ns = NS_PER_SEC;

	for (uint32_t i = 0; i < view->n_groups; i++) {
		ret[i] = view->groups[i].used && sample->groups[i].used ? &view->groups[i].config
									: NULL;
		if (ret[i])
			longest_ns = MAX(longest_ns, ret[i]->dead_after_ns);
	}
	return longest_ns;
}

static void update_risks(struct pile_decide *state, uint32_t n_groups,
			 const struct pile_policy_group *config[PILE_GROUPS_MAX],
			 uint64_t reserve_bytes, const struct pile_sample *sample, bool late)
{
	for (uint32_t i = 0; i < n_groups; i++) {
		if (config[i] && sample->groups[i].present)
			pile_risk_update(&state->risk[i], config[i], reserve_bytes, sample, i,
					 late);
		else if (state->risk[i].n)
			pile_risk_init(&state->risk[i]);
	}
}

/* Those that the policy names; where it names none, nothing can be done, and what is found tells. */
static void groups_that_count(const struct pile_decide_view *view, bool counted[PILE_GROUPS_MAX])
{
	bool any_named = false;

	memset(counted, 0, PILE_GROUPS_MAX * sizeof(counted[0]));
	for (uint32_t i = 0; i < view->n_groups; i++)
		any_named |= view->groups[i].used && view->groups[i].named;
	for (uint32_t i = 0; i < view->n_groups; i++)
		counted[i] = view->groups[i].used && !view->groups[i].foreign &&
			     (view->groups[i].named || !any_named);
}

static void update_network(struct pile_decide *state, const struct pile_decide_view *view,
			   const struct pile_sample *sample, uint64_t dead_after_ns,
			   struct pile_intents *out)
{
	bool counted[PILE_GROUPS_MAX];
	struct pile_intent *intent;
	int change;

	groups_that_count(view, counted);
	change = pile_network_update(&state->network, &state->breakers.proofs, sample, counted,
				     dead_after_ns);
	if (!change)
		return;
	if (change > 0)
		state->network.explain_id = pile_explain_id_take(&state->next_explain_id);
	else
		pile_proofs_restart(&state->breakers.proofs, sample->now_ns);
	intent = pile_intents_add(out, change > 0 ? PILE_INTENT_NETWORK : PILE_INTENT_NETWORK_OVER,
				  0);
	if (!intent)
		return;
	intent->blocked = PILE_BLOCKED_NETWORK;
	intent->explain_id = state->network.explain_id;
	intent->why.dead_destinations = state->network.dead;
	intent->why.no_success_ns =
		sample->now_ns - MAX(state->network.success_ns, state->network.watched_ns);
}

/*
 * Which switch keeps a stage from having consequences: in this version all do; the group's first is
 * named.
 */
static enum pile_blocked stage_blocked(const struct pile_decide_view *view, uint32_t group)
{
	if (view->groups[group].foreign)
		return PILE_BLOCKED_FOREIGN;
	return view->mode == PILE_MODE_ENFORCE ? PILE_BLOCKED_RUNG : pile_breaker_observing(view);
}

static void report_stage(struct pile_decide *state, const struct pile_decide_view *view,
			 const struct pile_sample *sample, uint32_t group, enum pile_stage from,
			 struct pile_intents *out)
{
	struct pile_verdict *v = &state->verdict[group];
	uint32_t waiting = sample->groups[group].waiting, w99;
	struct pile_intent *intent;

	if (from == PILE_STAGE_CALM)
		v->explain_id = pile_explain_id_take(&state->next_explain_id);
	intent = pile_intents_add(out, PILE_INTENT_STAGE, group);
	if (!intent)
		return;
	w99 = pile_baseline_waiting(&state->baseline[group],
				    view->groups[group].config.baseline_waiting);
	intent->blocked = stage_blocked(view, group);
	intent->explain_id = v->explain_id;
	pile_risk_explain(&state->risk[group], waiting, &intent->why);
	intent->why.connecting = v->now.waits;
	intent->why.oldest_ns = sample->groups[group].oldest_ns;
	intent->why.excess = waiting > w99 ? waiting - w99 : 0;
	intent->why.stage_from = from;
	intent->why.stage_to = v->stage;
	if (v->stage == PILE_STAGE_CALM)
		v->explain_id = 0;
}

static void update_leak(struct pile_decide *state, const struct pile_decide_view *view,
			const struct pile_sample *sample, uint32_t group, struct pile_intents *out)
{
	struct pile_leak *leak = &state->leak[group];
	uint64_t free_bytes = state->risk[group].free_bytes;
	/* what a user's session or a container does is not the operator's to mend: shown, not told */
	uint64_t notice_ns = view->groups[group].foreign ? 0 : view->leak_notice_ns;
	int change = pile_leak_update(leak, sample, group, free_bytes, notice_ns);
	struct pile_intent *intent;

	if (!change)
		return;
	intent =
		pile_intents_add(out, change > 0 ? PILE_INTENT_LEAK : PILE_INTENT_LEAK_OVER, group);
	if (intent)
		pile_leak_explain(leak, sample, group, free_bytes, &intent->why);
}

static void learn(struct pile_decide *state, const struct pile_sample *sample, uint32_t group)
{
	const struct pile_sample_group *g = &sample->groups[group];
	const struct pile_verdict *v = &state->verdict[group];
	struct pile_baseline_input input = {
		.waiting = g->waiting,
		.p99_ns = g->p99_ns,
		.rate_milli = state->risk[group].rate_milli,
		.excess = v->now.excess,
		.frozen = v->stage != PILE_STAGE_CALM ||
			  pile_breakers_open_in(&state->breakers, group) ||
			  pile_proofs_suspect(&state->breakers.proofs, group) ||
			  pile_mutes_suspect(&state->breakers.mutes, group),
	};

	pile_baseline_learn(&state->baseline[group], &input);
}

static void update_groups(struct pile_decide *state, const struct pile_decide_view *view,
			  const struct pile_policy_group *config[PILE_GROUPS_MAX],
			  uint64_t reserve_bytes, const struct pile_sample *sample, bool late,
			  struct pile_intents *out)
{
	for (uint32_t i = 0; i < view->n_groups; i++) {
		enum pile_stage from;
		/* a group that was away is looked at as after a late tick: windows start again */
		bool fresh = late || state->risk[i].n <= 1;

		if (!config[i] || !sample->groups[i].present) {
			state->sheds.shares[i].permille = 0; /* whoever comes back begins anew */
			continue;
		}
		if (pile_verdict_update(&state->verdict[i], &state->baseline[i], &state->risk[i],
					config[i], reserve_bytes, sample, i, fresh, &from))
			report_stage(state, view, sample, i, from, out);
		if (!fresh)
			learn(state, sample, i);
		update_leak(state, view, sample, i, out);
		pile_share_update(&state->sheds.shares[i], &state->verdict[i],
				  pile_share_deepest(state, view, sample, i),
				  config[i]->shed_share_permille, sample->groups[i].waiting,
				  sample->now_ns);
	}
}

/* Rungs 3 to 5, the milder first: each sees what those before it want. */
static void update_rungs(struct pile_decide *state, const struct pile_decide_view *view,
			 uint64_t reserve_bytes, const struct pile_sample *sample, bool late,
			 struct pile_intents *out)
{
	const struct pile_rung_context ctx = {
		.view = view,
		.sample = sample,
		.risk = state->risk,
		.reserve_bytes = reserve_bytes,
		.late = late,
		.next_explain_id = &state->next_explain_id,
	};

	pile_throttles_update(&state->throttles, &ctx, out);
	pile_forks_update(state->forks, &ctx, out);
	pile_evicts_update(&state->evicts, &ctx, out);
	pile_stops_update(&state->stops, &ctx, out);
}

enum pile_blocked pile_decide_switch(const struct pile_decide_view *view, uint32_t group,
				     enum pile_rung rung)
{
	const struct pile_decide_group *g = &view->groups[group];

	if (g->foreign)
		return PILE_BLOCKED_FOREIGN;
	if (view->mode != PILE_MODE_ENFORCE)
		return pile_breaker_observing(view);
	if (!(g->config.enforce & rung))
		return PILE_BLOCKED_RUNG;
	return view->disarmed ? PILE_BLOCKED_DISARMED : PILE_BLOCKED_NO;
}

void pile_decide_tick(struct pile_decide *state, const struct pile_decide_view *view,
		      const struct pile_sample *sample, struct pile_intent *ret, uint32_t *ret_n)
{
	const struct pile_policy_group *config[PILE_GROUPS_MAX] = { NULL };
	struct pile_intents out = { .list = ret };
	uint64_t reserve_bytes = reserve_of(view, sample), gap_ns, dead_after_ns, lost_ns;
	bool piles_up[PILE_GROUPS_MAX] = { false }, late;

	*ret_n = 0;
	if (state->last_tick_ns && sample->now_ns <= state->last_tick_ns) {
		state->ticks_dropped++;
		pile_breakers_renew(&state->breakers, &out);
		*ret_n = out.n;
		return;
	}
	gap_ns = state->last_tick_ns ? sample->now_ns - state->last_tick_ns : PILE_TICK_NS;
	late = sample->late_ns > LATE_NS || gap_ns > LATE_NS + PILE_TICK_NS;
	state->last_tick_ns = sample->now_ns;
	state->ticks++;
	state->ticks_dropped += late;

	dead_after_ns = list_groups(view, sample, config);
	for (uint32_t i = 0; i < view->n_groups; i++)
		piles_up[i] = state->verdict[i].stage != PILE_STAGE_CALM;
	update_risks(state, view->n_groups, config, reserve_bytes, sample, late);
	lost_ns = late && gap_ns > PILE_TICK_NS ? gap_ns - PILE_TICK_NS : 0;
	pile_proofs_update(&state->breakers.proofs, config, state->risk, piles_up, sample, lost_ns);
	pile_mutes_update(&state->breakers.mutes, config, sample, lost_ns);
	if (!late)
		update_network(state, view, sample, dead_after_ns, &out);
	pile_breakers_update(&state->breakers,
			     &(struct pile_breaker_context){
				     .view = view,
				     .sample = sample,
				     .risk = state->risk,
				     .network = &state->network,
				     .now_ns = sample->now_ns,
				     .late = late,
				     .next_explain_id = &state->next_explain_id,
			     },
			     &out);
	update_groups(state, view, config, reserve_bytes, sample, late, &out);
	pile_sheds_update(state, view, sample, late, &out);
	update_rungs(state, view, reserve_bytes, sample, late, &out);
	state->intents_lost += out.lost;
	*ret_n = out.n;
}

int pile_decide_hold(struct pile_decide *state, const struct pile_decide_view *view, uint32_t group,
		     const struct pile_endpoint *endpoint, bool hold, uint64_t until_ns)
{
	if (group >= PILE_GROUPS_MAX || !view->groups[group].used ||
	    until_ns <= state->last_tick_ns ||
	    (endpoint->family != AF_INET && endpoint->family != AF_INET6 &&
	     endpoint->family != AF_UNIX) ||
	    (hold && !endpoint->port))
		return -EINVAL;
	if (hold) {
		enum pile_blocked blocked = pile_breaker_blocked(
			&state->breakers, view, NULL, group, endpoint, state->last_tick_ns);

		/* a hold takes an earlier release back; the other switches are the policy's */
		if (blocked != PILE_BLOCKED_NO && blocked != PILE_BLOCKED_RELEASED)
			return -EPERM;
	}
	return pile_hands_set(&state->breakers.hands, group, endpoint, hold, until_ns);
}

void pile_decide_stop(struct pile_decide *state, struct pile_intent *ret, uint32_t *ret_n)
{
	struct pile_intents out = { .list = ret };

	pile_breakers_close_all(&state->breakers, state->last_tick_ns, PILE_CLOSE_STOPPED, &out);
	pile_sheds_close_all(&state->sheds, PILE_CLOSE_STOPPED, &out);
	pile_throttles_close_all(&state->throttles, PILE_CLOSE_STOPPED, state->last_tick_ns, &out);
	pile_forks_close_all(state->forks, PILE_CLOSE_STOPPED, state->last_tick_ns, &out);
	*ret_n = out.n;
}

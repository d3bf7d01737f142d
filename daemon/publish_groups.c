// SPDX-License-Identifier: GPL-2.0-or-later
/* publish_groups.c: what the guard knows of its groups and their listeners, for the snapshot. */
#include <string.h>

#include "guard.h"
#include "util/macro.h"

/* The rungs that are really in force. */
static uint32_t enforced(const struct pile_guard *g, uint32_t slot, bool gate_ready)
{
	uint32_t rungs = gate_ready ? PILE_RUNG_FAIL_FAST : 0;

	for (uint32_t i = 1; i < PILE_DOORS_MAX; i++)
		if (g->sample.doors[i].used && g->sample.doors[i].group == slot &&
		    pile_shed_blocked(&g->view, &g->decide.breakers.hands, &g->sample.doors[i],
				      g->sample.now_ns) == PILE_BLOCKED_NO)
			rungs |= PILE_RUNG_SHED;
	return g->groups.groups[slot].config.enforce & rungs;
}

static void held_fill(const struct pile_guard *g, uint32_t slot, uint64_t now_ns,
		      struct pile_snapshot_group *to)
{
	const struct pile_stop_episode *e = pile_stop_held(&g->decide.stops, slot);

	if (!e)
		return;
	to->stop_explain_id = e->explain_id;
	to->stop_down = e->down_ns != 0;
	to->stop_late = e->late_told;
	to->stop_left_ns = e->until_ns > now_ns ? e->until_ns - now_ns : 0;
}

static void placement_fill(const struct pile_guard *g, const struct pile_group *group,
			   uint64_t now_ns, struct pile_snapshot_group *to)
{
	const struct pile_place_status *s;

	to->matched = group->configured && pile_policy_matches(&group->config);
	to->place = to->matched && group->config.place;
	s = to->matched ? pile_placing_status(g, group->config.name) : NULL;
	to->look_late_s = to->matched ? pile_placing_late(g, now_ns) : 0;
	to->looks = g->placing.told.looks;
	to->whole_looks = g->placing.told.whole_looks;
	if (!s)
		return;
	to->inside = s->inside;
	to->outside = s->outside;
	to->place_error = (uint32_t)-s->error;
	pile_place_why(s, to->outside_why, sizeof(to->outside_why));
}

static void group_fill(const struct pile_guard *g, uint32_t slot, uint64_t now_ns,
		       struct pile_snapshot_group *to)
{
	const struct pile_group *group = &g->groups.groups[slot];
	const struct pile_risk *risk = &g->decide.risk[slot];
	const struct pile_explain *last;
	bool enforcing =
		g->view.mode == PILE_MODE_ENFORCE && !g->view.disarmed && group->configured;

	memset(to, 0, sizeof(*to));
	snprintf(to->name, sizeof(to->name), "%s", group->config.name);
	snprintf(to->unit, sizeof(to->unit), "%s", group->config.unit);
	snprintf(to->cgroup, sizeof(to->cgroup), "%s", group->cgroup);
	to->configured = group->configured;
	to->foreign = group->foreign;
	to->gate_ready = pile_act_gate_ready(&g->act, &g->groups, slot);
	to->workers_kind = group->config.workers;
	to->enforce = enforcing ? enforced(g, slot, to->gate_ready) : 0;
	/* of a part of the workers nobody can say who takes most: then nobody is ended */
	if (enforcing && g->view.evict_ready && group->present && !group->foreign &&
	    !g->sense.growth.lost)
		to->enforce |= group->config.enforce & PILE_RUNG_EVICT;
	if (enforcing && g->view.stop_ready && !group->foreign &&
	    pile_act_stop_fit(&g->stops, &g->groups, slot))
		to->enforce |= group->config.enforce & PILE_RUNG_STOP;
	if (enforcing && group->present && pile_throttle_blocked(&g->view, slot) == PILE_BLOCKED_NO)
		to->enforce |= PILE_RUNG_THROTTLE;
	to->gate_missing = enforcing && (group->config.enforce & PILE_RUNG_FAIL_FAST) &&
			   group->present && !group->foreign && !to->gate_ready;
	to->stage = g->decide.verdict[slot].stage;
	to->w99 = pile_baseline_waiting(&g->decide.baseline[slot], group->config.baseline_waiting);
	to->risk_milli = risk->ratio_milli;
	to->rate_milli = risk->rate_milli;
	to->request_bytes = risk->request_bytes;
	to->free_bytes = risk->free_bytes;
	to->exhaustion_ns = risk->exhaustion_ns;
	to->leak = g->decide.leak[slot].told;
	to->leak_left_ns = g->decide.leak[slot].left_ns;
	held_fill(g, slot, now_ns, to);
	/* waiting for seconds is normal here: long polls, learned */
	to->learned_long_poll = to->w99 >= 8 && g->decide.baseline[slot].p99_ns > 5 * NS_PER_SEC;
	to->would_have_acted_24h =
		pile_record_would_have(&g->record, group->config.name, now_ns, &last);
	if (last && last->kind == PILE_INTENT_BREAKER_OPEN)
		pile_endpoint_format(&last->endpoint, to->would_have, sizeof(to->would_have));
	placement_fill(g, group, now_ns, to);
	to->attached_ns = g->attached_ns[slot];
	to->reattached = group->restarts;
	to->sample = g->sample.groups[slot];
}

/* Rung 3: what is set at this group now, by the record: until it is set back, whoever has set it. */
static void throttle_fill(const struct pile_guard *g, uint32_t slot,
			  struct pile_snapshot_half *half, struct pile_snapshot_group *to)
{
	uint64_t *const values[PILE_KNOBS] = { [PILE_KNOB_TASKS] = &to->throttle_tasks,
					       [PILE_KNOB_WEIGHT] = &to->throttle_weight,
					       [PILE_KNOB_QUOTA] = &to->throttle_quota_us };

	for (int i = 0; i < PILE_UNDO_MAX; i++) {
		const struct pile_act_throttled *e = &g->throttles.table[i];

		if (!e->used || (!e->on_ns && !e->over) || e->entry->knob >= PILE_KNOBS ||
		    !e->entry->knob ||
		    strcmp(e->entry->group, g->groups.groups[slot].config.name) != 0)
			continue;
		*values[e->entry->knob] = e->entry->ours;
		to->throttle_explain_id = MAX(to->throttle_explain_id, e->explain_id);
		to->throttle_over |= e->over;
		half->host.throttles++;
	}
	to->forks_explain_id = g->decide.forks[slot].open ? g->decide.forks[slot].explain_id : 0;
	to->cpu_permille = g->decide.throttles.starves.last.share_permille[slot];
}

static void leak_count(struct pile_snapshot_half *half, const struct pile_snapshot_group *group)
{
	uint64_t gone_ns = half->realtime_ns + group->leak_left_ns;

	half->host.workers_growing += group->sample.growing;
	half->host.leaks += group->leak;
	if (group->leak && group->leak_left_ns < UINT64_MAX / 4 &&
	    (!half->host.leak_realtime_ns || gone_ns < half->host.leak_realtime_ns))
		half->host.leak_realtime_ns = gone_ns;
}

/* Slots of the guard's table may have holes; the snapshot has none. */
void pile_publish_groups(const struct pile_guard *g, struct pile_snapshot_half *half,
			 uint32_t *index)
{
	half->n_groups = 0;
	half->host.gates_missing = half->host.workers_growing = half->host.leaks = 0;
	half->host.leak_realtime_ns = 0;
	half->host.throttles = 0;
	for (uint32_t i = 0; i < PILE_GROUPS_MAX; i++) {
		index[i] = PILE_NO_GROUP;
		if (i >= g->groups.n_groups || !g->groups.groups[i].used)
			continue;
		index[i] = half->n_groups;
		group_fill(g, i, half->t_ns, &half->groups[half->n_groups]);
		half->host.gates_missing += half->groups[half->n_groups].gate_missing;
		throttle_fill(g, i, half, &half->groups[half->n_groups]);
		leak_count(half, &half->groups[half->n_groups++]);
	}
}

static void listener_blind(const struct pile_guard *g, const struct pile_listener *l, char *ret,
			   size_t size)
{
	const char *what = "", *why = "";

	if (g->kernel.tier == PILE_TIER_NONE) {
		what = "requests";
		why = "not seen on this kernel";
	} else if (l->type != 1 /* SOCK_STREAM */) {
		what = "requests";
		why = "no stream: not followed";
	} else if (l->endpoint.port == 443 || l->endpoint.port == 8443) {
		what = "TLS and HTTP/2";
		why = "streams of one connection are seen as one; tickets count as a first byte";
	} else if (l->netns != g->groups.own_netns) {
		what = "dependencies";
		why = "own network namespace: pending connects cannot be ended";
	} else if (l->mptcp && g->kernel.tier == PILE_TIER_B) {
		what = "MPTCP";
		why = "one request in some thousands is counted with the next";
	}
	if (!what[0])
		ret[0] = '\0';
	else if (l->endpoint.port)
		snprintf(ret, size, "%s on :%u (%s)", what, l->endpoint.port, why);
	else
		snprintf(ret, size, "%s on %.40s (%s)", what, l->endpoint.path, why);
}

static void listener_door(const struct pile_guard *g, const struct pile_listener *l,
			  struct pile_snapshot_listener *to)
{
	const struct pile_sample_door *door = &g->sample.doors[l->door];
	const struct pile_shed *shed = &g->decide.sheds.doors[l->door];
	const struct pile_hands *hands = &g->decide.breakers.hands;
	const struct pile_hand *released;

	if (!l->door || !door->used)
		return;
	to->counted = true;
	to->refuse_permille = g->decide.sheds.shares[l->group].permille;
	to->connections_max = g->groups.groups[l->group].config.connections_max;
	to->connections = door->held;
	to->refused = door->refused;
	to->refused_now = shed->open ? shed->refused - shed->refused_base : 0;
	to->explain_id = shed->open ? shed->explain_id : 0;
	to->blocked = pile_shed_blocked(&g->view, hands, door, g->sample.now_ns);
	released = pile_hands_find(hands, l->group, &l->endpoint, false, g->sample.now_ns);
	to->released_until_ns = released ? released->until_ns : 0;
}

static void listeners_fill(const struct pile_guard *g, struct pile_snapshot_half *half,
			   const uint32_t *index, bool configured)
{
	for (uint32_t i = 0;
	     i < g->groups.n_listeners && half->n_listeners < PILE_SNAPSHOT_LISTENERS; i++) {
		const struct pile_listener *l = &g->groups.listeners[i];
		struct pile_snapshot_listener *to;

		if (!l->used || index[l->group] == PILE_NO_GROUP ||
		    g->groups.groups[l->group].configured != configured)
			continue;
		to = &half->listeners[half->n_listeners++];
		memset(to, 0, sizeof(*to));
		to->group = index[l->group];
		to->endpoint = l->endpoint;
		to->backlog = l->backlog;
		to->mptcp = l->mptcp;
		listener_blind(g, l, to->blind, sizeof(to->blind));
		listener_door(g, l, to);
	}
}

void pile_publish_listeners(const struct pile_guard *g, struct pile_snapshot_half *half,
			    const uint32_t *index)
{
	half->n_listeners = 0;
	listeners_fill(g, half, index, true);
	listeners_fill(g, half, index, false);
}

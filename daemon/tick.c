// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * tick.c: what one tick does, from the groups to the snapshot.
 */
#include <errno.h>
#include <string.h>
#include <systemd/sd-daemon.h>

#include "decide/loop.h"
#include "guard.h"
#include "policy/claim.h"
#include "util/clock.h"

#define DISCOVER_EVERY_NS (500 * NS_PER_MS) /* a new listener is followed within half a second */
#define WATCH_EVERY_TICKS \
	50 /* files on disk: a change is told 5 to 10 s after it has come to rest */
#define POSTURE_AGAIN_NS (2 * NS_PER_SEC)
#define LEARNED_EVERY_NS (300 * NS_PER_SEC)

/* When a moment of the monotonic clock was: a tick that ends many waits takes a while, and clients see them end. */
static uint64_t realtime_of(uint64_t monotonic_ns)
{
	uint64_t now_ns = pile_clock_ns(CLOCK_MONOTONIC);

	return pile_clock_ns(CLOCK_REALTIME) - (now_ns - MIN(now_ns, monotonic_ns));
}

/* ---- learned state ---- */

static void learned_recall(struct pile_guard *g, uint32_t slot)
{
	const char *name = g->groups.groups[slot].config.name;

	for (uint32_t i = 0; i < g->n_learned; i++)
		if (pile_baseline_import(&g->learned[i], name, &g->decide.baseline[slot]) == 0)
			return;
}

void pile_learned_save(struct pile_guard *g, uint64_t now_ns)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < g->groups.n_groups; i++)
		if (g->groups.groups[i].used && g->decide.baseline[i].samples)
			pile_baseline_export(&g->decide.baseline[i],
					     g->groups.groups[i].config.name, &g->learned[n++]);
	g->n_learned = n;
	g->learned_saved_ns = now_ns;
	pile_slow_learned(&g->slow, g->learned, n);
}

/* ---- groups ---- */

void pile_tick_group(enum pile_groups_event event, uint32_t slot, void *arg)
{
	struct pile_guard *g = arg;
	const struct pile_group *group = &g->groups.groups[slot];

	g->posture_due = true;
	switch (event) {
	case PILE_GROUPS_RESET:
		pile_decide_group_reset(&g->decide, slot);
		pile_sense_group_reset(&g->sense, slot);
		pile_act_group_reset(&g->act, slot);
		memset(&g->sample.groups[slot], 0, sizeof(g->sample.groups[slot]));
		learned_recall(g, slot);
		break;
	case PILE_GROUPS_APPEARED:
		pile_tell_appeared(g, slot);
		break;
	case PILE_GROUPS_RESTARTED:
		pile_guard_say(g, PILE_EVENT_GROUP, slot, "%s: restarted, followed again",
			       group->config.name);
		break;
	case PILE_GROUPS_GONE:
		pile_guard_say(g, PILE_EVENT_GROUP, slot, "%s: gone", group->config.name);
		break;
	}
}

/* What throttles one of the two throttles the other. */
static bool is_shared(const struct pile_guard *g, uint32_t slot)
{
	const struct pile_group *group = &g->groups.groups[slot];

	for (uint32_t i = 0; i < g->groups.n_groups && group->cgroup_id; i++)
		if (i != slot && g->groups.groups[i].used && g->groups.groups[i].configured &&
		    g->groups.groups[i].cgroup_id == group->cgroup_id)
			return true;
	return false;
}

/* By where its cgroup really is: whoever throttles it would throttle what is protected, or prove it by itself. */
static bool protects(const struct pile_guard *g, uint32_t slot)
{
	const struct pile_group *group = &g->groups.groups[slot];

	for (uint32_t i = 0; i < g->sense.load.n_protected && group->cgroup[0]; i++)
		if (pile_claim_paths(group->cgroup, g->sense.load.protected[i].cgroup) !=
		    PILE_CLAIM_APART)
			return true;
	return false;
}

/* What decide must know of each group; the large part only when something changed. */
void pile_tick_view(struct pile_guard *g, bool whole)
{
	g->view.stop_ready = g->manager.ready;
	g->view.throttle_ready = g->throttles.ready;
	g->view.evict_ready = g->evicts.ready && g->kernel.iter_workers;
	/* those of the last tick, too: what is gone must be seen to be */
	g->view.n_groups = MAX(g->view.n_groups, g->groups.n_groups);
	for (uint32_t i = 0; i < g->view.n_groups; i++) {
		struct pile_decide_group *to = &g->view.groups[i];
		const struct pile_group *from = &g->groups.groups[i];

		to->used = i < g->groups.n_groups && from->used;
		if (!to->used)
			continue;
		to->foreign = from->foreign;
		to->named = from->configured;
		to->placed = from->cgroup_id != 0;
		if (whole) {
			to->config = from->config;
			to->shared = is_shared(g, i);
			to->protects = protects(g, i);
		}
		to->gate_ready = pile_act_gate_ready(&g->act, &g->groups, i);
		to->stop_fit = pile_act_stop_fit(&g->stops, &g->groups, i);
		to->restarts = from->restarts;
	}
}

static void posture_take(struct pile_guard *g, uint64_t now_ns)
{
	bool enforce = g->view.mode == PILE_MODE_ENFORCE && !g->view.disarmed, again;
	bool all = g->posture_due || g->posture_error_said;
	uint64_t before[PILE_GROUPS_MAX];
	int r;

	memcpy(before, g->act.attached_id, sizeof(before));
	r = (all ? pile_act_posture : pile_act_attach)(&g->act, &g->kernel, &g->groups, enforce);
	again = r < 0;
	if (r < 0 && r != g->posture_error_said)
		pile_guard_say(
			g, PILE_EVENT_TROUBLE, PILE_NO_GROUP,
			"what is exempt, and deadlines, cannot be told to the kernel (%s): trying again",
			strerror(-r));
	g->posture_error_said = r;
	for (uint32_t i = 0; i < PILE_GROUPS_MAX; i++) {
		if (g->act.attached_id[i] && g->act.attached_id[i] != before[i]) {
			g->attached_ns[i] = now_ns;
			pile_tell_attached(g, i);
		}
		again |= pile_tell_attach_error(g, i);
	}
	g->posture_due = false;
	g->posture_again_ns = again ? now_ns + POSTURE_AGAIN_NS : 0;
	pile_tick_view(g, true);
}

/* ---- one tick ---- */

static void effects_update(struct pile_guard *g)
{
	for (uint32_t i = 0; i < g->act.n_gates; i++) {
		const struct pile_act_gate *gate = &g->act.gates[i];
		struct pile_record_effects e;

		if (!gate->used)
			continue;
		e.refused = gate->counts.refused + gate->loop_refused;
		e.admitted = MIN(gate->counts.admitted, gate->value.allow) + gate->loop_admitted;
		e.ended = gate->ended;
		e.probes = gate->probes;
		e.first_effect_ns = gate->first_ended_ns;
		if (gate->counts.first_refused_ns &&
		    (!e.first_effect_ns || gate->counts.first_refused_ns < e.first_effect_ns))
			e.first_effect_ns = gate->counts.first_refused_ns;
		if (gate->loop_first_ns)
			e.first_effect_ns = gate->loop_first_ns;
		pile_record_effects(&g->record, gate->explain_id, &e);
	}
	for (uint32_t i = 1; i < PILE_DOORS_MAX; i++) {
		const struct pile_shed *shed = &g->decide.sheds.doors[i];
		struct pile_record_effects e = {
			.refused = shed->refused - shed->refused_base,
			.first_effect_ns = shed->first_ns,
		};

		if (shed->open && !shed->blocked)
			pile_record_effects(&g->record, shed->explain_id, &e);
	}
	for (uint32_t i = 0; i < PILE_GROUPS_MAX; i++) {
		const struct pile_forks *forks = &g->decide.forks[i];
		struct pile_record_effects e = { .refused = forks->refused - forks->refused_base };

		if (forks->open)
			pile_record_effects(&g->record, forks->explain_id, &e);
	}
}

/* An episode of the loop in the kernel that is over: what it did is in this tick's sample and nowhere else. */
static void loop_effects(struct pile_guard *g, const struct pile_intent *intent)
{
	for (uint32_t i = 0; i < g->sample.n_loops; i++) {
		const struct pile_sample_loop *loop = &g->sample.loops[i];
		struct pile_record_effects e = {
			.refused = loop->refused,
			.admitted = loop->admitted,
			.first_effect_ns = loop->first_refused_ns,
		};

		if (loop->group == intent->group &&
		    pile_endpoint_equal(&loop->endpoint, &intent->endpoint))
			pile_record_effects(&g->record, intent->explain_id, &e);
	}
}

/* Doors for new listeners, and rung 2's programs. */
static void doors_take(struct pile_guard *g, uint64_t now_ns)
{
	bool enforce = g->view.mode == PILE_MODE_ENFORCE && !g->view.disarmed, tcp, of_unix;
	int error;

	g->groups.doors_sweeps = g->sense.settled;
	pile_groups_doors(&g->groups, &g->kernel);
	error = pile_act_doors_attach(&g->act, &g->kernel, &g->groups, enforce, now_ns);
	tcp = pile_kernel_doors_ready(&g->kernel, false);
	of_unix = pile_kernel_doors_ready(&g->kernel, true);
	pile_tell_doors(g, error, tcp, of_unix);
	g->view.shed_tcp_ready = tcp;
	g->view.shed_unix_ready = of_unix;
}

static void forks_take(struct pile_guard *g, uint64_t now_ns)
{
	bool enforce = g->view.mode == PILE_MODE_ENFORCE && !g->view.disarmed;

	pile_tell_forks(g, pile_act_forks(&g->act, &g->kernel, &g->groups, enforce, now_ns));
}

static void doors_write(struct pile_guard *g, uint64_t now_ns)
{
	struct pile_shed_rule rules[PILE_DOORS_MAX] = { 0 };

	for (uint32_t i = 1; i < PILE_DOORS_MAX; i++)
		if (g->sample.doors[i].used)
			pile_shed_rule(&g->decide, &g->view, &g->sample.doors[i], now_ns,
				       &rules[i]);
	pile_act_doors_write(&g->kernel, &g->sample, rules, now_ns);
}

static void loop_rules_write(struct pile_guard *g)
{
	struct pile_bpf_rule rule;

	for (uint32_t i = 0; i < g->view.n_groups; i++) {
		if (!g->view.groups[i].used && !g->kernel.rules[i].armed)
			continue;
		pile_loop_rule(&g->decide, &g->view, &g->sample, i, &rule);
		rule.used_bytes = g->kernel.totals->used[i].bytes;
		pile_kernel_rule_set(&g->kernel, i, &rule);
	}
	g->view.n_groups = g->groups.n_groups;
}

void pile_tick_record(struct pile_guard *g, uint64_t now_ns)
{
	uint64_t real = realtime_of(now_ns);

	for (uint32_t i = 0; i < g->n_intents; i++) {
		const struct pile_intent *intent = &g->intents[i];
		const struct pile_policy_group *config =
			&g->view.groups[intent->group % PILE_GROUPS_MAX].config;
		bool host = intent->kind == PILE_INTENT_NETWORK ||
			    intent->kind == PILE_INTENT_NETWORK_OVER;
		const char *name = host ? "" : config->name, *unit = host ? "" : config->unit;

		pile_tell_event(g,
				pile_record_intent(&g->record, intent, name, unit, now_ns, real));
		if (intent->kind == PILE_INTENT_EVICT)
			pile_record_candidates(&g->record, intent->explain_id,
					       &g->decide.evicts.candidates);
		if (intent->kind != PILE_INTENT_BREAKER_OPEN || intent->blocked != PILE_BLOCKED_NO)
			continue;
		if (intent->over) {
			loop_effects(g, intent);
			continue;
		}
		pile_tell_event(g,
				pile_record_probing(&g->record, intent, name, unit, now_ns, real));
	}
}

static void explain_next_keep(struct pile_guard *g)
{
	if (g->decide.next_explain_id == g->explain_next_kept)
		return;
	g->explain_next_kept = g->decide.next_explain_id;
	pile_slow_explain_next(&g->slow, g->explain_next_kept);
}

static void gap_count(struct pile_guard *g, uint64_t gap_ns)
{
	int i = 0;

	if (!gap_ns)
		return;
	while (i < PILE_GAP_BUCKETS - 1 && gap_ns > pile_snapshot_gap_ns[i])
		i++;
	g->gaps[i]++;
	g->gaps_sum_ns += gap_ns;
	g->worst_gap_ns = MAX(g->worst_gap_ns, gap_ns);
	g->ticks_late += gap_ns > 2 * PILE_TICK_NS;
}

/* A part of a walk that is under way, or a new one: a tenth of the time at most. */
static void discover(struct pile_guard *g, uint64_t now_ns)
{
	uint64_t every = g->kernel.discovering || g->groups.doors_untagged ? 0 : DISCOVER_EVERY_NS;

	if (now_ns - g->discovered_ns < MAX(every, 10 * g->discover_cost_ns))
		return;
	g->discovered_ns = now_ns;
	pile_groups_discover(&g->groups, &g->kernel, now_ns, pile_tick_group, g);
	g->discover_cost_ns = pile_clock_ns(CLOCK_MONOTONIC) - now_ns;
	pile_tell_walk(g, now_ns);
}

/* What systemd answered, to whoever asked; what went wrong is told here. */
static void manager_take(struct pile_guard *g, uint64_t now_ns)
{
	struct pile_manager_result result;

	while (pile_manager_take(&g->manager, &result)) {
		bool heard = false;

		switch (result.job.owner) {
		case PILE_MANAGER_STOPS:
			heard = pile_act_stops_result(&g->stops, &result);
			break;
		case PILE_MANAGER_THROTTLE:
			/* told in its episode, in words of its own */
			pile_act_throttles_result(&g->throttles, &result, now_ns);
			continue;
		case PILE_MANAGER_PLACE:
			pile_placing_result(g, &result);
			break;
		}
		if (heard)
			pile_guard_say(g, PILE_EVENT_TROUBLE, PILE_NO_GROUP, "%.100s %s: %s",
				       result.job.unit,
				       result.job.verb == PILE_MANAGER_CHECK
					       ? "cannot be stopped and started again (rung 5)"
					       : "(systemd)",
				       result.text[0] ? result.text
						      : strerrordesc_np(-result.error));
	}
}

void pile_tick(struct pile_guard *g)
{
	uint64_t now_ns = pile_clock_ns(CLOCK_MONOTONIC),
		 gap = g->last_tick_ns ? now_ns - g->last_tick_ns : 0;

	g->last_tick_ns = now_ns;
	gap_count(g, gap);
	pile_kernel_ticked(&g->kernel, now_ns);
	pile_command_tick(g, now_ns);
	pile_selftest_tick(g, now_ns);
	pile_placing_tick(g, now_ns);
	pile_groups_check(&g->groups, &g->kernel, now_ns, pile_tick_group, g);
	discover(g, now_ns);
	if (g->posture_due || (g->posture_again_ns && now_ns >= g->posture_again_ns))
		posture_take(g, now_ns);
	doors_take(g, now_ns);
	forks_take(g, now_ns);
	pile_sense_tick(&g->sense, &g->kernel, &g->groups, now_ns, &g->sample);
	pile_act_sample(&g->act, &g->kernel, &g->sample);
	pile_act_probe_tick(&g->act, now_ns, &g->sample);
	pile_act_loop_sample(&g->act, &g->kernel, &g->sample);
	pile_act_evicts_sample(&g->evicts, &g->groups,
			       g->view.mode == PILE_MODE_ENFORCE && !g->view.disarmed, &g->sample,
			       now_ns);
	manager_take(g, now_ns);
	pile_throttled_tick(g, now_ns);
	pile_act_stops_sample(&g->stops, &g->sample, now_ns);
	pile_act_stops_check(&g->stops, &g->manager, &g->groups, now_ns);
	pile_act_throttles_sample(&g->throttles, &g->manager, &g->sample, now_ns);
	pile_tick_view(g, false);
	pile_decide_tick(&g->decide, &g->view, &g->sample, g->intents, &g->n_intents);
	pile_act_evicts_carry_out(&g->evicts, &g->groups, g->intents, g->n_intents, now_ns);
	pile_act_stops_carry_out(&g->stops, &g->manager, &g->groups, g->intents, g->n_intents,
				 now_ns);
	pile_act_throttles_carry_out(&g->throttles, &g->groups, &g->manager, g->intents,
				     g->n_intents, now_ns);
	explain_next_keep(g);
	pile_evicted_keep(g, now_ns);
	effects_update(g); /* before a close drops the gate's counts */
	pile_act_carry_out(&g->act, &g->kernel, g->intents, g->n_intents, &g->sense,
			   g->groups.own_netns, now_ns);
	pile_act_loop_take(&g->act, &g->kernel, &g->sample);
	doors_write(g, now_ns);
	loop_rules_write(g);
	pile_tick_record(g, now_ns);
	pile_motd_tick(g);
	pile_child_check(g, now_ns);
	pile_tell_tick(g, now_ns);
	if (g->ticks % WATCH_EVERY_TICKS == WATCH_EVERY_TICKS - 1)
		pile_slow_watch(&g->slow, &g->policy);
	if (now_ns - g->learned_saved_ns > LEARNED_EVERY_NS)
		pile_learned_save(g, now_ns);
	pile_publish(g, now_ns);
	pile_reload_tick(g, now_ns); /* whoever hears of it asks at once what is in force */
	g->ticks++;
	g->tick_cost_ns = (g->tick_cost_ns * 31 + (pile_clock_ns(CLOCK_MONOTONIC) - now_ns)) / 32;
	if (g->watchdog)
		sd_notify(0, "WATCHDOG=1");
}

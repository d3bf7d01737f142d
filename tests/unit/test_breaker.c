// SPDX-License-Identifier: GPL-2.0-or-later
/* Rung 1 with hand-made samples: the switches, the way back, the operator's hand. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "breaker_fixture.h"
#include "decide/halfopen.h"

static void check_blocked(struct fixture *f, enum pile_blocked blocked)
{
	f->hole = true;
	assert_true(until(f, PILE_INTENT_BREAKER_OPEN, 60) > 0);
	assert_int_equal(said(f, PILE_INTENT_BREAKER_OPEN)->blocked, blocked);
	assert_null(said(f, PILE_INTENT_BREAKER_RENEW));
	for (unsigned int i = 0; i < 100; i++) {
		tick(f);
		assert_null(said(f, PILE_INTENT_BREAKER_OPEN)); /* said once */
		assert_null(said(f, PILE_INTENT_BREAKER_RENEW));
		assert_null(said(f, PILE_INTENT_BREAKER_CLOSE));
	}
	fall_silent(f);
	dep(f)->established++;
	dep(f)->last_established_ns = f->sample.now_ns;
	tick(f);
	assert_non_null(said(f, PILE_INTENT_BREAKER_CLOSE));
	assert_int_equal(said(f, PILE_INTENT_BREAKER_CLOSE)->close_reason, PILE_CLOSE_ANSWERED);
	assert_int_equal(said(f, PILE_INTENT_BREAKER_CLOSE)->blocked, blocked);
	assert_int_equal(said(f, PILE_INTENT_BREAKER_CLOSE)->explain_id, 1);
	assert_int_equal(f->state.breakers.opened, 0);
	assert_int_equal(f->state.breakers.would_open, 1);
}

static void test_blocked_by_observe(void **state)
{
	struct fixture *f = *state;

	f->view.mode = PILE_MODE_OBSERVE;
	f->view.groups[0].gate_ready =
		false; /* nothing is attached in observe mode: not the reason */
	check_blocked(f, PILE_BLOCKED_OBSERVE);
}

static void test_blocked_by_share(void **state)
{
	struct fixture *f = *state;

	f->view.mode = PILE_MODE_OBSERVE;
	f->view.outside_share = true;
	check_blocked(f, PILE_BLOCKED_SHARE);
}

static void test_blocked_by_rung(void **state)
{
	struct fixture *f = *state;

	f->view.groups[0].config.enforce = 0;
	check_blocked(f, PILE_BLOCKED_RUNG);
}

static void test_blocked_by_kernel(void **state)
{
	struct fixture *f = *state;

	f->view.groups[0].gate_ready = false;
	check_blocked(f, PILE_BLOCKED_KERNEL);
}

/* Found by match: until its processes are in a cgroup of its own, nothing can be attached, and that is why. */
static void test_blocked_by_place(void **state)
{
	struct fixture *f = *state;

	snprintf(f->view.groups[0].config.match.exe, PILE_MATCH_EXE_MAX, "/usr/bin/node");
	f->view.groups[0].gate_ready = false;
	check_blocked(f, PILE_BLOCKED_UNPLACED);
}

static void test_blocked_by_kernel_once_placed(void **state)
{
	struct fixture *f = *state;

	snprintf(f->view.groups[0].config.match.exe, PILE_MATCH_EXE_MAX, "/usr/bin/node");
	f->view.groups[0].placed = true;
	f->view.groups[0].gate_ready = false;
	check_blocked(f, PILE_BLOCKED_KERNEL);
}

static void test_blocked_by_foreign_hands(void **state)
{
	struct fixture *f = *state;

	f->view.groups[0].foreign = true;
	check_blocked(f, PILE_BLOCKED_FOREIGN);
}

/* Whoever has a login can stage outages in a session of his own, one after the other. */
static void test_foreign_episodes_do_not_crowd_the_records(void **state)
{
	struct fixture *f = *state;
	const struct pile_sample_dependency whole = *dep(f);
	uint32_t said_in_all = 0, ours = 0;

	f->view.groups[1] = f->view.groups[0];
	f->sample.groups[1] = f->sample.groups[0];
	f->view.groups[1].foreign = true;
	f->view.n_groups = 2;
	for (uint32_t i = 0; i < 40; i++) {
		f->sample.dependencies[1 + i] = whole;
		f->sample.dependencies[1 + i].group = 1;
		f->sample.dependencies[1 + i].endpoint.port = (uint16_t)(4000 + i);
	}
	f->sample.n_dependencies = 41;
	f->hole = true;
	for (unsigned int t = 0; t < 290; t++) {
		for (uint32_t i = 0; i < 40; i++) {
			struct pile_sample_dependency *d = &f->sample.dependencies[1 + i];

			d->started++;
			d->connecting = d->stuck = 10;
			d->oldest_ns = t * PILE_TICK_NS + 600 * MS;
			d->last_started_ns = f->sample.now_ns;
		}
		tick(f);
		for (uint32_t i = 0; i < f->n; i++) {
			const struct pile_intent *intent = &f->intents[i];

			if (intent->kind != PILE_INTENT_BREAKER_OPEN)
				continue;
			said_in_all += intent->group == 1;
			ours += intent->group == 0 && !intent->blocked;
		}
	}
	assert_in_range(said_in_all, 1, 3); /* one in ten seconds */
	assert_int_equal(ours, 1);
}

static void test_blocked_by_exemption_of_any_port(void **state)
{
	struct fixture *f = *state;
	struct pile_policy_group *config = &f->view.groups[0].config;

	config->n_exempt = 1;
	assert_int_equal(pile_endpoint_parse("10.9.0.2", true, &config->exempt[0]), 0);
	check_blocked(f, PILE_BLOCKED_EXEMPT);
}

static void test_a_switch_that_is_turned_opens_for_real(void **state)
{
	struct fixture *f = *state;

	f->view.mode = PILE_MODE_OBSERVE;
	f->hole = true;
	assert_true(until(f, PILE_INTENT_BREAKER_OPEN, 40) > 0);
	f->view.mode = PILE_MODE_ENFORCE;
	tick(f);
	assert_int_equal(said(f, PILE_INTENT_BREAKER_CLOSE)->close_reason, PILE_CLOSE_SWITCHED);
	assert_int_equal(said(f, PILE_INTENT_BREAKER_OPEN)->blocked, PILE_BLOCKED_NO);
	assert_int_equal(said(f, PILE_INTENT_BREAKER_OPEN)->explain_id, 2);
}

static void test_a_virtual_episode_ends_when_nobody_tries(void **state)
{
	struct fixture *f = *state;

	f->view.mode = PILE_MODE_OBSERVE;
	f->hole = true;
	assert_true(until(f, PILE_INTENT_BREAKER_OPEN, 40) > 0);
	fall_silent(f);
	assert_in_range(until(f, PILE_INTENT_BREAKER_CLOSE, 700), 60 * NS_PER_SEC, 61 * NS_PER_SEC);
	assert_int_equal(said(f, PILE_INTENT_BREAKER_CLOSE)->close_reason, PILE_CLOSE_QUIET);
}

static void test_half_open_steps_with_demand(void **state)
{
	struct fixture *f = *state;
	static const uint32_t steps[] = { 2, 4, 8, 16 };

	open_it(f);
	add_probe(f, false, ETIMEDOUT);
	tick(f);
	assert_null(said(f, PILE_INTENT_BREAKER_ALLOW));
	add_probe(f, true, 0);
	tick(f);
	assert_int_equal(said(f, PILE_INTENT_BREAKER_ALLOW)->allow, 1);
	assert_int_equal(said(f, PILE_INTENT_BREAKER_RENEW)->allow, 1);
	for (unsigned int i = 0; i < ARRAY_LEN(steps); i++) {
		establish(f, 1);
		tick(f);
		assert_int_equal(said(f, PILE_INTENT_BREAKER_ALLOW)->allow, steps[i]);
		assert_int_equal(said(f, PILE_INTENT_BREAKER_RENEW)->allow, steps[i]);
	}
	establish(f, 3);
	tick(f);
	assert_non_null(said(f, PILE_INTENT_BREAKER_CLOSE));
	assert_null(said(f, PILE_INTENT_BREAKER_RENEW));
	assert_int_equal(said(f, PILE_INTENT_BREAKER_CLOSE)->close_reason, PILE_CLOSE_ANSWERED);
	assert_int_equal(said(f, PILE_INTENT_BREAKER_CLOSE)->outage_ns, 7 * PILE_TICK_NS);
	tick(f);
	assert_int_equal(f->n, 0);
}

static void test_half_open_closes_without_demand_within_a_second(void **state)
{
	struct fixture *f = *state;

	open_it(f);
	add_probe(f, true, 0);
	tick(f);
	assert_in_range(until(f, PILE_INTENT_BREAKER_CLOSE, 30), 900 * MS, 1100 * MS);
}

static void test_half_open_waits_for_what_it_let_in_and_falls_back(void **state)
{
	struct fixture *f = *state;

	open_it(f);
	add_probe(f, true, 0);
	tick(f);
	dep(f)->admitted++;
	dep(f)->started++;
	f->per_tick = 0;
	f->hole = true;
	f->begun_ns = f->sample.now_ns + 10 * MS;
	dep(f)->connecting = 1;
	for (unsigned int i = 0; i < 5; i++) {
		tick(f);
		assert_null(said(f, PILE_INTENT_BREAKER_ALLOW));
		assert_int_equal(said(f, PILE_INTENT_BREAKER_RENEW)->allow, 1);
	}
	tick(f);
	tick(f);
	assert_int_equal(said(f, PILE_INTENT_BREAKER_RENEW)->allow, 0);
	assert_int_equal(pile_breakers_find(&f->state.breakers, 0, &dep(f)->endpoint)->relapses, 1);
	assert_null(said(f, PILE_INTENT_BREAKER_OPEN)); /* the same episode */
}

static void test_half_open_falls_back_on_a_failed_probe_unless_users_get_through(void **state)
{
	struct fixture *f = *state;

	open_it(f);
	add_probe(f, true, 0);
	tick(f);
	add_probe(f, false, ETIMEDOUT);
	establish(f, 1);
	tick(f);
	assert_int_equal(said(f, PILE_INTENT_BREAKER_RENEW)->allow, 2);
	add_probe(f, false, ETIMEDOUT);
	tick(f);
	assert_int_equal(said(f, PILE_INTENT_BREAKER_RENEW)->allow, 0);
}

static void test_a_probe_that_is_refused_is_an_answer(void **state)
{
	struct fixture *f = *state;

	open_it(f);
	add_probe(f, false, ECONNREFUSED);
	tick(f);
	assert_int_equal(said(f, PILE_INTENT_BREAKER_RENEW)->allow, 1);
}

static void test_a_real_success_while_open_goes_half_open(void **state)
{
	struct fixture *f = *state;

	open_it(f);
	tick(f);
	dep(f)->established++;
	tick(f);
	assert_int_equal(said(f, PILE_INTENT_BREAKER_RENEW)->allow, 1);
}

static void test_probe_period_is_jittered_and_bounded(void **state)
{
	uint64_t least = UINT64_MAX, most = 0;

	(void)state;
	for (uint32_t seed = 0; seed < 50; seed++)
		for (uint64_t n = 0; n < 50; n++) {
			uint64_t period = pile_breaker_probe_period(NS_PER_SEC, seed, 77, n);

			least = MIN(least, period);
			most = MAX(most, period);
			assert_true(pile_breaker_probe_period(3600 * NS_PER_SEC, seed, 77, n) <=
				    2 * NS_PER_SEC);
		}
	assert_in_range(least, 800 * MS, 820 * MS);
	assert_in_range(most, 1180 * MS, 1200 * MS);
}

static void test_opening_again_soon_takes_the_same_proof_and_counts(void **state)
{
	struct fixture *f = *state;

	open_it(f);
	add_probe(f, true, 0);
	assert_true(until(f, PILE_INTENT_BREAKER_CLOSE, 30) > 0);
	f->hole = true;
	assert_in_range(until(f, PILE_INTENT_BREAKER_OPEN, 40), 2400 * MS, 2700 * MS);
	assert_int_equal(pile_breakers_find(&f->state.breakers, 0, &dep(f)->endpoint)->flaps, 1);
	assert_int_equal(f->state.breakers.flaps, 1);
}

static void check_closed(struct fixture *f, enum pile_close_reason reason, unsigned int limit)
{
	uint64_t took = until(f, PILE_INTENT_BREAKER_CLOSE, limit);

	assert_true(took > 0);
	assert_int_equal(said(f, PILE_INTENT_BREAKER_CLOSE)->close_reason, reason);
	assert_null(said(f, PILE_INTENT_BREAKER_RENEW));
}

static void test_a_policy_withdrawn_closes(void **state)
{
	struct fixture *f = *state;

	open_it(f);
	f->view.groups[0].config.enforce = 0;
	check_closed(f, PILE_CLOSE_POLICY, 1);
	setup(state);
	teardown((void **)&f);
	f = *state;
	open_it(f);
	f->view.mode = PILE_MODE_OBSERVE;
	check_closed(f, PILE_CLOSE_POLICY, 1);
}

static void test_a_group_that_goes_away_closes(void **state)
{
	struct fixture *f = *state;

	open_it(f);
	f->sample.groups[0].used = false;
	check_closed(f, PILE_CLOSE_GONE, 1);
}

static void test_a_restart_of_the_unit_is_survived(void **state)
{
	struct fixture *f = *state;

	open_it(f);
	f->sample.groups[0].present = false;
	f->view.groups[0].gate_ready = false;
	never(f, PILE_INTENT_BREAKER_CLOSE, 20);
	f->sample.groups[0].present = true;
	never(f, PILE_INTENT_BREAKER_CLOSE, 5);
	f->view.groups[0].gate_ready = true;
	never(f, PILE_INTENT_BREAKER_CLOSE, 50);
	f->sample.groups[0].present = false;
	check_closed(f, PILE_CLOSE_GONE, 40);
}

static void test_a_slot_given_to_another_group_closes(void **state)
{
	struct fixture *f = *state;

	open_it(f);
	pile_decide_group_reset(&f->state, 0);
	check_closed(f, PILE_CLOSE_GONE, 1);
}

static void test_stop_closes_everything(void **state)
{
	struct fixture *f = *state;

	open_it(f);
	pile_decide_stop(&f->state, f->intents, &f->n);
	assert_int_equal(f->n, 1);
	assert_int_equal(f->intents[0].kind, PILE_INTENT_BREAKER_CLOSE);
	assert_int_equal(f->intents[0].close_reason, PILE_CLOSE_STOPPED);
	pile_decide_stop(&f->state, f->intents, &f->n);
	assert_int_equal(f->n, 0);
}

static void test_release_closes_and_keeps_shut_out_until_its_time(void **state)
{
	struct fixture *f = *state;

	open_it(f);
	assert_int_equal(pile_decide_hold(&f->state, &f->view, 0, &dep(f)->endpoint, false,
					  f->sample.now_ns + 10 * NS_PER_SEC),
			 0);
	check_closed(f, PILE_CLOSE_RELEASED, 1);
	f->hole = true;
	assert_true(until(f, PILE_INTENT_BREAKER_OPEN, 40) > 0);
	assert_int_equal(said(f, PILE_INTENT_BREAKER_OPEN)->blocked, PILE_BLOCKED_RELEASED);
	assert_true(until(f, PILE_INTENT_BREAKER_OPEN, 80) > 0); /* its time is over, still dead */
	assert_int_equal(said(f, PILE_INTENT_BREAKER_OPEN)->blocked, PILE_BLOCKED_NO);
}

static void test_hold_refuses_in_calm_until_its_time(void **state)
{
	struct fixture *f = *state;

	tick(f);
	assert_int_equal(pile_decide_hold(&f->state, &f->view, 0, &dep(f)->endpoint, true,
					  f->sample.now_ns + 5 * NS_PER_SEC),
			 0);
	tick(f);
	assert_true(said(f, PILE_INTENT_BREAKER_OPEN)->why.by_hand);
	assert_int_equal(said(f, PILE_INTENT_BREAKER_OPEN)->blocked, PILE_BLOCKED_NO);
	add_probe(f, true, 0); /* it answers, and stays held */
	tick(f);
	assert_int_equal(said(f, PILE_INTENT_BREAKER_RENEW)->allow, 0);
	assert_in_range(until(f, PILE_INTENT_BREAKER_CLOSE, 60), 4700 * MS, 5000 * MS);
	assert_int_equal(said(f, PILE_INTENT_BREAKER_CLOSE)->close_reason, PILE_CLOSE_HOLD_OVER);
	never(f, PILE_INTENT_BREAKER_OPEN, 50);
}

static void test_hold_and_release_replace_each_other(void **state)
{
	struct fixture *f = *state;
	struct pile_endpoint any_port = dep(f)->endpoint;
	uint64_t until_ns = f->sample.now_ns + 3600 * NS_PER_SEC;

	any_port.port = 0;
	tick(f);
	assert_int_equal(
		pile_decide_hold(&f->state, &f->view, 0, &dep(f)->endpoint, true, until_ns), 0);
	tick(f);
	assert_non_null(said(f, PILE_INTENT_BREAKER_OPEN));
	assert_int_equal(pile_decide_hold(&f->state, &f->view, 0, &any_port, false, until_ns), 0);
	tick(f);
	assert_int_equal(said(f, PILE_INTENT_BREAKER_CLOSE)->close_reason, PILE_CLOSE_RELEASED);
	assert_int_equal(
		pile_decide_hold(&f->state, &f->view, 0, &dep(f)->endpoint, true, until_ns), 0);
	tick(f);
	assert_non_null(said(f, PILE_INTENT_BREAKER_OPEN));
}

static void test_hold_needs_permission_and_room(void **state)
{
	struct fixture *f = *state;
	struct pile_endpoint ep = dep(f)->endpoint;
	uint64_t until_ns = f->sample.now_ns + NS_PER_SEC;

	f->view.mode = PILE_MODE_OBSERVE;
	assert_int_equal(pile_decide_hold(&f->state, &f->view, 0, &ep, true, until_ns), -EPERM);
	f->view.mode = PILE_MODE_ENFORCE;
	assert_int_equal(pile_decide_hold(&f->state, &f->view, 1, &ep, true, until_ns), -EINVAL);
	assert_int_equal(
		pile_decide_hold(&f->state, &f->view, PILE_GROUPS_MAX, &ep, true, until_ns),
		-EINVAL);
	assert_int_equal(pile_decide_hold(&f->state, &f->view, 0, &ep, true, 0), -EINVAL);
	for (unsigned int i = 0; i < PILE_HANDS_MAX; i++) {
		ep.port = (uint16_t)(1000 + i);
		assert_int_equal(pile_decide_hold(&f->state, &f->view, 0, &ep, true, until_ns), 0);
	}
	ep.port = 999;
	assert_int_equal(pile_decide_hold(&f->state, &f->view, 0, &ep, true, until_ns), -ENOSPC);
	for (unsigned int i = 0; i < 12; i++)
		tick(f);
	assert_int_equal(pile_decide_hold(&f->state, &f->view, 0, &ep, true, until_ns + NS_PER_SEC),
			 0);
}

/* Everything opens at once; what would have been done goes on being told; armed again, it acts. */
static void test_disarmed_closes_and_only_observes(void **state)
{
	struct fixture *f = *state;

	open_it(f);
	f->view.disarmed = true;
	f->view.groups[0].gate_ready = false; /* its programs are detached: not the reason */
	check_closed(f, PILE_CLOSE_DISARMED, 1);
	f->hole = true;
	assert_true(until(f, PILE_INTENT_BREAKER_OPEN, 40) > 0);
	assert_int_equal(said(f, PILE_INTENT_BREAKER_OPEN)->blocked, PILE_BLOCKED_DISARMED);
	never(f, PILE_INTENT_BREAKER_RENEW, 50);
	f->view.disarmed = false;
	f->view.groups[0].gate_ready = true;
	tick(f);
	assert_int_equal(said(f, PILE_INTENT_BREAKER_CLOSE)->close_reason, PILE_CLOSE_SWITCHED);
	assert_int_equal(said(f, PILE_INTENT_BREAKER_OPEN)->blocked, PILE_BLOCKED_NO);
	assert_non_null(said(f, PILE_INTENT_BREAKER_RENEW));
}

static void test_disarmed_ends_holds_and_takes_none(void **state)
{
	struct fixture *f = *state;
	uint64_t until_ns = f->sample.now_ns + 3600 * NS_PER_SEC;

	tick(f);
	assert_int_equal(
		pile_decide_hold(&f->state, &f->view, 0, &dep(f)->endpoint, true, until_ns), 0);
	tick(f);
	assert_non_null(said(f, PILE_INTENT_BREAKER_OPEN));
	f->view.disarmed = true;
	tick(f);
	assert_int_equal(said(f, PILE_INTENT_BREAKER_CLOSE)->close_reason, PILE_CLOSE_DISARMED);
	assert_int_equal(
		pile_decide_hold(&f->state, &f->view, 0, &dep(f)->endpoint, true, until_ns),
		-EPERM);
	assert_int_equal(
		pile_decide_hold(&f->state, &f->view, 0, &dep(f)->endpoint, false, until_ns), 0);
	f->view.disarmed = false;
	never(f, PILE_INTENT_BREAKER_OPEN, 20);
}

static void test_the_policys_own_switch_is_told_before_disarmed(void **state)
{
	struct fixture *f = *state;

	f->view.disarmed = true;
	f->view.mode = PILE_MODE_OBSERVE;
	check_blocked(f, PILE_BLOCKED_OBSERVE);
}

static void test_late_ticks_renew_and_open_nothing(void **state)
{
	struct fixture *f = *state;

	f->hole = true;
	for (unsigned int i = 0; i < 100; i++) {
		f->sample.late_ns = 400 * MS;
		tick(f);
		assert_null(said(f, PILE_INTENT_BREAKER_OPEN));
	}
	assert_int_equal(f->state.ticks_dropped, 100);
	f->sample.late_ns = 0;
	open_it(f);
	f->sample.late_ns = 5 * NS_PER_SEC;
	tick(f);
	assert_non_null(said(f, PILE_INTENT_BREAKER_RENEW));
}

/*
 * A pause of the guard is not evidence: what looks 10 s old has been looked at for no time at all.
 */
static void test_a_pause_is_no_evidence(void **state)
{
	struct fixture *f = *state;

	tick(f);
	f->hole = true;
	f->begun_ns = f->sample.now_ns;
	dep(f)->connecting = dep(f)->started = 20;
	f->sample.now_ns += 10 * NS_PER_SEC;
	tick(f);
	assert_null(said(f, PILE_INTENT_BREAKER_OPEN));
	assert_in_range(until(f, PILE_INTENT_BREAKER_OPEN, 40), 2300 * MS, 2700 * MS);
}

static void test_a_pause_in_the_middle_is_no_evidence(void **state)
{
	struct fixture *f = *state;

	tick(f);
	f->hole = true;
	for (unsigned int i = 0; i < 10; i++)
		tick(f); /* 0.9 s on the clock */
	f->sample.now_ns += 10 * NS_PER_SEC;
	tick(f);
	assert_null(said(f, PILE_INTENT_BREAKER_OPEN));
	assert_in_range(until(f, PILE_INTENT_BREAKER_OPEN, 40), 1200 * MS, 1800 * MS);
}

static void test_a_clock_that_stands_or_goes_back_only_renews(void **state)
{
	struct fixture *f = *state;

	open_it(f);
	pile_decide_tick(&f->state, &f->view, &f->sample, f->intents, &f->n);
	assert_int_equal(f->n, 1);
	assert_int_equal(f->intents[0].kind, PILE_INTENT_BREAKER_RENEW);
	f->sample.now_ns -= NS_PER_SEC;
	pile_decide_tick(&f->state, &f->view, &f->sample, f->intents, &f->n);
	assert_int_equal(f->n, 1);
	assert_int_equal(f->intents[0].kind, PILE_INTENT_BREAKER_RENEW);
}

static void test_times_in_the_future_are_now(void **state)
{
	struct fixture *f = *state;

	tick(f);
	f->hole = true;
	for (unsigned int i = 0; i < 100; i++) {
		dep(f)->last_established_ns = UINT64_MAX;
		tick(f);
		assert_null(said(f, PILE_INTENT_BREAKER_OPEN));
	}
	dep(f)->last_established_ns = 0;
	f->begun_ns = 1; /* older than the host */
	tick(f);
	assert_null(said(f, PILE_INTENT_BREAKER_OPEN));
}

static void test_counters_that_go_back_start_the_proof_again(void **state)
{
	struct fixture *f = *state;

	tick(f);
	f->hole = true;
	for (unsigned int i = 0; i < 20; i++)
		tick(f);
	dep(f)->started = dep(f)->connecting;
	dep(f)->established = dep(f)->failed = 0;
	assert_in_range(until(f, PILE_INTENT_BREAKER_OPEN, 60), 2400 * MS, 2900 * MS);
}

static void test_counters_that_go_back_while_half_open_do_not_wrap(void **state)
{
	struct fixture *f = *state;

	open_it(f);
	add_probe(f, true, 0);
	tick(f);
	dep(f)->started = dep(f)->established = dep(f)->admitted = 0;
	assert_in_range(until(f, PILE_INTENT_BREAKER_CLOSE, 30), 800 * MS, 1200 * MS);
}

/* 80 destinations of one group die, each with a share of its own: the 64 largest are refused. */
static void test_a_full_table_keeps_the_largest_shares(void **state)
{
	struct fixture *f = *state;
	uint32_t opened = 0;

	/*
	 * groups of one destination each, so that every share can pass 10 %; never three addresses
	 * at once
	 */
	f->view.n_groups = 80;
	for (uint32_t i = 0; i < 80; i++) {
		f->view.groups[i] = f->view.groups[0];
		f->sample.groups[i] = f->sample.groups[0];
		f->sample.groups[i].waiting = 100;
		f->sample.dependencies[i] = *dep(f);
		f->sample.dependencies[i].group = i;
	}
	f->sample.n_dependencies = 80;
	for (unsigned int t = 0; t < 45; t++) {
		f->sample.now_ns += PILE_TICK_NS;
		for (uint32_t i = 0; i < 80; i++) {
			struct pile_sample_dependency *d = &f->sample.dependencies[i];

			d->connecting = d->stuck = t < 6 ? 0 : 11 + i;
			d->started = 500 + d->connecting + t;
			d->oldest_ns = t < 6 ? 0 : (t - 5) * PILE_TICK_NS + 500 * MS;
			d->last_started_ns = f->sample.now_ns;
		}
		pile_decide_tick(&f->state, &f->view, &f->sample, f->intents, &f->n);
	}
	for (uint32_t i = 0; i < 80; i++) {
		const struct pile_breaker *b =
			pile_breakers_find(&f->state.breakers, i, &dep(f)->endpoint);

		opened += b != NULL;
		assert_int_equal(b != NULL, i >= 80 - PILE_BREAKERS_MAX);
	}
	assert_int_equal(opened, PILE_BREAKERS_MAX);
}

static void test_v4_mapped_is_the_same_destination(void **state)
{
	struct fixture *f = *state;
	struct pile_endpoint mapped;

	assert_int_equal(pile_endpoint_parse("[::ffff:10.9.0.2]:3306", false, &mapped), 0);
	mapped.family = 10; /* AF_INET6, as a sensor might say */
	assert_int_equal(pile_proof_key(0, &mapped), pile_proof_key(0, &dep(f)->endpoint));
	open_it(f);
	assert_non_null(pile_breakers_find(&f->state.breakers, 0, &mapped));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_blocked_by_observe),
		T(test_blocked_by_share),
		T(test_blocked_by_rung),
		T(test_blocked_by_kernel),
		T(test_blocked_by_place),
		T(test_blocked_by_kernel_once_placed),
		T(test_blocked_by_foreign_hands),
		T(test_foreign_episodes_do_not_crowd_the_records),
		T(test_blocked_by_exemption_of_any_port),
		T(test_a_switch_that_is_turned_opens_for_real),
		T(test_a_virtual_episode_ends_when_nobody_tries),
		T(test_half_open_steps_with_demand),
		T(test_half_open_closes_without_demand_within_a_second),
		T(test_half_open_waits_for_what_it_let_in_and_falls_back),
		T(test_half_open_falls_back_on_a_failed_probe_unless_users_get_through),
		T(test_a_probe_that_is_refused_is_an_answer),
		T(test_a_real_success_while_open_goes_half_open),
		T(test_probe_period_is_jittered_and_bounded),
		T(test_opening_again_soon_takes_the_same_proof_and_counts),
		T(test_a_policy_withdrawn_closes),
		T(test_a_group_that_goes_away_closes),
		T(test_a_restart_of_the_unit_is_survived),
		T(test_a_slot_given_to_another_group_closes),
		T(test_stop_closes_everything),
		T(test_release_closes_and_keeps_shut_out_until_its_time),
		T(test_hold_refuses_in_calm_until_its_time),
		T(test_hold_and_release_replace_each_other),
		T(test_hold_needs_permission_and_room),
		T(test_disarmed_closes_and_only_observes),
		T(test_disarmed_ends_holds_and_takes_none),
		T(test_the_policys_own_switch_is_told_before_disarmed),
		T(test_late_ticks_renew_and_open_nothing),
		T(test_a_pause_is_no_evidence),
		T(test_a_pause_in_the_middle_is_no_evidence),
		T(test_a_clock_that_stands_or_goes_back_only_renews),
		T(test_times_in_the_future_are_now),
		T(test_counters_that_go_back_start_the_proof_again),
		T(test_counters_that_go_back_while_half_open_do_not_wrap),
		T(test_a_full_table_keeps_the_largest_shares),
		T(test_v4_mapped_is_the_same_destination),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

// SPDX-License-Identifier: GPL-2.0-or-later
/* When is a destination dead? Clause by clause, with hand-made samples (decide/proof.h). */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "breaker_fixture.h"

static void test_opens_after_dead_after_with_all_terms(void **state)
{
	struct fixture *f = *state;
	struct pile_intent *open;

	tick(f);
	f->hole = true;
	assert_in_range(until(f, PILE_INTENT_BREAKER_OPEN, 40), 2400 * MS, 2700 * MS);
	open = said(f, PILE_INTENT_BREAKER_OPEN);
	assert_int_equal(open->blocked, PILE_BLOCKED_NO);
	assert_int_equal(open->explain_id, 1);
	assert_int_equal(open->refuse_errno, ECONNREFUSED);
	assert_in_range(open->probe_every_ns, 800 * MS, 1200 * MS);
	assert_int_equal(open->why.connecting, dep(f)->connecting);
	assert_int_equal(open->why.stuck, dep(f)->stuck);
	assert_int_equal(open->why.oldest_ns, dep(f)->oldest_ns);
	assert_true(open->why.no_success_ns >= 2400 * MS);
	assert_true(open->why.risk_pool);
	assert_false(open->why.risk_memory);
	assert_int_equal(open->why.waiting, 20);
	assert_int_equal(open->why.pool_limit, 30);
	assert_non_null(said(f, PILE_INTENT_BREAKER_RENEW));
	/* said once; then the lease, each tick, shut */
	for (unsigned int i = 0; i < 100; i++) {
		tick(f);
		assert_null(said(f, PILE_INTENT_BREAKER_OPEN));
		assert_non_null(said(f, PILE_INTENT_BREAKER_RENEW));
		assert_int_equal(said(f, PILE_INTENT_BREAKER_RENEW)->allow, 0);
		assert_int_equal(said(f, PILE_INTENT_BREAKER_RENEW)->explain_id, 1);
	}
}

static void test_dead_after_is_the_policys(void **state)
{
	struct fixture *f = *state;

	f->view.groups[0].config.dead_after_ns = 5 * NS_PER_SEC;
	f->hole = true;
	assert_in_range(until(f, PILE_INTENT_BREAKER_OPEN, 80), 5000 * MS, 5300 * MS);
}

static void test_a_calm_group_opens_nothing(void **state)
{
	struct fixture *f = *state;

	f->view.groups[0].config.workers_max = 1000;
	f->hole = true;
	never(f, PILE_INTENT_BREAKER_OPEN, 100);
	f->view.groups[0].config.fail_fast = PILE_FAIL_FAST_ALWAYS;
	tick(f);
	assert_non_null(said(f, PILE_INTENT_BREAKER_OPEN));
	assert_true(said(f, PILE_INTENT_BREAKER_OPEN)->why.always);
}

static void test_two_stuck_connects_are_not_enough(void **state)
{
	struct fixture *f = *state;

	tick(f);
	f->hole = true;
	tick(f);
	tick(f);
	f->per_tick = 0; /* two are pending, no third comes */
	never(f, PILE_INTENT_BREAKER_OPEN, 200);
}

static void test_one_lone_connect_is_not_enough_even_for_always(void **state)
{
	struct fixture *f = *state;

	f->view.groups[0].config.fail_fast = PILE_FAIL_FAST_ALWAYS;
	f->sample.groups[0].waiting = 2;
	tick(f);
	f->hole = true;
	tick(f);
	f->per_tick = 0;
	never(f, PILE_INTENT_BREAKER_OPEN, 200);
}

/* Three attempts, but only two of them still wait: the third has failed by itself. */
static void test_three_attempts_of_which_two_are_stuck(void **state)
{
	struct fixture *f = *state;

	tick(f);
	f->hole = true;
	tick(f);
	tick(f);
	tick(f);
	f->per_tick = 0;
	never(f, PILE_INTENT_BREAKER_OPEN, 10);
	dep(f)->connecting--;
	dep(f)->failed++;
	never(f, PILE_INTENT_BREAKER_OPEN, 200);
	f->view.groups[0].config.fail_fast = PILE_FAIL_FAST_ALWAYS;
	tick(f);
	assert_non_null(said(f, PILE_INTENT_BREAKER_OPEN));
}

static void test_a_success_starts_the_clock_again(void **state)
{
	struct fixture *f = *state;

	tick(f);
	f->hole = true;
	for (unsigned int i = 0; i < 8; i++) {
		never(f, PILE_INTENT_BREAKER_OPEN, 20);
		dep(f)->established++; /* while others stay stuck: one backend of several is gone */
		dep(f)->last_established_ns = f->sample.now_ns;
	}
	assert_in_range(until(f, PILE_INTENT_BREAKER_OPEN, 40), 2400 * MS, 2800 * MS);
}

/* Two short troubles with calm between them are not one long one. */
static void test_the_clock_stops_when_nothing_is_pending(void **state)
{
	struct fixture *f = *state;

	tick(f);
	for (unsigned int i = 0; i < 5; i++) {
		f->hole = true;
		never(f, PILE_INTENT_BREAKER_OPEN, 10);
		dep(f)->failed += dep(f)->connecting; /* the application gave up */
		fall_silent(f);
		never(f, PILE_INTENT_BREAKER_OPEN, 20);
	}
}

static void test_excess_is_not_learned(void **state)
{
	struct fixture *f = *state;
	uint64_t samples;

	f->sample.groups[0].waiting = 3;
	for (unsigned int i = 0; i < 400; i++)
		tick(f);
	samples = f->state.baseline[0].samples;
	assert_true(samples >= PILE_BASELINE_GRACE);
	f->sample.groups[0].waiting = 100;
	for (unsigned int i = 0; i < 400; i++)
		tick(f);
	assert_int_equal(f->state.baseline[0].samples, samples);
}

static void test_a_peer_that_refuses_is_alive(void **state)
{
	struct fixture *f = *state;

	tick(f);
	f->hole = true;
	for (unsigned int i = 0; i < 8; i++) {
		never(f, PILE_INTENT_BREAKER_OPEN, 20);
		dep(f)->refused_by_peer++;
		dep(f)->failed++;
		dep(f)->last_failed_ns = f->sample.now_ns;
	}
}

static void test_time_outs_and_our_own_ends_are_no_answer(void **state)
{
	struct fixture *f = *state;

	tick(f);
	f->hole = true;
	for (unsigned int i = 0; i < 22; i++) {
		tick(f);
		assert_null(said(f, PILE_INTENT_BREAKER_OPEN));
		dep(f)->failed++;
		dep(f)->last_failed_ns = f->sample.now_ns;
	}
	assert_true(until(f, PILE_INTENT_BREAKER_OPEN, 5) > 0);
}

/* An application that gives up after 1 s: nothing is ever pending for 2.4 s, and yet it is dead. */
static void test_short_time_outs_do_not_hide_death(void **state)
{
	struct fixture *f = *state;
	uint64_t from_ns;

	tick(f);
	from_ns = f->sample.now_ns;
	f->hole = true;
	f->per_tick = 3;
	for (unsigned int i = 0; i < 30 && !(f->n && said(f, PILE_INTENT_BREAKER_OPEN)); i++) {
		if (f->begun_ns && f->sample.now_ns - f->begun_ns >= 900 * MS) {
			f->begun_ns += PILE_TICK_NS;
			dep(f)->connecting -= f->per_tick;
			dep(f)->failed += f->per_tick;
		}
		tick(f);
	}
	assert_non_null(said(f, PILE_INTENT_BREAKER_OPEN));
	assert_in_range(f->sample.now_ns - from_ns, 2400 * MS, 2700 * MS);
}

static void test_a_small_share_opens_nothing(void **state)
{
	struct fixture *f = *state;

	f->view.groups[0].config.workers_max = 100;
	f->sample.groups[0].waiting = 1000;
	f->hole = true;
	never(f, PILE_INTENT_BREAKER_OPEN, 95); /* 95 of 1,000 */
	assert_true(until(f, PILE_INTENT_BREAKER_OPEN, 20) > 0);
}

/* All of a pool within two ticks; after that no SYN but retransmissions. */
static void stick(struct fixture *f)
{
	tick(f);
	f->per_tick = 5;
	f->hole = true;
	tick(f);
	tick(f);
	f->per_tick = 0;
}

/* No SYN left after the blip could have ended: nobody knows. The retransmission at 3 s decides. */
static void test_a_stuck_pool_waits_for_evidence(void **state)
{
	struct fixture *f = *state;

	stick(f);
	assert_in_range(until(f, PILE_INTENT_BREAKER_OPEN, 60), 3100 * MS, 3400 * MS);
}

/* At 15 s Linux 6.1 sends a SYN again, Linux 6.5 does not, but at 11 and 19 s: neither time proves. */
static void test_retransmissions_count_only_where_every_kernel_sends_them(void **state)
{
	struct fixture *f = *state;

	f->view.groups[0].config.dead_after_ns = 12000 * MS;
	stick(f);
	assert_in_range(until(f, PILE_INTENT_BREAKER_OPEN, 350), 31000 * MS, 31500 * MS);
}

/* The same pool; until the guard's own connect is asked for, 2 s after the first was stuck. */
static void stick_until_asked(struct fixture *f)
{
	stick(f);
	assert_in_range(until(f, PILE_INTENT_PROBE, 60), 1700 * MS, 2100 * MS);
	assert_true(pile_endpoint_equal(&said(f, PILE_INTENT_PROBE)->endpoint, &dep(f)->endpoint));
	assert_in_range(f->sample.now_ns - f->begun_ns, 2000 * MS, 2100 * MS);
	assert_true(said(f, PILE_INTENT_PROBE)->first);
	assert_int_equal(said(f, PILE_INTENT_PROBE)->why.connecting, 10);
}

static void test_own_connect_is_the_evidence(void **state)
{
	struct fixture *f = *state;
	uint64_t since_ns;

	stick_until_asked(f);
	since_ns = f->sample.now_ns;
	do {
		assert_non_null(said(f, PILE_INTENT_PROBE)); /* kept, until it tells */
		add_probe(f, false, 0);
		f->sample.probes[0].pending_since_ns = since_ns;
		tick(f);
		if (said(f, PILE_INTENT_PROBE))
			assert_false(said(f, PILE_INTENT_PROBE)->first);
	} while (!said(f, PILE_INTENT_BREAKER_OPEN) && f->sample.now_ns - since_ns < 1000 * MS);
	assert_in_range(f->sample.now_ns - f->begun_ns, 2400 * MS, 2500 * MS);
	assert_true(said(f, PILE_INTENT_BREAKER_OPEN)->why.own_probe);
	tick(f);
	assert_null(said(f, PILE_INTENT_PROBE));
	assert_null(said(f, PILE_INTENT_PROBE_ANSWERED));
}

static void test_own_connect_that_is_answered_is_life(void **state)
{
	struct fixture *f = *state;

	stick_until_asked(f);
	add_probe(f, true, 0);
	tick(f);
	assert_non_null(said(f, PILE_INTENT_PROBE_ANSWERED));
	assert_null(said(f, PILE_INTENT_PROBE));
	for (unsigned int i = 0; i < 20; i++) {
		tick(f);
		assert_null(said(f, PILE_INTENT_PROBE_ANSWERED)); /* once */
		assert_null(said(f, PILE_INTENT_BREAKER_OPEN));
	}
}

/* Each time that it is in doubt again it is asked again, and that is told again. */
static void test_own_connect_is_made_once_in_each_doubt(void **state)
{
	struct fixture *f = *state;
	uint64_t asked_ns;

	stick_until_asked(f);
	asked_ns = f->sample.now_ns;
	add_probe(f, true, 0);
	never(f, PILE_INTENT_PROBE, 10); /* those that were stuck before prove nothing any more */
	stick(f);
	assert_true(until(f, PILE_INTENT_PROBE, 60) > 0);
	assert_true(said(f, PILE_INTENT_PROBE)->first);
	assert_true(f->sample.now_ns - asked_ns >= 2000 * MS);
}

static void test_own_connect_that_is_refused_is_life(void **state)
{
	struct fixture *f = *state;

	stick_until_asked(f);
	add_probe(f, false, ECONNREFUSED);
	never(f, PILE_INTENT_BREAKER_OPEN, 20);
}

/* A connect begun too early says nothing: a blip may have eaten its SYN. */
static void test_own_connect_from_before_the_edge_is_no_evidence(void **state)
{
	struct fixture *f = *state;

	stick_until_asked(f);
	for (unsigned int i = 0; i < 9; i++) {
		add_probe(f, false, 0);
		f->sample.probes[0].pending_since_ns = f->begun_ns + 1900 * MS;
		tick(f);
		assert_null(said(f, PILE_INTENT_BREAKER_OPEN));
	}
}

static void test_nobody_is_asked_where_nothing_would_open(void **state)
{
	struct fixture *f = *state;

	f->view.mode = PILE_MODE_OBSERVE;
	stick(f);
	never(f, PILE_INTENT_PROBE, 60);
}

static void test_hurry_shortens_the_proof_to_a_second(void **state)
{
	struct fixture *f = *state;
	struct pile_sample_group *g = &f->sample.groups[0];
	uint64_t took = 0;

	g->memory_bytes = 100 << 20;
	for (unsigned int i = 0; i < 10; i++)
		tick(f);
	f->sample.memory_available_bytes = 1500ULL << 20;
	f->hole = true;
	for (unsigned int i = 0; i < 30 && !took; i++) {
		g->memory_bytes += 80 << 20;
		f->sample.memory_available_bytes -=
			80 << 20; /* 800 MiB/s: gone 1.7 s after the first */
		tick(f);
		if (said(f, PILE_INTENT_BREAKER_OPEN))
			took = f->sample.now_ns - f->begun_ns;
	}
	assert_in_range(took, 1000 * MS, 1400 * MS);
}

/*
 * A full table, and in each tick one destination that is gone and a new one: it takes the place of
 * that, not of the database, which comes behind it in the sample. Its clients give up after a second:
 * only the table knows since when.
 */
static void test_a_new_destination_takes_the_place_of_one_that_is_gone(void **state)
{
	struct fixture *f = *state;
	const struct pile_sample_dependency whole = *dep(f);
	struct pile_sample_dependency *db = &f->sample.dependencies[PILE_PROOFS_MAX - 1];
	uint64_t begun_ns = f->sample.now_ns + PILE_TICK_NS;
	uint16_t port = 10000;
	uint32_t ticks = 0;

	f->sample.n_dependencies = PILE_PROOFS_MAX;
	for (uint32_t i = 0; i < PILE_PROOFS_MAX; i++) {
		f->sample.dependencies[i] = whole;
		if (&f->sample.dependencies[i] == db)
			break;
		f->sample.dependencies[i].endpoint.port = port++;
	}
	do {
		f->sample.now_ns += PILE_TICK_NS;
		for (uint32_t i = 0; ticks && &f->sample.dependencies[i] != db; i++)
			f->sample.dependencies[i].connecting = 1; /* after the database */
		f->sample.dependencies[ticks].endpoint.port = port++;
		db->started++;
		ticks++;
		db->connecting = MIN(ticks, 10);
		db->last_started_ns = f->sample.now_ns;
		db->oldest_ns = MIN(f->sample.now_ns - begun_ns, NS_PER_SEC);
		db->stuck = ticks > 6 ? MIN(ticks - 6, 4) : 0;
		pile_decide_tick(&f->state, &f->view, &f->sample, f->intents, &f->n);
	} while (ticks < 60 && !said(f, PILE_INTENT_BREAKER_OPEN));
	assert_in_range(ticks, 24, 28);
	assert_int_equal(said(f, PILE_INTENT_BREAKER_OPEN)->endpoint.port, whole.endpoint.port);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_opens_after_dead_after_with_all_terms),
		T(test_dead_after_is_the_policys),
		T(test_a_calm_group_opens_nothing),
		T(test_two_stuck_connects_are_not_enough),
		T(test_one_lone_connect_is_not_enough_even_for_always),
		T(test_three_attempts_of_which_two_are_stuck),
		T(test_a_success_starts_the_clock_again),
		T(test_the_clock_stops_when_nothing_is_pending),
		T(test_excess_is_not_learned),
		T(test_a_peer_that_refuses_is_alive),
		T(test_time_outs_and_our_own_ends_are_no_answer),
		T(test_short_time_outs_do_not_hide_death),
		T(test_a_small_share_opens_nothing),
		T(test_a_stuck_pool_waits_for_evidence),
		T(test_retransmissions_count_only_where_every_kernel_sends_them),
		T(test_own_connect_is_the_evidence),
		T(test_own_connect_that_is_answered_is_life),
		T(test_own_connect_is_made_once_in_each_doubt),
		T(test_own_connect_that_is_refused_is_life),
		T(test_own_connect_from_before_the_edge_is_no_evidence),
		T(test_nobody_is_asked_where_nothing_would_open),
		T(test_hurry_shortens_the_proof_to_a_second),
		T(test_a_new_destination_takes_the_place_of_one_that_is_gone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

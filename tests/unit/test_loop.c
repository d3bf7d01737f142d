// SPDX-License-Identifier: GPL-2.0-or-later
/* test_loop.c: what the loop in the kernel may do, and how the guard goes on with what it did. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "breaker_fixture.h"
#include "decide/loop.h"

static struct pile_bpf_rule rule_of(struct fixture *f)
{
	struct pile_bpf_rule rule;

	pile_loop_rule(&f->state, &f->view, &f->sample, 0, &rule);
	return rule;
}

/* The guard is back, and the loop has shut the database's gate (and opened it again). */
static struct pile_sample_loop *loop_did(struct fixture *f, bool open)
{
	struct pile_sample_loop *loop = &f->sample.loops[0];

	tick(f);
	f->sample.now_ns += 20 * NS_PER_SEC;
	f->sample.n_loops = 1;
	*loop = (struct pile_sample_loop){
		.endpoint = dep(f)->endpoint,
		.open = open,
		.opened_ns = f->sample.now_ns - 12 * NS_PER_SEC,
		.closed_ns = f->sample.now_ns - NS_PER_SEC,
		.refused = 40,
		.openings = 1,
		.connecting = 30,
		.stuck = 20,
		.waiting = 60,
		.no_success_ns = 2500 * MS,
	};
	return loop;
}

static uint32_t count(struct fixture *f, enum pile_intent_kind kind)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < f->n; i++)
		n += f->intents[i].kind == kind;
	return n;
}

static void test_taken_over(void **state)
{
	struct fixture *f = *state;
	struct pile_sample_loop *loop = loop_did(f, true);
	const struct pile_intent *opened;

	tick(f); /* twenty seconds late: nothing else would be opened in it */
	opened = said(f, PILE_INTENT_BREAKER_OPEN);
	assert_non_null(opened);
	assert_int_equal(opened->blocked, PILE_BLOCKED_NO);
	assert_int_equal(opened->at_ns, loop->opened_ns);
	assert_false(opened->over);
	assert_true(opened->why.in_kernel);
	assert_int_equal(opened->why.connecting, 30);
	assert_int_equal(opened->why.share_permille, 500);
	assert_true(count(f, PILE_INTENT_BREAKER_RENEW) > 0);
	assert_int_equal(f->state.breakers.opened, 1);
	f->sample.n_loops = 0;
	tick(f);
	assert_null(said(f, PILE_INTENT_BREAKER_OPEN));
	assert_non_null(said(f, PILE_INTENT_BREAKER_RENEW));
}

static void test_over_already(void **state)
{
	struct fixture *f = *state;
	struct pile_sample_loop *loop = loop_did(f, false);
	const struct pile_intent *closed;

	tick(f);
	assert_true(said(f, PILE_INTENT_BREAKER_OPEN)->over);
	assert_null(said(f, PILE_INTENT_BREAKER_RENEW));
	closed = said(f, PILE_INTENT_BREAKER_CLOSE);
	assert_true(closed->over);
	assert_int_equal(closed->close_reason, PILE_CLOSE_ANSWERED);
	assert_int_equal(closed->at_ns, loop->closed_ns);
	assert_int_equal(closed->outage_ns, 11 * NS_PER_SEC);
	assert_int_equal(closed->explain_id, said(f, PILE_INTENT_BREAKER_OPEN)->explain_id);
	assert_int_equal(f->state.breakers.closed_total, 1);
	assert_null(pile_breakers_find(&f->state.breakers, 0, &dep(f)->endpoint));
}

/* The guard had shut it itself before it was frozen; the loop went on, and found that it answers. */
static void test_over_for_the_guard_too(void **state)
{
	struct fixture *f = *state;

	f->hole = true;
	assert_true(until(f, PILE_INTENT_BREAKER_OPEN, 60) > 0);
	f->hole = false;
	loop_did(f, false);
	tick(f);
	assert_int_equal(count(f, PILE_INTENT_BREAKER_CLOSE), 1);
	assert_false(said(f, PILE_INTENT_BREAKER_CLOSE)->over); /* its gate must go */
	assert_null(said(f, PILE_INTENT_BREAKER_OPEN));
	assert_null(said(f, PILE_INTENT_BREAKER_RENEW));
}

static void test_goes_on_as_one_episode(void **state)
{
	struct fixture *f = *state;

	f->hole = true;
	assert_true(until(f, PILE_INTENT_BREAKER_OPEN, 60) > 0);
	loop_did(f, true);
	tick(f);
	assert_null(said(f, PILE_INTENT_BREAKER_OPEN));
	assert_null(said(f, PILE_INTENT_BREAKER_CLOSE));
	assert_non_null(said(f, PILE_INTENT_BREAKER_RENEW));
}

/* A switch that was turned meanwhile wins: what the loop holds shut is not taken over, and so is open. */
static void test_not_taken_over(void **state)
{
	struct fixture *f = *state;

	loop_did(f, true);
	f->view.disarmed = true;
	tick(f);
	assert_null(said(f, PILE_INTENT_BREAKER_RENEW));
	assert_null(pile_breakers_find(&f->state.breakers, 0, &dep(f)->endpoint));
}

static void test_rule(void **state)
{
	struct fixture *f = *state;
	struct pile_bpf_rule rule;

	f->sample.groups[0].drift = 7;
	tick(f);
	rule = rule_of(f);
	assert_int_equal(rule.drift, 7);
	assert_int_equal(rule.armed, 1);
	assert_int_equal(rule.refuse_errno, f->view.groups[0].config.refuse_errno);
	assert_int_equal(rule.dead_after_ns, 2400 * MS);
	assert_int_equal(rule.pool_limit, 30);
	assert_int_equal(rule.waiting, 20);
	assert_int_equal(rule.free_bytes, f->state.risk[0].free_bytes);
	assert_int_equal(rule.always, 0);
	f->view.groups[0].config.fail_fast = PILE_FAIL_FAST_ALWAYS;
	assert_int_equal(rule_of(f).always, 1);
}

static void disarm(struct fixture *f)
{
	f->view.disarmed = true;
}

static void observe(struct fixture *f)
{
	f->view.mode = PILE_MODE_OBSERVE;
}

static void no_rung(struct fixture *f)
{
	f->view.groups[0].config.enforce = 0;
}

static void foreign(struct fixture *f)
{
	f->view.groups[0].foreign = true;
}

static void no_gate(struct fixture *f)
{
	f->view.groups[0].gate_ready = false;
}

static void network(struct fixture *f)
{
	f->state.network.suspect = true;
}

static void network_forming(struct fixture *f)
{
	f->state.network.forming = true;
}

static void released(struct fixture *f)
{
	assert_int_equal(pile_decide_hold(&f->state, &f->view, 0, &dep(f)->endpoint, false,
					  f->sample.now_ns + 60 * NS_PER_SEC),
			 0);
}

static void absent(struct fixture *f)
{
	f->sample.groups[0].present = false;
}

/* Whatever keeps the guard from acting keeps the loop from it. */
static void test_rule_is_disarmed(void **state)
{
	static void (*const switches[])(struct fixture * f) = { disarm,		 observe,  no_rung,
								foreign,	 no_gate,  network,
								network_forming, released, absent };
	struct fixture *f = *state, *saved = test_malloc(sizeof(*saved));

	tick(f);
	*saved = *f;
	for (size_t i = 0; i < ARRAY_LEN(switches); i++) {
		*f = *saved;
		assert_int_equal(rule_of(f).armed, 1);
		switches[i](f);
		assert_int_equal(rule_of(f).armed, 0);
	}
	test_free(saved);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_taken_over, setup, teardown),
		cmocka_unit_test_setup_teardown(test_over_already, setup, teardown),
		cmocka_unit_test_setup_teardown(test_over_for_the_guard_too, setup, teardown),
		cmocka_unit_test_setup_teardown(test_goes_on_as_one_episode, setup, teardown),
		cmocka_unit_test_setup_teardown(test_not_taken_over, setup, teardown),
		cmocka_unit_test_setup_teardown(test_rule, setup, teardown),
		cmocka_unit_test_setup_teardown(test_rule_is_disarmed, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

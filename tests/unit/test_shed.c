// SPDX-License-Identifier: GPL-2.0-or-later
/* Rung 2's episodes from hand-made samples: when one begins and ends, which switch forbids it, what is told. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "breaker_fixture.h"
#include "record/explain_text.h"

#define LIMIT 100

static struct pile_sample_door *door(struct fixture *f)
{
	return &f->sample.doors[1];
}

static int guarded(void **state)
{
	struct fixture *f;
	int r = setup(state);

	f = *state;
	f->view.groups[0].config.connections_max = LIMIT;
	f->view.groups[0].config.enforce = PILE_RUNG_SHED;
	f->view.shed_tcp_ready = f->view.shed_unix_ready = true;
	*door(f) = (struct pile_sample_door){ .used = true, .n_listeners = 1, .held = 10 };
	pile_endpoint_parse("127.0.0.1:8080", false, &door(f)->endpoint);
	tick(f);
	return r;
}

static void test_refusals_are_one_episode(void **state)
{
	struct fixture *f = *state;
	const struct pile_intent *intent;
	uint32_t id;

	never(f, PILE_INTENT_SHED_OPEN, 50);
	door(f)->held = LIMIT;
	never(f, PILE_INTENT_SHED_OPEN, 5); /* full is not refused */
	door(f)->refused = 7;
	tick(f);
	intent = said(f, PILE_INTENT_SHED_OPEN);
	assert_non_null(intent);
	assert_int_equal(intent->blocked, PILE_BLOCKED_NO);
	assert_int_equal(intent->why.held, LIMIT);
	assert_int_equal(intent->why.held_max, LIMIT);
	assert_int_equal(intent->why.refused, 7);
	id = intent->explain_id;
	assert_true(pile_shed_open_in(&f->state.sheds, 0));
	for (int i = 0; i < 300; i++) {
		door(f)->refused += i % 50 == 0;
		tick(f);
		assert_null(said(f, PILE_INTENT_SHED_OPEN));
		assert_null(said(f, PILE_INTENT_SHED_CLOSE));
	}
	assert_true(until(f, PILE_INTENT_SHED_CLOSE, 101) > 4 * NS_PER_SEC);
	intent = said(f, PILE_INTENT_SHED_CLOSE);
	assert_int_equal(intent->explain_id, id);
	assert_int_equal(intent->close_reason, PILE_CLOSE_CALM);
	assert_int_equal(intent->why.refused, 13);
	assert_int_equal(f->state.sheds.refused, 13);
	assert_false(pile_shed_open_in(&f->state.sheds, 0));
	/* the next one has another number, and its own count */
	door(f)->refused++;
	tick(f);
	assert_int_not_equal(said(f, PILE_INTENT_SHED_OPEN)->explain_id, id);
	assert_int_equal(said(f, PILE_INTENT_SHED_OPEN)->why.refused, 1);
}

static void test_would_have(void **state)
{
	struct fixture *f = *state;
	struct pile_decide_group *group = &f->view.groups[0];
	const struct {
		enum pile_blocked blocked;
		uint32_t enforce;
		enum pile_mode mode;
		bool disarmed, foreign, out_of_reach, ready, outside;
	} cases[] = {
		{ PILE_BLOCKED_OBSERVE, PILE_RUNG_SHED, PILE_MODE_OBSERVE, .ready = true },
		{ PILE_BLOCKED_SHARE, PILE_RUNG_SHED, PILE_MODE_OBSERVE, .ready = true,
		  .outside = true },
		{ PILE_BLOCKED_RUNG, PILE_RUNG_FAIL_FAST, PILE_MODE_ENFORCE, .ready = true },
		{ PILE_BLOCKED_DISARMED, PILE_RUNG_SHED, PILE_MODE_ENFORCE, .ready = true,
		  .disarmed = true },
		{ PILE_BLOCKED_FOREIGN, PILE_RUNG_SHED, PILE_MODE_ENFORCE, .ready = true,
		  .foreign = true },
		{ PILE_BLOCKED_NETNS, PILE_RUNG_SHED, PILE_MODE_ENFORCE, .ready = true,
		  .out_of_reach = true },
		{ PILE_BLOCKED_KERNEL, PILE_RUNG_SHED, PILE_MODE_ENFORCE, .ready = false },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		group->config.enforce = cases[i].enforce;
		group->foreign = cases[i].foreign;
		f->view.mode = cases[i].mode;
		f->view.outside_share = cases[i].outside;
		f->view.disarmed = cases[i].disarmed;
		f->view.shed_tcp_ready = cases[i].ready;
		door(f)->out_of_reach = cases[i].out_of_reach;
		door(f)->held = LIMIT - 1;
		never(f, PILE_INTENT_SHED_OPEN, 5);
		door(f)->held = LIMIT;
		tick(f);
		assert_non_null(said(f, PILE_INTENT_SHED_OPEN));
		assert_int_equal(said(f, PILE_INTENT_SHED_OPEN)->blocked, cases[i].blocked);
		door(f)->held = 0;
		assert_true(until(f, PILE_INTENT_SHED_CLOSE, 110) > 0);
		assert_int_equal(said(f, PILE_INTENT_SHED_CLOSE)->blocked, cases[i].blocked);
	}
}

static void test_a_switch_ends_it(void **state)
{
	struct fixture *f = *state;

	door(f)->held = LIMIT;
	door(f)->refused = 5;
	tick(f);
	assert_int_equal(said(f, PILE_INTENT_SHED_OPEN)->blocked, PILE_BLOCKED_NO);
	f->view.disarmed = true;
	tick(f);
	assert_int_equal(said(f, PILE_INTENT_SHED_CLOSE)->close_reason, PILE_CLOSE_DISARMED);
	/* still full: it would refuse */
	assert_int_equal(said(f, PILE_INTENT_SHED_OPEN)->blocked, PILE_BLOCKED_DISARMED);
	f->view.disarmed = false;
	tick(f);
	assert_int_equal(said(f, PILE_INTENT_SHED_CLOSE)->close_reason, PILE_CLOSE_SWITCHED);
	assert_null(said(f, PILE_INTENT_SHED_OPEN));
	door(f)->refused++;
	tick(f);
	assert_int_equal(said(f, PILE_INTENT_SHED_OPEN)->blocked, PILE_BLOCKED_NO);
	/* the operator's hand: by address, or by port alone */
	assert_int_equal(pile_decide_hold(&f->state, &f->view, 0, &door(f)->endpoint, false,
					  f->sample.now_ns + NS_PER_SEC),
			 0);
	tick(f);
	assert_int_equal(said(f, PILE_INTENT_SHED_CLOSE)->close_reason, PILE_CLOSE_RELEASED);
	assert_int_equal(
		pile_shed_blocked(&f->view, &f->state.breakers.hands, door(f), f->sample.now_ns),
		PILE_BLOCKED_RELEASED);
	assert_int_equal(pile_shed_blocked(&f->view, &f->state.breakers.hands, door(f),
					   f->sample.now_ns + 2 * NS_PER_SEC),
			 PILE_BLOCKED_NO);
}

static void test_released_by_path(void **state)
{
	struct fixture *f = *state;
	struct pile_endpoint other;

	pile_endpoint_parse("/run/app.sock", false, &door(f)->endpoint);
	pile_endpoint_parse("/run/other.sock", false, &other);
	assert_int_equal(pile_decide_hold(&f->state, &f->view, 0, &other, false,
					  f->sample.now_ns + NS_PER_SEC),
			 0);
	assert_int_equal(
		pile_shed_blocked(&f->view, &f->state.breakers.hands, door(f), f->sample.now_ns),
		PILE_BLOCKED_NO);
	assert_int_equal(pile_decide_hold(&f->state, &f->view, 0, &door(f)->endpoint, false,
					  f->sample.now_ns + NS_PER_SEC),
			 0);
	assert_int_equal(
		pile_shed_blocked(&f->view, &f->state.breakers.hands, door(f), f->sample.now_ns),
		PILE_BLOCKED_RELEASED);
	/* nobody can be held at his own door */
	assert_int_equal(pile_decide_hold(&f->state, &f->view, 0, &door(f)->endpoint, true,
					  f->sample.now_ns + NS_PER_SEC),
			 -EINVAL);
}

/* What was refused while the guard stood still is told at its return, late or not; a level then begins nothing. */
static void test_after_a_pause(void **state)
{
	struct fixture *f = *state;

	f->view.mode = PILE_MODE_OBSERVE;
	f->sample.now_ns += 20 * NS_PER_SEC;
	f->sample.late_ns = 20 * NS_PER_SEC;
	door(f)->held = LIMIT;
	tick(f);
	assert_null(said(f, PILE_INTENT_SHED_OPEN));
	f->view.mode = PILE_MODE_ENFORCE;
	f->sample.now_ns += 20 * NS_PER_SEC;
	f->sample.late_ns = 20 * NS_PER_SEC;
	door(f)->refused = 900;
	tick(f);
	assert_int_equal(said(f, PILE_INTENT_SHED_OPEN)->why.refused, 900);
}

static void test_the_door_goes(void **state)
{
	struct fixture *f = *state;

	door(f)->refused = 5;
	door(f)->held = LIMIT;
	tick(f);
	assert_non_null(said(f, PILE_INTENT_SHED_OPEN));
	/* its place is another's at once: what that one refused before is not this one's */
	door(f)->refused = 4000;
	pile_endpoint_parse("127.0.0.1:8081", false, &door(f)->endpoint);
	tick(f);
	assert_int_equal(said(f, PILE_INTENT_SHED_CLOSE)->close_reason, PILE_CLOSE_POLICY);
	assert_null(said(f, PILE_INTENT_SHED_OPEN));
	door(f)->used = false;
	tick(f);
	door(f)->used = true;
	tick(f);
	assert_null(said(f, PILE_INTENT_SHED_OPEN));
	door(f)->refused++;
	tick(f);
	assert_non_null(said(f, PILE_INTENT_SHED_OPEN));
	pile_decide_stop(&f->state, f->intents, &f->n);
	assert_int_equal(said(f, PILE_INTENT_SHED_CLOSE)->close_reason, PILE_CLOSE_STOPPED);
}

static void test_full_house(void **state)
{
	struct fixture *f = *state;
	uint32_t opened = 0;

	for (uint32_t i = 1; i < PILE_DOORS_MAX; i++) {
		f->sample.doors[i] = *door(f);
		f->sample.doors[i].endpoint.port = (uint16_t)(1000 + i);
	}
	tick(f);
	for (uint32_t i = 1; i < PILE_DOORS_MAX; i++)
		f->sample.doors[i].refused++;
	tick(f);
	for (uint32_t i = 0; i < f->n; i++)
		opened += f->intents[i].kind == PILE_INTENT_SHED_OPEN;
	assert_int_equal(opened, PILE_DOORS_MAX - 1);
	assert_int_equal(f->state.intents_lost, 0);
}

/* ---- the share ---- */

static struct pile_verdict verdict;
static struct pile_share share;
static uint64_t now_ns;

static int begun(void **state)
{
	(void)state;
	memset(&verdict, 0, sizeof(verdict));
	memset(&share, 0, sizeof(share));
	now_ns = 1000 * NS_PER_SEC;
	verdict.stage = PILE_STAGE_RELIEVE;
	verdict.now.relieve = true;
	verdict.now.sum_opened = 100;
	verdict.now.sum_ended = 60;
	return 0;
}

static uint32_t after(uint64_t ns, uint32_t waiting)
{
	for (uint64_t end = now_ns + ns; now_ns < end; now_ns += PILE_TICK_NS)
		pile_share_update(&share, &verdict, true, 900, waiting, now_ns);
	return share.permille;
}

static void test_share_goes_with_what_is_not_answered(void **state)
{
	(void)state;
	assert_int_equal(after(PILE_TICK_NS, 50), 400);
	/* it helps: no more than that */
	assert_int_equal(after(3 * NS_PER_SEC, 40), 400);
	assert_int_equal(after(2 * NS_PER_SEC, 30), 400);
	/* it does not: a quarter more each two seconds, never more than the policy's */
	assert_int_equal(after(2 * NS_PER_SEC, 30), 500);
	assert_int_equal(after(2 * NS_PER_SEC, 30), 625);
	assert_int_equal(after(20 * NS_PER_SEC, 31), 900);
	/* nothing is answered at all: at once */
	begun(NULL);
	verdict.now.sum_ended = 0;
	assert_int_equal(after(PILE_TICK_NS, 50), 900);
	/* hardly anything is missing: enough to be felt */
	begun(NULL);
	verdict.now.sum_ended = 99;
	assert_int_equal(after(PILE_TICK_NS, 50), 100);
}

static void test_share_comes_back_in_steps(void **state)
{
	uint32_t last;

	(void)state;
	verdict.now.sum_ended = 0;
	assert_int_equal(after(NS_PER_SEC, 50), 900);
	verdict.now.relieve = false;
	for (last = 900; share.permille; last = share.permille) {
		after(500 * NS_PER_MS, 10);
		assert_true(share.permille < last);
		assert_true(1000 - share.permille <= (1000 - last) * 5 / 4 + 50);
	}
	assert_true(now_ns < 1008 * NS_PER_SEC);
	assert_int_equal(after(10 * NS_PER_SEC, 10), 0);
}

static void test_share_needs_all_of_it(void **state)
{
	(void)state;
	for (int stage = PILE_STAGE_CALM; stage < PILE_STAGE_RELIEVE; stage++) {
		verdict.stage = (enum pile_stage)stage;
		assert_int_equal(after(5 * NS_PER_SEC, 50), 0);
	}
	verdict.stage = PILE_STAGE_RELIEVE;
	verdict.now.relieve = false; /* the stage stays for ten seconds after its reason has gone */
	assert_int_equal(after(5 * NS_PER_SEC, 50), 0);
	verdict.now.relieve = true;
	pile_share_update(&share, &verdict, false, 900, 50, now_ns);
	assert_int_equal(share.permille, 0);
	pile_share_update(&share, &verdict, true, 0, 50, now_ns);
	assert_int_equal(share.permille, 0);
	/* the policy takes it back, or less of it */
	assert_int_equal(after(NS_PER_SEC, 50), 400);
	pile_share_update(&share, &verdict, true, 250, 50, now_ns);
	assert_int_equal(share.permille, 250);
	pile_share_update(&share, &verdict, true, 0, 50, now_ns);
	assert_int_equal(share.permille, 0);
}

/* nginx before php-fpm, which holds the waits; and a service that connects to one with a door. */
static void test_share_at_the_deepest(void **state)
{
	struct fixture *f = *state;
	struct pile_decide_group *front = &f->view.groups[1];

	f->view.n_groups = 2;
	*front = f->view.groups[0];
	f->view.groups[0].named = front->named = true;
	front->config.workers = PILE_WORKERS_EVENTS;
	f->view.groups[0].config.workers = PILE_WORKERS_PREFORK;
	f->state.verdict[0].stage = f->state.verdict[1].stage = PILE_STAGE_RELIEVE;
	assert_true(pile_share_deepest(&f->state, &f->view, &f->sample, 0));
	assert_false(pile_share_deepest(&f->state, &f->view, &f->sample, 1));
	/* what waits at the proxy alone is its own */
	f->state.verdict[0].stage = PILE_STAGE_SUSPECT;
	assert_true(pile_share_deepest(&f->state, &f->view, &f->sample, 1));
	/* by a connection: 0 asks 1, which piles up */
	f->state.verdict[0].stage = PILE_STAGE_RELIEVE;
	front->config.workers = PILE_WORKERS_PREFORK;
	assert_true(pile_share_deepest(&f->state, &f->view, &f->sample, 0));
	f->sample.doors[2] = (struct pile_sample_door){ .used = true, .group = 1 };
	f->sample.doors[2].endpoint = dep(f)->endpoint;
	assert_false(pile_share_deepest(&f->state, &f->view, &f->sample, 0));
	assert_true(pile_share_deepest(&f->state, &f->view, &f->sample, 1));
}

#define G(name) cmocka_unit_test_setup_teardown(name, guarded, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		G(test_refusals_are_one_episode),
		G(test_would_have),
		G(test_a_switch_ends_it),
		G(test_released_by_path),
		G(test_after_a_pause),
		G(test_the_door_goes),
		G(test_full_house),
		cmocka_unit_test_setup(test_share_goes_with_what_is_not_answered, begun),
		cmocka_unit_test_setup(test_share_comes_back_in_steps, begun),
		cmocka_unit_test_setup(test_share_needs_all_of_it, begun),
		G(test_share_at_the_deepest),
	};

	return cmocka_run_group_tests_name("shed", tests, NULL, NULL);
}

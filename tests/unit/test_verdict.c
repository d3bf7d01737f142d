// SPDX-License-Identifier: GPL-2.0-or-later
/* S1, S2, S3 and clear: each with its bound, its duration and the way back. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "decide/verdict.h"
#include "util/macro.h"

#define MIB (1ULL << 20)

struct fixture {
	struct pile_verdict verdict;
	struct pile_baseline baseline;
	struct pile_risk risk;
	struct pile_policy_group config;
	struct pile_sample sample;
	enum pile_stage from;
	unsigned int changes;
};

static int setup(void **state)
{
	static struct fixture f;

	memset(&f, 0, sizeof(f));
	pile_verdict_init(&f.verdict);
	pile_baseline_init(&f.baseline);
	pile_risk_init(&f.risk);
	pile_policy_group_init(&f.config, "www");
	f.config.baseline_waiting = 3; /* bound 3 + 8 + 16 = 27; clear 3 + 4 + 8 = 15 */
	f.sample.now_ns = 1000 * NS_PER_SEC;
	f.sample.memory_available_bytes = 1200 * MIB;
	f.sample.groups[0].used = f.sample.groups[0].present = true;
	*state = &f;
	return 0;
}

static void tick(struct fixture *f, uint32_t opened, uint32_t answered, bool late)
{
	struct pile_sample_group *g = &f->sample.groups[0];

	f->sample.now_ns += PILE_TICK_NS;
	g->opened += opened;
	g->answered += answered;
	g->waiting = (uint32_t)(g->opened - g->answered - g->closed);
	f->changes += pile_verdict_update(&f->verdict, &f->baseline, &f->risk, &f->config,
					  100 * MIB, &f->sample, 0, late, &f->from);
}

static void ticks(struct fixture *f, unsigned int n, uint32_t opened, uint32_t answered)
{
	for (unsigned int i = 0; i < n; i++)
		tick(f, opened, answered, false);
}

/* Opened 4, answered 0 a tick until S1; returns how many ticks it took. */
static unsigned int until(struct fixture *f, enum pile_stage stage)
{
	unsigned int n = 0;

	while (f->verdict.stage < stage && n < 1000) {
		tick(f, 4, 0, false);
		n++;
	}
	return n;
}

static void test_suspect_takes_excess_and_imbalance_for_300_ms(void **state)
{
	struct fixture *f = *state;

	ticks(f, 30, 4, 4);
	assert_int_equal(f->verdict.now.excess_bound, 27);
	assert_int_equal(f->verdict.now.clear_bound, 15);
	/* 7 ticks: 28 waiting, in excess; 28 of 80 is 0.35: imbalance; 3 ticks more */
	assert_int_equal(until(f, PILE_STAGE_SUSPECT), 10);
	assert_int_equal(f->changes, 1);
	assert_int_equal(f->from, PILE_STAGE_CALM);
}

static void test_excess_alone_is_nothing(void **state)
{
	struct fixture *f = *state;

	f->sample.groups[0].opened = 200; /* long poll: 200 wait, in balance */
	ticks(f, 600, 4, 4);
	assert_true(f->verdict.now.excess);
	assert_int_equal(f->verdict.stage, PILE_STAGE_CALM);
}

static void test_imbalance_alone_is_nothing(void **state)
{
	struct fixture *f = *state;

	f->config.baseline_waiting = 200;
	ticks(f, 30, 4, 4);
	ticks(f, 10, 10, 0);
	assert_true(f->verdict.now.imbalance);
	assert_false(f->verdict.now.excess);
	assert_int_equal(f->verdict.stage, PILE_STAGE_CALM);
}

static void test_without_a_baseline_nothing_is_said(void **state)
{
	struct fixture *f = *state;

	f->config.baseline_waiting = 0;
	ticks(f, 200, 4, 0);
	assert_int_equal(f->verdict.stage, PILE_STAGE_CALM);
}

static void test_small_budgets_make_it_sharper(void **state)
{
	struct fixture *f = *state;

	f->risk.request_bytes = 6 * MIB;
	f->risk.budget_bytes = 480 * MIB; /* 5 %: 24 MiB: 4 requests */
	tick(f, 0, 0, false);
	assert_int_equal(f->verdict.now.excess_bound, 3 + 8 + 4);
}

static void test_relieve_needs_risk_and_one_of_three_for_a_second(void **state)
{
	struct fixture *f = *state;

	until(f, PILE_STAGE_SUSPECT);
	f->sample.n_dependencies = 1;
	f->sample.dependencies[0].stuck = 1000;
	ticks(f, 30, 4, 0);
	assert_int_equal(f->verdict.stage, PILE_STAGE_SUSPECT); /* no risk */
	f->sample.dependencies[0].stuck = 0;
	f->risk.pool = true;
	ticks(f, 10, 4, 0);
	assert_int_equal(f->verdict.stage,
			 PILE_STAGE_SUSPECT); /* nothing old, no growth, no waits on dependencies */
	f->sample.dependencies[0].stuck = f->sample.groups[0].waiting;
	ticks(f, 10, 0, 0);
	assert_int_equal(f->verdict.stage, PILE_STAGE_SUSPECT);
	tick(f, 0, 0, false);
	assert_int_equal(f->verdict.stage, PILE_STAGE_RELIEVE);
}

static void test_relieve_by_age_and_by_growth(void **state)
{
	struct fixture *f = *state;

	until(f, PILE_STAGE_SUSPECT);
	f->risk.pool = true;
	f->sample.groups[0].age[4] = 200; /* 1.0 s..: X is 1 s while nothing is learned */
	assert_in_range(until(f, PILE_STAGE_RELIEVE), 11, 11);
	setup(state);
	until(f, PILE_STAGE_SUSPECT);
	f->risk.memory = true;
	f->risk.budget_bytes = 1000 * MIB;
	f->risk.growth_bytes = 11 * MIB;
	assert_in_range(until(f, PILE_STAGE_RELIEVE), 11, 11);
}

static void reach_relieve(struct fixture *f)
{
	until(f, PILE_STAGE_SUSPECT);
	f->risk.memory = true;
	f->risk.budget_bytes = 1000 * MIB;
	f->risk.growth_bytes = 200 * MIB;
	f->risk.exhaustion_ns = 5 * NS_PER_SEC;
	until(f, PILE_STAGE_RELIEVE);
}

static void test_evict_needs_a_second_of_relieve_and_the_end_near(void **state)
{
	struct fixture *f = *state;

	reach_relieve(f);
	ticks(f, 30, 4, 0);
	assert_int_equal(f->verdict.stage, PILE_STAGE_RELIEVE); /* 5 s away */
	ticks(f, 20, 4, 8);
	f->risk.exhaustion_ns = 2 * NS_PER_SEC;
	ticks(f, 10, 4, 8);
	assert_int_equal(f->verdict.stage, PILE_STAGE_RELIEVE); /* W falls */
	assert_in_range(until(f, PILE_STAGE_EVICT), 4, 14);	/* it grows again */
	setup(state);
	reach_relieve(f);
	f->sample.memory_available_bytes = 90 * MIB; /* the reserve is breached */
	assert_int_equal(until(f, PILE_STAGE_EVICT), 13);
}

static void test_clear_takes_ten_seconds_and_doubles(void **state)
{
	struct fixture *f = *state;
	unsigned int n = 0;

	until(f, PILE_STAGE_SUSPECT);
	tick(f, 0, (uint32_t)f->sample.groups[0].waiting, false);
	while (f->verdict.stage && n++ < 1000)
		tick(f, 4, 4, false);
	assert_in_range(n, 100, 101);
	until(f, PILE_STAGE_SUSPECT);
	tick(f, 0, (uint32_t)f->sample.groups[0].waiting, false);
	for (n = 0; f->verdict.stage && n < 1000; n++)
		tick(f, 4, 4, false);
	assert_in_range(n, 200, 201);
	ticks(f, 6001, 4, 4); /* ten quiet minutes: a new story */
	until(f, PILE_STAGE_SUSPECT);
	assert_int_equal(f->verdict.hold_ns, 10 * NS_PER_SEC);
}

static void test_late_ticks_conclude_nothing(void **state)
{
	struct fixture *f = *state;

	ticks(f, 30, 4, 4);
	for (unsigned int i = 0; i < 50; i++)
		tick(f, 8, 0, true);
	assert_int_equal(f->changes, 0);
}

static void test_totals_that_go_back_conclude_nothing(void **state)
{
	struct fixture *f = *state;

	f->sample.groups[0].opened = f->sample.groups[0].answered = 100000;
	ticks(f, 30, 4, 4);
	f->sample.groups[0].opened = f->sample.groups[0].answered = 0;
	ticks(f, 30, 4, 4);
	assert_int_equal(f->changes, 0);
	assert_in_range(f->verdict.now.sum_opened, 70, 84);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_suspect_takes_excess_and_imbalance_for_300_ms, setup),
		cmocka_unit_test_setup(test_excess_alone_is_nothing, setup),
		cmocka_unit_test_setup(test_imbalance_alone_is_nothing, setup),
		cmocka_unit_test_setup(test_without_a_baseline_nothing_is_said, setup),
		cmocka_unit_test_setup(test_small_budgets_make_it_sharper, setup),
		cmocka_unit_test_setup(test_relieve_needs_risk_and_one_of_three_for_a_second,
				       setup),
		cmocka_unit_test_setup(test_relieve_by_age_and_by_growth, setup),
		cmocka_unit_test_setup(test_evict_needs_a_second_of_relieve_and_the_end_near,
				       setup),
		cmocka_unit_test_setup(test_clear_takes_ten_seconds_and_doubles, setup),
		cmocka_unit_test_setup(test_late_ticks_conclude_nothing, setup),
		cmocka_unit_test_setup(test_totals_that_go_back_conclude_nothing, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

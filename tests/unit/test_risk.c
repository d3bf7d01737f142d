// SPDX-License-Identifier: GPL-2.0-or-later
/* Time to exhaustion, the pool's cap, memory per request: growth counts, a level never does. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "decide/risk.h"
#include "util/macro.h"

#define MIB (1ULL << 20)

struct fixture {
	struct pile_risk risk;
	struct pile_policy_group config;
	struct pile_sample sample;
};

static int setup(void **state)
{
	static struct fixture f;
	struct pile_sample_group *g = &f.sample.groups[0];

	memset(&f, 0, sizeof(f));
	pile_risk_init(&f.risk);
	pile_policy_group_init(&f.config, "www");
	f.config.workers = PILE_WORKERS_PREFORK;
	f.sample.now_ns = 1000 * NS_PER_SEC;
	f.sample.memory_total_bytes = 1500 * MIB;
	f.sample.memory_available_bytes = 1200 * MIB;
	g->used = g->present = true;
	g->workers = 10;
	g->memory_bytes = 60 * MIB;
	*state = &f;
	return 0;
}

static void tick(struct fixture *f, bool late)
{
	f->sample.now_ns += PILE_TICK_NS;
	pile_risk_update(&f->risk, &f->config, 100 * MIB, &f->sample, 0, late);
}

/* n ticks in which @requests begin to wait per tick, @bytes each. */
static void grow(struct fixture *f, unsigned int n, uint32_t requests, uint64_t bytes)
{
	struct pile_sample_group *g = &f->sample.groups[0];

	for (unsigned int i = 0; i < n; i++) {
		g->opened += requests;
		g->waiting += requests;
		g->memory_bytes += requests * bytes;
		f->sample.memory_available_bytes -=
			MIN(requests * bytes, f->sample.memory_available_bytes);
		tick(f, false);
	}
}

static void test_growth_gives_the_time_left(void **state)
{
	struct fixture *f = *state;

	grow(f, 10, 0, 0);
	grow(f, 20, 3, 6 * MIB); /* 180 MiB/s */
	assert_in_range(f->risk.growth_bytes, 179 * MIB, 181 * MIB);
	assert_int_equal(f->risk.free_bytes, (1200 - 100 - 360) * MIB);
	assert_in_range(f->risk.exhaustion_ns, 4 * NS_PER_SEC, 42 * NS_PER_SEC / 10);
	assert_true(f->risk.memory);
	assert_true(pile_risk_at_risk(&f->risk));
	assert_in_range(f->risk.rate_milli, 30000, 30000);
	assert_in_range(f->risk.request_bytes, 6 * MIB - 2048, 6 * MIB);
	assert_true(f->risk.measured);
}

static void test_a_level_is_never_proof(void **state)
{
	struct fixture *f = *state;

	f->sample.memory_available_bytes = 110 * MIB; /* 10 MiB above the reserve */
	f->sample.groups[0].memory_bytes = 1380 * MIB;
	for (unsigned int i = 0; i < 100; i++) {
		f->sample.groups[0].memory_bytes += i % 2 ? MIB / 2 : -(MIB / 2);
		tick(f, false);
		assert_false(pile_risk_at_risk(&f->risk));
	}
}

static void test_the_nearest_budget_counts(void **state)
{
	struct fixture *f = *state;

	tick(f, false);
	assert_int_equal(f->risk.free_bytes, 1100 * MIB);
	f->config.memory_budget_bytes = 500 * MIB;
	tick(f, false);
	assert_int_equal(f->risk.free_bytes, 440 * MIB);
	f->sample.groups[0].memory_limit_bytes = 300 * MIB;
	tick(f, false);
	assert_int_equal(f->risk.free_bytes, 240 * MIB);
	f->config.memory_budget_permille = 100;
	tick(f, false);
	assert_in_range(f->risk.free_bytes, 89 * MIB, 90 * MIB);
	f->sample.memory_available_bytes =
		50 * MIB; /* below the reserve: nothing left, not a number below zero */
	tick(f, false);
	assert_int_equal(f->risk.free_bytes, 0);
}

static void test_pool_from_policy_and_pids(void **state)
{
	struct fixture *f = *state;

	f->sample.groups[0].waiting = 51;
	tick(f, false);
	assert_false(f->risk.pool);
	f->config.workers_max = 102;
	tick(f, false);
	assert_false(f->risk.pool); /* half is not more than half */
	f->config.workers_max = 100;
	tick(f, false);
	assert_true(f->risk.pool);
	f->config.workers_max = 0;
	f->sample.groups[0].workers_limit = 100;
	tick(f, false);
	assert_true(f->risk.pool);
	f->config.workers = PILE_WORKERS_EVENTS; /* tasks bound no requests there */
	tick(f, false);
	assert_false(f->risk.pool);
}

static void test_a_full_pool_shows_itself_by_its_queue(void **state)
{
	struct fixture *f = *state;

	f->sample.groups[0].waiting = 30;
	f->sample.groups[0].backlog = 20;
	for (unsigned int i = 0; i < 9; i++)
		tick(f, false);
	assert_false(f->risk.pool);
	tick(f, false);
	assert_true(f->risk.pool);
	assert_int_equal(f->risk.pool_limit, 10);
	f->sample.groups[0].workers = 12; /* it still grows: not full */
	tick(f, false);
	assert_false(f->risk.pool);
}

static void test_late_ticks_and_new_objects_start_again(void **state)
{
	struct fixture *f = *state;

	grow(f, 20, 3, 6 * MIB);
	assert_true(f->risk.memory);
	tick(f, true);
	assert_false(f->risk.memory);
	grow(f, 20, 3, 6 * MIB);
	assert_true(f->risk.memory);
	f->sample.groups[0].opened = 0;
	tick(f, false);
	assert_false(f->risk.memory);
}

static void test_hurry_needs_three_ticks_near_the_end(void **state)
{
	struct fixture *f = *state;

	f->sample.memory_available_bytes = 900 * MIB;
	grow(f, 12, 10, 5 * MIB); /* 500 MiB/s; 200 of 800 MiB left: 0.4 s */
	assert_true(f->risk.exhaustion_ns < PILE_RISK_HURRY_NS);
	assert_true(f->risk.hurry);
	setup(state);
	grow(f, 12, 3, 5 * MIB);
	assert_false(f->risk.hurry);
}

static void test_one_allocation_is_no_landslide(void **state)
{
	struct fixture *f = *state;

	tick(f, false);
	grow(f, 1, 10, 20 * MIB); /* 200 MiB in the guard's second tick: 2 GiB/s */
	for (unsigned int i = 0; i < 30; i++) {
		assert_true(f->risk.exhaustion_ns > 2 * NS_PER_SEC);
		assert_false(f->risk.hurry);
		tick(f, false);
	}
}

/* 500 MiB/s with 150 MiB left, but the pool takes only 10 more at 5 MiB, and they fit. */
static void test_a_pool_that_is_full_first_takes_the_hurry_away(void **state)
{
	struct fixture *f = *state;

	f->sample.memory_available_bytes = 1300 * MIB;
	f->config.workers_max = 1000;
	grow(f, 21, 10, 5 * MIB);
	assert_true(f->risk.hurry);
	f->config.workers_max = 220;
	grow(f, 1, 0, 0);
	assert_true(f->risk.memory);
	assert_false(f->risk.hurry);
}

static void test_unknown_memory_falls_back_to_the_host(void **state)
{
	struct fixture *f = *state;

	f->sample.groups[0].memory_bytes = 0;
	for (unsigned int i = 0; i < 12; i++) {
		f->sample.memory_available_bytes -= 15 * MIB;
		tick(f, false);
	}
	assert_in_range(f->risk.growth_bytes, 149 * MIB, 151 * MIB);
	assert_true(f->risk.memory);
}

/* product.md's example: 32 req/s x 10 s x 6.0 MiB = 1.9 GiB > 1.1 GiB: 1.8 */
static void test_calm_ratio(void **state)
{
	struct fixture *f = *state;

	for (unsigned int i = 0; i < 6000; i++) {
		f->sample.groups[0].opened += i % 10 < 2 ? 4 : 3;
		tick(f, false);
	}
	assert_in_range(f->risk.calm_rate_milli, 31900, 32100);
	assert_int_equal(f->risk.request_bytes, 6 * MIB);
	assert_in_range(f->risk.ratio_milli, 1700, 1800);
	for (unsigned int i = 0; i < 12000; i++)
		tick(f, false);
	assert_int_equal(f->risk.ratio_milli, 0);
}

static void test_absurd_numbers_do_not_overflow(void **state)
{
	struct fixture *f = *state;
	struct pile_sample_group *g = &f->sample.groups[0];

	f->sample.memory_total_bytes = f->sample.memory_available_bytes = UINT64_MAX / 2;
	for (unsigned int i = 0; i < 30; i++) {
		g->opened += UINT32_MAX;
		g->waiting += UINT32_MAX / 64;
		g->memory_bytes += UINT64_MAX / 128;
		tick(f, false);
	}
	assert_in_range(f->risk.request_bytes, 4096, 1ULL << 30);
	assert_int_equal(f->risk.rate_milli, UINT32_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_growth_gives_the_time_left, setup),
		cmocka_unit_test_setup(test_a_level_is_never_proof, setup),
		cmocka_unit_test_setup(test_the_nearest_budget_counts, setup),
		cmocka_unit_test_setup(test_pool_from_policy_and_pids, setup),
		cmocka_unit_test_setup(test_a_full_pool_shows_itself_by_its_queue, setup),
		cmocka_unit_test_setup(test_late_ticks_and_new_objects_start_again, setup),
		cmocka_unit_test_setup(test_hurry_needs_three_ticks_near_the_end, setup),
		cmocka_unit_test_setup(test_one_allocation_is_no_landslide, setup),
		cmocka_unit_test_setup(test_a_pool_that_is_full_first_takes_the_hurry_away, setup),
		cmocka_unit_test_setup(test_unknown_memory_falls_back_to_the_host, setup),
		cmocka_unit_test_setup(test_calm_ratio, setup),
		cmocka_unit_test_setup(test_absurd_numbers_do_not_overflow, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

// SPDX-License-Identifier: GPL-2.0-or-later
/* When the workers are looked at each tick: what runs out within 15 s, and only where somebody might be ended for it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "sense/look.h"
#include "util/macro.h"

#define MIB (1ULL << 20)
#define GIB (1ULL << 30)

static struct pile_look look;
static struct pile_groups groups;
static struct pile_sample sample;
static uint64_t now_ns;

static int fresh(void **state)
{
	struct pile_group *g = &groups.groups[0];

	(void)state;
	memset(&look, 0, sizeof(look));
	memset(&groups, 0, sizeof(groups));
	memset(&sample, 0, sizeof(sample));
	now_ns = 1000 * NS_PER_SEC;
	groups.n_groups = 1;
	*g = (struct pile_group){ .used = true, .configured = true, .present = true };
	g->memory_current_fd = -1;
	g->config.workers = PILE_WORKERS_PREFORK;
	sample.memory_total_bytes = 4 * GIB;
	sample.memory_available_bytes = 2 * GIB;
	return 0;
}

static bool tick(void)
{
	now_ns += PILE_TICK_NS;
	return pile_look_sample(&look, &groups, now_ns, &sample);
}

/* Ticks until it is on; 0: not within @limit. */
static int on_after(uint64_t a_tick, int limit)
{
	for (int i = 1; i <= limit; i++) {
		sample.memory_available_bytes -= a_tick;
		if (tick())
			return i;
	}
	return 0;
}

static void test_host(void **state)
{
	(void)state;
	assert_int_equal(on_after(0, 20), 0);
	/* 2 GiB/s on a host with 2 GiB: at its first step */
	assert_int_equal(on_after(200 * MIB, 1), 1);
	/* for 5 s after the last reason */
	assert_int_equal(on_after(0, 1), 1);
	for (int i = 0; i < 65; i++)
		tick();
	assert_false(tick());
	/* 30 s are left, then 15 */
	sample.memory_available_bytes = 2 * GIB;
	for (int i = 0; i < 20; i++)
		assert_false(tick());
	assert_in_range(on_after(6 * MIB, 400), 150, 200);
}

/* A step of 3 MiB is noise, ten of 1 MiB are none where 30 MiB are left. */
static void test_small(void **state)
{
	(void)state;
	sample.memory_available_bytes = 300 * MIB;
	for (int i = 0; i < 20; i++)
		tick();
	assert_int_equal(on_after(3 * MIB, 1), 0);
	for (int i = 0; i < 20; i++)
		tick();
	assert_in_range(on_after(3 * MIB, 20), 2, 10);
}

/* Nobody could be ended: not a look, whatever happens. */
static void test_nobody(void **state)
{
	struct pile_group *g = &groups.groups[0];

	(void)state;
	g->config.workers = PILE_WORKERS_EVENTS;
	assert_int_equal(on_after(100 * MIB, 10), 0);
	g->config.workers = PILE_WORKERS_PREFORK;
	g->foreign = true;
	assert_int_equal(on_after(50 * MIB, 10), 0);
	g->foreign = false;
	g->configured = false;
	assert_int_equal(on_after(20 * MIB, 10), 0);
}

/* A budget far below what the host has, and a cgroup that does not tell: what its workers hold. */
static void test_budget(void **state)
{
	struct pile_group *g = &groups.groups[0];

	(void)state;
	assert_false(tick());
	assert_false(look.blind);
	g->config.memory_budget_bytes = 512 * MIB;
	for (int i = 0; i < 20; i++) {
		look.held_bytes[0] = 200 * MIB;
		assert_false(tick());
		assert_true(look.blind);
	}
	look.held_bytes[0] = 220 * MIB;
	assert_true(tick());
	pile_look_group_reset(&look, 0);
	assert_int_equal(look.held_bytes[0], 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_host, fresh),
		cmocka_unit_test_setup(test_small, fresh),
		cmocka_unit_test_setup(test_nobody, fresh),
		cmocka_unit_test_setup(test_budget, fresh),
	};

	return cmocka_run_group_tests_name("look", tests, NULL, NULL);
}

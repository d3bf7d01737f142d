// SPDX-License-Identifier: GPL-2.0-or-later
/* How many waits are ended at once: few while nothing comes of it, more as answers come, all in the end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "act/act.h"

/* The kernel's side is not asked here. */
int pile_kernel_destination_get(struct pile_kernel *k, const struct pile_bpf_destination *key,
				struct pile_bpf_destination_counts *ret)
{
	(void)k;
	(void)key;
	(void)ret;
	return -1;
}

static void a_window_for_each_cpu(void **state)
{
	(void)state;
	assert_int_equal(pile_drain_quota(0, 0, 1000, 1000, 2, false), 8);
	assert_int_equal(pile_drain_quota(0, 0, 1000, 1000, 64, false), 256);
	assert_int_equal(pile_drain_quota(0, 0, 3, 3, 2, false), 3);
	assert_int_equal(pile_drain_quota(0, 0, 0, 0, 2, true), 0);
}

static void one_more_for_each_that_is_through(void **state)
{
	(void)state;
	assert_int_equal(pile_drain_quota(0, 8, 100, 100, 2, false), 0);
	assert_int_equal(pile_drain_quota(5, 8, 100, 100, 2, false), 5);
	/* answers of others than those that were woken make room as well: for a window, not for all */
	assert_int_equal(pile_drain_quota(UINT64_MAX / 2, 8, 100, 100, 2, false), 8);
	assert_int_equal(pile_drain_quota(0, UINT32_MAX, 100, 100, 2, false), 0);
}

/* Workers that sleep before they answer, or answer nobody: nothing clocks, and still nobody is forgotten. */
static void all_are_out_in_time_whatever_is_answered(void **state)
{
	(void)state;
	for (uint32_t n = 1; n <= 2048; n = n * 3 + 1)
		for (uint32_t cpus = 1; cpus <= 64; cpus *= 8) {
			uint32_t left = n, woken = 0, ticks = 0;

			while (left) {
				uint32_t quota = pile_drain_quota(0, woken, left, n, cpus, true);

				assert_in_range(quota, 1, left);
				left -= quota;
				woken += quota;
				ticks++;
			}
			assert_in_range(ticks, 1, PILE_ACT_DRAIN_TICKS);
		}
}

static void a_pass_is_bounded(void **state)
{
	(void)state;
	assert_int_equal(pile_drain_quota(100000, 0, 100000, 100000, 64, true),
			 PILE_ACT_ENDS_PER_PASS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_window_for_each_cpu),
		cmocka_unit_test(one_more_for_each_that_is_through),
		cmocka_unit_test(all_are_out_in_time_whatever_is_answered),
		cmocka_unit_test(a_pass_is_bounded),
	};

	return cmocka_run_group_tests_name("drain", tests, NULL, NULL);
}

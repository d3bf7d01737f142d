// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What is normal: learned in calm, frozen in trouble, bounded per day, kept on disk only when
 * whole.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "decide/baseline.h"
#include "util/macro.h"

static void learn(struct pile_baseline *b, uint32_t waiting, uint32_t n)
{
	struct pile_baseline_input input = { .waiting = waiting,
					     .p99_ns = 40 * NS_PER_MS,
					     .rate_milli = 32000 };

	for (uint32_t i = 0; i < n; i++)
		pile_baseline_learn(b, &input);
}

static void test_grace_is_counted_in_samples(void **state)
{
	struct pile_baseline b;

	(void)state;
	pile_baseline_init(&b);
	learn(&b, 5, PILE_BASELINE_GRACE - 1);
	assert_false(pile_baseline_ready(&b, 0));
	assert_int_equal(pile_baseline_waiting(&b, 0), 0);
	learn(&b, 5, 1);
	assert_true(pile_baseline_ready(&b, 0));
	assert_int_equal(pile_baseline_waiting(&b, 0), 5);
}

static void test_policy_overrides(void **state)
{
	struct pile_baseline b;

	(void)state;
	pile_baseline_init(&b);
	assert_true(pile_baseline_ready(&b, 12));
	assert_int_equal(pile_baseline_waiting(&b, 12), 12);
	learn(&b, 5, PILE_BASELINE_GRACE);
	assert_int_equal(pile_baseline_waiting(&b, 12), 12);
}

static void test_quantile_is_the_99th_and_errs_upwards(void **state)
{
	struct pile_baseline b;

	(void)state;
	pile_baseline_init(&b);
	for (unsigned int i = 0; i < 100; i++) {
		learn(&b, 4, 985);
		learn(&b, 100, 15); /* 1.5 % of the time */
	}
	/*
	 * the ceiling was set by the first day's grace (4), so a day must pass before 100 is
	 * believed
	 */
	assert_in_range(b.w99, 4, 4 + 2 + 8);
	learn(&b, 3, PILE_BASELINE_DAY);
	assert_in_range(b.w99, 3, 14);
	pile_baseline_init(&b);
	for (unsigned int i = 0; i < 10; i++) {
		learn(&b, 100, 1);
		learn(&b, 4, 29);
	}
	assert_in_range(pile_baseline_waiting(&b, 0), 100, 125);
}

static void test_nothing_is_learned_while_frozen_or_in_excess(void **state)
{
	struct pile_baseline b, before;
	struct pile_baseline_input input = {
		.waiting = 400, .p99_ns = 9 * NS_PER_SEC, .rate_milli = 1, .frozen = true
	};

	(void)state;
	pile_baseline_init(&b);
	learn(&b, 5, 1000);
	before = b;
	for (unsigned int i = 0; i < 20000; i++)
		pile_baseline_learn(&b, &input);
	assert_memory_equal(&b, &before, sizeof(b));
	input.frozen = false;
	input.excess = true;
	for (unsigned int i = 0; i < 5999; i++)
		pile_baseline_learn(&b, &input);
	b.excess_run = 0;
	assert_memory_equal(&b, &before, sizeof(b));
}

static void test_a_service_that_grew_is_learned_after_ten_minutes_under_the_ceiling(void **state)
{
	struct pile_baseline b;
	struct pile_baseline_input input = {
		.waiting = 60, .p99_ns = 50 * NS_PER_MS, .rate_milli = 99000, .excess = true
	};

	(void)state;
	pile_baseline_init(&b);
	learn(&b, 10, 1000);
	for (unsigned int i = 0; i < 5999; i++)
		pile_baseline_learn(&b, &input);
	assert_int_equal(b.samples, 1000);
	for (unsigned int i = 0; i < 1000; i++)
		pile_baseline_learn(&b, &input);
	assert_int_equal(b.samples, 2000);
	assert_in_range(b.w99, 11, b.w99_ceiling);
	assert_true(b.w99_ceiling <= 11 + 5 + 8); /* half more, and 8, a day */
}

static void test_growth_is_capped_per_day(void **state)
{
	struct pile_baseline b;
	uint32_t day1;

	(void)state;
	pile_baseline_init(&b);
	learn(&b, 20, 1000);
	learn(&b, 1000, PILE_BASELINE_DAY / 2);
	day1 = b.w99;
	assert_in_range(day1, 21, 23 + 11 + 8);
	learn(&b, 1000, PILE_BASELINE_DAY);
	assert_in_range(b.w99, day1 + 1, day1 + day1 / 2 + 8);
	learn(&b, 2, 9 * PILE_BASELINE_DAY);
	assert_true(b.w99 <
		    /* it may fall, as the old days lose their weight: a week for a factor of 100 */
		    20);
}

static void test_patience_is_clamped(void **state)
{
	struct pile_baseline b;

	(void)state;
	pile_baseline_init(&b);
	assert_int_equal(pile_baseline_patience_ns(&b), NS_PER_SEC);
	b.p99_ns = 200 * NS_PER_MS;
	assert_int_equal(pile_baseline_patience_ns(&b), 1600 * NS_PER_MS);
	b.p99_ns = 30 * NS_PER_SEC;
	assert_int_equal(pile_baseline_patience_ns(&b), 3 * NS_PER_SEC);
}

static void test_export_and_import_are_inverse(void **state)
{
	struct pile_baseline b, back;
	struct pile_baseline_record record;

	(void)state;
	pile_baseline_init(&b);
	learn(&b, 7, 5000);
	learn(&b, 90, 20);
	pile_baseline_export(&b, "www", &record);
	assert_int_equal(pile_baseline_import(&record, "www", &back), 0);
	assert_memory_equal(&b, &back, sizeof(b));
	assert_int_equal(pile_baseline_import(&record, "api", &back), -ENOENT);
}

/*
 * Every byte of the record is guarded; a checksum made to fit does not help values out of bounds.
 */
static void test_import_refuses_damage(void **state)
{
	struct pile_baseline b, out, before;
	struct pile_baseline_record record, bad;

	(void)state;
	pile_baseline_init(&b);
	learn(&b, 7, 5000);
	pile_baseline_export(&b, "www", &record);
	memset(&out, 0x5a, sizeof(out));
	before = out;
	for (size_t i = 0; i < sizeof(record); i++) {
		bad = record;
		((uint8_t *)&bad)[i] ^= 0x40;
		assert_true(pile_baseline_import(&bad, "www", &out) < 0);
		assert_memory_equal(&out, &before, sizeof(out));
	}
	b.w99 = PILE_BASELINE_WAITING_MAX + 1;
	pile_baseline_export(&b, "www", &bad);
	assert_int_equal(pile_baseline_import(&bad, "www", &out), -ERANGE);
	b.w99 = b.w99_ceiling + 1;
	pile_baseline_export(&b, "www", &bad);
	assert_int_equal(pile_baseline_import(&bad, "www", &out), -ERANGE);
	b.w99 = 7;
	b.counts[3] = UINT32_MAX;
	pile_baseline_export(&b, "www", &bad);
	assert_int_equal(pile_baseline_import(&bad, "www", &out), -ERANGE);
	assert_memory_equal(&out, &before, sizeof(out));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_grace_is_counted_in_samples),
		cmocka_unit_test(test_policy_overrides),
		cmocka_unit_test(test_quantile_is_the_99th_and_errs_upwards),
		cmocka_unit_test(test_nothing_is_learned_while_frozen_or_in_excess),
		cmocka_unit_test(
			test_a_service_that_grew_is_learned_after_ten_minutes_under_the_ceiling),
		cmocka_unit_test(test_growth_is_capped_per_day),
		cmocka_unit_test(test_patience_is_clamped),
		cmocka_unit_test(test_export_and_import_are_inverse),
		cmocka_unit_test(test_import_refuses_damage),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

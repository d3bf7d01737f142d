// SPDX-License-Identifier: GPL-2.0-or-later
/* Whose forks may fail early: groups that rung 3 may throttle, and nobody else's. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "act/act.h"

static struct pile_kernel kernel;
static struct pile_groups groups;
static struct pile_act act;
static uint32_t told[PILE_GROUPS_MAX / 32];
static int calls, error;

int pile_kernel_forks_set(struct pile_kernel *k, const uint32_t bits[PILE_GROUPS_MAX / 32])
{
	(void)k;
	calls++;
	memcpy(told, bits, sizeof(told));
	return error;
}

static int fresh(void **state)
{
	(void)state;
	memset(&kernel, 0, sizeof(kernel));
	memset(&groups, 0, sizeof(groups));
	memset(&act, 0, sizeof(act));
	memset(told, 0xff, sizeof(told));
	calls = error = 0;
	kernel.fork_refuse = (const void *)&kernel; /* this kernel takes the program */
	groups.n_groups = 40;
	for (uint32_t i = 0; i < groups.n_groups; i++) {
		groups.groups[i].used = groups.groups[i].configured = true;
		groups.groups[i].config.enforce = PILE_RUNG_THROTTLE;
	}
	return 0;
}

static void those_that_may_be_throttled(void **state)
{
	(void)state;
	groups.groups[3].used = false;
	groups.groups[4].configured = false;
	groups.groups[5].foreign = true;
	groups.groups[6].config.enforce = PILE_RUNG_FAIL_FAST | PILE_RUNG_EVICT;
	assert_int_equal(pile_act_forks(&act, &kernel, &groups, true, NS_PER_SEC), 0);
	assert_int_equal(told[0], 0xffffffffU & ~(0xfU << 3));
	assert_int_equal(told[1], 0xff);
	assert_int_equal(told[2] | told[3], 0);
}

static void nobody_where_nothing_may_be_done(void **state)
{
	(void)state;
	assert_int_equal(pile_act_forks(&act, &kernel, &groups, false, NS_PER_SEC), 0);
	assert_int_equal(calls, 1);
	assert_int_equal(told[0] | told[1] | told[2] | told[3], 0);
}

static void tried_again_every_two_seconds(void **state)
{
	(void)state;
	error = -ENOMEM;
	assert_int_equal(pile_act_forks(&act, &kernel, &groups, true, 10 * NS_PER_SEC), -ENOMEM);
	error = 0;
	assert_int_equal(pile_act_forks(&act, &kernel, &groups, true, 11 * NS_PER_SEC), -ENOMEM);
	assert_int_equal(calls, 1);
	assert_int_equal(pile_act_forks(&act, &kernel, &groups, true, 12 * NS_PER_SEC), 0);
	assert_int_equal(calls, 2);
}

static void refused_by_the_kernel(void **state)
{
	(void)state;
	kernel.fork_refuse = NULL;
	assert_int_equal(pile_act_forks(&act, &kernel, &groups, true, NS_PER_SEC), 0);
	assert_int_equal(calls, 0);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(those_that_may_be_throttled, fresh),
		cmocka_unit_test_setup(nobody_where_nothing_may_be_done, fresh),
		cmocka_unit_test_setup(tried_again_every_two_seconds, fresh),
		cmocka_unit_test_setup(refused_by_the_kernel, fresh),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

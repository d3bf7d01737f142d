// SPDX-License-Identifier: GPL-2.0-or-later
/* Disarmed: until when, by whom, and what a file means after a restart, whatever is in it and whatever the clock says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "decide/disarm.h"
#include "util/macro.h"

#define S NS_PER_SEC
#define NOW_NS (500 * S)
#define REAL_NS (1760000000ULL * S) /* 2025-10-09 08:53:20 UTC */

static struct pile_disarm set(const char *by, uint64_t seconds)
{
	struct pile_disarm d;

	pile_disarm_set(&d, by, seconds, NOW_NS, REAL_NS);
	return d;
}

/* What a restart makes of it: @later in seconds, by a clock that starts at 7 s. */
static struct pile_disarm restarted(const struct pile_disarm *d, int64_t later)
{
	struct pile_disarm back;
	char text[PILE_DISARM_TEXT_MAX];

	pile_disarm_format(d, text, sizeof(text));
	pile_disarm_parse(text, 7 * S, (uint64_t)((int64_t)REAL_NS + later * (int64_t)S), &back);
	return back;
}

static void test_until_armed(void **state)
{
	struct pile_disarm d = set("alice", 0), back;
	char text[PILE_DISARM_TEXT_MAX];

	(void)state;
	assert_false(pile_disarm_is_over(&d, UINT64_MAX - 1));
	back = restarted(&d, 30 * 86400);
	assert_true(back.on);
	assert_string_equal(back.by, "alice");
	assert_int_equal(back.since_realtime_ns, REAL_NS);
	assert_int_equal(back.until_realtime_ns, 0);
	assert_false(pile_disarm_is_over(&back, UINT64_MAX - 1));
	assert_string_equal(pile_disarm_describe(&back, text, sizeof(text)),
			    "disarmed by alice at 2025-10-09 08:53 UTC, until somebody arms it");
}

static void test_for_a_time(void **state)
{
	struct pile_disarm d = set("alice", 3600), back;
	char text[PILE_DISARM_TEXT_MAX];

	(void)state;
	assert_string_equal(
		pile_disarm_describe(&d, text, sizeof(text)),
		"disarmed by alice at 2025-10-09 08:53 UTC, until 2025-10-09 09:53 UTC");
	assert_false(pile_disarm_is_over(&d, NOW_NS + 3599 * S));
	assert_true(pile_disarm_is_over(&d, NOW_NS + 3600 * S));
	back = restarted(&d, 3000);
	assert_true(back.on);
	assert_false(pile_disarm_is_over(&back, 7 * S + 599 * S));
	assert_true(pile_disarm_is_over(&back, 7 * S + 600 * S));
	assert_int_equal(back.until_realtime_ns, REAL_NS + 3600 * S);
	assert_false(restarted(&d, 3600).on);
	d.on = false;
	assert_false(pile_disarm_is_over(&d, UINT64_MAX));
}

/* A host without a clock wakes up in 1970: not disarmed for half a century. */
static void test_a_clock_that_went_back(void **state)
{
	struct pile_disarm d = set("alice", 3600), back = restarted(&d, -1700000000);

	(void)state;
	assert_true(back.on);
	assert_int_equal(back.until_ns, 7 * S + 3600 * S);
}

/* Somebody wanted the guard's hands off: what is not understood means that, too. */
static void test_texts_without_sense(void **state)
{
	static const char *const texts[] = {
		"",
		"\n",
		"since",
		"since \nuntil \nby \n",
		"since 1\nuntil 99999999999999999999999\nby x\n",
		"since 1\nuntil -5\nby x\n",
		"until 5\n",
		"since 5 until 6",
		"since 1\nuntil 2",
	};
	struct pile_disarm d;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		memset(&d, 0xff, sizeof(d));
		pile_disarm_parse(texts[i], 7 * S, REAL_NS, &d);
		assert_true(d.on);
		assert_int_equal(d.until_realtime_ns, 0);
		assert_int_equal(d.until_ns, UINT64_MAX);
		assert_true(strcmp(d.by, "unknown") == 0 || strcmp(d.by, "x") == 0);
	}
	/* ends before it began: over */
	pile_disarm_parse("since 2000000000\nuntil 1999999999\nby x\n", 7 * S, REAL_NS, &d);
	assert_false(d.on);
}

/* The name goes into a file, the journal and a terminal. */
static void test_names(void **state)
{
	struct pile_disarm d = set("al\nice\033[2J%s", 0);
	char name[200];

	(void)state;
	assert_string_equal(d.by, "al");
	d = set("a b\033[2J%s;", 0);
	assert_string_equal(d.by, "a?b??2J?s?");
	d = set("", 0);
	assert_string_equal(d.by, "root");
	memset(name, 'n', sizeof(name));
	name[sizeof(name) - 1] = '\0';
	d = set(name, 0);
	assert_int_equal(strlen(d.by), PILE_NAME_MAX - 1);
	assert_string_equal(restarted(&d, 1).by, d.by);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_until_armed),
		cmocka_unit_test(test_for_a_time),
		cmocka_unit_test(test_a_clock_that_went_back),
		cmocka_unit_test(test_texts_without_sense),
		cmocka_unit_test(test_names),
	};

	return cmocka_run_group_tests_name("disarm", tests, NULL, NULL);
}

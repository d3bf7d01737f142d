// SPDX-License-Identifier: GPL-2.0-or-later
/* When a growing worker is told of, and when that is over; and the words for it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "breaker_fixture.h"
#include "record/explain_text.h"

#define MIB (1ULL << 20)
#define GIB (1ULL << 30)
#define HOUR_NS (3600 * NS_PER_SEC)

static struct pile_sample sample;
static struct pile_leak leak;

/* A tick of 100 ms with so much left. */
static int look(uint64_t free_bytes, uint64_t notice_ns)
{
	sample.now_ns += PILE_TICK_NS;
	return pile_leak_update(&leak, &sample, 0, free_bytes, notice_ns);
}

static int fresh(void **state)
{
	(void)state;
	memset(&sample, 0, sizeof(sample));
	sample.now_ns = 1000 * NS_PER_SEC;
	sample.grown_over_ns = 540 * NS_PER_SEC;
	pile_leak_init(&leak);
	return 0;
}

/* How many ticks until it is over. */
static int over_after(uint64_t free_bytes, uint64_t notice_ns)
{
	for (int i = 1; i < 100000; i++)
		if (look(free_bytes, notice_ns) < 0)
			return i;
	return 0;
}

static void test_told_in_time(void **state)
{
	struct pile_sample_group *g = &sample.groups[0];

	(void)state;
	*g = (struct pile_sample_group){ .growing = 1, .growing_bytes = MIB };
	assert_true(leak.left_ns == UINT64_MAX);
	/* 100 GiB at 1 MiB/s: 28 h */
	assert_int_equal(look(100 * GIB, 24 * HOUR_NS), 0);
	assert_int_equal(leak.left_ns / HOUR_NS, 28);
	assert_int_equal(look(80 * GIB, 24 * HOUR_NS), 1);
	assert_int_equal(look(79 * GIB, 24 * HOUR_NS), 0);
	/* no to and fro about the notice itself */
	assert_int_equal(over_after(90 * GIB, 24 * HOUR_NS), 0);
	assert_true(leak.told);
	assert_int_equal(over_after(200 * GIB, 24 * HOUR_NS), 1800); /* three spans of a minute */
	assert_int_equal(look(10 * GIB, 24 * HOUR_NS), 1);
	/* nor where one span breaks the rise, and the next ones go on */
	for (int i = 0; i < 20; i++) {
		g->growing = i % 2;
		for (int tick = 0; tick < 600; tick++)
			assert_int_equal(look(10 * GIB, 24 * HOUR_NS), 0);
	}
	g->growing = 0;
	assert_int_equal(over_after(10 * GIB, 24 * HOUR_NS), 1800);
	assert_true(leak.left_ns == UINT64_MAX);
	/* nothing left at all; nobody wants to hear of it */
	g->growing = 2;
	assert_int_equal(look(0, 24 * HOUR_NS), 1);
	assert_int_equal(leak.left_ns, 0);
	assert_int_equal(look(0, 0), -1);
	assert_int_equal(look(0, 0), 0);
	/* as slow, and as much, as can be */
	g->growing_bytes = 1;
	assert_int_equal(look(UINT64_MAX, UINT64_MAX), 1);
}

static void say(const struct pile_intent *intent, const char *wanted)
{
	char text[256];

	pile_explain_text_intent(intent, "www", NULL, text, sizeof(text));
	assert_string_equal(text, wanted);
}

static void test_words(void **state)
{
	struct pile_intent intent = { .kind = PILE_INTENT_LEAK };

	(void)state;
	sample = (struct pile_sample){
		.n_growers = 2,
		.growers = { { .group = 1, .pid = 99, .rate_bytes = 9 * MIB },
			     { .group = 0,
			       .pid = 4711,
			       .rate_bytes = MIB,
			       .grown_bytes = 540 * MIB } },
		.grown_over_ns = 540 * NS_PER_SEC,
		.groups[0] = { .growing = 1, .growing_bytes = MIB },
	};
	look(10 * GIB, 24 * HOUR_NS);
	pile_leak_explain(&leak, &sample, 0, 10 * GIB, &intent.why);
	say(&intent,
	    "www: worker 4711 grows by 1.0 MiB/s: 540 MiB in 9 min, all the while. At that rate the 10.0 GiB that are "
	    "left are gone in 170 min");
	sample.groups[0].growing = 3;
	sample.groups[0].growing_bytes = 3 * MIB / 2;
	look(10 * GIB, 24 * HOUR_NS);
	pile_leak_explain(&leak, &sample, 0, 10 * GIB, &intent.why);
	say(&intent,
	    "www: 3 workers grow by 1.5 MiB/s in all, most of them 4711: 540 MiB in 9 min, all the while. At that rate "
	    "the 10.0 GiB that are left are gone in 113 min");
	intent.why.pid = 0;
	say(&intent,
	    "www: 3 workers grow by 1.5 MiB/s, all the while. At that rate the 10.0 GiB that are left are gone in "
	    "113 min");
	intent.kind = PILE_INTENT_LEAK_OVER;
	say(&intent, "www: workers grow by 1.5 MiB/s still; what is left lasts 113 min");
	intent.why = (struct pile_why){ 0 };
	say(&intent, "www: no worker grows without end any more");
}

/* Through a tick: told once, over once, forgotten with the group; whatever the mode. */
static void test_in_decide(void **state)
{
	struct fixture *f = *state;

	f->view.leak_notice_ns = 24 * HOUR_NS;
	f->view.mode = PILE_MODE_OBSERVE;
	tick(f);
	assert_null(said(f, PILE_INTENT_LEAK));
	f->sample.groups[0].growing = 1;
	f->sample.groups[0].growing_bytes = MIB;
	tick(f);
	assert_non_null(said(f, PILE_INTENT_LEAK));
	assert_int_equal(said(f, PILE_INTENT_LEAK)->why.growing, 1);
	assert_true(said(f, PILE_INTENT_LEAK)->why.exhaustion_ns < 24 * HOUR_NS);
	never(f, PILE_INTENT_LEAK, 20);
	f->sample.groups[0].growing = 0;
	tick(f);
	assert_non_null(said(f, PILE_INTENT_LEAK_OVER)); /* the fixture's window is 0 */
	never(f, PILE_INTENT_LEAK_OVER, 20);
	f->sample.groups[0].growing = 1;
	tick(f);
	assert_non_null(said(f, PILE_INTENT_LEAK));
	pile_decide_group_reset(&f->state, 0);
	f->sample.groups[0].growing = 0;
	never(f, PILE_INTENT_LEAK_OVER, 20);
	f->view.groups[0].foreign = true;
	f->sample.groups[0].growing = 1;
	never(f, PILE_INTENT_LEAK, 20);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_told_in_time, fresh),
		cmocka_unit_test_setup(test_words, fresh),
		T(test_in_decide),
	};

	return cmocka_run_group_tests_name("leak", tests, NULL, NULL);
}

// SPDX-License-Identifier: GPL-2.0-or-later
/* What is asked of systemd to stop a service and to start it again, and when; its answers are the test's. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "act/stop.h"
#include "util/macro.h"

#define UNIT "php8.2-fpm.service"
#define HOLD_NS (60 * NS_PER_SEC)

static struct pile_act_stops stops;
static struct pile_groups groups;
static struct pile_manager manager;
static struct pile_sample sample;
static struct pile_manager_job asked[8];
static uint32_t n_asked;
static int refuses; /* the queue is full */
static uint64_t now_ns;

int pile_manager_submit(struct pile_manager *m, const struct pile_manager_job *job, uint64_t at_ns)
{
	(void)m, (void)at_ns;
	if (refuses)
		return refuses;
	assert_true(n_asked < ARRAY_LEN(asked));
	asked[n_asked++] = *job;
	return 0;
}

static int fresh(void **state)
{
	struct pile_group *group = &groups.groups[3];

	(void)state;
	memset(&stops, 0, sizeof(stops));
	memset(&groups, 0, sizeof(groups));
	n_asked = 0;
	refuses = 0;
	now_ns = 1000 * NS_PER_SEC;
	groups.n_groups = 4;
	group->used = group->present = group->configured = true;
	group->cgroup_id = 77;
	group->config.enforce = PILE_RUNG_STOP;
	strcpy(group->config.unit, UNIT);
	return 0;
}

/* systemd answers what was asked last. Returns whether a person should hear of it. */
static bool answer(int error, bool begun, const char *text)
{
	struct pile_manager_result result = { .error = error, .begun = begun, .done_ns = now_ns };

	assert_true(n_asked > 0);
	result.job = asked[--n_asked];
	snprintf(result.text, sizeof(result.text), "%s", text);
	return pile_act_stops_result(&stops, &result);
}

static void check(void)
{
	pile_act_stops_check(&stops, &manager, &groups, now_ns);
}

static void intend(enum pile_intent_kind kind, enum pile_close_reason reason)
{
	struct pile_intent intent = { .kind = kind,
				      .group = 3,
				      .explain_id = 9,
				      .close_reason = reason,
				      .grace_ns = 50 * NS_PER_MS };

	intent.why.stop.hold_ns = HOLD_NS;
	pile_act_stops_carry_out(&stops, &manager, &groups, &intent, 1, now_ns);
}

static void look(void)
{
	now_ns += NS_PER_SEC;
	pile_act_stops_carry_out(&stops, &manager, &groups, NULL, 0, now_ns);
	pile_act_stops_sample(&stops, &sample, now_ns);
}

static void test_fit(void **state)
{
	(void)state;
	check();
	assert_int_equal(n_asked, 1);
	assert_int_equal(asked[0].verb, PILE_MANAGER_CHECK);
	assert_false(pile_act_stop_fit(&stops, &groups, 3)); /* not known yet */
	check();
	assert_int_equal(n_asked, 1); /* asked once */
	assert_false(answer(0, false, ""));
	assert_true(pile_act_stop_fit(&stops, &groups, 3));
	check();
	assert_int_equal(n_asked, 0);	 /* for some minutes */
	groups.groups[3].cgroup_id = 78; /* restarted: asked again, and what is known holds on */
	check();
	assert_int_equal(n_asked, 1);
	assert_true(pile_act_stop_fit(&stops, &groups, 3));
	assert_true(answer(-EOPNOTSUPP, false, "it is transient"));
	assert_false(pile_act_stop_fit(&stops, &groups, 3));
	now_ns += 301 * NS_PER_SEC;
	check();
	assert_false(answer(-EOPNOTSUPP, false, "it is transient")); /* no news */
	assert_false(pile_act_stop_fit(&stops, &groups, 3));
}

/* The slot is another's: nothing that was said of the first unit is said of it, also by an answer that comes late. */
static void test_fit_is_the_units(void **state)
{
	(void)state;
	check();
	answer(0, false, "");
	strcpy(groups.groups[3].config.unit, "other.service");
	groups.groups[3].cgroup_id = 79;
	assert_false(pile_act_stop_fit(&stops, &groups, 3));
	strcpy(groups.groups[3].config.unit, UNIT);
	groups.groups[3].cgroup_id = 80;
	check();
	strcpy(groups.groups[3].config.unit, "other.service");
	groups.groups[3].cgroup_id = 81;
	answer(0, false, "");
	assert_false(pile_act_stop_fit(&stops, &groups, 3));
	check();
	assert_string_equal(asked[0].unit, "other.service");
	answer(0, false, "");
	assert_true(pile_act_stop_fit(&stops, &groups, 3));
}

static void test_unknown_is_not_fit(void **state)
{
	(void)state;
	check();
	assert_false(answer(-ETIMEDOUT, false, "")); /* nothing is known by that */
	assert_false(pile_act_stop_fit(&stops, &groups, 3));
	check();
	assert_int_equal(n_asked, 0);
	now_ns += 11 * NS_PER_SEC;
	check();
	assert_int_equal(n_asked, 1);
}

static void test_stop_and_told(void **state)
{
	(void)state;
	intend(PILE_INTENT_STOP, 0);
	assert_int_equal(n_asked, 1);
	assert_int_equal(asked[0].verb, PILE_MANAGER_STOP);
	assert_string_equal(asked[0].unit, UNIT);
	assert_int_equal(asked[0].after_ns, HOLD_NS);
	assert_int_equal(asked[0].grace_ns, 50 * NS_PER_MS);
	assert_false(answer(0, true, ""));
	pile_act_stops_sample(&stops, &sample, now_ns);
	assert_int_equal(sample.n_stopped, 1);
	assert_int_equal(sample.stopped[0].explain_id, 9);
	assert_int_equal(sample.stopped[0].down_ns, now_ns);
	pile_act_stops_sample(&stops, &sample, now_ns);
	assert_int_equal(sample.n_stopped, 0); /* once */
}

/* The group went, or its rung was taken out, since the intent was made; the queue is full. */
static void test_not_any_more(void **state)
{
	(void)state;
	groups.groups[3].config.enforce = PILE_RUNG_EVICT;
	intend(PILE_INTENT_STOP, 0);
	assert_int_equal(n_asked, 0);
	pile_act_stops_sample(&stops, &sample, now_ns);
	assert_int_equal(sample.stopped[0].error, ESRCH);
	assert_int_equal(sample.stopped[0].down_ns, 0);
	groups.groups[3].config.enforce = PILE_RUNG_STOP;
	refuses = -EAGAIN;
	intend(PILE_INTENT_STOP, 0);
	pile_act_stops_sample(&stops, &sample, now_ns);
	assert_int_equal(sample.stopped[0].error, EAGAIN);
}

/* What is held must not stay so by an answer that is lost: asked each second until systemd has done it. */
static void test_started_until_it_is(void **state)
{
	(void)state;
	intend(PILE_INTENT_STOP, 0);
	answer(0, true, "");
	refuses = -EAGAIN;
	intend(PILE_INTENT_STOP_START, 0);
	assert_int_equal(n_asked, 0);
	refuses = 0;
	look();
	assert_int_equal(n_asked, 1);
	assert_int_equal(asked[0].verb, PILE_MANAGER_START);
	assert_true(answer(-ETIMEDOUT, false, ""));
	look();
	assert_int_equal(n_asked, 1);
	/* the episode is over for decide; it is asked on all the same */
	intend(PILE_INTENT_STOP_OVER, PILE_CLOSE_POLICY);
	assert_true(answer(-ETIMEDOUT, false, ""));
	look();
	assert_int_equal(n_asked, 1);
	assert_false(answer(0, false, ""));
	look();
	look();
	assert_int_equal(n_asked, 0);
}

/* Somebody has started it before its time: the timer must not start it once more, after he may have stopped it. */
static void test_no_timer_is_left(void **state)
{
	(void)state;
	intend(PILE_INTENT_STOP, 0);
	answer(0, true, "");
	now_ns += 5 * NS_PER_SEC;
	intend(PILE_INTENT_STOP_OVER, PILE_CLOSE_STARTED);
	assert_int_equal(n_asked, 1);
	assert_int_equal(asked[0].verb, PILE_MANAGER_UNTIME);
	answer(0, false, "");
	look();
	assert_int_equal(n_asked, 0);
	/* by the timer itself: there is none left */
	intend(PILE_INTENT_STOP, 0);
	answer(0, true, "");
	now_ns += HOLD_NS + NS_PER_SEC;
	intend(PILE_INTENT_STOP_OVER, PILE_CLOSE_STARTED);
	assert_int_equal(n_asked, 0);
}

/* Refused: nothing was begun; begun and not down: it is held all the same, and is started again. */
static void test_refused_or_begun(void **state)
{
	(void)state;
	intend(PILE_INTENT_STOP, 0);
	assert_true(answer(-EBUSY, false, ""));
	pile_act_stops_sample(&stops, &sample, now_ns);
	assert_int_equal(sample.stopped[0].down_ns, 0);
	intend(PILE_INTENT_STOP_START, 0); /* there is nothing to start */
	assert_int_equal(n_asked, 0);
	intend(PILE_INTENT_STOP, 0);
	assert_true(answer(-ETIMEDOUT, true, ""));
	pile_act_stops_sample(&stops, &sample, now_ns);
	assert_int_equal(sample.stopped[0].error, ETIMEDOUT);
	assert_int_not_equal(sample.stopped[0].down_ns, 0);
	intend(PILE_INTENT_STOP_START, 0);
	assert_int_equal(n_asked, 1);
}

#define TEST(name) cmocka_unit_test_setup(name, fresh)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_fit),
		TEST(test_fit_is_the_units),
		TEST(test_unknown_is_not_fit),
		TEST(test_stop_and_told),
		TEST(test_not_any_more),
		TEST(test_started_until_it_is),
		TEST(test_no_timer_is_left),
		TEST(test_refused_or_begun),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

// SPDX-License-Identifier: GPL-2.0-or-later
/* The journal's lines: ten a second, and a flood of what anybody can cause hides nothing that the guard does. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "notice.h"
#include "slow.h"

static struct pile_slow slow; /* its thread does not run: lines stay in the queue */

static int setup(void **state)
{
	(void)state;
	memset(&slow, 0, sizeof(slow));
	pthread_mutex_init(&slow.lock, NULL);
	pthread_cond_init(&slow.wake, NULL);
	return 0;
}

/* Says @n lines in the same moment. Returns how many of them are written. */
static uint32_t say(enum pile_event_kind kind, enum pile_notice notice, uint64_t second, uint32_t n)
{
	struct pile_event event = { .kind = kind, .notice = notice, .t_ns = second * NS_PER_SEC };
	uint32_t before = slow.n;

	while (n--)
		pile_slow_say(&slow, &event);
	return slow.n - before;
}

static void test_ten_a_second(void **state)
{
	(void)state;
	assert_int_equal(say(PILE_EVENT_OPEN, PILE_NOTICE_REFUSED, 100, 64), 10);
	assert_int_equal(slow.lines_dropped, 54);
	assert_int_equal(slow.dropped_ns, 100 * NS_PER_SEC);
	assert_int_equal(say(PILE_EVENT_CLOSE, PILE_NOTICE_ALLOWED, 100, 1), 0);
	assert_int_equal(say(PILE_EVENT_CLOSE, PILE_NOTICE_ALLOWED, 101, 1), 1);
}

static void test_a_flood_hides_nothing(void **state)
{
	static const struct {
		enum pile_event_kind kind;
		enum pile_notice notice;
	} common[] = {
		{ PILE_EVENT_GROUP, PILE_NOTICE_GROUP },
		{ PILE_EVENT_STAGE, PILE_NOTICE_STAGE },
		{ PILE_EVENT_TROUBLE, PILE_NOTICE_TROUBLE },
		{ PILE_EVENT_PROBE, PILE_NOTICE_SCOUT },
		{ PILE_EVENT_OPEN, PILE_NOTICE_WOULD_REFUSE },
		{ PILE_EVENT_CLOSE, PILE_NOTICE_WOULD_ALLOW },
	};

	(void)state;
	for (uint32_t i = 0; i < ARRAY_LEN(common); i++) {
		assert_int_equal(say(common[i].kind, common[i].notice, 100 + i, 1000),
				 PILE_SLOW_COMMON_PER_SECOND);
		assert_int_equal(say(PILE_EVENT_OPEN, PILE_NOTICE_REFUSED, 100 + i, 1), 1);
		assert_int_equal(say(PILE_EVENT_OPEN, PILE_NOTICE_PROBING, 100 + i, 1), 1);
		assert_int_equal(say(PILE_EVENT_CLOSE, PILE_NOTICE_ALLOWED, 100 + i, 9), 1);
	}
}

static void test_what_a_person_did_is_always_told(void **state)
{
	static const enum pile_event_kind kinds[] = { PILE_EVENT_START,	 PILE_EVENT_STOP,
						      PILE_EVENT_POLICY, PILE_EVENT_COMMAND,
						      PILE_EVENT_DISARM, PILE_EVENT_ARM,
						      PILE_EVENT_DROPPED };

	(void)state;
	say(PILE_EVENT_OPEN, PILE_NOTICE_REFUSED, 100, 64);
	for (uint32_t i = 0; i < ARRAY_LEN(kinds); i++)
		assert_int_equal(say(kinds[i], PILE_NOTICE_NONE, 100, 1), 1);
}

/* A journal that does not take lines for a while: half of the room is kept. */
static void test_room_is_kept(void **state)
{
	(void)state;
	for (uint64_t second = 100; second < 200; second++)
		say(PILE_EVENT_GROUP, PILE_NOTICE_GROUP, second, 10);
	assert_int_equal(slow.n, PILE_SLOW_LINES / 2);
	assert_int_equal(say(PILE_EVENT_OPEN, PILE_NOTICE_REFUSED, 200, 10), 10);
	for (uint64_t second = 201; second < 300; second++)
		say(PILE_EVENT_OPEN, PILE_NOTICE_REFUSED, second, 10);
	assert_int_equal(slow.n, PILE_SLOW_LINES);
}

static void test_undo(void **state)
{
	struct pile_event event = { .notice = PILE_NOTICE_REFUSED,
				    .group = "www",
				    .destination = "10.9.0.2:3306" };
	char undo[256];

	(void)state;
	assert_string_equal(pile_notice_undo(&event, undo, sizeof(undo)),
			    "pileguardctl release www 10.9.0.2:3306");
	event.notice = PILE_NOTICE_WOULD_REFUSE;
	assert_string_equal(pile_notice_undo(&event, undo, sizeof(undo)), "nothing");
	event.notice = PILE_NOTICE_THROTTLE;
	assert_string_equal(pile_notice_undo(&event, undo, sizeof(undo)), "pileguardctl disarm");
	event.notice = PILE_NOTICE_DISARMED;
	assert_string_equal(pile_notice_undo(&event, undo, sizeof(undo)), "pileguardctl arm");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_ten_a_second, setup),
		cmocka_unit_test_setup(test_a_flood_hides_nothing, setup),
		cmocka_unit_test_setup(test_what_a_person_did_is_always_told, setup),
		cmocka_unit_test_setup(test_room_is_kept, setup),
		cmocka_unit_test_setup(test_undo, setup),
	};

	return cmocka_run_group_tests_name("slow", tests, NULL, NULL);
}

// SPDX-License-Identifier: GPL-2.0-or-later
/* What explain tells of an episode must be what happened to it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "record/explain_text.h"
#include "record/record.h"
#include "util/macro.h"

static struct pile_record record;

static struct pile_intent intent_of(enum pile_intent_kind kind)
{
	return (struct pile_intent){ .kind = kind, .explain_id = 1, .refuse_errno = 111 };
}

static const struct pile_event *say(const struct pile_intent *intent, uint64_t now_ns)
{
	return pile_record_intent(&record, intent, "www", "php.service", now_ns, now_ns);
}

static int setup(void **state)
{
	struct pile_intent open = intent_of(PILE_INTENT_BREAKER_OPEN);

	(void)state;
	memset(&record, 0, sizeof(record));
	pile_record_init(&record);
	assert_non_null(say(&open, NS_PER_SEC));
	return 0;
}

/* What rung 3 has set: "set back" is told when it is, not before; under the name it had, whosever the slot is by then. */
static void test_set_back_when_it_is(void **state)
{
	static const struct {
		uint32_t back, kind;
		const char *line, *undo;
	} ends[] = {
		{ PILE_BACK_LATE, PILE_EVENT_TROUBLE, "could not be set back yet", "each second" },
		{ PILE_BACK_TAKEN, PILE_EVENT_THROTTLE, "(500 now): left alone", "left alone" },
		{ PILE_BACK_GONE, PILE_EVENT_THROTTLE, "went with its cgroup", "with its cgroup" },
		{ PILE_BACK_DONE, PILE_EVENT_THROTTLE, "is set back: TasksMax=1739 again",
		  "undone: TasksMax=1739 again" },
	};
	struct pile_intent intent = intent_of(PILE_INTENT_THROTTLE);
	const struct pile_event *e;
	const struct pile_explain *x;
	char text[1024];

	(void)state;
	intent.explain_id = 7;
	intent.why.throttle.knob = PILE_KNOB_TASKS;
	intent.why.throttle.value = 300;
	intent.why.throttle.was = 1739;
	assert_non_null(say(&intent, NS_PER_SEC));
	x = pile_record_explain(&record, 7);
	assert_string_equal(pile_explain_text_command(x, text, sizeof(text)),
			    "pileguardctl disarm");
	intent.kind = PILE_INTENT_THROTTLE_OVER;
	intent.close_reason = PILE_CLOSE_GONE;
	intent.why.throttle.on_ns = 1;
	e = pile_record_intent(&record, &intent, "another", "another.service", 2 * NS_PER_SEC, 0);
	assert_non_null(strstr(e->text, "www: TasksMax=300"));
	assert_non_null(strstr(e->text, "being set back"));
	assert_string_equal(e->unit, "php.service");
	assert_non_null(strstr(pile_explain_text_undo(x, text, sizeof(text)), "being set back"));
	assert_string_equal(pile_explain_text_command(x, text, sizeof(text)), "");
	for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
		e = pile_record_undone(&record, 7, ends[i].back, "500", 3 * NS_PER_SEC, 0);
		assert_int_equal(e->kind, ends[i].kind);
		assert_non_null(strstr(e->text, ends[i].line));
		assert_non_null(
			strstr(pile_explain_text_undo(x, text, sizeof(text)), ends[i].undo));
	}
}

/* What the journal's catalog is told: which message, which destination. */
static void test_notices(void **state)
{
	struct pile_intent intent = intent_of(PILE_INTENT_BREAKER_OPEN);
	const struct pile_event *e;

	(void)state;
	assert_int_equal(pile_endpoint_parse("10.9.0.2:3306", false, &intent.endpoint), 0);
	e = say(&intent, NS_PER_SEC);
	assert_int_equal(e->notice, PILE_NOTICE_REFUSED);
	assert_string_equal(e->destination, "10.9.0.2:3306");
	intent.blocked = PILE_BLOCKED_OBSERVE;
	assert_int_equal(say(&intent, NS_PER_SEC)->notice, PILE_NOTICE_WOULD_REFUSE);
	intent.kind = PILE_INTENT_BREAKER_CLOSE;
	assert_int_equal(say(&intent, NS_PER_SEC)->notice, PILE_NOTICE_WOULD_ALLOW);
	intent.blocked = PILE_BLOCKED_NO;
	assert_int_equal(say(&intent, NS_PER_SEC)->notice, PILE_NOTICE_ALLOWED);
	e = pile_record_probing(&record, &intent, "www", "php.service", NS_PER_SEC, 0);
	assert_int_equal(e->notice, PILE_NOTICE_PROBING);
	assert_string_equal(e->destination, "10.9.0.2:3306");
	assert_non_null(strstr(e->text, "explain 1"));
	e = pile_record_event(&record, PILE_EVENT_GROUP, 0, "www", "", NS_PER_SEC, 0, "www: gone");
	assert_int_equal(e->notice, PILE_NOTICE_GROUP);
	assert_string_equal(e->destination, "");
}

/* Told by a guard that did not run meanwhile: the times are those of what happened. */
static void test_what_happened_earlier(void **state)
{
	struct pile_intent open = intent_of(PILE_INTENT_BREAKER_OPEN), close;
	struct pile_explain *x;

	(void)state;
	open.explain_id = 2;
	open.at_ns = 40 * NS_PER_SEC;
	open.over = true;
	close = open;
	close.kind = PILE_INTENT_BREAKER_CLOSE;
	close.at_ns = 95 * NS_PER_SEC;
	assert_non_null(
		pile_record_intent(&record, &open, "www", "", 100 * NS_PER_SEC, 1100 * NS_PER_SEC));
	assert_non_null(pile_record_intent(&record, &close, "www", "", 100 * NS_PER_SEC,
					   1100 * NS_PER_SEC));
	x = pile_record_explain(&record, 2);
	assert_int_equal(x->opened_ns, 40 * NS_PER_SEC);
	assert_int_equal(x->opened_realtime_ns, 1040 * NS_PER_SEC);
	assert_int_equal(x->closed_ns, 95 * NS_PER_SEC);
}

static void test_relapse_is_told(void **state)
{
	struct pile_intent allow = intent_of(PILE_INTENT_BREAKER_ALLOW);
	struct pile_intent renew = intent_of(PILE_INTENT_BREAKER_RENEW);
	struct pile_explain *x = pile_record_explain(&record, 1);

	(void)state;
	allow.allow = 1;
	assert_non_null(say(&allow, 2 * NS_PER_SEC));
	assert_string_equal(pile_explain_text_state(x), "half open");
	renew.relapses = 1;
	assert_null(say(&renew, 3 * NS_PER_SEC));
	assert_string_equal(pile_explain_text_state(x), "open");
	assert_int_equal(x->flips, 1);
	assert_null(say(&renew, 3 * NS_PER_SEC + 1));
	assert_int_equal(x->flips, 1);
	allow.relapses = 1;
	assert_non_null(say(&allow, 4 * NS_PER_SEC));
	assert_int_equal(x->half_open_ns, 4 * NS_PER_SEC);
}

static void test_hold_upon_a_proof_is_told(void **state)
{
	struct pile_intent renew = intent_of(PILE_INTENT_BREAKER_RENEW);
	struct pile_explain *x = pile_record_explain(&record, 1);
	char text[PILE_EXPLAIN_TEXT_MAX];

	(void)state;
	assert_ptr_equal(strstr(pile_explain_text_undo(x, text, sizeof(text)), "closes by itself"),
			 text);
	renew.why.by_hand = true;
	say(&renew, 2 * NS_PER_SEC);
	assert_ptr_equal(
		strstr(pile_explain_text_undo(x, text, sizeof(text)), "ends when the hold"), text);
}

static void test_why_it_closed(void **state)
{
	struct pile_intent close = intent_of(PILE_INTENT_BREAKER_CLOSE);
	char text[PILE_EXPLAIN_TEXT_MAX];

	(void)state;
	close.close_reason = PILE_CLOSE_HOLD_OVER;
	assert_non_null(strstr(say(&close, 2 * NS_PER_SEC)->text, "the time of the hold is over"));
	pile_explain_text_undo(pile_record_explain(&record, 1), text, sizeof(text));
	assert_non_null(strstr(text, "the time of the hold is over"));
}

static void test_own_connect_is_told_once(void **state)
{
	struct pile_intent probe = intent_of(PILE_INTENT_PROBE);

	(void)state;
	probe.first = true;
	assert_int_equal(say(&probe, 2 * NS_PER_SEC)->kind, PILE_EVENT_PROBE);
	probe.first = false;
	assert_null(say(&probe, 2 * NS_PER_SEC));
	probe.kind = PILE_INTENT_PROBE_ANSWERED;
	assert_int_equal(say(&probe, 2 * NS_PER_SEC)->kind, PILE_EVENT_PROBE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_notices, setup),
		cmocka_unit_test_setup(test_set_back_when_it_is, setup),
		cmocka_unit_test_setup(test_what_happened_earlier, setup),
		cmocka_unit_test_setup(test_relapse_is_told, setup),
		cmocka_unit_test_setup(test_hold_upon_a_proof_is_told, setup),
		cmocka_unit_test_setup(test_why_it_closed, setup),
		cmocka_unit_test_setup(test_own_connect_is_told_once, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

// SPDX-License-Identifier: GPL-2.0-or-later
/* Forks that are refused early: when an episode of them begins and ends, and what is told of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "breaker_fixture.h"
#include "record/explain_text.h"
#include "record/record.h"

#define MINUTE_TICKS (PILE_FORKS_CALM_NS / PILE_TICK_NS)

static struct pile_record record;

static struct pile_sample_group *www(struct fixture *f)
{
	return &f->sample.groups[0];
}

static int storming(void **state)
{
	struct fixture *f;
	int r = setup(state);

	f = *state;
	f->view.groups[0].config.enforce = PILE_RUNG_THROTTLE;
	www(f)->forks_limit = 1754;
	www(f)->tasks = 1750;
	www(f)->forks_refused = 5000; /* of before: nobody's news */
	memset(&record, 0, sizeof(record));
	pile_record_init(&record);
	tick(f);
	return r;
}

static const struct pile_intent *refuse(struct fixture *f, uint32_t n)
{
	www(f)->forks_refused += n;
	tick(f);
	return said(f, PILE_INTENT_FORKS);
}

static void one_storm_is_one_episode(void **state)
{
	struct fixture *f = *state;
	const struct pile_intent *intent;
	uint32_t id;

	never(f, PILE_INTENT_FORKS, 50);
	intent = refuse(f, 7);
	assert_non_null(intent);
	assert_int_equal(intent->why.refused, 7);
	assert_int_equal(intent->why.forks.limit, 1754);
	assert_int_equal(intent->why.forks.tasks, 1750);
	id = intent->explain_id;
	assert_true(id > 0);
	for (unsigned int i = 0; i < 3; i++) {
		assert_null(refuse(f, 1));
		never(f, PILE_INTENT_FORKS_OVER, MINUTE_TICKS - 2);
	}
	assert_true(until(f, PILE_INTENT_FORKS_OVER, 5) > 0);
	intent = said(f, PILE_INTENT_FORKS_OVER);
	assert_int_equal(intent->explain_id, id);
	assert_int_equal(intent->close_reason, PILE_CLOSE_CALM);
	assert_int_equal(intent->why.refused, 10);
	never(f, PILE_INTENT_FORKS_OVER, 50);
	assert_int_not_equal(refuse(f, 1)->explain_id, id);
}

static void a_switch_ends_it(void **state)
{
	struct fixture *f = *state;

	assert_non_null(refuse(f, 7));
	f->view.disarmed = true;
	/* those of the moment before are told, too */
	assert_null(refuse(f, 1));
	assert_null(said(f, PILE_INTENT_FORKS_OVER));
	tick(f);
	assert_int_equal(said(f, PILE_INTENT_FORKS_OVER)->close_reason, PILE_CLOSE_DISARMED);
	assert_int_equal(said(f, PILE_INTENT_FORKS_OVER)->why.refused, 8);
	f->view.disarmed = false;
	assert_non_null(refuse(f, 1));
	f->view.groups[0].config.enforce = PILE_RUNG_EVICT;
	tick(f);
	assert_int_equal(said(f, PILE_INTENT_FORKS_OVER)->close_reason, PILE_CLOSE_POLICY);
}

static void a_slot_that_another_group_has(void **state)
{
	struct fixture *f = *state;
	uint32_t id = refuse(f, 7)->explain_id;

	pile_decide_group_reset(&f->state, 0);
	www(f)->forks_refused = 3; /* the other's */
	tick(f);
	assert_int_equal(said(f, PILE_INTENT_FORKS_OVER)->explain_id, id);
	assert_int_equal(said(f, PILE_INTENT_FORKS_OVER)->close_reason, PILE_CLOSE_GONE);
	assert_int_equal(said(f, PILE_INTENT_FORKS_OVER)->why.refused, 7);
	assert_null(said(f, PILE_INTENT_FORKS));
	assert_int_equal(refuse(f, 2)->why.refused, 2);
	/* and none has it */
	f->view.groups[0].used = false;
	tick(f);
	assert_int_equal(said(f, PILE_INTENT_FORKS_OVER)->close_reason, PILE_CLOSE_GONE);
}

static void the_guard_stops(void **state)
{
	struct fixture *f = *state;

	refuse(f, 7);
	pile_decide_stop(&f->state, f->intents, &f->n);
	assert_int_equal(said(f, PILE_INTENT_FORKS_OVER)->close_reason, PILE_CLOSE_STOPPED);
}

static const struct pile_event *keep(struct fixture *f, enum pile_intent_kind kind,
				     const char *group)
{
	return pile_record_intent(&record, said(f, kind), group, "php.service", f->sample.now_ns,
				  0);
}

static void the_words(void **state)
{
	struct fixture *f = *state;
	const struct pile_explain *x;
	const struct pile_event *e;
	char text[PILE_EXPLAIN_TEXT_MAX];
	uint32_t id;

	www(f)->forks_above = 2;
	refuse(f, 7);
	id = said(f, PILE_INTENT_FORKS)->explain_id;
	e = keep(f, PILE_INTENT_FORKS, "www");
	assert_int_equal(e->notice, PILE_NOTICE_FORKS);
	assert_int_equal(e->explain_id, id);
	assert_non_null(strstr(e->text,
			       "www: at a limit of 1754 tasks (of a cgroup above its own): "
			       "its forks fail at once. explain "));
	x = pile_record_explain(&record, id);
	pile_record_effects(&record, id, &(struct pile_record_effects){ .refused = 1204 });
	assert_int_equal(record.refused_total, 0); /* no connects */
	assert_string_equal(pile_explain_text_state(x), "refusing forks");
	assert_non_null(strstr(pile_explain_text_why(x, text, sizeof(text)), "1,754 tasks (of a "));
	assert_non_null(strstr(text, "www has 1,750 of them"));
	assert_non_null(strstr(pile_explain_text_did(x, text, sizeof(text)), "1,204 forks before"));
	assert_non_null(strstr(pile_explain_text_undo(x, text, sizeof(text)),
			       "set-property php.service TasksMax"));
	assert_string_equal(pile_explain_text_command(x, text, sizeof(text)),
			    "pileguardctl disarm");
	assert_true(until(f, PILE_INTENT_FORKS_OVER, MINUTE_TICKS + 5) > 0);
	e = keep(f, PILE_INTENT_FORKS_OVER, "another");
	assert_int_equal(e->notice, PILE_NOTICE_FORKS_OVER);
	assert_non_null(strstr(e->text, "www: forks are not refused early any more (none was for a "
					"minute): 7 forks in 60 s. explain "));
	assert_int_equal(record.closed_total, 0); /* no breaker */
	assert_string_equal(pile_explain_text_state(x), "closed");
	assert_non_null(strstr(pile_explain_text_undo(x, text, sizeof(text)), "nothing to undo"));
	assert_string_equal(pile_explain_text_command(x, text, sizeof(text)), "");
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(one_storm_is_one_episode, storming, teardown),
		cmocka_unit_test_setup_teardown(a_switch_ends_it, storming, teardown),
		cmocka_unit_test_setup_teardown(a_slot_that_another_group_has, storming, teardown),
		cmocka_unit_test_setup_teardown(the_guard_stops, storming, teardown),
		cmocka_unit_test_setup_teardown(the_words, storming, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

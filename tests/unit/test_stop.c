// SPDX-License-Identifier: GPL-2.0-or-later
/* Which service is stopped, for how long, and all that are not. One service on a host of 2 GiB. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>

#include "breaker_fixture.h"
#include "record/explain_stop.h"
#include "record/explain_text.h"

#define MIB (1ULL << 20)
#define GIB (1ULL << 30)

static int64_t available, used, rate, others_rate; /* bytes, a second */

static void step(struct fixture *f)
{
	used += rate / 10;
	available -= (rate + others_rate) / 10;
	f->sample.memory_available_bytes = available > 0 ? (uint64_t)available : 0;
	f->sample.groups[0].memory_bytes = (uint64_t)used;
	tick(f);
}

static void steps(struct fixture *f, int n)
{
	while (n--)
		step(f);
}

static int fresh(void **state)
{
	struct fixture *f;

	setup(state);
	f = *state;
	f->view.groups[0].named = f->view.groups[0].stop_fit = f->view.stop_ready = true;
	strcpy(f->view.groups[0].config.unit, "php8.2-fpm.service");
	f->view.groups[0].config.enforce = PILE_RUNG_STOP;
	f->view.groups[0].config.cache_life_ns = 0;
	f->sample.memory_total_bytes = 2 * GIB;
	f->sample.groups[0].waiting = 7;
	available = (int64_t)(1200 * MIB);
	used = (int64_t)(100 * MIB);
	rate = others_rate = 0;
	steps(f, 15);
	return 0;
}

/* Steps until the service is to be stopped; NULL: it is not within @limit. */
static struct pile_intent *stopped(struct fixture *f, int limit)
{
	while (limit--) {
		step(f);
		if (said(f, PILE_INTENT_STOP))
			return said(f, PILE_INTENT_STOP);
	}
	return NULL;
}

/* 300 MiB/s of some 1,095: when a sixteenth of memory, 128 MiB, is left, and three ticks. */
static void test_in_time(void **state)
{
	struct fixture *f = *state;
	struct pile_intent *intent;

	rate = 300 * (int64_t)MIB;
	intent = stopped(f, 40);
	assert_non_null(intent);
	assert_int_equal(intent->blocked, PILE_BLOCKED_NO);
	assert_int_equal(intent->grace_ns, intent->why.exhaustion_ns / 4);
	assert_in_range(intent->why.free_bytes, 97 * MIB,
			128 * MIB); /* the first tick of the last sixteenth */
	assert_in_range(intent->why.exhaustion_ns, 300 * MS, 500 * MS);
	assert_int_equal(intent->why.stop.nth, 1);
	assert_int_equal(intent->why.stop.hold_ns, 10 * NS_PER_SEC);
	assert_int_equal(intent->why.waiting, 7);
	assert_null(stopped(f, 3)); /* once */
}

/* Memory that was used up before, or by others; a start that fills its heap and stops; a budget; a host that lives on. */
static void test_a_level_is_no_proof(void **state)
{
	struct fixture *f = *state;

	available = (int64_t)(90 * MIB); /* below the reserve, and stays there */
	rate = 0;
	assert_null(stopped(f, 50));
	rate = 20 * (int64_t)MIB;
	assert_null(stopped(f, 30)); /* grows there: it took none of what was free */
}

static void test_others_take_it(void **state)
{
	struct fixture *f = *state;

	rate = 60 * (int64_t)MIB;
	others_rate = 300 * (int64_t)MIB;
	assert_null(stopped(f, 40));
}

/* Of 1,095 MiB that are free it takes 900 and stops, as fast as can be: it fits. */
static void test_heap_that_fits(void **state)
{
	struct fixture *f = *state;

	rate = 900 * (int64_t)MIB;
	assert_null(stopped(f, 10));
	rate = 0;
	assert_null(stopped(f, 50));
}

/* It takes all but a sixteenth, and is through: what has ended is no danger, though the last second looks like one. */
static void test_growth_that_ended(void **state)
{
	struct fixture *f = *state;

	rate = 960 * (int64_t)MIB;
	assert_null(stopped(f, 10)); /* 135 MiB are left, the reserve beside */
	rate = 0;
	assert_null(stopped(f, 50));
}

/* A host that lives near its end: the next burst is ordinary, whoever filled the rest. */
static void test_burst_beside_a_level(void **state)
{
	struct fixture *f = *state;

	available = (int64_t)(165 * MIB);
	steps(f, 15);
	rate = 75 * (int64_t)MIB;
	assert_null(stopped(f, 6));
	rate = 0;
	assert_null(stopped(f, 50));
}

/* Its cgroup's limit comes first: the kernel ends one of its processes there, and the host lives. */
static void test_limit_comes_first(void **state)
{
	struct fixture *f = *state;

	f->sample.groups[0].memory_limit_bytes = 1100 * MIB;
	rate = 300 * (int64_t)MIB;
	assert_null(stopped(f, 34));
}

static void test_swap_is_left(void **state)
{
	struct fixture *f = *state;

	f->sample.swap_free_bytes = 4 * GIB;
	rate = 300 * (int64_t)MIB;
	assert_null(stopped(f, 60));
}

/* A milder rung has acted: what that brings is waited for. */
static void test_milder_first(void **state)
{
	struct fixture *f = *state;
	struct pile_intents out = { .list = f->intents };
	struct pile_intent *intent;

	rate = 300 * (int64_t)MIB;
	assert_null(stopped(f, 28));
	intent = pile_intents_add(&out, PILE_INTENT_EVICT, 0);
	assert_non_null(intent);
	f->sample.now_ns += PILE_TICK_NS;
	pile_stops_update(
		&f->state.stops,
		&(struct pile_rung_context){ .view = &f->view,
					     .sample = &f->sample,
					     .risk = f->state.risk,
					     .reserve_bytes = 105 * MIB,
					     .next_explain_id = &f->state.next_explain_id },
		&out);
	assert_null(stopped(f, 13));
	assert_non_null(stopped(f, 5)); /* it did not help */
}

/* A large host, a rate that is small beside it: seen all the same. */
static void test_steady_on_a_large_host(void **state)
{
	struct fixture *f = *state;
	struct pile_intent *intent;

	f->sample.memory_total_bytes = 64 * GIB;
	available = (int64_t)(20 * GIB);
	steps(f, 15);
	rate = 300 * (int64_t)MIB;
	intent = stopped(f, 800);
	assert_non_null(intent);
	assert_true(intent->why.exhaustion_ns < PILE_STOP_LEFT_NS);
}

/* Two pools of one unit: one cgroup, one stop. */
static void test_two_groups_of_one_unit(void **state)
{
	struct fixture *f = *state;
	uint32_t n = 0;

	f->view.groups[1] = f->view.groups[0];
	strcpy(f->view.groups[1].config.name, "admin");
	f->view.n_groups = MAX(f->view.n_groups, 2u);
	f->sample.groups[1].present = f->sample.groups[1].used = true;
	rate = 300 * (int64_t)MIB;
	for (int i = 0; i < 40; i++) {
		f->sample.groups[1].memory_bytes = (uint64_t)used;
		step(f);
		for (uint32_t j = 0; j < f->n; j++)
			n += f->intents[j].kind == PILE_INTENT_STOP;
	}
	assert_int_equal(n, 1);
}

/* The policy does not name it any more: it is started, and the record is closed, whoever has the slot by then. */
static void test_forgotten_while_held(void **state)
{
	struct fixture *f = *state;
	struct pile_intent *intent;
	uint32_t id;

	rate = 300 * (int64_t)MIB;
	intent = stopped(f, 40);
	assert_non_null(intent);
	id = intent->explain_id;
	rate = 0;
	f->sample.groups[0].present = false;
	f->sample.n_stopped = 1;
	f->sample.stopped[0] =
		(struct pile_sample_stopped){ .explain_id = id, .down_ns = f->sample.now_ns };
	step(f);
	f->sample.n_stopped = 0;
	pile_stops_forget(&f->state.stops, 0);
	step(f);
	assert_non_null(said(f, PILE_INTENT_STOP_START));
	assert_int_equal(said(f, PILE_INTENT_STOP_START)->explain_id, id);
	assert_non_null(said(f, PILE_INTENT_STOP_OVER));
	assert_int_equal(said(f, PILE_INTENT_STOP_OVER)->close_reason, PILE_CLOSE_POLICY);
	assert_true(said(f, PILE_INTENT_STOP_OVER)->over);
	step(f);
	assert_null(said(f, PILE_INTENT_STOP_OVER));
}

/* More than half of what it takes others give back: the host does not lose it, however near it is. */
static void test_given_back_near_the_end(void **state)
{
	struct fixture *f = *state;

	available = (int64_t)(370 * MIB); /* 265 are free */
	steps(f, 15);
	rate = 300 * (int64_t)MIB;
	others_rate = -200 * (int64_t)MIB;
	assert_null(stopped(f, 20));
}

/* It has taken less than half of what was free: it did not bring the host here, and may be through in this moment. */
static void test_a_small_part(void **state)
{
	struct fixture *f = *state;

	available = (int64_t)(375 * MIB); /* 270 are free */
	steps(f, 15);
	rate = 100 * (int64_t)MIB;
	others_rate = 45 * (int64_t)MIB;
	assert_null(stopped(f, 12));
	rate = others_rate = 0;
	assert_null(stopped(f, 30));
}

/* Its heap is full; what others take after that makes it no danger, though it grew in this second. */
static void test_others_take_the_rest(void **state)
{
	struct fixture *f = *state;

	rate = 960 * (int64_t)MIB;
	assert_null(stopped(f, 10)); /* 135 MiB are left */
	rate = 0;
	others_rate = 100 * (int64_t)MIB;
	assert_null(stopped(f, 20));
}

/* A little more than half of what the host loses is not most of it. */
static void test_half_of_it(void **state)
{
	struct fixture *f = *state;

	rate = 250 * (int64_t)MIB;
	others_rate = 190 * (int64_t)MIB;
	assert_null(stopped(f, 26)); /* nothing is available then, the reserve is gone, too */
}

/* What it takes others give back: the host does not lose it. */
static void test_given_back(void **state)
{
	struct fixture *f = *state;

	rate = 300 * (int64_t)MIB;
	others_rate = -280 * (int64_t)MIB;
	assert_null(stopped(f, 60));
}

static void test_budget_is_no_host(void **state)
{
	struct fixture *f = *state;

	f->view.groups[0].config.memory_budget_bytes = 300 * MIB;
	f->sample.groups[0].memory_limit_bytes = 320 * MIB;
	available = (int64_t)(100 * GIB);
	rate = 100 * (int64_t)MIB;
	assert_null(stopped(f, 30));
}

static void test_unknown_memory(void **state)
{
	struct fixture *f = *state;

	rate = 300 * (int64_t)MIB;
	for (int i = 0; i < 40; i++) {
		available -= rate / 10;
		f->sample.memory_available_bytes = (uint64_t)MAX(available, 0);
		f->sample.groups[0].memory_bytes = 0; /* cgroup v1: whose it is nobody knows */
		tick(f);
		assert_null(said(f, PILE_INTENT_STOP));
	}
}

static void test_late_ticks(void **state)
{
	struct fixture *f = *state;

	rate = 300 * (int64_t)MIB;
	for (int i = 0; i < 40; i++) {
		f->sample.late_ns = NS_PER_SEC;
		step(f);
		assert_null(said(f, PILE_INTENT_STOP));
	}
}

static void test_switches(void **state)
{
	struct fixture *f = *state;
	struct pile_intent *intent;

	f->view.mode = PILE_MODE_OBSERVE;
	rate = 300 * (int64_t)MIB;
	intent = stopped(f, 40);
	assert_non_null(intent);
	assert_int_equal(intent->blocked, PILE_BLOCKED_OBSERVE);
	rate = 0;
	for (int i = 0; i < 130 && !said(f, PILE_INTENT_STOP_OVER); i++)
		step(f);
	assert_non_null(said(f, PILE_INTENT_STOP_OVER));
	assert_int_equal(said(f, PILE_INTENT_STOP_OVER)->close_reason, PILE_CLOSE_QUIET);
	f->view.mode = PILE_MODE_ENFORCE;
	assert_int_equal(pile_stop_blocked(&f->view, 0), PILE_BLOCKED_NO);
	f->view.groups[0].stop_fit = false;
	assert_int_equal(pile_stop_blocked(&f->view, 0), PILE_BLOCKED_UNFIT);
	f->view.stop_ready = false;
	assert_int_equal(pile_stop_blocked(&f->view, 0), PILE_BLOCKED_KERNEL);
	f->view.disarmed = true;
	assert_int_equal(pile_stop_blocked(&f->view, 0), PILE_BLOCKED_DISARMED);
	f->view.groups[0].config.enforce = PILE_RUNG_EVICT;
	assert_int_equal(pile_stop_blocked(&f->view, 0), PILE_BLOCKED_RUNG);
	f->view.groups[0].foreign = true;
	assert_int_equal(pile_stop_blocked(&f->view, 0), PILE_BLOCKED_FOREIGN);
}

/* Only a group that the policy names by its unit. */
static void test_unit_only(void **state)
{
	struct fixture *f = *state;

	f->view.groups[0].named = false;
	rate = 300 * (int64_t)MIB;
	assert_null(stopped(f, 40));
	teardown(state);
	fresh(state);
	f = *state;
	f->view.groups[0].config.unit[0] = '\0';
	rate = 300 * (int64_t)MIB;
	assert_null(stopped(f, 40));
}

static void result_set(struct fixture *f, uint32_t id, int error)
{
	f->sample.n_stopped = 1;
	f->sample.stopped[0] = (struct pile_sample_stopped){
		.explain_id = id,
		.error = error,
		.down_ns = error ? 0 : f->sample.now_ns + PILE_TICK_NS / 2,
	};
	step(f);
	f->sample.n_stopped = 0;
}

/* Stops it, has it down, lets it run again: @hold_ns: as it was told. */
static void whole_life(struct fixture *f, uint64_t hold_ns)
{
	struct pile_intent *intent;
	uint32_t id;

	used = (int64_t)(100 * MIB);
	available = (int64_t)(1200 * MIB);
	rate = 0;
	steps(f, 15);
	rate = 300 * (int64_t)MIB;
	intent = stopped(f, 40);
	assert_non_null(intent);
	assert_int_equal(intent->why.stop.hold_ns, hold_ns);
	id = intent->explain_id;
	rate = 0;
	f->sample.groups[0].present = false;
	result_set(f, id, 0);
	assert_non_null(said(f, PILE_INTENT_STOP_DOWN));
	assert_int_equal(said(f, PILE_INTENT_STOP_DOWN)->explain_id, id);
	assert_non_null(pile_stop_held(&f->state.stops, 0));
	steps(f, 20);
	assert_null(said(f, PILE_INTENT_STOP_OVER));
	f->sample.groups[0].present = true;
	step(f);
	assert_null(
		said(f, PILE_INTENT_STOP_OVER)); /* something of the old cgroup: it is the same */
	f->view.groups[0].restarts++;
	step(f);
	assert_non_null(said(f, PILE_INTENT_STOP_OVER));
	assert_int_equal(said(f, PILE_INTENT_STOP_OVER)->close_reason, PILE_CLOSE_STARTED);
	assert_null(pile_stop_held(&f->state.stops, 0));
}

static void test_thrice_and_no_more(void **state)
{
	struct fixture *f = *state;
	struct pile_intent *intent;

	whole_life(f, 10 * NS_PER_SEC);
	whole_life(f, 20 * NS_PER_SEC);
	whole_life(f, 40 * NS_PER_SEC);
	available = (int64_t)(1200 * MIB);
	used = (int64_t)(100 * MIB);
	rate = 0;
	steps(f, 15);
	rate = 300 * (int64_t)MIB;
	intent = stopped(f, 60);
	assert_non_null(intent);
	assert_int_equal(intent->blocked, PILE_BLOCKED_BUDGET); /* told, and not done */
}

static void test_earlier_guards_count(void **state)
{
	struct fixture *f = *state;
	const char *name = f->view.groups[0].config.name;
	struct pile_intent *intent;

	pile_stops_recall(&f->state.stops, name, 300 * NS_PER_SEC, f->sample.now_ns);
	pile_stops_recall(&f->state.stops, name, 601 * NS_PER_SEC, f->sample.now_ns);
	rate = 300 * (int64_t)MIB;
	intent = stopped(f, 40);
	assert_non_null(intent);
	assert_int_equal(intent->why.stop.nth, 2);
}

static void test_not_stopped(void **state)
{
	struct fixture *f = *state;
	struct pile_intent *intent;

	rate = 300 * (int64_t)MIB;
	intent = stopped(f, 40);
	assert_non_null(intent);
	rate = 0;
	result_set(f, intent->explain_id, EACCES);
	assert_non_null(said(f, PILE_INTENT_STOP_OVER));
	assert_int_equal(said(f, PILE_INTENT_STOP_OVER)->close_reason, PILE_CLOSE_NOT_ENDED);
	assert_int_equal(said(f, PILE_INTENT_STOP_OVER)->why.stop.error, EACCES);
}

/* Whoever disarms has it at once, not at its time. */
static void test_disarmed_while_held(void **state)
{
	struct fixture *f = *state;
	struct pile_intent *intent;

	rate = 300 * (int64_t)MIB;
	intent = stopped(f, 40);
	assert_non_null(intent);
	rate = 0;
	f->sample.groups[0].present = false;
	result_set(f, intent->explain_id, 0);
	f->view.disarmed = true;
	step(f);
	assert_non_null(said(f, PILE_INTENT_STOP_START));
	assert_int_equal(said(f, PILE_INTENT_STOP_START)->blocked, PILE_BLOCKED_NO);
	step(f);
	assert_null(said(f, PILE_INTENT_STOP_START)); /* asked once */
	f->sample.groups[0].present = true;
	f->view.groups[0].restarts++;
	step(f);
	assert_non_null(said(f, PILE_INTENT_STOP_OVER));
}

/* It should run again, and does not: that is told, and it is not forgotten. */
static void test_not_started(void **state)
{
	struct fixture *f = *state;
	struct pile_intent *intent;
	uint32_t late = 0;

	rate = 300 * (int64_t)MIB;
	intent = stopped(f, 40);
	assert_non_null(intent);
	rate = 0;
	f->sample.groups[0].present = false;
	result_set(f, intent->explain_id, 0);
	for (int i = 0; i < 1000; i++) {
		step(f);
		assert_null(said(f, PILE_INTENT_STOP_OVER));
		late += said(f, PILE_INTENT_STOP_LATE) != NULL;
	}
	assert_int_equal(late, 1);
	assert_true(pile_stop_held(&f->state.stops, 0)->late_told);
}

/* Hosts start apart by more than their caches live, evenly. */
static void test_apart(void **state)
{
	uint64_t life_ns = 240 * NS_PER_SEC, sum = 0, least = UINT64_MAX, most = 0;

	(void)state;
	for (uint32_t seed = 0; seed < 1000; seed++) {
		uint64_t ns = pile_stop_apart_ns(life_ns, seed, 1);

		sum += ns / 1000;
		least = MIN(least, ns);
		most = MAX(most, ns);
	}
	assert_true(most > life_ns && most < life_ns * 5 / 4);
	assert_true(least < 3 * NS_PER_SEC);
	assert_in_range(sum, 140 * NS_PER_SEC, 160 * NS_PER_SEC);
	assert_int_not_equal(pile_stop_apart_ns(life_ns, 7, 1), pile_stop_apart_ns(life_ns, 7, 2));
	assert_int_equal(pile_stop_apart_ns(0, 7, 1), 0);
}

static void test_words(void **state)
{
	struct pile_explain x = { .kind = PILE_INTENT_STOP,
				  .group = "www",
				  .unit = "php8.2-fpm.service",
				  .opened_ns = 1 };
	struct pile_intent intent = { .kind = PILE_INTENT_STOP, .explain_id = 9 };
	char text[700];

	(void)state;
	x.why = (struct pile_why){ .growth_bytes = 300 * MIB,
				   .free_bytes = 400 * MIB,
				   .exhaustion_ns = 1333 * MS,
				   .waiting = 41,
				   .stop = { .used_bytes = 900 * MIB,
					     .risen_bytes = 800 * MIB,
					     .rising_ns = 2700 * MS,
					     .fell_bytes = 810 * MIB,
					     .then_bytes = 1200 * MIB,
					     .hold_ns = 130 * NS_PER_SEC,
					     .jitter_ns = 120 * NS_PER_SEC,
					     .nth = 1 } };
	assert_string_equal(
		pile_explain_text_why(&x, text, sizeof(text)),
		"the host's memory (400 MiB left) is gone in 1.3 s: www grows by 300 MiB/s, by 800 MiB in 2.7 s, to 900 MiB; "
		"the host lost 810 MiB of 1.2 GiB meanwhile; 41 requests wait");
	assert_string_equal(pile_explain_text_did(&x, text, sizeof(text)),
			    "had systemd stop php8.2-fpm.service; it is not down yet");
	assert_non_null(strstr(pile_explain_text_undo(&x, text, sizeof(text)),
			       "sudo systemctl start php8.2-fpm.service"));
	intent.why = x.why;
	assert_string_equal(
		pile_explain_text_intent(&intent, "www", NULL, text, sizeof(text)),
		"www: grows by 300 MiB/s, and the host's memory (400 MiB left) is gone in 1.3 s: its unit is stopped, and "
		"started again after 130 s. explain 9");
	x.blocked = PILE_BLOCKED_RUNG;
	assert_non_null(strstr(pile_explain_text_did(&x, text, sizeof(text)),
			       "(the group's enforce list does not name stop)"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_in_time, fresh, teardown),
		cmocka_unit_test_setup_teardown(test_a_level_is_no_proof, fresh, teardown),
		cmocka_unit_test_setup_teardown(test_others_take_it, fresh, teardown),
		cmocka_unit_test_setup_teardown(test_heap_that_fits, fresh, teardown),
		cmocka_unit_test_setup_teardown(test_given_back, fresh, teardown),
		cmocka_unit_test_setup_teardown(test_budget_is_no_host, fresh, teardown),
		cmocka_unit_test_setup_teardown(test_unknown_memory, fresh, teardown),
		cmocka_unit_test_setup_teardown(test_late_ticks, fresh, teardown),
		cmocka_unit_test_setup_teardown(test_switches, fresh, teardown),
		cmocka_unit_test_setup_teardown(test_unit_only, fresh, teardown),
		cmocka_unit_test_setup_teardown(test_thrice_and_no_more, fresh, teardown),
		cmocka_unit_test_setup_teardown(test_earlier_guards_count, fresh, teardown),
		cmocka_unit_test_setup_teardown(test_not_stopped, fresh, teardown),
		cmocka_unit_test_setup_teardown(test_disarmed_while_held, fresh, teardown),
		cmocka_unit_test_setup_teardown(test_not_started, fresh, teardown),
		cmocka_unit_test_setup_teardown(test_growth_that_ended, fresh, teardown),
		cmocka_unit_test_setup_teardown(test_burst_beside_a_level, fresh, teardown),
		cmocka_unit_test_setup_teardown(test_limit_comes_first, fresh, teardown),
		cmocka_unit_test_setup_teardown(test_swap_is_left, fresh, teardown),
		cmocka_unit_test_setup_teardown(test_milder_first, fresh, teardown),
		cmocka_unit_test_setup_teardown(test_steady_on_a_large_host, fresh, teardown),
		cmocka_unit_test_setup_teardown(test_two_groups_of_one_unit, fresh, teardown),
		cmocka_unit_test_setup_teardown(test_forgotten_while_held, fresh, teardown),
		cmocka_unit_test_setup_teardown(test_given_back_near_the_end, fresh, teardown),
		cmocka_unit_test_setup_teardown(test_a_small_part, fresh, teardown),
		cmocka_unit_test_setup_teardown(test_others_take_the_rest, fresh, teardown),
		cmocka_unit_test_setup_teardown(test_half_of_it, fresh, teardown),
		cmocka_unit_test(test_apart),
		cmocka_unit_test(test_words),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

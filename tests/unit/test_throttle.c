// SPDX-License-Identifier: GPL-2.0-or-later
/* Who is throttled, and all who are not: fork storms, and those who keep the protected from a processor. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>

#include "breaker_fixture.h"
#include "record/explain_text.h"

#define SECOND 10 /* ticks */
#define CPUS 2
#define OTHER 1 /* a group that the policy names, without the rung */
#define LIMIT 1700

/* Tasks that come a second, and the group's; processor time that each takes, in permille of all of it. */
static int forks, other_forks;
static double tasks, other_tasks;
static uint32_t takes, other_takes;
/* What the protected waits and runs in each second. */
static uint64_t waits_ns, runs_ns;
static uint32_t idle;	    /* what all processors have left over, in permille */
static uint32_t quota_hits; /* how often its own quota holds the protected, each tick */

static void world(struct fixture *f)
{
	struct pile_sample *s = &f->sample;
	uint64_t all_ns = PILE_TICK_NS * CPUS / 1000;

	tasks += forks / (double)SECOND;
	other_tasks += other_forks / (double)SECOND;
	s->groups[0].tasks = (uint32_t)tasks;
	s->groups[OTHER].tasks = (uint32_t)other_tasks;
	s->host_tasks = 100 + s->groups[0].tasks + s->groups[OTHER].tasks;
	s->groups[0].cpu_ns += takes * all_ns;
	s->groups[OTHER].cpu_ns += other_takes * all_ns;
	s->protected[0].waited_ns += waits_ns / SECOND;
	s->protected[0].ran_ns += runs_ns / SECOND;
	s->protected[0].quota_waits += quota_hits;
	s->idle_ns += idle * all_ns;
	s->load_ns = s->idle_at_ns = s->now_ns + PILE_TICK_NS; /* tick() moves now_ns on first */
}

static void step(struct fixture *f)
{
	world(f);
	tick(f);
}

/* Ticks until rung 3 wants something; NULL: nothing within @limit. */
static struct pile_intent *throttled(struct fixture *f, int limit)
{
	for (int i = 0; i < limit; i++) {
		step(f);
		if (said(f, PILE_INTENT_THROTTLE))
			return said(f, PILE_INTENT_THROTTLE);
	}
	return NULL;
}

static struct pile_intent *over(struct fixture *f, int limit)
{
	for (int i = 0; i < limit; i++) {
		step(f);
		if (said(f, PILE_INTENT_THROTTLE_OVER))
			return said(f, PILE_INTENT_THROTTLE_OVER);
	}
	return NULL;
}

/* act's word: what was wanted last is in force. */
static void in_force(struct fixture *f, uint32_t explain_id)
{
	f->sample.throttled[f->sample.n_throttled++] =
		(struct pile_sample_throttled){ .explain_id = explain_id,
						.on_ns = f->sample.now_ns + 1 };
}

/* A storm of 400 a second, and its cap is in force. */
static struct pile_intent *capped(struct fixture *f)
{
	struct pile_intent *intent;

	forks = 400;
	intent = throttled(f, 10 * SECOND);
	assert_non_null(intent);
	in_force(f, intent->explain_id);
	return intent;
}

static int begin(void **state)
{
	struct fixture *f;

	setup(state);
	f = *state;
	f->sample.n_cpus = CPUS;
	f->view.n_groups = 2;
	f->view.groups[0].config.workers_max = 100;
	f->view.groups[OTHER] = f->view.groups[0];
	f->view.groups[0].named = f->view.groups[OTHER].named = true;
	f->view.groups[0].config.enforce = PILE_RUNG_THROTTLE;
	f->view.groups[OTHER].config.enforce = 0;
	f->view.throttle_ready = true;
	f->view.n_protect = 1;
	strcpy(f->view.protect[0], "ssh.service");
	f->sample.groups[OTHER] = f->sample.groups[0];
	f->sample.groups[0].tasks_limit = LIMIT;
	f->sample.host_tasks_limit = 32768;
	f->sample.protected[0] = (struct pile_sample_protected){ .known = true, .cgroup_id = 7 };
	f->sample.n_throttled = 0;
	f->sample.idle_ns = NS_PER_SEC;
	forks = other_forks = 0;
	quota_hits = 0;
	idle = 0;
	tasks = 20;
	other_tasks = 5;
	takes = other_takes = 50;
	waits_ns = 2 * MS;
	runs_ns = 20 * MS;
	for (int i = 0; i < 12 * SECOND; i++)
		step(f);
	return 0;
}

/* ---- fork storms ---- */

/* 400 a second: 3 s are left at 500 tasks; seen for as long at 850. Never below what there is. */
static void test_storm(void **state)
{
	struct fixture *f = *state;
	struct pile_intent *intent;
	char text[PILE_EXPLAIN_TEXT_MAX];

	forks = 400;
	intent = throttled(f, 10 * SECOND);
	assert_non_null(intent);
	assert_int_equal(intent->blocked, PILE_BLOCKED_NO);
	assert_int_equal(intent->why.throttle.knob, PILE_KNOB_TASKS);
	assert_int_equal(intent->why.throttle.bound, PILE_STORM_LIMIT);
	assert_in_range(intent->why.throttle.tasks, 700, 1000);
	assert_in_range(intent->why.throttle.value, intent->why.throttle.tasks + 8,
			intent->why.throttle.tasks + 8);
	assert_in_range(intent->why.throttle.tasks_rate, 380, 420);
	assert_in_range(intent->why.throttle.tasks_calm, 20, 20);
	pile_explain_text_intent(intent, "www", NULL, text, sizeof(text));
	assert_non_null(strstr(text, "tasks come a second"));
	/* once */
	assert_null(throttled(f, SECOND));
}

/* As fast as a machine forks: decided while there is still something to be kept. */
static void test_storm_fast(void **state)
{
	struct fixture *f = *state;
	struct pile_intent *intent;

	forks = 3000;
	intent = throttled(f, SECOND);
	assert_non_null(intent);
	assert_in_range(intent->why.throttle.tasks, 500, 1400);
}

/* No limit of its own: what the host has counts, where it is this group that takes it. */
static void test_storm_host(void **state)
{
	struct fixture *f = *state;
	struct pile_intent *intent;

	f->sample.groups[0].tasks_limit = 0;
	f->sample.host_tasks_limit = 4000;
	forks = 1000;
	intent = throttled(f, 10 * SECOND);
	assert_non_null(intent);
	assert_int_equal(intent->why.throttle.bound, PILE_STORM_HOST);
}

/* ... and not where another one does: this one has but some more. */
static void test_storm_of_another(void **state)
{
	struct fixture *f = *state;

	f->sample.groups[0].tasks_limit = 0;
	f->sample.host_tasks_limit = 8000;
	f->view.groups[OTHER].named = false;
	forks = 100;
	other_forks = 1000;
	assert_null(throttled(f, 6 * SECOND));
}

/* A pool that is warmed up, a burst, a compile job: all of them stop by themselves, and soon. */
static void test_bursts(void **state)
{
	struct fixture *f = *state;

	for (int i = 0; i < 5; i++) {
		forks = 600;
		assert_null(throttled(f, 2)); /* 120 at once */
		forks = 0;
		assert_null(throttled(f, 11 * SECOND));
	}
	/* slower than that it lasts for longer than the forecast reaches */
	forks = 20;
	assert_null(throttled(f, 20 * SECOND));
	/* they come and go */
	tasks = 20;
	for (int i = 0; i < 100; i++) {
		forks = i % 2 ? -2000 : 2000;
		assert_null(throttled(f, 2));
	}
}

/* Its declared pool is what an operator wants it to reach. */
static void test_declared_pool(void **state)
{
	struct fixture *f = *state;

	f->view.groups[0].config.workers_max = 1300;
	forks = 400;
	for (int i = 0; i < 32; i++) { /* up to 1,300 */
		step(f);
		assert_null(said(f, PILE_INTENT_THROTTLE));
	}
	forks = 0;
	assert_null(throttled(f, 5 * SECOND));
}

/* Its own limit, and no pool that is declared: pm.max_children 400 below TasksMax=512, a JVM, make -j. It is let. */
static void test_own_limit(void **state)
{
	static const int rates[] = { 150, 500, 2000 };
	struct fixture *f = *state;

	f->view.groups[0].config.workers_max = 0;
	f->sample.groups[0].tasks_limit = 512;
	for (size_t i = 0; i < ARRAY_LEN(rates); i++) {
		tasks = 20;
		forks = rates[i];
		while (tasks + forks / SECOND < 512) {
			step(f);
			assert_null(said(f, PILE_INTENT_THROTTLE));
		}
		forks = 0;
		assert_null(throttled(f, 5 * SECOND));
	}
}

/* What the host has would be gone, but its own limit comes first. */
static void test_own_limit_first(void **state)
{
	struct fixture *f = *state;

	f->view.groups[0].config.workers_max = 0;
	f->sample.groups[0].tasks_limit = 512;
	f->sample.host_tasks_limit = 1200;
	forks = 500;
	assert_null(throttled(f, 9));
	/* and where it does not */
	f->sample.groups[0].tasks_limit = 4000;
	assert_non_null(throttled(f, 2 * SECOND));
}

/* The host loses memory, and nobody knows to whom: no bound. Known to be this group's: one. */
static void test_memory(void **state)
{
	struct fixture *f = *state;
	struct pile_intent *intent = NULL;

	f->view.groups[0].config.workers_max = 0;
	f->sample.groups[0].tasks_limit = 0;
	for (int known = 0; known < 2; known++) {
		tasks = 20;
		forks = 0;
		f->sample.memory_available_bytes = 2ULL << 30;
		f->sample.groups[0].memory_bytes = known ? 1ULL << 30 : 0;
		assert_null(throttled(f, 3 * SECOND));
		forks = 200;
		for (int i = 0; i < 19 && !intent; i++) {
			f->sample.memory_available_bytes -= 100ULL << 20;
			f->sample.groups[0].memory_bytes += known ? 100ULL << 20 : 0;
			step(f);
			intent = said(f, PILE_INTENT_THROTTLE);
			assert_true(known || !intent);
		}
	}
	assert_non_null(intent);
	assert_int_equal(intent->why.throttle.bound, PILE_STORM_MEMORY);
}

/* A pool that comes and goes: what recurs is what it has in calm, not what it has at the last look. */
static void test_calm_recurs(void **state)
{
	struct fixture *f = *state;

	for (int i = 0; i < 40 * SECOND; i++) {
		tasks = i % 23 < 3 ? 150 : 20;
		step(f);
	}
	assert_int_equal(f->state.throttles.groups[0].storm.calm, 150);
	/* once is not: a single peak */
	tasks = 180;
	step(f);
	for (int i = 0; i < 15 * SECOND; i++) {
		tasks = i % 23 < 3 ? 150 : 20;
		step(f);
	}
	assert_in_range(f->state.throttles.groups[0].storm.calm, 148, 150);
}

/* A larger pool is declared while it is capped: the cap goes. */
static void test_pool_declared_later(void **state)
{
	struct fixture *f = *state;
	struct pile_intent *intent;

	intent = capped(f);
	forks = 0;
	f->view.groups[0].config.workers_max = 1300;
	intent = over(f, 1);
	assert_non_null(intent);
	assert_int_equal(intent->close_reason, PILE_CLOSE_POLICY);
}

/* A level: near its limit, for ever. */
static void test_level(void **state)
{
	struct fixture *f = *state;

	tasks = LIMIT - 5;
	assert_null(throttled(f, 10 * SECOND));
	forks = 1;
	assert_null(throttled(f, 3 * SECOND));
}

static void test_storm_late(void **state)
{
	struct fixture *f = *state;

	/* each other tick is late by a second: nothing is known of the time between */
	forks = 400;
	for (int i = 0; i < 15; i++) {
		world(f);
		f->sample.late_ns = i % 2 ? 900 * MS : 0;
		f->sample.now_ns += f->sample.late_ns;
		f->sample.load_ns = f->sample.now_ns + PILE_TICK_NS;
		tick(f);
		assert_null(said(f, PILE_INTENT_THROTTLE));
	}
}

/* Its time: a minute, give or take; then twice as long when it was needed again at once. */
static void test_time(void **state)
{
	struct fixture *f = *state;
	struct pile_intent *intent;
	uint64_t first_ns;

	forks = 400;
	intent = throttled(f, 10 * SECOND);
	assert_non_null(intent);
	first_ns = intent->why.throttle.for_ns;
	assert_in_range(first_ns, 54 * NS_PER_SEC, 66 * NS_PER_SEC);
	in_force(f, intent->explain_id);
	forks = 0;
	intent = over(f, 70 * SECOND);
	assert_non_null(intent);
	assert_int_equal(intent->close_reason, PILE_CLOSE_TIME);
	assert_in_range(intent->outage_ns, first_ns - 100 * MS, first_ns + 200 * MS);
	f->sample.n_throttled = 0;
	tasks = 20;
	for (int i = 0; i < 10; i++)
		step(f);
	forks = 400;
	intent = throttled(f, 10 * SECOND);
	assert_non_null(intent);
	assert_in_range(intent->why.throttle.for_ns, 108 * NS_PER_SEC, 132 * NS_PER_SEC);
}

static void test_switches(void **state)
{
	struct fixture *f = *state;
	struct pile_intent *intent;

	intent = capped(f);
	forks = 0;
	f->view.disarmed = true;
	intent = over(f, 1);
	assert_non_null(intent);
	assert_int_equal(intent->blocked, PILE_BLOCKED_NO);
	assert_int_equal(intent->close_reason, PILE_CLOSE_DISARMED);
	f->sample.n_throttled = 0;
	/* what follows is told, and not done; it is over when somebody turns the switch */
	tasks = 20;
	for (int i = 0; i < 10; i++)
		step(f);
	forks = 400;
	intent = throttled(f, 10 * SECOND);
	assert_non_null(intent);
	assert_int_equal(intent->blocked, PILE_BLOCKED_DISARMED);
	f->view.disarmed = false;
	forks = 0;
	intent = over(f, 1);
	assert_non_null(intent);
	assert_int_equal(intent->close_reason, PILE_CLOSE_SWITCHED);
	assert_int_equal(intent->blocked, PILE_BLOCKED_DISARMED);
}

/* systemd was late: there are more than the cap says. No more come: it helps. They do: it is not in force. */
static void test_storm_useless(void **state)
{
	struct fixture *f = *state;
	struct pile_intent *intent;

	for (int grows = 0; grows < 2; grows++) {
		tasks = 20;
		forks = 0;
		for (int i = 0; i < 10; i++)
			step(f);
		forks = 400;
		intent = throttled(f, 10 * SECOND);
		assert_non_null(intent);
		in_force(f, intent->explain_id);
		assert_null(over(f, 9)); /* 360 more */
		forks = grows ? 100 : 0;
		intent = over(f, 4 * SECOND);
		if (grows)
			assert_int_equal(intent->close_reason, PILE_CLOSE_USELESS);
		else
			assert_null(intent);
		f->view.disarmed = true;
		step(f);
		f->view.disarmed = false;
		f->sample.n_throttled = 0;
		forks = 0;
		for (int i = 0; i < 5; i++)
			step(f);
	}
}

/* More than the cap says, since somebody else has set it: his, and not taken for a cap that is of no use. */
static void test_taken_is_not_useless(void **state)
{
	struct fixture *f = *state;
	struct pile_intent *intent;

	intent = capped(f);
	assert_null(over(f, 9));
	forks = 100;
	assert_null(over(f, 3 * SECOND));
	f->sample.throttled[0].taken = true; /* noticed within a second */
	intent = over(f, 1);
	assert_non_null(intent);
	assert_int_equal(intent->close_reason, PILE_CLOSE_TAKEN);
}

/* Another hand: over, and not again for an hour, ... */
static void test_taken(void **state)
{
	struct fixture *f = *state;
	struct pile_intent *intent;

	intent = capped(f);
	f->sample.throttled[0].taken = true;
	intent = over(f, 1);
	assert_non_null(intent);
	assert_int_equal(intent->close_reason, PILE_CLOSE_TAKEN);
	f->sample.n_throttled = 0;
	forks = 0;
	for (int i = 0; i < 61 * 60; i++) { /* an hour, a look each second */
		tasks = 20;
		f->sample.now_ns += NS_PER_SEC - PILE_TICK_NS;
		step(f);
		if (i % (20 * 60) != 3 * 60)
			continue;
		forks = 400;
		assert_null(throttled(f, 4 * SECOND));
		forks = 0;
	}
	tasks = 20;
	step(f);
	forks = 400;
	assert_non_null(throttled(f, 4 * SECOND));
}

/* ... or until the operator takes a policy. */
static void test_taken_reload(void **state)
{
	struct fixture *f = *state;

	capped(f);
	f->sample.throttled[0].taken = true;
	assert_non_null(over(f, 1));
	f->sample.n_throttled = 0;
	tasks = 20;
	assert_null(throttled(f, 4 * SECOND));
	pile_throttles_reloaded(&f->state.throttles);
	tasks = 20;
	step(f);
	assert_non_null(throttled(f, 4 * SECOND));
}

/* The operator starts it again: as it was before, at once. */
static void test_restarted(void **state)
{
	struct fixture *f = *state;
	struct pile_intent *intent;

	intent = capped(f);
	forks = 0;
	tasks = 20;
	f->view.groups[0].restarts++;
	intent = over(f, 1);
	assert_non_null(intent);
	assert_int_equal(intent->close_reason, PILE_CLOSE_GONE);
}

static void test_not_done(void **state)
{
	struct fixture *f = *state;
	struct pile_intent *intent;

	intent = capped(f);
	f->sample.throttled[0].on_ns = 0;
	f->sample.throttled[0].error = EROFS;
	intent = over(f, 1);
	assert_non_null(intent);
	assert_int_equal(intent->close_reason, PILE_CLOSE_NOT_DONE);
	assert_int_equal(intent->why.throttle.error, EROFS);
}

/* Without the rung, observed, found: told at most. */
static void test_blocked(void **state)
{
	struct fixture *f = *state;
	struct pile_intent *intent;

	f->view.groups[0].config.enforce = PILE_RUNG_EVICT;
	forks = 400;
	intent = throttled(f, 10 * SECOND);
	assert_non_null(intent);
	assert_int_equal(intent->blocked, PILE_BLOCKED_RUNG);
}

/* Its cgroup holds one that is protected: never throttled. */
static void test_protects(void **state)
{
	struct fixture *f = *state;
	struct pile_intent *intent;

	f->view.groups[0].protects = true;
	forks = 400;
	intent = throttled(f, 10 * SECOND);
	assert_non_null(intent);
	assert_int_equal(intent->blocked, PILE_BLOCKED_PROTECTED);
}

static void test_found(void **state)
{
	struct fixture *f = *state;

	f->view.groups[0].named = false;
	forks = 400;
	takes = 900;
	waits_ns = 900 * MS;
	assert_null(throttled(f, 6 * SECOND));
}

/* ---- processors ---- */

/* 128 that spin: sshd needs 40 ms, and waits 160 ms for them. */
static void spin(void)
{
	takes = 940;
	waits_ns = 160 * MS;
	runs_ns = 40 * MS;
}

static void calm(void)
{
	takes = 50;
	waits_ns = 2 * MS;
	runs_ns = 20 * MS;
}

/* A weight after two windows; enough: no quota; until its time is over. */
static void test_weight(void **state)
{
	struct fixture *f = *state;
	uint64_t from = f->sample.now_ns;
	struct pile_intent *intent;

	spin();
	intent = throttled(f, 5 * SECOND);
	assert_non_null(intent);
	assert_in_range(f->sample.now_ns - from, 1900 * MS, 3200 * MS);
	assert_int_equal(intent->why.throttle.knob, PILE_KNOB_WEIGHT);
	assert_int_equal(intent->why.throttle.value, 10);
	assert_in_range(intent->why.throttle.ratio_milli, 3900, 4100);
	assert_in_range(intent->why.throttle.cpu_permille, 900, 960);
	assert_string_equal(intent->why.throttle.protected_name, "ssh.service");
	in_force(f, intent->explain_id);
	waits_ns = 20 * MS; /* the group takes what is left over, which is as much as before */
	assert_null(throttled(f, 20 * SECOND));
	intent = over(f, 60 * SECOND);
	assert_non_null(intent);
	assert_int_equal(intent->close_reason, PILE_CLOSE_TIME);
	assert_in_range(intent->why.throttle.ratio_after_milli, 0, 600);
}

/* Nine times as long: one window is enough. */
static void test_severe(void **state)
{
	struct fixture *f = *state;
	uint64_t from = f->sample.now_ns;

	spin();
	waits_ns = 600 * MS;
	assert_non_null(throttled(f, 5 * SECOND));
	assert_in_range(f->sample.now_ns - from, 900 * MS, 2100 * MS);
}

/* A weight does not help: a quota, which leaves half a processor. That helps. */
static void test_quota(void **state)
{
	struct fixture *f = *state;
	struct pile_intent *intent;

	spin();
	intent = throttled(f, 5 * SECOND);
	assert_non_null(intent);
	in_force(f, intent->explain_id);
	intent = throttled(f, 5 * SECOND);
	assert_non_null(intent);
	assert_int_equal(intent->why.throttle.knob, PILE_KNOB_QUOTA);
	assert_int_equal(intent->why.throttle.value, 1500000);
	in_force(f, intent->explain_id);
	waits_ns = 60 * MS;
	takes = 750;
	assert_null(over(f, 40 * SECOND));
}

/* Nothing helps: undone, both, and not tried again for a minute; then for two. */
static void test_useless(void **state)
{
	struct fixture *f = *state;
	struct pile_intent *intent;
	uint64_t from;

	spin();
	for (int round = 0; round < 2; round++) {
		intent = throttled(f, 200 * SECOND);
		assert_non_null(intent);
		assert_int_equal(intent->why.throttle.knob, PILE_KNOB_WEIGHT);
		if (round)
			assert_in_range(f->sample.now_ns - from, 58 * NS_PER_SEC, 63 * NS_PER_SEC);
		in_force(f, intent->explain_id);
		intent = throttled(f, 5 * SECOND);
		assert_non_null(intent);
		in_force(f, intent->explain_id);
		intent = over(f, 8 * SECOND);
		assert_non_null(intent);
		assert_int_equal(intent->close_reason, PILE_CLOSE_USELESS);
		assert_int_equal(intent[1].kind, PILE_INTENT_THROTTLE_OVER); /* the weight's */
		assert_int_equal(intent[1].close_reason, PILE_CLOSE_USELESS);
		f->sample.n_throttled = 0;
		from = f->sample.now_ns;
	}
	assert_null(throttled(f, 110 * SECOND));
}

/* All processors taken, and nobody waits: work is no reason. */
static void test_busy(void **state)
{
	struct fixture *f = *state;

	takes = 1000;
	assert_null(throttled(f, 30 * SECOND));
	/* nobody wants anything: an idle sshd proves nothing */
	waits_ns = runs_ns = 0;
	assert_null(throttled(f, 30 * SECOND));
}

/* A compile job that no group is: the protected wait, and nobody who may be throttled takes it. */
static void test_compile_job(void **state)
{
	struct fixture *f = *state;

	spin();
	takes = 100;
	assert_null(throttled(f, 30 * SECOND));
	/* a third, beside it */
	takes = 330;
	assert_null(throttled(f, 30 * SECOND));
}

/* One window of it, now and then: a burst. */
static void test_burst(void **state)
{
	struct fixture *f = *state;

	for (int i = 0; i < 10; i++) {
		spin();
		assert_null(throttled(f, SECOND));
		calm();
		assert_null(throttled(f, 3 * SECOND));
	}
}

/* What it always waits here is no suffering: other services take half of the machine, day by day. */
static void test_learned(void **state)
{
	struct fixture *f = *state;

	takes = 100;
	waits_ns = 260 * MS;
	runs_ns = 100 * MS;
	assert_null(throttled(f, 120 * SECOND));
	takes = 600;
	assert_null(throttled(f, 30 * SECOND));
}

/* A wake-up that came late, in a second in which little ran. */
static void test_noise(void **state)
{
	struct fixture *f = *state;

	takes = 900;
	waits_ns = 90 * MS;
	runs_ns = 2 * MS;
	assert_null(throttled(f, 30 * SECOND));
}

/* The unit was started anew: its totals begin at 0. */
static void test_protected_restarts(void **state)
{
	struct fixture *f = *state;

	takes = 900;
	for (int i = 0; i < 20; i++) {
		f->sample.protected[0].cgroup_id++;
		f->sample.protected[0].waited_ns = (uint64_t)(20 - i) * NS_PER_SEC;
		f->sample.protected[0].ran_ns = 0;
		assert_null(throttled(f, SECOND));
	}
	f->sample.protected[0].known = false;
	waits_ns = 900 * MS;
	assert_null(throttled(f, 10 * SECOND));
}

/* A processor was left over: nobody was kept from one, whatever PSI says of quotas, affinity, or a nice job's wish. */
static void test_idle(void **state)
{
	struct fixture *f = *state;

	spin();
	idle = 60;
	assert_null(throttled(f, 20 * SECOND));
	f->sample.idle_ns = idle = 0; /* not known */
	assert_null(throttled(f, 20 * SECOND));
	f->sample.idle_ns = NS_PER_SEC;
	idle = 20;
	assert_non_null(throttled(f, 5 * SECOND));
}

/* A quota of its own is what it waits for. */
static void test_own_quota(void **state)
{
	struct fixture *f = *state;

	spin();
	quota_hits = 1;
	assert_null(throttled(f, 20 * SECOND));
	quota_hits = 0;
	assert_non_null(throttled(f, 5 * SECOND));
}

/* Nine times as long, of little: one window of it is a host that was elsewhere. */
static void test_severe_of_little(void **state)
{
	struct fixture *f = *state;

	for (int i = 0; i < 10; i++) {
		spin();
		waits_ns = 360 * MS;
		assert_null(throttled(f, SECOND));
		calm();
		assert_null(throttled(f, 3 * SECOND));
	}
}

/* No quota can follow: the weight by itself does not help, and is undone. */
static void test_weight_useless(void **state)
{
	struct fixture *f = *state;
	struct pile_intent *intent;

	f->state.throttles.groups[0].rest_until_ns[PILE_KNOB_QUOTA] = UINT64_MAX;
	spin();
	intent = throttled(f, 5 * SECOND);
	assert_non_null(intent);
	in_force(f, intent->explain_id);
	intent = over(f, 6 * SECOND);
	assert_non_null(intent);
	assert_int_equal(intent->why.throttle.knob, PILE_KNOB_WEIGHT);
	assert_int_equal(intent->close_reason, PILE_CLOSE_USELESS);
}

/* What they wait while a group is throttled for it, and just after, is not what they wait in calm. */
static void test_calm_not_learned(void **state)
{
	struct fixture *f = *state;
	struct pile_intent *intent;
	uint32_t before = f->state.throttles.starves.protected[0].calm_milli;

	spin();
	intent = throttled(f, 5 * SECOND);
	assert_non_null(intent);
	in_force(f, intent->explain_id);
	takes = 300;
	waits_ns = 70 * MS; /* 1.75 times: half as much */
	for (int i = 0; i < 40 * SECOND; i++)
		step(f);
	assert_in_range(f->state.throttles.starves.protected[0].calm_milli, 0, before);
	/* by others, for half a minute: no habit yet */
	f->view.disarmed = true;
	waits_ns = 160 * MS;
	for (int i = 0; i < 30 * SECOND; i++)
		step(f);
	assert_in_range(f->state.throttles.starves.protected[0].calm_milli, 0, 2000);
}

static void test_late_windows(void **state)
{
	struct fixture *f = *state;

	spin();
	for (int i = 0; i < 60; i++) {
		world(f);
		f->sample.late_ns = i % 9 == 8 ? 900 * MS : 0;
		f->sample.now_ns += f->sample.late_ns;
		f->sample.load_ns = f->sample.now_ns + PILE_TICK_NS;
		tick(f);
		assert_null(said(f, PILE_INTENT_THROTTLE));
	}
}

/* The other group takes most of it, and may not be throttled: told, and this one is left alone. */
static void test_who(void **state)
{
	struct fixture *f = *state;
	struct pile_intent *intent;

	spin();
	takes = 300;
	other_takes = 650;
	intent = throttled(f, 10 * SECOND);
	assert_non_null(intent);
	assert_int_equal(intent->group, OTHER);
	assert_int_equal(intent->blocked, PILE_BLOCKED_RUNG);
}

/* The slot is another group's: what was set is set back. */
static void test_gone(void **state)
{
	struct fixture *f = *state;
	struct pile_intent *intent;

	spin();
	intent = throttled(f, 5 * SECOND);
	assert_non_null(intent);
	in_force(f, intent->explain_id);
	pile_decide_group_reset(&f->state, 0);
	intent = over(f, 1);
	assert_non_null(intent);
	assert_int_equal(intent->close_reason, PILE_CLOSE_GONE);
}

static void test_stop(void **state)
{
	struct fixture *f = *state;
	struct pile_intent *intent;

	spin();
	intent = throttled(f, 5 * SECOND);
	assert_non_null(intent);
	pile_decide_stop(&f->state, f->intents, &f->n);
	intent = said(f, PILE_INTENT_THROTTLE_OVER);
	assert_non_null(intent);
	assert_int_equal(intent->close_reason, PILE_CLOSE_STOPPED);
	assert_int_equal(intent->blocked, PILE_BLOCKED_NO);
}

#undef T
#define T(name) cmocka_unit_test_setup_teardown(name, begin, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_storm),
		T(test_storm_fast),
		T(test_storm_host),
		T(test_storm_of_another),
		T(test_bursts),
		T(test_declared_pool),
		T(test_level),
		T(test_storm_late),
		T(test_time),
		T(test_switches),
		T(test_taken),
		T(test_taken_is_not_useless),
		T(test_not_done),
		T(test_blocked),
		T(test_found),
		T(test_weight),
		T(test_severe),
		T(test_quota),
		T(test_useless),
		T(test_busy),
		T(test_compile_job),
		T(test_burst),
		T(test_learned),
		T(test_noise),
		T(test_protected_restarts),
		T(test_late_windows),
		T(test_who),
		T(test_gone),
		T(test_stop),
		T(test_storm_useless),
		T(test_own_limit),
		T(test_own_limit_first),
		T(test_memory),
		T(test_calm_recurs),
		T(test_pool_declared_later),
		T(test_taken_reload),
		T(test_restarted),
		T(test_idle),
		T(test_own_quota),
		T(test_severe_of_little),
		T(test_weight_useless),
		T(test_calm_not_learned),
		T(test_protects),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

// SPDX-License-Identifier: GPL-2.0-or-later
/* A server that hangs, by hand-made samples: when it is called mute, and all that must not be. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "breaker_fixture.h"

/* The database of the fixture speaks first; it hangs from now on, and so many connect to it each tick. */
struct scene {
	struct fixture *f;
	uint64_t since_ns;	 /* 0 = it does not hang */
	uint64_t heard_after_ns; /* something is heard each so often all the same; 0 = nothing is */
	uint64_t heard_ns;
	unsigned int most; /* connections in all */
	bool greets_us;	   /* the guard's own connect is greeted, whoever else waits */
	bool backlog_full; /* ... is not even established */
	uint64_t asked_ns; /* when the guard began to connect; 0 = it does not */
	unsigned int n_asked;
};

static struct scene scene(void **state)
{
	struct fixture *f = *state;
	struct pile_policy_group *config = &f->view.groups[0].config;

	config->n_server_speaks_first = 1;
	config->server_speaks_first[0] = dep(f)->endpoint;
	config->fail_fast = PILE_FAIL_FAST_ALWAYS;
	dep(f)->speaks_first = true;
	dep(f)->open = 1; /* one that nobody waits for */
	dep(f)->last_heard_ns = f->sample.now_ns;
	return (struct scene){ .f = f, .most = 20 };
}

static void hang(struct scene *s)
{
	tick(s->f);
	s->since_ns = s->f->sample.now_ns;
}

/* One connect each 100 ms, established at once; what sense makes of them. */
static void connections_fill(struct scene *s, uint64_t now_ns)
{
	struct pile_sample_dependency *d = dep(s->f);
	unsigned int n = (unsigned int)MIN((now_ns - s->since_ns) / PILE_TICK_NS, s->most);

	d->open = 1 + n;
	d->ungreeted = n;
	d->mute = 0;
	memset(d->mute_ns, 0, sizeof(d->mute_ns));
	for (unsigned int i = 0; i < n; i++) {
		uint64_t age_ns = now_ns - s->since_ns - i * PILE_TICK_NS;

		if (age_ns < 500 * MS)
			continue;
		d->mute++;
		if (i < PILE_MUTE_CONNECTIONS)
			d->mute_ns[i] = age_ns;
	}
	d->silent = d->mute;
	d->established = d->started = 500 + n;
	d->last_established_ns = d->last_started_ns = s->since_ns + n * PILE_TICK_NS;
}

/* The guard's own connect, as act would make it of the last tick's intents. */
static void probe_fill(struct scene *s, uint64_t now_ns)
{
	const struct pile_intent *wanted = said(s->f, PILE_INTENT_PROBE);
	struct pile_sample *sample = &s->f->sample;

	if (!wanted) {
		s->asked_ns = 0;
		return;
	}
	assert_true(wanted->speaks_first);
	s->n_asked += wanted->first;
	if (!s->asked_ns)
		s->asked_ns = now_ns;
	sample->probes[sample->n_probes++] = (struct pile_sample_probe){
		.endpoint = dep(s->f)->endpoint,
		.answered = s->greets_us,
		.pending_since_ns = s->greets_us ? 0 : s->asked_ns,
		.ungreeted_since_ns = s->greets_us || s->backlog_full ? 0 : s->asked_ns,
	};
}

static void step(struct scene *s)
{
	uint64_t now_ns = s->f->sample.now_ns + PILE_TICK_NS;

	if (s->since_ns)
		connections_fill(s, now_ns);
	if (s->heard_after_ns && now_ns - s->heard_ns >= s->heard_after_ns)
		s->heard_ns = dep(s->f)->last_heard_ns = now_ns;
	probe_fill(s, now_ns);
	tick(s->f);
}

/* Ticks until it is refused (or would be); returns the time since it hung, or 0. */
static uint64_t opens(struct scene *s, unsigned int limit)
{
	while (limit--) {
		step(s);
		if (said(s->f, PILE_INTENT_BREAKER_OPEN))
			return s->f->sample.now_ns - s->since_ns;
	}
	return 0;
}

static void never_opens(struct scene *s)
{
	assert_int_equal(opens(s, 200), 0);
}

static void test_hangs(void **state)
{
	struct scene s = scene(state);
	const struct pile_intent *opened;

	hang(&s);
	/* half of dead_after, then the whole of it for the guard's own connect; three connections, some ticks */
	assert_in_range(opens(&s, 60), 3600 * MS, 4200 * MS);
	opened = said(s.f, PILE_INTENT_BREAKER_OPEN);
	assert_int_equal(opened->blocked, PILE_BLOCKED_NO);
	assert_true(opened->speaks_first);
	assert_true(opened->why.mute);
	assert_true(opened->why.own_probe);
	assert_int_equal(opened->why.ungreeted, dep(s.f)->mute);
	assert_true(opened->why.oldest_ns >= 2400 * MS);
	assert_int_equal(s.n_asked, 1);
	assert_true(said(s.f, PILE_INTENT_BREAKER_RENEW)->why.mute);
}

static void test_dead_after_is_respected(void **state)
{
	struct scene s = scene(state);

	s.f->view.groups[0].config.dead_after_ns = 10 * NS_PER_SEC;
	hang(&s);
	assert_in_range(opens(&s, 300), 15000 * MS, 15800 * MS);
}

static void test_not_declared(void **state)
{
	struct scene s = scene(state);

	s.f->view.groups[0].config.n_server_speaks_first = 0;
	dep(s.f)->speaks_first = false;
	hang(&s);
	never_opens(&s);
	assert_int_equal(s.n_asked, 0);
}

static void test_two_connections_are_too_few(void **state)
{
	struct scene s = scene(state);

	s.most = 2;
	hang(&s);
	never_opens(&s);
	assert_int_equal(s.n_asked, 0);
	s.most = 3;
	assert_true(opens(&s, 60) > 0);
}

static void test_a_small_part_of_what_waits(void **state)
{
	struct scene s = scene(state);

	s.f->sample.groups[0].waiting = 201;
	hang(&s);
	never_opens(&s);
	s.f->sample.groups[0].waiting = 200;
	assert_true(opens(&s, 60) > 0);
}

/* Long queries on all connections: nothing is heard, but everybody was greeted. */
static void test_slow_queries(void **state)
{
	struct scene s = scene(state);

	dep(s.f)->open = dep(s.f)->silent = 20;
	never_opens(&s);
	assert_int_equal(s.n_asked, 0);
}

/* It is so busy that 20 wait for a greeting for ever, and yet now and then it says something to somebody. */
static void test_busy_but_greeting(void **state)
{
	struct scene s = scene(state);

	s.heard_after_ns = 1000 * MS;
	hang(&s);
	never_opens(&s);
	assert_int_equal(s.n_asked, 0);
}

/* More rarely than the doubt takes, but more often than dead_after. */
static void test_heard_while_the_guard_asks(void **state)
{
	struct scene s = scene(state);

	s.heard_after_ns = 2300 * MS;
	hang(&s);
	never_opens(&s);
	assert_true(s.n_asked > 0);
}

/* Those who wait do so for another reason: the guard's own connect is greeted. It is not asked again at once. */
static void test_greets_the_guard(void **state)
{
	struct scene s = scene(state);

	s.greets_us = true;
	hang(&s);
	while (!said(s.f, PILE_INTENT_PROBE_ANSWERED))
		step(&s);
	assert_true(said(s.f, PILE_INTENT_PROBE_ANSWERED)->why.mute);
	assert_int_equal(s.n_asked, 1);
	for (int i = 0; i < 95; i++)
		step(&s);
	assert_int_equal(s.n_asked, 1);
	never_opens(&s);
	assert_in_range(s.n_asked, 2, 4);
}

/* Not even established: that is the ordinary proof's affair. */
static void test_no_room_in_its_queue(void **state)
{
	struct scene s = scene(state);

	s.backlog_full = true;
	hang(&s);
	never_opens(&s);
}

static void test_restarted(void **state)
{
	struct scene s = scene(state);

	hang(&s);
	for (int i = 0; i < 30; i++)
		step(&s);
	dep(s.f)->refused_by_peer += 5; /* while it starts */
	step(&s);
	assert_null(said(s.f, PILE_INTENT_BREAKER_OPEN));
	/* from there on all of it again */
	assert_in_range(opens(&s, 60), 3100 * MS + 3500 * MS, 3100 * MS + 4200 * MS);
}

/* The destination's counter is a new one: what was heard on connections that are over is not known. */
static void test_a_new_counter_knows_nothing(void **state)
{
	struct scene s = scene(state);

	hang(&s);
	for (int i = 0; i < 30; i++)
		step(&s);
	s.since_ns -= 100 * NS_PER_SEC;
	s.most = 19;
	dep(s.f)->established = 0;
	step(&s);
	assert_int_equal(opens(&s, 30), 0);
}

/* Connections older than the guard: how long they have waited counts from when it looks. */
static void test_older_than_the_guard(void **state)
{
	struct scene s = scene(state);

	s.since_ns = s.f->sample.now_ns - 60 * NS_PER_SEC;
	dep(s.f)->last_heard_ns = 0;
	assert_in_range(opens(&s, 60), 63500 * MS, 64200 * MS);
}

static void test_a_pause_of_the_guard_is_no_evidence(void **state)
{
	struct scene s = scene(state);
	uint64_t back_ns;

	hang(&s);
	for (int i = 0; i < 30; i++)
		step(&s);
	s.f->sample.now_ns += 20 * NS_PER_SEC;
	back_ns = s.f->sample.now_ns - s.since_ns;
	assert_in_range(opens(&s, 80), back_ns + 3500 * MS, back_ns + 4300 * MS);
}

static void check_switched_off(struct scene *s, enum pile_blocked blocked)
{
	hang(s);
	/* as long as it would have taken with asking, and nobody is asked */
	assert_in_range(opens(s, 60), 3600 * MS, 4300 * MS);
	assert_int_equal(said(s->f, PILE_INTENT_BREAKER_OPEN)->blocked, blocked);
	assert_true(said(s->f, PILE_INTENT_BREAKER_OPEN)->why.mute);
	assert_false(said(s->f, PILE_INTENT_BREAKER_OPEN)->why.own_probe);
	assert_int_equal(s->n_asked, 0);
	for (int i = 0; i < 100; i++) {
		step(s);
		assert_int_equal(s->f->n, 0);
	}
	dep(s->f)->last_heard_ns = s->f->sample.now_ns + 1;
	step(s);
	assert_int_equal(said(s->f, PILE_INTENT_BREAKER_CLOSE)->close_reason, PILE_CLOSE_ANSWERED);
}

static void test_observe(void **state)
{
	struct scene s = scene(state);

	s.f->view.mode = PILE_MODE_OBSERVE;
	check_switched_off(&s, PILE_BLOCKED_OBSERVE);
}

static void test_exempt(void **state)
{
	struct scene s = scene(state);
	struct pile_policy_group *config = &s.f->view.groups[0].config;

	config->n_exempt = 1;
	config->exempt[0] = dep(s.f)->endpoint;
	check_switched_off(&s, PILE_BLOCKED_EXEMPT);
}

static void test_disarmed(void **state)
{
	struct scene s = scene(state);

	s.f->view.disarmed = true;
	check_switched_off(&s, PILE_BLOCKED_DISARMED);
}

static void test_a_switch_that_is_turned(void **state)
{
	struct scene s = scene(state);

	s.f->view.mode = PILE_MODE_OBSERVE;
	hang(&s);
	assert_true(opens(&s, 60) > 0);
	s.f->view.mode = PILE_MODE_ENFORCE;
	assert_true(opens(&s, 60) > 0);
	assert_int_equal(said(s.f, PILE_INTENT_BREAKER_OPEN)->blocked, PILE_BLOCKED_NO);
	assert_int_equal(s.n_asked, 1);
}

static void test_not_at_risk(void **state)
{
	struct scene s = scene(state);

	s.f->view.groups[0].config.fail_fast = PILE_FAIL_FAST_AT_RISK;
	s.f->sample.groups[0].waiting = 10; /* of a pool of 30 */
	hang(&s);
	never_opens(&s);
	s.f->sample.groups[0].waiting = 20;
	assert_true(opens(&s, 60) > 0);
}

/* All that waited is ended, and it goes on to hang. */
static void refuse(struct scene *s)
{
	hang(s);
	assert_true(opens(s, 60) > 0);
	s->since_ns = 0;
	dep(s->f)->open = 1;
	dep(s->f)->mute = dep(s->f)->ungreeted = dep(s->f)->silent = 0;
	memset(dep(s->f)->mute_ns, 0, sizeof(dep(s->f)->mute_ns));
}

/* That it establishes connections, one of the guard's or a late one of somebody's, is no answer. */
static void test_established_is_no_answer(void **state)
{
	struct scene s = scene(state);

	refuse(&s);
	for (int i = 0; i < 300; i++) {
		if (i % 50 == 0) {
			dep(s.f)->established++;
			dep(s.f)->last_established_ns = s.f->sample.now_ns;
		}
		add_probe(s.f, false, ETIMEDOUT);
		step(&s);
		assert_null(said(s.f, PILE_INTENT_BREAKER_ALLOW));
		assert_non_null(said(s.f, PILE_INTENT_BREAKER_RENEW));
	}
}

static void test_greets_again(void **state)
{
	struct scene s = scene(state);

	refuse(&s);
	add_probe(s.f, true, 0);
	step(&s);
	assert_int_equal(said(s.f, PILE_INTENT_BREAKER_ALLOW)->allow, 1);
	/* whoever is let through is greeted */
	for (int i = 0; !said(s.f, PILE_INTENT_BREAKER_CLOSE); i++) {
		assert_true(i < 10);
		dep(s.f)->admitted++;
		dep(s.f)->established++;
		dep(s.f)->last_established_ns = dep(s.f)->last_heard_ns = s.f->sample.now_ns + 1;
		step(&s);
	}
	assert_int_equal(said(s.f, PILE_INTENT_BREAKER_CLOSE)->close_reason, PILE_CLOSE_ANSWERED);
	never_opens(&s);
}

/* A byte for anybody is an answer, too. */
static void test_heard_again(void **state)
{
	struct scene s = scene(state);

	refuse(&s);
	step(&s);
	dep(s.f)->last_heard_ns = s.f->sample.now_ns;
	step(&s);
	assert_int_equal(said(s.f, PILE_INTENT_BREAKER_ALLOW)->allow, 1);
}

/* The time of the last byte is known to some ms only, and moves a little from sweep to sweep. */
static void test_heard_long_ago(void **state)
{
	struct scene s = scene(state);

	refuse(&s);
	for (int i = 0; i < 100; i++) {
		dep(s.f)->last_heard_ns += 300000;
		step(&s);
		assert_null(said(s.f, PILE_INTENT_BREAKER_ALLOW));
	}
}

static void test_hung_up_on(void **state)
{
	struct scene s = scene(state);

	refuse(&s);
	add_probe(s.f, false, ECONNRESET);
	step(&s);
	assert_non_null(said(s.f, PILE_INTENT_BREAKER_ALLOW));
}

/* Half open, who is let through is established and not greeted: shut again. */
static void test_relapse(void **state)
{
	struct scene s = scene(state);
	int ticks = 0;

	refuse(&s);
	add_probe(s.f, true, 0);
	step(&s);
	dep(s.f)->admitted++;
	dep(s.f)->established++;
	dep(s.f)->open++;
	dep(s.f)->ungreeted++;
	dep(s.f)->last_established_ns = s.f->sample.now_ns;
	do {
		step(&s);
		assert_true(++ticks < 10);
	} while (said(s.f, PILE_INTENT_BREAKER_RENEW)->allow);
	assert_in_range(ticks, 5, 9);
	assert_int_equal(said(s.f, PILE_INTENT_BREAKER_RENEW)->relapses, 1);
}

static void test_no_longer_declared(void **state)
{
	struct scene s = scene(state);

	refuse(&s);
	s.f->view.groups[0].config.n_server_speaks_first = 0;
	dep(s.f)->speaks_first = false;
	step(&s);
	assert_int_equal(said(s.f, PILE_INTENT_BREAKER_CLOSE)->close_reason, PILE_CLOSE_POLICY);
}

/* The loop in the kernel takes an established connection for an answer. */
static void test_the_loop_knows_no_greeting(void **state)
{
	struct scene s = scene(state);

	refuse(&s);
	s.f->sample.n_loops = 1;
	s.f->sample.loops[0] = (struct pile_sample_loop){
		.endpoint = dep(s.f)->endpoint,
		.opened_ns = s.f->sample.now_ns - NS_PER_SEC,
		.closed_ns = s.f->sample.now_ns,
	};
	step(&s);
	assert_null(said(s.f, PILE_INTENT_BREAKER_CLOSE));
	assert_non_null(said(s.f, PILE_INTENT_BREAKER_RENEW));
}

/* Dead in the ordinary way, and declared: an answer is a greeting all the same. */
static void test_dead_and_declared(void **state)
{
	struct scene s = scene(state);

	s.f->view.groups[0].config.fail_fast = PILE_FAIL_FAST_AT_RISK;
	open_it(s.f);
	assert_false(said(s.f, PILE_INTENT_BREAKER_OPEN)->why.mute);
	assert_true(said(s.f, PILE_INTENT_BREAKER_OPEN)->speaks_first);
	dep(s.f)->last_heard_ns =
		s.f->sample.now_ns; /* by one from before: says nothing about connects */
	tick(s.f);
	assert_null(said(s.f, PILE_INTENT_BREAKER_ALLOW));
	dep(s.f)->established++;
	dep(s.f)->last_established_ns = s.f->sample.now_ns;
	dep(s.f)->open++;
	dep(s.f)->ungreeted++;
	for (int i = 0; i < 20; i++) {
		tick(s.f);
		assert_null(said(s.f, PILE_INTENT_BREAKER_ALLOW));
	}
	dep(s.f)->ungreeted--;
	dep(s.f)->last_heard_ns = s.f->sample.now_ns;
	tick(s.f);
	assert_non_null(said(s.f, PILE_INTENT_BREAKER_ALLOW));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_hangs),
		T(test_dead_after_is_respected),
		T(test_not_declared),
		T(test_two_connections_are_too_few),
		T(test_a_small_part_of_what_waits),
		T(test_slow_queries),
		T(test_busy_but_greeting),
		T(test_heard_while_the_guard_asks),
		T(test_greets_the_guard),
		T(test_no_room_in_its_queue),
		T(test_restarted),
		T(test_a_new_counter_knows_nothing),
		T(test_older_than_the_guard),
		T(test_a_pause_of_the_guard_is_no_evidence),
		T(test_observe),
		T(test_exempt),
		T(test_disarmed),
		T(test_a_switch_that_is_turned),
		T(test_not_at_risk),
		T(test_established_is_no_answer),
		T(test_greets_again),
		T(test_heard_again),
		T(test_heard_long_ago),
		T(test_hung_up_on),
		T(test_relapse),
		T(test_no_longer_declared),
		T(test_the_loop_knows_no_greeting),
		T(test_dead_and_declared),
	};

	return cmocka_run_group_tests_name("mute", tests, NULL, NULL);
}

// SPDX-License-Identifier: GPL-2.0-or-later
/* test_rules.c: the hard rules of the loop in the kernel, fed by a small world of connects. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "pileguard/rules.h"
#include "util/macro.h"

#define MS NS_PER_MS
#define CONNECTS_MAX 4096

/* When SYNs leave, in ms after connect(); until 6.4, and since 6.5 (tcp_syn_linear_timeouts = 4). */
static const uint32_t schedules[2][8] = { { 0, 1000, 3000, 7000, 15000, 31000, 63000, UINT32_MAX },
					  { 0, 1000, 2000, 3000, 4000, 5000, 7000, UINT32_MAX } };

struct connect {
	uint64_t begun_ns;
	uint32_t syn; /* the next one to be sent */
	bool pending;
	uint64_t due_ns,
		answer_ns; /* starved: when it is to be sent again, when an answer lies there; 0 = none */
};

struct world {
	struct pile_rule_state rule;
	struct pile_rule_input in;
	struct connect connects[CONNECTS_MAX];
	uint32_t n, pool, linear, rtt_ms, jitter_ms;
	bool unseen; /* nobody is told of SYNs that are sent again */
	bool starved; /* softirqs run with the steps alone: what is sent again, and what comes in, waits for them */
	uint32_t patience_ms;  /* after which who waits gives up; 0 = never */
	uint32_t patient_from; /* connects from that one on never do; 0 = none */
	uint64_t now_ns, next_ns, period_ns;
	uint64_t lost_ns, back_ns; /* no SYN is answered between */
	uint64_t other_ns;	   /* starved: when the other processor runs its softirqs next */
};

static struct world *world_new(uint32_t per_second, uint32_t linear)
{
	struct world *w = test_calloc(1, sizeof(*w));

	w->in.dead_after_ns = 2400 * MS;
	w->in.watched = 1;
	w->linear = linear;
	w->now_ns = w->next_ns = 1000 * NS_PER_SEC;
	w->period_ns = NS_PER_SEC / per_second;
	w->lost_ns = w->back_ns = UINT64_MAX;
	w->rtt_ms = w->jitter_ms = 1;
	return w;
}

static bool is_lost(const struct world *w, uint64_t t_ns)
{
	return t_ns >= w->lost_ns && t_ns < w->back_ns;
}

static uint32_t pending(const struct world *w)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < w->n; i++)
		n += w->connects[i].pending;
	return n;
}

static void connect_give_up(struct world *w, struct connect *c)
{
	if (!c->pending || !w->patience_ms || c->begun_ns + w->patience_ms * MS > w->now_ns ||
	    (w->patient_from && c - w->connects >= w->patient_from))
		return;
	c->pending = false;
	w->in.ended++;
}

static void connect_move(struct world *w, struct connect *c)
{
	while (c->pending && schedules[w->linear][c->syn] != UINT32_MAX) {
		uint64_t sent_ns = c->begun_ns + schedules[w->linear][c->syn] * MS;

		if (sent_ns <= w->now_ns && !w->unseen)
			w->in.last_syn_ns = MAX(w->in.last_syn_ns, sent_ns);
		if (sent_ns + w->rtt_ms * MS > w->now_ns)
			return;
		c->syn++;
		if (is_lost(w, sent_ns))
			continue;
		c->pending = false;
		w->in.ended++;
		w->in.alive_ns = sent_ns + w->rtt_ms * MS;
	}
}

static uint64_t answer_to(const struct world *w, uint64_t sent_ns)
{
	return is_lost(w, sent_ns) ? 0 : sent_ns + w->rtt_ms * MS;
}

/* One softirq: timers come before what the network has brought, so an answer to what leaves now is read in the next. */
static void connect_softirq(struct world *w, struct connect *c)
{
	const uint32_t *schedule = schedules[w->linear];
	uint64_t answer_ns = c->answer_ns;

	if (!c->pending)
		return;
	if (c->due_ns <= w->now_ns && schedule[c->syn + 1] != UINT32_MAX) {
		w->in.last_syn_ns = MAX(w->in.last_syn_ns, w->now_ns);
		c->answer_ns = answer_to(w, w->now_ns);
		c->due_ns = w->now_ns + (schedule[c->syn + 1] - schedule[c->syn]) * MS;
		c->syn++;
	}
	if (!answer_ns || answer_ns > w->now_ns)
		return;
	c->pending = false;
	w->in.ended++;
	w->in.alive_ns = w->now_ns;
}

/* To @to_ns: connects begin at the rate, while fewer than the pool are pending. */
static void world_run(struct world *w, uint64_t to_ns)
{
	while (w->now_ns < to_ns) {
		w->now_ns = MIN(w->now_ns + 10 * MS, to_ns);
		for (uint32_t i = 0; i < w->n && !w->starved; i++)
			connect_move(w, &w->connects[i]);
		for (uint32_t i = 1; i < w->n && w->starved && w->now_ns >= w->other_ns; i += 2)
			connect_softirq(w, &w->connects[i]);
		if (w->now_ns >= w->other_ns)
			w->other_ns =
				w->now_ns + (100 + (uint64_t)(rand() % (int)w->jitter_ms)) * MS;
		for (uint32_t i = 0; i < w->n; i++)
			connect_give_up(w, &w->connects[i]);
		for (; w->next_ns <= w->now_ns; w->next_ns += w->period_ns) {
			if ((w->pool && pending(w) >= w->pool) || w->n == CONNECTS_MAX)
				continue;
			w->connects[w->n++] = (struct connect){
				.begun_ns = w->next_ns,
				.pending = true,
				.syn = w->starved,
				.due_ns = w->next_ns + NS_PER_SEC,
				.answer_ns = answer_to(w, w->next_ns),
			};
			w->in.started++;
			w->in.last_started_ns = w->next_ns;
			w->in.last_syn_ns = MAX(w->in.last_syn_ns, w->next_ns);
		}
	}
}

static uint32_t world_step(struct world *w, uint64_t period_ns)
{
	world_run(w, w->now_ns + period_ns);
	/* every other connect is another processor's, which has its own moments */
	for (uint32_t i = 0; i < w->n && w->starved; i += 2)
		connect_softirq(w, &w->connects[i]);
	w->in.now_ns = w->now_ns;
	w->in.waiting = pending(w);
	return pile_rule_step(&w->rule, &w->in);
}

/* Steps until dead; ms since the loss, 0 = not within @seconds. */
static uint32_t dead_after(struct world *w, uint32_t seconds, uint32_t jitter_ms)
{
	uint64_t end_ns = w->now_ns + seconds * NS_PER_SEC;

	while (w->now_ns < end_ns) {
		uint64_t period_ns =
			PILE_TICK_NS + (jitter_ms ? (uint64_t)(rand() % (int)jitter_ms) * MS : 0);

		if (world_step(w, period_ns) == PILE_RULE_DEAD)
			return (uint32_t)((w->now_ns - w->lost_ns) / MS);
	}
	return 0;
}

static void test_dead_in_time(void **state)
{
	static const uint32_t rates[] = { 4, 8, 25, 50 };

	(void)state;
	for (uint32_t i = 0; i < 2 * ARRAY_LEN(rates); i++)
		for (uint32_t phase = 0; phase < 1000; phase += 70) {
			struct world *w = world_new(rates[i / 2], i % 2);
			uint32_t ms;

			world_run(w, w->now_ns + 5 * NS_PER_SEC);
			w->lost_ns = w->now_ns + phase * MS;
			ms = dead_after(w, 10, 0);
			assert_in_range(ms, 2400, 2700 + 1000 / rates[i / 2]);
			test_free(w);
		}
}

/* Six workers, all stuck: what tells are the SYNs that are sent again, at 3 s; at 2 s since Linux 6.5. */
static void test_a_pool_stuck_as_a_whole(void **state)
{
	(void)state;
	for (uint32_t linear = 0; linear < 2; linear++) {
		struct world *w = world_new(25, linear);

		w->pool = 6;
		while (w->now_ns < 1003 * NS_PER_SEC)
			assert_int_equal(world_step(w, PILE_TICK_NS), PILE_RULE_CALM);
		w->lost_ns = w->now_ns;
		assert_in_range(dead_after(w, 10, 0), linear ? 2400 : 3300, linear ? 2700 : 3700);
		test_free(w);
	}
}

/* A blip that retransmission survives: whatever the rate, the moment, the pool and the steps' jitter. */
static void test_no_blip_of_two_seconds(void **state)
{
	(void)state;
	srand(1);
	for (uint32_t i = 0; i < 3000; i++) {
		struct world *w = world_new(1 + (uint32_t)rand() % 50, i % 2);

		w->pool = i % 3 ? 0 : 1 + (uint32_t)rand() % 20;
		world_run(w, w->now_ns + (uint64_t)(rand() % 3000) * MS);
		w->lost_ns = w->now_ns + (uint64_t)(rand() % 1000) * MS;
		w->back_ns = w->lost_ns + 2 * NS_PER_SEC;
		w->in.watched = i % 5 != 0;
		assert_int_equal(dead_after(w, 8, i % 4 ? 60 : 900), 0);
		test_free(w);
	}
}

/* The same, while real-time tasks keep the host from its softirqs for up to 0.95 s, again and again. */
static void test_no_blip_of_a_starved_host(void **state)
{
	(void)state;
	srand(3);
	for (uint32_t i = 0; i < 3000; i++) {
		struct world *w = world_new(1 + (uint32_t)rand() % 50, i % 2);

		w->pool = i % 3 ? 0 : 1 + (uint32_t)rand() % 20;
		w->starved = true;
		w->jitter_ms = 1 + (uint32_t)rand() % 850;
		w->in.always = i % 2;
		while (w->now_ns < 1002 * NS_PER_SEC)
			assert_int_not_equal(
				world_step(w, (100 + (uint64_t)rand() % w->jitter_ms) * MS),
				PILE_RULE_DEAD);
		w->lost_ns = w->now_ns + (uint64_t)(rand() % 1000) * MS;
		w->back_ns = w->lost_ns + 2 * NS_PER_SEC;
		assert_int_equal(dead_after(w, 10, w->jitter_ms), 0);
		test_free(w);
	}
}

/* Slow, but answered: one success in three seconds is life. */
static void test_slow_is_alive(void **state)
{
	struct world *w = world_new(20, 0);

	(void)state;
	w->lost_ns = UINT64_MAX;
	w->rtt_ms = 900;
	assert_int_equal(dead_after(w, 20, 0), 0);
	test_free(w);
}

/* The loop begins in the middle of an outage: what is pending already is no evidence of when it began. */
static void test_begun_in_mid_outage(void **state)
{
	struct world *w = world_new(10, 0);
	uint32_t ms;

	(void)state;
	world_run(w, w->now_ns + NS_PER_SEC);
	w->lost_ns = w->now_ns;
	world_run(w, w->now_ns + 5 * NS_PER_SEC);
	w->in.watched = 0;
	ms = dead_after(w, 10, 0);
	assert_in_range(ms, 5000 + 2400, 5000 + 2900);
	test_free(w);
	/* a pool of 6, all stuck: the next evidence is what they send again after 7 s */
	w = world_new(10, 0);
	w->pool = 6;
	w->lost_ns = w->now_ns;
	world_run(w, w->now_ns + 5 * NS_PER_SEC);
	w->in.watched = 0;
	assert_in_range(dead_after(w, 20, 0), 7300, 7900);
	test_free(w);
	/* nothing is sent again that anybody could see: no evidence, whatever the time */
	w = world_new(10, 0);
	w->pool = 6;
	w->unseen = true;
	w->lost_ns = w->now_ns;
	assert_int_equal(dead_after(w, 30, 0), 0);
	test_free(w);
}

/* A pause of 5 s, one second into the outage: what was seen before it, and the time it took, are no evidence. */
static void test_late_steps(void **state)
{
	struct world *w = world_new(25, 0);
	uint64_t begun_ns;

	(void)state;
	while (w->now_ns < 1002 * NS_PER_SEC)
		world_step(w, PILE_TICK_NS);
	w->lost_ns = w->now_ns;
	begun_ns = w->now_ns;
	for (int i = 0; i < 10; i++)
		world_step(w, PILE_TICK_NS);
	assert_int_not_equal(world_step(w, 5 * NS_PER_SEC), PILE_RULE_DEAD);
	assert_true(dead_after(w, 10, 0));
	assert_in_range((w->now_ns - begun_ns) / MS, 6000 + 2400, 6000 + 3000);
	test_free(w);
}

/*
 * Sixteen real-time spinners on 6.1: softirqs, the looks among them, run in 50 ms of each second, or as ever for a
 * while. All workers are stuck.
 */
static void test_starved(void **state)
{
	uint32_t worst = 0;

	(void)state;
	srand(2);
	for (int i = 0; i < 300; i++) {
		struct world *w = world_new(8, (uint32_t)i % 2);
		uint32_t ms;

		w->pool = 24;
		w->starved = true;
		while (w->now_ns < 1002 * NS_PER_SEC)
			world_step(w, PILE_TICK_NS);
		w->lost_ns = w->now_ns;
		/* always late, or now and then */
		while (w->now_ns < w->lost_ns + 12 * NS_PER_SEC &&
		       world_step(w, i % 3 && rand() % 10 ? PILE_TICK_NS : 950 * MS) !=
			       PILE_RULE_DEAD)
			;
		ms = (uint32_t)((w->now_ns - w->lost_ns) / MS);
		worst = MAX(worst, ms);
		assert_true(ms >= 2400);
		test_free(w);
	}
	assert_in_range(worst, 4300, 8000);
}

static void test_share(void **state)
{
	struct pile_rule_input in = { .waiting = 100 };

	(void)state;
	assert_false(pile_rule_share(&in, 9));
	assert_true(pile_rule_share(&in, 10));
	in.waiting = 0;
	assert_true(pile_rule_share(&in, 1));
	/* behind a full pool of 10 there may be 2,000, and the 10 would be nothing */
	in = (struct pile_rule_input){ .waiting = 2000, .workers = 10 };
	assert_true(pile_rule_share(&in, 10));
	in.workers = 200;
	assert_false(pile_rule_share(&in, 10));
}

static void test_fewer_than_three(void **state)
{
	struct world *w = world_new(10, 0);

	(void)state;
	w->pool = 2;
	w->lost_ns = w->now_ns;
	/* who gives up tries again: many attempts, never three at once */
	w->patience_ms = 1200;
	assert_int_equal(dead_after(w, 20, 0), 0);
	test_free(w);
	w = world_new(10, 0);
	w->pool = 2;
	w->patience_ms = 1200;
	w->in.always = 1;
	w->lost_ns = w->now_ns;
	assert_true(dead_after(w, 20, 0));
	test_free(w);
}

/* Five are stuck, and a thousand requests wait for something else. */
static void test_not_what_the_group_waits_for(void **state)
{
	struct world *w = world_new(10, 0);

	(void)state;
	w->pool = 5;
	w->patience_ms = 1200;
	w->lost_ns = w->now_ns;
	for (int i = 0; i < 100; i++) {
		world_run(w, w->now_ns + PILE_TICK_NS);
		w->in.now_ns = w->now_ns;
		w->in.waiting = 1000;
		assert_int_equal(pile_rule_step(&w->rule, &w->in), PILE_RULE_CALM);
	}
	test_free(w);
}

/*
 * The first gives up; the others were begun 0.4 s later, so that none sends a SYN between 2.0 and 3.3 s. They would be
 * answered at 3.4 s: what the first would have sent at 3.0 s was never sent.
 */
static void test_no_evidence_of_who_gave_up(void **state)
{
	struct world *w = world_new(50, 0);

	(void)state;
	world_step(w, 20 * MS);
	w->lost_ns = w->now_ns;
	w->back_ns = w->lost_ns + 2100 * MS;
	w->next_ns = w->now_ns + 10 * MS;
	w->pool = 1;
	world_run(w, w->now_ns + 50 * MS);
	w->patience_ms = 2000;
	w->patient_from = w->n;
	assert_int_equal(world_step(w, 20 * MS), PILE_RULE_CALM);
	w->next_ns = w->now_ns + 400 * MS;
	w->pool = 5;
	while (w->now_ns < w->lost_ns + 600 * MS)
		world_step(w, PILE_TICK_NS);
	w->next_ns = UINT64_MAX;
	assert_int_equal(dead_after(w, 5, 0), 0);
	assert_int_equal(pending(w), 0);
	test_free(w);
}

static void test_stuck(void **state)
{
	struct pile_rule_state s = { 0 };
	struct pile_rule_input in = { .now_ns = NS_PER_SEC, .dead_after_ns = 2400 * MS };

	(void)state;
	for (int i = 0; i < 10; i++) {
		in.started = in.last_started_ns = 10 + (uint64_t)i;
		in.ended = 0;
		pile_rule_step(&s, &in);
		in.now_ns += PILE_TICK_NS;
	}
	/* 19 now, 15 of them half a second ago */
	in.now_ns -= PILE_TICK_NS;
	assert_int_equal(pile_rule_stuck(&s, &in), 14);
	in.ended = 10;
	assert_int_equal(pile_rule_stuck(&s, &in), 4);
	in.ended = 18; /* some that began later ended sooner */
	assert_int_equal(pile_rule_stuck(&s, &in), 0);
	/* after a pause nothing is known to have been pending all the while */
	in.now_ns += 5 * NS_PER_SEC;
	in.ended = 0;
	pile_rule_step(&s, &in);
	assert_int_equal(pile_rule_stuck(&s, &in), 0);
}

static int at_risk(const struct pile_bpf_rule *rule, uint32_t now, uint32_t then, uint64_t span_ms)
{
	struct pile_rule_load a = { .waiting = now }, b = { .waiting = then };

	return pile_rule_at_risk(rule, &a, &b, span_ms);
}

static void test_risk(void **state)
{
	struct pile_bpf_rule rule = {
		.armed = 1, .free_bytes = 1000 << 20, .request_bytes = 6 << 20, .waiting = 10
	};

	(void)state;
	/* 25 more in a second, 6 MiB each: 1,000 - 150 MiB are gone in 5.7 s */
	assert_true(at_risk(&rule, 35, 10, 1000));
	assert_false(at_risk(&rule, 35, 35, 1000));
	assert_false(at_risk(&rule, 35, 40, 1000));
	/* 10 more in a second: in 14 s; 5: in 30 s */
	assert_true(at_risk(&rule, 20 + 10, 20, 1000));
	assert_false(at_risk(&rule, 15, 10, 1000));
	/* shorter than half a second is chance */
	assert_false(at_risk(&rule, 35, 10, 400));
	rule.request_bytes = 0;
	assert_false(at_risk(&rule, 35, 10, 1000));
	rule.pool_limit = 60;
	assert_false(at_risk(&rule, 30, 30, 1000));
	assert_true(at_risk(&rule, 31, 31, 1000));
	rule.pool_limit = 0;
	rule.always = 1;
	assert_true(at_risk(&rule, 0, 0, 0));
}

/*
 * What the incident's workers hold is not known before they have ever waited: 850 KiB is a calm one's, 6 MiB is what one
 * that waits takes. The cgroup's own counter tells.
 */
static void test_risk_by_what_the_cgroup_takes(void **state)
{
	struct pile_bpf_rule rule = { .armed = 1,
				      .free_bytes = 1000 << 20,
				      .request_bytes = 850 << 10,
				      .used_bytes = 100 << 20,
				      .waiting = 2 };
	struct pile_rule_load now = { .waiting = 42,
				      .used = { .bytes = 340 << 20, .at_ns = 5 * NS_PER_SEC } };
	struct pile_rule_load then = { .waiting = 22,
				       .used = { .bytes = 220 << 20, .at_ns = 4 * NS_PER_SEC } };

	(void)state;
	/* 1,000 - 240 MiB at 120 MiB a second: 6.3 s; by the requests: 56 s */
	assert_true(pile_rule_at_risk(&rule, &now, &then, 1000));
	/* over the time between the two connects that told, whenever anybody looks */
	assert_true(pile_rule_at_risk(&rule, &now, &then, 100));
	then.used.at_ns -= 2 * NS_PER_SEC; /* 40 MiB a second: 19 s */
	assert_false(pile_rule_at_risk(&rule, &now, &then, 1000));
	then.used =
		now.used; /* nobody connected meanwhile: by the requests, of which 20 more hold 17 MiB */
	assert_false(pile_rule_at_risk(&rule, &now, &then, 1000));
	rule.request_bytes = 6 << 20;
	assert_true(pile_rule_at_risk(&rule, &now, &then, 1000));
	rule.request_bytes = 850 << 10;
	/* falling, and within the noise */
	then.used = (struct pile_bpf_used){ .bytes = 360 << 20, .at_ns = 4 * NS_PER_SEC };
	assert_false(pile_rule_at_risk(&rule, &now, &then, 1000));
	rule.free_bytes = 245 << 20;
	then.used.bytes = now.used.bytes - (1 << 20);
	assert_false(pile_rule_at_risk(&rule, &now, &then, 1000));
	then.used.bytes = now.used.bytes - (2 << 20);
	assert_true(pile_rule_at_risk(&rule, &now, &then, 1000));
	/* where it is not known: by the requests */
	then.used.bytes = 0;
	assert_true(pile_rule_at_risk(&rule, &now, &then, 1000));
	then.used.bytes = now.used.bytes;
	rule.used_bytes = 0;
	assert_true(pile_rule_at_risk(&rule, &now, &then, 1000));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_dead_in_time),
		cmocka_unit_test(test_a_pool_stuck_as_a_whole),
		cmocka_unit_test(test_no_blip_of_two_seconds),
		cmocka_unit_test(test_no_blip_of_a_starved_host),
		cmocka_unit_test(test_slow_is_alive),
		cmocka_unit_test(test_begun_in_mid_outage),
		cmocka_unit_test(test_late_steps),
		cmocka_unit_test(test_starved),
		cmocka_unit_test(test_share),
		cmocka_unit_test(test_fewer_than_three),
		cmocka_unit_test(test_not_what_the_group_waits_for),
		cmocka_unit_test(test_no_evidence_of_who_gave_up),
		cmocka_unit_test(test_stuck),
		cmocka_unit_test(test_risk),
		cmocka_unit_test(test_risk_by_what_the_cgroup_takes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

// SPDX-License-Identifier: GPL-2.0-or-later
/* Who is ended for its memory, and all who are not. A pool of twenty on a host of 2 GiB, looked at each tick. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>
#include <signal.h>

#include "breaker_fixture.h"
#include "record/explain_text.h"

#define MIB (1ULL << 20)
#define GIB (1ULL << 30)
#define POOL 20
#define MASTER 99
#define FIRST 100

/* What each worker takes, a second, and has taken for how long. */
static uint64_t rate[PILE_SAMPLE_WORKERS_MAX], held[PILE_SAMPLE_WORKERS_MAX],
	since_ns[PILE_SAMPLE_WORKERS_MAX];
static uint32_t workers;
static int64_t available; /* of the host; others may take of it, too */
static int64_t others_rate;

static void workers_fill(struct fixture *f)
{
	struct pile_sample *s = &f->sample;

	s->looked_ns = s->now_ns + PILE_TICK_NS; /* tick() moves now_ns on first */
	s->n_workers = workers;
	s->recent_ns = 400 * MS;
	for (uint32_t i = 0; i < workers; i++) {
		struct pile_sample_worker *w = &s->workers[i];
		uint64_t recent_ns = MIN(since_ns[i], s->recent_ns);

		w->group = 0;
		w->pid = FIRST + i;
		if (!w->parent)
			w->parent = MASTER;
		w->start_ns = 1000 + i;
		w->private_bytes = held[i];
		w->rising_ns = rate[i] ? since_ns[i] : 0;
		w->recent_bytes = rate[i] * recent_ns / NS_PER_SEC;
		w->risen_bytes = rate[i] * w->rising_ns / NS_PER_SEC;
		memcpy(w->comm, "php-fpm8.2", 11);
	}
}

static void look(struct fixture *f)
{
	for (uint32_t i = 0; i < workers; i++) {
		held[i] += rate[i] / 10;
		available -= (int64_t)(rate[i] / 10);
		since_ns[i] = rate[i] ? since_ns[i] + PILE_TICK_NS : 0;
	}
	available -= others_rate / 10;
	f->sample.memory_available_bytes = available > 0 ? (uint64_t)available : 0;
	workers_fill(f);
	tick(f);
}

/* A calm second, after which growth is known. */
static int fresh(void **state)
{
	struct fixture *f;

	setup(state);
	f = *state;
	f->view.groups[0].named = f->view.evict_ready = true;
	f->view.groups[0].config.workers = PILE_WORKERS_PREFORK;
	f->view.groups[0].config.enforce = PILE_RUNG_EVICT;
	f->sample.memory_total_bytes = 2 * GIB;
	f->sample.grown_over_ns = 540 * NS_PER_SEC;
	f->sample.groups[0].waiting = 1;
	available = (int64_t)(1200 * MIB);
	others_rate = 0;
	workers = POOL;
	for (uint32_t i = 0; i < PILE_SAMPLE_WORKERS_MAX; i++) {
		rate[i] = since_ns[i] = 0;
		held[i] = 30 * MIB;
	}
	workers_fill(f);
	for (uint32_t i = 0; i < POOL; i++)
		f->sample.workers[i].home = true;
	for (int i = 0; i < 10; i++)
		look(f);
	return 0;
}

/* Looks until it is told that somebody is ended, or why not; NULL: nothing within @limit. */
static struct pile_intent *told(struct fixture *f, int limit)
{
	for (int i = 0; i < limit; i++) {
		look(f);
		if (said(f, PILE_INTENT_EVICT))
			return said(f, PILE_INTENT_EVICT);
	}
	return NULL;
}

/* ... but for those who may not be, and what has been done often enough. */
static struct pile_intent *ended(struct fixture *f, int limit)
{
	for (int i = 0; i < limit; i++) {
		struct pile_intent *intent = told(f, 1);

		if (intent && intent->blocked != PILE_BLOCKED_SPARED &&
		    intent->blocked != PILE_BLOCKED_BUDGET)
			return intent;
	}
	return NULL;
}

static uint64_t now(const struct fixture *f)
{
	return f->sample.now_ns;
}

/* The reserve is 64 MiB and 2 %: of 1,200 MiB some 1,095 are free. */
static void test_hog(void **state)
{
	struct fixture *f = *state;
	uint64_t from = now(f);
	struct pile_intent *intent;

	rate[7] = GIB;
	intent = ended(f, 20);
	assert_non_null(intent);
	assert_int_equal(intent->blocked, PILE_BLOCKED_NO);
	assert_int_equal(intent->why.pid, FIRST + 7);
	assert_int_equal(intent->why.evict.start_ns, 1007);
	assert_int_equal(intent->why.evict.cause, PILE_EVICT_HOG);
	assert_int_equal(intent->why.evict.bound, PILE_EVICT_HOST);
	assert_int_equal(intent->why.share_permille, 1000);
	assert_int_equal(intent->grace_ns, 100 * MS); /* less than a second is left */
	assert_in_range(now(f) - from, 300 * MS, 500 * MS);
	assert_int_equal(f->state.evicts.candidates.n, 1);
	assert_int_equal(f->state.evicts.candidates.list[0].pid, FIRST + 7);
	/* not again while that one is under way */
	assert_null(ended(f, 3));
	/* gone */
	f->sample.evicted[0] = (struct pile_sample_evicted){ .explain_id = intent->explain_id,
							     .pid = FIRST + 7,
							     .signal = SIGTERM,
							     .gone_ns = now(f),
							     .freed_bytes = 500 * MIB };
	f->sample.evicted[0].explain_id = f->state.next_explain_id - 1;
	f->sample.n_evicted = 1;
	rate[7] = 0;
	look(f);
	assert_non_null(said(f, PILE_INTENT_EVICT_OVER));
	assert_int_equal(said(f, PILE_INTENT_EVICT_OVER)->close_reason, PILE_CLOSE_ENDED);
	f->sample.n_evicted = 0;
	assert_null(ended(f, 30));
}

/* 60 MiB/s: only when less than 3 s are left, however long it was seen. */
static void test_slow_hog(void **state)
{
	struct fixture *f = *state;
	struct pile_intent *intent;

	rate[3] = 60 * MIB;
	intent = ended(f, 300);
	assert_non_null(intent);
	assert_in_range(intent->why.exhaustion_ns, 2800 * MS, 3000 * MS);
	assert_in_range(intent->grace_ns, 700 * MS, 750 * MS);
}

/* A request that takes 400 MiB and then goes on: where memory would have lasted, nobody is ended. */
static void test_large_request(void **state)
{
	struct fixture *f = *state;

	rate[3] = GIB;
	assert_null(ended(f, 2));
	rate[3] = 0;
	assert_null(ended(f, 20));
	available = 1200 * (int64_t)MIB;
	rate[3] = 200 * MIB;
	assert_null(ended(f, 20));
	rate[3] = 0;
	assert_null(ended(f, 100));
	/* memory is nearly used up, and stays so: a level */
	available = 110 * (int64_t)MIB;
	assert_null(ended(f, 100));
	available = 0;
	assert_null(ended(f, 100));
}

static void test_even(void **state)
{
	struct fixture *f = *state;

	for (int i = 0; i < POOL; i++)
		rate[i] = 60 * MIB;
	assert_null(ended(f, 40));
	/* half of the growth is one's, half everybody's */
	available = 1200 * (int64_t)MIB;
	rate[0] = 1000 * MIB;
	assert_null(ended(f, 20));
}

/* Two of twenty are few, three are not. */
static void test_few(void **state)
{
	struct fixture *f = *state;
	struct pile_intent *intent;

	rate[4] = rate[5] = rate[6] = 300 * MIB;
	assert_null(ended(f, 40));
	available = 1200 * (int64_t)MIB;
	rate[6] = 0;
	rate[5] = 310 * MIB;
	intent = ended(f, 40);
	assert_non_null(intent);
	assert_int_equal(intent->why.evict.few, 2);
	assert_int_equal(intent->why.pid, FIRST + 5);
}

/* Memory runs out by something else: whoever grows a little meanwhile is not the cause. */
static void test_not_the_cause(void **state)
{
	struct fixture *f = *state;

	others_rate = 600 * (int64_t)MIB;
	rate[2] = 100 * MIB;
	assert_null(ended(f, 40));
}

/* It holds no more than the others do: each of them has its turn. */
static void test_no_outlier(void **state)
{
	struct fixture *f = *state;

	available = 700 * (int64_t)MIB;
	for (int i = 0; i < POOL; i++)
		held[i] = 800 * MIB;
	rate[2] = 400 * MIB;
	assert_null(ended(f, 40));
}

static void test_never(void **state)
{
	struct fixture *f = *state;
	struct pile_sample_worker *w = &f->sample.workers[7];

	rate[7] = 400 * MIB;
	w->connecting = true;
	assert_null(ended(f, 40));
	w->connecting = false;
	w->waiting = 2; /* a router beside the workers, or threads */
	available = 1000 * (int64_t)MIB;
	assert_null(ended(f, 15));
	w->waiting = 0;
	w->home = false;
	available = 1000 * (int64_t)MIB;
	assert_null(ended(f, 15));
	w->home = true;
	w->parent = 1; /* no sibling has that one */
	available = 1000 * (int64_t)MIB;
	assert_null(ended(f, 15));
	w->parent = MASTER;
	f->sample.workers[8].parent = w->pid; /* it forks workers */
	available = 1000 * (int64_t)MIB;
	assert_null(ended(f, 15));
	f->sample.workers[8].parent = MASTER;
	f->view.groups[0].config.workers = PILE_WORKERS_EVENTS;
	available = 1000 * (int64_t)MIB;
	assert_null(ended(f, 15));
	f->view.groups[0].config.workers = PILE_WORKERS_UNKNOWN;
	available = 1000 * (int64_t)MIB;
	assert_null(ended(f, 15));
	f->view.groups[0].config.workers = PILE_WORKERS_PREFORK;
	f->view.groups[0].named = false;
	available = 1000 * (int64_t)MIB;
	assert_null(ended(f, 15));
	f->view.groups[0].named = true;
	available = 1000 * (int64_t)MIB;
	assert_non_null(ended(f, 15));
}

/* Told once that it is not, and why; ended as soon as it may be. */
static void test_spared_is_told(void **state)
{
	struct fixture *f = *state;
	struct pile_intent *intent;

	rate[7] = 400 * MIB;
	f->sample.workers[7].connecting = true;
	intent = told(f, 40);
	assert_non_null(intent);
	assert_int_equal(intent->blocked, PILE_BLOCKED_SPARED);
	assert_int_equal(intent->why.pid, FIRST + 7);
	assert_int_equal(f->state.evicts.past_changes, 0);
	available = 1000 * (int64_t)MIB;
	assert_null(told(f, 15));
	available = 1000 * (int64_t)MIB;
	f->sample.workers[7].connecting = false;
	intent = told(f, 15);
	assert_non_null(intent);
	assert_int_equal(intent->blocked, PILE_BLOCKED_NO);
	assert_int_equal(f->state.evicts.past_changes, 1);
}

/* Where another switch forbids it in any case, nothing would have been done: nothing is told. */
static void test_spared_where_it_is_observed(void **state)
{
	struct fixture *f = *state;

	f->view.mode = PILE_MODE_OBSERVE;
	rate[7] = 400 * MIB;
	f->sample.workers[7].connecting = true;
	assert_null(told(f, 40));
	available = 1000 * (int64_t)MIB;
	f->sample.workers[7].connecting = false;
	assert_non_null(told(f, 15));
}

static void tell_gone(struct fixture *f, uint32_t id)
{
	f->sample.evicted[0] = (struct pile_sample_evicted){ .explain_id = id,
							     .signal = SIGTERM,
							     .gone_ns = now(f) };
	f->sample.n_evicted = 1;
	look(f);
	f->sample.n_evicted = 0;
}

/* Somebody's processes that read from the group's sockets, too: the pool is no larger for them. */
static void test_readers(void **state)
{
	struct fixture *f = *state;

	workers = 300;
	rate[3] = rate[4] = rate[5] = 200 * MIB;
	assert_null(ended(f, 40));
	available = 1000 * (int64_t)MIB;
	rate[4] = rate[5] = 0;
	assert_non_null(ended(f, 40));
	assert_int_equal(said(f, PILE_INTENT_EVICT)->why.evict.workers, POOL);
	tell_gone(f, said(f, PILE_INTENT_EVICT)->explain_id);
	/* and one of theirs is no reason to end one of ours */
	f->state.evicts.past_next = 0;
	memset(f->state.evicts.past, 0, sizeof(f->state.evicts.past));
	available = 1200 * (int64_t)MIB;
	rate[3] = 0;
	rate[200] = 400 * MIB;
	rate[6] = 20 * MIB;
	assert_null(ended(f, 40));
}

static void test_one_process(void **state)
{
	struct fixture *f = *state;

	workers = 1;
	rate[0] = 400 * MIB;
	assert_null(ended(f, 40));
}

/* A tick that came late knows nothing; nor one that has not looked. */
static void test_late(void **state)
{
	struct fixture *f = *state;

	rate[7] = 400 * MIB;
	for (int i = 0; i < 20; i++) {
		f->sample.late_ns = NS_PER_SEC;
		look(f);
		assert_null(said(f, PILE_INTENT_EVICT));
	}
	f->sample.late_ns = 0;
	look(f);
	assert_null(said(f, PILE_INTENT_EVICT));
	f->sample.looked_ns = 0;
	tick(f);
	assert_null(said(f, PILE_INTENT_EVICT));
	assert_non_null(ended(f, 3));
}

/* Its number is another process's between two looks: that one begins anew. */
static void test_pid_reuse(void **state)
{
	struct fixture *f = *state;

	available = 600 * (int64_t)MIB;
	rate[7] = 400 * MIB;
	for (int i = 0; i < 30; i++) {
		look(f);
		if (said(f, PILE_INTENT_EVICT))
			break;
		since_ns[7] = 0; /* as sense tells of a new one */
	}
	assert_null(said(f, PILE_INTENT_EVICT));
}

static void test_switches(void **state)
{
	struct fixture *f = *state;
	const struct pile_explain explain = { .kind = PILE_INTENT_EVICT,
					      .blocked = PILE_BLOCKED_RUNG,
					      .why.pid = 107 };
	char text[PILE_EXPLAIN_TEXT_MAX];

	assert_int_equal(pile_evict_blocked(&f->view, 0), PILE_BLOCKED_NO);
	f->view.evict_ready = false;
	assert_int_equal(pile_evict_blocked(&f->view, 0), PILE_BLOCKED_KERNEL);
	f->view.disarmed = true;
	assert_int_equal(pile_evict_blocked(&f->view, 0), PILE_BLOCKED_DISARMED);
	f->view.groups[0].config.enforce = PILE_RUNG_FAIL_FAST;
	assert_int_equal(pile_evict_blocked(&f->view, 0), PILE_BLOCKED_RUNG);
	f->view.mode = PILE_MODE_OBSERVE;
	assert_int_equal(pile_evict_blocked(&f->view, 0), PILE_BLOCKED_OBSERVE);
	f->view.outside_share = true;
	assert_int_equal(pile_evict_blocked(&f->view, 0), PILE_BLOCKED_SHARE);
	f->view.groups[0].foreign = true;
	assert_int_equal(pile_evict_blocked(&f->view, 0), PILE_BLOCKED_FOREIGN);
	assert_string_equal(
		pile_explain_text_did(&explain, text, sizeof(text)),
		"nothing: would have sent SIGTERM to worker 107 (the group's enforce list does not name evict)");
}

/* Observed: told once, over when it is gone; and no part of what may be done later. */
static void test_virtual(void **state)
{
	struct fixture *f = *state;
	struct pile_intent *intent;

	f->view.mode = PILE_MODE_OBSERVE;
	rate[7] = 400 * MIB;
	intent = ended(f, 40);
	assert_non_null(intent);
	assert_int_equal(intent->blocked, PILE_BLOCKED_OBSERVE);
	assert_null(ended(f, 30));
	f->view.mode = PILE_MODE_ENFORCE;
	available = 1000 * (int64_t)MIB;
	assert_non_null(ended(f, 15));
	assert_int_equal(f->state.evicts.past_changes, 1);
	rate[7] = 0;
	memmove(&f->sample.workers[7], &f->sample.workers[8],
		(workers - 8) * sizeof(f->sample.workers[0]));
	f->sample.n_workers = --workers;
	for (uint32_t i = 0; i < workers; i++)
		f->sample.workers[i].pid = 500 + i;
	f->sample.looked_ns = f->sample.now_ns + PILE_TICK_NS;
	tick(f);
	assert_non_null(said(f, PILE_INTENT_EVICT_OVER));
	assert_int_equal(said(f, PILE_INTENT_EVICT_OVER)->blocked, PILE_BLOCKED_OBSERVE);
	assert_int_equal(said(f, PILE_INTENT_EVICT_OVER)->close_reason, PILE_CLOSE_GONE);
}

/* One a second; of twenty two in 30 s; also by an earlier guard. */
static void test_budgets(void **state)
{
	struct fixture *f = *state;
	struct pile_intent *intent;
	uint64_t first;

	available = 100000 * (int64_t)MIB;
	f->view.groups[0].config.memory_budget_bytes = 1400 * MIB;
	rate[0] = 400 * MIB;
	intent = ended(f, 40);
	assert_non_null(intent);
	assert_int_equal(intent->why.evict.bound, PILE_EVICT_BUDGET);
	first = now(f);
	tell_gone(f, intent->explain_id);
	rate[0] = 0;
	held[0] = 30 * MIB;
	for (int n = 1; n < 5; n++) {
		rate[n] = 800 * MIB;
		intent = ended(f, 60);
		rate[n] = 0;
		held[n] = 30 * MIB;
		if (!intent)
			continue;
		assert_true(now(f) - first >= (n == 1 ? NS_PER_SEC : 30 * NS_PER_SEC));
		assert_true(n == 1 || now(f) - first >= 30 * NS_PER_SEC);
		tell_gone(f, intent->explain_id);
	}
	assert_int_equal(f->state.evicts.past_changes, 2);
	/* a new guard */
	pile_decide_init(&f->state, 50);
	pile_evicts_recall(&f->state.evicts, "www", 25 * NS_PER_SEC, now(f));
	pile_evicts_recall(&f->state.evicts, "www", 31 * NS_PER_SEC, now(f));
	pile_evicts_recall(&f->state.evicts, "www", 0, now(f)); /* a clock that was wrong */
	rate[9] = 300 * MIB;
	intent = told(f, 40);
	assert_non_null(intent);
	assert_int_equal(intent->blocked, PILE_BLOCKED_BUDGET);
	assert_null(told(f, 30));
	/* 25 s ago are 30 by now */
	held[9] = 400 * MIB;
	assert_non_null(ended(f, 30));
}

/* 1 MiB/s without end, for nine minutes: idle, within nine; busy, in the last tenth of that. */
static void test_leak(void **state)
{
	struct fixture *f = *state;
	struct pile_sample_worker *w = &f->sample.workers[5];
	struct pile_intent *intent;

	rate[5] = w->rate_bytes = MIB;
	held[5] = 600 * MIB;
	available = 700 * (int64_t)MIB; /* 595 free: 595 s */
	assert_null(ended(f, 20));
	available = 640 * (int64_t)MIB;
	assert_null(ended(f, 550)); /* the forecast must have come true for a minute */
	w->waiting = 1;
	assert_null(ended(f, 100));
	w->waiting = 0;
	intent = ended(f, 2);
	assert_non_null(intent);
	assert_int_equal(intent->why.evict.cause, PILE_EVICT_LEAK);
	assert_int_equal(intent->why.pid, FIRST + 5);
	assert_true(intent->why.evict.idle);
	assert_int_equal(intent->grace_ns, NS_PER_SEC);
	assert_in_range(intent->why.exhaustion_ns, 460 * NS_PER_SEC, 480 * NS_PER_SEC);
}

static void test_leak_busy(void **state)
{
	struct fixture *f = *state;
	struct pile_sample_worker *w = &f->sample.workers[5];
	struct pile_intent *intent;

	rate[5] = w->rate_bytes = MIB;
	w->waiting = 1;
	held[5] = 600 * MIB;
	available = 165 * (int64_t)MIB; /* 60 free */
	assert_null(ended(f, 280));	/* for half of that it has come true */
	intent = ended(f, 50);
	assert_non_null(intent);
	assert_false(intent->why.evict.idle);
	assert_in_range(intent->why.exhaustion_ns, 27 * NS_PER_SEC, 31 * NS_PER_SEC);
}

static void test_leak_not(void **state)
{
	struct fixture *f = *state;

	available = 640 * (int64_t)MIB;
	/* all of them leak */
	for (int i = 0; i < POOL; i++)
		rate[i] = f->sample.workers[i].rate_bytes = MIB / 10;
	assert_null(ended(f, 700));
	/* it is one, and holds what the others hold */
	for (int i = 1; i < POOL; i++)
		rate[i] = f->sample.workers[i].rate_bytes = 0;
	available = 640 * (int64_t)MIB;
	rate[0] = f->sample.workers[0].rate_bytes = 2 * MIB;
	held[0] = 0;
	assert_null(ended(f, 250));
	/* what it took was given back by others: nothing runs out */
	held[0] = 400 * MIB;
	others_rate = -2 * (int64_t)MIB;
	assert_null(ended(f, 700));
	others_rate = 0;
	/* memory runs out by something else in this moment */
	rate[0] = f->sample.workers[0].rate_bytes = 0;
	rate[1] = f->sample.workers[1].rate_bytes = 2 * MIB;
	held[1] = 600 * MIB;
	others_rate = 50 * (int64_t)MIB;
	available = 3000 * (int64_t)MIB;
	for (int i = 0; i < 30; i++)
		look(f);
	available = 640 * (int64_t)MIB;
	assert_null(ended(f, 5));
	others_rate = 0;
	assert_non_null(ended(f, 700));
}

/* Memory is used up, or nearly, by whomever: a level. An ordinary request that begins then is nobody's cause. */
static void test_level(void **state)
{
	struct fixture *f = *state;
	static const int64_t levels[] = { 60, 100, 106, 110 }; /* the reserve is 105 */

	for (size_t i = 0; i < ARRAY_LEN(levels); i++) {
		available = levels[i] * (int64_t)MIB;
		for (int ticks = 0; ticks < 20; ticks++)
			look(f);
		rate[3] = 60 * MIB;
		others_rate = -60 * (int64_t)MIB; /* reclaimed for it */
		assert_null(ended(f, 10));
		others_rate = 0;
		available = levels[i] * (int64_t)MIB;
		assert_null(ended(f, 4));
		rate[3] = 0;
		held[3] = 30 * MIB;
	}
	/* not yet, but so little is left that 24 MiB bring it there: they are nothing beside the host */
	available = 140 * (int64_t)MIB;
	held[3] = 45 * MIB;
	for (int ticks = 0; ticks < 20; ticks++)
		look(f);
	rate[3] = 60 * MIB;
	assert_null(ended(f, 5));
	rate[3] = 0;
	held[3] = 30 * MIB;
	/* a budget that is set too low, and lived with */
	available = 1200 * (int64_t)MIB;
	f->view.groups[0].config.memory_budget_bytes = 500 * MIB; /* twenty hold 600 */
	for (int ticks = 0; ticks < 20; ticks++)
		look(f);
	rate[3] = 60 * MIB;
	assert_null(ended(f, 20));
}

/* One takes what another gives back: the bound stands still. */
static void test_given_back(void **state)
{
	struct fixture *f = *state;

	available = 600 * (int64_t)MIB;
	rate[3] = 300 * MIB;
	others_rate = -300 * (int64_t)MIB;
	assert_null(ended(f, 40));
	others_rate = 0;
	assert_non_null(ended(f, 20));
}

static void words(const struct pile_explain *x,
		  const char *(*format)(const struct pile_explain *, char *, size_t),
		  const char *wanted)
{
	char text[PILE_EXPLAIN_TEXT_MAX];

	assert_string_equal(format(x, text, sizeof(text)), wanted);
}

static void test_words(void **state)
{
	struct fixture *f = *state;
	struct pile_explain x = { .id = 17, .kind = PILE_INTENT_EVICT, .group = "www" };
	struct pile_intent over = { .kind = PILE_INTENT_EVICT_OVER, .explain_id = 17 };
	struct pile_intent *intent;
	char text[256];

	f->sample.workers[7].waiting = 1;
	f->sample.workers[7].oldest_ns = 700 * MS;
	f->state.next_explain_id = 17;
	rate[7] = GIB;
	intent = ended(f, 20);
	assert_non_null(intent);
	assert_string_equal(
		pile_explain_text_intent(intent, "www", NULL, text, sizeof(text)),
		"www: worker 107 grows by 1024 MiB/s and holds 439 MiB: the host's memory is gone in 669 ms: "
		"sent SIGTERM. explain 17");
	x.why = intent->why;
	words(&x, pile_explain_text_why,
	      "the host's memory (685 MiB left) is gone in 669 ms: worker 107 grows by 1024 MiB/s, 100.0 % of what "
	      "www's 20 workers take, for 400 ms without a pause; it holds 439 MiB, the others 30 MiB on average; "
	      "without it memory lasts for hours; busy with a request for 700 ms");
	words(&x, pile_explain_text_did, "sent SIGTERM to worker 107; it is not gone yet");
	words(&x, pile_explain_text_cost,
	      "1 request lost, the oldest after 700 ms: its client sees the connection closed");
	assert_string_equal(pile_explain_text_state(&x), "going on");
	x.closed_ns = 1;
	x.close_reason = PILE_CLOSE_ENDED;
	x.why.evict.signal = SIGKILL;
	x.why.evict.gone_ns = 200 * MS;
	x.why.evict.freed_bytes = 450 * MIB;
	words(&x, pile_explain_text_did,
	      "sent SIGTERM, then SIGKILL to worker 107: gone 200 ms after the decision; it held 450 MiB");
	x.close_reason = PILE_CLOSE_NOT_ENDED;
	x.why.evict.signal = 0;
	x.why.evict.error = ESTALE;
	words(&x, pile_explain_text_did,
	      "nothing was sent to worker 107: another process has its number by now");
	words(&x, pile_explain_text_cost, "none: nothing was changed");
	words(&x, pile_explain_text_command, "");
	over.why = x.why;
	over.close_reason = PILE_CLOSE_NOT_ENDED;
	assert_string_equal(
		pile_explain_text_intent(&over, "www", NULL, text, sizeof(text)),
		"www: worker 107 could not be ended: another process has its number by now. explain 17 closed");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define E(name) cmocka_unit_test_setup_teardown(name, fresh, teardown)
		E(test_hog),
		E(test_slow_hog),
		E(test_large_request),
		E(test_even),
		E(test_few),
		E(test_not_the_cause),
		E(test_no_outlier),
		E(test_never),
		E(test_one_process),
		E(test_readers),
		E(test_late),
		E(test_pid_reuse),
		E(test_switches),
		E(test_virtual),
		E(test_budgets),
		E(test_spared_is_told),
		E(test_spared_where_it_is_observed),
		E(test_leak),
		E(test_leak_busy),
		E(test_leak_not),
		E(test_level),
		E(test_given_back),
		E(test_words),
	};

	return cmocka_run_group_tests_name("evict", tests, NULL, NULL);
}

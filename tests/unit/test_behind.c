// SPDX-License-Identifier: GPL-2.0-or-later
/* A pile behind one stuck connect (a lock that whoever connects holds): when that is a proof, and when it is none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "breaker_fixture.h"
#include "record/explain_text.h"

#define PER_TICK 2 /* requests: 20 a second */
#define WAITED_NS (4 * NS_PER_SEC)

static uint64_t asked_ns; /* the guard's own connect: since when; 0 = it makes none */
static uint64_t came_ns[1000];
static uint32_t n_came, n_ended;

static struct pile_sample_group *www(struct fixture *f)
{
	return &f->sample.groups[0];
}

static int calm(void **state)
{
	struct fixture *f;
	int r = setup(state);

	f = *state;
	f->view.groups[0].config.workers = PILE_WORKERS_PREFORK;
	f->view.groups[0].config.baseline_waiting = 3;
	www(f)->waiting = 0;
	www(f)->workers = 200;
	asked_ns = 0;
	n_came = n_ended = 0;
	return r;
}

/* @come requests come, @end of those that came first are answered. */
static void pass(struct fixture *f, uint32_t come, uint32_t end)
{
	struct pile_sample_group *g = www(f);
	uint64_t now_ns = f->sample.now_ns + PILE_TICK_NS;

	while (come--)
		came_ns[n_came++] = now_ns;
	n_ended += MIN(end, n_came - n_ended);
	g->opened = n_came;
	g->answered = n_ended;
	g->waiting = n_came - n_ended;
	memset(g->age, 0, sizeof(g->age));
	for (uint32_t i = n_ended; i < n_came; i++)
		g->age[MIN((now_ns - came_ns[i]) / PILE_WHEEL_SLOT_NS, ARRAY_LEN(g->age) - 1)]++;
	if (asked_ns) {
		add_probe(f, false, 0);
		f->sample.probes[0].pending_since_ns = asked_ns;
	}
	tick(f);
	if (said(f, PILE_INTENT_PROBE) && !asked_ns)
		asked_ns = f->sample.now_ns;
}

/* Health, then one connect that nobody answers, and nobody is answered any more. */
static void lock(struct fixture *f)
{
	for (int i = 0; i < 30; i++)
		pass(f, PER_TICK, PER_TICK);
	f->hole = true;
	f->per_tick = 1;
	pass(f, PER_TICK, 0);
	f->per_tick = 0;
}

/* How long after the connect rung 1 opens; 0 = it does not, within WAITED_NS. */
static uint64_t opens_after(struct fixture *f)
{
	while (f->sample.now_ns - f->begun_ns < WAITED_NS) {
		pass(f, PER_TICK, 0);
		if (said(f, PILE_INTENT_BREAKER_OPEN))
			return f->sample.now_ns - f->begun_ns;
	}
	return 0;
}

static void all_wait_for_one(void **state)
{
	struct fixture *f = *state;
	const struct pile_intent *open;
	char line[256];

	lock(f);
	assert_in_range(opens_after(f), 2400 * MS, 2500 * MS);
	open = said(f, PILE_INTENT_BREAKER_OPEN);
	assert_int_equal(open->blocked, PILE_BLOCKED_NO);
	assert_int_equal(open->why.connecting, 1);
	assert_int_equal(open->why.behind, www(f)->waiting - 1);
	assert_true(open->why.own_probe);
	pile_explain_text_intent(open, "www", NULL, line, sizeof(line));
	assert_non_null(strstr(line, "1 connecting"));
	assert_non_null(strstr(line, " requests wait behind it"));
	assert_non_null(strstr(line, "undo: pileguardctl release www 10.9.0.2:3306"));
}

static void threads_have_locks_too(void **state)
{
	struct fixture *f = *state;

	f->view.groups[0].config.workers = PILE_WORKERS_THREADS;
	lock(f);
	assert_in_range(opens_after(f), 2400 * MS, 2500 * MS);
}

/* An event loop waits for many things at once: one connect keeps nobody. */
static void event_loops_have_none(void **state)
{
	struct fixture *f = *state;

	f->view.groups[0].config.workers = PILE_WORKERS_EVENTS;
	lock(f);
	assert_int_equal(opens_after(f), 0);
}

/* Memory is gone within a second: that takes nothing away from the proof. */
static void without_hurry(void **state)
{
	struct fixture *f = *state;
	bool hurried = false;

	lock(f);
	while (!said(f, PILE_INTENT_BREAKER_OPEN) && f->sample.now_ns - f->begun_ns < WAITED_NS) {
		f->sample.memory_available_bytes -= 70ULL << 20;
		pass(f, PER_TICK, 0);
		hurried |= f->sample.now_ns - f->begun_ns < 2300 * MS && f->state.risk[0].hurry;
	}
	assert_true(hurried);
	assert_in_range(f->sample.now_ns - f->begun_ns, 2400 * MS, 2500 * MS);
}

/* Somebody waits for another server: the pile may be behind that one. */
static void another_wait(void **state)
{
	struct fixture *f = *state;
	struct pile_sample_dependency *other = &f->sample.dependencies[1];

	f->sample.n_dependencies = 2;
	*other = (struct pile_sample_dependency){ .established = 9, .open = 1, .silent = 1 };
	pile_endpoint_parse("10.9.0.3:6379", false, &other->endpoint);
	lock(f);
	assert_int_equal(opens_after(f), 0);
}

/* What waits already when it begins to connect does not wait for it. */
static void a_pile_from_before(void **state)
{
	struct fixture *f = *state;

	for (int i = 0; i < 30; i++)
		pass(f, PER_TICK, PER_TICK);
	for (int i = 0; i < 20; i++)
		pass(f, PER_TICK, 0);
	f->hole = true;
	f->per_tick = 1;
	pass(f, PER_TICK, 0);
	f->per_tick = 0;
	assert_int_equal(opens_after(f), 0);
}

static void a_server_that_never_answered(void **state)
{
	struct fixture *f = *state;

	dep(f)->established = 0;
	lock(f);
	assert_int_equal(opens_after(f), 0);
}

/* As many wait as ever, each for a second: at risk, by its pool, but no pile. */
static void nobody_piles_up(void **state)
{
	struct fixture *f = *state;

	f->view.groups[0].config.baseline_waiting = 20;
	for (int i = 0; i < 10; i++)
		pass(f, PER_TICK, 0);
	lock(f);
	while (f->sample.now_ns - f->begun_ns < WAITED_NS) {
		pass(f, PER_TICK, PER_TICK);
		assert_true(pile_risk_at_risk(&f->state.risk[0]));
		assert_null(said(f, PILE_INTENT_BREAKER_OPEN));
		assert_null(said(f, PILE_INTENT_PROBE)); /* nor is anybody asked */
	}
}

static void the_guard_is_answered(void **state)
{
	struct fixture *f = *state;

	lock(f);
	for (int i = 0; i < 40 && !said(f, PILE_INTENT_PROBE); i++)
		pass(f, PER_TICK, 0);
	assert_non_null(said(f, PILE_INTENT_PROBE));
	asked_ns = 0;
	add_probe(f, true, 0);
	pass(f, PER_TICK, 0);
	assert_non_null(said(f, PILE_INTENT_PROBE_ANSWERED));
	for (int i = 0; i < 8; i++) {
		asked_ns = 0;
		pass(f, PER_TICK, 0);
		assert_null(said(f, PILE_INTENT_BREAKER_OPEN));
	}
}

#define T2(name) cmocka_unit_test_setup_teardown(name, calm, teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		T2(all_wait_for_one),
		T2(threads_have_locks_too),
		T2(event_loops_have_none),
		T2(without_hurry),
		T2(another_wait),
		T2(a_pile_from_before),
		T2(a_server_that_never_answered),
		T2(nobody_piles_up),
		T2(the_guard_is_answered),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

// SPDX-License-Identifier: GPL-2.0-or-later
#include "breaker_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct pile_sample_dependency *dep(struct fixture *f)
{
	return &f->sample.dependencies[0];
}

/*
 * A group of which 20 wait, more than half of its pool: at risk. One destination, in use, nothing
 * pending.
 */
int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct pile_decide_group *g = &f->view.groups[0];

	pile_decide_init(&f->state, 1);
	f->view.mode = PILE_MODE_ENFORCE;
	f->view.n_groups = 1;
	g->used = g->gate_ready = true;
	pile_policy_group_init(&g->config, "www");
	g->config.enforce = PILE_RUNG_FAIL_FAST;
	g->config.workers_max = 30;
	f->sample.now_ns = 1000 * NS_PER_SEC;
	f->sample.memory_total_bytes = 4ULL << 30;
	f->sample.memory_available_bytes = 2ULL << 30;
	f->sample.groups[0].used = f->sample.groups[0].present = true;
	f->sample.groups[0].waiting = 20;
	f->sample.n_dependencies = 1;
	f->per_tick = 1;
	assert_int_equal(pile_endpoint_parse("10.9.0.2:3306", false, &dep(f)->endpoint), 0);
	dep(f)->started = dep(f)->established = 500;
	dep(f)->last_started_ns = dep(f)->last_established_ns = f->sample.now_ns;
	*state = f;
	return 0;
}

int teardown(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(f->state.intents_lost, 0);
	free(f);
	return 0;
}

/* One tick; in the hole every connect of the last 500 ms.. is pending. */
void tick(struct fixture *f)
{
	f->sample.now_ns += PILE_TICK_NS;
	if (f->hole) {
		if (!f->begun_ns)
			f->begun_ns = f->sample.now_ns;
		dep(f)->started += f->per_tick;
		dep(f)->connecting += f->per_tick;
		if (f->per_tick)
			dep(f)->last_started_ns = f->sample.now_ns;
		dep(f)->oldest_ns = f->sample.now_ns - f->begun_ns;
		dep(f)->stuck = dep(f)->oldest_ns > 500 * MS
					? MIN(dep(f)->connecting,
					      (uint32_t)(dep(f)->oldest_ns / PILE_TICK_NS - 4) *
						      MAX(f->per_tick, 1u))
					: 0;
	}
	pile_decide_tick(&f->state, &f->view, &f->sample, f->intents, &f->n);
	f->sample.n_probes = 0;
}

struct pile_intent *said(struct fixture *f, enum pile_intent_kind kind)
{
	for (uint32_t i = 0; i < f->n; i++)
		if (f->intents[i].kind == kind)
			return &f->intents[i];
	return NULL;
}

/* Ticks until @kind is said; returns the time it took, or 0. */
uint64_t until(struct fixture *f, enum pile_intent_kind kind, unsigned int limit)
{
	uint64_t from_ns = f->sample.now_ns;

	while (limit--) {
		tick(f);
		if (said(f, kind))
			return f->sample.now_ns - from_ns;
	}
	return 0;
}

void never(struct fixture *f, enum pile_intent_kind kind, unsigned int limit)
{
	assert_int_equal(until(f, kind, limit), 0);
}

void fall_silent(struct fixture *f)
{
	f->hole = false;
	f->begun_ns = 0;
	dep(f)->connecting = dep(f)->stuck = 0;
	dep(f)->oldest_ns = 0;
}

void open_it(struct fixture *f)
{
	f->hole = true;
	assert_true(until(f, PILE_INTENT_BREAKER_OPEN, 40) > 0);
	assert_int_equal(said(f, PILE_INTENT_BREAKER_OPEN)->blocked, PILE_BLOCKED_NO);
	dep(f)->ended += dep(f)->connecting;
	dep(f)->failed += dep(f)->connecting;
	fall_silent(f);
}

void add_probe(struct fixture *f, bool answered, int error)
{
	f->sample.probes[f->sample.n_probes++] = (struct pile_sample_probe){
		.endpoint = dep(f)->endpoint,
		.answered = answered,
		.error = error,
	};
}

void establish(struct fixture *f, uint32_t n)
{
	dep(f)->started += n;
	dep(f)->admitted += n;
	dep(f)->established += n;
	dep(f)->last_started_ns = dep(f)->last_established_ns = f->sample.now_ns + 1;
}

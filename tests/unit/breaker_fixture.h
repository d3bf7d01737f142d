/* SPDX-License-Identifier: GPL-2.0-or-later */
/* breaker_fixture.h: one group, one database, hand-made samples: for the tests of proof and breaker. */
#pragma once

#include "decide/decide.h"
#include "util/macro.h"

#define MS NS_PER_MS

struct fixture {
	struct pile_decide state;
	struct pile_decide_view view;
	struct pile_sample sample;
	struct pile_intent intents[PILE_INTENTS_MAX];
	uint32_t n;
	bool hole; /* connects keep coming and get stuck */
	uint32_t per_tick;
	uint64_t begun_ns; /* of the first stuck connect */
};

/** dep - the database. */
struct pile_sample_dependency *dep(struct fixture *f);

/** setup - cmocka: a calm group "www" with one database, rung 1 enforced. */
int setup(void **state);

/** teardown - cmocka. */
int teardown(void **state);

/** tick - one tick; in the hole every connect gets stuck. */
void tick(struct fixture *f);

/** said - the first intent of this kind in the last tick, or NULL. */
struct pile_intent *said(struct fixture *f, enum pile_intent_kind kind);

/** until - ticks until @kind is said; the time it took in ns, 0 = not within @limit ticks. */
uint64_t until(struct fixture *f, enum pile_intent_kind kind, unsigned int limit);

/** never - it is not said within @limit ticks. */
void never(struct fixture *f, enum pile_intent_kind kind, unsigned int limit);

/** fall_silent - nobody connects any more, nothing is pending. */
void fall_silent(struct fixture *f);

/** open_it - the database dies, rung 1 opens, its waits are ended. */
void open_it(struct fixture *f);

/** add_probe - a result of the guard's own connect, for the next tick. */
void add_probe(struct fixture *f, bool answered, int error);

/** establish - @n connects get through. */
void establish(struct fixture *f, uint32_t n);

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

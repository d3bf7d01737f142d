/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * halfopen.h: the way back of rung 1: let connects through in steps, close, or fall back to open.
 * Works on one entry of struct pile_breakers; control loop only. Pure: no clock, no allocation,
 * never blocks, never logs.
 *
 * 1, 2, 4, 8, 16 connects let through in all, then everybody: five steps. A step takes one tick
 * when users come and get through, 200 ms when nobody comes: 0.5 to 1.0 s in all. With a probe each
 * 1.2 s at the latest, "all within 2 s of the return" (incident.md) is met; users whose connect was
 * refused are gone, so no herd is waiting at the gate.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "decide/breaker.h"
#include "sense/sample.h"

#define PILE_HALFOPEN_ALLOW_LAST 16
#define PILE_HALFOPEN_IDLE_STEP_NS (200 * NS_PER_MS)
/* a connect that was let through and is that old has failed */
#define PILE_HALFOPEN_STUCK_NS (500 * NS_PER_MS)

enum pile_halfopen {
	PILE_HALFOPEN_STAY = 0,
	PILE_HALFOPEN_STEP,   /* breaker->allow grew */
	PILE_HALFOPEN_FAILED, /* open again: state, allow and relapses say so */
	PILE_HALFOPEN_DONE,   /* close */
};

/** pile_halfopen_begin - the destination answered: the first connect may pass. */
void pile_halfopen_begin(struct pile_breaker *b, const struct pile_sample_dependency *dep,
			 uint64_t now_ns);

/**
 * pile_halfopen_move - one tick
 * @failed: the guard's own last probe failed since the last tick (users who get through outvote
 * it).
 */
enum pile_halfopen pile_halfopen_move(struct pile_breaker *b,
				      const struct pile_sample_dependency *dep, bool failed,
				      uint64_t now_ns);

/** pile_halfopen_fail - back to open. */
void pile_halfopen_fail(struct pile_breaker *b);

/**
 * pile_halfopen_follow - take this tick's totals over; totals that went back are a new counter:
 * compare from here.
 */
void pile_halfopen_follow(struct pile_breaker *b, const struct pile_sample_dependency *dep);

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * verdict.h: the stages S1 suspect, S2 relieve, S3 evict, and clear (design.md, "Verdict").
 * Recorded, never enforced. One fixed-size struct per group, owned by struct pile_decide; control
 * loop only. Pure integers: no clock, no allocation, never blocks, never logs.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "decide/baseline.h"
#include "decide/intent.h"
#include "decide/risk.h"
#include "policy/policy.h"
#include "sense/sample.h"

#define PILE_VERDICT_WINDOW 21 /* points: sums over 2 s of ticks */

struct pile_verdict_point {
	uint64_t t_ns;
	uint64_t opened;
	uint64_t ended; /* answered + closed: a request that nobody waits for has ended */
	uint32_t waiting;
};

/** The terms of the law at this tick, for record and for tests. */
struct pile_verdict_terms {
	uint32_t excess_bound; /* W99 + 4 sqrt(W99+1) + n0 */
	uint32_t clear_bound;  /* W99 + 2 sqrt(W99+1) + n0/2 */
	uint32_t waits; /* DEP: on dependencies: connecting > 500 ms, silent, unacknowledged */
	uint64_t sum_opened, sum_ended; /* over 2 s */
	bool ready;			/* a baseline exists */
	bool excess, imbalance, balanced, relieve, evict;
};

struct pile_verdict {
	enum pile_stage stage;
	uint32_t explain_id; /* of this episode, from S1 to clear; 0 = calm */
	struct pile_verdict_terms now;
	uint64_t since_ns; /* of the stage */
	/* kept */
	uint64_t suspect_ns, relieve_ns, evict_ns,
		clear_ns;    /* since when each condition holds; 0 = it does not */
	uint64_t hold_ns;    /* how long clear must hold: 10 s, doubling on each relapse */
	uint64_t cleared_ns; /* when the last episode ended */
	uint32_t n, head;
	struct pile_verdict_point ring[PILE_VERDICT_WINDOW];
};

void pile_verdict_init(struct pile_verdict *verdict);

/**
 * pile_verdict_update - one tick of one group
 * @reserve_bytes: what the host keeps. @late: windows and "for N ms" start again, nothing is
 * concluded.
 * Returns true when the stage changed (verdict->stage is the new one, *ret_from the old).
 */
bool pile_verdict_update(struct pile_verdict *verdict, const struct pile_baseline *baseline,
			 const struct pile_risk *risk, const struct pile_policy_group *config,
			 uint64_t reserve_bytes, const struct pile_sample *sample, uint32_t group,
			 bool late, enum pile_stage *ret_from);

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * risk.h: how long a group's memory and pool will last, and how close a calm host is to the
 * incident. One fixed-size struct per group, owned by struct pile_decide; control loop only;
 * readers (record, api) look at the "now" part. Pure integers: no clock, no allocation, never
 * blocks, never logs.
 * A level is never proof: only growth, or requests waiting beyond half of the pool, are.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "decide/intent.h"
#include "policy/policy.h"
#include "sense/sample.h"

/* points: 2 s of ticks, for the regression; growth looks back 10 ticks (1 s) */
#define PILE_RISK_WINDOW 21
/* design.md: at risk when exhaustion is nearer than this */
#define PILE_RISK_HORIZON_NS (15 * NS_PER_SEC)
#define PILE_RISK_NEVER UINT64_MAX

struct pile_risk_point {
	uint64_t t_ns;
	uint64_t memory_bytes;	  /* the group's; 0 = not known */
	uint64_t available_bytes; /* the host's */
	uint64_t opened;
	uint32_t waiting;
	uint32_t workers;
};

struct pile_risk {
	/* now */
	uint64_t growth_bytes; /* per second, over the last second; 0 = not growing */
	/* what the group may reach: min(policy, cgroup limit, what it has + available - reserve) */
	uint64_t budget_bytes;
	uint64_t free_bytes;	  /* what is left of it */
	uint64_t exhaustion_ns;	  /* free / growth; PILE_RISK_NEVER = not growing */
	uint64_t request_bytes;	  /* memory per waiting request; 0 = not known */
	uint32_t rate_milli;	  /* requests opened per second x 1000, over 1 s */
	uint32_t calm_rate_milli; /* the same, moving average of a minute */
	uint32_t pool_limit;	  /* 0 = not known */
	/* calm-time risk ratio x 1000, see pile_risk_update; capped at UINT32_MAX */
	uint32_t ratio_milli;
	bool memory; /* exhaustion < 15 s while growing */
	bool pool;   /* waiting > pool_limit / 2 */
	/*
	 * memory would be gone within PILE_RISK_HURRY_NS, and before the pool is full, for 3 ticks
	 */
	bool hurry;
	/* kept */
	uint32_t hurry_run;
	uint32_t queue_run; /* samples in a row with an accept queue while no worker was added */
	bool measured;	    /* request_bytes comes from a regression, not from memory / workers */
	uint32_t n, head;   /* ring */
	struct pile_risk_point ring[PILE_RISK_WINDOW];
};

/*
 * Act at the latest 1.5 s before memory is gone: 1 s of smoothing in the growth (over 2 s), 0.5 s
 * for the effect.
 */
#define PILE_RISK_HURRY_NS (1500 * NS_PER_MS)

void pile_risk_init(struct pile_risk *risk);

/**
 * pile_risk_update - one tick of one group
 * @late: the time since the last sample is not to be trusted; windows start again.
 * free = min(policy budget - M, cgroup limit - M, host available - reserve), never below 0. Where
 * the group's memory is not known (no v2 memory controller), the host's available memory stands for
 * it, falling. Growing means: over the last second by more than 0.5 % of the budget and more than 1
 * MiB. Pool cap: workers_max, or pids.max; else the workers there are, once its listeners had a
 * queue for a second without a worker being added (a static pool that is full). Not for `workers:
 * events`, where tasks bound nothing. ratio = calm rate x 10 s x request_bytes / free (incident.md,
 * lesson 4; 10 s is the incident's connect timeout).
 */
void pile_risk_update(struct pile_risk *risk, const struct pile_policy_group *config,
		      uint64_t reserve_bytes, const struct pile_sample *sample, uint32_t group,
		      bool late);

/** pile_risk_at_risk - memory or pool. */
bool pile_risk_at_risk(const struct pile_risk *risk);

/** pile_risk_explain - the terms of a decision that come from here; the others are left alone. */
void pile_risk_explain(const struct pile_risk *risk, uint32_t waiting, struct pile_why *why);

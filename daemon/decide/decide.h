/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * decide.h: (state, sample, policy, now) -> intents. Pure: no system call, no clock, no allocation,
 * no log. The state is one fixed-size struct owned by the guard, touched by the control loop only.
 * Compiled for the host with sanitizers and fed hand-made and recorded traces
 * (tests/unit/test_decide.c). Parts: baseline.c (what is normal), risk.c (time to exhaustion, risk
 * ratio), verdict.c (stages S1-S3, recorded only), proof.c (is it dead?), network.c (own network),
 * hand.c (hold, release), disarm.c (hands off), breaker.c (rung 1), shed.c (rung 2), leak.c (told only),
 * candidates.c, evict.c (rung 4), throttle.c, forks.c (rung 3).
 */
#pragma once

#include "decide/baseline.h"
#include "decide/breaker.h"
#include "decide/evict.h"
#include "decide/forks.h"
#include "decide/intent.h"
#include "decide/leak.h"
#include "decide/network.h"
#include "decide/risk.h"
#include "decide/shed.h"
#include "decide/stop.h"
#include "decide/throttle.h"
#include "decide/verdict.h"
#include "policy/policy.h"
#include "sense/sample.h"

#define PILE_DECIDE_LATE_PERIODS 3 /* design.md: a tick later than this is dropped, and counted */

/** Per-group switches and settings that decide needs, kept by the guard beside the policy. */
struct pile_decide_group {
	bool used;
	bool foreign;	   /* another manager's cgroup: observed only */
	bool named;	   /* by the policy, not merely found listening */
	bool shared;	   /* another group of the policy is in the same cgroup */
	bool protects;	   /* its cgroup holds one that the policy protects, or is in it */
	bool stop_fit;	   /* systemd says that its unit can be stopped and started again */
	uint32_t restarts; /* how often its cgroup was made anew */
	bool placed; /* the cgroup that its processes are in is there; asked of groups that are found by match */
	bool gate_ready; /* the kernel side of rung 1 is attached and works for this group */
	struct pile_policy_group
		config; /* policy entry, or product defaults for an observed service */
};

struct pile_decide_view {
	enum pile_mode mode;
	bool outside_share; /* ... is observe because enforce_share leaves this host out */
	uint64_t memory_reserve_bytes; /* 0 = the default: 64 MiB + 2 % of memory */
	uint64_t
		leak_notice_ns; /* growth that takes all memory within so long is told; 0 = none is */
	uint32_t host_seed;	/* hash of the machine id: jitter */
	bool disarmed;		/* by hand: what is open closes, nothing opens, holds end */
	bool shed_tcp_ready, shed_unix_ready; /* this kernel can refuse connections, and lets us */
	bool stop_ready;		      /* systemd is there to be asked: rung 5 works */
	bool throttle_ready; /* knobs can be turned, and undone, on this host: rung 3 works */
	uint32_t n_protect;
	char protect[PILE_PROTECT_MAX][PILE_UNIT_MAX];
	bool evict_ready; /* workers can be looked at and ended on this host: rung 4 works */
	uint32_t
		n_groups; /* none is used from here on; a slot that was given away is among them once more */
	struct pile_decide_group groups[PILE_GROUPS_MAX];
};

struct pile_decide {
	struct pile_baseline baseline[PILE_GROUPS_MAX];
	struct pile_risk risk[PILE_GROUPS_MAX];
	struct pile_verdict verdict[PILE_GROUPS_MAX];
	struct pile_breakers breakers;
	struct pile_network network;
	struct pile_leak leak[PILE_GROUPS_MAX];
	struct pile_sheds sheds;
	struct pile_throttles throttles;
	struct pile_forks forks[PILE_GROUPS_MAX];
	struct pile_evicts evicts;
	struct pile_stops stops;
	/* starts at 1, or where the recorder left off; 0 is skipped when it wraps */
	uint32_t next_explain_id;
	uint64_t last_tick_ns;	       /* 0 = none yet */
	uint64_t ticks, ticks_dropped; /* a tick later than 3 periods is dropped and counted */
	uint64_t intents_lost;
};

void pile_decide_init(struct pile_decide *state, uint32_t first_explain_id);

/**
 * pile_decide_switch - which of the switches that rungs 2 to 5 share stops @rung for this group: the most lasting one
 * @rung: one of enum pile_rung
 */
enum pile_blocked pile_decide_switch(const struct pile_decide_view *view, uint32_t group,
				     enum pile_rung rung);

/**
 * pile_decide_tick - one tick of the law
 * @ret: at least PILE_INTENTS_MAX intents; @ret_n: how many were written
 * A sample whose now_ns is not after the last only renews leases. One that came more than 3 periods
 * late moves what is open (probe results, leases, closing) but opens nothing, concludes nothing,
 * and its gap counts as no evidence.
 */
void pile_decide_tick(struct pile_decide *state, const struct pile_decide_view *view,
		      const struct pile_sample *sample, struct pile_intent *ret, uint32_t *ret_n);

/**
 * pile_decide_hold - the operator's hand: hold a destination refused, or release it (never
 * refused), until a time
 * @hold: true = refuse now (also in calm), false = release and do not open again before @until_ns
 * @until_ns: CLOCK_MONOTONIC. A hold that is over is closed with PILE_CLOSE_HOLD_OVER. What follows
 * comes with the next tick's intents. A hold names address and port; a release may leave the port
 * open (0), or name one of the group's own listeners, at which rung 2 then refuses nobody.
 * Returns 0; -ENOSPC when too many are kept; -EPERM when hold is asked where enforcement is not
 * allowed (mode, rung, exempt, foreign, kernel); -EINVAL no such group, no such endpoint, or
 * @until_ns is over.
 */
int pile_decide_hold(struct pile_decide *state, const struct pile_decide_view *view, uint32_t group,
		     const struct pile_endpoint *endpoint, bool hold, uint64_t until_ns);

/**
 * pile_decide_group_reset - forget a slot that now holds another group
 * Call it before the first tick in which the slot is the new group's. What was open in the slot is
 * closed by the next tick (PILE_CLOSE_GONE), under the old endpoint.
 */
void pile_decide_group_reset(struct pile_decide *state, uint32_t group);

/**
 * pile_decide_stop - intents that close everything that is open (the guard stops, or the policy
 * forbids)
 */
void pile_decide_stop(struct pile_decide *state, struct pile_intent *ret, uint32_t *ret_n);

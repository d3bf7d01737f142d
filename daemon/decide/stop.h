/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * stop.h: rung 5: a service is stopped and held down, because the host's memory is gone within a moment by its growth.
 * Owned by struct pile_decide; control loop only. Pure: no clock, no allocation, never blocks, never logs.
 * The last means: what the kernel would do next is to kill something, and systemd's default would then leave the service
 * dead. For units only, named by the policy; never for a level, never in a late tick, never for a budget, not where the
 * limit of its cgroup or swap comes first, and not while a milder rung has only just acted.
 * Of several groups of one unit the first stands for all.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "decide/intent.h"
#include "decide/rung.h"
#include "sense/sample.h"

/* act at the latest so long before memory is gone: a second of smoothing, half a second for the effect (risk.h) */
#define PILE_STOP_LEFT_NS PILE_RISK_HURRY_NS
/*
 * ... and not before so little is left: a rate alone cannot tell a heap that is being filled from a service that runs
 * away, so it is waited for as long as can be. A sixteenth of memory is 0.4 s at 300 MiB/s on a host of 2 GiB, where the
 * reserve is as much again.
 */
#define PILE_STOP_LEFT_SHARE 16
/* it must have begun with so much free: a host that lives near its end is not brought there by the next burst */
#define PILE_STOP_THEN_SHARE 8
#define PILE_STOP_TICKS 3   /* design.md, S3: 300 ms; growing in each */
#define PILE_STOP_POINTS 11 /* growth is over a second of ticks */
/* what a milder rung does shows in the growth over the last second, and a bit */
#define PILE_STOP_MILDER_NS (1500 * NS_PER_MS)
/* design.md: 3 per 10 min, doubling */
#define PILE_STOP_SPAN_NS (600 * NS_PER_SEC)
#define PILE_STOP_PER_SPAN 3
#define PILE_STOP_PAST_MAX 32
/* to end by itself, a quarter of what is left at most: php-fpm's stop signal waits for its requests, which hang */
#define PILE_STOP_GRACE_NS (200 * NS_PER_MS)
/* hosts start apart by this share of the caches' life: design.md, "jitter longer than the declared cache life" */
#define PILE_STOP_APART_PERMILLE 1250
#define PILE_STOP_LATE_NS (10 * NS_PER_SEC) /* after the time for it: then it is said not to run */

/** A service that was stopped, or would have been. */
struct pile_stop_episode {
	bool used;
	uint32_t group, explain_id;
	enum pile_blocked blocked;
	uint64_t at_ns;
	uint64_t down_ns;  /* 0 = not yet */
	uint64_t until_ns; /* started again then */
	uint32_t restarts; /* of the group, when it was stopped */
	bool start_asked, late_told;
	bool orphan; /* the policy does not name its group any more */
};

/** A stop that counts. */
struct pile_stop_past {
	char group[PILE_NAME_MAX]; /* by name: slots are given away; "" = free */
	uint64_t at_ns;
};

struct pile_stop_point {
	uint64_t t_ns, used_bytes, available_bytes;
};

/** One group: its last second, and how things were when it began to grow. */
struct pile_stop_group {
	uint32_t n, head;
	struct pile_stop_point ring[PILE_STOP_POINTS];
	struct pile_stop_point began; /* t_ns 0 = it does not grow */
	uint32_t run;		      /* ticks in a row with all terms */
	uint64_t milder_ns;	      /* when a milder rung did something last; 0 = never */
};

struct pile_stops {
	struct pile_stop_group groups[PILE_GROUPS_MAX];
	struct pile_stop_episode table[PILE_STOPS_MAX];
	struct pile_stop_past past[PILE_STOP_PAST_MAX];
	uint32_t past_next;
	uint64_t past_changes; /* grows with each that is carried out: to be kept on disk */
};

struct pile_decide_view;

/** pile_stops_forget - the slot holds another group: what is held down in it is started in the next tick. */
void pile_stops_forget(struct pile_stops *stops, uint32_t group);

/** pile_stops_recall - a stop by an earlier guard, so long ago: it counts. */
void pile_stops_recall(struct pile_stops *stops, const char *group, uint64_t ago_ns,
		       uint64_t now_ns);

/**
 * pile_stops_update - one tick: new ones, and what became of earlier ones
 * @out: holds this tick's intents of the milder rungs already
 */
void pile_stops_update(struct pile_stops *stops, const struct pile_rung_context *ctx,
		       struct pile_intents *out);

/** pile_stop_held - the episode that holds @group's unit down, or NULL. */
const struct pile_stop_episode *pile_stop_held(const struct pile_stops *stops, uint32_t group);

/** pile_stop_blocked - which switch stops rung 5 for this group: the most lasting one. */
enum pile_blocked pile_stop_blocked(const struct pile_decide_view *view, uint32_t group);

/**
 * pile_stop_apart_ns - what one host adds to the hold, 0 to PILE_STOP_APART_PERMILLE of @cache_life_ns
 * @seed: of the host; @nth: its stops within the span: two stops of a host are not alike either
 */
uint64_t pile_stop_apart_ns(uint64_t cache_life_ns, uint32_t seed, uint32_t nth);

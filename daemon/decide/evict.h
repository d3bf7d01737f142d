/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * evict.h: rung 4: which single worker is to be ended, because memory runs out by its growth and nobody else's.
 * Owned by struct pile_decide; control loop only. Pure: no clock, no allocation, never blocks, never logs.
 * It cannot be taken back, so whatever is not known is a reason not to: decided only in a tick that has looked at the
 * workers, never after a late one, never for a level. A pool that grows evenly, or lives near its bound, loses nobody.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "decide/intent.h"
#include "decide/rung.h"
#include "sense/sample.h"

/* design.md, S3: growth, and memory gone in less than this */
#define PILE_EVICT_HOG_NS (3 * NS_PER_SEC)
/* in the last second half of that must have been seen: looks come each 100 ms, and an end takes some of them */
#define PILE_EVICT_LAST_NS NS_PER_SEC
/* a leak is seen over ten minutes (leak_notice: 24h): no forecast reaches further than what was seen */
#define PILE_EVICT_LEAK_NS (600 * NS_PER_SEC)
#define PILE_EVICT_LEAK_LAST 10 /* a tenth of that: then also one that is not idle */
/* this worker takes so much of what is taken; or a tenth of all workers, so much: three that grow evenly are no two */
#define PILE_EVICT_SHARE_PERMILLE 600
#define PILE_EVICT_SHARE_FEW_PERMILLE 800
#define PILE_EVICT_FEW 10
/* budgets (design.md): one a second on this host, a tenth of a group's workers (at least one) in 30 s */
#define PILE_EVICT_EVERY_NS NS_PER_SEC
#define PILE_EVICT_SPAN_NS (30 * NS_PER_SEC)
#define PILE_EVICT_PAST_MAX 64 /* one a second for 30 s, and as many that were blocked */

/** One eviction under way. */
struct pile_evict_episode {
	bool used;
	uint32_t group, pid, explain_id;
	enum pile_blocked blocked;
	uint64_t start_ns; /* of the process */
	uint64_t at_ns;	   /* when it was decided */
	uint64_t grew_ns;  /* when it was seen to grow last; virtual ones end some time after */
};

/** An eviction that counts against the budgets. */
struct pile_evict_past {
	char group[PILE_NAME_MAX]; /* by name: slots are given away; "" = free */
	uint64_t at_ns;		   /* monotonic */
	bool blocked;		   /* those have budgets of their own */
};

/** What the group and the host had at the last looks. */
struct pile_evict_look {
	uint64_t t_ns, available_bytes, used_bytes;
};

#define PILE_EVICT_LOOKS 8

/** A leak's worker when it was first seen to take all that is left. */
struct pile_evict_leak {
	uint32_t pid, bound;
	uint64_t start_ns, at_ns, free_bytes, private_bytes;
};

struct pile_evict_group {
	/* the worker that takes most of it, look by look */
	uint32_t pid, looks;
	uint64_t start_ns;
	uint32_t n, head;
	struct pile_evict_look ring[PILE_EVICT_LOOKS];
	struct pile_evict_leak leak;
};

struct pile_evicts {
	struct pile_evict_group groups[PILE_GROUPS_MAX];
	struct pile_evict_episode table[PILE_EVICTS_MAX];
	struct pile_evict_past past[PILE_EVICT_PAST_MAX];
	uint32_t past_next;
	uint64_t past_changes; /* grows with each that is carried out: to be kept on disk */
	struct pile_candidates candidates; /* that the last intent was chosen from */
};

struct pile_decide_view;

/** pile_evicts_forget - the slot holds another group. What is under way in it ends as it would. */
void pile_evicts_forget(struct pile_evicts *evicts, uint32_t group);

/** pile_evicts_recall - an eviction of an earlier guard, so long ago: it counts against the budgets. */
void pile_evicts_recall(struct pile_evicts *evicts, const char *group, uint64_t ago_ns,
			uint64_t now_ns);

/**
 * pile_evicts_update - one tick: at most one PILE_INTENT_EVICT, and the ends of earlier ones
 * @evicts->candidates are those of that intent.
 */
void pile_evicts_update(struct pile_evicts *evicts, const struct pile_rung_context *ctx,
			struct pile_intents *out);

/** pile_evict_blocked - which switch stops rung 4 for this group: the most lasting one. */
enum pile_blocked pile_evict_blocked(const struct pile_decide_view *view, uint32_t group);

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * growth.h: what each worker holds, and which of them grow without end.
 * Part of struct pile_sense; control loop only. Never logs, no allocation. One walk over the host's tasks now and then
 * (bpf/memory); a process that serves no more is forgotten by the next.
 * What grows is told from floors: the least that was held in each tenth of the window. A worker that is busy, collects
 * garbage or frees a request's memory comes back to its floor; one that warms up rises ever less; one that leaks does
 * neither.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "kernel/kernel.h"
#include "sense/sample.h"

#define PILE_GROWTH_SPANS 10	      /* floors in a window */
#define PILE_GROWTH_NOTICE_WINDOW 144 /* windows in the policy's leak_notice: 10 min of 24 h */
#define PILE_GROWTH_INDEX 4096	      /* a power of two, twice the workers */
#define PILE_GROWTH_RECENT 5	      /* walks that a recent rise is told from: 400 ms of ticks */
/* who takes 8 MiB at a time and computes in between rises all the same: two walks, and what they come late by */
#define PILE_GROWTH_PAUSE_NS (250 * NS_PER_MS)
#define PILE_GROWTH_RECENT_NS (600 * NS_PER_MS) /* ... where they are close to each other */

/** The floors of one worker, the newest last. */
struct pile_growth_track {
	uint32_t floor_kib[PILE_GROWTH_SPANS];
	uint32_t n;
	uint32_t least_kib; /* of the span that is under way; UINT32_MAX = nothing seen in it yet */
};

struct pile_growth_worker {
	uint32_t pid, group;
	uint64_t start_ns; /* since boot */
	uint64_t private_bytes, resident_bytes;
	uint64_t own_bytes;   /* private, and what of it is swapped out: by this it grows */
	uint64_t rate_bytes;  /* per second, over the last window; 0 = does not grow without end */
	uint64_t grown_bytes; /* in that window */
	struct pile_growth_track track;
	uint32_t walk; /* that met it last */
	uint32_t parent;
	uint64_t cgroup_id, parent_cgroup_id;
	/* what it held at the last walks, by their number; met: how many in a row */
	uint64_t recent[PILE_GROWTH_RECENT];
	uint32_t met;
	/* monotonic: since when it rises, with pauses of PILE_GROWTH_PAUSE_NS at most; from what; when it rose last */
	uint64_t rising_ns, risen_from, rose_ns;
	char comm[16];
};

struct pile_growth {
	uint64_t
		notice_ns; /* of the policy; 0 = nothing is told, the walks go on for what is shown */
	uint64_t walked_ns, turned_ns;
	uint32_t walk;
	uint64_t times[PILE_GROWTH_RECENT]; /* of the last walks, by their number */
	uint64_t cost_ns;		    /* of the last one */
	bool look;			    /* of look.c: walk each tick */
	bool whole;			    /* the last walk came to its end */
	uint32_t n;
	uint64_t
		lost; /* workers of groups that the policy names that did not fit, in the last walk */
	uint64_t lost_most;			/* the most at once */
	uint64_t others_lost, others_lost_most; /* those of all other groups */
	uint32_t others;			/* met in the last walk */
	uint64_t
		crowded_ns; /* there was no room for all: for a while the others have none; 0 = for all */
	const bool *named; /* by group: the policy names it */
	bool hurry;	   /* somebody asked for a worker that no walk has met yet */
	struct pile_growth_worker workers[PILE_SNAPSHOT_WORKERS];
	uint16_t index[PILE_GROWTH_INDEX]; /* by pid: place in workers + 1; 0 = free */
};

/** pile_growth_note - the track's worker holds so much now. */
void pile_growth_note(struct pile_growth_track *track, uint64_t bytes);

/** pile_growth_turn - a span is over. One in which nothing was seen begins the track anew. */
void pile_growth_turn(struct pile_growth_track *track);

/**
 * pile_growth_grown - bytes by which the floor rose in the last nine spans, when it grew all the while; else 0
 * All the while: at least 7 of the 9 steps rise by a quarter of the mean one; none falls by more than an eighth of
 * it all, or by 256 KiB (the kernel's own counters are off by some pages for each processor); it is at least 1 MiB
 * and 0.5 % in all; and the later half rises at least half as much as the earlier.
 */
uint64_t pile_growth_grown(const struct pile_growth_track *track);

/** pile_growth_policy - leak_notice: a change begins all tracks anew. */
void pile_growth_policy(struct pile_growth *g, uint64_t notice_ns);

/**
 * pile_growth_sample - walk when it is time; fill @ret's growers and its groups' growth
 * @named: by group: the policy names it; where there is no room for all, these come first
 * @now_ns: CLOCK_MONOTONIC
 */
void pile_growth_sample(struct pile_growth *g, struct pile_kernel *k,
			const bool named[PILE_GROUPS_MAX], uint64_t now_ns,
			struct pile_sample *ret);

/** pile_growth_rising - for how long it has risen, if it does in this walk; else 0. */
uint64_t pile_growth_rising(const struct pile_growth *g, const struct pile_growth_worker *w);

/**
 * pile_growth_recent - how many walks the recent rise can look back, at most PILE_GROWTH_RECENT - 1
 * @ret_ns: over how long that is; 0 = not at all: the last walks are not close to each other.
 */
uint32_t pile_growth_recent(const struct pile_growth *g, uint64_t *ret_ns);

/** pile_growth_risen - by how much a worker rose in the last @back walks (1..); 0: it did not, or is newer than that. */
uint64_t pile_growth_risen(const struct pile_growth *g, const struct pile_growth_worker *w,
			   uint32_t back);

/** pile_growth_first - whether its group is one that the policy names. */
bool pile_growth_first(const struct pile_growth *g, const struct pile_growth_worker *w);

/** pile_growth_find - what the last walk saw of a worker; NULL: nothing yet, and the next comes soon. */
const struct pile_growth_worker *pile_growth_find(struct pile_growth *g, uint32_t pid);

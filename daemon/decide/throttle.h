/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * throttle.h: rung 3: no further forks in a fork storm, and less processor time for a group that keeps what is
 * protected from its turn. Owned by struct pile_decide; control loop only. Pure: no clock, no allocation, never blocks,
 * never logs.
 * Mildest first: a weight before a quota; each for a time, undone when it does not help. Never for a level: a group that
 * has many tasks, or takes all processors while nobody protected waits, is left alone.
 * The parts: storm.c (is this a fork storm?), starve.c (do the protected wait, and for whom?).
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "decide/intent.h"
#include "decide/rung.h"
#include "sense/sample.h"

/* Tasks, or memory by tasks, are used up within this: as for a hog (evict.h) */
#define PILE_STORM_NS (3 * NS_PER_SEC)
/* in the last second half of that must have been seen, as for a hog */
#define PILE_STORM_LAST_NS NS_PER_SEC
#define PILE_STORM_RING 40 /* looks: four seconds, one more than the forecast reaches */

/* One window of processor time: long enough for a login's fork and some of its work */
#define PILE_STARVE_WINDOW_NS NS_PER_SEC
/*
 * Everything takes three times as long (waited twice what it ran), in two windows one after the other; nine times: in
 * one in which they waited half of the time or more. product.md's promise is 3 x idle.
 */
#define PILE_STARVE_SLOW_MILLI 2000
#define PILE_STARVE_SEVERE_MILLI 8000
#define PILE_STARVE_RUN 2
#define PILE_STARVE_IDLE_PERMILLE \
	50 /* left over of all processors' time: then nobody is kept from one */
#define PILE_STARVE_LEARN_NS \
	(10 * NS_PER_SEC) /* after they suffered of a group: what they wait is no calm */
/* less than a tenth of the window: a single wake-up that came late is nobody's suffering */
#define PILE_STARVE_WAITED_SHARE 10
#define PILE_STARVE_CALM_TIMES 2 /* so many times what it waits in calm */
/* of all processors' time: then it takes as much as everybody else together, or more */
#define PILE_STARVE_SHARE_PERMILLE 500

#define PILE_THROTTLE_WEIGHT 10 /* a tenth of what everybody has by default: work conserving */
/* what a quota leaves to all others, for sure: half a processor is a login in 2 x its own time */
#define PILE_THROTTLE_RESERVE_US 500000
/* for so long at first; each that was needed again at once twice as long, ten minutes at most */
#define PILE_THROTTLE_FOR_NS (60 * NS_PER_SEC)
#define PILE_THROTTLE_FOR_MAX_NS (600 * NS_PER_SEC)
#define PILE_THROTTLE_AGAIN_NS (30 * NS_PER_SEC) /* so soon after the last: needed again */
/* until it is judged, once it is in force: two windows, and what is under way when it comes */
#define PILE_THROTTLE_JUDGE_NS (3 * NS_PER_SEC)
/* what did not help is not tried again for so long; twice as long each time, an hour at most; another hand's: at once */
#define PILE_THROTTLE_REST_NS (60 * NS_PER_SEC)
#define PILE_THROTTLE_REST_MAX_NS (3600 * NS_PER_SEC)

/** One look at the tasks. */
struct pile_storm_look {
	uint64_t t_ns, memory_left_ns;
	uint32_t tasks, host_tasks;
};

struct pile_storm {
	uint32_t n, head;
	struct pile_storm_look ring[PILE_STORM_RING];
	uint32_t
		calm; /* the most that recurred in ten seconds without more coming; 0 = not known */
	uint32_t most;	     /* since settled_ns */
	uint32_t recurred;   /* ... a second later or more */
	uint64_t settled_ns; /* no more have come since; 0 = none seen yet */
	uint64_t rising_ns;  /* since when they come without a pause; 0 = none does */
	uint32_t risen_from; /* tasks then */
};

/** One of the protected. */
struct pile_starve {
	uint64_t waited_ns, ran_ns, quota_waits,
		cgroup_id;    /* at the window's begin; id 0 = not known then */
	uint32_t ratio_milli; /* of the last window; 0 = it did not wait to speak of */
	uint32_t calm_milli;  /* what it waits while nobody takes most of the processors */
};

/** What the last whole window showed. */
struct pile_starve_window {
	uint64_t from_ns, to_ns;
	uint32_t run; /* windows in a row in which somebody suffered, and nothing was left over */
	bool severe;  /* this one is enough */
	bool suffers;
	uint32_t who; /* the one who waits most, of those who suffer, else of all */
	uint32_t ratio_milli;
	uint64_t waited_ns, ran_ns;
	uint32_t share_permille[PILE_GROUPS_MAX]; /* of all processors' time, by each group */
};

struct pile_starves {
	uint64_t from_ns; /* of the window that is under way; 0 = none */
	uint64_t idle_ns;
	uint64_t
		hit_ns; /* when a window ended in which somebody suffered while a group took most */
	uint64_t cpu_ns[PILE_GROUPS_MAX];
	struct pile_starve protected[PILE_PROTECT_MAX];
	struct pile_starve_window last;
};

/** A knob that is turned, or would be. */
struct pile_throttle {
	bool used;
	uint32_t group, knob, explain_id;
	uint32_t restarts; /* of the group, when it was decided */
	enum pile_blocked blocked;
	uint64_t at_ns, until_ns, on_ns;
	uint64_t value;
	uint32_t ratio_milli; /* when it was decided */
	uint32_t ratio_least_milli, tasks_most;
	uint32_t
		tasks_on; /* a moment after it came into force: systemd writes the cgroup's file when it gets to it */
	bool judged;
};

struct pile_throttle_group {
	struct pile_storm storm;
	/* by knob: for how long the next, not before, how long after one that did not help */
	uint64_t for_ns[PILE_KNOBS], rest_until_ns[PILE_KNOBS], rest_ns[PILE_KNOBS],
		over_ns[PILE_KNOBS];
	uint64_t taken_until_ns[PILE_KNOBS]; /* another hand's: not before, or a reload */
};

struct pile_throttles {
	struct pile_throttle_group groups[PILE_GROUPS_MAX];
	struct pile_starves starves;
	struct pile_throttle table[2 * PILE_THROTTLES_MAX];
};

struct pile_decide_view;

/** pile_throttles_forget - the slot holds another group. What is turned is turned back by the next tick. */
void pile_throttles_forget(struct pile_throttles *t, uint32_t group);

/** pile_throttles_update - one tick: knobs to be turned, and back. */
void pile_throttles_update(struct pile_throttles *t, const struct pile_rung_context *ctx,
			   struct pile_intents *out);

/** pile_throttles_reloaded - a policy was taken: knobs that another hand had set may be turned again. */
void pile_throttles_reloaded(struct pile_throttles *t);

/** pile_throttles_close_all - the guard stops. */
void pile_throttles_close_all(struct pile_throttles *t, enum pile_close_reason reason,
			      uint64_t now_ns, struct pile_intents *out);

/** pile_throttle_find - the knob of a group that is turned (or would be: blocked), or NULL. */
const struct pile_throttle *pile_throttle_find(const struct pile_throttles *t, uint32_t group,
					       uint32_t knob, bool blocked);

/** pile_throttle_blocked - which switch stops rung 3 for this group: the most lasting one. */
enum pile_blocked pile_throttle_blocked(const struct pile_decide_view *view, uint32_t group);

/* parts */

/**
 * pile_storm_update - one look at a group's tasks
 * @why: the terms, when it is one. Returns whether tasks (or memory, by tasks) are used up within PILE_STORM_NS, by a
 * growth that was seen for as long as the forecast reaches, far beyond what the group has in calm.
 * @learn: what it has now may be what it has in calm: no storm is under way, or was stopped
 */
bool pile_storm_update(struct pile_storm *storm, const struct pile_rung_context *ctx,
		       uint32_t group, bool learn, struct pile_why *why);

/** pile_storm_pool - so many tasks the pool that the policy declares may have, with what belongs to it; 0 = none. */
uint64_t pile_storm_pool(const struct pile_policy_group *config);

/** pile_storm_cap - TasksMax that keeps all that there are, and a few more: nobody is ended. */
uint64_t pile_storm_cap(const struct pile_storm *storm);

/**
 * pile_starves_update - one tick
 * @learn: what they wait may be what they wait in calm: nobody is throttled for it
 * Returns whether a window has ended with it: then @s->last tells.
 */
bool pile_starves_update(struct pile_starves *s, const struct pile_rung_context *ctx, bool learn);

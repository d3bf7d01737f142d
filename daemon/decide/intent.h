/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * intent.h: what decide wants done, and why: the only thing that flows from decide to act and to
 * record. Plain data, owned by the guard's tick (preallocated array). No pointers inside.
 * Every intent is recorded, whether it was carried out or not; "blocked" says which switch stopped
 * it.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "pileguard/limits.h"
#include "pileguard/undo.h"
#include "util/endpoint.h"

#define PILE_BREAKERS_MAX 64 /* episodes of rung 1 at once, virtual ones included */

#define PILE_EVICTS_MAX 16     /* evictions under way at once, virtual ones included */
#define PILE_STOPS_MAX 8       /* services stopped at once, virtual ones included */
#define PILE_CANDIDATES_MAX 10 /* workers that an eviction was chosen from, kept in its record */

#define PILE_THROTTLES_MAX PILE_UNDO_MAX /* knobs turned at once; and as many virtual ones */

/* destinations that the guard may ask by itself at once, before anything is opened */
#define PILE_SCOUTS_MAX 8

/*
 * In one tick: close, open and renew or allow of every breaker, a stage and a leak of every group, the
 * network, probes and what they found, opening and close of what the loop in the kernel did, and of doors,
 * evictions and their ends, stops and what follows on each, knobs and their ends, forks of every group that begin to
 * fail or do no more.
 */
#define PILE_INTENTS_MAX                                                                     \
	(4 * PILE_BREAKERS_MAX + 4 * PILE_GROUPS_MAX + 2 + 2 * PILE_SCOUTS_MAX +             \
	 2 * PILE_LOOP_MAX + 2 * PILE_DOORS_MAX + 2 * PILE_EVICTS_MAX + 4 * PILE_STOPS_MAX + \
	 4 * PILE_THROTTLES_MAX)

enum pile_intent_kind {
	PILE_INTENT_NONE = 0,
	/* refuse connects of group to endpoint, end the pending ones, start probing */
	PILE_INTENT_BREAKER_OPEN,
	/*
	 * RENEW states the whole gate each tick, so that act can be level-triggered: lease until
	 * now + 5 s; allow 0 = shut (end new pending connects too), allow n = half open (end
	 * nothing).
	 * A half-open gate that fails goes back to allow 0 by RENEW, within the same episode.
	 */
	PILE_INTENT_BREAKER_RENEW,
	/* a step: let `allow` connects through in all since half-open began */
	PILE_INTENT_BREAKER_ALLOW,
	PILE_INTENT_BREAKER_CLOSE, /* back to normal: remove the gate */
	/*
	 * one connect of the guard's own to a destination that is nearly proved dead; kept while
	 * the intent is repeated, and not made again before it was left out
	 */
	PILE_INTENT_PROBE,
	PILE_INTENT_PROBE_ANSWERED, /* it was: the destination is not dead (record only) */
	PILE_INTENT_STAGE,	    /* a group's stage changed (record only: "would have acted") */
	/* many destinations dead at once: our own network; nothing is opened (record only) */
	PILE_INTENT_NETWORK,
	PILE_INTENT_NETWORK_OVER,
	/* workers whose memory grows without end: how long it lasts (record only) */
	PILE_INTENT_LEAK,
	PILE_INTENT_LEAK_OVER,
	/* connections to a listener (`endpoint`) are refused at its limit, or would be; until CLOSE (record only) */
	PILE_INTENT_SHED_OPEN,
	PILE_INTENT_SHED_CLOSE,
	PILE_INTENT_EVICT,	   /* rung 4: end one worker, by pid and start time */
	PILE_INTENT_THROTTLE,	   /* rung 3: turn a knob of the group's cgroup (why.throttle) */
	PILE_INTENT_THROTTLE_OVER, /* ... and back, where it is still ours */
	PILE_INTENT_EVICT_OVER, /* it is gone, could not be ended, or does not grow any more (record only) */
	PILE_INTENT_STOP, /* rung 5: stop the group's unit, and have it started again after hold_ns */
	PILE_INTENT_STOP_DOWN,	/* it is down (record only) */
	PILE_INTENT_STOP_START, /* start it now: what let the guard hold it down was switched off */
	PILE_INTENT_STOP_LATE,	/* it should run again by now, and does not (record only) */
	PILE_INTENT_STOP_OVER,	/* it runs again, or could not be stopped (record only) */
	PILE_INTENT_FORKS, /* the kernel refuses forks early, at a limit of tasks; until OVER (record only) */
	PILE_INTENT_FORKS_OVER,
};

/** Which switch kept an intent from being carried out. */
enum pile_blocked {
	PILE_BLOCKED_NO = 0,	/* carried out */
	PILE_BLOCKED_OBSERVE,	/* mode: observe */
	PILE_BLOCKED_RUNG,	/* the group's enforce list does not name the rung */
	PILE_BLOCKED_EXEMPT,	/* the destination is exempt */
	PILE_BLOCKED_RELEASED,	/* released by hand */
	PILE_BLOCKED_NETWORK,	/* own network */
	PILE_BLOCKED_KERNEL,	/* this kernel or this privilege cannot do it */
	PILE_BLOCKED_FOREIGN,	/* another manager's cgroup: observed only */
	PILE_BLOCKED_SHARE,	/* mode: enforce, on other hosts first */
	PILE_BLOCKED_DISARMED,	/* disarmed by hand */
	PILE_BLOCKED_NETNS,	/* it listens in another network namespace */
	PILE_BLOCKED_AMBIGUOUS, /* another group's listener has the same address */
	PILE_BLOCKED_SHARED,	/* another group is in the same cgroup */
	PILE_BLOCKED_UNPLACED,	/* the group's processes are not in a cgroup of its own */
	PILE_BLOCKED_UNSETTLED, /* what is counted has not been corrected for a while */
	PILE_BLOCKED_UNFIT, /* stop: the unit could not be started again, or others would go down with it */
	PILE_BLOCKED_PROTECTED, /* throttle: its cgroup holds one that is protected, or is in it */
	PILE_BLOCKED_BUDGET,	/* as often as it may be was it done already */
	PILE_BLOCKED_SPARED, /* evict: it waits on a dependency, or is not one of those that may be ended */
};

enum pile_stage {
	PILE_STAGE_CALM = 0,
	PILE_STAGE_SUSPECT = 1, /* S1 */
	PILE_STAGE_RELIEVE = 2, /* S2 */
	PILE_STAGE_EVICT = 3,	/* S3: recorded only */
};

enum pile_close_reason {
	PILE_CLOSE_NONE = 0,
	PILE_CLOSE_ANSWERED, /* the destination answers again, steps went through */
	PILE_CLOSE_RELEASED, /* by hand */
	PILE_CLOSE_POLICY,   /* the policy no longer allows it */
	PILE_CLOSE_GONE,     /* the group went away */
	PILE_CLOSE_STOPPED,  /* the guard stops */
	PILE_CLOSE_ROOM,     /* the table is full and another destination holds a larger share */
	/* a virtual episode ends: the switch that blocked it was turned, it may act now */
	PILE_CLOSE_SWITCHED,
	PILE_CLOSE_HOLD_OVER, /* the time of a hold ran out */
	PILE_CLOSE_QUIET,     /* a virtual episode that nobody tries any more */
	PILE_CLOSE_DISARMED,  /* by hand, with everything else */
	PILE_CLOSE_CALM,      /* nothing was refused for a while */
	PILE_CLOSE_ENDED,     /* EVICT: the worker is gone */
	PILE_CLOSE_TIME,      /* THROTTLE: it was for a time */
	PILE_CLOSE_USELESS,   /* THROTTLE: it did not help */
	PILE_CLOSE_TAKEN,     /* THROTTLE: somebody else has set the knob: it is his */
	PILE_CLOSE_NOT_DONE,  /* THROTTLE: the knob could not be turned */
	PILE_CLOSE_NOT_ENDED, /* EVICT: it could not be ended; STOP: the unit could not be stopped */
	PILE_CLOSE_STARTED,   /* STOP: it runs again */
};

/** What would be used up by a fork storm. */
enum pile_storm_bound {
	PILE_STORM_LIMIT = 0, /* pids.max of the cgroup, or of one above it */
	PILE_STORM_HOST,      /* pid_max, threads-max */
	PILE_STORM_MEMORY,    /* the group's memory, or the host's */
};

enum pile_evict_cause {
	PILE_EVICT_NONE = 0,
	PILE_EVICT_HOG,	 /* memory is gone within seconds, by this worker's growth */
	PILE_EVICT_LEAK, /* ... within minutes, by one that grows without end */
};

/** What would be used up. */
enum pile_evict_bound {
	PILE_EVICT_HOST = 0, /* the host's memory, but for its reserve */
	PILE_EVICT_BUDGET,   /* the policy's memory_budget */
	PILE_EVICT_LIMIT,    /* memory.max of the cgroup, or of one above it */
};

/** A worker that might be ended, with every term; ranked by what it took of late. */
struct pile_candidate {
	uint32_t pid, parent;
	uint64_t start_ns; /* since boot */
	uint64_t private_bytes;
	uint64_t growth_bytes;	 /* a second */
	uint32_t share_permille; /* of all that the group's workers grew */
	uint32_t waiting;	 /* requests that it has not answered */
	uint64_t oldest_ns;	 /* age of the oldest of them; 0 = none */
	uint64_t rising_ns;	 /* for so long without a pause */
	bool connecting;	 /* waits on a dependency: never ended */
	bool home;		 /* in the group's own cgroup, as who forked it; else never ended */
	bool master;		 /* other workers are its children: never ended */
	bool alone;		 /* no other worker has its parent: never ended */
	char comm[16];
};

struct pile_candidates {
	uint32_t n;
	struct pile_candidate list[PILE_CANDIDATES_MAX];
};

/** Terms of an eviction beside those of pile_why, and what came of it (EVICT_OVER). */
struct pile_why_evict {
	uint32_t cause, bound; /* enum pile_evict_cause, pile_evict_bound */
	uint32_t workers;      /* of the group that were looked at */
	uint32_t few;	       /* so many take what share_permille says */
	uint64_t start_ns, private_bytes;
	uint64_t rising_ns;	     /* it has grown for so long without a pause */
	uint64_t others_bytes;	     /* what the others hold, on average */
	uint64_t bound_growth_bytes; /* a second: of the host or the group as a whole */
	uint64_t after_ns; /* how long memory lasts without it; UINT64_MAX = nothing else grows */
	bool idle;	   /* no request waited on it */
	/* EVICT_OVER */
	uint32_t signal;  /* the last that was sent; 0 = none */
	int error;	  /* positive errno: why it could not be ended */
	uint64_t gone_ns; /* after the decision; 0 = it is not gone */
	uint64_t freed_bytes;
};

/** Terms of a stop beside those of pile_why, and what came of it. */
struct pile_why_stop {
	uint64_t used_bytes;  /* what the service has */
	uint64_t risen_bytes; /* of it, since it began to grow */
	uint64_t rising_ns;   /* for so long */
	uint64_t fell_bytes;  /* what the host lost meanwhile */
	uint64_t then_bytes;  /* what was free when it began */
	uint64_t swap_bytes;  /* free swap, a part of what is left */
	uint64_t
		hold_ns; /* started again so long after the stop; of it by chance, other on each host: */
	uint64_t jitter_ns;
	uint32_t nth; /* of its stops within ten minutes, this one included */
	/* DOWN, LATE, OVER */
	int error; /* positive errno: why it could not be stopped, or is not down though systemd was asked */
	uint64_t down_ns; /* after the decision; 0 = not down */
	bool early;	  /* started before its time: what held it down was switched off */
	bool late;	  /* it did not run at its time */
};

/** What became of a knob that is to be turned back. */
enum pile_throttle_back {
	PILE_BACK_NOT_YET = 0,
	PILE_BACK_DONE,
	PILE_BACK_TAKEN, /* it was not ours any more */
	PILE_BACK_GONE,	 /* with its cgroup */
	PILE_BACK_LATE,	 /* not yet, for five seconds: told */
};

/** Terms of a throttle beside those of pile_why, and what came of it. */
struct pile_why_throttle {
	uint32_t knob;	 /* enum pile_knob */
	uint64_t value;	 /* set to; units as in enum pile_knob */
	uint64_t was;	 /* before, as far as known; UINT64_MAX = no limit */
	uint64_t for_ns; /* at most */
	/* a fork storm: tasks of the group, what it had in calm, how many came a second, for how long without a pause */
	uint32_t tasks, tasks_calm, tasks_rate;
	uint32_t bound; /* enum pile_storm_bound; it is reached in pile_why.exhaustion_ns */
	uint64_t tasks_free, rising_ns;
	/* processors: who waited (index into the policy's protect), for how long, while it ran, in which time */
	uint32_t protect;
	char protected_name[PILE_NAME_MAX];
	uint64_t waited_ns, ran_ns, span_ns;
	uint32_t ratio_milli, calm_milli; /* waited / ran, and what that is in calm */
	uint32_t cpu_permille;		  /* of all processors' time, by the group */
	/* what came of it */
	int error;		    /* positive errno: why it was not turned, or not turned back */
	uint64_t on_ns;		    /* after the decision: it was in force; 0 = it was not */
	uint32_t ratio_after_milli; /* the least that was waited for while it was in force */
	uint32_t tasks_after;	    /* the most tasks while it was in force */
	uint32_t back;		    /* enum pile_throttle_back */
};

/** Forks that were refused early. */
struct pile_why_forks {
	uint64_t limit; /* of tasks, that was full */
	uint64_t above; /* 0: its own cgroup's; n: of one so many further up */
	uint32_t tasks; /* of the group; 0 = not known */
};

/** All terms of a decision, frozen at the moment it was taken. */
struct pile_why {
	uint32_t connecting;	/* in SYN_SENT */
	uint32_t stuck;		/* of those older than 500 ms */
	uint64_t oldest_ns;	/* age of the oldest pending connect */
	uint64_t no_success_ns; /* time since the last success (or since the first stuck connect) */
	uint32_t waiting;	/* the group's waiting requests */
	/* pending connects / waiting requests of the group, capped at 1000 */
	uint32_t share_permille;
	uint32_t rate_milli;	/* requests opened per second, x 1000, over 1 s */
	uint64_t request_bytes; /* memory per waiting request */
	uint64_t growth_bytes;	/* memory growth per second, bytes/s */
	uint64_t free_bytes;	/* what is left of the budget */
	uint64_t exhaustion_ns; /* time to exhaustion; UINT64_MAX = not growing */
	uint32_t pool_limit;	/* the pool's cap, 0 = not known */
	uint32_t behind;  /* requests that wait for whoever connects; 0: they wait by themselves */
	bool risk_memory; /* exhaustion < 15 s */
	bool risk_pool;	  /* waiting > half of the pool's cap */
	bool always;	  /* fail_fast: always */
	bool by_hand;	  /* the operator's hold */
	bool own_probe;	  /* the guard's own connect was not answered either */
	bool in_kernel;	  /* decided by the loop in the kernel: the guard did not run */
	/*
	 * established, not greeted, though its server speaks first: then the clock is oldest_ns, and no_success_ns the
	 * time since anything was heard of it
	 */
	bool mute;
	uint32_t ungreeted;	       /* of mute: connections that wait for a greeting, */
	uint32_t silent;	       /* ... for an answer, */
	uint32_t unacked;	       /* ... and whose data is not even acknowledged */
	uint32_t stage_from, stage_to; /* PILE_INTENT_STAGE: enum pile_stage */
	uint32_t excess;	       /* waiting above the learned level */
	uint32_t dead_destinations;    /* PILE_INTENT_NETWORK */
	/* PILE_INTENT_LEAK: workers that grow, the fastest of them, and by how much in which time */
	uint32_t growing, pid;
	uint64_t grown_bytes, grown_over_ns;
	/* PILE_INTENT_SHED_*: connections open, of how many allowed, not yet accepted, and refused */
	uint32_t held, held_max, backlog;
	uint32_t refuse_permille; /* of new connections, while requests pile up */
	bool by_share;		  /* ... and that is what refused, not a limit */
	uint64_t refused;
	/* ... the destination that most of the group's connections wait for, and how many; family 0: none does */
	struct pile_endpoint waits_for;
	uint32_t waits;
	struct pile_why_evict evict;	   /* PILE_INTENT_EVICT */
	struct pile_why_stop stop;	   /* PILE_INTENT_STOP */
	struct pile_why_throttle throttle; /* PILE_INTENT_THROTTLE */
	struct pile_why_forks forks;	   /* PILE_INTENT_FORKS */
};

/** What one door may do, each tick. */
struct pile_shed_rule {
	bool may_refuse;
	uint32_t limit;		 /* connections at once; 0 = none */
	uint32_t share_permille; /* of new ones */
};

struct pile_intent {
	enum pile_intent_kind kind;
	uint32_t group;
	struct pile_endpoint endpoint;
	enum pile_blocked blocked;
	uint32_t explain_id; /* same for open, renew, allow, close of one episode; 1.. */
	uint32_t allow;	     /* RENEW, ALLOW: total of connects let through since half-open began */
	bool first;	     /* PROBE: not a repetition; this one is told */
	/* OPEN, RENEW, ALLOW, PROBE: its server speaks first, so an answer is its first byte */
	bool speaks_first;
	uint32_t relapses;	 /* RENEW, ALLOW: how often half open failed in this episode */
	uint64_t probe_every_ns; /* BREAKER_OPEN/RENEW: the guard's own probe period, jittered */
	int refuse_errno;	 /* positive */
	enum pile_close_reason close_reason;
	uint64_t outage_ns; /* CLOSE: how long it was open */
	uint64_t
		at_ns; /* OPEN, CLOSE: when it happened, monotonic, where that is not now; 0 = now */
	uint64_t
		grace_ns; /* EVICT: from SIGTERM to SIGKILL; STOP: from the unit's stop job to SIGKILL */
	/* OPEN, CLOSE: it is over already, in the kernel: nothing is left to be done (record only) */
	bool over;
	struct pile_why why;
};

/** pile_explain_id_take - the number of the next episode; 0 is none, and passed over when they wrap. */
static inline uint32_t pile_explain_id_take(uint32_t *next)
{
	uint32_t id = (*next)++;

	if (!*next)
		*next = 1;
	return id;
}

/**
 * Where intents of one tick are collected. The caller's array; what does not fit is counted, never
 * written.
 */
struct pile_intents {
	struct pile_intent *list; /* PILE_INTENTS_MAX */
	uint32_t n;
	uint32_t lost; /* cannot happen within the bounds above; asserted by the tests */
};

/** pile_intents_add - a zeroed intent of this kind, or NULL when full. */
struct pile_intent *pile_intents_add(struct pile_intents *intents, enum pile_intent_kind kind,
				     uint32_t group);

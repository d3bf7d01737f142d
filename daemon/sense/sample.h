/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * sample.h: what the guard saw at one tick, as plain data.
 * Owned by the guard (one preallocated struct); filled by sense and by act's probes; read by
 * decide, record and api.
 * Control loop only. No pointers inside. Totals are monotone since the guard started following the
 * object.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "pileguard/limits.h"
#include "util/endpoint.h"

#define PILE_SAMPLE_DEPENDENCIES_MAX 256
#define PILE_SAMPLE_PROBES_MAX 256 /* 3 for each gate, 8 scouts (act/act.h), and room */
/* so many ungreeted connections make a server mute: as many as pending ones make it dead (decide/proof.h) */
#define PILE_MUTE_CONNECTIONS 3
#define PILE_SAMPLE_GROWERS_MAX 16 /* named one by one; all are counted */
#define PILE_SAMPLE_WORKERS_MAX PILE_SNAPSHOT_WORKERS
#define PILE_SAMPLE_EVICTED_MAX 8
#define PILE_SAMPLE_STOPPED_MAX 8
#define PILE_SAMPLE_THROTTLED_MAX \
	32 /* as many as are turned at once (pileguard/undo.h), and as many that failed */

/** One group at this tick; its index is its slot in the group table (struct pile_groups). */
struct pile_sample_group {
	bool used;	   /* the slot holds a group */
	bool present;	   /* its cgroup or listener exists right now */
	uint64_t opened;   /* requests opened, total */
	uint64_t answered; /* requests that got their first byte, total */
	/* requests that ended without a byte (seen at once or by a sweep), total */
	uint64_t closed;
	uint64_t drift;	  /* of those: found by a sweep only, total */
	uint32_t waiting; /* opened - answered - closed */
	/* waiting by age: [i] = i..i+1 slots of 2^28 ns; last: older */
	uint32_t age[PILE_WHEEL_SLOTS + 1];
	/* age of the oldest waiting request (lower edge of its slot); 0 = none */
	uint64_t oldest_ns;
	/* arrival to first byte, over the last 10 s; 0 = nothing answered */
	uint64_t p50_ns, p99_ns;
	/* processes in the group (cgroup.procs / pids.current); 0 = not known */
	uint32_t workers;
	uint32_t workers_limit;	     /* pids.max of the cgroup; 0 = none */
	uint32_t busy;		     /* workers with an accepted connection open (last sweep) */
	uint32_t backlog;	     /* connections in the accept queues of its listeners */
	uint64_t memory_bytes;	     /* anon + kernel + sock + shmem of the cgroup; 0 = not known */
	uint64_t memory_limit_bytes; /* lowest memory.max on the way up; 0 = none */
	uint32_t pressure_permille;  /* memory pressure "some" avg10, 0..1000 */
	/* rung 3, of groups that the policy names, as of pile_sample.load_ns; 0 = not known */
	uint32_t tasks;	      /* processes and threads in the cgroup, and below it */
	uint32_t tasks_limit; /* lowest pids.max on the way up; 0 = none */
	uint64_t cpu_ns;      /* processor time, total */
	/* forks that were refused early, total; which limit was full then, and of which cgroup (struct pile_bpf_forks) */
	uint64_t forks_refused, forks_limit, forks_above;
	uint32_t growing;	/* workers whose memory grows without end */
	uint64_t growing_bytes; /* ... by so much a second, all of them */
};

/** A worker whose memory grows without end. */
struct pile_sample_grower {
	uint32_t group, pid;
	uint64_t rate_bytes;  /* a second */
	uint64_t grown_bytes; /* over pile_sample.grown_over_ns */
};

/** A worker of a group that the policy names with workers: prefork, as of sample.looked_ns. */
struct pile_sample_worker {
	uint32_t group, pid, parent;
	uint32_t waiting;   /* requests that it has read and not answered, by the last sweep */
	uint64_t start_ns;  /* since boot: tells a pid that is used again */
	uint64_t oldest_ns; /* age of the oldest of its requests; 0 = none */
	uint64_t private_bytes;
	/* over sample.recent_ns; 0: not known, or it does not rise. risen: since it rises without a pause */
	uint64_t recent_bytes, risen_bytes, rising_ns;
	uint64_t
		rate_bytes; /* a second, when it grows without end (struct pile_sample_grower); else 0 */
	bool home;	    /* it, and who forked it, are in the group's own cgroup */
	bool connecting; /* waits on a dependency: a connect of its own is pending, or not answered */
	char comm[16];
};

/** What became of an eviction; seen once. */
struct pile_sample_evicted {
	uint32_t explain_id, pid;
	uint32_t signal; /* the last one that was sent; 0 = none */
	int error; /* positive errno: nothing was sent, for this; or it was not gone in time */
	uint64_t gone_ns;     /* monotonic: when it was seen to be gone; 0 = it is not */
	uint64_t freed_bytes; /* what it held when it was looked at last */
};

/** What became of a stop; seen once. */
struct pile_sample_stopped {
	uint32_t explain_id;
	int error; /* positive errno: it could not be stopped, for this */
	/* monotonic: when it was down; with an error: when systemd, asked all the same, gave up; 0 = nothing was begun */
	uint64_t down_ns;
};

/** One destination of one group's connects (TCP). */
struct pile_sample_dependency {
	uint32_t group; /* slot of the group */
	struct pile_endpoint endpoint;
	uint32_t connecting; /* sockets in SYN_SENT, by sweep */
	uint32_t stuck;	     /* of those: older than 500 ms */
	uint64_t oldest_ns;  /* age of the oldest of them; 0 = none */
	/* totals; failed includes refused by the peer, timed out, ended */
	uint64_t started, established, failed;
	/* of failed: answered with RST (not timed out, not ended by us), total: the peer lives */
	uint64_t refused_by_peer;
	uint64_t last_started_ns;     /* monotonic; 0 = never */
	uint64_t last_established_ns; /* monotonic; 0 = never */
	uint64_t last_failed_ns;      /* monotonic; 0 = never */
	uint32_t open;		      /* established now */
	/* established, the last word was ours, nothing back for > 500 ms */
	uint32_t silent;
	/* established, our data unacknowledged for >= 3 retransmission time-outs */
	uint32_t unacked;
	bool speaks_first;  /* the policy says so: who connects is greeted */
	uint32_t ungreeted; /* established, and not a byte has come from the peer yet */
	uint32_t mute;	    /* of those: for 500 ms or longer */
	/* for how long the three longest of them have been: the longest first; 0 = there is none */
	uint64_t mute_ns[PILE_MUTE_CONNECTIONS];
	/* the last byte, end or RST on any connection, also one that is over; monotonic; 0 = none since it is followed */
	uint64_t last_heard_ns;
	uint64_t refused;  /* connects refused by our gate, total */
	uint64_t admitted; /* connects let through a half-open gate, total */
	uint64_t ended;	   /* pending connects that we ended, total */
};

/** One of the guard's own connects: what came of it since the last tick, or that nothing did yet. */
struct pile_sample_probe {
	uint32_t group;
	struct pile_endpoint endpoint;
	/* connected, and greeted where the server speaks first; false: refused, timed out, unreachable */
	bool answered;
	int error; /* positive errno when not answered */
	/* no answer yet (only those that PILE_INTENT_PROBE asked for): when its SYN left; else 0 */
	uint64_t pending_since_ns;
	/* where the server speaks first, of one that has no answer yet: since when it is established; else 0 */
	uint64_t ungreeted_since_ns;
};

/** What the loop in the kernel did while the guard was late; seen once, by the first tick after that. */
struct pile_sample_loop {
	uint32_t group;
	struct pile_endpoint endpoint;
	bool open;	    /* it refuses connects still */
	uint64_t opened_ns; /* monotonic; the last time */
	uint64_t closed_ns; /* 0 = not */
	uint64_t refused;   /* in all, like the following */
	uint64_t admitted;  /* let through to find out */
	uint64_t openings;
	uint64_t first_refused_ns;
	uint64_t no_success_ns; /* terms of the opening */
	uint32_t connecting, stuck, waiting;
};

/** A listener whose connections are counted. */
struct pile_sample_door {
	bool used;
	bool out_of_reach; /* in another network namespace: never refused */
	bool ambiguous;	   /* another group's listener has the same address: never refused */
	bool unsettled;	   /* no sweep has corrected its count for a minute */
	uint32_t group, n_listeners;
	struct pile_endpoint endpoint;
	uint32_t held;		   /* connections open, accepted or not */
	uint32_t backlog;	   /* of those: not accepted yet */
	uint64_t entered, refused; /* totals */
	uint64_t first_refused_ns; /* monotonic; 0 = nobody yet */
};

/** What the policy's `protect` names, as of pile_sample.load_ns. Totals, since the unit's cgroup is there. */
struct pile_sample_protected {
	bool known;	    /* its cgroup is there, and tells both */
	uint64_t waited_ns; /* some task of it was ready to run, and had no processor (PSI) */
	uint64_t ran_ns;
	uint64_t
		quota_waits; /* how often a quota of its own, or of a cgroup above it, held it; as of idle_at_ns */
	uint64_t cgroup_id;
};

/** A knob that is turned, or that could not be (told once). */
struct pile_sample_throttled {
	uint32_t explain_id;
	int error;	/* positive errno: it was not turned, for this */
	uint64_t on_ns; /* monotonic: since when it is in force; 0 = not yet */
	bool taken;	/* somebody else has set it meanwhile: it is his */
};

struct pile_sample {
	uint64_t now_ns;  /* CLOCK_MONOTONIC at the start of the tick */
	uint64_t late_ns; /* how late this tick came; 0 = on time */
	uint64_t memory_total_bytes;
	uint64_t memory_available_bytes; /* MemAvailable */
	uint64_t swap_free_bytes;	 /* SwapFree */
	uint32_t n_cpus;
	struct pile_sample_group groups[PILE_GROUPS_MAX];
	uint32_t n_dependencies;
	struct pile_sample_dependency dependencies[PILE_SAMPLE_DEPENDENCIES_MAX];
	uint64_t dependencies_lost; /* destinations that did not fit, total */
	uint32_t n_probes;
	struct pile_sample_probe probes[PILE_SAMPLE_PROBES_MAX];
	uint32_t n_loops;
	struct pile_sample_loop loops[PILE_LOOP_MAX];
	struct pile_sample_door doors[PILE_DOORS_MAX]; /* by index; [0] is none */
	uint32_t n_growers;
	struct pile_sample_grower growers[PILE_SAMPLE_GROWERS_MAX]; /* the fastest first */
	uint64_t grown_over_ns;
	/* the last walk over the workers; this tick's when it is now_ns. recent: how far it looks back; 0 = not at all */
	uint64_t looked_ns, recent_ns;
	uint32_t n_workers;
	struct pile_sample_worker workers[PILE_SAMPLE_WORKERS_MAX];
	/* the last look at tasks and processors: this tick's when it is now_ns */
	uint64_t load_ns;
	/* each second one of these looks also tells what the processors had left over; then it is load_ns */
	uint64_t idle_at_ns;
	uint64_t idle_ns; /* of all processors, total; 0 = not known */
	uint32_t host_tasks,
		host_tasks_limit; /* processes and threads of the host; the lower of pid_max, threads-max */
	struct pile_sample_protected protected[PILE_PROTECT_MAX]; /* by the policy's order */
	uint32_t n_throttled;
	struct pile_sample_throttled throttled[PILE_SAMPLE_THROTTLED_MAX];
	uint32_t n_evicted;
	struct pile_sample_evicted evicted[PILE_SAMPLE_EVICTED_MAX];
	uint32_t n_stopped;
	struct pile_sample_stopped stopped[PILE_SAMPLE_STOPPED_MAX];
};

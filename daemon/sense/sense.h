/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * sense.h: fills one struct pile_sample a tick.
 * Owned by the guard; control loop only; short reads, no allocation; changes nothing but the
 * sensors' own wheels.
 * Never logs. A file that vanishes leaves its figure at "not known".
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "groups/groups.h"
#include "kernel/kernel.h"
#include "sense/growth.h"
#include "sense/load.h"
#include "sense/look.h"
#include "sense/sample.h"

#define PILE_SENSE_WINDOW_S 10 /* first-byte quantiles look back this far */
/* pending connects remembered at once, to be ended on command */
#define PILE_SENSE_PENDING_MAX 2048
#define PILE_SENSE_WORKERS_MAX 4096 /* workers seen in one sweep; open addressing, power of two */

/**
 * A connect that is waiting for its answer right now; where the server speaks first also an established connection
 * that is: silent, mute or unacknowledged.
 */
struct pile_sense_pending {
	uint32_t group;
	uint32_t netns;
	struct pile_endpoint endpoint; /* destination */
	uint8_t source[16];	       /* v4-mapped */
	uint16_t source_port;
	uint16_t family;
	uint64_t cookie;
	uint64_t started_ns; /* since when it waits */
	uint32_t state;	     /* enum pile_bpf_connect_state */
	uint32_t received;   /* bytes, by then; of those that are established */
};

struct pile_sense_worker {
	uint32_t pid; /* 0 = free */
	uint32_t group;
	uint32_t waiting;
	uint32_t connections;
	uint64_t oldest_open_ns; /* arrival time of the oldest waiting request; 0 = none */
};

/** First-byte histograms of the last seconds, for quantiles. */
struct pile_sense_latency {
	uint32_t counts[PILE_SENSE_WINDOW_S + 1][PILE_LATENCY_BUCKETS]; /* totals at each second */
};

struct pile_sense_group {
	/* the shard's totals when the slot was taken */
	uint64_t opened_base, answered_base, closed_base;
	int64_t drift;		 /* requests that ended unseen, total */
	uint64_t memory_stat_ns; /* when memory.stat was read last */
	uint64_t slow_ns;	 /* when limits and pressure were read last */
	struct pile_sense_latency latency;
};

struct pile_sense {
	int meminfo_fd;
	uint64_t tick;
	uint64_t last_ns;
	uint64_t second_ns; /* when the latency windows moved last */
	uint32_t second;    /* index into the windows */
	uint32_t n_cpus;
	struct pile_sense_group groups[PILE_GROUPS_MAX];
	bool named[PILE_GROUPS_MAX]; /* by the policy: what these connect to is never crowded out */
	/* results of the last sweeps */
	uint32_t n_pending;
	uint64_t pending_lost;
	struct pile_sense_pending pending[PILE_SENSE_PENDING_MAX];
	struct pile_sense_worker workers[PILE_SENSE_WORKERS_MAX];
	uint32_t n_workers;
	uint32_t n_groups; /* slots in use at the last tick: highest + 1 */
	uint32_t busy[PILE_GROUPS_MAX];
	uint64_t sockets, sweeps, sweep_cost_ns;
	uint64_t settled;    /* sweeps whose rest was settled */
	uint64_t settled_ns; /* the last of them, or the first tick */
	int64_t doors_drift; /* connections that ended unseen, total */
	bool swept;   /* the last sweep met every socket: what it left behind may be settled */
	bool flipped; /* the wheels were turned over in this second: a sweep follows */
	uint64_t events_swept; /* all requests' events when that was decided last */
	uint64_t flipped_ns;   /* and when it was */
	uint64_t connects_swept_ns, connects_cost_ns;
	uint64_t connects_started_swept; /* how many had begun by then */
	uint32_t n_connects;		 /* connections to dependencies seen by the last sweep */
	uint64_t destinations_lost;
	struct pile_growth growth;
	struct pile_look look;
	struct pile_load load;
	uint32_t waits
		[PILE_SENSE_WORKERS_MAX]; /* pids that wait on a dependency, by the last sweep; 0 = free */
	uint32_t n_waits;
	/* what is kept of each destination between ticks */
	uint32_t n_known;
	struct pile_sample_dependency known[PILE_SAMPLE_DEPENDENCIES_MAX];
	/* while a sweep counts anew: connecting and open of each as the last one left them; else 0 */
	uint32_t before[PILE_SAMPLE_DEPENDENCIES_MAX];
};

/** pile_sense_init - @s: zeroed by the caller. Returns 0 or negative errno. */
int pile_sense_init(struct pile_sense *s);
void pile_sense_fini(struct pile_sense *s);

/** pile_sense_group_reset - the slot now holds another group. */
void pile_sense_group_reset(struct pile_sense *s, uint32_t group);

/**
 * pile_sense_tick - fill @ret (all but probes and the gates' own counters, which act adds)
 * @now_ns: CLOCK_MONOTONIC
 */
void pile_sense_tick(struct pile_sense *s, struct pile_kernel *k, struct pile_groups *g,
		     uint64_t now_ns, struct pile_sample *ret);

/* parts, each in a file of its own */
void pile_requests_sample(struct pile_sense *s, struct pile_kernel *k, struct pile_groups *g,
			  uint64_t now_ns, struct pile_sample *ret);
/** pile_requests_sweep - returns 0, or negative errno: then not every socket was met. */
int pile_requests_sweep(struct pile_sense *s, struct pile_kernel *k, struct pile_groups *g);
void pile_dependencies_sample(struct pile_sense *s, struct pile_kernel *k,
			      const struct pile_groups *g, uint64_t now_ns,
			      struct pile_sample *ret);
void pile_memory_sample(struct pile_sense *s, struct pile_groups *g, uint64_t now_ns,
			struct pile_sample *ret);
/** pile_workers_sample - what the last walk met, and what is known of each otherwise: for rung 4. */
void pile_workers_sample(struct pile_sense *s, const struct pile_groups *g, uint64_t now_ns,
			 struct pile_sample *ret);

/** pile_dependencies_awaited - a worker waits on a dependency: by the last sweep, or there were too many to tell. */
bool pile_dependencies_awaited(const struct pile_sense *s, uint32_t pid);

void pile_doors_sample(const struct pile_sense *s, const struct pile_kernel *k,
		       const struct pile_groups *g, struct pile_sample *ret);

/** pile_requests_worker - what the last sweep saw of a worker; NULL: it has no connection open. */
const struct pile_sense_worker *pile_requests_worker(const struct pile_sense *s, uint32_t pid);

/**
 * pile_requests_quantile - @permille-th quantile of a first-byte histogram, ns (upper edge of its
 * bucket).
 */
uint64_t pile_requests_quantile(const uint32_t *counts, size_t n, uint32_t permille,
				uint32_t per_octave);

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * manager.h: what is asked of the host's service manager (systemd), over its own D-Bus socket, by a thread of its own:
 * PID 1 answers late when the host is busy. The control loop hands over fixed-size jobs and collects results each tick.
 * Owned by the guard; submit and take from the control loop only; neither blocks, allocates or logs.
 * Where there is no systemd as PID 1 nothing is started, and every job is refused with -EOPNOTSUPP.
 * A job that has not begun after PILE_MANAGER_STALE_NS is dropped (-ETIMEDOUT), and a stop not sent later than that:
 * nothing acts on what was true long ago. What undoes (a start, a SET with also_down) is never too late.
 */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "pileguard/limits.h"
#include "util/clock.h"

#define PILE_MANAGER_JOBS_MAX 16
#define PILE_MANAGER_PROPERTIES_MAX 4
#define PILE_MANAGER_PIDS_MAX 64
#define PILE_MANAGER_STALE_NS (3 * NS_PER_SEC)
#define PILE_MANAGER_ANSWER_NS (10 * NS_PER_SEC) /* PID 1 under load; later it counts as failed */

enum pile_manager_verb {
	/* compare and set properties of a unit that runs, until it ends or the host does (--runtime) */
	PILE_MANAGER_SET = 1,
	/* ... of a scope that is made of processes, and joined by others of the same group later */
	PILE_MANAGER_SCOPE,
	/*
	 * first a timer that starts it again after after_ns, whatever becomes of the guard; then the unit's stop job,
	 * which keeps Restart= away; after grace_ns SIGKILL to all that is left of it
	 */
	PILE_MANAGER_STOP,
	PILE_MANAGER_START,  /* start it, and then end such a timer */
	PILE_MANAGER_UNTIME, /* end such a timer: somebody else has started it */
	/* whether the unit can be stopped and started again: 0, or -EOPNOTSUPP with a text that says why not */
	PILE_MANAGER_CHECK,
};

/** Whose job it is: who is given the result. */
enum pile_manager_owner {
	PILE_MANAGER_THROTTLE = 1,
	PILE_MANAGER_STOPS,
	PILE_MANAGER_PLACE,
};

/** A property of type t (uint64): TasksMax, CPUWeight, CPUQuotaPerSecUSec ... UINT64_MAX is infinity. */
struct pile_manager_property {
	char name[32];
	uint64_t value;
	/* SET: only where it is this now; else the job fails with -ESTALE and nothing is set */
	bool compare;
	uint64_t expected;
	/* SET, in the result: what it was before; SCOPE: nothing */
	uint64_t was;
};

struct pile_manager_job {
	enum pile_manager_verb verb;
	enum pile_manager_owner owner;
	uint64_t id; /* the owner's own, comes back with the result */
	char unit[PILE_UNIT_MAX];
	bool also_down; /* SET: also of a unit that does not run now: what was set for its next start is set back */
	uint32_t n_properties;
	struct pile_manager_property properties[PILE_MANAGER_PROPERTIES_MAX];
	/* SCOPE: where it stands, and who is in it; a pid that is gone is passed over by systemd */
	char slice[PILE_UNIT_MAX];
	uint32_t n_pids;
	uint32_t pids[PILE_MANAGER_PIDS_MAX];
	uint64_t after_ns; /* STOP: started again so long after */
	uint64_t grace_ns; /* STOP: what the unit has to end by itself */
};

struct pile_manager_result {
	struct pile_manager_job job; /* as given, with each property's was */
	int error;		     /* 0 or negative errno */
	/* STOP, of an error: systemd was asked to stop it all the same, and will start it again */
	bool begun;
	char text[160];		    /* what systemd said of an error, or "" */
	uint64_t asked_ns, done_ns; /* CLOCK_MONOTONIC */
};

struct pile_manager {
	bool ready; /* there is a systemd to ask */
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	bool stop;
	char socket_path[108];
	struct pile_manager_job jobs[PILE_MANAGER_JOBS_MAX];
	uint64_t given_ns[PILE_MANAGER_JOBS_MAX];
	uint32_t head, n;
	struct pile_manager_result results[PILE_MANAGER_JOBS_MAX];
	uint32_t results_head, n_results;
	uint32_t in_flight; /* jobs whose result was not taken yet: bounds both rings */
	int bus_fd;	    /* of the call that is under way; -1 = none */
};

/**
 * pile_manager_open - start the thread
 * @socket_path: NULL = /run/systemd/private, where systemd is PID 1; a test's own manager otherwise
 * Returns 0; -EOPNOTSUPP without systemd; or negative errno.
 */
int pile_manager_open(struct pile_manager *m, const char *socket_path);

/** pile_manager_close - what was not begun is dropped; waits for what was, PILE_MANAGER_ANSWER_NS at most. */
void pile_manager_close(struct pile_manager *m);

/** pile_manager_submit - hand a job over. Returns 0; -EAGAIN: too many are under way; -EOPNOTSUPP: nobody to ask. */
int pile_manager_submit(struct pile_manager *m, const struct pile_manager_job *job,
			uint64_t now_ns);

/** pile_manager_take - one result. Returns whether there was one; results of one caller's jobs come in their order. */
bool pile_manager_take(struct pile_manager *m, struct pile_manager_result *ret);

/* parts, of the thread's */

/** pile_manager_bus_fd - what the call under way waits on, so that the guard's end need not; -1: none is */
void pile_manager_bus_fd(struct pile_manager *m, int fd);

/** pile_manager_is_stopping - the guard ends: what was not begun is not. */
bool pile_manager_is_stopping(struct pile_manager *m);

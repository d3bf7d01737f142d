/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * evict.h: ends one worker as an intent says: SIGTERM, after a grace SIGKILL, then its memory taken back at once.
 * Owned by the guard; control loop only, but for one thread that waits in process_mrelease(); no allocation after start;
 * never blocks, never logs: what came of it is in the sample (struct pile_sample_evicted).
 * A process is held by a pidfd before it is looked at, and looked at before anything is sent: start time, parent and
 * cgroup are those of the intent, or nothing is sent.
 */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "decide/intent.h"
#include "groups/groups.h"
#include "sense/sample.h"

/** One that was sent a signal and is not gone yet. */
struct pile_act_evicting {
	int pidfd; /* -1 = free */
	uint32_t explain_id, pid, group;
	uint64_t start_ns;
	uint64_t kill_ns;    /* monotonic: SIGKILL then */
	uint64_t give_up_ns; /* it cannot be ended: in the kernel, and waits there */
	uint64_t held_bytes; /* as last looked at */
	uint32_t signal;
	int error;
};

struct pile_act_evicts {
	bool ready; /* this kernel, and this unit, let us hold and signal a process */
	struct pile_act_evicting table[PILE_EVICTS_MAX];
	/* those that came to nothing at once, until the next sample tells */
	uint32_t n_failed;
	struct pile_sample_evicted failed[PILE_SAMPLE_EVICTED_MAX];
	pthread_t reaper;
	int reaper_fd; /* to it, a pidfd at a time; -1 = there is none: memory is free when the process ends by itself */
	uint64_t ticks_ns; /* of /proc/PID/stat */
};

/** pile_act_evicts_open - @e: zeroed. Returns 0, or negative errno: workers cannot be ended here. Before real time. */
int pile_act_evicts_open(struct pile_act_evicts *e);

/** pile_act_evicts_close - what was sent was sent; nothing more is. */
void pile_act_evicts_close(struct pile_act_evicts *e);

/** pile_act_evicts_carry_out - the EVICT intents of this tick that are not blocked; why.evict.error: what came of it. */
void pile_act_evicts_carry_out(struct pile_act_evicts *e, const struct pile_groups *groups,
			       struct pile_intent *intents, uint32_t n, uint64_t now_ns);

/**
 * pile_act_evicts_sample - who is gone; whose grace is over; results into @sample. Each tick, before decide
 * @enforce: mode enforce, on this host, not disarmed. Where that, or the group's rung, is off by now, no SIGKILL follows
 * the SIGTERM (ECANCELED); nor while the worker waits on a dependency.
 */
void pile_act_evicts_sample(struct pile_act_evicts *e, const struct pile_groups *groups,
			    bool enforce, struct pile_sample *sample, uint64_t now_ns);

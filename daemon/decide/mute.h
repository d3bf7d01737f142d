/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * mute.h: is a server that hangs told from one that is slow? Its kernel accepts and acknowledges, it greets nobody. Only
 * for destinations of `server_speaks_first`. One table, owned by struct pile_breakers; control loop only. Pure: no
 * clock, no allocation, never blocks, never logs. An entry lives while the group has connections there.
 *
 * Mute (all of it):
 *   1. at least 3 connections have been established for dead_after without one byte from the server.
 *   2. what waits there (for a greeting, an answer, or to connect) is >= 10 % of the group's waiting requests.
 *   3. nothing was heard from it since dead_after: no byte, no end, no RST, on any connection of the group, also those
 *      that are over; and no connect was refused.
 *   4. a connect of the guard's own, made after dead_after / 2 of this, has been established for dead_after and was not
 *      greeted either. A server that is slow (long queries, locks, "too many connections") greets it.
 * No `hurry`: where memory is short, an answer is late for that reason, too.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "policy/policy.h"
#include "sense/sample.h"

#define PILE_MUTES_MAX 64 /* as many as there are gates; what is beyond is not judged */

struct pile_mute {
	bool used;
	uint32_t group;
	struct pile_endpoint endpoint;
	/* totals at the last tick: one that goes back is a new counter, which knows of nothing before */
	uint64_t established, refused_by_peer;
	/* nothing before this is evidence: followed since, refused or greeted then, we did not look, an episode's end */
	uint64_t floor_ns;
	uint64_t greeted_ns; /* the guard's own connect was, or was hung up on; 0 = never */
	/* now */
	bool sampled;
	uint32_t ungreeted, silent, unacked; /* the first: for 500 ms */
	uint32_t share_permille;
	uint64_t quiet_ns;   /* for so long three are not greeted, and nothing was heard */
	uint64_t unheard_ns; /* for so long nothing was heard */
	uint64_t
		probe_ns; /* the guard's own connect is established since then, and not greeted; 0 = none is */
	bool suspect; /* clauses 1 and 2, but the time: nothing is learned */
	bool doubt;   /* half the time: the guard's own connect would tell */
	bool unasked; /* all but clause 4, for as long as that would take: for those who may not ask */
	bool proved;
	bool asked; /* the guard connects by itself since the last ticks */
	bool told;  /* its connect was greeted, or ended, in this tick */
};

struct pile_mutes {
	uint32_t n_places; /* highest place that may be in use + 1 */
	struct pile_mute table[PILE_MUTES_MAX];
};

/**
 * pile_mutes_update - one tick: judge every destination whose server speaks first
 * @config: per group, NULL for a slot that is not used
 * @lost_ns: time since the last tick in which nobody looked; 0 = on time
 */
void pile_mutes_update(struct pile_mutes *mutes,
		       const struct pile_policy_group *config[PILE_GROUPS_MAX],
		       const struct pile_sample *sample, uint64_t lost_ns);

/** pile_mutes_find - borrowed, or NULL. */
struct pile_mute *pile_mutes_find(struct pile_mutes *mutes, uint32_t group,
				  const struct pile_endpoint *endpoint);

/** pile_mutes_suspect - some destination of the group is. */
bool pile_mutes_suspect(const struct pile_mutes *mutes, uint32_t group);

/** pile_mute_restart - forget the evidence: what is before @now_ns is none. */
void pile_mute_restart(struct pile_mute *mute, uint64_t now_ns);

/** pile_mutes_forget - drop all entries of a group. */
void pile_mutes_forget(struct pile_mutes *mutes, uint32_t group);

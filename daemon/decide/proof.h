/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * proof.h: what is known about each destination that connects are stuck on: since when, how many,
 * and is it dead? One table, owned by struct pile_breakers; control loop only. Pure: no clock, no
 * allocation, never blocks, never logs. An entry lives while connects are pending and some seconds
 * after; only destinations in trouble have one.
 *
 * Dead (all of it):
 *   1. at least 3 pending connects older than 500 ms (1 with `fail_fast: always`), and at least 3
 *      attempts since the clock started. One lone connect never counts: on a calm host it may be
 *      any user's typing error.
 *   2. they are >= 10 % of the group's waiting requests, those in the accept queue left out.
 *   3. the clock, started by the first of them (or by the peer's last sign of life), shows
 *      dead_after.
 *      A sign of life: a connect established, or refused by the peer (RST): a quick failure is
 *      harmless. Ends by time-out or by our own hand are no sign of life and do not stop the clock.
 *   4. a SYN *sent* later than dead_after - 400 ms was left unanswered for 300 ms. Pending connects
 *      prove only that SYNs were lost when they were sent (0, 1, 3, 7 s after each connect began):
 *      without this clause a pool that is stuck as a whole would make every 2 s blip look like a
 *      death until its retransmission at 3 s. Where the pool sends none, a connect of the guard's
 *      own, begun at that time, is such a SYN; its answer is a sign of life.
 *   With `hurry` (memory gone within 1.5 s) the clock need show 1 s only.
 * In place of 1 and 2, where all others wait for whoever connects (a lock that it holds; `behind`): one stuck connect
 *   will do where the group's requests pile up (stage suspect), no worker of it waits for anything else by TCP, three
 *   quarters of the requests came after the clock had started, the destination has answered the group before, and its
 *   workers are processes or threads that wait for one thing at a time. 3 and 4 hold as ever, without hurry.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "decide/risk.h"
#include "policy/policy.h"
#include "sense/sample.h"

#define PILE_PROOFS_MAX PILE_SAMPLE_DEPENDENCIES_MAX
/* product.md: destinations with >= 10 % of the group's waiting */
#define PILE_PROOF_SHARE_PERMILLE 100
#define PILE_PROOF_STUCK_MIN 3
#define PILE_PROOF_ATTEMPTS_MIN 3

struct pile_proof {
	bool used;
	uint32_t key; /* hash of group and endpoint, for the search */
	uint32_t group;
	struct pile_endpoint endpoint;
	/*
	 * totals at the last tick: a total that goes back is a new object, and starts the clock
	 * again
	 */
	uint64_t started, established, refused_by_peer;
	uint64_t seen_ns;	/* last tick with a pending connect */
	uint64_t alive_ns;	/* last sign of life seen, or since when we watch */
	uint64_t onset_ns;	/* where the clock started; 0 = it stands still */
	uint64_t onset_lost_ns; /* pile_proofs.lost_ns then */
	/* started total at the onset, without the connects that were pending then */
	uint64_t onset_started;
	uint64_t first_ns;   /* first connect begun since the onset; 0 = none seen */
	uint64_t retried_ns; /* first begun since onset + blip - 1 s */
	uint64_t fresh_ns;   /* first begun since onset + blip */
	uint64_t probe_ns;   /* the guard's own connect that is pending now was begun; 0 = none */
	/* now */
	bool sampled; /* the sample has this destination */
	uint32_t connecting, stuck, share_permille;
	uint64_t oldest_ns;
	uint64_t elapsed_ns; /* on the clock */
	uint64_t attempts;   /* connects since the onset */
	bool suspect; /* 3 stuck, >= 10 %, the clock shows 1 s: not dead yet, nothing is learned */
	uint32_t
		behind; /* requests that wait for no connection, but for whoever has this one; 0 = not known to */
	bool dead;
	bool lacks_syn; /* all but clause 4 will hold: a SYN sent now would tell */
	bool own_probe; /* clause 4 holds by the guard's own connect alone */
	bool asked;	/* the guard connects by itself since the last ticks */
	bool told;	/* its connect was answered, in this tick */
};

struct pile_proofs {
	/* time in which the guard did not look (late ticks): never counted as evidence */
	uint64_t lost_ns;
	uint64_t trusted_ns; /* the last late tick: what looks older may only be our own pause */
	uint64_t watched_ns[PILE_GROUPS_MAX]; /* since when the group is watched; 0 = it is not */
	uint32_t n_places; /* highest place of the table that may be in use + 1: on a calm host 0 */
	struct pile_proof table[PILE_PROOFS_MAX];
};

/**
 * pile_proof_is_life - the guard's probe connected, or was refused by the peer (RST): users would
 * not wait there. Also when the guard could not even try (no descriptor, no memory, no port): a
 * gate that nobody can find the end of is opened, and users find out.
 */
bool pile_proof_is_life(const struct pile_sample_probe *probe);

/**
 * pile_proof_share - part of the group's waiting requests, permille, that @waits are
 * Requests that somebody works on: those in the accept queue wait for a worker, not for a destination.
 */
uint32_t pile_proof_share(uint32_t waits, const struct pile_sample_group *g,
			  const struct pile_policy_group *config);

/**
 * pile_proof_key - hash of a group's destination: equal for equal ones (v4 and v4-mapped alike).
 */
uint32_t pile_proof_key(uint32_t group, const struct pile_endpoint *endpoint);

/**
 * pile_proofs_update - one tick: follow every destination with pending connects, judge it
 * @config: per group, NULL for a slot that is not used. @risk: per group (hurry).
 * @piles_up: per group: its stage is suspect at least.
 * @lost_ns: time since the last tick in which nobody looked; 0 = on time.
 */
void pile_proofs_update(struct pile_proofs *proofs,
			const struct pile_policy_group *config[PILE_GROUPS_MAX],
			const struct pile_risk *risk, const bool piles_up[PILE_GROUPS_MAX],
			const struct pile_sample *sample, uint64_t lost_ns);

/** pile_proofs_find - borrowed, or NULL. */
struct pile_proof *pile_proofs_find(struct pile_proofs *proofs, uint32_t group,
				    const struct pile_endpoint *endpoint);

/** pile_proofs_suspect - some destination of the group is suspect or dead. */
bool pile_proofs_suspect(const struct pile_proofs *proofs, uint32_t group);

/**
 * pile_proof_restart - forget the evidence: the clock starts at the next stuck connect begun after
 * @now_ns.
 */
void pile_proof_restart(struct pile_proof *proof, uint64_t now_ns);

/**
 * pile_proofs_restart - the same for all of them: the network is back, everybody gets the time to
 * answer.
 */
void pile_proofs_restart(struct pile_proofs *proofs, uint64_t now_ns);

/** pile_proofs_forget - drop all entries of a group. */
void pile_proofs_forget(struct pile_proofs *proofs, uint32_t group);

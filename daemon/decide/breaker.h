/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * breaker.h: rung 1, fail fast: one episode per (group, destination), from open through half open
 * to close. One table, owned by struct pile_decide; control loop only; record and api read the
 * entries. Pure: no clock, no allocation, never blocks, never logs. What must happen leaves as
 * intents.
 *
 * Where the server speaks first (policy), "answered" and "established" below are: something was heard, and what is mute
 * (mute.h) is treated as what is dead.
 *
 * "Answered" includes RST: a peer that refuses costs nobody a wait, so users may ask it themselves.
 *
 *   closed --dead and (at risk or always)--> OPEN --probe answered--> HALF: 1, 2, 4, 8, 16 -->
 *   closed
 *                                             ^------- stuck > 500 ms, or probe failed --------'
 *
 * The same path is taken when a switch stops it ("blocked"): a virtual episode, one OPEN and one
 * CLOSE, no RENEW.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "decide/hand.h"
#include "decide/intent.h"
#include "decide/mute.h"
#include "decide/network.h"
#include "decide/proof.h"
#include "decide/risk.h"
#include "sense/sample.h"

/* a restart of the unit takes less: the episode survives it */
#define PILE_BREAKER_ABSENT_NS (3 * NS_PER_SEC)
/* a virtual episode that nobody tries any more ends */
#define PILE_BREAKER_QUIET_NS (60 * NS_PER_SEC)
#define PILE_BREAKER_FLAP_NS (10 * NS_PER_SEC) /* opened again this soon after its close: counted */
#define PILE_BREAKER_PROBE_MAX_NS (2 * NS_PER_SEC) /* product.md: never rarer */

enum pile_breaker_state {
	PILE_BREAKER_FREE = 0,
	PILE_BREAKER_OPEN = 1, /* same numbers as pile_snapshot_dependency.state */
	PILE_BREAKER_HALF = 2,
};

struct pile_breaker {
	enum pile_breaker_state state;
	uint32_t key; /* pile_proof_key */
	uint32_t group;
	struct pile_endpoint endpoint;
	enum pile_blocked blocked; /* != PILE_BLOCKED_NO: virtual, nothing is carried out */
	bool by_hand;
	bool orphan; /* its slot was given to another group: close */
	uint32_t explain_id;
	uint32_t flaps; /* how often it was opened again within 10 s of a close */
	uint64_t opened_ns;
	uint64_t half_ns;    /* this half-open began; 0 = open */
	uint64_t step_ns;    /* the last step */
	uint64_t absent_ns;  /* since when the group, or its gate, is away; 0 = it is there */
	uint64_t pending_ns; /* last tick with a pending connect */
	uint32_t allow;	     /* connects let through in all since half_ns */
	uint64_t probes, probes_failed;		  /* the guard's own connects in this episode */
	uint32_t relapses;			  /* half open and back */
	uint64_t probe_every_ns;		  /* now, jittered */
	int refuse_errno;			  /* positive */
	uint64_t step_admitted, step_established; /* totals at the last step */
	/* totals at the last tick: growth is an answer, a refusal one too */
	uint64_t established, refused_by_peer;
	/* the policy's word at the opening; then `established` is `greetings`: how often something was heard anew */
	bool speaks_first;
	uint64_t heard_ns, greetings; /* the last of them */
	struct pile_why why;	      /* at the opening */
};

/** What remains of a closed episode, for the flap count. */
struct pile_breaker_memory {
	uint32_t key;
	uint32_t flaps;
	uint64_t closed_ns; /* 0 = free */
};

struct pile_breakers {
	struct pile_breaker table[PILE_BREAKERS_MAX];
	uint32_t n_places; /* of the table, in use: highest + 1, or more until the next tick */
	struct pile_breaker_memory closed[PILE_BREAKERS_MAX];
	struct pile_proofs proofs;
	struct pile_mutes mutes;
	struct pile_hands hands;
	uint64_t foreign_ns; /* when an episode of another manager's group was recorded last */
	uint64_t opened, would_open, closed_total, flaps; /* totals; opened: carried out */
};

struct pile_decide_view;
struct pile_intents;

/** What one tick of the breakers needs to see; all borrowed. */
struct pile_breaker_context {
	const struct pile_decide_view *view;
	const struct pile_sample *sample;
	const struct pile_risk *risk; /* per group */
	const struct pile_network *network;
	uint64_t now_ns;
	bool late; /* open nothing */
	uint32_t *next_explain_id;
};

void pile_breakers_init(struct pile_breakers *breakers);

/**
 * pile_breakers_update - one tick: move what is open, follow the hands, open what is dead
 * The proofs must be of this tick (pile_proofs_update and pile_mutes_update first).
 */
void pile_breakers_update(struct pile_breakers *breakers,
			  const struct pile_breaker_context *context, struct pile_intents *out);

/** pile_breakers_renew - leases only: for a sample that is not to be trusted. */
void pile_breakers_renew(const struct pile_breakers *breakers, struct pile_intents *out);

/** pile_breakers_open_in - the group has an episode, real or virtual. */
bool pile_breakers_open_in(const struct pile_breakers *breakers, uint32_t group);

/** pile_breakers_find - borrowed, or NULL. */
const struct pile_breaker *pile_breakers_find(const struct pile_breakers *breakers, uint32_t group,
					      const struct pile_endpoint *endpoint);

/** pile_breakers_close_all - one CLOSE each; the table is empty afterwards. */
void pile_breakers_close_all(struct pile_breakers *breakers, uint64_t now_ns,
			     enum pile_close_reason reason, struct pile_intents *out);

/** pile_breaker_observing - why nothing acts on this host at all, in mode observe. */
enum pile_blocked pile_breaker_observing(const struct pile_decide_view *view);

/**
 * pile_breaker_blocked - which switch stops rung 1 for this destination: the most lasting one
 * first.
 */
enum pile_blocked pile_breaker_blocked(const struct pile_breakers *breakers,
				       const struct pile_decide_view *view,
				       const struct pile_network *network, uint32_t group,
				       const struct pile_endpoint *endpoint, uint64_t now_ns);

/**
 * pile_breaker_probe_period - the guard's own probe period: @every_ns +-20 % by @host_seed, @key
 * and @count Jitter keeps a fleet from probing in step; 200 ms .. 2 s whatever was asked.
 */
uint64_t pile_breaker_probe_period(uint64_t every_ns, uint32_t host_seed, uint32_t key,
				   uint64_t count);

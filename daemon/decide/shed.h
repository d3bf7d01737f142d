/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * shed.h: rung 2: connections beyond what the policy allows a listener to hold are refused at its door.
 * The limit itself is judged in the kernel, at each connection (bpf/door.h); here: whether it may be, and episodes,
 * so that there is an explain record for it. Part of struct pile_decide; pure.
 * A share of new connections is refused (policy: shed_share) while the group's stage is relieve (share.c).
 * An episode begins with the first refusal, or, where a switch forbids refusing, when as many connections are open as
 * are allowed; it ends when that has not been so for PILE_SHED_CALM_NS.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "decide/intent.h"
#include "sense/sample.h"

#define PILE_SHED_CALM_NS (10 * NS_PER_SEC) /* design.md: clear */
#define PILE_SHED_LEASE_NS (5 * NS_PER_SEC) /* product.md: gates */

struct pile_decide;
struct pile_decide_view;
struct pile_hands;
struct pile_verdict;
struct pile_intents;

/** One door's episode. */
struct pile_shed {
	bool open;
	bool known; /* the totals below are of this door */
	uint32_t group, explain_id;
	struct pile_endpoint endpoint;
	enum pile_blocked blocked;
	uint64_t opened_ns, over_ns; /* over: when it was full last */
	uint64_t refused;	     /* total at the last tick */
	uint64_t refused_base;	     /* ... before this episode */
	uint64_t first_ns;	     /* first refusal in it; 0 = none */
	uint32_t most;		     /* connections held at one time, in this episode */
};

/** The share of new connections that one group's doors refuse. */
struct pile_share {
	uint32_t permille;
	uint32_t waiting; /* at the last step */
	uint64_t step_ns;
};

struct pile_sheds {
	struct pile_shed doors[PILE_DOORS_MAX];
	struct pile_share shares[PILE_GROUPS_MAX];
	uint64_t refused; /* connections, all doors, total */
};

/** pile_sheds_update - one tick, after the shares'. @late: the sample is not to be trusted: nothing begins */
void pile_sheds_update(struct pile_decide *state, const struct pile_decide_view *view,
		       const struct pile_sample *sample, bool late, struct pile_intents *out);

/**
 * pile_share_update - one tick of one group
 * @max_permille: the policy's, 0 = none; @acts: this group is the deepest that piles up
 * Up at once to what comes more than is answered (over 2 s), a quarter more each 2 s while that does not help. Down once
 * the verdict's terms of relief do not hold: a quarter more is let in each 500 ms, so that all are within 6 s.
 */
void pile_share_update(struct pile_share *share, const struct pile_verdict *verdict, bool acts,
		       uint32_t max_permille, uint32_t waiting, uint64_t now_ns);

/**
 * pile_share_deepest - no group behind this one piles up as well: those that it connects to by TCP, and, for a proxy
 * (workers: events), any that is none
 */
bool pile_share_deepest(const struct pile_decide *state, const struct pile_decide_view *view,
			const struct pile_sample *sample, uint32_t group);

/** pile_shed_rule - what a door may do in this tick. */
void pile_shed_rule(const struct pile_decide *state, const struct pile_decide_view *view,
		    const struct pile_sample_door *door, uint64_t now_ns,
		    struct pile_shed_rule *ret);

/** pile_sheds_close_all - one CLOSE for each episode. */
void pile_sheds_close_all(struct pile_sheds *sheds, enum pile_close_reason reason,
			  struct pile_intents *out);

/** pile_shed_is_listener - a listener of the group with a door: what is released there is no destination. */
bool pile_shed_is_listener(const struct pile_sheds *sheds, uint32_t group,
			   const struct pile_endpoint *endpoint);

/** pile_shed_open_in - a door of the group refuses, or would. */
bool pile_shed_open_in(const struct pile_sheds *sheds, uint32_t group);

/**
 * pile_shed_blocked - which switch keeps a door from refusing: the most lasting one first
 * PILE_BLOCKED_NO: it has a lease until PILE_SHED_LEASE_NS from now.
 */
enum pile_blocked pile_shed_blocked(const struct pile_decide_view *view,
				    const struct pile_hands *hands,
				    const struct pile_sample_door *door, uint64_t now_ns);

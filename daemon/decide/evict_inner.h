/* SPDX-License-Identifier: GPL-2.0-or-later */
/* evict_inner.h: between evict.c (episodes, budgets, ends) and evict_rules.c (who it is, and whether it is time). */
#pragma once

#include "decide/candidates.h"
#include "decide/evict.h"

/** A decision in the making. */
struct pile_evict_chosen {
	enum pile_evict_cause cause;
	struct pile_candidates_sum sum;
	uint32_t few, share_permille;
	uint64_t rate_bytes;   /* of these few */
	uint64_t others_bytes; /* what the others hold on average */
	/* of the bound that is reached first */
	enum pile_evict_bound bound;
	uint64_t free_bytes, bound_growth_bytes, left_ns, after_ns;
	uint64_t fell_bytes;  /* a second: what the bound itself lost */
	uint64_t large_bytes; /* less than that is nothing beside the bound */
};

/** pile_evict_look_take - one look at a group's workers, ranked into evicts->candidates, and at what is left. */
void pile_evict_look_take(struct pile_evicts *evicts, const struct pile_sample *sample,
			  uint32_t group, struct pile_evict_chosen *c);

/** pile_evict_is_hog - after a look: evicts->candidates' first is to be ended now; @c: all terms */
bool pile_evict_is_hog(struct pile_evicts *evicts, const struct pile_rung_context *ctx,
		       uint32_t group, struct pile_evict_chosen *c);

/** pile_evict_is_leak - the same of one that grows slowly and without end */
bool pile_evict_is_leak(struct pile_evicts *evicts, const struct pile_rung_context *ctx,
			uint32_t group, struct pile_evict_chosen *c);

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * candidates.h: the workers of a group ranked by what they take of late: which is it, and is it one, or few, or all?
 * Owns nothing. Pure: no clock, no allocation, never blocks, never logs; control loop only.
 */
#pragma once

#include "decide/intent.h"
#include "sense/sample.h"

struct pile_candidates_sum {
	/* of those in the group's own cgroup */
	uint32_t workers;
	uint64_t private_bytes;
	uint64_t growth_bytes; /* a second, of all that grow */
};

/**
 * pile_candidates_rank - the workers of a group that grow, the fastest first; all of them in @ret_sum
 * @leak: by what grows without end (minutes), not by the last moments
 */
void pile_candidates_rank(const struct pile_sample *sample, uint32_t group, bool leak,
			  struct pile_candidates *ret, struct pile_candidates_sum *ret_sum);

/** pile_candidates_kin - who of them is others' parent, and who has no sibling: a pool is a parent with several. */
void pile_candidates_kin(struct pile_candidates *c, const struct pile_sample *sample,
			 uint32_t group);

/** pile_candidate_may - may it be ended at all? After pile_candidates_kin(). */
bool pile_candidate_may(const struct pile_candidate *c);

/**
 * pile_candidates_few - the least number of the first that take most of all growth; 0: more than @max do
 * Most: one of them @one permille, several @several. @ret_permille: what they take, @ret_bytes: a second
 */
uint32_t pile_candidates_few(const struct pile_candidates *c, const struct pile_candidates_sum *sum,
			     uint32_t max, uint32_t one, uint32_t several, uint32_t *ret_permille,
			     uint64_t *ret_bytes);

/** pile_candidates_others - what all but the first @few hold, on average. */
uint64_t pile_candidates_others(const struct pile_candidates *c,
				const struct pile_candidates_sum *sum, uint32_t few);

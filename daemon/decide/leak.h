/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * leak.h: workers whose memory grows without end, told while there is time to look (record only: nothing acts on it).
 * Owned by struct pile_decide; control loop only. Pure: no clock, no allocation, never blocks, never logs.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "decide/intent.h"
#include "sense/sample.h"

struct pile_leak {
	bool told;
	uint64_t grew_ns; /* when it was so last: a floor that stands still for a span is no end */
	uint64_t left_ns; /* until memory is gone at the rate of now; UINT64_MAX = nothing grows */
};

/** pile_leak_init - a slot that holds another group. */
void pile_leak_init(struct pile_leak *leak);

/**
 * pile_leak_update - one tick of a group
 * Told when what its growing workers take (sense/growth.h) is all that is left within @notice_ns (0 = never); over when
 * for a third of the window none grows any more, or twice as much time is left.
 * @free_bytes: of the group's budget, which may be the host's. Returns +1 when told now, -1 when over now, 0 otherwise.
 */
int pile_leak_update(struct pile_leak *leak, const struct pile_sample *sample, uint32_t group,
		     uint64_t free_bytes, uint64_t notice_ns);

/** pile_leak_explain - @why's terms of it: how many grow, how fast, which most of all, and what is left. */
void pile_leak_explain(const struct pile_leak *leak, const struct pile_sample *sample,
		       uint32_t group, uint64_t free_bytes, struct pile_why *why);

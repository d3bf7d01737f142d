/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * look.h: when the workers are looked at each tick, and not each ten seconds: memory would be gone within 15 s.
 * Part of struct pile_sense; control loop only. Short reads, no allocation; never logs.
 * Only a reason to look: what is noise here (page cache, one step of a counter) costs a walk, and no more. Only where a
 * group is named with workers: prefork: nobody else's worker is ever ended.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "groups/groups.h"
#include "sense/sample.h"

#define PILE_LOOK_WITHIN_NS (15 * NS_PER_SEC) /* design.md: at risk */
#define PILE_LOOK_STAYS_NS (5 * NS_PER_SEC)   /* after the last reason */
#define PILE_LOOK_TICKS 10 /* a rise too slow for one tick is seen over so many */

/** One figure that rises, at the last ticks. */
struct pile_look_rise {
	uint64_t bytes[PILE_LOOK_TICKS], at_ns[PILE_LOOK_TICKS];
	uint32_t n, head;
};

struct pile_look {
	bool on;
	uint64_t until_ns;
	bool host_on; /* the host's memory is gone soon: each unit's is read each tick */
	uint64_t host_until_ns;
	struct pile_look_rise host; /* what is not available any more */
	struct pile_look_rise groups[PILE_GROUPS_MAX];
	/* what the workers of a group hold, by the last walk: where its cgroup does not tell what it has */
	uint64_t held_bytes[PILE_GROUPS_MAX];
	uint64_t reserve_bytes; /* of the policy: what the host keeps; 0 = the default */
	bool blind;		/* ... of some group with a bound: walks each second tell */
};

/** pile_look_group - is this a group whose workers may be ended: named, prefork, not another manager's, there? */
bool pile_look_group(const struct pile_group *group);

/** pile_look_memory - is what this group has to be read each tick? */
bool pile_look_memory(const struct pile_look *look, const struct pile_group *group);

/**
 * pile_look_rise - one more figure; is it gone soon?
 * @used: bytes; @free: what is left. True: at the rate since the last tick, or over ten, that lasts for less than 15 s.
 * Steps below 4 MiB since the last tick, and 1 MiB over more of them, are none.
 */
bool pile_look_rise(struct pile_look_rise *rise, uint64_t used, uint64_t free, uint64_t now_ns);

/** pile_look_sample - each tick, after memory was read. Returns whether the workers are to be looked at now. */
bool pile_look_sample(struct pile_look *look, const struct pile_groups *g, uint64_t now_ns,
		      const struct pile_sample *sample);

void pile_look_group_reset(struct pile_look *look, uint32_t group);

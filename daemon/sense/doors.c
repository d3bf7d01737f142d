// SPDX-License-Identifier: GPL-2.0-or-later
/* doors.c: connections at the listeners that have a door. */
#include "sense/sense.h"

#define UNSETTLED_NS (60 * NS_PER_SEC) /* twelve sweeps of a quiet host */

void pile_doors_sample(const struct pile_sense *s, const struct pile_kernel *k,
		       const struct pile_groups *g, struct pile_sample *ret)
{
	struct pile_kernel_door_counts counts;
	bool unsettled = ret->now_ns - s->settled_ns > UNSETTLED_NS;

	for (uint32_t i = 1; i < PILE_DOORS_MAX; i++) {
		const struct pile_door *from = &g->doors[i];
		struct pile_sample_door *to = &ret->doors[i];

		to->used = from->used && !from->gone;
		if (!to->used)
			continue;
		pile_kernel_door_counts(k, i, &counts);
		to->out_of_reach = from->out_of_reach;
		to->ambiguous = from->ambiguous;
		to->unsettled = unsettled;
		to->group = from->group;
		to->n_listeners = from->n_listeners;
		to->endpoint = from->endpoint;
		to->held = counts.held;
		to->entered = counts.entered;
		to->refused = counts.refused;
		to->first_refused_ns = counts.first_refused_ns;
		to->backlog = 0;
	}
	for (uint32_t i = 0; i < g->n_listeners; i++)
		if (g->listeners[i].used && g->listeners[i].door)
			ret->doors[g->listeners[i].door].backlog += g->listeners[i].backlog;
}

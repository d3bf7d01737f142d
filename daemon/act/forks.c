// SPDX-License-Identifier: GPL-2.0-or-later
/* forks.c: whose forks are refused early where a limit of tasks refuses them: groups that rung 3 may throttle. */
#include "act/act.h"

#define AGAIN_NS (2 * NS_PER_SEC) /* what could not be attached is tried again */

int pile_act_forks(struct pile_act *a, struct pile_kernel *k, const struct pile_groups *g,
		   bool enforce, uint64_t now_ns)
{
	uint32_t bits[PILE_GROUPS_MAX / 32] = { 0 };

	for (uint32_t i = 0; i < g->n_groups && enforce; i++) {
		const struct pile_group *group = &g->groups[i];

		if (group->used && group->configured && !group->foreign &&
		    (group->config.enforce & PILE_RUNG_THROTTLE))
			bits[i / 32] |= 1U << (i % 32);
	}
	/* what this kernel refused is told in `missing`, once */
	if (!k->fork_refuse || (a->forks_error && now_ns < a->forks_again_ns))
		return a->forks_error;
	a->forks_error = pile_kernel_forks_set(k, bits);
	a->forks_again_ns = now_ns + AGAIN_NS;
	return a->forks_error;
}

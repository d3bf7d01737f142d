// SPDX-License-Identifier: GPL-2.0-or-later
#include "decide/leak.h"

#include "util/macro.h"

void pile_leak_init(struct pile_leak *leak)
{
	*leak = (struct pile_leak){ .left_ns = UINT64_MAX };
}

static uint64_t left_of(const struct pile_sample_group *g, uint64_t free_bytes)
{
	unsigned __int128 left = (unsigned __int128)free_bytes * NS_PER_SEC;

	if (!g->growing || !g->growing_bytes)
		return UINT64_MAX;
	return (uint64_t)MIN(left / g->growing_bytes, (unsigned __int128)UINT64_MAX - 1);
}

int pile_leak_update(struct pile_leak *leak, const struct pile_sample *sample, uint32_t group,
		     uint64_t free_bytes, uint64_t notice_ns)
{
	bool was = leak->told;

	leak->left_ns = left_of(&sample->groups[group], free_bytes);
	if (!notice_ns)
		leak->told = false;
	else if (leak->left_ns < notice_ns)
		leak->told = true;
	if (leak->left_ns / 2 < notice_ns)
		leak->grew_ns = sample->now_ns;
	else if (sample->now_ns - leak->grew_ns >= sample->grown_over_ns / 3)
		leak->told = false;
	return (int)leak->told - (int)was;
}

void pile_leak_explain(const struct pile_leak *leak, const struct pile_sample *sample,
		       uint32_t group, uint64_t free_bytes, struct pile_why *why)
{
	why->growing = sample->groups[group].growing;
	why->growth_bytes = sample->groups[group].growing_bytes;
	why->free_bytes = free_bytes;
	why->exhaustion_ns = leak->left_ns;
	why->grown_over_ns = sample->grown_over_ns;
	for (uint32_t i = 0; i < sample->n_growers; i++)
		if (sample->growers[i].group == group) {
			why->pid = sample->growers[i].pid;
			why->grown_bytes = sample->growers[i].grown_bytes;
			return;
		}
}

// SPDX-License-Identifier: GPL-2.0-or-later
#include "decide/candidates.h"

#include <string.h>

#include "util/macro.h"

#define GROWTH_MAX (1ULL << 42) /* bytes a second: 2,048 of them, times 1000, are a number */

static uint64_t growth_of(const struct pile_sample *sample, const struct pile_sample_worker *w,
			  bool leak)
{
	if (leak)
		return MIN(w->rate_bytes, GROWTH_MAX);
	if (!sample->recent_ns)
		return 0;
	return (uint64_t)MIN((unsigned __int128)w->recent_bytes * NS_PER_SEC / sample->recent_ns,
			     (unsigned __int128)GROWTH_MAX);
}

/* The fastest first; the slowest are left out where there are too many. */
static void candidate_add(struct pile_candidates *to, const struct pile_sample_worker *w,
			  uint64_t growth)
{
	uint32_t at = to->n;

	while (at > 0 && to->list[at - 1].growth_bytes < growth)
		at--;
	if (at == PILE_CANDIDATES_MAX)
		return;
	to->n = MIN(to->n + 1, PILE_CANDIDATES_MAX);
	memmove(&to->list[at + 1], &to->list[at], (to->n - at - 1) * sizeof(to->list[0]));
	to->list[at] = (struct pile_candidate){
		.pid = w->pid,
		.parent = w->parent,
		.start_ns = w->start_ns,
		.private_bytes = w->private_bytes,
		.growth_bytes = growth,
		.waiting = w->waiting,
		.oldest_ns = w->oldest_ns,
		.rising_ns = w->rising_ns,
		.connecting = w->connecting,
		.home = w->home,
		.alone = true,
	};
	memcpy(to->list[at].comm, w->comm, sizeof(w->comm));
}

static void kin_fill(const struct pile_sample *sample, uint32_t group, struct pile_candidate *c)
{
	for (uint32_t i = 0; i < MIN(sample->n_workers, PILE_SAMPLE_WORKERS_MAX); i++) {
		const struct pile_sample_worker *w = &sample->workers[i];

		c->master |= w->parent == c->pid;
		if (w->group == group && w->pid != c->pid && w->parent == c->parent)
			c->alone = false;
	}
}

static uint32_t share_of(uint64_t part, uint64_t whole)
{
	return whole ? (uint32_t)(part * 1000 / whole) : 0;
}

void pile_candidates_rank(const struct pile_sample *sample, uint32_t group, bool leak,
			  struct pile_candidates *ret, struct pile_candidates_sum *ret_sum)
{
	ret->n = 0;
	*ret_sum = (struct pile_candidates_sum){ 0 };
	for (uint32_t i = 0; i < MIN(sample->n_workers, PILE_SAMPLE_WORKERS_MAX); i++) {
		const struct pile_sample_worker *w = &sample->workers[i];
		uint64_t growth = growth_of(sample, w, leak);

		if (w->group != group)
			continue;
		/* one of another cgroup takes memory, too, but makes the pool no larger: whoever reads is a worker */
		ret_sum->workers += w->home;
		ret_sum->private_bytes += w->home ? w->private_bytes : 0;
		ret_sum->growth_bytes += growth;
		if (growth)
			candidate_add(ret, w, growth);
	}
	for (uint32_t i = 0; i < ret->n; i++)
		ret->list[i].share_permille =
			share_of(ret->list[i].growth_bytes, ret_sum->growth_bytes);
}

void pile_candidates_kin(struct pile_candidates *c, const struct pile_sample *sample,
			 uint32_t group)
{
	for (uint32_t i = 0; i < c->n; i++)
		kin_fill(sample, group, &c->list[i]);
}

bool pile_candidate_may(const struct pile_candidate *c)
{
	/* one that has several requests is none that was forked for one: a router beside the workers, threads */
	return c->home && !c->connecting && !c->master && !c->alone && c->waiting <= 1;
}

uint32_t pile_candidates_few(const struct pile_candidates *c, const struct pile_candidates_sum *sum,
			     uint32_t max, uint32_t one, uint32_t several, uint32_t *ret_permille,
			     uint64_t *ret_bytes)
{
	*ret_bytes = 0;
	for (uint32_t i = 0; i < MIN(max, c->n); i++) {
		*ret_bytes += c->list[i].growth_bytes;
		*ret_permille = share_of(*ret_bytes, sum->growth_bytes);
		if (*ret_permille >= (i ? several : one))
			return i + 1;
	}
	return 0;
}

uint64_t pile_candidates_others(const struct pile_candidates *c,
				const struct pile_candidates_sum *sum, uint32_t few)
{
	uint64_t bytes = sum->private_bytes;

	for (uint32_t i = 0; i < few; i++)
		bytes -= MIN(bytes, c->list[i].private_bytes);
	return sum->workers > few ? bytes / (sum->workers - few) : 0;
}

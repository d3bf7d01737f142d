// SPDX-License-Identifier: GPL-2.0-or-later
/* counters.c: the shards and wheels, read and settled through shared memory: no system call. */
#include <string.h>

#include "kernel/kernel.h"
#include "util/macro.h"

static struct pile_bpf_shard *shards_of(const struct pile_kernel *k, uint32_t group)
{
	return &k->shards[(size_t)group * k->n_shards];
}

void pile_kernel_totals_read(const struct pile_kernel *k, uint32_t group,
			     struct pile_kernel_counts *ret)
{
	const struct pile_bpf_shard *shard = shards_of(k, group);

	ret->opened = ret->answered = ret->closed = 0;
	for (uint32_t cpu = 0; cpu < k->n_shards; cpu++, shard++) {
		ret->opened += __atomic_load_n(&shard->opened, __ATOMIC_RELAXED);
		ret->answered += __atomic_load_n(&shard->answered, __ATOMIC_RELAXED);
		ret->closed += __atomic_load_n(&shard->closed, __ATOMIC_RELAXED);
	}
}

void pile_kernel_counts_read(const struct pile_kernel *k, uint32_t group, bool latency,
			     struct pile_kernel_counts *ret)
{
	const struct pile_bpf_shard *shard = shards_of(k, group);

	memset(ret, 0, sizeof(*ret));
	pile_kernel_totals_read(k, group, ret);
	for (uint32_t cpu = 0; cpu < k->n_shards; cpu++, shard++) {
		for (int slot = 0; slot <= PILE_WHEEL_SLOTS; slot++)
			ret->wheel[slot] +=
				__atomic_load_n(&shard->wheel[0][slot], __ATOMIC_RELAXED) +
				__atomic_load_n(&shard->wheel[1][slot], __ATOMIC_RELAXED);
		for (int b = 0; latency && b < PILE_LATENCY_BUCKETS; b++)
			ret->latency[b] += __atomic_load_n(&shard->latency[b], __ATOMIC_RELAXED);
	}
	for (int slot = 0; slot <= PILE_WHEEL_SLOTS; slot++)
		ret->waiting += ret->wheel[slot];
}

void pile_kernel_answers_read(const struct pile_kernel *k, uint32_t group, uint64_t *ret_opened,
			      uint64_t *ret_answered)
{
	struct pile_bpf_shard *shard = shards_of(k, group);

	*ret_opened = *ret_answered = 0;
	for (uint32_t cpu = 0; cpu < k->n_shards; cpu++, shard++) {
		*ret_opened += __atomic_load_n(&shard->opened, __ATOMIC_RELAXED);
		*ret_answered += __atomic_load_n(&shard->answered, __ATOMIC_RELAXED);
	}
}

void pile_kernel_generation_flip(struct pile_kernel *k)
{
	__atomic_store_n(&k->control->generation, !k->control->generation, __ATOMIC_SEQ_CST);
}

int64_t pile_kernel_wheel_settle(struct pile_kernel *k, uint32_t group)
{
	struct pile_bpf_shard *shard = shards_of(k, group);
	int old = !k->control->generation;
	int64_t left = 0;

	for (uint32_t cpu = 0; cpu < k->n_shards; cpu++, shard++)
		for (int slot = 0; slot <= PILE_WHEEL_SLOTS; slot++)
			if (__atomic_load_n(&shard->wheel[old][slot], __ATOMIC_RELAXED))
				left += __atomic_exchange_n(&shard->wheel[old][slot], 0,
							    __ATOMIC_SEQ_CST);
	return left;
}

void pile_kernel_named_set(struct pile_kernel *k, const bool named[PILE_GROUPS_MAX])
{
	for (uint32_t i = 0; i < PILE_GROUPS_MAX / 32; i++) {
		uint32_t bits = 0;

		for (uint32_t j = 0; j < 32; j++)
			bits |= (uint32_t)named[i * 32 + j] << j;
		__atomic_store_n(&k->control->named[i], bits, __ATOMIC_RELAXED);
	}
}

void pile_kernel_unnamed_allow(struct pile_kernel *k, uint64_t added_max)
{
	__atomic_store_n(&k->control->unnamed_added_max, added_max, __ATOMIC_RELAXED);
}

uint64_t pile_kernel_unnamed_workers(const struct pile_kernel *k)
{
	return __atomic_load_n(&k->totals->unnamed_workers, __ATOMIC_RELAXED);
}

void pile_kernel_unnamed_workers_allow(struct pile_kernel *k, uint64_t before, uint32_t met)
{
	uint64_t room = PILE_WORKERS_UNNAMED_MAX - MIN(met, PILE_WORKERS_UNNAMED_MAX);

	__atomic_store_n(&k->control->unnamed_workers_max, before + room, __ATOMIC_RELAXED);
}

void pile_kernel_group_reset(struct pile_kernel *k, uint32_t group)
{
	memset(shards_of(k, group), 0, sizeof(struct pile_bpf_shard) * k->n_shards);
	k->totals->used[group] = (struct pile_bpf_used){ 0 };
	k->totals->forks[group] = (struct pile_bpf_forks){ 0 };
}

void pile_kernel_followed(const struct pile_kernel *k, enum pile_bpf_followed kind, uint64_t ret[2])
{
	for (int i = 0; i < 2; i++)
		ret[i] = __atomic_load_n(&k->totals->followed[(int)kind + i], __ATOMIC_RELAXED);
}

void pile_kernel_follow_allow(struct pile_kernel *k, enum pile_bpf_followed kind,
			      const uint64_t before[2], const uint32_t met[2])
{
	uint32_t most[2] = { PILE_STORAGE_UNNAMED_MAX, PILE_STORAGE_MAX };

	/* a group may have been named, or not any more, since its sockets were given their state */
	most[1] -= MIN(met[0], most[1]);
	most[0] = MIN(most[0], PILE_STORAGE_MAX - MIN(met[1], PILE_STORAGE_MAX));
	for (int i = 0; i < 2; i++)
		__atomic_store_n(&k->control->followed_max[(int)kind + i],
				 before[i] + most[i] - MIN(met[i], most[i]), __ATOMIC_RELAXED);
}

void pile_kernel_door_counts(const struct pile_kernel *k, uint32_t index,
			     struct pile_kernel_door_counts *ret)
{
	const struct pile_bpf_door_counts *c = &k->door_counts[index];
	int32_t held = __atomic_load_n(&c->held[0], __ATOMIC_RELAXED) +
		       __atomic_load_n(&c->held[1], __ATOMIC_RELAXED);

	ret->held = (uint32_t)MAX(held, 0);
	ret->entered = __atomic_load_n(&c->entered, __ATOMIC_RELAXED);
	ret->refused = __atomic_load_n(&c->refused, __ATOMIC_RELAXED);
	ret->first_refused_ns = __atomic_load_n(&c->first_refused_ns, __ATOMIC_RELAXED);
}

int64_t pile_kernel_doors_settle(struct pile_kernel *k)
{
	int old = !k->control->generation;
	int64_t left = 0;

	for (int i = 1; i < PILE_DOORS_MAX; i++)
		if (__atomic_load_n(&k->door_counts[i].held[old], __ATOMIC_RELAXED))
			left += __atomic_exchange_n(&k->door_counts[i].held[old], 0,
						    __ATOMIC_SEQ_CST);
	return left;
}

const struct pile_bpf_forks *pile_kernel_forks(const struct pile_kernel *k, uint32_t group)
{
	return &k->totals->forks[group];
}

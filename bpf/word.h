/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * word.h: the state word of a request, and what is counted where it changes: the group's totals, the wheel of those that
 * wait, the time to the first byte. Which call changes it is in requests.h.
 *
 * Each change of the word is one atomic exchange and whoever made it does the counting, so that opened -
 * answered - closed = sum of the wheels, always.
 */
#ifndef PILE_BPF_WORD_H
#define PILE_BPF_WORD_H

#include "maps.h"

static __always_inline struct pile_bpf_shard *shard_get(__u32 group,
							const struct pile_bpf_control *ctl)
{
	__u32 cpu = bpf_get_smp_processor_id(), key;

	if (cpu >=
	    ctl->n_shards) /* a division costs 8 ns: only where there are more CPUs than shards */
		cpu %= ctl->n_shards;
	key = group * ctl->n_shards + cpu;
	return bpf_map_lookup_elem(&shards, &key);
}

static __always_inline __u64 slot_of(__u64 ns)
{
	return (ns >> PILE_WHEEL_SLOT_SHIFT) % PILE_WHEEL_SLOTS;
}

static __always_inline void wheel_add(struct pile_bpf_shard *shard, __u64 word, __s32 n)
{
	__u64 slot = word & PILE_OPEN_SLOT_MASK;

	if (slot > PILE_SLOT_OLDER)
		return;
	__sync_fetch_and_add(&shard->wheel[(word & PILE_OPEN_GENERATION) != 0][slot], n);
}

static __always_inline __u64 word_make(__u64 now, const struct pile_bpf_control *ctl)
{
	return (now & PILE_OPEN_TIME_MASK) | slot_of(now) |
	       (ctl->generation ? PILE_OPEN_GENERATION : 0);
}

/*
 * A bucket of the first-byte histogram: 4 an octave, the octave by the highest bit, the quarter by
 * the next two.
 */
static __always_inline __u32 log2_u64(__u64 v)
{
	__u32 r = 0;

	if (v >> 32) {
		v >>= 32;
		r += 32;
	}
	if (v >> 16) {
		v >>= 16;
		r += 16;
	}
	if (v >> 8) {
		v >>= 8;
		r += 8;
	}
	if (v >> 4) {
		v >>= 4;
		r += 4;
	}
	if (v >> 2) {
		v >>= 2;
		r += 2;
	}
	return r + (v >> 1);
}

static __always_inline __u32 latency_bucket(__u64 ns)
{
	__u32 octave;

	if (ns < (1ULL << PILE_LATENCY_MIN_SHIFT))
		return 0;
	octave = log2_u64(ns);
	if (octave >= PILE_LATENCY_MIN_SHIFT + PILE_LATENCY_OCTAVES)
		return PILE_LATENCY_BUCKETS - 1;
	return 1 + (octave - PILE_LATENCY_MIN_SHIFT) * 4 + ((ns >> (octave - 2)) & 3);
}

/* Not the current process: an answer may be noticed in the softirq that brings the next request. */
static __always_inline void worker_answered(__u32 tgid, __u64 ns)
{
	struct pile_bpf_worker *worker = bpf_map_lookup_elem(&workers, &tgid);
	__u32 bucket;

	if (!worker)
		return;
	bucket = ns < (1ULL << PILE_LATENCY_MIN_SHIFT) ? 0 : log2_u64(ns) - PILE_LATENCY_MIN_SHIFT;
	if (bucket >= PILE_WORKER_BUCKETS)
		bucket = PILE_WORKER_BUCKETS - 1;
	/* not atomic: nearly always one thread's, and a lost one blurs a table */
	worker->answered++;
	worker->latency[bucket & (PILE_WORKER_ARRAY - 1)]++;
}

static __always_inline void request_open(struct pile_bpf_socket *st, __u32 sent)
{
	struct pile_bpf_control *ctl = control_get();
	struct pile_bpf_shard *shard;
	__u64 word;

	if (!ctl)
		return;
	word = word_make(bpf_ktime_get_ns(), ctl);
	st->sent = sent;
	if (__sync_val_compare_and_swap(&st->open, 0, word) != 0)
		return;
	shard = shard_get(st->group, ctl);
	if (!shard)
		return;
	__sync_fetch_and_add(&shard->opened, 1);
	wheel_add(shard, word, 1);
}

/* From one word to another, and from one place of a wheel to another with it; not where somebody else was first. */
static __always_inline void request_move(struct pile_bpf_socket *st, __u64 old, __u64 word,
					 const struct pile_bpf_control *ctl)
{
	struct pile_bpf_shard *shard;

	if (__sync_val_compare_and_swap(&st->open, old, word) != old)
		return;
	shard = shard_get(st->group, ctl);
	if (!shard)
		return;
	wheel_add(shard, old, -1);
	wheel_add(shard, word, 1);
}

/* Another chunk of an upload: the clock starts again (once a slot is fine enough). */
static __always_inline void request_touch(struct pile_bpf_socket *st, __u64 old)
{
	struct pile_bpf_control *ctl = control_get();
	__u64 word;

	if (!ctl)
		return;
	word = word_make(bpf_ktime_get_ns(), ctl);
	if ((word >> PILE_WHEEL_SLOT_SHIFT) != (old >> PILE_WHEEL_SLOT_SHIFT))
		request_move(st, old, word, ctl);
}

static __always_inline void request_end(struct pile_bpf_socket *st, bool answered)
{
	struct pile_bpf_control *ctl;
	struct pile_bpf_shard *shard;
	__u64 word, age;
	__u32 bucket;

	if (!st->open)
		return;
	word = __sync_lock_test_and_set(&st->open, 0);
	if (!word)
		return;
	ctl = control_get();
	if (!ctl)
		return;
	shard = shard_get(st->group, ctl);
	if (!shard)
		return;
	wheel_add(shard, word, -1);
	if (!answered) {
		__sync_fetch_and_add(&shard->closed, 1);
		return;
	}
	age = bpf_ktime_get_ns() - (word & PILE_OPEN_TIME_MASK);
	__sync_fetch_and_add(&shard->answered, 1);
	bucket = latency_bucket(age);
	/* not atomic: one lost to an interrupt moves no quantile; what is conserved is counted above */
	shard->latency[bucket & (PILE_LATENCY_ARRAY - 1)]++;
	worker_answered(st->worker, age);
}

#endif

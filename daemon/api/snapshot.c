// SPDX-License-Identifier: GPL-2.0-or-later
#include "api/snapshot.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "util/macro.h"

/* A copy takes some 0.1 ms, a tick 100 ms: a second try is rare, a hundredth means that something
 * is wrong. */
#define READ_TRIES 100

/* 0.1 s is what it should be; past 0.2 s a tick is lost, past 0.5 s the kernel's loop decides, at 10 s: watchdog */
const uint64_t pile_snapshot_gap_ns[PILE_GAP_BUCKETS - 1] = {
	150 * NS_PER_MS, 250 * NS_PER_MS, 500 * NS_PER_MS, NS_PER_SEC, 5 * NS_PER_SEC,
};

static uint64_t sequence_get(const struct pile_snapshot_half *half, int order)
{
	return __atomic_load_n(&half->sequence, order);
}

struct pile_snapshot_half *pile_snapshot_begin(struct pile_snapshot *shared)
{
	uint32_t current = atomic_load_explicit(&shared->current, memory_order_relaxed) & 1;
	struct pile_snapshot_half *half = &shared->halves[1 - current];
	uint64_t newest = sequence_get(&shared->halves[current], __ATOMIC_RELAXED);

	/* Odd, and above both halves' numbers, also when a writer died in the middle. */
	__atomic_store_n(&half->sequence, (newest & ~1ULL) + 1, __ATOMIC_RELAXED);
	/* The odd number must be seen before any of the new contents are. */
	atomic_thread_fence(memory_order_release);
	return half;
}

void pile_snapshot_publish(struct pile_snapshot *shared, struct pile_snapshot_half *half)
{
	uint64_t odd = sequence_get(half, __ATOMIC_RELAXED);

	/* Release: whoever sees the even number, or the new index, sees all of the contents. */
	__atomic_store_n(&half->sequence, odd + 1, __ATOMIC_RELEASE);
	atomic_store_explicit(&shared->current, half == &shared->halves[1] ? 1 : 0,
			      memory_order_release);
}

/** Copies the used part of one half. Counts are read once, from the private copy, and clamped
 * there. */
static void half_copy(const struct pile_snapshot_half *from, struct pile_snapshot_half *ret)
{
	memcpy(ret, from, offsetof(struct pile_snapshot_half, groups));
	ret->n_groups = MIN(ret->n_groups, (uint32_t)PILE_GROUPS_MAX);
	ret->n_listeners = MIN(ret->n_listeners, (uint32_t)PILE_SNAPSHOT_LISTENERS);
	ret->n_dependencies = MIN(ret->n_dependencies, (uint32_t)PILE_SNAPSHOT_DEPENDENCIES);
	ret->n_workers = MIN(ret->n_workers, (uint32_t)PILE_SNAPSHOT_WORKERS);
	ret->n_events = MIN(ret->n_events, (uint32_t)PILE_SNAPSHOT_EVENTS);
	ret->n_explains = MIN(ret->n_explains, (uint32_t)PILE_SNAPSHOT_EXPLAINS);

	memcpy(ret->groups, from->groups, ret->n_groups * sizeof(ret->groups[0]));
	memcpy(ret->listeners, from->listeners, ret->n_listeners * sizeof(ret->listeners[0]));
	memcpy(ret->dependencies, from->dependencies,
	       ret->n_dependencies * sizeof(ret->dependencies[0]));
	memcpy(ret->workers, from->workers, ret->n_workers * sizeof(ret->workers[0]));
	memcpy(ret->events, from->events, ret->n_events * sizeof(ret->events[0]));
	memcpy(ret->explains, from->explains, ret->n_explains * sizeof(ret->explains[0]));

	ret->policy_text_len = MIN(from->policy_text_len, (uint32_t)sizeof(ret->policy_text) - 1);
	memcpy(ret->policy_text, from->policy_text, ret->policy_text_len);
	ret->policy_text[ret->policy_text_len] = '\0';
}

/** A bool that came from another process may hold any byte. */
static void bool_clamp(bool *value)
{
	uint8_t byte;

	memcpy(&byte, value, sizeof(byte));
	*value = byte != 0;
}

#define TERMINATE(text) ((text)[sizeof(text) - 1] = '\0')

static void host_sanitize(struct pile_snapshot_host *host)
{
	TERMINATE(host->hostname);
	TERMINATE(host->kernel);
	TERMINATE(host->version);
	TERMINATE(host->tier);
	TERMINATE(host->missing);
	TERMINATE(host->policy_source);
	TERMINATE(host->policy_hash);
	TERMINATE(host->policy_trouble);
	TERMINATE(host->policy_path);
	TERMINATE(host->policy_revision);
	host->n_fingerprints = MIN(host->n_fingerprints, PILE_FINGERPRINTS_MAX);
	for (uint32_t i = 0; i < host->n_fingerprints; i++) {
		TERMINATE(host->fingerprints[i].path);
		TERMINATE(host->fingerprints[i].sha256);
	}
	TERMINATE(host->disarmed_by);
	TERMINATE(host->selftest_failed);
	bool_clamp(&host->selftest_passed);
	bool_clamp(&host->disarmed);
	bool_clamp(&host->sensors_missing);
	bool_clamp(&host->outside_share);
	bool_clamp(&host->network_suspect);
	bool_clamp(&host->loop);
}

static void group_sanitize(struct pile_snapshot_group *group)
{
	TERMINATE(group->name);
	TERMINATE(group->unit);
	TERMINATE(group->cgroup);
	TERMINATE(group->would_have);
	TERMINATE(group->outside_why);
	bool_clamp(&group->matched);
	bool_clamp(&group->place);
	bool_clamp(&group->configured);
	bool_clamp(&group->foreign);
	bool_clamp(&group->gate_ready);
	bool_clamp(&group->gate_missing);
	bool_clamp(&group->learned_long_poll);
	bool_clamp(&group->leak);
	bool_clamp(&group->stop_down);
	bool_clamp(&group->stop_late);
	bool_clamp(&group->throttle_over);
	bool_clamp(&group->sample.used);
	bool_clamp(&group->sample.present);
}

static void candidate_sanitize(struct pile_candidate *candidate)
{
	TERMINATE(candidate->comm);
	bool_clamp(&candidate->connecting);
	bool_clamp(&candidate->home);
	bool_clamp(&candidate->master);
	bool_clamp(&candidate->alone);
}

static void explain_sanitize(struct pile_explain *explain)
{
	TERMINATE(explain->group);
	TERMINATE(explain->unit);
	TERMINATE(explain->endpoint.path);
	TERMINATE(explain->why.waits_for.path);
	bool_clamp(&explain->why.risk_memory);
	bool_clamp(&explain->why.risk_pool);
	bool_clamp(&explain->why.always);
	bool_clamp(&explain->why.by_hand);
	bool_clamp(&explain->why.own_probe);
	bool_clamp(&explain->why.in_kernel);
	bool_clamp(&explain->why.by_share);
	bool_clamp(&explain->why.mute);
	bool_clamp(&explain->why.evict.idle);
	bool_clamp(&explain->why.stop.early);
	bool_clamp(&explain->why.stop.late);
	TERMINATE(explain->why.throttle.protected_name);
	explain->candidates.n = MIN(explain->candidates.n, (uint32_t)PILE_CANDIDATES_MAX);
	for (uint32_t i = 0; i < explain->candidates.n; i++)
		candidate_sanitize(&explain->candidates.list[i]);
}

static void half_sanitize(struct pile_snapshot_half *half)
{
	host_sanitize(&half->host);
	for (uint32_t i = 0; i < half->n_groups; i++)
		group_sanitize(&half->groups[i]);
	for (uint32_t i = 0; i < half->n_listeners; i++) {
		TERMINATE(half->listeners[i].endpoint.path);
		TERMINATE(half->listeners[i].blind);
		bool_clamp(&half->listeners[i].mptcp);
		bool_clamp(&half->listeners[i].counted);
	}
	for (uint32_t i = 0; i < half->n_dependencies; i++) {
		TERMINATE(half->dependencies[i].sample.endpoint.path);
		bool_clamp(&half->dependencies[i].dead);
		bool_clamp(&half->dependencies[i].mute);
		bool_clamp(&half->dependencies[i].sample.speaks_first);
	}
	for (uint32_t i = 0; i < half->n_workers; i++)
		TERMINATE(half->workers[i].comm);
	for (uint32_t i = 0; i < half->n_events; i++) {
		TERMINATE(half->events[i].group);
		TERMINATE(half->events[i].unit);
		TERMINATE(half->events[i].destination);
		TERMINATE(half->events[i].text);
	}
	for (uint32_t i = 0; i < half->n_explains; i++)
		explain_sanitize(&half->explains[i]);
}

int pile_snapshot_read(const struct pile_snapshot *shared, struct pile_snapshot_half *ret)
{
	if (shared->magic != PILE_SNAPSHOT_MAGIC || shared->size != sizeof(*shared))
		return -EPROTO;

	for (int i = 0; i < READ_TRIES; i++) {
		uint32_t current = atomic_load_explicit(&shared->current, memory_order_acquire) & 1;
		const struct pile_snapshot_half *half = &shared->halves[current];
		uint64_t before = sequence_get(half, __ATOMIC_ACQUIRE);

		if (before == 0 || before & 1)
			continue;
		half_copy(half, ret);
		/* The copy must be done before the number is looked at again. */
		atomic_thread_fence(memory_order_acquire);
		if (sequence_get(half, __ATOMIC_RELAXED) != before)
			continue;
		ret->sequence = before;
		half_sanitize(ret);
		return 0;
	}
	return -EAGAIN;
}

uint64_t pile_snapshot_sequence(const struct pile_snapshot *shared)
{
	uint32_t current = atomic_load_explicit(&shared->current, memory_order_acquire) & 1;

	return sequence_get(&shared->halves[current], __ATOMIC_ACQUIRE);
}

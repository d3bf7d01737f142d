// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * publish.c: what the guard knows, copied into the half of the snapshot that nobody reads, then
 * published.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "groups/proc.h"
#include "guard.h"
#include "util/clock.h"

#define CALM_EVERY_TICKS 5
/* what costs system calls, in the tick after a sweep was settled */
#define WORKERS_EVERY_TICKS 10
#define WORKERS_TICK 3

int pile_publish_open(struct pile_guard *g)
{
	int fd = memfd_create("pileguard-snapshot", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	void *p;

	if (fd < 0)
		return -errno;
	g->child.snapshot_fd = fcntl(fd, F_DUPFD_CLOEXEC, 32);
	close(fd);
	fd = g->child.snapshot_fd;
	if (fd < 0 || ftruncate(fd, sizeof(struct pile_snapshot)) < 0)
		return -errno;
	p = mmap(NULL, sizeof(struct pile_snapshot), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		return -errno;
	/*
	 * after this only the mapping above can write: the api process cannot change what it shows
	 */
	if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE) < 0)
		return -errno;
	uname(&g->host);
	g->shared = p;
	g->shared->magic = PILE_SNAPSHOT_MAGIC;
	g->shared->size = sizeof(struct pile_snapshot);
	return 0;
}

static void own_cost(struct pile_snapshot_host *h)
{
	unsigned long long size, resident;
	struct rusage usage;
	char text[128];

	if (getrusage(RUSAGE_SELF, &usage) == 0)
		h->guard_cpu_ns =
			(uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * NS_PER_SEC +
			(uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * NS_PER_US;
	if (pile_proc_read("/proc/self/statm", text, sizeof(text)) > 0 &&
	    sscanf(text, "%llu %llu", &size, &resident) == 2)
		h->guard_rss_bytes = resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void host_policy(const struct pile_guard *g, struct pile_snapshot_host *h)
{
	snprintf(h->policy_source, sizeof(h->policy_source), "%s", g->policy.source);
	snprintf(h->policy_hash, sizeof(h->policy_hash), "%s", g->policy.hash);
	snprintf(h->policy_trouble, sizeof(h->policy_trouble), "%s", g->policy_trouble);
	h->policy_generation = g->generation;
	snprintf(h->policy_path, sizeof(h->policy_path), "%s", g->options.policy_path);
	snprintf(h->policy_revision, sizeof(h->policy_revision), "%s", g->policy.revision);
	h->policy_files = g->files_state;
	h->enforce_share_permille = g->policy.enforce_share_permille;
	h->outside_share = g->view.outside_share;
	h->policy_committed_realtime_ns = g->committed_realtime_ns;
	h->reloads = g->reloads;
	h->reloads_refused = g->reloads_refused;
	h->n_fingerprints = g->watch.n_fingerprints;
	for (uint32_t i = 0; i < h->n_fingerprints; i++) {
		const struct pile_watch_fingerprint *from = &g->watch.fingerprints[i];
		struct pile_snapshot_fingerprint *to = &h->fingerprints[i];

		snprintf(to->path, sizeof(to->path), "%s", from->path);
		snprintf(to->sha256, sizeof(to->sha256), "%s", from->sha256);
	}
}

static void host_selftest(const struct pile_guard *g, struct pile_snapshot_host *h)
{
	const struct pile_selftest *t = &g->selftest.last;

	h->selftest_ns = g->selftest.at_ns;
	h->selftest_realtime_ns = g->selftest.at_realtime_ns;
	h->selftest_passed = g->selftest.at_ns && t->step == PILE_SELFTEST_PASSED;
	h->selftest_refuse_ns = t->refuse_ns;
	h->selftest_end_ns = t->end_ns;
	h->selftest_failed[0] = '\0';
	if (g->selftest.at_ns && t->step != PILE_SELFTEST_PASSED)
		snprintf(h->selftest_failed, sizeof(h->selftest_failed), "cannot %s (%s)",
			 pile_selftest_step_name(t->step), pile_selftest_error_name(t->error));
}

static void host_fill(const struct pile_guard *g, struct pile_snapshot_host *h)
{
	snprintf(h->hostname, sizeof(h->hostname), "%s", g->host.nodename);
	snprintf(h->kernel, sizeof(h->kernel), "%s", g->host.release);
	snprintf(h->version, sizeof(h->version), "%s", PILE_VERSION);
	h->started_ns = g->started_ns;
	h->started_realtime_ns = g->started_realtime_ns;
	h->mode = g->view.mode;
	h->disarmed = g->disarm.now.on;
	snprintf(h->disarmed_by, sizeof(h->disarmed_by), "%s", g->disarm.now.by);
	h->disarmed_since_realtime_ns = g->disarm.now.since_realtime_ns;
	h->disarmed_until_realtime_ns = g->disarm.now.until_realtime_ns;
	h->n_cpus = g->sample.n_cpus;
	snprintf(h->tier, sizeof(h->tier), "%s", pile_kernel_tier_name(g->kernel.tier));
	snprintf(h->missing, sizeof(h->missing), "%s", g->missing);
	h->sensors_missing = g->sensors_missing;
	h->memory_total_bytes = g->sample.memory_total_bytes;
	h->memory_available_bytes = g->sample.memory_available_bytes;
	h->ticks = g->ticks;
	h->ticks_late = g->ticks_late;
	h->worst_gap_ns = g->worst_gap_ns;
	h->tick_cost_ns = g->tick_cost_ns;
	memcpy(h->gaps, g->gaps, sizeof(h->gaps));
	h->gaps_sum_ns = g->gaps_sum_ns;
	host_selftest(g, h);
	h->loop = g->kernel.loop;
	h->loop_ticks = g->kernel.totals->loop_ticks;
	h->loop_worst_gap_ns = g->kernel.totals->loop_worst_gap_ns;
	h->loop_opened = g->kernel.totals->loop_opened;
	h->loop_lost = g->kernel.totals->loop_lost;
	h->sockets_followed = g->sense.sockets;
	h->sweeps = g->sense.sweeps;
	h->sweep_cost_ns = g->sense.sweep_cost_ns;
	h->destinations_lost = g->sense.destinations_lost + g->kernel.totals->destinations_lost;
	h->recursion_misses = g->cost.misses;
	h->bpf_run_ns = g->cost.run_ns;
	h->bpf_run_count = g->cost.runs;
	h->not_followed = g->losses_said;
	h->waits_not_ended = g->act.ends_failed + g->act.out_of_reach + g->sense.pending_lost;
	h->lines_dropped = g->slow.lines_dropped;
	h->network_suspect = g->decide.network.suspect;
	h->opened_total = g->record.opened_total;
	h->refused_total = g->record.refused_total;
	h->ended_total = g->record.ended_total;
	h->closed_total = g->record.closed_total;
	h->would_open_total = g->record.would_open_total;
	h->shed_total = g->decide.sheds.refused;
	h->evicted_total = g->record.evicted_total;
	h->would_evict_total = g->record.would_evict_total;
	h->stopped_total = g->record.stopped_total;
	h->would_stop_total = g->record.would_stop_total;
	h->throttled_total = g->record.throttled_total;
	h->would_throttle_total = g->record.would_throttle_total;
	h->useless_total = g->record.useless_total;
	h->waited_ratio_milli = g->decide.throttles.starves.last.ratio_milli;
	h->drift = 0;
	for (uint32_t i = 0; i < g->groups.n_groups; i++)
		if (g->groups.groups[i].used)
			h->drift += g->sample.groups[i].drift;
	host_policy(g, h);
}

/* What is known of a destination beside what the sensors saw: the breaker, and the operator's hand. NULL: no room. */
static struct pile_snapshot_dependency *row_add(const struct pile_guard *g,
						struct pile_snapshot_half *half,
						const uint32_t *index, uint32_t group,
						const struct pile_endpoint *endpoint)
{
	const struct pile_breakers *breakers = &g->decide.breakers;
	const struct pile_breaker *b = pile_breakers_find(breakers, group, endpoint);
	const struct pile_hand *held =
		pile_hands_find(&breakers->hands, group, endpoint, true, half->t_ns);
	const struct pile_hand *released =
		pile_hands_find(&breakers->hands, group, endpoint, false, half->t_ns);
	struct pile_snapshot_dependency *row;

	if (index[group] == PILE_NO_GROUP || half->n_dependencies == PILE_SNAPSHOT_DEPENDENCIES)
		return NULL;
	row = &half->dependencies[half->n_dependencies++];
	memset(row, 0, sizeof(*row));
	row->sample.group = index[group];
	row->sample.endpoint = *endpoint;
	row->held_until_ns = held ? held->until_ns : 0;
	row->released_until_ns = released ? released->until_ns : 0;
	if (!b)
		return row;
	row->state = b->state;
	row->explain_id = b->explain_id;
	row->blocked = b->blocked;
	row->mute = b->why.mute;
	row->probes = b->probes;
	return row;
}

/* @endpoint: a release may leave its port open. */
static bool has_row(const struct pile_snapshot_half *half, uint32_t group,
		    const struct pile_endpoint *endpoint)
{
	for (uint32_t i = 0; i < half->n_dependencies; i++)
		if (half->dependencies[i].sample.group == group &&
		    pile_endpoint_matches(endpoint, &half->dependencies[i].sample.endpoint))
			return true;
	return false;
}

/*
 * What no sensor has met is shown all the same: a destination that is held, and so refused, before anybody has
 * connected there; a release of one that nobody asks now.
 */
static void unmet_fill(const struct pile_guard *g, struct pile_snapshot_half *half,
		       const uint32_t *index)
{
	for (uint32_t i = 0; i < g->act.n_gates; i++) {
		const struct pile_act_gate *gate = &g->act.gates[i];
		struct pile_snapshot_dependency *row = NULL;

		if (gate->used && !has_row(half, index[gate->group], &gate->endpoint))
			row = row_add(g, half, index, gate->group, &gate->endpoint);
		if (!row)
			continue;
		row->sample.refused = gate->counts.refused;
		row->sample.admitted = MIN(gate->counts.admitted, gate->value.allow);
	}
	for (int i = 0; i < PILE_HANDS_MAX; i++) {
		const struct pile_hand *hand = &g->decide.breakers.hands.table[i];

		if (hand->used && !hand->hold && hand->until_ns > half->t_ns &&
		    !pile_shed_is_listener(&g->decide.sheds, hand->group, &hand->endpoint) &&
		    hand->endpoint.family != AF_UNIX &&
		    !has_row(half, index[hand->group], &hand->endpoint))
			row_add(g, half, index, hand->group, &hand->endpoint);
	}
}

static void hands_count(const struct pile_guard *g, struct pile_snapshot_half *half)
{
	half->host.holds = half->host.releases = 0;
	for (int i = 0; i < PILE_HANDS_MAX; i++) {
		const struct pile_hand *hand = &g->decide.breakers.hands.table[i];

		if (!hand->used || hand->until_ns <= half->t_ns)
			continue;
		half->host.holds += hand->hold;
		half->host.releases += !hand->hold;
	}
}

static void dependencies_fill(const struct pile_guard *g, struct pile_snapshot_half *half,
			      const uint32_t *index)
{
	half->n_dependencies = 0;
	half->host.dead_not_at_risk = 0;
	for (uint32_t i = 0; i < g->sample.n_dependencies; i++) {
		const struct pile_sample_dependency *d = &g->sample.dependencies[i];
		struct pile_snapshot_dependency *row =
			row_add(g, half, index, d->group, &d->endpoint);
		const struct pile_proof *proof;

		if (!row)
			continue;
		row->sample = *d;
		row->sample.group = index[d->group];
		proof = d->connecting
				? pile_proofs_find((struct pile_proofs *)&g->decide.breakers.proofs,
						   d->group, &d->endpoint)
				: NULL;
		row->dead = proof && proof->dead;
		half->host.dead_not_at_risk += row->dead && !row->state;
	}
	unmet_fill(g, half, index);
	hands_count(g, half);
}

static void worker_fill(struct pile_guard *g, struct pile_snapshot_half *half, uint32_t pid,
			const struct pile_bpf_worker *counts, uint32_t group)
{
	struct pile_snapshot_worker *to = &half->workers[half->n_workers++];
	const struct pile_sense_worker *seen = pile_requests_worker(&g->sense, pid);
	const struct pile_growth_worker *held = pile_growth_find(&g->sense.growth, pid);

	memset(to, 0, sizeof(*to));
	to->pid = pid;
	to->group = group;
	to->answered = counts->answered;
	to->p50_ns = pile_requests_quantile(counts->latency, PILE_WORKER_BUCKETS, 500, 1);
	to->p99_ns = pile_requests_quantile(counts->latency, PILE_WORKER_BUCKETS, 990, 1);
	if (seen) {
		to->waiting = seen->waiting;
		to->connections = seen->connections;
		if (seen->oldest_open_ns && half->t_ns > seen->oldest_open_ns)
			to->oldest_ns = half->t_ns - seen->oldest_open_ns;
	}
	if (!held)
		return;
	to->rss_bytes = held->resident_bytes;
	to->private_bytes = held->private_bytes;
	to->rate_bytes = held->rate_bytes;
	memcpy(to->comm, held->comm, sizeof(to->comm));
}

/* Of a group that is shown. @others: only of those that the walk has not told as one that comes first. */
static void worker_publish(struct pile_guard *g, struct pile_snapshot_half *half, uint32_t pid,
			   const uint32_t *index, bool others)
{
	const struct pile_growth_worker *held;
	struct pile_bpf_worker counts;

	if (pile_kernel_worker_get(&g->kernel, pid, &counts) < 0 ||
	    counts.group >= PILE_GROUPS_MAX || index[counts.group] == PILE_NO_GROUP)
		return;
	held = pile_growth_find(&g->sense.growth, pid);
	if (!others || !held || !pile_growth_first(&g->sense.growth, held))
		worker_fill(g, half, pid, &counts, index[counts.group]);
}

/* Once a second, after a sweep: a microsecond a worker. Those of groups that the policy names come first. */
static void workers_fill(struct pile_guard *g, struct pile_snapshot_half *half,
			 const uint32_t *index)
{
	const struct pile_growth *growth = &g->sense.growth;
	uint32_t pid, *prev = NULL;

	half->n_workers = 0;
	for (uint32_t i = 0; i < growth->n; i++)
		if (pile_growth_first(growth, &growth->workers[i]))
			worker_publish(g, half, growth->workers[i].pid, index, false);
	for (int i = 0; i < PILE_WORKERS_MAX && half->n_workers < PILE_SNAPSHOT_WORKERS; i++) {
		if (pile_kernel_worker_next(&g->kernel, prev, &pid) < 0)
			return;
		prev = &pid;
		worker_publish(g, half, pid, index, true);
	}
}

static void records_fill(const struct pile_guard *g, struct pile_snapshot_half *half)
{
	const struct pile_record *r = &g->record;
	uint64_t first = r->next_seq - r->n_events;

	half->n_events = r->n_events;
	for (uint32_t i = 0; i < r->n_events; i++)
		half->events[i] = r->events[(first + i) % PILE_RECORD_EVENTS];
	half->n_explains = r->n_explains;
	memcpy(half->explains, r->explains, r->n_explains * sizeof(r->explains[0]));
}

static void half_publish(struct pile_guard *g, uint64_t now_ns)
{
	const struct pile_snapshot_half *last = &g->shared->halves[g->shared->current & 1];
	struct pile_snapshot_half *half = pile_snapshot_begin(g->shared);
	uint32_t index[PILE_GROUPS_MAX];
	size_t len;

	half->t_ns = now_ns;
	half->realtime_ns = pile_clock_ns(CLOCK_REALTIME);
	/* what costs system calls is taken over from the last half between seconds */
	half->host.guard_cpu_ns = last->host.guard_cpu_ns;
	half->host.guard_rss_bytes = last->host.guard_rss_bytes;
	host_fill(g, &half->host);
	pile_publish_groups(g, half, index);
	pile_publish_listeners(g, half, index);
	dependencies_fill(g, half, index);
	if (g->ticks % WORKERS_EVERY_TICKS == WORKERS_TICK) {
		own_cost(&half->host);
		workers_fill(g, half, index);
	} else {
		half->n_workers = last->n_workers;
		memcpy(half->workers, last->workers, last->n_workers * sizeof(last->workers[0]));
	}
	records_fill(g, half);
	len = strlen(g->policy_text);
	memcpy(half->policy_text, g->policy_text, len + 1);
	half->policy_text_len = (uint32_t)len;
	pile_snapshot_publish(g->shared, half);
}

/*
 * Each tick while something happens: an event, a wait, a gate. Else twice a second: copying what has not changed is
 * most of what a calm tick costs.
 */
static bool is_due(const struct pile_guard *g)
{
	if (g->ticks % CALM_EVERY_TICKS == WORKERS_TICK % CALM_EVERY_TICKS || g->n_intents ||
	    g->record.next_seq != g->published_seq || g->sense.n_pending)
		return true;
	if (g->act.n_gates)
		return true;
	for (uint32_t i = 0; i < g->groups.n_groups; i++)
		if (g->sample.groups[i].used && g->sample.groups[i].waiting)
			return true;
	return false;
}

void pile_publish(struct pile_guard *g, uint64_t now_ns)
{
	if (g->ticks && !is_due(g))
		return;
	g->published_seq = g->record.next_seq;
	half_publish(g, now_ns);
}

// SPDX-License-Identifier: GPL-2.0-or-later
/* requests.c: requests per group from the shards, workers from the sweep. */
#include <string.h>

#include "sense/sense.h"

/* The upper edge of a bucket: what a quantile may at most be. */
static uint64_t bucket_edge(size_t bucket, uint32_t per_octave)
{
	uint64_t base;
	uint32_t octave;

	if (per_octave == 1)
		return 1ULL << (PILE_LATENCY_MIN_SHIFT + bucket);
	if (bucket == 0)
		return 1ULL << PILE_LATENCY_MIN_SHIFT;
	octave = (uint32_t)(bucket - 1) / per_octave;
	base = 1ULL << (PILE_LATENCY_MIN_SHIFT + octave);
	return base + base * ((bucket - 1) % per_octave + 1) / per_octave;
}

uint64_t pile_requests_quantile(const uint32_t *counts, size_t n, uint32_t permille,
				uint32_t per_octave)
{
	uint64_t total = 0, want, seen = 0;

	for (size_t i = 0; i < n; i++)
		total += counts[i];
	if (!total)
		return 0;
	want = (total * permille + 999) / 1000;
	for (size_t i = 0; i < n; i++) {
		seen += counts[i];
		if (seen >= want)
			return bucket_edge(i, per_octave);
	}
	return bucket_edge(n - 1, per_octave);
}

static void latency_update(struct pile_sense *s, uint32_t group,
			   const struct pile_kernel_counts *counts, bool new_second,
			   struct pile_sample_group *ret)
{
	struct pile_sense_latency *latency = &s->groups[group].latency;
	uint32_t now = s->second % (PILE_SENSE_WINDOW_S + 1), diff[PILE_LATENCY_BUCKETS];
	const uint32_t *then = latency->counts[(now + 1) % (PILE_SENSE_WINDOW_S + 1)];

	if (!new_second)
		return;
	for (int b = 0; b < PILE_LATENCY_BUCKETS; b++) {
		latency->counts[now][b] = (uint32_t)counts->latency[b];
		diff[b] = latency->counts[now][b] - then[b];
	}
	ret->p50_ns = pile_requests_quantile(diff, PILE_LATENCY_BUCKETS, 500, 4);
	ret->p99_ns = pile_requests_quantile(diff, PILE_LATENCY_BUCKETS, 990, 4);
}

/* The wheel's absolute slots, turned into ages. */
static void ages_fill(const struct pile_kernel_counts *counts, uint64_t now_ns,
		      struct pile_sample_group *ret)
{
	uint32_t now_slot = (uint32_t)(now_ns >> PILE_WHEEL_SLOT_SHIFT) % PILE_WHEEL_SLOTS;
	int oldest = -1;

	for (uint32_t age = 0; age <= PILE_WHEEL_SLOTS; age++) {
		uint32_t slot = age == PILE_WHEEL_SLOTS
					? PILE_WHEEL_SLOTS
					: (now_slot + PILE_WHEEL_SLOTS - age) % PILE_WHEEL_SLOTS;
		int64_t n = counts->wheel[slot];

		ret->age[age] = n > 0 ? (uint32_t)MIN(n, UINT32_MAX) : 0;
		if (n > 0)
			oldest = (int)age;
	}
	/*
	 * "older" begins where the sweep starts to use it: 12 slots before the wheel's end
	 * (bpf/sweep.bpf.c)
	 */
	if (oldest == PILE_WHEEL_SLOTS)
		oldest = PILE_WHEEL_SLOTS - 12;
	ret->oldest_ns = oldest <= 0 ? 0 : (uint64_t)oldest * PILE_WHEEL_SLOT_NS;
	if (oldest == 0)
		ret->oldest_ns = 1;
}

/*
 * All that began has ended, so the wheels are empty (opened - answered - closed = their sum, by construction) and
 * need not be read: a kilobyte a group and processor. Read all the same once a second.
 */
static bool nobody_waits(const struct pile_kernel_counts *counts, const struct pile_sense_group *sg)
{
	return (int64_t)(counts->opened - counts->answered - counts->closed) == sg->drift;
}

static void group_sample(struct pile_sense *s, struct pile_kernel *k, uint32_t slot,
			 uint64_t now_ns, bool new_second, struct pile_sample_group *ret)
{
	struct pile_sense_group *sg = &s->groups[slot];
	struct pile_kernel_counts counts;
	int64_t closed;
	bool whole;

	pile_kernel_totals_read(k, slot, &counts);
	whole = new_second || ret->waiting || !nobody_waits(&counts, sg);
	if (whole)
		pile_kernel_counts_read(k, slot, new_second, &counts);
	closed = (int64_t)counts.closed + sg->drift;
	ret->opened = counts.opened;
	ret->answered = counts.answered;
	ret->closed = closed > 0 ? (uint64_t)closed : 0;
	ret->drift = sg->drift > 0 ? (uint64_t)sg->drift : 0;
	ret->busy = s->busy[slot];
	if (!whole)
		return;
	ret->waiting = counts.waiting > 0 ? (uint32_t)counts.waiting : 0;
	ages_fill(&counts, now_ns, ret);
	latency_update(s, slot, &counts, new_second, ret);
}

void pile_requests_sample(struct pile_sense *s, struct pile_kernel *k, struct pile_groups *g,
			  uint64_t now_ns, struct pile_sample *ret)
{
	bool new_second = now_ns - s->second_ns >= NS_PER_SEC;

	if (new_second) {
		s->second_ns = now_ns;
		s->second++;
	}
	for (uint32_t i = 0; i < MAX(g->n_groups, s->n_groups); i++) {
		ret->groups[i].used = i < g->n_groups && g->groups[i].used;
		ret->groups[i].present = ret->groups[i].used && g->groups[i].present;
		if (!ret->groups[i].used)
			continue;
		group_sample(s, k, i, now_ns, new_second, &ret->groups[i]);
		ret->groups[i].backlog = 0;
	}
	s->n_groups = g->n_groups;
	for (uint32_t i = 0; i < g->n_listeners; i++)
		if (g->listeners[i].used)
			ret->groups[g->listeners[i].group].backlog += g->listeners[i].backlog;
}

struct sweep {
	struct pile_sense *s;
	struct pile_groups *g;
	uint32_t met[2]; /* sockets of groups that the policy does not name, and that it names */
};

static struct pile_sense_worker *worker_slot(struct pile_sense *s, uint32_t pid)
{
	uint32_t at = (pid * 2654435761u) % PILE_SENSE_WORKERS_MAX;

	for (uint32_t i = 0; i < PILE_SENSE_WORKERS_MAX; i++) {
		struct pile_sense_worker *w = &s->workers[(at + i) % PILE_SENSE_WORKERS_MAX];

		if (w->pid == pid)
			return w;
		if (!w->pid) {
			if (s->n_workers >= PILE_SENSE_WORKERS_MAX * 3 / 4)
				return NULL;
			s->n_workers++;
			w->pid = pid;
			return w;
		}
	}
	return NULL;
}

const struct pile_sense_worker *pile_requests_worker(const struct pile_sense *s, uint32_t pid)
{
	uint32_t at = (pid * 2654435761u) % PILE_SENSE_WORKERS_MAX;

	for (uint32_t i = 0; i < PILE_SENSE_WORKERS_MAX; i++) {
		const struct pile_sense_worker *w = &s->workers[(at + i) % PILE_SENSE_WORKERS_MAX];

		if (w->pid == pid)
			return w;
		if (!w->pid)
			return NULL;
	}
	return NULL;
}

static void socket_see(struct sweep *sweep, const struct pile_bpf_record_socket *rec)
{
	struct pile_sense *s = sweep->s;
	struct pile_sense_worker *w;
	uint64_t arrival = rec->open & PILE_OPEN_TIME_MASK;

	s->sockets++;
	sweep->met[rec->group < PILE_GROUPS_MAX && s->named[rec->group]]++;
	if (!rec->worker || rec->group >= PILE_GROUPS_MAX)
		return;
	w = worker_slot(s, rec->worker);
	if (!w)
		return;
	if (!w->connections)
		s->busy[rec->group]++;
	w->group = rec->group;
	w->connections++;
	if (!rec->open)
		return;
	w->waiting++;
	if (!w->oldest_open_ns || arrival < w->oldest_open_ns)
		w->oldest_open_ns = arrival;
}

static void queue_see(struct sweep *sweep, const struct pile_bpf_record_queue *rec)
{
	for (uint32_t i = 0; i < sweep->g->n_listeners; i++)
		if (sweep->g->listeners[i].used && sweep->g->listeners[i].cookie == rec->cookie)
			sweep->g->listeners[i].backlog = rec->backlog;
}

static void record_see(const struct pile_bpf_record *record, void *arg)
{
	if (record->type == PILE_RECORD_SOCKET)
		socket_see(arg, (const void *)record);
	else if (record->type == PILE_RECORD_QUEUE)
		queue_see(arg, (const void *)record);
}

int pile_requests_sweep(struct pile_sense *s, struct pile_kernel *k, struct pile_groups *g)
{
	struct sweep sweep = { .s = s, .g = g };
	uint64_t before[2];
	int r;

	s->sockets = 0;
	s->n_workers = 0;
	memset(s->workers, 0, sizeof(s->workers));
	memset(s->busy, 0, sizeof(s->busy));
	pile_kernel_followed(k, PILE_FOLLOWED_SOCKETS, before);
	r = pile_kernel_sweep_sockets(k, record_see, &sweep);
	if (r == 0)
		pile_kernel_follow_allow(k, PILE_FOLLOWED_SOCKETS, before, sweep.met);
	return r;
}

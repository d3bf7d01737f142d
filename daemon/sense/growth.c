// SPDX-License-Identifier: GPL-2.0-or-later
#include "sense/growth.h"

#include <string.h>

#include "util/clock.h"
#include "util/macro.h"

#define SLACK_KIB 256
#define RISE_MIN_KIB 1024
#define RISING_MIN 7  /* of nine steps */
#define STEP_SHARE 36 /* ... each by a quarter of the mean one */
#define WALKS_A_SPAN 6
#define WALK_MIN_NS (200 * NS_PER_MS)
#define WALK_MAX_NS (10 * NS_PER_SEC)
#define HURRY_NS NS_PER_SEC
/* Of a rise without a pause, between two walks: what the kernel's own counters are off by comes in such lots. */
#define RISE_STEP_BYTES (256ULL << 10)
/* With no room for all: so long nobody looks whether there is again for those that the policy does not name. */
#define CROWDED_NS (60 * NS_PER_SEC)
#define LOOK_SHARE 10 /* of the time, at most, that walks each tick may take */

/* ---- one track ---- */

void pile_growth_note(struct pile_growth_track *track, uint64_t bytes)
{
	track->least_kib = MIN(track->least_kib, (uint32_t)MIN(bytes / 1024, UINT32_MAX - 1ULL));
}

static void track_init(struct pile_growth_track *track)
{
	track->n = 0;
	track->least_kib = UINT32_MAX;
}

void pile_growth_turn(struct pile_growth_track *track)
{
	if (track->least_kib == UINT32_MAX) {
		track->n = 0;
		return;
	}
	if (track->n == PILE_GROWTH_SPANS)
		memmove(track->floor_kib, track->floor_kib + 1,
			--track->n * sizeof(track->floor_kib[0]));
	track->floor_kib[track->n++] = track->least_kib;
	track->least_kib = UINT32_MAX;
}

uint64_t pile_growth_grown(const struct pile_growth_track *track)
{
	const uint32_t *f = track->floor_kib;
	uint32_t rising = 0, half = PILE_GROWTH_SPANS / 2, rise, earlier, later;

	if (track->n < PILE_GROWTH_SPANS || f[PILE_GROWTH_SPANS - 1] <= f[0])
		return 0;
	rise = f[PILE_GROWTH_SPANS - 1] - f[0];
	for (uint32_t i = 1; i < PILE_GROWTH_SPANS; i++) {
		if ((uint64_t)f[i] + MAX(SLACK_KIB, rise / 8) < f[i - 1])
			return 0;
		rising += f[i] > f[i - 1] + rise / STEP_SHARE;
	}
	if (rising < RISING_MIN)
		return 0;
	earlier = f[half - 1] > f[0] ? f[half - 1] - f[0] : 0;
	later = f[PILE_GROWTH_SPANS - 1] > f[half] ? f[PILE_GROWTH_SPANS - 1] - f[half] : 0;
	if (rise < MAX(RISE_MIN_KIB, f[PILE_GROWTH_SPANS - 1] / 200) || later < earlier / 2)
		return 0;
	return (uint64_t)rise * 1024;
}

/* ---- the table ---- */

static uint32_t place(uint32_t pid)
{
	return (pid * 2654435761u) % PILE_GROWTH_INDEX;
}

static struct pile_growth_worker *find(struct pile_growth *g, uint32_t pid)
{
	for (uint32_t at = place(pid); g->index[at]; at = (at + 1) % PILE_GROWTH_INDEX)
		if (g->workers[g->index[at] - 1].pid == pid)
			return &g->workers[g->index[at] - 1];
	return NULL;
}

static void index_add(struct pile_growth *g, uint32_t i)
{
	uint32_t at = place(g->workers[i].pid);

	while (g->index[at])
		at = (at + 1) % PILE_GROWTH_INDEX;
	g->index[at] = (uint16_t)(i + 1);
}

const struct pile_growth_worker *pile_growth_find(struct pile_growth *g, uint32_t pid)
{
	const struct pile_growth_worker *w = find(g, pid);

	g->hurry |= !w && !g->crowded_ns;
	return w;
}

bool pile_growth_first(const struct pile_growth *g, const struct pile_growth_worker *w)
{
	return g->named && g->named[w->group];
}

static struct pile_growth_worker *take(struct pile_growth *g, uint32_t pid)
{
	struct pile_growth_worker *w = find(g, pid);

	if (w)
		return w;
	if (g->n == ARRAY_LEN(g->workers))
		return NULL;
	w = &g->workers[g->n];
	memset(w, 0, sizeof(*w));
	w->pid = pid;
	index_add(g, g->n++);
	return w;
}

/* ---- a rise of the last moments ---- */

static void recent_note(const struct pile_growth *g, struct pile_growth_worker *w, uint64_t bytes)
{
	uint32_t now = g->walk % PILE_GROWTH_RECENT, before = (g->walk - 1) % PILE_GROWTH_RECENT;
	bool again = w->met && w->walk == g->walk - 1;
	bool close = again && g->times[now] - g->times[before] <= PILE_GROWTH_RECENT_NS;

	w->met = again ? MIN(w->met + 1, PILE_GROWTH_RECENT) : 1;
	if (close && bytes >= w->recent[before] + RISE_STEP_BYTES) {
		w->rose_ns = g->times[now];
	} else if (!close || bytes + RISE_STEP_BYTES <= w->recent[before] ||
		   g->times[now] - w->rose_ns > PILE_GROWTH_PAUSE_NS) {
		/* given back, or a pause that is none between two steps */
		w->rising_ns = w->rose_ns = g->times[now];
		w->risen_from = bytes;
	}
	w->recent[now] = bytes;
}

uint64_t pile_growth_rising(const struct pile_growth *g, const struct pile_growth_worker *w)
{
	return w->rose_ns == g->times[g->walk % PILE_GROWTH_RECENT] ? w->rose_ns - w->rising_ns : 0;
}

uint32_t pile_growth_recent(const struct pile_growth *g, uint64_t *ret_ns)
{
	uint64_t now_ns = g->times[g->walk % PILE_GROWTH_RECENT], then_ns;
	uint32_t back = 0;

	*ret_ns = 0;
	while (back + 1 < PILE_GROWTH_RECENT && back + 1 < g->walk) {
		then_ns = g->times[(g->walk - back - 1) % PILE_GROWTH_RECENT];
		if (now_ns - then_ns > PILE_GROWTH_RECENT_NS)
			break;
		back++;
		*ret_ns = now_ns - then_ns;
	}
	return back;
}

uint64_t pile_growth_risen(const struct pile_growth *g, const struct pile_growth_worker *w,
			   uint32_t back)
{
	uint64_t now = w->recent[g->walk % PILE_GROWTH_RECENT],
		 then = w->recent[(g->walk - back) % PILE_GROWTH_RECENT];

	return back && back < w->met && now > then ? now - then : 0;
}

/* Counts one that has no place: whoever has a login can start what serves something, and must not crowd others out. */
static void lose(struct pile_growth *g, bool named)
{
	g->lost += named;
	g->lost_most = MAX(g->lost_most, g->lost);
	g->others_lost += !named;
	g->others_lost_most = MAX(g->others_lost_most, g->others_lost);
}

static void worker_see(const struct pile_bpf_record *record, void *arg)
{
	const struct pile_bpf_record_worker *rec = (const void *)record;
	struct pile_growth *g = arg;
	struct pile_growth_worker *w;
	bool named;

	if (record->type != PILE_RECORD_WORKER || !rec->tgid || rec->group >= PILE_GROUPS_MAX)
		return;
	named = g->named[rec->group];
	g->others += !named;
	w = named || !g->crowded_ns ? take(g, rec->tgid) : NULL;
	if (!w) {
		lose(g, named);
		return;
	}
	if (w->start_ns != rec->start_ns || w->group != rec->group) {
		w->start_ns = rec->start_ns;
		w->group = rec->group;
		w->rate_bytes = w->grown_bytes = 0;
		w->met = 0;
		track_init(&w->track);
	}
	/* what is swapped out is its own all the same: who comes back from there does not grow */
	w->own_bytes = rec->private_bytes + rec->swapped_bytes;
	recent_note(g, w, w->own_bytes);
	w->walk = g->walk;
	w->parent = rec->parent;
	w->cgroup_id = rec->cgroup_id;
	w->parent_cgroup_id = rec->parent_cgroup_id;
	w->private_bytes = rec->private_bytes;
	w->resident_bytes = rec->resident_bytes;
	memcpy(w->comm, rec->comm, sizeof(w->comm) - 1);
	pile_growth_note(&w->track, w->own_bytes);
}

/* Whom this walk has not met serves no more; and where there is no room for all, the others make some. */
static void forget(struct pile_growth *g)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < g->n; i++) {
		if (g->workers[i].walk != g->walk ||
		    (g->crowded_ns && !g->named[g->workers[i].group]))
			continue;
		if (kept != i)
			g->workers[kept] = g->workers[i];
		kept++;
	}
	if (kept == g->n)
		return;
	g->n = kept;
	memset(g->index, 0, sizeof(g->index));
	for (uint32_t i = 0; i < kept; i++)
		index_add(g, i);
}

/* ---- spans ---- */

void pile_growth_policy(struct pile_growth *g, uint64_t notice_ns)
{
	if (g->notice_ns == notice_ns)
		return;
	g->notice_ns = notice_ns;
	g->turned_ns = 0;
	for (uint32_t i = 0; i < g->n; i++) {
		track_init(&g->workers[i].track);
		g->workers[i].rate_bytes = g->workers[i].grown_bytes = 0;
	}
}

static uint64_t span_of(const struct pile_growth *g)
{
	return g->notice_ns / PILE_GROWTH_NOTICE_WINDOW / PILE_GROWTH_SPANS;
}

static void spans_turn(struct pile_growth *g, uint64_t now_ns)
{
	uint64_t window_s;

	if (!g->notice_ns || (g->turned_ns && now_ns - g->turned_ns < span_of(g)))
		return;
	/* the steps between ten floors are nine spans */
	window_s = MAX((PILE_GROWTH_SPANS - 1) * span_of(g) / NS_PER_SEC, 1);
	for (uint32_t i = 0; g->turned_ns && i < g->n; i++) {
		struct pile_growth_worker *w = &g->workers[i];

		pile_growth_turn(&w->track);
		w->grown_bytes = pile_growth_grown(&w->track);
		w->rate_bytes = w->grown_bytes / window_s;
	}
	g->turned_ns = now_ns;
}

static bool is_time(const struct pile_growth *g, uint64_t now_ns)
{
	uint64_t every = g->notice_ns ? CLAMP(span_of(g) / WALKS_A_SPAN, WALK_MIN_NS, WALK_MAX_NS)
				      : WALK_MAX_NS;

	if (g->look)
		every = MAX(PILE_TICK_NS / 2, LOOK_SHARE * g->cost_ns);
	else if (g->hurry)
		every = MIN(every, HURRY_NS);
	return !g->walked_ns || now_ns - g->walked_ns >= every;
}

/* The fastest first; of more than there is room for the slowest are left out. */
static void grower_add(struct pile_sample *ret, const struct pile_growth_worker *w)
{
	uint32_t at = ret->n_growers;

	while (at > 0 && ret->growers[at - 1].rate_bytes < w->rate_bytes)
		at--;
	if (at == PILE_SAMPLE_GROWERS_MAX)
		return;
	ret->n_growers = MIN(ret->n_growers + 1, PILE_SAMPLE_GROWERS_MAX);
	memmove(&ret->growers[at + 1], &ret->growers[at],
		(ret->n_growers - at - 1) * sizeof(ret->growers[0]));
	ret->growers[at] = (struct pile_sample_grower){ .group = w->group,
							.pid = w->pid,
							.rate_bytes = w->rate_bytes,
							.grown_bytes = w->grown_bytes };
}

static void fill(const struct pile_growth *g, struct pile_sample *ret)
{
	ret->n_growers = 0;
	ret->grown_over_ns = span_of(g) * (PILE_GROWTH_SPANS - 1);
	for (uint32_t i = 0; i < PILE_GROUPS_MAX; i++)
		ret->groups[i].growing = ret->groups[i].growing_bytes = 0;
	for (uint32_t i = 0; i < g->n; i++) {
		const struct pile_growth_worker *w = &g->workers[i];

		if (!w->rate_bytes)
			continue;
		ret->groups[w->group].growing++;
		ret->groups[w->group].growing_bytes += w->rate_bytes;
		grower_add(ret, w);
	}
}

void pile_growth_sample(struct pile_growth *g, struct pile_kernel *k,
			const bool named[PILE_GROUPS_MAX], uint64_t now_ns, struct pile_sample *ret)
{
	uint64_t from_ns = pile_clock_ns(CLOCK_MONOTONIC), followed;

	if (!is_time(g, now_ns))
		return;
	g->walked_ns = now_ns;
	g->hurry = false;
	g->walk++;
	g->times[g->walk % PILE_GROWTH_RECENT] = now_ns;
	g->lost = g->others_lost = g->others = 0;
	g->named = named;
	if (g->crowded_ns && now_ns - g->crowded_ns >= CROWDED_NS)
		g->crowded_ns = 0;
	followed = pile_kernel_unnamed_workers(k);
	g->whole = pile_kernel_workers_walk(k, worker_see, g) == 0;
	g->cost_ns = pile_clock_ns(CLOCK_MONOTONIC) - from_ns;
	if (g->lost && !g->crowded_ns) {
		g->crowded_ns = now_ns;
		g->hurry = true;
	}
	if (g->whole)
		forget(g);
	/* where nobody can tell how many there are, there is no bound but the table's */
	pile_kernel_unnamed_workers_allow(k, followed, g->whole ? g->others : 0);
	spans_turn(g, now_ns);
	fill(g, ret);
}

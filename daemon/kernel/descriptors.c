// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * descriptors.c: walks over the descriptors of all tasks, each read of which is bounded. The kernel asks a walk's program
 * for open descriptors only; over the empty places of a table (1.8 ns each, 15 times that emulated) it passes by itself,
 * and a table of half a million that ten thousand processes share is ten thousand tables to it: one read of nine
 * seconds, where LimitRTTIME= gives two. So the tables are summed up first (bpf/tables); where there is too much for one
 * read, each task is walked by itself (bpf_link_info.task: 6 us a task more, so not always), and a table that many share
 * once.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <string.h>

#include "kernel/kernel.h"
#include "util/clock.h"

#define PLACES_MAX (1U << 24) /* in one read: 30 ms, 0.5 s emulated */
/*
 * fs.nr_open, as the kernel sets it: what a table may become in one moment. One that processes share grows for all of
 * them at once, so it counts as grown. (Others take 4 MB and a millisecond each: not many while a sum is valid.)
 */
#define PLACES_ONE_MAX (1U << 20)
/*
 * What a task counts beside its table: above some 13,000 tasks, to sum all of them up before each read costs more than
 * to walk them one by one.
 */
#define PLACES_A_TASK 1024
#define HASH 0x9e3779b97f4a7c15ULL /* 2^64 / golden ratio */
#define ASKED_VALID_NS (10 * NS_PER_MS)

void pile_descriptors_init(struct pile_kernel_descriptors *f, struct bpf_link *link, int prog_fd)
{
	f->link = link;
	f->prog_fd = prog_fd;
	f->walking = false;
	f->fd = f->tasks_fd = -1;
}

void pile_descriptors_fini(struct pile_kernel_descriptors *f)
{
	pile_descriptors_stop(f);
	bpf_link__destroy(f->link);
	f->link = NULL;
}

static void close_one(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

void pile_descriptors_stop(struct pile_kernel_descriptors *f)
{
	if (!f->walking)
		return;
	close_one(&f->fd);
	close_one(&f->tasks_fd);
	f->walking = false;
}

static void places_add(const struct pile_bpf_record *record, void *arg)
{
	const struct pile_bpf_record_table *rec = (const void *)record;
	uint64_t *sum = arg;

	if (record->type != PILE_RECORD_TABLE)
		return;
	*sum += PLACES_A_TASK;
	*sum += rec->shared ? MAX(rec->places, PLACES_ONE_MAX) : rec->places;
}

/* Is there more than one read may go through, now or in a moment? Returns 0, 1 or negative errno. */
static int places_many(struct pile_kernel *k)
{
	uint64_t now_ns = pile_clock_ns(CLOCK_MONOTONIC), sum = 0;
	_cleanup_close_ int fd = -1;
	int r;

	if (!k->iter_tables)
		return 0;
	if (k->tables_asked_ns && now_ns - k->tables_asked_ns < ASKED_VALID_NS)
		return 0;
	k->tables_asked_ns = 0;
	fd = pile_walk_begin(k->iter_tables);
	if (fd < 0)
		return fd;
	do
		r = pile_walk_read(k, fd, places_add, &sum);
	while (r > 0 && sum <= PLACES_MAX);
	if (r == 0 && sum <= PLACES_MAX)
		k->tables_asked_ns = now_ns;
	return r < 0 ? r : sum > PLACES_MAX;
}

/*
 * From its beginning, one by one: who was met already is met again, which every walk's records allow for. Returns 1 or
 * negative errno.
 */
static int begin_singly(struct pile_kernel *k, struct pile_kernel_descriptors *f)
{
	close_one(&f->fd);
	memset(f->seen, 0, sizeof(f->seen));
	f->tasks_fd = pile_walk_begin(k->iter_tables);
	return f->tasks_fd < 0 ? f->tasks_fd : 1;
}

/* A table that others share is looked into once for each cgroup: whoever holds it there is as good as the next. */
static bool seen_already(struct pile_kernel_descriptors *f, const struct pile_bpf_record_table *rec)
{
	uint64_t key = rec->files + rec->cgroup_id * HASH;
	uint64_t *seen = &f->seen[key * HASH >> 32 & (PILE_KERNEL_TABLES_SEEN - 1)];

	if (!rec->shared)
		return false;
	if (*seen == key)
		return true;
	*seen = key;
	return false;
}

static int task_open(const struct pile_kernel_descriptors *f, uint32_t tid)
{
	LIBBPF_OPTS(bpf_link_create_opts, opts);
	_cleanup_close_ int link_fd = -1;
	union bpf_iter_link_info info;

	memset(&info, 0, sizeof(info));
	info.task.tid = tid;
	opts.iter_info = &info;
	opts.iter_info_len = sizeof(info);
	link_fd = bpf_link_create(f->prog_fd, 0, BPF_TRACE_ITER, &opts);
	return link_fd < 0 ? link_fd : bpf_iter_create(link_fd);
}

/* The next task, one record a read: nothing is kept between two parts. Returns 1, 0 after the last, or negative errno. */
static int task_next(struct pile_kernel *k, struct pile_kernel_descriptors *f)
{
	struct pile_bpf_record_table rec;
	ssize_t n;

	__atomic_store_n(&k->control->walk_left, PILE_WALK_FILES, __ATOMIC_RELAXED);
	n = read(f->tasks_fd, &rec, sizeof(rec));
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 1 : -errno;
	if (n == 0)
		return 0;
	if (n != sizeof(rec) || rec.head.type != PILE_RECORD_TABLE || rec.head.size != sizeof(rec))
		return -EPROTO;
	if (seen_already(f, &rec))
		return 1;
	if (rec.places > PLACES_MAX) {
		f->passed++;
		return 1;
	}
	f->fd = task_open(f, rec.tid);
	return f->fd < 0 ? f->fd : 1;
}

/* One read, or one step to the next task. Returns 1 when there is more, 0 at the end, or negative errno. */
static int step(struct pile_kernel *k, struct pile_kernel_descriptors *f, pile_kernel_record_fn fn,
		void *arg)
{
	int r;

	if (f->tasks_fd < 0) {
		r = places_many(k);
		if (r != 0)
			return r < 0 ? r : begin_singly(k, f);
		return pile_walk_read(k, f->fd, fn, arg);
	}
	if (f->fd < 0)
		return task_next(k, f);
	r = pile_walk_read(k, f->fd, fn, arg);
	if (r == 0)
		close_one(&f->fd);
	return r < 0 ? r : 1;
}

int pile_descriptors_walk(struct pile_kernel *k, struct pile_kernel_descriptors *f,
			  uint64_t until_ns, pile_kernel_record_fn fn, void *arg)
{
	int r;

	if (!f->walking) {
		f->passed = 0;
		f->tasks_fd = -1;
		f->fd = pile_walk_begin(f->link);
		if (f->fd < 0)
			return f->fd;
		f->walking = true;
	}
	do
		r = step(k, f, fn, arg);
	while (r > 0 && pile_clock_ns(CLOCK_MONOTONIC) < until_ns);
	if (r <= 0)
		pile_descriptors_stop(f);
	return r;
}

// SPDX-License-Identifier: GPL-2.0-or-later
/* walk.c: runs the iterators and hands over their records, checked. */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <string.h>

#include "kernel/kernel.h"
#include "util/clock.h"

#define WALK_NS (500 * NS_PER_MS) /* two sweeps in one tick stay below LimitRTTIME= */
#define PART_NS (100 * NS_PER_MS) /* an ordinary host is walked in one, also an emulated one */

static const uint16_t record_sizes[] = {
	[PILE_RECORD_LISTENER] = sizeof(struct pile_bpf_record_listener),
	[PILE_RECORD_SOCKET] = sizeof(struct pile_bpf_record_socket),
	[PILE_RECORD_QUEUE] = sizeof(struct pile_bpf_record_queue),
	[PILE_RECORD_CONNECT] = sizeof(struct pile_bpf_record_connect),
	[PILE_RECORD_WORKER] = sizeof(struct pile_bpf_record_worker),
	[PILE_RECORD_TABLE] = sizeof(struct pile_bpf_record_table),
};

/* Returns the bytes consumed; less than @size, or negative: the stream makes no sense. */
static ssize_t records_deliver(const char *buffer, size_t size, pile_kernel_record_fn fn, void *arg)
{
	const struct pile_bpf_record *rec;
	size_t at = 0;

	while (size - at >= sizeof(*rec)) {
		rec = (const struct pile_bpf_record *)(buffer + at);
		if (rec->type == 0 || rec->type >= ARRAY_LEN(record_sizes) ||
		    rec->size != record_sizes[rec->type])
			return -EPROTO;
		if (size - at < rec->size)
			break;
		fn(rec, arg);
		at += rec->size;
	}
	return (ssize_t)at;
}

int pile_walk_begin(const struct bpf_link *link)
{
	return link ? bpf_iter_create(bpf_link__fd(link)) : -ENOSYS;
}

/* A read ends with a whole record: its buffer holds more than the kernel's own. */
int pile_walk_read(struct pile_kernel *k, int fd, pile_kernel_record_fn fn, void *arg)
{
	ssize_t n;

	__atomic_store_n(&k->control->walk_left, PILE_WALK_FILES, __ATOMIC_RELAXED);
	n = read(fd, k->buffer, PILE_KERNEL_READ_BYTES);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 1 : -errno;
	if (n == 0)
		return 0;
	return records_deliver(k->buffer, (size_t)n, fn, arg) == n ? 1 : -EPROTO;
}

/* From its beginning to its end, or -ETIME: whoever makes a host's descriptors many keeps nobody waiting. */
static int walk(struct pile_kernel *k, struct bpf_link *link, pile_kernel_record_fn fn, void *arg)
{
	uint64_t until_ns = pile_clock_ns(CLOCK_MONOTONIC) + WALK_NS;
	_cleanup_close_ int fd = pile_walk_begin(link);
	int r;

	if (fd < 0)
		return fd;
	do
		r = pile_walk_read(k, fd, fn, arg);
	while (r > 0 && pile_clock_ns(CLOCK_MONOTONIC) < until_ns);
	return r > 0 ? -ETIME : r;
}

/* One sweep: as many walks as this kernel needs for it; a socket that several meet is met once. */
static int sweep(struct pile_kernel *k, struct bpf_link *const walks[PILE_KERNEL_WALKS_MAX],
		 struct pile_kernel_descriptors *files, pile_kernel_record_fn fn, void *arg)
{
	int r = 0;

	do
		k->control->sweep++;
	while (!(k->control->sweep & 0xff));
	for (int i = 0; i < PILE_KERNEL_WALKS_MAX && walks[i] && r == 0; i++)
		r = walk(k, walks[i], fn, arg);
	/* descriptors last: what has none is met before */
	if (r == 0 && files->link)
		r = pile_descriptors_walk(k, files, pile_clock_ns(CLOCK_MONOTONIC) + WALK_NS, fn,
					  arg);
	pile_descriptors_stop(files);
	return r > 0 ? -ETIME : r;
}

int pile_kernel_sweep_sockets(struct pile_kernel *k, pile_kernel_record_fn fn, void *arg)
{
	return sweep(k, k->sweep_sockets, &k->sweep_files_sockets, fn, arg);
}

int pile_kernel_sweep_connects(struct pile_kernel *k, pile_kernel_record_fn fn, void *arg)
{
	return sweep(k, k->sweep_connects, &k->sweep_files_connects, fn, arg);
}

int pile_kernel_discover(struct pile_kernel *k, pile_kernel_record_fn fn, void *arg)
{
	int r;

	if (!k->discovering)
		k->control->epoch++;
	r = pile_descriptors_walk(k, &k->discover, pile_clock_ns(CLOCK_MONOTONIC) + PART_NS, fn,
				  arg);
	k->discovering = r > 0;
	if (r == 0)
		k->tables_passed = MAX(k->tables_passed, k->discover.passed);
	return r;
}

void pile_kernel_discover_stop(struct pile_kernel *k)
{
	pile_descriptors_stop(&k->discover);
	k->discovering = false;
}

static void record_ignore(const struct pile_bpf_record *record, void *arg)
{
	(void)record;
	(void)arg;
}

int pile_kernel_discover_hidden(struct pile_kernel *k)
{
	return walk(k, k->iter_hidden, record_ignore, NULL);
}

int pile_kernel_workers_walk(struct pile_kernel *k, pile_kernel_record_fn fn, void *arg)
{
	return walk(k, k->iter_workers, fn, arg);
}

static bool bit_get(const uint32_t *bits, uint32_t group)
{
	return group < PILE_GROUPS_MAX && bits[group / 32] >> (group % 32) & 1;
}

static void unix_forget(struct pile_kernel *k, const uint32_t *bits)
{
	struct pile_bpf_unix_address value;
	uint64_t address, next;
	bool more = bpf_map_get_next_key(k->map_unix_addresses, NULL, &next) == 0;

	/* the one after it is asked for first: an entry that is gone leads back to the beginning */
	for (int i = 0; more && i < 2 * PILE_LISTENERS_MAX; i++) {
		address = next;
		more = bpf_map_get_next_key(k->map_unix_addresses, &address, &next) == 0;
		if (bpf_map_lookup_elem(k->map_unix_addresses, &address, &value) == 0 &&
		    bit_get(bits, value.group))
			bpf_map_delete_elem(k->map_unix_addresses, &address);
	}
}

static void workers_forget(struct pile_kernel *k, const uint32_t *bits)
{
	struct pile_bpf_worker worker;
	uint32_t next, pid;
	bool more = pile_kernel_worker_next(k, NULL, &next) == 0;

	for (int i = 0; more && i < 2 * PILE_WORKERS_MAX; i++) {
		pid = next;
		more = pile_kernel_worker_next(k, &pid, &next) == 0;
		if (pile_kernel_worker_get(k, pid, &worker) == 0 && bit_get(bits, worker.group))
			bpf_map_delete_elem(k->map_workers, &pid);
	}
}

static void destinations_forget(struct pile_kernel *k, const uint32_t *bits)
{
	struct pile_bpf_destination key, next;
	bool more = pile_kernel_destination_next(k, NULL, &next) == 0;

	for (int i = 0; more && i < 2 * PILE_DESTINATIONS_MAX; i++) {
		key = next;
		more = pile_kernel_destination_next(k, &key, &next) == 0;
		if (bit_get(bits, key.group))
			pile_kernel_destination_remove(k, &key);
	}
}

void pile_kernel_groups_retire(struct pile_kernel *k, const uint32_t bits[PILE_GROUPS_MAX / 32])
{
	memcpy(k->control->retired, bits, sizeof(k->control->retired));
	/*
	 * In the order in which one gives the next its group: listeners their connections, these who serves them, and he
	 * what he connects to.
	 */
	unix_forget(k, bits);
	pile_kernel_sweep_sockets(k, record_ignore, NULL);
	workers_forget(k, bits);
	pile_kernel_sweep_connects(k, record_ignore, NULL);
	destinations_forget(k, bits);
	memset(k->control->retired, 0, sizeof(k->control->retired));
}

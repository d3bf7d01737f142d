// SPDX-License-Identifier: GPL-2.0-or-later
/* walk.c: runs the iterators and hands over their records, checked. */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <string.h>

#include "kernel/kernel.h"

static const uint16_t record_sizes[] = {
	[PILE_RECORD_LISTENER] = sizeof(struct pile_bpf_record_listener),
	[PILE_RECORD_SOCKET] = sizeof(struct pile_bpf_record_socket),
	[PILE_RECORD_QUEUE] = sizeof(struct pile_bpf_record_queue),
	[PILE_RECORD_CONNECT] = sizeof(struct pile_bpf_record_connect),
};

/*
 * Returns the bytes consumed; what is left is the beginning of a record. Negative: the stream makes
 * no sense.
 */
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

static int walk(struct pile_kernel *k, struct bpf_link *link, pile_kernel_record_fn fn, void *arg)
{
	_cleanup_close_ int fd = -1;
	char *buffer = k->buffer;
	size_t have = 0;
	ssize_t n, used;

	if (!link)
		return -ENOSYS;
	fd = bpf_iter_create(bpf_link__fd(link));
	if (fd < 0)
		return fd;
	for (;;) {
		n = read(fd, buffer + have, PILE_KERNEL_READ_BYTES - have);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return have ? -EPROTO : 0;
		have += (size_t)n;
		used = records_deliver(buffer, have, fn, arg);
		if (used < 0)
			return (int)used;
		have -= (size_t)used;
		memmove(buffer, buffer + used, have);
	}
}

/* One sweep: as many walks as this kernel needs for it; a socket that several meet is met once. */
static int sweep(struct pile_kernel *k, struct bpf_link *const walks[PILE_KERNEL_WALKS_MAX],
		 pile_kernel_record_fn fn, void *arg)
{
	int r = 0;

	do
		k->control->sweep++;
	while (!(k->control->sweep & 0xff));
	for (int i = 0; i < PILE_KERNEL_WALKS_MAX && walks[i] && r == 0; i++)
		r = walk(k, walks[i], fn, arg);
	return r;
}

int pile_kernel_sweep_sockets(struct pile_kernel *k, pile_kernel_record_fn fn, void *arg)
{
	return sweep(k, k->sweep_sockets, fn, arg);
}

int pile_kernel_sweep_connects(struct pile_kernel *k, pile_kernel_record_fn fn, void *arg)
{
	return sweep(k, k->sweep_connects, fn, arg);
}

int pile_kernel_discover(struct pile_kernel *k, pile_kernel_record_fn fn, void *arg)
{
	k->control->epoch++;
	return walk(k, k->iter_discover, fn, arg);
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

static bool bit_get(const uint32_t *bits, uint32_t group)
{
	return group < PILE_GROUPS_MAX && bits[group / 32] >> (group % 32) & 1;
}

static void workers_forget(struct pile_kernel *k, const uint32_t *bits)
{
	struct pile_bpf_worker worker;
	uint32_t next, pid, *prev = NULL;

	for (int i = 0; i < 2 * PILE_WORKERS_MAX; i++) {
		if (pile_kernel_worker_next(k, prev, &next) < 0)
			return;
		pid = next;
		prev = &pid;
		if (pile_kernel_worker_get(k, pid, &worker) == 0 && bit_get(bits, worker.group)) {
			bpf_map_delete_elem(k->map_workers, &pid);
			prev = NULL;
		}
	}
}

static void destinations_forget(struct pile_kernel *k, const uint32_t *bits)
{
	struct pile_bpf_destination key, next, *prev = NULL;

	for (int i = 0; i < 2 * PILE_DESTINATIONS_MAX; i++) {
		if (pile_kernel_destination_next(k, prev, &next) < 0)
			return;
		key = next;
		prev = &key;
		if (bit_get(bits, key.group)) {
			pile_kernel_destination_remove(k, &key);
			prev = NULL;
		}
	}
}

void pile_kernel_groups_retire(struct pile_kernel *k, const uint32_t bits[PILE_GROUPS_MAX / 32])
{
	memcpy(k->control->retired, bits, sizeof(k->control->retired));
	workers_forget(k, bits); /* first: they are what gives new connects their group */
	pile_kernel_sweep_sockets(k, record_ignore, NULL);
	pile_kernel_sweep_connects(k, record_ignore, NULL);
	destinations_forget(k, bits);
	memset(k->control->retired, 0, sizeof(k->control->retired));
}

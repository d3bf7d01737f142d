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

/* Returns the bytes consumed; what is left is the beginning of a record. Negative: the stream makes no sense. */
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

int pile_kernel_sweep_sockets(struct pile_kernel *k, pile_kernel_record_fn fn, void *arg)
{
	return walk(k, k->iter_sockets, fn, arg);
}

int pile_kernel_sweep_connects(struct pile_kernel *k, pile_kernel_record_fn fn, void *arg)
{
	return walk(k, k->iter_connects, fn, arg);
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

// SPDX-License-Identifier: GPL-2.0-or-later
#include "act/selftest.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>

#include "act/act.h"
#include "util/clock.h"

/* The queue has room for one; more get in while the one before is not in it yet: the kernel's other work comes first. */
#define CONNECTS_MAX 8

/* What a test makes, and takes away. */
struct scratch {
	int listener, queued; /* -1 = none */
	int connects[CONNECTS_MAX];
	unsigned int n_connects;
	struct pile_endpoint endpoint;
	struct pile_bpf_destination key;
	struct pile_bpf_gate gate;
	struct pile_kernel_attachment attachment;
};

const char *pile_selftest_step_name(enum pile_selftest_step step)
{
	static const char *const names[] = {
		[PILE_SELFTEST_LISTEN] = "make a listener",
		[PILE_SELFTEST_ATTACH] = "attach to a cgroup",
		[PILE_SELFTEST_REFUSE] = "refuse a connect",
		[PILE_SELFTEST_LEASE] = "open a gate whose lease is over",
		[PILE_SELFTEST_END] = "end a pending connect",
		[PILE_SELFTEST_PASSED] = "nothing",
	};

	return (size_t)step < ARRAY_LEN(names) ? names[step] : "unknown";
}

const char *pile_selftest_error_name(int error)
{
	return error == 0 ? "tried, without effect" : strerror(-error);
}

/*
 * With room for one connection that nobody accepts: the next one's SYN is dropped, and it waits (tcp_conn_request(),
 * sk_acceptq_is_full()).
 */
static int scratch_listen(struct scratch *s)
{
	struct sockaddr_in at = { .sin_family = AF_INET,
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(at);
	char text[32];

	s->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_TCP);
	if (s->listener < 0 || bind(s->listener, (struct sockaddr *)&at, sizeof(at)) < 0 ||
	    listen(s->listener, 0) < 0 ||
	    getsockname(s->listener, (struct sockaddr *)&at, &len) < 0)
		return -errno;
	snprintf(text, sizeof(text), "127.0.0.1:%u", ntohs(at.sin_port));
	return pile_endpoint_parse(text, false, &s->endpoint);
}

static int scratch_gate(struct scratch *s, struct pile_kernel *k, uint64_t lease_ns)
{
	pile_kernel_destination_key(PILE_SELF_GROUP, &s->endpoint, &s->key);
	s->gate.refuse_errno = ECONNREFUSED;
	s->gate.lease_ns = lease_ns;
	return pile_kernel_gate_set(k, &s->key, &s->gate);
}

static int attach_try(struct scratch *s, struct pile_kernel *k, int cgroup_fd)
{
	int r = pile_kernel_self_set(k, true);

	return r < 0 ? r : pile_kernel_attach(k, cgroup_fd, true, false, &s->attachment);
}

/* Not only the errno: nobody else may have given it. */
static int refuse_try(struct scratch *s, struct pile_kernel *k, uint64_t *ret_ns)
{
	uint64_t now_ns = pile_clock_ns(CLOCK_MONOTONIC);
	struct pile_bpf_gate_counts counts = {};
	int fd, r = scratch_gate(s, k, now_ns + PILE_ACT_LEASE_NS);

	if (r < 0)
		return r;
	now_ns = pile_clock_ns(CLOCK_MONOTONIC);
	fd = pile_probe_start(&s->endpoint, false);
	*ret_ns = pile_clock_ns(CLOCK_MONOTONIC) - now_ns;
	if (fd >= 0)
		close(fd);
	r = pile_kernel_gate_counts(k, &s->key, &counts);
	return fd == -ECONNREFUSED && counts.refused == 1 ? 1 : MIN(r, 0);
}

static int lease_try(struct scratch *s, struct pile_kernel *k)
{
	struct pile_bpf_gate_counts counts = {};
	int r = scratch_gate(s, k, pile_clock_ns(CLOCK_MONOTONIC) - 1);

	if (r < 0)
		return r;
	s->queued = pile_probe_start(&s->endpoint, false);
	r = pile_kernel_gate_counts(k, &s->key, &counts);
	return r < 0 ? r : counts.refused == 1;
}

static bool is_pending(int fd)
{
	struct tcp_info info = {};
	socklen_t len = sizeof(info);

	return getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) == 0 &&
	       info.tcpi_state == TCP_SYN_SENT;
}

/* As a sweep would have found it. */
static int pending_fill(int fd, const struct pile_endpoint *endpoint,
			struct pile_sense_pending *ret)
{
	struct sockaddr_in from = {};
	socklen_t len = sizeof(from), cookie_len = sizeof(ret->cookie);

	if (getsockname(fd, (struct sockaddr *)&from, &len) < 0 ||
	    getsockopt(fd, SOL_SOCKET, SO_COOKIE, &ret->cookie, &cookie_len) < 0)
		return -errno;
	ret->endpoint = *endpoint;
	ret->family = AF_INET;
	ret->source_port = ntohs(from.sin_port);
	ret->source[10] = ret->source[11] = 0xff;
	memcpy(ret->source + 12, &from.sin_addr, sizeof(from.sin_addr));
	return 0;
}

/* A connect that waits: 1 with *ret_fd, which @s keeps. */
static int pending_make(struct scratch *s, int *ret_fd)
{
	while (s->n_connects < CONNECTS_MAX) {
		int fd = pile_probe_start(&s->endpoint, false);

		if (fd < 0)
			return fd;
		s->connects[s->n_connects++] = *ret_fd = fd;
		if (is_pending(fd))
			return 1;
	}
	return 0;
}

static int end_try(struct scratch *s, uint64_t *ret_ns)
{
	struct pile_sense_pending pending = {};
	_cleanup_close_ int diag = pile_destroy_open();
	int fd = -1, r = pending_make(s, &fd), error = 0;
	bool established;
	uint64_t before_ns;
	uint32_t seq;

	if (r <= 0)
		return r;
	r = diag < 0 ? diag : pending_fill(fd, &s->endpoint, &pending);
	if (r < 0)
		return r;
	before_ns = pile_clock_ns(CLOCK_MONOTONIC);
	r = pile_destroy_send(diag, 1, &pending);
	*ret_ns = pile_clock_ns(CLOCK_MONOTONIC) - before_ns;
	if (r == 0 && pile_destroy_receive(diag, &seq, &error) > 0)
		r = error;
	return r < 0 ? r : pile_probe_poll(fd, false, &established) == -ECONNABORTED;
}

static void scratch_close(struct scratch *s, struct pile_kernel *k)
{
	pile_kernel_detach(&s->attachment);
	pile_kernel_gate_remove(k, &s->key);
	pile_kernel_self_set(k, false);
	for (unsigned int i = 0; i < s->n_connects; i++)
		close(s->connects[i]);
	if (s->queued >= 0)
		close(s->queued);
	if (s->listener >= 0)
		close(s->listener);
}

/* 1 = as it should be, 0 = not, negative errno = could not be tried */
static int step_try(enum pile_selftest_step step, struct scratch *s, struct pile_kernel *k,
		    int cgroup_fd, struct pile_selftest *ret)
{
	int r;

	switch (step) {
	case PILE_SELFTEST_LISTEN:
		r = cgroup_fd < 0 ? cgroup_fd : scratch_listen(s);
		return r < 0 ? r : 1;
	case PILE_SELFTEST_ATTACH:
		r = attach_try(s, k, cgroup_fd);
		return r < 0 ? r : 1;
	case PILE_SELFTEST_REFUSE:
		return refuse_try(s, k, &ret->refuse_ns);
	case PILE_SELFTEST_LEASE:
		return lease_try(s, k);
	case PILE_SELFTEST_END:
		return end_try(s, &ret->end_ns);
	default:
		return 1;
	}
}

void pile_selftest_run(struct pile_kernel *k, int cgroup_fd, struct pile_selftest *ret)
{
	struct scratch s = { .listener = -1, .queued = -1 };
	int r = 1;

	*ret = (struct pile_selftest){ .step = PILE_SELFTEST_LISTEN };
	for (;;) {
		r = step_try(ret->step, &s, k, cgroup_fd, ret);
		if (r <= 0 || ret->step == PILE_SELFTEST_PASSED)
			break;
		ret->step++;
	}
	ret->error = MIN(r, 0);
	scratch_close(&s, k);
}

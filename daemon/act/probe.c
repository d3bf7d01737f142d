// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * probe.c: the guard's own connects: to a dependency that is held, so that no user request is spent
 * on finding out; and scouts, one connect to a dependency that is nearly proved dead, where its
 * users are all stuck and send no SYN that could tell.
 * A fresh SYN each time: the kernel's own retransmissions get rarer and rarer.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "act/act.h"

/* Its own end is the only one that ever speaks: without a question each second nobody notices that the other is gone. */
static void keepalive_set(int fd)
{
	int on = 1, seconds = 1, count = 3;

	(void)!setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	(void)!setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &seconds, sizeof(seconds));
	(void)!setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &seconds, sizeof(seconds));
	(void)!setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof(count));
}

int pile_probe_start(const struct pile_endpoint *endpoint, bool speaks_first)
{
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6, .sin6_port = htons(endpoint->port) };
	struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_port = htons(endpoint->port) };
	bool is_v4 = endpoint->family == AF_INET;
	_cleanup_close_ int fd = -1;

	fd = socket(is_v4 ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK,
		    IPPROTO_TCP);
	if (fd < 0)
		return -errno;
	if (speaks_first)
		keepalive_set(fd);
	memcpy(&v4.sin_addr, endpoint->addr + 12, sizeof(v4.sin_addr));
	memcpy(&v6.sin6_addr, endpoint->addr, sizeof(v6.sin6_addr));
	if (connect(fd, is_v4 ? (struct sockaddr *)&v4 : (struct sockaddr *)&v6,
		    is_v4 ? sizeof(v4) : sizeof(v6)) < 0 &&
	    errno != EINPROGRESS)
		return -errno;
	return TAKE_FD(fd);
}

int pile_probe_poll(int fd, bool speaks_first, bool *ret_established)
{
	struct pollfd p = { .fd = fd, .events = POLLOUT };
	socklen_t len = sizeof(int);
	int error = 0;
	ssize_t n;
	char c;

	*ret_established = false;
	if (poll(&p, 1, 0) <= 0)
		return 0;
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
		return -errno;
	if (error || !speaks_first)
		return error ? -error : 1;
	*ret_established = true;
	n = recv(fd, &c, 1, MSG_DONTWAIT | MSG_PEEK);
	if (n > 0)
		return 1;
	if (n == 0)
		return -ECONNRESET; /* hung up on: whoever connects there is not left waiting */
	return errno == EAGAIN ? 0 : -errno;
}

/* @result: as pile_probe_poll(); @pending: where it is 0 */
static void result_add(struct pile_sample *sample, uint32_t group,
		       const struct pile_endpoint *endpoint, int result,
		       const struct pile_act_probe *pending)
{
	if (sample->n_probes == PILE_SAMPLE_PROBES_MAX)
		return;
	sample->probes[sample->n_probes++] = (struct pile_sample_probe){
		.group = group,
		.endpoint = *endpoint,
		.answered = result > 0,
		.error = result < 0 ? -result : 0,
		.pending_since_ns = pending ? pending->started_ns : 0,
		.ungreeted_since_ns = pending ? pending->established_ns : 0,
	};
}

/* As pile_probe_poll(). One that is established, but not greeted in time, is told once and waits on. */
static int in_flight_look(struct pile_act_gate *gate, struct pile_act_probe *probe, uint64_t now_ns,
			  struct pile_sample *sample)
{
	bool established, late = now_ns - probe->started_ns >= PILE_ACT_PROBE_TIMEOUT_NS;
	int r = pile_probe_poll(probe->fd, gate->speaks_first, &established);

	if (r || !established)
		return r == 0 && late ? -ETIMEDOUT : r;
	if (!probe->established_ns)
		probe->established_ns = now_ns;
	if (late && !probe->failed)
		result_add(sample, gate->group, &gate->endpoint, -ETIMEDOUT, NULL);
	probe->failed |= late;
	result_add(sample, gate->group, &gate->endpoint, 0, probe);
	return 0;
}

static void in_flight_collect(struct pile_act_gate *gate, uint64_t now_ns,
			      struct pile_sample *sample)
{
	for (int i = 0; i < PILE_ACT_PROBES_IN_FLIGHT; i++) {
		struct pile_act_probe *probe = &gate->in_flight[i];
		int r;

		if (probe->fd < 0)
			continue;
		r = in_flight_look(gate, probe, now_ns, sample);
		if (r == 0)
			continue;
		close(probe->fd);
		probe->fd = -1;
		result_add(sample, gate->group, &gate->endpoint, r, NULL);
	}
}

/* One that is established waits for its greeting: no other is needed yet. */
static bool in_flight_waits(const struct pile_act_gate *gate, uint64_t now_ns)
{
	for (int i = 0; i < PILE_ACT_PROBES_IN_FLIGHT; i++) {
		const struct pile_act_probe *probe = &gate->in_flight[i];

		if (probe->fd >= 0 && probe->established_ns &&
		    now_ns - probe->started_ns < PILE_ACT_PROBE_FRESH_NS)
			return true;
	}
	return false;
}

static void in_flight_start(struct pile_act_gate *gate, uint64_t now_ns, struct pile_sample *sample)
{
	struct pile_act_probe *oldest = &gate->in_flight[0];

	for (int i = 0; i < PILE_ACT_PROBES_IN_FLIGHT; i++) {
		struct pile_act_probe *probe = &gate->in_flight[i];

		if (probe->fd < 0) {
			oldest = probe;
			break;
		}
		if (probe->started_ns < oldest->started_ns)
			oldest = probe;
	}
	if (oldest->fd >= 0) {
		close(oldest->fd);
		if (!oldest->failed)
			result_add(sample, gate->group, &gate->endpoint, -ETIMEDOUT, NULL);
	}
	*oldest = (struct pile_act_probe){
		.fd = pile_probe_start(&gate->endpoint, gate->speaks_first),
		.started_ns = now_ns,
	};
	gate->probes++;
	if (oldest->fd < 0)
		result_add(sample, gate->group, &gate->endpoint, oldest->fd, NULL);
}

static void scout_end(struct pile_act_scout *scout)
{
	if (scout->probe.fd >= 0)
		close(scout->probe.fd);
	scout->probe.fd = -1;
}

static void scout_dismiss(struct pile_act_scout *scout)
{
	scout_end(scout);
	scout->used = false;
}

void pile_scouts_dismiss(struct pile_act *a)
{
	for (int i = 0; i < PILE_SCOUTS_MAX; i++)
		if (a->scouts[i].used)
			scout_dismiss(&a->scouts[i]);
}

static bool is_in_own_network(const struct pile_sense *sense, uint32_t group,
			      const struct pile_endpoint *endpoint, uint32_t own_netns)
{
	for (uint32_t i = 0; i < sense->n_pending; i++)
		if (sense->pending[i].group == group && sense->pending[i].netns == own_netns &&
		    pile_endpoint_equal(&sense->pending[i].endpoint, endpoint))
			return true;
	return false;
}

void pile_scout_send(struct pile_act *a, const struct pile_intent *intent,
		     const struct pile_sense *sense, uint32_t own_netns, uint64_t now_ns)
{
	struct pile_act_scout *free = NULL;

	for (int i = 0; i < PILE_SCOUTS_MAX; i++) {
		struct pile_act_scout *scout = &a->scouts[i];

		if (!scout->used) {
			free = scout;
		} else if (scout->group == intent->group &&
			   pile_endpoint_equal(&scout->endpoint, &intent->endpoint)) {
			scout->wanted = true;
			return;
		}
	}
	if (!free || !is_in_own_network(sense, intent->group, &intent->endpoint, own_netns))
		return;
	/* one that fails is no evidence, and is not made again: the users' own SYNs tell, later */
	*free = (struct pile_act_scout){
		.used = true,
		.wanted = true,
		.group = intent->group,
		.endpoint = intent->endpoint,
		.speaks_first = intent->speaks_first,
		.probe = { .fd = pile_probe_start(&intent->endpoint, intent->speaks_first),
			   .started_ns = now_ns },
	};
}

static void scout_tick(struct pile_act_scout *scout, uint64_t now_ns, struct pile_sample *sample)
{
	bool established;
	int r;

	if (!scout->wanted) {
		scout_dismiss(scout);
		return;
	}
	scout->wanted = false;
	if (scout->probe.fd < 0)
		return;
	r = pile_probe_poll(scout->probe.fd, scout->speaks_first, &established);
	if (established && !scout->probe.established_ns)
		scout->probe.established_ns = now_ns;
	result_add(sample, scout->group, &scout->endpoint, r, r ? NULL : &scout->probe);
	if (r)
		scout_end(scout);
}

void pile_act_probe_tick(struct pile_act *a, uint64_t now_ns, struct pile_sample *sample)
{
	sample->n_probes = 0;
	for (int i = 0; i < PILE_SCOUTS_MAX; i++)
		if (a->scouts[i].used)
			scout_tick(&a->scouts[i], now_ns, sample);
	for (uint32_t i = 0; i < a->n_gates; i++) {
		struct pile_act_gate *gate = &a->gates[i];

		if (!gate->used)
			continue;
		in_flight_collect(gate, now_ns, sample);
		if (now_ns < gate->next_probe_ns || in_flight_waits(gate, now_ns))
			continue;
		in_flight_start(gate, now_ns, sample);
		gate->next_probe_ns = now_ns + gate->probe_every_ns;
	}
}

// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * destroy.c: SOCK_DESTROY over netlink, as `ss -K`: works on every kernel of the matrix (5.. with
 * INET_DIAG_DESTROY).
 */
#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#include "act/act.h"

int pile_destroy_open(void)
{
	int fd = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_SOCK_DIAG);

	return fd < 0 ? -errno : fd;
}

static void address_fill(__be32 *to, uint16_t family, const uint8_t *addr)
{
	if (family == AF_INET)
		memcpy(to, addr + 12, 4);
	else
		memcpy(to, addr, 16);
}

struct request {
	struct nlmsghdr head;
	struct inet_diag_req_v2 req;
};

int pile_destroy_request(int fd, uint16_t type, uint16_t flags, uint32_t seq, uint8_t ext,
			 const struct pile_sense_pending *pending)
{
	struct request msg = {
		.head = { .nlmsg_len = sizeof(msg),
			  .nlmsg_type = type,
			  .nlmsg_flags = NLM_F_REQUEST | flags,
			  .nlmsg_seq = seq },
		.req = { .sdiag_family = (uint8_t)pending->family,
			 .sdiag_protocol = IPPROTO_TCP,
			 .idiag_ext = ext,
			 .idiag_states = 1u << 2 /* TCP_SYN_SENT: said, not heard (drain.c) */ },
	};

	msg.req.id.idiag_sport = htons(pending->source_port);
	msg.req.id.idiag_dport = htons(pending->endpoint.port);
	address_fill(msg.req.id.idiag_src, pending->family, pending->source);
	address_fill(msg.req.id.idiag_dst, pending->family, pending->endpoint.addr);
	msg.req.id.idiag_cookie[0] = (uint32_t)pending->cookie;
	msg.req.id.idiag_cookie[1] = (uint32_t)(pending->cookie >> 32);
	if (send(fd, &msg, sizeof(msg), MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		return -errno;
	return 0;
}

int pile_destroy_send(int fd, uint32_t seq, const struct pile_sense_pending *pending)
{
	return pile_destroy_request(fd, SOCK_DESTROY, NLM_F_ACK, seq, 0, pending);
}

int pile_destroy_receive(int fd, uint32_t *ret_seq, int *ret_error)
{
	char buf[512] __attribute__((aligned(8)));
	struct nlmsghdr *head = (void *)buf;
	struct nlmsgerr *answer;
	ssize_t n;

	n = recv(fd, buf, sizeof(buf), MSG_DONTWAIT);
	if (n < (ssize_t)sizeof(*head) || !NLMSG_OK(head, (size_t)n) ||
	    head->nlmsg_type != NLMSG_ERROR)
		return 0;
	answer = NLMSG_DATA(head);
	*ret_seq = head->nlmsg_seq;
	*ret_error = answer->error;
	return 1;
}

// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * recheck.c: does an established connection still wait, as the sweep met it? Asked of the kernel (sock_diag) right
 * before it is ended: a server that works again speaks to all who wait, within milliseconds.
 */
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/tcp.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>

#include "act/act.h"

#define ESTABLISHED 1 /* netinet/tcp.h, which names them, does not go with linux/tcp.h */
#define CLOSE_WAIT 8
#define UNACKED_RETRANSMITS 3 /* bpf/sweep.h */

/* Of an answer's attributes; false: it has none, or too short a one (before Linux 4.1). */
static bool info_find(const struct nlmsghdr *head, size_t size, struct tcp_info *ret)
{
	const struct inet_diag_msg *msg = NLMSG_DATA(head);
	const struct rtattr *attr = (const void *)(msg + 1);
	size_t left;

	if (head->nlmsg_type != SOCK_DIAG_BY_FAMILY || size < NLMSG_LENGTH(sizeof(*msg)) ||
	    (msg->idiag_state != ESTABLISHED && msg->idiag_state != CLOSE_WAIT))
		return false;
	for (left = size - NLMSG_LENGTH(sizeof(*msg)); RTA_OK(attr, left);
	     attr = RTA_NEXT(attr, left)) {
		if (attr->rta_type != INET_DIAG_INFO)
			continue;
		if ((size_t)RTA_PAYLOAD(attr) <
		    offsetof(struct tcp_info, tcpi_bytes_received) + sizeof(uint64_t))
			return false;
		memset(ret, 0, sizeof(*ret));
		memcpy(ret, RTA_DATA(attr), MIN((size_t)RTA_PAYLOAD(attr), sizeof(*ret)));
		return true;
	}
	return false;
}

bool pile_recheck_is_waiting(int fd, const struct pile_sense_pending *pending)
{
	char buf[2048] __attribute__((aligned(8)));
	struct nlmsghdr *head = (void *)buf;
	struct tcp_info info;
	ssize_t n;

	/* the kernel answers before send() returns; what is left from before is read away */
	while (recv(fd, buf, sizeof(buf), MSG_DONTWAIT) > 0)
		;
	if (pile_destroy_request(fd, SOCK_DIAG_BY_FAMILY, 0, 0, 1u << (INET_DIAG_INFO - 1),
				 pending) < 0)
		return false;
	n = recv(fd, buf, sizeof(buf), MSG_DONTWAIT);
	if (n < (ssize_t)sizeof(*head) || !NLMSG_OK(head, (size_t)n) ||
	    !info_find(head, head->nlmsg_len, &info))
		return false;
	if (pending->state == PILE_CONNECT_UNACKED)
		return info.tcpi_retransmits >= UNACKED_RETRANSMITS;
	return MIN(info.tcpi_bytes_received, UINT32_MAX) == pending->received;
}

// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * discover.bpf.c: finds listeners in the processes of the whole host (all network namespaces), tags
 * those of the groups, and adopts connections older than the guard.
 */
#include "connects.h"
#include "requests.h"

#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "GPL";

static __always_inline __u64 task_cgroup_id(struct task_struct *task)
{
	return task->cgroups->dfl_cgrp->kn->id;
}

/*
 * A listener of a group: tag it, so that its TCP children inherit the tag; remember a unix
 * listener's address.
 */
static __always_inline __u32 listener_tag(struct sock *sk, __u64 cookie)
{
	struct pile_bpf_socket *st;
	struct pile_bpf_socket fresh = { .flags = PILE_SOCKET_LISTENER };
	struct pile_bpf_unix_address value = {};
	struct pile_bpf_control *ctl = control_get();
	struct unix_sock *usk;
	__u64 address;
	struct pile_bpf_listener *listener = bpf_map_lookup_elem(&listeners, &cookie);

	if (!listener || !ctl)
		return PILE_NO_GROUP;
	fresh.group = listener->group;
	fresh.door = listener->door;
	st = bpf_sk_storage_get(&sockets, sk, &fresh, BPF_SK_STORAGE_GET_F_CREATE);
	if (!st)
		return PILE_NO_GROUP;
	if (st->door != fresh.door)
		st->door = fresh.door;
	if (sk->__sk_common.skc_family != AF_UNIX)
		return fresh.group;
	usk = bpf_skc_to_unix_sock(sk);
	address = usk ? (__u64)usk->addr : 0;
	value.group = fresh.group;
	value.door = fresh.door;
	value.epoch = ctl->epoch;
	if (address)
		bpf_map_update_elem(&unix_addresses, &address, &value, BPF_ANY);
	return fresh.group;
}

/*
 * A unix listener's name, from the socket itself: /proc/net/unix prints names as they are, and one
 * with a line break in it can pretend to be another's.
 */
static __always_inline void path_copy(struct sock *sk, struct pile_bpf_record_listener *rec)
{
	struct unix_sock *usk = bpf_skc_to_unix_sock(sk);
	struct unix_address *addr = usk ? usk->addr : NULL;
	__u32 len;

	if (!addr)
		return;
	len = addr->len;
	if (len <= sizeof(__u16)) /* sun_family */
		return;
	len -= sizeof(__u16);
	if (len > sizeof(rec->path))
		len = sizeof(rec->path);
	rec->path_len = len;
#pragma unroll
	for (__u32 i = 0; i < PILE_UNIX_PATH_MAX; i++) {
		if (i < len)
			rec->path[i] = addr->name[0].sun_path[i];
	}
}

static __always_inline void listener_write(struct seq_file *seq, struct task_struct *task,
					   struct sock *sk)
{
	struct pile_bpf_record_listener rec = { .head = { PILE_RECORD_LISTENER, sizeof(rec) } };

	rec.cookie = bpf_get_socket_cookie(sk);
	rec.tgid = task->tgid;
	rec.cgroup_id = task_cgroup_id(task);
	rec.family = sk->__sk_common.skc_family;
	rec.port = rec.family == AF_UNIX ? 0 : sk->__sk_common.skc_num;
	rec.protocol = rec.family == AF_UNIX ? 0 : sk->sk_protocol;
	rec.type = sk->sk_type;
	rec.netns = sk->__sk_common.skc_net.net->ns.inum;
	rec.backlog = rec.family == AF_UNIX ? sk->sk_receive_queue.qlen : sk->sk_ack_backlog;
	if (rec.family == AF_INET6) {
		rec.v6only = BPF_CORE_READ_BITFIELD(&sk->__sk_common, skc_ipv6only);
		__builtin_memcpy(rec.addr, &sk->__sk_common.skc_v6_rcv_saddr, 16);
	} else if (rec.family == AF_INET) {
		rec.addr[10] = 0xff;
		rec.addr[11] = 0xff;
		*(__u32 *)&rec.addr[12] = sk->__sk_common.skc_rcv_saddr;
	}
	if (rec.family == AF_UNIX)
		path_copy(sk, &rec);
	__builtin_memcpy(rec.comm, task->comm, sizeof(rec.comm));
	rec.group = listener_tag(sk, rec.cookie);
	bpf_seq_write(seq, &rec, sizeof(rec));
}

static __always_inline __u32 *port_group(struct sock_common *skc)
{
	__u64 key = (__u64)skc->skc_net.net->ns.inum << 16 | skc->skc_num;

	return bpf_map_lookup_elem(&listener_ports, &key);
}

/* A connection older than the guard, or than its group. */
static __always_inline void connection_adopt(struct task_struct *task, struct sock *sk)
{
	__u64 id = task_cgroup_id(task), address;
	struct pile_bpf_cgroup *cg = bpf_map_lookup_elem(&cgroups, &id);
	struct pile_bpf_socket fresh = { .flags = PILE_SOCKET_ADOPTED };
	struct pile_bpf_unix_address *unix_address;
	__u32 group = PILE_NO_GROUP, *by_port;
	struct pile_bpf_socket *st;
	struct unix_sock *usk;

	if (!cg || bpf_sk_storage_get(&sockets, sk, NULL, 0) ||
	    bpf_sk_storage_get(&connects, sk, NULL, 0))
		return;
	if (sk->__sk_common.skc_family == AF_UNIX) {
		usk = bpf_skc_to_unix_sock(sk);
		address = usk ? (__u64)usk->addr : 0;
		unix_address = address ? bpf_map_lookup_elem(&unix_addresses, &address) : NULL;
		if (unix_address)
			group = unix_address->group;
	} else {
		by_port = port_group(&sk->__sk_common);
		/* whose address is not known: only for a cgroup that may own the listener */
		if (by_port && (cg->group == *by_port || cg->group == PILE_NO_GROUP))
			group = *by_port;
	}
	if (group != PILE_NO_GROUP && state_can_open(sk)) {
		if (!follow_allowed(PILE_FOLLOWED_SOCKETS, group))
			return;
		fresh.group = group;
		fresh.worker = task->tgid;
		if (sk->__sk_common.skc_family == AF_UNIX)
			fresh.flags |= PILE_SOCKET_UNIX;
		st = bpf_sk_storage_get(&sockets, sk, &fresh, BPF_SK_STORAGE_GET_F_CREATE);
		if (!st)
			return;
		if (sk->__sk_common.skc_family == AF_UNIX ? sk->sk_receive_queue.qlen > 0
							  : tcp_has_unread(sk, tcp_of(sk)))
			request_open(st, sk->__sk_common.skc_family == AF_UNIX
						 ? 0
						 : sent_of(sk, tcp_of(sk)));
		return;
	}
	if (group != PILE_NO_GROUP || sk->__sk_common.skc_family == AF_UNIX ||
	    sk->sk_protocol != IPPROTO_TCP || cg->group == PILE_NO_GROUP)
		return;
	/*
	 * accepted: the listener's backlog is copied into its children, whoever connects has none. Its
	 * listener is not known yet; taken for a connect, its client would be shown as a dependency
	 */
	if (sk->sk_max_ack_backlog)
		return;
	if (sk->__sk_common.skc_state != TCP_SYN_SENT &&
	    sk->__sk_common.skc_state != TCP_ESTABLISHED)
		return;
	connect_follow(sk, cg->group, task->tgid);
}

SEC("iter/task_file")
int discover(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	struct socket *sock;
	struct sock *sk;

	if (!task || !file)
		return 0;
	if (walk_full())
		return 1;
	sock = bpf_sock_from_file(file);
	if (!sock)
		return 0;
	sk = sock->sk;
	if (!sk)
		return 0;
	if (sk->__sk_common.skc_family != AF_UNIX && sk->__sk_common.skc_family != AF_INET &&
	    sk->__sk_common.skc_family != AF_INET6)
		return 0;
	if (sk->__sk_common.skc_state == TCP_LISTEN)
		listener_write(ctx->meta->seq, task, sk);
	else if (sk->sk_type == SOCK_STREAM)
		connection_adopt(task, sk);
	return 0;
}

/*
 * An MPTCP listener accepts through a hidden TCP listener that no descriptor names: found by its
 * port. Plain TCP clients of the service are accepted from it and inherit its tag.
 */
SEC("iter/tcp")
int discover_hidden(struct bpf_iter__tcp *ctx)
{
	struct pile_bpf_socket fresh = { .flags = PILE_SOCKET_LISTENER }, *st;
	struct sock_common *skc = ctx->sk_common;
	struct pile_bpf_control *ctl = control_get();
	struct tcp_sock *tp;
	__u32 *group;

	if (!skc || !ctl || skc->skc_state != TCP_LISTEN)
		return 0;
	tp = bpf_skc_to_tcp_sock(skc);
	if (!tp || !tcp_is_mptcp(tp))
		return 0;
	group = port_group(skc);
	if (!group)
		return 0;
	fresh.group = *group;
	fresh.door = door_of(skc, ctl);
	st = bpf_sk_storage_get(&sockets, skc, &fresh, BPF_SK_STORAGE_GET_F_CREATE);
	if (st && st->door != fresh.door)
		st->door = fresh.door;
	return 0;
}

/*
 * The kernel's tick counter: read twice by the daemon to learn CONFIG_HZ, which nothing else tells
 * for sure.
 */
SEC("syscall")
int jiffies_read(void *ctx)
{
	return (int)bpf_jiffies64();
}

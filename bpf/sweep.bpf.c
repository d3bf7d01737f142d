// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * sweep.bpf.c: the truth, by walking what exists.
 * sweep_sockets moves each waiting request from the old wheel to the new one: what stays behind in
 * the old wheel belonged to sockets that are gone. sweep_connects tells what each connection to a
 * dependency is doing.
 * discover finds listeners in the processes of the whole host (all network namespaces), tags those
 * of the groups, and adopts connections older than the guard.
 */
#include "connects.h"
#include "requests.h"

#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "GPL";

#define SILENT_AFTER_MS 500   /* sample.h: "silent" */
#define UNACKED_RETRANSMITS 3 /* design.md: >= 3 retransmission time-outs */

static __always_inline __u32 jiffies_to_ms(__u32 j)
{
	struct pile_bpf_control *ctl = control_get();
	__u32 hz = ctl && ctl->hz ? ctl->hz : 250;

	return (__u64)j * 1000 / hz;
}

/*
 * Binned again by age, into the new wheel; old ones go to "older" before their slot comes round
 * again.
 */
static __always_inline void request_rebin(struct pile_bpf_socket *st,
					  const struct pile_bpf_control *ctl, __u64 now)
{
	__u64 old = st->open, word, age;
	struct pile_bpf_shard *shard;

	if (!old)
		return;
	age = now - (old & PILE_OPEN_TIME_MASK);
	word = old & PILE_OPEN_TIME_MASK;
	if ((__s64)age >= (__s64)((PILE_WHEEL_SLOTS - 12) * PILE_WHEEL_SLOT_NS))
		word |= PILE_SLOT_OLDER;
	else
		word |= slot_of(word);
	if (ctl->generation)
		word |= PILE_OPEN_GENERATION;
	if (word == old || __sync_val_compare_and_swap(&st->open, old, word) != old)
		return;
	shard = shard_get(st->group, ctl);
	if (!shard)
		return;
	wheel_add(shard, old, -1);
	wheel_add(shard, word, 1);
}

static __always_inline bool is_retired(const struct pile_bpf_control *ctl, __u32 group)
{
	return group >= PILE_GROUPS_MAX || (ctl->retired[(group / 32) & 3] >> (group % 32)) & 1;
}

static __always_inline void queue_write(struct seq_file *seq, struct sock *sk,
					struct pile_bpf_socket *st)
{
	struct pile_bpf_record_queue rec = {
		.head = { PILE_RECORD_QUEUE, sizeof(rec) },
		.group = st->group,
		.cookie = bpf_get_socket_cookie(sk),
		.backlog_limit = sk->sk_max_ack_backlog,
	};

	rec.backlog = sk->__sk_common.skc_family == AF_UNIX ? sk->sk_receive_queue.qlen
							    : sk->sk_ack_backlog;
	bpf_seq_write(seq, &rec, sizeof(rec));
}

SEC("iter/bpf_sk_storage_map")
int sweep_sockets(struct bpf_iter__bpf_sk_storage_map *ctx)
{
	struct pile_bpf_record_socket rec = { .head = { PILE_RECORD_SOCKET, sizeof(rec) } };
	struct sock *sk = ctx->sk;
	struct pile_bpf_control *ctl;
	struct pile_bpf_socket *st;

	if (!sk || !ctx->value)
		return 0;
	st = bpf_sk_storage_get(&sockets, sk, NULL, 0);
	ctl = control_get();
	if (!st || !ctl)
		return 0;
	/*
	 * its group's slot is given away: forget it; if it is still served, the discover walk
	 * adopts it again
	 */
	if (is_retired(ctl, st->group)) {
		bpf_sk_storage_delete(&sockets, sk);
		return 0;
	}
	if (sk->__sk_common.skc_state == TCP_LISTEN) {
		queue_write(ctx->meta->seq, sk, st);
		return 0;
	}
	request_rebin(st, ctl, bpf_ktime_get_ns());
	rec.group = st->group;
	rec.worker = st->worker;
	rec.flags = st->flags;
	rec.open = st->open;
	bpf_seq_write(ctx->meta->seq, &rec, sizeof(rec));
	return 0;
}

/* tcp timestamps of "last sent" and "last received" are jiffies, 32 bits of them. */
static __always_inline void connect_judge(struct pile_bpf_record_connect *rec, struct sock *sk,
					  const struct pile_bpf_connect *st)
{
	struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);
	__u32 now = (__u32)bpf_jiffies64();

	rec->state = PILE_CONNECT_OPEN;
	if (!tp)
		return;
	/* snd_una is 1 past the SYN, rcv_nxt likewise: nothing said by either side */
	if (tp->bytes_received == 0 && tp->bytes_sent == 0) {
		rec->silent_ms = (bpf_ktime_get_ns() - st->started_ns) / 1000000;
		if (rec->silent_ms > SILENT_AFTER_MS)
			rec->state = PILE_CONNECT_MUTE;
		return;
	}
	if ((__s32)(tp->lsndtime - tp->inet_conn.icsk_ack.lrcvtime) < 0 || !tp->bytes_sent)
		return;
	rec->silent_ms = jiffies_to_ms(now - tp->lsndtime);
	if (tp->snd_una != tp->write_seq && tp->inet_conn.icsk_retransmits >= UNACKED_RETRANSMITS)
		rec->state = PILE_CONNECT_UNACKED;
	else if (rec->silent_ms > SILENT_AFTER_MS)
		rec->state = PILE_CONNECT_SILENT;
}

static __always_inline void source_read(struct pile_bpf_record_connect *rec, struct sock *sk)
{
	rec->family = sk->__sk_common.skc_family;
	rec->source_port = sk->__sk_common.skc_num;
	if (rec->family == AF_INET6) {
		__builtin_memcpy(rec->source, &sk->__sk_common.skc_v6_rcv_saddr, 16);
		return;
	}
	rec->source[10] = 0xff;
	rec->source[11] = 0xff;
	*(__u32 *)&rec->source[12] = sk->__sk_common.skc_rcv_saddr;
}

SEC("iter/bpf_sk_storage_map")
int sweep_connects(struct bpf_iter__bpf_sk_storage_map *ctx)
{
	struct pile_bpf_record_connect rec = { .head = { PILE_RECORD_CONNECT, sizeof(rec) } };
	struct sock *sk = ctx->sk;
	struct pile_bpf_control *ctl;
	struct pile_bpf_connect *st;
	unsigned char state;

	if (!sk || !ctx->value)
		return 0;
	st = bpf_sk_storage_get(&connects, sk, NULL, 0);
	ctl = control_get();
	if (!st || !ctl)
		return 0;
	if (is_retired(ctl, st->group)) {
		if (sk->__sk_common.skc_state == TCP_SYN_SENT)
			connect_forget();
		bpf_sk_storage_delete(&connects, sk);
		return 0;
	}
	state = sk->__sk_common.skc_state;
	if (state == TCP_SYN_SENT)
		rec.state = PILE_CONNECT_PENDING;
	else if (state == TCP_ESTABLISHED || state == TCP_CLOSE_WAIT)
		connect_judge(&rec, sk, st);
	else
		return 0;
	rec.group = st->group;
	__builtin_memcpy(rec.addr, st->addr, 16);
	rec.port = st->port;
	rec.cookie = bpf_get_socket_cookie(sk);
	rec.started_ns = st->started_ns;
	rec.netns = sk->__sk_common.skc_net.net->ns.inum;
	source_read(&rec, sk);
	bpf_seq_write(ctx->meta->seq, &rec, sizeof(rec));
	return 0;
}

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
	__u32 *group = bpf_map_lookup_elem(&listeners, &cookie);

	if (!group || !ctl)
		return PILE_NO_GROUP;
	fresh.group = *group;
	st = bpf_sk_storage_get(&sockets, sk, &fresh, BPF_SK_STORAGE_GET_F_CREATE);
	if (!st)
		return PILE_NO_GROUP;
	if (sk->__sk_common.skc_family != AF_UNIX)
		return *group;
	usk = bpf_skc_to_unix_sock(sk);
	address = usk ? (__u64)usk->addr : 0;
	value.group = *group;
	value.epoch = ctl->epoch;
	if (address)
		bpf_map_update_elem(&unix_addresses, &address, &value, BPF_ANY);
	return *group;
}

static __always_inline void listener_write(struct seq_file *seq, struct task_struct *task,
					   struct file *file, struct sock *sk)
{
	struct pile_bpf_record_listener rec = { .head = { PILE_RECORD_LISTENER, sizeof(rec) } };

	rec.cookie = bpf_get_socket_cookie(sk);
	rec.tgid = task->tgid;
	rec.cgroup_id = task_cgroup_id(task);
	rec.inode = file->f_inode->i_ino;
	rec.family = sk->__sk_common.skc_family;
	rec.port = rec.family == AF_UNIX ? 0 : sk->__sk_common.skc_num;
	rec.protocol = rec.family == AF_UNIX ? 0 : sk->sk_protocol;
	rec.type = sk->sk_type;
	rec.netns = sk->__sk_common.skc_net.net->ns.inum;
	rec.backlog = rec.family == AF_UNIX ? sk->sk_receive_queue.qlen : sk->sk_ack_backlog;
	if (rec.family == AF_INET6) {
		__builtin_memcpy(rec.addr, &sk->__sk_common.skc_v6_rcv_saddr, 16);
	} else if (rec.family == AF_INET) {
		rec.addr[10] = 0xff;
		rec.addr[11] = 0xff;
		*(__u32 *)&rec.addr[12] = sk->__sk_common.skc_rcv_saddr;
	}
	__builtin_memcpy(rec.comm, task->comm, sizeof(rec.comm));
	rec.group = listener_tag(sk, rec.cookie);
	bpf_seq_write(seq, &rec, sizeof(rec));
}

/* A connection older than the guard, or than its group. */
static __always_inline void connection_adopt(struct task_struct *task, struct sock *sk)
{
	__u64 id = task_cgroup_id(task), address;
	struct pile_bpf_cgroup *cg = bpf_map_lookup_elem(&cgroups, &id);
	struct pile_bpf_socket fresh = { .flags = PILE_SOCKET_ADOPTED };
	struct pile_bpf_unix_address *unix_address;
	__u32 port, group = PILE_NO_GROUP, *by_port;
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
		port = sk->__sk_common.skc_num;
		by_port = bpf_map_lookup_elem(&listener_ports, &port);
		if (by_port)
			group = *by_port;
	}
	if (group != PILE_NO_GROUP && state_can_open(sk)) {
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
						 : tcp_sent(tcp_of(sk)));
		return;
	}
	if (group != PILE_NO_GROUP || sk->__sk_common.skc_family == AF_UNIX ||
	    sk->sk_protocol != IPPROTO_TCP || cg->group == PILE_NO_GROUP)
		return;
	if (sk->__sk_common.skc_state != TCP_SYN_SENT &&
	    sk->__sk_common.skc_state != TCP_ESTABLISHED)
		return;
	connect_follow(sk, cg->group);
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
		listener_write(ctx->meta->seq, task, file, sk);
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
	struct pile_bpf_socket fresh = { .flags = PILE_SOCKET_LISTENER };
	struct sock_common *skc = ctx->sk_common;
	struct tcp_sock *tp;
	__u32 port, *group;

	if (!skc || skc->skc_state != TCP_LISTEN)
		return 0;
	tp = bpf_skc_to_tcp_sock(skc);
	if (!tp || !tcp_is_mptcp(tp))
		return 0;
	port = skc->skc_num;
	group = bpf_map_lookup_elem(&listener_ports, &port);
	if (!group)
		return 0;
	fresh.group = *group;
	bpf_sk_storage_get(&sockets, skc, &fresh, BPF_SK_STORAGE_GET_F_CREATE);
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

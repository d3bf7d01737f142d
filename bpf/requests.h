/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * requests.h: the life of a request, as one atomic state word per socket (word.h). Both tiers call
 * these functions.
 *
 * Opened by inbound bytes that arrived after the last outbound byte; waiting until the first
 * outbound byte; ended also by a read of 0, a failed send and close (design.md, Words).
 */
#ifndef PILE_BPF_REQUESTS_H
#define PILE_BPF_REQUESTS_H

#include "door.h"
#include "word.h"

#include <bpf/bpf_core_read.h>

/* How far an MPTCP socket has written: its type can be looked into with a cast that 6.1 has not. */
#ifdef PILE_TIER_A
extern void *bpf_rdonly_cast(void *obj, __u32 btf_id) __ksym;

static __always_inline __u32 mptcp_sent(struct sock *sk)
{
	struct mptcp_sock *msk;

	if (!bpf_core_type_exists(struct mptcp_sock))
		return 0;
	msk = bpf_rdonly_cast(sk, bpf_core_type_id_kernel(struct mptcp_sock));
	return msk->write_seq;
}
#define MPTCP_SENT_KNOWN true
#else
#define mptcp_sent(sk) 0
#define MPTCP_SENT_KNOWN false
#endif

static __always_inline bool state_can_open(struct sock *sk)
{
	unsigned char state = sk->__sk_common.skc_state;

	if (state != TCP_ESTABLISHED && state != TCP_CLOSE_WAIT)
		return false;
	return !(sk->sk_shutdown & SEND_SHUTDOWN);
}

static __always_inline bool is_mptcp(const struct sock *sk)
{
	return sk->__sk_common.skc_family != AF_UNIX && sk->sk_protocol == IPPROTO_MPTCP;
}

/* A subflow of an MPTCP connection. */
static __always_inline bool tcp_is_mptcp(struct tcp_sock *tp)
{
	if (!bpf_core_field_exists(tp->is_mptcp))
		return false;
	return BPF_CORE_READ_BITFIELD(tp, is_mptcp);
}

/*
 * Bytes that nobody has read yet. A bare FIN wakes the reader as well and is no request. A subflow
 * of an MPTCP connection never opens one: the MPTCP socket, which inherits its listener's tag, does.
 */
static __always_inline bool tcp_has_unread(struct sock *sk, struct tcp_sock *tp)
{
	__u32 unread;

	if (is_mptcp(sk))
		return sk->sk_receive_queue.qlen > 0;
	if (!tp || tcp_is_mptcp(tp))
		return false;
	unread = tp->rcv_nxt - tp->copied_seq;
	if (sk->__sk_common.skc_state == TCP_CLOSE_WAIT)
		unread--;
	return (__s32)unread > 0;
}

/* An accepted unix socket shares its listener's address object; a client has none. */
static __always_inline struct pile_bpf_socket *unix_adopt(struct sock *sk, struct unix_sock *usk)
{
	struct pile_bpf_socket fresh = { .flags = PILE_SOCKET_UNIX };
	struct pile_bpf_unix_address *known;
	struct pile_bpf_socket *st;
	__u64 address = (__u64)usk->addr;

	if (!address)
		return NULL;
	known = bpf_map_lookup_elem(&unix_addresses, &address);
	if (!known || sk->__sk_common.skc_state == TCP_LISTEN)
		return NULL;
	if (!follow_allowed(PILE_FOLLOWED_SOCKETS, known->group))
		return NULL;
	/* born whole: a reader on another CPU never sees it without its group */
	fresh.group = known->group;
	fresh.door = known->door;
	/* writer and reader may meet here for the first time, on two CPUs: then one of them fails */
	for (int i = 0; i < 3; i++) {
		st = bpf_sk_storage_get(&sockets, sk, &fresh, BPF_SK_STORAGE_GET_F_CREATE);
		if (!st)
			continue;
		door_enter(st);
		return st;
	}
	storage_lost();
	return NULL;
}

/*
 * An answer is out when its bytes are where the peer can read them, not when the system call that
 * sent them returns: the peer may have run, and asked again, before that (one request in 4,000 on
 * two CPUs). TCP: write_seq has moved on since the request was opened. Unix: the answer wakes the
 * peer, and that is the moment to count it; or the peer has read it without being woken.
 */
static __always_inline struct tcp_sock *tcp_of(struct sock *sk)
{
	return sk->sk_protocol == IPPROTO_TCP ? bpf_skc_to_tcp_sock(sk) : NULL;
}

/*
 * How far the server has written; 0 where that cannot be told: unix, and MPTCP in tier B, where the
 * race above remains.
 */
static __always_inline __u32 sent_of(struct sock *sk, const struct tcp_sock *tp)
{
	if (tp)
		return tp->write_seq;
	return is_mptcp(sk) ? mptcp_sent(sk) : 0;
}

/*
 * Bytes for a unix socket that is none of ours: for the client of one of ours? Then an answer.
 * Where fentry is refused; else it was counted before these bytes were queued.
 */
static __always_inline void unix_answered(struct unix_sock *client)
{
	struct pile_bpf_control *ctl = control_get();
	struct sock *peer = client->peer;
	struct pile_bpf_socket *st;
	struct unix_sock *server;

	if (!ctl || ctl->unix_sends)
		return;
	server = peer ? bpf_skc_to_unix_sock(peer) : NULL;
	if (!server || !server->addr)
		return;
	st = bpf_sk_storage_get(&sockets, peer, NULL, 0);
	if (!st || !st->open)
		return;
	if (peer->sk_receive_queue.qlen > 0)
		st->flags |= PILE_SOCKET_LEFT_OVER;
	request_end(st, true);
}

/* A unix socket without a state: one of ours that is new, or the client of one of ours. */
static __always_inline struct pile_bpf_socket *unix_first_met(struct sock *sk)
{
	struct unix_sock *usk = bpf_skc_to_unix_sock(sk);
	struct pile_bpf_socket *st;

	if (!usk)
		return NULL;
	st = unix_adopt(sk, usk);
	if (!st)
		unix_answered(usk);
	return st;
}

static __always_inline void on_arrival_unix(struct sock *sk, struct pile_bpf_socket *st)
{
	__u64 open;

	if (!st)
		st = unix_first_met(sk);
	if (!st)
		return;
	if (!state_can_open(sk))
		return;
	open = st->open;
	if (open)
		request_touch(st, open);
	else if (sk->sk_receive_queue.qlen > 0) /* else a reader was faster: on_receive opens it */
		request_open(st, 0);
}

static __always_inline void on_arrival(struct sock *sk)
{
	struct pile_bpf_socket *st = bpf_sk_storage_get(&sockets, sk, NULL, 0);
	struct tcp_sock *tp;
	__u32 sent;
	__u64 open;

	if (sk->__sk_common.skc_family == AF_UNIX) {
		on_arrival_unix(sk, st);
		return;
	}
	if (!st || !state_can_open(sk))
		return;
	open = st->open;
	tp = tcp_of(sk);
	sent = sent_of(sk, tp);
	if (open && sent == st->sent) {
		request_touch(st, open);
		return;
	}
	if (open)
		request_end(st, true);
	if (tcp_has_unread(sk, tp))
		request_open(st, sent);
}

/*
 * Room for one more worker of this group? Those that the policy names may use it all; whoever has a login can start
 * what serves something. (A few more, by several CPUs at once.)
 */
static __always_inline bool worker_allowed(__u32 group)
{
	struct pile_bpf_control *ctl = control_get();
	struct pile_bpf_totals *t = totals_get();

	if (!ctl || !t)
		return false;
	if (group_bit(ctl->named, group))
		return true;
	/* a guard that does not run says nothing */
	if (t->unnamed_workers >= ctl->unnamed_workers_max &&
	    bpf_ktime_get_ns() - ctl->tick_ns < PILE_LOOP_LATE_NS)
		return false;
	__sync_fetch_and_add(&t->unnamed_workers, 1);
	return true;
}

/* The first read of a worker on this socket: it owns the connection now. */
static __always_inline void worker_claim(struct pile_bpf_socket *st)
{
	__u32 tgid = bpf_get_current_pid_tgid() >> 32;
	struct pile_bpf_worker fresh = {}, *worker;
	struct pile_bpf_cgroup *home;
	struct pile_bpf_totals *t;
	__u64 id;

	if (st->worker == tgid)
		return;
	/* a socket that was handed on: its reader is another group's, and stays so */
	id = bpf_get_current_cgroup_id();
	home = bpf_map_lookup_elem(&cgroups, &id);
	if (home && home->group != PILE_NO_GROUP && home->group != st->group)
		return;
	st->worker = tgid;
	worker = bpf_map_lookup_elem(&workers, &tgid);
	if (worker) {
		if (worker->group != st->group)
			worker->group = st->group;
		return;
	}
	fresh.group = st->group;
	if ((!worker_allowed(st->group) ||
	     bpf_map_update_elem(&workers, &tgid, &fresh, BPF_NOEXIST) < 0) &&
	    (t = totals_get()))
		__sync_fetch_and_add(&t->workers_lost, 1);
}

/*
 * A reader may take the bytes between their queueing and the wake-up call: then arrival found none,
 * and the request begins here. What was unread when the last answer went out is a left-over and
 * begins nothing. Unix, and MPTCP since its reader moves bytes by itself (6.15; the second queue
 * went then).
 */
static __always_inline bool reader_may_be_first(struct sock *sk)
{
	if (sk->__sk_common.skc_family == AF_UNIX)
		return true;
	return is_mptcp(sk) && bpf_core_type_exists(struct mptcp_sock) &&
	       !bpf_core_field_exists(struct mptcp_sock, receive_queue);
}

static __always_inline void first_read(struct sock *sk, struct pile_bpf_socket *st)
{
	if (st->open)
		return;
	if (!(st->flags & PILE_SOCKET_LEFT_OVER)) {
		if (state_can_open(sk))
			request_open(st, sent_of(sk, NULL));
		return;
	}
	if (sk->sk_receive_queue.qlen == 0)
		st->flags &= ~PILE_SOCKET_LEFT_OVER;
}

static __always_inline void on_receive(struct sock *sk, int ret)
{
	bool is_unix = sk->__sk_common.skc_family == AF_UNIX;
	struct pile_bpf_socket *st;

	if (ret < 0)
		return;
	st = bpf_sk_storage_get(&sockets, sk, NULL, 0);
	if (!st && is_unix && ret > 0)
		st = unix_first_met(sk);
	if (!st)
		return;
	if (ret == 0) {
		request_end(st, false);
		return;
	}
	worker_claim(st);
	if (reader_may_be_first(sk))
		first_read(sk, st);
}

static __always_inline void on_send(struct sock *sk, int ret)
{
	bool is_unix = sk->__sk_common.skc_family == AF_UNIX;
	struct pile_bpf_socket *st;

	/* unix: counted when the bytes reached the peer */
	if (ret > 0 ? is_unix : (ret != -EPIPE && ret != -ECONNRESET))
		return;
	st = bpf_sk_storage_get(&sockets, sk, NULL, 0);
	if (!st || !st->open)
		return;
	/* these bytes answered the request before, and the next one came before we got here */
	if (ret > 0 && (sk->sk_protocol == IPPROTO_TCP || MPTCP_SENT_KNOWN) &&
	    sent_of(sk, tcp_of(sk)) == st->sent)
		return;
	if (is_mptcp(sk) && sk->sk_receive_queue.qlen > 0)
		st->flags |= PILE_SOCKET_LEFT_OVER;
	request_end(st, ret > 0);
}

/* Born with its listener's tag: where there is no room for it, it is not followed. */
static __always_inline void on_tcp_accepted(struct sock *sk)
{
	struct pile_bpf_socket *st = bpf_sk_storage_get(&sockets, sk, NULL, 0);

	if (!st)
		return;
	if (follow_allowed(PILE_FOLLOWED_SOCKETS, st->group)) {
		door_enter(st);
		return;
	}
	bpf_sk_storage_delete(&sockets, sk);
	storage_lost();
}

/*
 * Close, reset, or the end of our sending side. CLOSE_WAIT is the peer's FIN: the answer may still
 * come.
 */
static __always_inline void on_tcp_state(struct sock *sk, int newstate)
{
	struct pile_bpf_socket *st;

	if (newstate == TCP_ESTABLISHED || newstate == TCP_CLOSE_WAIT || newstate == TCP_SYN_RECV)
		return;
	st = bpf_sk_storage_get(&sockets, sk, NULL, 0);
	if (!st)
		return;
	door_leave(st);
	if (st->open)
		request_end(st, sent_of(sk, tcp_of(sk)) != st->sent);
}

#endif

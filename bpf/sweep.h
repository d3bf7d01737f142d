/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * sweep.h: what a sweep does with each socket that it meets, however it comes by it: sweep.bpf.c
 * walks our own storage, sweep_all.bpf.c all sockets of the host.
 * A request is moved from the old wheel to the new one: what stays behind in the old wheel belonged
 * to sockets that are gone. A connection to a dependency tells what it is doing.
 * A socket is marked as met only when its record was taken: where the reader's buffer ends in the middle of
 * one, the kernel drops it and comes to the same socket again.
 */
#ifndef PILE_BPF_SWEEP_H
#define PILE_BPF_SWEEP_H

#include "connects.h"
#include "requests.h"

#define SILENT_AFTER_MS 500 /* sample.h: "silent" */
#define ACK_DELAY_MS \
	1000 /* an acknowledgement is at most 200 ms late (TCP_DELACK_MAX), and sent again */
#define UNACKED_RETRANSMITS 3 /* design.md: >= 3 retransmission time-outs */

/*
 * Binned again by age, into the new wheel; old ones go to "older" before their slot comes round
 * again.
 */
static __always_inline void request_rebin(struct pile_bpf_socket *st,
					  const struct pile_bpf_control *ctl, __u64 now)
{
	__u64 old = st->open, word, age;

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
	if (word != old)
		request_move(st, old, word, ctl);
}

static __always_inline bool is_retired(const struct pile_bpf_control *ctl, __u32 group)
{
	return group >= PILE_GROUPS_MAX || group_bit(ctl->retired, group);
}

static __always_inline bool queue_write(struct seq_file *seq, struct sock *sk,
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
	return bpf_seq_write(seq, &rec, sizeof(rec)) == 0;
}

/* The door of a connection that is older than the door, or was adopted. */
static __always_inline __u32 door_missed(struct pile_bpf_socket *st, struct sock *sk,
					 const struct pile_bpf_control *ctl)
{
	struct pile_bpf_unix_address *known;
	struct unix_sock *usk;
	__u64 address;

	if (!group_bit(ctl->doored, st->group))
		return 0;
	if (sk->__sk_common.skc_family != AF_UNIX)
		return is_mptcp(sk) ? 0 : door_of(&sk->__sk_common, ctl);
	usk = bpf_skc_to_unix_sock(sk);
	address = usk ? (__u64)usk->addr : 0;
	known = address ? bpf_map_lookup_elem(&unix_addresses, &address) : NULL;
	return known ? known->door : 0;
}

/* Moves a connection to the count that is valid from now on; forgets doors that are gone. */
static __always_inline void door_sweep(struct pile_bpf_socket *st, struct sock *sk,
				       const struct pile_bpf_control *ctl)
{
	unsigned char state = sk->__sk_common.skc_state;
	__u32 word = st->door, index = word & PILE_DOOR_INDEX, new;
	struct pile_bpf_door_counts *counts;

	if (index && (ctl->doors_gone >> (index & (PILE_DOORS_MAX - 1)) & 1)) {
		door_leave(st);
		__sync_val_compare_and_swap(&st->door, index, 0);
		return;
	}
	if (state != TCP_ESTABLISHED && state != TCP_CLOSE_WAIT) {
		door_leave(st);
		return;
	}
	if (!index)
		index = door_missed(st, sk, ctl);
	if (!index || is_mptcp(sk))
		return;
	if (!door_is_of(index, st->group)) {
		door_leave(st);
		__sync_val_compare_and_swap(&st->door, index, 0);
		return;
	}
	counts = door_counts_get(index);
	if (!counts)
		return;
	new = door_word(index, ctl);
	if (new == word || __sync_val_compare_and_swap(&st->door, word, new) != word)
		return;
	if (word & PILE_DOOR_COUNTED)
		door_add(counts, word, -1);
	door_add(counts, new, 1);
}

/* A connection of a group, or its listener. Not for sockets without a state of ours. */
static __always_inline void socket_sweep(struct seq_file *seq, struct sock *sk)
{
	struct pile_bpf_record_socket rec = { .head = { PILE_RECORD_SOCKET, sizeof(rec) } };
	struct pile_bpf_control *ctl = control_get();
	struct pile_bpf_socket *st;

	st = bpf_sk_storage_get(&sockets, sk, NULL, 0);
	if (!st || !ctl || st->swept == (__u16)ctl->sweep)
		return;
	/*
	 * its group's slot is given away: forget it; if it is still served, the discover walk
	 * adopts it again
	 */
	if (is_retired(ctl, st->group)) {
		door_leave(st);
		bpf_sk_storage_delete(&sockets, sk);
		return;
	}
	if (sk->__sk_common.skc_state == TCP_LISTEN) {
		if (st->door && (ctl->doors_gone >> (st->door & (PILE_DOORS_MAX - 1)) & 1))
			st->door =
				0; /* no walk may come to it for a while: its children inherit it */
		if (queue_write(seq, sk, st))
			st->swept = ctl->sweep;
		return;
	}
	request_rebin(st, ctl, bpf_ktime_get_ns());
	door_sweep(st, sk, ctl);
	rec.group = st->group;
	rec.worker = st->worker;
	rec.flags = st->flags;
	rec.open = st->open;
	if (bpf_seq_write(seq, &rec, sizeof(rec)) == 0)
		st->swept = ctl->sweep;
}

/*
 * Our word was the last? By the kernel's ticks, and where both words fell into one of them (a query and its answer, or an
 * answer and the next query) by sequence: whoever only acknowledges our word stands where he stood in his own sending,
 * who answers has moved on. A keepalive that was answered later looks the same: then it is not known, and counts as no.
 */
static __always_inline bool spoke_last(struct tcp_sock *tp)
{
	__s32 later = (__s32)(tp->lsndtime - tp->inet_conn.icsk_ack.lrcvtime);

	if (later || !tp->bytes_received)
		return later >= 0;
	if (tp->snd_una != tp->write_seq)
		return true; /* not even acknowledged, by no answer either */
	return tp->snd_wl1 == tp->rcv_nxt &&
	       jiffies_to_ms(tp->rcv_tstamp - tp->lsndtime) <= ACK_DELAY_MS;
}

/*
 * Does a task sleep for it, in recv() or poll()? An event loop does for all of its sockets. A worker that keeps a
 * connection for its next request does not, and what it said last (MySQL's COM_STMT_CLOSE) may want no answer.
 */
static __always_inline bool is_awaited(struct sock *sk)
{
	struct socket_wq *wq = sk->sk_wq;

	return wq && (void *)wq->wait.head.next != (void *)&wq->wait.head;
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
	rec->received = tp->bytes_received < ~0u ? tp->bytes_received : ~0u;
	rec->awaited = is_awaited(sk);
	rec->quiet_ms = jiffies_to_ms(now - tp->inet_conn.icsk_ack.lrcvtime);
	/* snd_una is 1 past the SYN, rcv_nxt likewise: nothing said by either side */
	if (tp->bytes_received == 0 && tp->bytes_sent == 0) {
		rec->silent_ms = (bpf_ktime_get_ns() - st->started_ns) / 1000000;
		if (rec->silent_ms > SILENT_AFTER_MS)
			rec->state = PILE_CONNECT_MUTE;
		return;
	}
	if (!tp->bytes_sent || !spoke_last(tp))
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

/* A connection of a worker to a dependency. Not for sockets without a state of ours. */
static __always_inline void connect_sweep(struct seq_file *seq, struct sock *sk)
{
	struct pile_bpf_record_connect rec = { .head = { PILE_RECORD_CONNECT, sizeof(rec) } };
	struct pile_bpf_control *ctl = control_get();
	struct pile_bpf_connect *st;
	unsigned char state;

	st = bpf_sk_storage_get(&connects, sk, NULL, 0);
	if (!st || !ctl || st->swept == (__u8)ctl->sweep)
		return;
	state = sk->__sk_common.skc_state;
	if (is_retired(ctl, st->group)) {
		if (state == TCP_SYN_SENT)
			connect_forget();
		bpf_sk_storage_delete(&connects, sk);
		return;
	}
	if (state == TCP_SYN_SENT)
		rec.state = PILE_CONNECT_PENDING;
	else if (state == TCP_ESTABLISHED || state == TCP_CLOSE_WAIT)
		connect_judge(&rec, sk, st);
	else
		rec.state = PILE_CONNECT_OVER;
	rec.group = st->group;
	__builtin_memcpy(rec.addr, st->addr, 16);
	rec.port = st->port;
	rec.cookie = bpf_get_socket_cookie(sk);
	rec.started_ns = st->started_ns;
	rec.worker = st->worker;
	rec.netns = sk->__sk_common.skc_net.net->ns.inum;
	source_read(&rec, sk);
	if (bpf_seq_write(seq, &rec, sizeof(rec)) == 0)
		st->swept = ctl->sweep;
}

#endif

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
		bpf_sk_storage_delete(&sockets, sk);
		return;
	}
	if (sk->__sk_common.skc_state == TCP_LISTEN) {
		if (queue_write(seq, sk, st))
			st->swept = ctl->sweep;
		return;
	}
	request_rebin(st, ctl, bpf_ktime_get_ns());
	rec.group = st->group;
	rec.worker = st->worker;
	rec.flags = st->flags;
	rec.open = st->open;
	if (bpf_seq_write(seq, &rec, sizeof(rec)) == 0)
		st->swept = ctl->sweep;
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

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * connects.h: following one connection of a worker to a dependency: its key, its state, its
 * destination's counters.
 */
#ifndef PILE_BPF_CONNECTS_H
#define PILE_BPF_CONNECTS_H

#include "maps.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>

static __always_inline void destination_read(struct sock *sk, struct pile_bpf_destination *to)
{
	to->port = bpf_ntohs(sk->__sk_common.skc_dport);
	if (sk->__sk_common.skc_family == AF_INET6) {
		__builtin_memcpy(to->addr, &sk->__sk_common.skc_v6_daddr, 16);
		return;
	}
	to->addr[10] = 0xff;
	to->addr[11] = 0xff;
	*(__u32 *)&to->addr[12] = sk->__sk_common.skc_daddr;
}

/* As pile_endpoint_matches() has it: port 0 is any port, the all-zero address any, 0.0.0.0 any of IPv4. */
static __always_inline bool is_exempt(const struct pile_bpf_destination *of)
{
	struct pile_bpf_destination key = *of;
	bool v4 = key.addr[10] == 0xff && key.addr[11] == 0xff;

	if (bpf_map_lookup_elem(&exempts, &key))
		return true;
	key.port = 0;
	if (bpf_map_lookup_elem(&exempts, &key))
		return true;
	key.port = of->port; /* the policy takes no address that covers others without a port */
	__builtin_memset(key.addr, 0, sizeof(key.addr));
	if (bpf_map_lookup_elem(&exempts, &key))
		return true;
	if (!v4)
		return false;
	key.addr[10] = key.addr[11] = 0xff;
	return bpf_map_lookup_elem(&exempts, &key) != NULL;
}

static __always_inline void connect_key(const struct pile_bpf_connect *st,
					struct pile_bpf_destination *key)
{
	__builtin_memcpy(key->addr, st->addr, 16);
	key->group = st->group;
	key->port = st->port;
}

static __always_inline bool connect_exempt(const struct pile_bpf_connect *st)
{
	struct pile_bpf_destination key = {};

	connect_key(st, &key);
	return is_exempt(&key);
}

/*
 * Room for one more destination of this group? Those that the policy names may use it all; the others,
 * a user's session among them, only their share. (A few more, by connects on several CPUs at once.)
 */
static __always_inline bool counts_allowed(struct pile_bpf_totals *t, __u32 group)
{
	struct pile_bpf_control *ctl = control_get();

	if (!ctl)
		return false;
	if (group_bit(ctl->named, group))
		return true;
	if (t->unnamed_added >= ctl->unnamed_added_max)
		return false;
	__sync_fetch_and_add(&t->unnamed_added, 1);
	return true;
}

static __always_inline struct pile_bpf_destination_counts *
counts_get(const struct pile_bpf_destination *key)
{
	struct pile_bpf_destination_counts fresh = {}, *counts;
	struct pile_bpf_totals *t = totals_get();

	counts = bpf_map_lookup_elem(&destinations, key);
	if (counts || !t)
		return counts;
	if (counts_allowed(t, key->group)) {
		bpf_map_update_elem(&destinations, key, &fresh, BPF_NOEXIST);
		counts = bpf_map_lookup_elem(&destinations, key);
	}
	if (!counts)
		__sync_fetch_and_add(&t->destinations_lost, 1);
	return counts;
}

/*
 * A pending connect that is no longer followed: started = established + failed + pending must go on
 * to hold.
 */
static __always_inline void connect_forget(void)
{
	struct pile_bpf_totals *t = totals_get();

	if (t)
		__sync_fetch_and_add(&t->connects_failed, 1);
}

static __always_inline __u32 jiffies_to_ms(__u32 j)
{
	struct pile_bpf_control *ctl = control_get();
	__u32 hz = ctl && ctl->hz ? ctl->hz : 250;

	return (__u64)j * 1000 / hz;
}

/*
 * A followed connection is over, or the peer closes it: when a byte came last, if any did. TCP keeps that time by
 * itself, so that no packet need be looked at; lrcvtime begins with the handshake, which is no word of the server's.
 * An RST is one: whoever hangs sends none.
 */
static __always_inline void connect_heard(struct sock *sk)
{
	struct pile_bpf_destination key = {};
	struct pile_bpf_destination_counts *counts;
	struct pile_bpf_connect *st = bpf_sk_storage_get(&connects, sk, NULL, 0);
	struct tcp_sock *tp;
	__u64 heard;

	if (!st)
		return;
	tp = bpf_skc_to_tcp_sock(sk);
	if (!tp)
		return;
	heard = bpf_ktime_get_ns();
	if (sk->sk_err != ECONNRESET && sk->sk_err != EPIPE) {
		if (!tp->bytes_received)
			return;
		heard -= (__u64)jiffies_to_ms((__u32)bpf_jiffies64() -
					      tp->inet_conn.icsk_ack.lrcvtime) *
			 1000000;
	}
	connect_key(st, &key);
	counts = bpf_map_lookup_elem(&destinations, &key);
	if (counts && counts->last_heard_ns < heard)
		counts->last_heard_ns = heard;
}

/* What the cgroup of a worker that connects has been charged: the loop in the kernel has no other way to it. */
static __always_inline void used_note(struct sock *sk, __u32 group, struct pile_bpf_totals *t)
{
	struct pile_bpf_control *ctl = control_get();
	struct pile_bpf_used *used = &t->used[group & (PILE_GROUPS_MAX - 1)];
	struct mem_cgroup *memcg;

	if (!ctl || !bpf_core_field_exists(sk->sk_memcg))
		return;
	memcg = sk->sk_memcg;
	if (!memcg)
		return;
	used->bytes = (__u64)memcg->memory.usage.counter * ctl->page_bytes;
	used->at_ns = bpf_ktime_get_ns();
}

/* A connection of a worker to a destination, just started or older than the guard. */
static __always_inline void connect_follow(struct sock *sk, __u32 group, __u32 worker)
{
	struct pile_bpf_destination key = { .group = group };
	struct pile_bpf_destination_counts *counts;
	struct pile_bpf_connect *st;
	struct pile_bpf_totals *t = totals_get();

	if (!t)
		return;
	if (!follow_allowed(PILE_FOLLOWED_CONNECTS, group)) {
		storage_lost();
		return;
	}
	destination_read(sk, &key);
	st = bpf_sk_storage_get(&connects, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	if (!st) {
		storage_lost();
		return;
	}
	__builtin_memcpy(st->addr, key.addr, 16);
	st->group = key.group;
	st->port = key.port;
	st->worker = worker;
	st->established = sk->__sk_common.skc_state == TCP_ESTABLISHED;
	st->started_ns = bpf_ktime_get_ns();
	if (st->established)
		return;
	__sync_fetch_and_add(&t->connects_started, 1);
	used_note(sk, group, t);
	counts = counts_get(&key);
	if (counts) {
		__sync_fetch_and_add(&counts->started, 1);
		counts->last_started_ns = st->started_ns;
	}
}

#endif

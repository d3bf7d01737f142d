// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * breaker.bpf.c: rung 1 in the kernel: connect() to a destination whose gate is shut returns an
 * errno at once, and the milder form, a deadline for connects by the kernel's own SYN time-outs.
 * Attached to the groups' cgroups only.
 * A gate whose lease is over, or whose guard is dead, is open.
 */
#include "maps.h"

#include <bpf/bpf_endian.h>

char LICENSE[] SEC("license") = "GPL";

static __always_inline bool is_tcp(const struct bpf_sock_addr *ctx)
{
	return ctx->type == SOCK_STREAM &&
	       (ctx->protocol == IPPROTO_TCP || ctx->protocol == IPPROTO_MPTCP);
}

/* 1 = go on, 0 = refused (the errno is set) */
static __always_inline int admit(struct pile_bpf_destination *key)
{
	struct pile_bpf_gate_counts *counts;
	struct pile_bpf_control *ctl;
	struct pile_bpf_gate *gate;
	__u64 now;

	key->group = current_group();
	if (key->group == PILE_NO_GROUP)
		return 1;
	gate = bpf_map_lookup_elem(&gates, key);
	if (!gate)
		return 1;
	ctl = control_get();
	counts = bpf_map_lookup_elem(&gate_counts, key);
	now = bpf_ktime_get_ns();
	if (!ctl || !counts || ctl->guard_dead || now >= gate->lease_ns)
		return 1;
	if (gate->refuse_errno < 1 || gate->refuse_errno > 133)
		return 1;
	if (counts->admitted < gate->allow &&
	    __sync_fetch_and_add(&counts->admitted, 1) < gate->allow)
		return 1;
	__sync_fetch_and_add(&counts->refused, 1);
	if (!counts->first_refused_ns)
		counts->first_refused_ns = now;
	bpf_set_retval(-(int)gate->refuse_errno);
	return 0;
}

SEC("cgroup/connect4")
int connect_v4(struct bpf_sock_addr *ctx)
{
	struct pile_bpf_destination key = {};

	if (!is_tcp(ctx))
		return 1;
	key.addr[10] = 0xff;
	key.addr[11] = 0xff;
	*(__u32 *)&key.addr[12] = ctx->user_ip4;
	key.port = bpf_ntohs((__u16)ctx->user_port);
	return admit(&key);
}

SEC("cgroup/connect6")
int connect_v6(struct bpf_sock_addr *ctx)
{
	struct pile_bpf_destination key = {};
	__u32 *addr = (__u32 *)key.addr;

	if (!is_tcp(ctx))
		return 1;
	addr[0] = ctx->user_ip6[0];
	addr[1] = ctx->user_ip6[1];
	addr[2] = ctx->user_ip6[2];
	addr[3] = ctx->user_ip6[3];
	key.port = bpf_ntohs((__u16)ctx->user_port);
	return admit(&key);
}

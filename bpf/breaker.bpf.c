// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * breaker.bpf.c: rung 1 in the kernel: connect() to a destination whose gate is shut returns an
 * errno at once, and the milder form, a deadline for connects by the kernel's own SYN time-outs.
 * Attached to the groups' cgroups only.
 * A gate whose lease is over, or whose guard is dead, is open.
 */
#include "maps.h"

#include <bpf/bpf_endian.h>

#include "pileguard/rules.h"

char LICENSE[] SEC("license") = "GPL";

static __always_inline bool is_tcp(const struct bpf_sock_addr *ctx)
{
	return ctx->type == SOCK_STREAM &&
	       (ctx->protocol == IPPROTO_TCP || ctx->protocol == IPPROTO_MPTCP);
}

static __always_inline bool is_errno(__u32 number)
{
	return number >= 1 && number <= 133;
}

/* bpf_set_retval() (helper 187), which libbpf declares with an int. */
static long (*const set_retval)(long value) = (void *)187;

/*
 * 7.x refuses a program unless its verifier sees that the value is an errno: in all 64 bits (as an int its upper half is
 * cleared), and by a comparison of what is handed over (no kernel before 6.18 follows a negation). Read once: the map may
 * change under it.
 */
static __always_inline int refuse(__u32 number)
{
	long value = -(long)number;

	barrier_var(value);
	if (value < -133 || value > -1)
		return 1;
	set_retval(value);
	return 0;
}

/* 1 = go on, 0 = refused (the errno is set). The guard's gate. */
static __always_inline int admit_gate(const struct pile_bpf_destination *key, __u64 now)
{
	struct pile_bpf_gate_counts *counts;
	struct pile_bpf_gate *gate = bpf_map_lookup_elem(&gates, key);

	if (!gate)
		return 1;
	counts = bpf_map_lookup_elem(&gate_counts, key);
	if (!counts || !pile_rule_lease(gate->lease_ns, now) || !is_errno(gate->refuse_errno))
		return 1;
	if (counts->admitted < gate->allow &&
	    __sync_fetch_and_add(&counts->admitted, 1) < gate->allow)
		return 1;
	__sync_fetch_and_add(&counts->refused, 1);
	if (!counts->first_refused_ns)
		counts->first_refused_ns = now;
	return refuse(gate->refuse_errno);
}

/* The loop's gate (loop.bpf.c): one connect a second goes through, to find out. */
static __always_inline int admit_loop(struct pile_bpf_loop *loop, __u64 now)
{
	__u64 next = loop->next_ns;

	if (now >= next &&
	    __sync_val_compare_and_swap(&loop->next_ns, next, now + PILE_LOOP_TRY_NS) == next) {
		__sync_fetch_and_add(&loop->admitted, 1);
		return 1;
	}
	__sync_fetch_and_add(&loop->refused, 1);
	if (!loop->first_refused_ns)
		loop->first_refused_ns = now;
	return refuse(loop->refuse_errno);
}

static __always_inline int admit(struct pile_bpf_destination *key)
{
	struct pile_bpf_control *ctl = control_get();
	struct pile_bpf_loop *loop;
	__u64 now;

	key->group = current_group();
	if (key->group == PILE_NO_GROUP || !ctl || ctl->guard_dead)
		return 1;
	now = bpf_ktime_get_ns();
	/* the loop's turn was when the guard was late; what it shut stays so until the guard's own gate stands */
	loop = bpf_map_lookup_elem(&loops, key);
	if (loop && pile_rule_lease(loop->lease_ns, now) && is_errno(loop->refuse_errno))
		return admit_loop(loop, now);
	return admit_gate(key, now);
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

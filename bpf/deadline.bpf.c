// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * deadline.bpf.c: connect_deadline: a connect that is not answered ends with the kernel's own
 * ETIMEDOUT after the policy's time: first SYN time-out r and n retransmissions end it after r x
 * (2^(n+1) - 1). Needs no user space.
 */
#include "connects.h"
#include "sockops.h"

char LICENSE[] SEC("license") = "GPL";

/* The group's deadline, for a connect that the dependency sensor has seen start. */
static __always_inline struct pile_bpf_deadline *deadline_of(struct bpf_sock_ops *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	struct pile_bpf_connect *st;
	struct pile_bpf_deadline *deadline;
	struct pile_bpf_control *ctl = control_get();
	__u32 group;

	if (!sk || !ctl || ctl->guard_dead)
		return NULL;
	st = bpf_sk_storage_get(&connects, sk, NULL, 0);
	if (!st)
		return NULL;
	group = st->group;
	deadline = bpf_map_lookup_elem(&deadlines, &group);
	if (!deadline || !deadline->rto_jiffies || connect_exempt(st))
		return NULL;
	return deadline;
}

SEC("sockops")
int connect_deadline(struct bpf_sock_ops *ctx)
{
	struct pile_bpf_deadline *deadline;
	int count;

	if (ctx->op == BPF_SOCK_OPS_TIMEOUT_INIT && ctx->state == TCP_SYN_SENT) {
		deadline = deadline_of(ctx);
		ctx->reply = deadline ? deadline->rto_jiffies : -1;
	} else if (ctx->op == BPF_SOCK_OPS_TCP_CONNECT_CB) {
		deadline = deadline_of(ctx);
		if (deadline) {
			count = deadline->syn_count;
			bpf_setsockopt(ctx, SOL_TCP, TCP_SYNCNT, &count, sizeof(count));
		}
	}
	return 1;
}

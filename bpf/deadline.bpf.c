// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * deadline.bpf.c: connect_deadline: a connect that is not answered ends with the kernel's own
 * ETIMEDOUT after the policy's time: first SYN time-out r and n retransmissions end it after r x
 * (2^(n+1) - 1). Needs no user space.
 */
#include "maps.h"

char LICENSE[] SEC("license") = "GPL";

enum {
	BPF_SOCK_OPS_TIMEOUT_INIT = 1,
	BPF_SOCK_OPS_TCP_CONNECT_CB = 3,
	SOL_TCP = 6,
	TCP_SYNCNT = 7,
};

struct bpf_sock_ops {
	__u32 op;
	union {
		__u32 args[4];
		__u32 reply;
		__u32 replylong[4];
	};
	__u32 family;
	__u32 remote_ip4;
	__u32 local_ip4;
	__u32 remote_ip6[4];
	__u32 local_ip6[4];
	__u32 remote_port;
	__u32 local_port;
	__u32 is_fullsock;
	__u32 snd_cwnd;
	__u32 srtt_us;
	__u32 bpf_sock_ops_cb_flags;
	__u32 state;
	__u32 rtt_min;
	__u32 snd_ssthresh;
	__u32 rcv_nxt;
	__u32 snd_nxt;
	__u32 snd_una;
	__u32 mss_cache;
	__u32 ecn_flags;
	__u32 rate_delivered;
	__u32 rate_interval_us;
	__u32 packets_out;
	__u32 retrans_out;
	__u32 total_retrans;
	__u32 segs_in;
	__u32 data_segs_in;
	__u32 segs_out;
	__u32 data_segs_out;
	__u32 lost_out;
	__u32 sacked_out;
	__u32 sk_txhash;
	__u64 bytes_received;
	__u64 bytes_acked;
	struct bpf_sock *sk;
};

static __always_inline bool is_exempt(const struct pile_bpf_connect *st)
{
	struct pile_bpf_destination key = { .group = st->group, .port = st->port };

	__builtin_memcpy(key.addr, st->addr, sizeof(key.addr));
	if (bpf_map_lookup_elem(&exempts, &key))
		return true;
	key.port = 0;
	return bpf_map_lookup_elem(&exempts, &key) != NULL;
}

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
	if (!deadline || !deadline->rto_jiffies || is_exempt(st))
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

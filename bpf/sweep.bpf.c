// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * sweep.bpf.c: the truth, by walking our own storage: each socket that is ours, in all network
 * namespaces, accepted or not, and no other.
 */
#include "sweep.h"

#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "GPL";

SEC("iter/bpf_sk_storage_map")
int sweep_sockets(struct bpf_iter__bpf_sk_storage_map *ctx)
{
	struct sock *sk = ctx->sk;

	if (sk && ctx->value)
		socket_sweep(ctx->meta->seq, sk);
	return 0;
}

SEC("iter/bpf_sk_storage_map")
int sweep_connects(struct bpf_iter__bpf_sk_storage_map *ctx)
{
	struct sock *sk = ctx->sk;

	if (sk && ctx->value)
		connect_sweep(ctx->meta->seq, sk);
	return 0;
}

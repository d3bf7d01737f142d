// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * sweep_all.bpf.c: the truth where walking our own storage is refused: all TCP and unix sockets of
 * this network namespace, then all descriptors, for other namespaces and MPTCP. What waits in an
 * accept queue of another namespace is met by none of them.
 */
#include "sweep.h"

#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "GPL";

/* Context fields are read once: what the verifier knows of one reading it does not know of the next. */
static __always_inline struct sock *sock_of_tcp(struct bpf_iter__tcp *ctx)
{
	struct sock_common *skc = ctx->sk_common;

	return skc ? (struct sock *)bpf_skc_to_tcp_sock(skc) : NULL;
}

/* Returns 1 when this read has looked at enough descriptors; else 0, and the socket behind this one, or NULL. */
static __always_inline int sock_of_file(struct file *file, struct sock **ret)
{
	struct socket *sock;

	*ret = NULL;
	if (!file)
		return 0;
	if (walk_full())
		return 1;
	sock = bpf_sock_from_file(file);
	if (sock)
		*ret = sock->sk;
	return 0;
}

SEC("iter/tcp")
int sweep_tcp_sockets(struct bpf_iter__tcp *ctx)
{
	struct sock *sk = sock_of_tcp(ctx);

	if (sk)
		socket_sweep(ctx->meta->seq, sk);
	return 0;
}

SEC("iter/unix")
int sweep_unix_sockets(struct bpf_iter__unix *ctx)
{
	struct unix_sock *usk = ctx->unix_sk;

	if (usk)
		socket_sweep(ctx->meta->seq, (struct sock *)usk);
	return 0;
}

SEC("iter/task_file")
int sweep_file_sockets(struct bpf_iter__task_file *ctx)
{
	struct sock *sk;

	if (sock_of_file(ctx->file, &sk))
		return 1;
	if (sk)
		socket_sweep(ctx->meta->seq, sk);
	return 0;
}

SEC("iter/tcp")
int sweep_tcp_connects(struct bpf_iter__tcp *ctx)
{
	struct sock *sk = sock_of_tcp(ctx);

	if (sk)
		connect_sweep(ctx->meta->seq, sk);
	return 0;
}

SEC("iter/task_file")
int sweep_file_connects(struct bpf_iter__task_file *ctx)
{
	struct sock *sk;

	if (sock_of_file(ctx->file, &sk))
		return 1;
	if (sk)
		connect_sweep(ctx->meta->seq, sk);
	return 0;
}

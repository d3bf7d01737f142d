// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * requests_fentry.bpf.c: the request sensor, tier B (Linux 6.1): the functions behind the socket
 * layer, since sock_recvmsg and sock_sendmsg are partly inlined. Return values by bpf_get_func_ret:
 * argument counts differ between releases.
 */
#include "requests.h"

#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "GPL";

static __always_inline int func_ret(void *ctx)
{
	__u64 ret = 0;

	bpf_get_func_ret(ctx, &ret);
	return (int)ret;
}

SEC("fentry/sock_def_readable")
int BPF_PROG(arrival_b, struct sock *sk)
{
	on_arrival(sk);
	return 0;
}

SEC("fexit/tcp_recvmsg")
int BPF_PROG(receive_tcp, struct sock *sk)
{
	on_receive(sk, func_ret(ctx));
	return 0;
}

SEC("fexit/unix_stream_recvmsg")
int BPF_PROG(receive_unix, struct socket *sock)
{
	struct sock *sk = sock->sk;

	if (sk)
		on_receive(sk, func_ret(ctx));
	return 0;
}

SEC("fexit/tcp_sendmsg")
int BPF_PROG(send_tcp, struct sock *sk)
{
	on_send(sk, func_ret(ctx));
	return 0;
}

/* Gone since 6.5: sendfile then comes through tcp_sendmsg. */
SEC("fexit/tcp_sendpage")
int BPF_PROG(send_tcp_page, struct sock *sk)
{
	on_send(sk, func_ret(ctx));
	return 0;
}

SEC("fexit/unix_stream_sendmsg")
int BPF_PROG(send_unix, struct socket *sock)
{
	struct sock *sk = sock->sk;

	if (sk)
		on_send(sk, func_ret(ctx));
	return 0;
}

SEC("fexit/mptcp_recvmsg")
int BPF_PROG(receive_mptcp, struct sock *sk)
{
	on_receive(sk, func_ret(ctx));
	return 0;
}

SEC("fexit/mptcp_sendmsg")
int BPF_PROG(send_mptcp, struct sock *sk)
{
	on_send(sk, func_ret(ctx));
	return 0;
}

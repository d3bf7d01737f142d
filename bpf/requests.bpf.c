// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * requests.bpf.c: the request sensor, tier A (Linux 6.3 and later): stable tracepoints of the
 * socket layer.
 */
#define PILE_TIER_A
#include "requests.h"

#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "GPL";

SEC("tp_btf/sk_data_ready")
int BPF_PROG(arrival, struct sock *sk)
{
	on_arrival(sk);
	return 0;
}

SEC("tp_btf/sock_recv_length")
int BPF_PROG(receive, struct sock *sk, int ret)
{
	on_receive(sk, ret);
	return 0;
}

SEC("tp_btf/sock_send_length")
int BPF_PROG(send, struct sock *sk, int ret)
{
	on_send(sk, ret);
	return 0;
}

// SPDX-License-Identifier: GPL-2.0-or-later
/* empty.bpf.c: programs of the sensors' types that do nothing: what measuring itself costs. */
#include "kernel.h"

#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

SEC("tp_btf/sk_data_ready")
int empty_arrival(void *ctx)
{
	return 0;
}

SEC("tp_btf/sock_recv_length")
int empty_receive(void *ctx)
{
	return 0;
}

SEC("tp_btf/sock_send_length")
int empty_send(void *ctx)
{
	return 0;
}

SEC("tp_btf/inet_sock_set_state")
int empty_state(void *ctx)
{
	return 0;
}

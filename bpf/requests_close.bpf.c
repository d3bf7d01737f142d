// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * requests_close.bpf.c: a unix connection closed without an answer, seen at once where fentry is
 * allowed.
 * Elsewhere the sweep finds it within about a second (closed, counted as drift).
 */
#include "requests.h"

#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "GPL";

SEC("fentry/unix_release_sock")
int BPF_PROG(close_unix, struct sock *sk)
{
	struct pile_bpf_socket *st = bpf_sk_storage_get(&sockets, sk, NULL, 0);

	if (st)
		request_end(st, false);
	return 0;
}

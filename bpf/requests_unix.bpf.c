// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * requests_unix.bpf.c: unix connections where fentry is allowed. An answer is counted before its
 * bytes are queued, so that no peer can have read it, and asked again, by then; a close without an
 * answer is seen at once.
 * Elsewhere answers are counted when they wake the peer (`unix_answered`), and the sweep finds
 * closes within about a second (closed, counted as drift).
 */
#include "requests.h"

#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "GPL";

static __always_inline void on_send_unix(struct socket *sock, __u64 len)
{
	struct sock *sk = sock->sk, *peer;
	struct pile_bpf_socket *st;
	struct unix_sock *usk;

	if (!sk || !len)
		return;
	st = bpf_sk_storage_get(&sockets, sk, NULL, 0);
	if (!st || !st->open || (sk->sk_shutdown & SEND_SHUTDOWN))
		return;
	usk = bpf_skc_to_unix_sock(sk);
	peer = usk ? usk->peer : NULL;
	/* nobody there, or nobody listens any more: EPIPE, no answer */
	if (!peer || (peer->sk_shutdown & RCV_SHUTDOWN))
		return;
	if (sk->sk_receive_queue.qlen > 0)
		st->flags |= PILE_SOCKET_LEFT_OVER;
	request_end(st, true);
}

SEC("fentry/unix_stream_sendmsg")
int BPF_PROG(answer_unix, struct socket *sock, void *msg, __u64 len)
{
	on_send_unix(sock, len);
	return 0;
}

/* Gone since 6.5: sendfile then comes through unix_stream_sendmsg. */
SEC("fentry/unix_stream_sendpage")
int BPF_PROG(answer_unix_page, struct socket *sock, void *page, int offset, __u64 len)
{
	on_send_unix(sock, len);
	return 0;
}

/* Its memory may be another listener's address at once. */
static __always_inline void address_forget(struct sock *sk)
{
	struct unix_sock *usk = bpf_skc_to_unix_sock(sk);
	__u64 address = usk ? (__u64)usk->addr : 0;

	if (address)
		bpf_map_delete_elem(&unix_addresses, &address);
}

SEC("fentry/unix_release_sock")
int BPF_PROG(close_unix, struct sock *sk)
{
	struct pile_bpf_socket *st = bpf_sk_storage_get(&sockets, sk, NULL, 0);

	if (!st)
		return 0;
	if (sk->__sk_common.skc_state == TCP_LISTEN) {
		address_forget(sk);
		return 0;
	}
	door_leave(st);
	request_end(st, false);
	return 0;
}

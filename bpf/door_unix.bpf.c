// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * door_unix.bpf.c: rung 2 for unix sockets: connect() to a listener that holds as many connections as it may returns
 * ECONNREFUSED at once. The kernel calls the hook with the listener locked, so that judging and counting are one
 * step for all who connect to it: the limit is exact.
 */
#include "door.h"

#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "GPL";

static __always_inline struct pile_bpf_listener *listener_of(struct sock *sk)
{
	__u64 cookie = bpf_get_socket_cookie(sk);

	return bpf_map_lookup_elem(&listeners, &cookie);
}

SEC("fmod_ret/security_unix_stream_connect")
int BPF_PROG(door_unix, struct sock *sock, struct sock *other, struct sock *newsk, int ret)
{
	struct pile_bpf_listener *listener;

	if (ret)
		return ret;
	listener = listener_of(other);
	if (!listener || !listener->door ||
	    !door_refuses(listener->door, NULL, bpf_get_prandom_u32()))
		return 0;
	return -ECONNREFUSED;
}

/* The way is open: from here on this connect succeeds. */
SEC("fexit/security_unix_stream_connect")
int BPF_PROG(door_unix_enter, struct sock *sock, struct sock *other, struct sock *newsk, int ret)
{
	struct pile_bpf_socket fresh = { .flags = PILE_SOCKET_UNIX }, *st;
	struct pile_bpf_listener *listener;

	if (ret)
		return 0;
	listener = listener_of(other);
	if (!listener || !listener->door || !follow_allowed(PILE_FOLLOWED_SOCKETS, listener->group))
		return 0;
	fresh.group = listener->group;
	fresh.door = listener->door;
	st = bpf_sk_storage_get(&sockets, newsk, &fresh, BPF_SK_STORAGE_GET_F_CREATE);
	if (st)
		door_enter(st);
	else
		storage_lost();
	return 0;
}

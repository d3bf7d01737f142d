// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * door.bpf.c: rung 2 for TCP: a connection that is one too many for its listener is answered with RST, before there
 * is a socket for it. Attached to the guard's own network namespace, only while a policy wants it.
 * Judged by what is established: a limit, and handshakes in flight. So SYN cookies leave nothing behind, and SYNs
 * that nobody follows up take no place.
 */
#include "door.h"

#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "GPL";

enum {
	SK_DROP = 0,
	SK_PASS = 1,
};

/* By who connects, from which port: chosen by nobody who does not know the secret. (Multipliers: MurmurHash3's.) */
static __always_inline __u32 dice_of(const struct bpf_sk_lookup *ctx, __u32 address)
{
	struct pile_bpf_control *ctl = control_get();
	__u32 hash = (ctl ? ctl->secret : 0) ^ address;

	hash = (hash ^ (hash >> 16)) * 0x85ebca6b;
	hash ^= ctx->remote_port & 0xffff;
	hash = (hash ^ (hash >> 13)) * 0xc2b2ae35;
	hash ^= ctx->local_port;
	hash = (hash ^ (hash >> 16)) * 0x85ebca6b;
	return hash ^ (hash >> 15);
}

/* Loaded where it is written: clang 19 makes one load of two, from a context that was moved, which no verifier takes. */
static __always_inline __u32 word(__u32 value)
{
	barrier_var(value);
	return value;
}

SEC("sk_lookup")
int door_tcp(struct bpf_sk_lookup *ctx)
{
	struct pile_bpf_destination key = { .port = (__u16)ctx->local_port }, client = {};
	__u32 *to = (__u32 *)key.addr, *from = (__u32 *)client.addr, index;

	if (ctx->protocol != IPPROTO_TCP)
		return SK_PASS;
	if (ctx->family == AF_INET) {
		key.addr[10] = key.addr[11] = client.addr[10] = client.addr[11] = 0xff;
		to[3] = ctx->local_ip4;
		from[3] = word(ctx->remote_ip4);
	} else {
		to[0] = ctx->local_ip6[0];
		to[1] = ctx->local_ip6[1];
		to[2] = ctx->local_ip6[2];
		to[3] = ctx->local_ip6[3];
		from[0] = ctx->remote_ip6[0];
		from[1] = ctx->remote_ip6[1];
		from[2] = ctx->remote_ip6[2];
		from[3] = word(ctx->remote_ip6[3]);
	}
	index = door_at(&key);
	return index && door_refuses(index, &client, dice_of(ctx, from[3])) ? SK_DROP : SK_PASS;
}

/* A second look at the end of a connection: the kernel drops nested runs of one program. */
SEC("tp_btf/tcp_destroy_sock")
int BPF_PROG(door_tcp_gone, struct sock *sk)
{
	struct pile_bpf_socket *st = bpf_sk_storage_get(&sockets, sk, NULL, 0);

	if (st)
		door_leave(st);
	return 0;
}

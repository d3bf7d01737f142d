// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * dependencies.bpf.c: connects of the groups' workers (TCP), the ends of requests on TCP sockets,
 * and the death of workers. No cgroup attach, so it survives restarts of the units.
 */
#include "connects.h"
#include "requests.h"

#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "GPL";

static __always_inline void connect_ended(struct sock *sk, struct pile_bpf_connect *st, bool ok)
{
	struct pile_bpf_destination key = {};
	struct pile_bpf_destination_counts *counts;
	struct pile_bpf_totals *t = totals_get();
	__u64 now = bpf_ktime_get_ns();

	if (t)
		__sync_fetch_and_add(ok ? &t->connects_established : &t->connects_failed, 1);
	st->established = ok;
	connect_key(st, &key);
	counts = bpf_map_lookup_elem(&destinations, &key);
	if (!counts)
		return;
	if (ok) {
		__sync_fetch_and_add(&counts->established, 1);
		counts->last_established_ns = now;
		return;
	}
	__sync_fetch_and_add(&counts->failed, 1);
	counts->last_failed_ns = now;
	/* An RST is an answer: the host at the other end lives. */
	if (sk->sk_err == ECONNREFUSED) {
		__sync_fetch_and_add(&counts->refused_by_peer, 1);
		counts->last_refused_ns = now;
	}
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(tcp_state, struct sock *sk, int oldstate, int newstate)
{
	struct pile_bpf_connect *st;
	__u32 group;

	if (sk->sk_protocol != IPPROTO_TCP)
		return 0;
	if (newstate == TCP_SYN_SENT) {
		group = current_group();
		if (group < PILE_GROUPS_MAX)
			connect_follow(sk, group, bpf_get_current_pid_tgid() >> 32);
		return 0;
	}
	if (oldstate == TCP_SYN_SENT) {
		st = bpf_sk_storage_get(&connects, sk, NULL, 0);
		if (st)
			connect_ended(sk, st, newstate == TCP_ESTABLISHED);
		return 0;
	}
	if (oldstate == TCP_SYN_RECV && newstate == TCP_ESTABLISHED) {
		on_tcp_accepted(sk);
		return 0;
	}
	if (oldstate == TCP_ESTABLISHED || oldstate == TCP_CLOSE_WAIT) {
		connect_heard(sk);
		on_tcp_state(sk, newstate);
	}
	return 0;
}

/* Of a thread. A worker is gone with its last one, whichever that is; the guard with its first. */
SEC("tp_btf/sched_process_exit")
int BPF_PROG(process_exit, struct task_struct *task)
{
	__u32 tgid = task->tgid;
	struct pile_bpf_control *ctl;

	if (task->signal->live.counter == 0)
		bpf_map_delete_elem(&workers, &tgid);
	if (task->pid != task->tgid)
		return 0;
	ctl = control_get();
	if (ctl && ctl->guard_tgid == tgid)
		ctl->guard_dead = 1;
	return 0;
}

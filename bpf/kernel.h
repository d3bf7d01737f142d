/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * kernel.h: the few kernel types that the programs touch, with the few fields they read (CO-RE
 * finds the offsets).
 * No vmlinux.h: builds need no BTF of the build machine.
 */
#ifndef PILE_BPF_KERNEL_H
#define PILE_BPF_KERNEL_H

typedef unsigned char __u8;
typedef unsigned short __u16;
typedef unsigned int __u32;
typedef unsigned long long __u64;
typedef signed char __s8;
typedef short __s16;
typedef int __s32;
typedef long long __s64;
typedef __u16 __be16;
typedef __u32 __be32;
typedef __u32 __wsum;
typedef __u8 u8;
typedef __u16 u16;
typedef __u32 u32;
typedef __u64 u64;
typedef __s32 s32;
typedef __s64 s64;
typedef _Bool bool;
#define true 1
#define false 0
#define NULL ((void *)0)

/* uapi: values that never change */
enum {
	BPF_MAP_TYPE_HASH = 1,
	BPF_MAP_TYPE_ARRAY = 2,
	BPF_MAP_TYPE_SK_STORAGE = 24,
	BPF_F_NO_PREALLOC = 1,
	BPF_F_CLONE = 1 << 9,
	BPF_F_MMAPABLE = 1 << 10,
	BPF_SK_STORAGE_GET_F_CREATE = 1,
	BPF_ANY = 0,
	BPF_NOEXIST = 1,
};

enum {
	AF_UNIX = 1,
	AF_INET = 2,
	AF_INET6 = 10,
	SOCK_STREAM = 1,
	SOCK_SEQPACKET = 5,
	IPPROTO_TCP = 6,
	IPPROTO_MPTCP = 262,
	RCV_SHUTDOWN = 1,
	SEND_SHUTDOWN = 2,
	TCP_ESTABLISHED = 1,
	TCP_SYN_SENT = 2,
	TCP_SYN_RECV = 3,
	TCP_CLOSE = 7,
	TCP_CLOSE_WAIT = 8,
	TCP_LISTEN = 10,
	EAGAIN = 11,
	EPIPE = 32,
	ECONNRESET = 104,
	ECONNREFUSED = 111,
};

#define PRESERVE __attribute__((preserve_access_index))

/* uapi: in a map's value */
struct bpf_timer {
	__u64 opaque[2];
} __attribute__((aligned(8)));

struct in6_addr {
	union {
		__u8 u6_addr8[16];
		__be32 u6_addr32[4];
	} in6_u;
} PRESERVE;

struct ns_common {
	unsigned int inum;
} PRESERVE;

struct net {
	struct ns_common ns;
} PRESERVE;

typedef struct {
	struct net *net;
} possible_net_t;

struct sock_common {
	__be32 skc_daddr;
	__be32 skc_rcv_saddr;
	__be16 skc_dport;
	__u16 skc_num;
	unsigned short skc_family;
	volatile unsigned char skc_state;
	unsigned char skc_ipv6only : 1;
	possible_net_t skc_net;
	struct in6_addr skc_v6_daddr;
	struct in6_addr skc_v6_rcv_saddr;
} PRESERVE;

struct mem_cgroup;

struct sk_buff_head {
	__u32 qlen;
} PRESERVE;

struct list_head {
	struct list_head *next;
} PRESERVE;

struct wait_queue_head {
	struct list_head head;
} PRESERVE;

typedef struct wait_queue_head wait_queue_head_t;

struct socket_wq {
	wait_queue_head_t wait;
} PRESERVE;

struct sock {
	struct sock_common __sk_common;
	struct sk_buff_head sk_receive_queue;
	unsigned char sk_shutdown;
	u16 sk_type;
	u16 sk_protocol;
	u32 sk_ack_backlog;
	u32 sk_max_ack_backlog;
	int sk_err;
	struct mem_cgroup *sk_memcg;
	struct socket_wq *sk_wq;
} PRESERVE;

struct inet_connection_sock {
	__u8 icsk_retransmits;
	struct {
		__u32 lrcvtime;
	} icsk_ack;
} PRESERVE;

struct tcp_sock {
	struct inet_connection_sock inet_conn;
	u32 rcv_nxt;
	u32 copied_seq;
	u32 snd_una;
	u32 write_seq;
	u32 lsndtime;
	u32 rcv_tstamp; /* when the peer acknowledged last */
	u32 snd_wl1;	/* where the peer stood in its own sending then */
	u64 bytes_received;
	u64 bytes_sent;
	u8 is_mptcp : 1;
} PRESERVE;

struct mptcp_sock {
	u64 write_seq;
	struct sk_buff_head receive_queue; /* until 6.14 */
} PRESERVE;

struct sockaddr_un {
	char sun_path[108];
} PRESERVE;

struct unix_address {
	int len; /* of the sockaddr_un */
	struct sockaddr_un name[];
} PRESERVE;

struct unix_sock {
	struct unix_address *addr;
	struct sock *peer;
} PRESERVE;

struct file;

struct socket {
	struct sock *sk;
} PRESERVE;

struct kernfs_node {
	u64 id;
} PRESERVE;

struct cgroup {
	struct kernfs_node *kn;
} PRESERVE;

struct cgroup_subsys_state {
	struct cgroup_subsys_state *parent;
} PRESERVE;

/* indexes differ by what a kernel was built with: relocated */
enum cgroup_subsys_id { pids_cgrp_id = 11 };

struct css_set {
	struct cgroup *dfl_cgrp;
	struct cgroup_subsys_state *subsys[16];
} PRESERVE;

typedef struct {
	int counter;
} atomic_t;

typedef struct {
	__s64 counter;
} atomic_long_t;

struct pids_cgroup {
	struct cgroup_subsys_state css;
	atomic_long_t counter; /* atomic64_t */
	atomic_long_t limit;
} PRESERVE;

struct page_counter {
	atomic_long_t usage;
} PRESERVE;

struct mem_cgroup {
	struct page_counter memory;
} PRESERVE;

struct signal_struct {
	atomic_t live; /* threads that have not ended */
	int nr_threads;
} PRESERVE;

struct fdtable {
	unsigned int max_fds;
} PRESERVE;

struct files_struct {
	atomic_t count; /* threads that use it */
	struct fdtable *fdt;
} PRESERVE;

struct percpu_counter {
	__s64 count;
} PRESERVE;

struct mm_struct {
	struct percpu_counter rss_stat[4];
} PRESERVE;

struct task_struct {
	int pid;
	int tgid;
	unsigned int flags;
	struct task_struct *group_leader;
	struct files_struct *files;
	u64 start_boottime;
	struct task_struct *real_parent;
	struct mm_struct *mm;
	char comm[16];
	struct signal_struct *signal;
	struct css_set *cgroups;
} PRESERVE;

struct seq_file;

struct bpf_iter_meta {
	struct seq_file *seq;
	u64 session_id;
	u64 seq_num;
} PRESERVE;

struct bpf_iter__task {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
} PRESERVE;

struct bpf_iter__task_file {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
	u32 fd;
	struct file *file;
} PRESERVE;

struct bpf_iter__tcp {
	struct bpf_iter_meta *meta;
	struct sock_common *sk_common;
} PRESERVE;

struct bpf_iter__unix {
	struct bpf_iter_meta *meta;
	struct unix_sock *unix_sk;
} PRESERVE;

struct bpf_map;

struct bpf_iter__bpf_sk_storage_map {
	struct bpf_iter_meta *meta;
	struct bpf_map *map;
	struct sock *sk;
	void *value;
} PRESERVE;

/* uapi contexts: fixed layout, rewritten by the verifier */
struct bpf_sock;

struct bpf_sock_addr {
	__u32 user_family;
	__u32 user_ip4;
	__u32 user_ip6[4];
	__u32 user_port;
	__u32 family;
	__u32 type;
	__u32 protocol;
	__u32 msg_src_ip4;
	__u32 msg_src_ip6[4];
	struct bpf_sock *sk;
};

struct bpf_sk_lookup {
	__u64 cookie;
	__u32 family;
	__u32 protocol;
	__u32 remote_ip4;
	__u32 remote_ip6[4];
	__u32 remote_port;
	__u32 local_ip4;
	__u32 local_ip6[4];
	__u32 local_port; /* host order */
	__u32 ingress_ifindex;
};

#endif

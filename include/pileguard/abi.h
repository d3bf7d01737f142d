/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * abi.h: what the BPF programs and the daemon share: keys, values and records. Fixed width, explicit padding.
 * Who writes what is said at each struct: the kernel's counters and user space's settings never share a value,
 * since writing a whole value over the kernel's increments is how counters drift (kernel-facts.md).
 * Everything that comes back from the kernel is checked by daemon/kernel before use.
 */
#ifndef PILEGUARD_ABI_H
#define PILEGUARD_ABI_H

#include "pileguard/limits.h"

#ifndef __bpf__
#include <stdint.h>
typedef uint8_t pile_u8;
typedef uint16_t pile_u16;
typedef uint32_t pile_u32;
typedef uint64_t pile_u64;
typedef int32_t pile_s32;
#else
typedef unsigned char pile_u8;
typedef unsigned short pile_u16;
typedef unsigned int pile_u32;
typedef unsigned long long pile_u64;
typedef int pile_s32;
#endif

#define PILE_NO_GROUP 0xffffffffu
/* The guard's own process during its self-test: it has a gate, and is followed by no sensor. */
#define PILE_SELF_GROUP 0xfffffffeu
#define PILE_SHARDS_MAX 64     /* CPUs above share: cpu % shards */
#define PILE_WORKER_BUCKETS 20 /* one an octave from 65 us */
/* The arrays are powers of two, so that a mask bounds the index: 6.1's verifier forgets a compared copy. */
#define PILE_LATENCY_ARRAY 128
#define PILE_WORKER_ARRAY 32

/*
 * The state word of a request: arrival time with its low 8 bits replaced by where it is counted.
 * 256 ns of the arrival time are lost; that is far below what any decision needs.
 */
#define PILE_OPEN_SLOT_MASK 0x7fULL  /* 0..63 wheel slot, 64 older */
#define PILE_OPEN_GENERATION 0x80ULL /* which of the two wheels counts it */
#define PILE_OPEN_TIME_MASK (~0xffULL)
#define PILE_SLOT_OLDER PILE_WHEEL_SLOTS

enum pile_bpf_socket_flags {
	PILE_SOCKET_LISTENER = 1u << 0,
	PILE_SOCKET_UNIX = 1u << 1,
	PILE_SOCKET_ADOPTED = 1u << 2, /* older than the guard */
	PILE_SOCKET_LEFT_OVER =
		1u
		<< 3, /* answered while bytes were unread; they are no new request (unix, MPTCP) */
};

/** SK_STORAGE "sockets": a listener of a group, or a connection accepted from it. Kernel writes. */
struct pile_bpf_socket {
	pile_u64 open; /* state word; 0 = no request waiting */
	pile_u32 group;
	pile_u32 worker; /* tgid of the last reader; 0 = nobody has read yet */
	pile_u16 flags;
	pile_u16 swept; /* control.sweep of the last sweep that met it */
	pile_u32
		sent; /* (MP)TCP: write_seq when the request was opened: when it has moved on, it is answered */
	pile_u32 door; /* PILE_DOOR_*; 0 = its listener has none */
	pile_u32 pad;
};

/*
 * A connection's door word: the index of its listener's door, whether it is counted there, and in which of the two
 * counts: each sweep moves it to the other one, and what stays behind belonged to sockets that are gone.
 */
#define PILE_DOOR_INDEX 0xffu
#define PILE_DOOR_COUNTED 0x100u
#define PILE_DOOR_GENERATION 0x200u
/* In "door_ports", beside the index: this listener has no connections by IPv4. */
#define PILE_DOOR_V6ONLY 0x100u

/** ARRAY "doors" by index, mmapable. User space writes. */
struct pile_bpf_door {
	pile_u64 lease_ns; /* monotonic: after this nobody is refused, with nobody's help */
	pile_u32 limit;	   /* connections at once; 0 = any number */
	pile_u32 group;
	pile_u32
		share_permille; /* of new connections, refused whatever is open; ends with the guard's own lease */
	pile_u32 pad;
};

/** ARRAY "door_counts" by index, mmapable. Kernel adds; user space settles the old one of `held`. */
struct pile_bpf_door_counts {
	pile_s32 held[2]; /* connections that are open, accepted or not */
	pile_u64 entered;
	pile_u64 refused;
	pile_u64 first_refused_ns;
	pile_u64 loop_lease_ns; /* the loop's, while the guard does not run */
};

/** HASH "listeners" by socket cookie. User space writes. */
struct pile_bpf_listener {
	pile_u32 group;
	pile_u32 door; /* index; 0 = none */
};

/** SK_STORAGE "connects": a connection that a worker opens to a dependency. Kernel writes. */
struct pile_bpf_connect {
	pile_u8 addr[16]; /* network order, v4-mapped */
	pile_u32 group;
	pile_u16 port; /* host order */
	pile_u8 swept; /* low byte of control.sweep of the last sweep that met it */
	pile_u8 established;
	pile_u64 started_ns;
	pile_u32 worker; /* tgid of who began it; 0 = not known */
	pile_u32 pad;
};

/** The two storages, and whose: the place in `followed` and `followed_max`. */
enum pile_bpf_followed {
	PILE_FOLLOWED_SOCKETS =
		0, /* ... of groups that the policy does not name; those that it names: + 1 */
	PILE_FOLLOWED_CONNECTS = 2,
	PILE_FOLLOWED = 4, /* a power of two */
};

/** ARRAY "shards" [group * n_shards + cpu % n_shards], mmapable. Kernel adds; user space settles old wheels. */
struct pile_bpf_shard {
	pile_u64 opened;
	pile_u64 answered;
	pile_u64 closed;
	pile_s32 wheel[2][PILE_WHEEL_SLOTS + 1];
	pile_u32 latency
		[PILE_LATENCY_ARRAY]; /* arrival to first byte; wraps are fine, readers take differences */
} __attribute__((aligned(64)));

/** ARRAY "control" [0], mmapable. User space writes. */
struct pile_bpf_control {
	pile_u32 generation; /* 0 or 1: the wheel that counts new requests */
	pile_u32 n_shards;
	pile_u32 guard_dead; /* set by the guard's exit: all gates are open */
	pile_u32 guard_tgid;
	pile_u32 unix_sends; /* answers over unix sockets are counted as they are sent (fentry) */
	pile_u32 hz;	     /* the kernel's ticks a second */
	pile_u32 epoch;	     /* of the discover walk: older unix addresses are forgotten */
	pile_u32
		sweep; /* its number: a socket that several walks meet is met once; low byte never 0 */
	pile_u32 retired[PILE_GROUPS_MAX /
			 32]; /* bit set: the next sweeps forget this group's sockets */
	pile_u32 named[PILE_GROUPS_MAX / 32]; /* bit set: the policy names this group */
	/* totals.unnamed_added may grow to this: the others' share of "destinations" */
	pile_u64 unnamed_added_max;
	pile_u64 unnamed_workers_max;	      /* totals.unnamed_workers may grow to this */
	pile_u64 followed_max[PILE_FOLLOWED]; /* totals.followed may grow to this */
	pile_u32
		walk_left; /* descriptors that the walk may look at in this read; the kernel counts down */
	pile_u32 page_bytes;
	pile_u64
		tick_ns; /* monotonic: the control loop's last tick; late means: the kernel's loop decides */
	pile_u64 doors_gone; /* bit by index: the next sweeps forget these doors */
	pile_u32 doored[PILE_GROUPS_MAX / 32]; /* bit set: a listener of this group has a door */
	pile_u32 forks[PILE_GROUPS_MAX / 32];  /* bit set: at a limit of tasks they fail early */
	pile_u32 own_netns;
	pile_u32 secret; /* nobody can choose the connections that a share refuses */
};

/** What the cgroup of a group's worker was charged when one of them last began a connect. */
struct pile_bpf_used {
	pile_u64 bytes; /* 0 = not known: cgroup v1, or none has begun one */
	pile_u64 at_ns;
};

/** Forks of a group at a limit of tasks. */
struct pile_bpf_forks {
	pile_u64 refused;   /* before they copied anything */
	pile_u64 passed_ns; /* the last one that was left to the kernel to refuse; 0 = none yet */
	pile_u64 full_ns;   /* since when each look found it full; 0 = the last one did not */
	pile_u64 looked_ns; /* when it was found full last */
	pile_u64 limit;	    /* that was found full last, and how many cgroups further up that is */
	pile_u64 above;
};

/** ARRAY "totals" [0], mmapable. Kernel adds. */
struct pile_bpf_totals {
	pile_u64 connects_started;
	pile_u64 connects_established;
	pile_u64 connects_failed;
	pile_u64 destinations_lost; /* no room for a counter */
	pile_u64 unnamed_added;	    /* counters made for groups that the policy does not name */
	pile_u64 followed[PILE_FOLLOWED]; /* sockets that were given a state */
	pile_u64 storage_lost;		  /* no memory, or no room, for a socket's state */
	pile_u64 workers_lost;
	pile_u64
		unnamed_workers; /* begun to be followed, of groups that the policy does not name */
	struct pile_bpf_used used[PILE_GROUPS_MAX];
	struct pile_bpf_forks forks[PILE_GROUPS_MAX];
	/* the loop in the kernel: its ticks, the longest time between two, gates it shut, places it lacked */
	pile_u64 loop_ticks;
	pile_u64 loop_worst_gap_ns;
	pile_u64 loop_opened;
	pile_u64 loop_lost;
};

/** HASH "unix_addresses" by pointer of the address object. The discover walk writes. */
struct pile_bpf_unix_address {
	pile_u32 group;
	pile_u32 epoch;
	pile_u32 door; /* index; 0 = none */
	pile_u32 pad;
};

/** HASH "workers" by tgid. Kernel writes; removed when the process exits. */
struct pile_bpf_worker {
	pile_u32 group;
	pile_u32 pad;
	pile_u64 answered;
	pile_u32 latency[PILE_WORKER_ARRAY];
};

/** HASH "cgroups" by cgroup id. User space writes. */
struct pile_bpf_cgroup {
	pile_u32
		group; /* for processes that are no known worker; PILE_NO_GROUP when two groups share the cgroup */
	pile_u32 ports; /* != 0: has listeners in "listener_ports" */
};

/** HASH key: one destination of one group. */
struct pile_bpf_destination {
	pile_u8 addr[16];
	pile_u32 group;
	pile_u16 port;
	pile_u16 pad;
};

/** HASH "destinations". Kernel writes. */
struct pile_bpf_destination_counts {
	pile_u64 started;
	pile_u64 established;
	pile_u64 failed;	  /* all ends without success */
	pile_u64 refused_by_peer; /* of those: answered with RST */
	pile_u64 last_started_ns;
	pile_u64 last_again_ns; /* a SYN was sent again; of groups with a gate only */
	pile_u64 last_established_ns;
	pile_u64 last_failed_ns;
	pile_u64 last_refused_ns;
	/* the last byte from it, or its RST, on a connection that is over; of those that are open a sweep knows */
	pile_u64 last_heard_ns;
};

/** HASH "gates" by destination. User space writes. */
struct pile_bpf_gate {
	pile_u64 lease_ns;     /* monotonic: after this the gate is open, with nobody's help */
	pile_u64 allow;	       /* connects let through since it was shut (half open) */
	pile_u32 refuse_errno; /* positive, 1..133 */
	pile_u32 explain_id;
	/*
	 * a hold, or shut for want of a greeting, which the kernel's loop cannot see: it ends with its lease, the loop
	 * does not go on with it
	 */
	pile_u32 by_hand;
	pile_u32 pad;
};

#define PILE_RULE_STEPS 8 /* a power of two; 0.5 s of ticks and some */

/** What pile_rule_step() (rules.h) keeps of a destination. */
struct pile_rule_state {
	pile_u64 seen_ns; /* last step; 0 = none yet */
	pile_u64 pending; /* then */
	pile_u64
		onset_ns; /* the clock's start: the first pending connect seen since the last sign of life */
	pile_u64 onset_started;
	pile_u64
		late_ns; /* how late a look came since the onset, at most; 950 ms where it was very late */
	pile_u64 fresh_ns; /* first SYN seen that was sent late enough to tell; 0 = none yet */
	pile_u64 at_ns[PILE_RULE_STEPS]; /* the last steps, and what had been started by then */
	pile_u64 started[PILE_RULE_STEPS];
	pile_u32 step;
	pile_u32 pad;
};

/** ARRAY "rules" by group, mmapable. User space writes: what the kernel's loop may do, and needs to know. */
struct pile_bpf_rule {
	pile_u32 armed; /* it may shut gates: everything that lets the guard itself do so */
	pile_u32 refuse_errno;
	pile_u32 always;	/* fail_fast: always */
	pile_u32 pool_limit;	/* risk.h; 0 = not known */
	pile_u32 workers;	/* of workers: prefork; 0 = says nothing */
	pile_u32 waiting;	/* requests that waited when free_bytes was read */
	pile_u64 free_bytes;	/* of the group's budget */
	pile_u64 used_bytes;	/* totals.used then */
	pile_u64 request_bytes; /* held by each waiting request; 0 = not known */
	pile_u64 dead_after_ns;
	pile_u64
		drift; /* requests whose end only a sweep has found: the shards count them as waiting */
};

/** HASH "loops" by destination: what the kernel's loop follows while the guard is late. Kernel writes; both remove. */
struct pile_bpf_loop {
	pile_u64 lease_ns;	       /* shut until then; 0 = open */
	pile_u64 next_ns;	       /* when one connect may pass, to find out */
	pile_u64 opened_ns, closed_ns; /* monotonic; the last time */
	pile_u64 refused, admitted, first_refused_ns;
	pile_u64 openings;
	pile_u64 no_success_ns; /* terms at the opening */
	pile_u32 connecting, stuck, waiting;
	pile_u32 refuse_errno;
	pile_u32 inherited; /* the guard had shut it: goes on */
	pile_u32 pad;
	struct pile_rule_state rule;
};

/** HASH "gate_counts" by destination. Kernel writes (user space creates and removes). */
struct pile_bpf_gate_counts {
	pile_u64 refused;
	pile_u64 admitted; /* may pass `allow` by the number of CPUs; readers clamp */
	pile_u64 first_refused_ns;
};

/** ARRAY "deadlines" by group. User space writes. */
struct pile_bpf_deadline {
	pile_u32 rto_jiffies; /* first SYN time-out; 0 = off */
	pile_u32 syn_count;   /* retransmissions */
};

/** Records of the iterators. Each starts with type and size; readers skip what they do not know. */
enum pile_bpf_record_type {
	PILE_RECORD_LISTENER = 1, /* discover: a listening socket seen in a process */
	PILE_RECORD_SOCKET,	  /* sweep: an accepted connection */
	PILE_RECORD_QUEUE,	  /* sweep: a listener's accept queue */
	PILE_RECORD_CONNECT,	  /* sweep: a connection to a dependency */
	PILE_RECORD_WORKER,	  /* memory: a process that was seen serving */
	PILE_RECORD_TABLE, /* tables: a task whose descriptors a walk over all would look at */
};

struct pile_bpf_record {
	pile_u16 type;
	pile_u16 size;
};

struct pile_bpf_record_listener {
	struct pile_bpf_record head;
	pile_u32 tgid;
	pile_u64 cgroup_id;
	pile_u64 cookie;
	pile_u32 netns; /* inode of the network namespace */
	pile_u16 family;
	pile_u16 port;	   /* host order */
	pile_u16 protocol; /* IPPROTO_TCP, IPPROTO_MPTCP, 0 for unix */
	pile_u16 type;	   /* SOCK_STREAM, SOCK_SEQPACKET */
	pile_u8 addr[16];
	pile_u8 comm[16];
	pile_u32 group; /* PILE_NO_GROUP = not tagged */
	pile_u32 backlog;
	/* of a unix listener: its name as it was bound, an abstract one with a NUL in front */
	pile_u8 path[PILE_UNIX_PATH_MAX];
	pile_u32 path_len; /* a file's name may count its NUL at the end */
	pile_u32 v6only;   /* bound to ::, and not for IPv4 */
};

struct pile_bpf_record_socket {
	struct pile_bpf_record head;
	pile_u32 group;
	pile_u32 worker;
	pile_u32 flags;
	pile_u64 open;
};

struct pile_bpf_record_queue {
	struct pile_bpf_record head;
	pile_u32 group;
	pile_u64 cookie;
	pile_u32 backlog;
	pile_u32 backlog_limit;
};

enum pile_bpf_connect_state {
	PILE_CONNECT_PENDING = 1, /* SYN_SENT */
	PILE_CONNECT_OPEN,	  /* established, nothing to say about it */
	PILE_CONNECT_SILENT,	  /* our word was the last, no answer since */
	PILE_CONNECT_MUTE,	  /* established, nothing ever said by the peer, nor by us */
	PILE_CONNECT_UNACKED,	  /* our data is not acknowledged, retransmitted >= 3 times */
	PILE_CONNECT_OVER,	  /* closing, or closed and kept: takes room, no more */
};

struct pile_bpf_record_connect {
	struct pile_bpf_record head;
	pile_u32 group;
	pile_u8 addr[16];
	pile_u8 source[16];
	pile_u16 port;
	pile_u16 source_port;
	pile_u16 family;
	pile_u16 state; /* enum pile_bpf_connect_state */
	pile_u32 netns;
	pile_u32 silent_ms; /* since our last word, for SILENT and UNACKED */
	pile_u64 cookie;
	pile_u64 started_ns;
	pile_u32
		received; /* bytes, of which the FIN is one; all ones = that or more; not of PENDING */
	pile_u32
		quiet_ms; /* since the last of them came, or without any since it was established */
	pile_u32 awaited; /* a task sleeps for it: in recv(), in poll(); in an event loop always */
	pile_u32 worker;  /* 0 = not known */
};

struct pile_bpf_record_worker {
	struct pile_bpf_record head;
	pile_u32 tgid;
	pile_u32 group;
	pile_u32 parent;
	pile_u64 start_ns;	 /* since boot: tells a pid that is used again */
	pile_u64 private_bytes;	 /* anonymous, in memory */
	pile_u64 swapped_bytes;	 /* ... and swapped out */
	pile_u64 resident_bytes; /* ... with files and shared memory */
	pile_u64 cgroup_id;	 /* v2 */
	pile_u64 parent_cgroup_id;
	pile_u8 comm[16];
};

struct pile_bpf_record_table {
	struct pile_bpf_record head;
	pile_u32 tid;
	pile_u32 places;    /* of the table, empty or not: all of them are looked at */
	pile_u32 shared;    /* also by others that a walk looks at */
	pile_u64 files;	    /* which table: an address, for comparing */
	pile_u64 cgroup_id; /* 0 where it is not shared */
};

_Static_assert(PILE_GROUPS_MAX == 128, "group_bit in bpf/maps.h masks by 3");
_Static_assert(PILE_DOORS_MAX == 64, "doors_gone has a bit for each");
_Static_assert(sizeof(struct pile_bpf_socket) == 32, "abi");
_Static_assert(sizeof(struct pile_bpf_connect) == 40, "abi");
_Static_assert(sizeof(struct pile_bpf_destination) == 24, "abi");
_Static_assert(sizeof(struct pile_bpf_shard) % 64 == 0, "abi");
_Static_assert(sizeof(struct pile_bpf_record_listener) == 192, "abi");
_Static_assert(sizeof(struct pile_bpf_record_connect) == 88, "abi");
_Static_assert(sizeof(struct pile_bpf_record_worker) == 80, "abi");
_Static_assert(sizeof(struct pile_bpf_record_table) == 32, "abi");

#endif

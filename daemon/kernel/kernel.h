/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * kernel.h: the BPF objects' life and typed access to their maps: the only room of the daemon that knows libbpf.
 * Owned by the guard. open/close may block and allocate (start and stop only); everything else is
 * called from the control loop, allocates nothing and makes short system calls. Never logs; what is
 * missing is told in `missing`.
 * Order: open -> size maps -> load -> populate -> attach. Nothing is pinned; links are descriptors
 * of this process.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "pileguard/abi.h"
#include "util/endpoint.h"
#include "util/error.h"

#define PILE_KERNEL_OBJECTS 14
#define PILE_KERNEL_WALKS_MAX 2 /* of one sweep, besides that over descriptors */
#define PILE_KERNEL_LINKS_MAX 16
#define PILE_KERNEL_READ_BYTES 65536 /* one read of an iterator */
#define PILE_KERNEL_TABLES_SEEN \
	1024 /* of a walk; whoever shares more costs time, which is bounded */

enum pile_tier {
	PILE_TIER_NONE = 0,
	PILE_TIER_A, /* stable socket tracepoints, 6.3 and later */
	PILE_TIER_B, /* fentry and fexit, 6.1 */
};

struct bpf_object;
struct bpf_link;
struct bpf_program;

/** A walk over the descriptors of all tasks (kernel/descriptors.c). */
struct pile_kernel_descriptors {
	struct bpf_link *link; /* over all tasks in one; NULL: there is no such walk */
	int prog_fd;	       /* its program, borrowed: to be attached to one task */
	bool walking;
	int fd;		 /* of all tasks, or of one; -1 = between two */
	int tasks_fd;	 /* the tasks, where each is walked by itself; -1 = they are not */
	uint64_t passed; /* tables that this walk did not look into: too large for one read */
	uint64_t seen[PILE_KERNEL_TABLES_SEEN];
};

struct pile_kernel {
	struct bpf_object *objects[PILE_KERNEL_OBJECTS];
	struct bpf_link *links[PILE_KERNEL_LINKS_MAX]; /* sensors */
	unsigned int n_links;
	struct bpf_link *iter_hidden, *iter_workers;
	struct bpf_link *iter_tables; /* NULL: how large tables are is not known */
	uint64_t tables_asked_ns;     /* since when their sum is known to be small; 0 = it is not */
	struct pile_kernel_descriptors discover, sweep_files_sockets, sweep_files_connects;
	bool discovering;	/* a walk is under way */
	uint64_t tables_passed; /* too large to be looked into: the most in one discover walk */
	struct bpf_link *sweep_sockets[PILE_KERNEL_WALKS_MAX]; /* up to the first NULL */
	struct bpf_link *sweep_connects[PILE_KERNEL_WALKS_MAX];
	/* attached per cgroup; NULL = refused */
	const struct bpf_program *connect_v4, *connect_v6, *deadline, *end_waits;
	/* rung 2: the gates, and what counts for them; attached while a door wants them; NULL = refused */
	const struct bpf_program *door_tcp, *door_tcp_gone, *door_unix, *door_unix_enter;
	struct bpf_link *door_links[4]; /* in that order */
	/* rung 3: attached once a group may be throttled; NULL = refused, and not attached */
	const struct bpf_program *fork_refuse;
	struct bpf_link *fork_link;
	int map_workers, map_cgroups, map_listeners, map_listener_ports, map_unix_addresses;
	int map_destinations, map_gates, map_gate_counts, map_deadlines, map_exempts, map_loops;
	int map_door_ports, map_door_exempts;
	struct pile_bpf_shard *shards;
	size_t shards_bytes;
	struct pile_bpf_control *control;
	struct pile_bpf_totals *totals;
	struct pile_bpf_rule *rules; /* PILE_GROUPS_MAX */
	struct pile_bpf_door *doors; /* PILE_DOORS_MAX */
	struct pile_bpf_door_counts *door_counts;
	bool loop; /* the loop in the kernel runs */
	uint32_t n_shards;
	enum pile_tier tier;
	char missing[512];
	void *buffer; /* PILE_KERNEL_READ_BYTES, for the iterators */
};

/** The sum of one group's shards. */
struct pile_kernel_counts {
	uint64_t opened, answered, closed;
	int64_t waiting;		     /* sum of both wheels */
	int64_t wheel[PILE_WHEEL_SLOTS + 1]; /* by absolute slot, both generations added */
	uint64_t latency[PILE_LATENCY_BUCKETS];
};

/**
 * pile_kernel_open - load what this kernel allows, attach the sensors
 * @k: caller's memory
 * Returns 0 (then k->missing names what is not there), or negative errno with a sentence in @err
 * when nothing works:
 * -EPERM no privilege, -ENOENT no BTF, -ENOSYS no BPF.
 */
int pile_kernel_open(struct pile_kernel *k, struct pile_error *err);

/** pile_kernel_close - detach and free everything. Safe on a zeroed or half-open struct. */
void pile_kernel_close(struct pile_kernel *k);

struct pile_kernel_cost {
	uint64_t misses;       /* events dropped: nested runs of one program */
	uint64_t run_ns, runs; /* 0 unless kernel.bpf_stats_enabled */
};

/** pile_kernel_tier_name - "A", "B" or "none" */
const char *pile_kernel_tier_name(enum pile_tier tier);

/**
 * pile_kernel_cost - what the kernel's own statistics say of our programs, in all
 * One system call a program: ask now and then.
 */
void pile_kernel_cost(const struct pile_kernel *k, struct pile_kernel_cost *ret);

/** pile_kernel_totals_read - opened, answered and closed alone, into @ret; the rest of it is left as it is. */
void pile_kernel_totals_read(const struct pile_kernel *k, uint32_t group,
			     struct pile_kernel_counts *ret);

/**
 * pile_kernel_counts_read - sum a group's shards
 * @group: 0..PILE_GROUPS_MAX-1; @latency: the first-byte histogram too, else it is 0
 * The wheel's absolute slots are those of slot_of(arrival time) in bpf/requests.h.
 */
void pile_kernel_counts_read(const struct pile_kernel *k, uint32_t group, bool latency,
			     struct pile_kernel_counts *ret);

/** pile_kernel_answers_read - requests of a group that were opened, and answered, since the slot was taken. */
void pile_kernel_answers_read(const struct pile_kernel *k, uint32_t group, uint64_t *ret_opened,
			      uint64_t *ret_answered);

/** pile_kernel_generation_flip - from now on new requests are counted in the other wheel. */
void pile_kernel_generation_flip(struct pile_kernel *k);

/**
 * pile_kernel_wheel_settle - take what a sweep left behind in the old wheel
 * Call a tick after the sweep that followed a flip. Returns how many requests ended unseen (may be
 * negative for a moment when one was counted twice); the caller adds it to "closed".
 */
int64_t pile_kernel_wheel_settle(struct pile_kernel *k, uint32_t group);

/**
 * pile_kernel_groups_retire - forget all sockets, connects, workers and destinations of these
 * groups
 * @bits: bit per group slot. Their slots may be given to other groups afterwards; what still lives
 * is adopted again.
 */
void pile_kernel_groups_retire(struct pile_kernel *k, const uint32_t bits[PILE_GROUPS_MAX / 32]);

/** pile_kernel_group_reset - zero a group's shards (its slot is given to another group). */
void pile_kernel_group_reset(struct pile_kernel *k, uint32_t group);

typedef void (*pile_kernel_record_fn)(const struct pile_bpf_record *record, void *arg);

/**
 * pile_kernel_sweep_sockets / _sweep_connects - run the iterators, hand each record to @fn
 * Records are checked for type and size before @fn sees them. Returns 0 or negative errno; -ETIME after half a second
 * that was not enough.
 */
int pile_kernel_sweep_sockets(struct pile_kernel *k, pile_kernel_record_fn fn, void *arg);
int pile_kernel_sweep_connects(struct pile_kernel *k, pile_kernel_record_fn fn, void *arg);

/**
 * pile_kernel_discover - the next part of the walk over all descriptors of the host, some 100 ms of it at most
 * Begins one when none is under way. Returns 1 when there is more, 0 at its end, or negative errno: then it is over too.
 */
int pile_kernel_discover(struct pile_kernel *k, pile_kernel_record_fn fn, void *arg);
/** pile_kernel_discover_stop - the next part begins anew. */
void pile_kernel_discover_stop(struct pile_kernel *k);

/**
 * pile_kernel_discover_hidden - tag the TCP listeners behind MPTCP listeners (this network
 * namespace only).
 */
int pile_kernel_discover_hidden(struct pile_kernel *k);

/** pile_kernel_workers_walk - what each worker holds, as far as half a second reaches. Returns as a sweep does. */
int pile_kernel_workers_walk(struct pile_kernel *k, pile_kernel_record_fn fn, void *arg);

/** Group membership. group = PILE_NO_GROUP removes. Return 0 or negative errno. */
int pile_kernel_cgroup_set(struct pile_kernel *k, uint64_t cgroup_id, uint32_t group);
int pile_kernel_cgroup_remove(struct pile_kernel *k, uint64_t cgroup_id);
/** pile_kernel_listener_set - @door: index, 0 = none */
int pile_kernel_listener_set(struct pile_kernel *k, uint64_t cookie, uint32_t group, uint32_t door);
int pile_kernel_listener_remove(struct pile_kernel *k, uint64_t cookie);
/** pile_kernel_port_set - whose listeners have this port. @netns: inode of the network namespace */
int pile_kernel_port_set(struct pile_kernel *k, uint32_t netns, uint16_t port, uint32_t group);

/**
 * pile_kernel_unix_expire - drop the unix addresses that the last discover walk did not see
 * listening any more.
 */
void pile_kernel_unix_expire(struct pile_kernel *k);

/** pile_kernel_worker_get - counters of one worker. Returns 0 or -ENOENT. */
int pile_kernel_worker_get(struct pile_kernel *k, uint32_t tgid, struct pile_bpf_worker *ret);

/**
 * pile_kernel_self_set - the guard's own process belongs to PILE_SELF_GROUP, or to its cgroup's group again
 * Returns 0 or negative errno.
 */
int pile_kernel_self_set(struct pile_kernel *k, bool self);

/**
 * pile_kernel_worker_next - iterate the workers. @prev: NULL for the first. Returns 0 with *ret, or
 * -ENOENT.
 */
int pile_kernel_worker_next(struct pile_kernel *k, const uint32_t *prev, uint32_t *ret);

void pile_kernel_destination_key(uint32_t group, const struct pile_endpoint *ep,
				 struct pile_bpf_destination *ret);
int pile_kernel_destination_get(struct pile_kernel *k, const struct pile_bpf_destination *key,
				struct pile_bpf_destination_counts *ret);
int pile_kernel_destination_remove(struct pile_kernel *k, const struct pile_bpf_destination *key);

/** pile_kernel_named_set - which groups the policy names: only their destinations may take all the room there is. */
void pile_kernel_named_set(struct pile_kernel *k, const bool named[PILE_GROUPS_MAX]);

/**
 * pile_kernel_follow_allow - how many more sockets may be given a state
 * @kind: PILE_FOLLOWED_SOCKETS or _CONNECTS; @before: pile_kernel_followed() before the sweep; @met: what the sweep
 * met. Both [0]: of groups that the policy does not name, [1]: of those that it names.
 */
void pile_kernel_follow_allow(struct pile_kernel *k, enum pile_bpf_followed kind,
			      const uint64_t before[2], const uint32_t met[2]);
void pile_kernel_followed(const struct pile_kernel *k, enum pile_bpf_followed kind,
			  uint64_t ret[2]);

/**
 * pile_kernel_unnamed_workers_allow - how many more workers may be followed of groups that the policy does not name
 * @before: pile_kernel_unnamed_workers() before the walk; @met: of these groups, by the walk
 */
void pile_kernel_unnamed_workers_allow(struct pile_kernel *k, uint64_t before, uint32_t met);
uint64_t pile_kernel_unnamed_workers(const struct pile_kernel *k);

/** pile_kernel_unnamed_allow - up to which value totals->unnamed_added may grow. */
void pile_kernel_unnamed_allow(struct pile_kernel *k, uint64_t added_max);

/**
 * pile_kernel_destination_next - iterate the destination counters
 * @prev: NULL for the first. Returns 0 with *ret, or -ENOENT at the end.
 */
int pile_kernel_destination_next(struct pile_kernel *k, const struct pile_bpf_destination *prev,
				 struct pile_bpf_destination *ret);

/** Gates. set creates the counters when they are not there yet. */
int pile_kernel_gate_set(struct pile_kernel *k, const struct pile_bpf_destination *key,
			 const struct pile_bpf_gate *gate);
int pile_kernel_gate_counts(struct pile_kernel *k, const struct pile_bpf_destination *key,
			    struct pile_bpf_gate_counts *ret);
int pile_kernel_gate_remove(struct pile_kernel *k, const struct pile_bpf_destination *key);

/** pile_kernel_rule_set - what the loop in the kernel may do for this group, and needs to know. */
void pile_kernel_rule_set(struct pile_kernel *k, uint32_t group, const struct pile_bpf_rule *rule);

/** pile_kernel_ticked - the control loop runs: the loop in the kernel has nothing to decide. @now_ns: CLOCK_MONOTONIC */
void pile_kernel_ticked(struct pile_kernel *k, uint64_t now_ns);

/**
 * pile_kernel_loop_next - iterate what the loop in the kernel follows
 * @prev: NULL for the first. Returns 0 with *ret, or -ENOENT at the end.
 */
int pile_kernel_loop_next(struct pile_kernel *k, const struct pile_bpf_destination *prev,
			  struct pile_bpf_destination *ret);
int pile_kernel_loop_get(struct pile_kernel *k, const struct pile_bpf_destination *key,
			 struct pile_bpf_loop *ret);
int pile_kernel_loop_remove(struct pile_kernel *k, const struct pile_bpf_destination *key);

/**
 * pile_kernel_deadline_set - connect deadline of a group
 * @deadline_ns: 0 = off; else the first time-out and the number of retransmissions are chosen so
 * that an unanswered connect ends after about this long: r x (2^(n+1) - 1), n = 1 below 2 s, 2
 * below 7 s, then 3 (tcp(7), tcp_syn_retries).
 */
int pile_kernel_deadline_set(struct pile_kernel *k, uint32_t group, uint64_t deadline_ns);

/**
 * pile_kernel_exempts_clear / _exempt_add - destinations that a group's deadline leaves alone; port
 * 0 = every port.
 */
void pile_kernel_exempts_clear(struct pile_kernel *k);
int pile_kernel_exempt_add(struct pile_kernel *k, uint32_t group, const struct pile_endpoint *ep);

/* ---- forks (forks.c) ---- */

/**
 * pile_kernel_forks_set - whose forks are refused early where a limit of tasks would refuse them
 * @bits: by group; attached from the first on, in force for as long as the guard ticks
 * Returns 0; -ENOSYS where this kernel refused the program, or another negative errno of attaching it.
 */
int pile_kernel_forks_set(struct pile_kernel *k, const uint32_t bits[PILE_GROUPS_MAX / 32]);

/** pile_kernel_forks - what was refused of this group, and by which limit; borrowed, the kernel writes. */
const struct pile_bpf_forks *pile_kernel_forks(const struct pile_kernel *k, uint32_t group);

/* ---- doors (door.c) ---- */

/** What is to be attached. */
struct pile_kernel_doors {
	bool count_tcp, count_unix;   /* there are doors of this kind */
	bool refuse_tcp, refuse_unix; /* ... that may refuse */
};

/**
 * pile_kernel_doors_attach - attach what is wanted, detach the rest
 * What counts unix connections stays attached: to take the last program off a kernel function may wait for RCU.
 * Returns 0; -ENOSYS where this kernel refused a program that may have to refuse, or another negative errno.
 */
int pile_kernel_doors_attach(struct pile_kernel *k, const struct pile_kernel_doors *wanted);
void pile_kernel_doors_detach(struct pile_kernel *k);
/** pile_kernel_doors_ready - connections can be refused, to unix sockets or by TCP. */
bool pile_kernel_doors_ready(const struct pile_kernel *k, bool of_unix);

/**
 * pile_kernel_door_set - limit, share and lease of one
 * @index: 1..PILE_DOORS_MAX-1; @limit: 0 = none; @share_permille: 0..1000; @lease_ns: 0 = refuses nobody
 */
void pile_kernel_door_set(struct pile_kernel *k, uint32_t index, uint32_t group, uint32_t limit,
			  uint32_t share_permille, uint64_t lease_ns);

struct pile_kernel_door_counts {
	uint32_t held;
	uint64_t entered, refused, first_refused_ns;
};

void pile_kernel_door_counts(const struct pile_kernel *k, uint32_t index,
			     struct pile_kernel_door_counts *ret);

/** pile_kernel_doors_settle - as pile_kernel_wheel_settle(), of all doors. Returns the drift. */
int64_t pile_kernel_doors_settle(struct pile_kernel *k);

/** pile_kernel_door_clear - nothing is counted there any more: another listener may have it. */
void pile_kernel_door_clear(struct pile_kernel *k, uint32_t index);

/** pile_kernel_doors_tell - which indexes the next sweeps forget, which groups have doors, and our network namespace. */
void pile_kernel_doors_tell(struct pile_kernel *k, uint64_t gone,
			    const uint32_t doored[PILE_GROUPS_MAX / 32], uint32_t own_netns);

/**
 * pile_kernel_door_port_set - what a TCP listener is bound to has this door
 * @index: 0 = none; < 0: forget it; @v6only: bound to ::, and not for IPv4
 */
int pile_kernel_door_port_set(struct pile_kernel *k, const struct pile_endpoint *ep, int index,
			      bool v6only);

/** pile_kernel_door_claim - whose connections are counted there, from now on. */
void pile_kernel_door_claim(struct pile_kernel *k, uint32_t index, uint32_t group);

void pile_kernel_door_exempts_clear(struct pile_kernel *k);
int pile_kernel_door_exempt_add(struct pile_kernel *k, uint32_t group,
				const struct pile_endpoint *ep);

/** The programs attached to one cgroup. */
struct pile_kernel_attachment {
	struct bpf_link *connect_v4, *connect_v6, *deadline;
	struct bpf_link *end_waits; /* of the loop in the kernel; NULL where it is refused */
};

/**
 * pile_kernel_attach - attach rung 1 (and the deadline) to a cgroup, beside whatever is attached
 * there already
 * @cgroup_fd: directory of the cgroup (v2)
 * Returns 0; -EPERM when a foreign program on an ancestor forbids it; -ENOSYS when the kernel
 * refused the programs.
 */
int pile_kernel_attach(struct pile_kernel *k, int cgroup_fd, bool with_gate, bool with_deadline,
		       struct pile_kernel_attachment *ret);
void pile_kernel_detach(struct pile_kernel_attachment *attachment);

/* parts */
/** pile_descriptors_init - @link is taken, @prog_fd borrowed. */
void pile_descriptors_init(struct pile_kernel_descriptors *f, struct bpf_link *link, int prog_fd);
void pile_descriptors_fini(struct pile_kernel_descriptors *f);
/**
 * pile_descriptors_walk - the next part of a walk over all descriptors, until @until_ns (CLOCK_MONOTONIC)
 * Begins one when none is under way. Returns 1 when there is more, 0 at its end, or negative errno: then it is over too.
 */
int pile_descriptors_walk(struct pile_kernel *k, struct pile_kernel_descriptors *f,
			  uint64_t until_ns, pile_kernel_record_fn fn, void *arg);
void pile_descriptors_stop(struct pile_kernel_descriptors *f);
/** pile_walk_begin - an iterator; pile_walk_read - one read of it: 1 = there is more, 0 = its end, or negative errno */
int pile_walk_begin(const struct bpf_link *link);
int pile_walk_read(struct pile_kernel *k, int fd, pile_kernel_record_fn fn, void *arg);
/** pile_maps_open - descriptors of all maps, counters mapped. Returns 0 or -ENOMEM. */
int pile_maps_open(struct pile_kernel *k, const struct bpf_object *maps);
void pile_maps_close(struct pile_kernel *k);

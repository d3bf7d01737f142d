/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * maps.h: every map, once. maps.bpf.c creates them; the other objects are given the same maps by
 * name (daemon/kernel/kernel.c), so that one object that this kernel refuses takes nothing else
 * away.
 */
#ifndef PILE_BPF_MAPS_H
#define PILE_BPF_MAPS_H

#include "kernel.h"

#include <bpf/bpf_helpers.h>

#include "pileguard/abi.h"

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC | BPF_F_CLONE);
	__type(key, int);
	__type(value, struct pile_bpf_socket);
} sockets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct pile_bpf_connect);
} connects SEC(".maps");

/* Sized by the daemon: groups x shards. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, PILE_GROUPS_MAX);
	__type(key, __u32);
	__type(value, struct pile_bpf_shard);
} shards SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct pile_bpf_control);
} control SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct pile_bpf_totals);
} totals SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, PILE_WORKERS_MAX);
	__type(key, __u32);
	__type(value, struct pile_bpf_worker);
} workers SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u64);
	__type(value, struct pile_bpf_cgroup);
} cgroups SEC(".maps");

/* Which listener belongs to which group, and has which door, by socket cookie. User space writes. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, PILE_LISTENERS_MAX);
	__type(key, __u64);
	__type(value, struct pile_bpf_listener);
} listeners SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, PILE_DOORS_MAX);
	__type(key, __u32);
	__type(value, struct pile_bpf_door);
} doors SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, PILE_DOORS_MAX);
	__type(key, __u32);
	__type(value, struct pile_bpf_door_counts);
} door_counts SEC(".maps");

/*
 * Doors by what a TCP listener of the guard's network namespace is bound to (group 0, port, address). One that has no
 * door stands here with index 0 where it has a door's port: a more special address wins, as the kernel has it.
 * User space writes.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, PILE_LISTENERS_MAX);
	__type(key, struct pile_bpf_destination);
	__type(value, __u32);
} door_ports SEC(".maps");

/* Clients that a group's doors never refuse (port 0). User space writes. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, PILE_GROUPS_MAX *PILE_EXEMPT_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct pile_bpf_destination);
	__type(value, __u32);
} door_exempts SEC(".maps");

/*
 * Local ports of the groups' TCP listeners, by network namespace << 16 | port: tells an accepted connection from a
 * dependency when adopting. User space writes.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, PILE_LISTENERS_MAX);
	__type(key, __u64);
	__type(value, __u32);
} listener_ports SEC(".maps");

/* A unix listener's address object, which its accepted sockets share, by pointer. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, PILE_LISTENERS_MAX);
	__type(key, __u64);
	__type(value, struct pile_bpf_unix_address);
} unix_addresses SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, PILE_DESTINATIONS_MAX);
	__type(key, struct pile_bpf_destination);
	__type(value, struct pile_bpf_destination_counts);
} destinations SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, struct pile_bpf_destination);
	__type(value, struct pile_bpf_gate);
} gates SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, struct pile_bpf_destination);
	__type(value, struct pile_bpf_gate_counts);
} gate_counts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, PILE_GROUPS_MAX);
	__type(key, __u32);
	__type(value, struct pile_bpf_deadline);
} deadlines SEC(".maps");

/* Destinations that the connect deadline leaves alone; port 0 = every port. User space writes. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, PILE_GROUPS_MAX *PILE_EXEMPT_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct pile_bpf_destination);
	__type(value, __u32);
} exempts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, PILE_GROUPS_MAX);
	__type(key, __u32);
	__type(value, struct pile_bpf_rule);
} rules SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, PILE_LOOP_MAX);
	__type(key, struct pile_bpf_destination);
	__type(value, struct pile_bpf_loop);
} loops SEC(".maps");

static __always_inline struct pile_bpf_control *control_get(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&control, &zero);
}

static __always_inline struct pile_bpf_totals *totals_get(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&totals, &zero);
}

static __always_inline bool group_bit(const pile_u32 *bits, __u32 group)
{
	return (bits[(group / 32) & 3] >> (group % 32)) & 1;
}

/*
 * Of a walk over descriptors: this read has looked at enough of them. The kernel comes to the same one again at the
 * next read; without it a read would look at a million before it returns.
 */
static __always_inline bool walk_full(void)
{
	struct pile_bpf_control *ctl = control_get();

	if (!ctl || !ctl->walk_left)
		return true;
	ctl->walk_left--;
	return false;
}

/*
 * Room for the state of one more socket of this group? Each sweep says how many more there may be; those of groups
 * that the policy does not name have a share of it, so that nobody's connections take the others' room.
 */
static __always_inline bool follow_allowed(enum pile_bpf_followed kind, __u32 group)
{
	struct pile_bpf_control *ctl = control_get();
	struct pile_bpf_totals *t = totals_get();
	__u32 at;

	if (!ctl || !t)
		return false;
	at = (kind + group_bit(ctl->named, group)) & (PILE_FOLLOWED - 1);
	/* a guard that does not run says nothing, and its loop must see who answers: then there is no bound */
	if (t->followed[at] >= ctl->followed_max[at] &&
	    bpf_ktime_get_ns() - ctl->tick_ns < PILE_LOOP_LATE_NS)
		return false;
	__sync_fetch_and_add(&t->followed[at], 1);
	return true;
}

static __always_inline void storage_lost(void)
{
	struct pile_bpf_totals *t = totals_get();

	if (t)
		__sync_fetch_and_add(&t->storage_lost, 1);
}

/*
 * The group of the process that runs now: by what it was seen serving, else by its cgroup. A cgroup that is another
 * group's wins: a worker that was handed on, or a pid that is used again.
 */
static __always_inline __u32 current_group(void)
{
	__u32 tgid = bpf_get_current_pid_tgid() >> 32;
	struct pile_bpf_worker *worker = bpf_map_lookup_elem(&workers, &tgid);
	struct pile_bpf_cgroup *group;
	__u64 id;

	if (worker && worker->group == PILE_SELF_GROUP)
		return PILE_SELF_GROUP;
	id = bpf_get_current_cgroup_id();
	group = bpf_map_lookup_elem(&cgroups, &id);
	if (group && (!worker || group->group != PILE_NO_GROUP))
		return group->group;
	return worker ? worker->group : PILE_NO_GROUP;
}

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * door.h: the connections of a listener that are open at once: counted when one is established, until its server has
 * closed it; and whether one more is refused. What is counted stands in each socket's door word, changed by one atomic
 * exchange, and whoever changed it does the counting. A missed event is put right by the sweep (door_sweep).
 */
#ifndef PILE_BPF_DOOR_H
#define PILE_BPF_DOOR_H

#include "maps.h"

#include "pileguard/rules.h"

static __always_inline struct pile_bpf_door_counts *door_counts_get(__u32 index)
{
	return bpf_map_lookup_elem(&door_counts, &index);
}

static __always_inline void door_add(struct pile_bpf_door_counts *counts, __u32 word, __s32 n)
{
	__sync_fetch_and_add(&counts->held[(word & PILE_DOOR_GENERATION) != 0], n);
}

static __always_inline __u32 door_word(__u32 index, const struct pile_bpf_control *ctl)
{
	return index | PILE_DOOR_COUNTED | (ctl->generation ? PILE_DOOR_GENERATION : 0);
}

/* A place is given to another door by and by: what still has its index belongs to the group that had it. */
static __always_inline bool door_is_of(__u32 index, __u32 group)
{
	struct pile_bpf_door *door = bpf_map_lookup_elem(&doors, &index);

	return door && door->group == group;
}

/* A connection of a listener is there: established, waiting to be accepted or accepted. */
static __always_inline void door_enter(struct pile_bpf_socket *st)
{
	struct pile_bpf_control *ctl = control_get();
	struct pile_bpf_door_counts *counts;
	__u32 word = st->door, new;

	if (!word || (word & PILE_DOOR_COUNTED) || !ctl)
		return;
	new = door_word(word & PILE_DOOR_INDEX, ctl);
	counts = door_is_of(word & PILE_DOOR_INDEX, st->group)
			 ? door_counts_get(word & PILE_DOOR_INDEX)
			 : NULL;
	if (!counts || __sync_val_compare_and_swap(&st->door, word, new) != word)
		return;
	door_add(counts, new, 1);
	__sync_fetch_and_add(&counts->entered, 1);
}

/* ... and its server has closed it. */
static __always_inline void door_leave(struct pile_bpf_socket *st)
{
	struct pile_bpf_door_counts *counts;
	__u32 word = st->door;

	if (!(word & PILE_DOOR_COUNTED))
		return;
	counts = door_counts_get(word & PILE_DOOR_INDEX);
	if (!counts)
		return;
	/* a sweep may have moved it to the other count meanwhile: then what it says now */
	if (__sync_val_compare_and_swap(&st->door, word, word & PILE_DOOR_INDEX) != word) {
		word = st->door;
		if (!(word & PILE_DOOR_COUNTED) ||
		    __sync_val_compare_and_swap(&st->door, word, word & PILE_DOOR_INDEX) != word)
			return;
	}
	door_add(counts, word, -1);
}

/*
 * The door of the listener that a connection to this address goes to: the one bound to it, else to any address of its
 * family, else to any (a dual-stack listener has IPv4's too). 0 = none.
 */
static __always_inline __u32 door_at(struct pile_bpf_destination *key)
{
	bool v4 = key->addr[10] == 0xff && key->addr[11] == 0xff;
	__u32 *value = bpf_map_lookup_elem(&door_ports, key);

	if (value)
		return *value & PILE_DOOR_INDEX;
	if (v4) {
		*(__u32 *)&key->addr[12] = 0;
		value = bpf_map_lookup_elem(&door_ports, key);
		if (value)
			return *value & PILE_DOOR_INDEX;
	}
	__builtin_memset(key->addr, 0, sizeof(key->addr));
	value = bpf_map_lookup_elem(&door_ports, key);
	if (!value || (v4 && (*value & PILE_DOOR_V6ONLY)))
		return 0;
	return *value & PILE_DOOR_INDEX;
}

/* The same for a socket that was accepted, or that listens. Not unix. */
static __always_inline __u32 door_of(struct sock_common *skc, const struct pile_bpf_control *ctl)
{
	struct pile_bpf_destination key = { .port = skc->skc_num };

	if (skc->skc_net.net->ns.inum != ctl->own_netns)
		return 0;
	if (skc->skc_family == AF_INET6) {
		__builtin_memcpy(key.addr, &skc->skc_v6_rcv_saddr, 16);
	} else {
		key.addr[10] = key.addr[11] = 0xff;
		*(__u32 *)&key.addr[12] = skc->skc_rcv_saddr;
	}
	return door_at(&key);
}

/*
 * Is one more refused here? A door whose lease is over, or whose guard is dead, refuses nobody.
 * @client: address of who connects, of the group, port 0; NULL: a unix socket's
 * @dice: for the share: the same for each look at one connection (with SYN cookies there are two)
 */
static __always_inline bool door_refuses(__u32 index, struct pile_bpf_destination *client,
					 __u32 dice)
{
	struct pile_bpf_door *door = bpf_map_lookup_elem(&doors, &index);
	struct pile_bpf_door_counts *counts = door_counts_get(index);
	struct pile_bpf_control *ctl = control_get();
	bool full;
	__u64 now;

	if (!door || !counts || !ctl || ctl->guard_dead)
		return false;
	full = door->limit && counts->held[0] + counts->held[1] >= (__s32)door->limit;
	if (!full && !door->share_permille)
		return false;
	now = bpf_ktime_get_ns();
	if (pile_rule_lease(door->lease_ns, now)) {
		if (!full && dice % 1000 >= door->share_permille)
			return false;
	} else if (!full || !pile_rule_lease(counts->loop_lease_ns, now)) {
		return false;
	}
	if (client) {
		client->group = door->group;
		if (bpf_map_lookup_elem(&door_exempts, client))
			return false;
	}
	__sync_fetch_and_add(&counts->refused, 1);
	if (!counts->first_refused_ns)
		counts->first_refused_ns = now;
	return true;
}

#endif

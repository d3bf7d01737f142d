/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * table.h: slots of the group table, shared by groups.c, files.c and listeners.c; nobody else includes it.
 * Control loop only; no allocation; never logs.
 */
#pragma once

#include "groups/groups.h"

/** Descriptors of a slot are -1 until its cgroup is there. */
void pile_table_files_clear(struct pile_group *group);

/** Close what is open of them. */
void pile_table_files_close(struct pile_group *group);

/** The path of a cgroup's file; of the cgroup itself where @file is "". At most @size bytes. */
void pile_table_path(const struct pile_groups *g, const char *cgroup, const char *file, char *ret,
		     size_t size);

/** A free slot, zeroed, marked used; PILE_NO_GROUP when all are taken. */
uint32_t pile_table_slot_take(struct pile_groups *g, struct pile_kernel *k, uint64_t now_ns);

/** Forget a group: its listeners, tags, descriptors. */
void pile_table_group_drop(struct pile_groups *g, struct pile_kernel *k, uint32_t slot);

/** This listener is followed no more; its port is whose other listeners have it. */
void pile_table_listener_drop(struct pile_groups *g, struct pile_kernel *k,
			      struct pile_listener *l);

/** Tell the kernel whose this port is: a group's that the policy names before others'. @port: 0 = none, of unix */
void pile_table_port_tell(const struct pile_groups *g, struct pile_kernel *k, uint32_t netns,
			  uint16_t port);

/** The cgroup at this path (below the v2 mount) is there, and has another id. */
bool pile_table_cgroup_other(const struct pile_groups *g, const char *cgroup, uint64_t id);

/** The group's cgroup is @cgroup with this id now; 0 = gone. */
void pile_table_cgroup_set(struct pile_groups *g, struct pile_kernel *k, uint32_t slot,
			   const char *cgroup, uint64_t id);

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * trees.h: the cgroup hierarchies of this host (v2, v1, or both), and the few things that are done there: make a
 * cgroup, put a process into it, list it, remove it. Through libcgroup, but for the one tree that it has no name for.
 * Plain data; owned by the caller. May block and allocates: never in the control loop; one thread at a time (libcgroup
 * has state of its own). Never logs. Part of pileguardctl too.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pileguard/limits.h"

/* v2; pids, cpu and memory, which rungs of the ladder use; systemd's own on v1 */
#define PILE_TREES_MAX 5

struct pile_tree {
	/* by which libcgroup knows it; "" = v2 beside v1, which it has no name for, or without controllers */
	char controller[16];
	char mount[256];
	bool unified;
};

struct pile_trees {
	/* systemd's: it looks after empty ones itself, and loses sight of a scope whose cgroup is taken away */
	bool managed;
	uint32_t n;
	struct pile_tree trees[PILE_TREES_MAX];
};

/**
 * pile_trees_find - which hierarchies there are
 * @unified: where cgroup v2 is mounted; @systemd: its own tree on v1, too
 */
void pile_trees_find(struct pile_trees *ret, const char *unified, bool systemd);

/** pile_trees_make - the cgroup, and those above it, in each tree. Returns 0 or negative errno. */
int pile_trees_make(const struct pile_trees *t, const char *cgroup);

/**
 * pile_trees_remove - the cgroup in each tree, where nobody is in it; and the one above it likewise; not where managed
 * Returns 0; -EBUSY when somebody is; or negative errno.
 */
int pile_trees_remove(const struct pile_trees *t, const char *cgroup);

/** pile_trees_sweep - cgroups that groups were placed in, and nobody is in any more. Returns how many went. */
uint32_t pile_trees_sweep(const struct pile_trees *t);

/** pile_trees_where - the cgroup of a process in this tree. Returns 0 or negative errno. */
int pile_trees_where(const struct pile_tree *tree, uint32_t pid, char *ret, size_t size);

/** pile_trees_put - all threads of a process into a cgroup of this tree. Returns 0 or negative errno. */
int pile_trees_put(const struct pile_tree *tree, const char *cgroup, uint32_t pid);

/** pile_trees_list - up to @max processes of a cgroup. Returns how many; 0 where it is not there. */
uint32_t pile_trees_list(const struct pile_tree *tree, const char *cgroup, uint32_t *ret,
			 uint32_t max);

/** pile_trees_foreign - a directory on the way to this cgroup is another manager's: not root's, or delegated. */
bool pile_trees_foreign(const struct pile_tree *tree, const char *cgroup);

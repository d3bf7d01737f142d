/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * moves.h: one process moved from a cgroup to another, and never another one that has got its number meanwhile.
 * Neither v1 nor v2 takes a pidfd: a number is written. So the process is held by a pidfd from before it is looked at
 * until after the write: while it has not been reaped nobody else can have its number. If it has been by then, whoever
 * the number moved is put back to where its parent is, where it was born.
 * Owns a descriptor while a process is held; may block; never in the control loop; never logs. Part of pileguardctl too.
 */
#pragma once

#include "act/trees.h"

struct pile_moving {
	uint32_t pid;
	uint64_t start_ticks;
	int pidfd; /* -1 = none is held */
};

/** pile_moves_hold - 0; -ESRCH: gone, or its number is another's; or negative errno. Then nothing is held. */
int pile_moves_hold(struct pile_moving *m, uint32_t pid, uint64_t start_ticks);

/** pile_moves_drop - let it go. Nothing happens where none is held. */
void pile_moves_drop(struct pile_moving *m);

/** pile_moves_still - it has not been reaped: what was done by its number until now was done to it. */
bool pile_moves_still(const struct pile_moving *m);

/**
 * pile_moves_put - from @from on the unified tree, and from the root of each other tree, into @cgroup
 * In a v1 tree in which it is elsewhere somebody set limits on it: there it stays.
 * Returns 0; -ESTALE: it is not in @from any more; -ESRCH: it has gone (whoever was moved instead is back);
 * or negative errno of the unified tree.
 */
int pile_moves_put(const struct pile_trees *t, const struct pile_moving *m, const char *from,
		   const char *cgroup);

/**
 * pile_moves_back - where it is in @cgroup still: back to @origin (where that is gone: the nearest above it that is not)
 * on the unified tree, and to the root of each other one
 * Returns 0, also where nothing was to do; -ESRCH; or negative errno.
 */
int pile_moves_back(const struct pile_trees *t, const struct pile_moving *m, const char *cgroup,
		    const char *origin);

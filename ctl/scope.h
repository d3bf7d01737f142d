/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * scope.h: what pileguardctl asks of systemd itself, as root, over PID 1's own socket: to be put into a group's scope.
 * Blocks for five seconds at most; prints nothing.
 */
#pragma once

#include <stddef.h>

#include "act/trees.h"

/**
 * pile_scope_join - this process, into the group's scope, which is made where there is none
 * @cgroup: where it is then. Returns 0, or negative errno with the reason in @ret_why.
 */
int pile_scope_join(const char *name, const struct pile_trees *trees, const char *cgroup,
		    char *ret_why, size_t size);

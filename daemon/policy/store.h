/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * store.h: the last committed policy on disk, all or nothing.
 * Slow thread and pileguardctl only: blocks and fsyncs. Never logs.
 * Written as a new file, fsynced, renamed over the old, directory fsynced: a crash leaves old or new.
 */
#pragma once

#include "policy/policy.h"

/**
 * pile_store_commit - keep @policy as the last committed one
 * @dir: the state directory (/var/lib/pileguard)
 * Returns 0 or negative errno with err set.
 */
int pile_store_commit(const char *dir, const struct pile_policy *policy, uint64_t generation,
		      struct pile_error *err);

/**
 * pile_store_load - the last committed policy
 * @ret_generation: the generation it was committed with
 * Returns 0; -ENOENT when none was committed; -EINVAL when what is there cannot be trusted (hash differs).
 */
int pile_store_load(const char *dir, struct pile_policy *ret, uint64_t *ret_generation,
		    struct pile_error *err);

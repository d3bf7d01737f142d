/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * store.h: the last committed policy on disk, all or nothing.
 * Slow thread and pileguardctl only: blocks and fsyncs. Never logs.
 * A seal (SHA-256 over generation, hash and canonical YAML) is checked at load: a flipped or
 * missing byte is -EINVAL.
 * Written as a new file, fsynced, renamed over the old, directory fsynced: a crash leaves old or
 * new.
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

/** pile_store_time - when it was committed, CLOCK_REALTIME in ns; 0 when none was. */
uint64_t pile_store_time(const char *dir);

/**
 * pile_store_load - the last committed policy
 * @ret: with source = the committed file, and the hash that this version computes
 * @ret_generation: the generation it was committed with
 * Returns 0; -ENOENT when none was committed (or no such directory); -EINVAL when what is there
 * cannot be trusted (the seal does not fit, or this version refuses a key of it); other negative
 * errno. All with err set, and *ret and *ret_generation untouched.
 */
int pile_store_load(const char *dir, struct pile_policy *ret, uint64_t *ret_generation,
		    struct pile_error *err);

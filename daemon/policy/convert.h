/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * convert.h: what was written (texts with units) -> what is meant (numbers, addresses, bits).
 * Owns nothing. Pure; never blocks; never logs.
 */
#pragma once

#include "policy/schema.h"

/**
 * pile_convert_policy - one file's part of a policy, from what libcyaml read
 * Keys of the top that are given replace what earlier files gave; groups and fingerprints are added.
 * An empty protect is as if it were not given.
 * @policy: after pile_policy_init(), or after the files before this one
 * @ret_path: where the fault is in this file ("groups[1].dead_after"), at most @size bytes
 * Returns 0 or -EINVAL with err->text set.
 */
int pile_convert_policy(const struct pile_schema_root *root, struct pile_policy *policy,
			char *ret_path, size_t size, struct pile_error *err);

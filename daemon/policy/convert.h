/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * convert.h: what was written (texts with units) -> what is meant (numbers, addresses, bits).
 * Owns nothing. Pure; never blocks; never logs.
 */
#pragma once

#include "policy/schema.h"

/**
 * pile_convert_policy - fill a policy from what libcyaml read; keys that are missing keep their
 * defaults
 * @policy: after pile_policy_init()
 * @ret_path: where the fault is ("groups[1].dead_after"), at most @size bytes
 * Returns 0 or -EINVAL with err->text set.
 */
int pile_convert_policy(const struct pile_schema_root *root, struct pile_policy *policy,
			char *ret_path, size_t size, struct pile_error *err);

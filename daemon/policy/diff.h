/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * diff.h: what changes between two policies, in a person's words.
 * Pure apart from allocation. Never logs.
 */
#pragma once

#include "policy/policy.h"

/**
 * pile_diff_format - "1 group enforces fail_fast (was: none); nothing else changes"
 * Groups are told apart by name. Who may act is told first; groups that were added or removed by
 * name only. The same policy reads "nothing changes".
 * @buf, @size: output, NUL-terminated, "..." where it did not fit
 * Returns the number of differences found (0 = same); source and hash are not compared.
 */
unsigned int pile_diff_format(const struct pile_policy *from, const struct pile_policy *to,
			      char *buf, size_t size);

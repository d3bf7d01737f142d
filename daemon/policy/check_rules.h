/* SPDX-License-Identifier: GPL-2.0-or-later */
/* check_rules.h: between check.c and check_group.c alone. */
#pragma once

#include "policy/policy.h"

#define PILE_CHECK_MEMORY_MIN (1ULL << 20) /* less is a slip of the unit: no worker fits */

/** A verdict in the making: which key is wrong; the caller adds which group. */
struct pile_check_fault {
	const char *key;
	unsigned int index; /* entry of a list, plus 1; 0 = the key itself */
	struct pile_error *err;
};

/** pile_check_group - the rules for a group by itself. Returns 0, or -EINVAL with @f and its err set. */
int pile_check_group(const struct pile_policy_group *g, struct pile_check_fault *f);

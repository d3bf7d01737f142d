/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * format.h: the canonical text of each key of a policy: one table for `policy show`, the hash and
 * the diff. Every key is written, in this order, defaults included, so equal policies have equal
 * texts.
 * Owns nothing. Pure; never blocks; never logs.
 */
#pragma once

#include <stdio.h>

#include "policy/policy.h"

/* a match whose path and glob are all characters that are escaped; 16 exemptions take 1,280 */
#define PILE_FORMAT_VALUE_MAX \
	(2 * (PILE_MATCH_EXE_MAX + PILE_MATCH_USER_MAX + PILE_CGROUP_MAX) + 64)
/** A rung that is built, by the word for it, mildest first. */
struct pile_format_rung {
	const char *name;
	uint32_t bit; /* of enum pile_rung */
};

#define PILE_FORMAT_RUNGS 5
extern const struct pile_format_rung pile_format_rungs[PILE_FORMAT_RUNGS];

#define PILE_FORMAT_KEYS 23

/** One key of a group and how its value is written (YAML, on one line). */
struct pile_format_key {
	const char *name;
	/* Writes the value; an empty text means that the key is left out (unit beside cgroup). */
	void (*value)(const struct pile_policy_group *group, char *buf, size_t size);
};

extern const struct pile_format_key pile_format_keys[PILE_FORMAT_KEYS];

/* 8 units, each letter of them escaped, quoted, with commas */
#define PILE_FORMAT_TOP_MAX (PILE_PROTECT_MAX * (2 * PILE_UNIT_MAX + 4))
#define PILE_FORMAT_TOPS 7

/** The same for a key of the top. */
struct pile_format_top {
	const char *name;
	void (*value)(const struct pile_policy *policy, char *buf, size_t size);
};

extern const struct pile_format_top pile_format_tops[PILE_FORMAT_TOPS];

/** pile_format_mode - "observe", "enforce". */
const char *pile_format_mode(const struct pile_policy *policy);

/** pile_format_write - the whole as canonical YAML; write errors are left to the stream. */
void pile_format_write(const struct pile_policy *policy, FILE *f);

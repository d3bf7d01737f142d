/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * claim.h: which processes a group lays claim to, as far as names alone can say.
 * Pure: no system call, no clock, no allocation. Never logs.
 * A service's slice is not in its name: that "/system.slice" holds "nginx.service" only the host
 * can tell.
 */
#pragma once

#include "policy/policy.h"

enum pile_claim {
	PILE_CLAIM_APART,  /* nothing in common, by name */
	PILE_CLAIM_SAME,   /* the same unit or cgroup */
	PILE_CLAIM_INSIDE, /* one holds the other */
};

/** pile_claim_compare - two groups that passed the checks below. Listeners are not looked at. */
enum pile_claim pile_claim_compare(const struct pile_policy_group *a,
				   const struct pile_policy_group *b);

/** pile_claim_protect - a group and what is protected (a unit, a slice, or a cgroup). */
enum pile_claim pile_claim_protect(const struct pile_policy_group *group, const char *protect);

/** pile_claim_paths - two cgroups, by their paths. */
enum pile_claim pile_claim_paths(const char *a, const char *b);

/**
 * pile_claim_check_unit - a unit that can be guarded: "php8.2-fpm.service"
 * Returns 0 or -EINVAL with text set.
 */
int pile_claim_check_unit(const char *unit, struct pile_error *err);

/** pile_claim_check_cgroup - a path below the v2 mount: "/app/workers"; same returns. */
int pile_claim_check_cgroup(const char *cgroup, struct pile_error *err);

/**
 * pile_claim_check_match - does it name processes? @ret_key: the key that is wrong
 * Returns 0 or -EINVAL.
 */
int pile_claim_check_match(const struct pile_policy_match *match, const char **ret_key,
			   struct pile_error *err);

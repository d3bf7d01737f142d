/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * scalar.h: one text of a policy -> one value: durations, sizes, counts, shares, names. Called by convert.c only.
 * Owns nothing. Pure; never blocks; never logs.
 */
#pragma once

#include "util/error.h"

/**
 * pile_scalar_fn - one kind of value
 * @key: for the error; @text: what was written; @target: what it is written to, of the type that stands beside each
 * Returns 0 or -EINVAL with err->text set: what is wrong, and what would be right.
 */
typedef int pile_scalar_fn(const char *key, const char *text, void *target, struct pile_error *err);

pile_scalar_fn pile_scalar_duration; /* uint64_t, ns: "2s" */
pile_scalar_fn pile_scalar_deadline; /* uint64_t, ns, not 0; "none" leaves it as it is */
pile_scalar_fn pile_scalar_life;     /* uint64_t, ns; "none" is 0 */
pile_scalar_fn pile_scalar_notice;   /* uint64_t, ns; "none" is 0 */
pile_scalar_fn
	pile_scalar_budget; /* struct pile_policy_group: bytes or a share; "host" leaves both */
pile_scalar_fn pile_scalar_reserve;	    /* uint64_t, bytes; "auto" is 0 */
pile_scalar_fn pile_scalar_permille;	    /* uint32_t, 1..1000: "2.5%" */
pile_scalar_fn pile_scalar_shed_share;	    /* uint32_t, 1..1000; "none" leaves it */
pile_scalar_fn pile_scalar_workers_max;	    /* uint32_t, 1..1000000; "unknown" leaves it */
pile_scalar_fn pile_scalar_connections_max; /* uint32_t, 1..1000000; "none" leaves it */
pile_scalar_fn pile_scalar_baseline;	    /* uint32_t, 1..1000000; "learn" leaves it */
pile_scalar_fn pile_scalar_port;	    /* uint16_t, 1..65535 */
pile_scalar_fn pile_scalar_listen;	    /* struct pile_endpoint; "all" leaves it */
/* char[PILE_NAME_MAX], and so on: as long as the policy's field is */
pile_scalar_fn pile_scalar_name, pile_scalar_unit, pile_scalar_cgroup, pile_scalar_exe,
	pile_scalar_user, pile_scalar_revision, pile_scalar_path;

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * check.h: rules that a single key cannot state: two groups claiming one process, thresholds that
 * contradict.
 * Pure: no system call, no clock, no allocation. Never logs.
 * What needs the host (does the unit exist, where does its cgroup lie) is not asked here.
 */
#pragma once

#include "policy/policy.h"

/**
 * pile_check_policy - validate the whole
 * @policy: parsed values
 * @ret_path: where the fault is, as "groups[1].dead_after" (at most @size bytes), for the loader
 *            to turn into a line
 * Returns 0 or -EINVAL with err->text set.
 *
 * The rules:
 * - name: [a-z0-9._-]+, begins with a letter or digit, given once
 * - exactly one of unit (service, scope or slice; no template) and cgroup (below the v2 mount, not
 *   its root)
 * - no process in two groups: same unit or cgroup, or one inside the other (slices by name, cgroups
 *   by path, a unit named in a cgroup's path); two groups of the same unit or cgroup may stand if
 *   both name different listeners
 * - no listener in two groups, an any-address one included
 * - dead_after 1s..60s, probe_every 200ms..2s, connect_deadline none or 300ms..60s
 * - fail_fast enforced: connect_deadline none or >= 1s. A destination is dead when connects are
 *   stuck (> 500 ms in SYN_SENT) and none succeeded for dead_after (decide/proof.h: an end by
 *   time-out does not stop that clock): the proof is the time without success, not the age of one
 *   connect. So a connect_deadline below dead_after is fine, but one that ends connects as they
 *   become stuck hides the proof
 * - workers_max not with workers: events (no cap on requests there); baseline_waiting at most half
 *   of workers_max (above it the group counts as at risk: its normal state would be one)
 * - memory_budget one form, >= 1MiB; memory_reserve auto or >= 1MiB; leak_notice none or 24min..720h
 * - fingerprints: full paths, each once, none below /proc, /sys, /dev and /run
 * - exempt: IP addresses, each once, none that covers every destination
 * - server_speaks_first: IP addresses with a port, each once
 * - enforce: only rungs that are built; evict only with workers: prefork; throttle only where no other group has the
 *   same unit or cgroup
 * - protect: units or cgroups, each once, none that is to be throttled
 */
int pile_check_policy(const struct pile_policy *policy, char *ret_path, size_t size,
		      struct pile_error *err);

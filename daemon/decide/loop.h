/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * loop.h: what the loop in the kernel (bpf/loop.bpf.c) may do for a group while the guard does not run, and what it must
 * know for that. Pure; plain data for kernel/ to write.
 */
#pragma once

#include "decide/decide.h"
#include "pileguard/abi.h"

/**
 * pile_loop_rule - the rule of one group, as of this tick
 * Armed is what the guard itself may act for: mode, share, rung, another manager's cgroup, disarmed, own network, gate. A
 * release by hand disarms its whole group here: the kernel does not know for which destination.
 */
void pile_loop_rule(const struct pile_decide *state, const struct pile_decide_view *view,
		    const struct pile_sample *sample, uint32_t group, struct pile_bpf_rule *ret);

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* rules_case.h: one call of each hard rule, its input and its answer: the same text for the kernel and for the host. */
#pragma once

#include "pileguard/rules.h"

struct rules_case {
	struct pile_rule_state state;
	struct pile_rule_input in;
	struct pile_bpf_rule rule;
	struct pile_rule_load now, then;
	pile_u64 span_ms;
	pile_u32 verdict, pad;
	pile_u64 stuck;
	pile_u32 risk;
	pile_u32 lease;
};

PILE_RULE void rules_apply(struct rules_case *c)
{
	struct pile_rule_state s = c->state;
	struct pile_rule_input in = c->in;
	struct pile_bpf_rule rule = c->rule;
	struct pile_rule_load now = c->now, then = c->then;

	c->verdict = pile_rule_step(&s, &in);
	c->stuck = pile_rule_stuck(&s, &in);
	c->risk = (pile_u32)pile_rule_at_risk(&rule, &now, &then, c->span_ms);
	c->lease = (pile_u32)pile_rule_lease(c->span_ms, in.now_ns);
	c->state = s;
}

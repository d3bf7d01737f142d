// SPDX-License-Identifier: GPL-2.0-or-later
/* rules.bpf.c: the hard rules (rules.h) as the kernel runs them, for rules_compare.c. */
#include "kernel.h"

#include <bpf/bpf_helpers.h>

#include "pileguard/rules.h"
#include "rules_case.h"

char LICENSE[] SEC("license") = "GPL";

SEC("syscall")
int rules_run(struct rules_case *c)
{
	rules_apply(c);
	return 0;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fault.h: the page that a guard with failing calls (build/fault/pileguardd) shares with the test that makes them fail:
 * a file named by PILE_FAULT_FILE. The guard's half writes down each call of a watched function and fails the one that is
 * armed, once. tests/integration/faultlib.py has the same layout in its own words.
 * Test only: nothing of it is in the shipped daemon.
 */
#pragma once

#include <stdint.h>

#define FAULT_MAGIC 0x746c7561u
#define FAULT_DEPTH 4 /* own return addresses kept, the innermost first */
#define FAULT_CALLS_MAX (1u << 18)

/** One call: which function, and from where; addresses count from the beginning of the program (or library). */
struct fault_call {
	uint32_t function;
	uint32_t at[FAULT_DEPTH];
};

struct fault_page {
	uint32_t magic;
	uint32_t functions; /* how many this program watches: the test's list must be as long */
	/* armed: the @left-th call from here on that is like this one, by so many addresses; 0 = nothing is armed */
	uint32_t left;
	uint32_t depth;
	struct fault_call armed;
	uint32_t fired;	  /* how many have failed */
	uint32_t n_calls; /* may be more than there is room for */
	struct fault_call calls[FAULT_CALLS_MAX];
};

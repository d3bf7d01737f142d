/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * forks.h: rung 3 at a limit of tasks: forks that would fail anyway are refused early, in the kernel (bpf/forks). Nothing
 * is left to be decided; here: episodes, so that there is an explain record for them. Part of struct pile_decide; pure.
 * One begins with the first refusal, and ends when none has come for PILE_FORKS_CALM_NS, or a switch was turned.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "decide/intent.h"
#include "decide/rung.h"

#define PILE_FORKS_CALM_NS (60 * NS_PER_SEC)

struct pile_intents;

/** One group's episode. */
struct pile_forks {
	bool open;
	bool known; /* @refused is of this group */
	uint32_t explain_id;
	uint64_t opened_ns, last_ns; /* last: refused */
	uint64_t refused;	     /* total at the last tick */
	uint64_t refused_base;	     /* ... before this episode */
};

/** pile_forks_update - one tick of all groups. A refusal is a fact, whenever it is heard of: late ticks count. */
void pile_forks_update(struct pile_forks forks[PILE_GROUPS_MAX],
		       const struct pile_rung_context *ctx, struct pile_intents *out);

/** pile_forks_forget - the slot is another group's from now on; an episode ends with the next tick. */
void pile_forks_forget(struct pile_forks *forks);

/** pile_forks_close_all - one FORKS_OVER for each episode. */
void pile_forks_close_all(struct pile_forks forks[PILE_GROUPS_MAX], enum pile_close_reason reason,
			  uint64_t now_ns, struct pile_intents *out);

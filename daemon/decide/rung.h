/* SPDX-License-Identifier: GPL-2.0-or-later */
/* rung.h: what rungs 3 to 5 are decided from, each tick. Plain data, borrowed for the call. */
#pragma once

#include "decide/risk.h"
#include "sense/sample.h"

struct pile_decide_view;

struct pile_rung_context {
	const struct pile_decide_view *view;
	const struct pile_sample *sample;
	const struct pile_risk *risk; /* of all groups */
	uint64_t reserve_bytes;	      /* what the host keeps */
	bool late;		      /* this tick came late: no evidence */
	uint32_t *next_explain_id;
};

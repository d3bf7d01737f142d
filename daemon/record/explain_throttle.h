/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * explain_throttle.h: the words of rung 3: the sentences of its records, its lines in the journal.
 * Pure: no clock, no allocation; called by explain_text.c and explain_line.c only.
 */
#pragma once

#include "record/explain_pen.h"

void pile_explain_throttle_why(struct pen *pen, const struct pile_explain *explain);
void pile_explain_throttle_did(struct pen *pen, const struct pile_explain *explain);
void pile_explain_throttle_did_not(struct pen *pen, const struct pile_explain *explain);
void pile_explain_throttle_cost(struct pen *pen, const struct pile_explain *explain);
void pile_explain_throttle_undo(struct pen *pen, const struct pile_explain *explain);

/** pile_explain_throttle_switch - as pile_explain_text_blocked(), of this rung. */
const char *pile_explain_throttle_switch(uint32_t blocked);

/** pile_explain_throttle_line - PILE_INTENT_THROTTLE, and pile_explain_throttle_line_over: its end. */
void pile_explain_throttle_line(struct pen *pen, const struct pile_intent *intent,
				const char *group);
void pile_explain_throttle_line_over(struct pen *pen, const struct pile_intent *intent,
				     const char *group);

/** pile_explain_throttle_back - what became of one that was to be turned back; @now: what somebody else has set. */
void pile_explain_throttle_back(struct pen *pen, const struct pile_explain *explain,
				const char *now);

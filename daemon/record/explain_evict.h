/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * explain_evict.h: the words of rung 4: the sentences of its records, its lines in the journal.
 * Pure: no clock, no allocation; called by explain_text.c and explain_line.c only.
 */
#pragma once

#include "record/explain_pen.h"

void pile_explain_evict_why(struct pen *pen, const struct pile_explain *explain);
void pile_explain_evict_did(struct pen *pen, const struct pile_explain *explain);
void pile_explain_evict_did_not(struct pen *pen, const struct pile_explain *explain);
void pile_explain_evict_cost(struct pen *pen, const struct pile_explain *explain);
void pile_explain_evict_undo(struct pen *pen, const struct pile_explain *explain);

/** pile_explain_evict_switch - as pile_explain_text_blocked(), of this rung. */
const char *pile_explain_evict_switch(uint32_t blocked);

/** pile_explain_evict_line - PILE_INTENT_EVICT, and pile_explain_evict_line_over: its end. */
void pile_explain_evict_line(struct pen *pen, const struct pile_intent *intent, const char *group);
void pile_explain_evict_line_over(struct pen *pen, const struct pile_intent *intent,
				  const char *group);

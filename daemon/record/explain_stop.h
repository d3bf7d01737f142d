/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * explain_stop.h: the words of rung 5: the sentences of its records, its lines in the journal.
 * Pure: no clock, no allocation; called by explain_text.c and explain_line.c only.
 */
#pragma once

#include "record/explain_pen.h"

void pile_explain_stop_why(struct pen *pen, const struct pile_explain *explain);
void pile_explain_stop_did(struct pen *pen, const struct pile_explain *explain);
void pile_explain_stop_did_not(struct pen *pen, const struct pile_explain *explain);
void pile_explain_stop_cost(struct pen *pen, const struct pile_explain *explain);
void pile_explain_stop_undo(struct pen *pen, const struct pile_explain *explain);

/** pile_explain_stop_switch - as pile_explain_text_blocked(), of this rung. */
const char *pile_explain_stop_switch(uint32_t blocked);

/** pile_explain_stop_line - PILE_INTENT_STOP and what follows on it. */
void pile_explain_stop_line(struct pen *pen, const struct pile_intent *intent, const char *group);

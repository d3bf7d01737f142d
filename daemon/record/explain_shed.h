/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * explain_shed.h: the words of rung 2: the sentences of its records, its lines in the journal.
 * Pure: no clock, no allocation; called by explain_text.c and explain_line.c only.
 */
#pragma once

#include "record/explain_pen.h"

void pile_explain_shed_why(struct pen *pen, const struct pile_explain *explain);
void pile_explain_shed_did(struct pen *pen, const struct pile_explain *explain);
void pile_explain_shed_did_not(struct pen *pen, const struct pile_explain *explain);
void pile_explain_shed_cost(struct pen *pen, const struct pile_explain *explain);

/** pile_explain_shed_line - PILE_INTENT_SHED_OPEN, and pile_explain_shed_line_over: its end. */
void pile_explain_shed_line(struct pen *pen, const struct pile_intent *intent, const char *group);
void pile_explain_shed_line_over(struct pen *pen, const struct pile_intent *intent,
				 const char *group);

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * explain_forks.h: the words of forks that are refused early: the sentences of their records, their lines in the journal.
 * Pure: no clock, no allocation; called by explain_text.c and explain_line.c only.
 */
#pragma once

#include "record/explain_pen.h"

void pile_explain_forks_why(struct pen *pen, const struct pile_explain *explain);
void pile_explain_forks_did(struct pen *pen, const struct pile_explain *explain);
void pile_explain_forks_did_not(struct pen *pen, const struct pile_explain *explain);
void pile_explain_forks_cost(struct pen *pen, const struct pile_explain *explain);
void pile_explain_forks_undo(struct pen *pen, const struct pile_explain *explain);

/** pile_explain_forks_line - PILE_INTENT_FORKS, and pile_explain_forks_line_over: its end. */
void pile_explain_forks_line(struct pen *pen, const struct pile_intent *intent, const char *group);
void pile_explain_forks_line_over(struct pen *pen, const struct pile_intent *intent,
				  const char *group);

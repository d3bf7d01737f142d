/* SPDX-License-Identifier: GPL-2.0-or-later */
/* explains.h: explain records: what opens one, what becomes of it, what closes it. Called by record.c only. */
#pragma once

#include "record/record.h"

/** pile_explains_follow - one intent: its record is begun, or brought up to date. Arguments as pile_record_intent(). */
void pile_explains_follow(struct pile_record *r, const struct pile_intent *intent,
			  const char *group, const char *unit, uint64_t now_ns,
			  uint64_t realtime_ns);

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * put.h: the placing thread's moves: who is a candidate is written down, put into the group's cgroup, looked at again;
 * and all the way back. Works on struct pile_place's own part (place.h); by that thread alone, which may block here.
 * Never logs: what is to be told goes into next.
 */
#pragma once

#include "act/place.h"

/** pile_put_news - one more thing to be told; what does not fit is told another time, or not. */
void pile_put_news(struct pile_place *p, enum pile_place_news_kind kind, const char *group,
		   uint32_t n, int error);

/** pile_put_status - how the group of a rule stands. */
struct pile_place_status *pile_put_status(struct pile_place *p, uint32_t rule);

/** pile_put_look - at the processes, and what was asked for and has come; @whole: as pile_processes_look(). */
void pile_put_look(struct pile_place *p, bool whole);

/**
 * pile_put_group - all candidates of a rule, and their children, until a look finds none
 * @failed_ns: when this failed last, 0 = it did not; then nothing is tried for a while.
 */
void pile_put_group(struct pile_place *p, uint32_t rule, uint64_t *failed_ns);

/** pile_put_prune - entries of the record whose processes are gone. */
void pile_put_prune(struct pile_place *p);

/** pile_put_others_back - groups that no rule wants placed any more. */
void pile_put_others_back(struct pile_place *p);

/** pile_put_all_back - every group, at the end. */
void pile_put_all_back(struct pile_place *p);

/**
 * pile_put_adopt - the record of a guard that was killed: who is where it put them was placed
 * Returns 0 or negative errno: it cannot be read, and would be written over.
 */
int pile_put_adopt(struct pile_place *p);

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * keep.h: the small files that outlive a guard: what is normal, the next episode's number, that it is disarmed; and the
 * line for logins, which does not. The policy's own file is policy/store.h.
 * Owns nothing. Slow thread, and start: blocks and fsyncs. Never logs. Each is written aside and renamed.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "decide/baseline.h"

/** pile_keep_learned - what calm looks like. Returns 0 or negative errno. */
int pile_keep_learned(const char *state_dir, const struct pile_baseline_record *records,
		      uint32_t n);

/** pile_keep_learned_load - Returns how many records were read, at most @max; 0 when there are none. */
uint32_t pile_keep_learned_load(const char *state_dir, struct pile_baseline_record *ret,
				uint32_t max);

/** pile_keep_explain_next - the next episode's number: after a restart none of them, in an old journal line, means
 *  another one. Returns 0 or negative errno. */
int pile_keep_explain_next(const char *state_dir, uint32_t next);

/** pile_keep_explain_next_load - what was kept, or 1. */
uint32_t pile_keep_explain_next_load(const char *state_dir);

/**
 * pile_keep_disarmed - this text (pile_disarm_format); "": no such file. There also after a loss of power.
 * Returns 0 or negative errno.
 */
int pile_keep_disarmed(const char *state_dir, const char *text);

/**
 * pile_keep_disarmed_load - the text that was kept
 * Returns 0; -ENOENT when there is none; another negative errno when it cannot be read (then @ret is "").
 */
int pile_keep_disarmed_load(const char *state_dir, char *ret, size_t size);

#define PILE_KEEP_EVICTED_MAX \
	8192 /* lines of evictions and stops that count still: 31 and 32 of 20 digits, a word and a name */

/** pile_keep_evicted - this text: evictions that count against the budgets. Returns 0 or negative errno. */
int pile_keep_evicted(const char *state_dir, const char *text);

/** pile_keep_evicted_load - Returns 0, or negative errno, when there is none: then @ret is "". */
int pile_keep_evicted_load(const char *state_dir, char *ret, size_t size);

#define PILE_KEEP_UNCLEAN_MAX 3 /* product.md, safe mode: so many unclean ends ... */
#define PILE_KEEP_UNCLEAN_S 600 /* ... within so many seconds */

/**
 * pile_keep_begin - a guard starts: did the one before end by itself?
 * Its mark is still there when it was killed, crashed, or the host went down under it; then its end counts from now.
 * @now_s: CLOCK_REALTIME; @ret_ends: how many unclean ends there were in the last PILE_KEEP_UNCLEAN_S, as far as that
 * can be read. Returns 0, or negative errno: this guard's own end, or that of the one before, will not be counted.
 */
int pile_keep_begin(const char *state_dir, uint64_t now_s, uint32_t *ret_ends);

/** pile_keep_end - it ends by itself: the mark goes. */
void pile_keep_end(const char *state_dir);

#define PILE_KEEP_SAFE_S 3600ULL       /* safe mode lasts an hour ... */
#define PILE_KEEP_SAFE_MAX_S 57600ULL  /* ... twice as long as the last one, 16 h at most ... */
#define PILE_KEEP_SAFE_CALM_S 86400ULL /* ... where that was over less than a day ago */

/**
 * pile_keep_safe - safe mode begins: the unclean ends so far are forgotten
 * @now_s: CLOCK_REALTIME. Returns how long it is to last, in seconds: not for ever, since what ends guards again and
 * again may be somebody who wants them gone. What cannot be read or kept makes it an hour.
 */
uint64_t pile_keep_safe(const char *state_dir, uint64_t now_s);

/**
 * pile_keep_motd - the file for whoever logs in; "": none. Nothing is synced: a boot empties it.
 * Returns 0, also where its directory is missing; or negative errno.
 */
int pile_keep_motd(const char *path, const char *text);

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * disarm.h: the operator's last word: while the guard is disarmed it only observes, until `arm` or until a time.
 * One struct, owned by the guard; control loop only. Pure: no clock, no allocation, never blocks, never logs.
 * It is kept as a text in the state directory (slow.h), so that neither a restart nor a reboot arms the guard again;
 * a text that makes no sense still means disarmed: somebody wanted the guard's hands off.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pileguard/limits.h"

#define PILE_DISARM_TEXT_MAX 256 /* of the file, and of pile_disarm_describe */

struct pile_disarm {
	bool on;
	char by[PILE_NAME_MAX]; /* who, as the command said: letters, digits and ._@- */
	uint64_t since_realtime_ns;
	uint64_t until_realtime_ns; /* 0 = until `arm` */
	uint64_t until_ns;	    /* the same by CLOCK_MONOTONIC; UINT64_MAX = until `arm` */
};

/**
 * pile_disarm_set - disarmed from now on
 * @by: who; what is no name's character becomes '?', "" becomes "root"
 * @seconds: how long; 0 = until `arm`
 */
void pile_disarm_set(struct pile_disarm *d, const char *by, uint64_t seconds, uint64_t now_ns,
		     uint64_t realtime_ns);

/** pile_disarm_is_over - it is on, and its time has run out. */
bool pile_disarm_is_over(const struct pile_disarm *d, uint64_t now_ns);

/** pile_disarm_format - the file's text; @size: PILE_DISARM_TEXT_MAX. Returns @buf. */
const char *pile_disarm_format(const struct pile_disarm *d, char *buf, size_t size);

/**
 * pile_disarm_parse - what a file's text means now
 * @ret: off when its time is over. It never lasts longer than it was asked for, whatever the clock says now; a text
 * without sense is "until `arm`", by "unknown".
 */
void pile_disarm_parse(const char *text, uint64_t now_ns, uint64_t realtime_ns,
		       struct pile_disarm *ret);

/** pile_disarm_describe - "disarmed by alice at 2026-11-26 04:30 UTC, until 2026-11-26 05:30 UTC". Returns @buf. */
const char *pile_disarm_describe(const struct pile_disarm *d, char *buf, size_t size);

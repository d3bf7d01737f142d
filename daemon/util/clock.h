/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * clock.h: the kernel's clocks in nanoseconds.
 * Owns nothing; callable from any thread; never blocks; never logs.
 */
#pragma once

#include <stdint.h>
#include <time.h>

#include "util/macro.h"

/** pile_clock_ns - @clock (CLOCK_MONOTONIC, CLOCK_REALTIME ...) now, in ns. */
static inline uint64_t pile_clock_ns(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (uint64_t)t.tv_sec * NS_PER_SEC + (uint64_t)t.tv_nsec;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* number.h: unsigned arithmetic that does not wrap. Pure; called from everywhere. */
#pragma once

#include <stdint.h>

#include "util/clock.h"

/** pile_number_minus - @a - @b, and 0 where that would be less. */
static inline uint64_t pile_number_minus(uint64_t a, uint64_t b)
{
	return a > b ? a - b : 0;
}

/** pile_number_per_second - @amount over @span_ns, a second; 0 when there was no time. */
static inline uint64_t pile_number_per_second(uint64_t amount, uint64_t span_ns)
{
	return span_ns ? (uint64_t)((unsigned __int128)amount * NS_PER_SEC / span_ns) : 0;
}

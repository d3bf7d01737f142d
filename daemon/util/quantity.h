/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * quantity.h: text with a mandatory unit <-> numbers ("2s", "512MiB", "60%").
 * Pure; callable from any thread; never blocks; never logs.
 */
#pragma once

#include <stdint.h>

#include "util/macro.h"

/**
 * pile_quantity_parse_duration - "250ms", "2s", "2.4s", "10min", "1h"
 * The unit is mandatory (us ms s min h). No blanks, no sign, at most 9 decimals; what is below
 * 1 ns is dropped.
 * Returns 0; -EINVAL not a duration; -EDOM a number without a unit; -ERANGE more than 2^63 ns.
 * *ret is untouched on failure (in all three).
 */
int pile_quantity_parse_duration(const char *text, uint64_t *ret_ns);

/** pile_quantity_parse_size - "4096B", "512KiB", "1.5GiB" (B KiB MiB GiB TiB); same returns. */
int pile_quantity_parse_size(const char *text, uint64_t *ret_bytes);

/** pile_quantity_parse_percent - "60%", "2.5%" -> 600, 25; 0..100 %, one decimal; same returns. */
int pile_quantity_parse_percent(const char *text, uint32_t *ret_permille);

/**
 * pile_quantity_format_duration - exact where three digits hold it, else rounded to three digits
 * "0ms", "12ms", "2.4s", "52s", "90s", "1h", "16.7min". For people: does not always read back.
 * Returns buf.
 */
const char *pile_quantity_format_duration(uint64_t ns, char *buf, size_t size);

/** pile_quantity_format_size - "412M", "1.1G", "6M", "512B": rounded, for tables. Returns buf. */
const char *pile_quantity_format_size(uint64_t bytes, char *buf, size_t size);

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * json_value.h: the few JSON values that every body is made of, shared by json*.c only.
 * Each returns a new reference that json_pack's "o" takes over. Api process only; allocates; never
 * logs.
 */
#pragma once

#include <jansson.h>
#include <stdint.h>

#include "api/text.h"
#include "util/endpoint.h"

/** pile_json_value_text - a string; bytes that are not UTF-8 become '?' (a unix path may hold any
 * byte) */
json_t *pile_json_value_text(const char *text);

/** pile_json_value_text_or_null - the same; "" becomes null */
json_t *pile_json_value_text_or_null(const char *text);

/** pile_json_value_endpoint - "10.9.0.2:3306" */
json_t *pile_json_value_endpoint(const struct pile_endpoint *endpoint);

/** pile_json_value_seconds - ns as seconds with microseconds; UINT64_MAX becomes null */
json_t *pile_json_value_seconds(uint64_t ns);

/** pile_json_value_left - the monotonic time of an end that is still to come, as seconds left; else null */
json_t *pile_json_value_left(uint64_t until_ns, uint64_t now_ns);

/** pile_json_value_seconds_or_null - the same; 0 (not known) becomes null too */
json_t *pile_json_value_seconds_or_null(uint64_t ns);

/** A name from a table; what another process wrote may lie outside of it. */
#define NAME_OF(table, index) \
	((index) < ARRAY_LEN(table) && (table)[index] ? (table)[index] : "unknown")

/** pile_json_value_milli - thousandths as a number */
json_t *pile_json_value_milli(uint64_t milli);

/** pile_json_value_known - a count; 0 (not known, none) becomes null */
json_t *pile_json_value_known(uint64_t value);

/** pile_json_value_time - CLOCK_REALTIME ns as "2025-01-31T12:03:07.123Z"; 0 becomes null */
json_t *pile_json_value_time(uint64_t realtime_ns);

/** pile_json_value_emit - append @value (reference taken; NULL fails the text) */
void pile_json_value_emit(json_t *value, struct pile_text *ret);

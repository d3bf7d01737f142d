/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * value.h: JSON answers -> what a person reads. Missing or null keys become "-" or 0, never a
 * crash. Pure; texts are cleaned of control characters, since a process may call itself "\033[2J".
 * Never blocks; never logs.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stddef.h>

/** pile_value_get - @path is "requests.waiting"; NULL when there is none */
const json_t *pile_value_get(const json_t *value, const char *path);

/** pile_value_text - a string, "" when there is none. Not cleaned: for comparing. */
const char *pile_value_text(const json_t *value, const char *path);

/** pile_value_number - 0 when there is none */
double pile_value_number(const json_t *value, const char *path);

/** pile_value_is - true only for JSON true */
bool pile_value_is(const json_t *value, const char *path);

/** pile_value_known - there, and not null */
bool pile_value_known(const json_t *value, const char *path);

/** pile_value_clean - copy without control characters. Returns buf. */
const char *pile_value_clean(const char *text, char *buf, size_t size);

/* Each writes at most @size bytes, "-" for what is not known, and returns buf. */
const char *pile_value_format_text(const json_t *value, const char *path, char *buf, size_t size);
const char *pile_value_format_count(const json_t *value, const char *path, char *buf, size_t size);
/** "12ms", "24s" */
const char *pile_value_format_seconds(const json_t *value, const char *path, char *buf,
				      size_t size);
/** "412M" */
const char *pile_value_format_bytes(const json_t *value, const char *path, char *buf, size_t size);
/** "2025-10-09 10:53:20", local time, from ISO 8601 in UTC */
const char *pile_value_format_time(const json_t *value, const char *path, char *buf, size_t size);

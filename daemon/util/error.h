/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * error.h: what went wrong, where, and what would be right.
 * Owned by the caller (stack); filled by parsers, readers and decide, which never log.
 * Callable from any thread; never blocks; never logs.
 * One failure, one log line: the caller that knows the context prints it.
 */
#pragma once

#include "util/macro.h"

#define PILE_ERROR_TEXT_MAX 512

/** Where and why something failed. line and column count from 1; 0 means "not known". */
struct pile_error {
	char file[256];
	unsigned int line;
	unsigned int column;
	char text[PILE_ERROR_TEXT_MAX];
};

/**
 * pile_error_set - fill an error (file, line and column are left alone)
 * @err: where to write, or NULL (then nothing is kept)
 * @code: positive or negative errno; 0 is treated as EINVAL
 * @fmt: a sentence that says what is wrong and what would be right
 * Returns -abs(code), so that `return pile_error_set(err, EINVAL, ...)` reads well.
 */
int pile_error_set(struct pile_error *err, int code, const char *fmt, ...) _printf_(3, 4);

/**
 * pile_error_set_at - the same, with a place
 * @line, @column: 1-based; 0 when not known
 */
int pile_error_set_at(struct pile_error *err, int code, const char *file, unsigned int line,
		      unsigned int column, const char *fmt, ...) _printf_(6, 7);

/**
 * pile_error_format - "file:line:column: text", leaving out what is not known
 * @buf, @size: output, always NUL-terminated when size > 0. Returns buf.
 */
const char *pile_error_format(const struct pile_error *err, char *buf, size_t size);

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * text.h: a growing text with an upper bound: the body of an answer.
 * Owned by the caller (stack); the memory inside is heap. Api process only; allocates; never
 * blocks; never logs. An append that fails (out of memory, over the bound) sets `failed` and drops
 * everything after it, so that a writer checks once, at the end.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "util/macro.h"

/* 2,048 workers at some 330 bytes of JSON, with room; an answer larger than this is a bug. */
#define PILE_TEXT_BYTES_MAX (2u << 20)

struct pile_text {
	char *data; /* NUL-terminated once anything was appended */
	size_t len;
	size_t size;
	bool failed;
};

/** pile_text_append - add @n bytes. */
void pile_text_append(struct pile_text *text, const char *bytes, size_t n);

/** pile_text_printf - add formatted text. */
void pile_text_printf(struct pile_text *text, const char *fmt, ...) _printf_(2, 3);

/** pile_text_fini - free what is inside; for _cleanup_. */
void pile_text_fini(struct pile_text *text);

#define _cleanup_text_ _cleanup_(pile_text_fini)

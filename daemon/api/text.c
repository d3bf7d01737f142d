// SPDX-License-Identifier: GPL-2.0-or-later
#include "api/text.h"

#include <stdarg.h>
#include <string.h>

/** Makes room for @n more bytes and a NUL. */
static bool reserve(struct pile_text *text, size_t n)
{
	size_t size = text->size ? text->size : 1024;
	char *data;

	if (text->failed || n >= PILE_TEXT_BYTES_MAX || text->len + n >= PILE_TEXT_BYTES_MAX) {
		text->failed = true;
		return false;
	}
	while (size < text->len + n + 1)
		size *= 2;
	if (size == text->size)
		return true;
	data = realloc(text->data, size);
	if (!data) {
		text->failed = true;
		return false;
	}
	text->data = data;
	text->size = size;
	return true;
}

void pile_text_append(struct pile_text *text, const char *bytes, size_t n)
{
	if (!reserve(text, n))
		return;
	if (n)
		memcpy(text->data + text->len, bytes, n);
	text->len += n;
	text->data[text->len] = '\0';
}

void pile_text_printf(struct pile_text *text, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	if (n < 0 || !reserve(text, (size_t)n)) {
		text->failed = true;
		return;
	}
	va_start(ap, fmt);
	vsnprintf(text->data + text->len, (size_t)n + 1, fmt, ap);
	va_end(ap);
	text->len += (size_t)n;
}

void pile_text_fini(struct pile_text *text)
{
	free(text->data);
	*text = (struct pile_text){ 0 };
}

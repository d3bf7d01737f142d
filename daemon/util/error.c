// SPDX-License-Identifier: GPL-2.0-or-later
#include "util/error.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>

static int code_normalize(int code)
{
	if (code == 0)
		return -EINVAL;
	return code > 0 ? -code : code;
}

int pile_error_set(struct pile_error *err, int code, const char *fmt, ...)
{
	va_list ap;

	if (err) {
		va_start(ap, fmt);
		vsnprintf(err->text, sizeof(err->text), fmt, ap);
		va_end(ap);
	}
	return code_normalize(code);
}

int pile_error_set_at(struct pile_error *err, int code, const char *file, unsigned int line,
		      unsigned int column, const char *fmt, ...)
{
	va_list ap;

	if (err) {
		snprintf(err->file, sizeof(err->file), "%s", file ? file : "");
		err->line = line;
		err->column = column;
		va_start(ap, fmt);
		vsnprintf(err->text, sizeof(err->text), fmt, ap);
		va_end(ap);
	}
	return code_normalize(code);
}

const char *pile_error_format(const struct pile_error *err, char *buf, size_t size)
{
	if (!err->file[0])
		snprintf(buf, size, "%s", err->text);
	else if (!err->line)
		snprintf(buf, size, "%s: %s", err->file, err->text);
	else
		snprintf(buf, size, "%s:%u:%u: %s", err->file, err->line, err->column, err->text);
	return buf;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * explain_pen.h: words into a caller's buffer; shared by explain_text.c, explain_line.c and explain_RUNG.c only.
 * Pure: no clock, no allocation. Cuts what does not fit; the buffer is always terminated.
 */
#pragma once

#include <stdarg.h>
#include <string.h>

#include "record/explain_text.h"

/** Where the next words go; never past size. */
struct pen {
	char *buf;
	size_t size;
	size_t len;
};

/** Small texts that live for one statement. */
struct word {
	char text[PILE_ENDPOINT_TEXT_MAX];
};

static inline struct pen pen_start(char *buf, size_t size)
{
	if (size)
		buf[0] = '\0';
	return (struct pen){ .buf = buf, .size = size };
}

static inline void _printf_(2, 3) put(struct pen *pen, const char *fmt, ...)
{
	va_list ap;
	int n;

	if (pen->len + 1 >= pen->size)
		return;
	va_start(ap, fmt);
	n = vsnprintf(pen->buf + pen->len, pen->size - pen->len, fmt, ap);
	va_end(ap);
	if (n > 0)
		pen->len = MIN(pen->len + (size_t)n, pen->size - 1);
}

static inline struct word duration(uint64_t ns)
{
	struct word w;

	pile_explain_text_duration(ns, w.text, sizeof(w.text));
	return w;
}

static inline struct word bytes_of(uint64_t bytes)
{
	struct word w;

	pile_explain_text_bytes(bytes, w.text, sizeof(w.text));
	return w;
}

static inline struct word count_of(uint64_t count)
{
	struct word w;

	pile_explain_text_count(count, w.text, sizeof(w.text));
	return w;
}

static inline struct word endpoint_of(const struct pile_endpoint *endpoint)
{
	struct word w;

	pile_endpoint_format(endpoint, w.text, sizeof(w.text));
	return w;
}

/** Requests a second from thousandths: "0.4", "3.2", "32". */
static inline struct word rate_of(uint32_t milli)
{
	struct word w;

	if (milli < 10000)
		snprintf(w.text, sizeof(w.text), "%u.%u", milli / 1000, milli % 1000 / 100);
	else
		snprintf(w.text, sizeof(w.text), "%u", (milli + 500) / 1000);
	return w;
}

static inline const char *plural(uint64_t n)
{
	return n == 1 ? "" : "s";
}

/** "1,204 connects": the number and its noun. */
static inline void put_count(struct pen *pen, uint64_t n, const char *noun)
{
	put(pen, "%s %s%s", count_of(n).text, noun, plural(n));
}

static inline const char *close_reason_text(uint32_t reason)
{
	static const char *const texts[] = {
		[PILE_CLOSE_NONE] = "for no recorded reason",
		[PILE_CLOSE_ANSWERED] = "the destination answered again",
		[PILE_CLOSE_RELEASED] = "released by hand",
		[PILE_CLOSE_POLICY] = "the policy no longer allows it",
		[PILE_CLOSE_GONE] = "the group went away",
		[PILE_CLOSE_SWITCHED] = "what kept the guard from acting was switched",
		[PILE_CLOSE_ROOM] = "it made room for a larger one",
		[PILE_CLOSE_STOPPED] = "the guard was stopped",
		[PILE_CLOSE_HOLD_OVER] = "the time of the hold is over",
		[PILE_CLOSE_QUIET] = "nobody tried it any more",
		[PILE_CLOSE_DISARMED] = "disarmed by hand",
		[PILE_CLOSE_CALM] = "nobody too many",
		[PILE_CLOSE_ENDED] = "the worker is gone",
		[PILE_CLOSE_TIME] = "its time is over",
		[PILE_CLOSE_USELESS] = "it did not help",
		[PILE_CLOSE_TAKEN] = "somebody else has set it",
		[PILE_CLOSE_NOT_DONE] = "it could not be done",
		[PILE_CLOSE_NOT_ENDED] = "the worker could not be ended",
	};

	return reason < ARRAY_LEN(texts) ? texts[reason] : texts[PILE_CLOSE_NONE];
}

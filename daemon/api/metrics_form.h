/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * metrics_form.h: what one metric is, and how its text is written; shared by metrics.c (groups, destinations) and
 * metrics_host.c. Pure apart from allocation.
 */
#pragma once

#include <stddef.h>

#include "api/snapshot.h"
#include "api/text.h"

enum metric_form {
	FORM_U32, /* a count */
	FORM_U64,
	FORM_BOOL,
	FORM_NS,    /* as seconds */
	FORM_MILLI, /* uint32_t thousandths */
};

enum metric_sum {
	SUM_ADD, /* "other" is the sum of what was left out */
	SUM_MAX, /* ... or the worst of it */
};

/** One metric: a field of a struct. */
struct metric {
	const char *name;
	const char *help;
	size_t offset;
	enum metric_form form;
	enum metric_sum sum;
	bool counter;
};

/** pile_metric_get - the field's value, in the unit that its form is kept in. */
uint64_t pile_metric_get(const struct metric *m, const void *base);

/** pile_metric_head - HELP and TYPE; @type: "gauge", "counter" or "histogram". */
void pile_metric_head(const char *name, const char *help, const char *type, struct pile_text *ret);

/** pile_metric_value - " VALUE" and the end of the line. */
void pile_metric_value(enum metric_form form, uint64_t value, struct pile_text *ret);

/** pile_metric_label - key="value" with the three escapes of the format; bytes that are not ASCII become '?'. */
void pile_metric_label(const char *key, const char *value, struct pile_text *ret);

/** pile_metrics_host - all metrics of the host and of the guard itself (metrics_host.c). */
void pile_metrics_host(const struct pile_snapshot_half *half, struct pile_text *ret);

// SPDX-License-Identifier: GPL-2.0-or-later
/* pileguardctl groups, workers, dependencies: one table of columns each. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl.h"
#include "http.h"
#include "pileguard/api.h"
#include "table.h"
#include "util/macro.h"
#include "value.h"

/** A cell that is one value of the row. */
#define CELL(name, form, path)                                             \
	static const char *name(const json_t *row, char *buf, size_t size) \
	{                                                                  \
		return pile_value_format_##form(row, path, buf, size);     \
	}

CELL(g_name, text, "name")
CELL(g_unit, text, "unit")
CELL(g_stage, text, "stage")
CELL(g_kind, text, "workers.kind")
CELL(g_workers, count, "workers.count")
CELL(g_busy, count, "workers.busy")
CELL(g_backlog, count, "workers.backlog")
CELL(g_waiting, count, "requests.waiting")
CELL(g_opened, count, "requests.opened_total")
CELL(g_answered, count, "requests.answered_total")
CELL(g_closed, count, "requests.closed_total")
CELL(g_drift, count, "requests.drift_total")
CELL(g_memory, bytes, "memory.used_bytes")
CELL(g_request, bytes, "memory.per_request_bytes")

static const char *g_rate(const json_t *row, char *buf, size_t size)
{
	snprintf(buf, size, "%.1f/s", pile_value_number(row, "requests.opened_per_second"));
	return buf;
}

static const char *g_enforce(const json_t *row, char *buf, size_t size)
{
	const json_t *rungs = pile_value_get(row, "enforce");

	size_t len = 0;

	snprintf(buf, size, "-");
	for (size_t i = 0; i < json_array_size(rungs) && len < size; i++)
		len += (size_t)snprintf(buf + len, size - len, "%s%s", len ? "," : "",
					json_string_value(json_array_get(rungs, i)));
	return buf;
}

CELL(w_pid, count, "pid")
CELL(w_group, text, "group")
CELL(w_comm, text, "comm")
CELL(w_waiting, count, "waiting")
CELL(w_connections, count, "connections")
CELL(w_oldest, seconds, "oldest_seconds")
CELL(w_p50, seconds, "p50_seconds")
CELL(w_p99, seconds, "p99_seconds")
CELL(w_answered, count, "answered_total")
CELL(w_rss, bytes, "rss_bytes")
CELL(w_private, bytes, "private_bytes")

/** "1.0 MiB/s", or nothing at all: most workers do not. */
static const char *w_growth(const json_t *row, char *buf, size_t size)
{
	char rate[32];

	buf[0] = '\0';
	if (pile_value_known(row, "growing_bytes_per_second"))
		snprintf(buf, size, "%s/s",
			 pile_value_format_bytes(row, "growing_bytes_per_second", rate,
						 sizeof(rate)));
	return buf;
}

static bool w_loud(const json_t *row)
{
	return pile_value_known(row, "growing_bytes_per_second");
}

CELL(d_group, text, "group")
CELL(d_endpoint, text, "endpoint")
/** "closed", and why it is, where that is odd. */
static const char *d_gate(const json_t *row, char *buf, size_t size)
{
	char left[32];

	if (pile_value_known(row, "held_for_seconds"))
		snprintf(buf, size, "held, %s left",
			 pile_value_format_seconds(row, "held_for_seconds", left, sizeof(left)));
	else if (pile_value_known(row, "released_for_seconds"))
		snprintf(
			buf, size, "released, %s left",
			pile_value_format_seconds(row, "released_for_seconds", left, sizeof(left)));
	else if (pile_value_is(row, "dead") && strcmp(pile_value_text(row, "gate"), "closed") == 0)
		snprintf(buf, size, "closed: dead, not at risk");
	else if (pile_value_is(row, "mute"))
		snprintf(buf, size, "%s: mute", pile_value_text(row, "gate"));
	else
		pile_value_format_text(row, "gate", buf, size);
	return buf;
}

CELL(d_connecting, count, "connecting")
CELL(d_oldest, seconds, "oldest_seconds")
CELL(d_established, count, "established")
CELL(d_silent, count, "silent")
CELL(d_unacked, count, "unacknowledged")
CELL(d_failed, count, "failed_total")
CELL(d_refused, count, "refused_total")
CELL(d_ended, count, "ended_total")
CELL(d_success, seconds, "last_established_seconds_ago")
CELL(d_explain, count, "explain")

static bool d_loud(const json_t *row)
{
	return strcmp(pile_value_text(row, "gate"), "closed") != 0 || pile_value_is(row, "dead");
}

static bool g_loud(const json_t *row)
{
	return strcmp(pile_value_text(row, "stage"), "calm") != 0;
}

/** Percent-encodes a group's name into a query; names are [a-z0-9._-]+, so that this is for typing
 * errors. */
static int path_make(const char *path, const char *group, char *buf, size_t size)
{
	size_t len = (size_t)snprintf(buf, size, "%s%s", path, group ? "?group=" : "");

	for (; group && *group; group++) {
		if (len + 4 > size)
			return -1;
		len += (size_t)snprintf(buf + len, size - len,
					isalnum((unsigned char)*group) ? "%c" : "%%%02X",
					(unsigned char)*group);
	}
	return 0;
}

/* Whoever waits the longest comes first, then whoever has the most memory. */
static int worker_order(const void *a, const void *b)
{
	static const char *const keys[] = { "oldest_seconds", "rss_bytes" };

	for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
		double x = pile_value_number(*(const json_t *const *)a, keys[i]);
		double y = pile_value_number(*(const json_t *const *)b, keys[i]);

		if (x != y)
			return x > y ? -1 : 1;
	}
	return 0;
}

static void rows_sort(json_t *rows, int (*first)(const void *a, const void *b))
{
	size_t n = json_array_size(rows);
	_cleanup_free_ json_t **list = calloc(MAX(n, 1), sizeof(void *));

	if (!list)
		return; /* in the order they came */
	for (size_t i = 0; i < n; i++)
		list[i] = json_incref(json_array_get(rows, i));
	qsort(list, n, sizeof(void *), first);
	json_array_clear(rows);
	for (size_t i = 0; i < n; i++)
		json_array_append_new(rows, list[i]);
}

/** @first: which of two rows comes first, as for qsort(); NULL: as the daemon tells them. */
static int list_show(const struct pile_ctl *ctl, const char *path,
		     const struct pile_table_column *columns, size_t n, const char *nothing,
		     int (*first)(const void *a, const void *b))
{
	char query[512];
	json_t *rows;
	int r;

	if (path_make(path, ctl->group, query, sizeof(query)) != 0) {
		fprintf(stderr, "--group: no group has such a long name\n");
		return PILE_EXIT_USAGE;
	}
	r = pile_http_get(ctl, query, &rows);
	if (!rows)
		return r;
	if (first)
		rows_sort(rows, first);
	if (json_array_size(rows))
		pile_table_print(ctl, columns, n, rows);
	else
		printf("%s\n", nothing);
	json_decref(rows);
	return PILE_EXIT_OK;
}

int pile_lists_groups(const struct pile_ctl *ctl)
{
	static const struct pile_table_column columns[] = {
		{ "GROUP", false, 0, g_name, NULL },	 { "UNIT", false, 7, g_unit, NULL },
		{ "STAGE", false, 0, g_stage, g_loud },	 { "ENFORCES", false, 5, g_enforce, NULL },
		{ "WORKERS", true, 3, g_workers, NULL }, { "KIND", false, 8, g_kind, NULL },
		{ "BUSY", true, 0, g_busy, NULL },	 { "QUEUE", true, 2, g_backlog, NULL },
		{ "WAITING", true, 0, g_waiting, NULL }, { "RATE", true, 1, g_rate, NULL },
		{ "OPENED", true, 6, g_opened, NULL },	 { "ANSWERED", true, 6, g_answered, NULL },
		{ "CLOSED", true, 6, g_closed, NULL },	 { "DRIFT", true, 9, g_drift, NULL },
		{ "MEMORY", true, 1, g_memory, NULL },	 { "A REQUEST", true, 4, g_request, NULL },
	};

	return list_show(ctl, "/v1/groups", columns, ARRAY_LEN(columns), "no group is watched",
			 NULL);
}

int pile_lists_workers(const struct pile_ctl *ctl)
{
	static const struct pile_table_column columns[] = {
		{ "PID", true, 0, w_pid, NULL },
		{ "GROUP", false, 0, w_group, NULL },
		{ "COMMAND", false, 3, w_comm, NULL },
		{ "WAITING", true, 0, w_waiting, NULL },
		{ "CONNECTIONS", true, 4, w_connections, NULL },
		{ "OLDEST", true, 0, w_oldest, NULL },
		{ "P50", true, 2, w_p50, NULL },
		{ "P99", true, 1, w_p99, NULL },
		{ "ANSWERED", true, 5, w_answered, NULL },
		{ "RESIDENT", true, 1, w_rss, NULL },
		{ "PRIVATE", true, 4, w_private, NULL },
		{ "GROWS", true, 0, w_growth, w_loud },
	};

	return list_show(ctl, "/v1/workers", columns, ARRAY_LEN(columns), "no worker is watched",
			 worker_order);
}

int pile_lists_dependencies(const struct pile_ctl *ctl)
{
	static const struct pile_table_column columns[] = {
		{ "GROUP", false, 0, d_group, NULL },
		{ "DESTINATION", false, 0, d_endpoint, NULL },
		{ "BREAKER", false, 0, d_gate, d_loud },
		{ "CONNECTING", true, 0, d_connecting, NULL },
		{ "OLDEST", true, 1, d_oldest, NULL },
		{ "ESTABLISHED", true, 2, d_established, NULL },
		{ "SILENT", true, 4, d_silent, NULL },
		{ "UNACKED", true, 5, d_unacked, NULL },
		{ "FAILED", true, 6, d_failed, NULL },
		{ "REFUSED", true, 3, d_refused, NULL },
		{ "ENDED", true, 3, d_ended, NULL },
		{ "LAST SUCCESS", true, 2, d_success, NULL },
		{ "EXPLAIN", true, 1, d_explain, NULL },
	};

	return list_show(ctl, "/v1/dependencies", columns, ARRAY_LEN(columns),
			 "no connect of a watched service was seen yet", NULL);
}

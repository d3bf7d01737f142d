// SPDX-License-Identifier: GPL-2.0-or-later
/* status_table.c: the table of groups. */
#include <stdio.h>
#include <string.h>

#include "status.h"
#include "table.h"
#include "util/macro.h"
#include "value.h"

static const char *cell_name(const json_t *g, char *buf, size_t size)
{
	return pile_value_format_text(g, "name", buf, size);
}

/** The unit, where it says more than the group's name; ".service" goes without saying. */
static const char *cell_unit(const json_t *g, char *buf, size_t size)
{
	static const char suffix[] = ".service";
	size_t n;

	pile_value_format_text(g, "unit", buf, size);
	n = strlen(buf);
	if (n > sizeof(suffix) && strcmp(buf + n - sizeof(suffix) + 1, suffix) == 0)
		buf[n - sizeof(suffix) + 1] = '\0';
	if (strcmp(buf, pile_value_text(g, "name")) == 0)
		snprintf(buf, size, "-");
	return buf;
}

static const char *cell_waiting(const json_t *g, char *buf, size_t size)
{
	return pile_value_format_count(g, "requests.waiting", buf, size);
}

static const char *cell_oldest(const json_t *g, char *buf, size_t size)
{
	return pile_value_format_seconds(g, "requests.oldest_seconds", buf, size);
}

static const char *cell_p50(const json_t *g, char *buf, size_t size)
{
	return pile_value_format_seconds(g, "requests.p50_seconds", buf, size);
}

static const char *cell_p99(const json_t *g, char *buf, size_t size)
{
	return pile_value_format_seconds(g, "requests.p99_seconds", buf, size);
}

/** What it holds, over what it could hold. */
static const char *cell_memory(const json_t *g, char *buf, size_t size)
{
	char used[32], budget[32];
	json_t *sum = json_real(pile_value_number(g, "memory.used_bytes") +
				pile_value_number(g, "memory.free_bytes"));

	snprintf(buf, size, "%s/%s",
		 pile_value_format_bytes(g, "memory.used_bytes", used, sizeof(used)),
		 pile_value_format_bytes(sum, "", budget, sizeof(budget)));
	json_decref(sum);
	return buf;
}

bool pile_status_at_risk(const json_t *g)
{
	return pile_value_number(g, "risk_ratio") >= 1;
}

static const char *cell_risk(const json_t *g, char *buf, size_t size)
{
	snprintf(buf, size, "%.1f%s", pile_value_number(g, "risk_ratio"),
		 pile_status_at_risk(g) ? " !" : "  ");
	return buf;
}

static const char *cell_would(const json_t *g, char *buf, size_t size)
{
	double times = pile_value_number(g, "would_have_acted_24h");
	char what[128];

	if (times < 1)
		snprintf(buf, size, "-");
	else if (pile_value_known(g, "would_have_refused"))
		snprintf(buf, size, "%.0f x refuse %s", times,
			 pile_value_format_text(g, "would_have_refused", what, sizeof(what)));
	else
		snprintf(buf, size, "%.0f x", times);
	return buf;
}

static bool enforces(const json_t *g, const char *rung)
{
	const json_t *one;
	size_t index;

	json_array_foreach(pile_value_get(g, "enforce"), index, one)
		if (json_is_string(one) && strcmp(json_string_value(one), rung) == 0)
			return true;
	return false;
}

static const char *cell_note(const json_t *g, char *buf, size_t size)
{
	const struct {
		bool is;
		const char *text;
	} notes[] = {
		{ !pile_value_is(g, "present"), "not running" },
		{ pile_value_is(g, "foreign"), "another manager's: observed only" },
		{ strcmp(pile_value_text(g, "stage"), "calm") != 0, pile_value_text(g, "stage") },
		{ enforces(g, "fail_fast"), "fail_fast on" },
		{ enforces(g, "shed"), "shed on" },
		{ enforces(g, "throttle"), "throttle on" },
		{ enforces(g, "evict"), "evict on" },
		{ enforces(g, "stop"), "stop on" },
		{ pile_value_is(g, "learned_long_poll"), "long poll, learned" },
		{ pile_value_number(g, "workers.count") == 1, "1 process" },
	};
	size_t len = 0;

	buf[0] = '\0';
	for (size_t i = 0; i < ARRAY_LEN(notes) && len < size; i++)
		if (notes[i].is)
			len += (size_t)snprintf(buf + len, size - len, "%s%s", len ? ", " : "",
						notes[i].text);
	return buf;
}

void pile_status_table(const struct pile_ctl *ctl, const json_t *groups)
{
	static const struct pile_table_column columns[] = {
		{ "GROUP", false, 0, cell_name, NULL },
		{ "UNIT", false, 5, cell_unit, NULL },
		{ "WAITING", true, 0, cell_waiting, NULL },
		{ "OLDEST", true, 0, cell_oldest, NULL },
		{ "P50", true, 4, cell_p50, NULL },
		{ "P99", true, 2, cell_p99, NULL },
		{ "MEM/BUDGET", true, 3, cell_memory, NULL },
		{ "RISK", true, 0, cell_risk, pile_status_at_risk },
		{ "WOULD HAVE ACTED (24 h)", false, 1, cell_would, NULL },
		{ "", false, 6, cell_note, NULL },
	};

	if (json_array_size(groups) == 0)
		printf("no service is watched yet: none listens, or the policy's units are not "
		       "running\n");
	else
		pile_table_print(ctl, columns, ARRAY_LEN(columns), groups);
}

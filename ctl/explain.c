// SPDX-License-Identifier: GPL-2.0-or-later
/* pileguardctl explain ID: why, did, did not, cost, undo, in the guard's own words. */
#include <stdio.h>
#include <string.h>

#include "ctl.h"
#include "http.h"
#include "pileguard/api.h"
#include "table.h"
#include "util/macro.h"
#include "value.h"

#define INDENT 9

static void title_print(const json_t *x)
{
	char group[80], unit[280], endpoint[140], state[32], lasted[32], at[32];

	printf("%-*s%s", INDENT, "what", pile_value_format_text(x, "group", group, sizeof(group)));
	if (pile_value_known(x, "unit"))
		printf(" (%s)", pile_value_format_text(x, "unit", unit, sizeof(unit)));
	if (pile_value_known(x, "endpoint"))
		printf(" -> %s", pile_value_format_text(x, "endpoint", endpoint, sizeof(endpoint)));
	printf("   %s, %s %s, since %s\n", pile_value_format_text(x, "state", state, sizeof(state)),
	       strcmp(state, "closed") == 0 ? "lasted" : "for",
	       pile_value_format_seconds(x, "lasted_seconds", lasted, sizeof(lasted)),
	       pile_value_format_time(x, "opened_at", at, sizeof(at)));
}

/* Of an eviction: from whom the worker was chosen, the first of them, with every term that may have kept it. */
static void candidates_print(const json_t *x)
{
	static const struct {
		const char *key;
		bool wanted;
		const char *text;
	} bars[] = {
		{ "connecting", false, "waits on a dependency: never ended" },
		{ "in_own_cgroup", true, "not in the group's cgroup: never ended" },
		{ "master", false, "others' parent: never ended" },
		{ "alone", false, "no sibling: never ended" },
	};
	const json_t *list = pile_value_get(x, "candidates");
	char held[32], grows[32], oldest[32], rising[32], comm[32];

	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *c = json_array_get(list, i);

		printf("%-*s%.0f %s holds %s, grows %s/s, %.1f %%, for %s; ", INDENT, i ? "" : "of",
		       pile_value_number(c, "pid"),
		       pile_value_format_text(c, "comm", comm, sizeof(comm)),
		       pile_value_format_bytes(c, "private_bytes", held, sizeof(held)),
		       pile_value_format_bytes(c, "growth_bytes_per_second", grows, sizeof(grows)),
		       100 * pile_value_number(c, "share_ratio"),
		       pile_value_format_seconds(c, "rising_seconds", rising, sizeof(rising)));
		if (pile_value_number(c, "waiting") > 0)
			printf("a request for %s",
			       pile_value_format_seconds(c, "oldest_seconds", oldest,
							 sizeof(oldest)));
		else
			printf("idle");
		for (size_t bar = 0; bar < ARRAY_LEN(bars); bar++)
			if (pile_value_is(c, bars[bar].key) != bars[bar].wanted)
				printf("; %s", bars[bar].text);
		printf("\n");
	}
}

int pile_explain_show(const struct pile_ctl *ctl)
{
	static const struct {
		const char *label, *key;
	} lines[] = {
		{ "why", "why_text" },	 { "did", "did_text" },	  { "did not", "did_not_text" },
		{ "cost", "cost_text" }, { "undo", "undo_text" },
	};
	char path[64], text[600];
	json_t *x;
	int r;

	if (!ctl->args[0][0] || strspn(ctl->args[0], "0123456789") != strlen(ctl->args[0]) ||
	    strlen(ctl->args[0]) > 10) {
		fprintf(stderr, "explain takes the number at the end of the line in the journal: "
				"pileguardctl explain 17\n");
		return PILE_EXIT_USAGE;
	}
	snprintf(path, sizeof(path), "/v1/explain/%s", ctl->args[0]);
	r = pile_http_get(ctl, path, &x);
	if (!x)
		return r;
	title_print(x);
	for (size_t i = 0; i < ARRAY_LEN(lines); i++)
		pile_table_wrap(ctl, lines[i].label, INDENT,
				pile_value_format_text(x, lines[i].key, text, sizeof(text)));
	candidates_print(x);
	json_decref(x);
	return PILE_EXIT_OK;
}

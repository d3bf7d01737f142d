// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * evicted.c: evictions and stops that still count against the budgets, kept over restarts: a line each,
 * "MILLISECONDS GROUP", of a stop "MILLISECONDS stop GROUP" (no name holds a blank), by the clock of the wall.
 * A time that lies in the future is of a clock that was wrong: it counts as of now.
 */
#include <stdlib.h>
#include <string.h>

#include "guard.h"
#include "keep.h"
#include "util/clock.h"

#define STOP_WORD " stop"

void pile_evicted_recall(struct pile_guard *g)
{
	uint64_t now_ns = pile_clock_ns(CLOCK_MONOTONIC), now_ms;
	char text[PILE_KEEP_EVICTED_MAX], name[PILE_NAME_MAX], *at = text, *end;

	now_ms = pile_clock_ns(CLOCK_REALTIME) / NS_PER_MS;
	if (pile_keep_evicted_load(g->options.state_dir, text, sizeof(text)) < 0)
		return;
	for (int i = 0; i < PILE_EVICT_PAST_MAX + PILE_STOP_PAST_MAX && *at; i++, at = end + 1) {
		unsigned long long then_ms = strtoull(at, &at, 10);
		uint64_t ago_ns = now_ms > then_ms ? (now_ms - then_ms) * NS_PER_MS : 0;
		bool stop = strncmp(at, STOP_WORD, strlen(STOP_WORD)) == 0;

		at += stop ? strlen(STOP_WORD) : 0;
		end = strchr(at, '\n');
		if (!end || *at != ' ' || (size_t)(end - at) > sizeof(name))
			return;
		snprintf(name, sizeof(name), "%.*s", (int)(end - at - 1), at + 1);
		if (stop)
			pile_stops_recall(&g->decide.stops, name, ago_ns, now_ns);
		else
			pile_evicts_recall(&g->decide.evicts, name, ago_ns, now_ns);
	}
}

void pile_evicted_keep(struct pile_guard *g, uint64_t now_ns)
{
	const struct pile_evicts *evicts = &g->decide.evicts;
	const struct pile_stops *stops = &g->decide.stops;
	uint64_t now_ms = pile_clock_ns(CLOCK_REALTIME) / NS_PER_MS;
	char text[PILE_KEEP_EVICTED_MAX] = "";
	size_t len = 0;

	if (evicts->past_changes == g->evicted_kept && stops->past_changes == g->stopped_kept)
		return;
	g->evicted_kept = evicts->past_changes;
	g->stopped_kept = stops->past_changes;
	for (int i = 0; i < PILE_EVICT_PAST_MAX; i++) {
		const struct pile_evict_past *past = &evicts->past[i];
		uint64_t ago_ns = now_ns - MIN(past->at_ns, now_ns);

		if (past->group[0] && !past->blocked && ago_ns < PILE_EVICT_SPAN_NS)
			len += (size_t)snprintf(text + len, sizeof(text) - len, "%llu %s\n",
						(unsigned long long)(now_ms - ago_ns / NS_PER_MS),
						past->group);
	}
	for (int i = 0; i < PILE_STOP_PAST_MAX; i++) {
		const struct pile_stop_past *past = &stops->past[i];
		uint64_t ago_ns = now_ns - MIN(past->at_ns, now_ns);

		if (past->group[0] && ago_ns < PILE_STOP_SPAN_NS)
			len += (size_t)snprintf(
				text + len, sizeof(text) - len, "%llu" STOP_WORD " %s\n",
				(unsigned long long)(now_ms - ago_ns / NS_PER_MS), past->group);
	}
	pile_slow_evicted(&g->slow, text);
}

// SPDX-License-Identifier: GPL-2.0-or-later
/* pileguardctl events [--follow] */
#include <stdio.h>

#include "ctl.h"
#include "http.h"
#include "pileguard/api.h"
#include "value.h"

static void event_print(const json_t *event)
{
	char at[32], text[512];

	printf("%s  %s\n", pile_value_format_time(event, "at", at, sizeof(at)),
	       pile_value_format_text(event, "text", text, sizeof(text)));
}

/** One line of the stream; nonzero when nobody reads us any more. */
static int line_print(const char *line, void *data)
{
	const struct pile_ctl *ctl = data;
	json_t *event = json_loads(line, 0, NULL);

	if (ctl->json)
		printf("%s\n", line);
	else if (event)
		event_print(event);
	json_decref(event);
	return fflush(stdout) != 0;
}

static int follow(const struct pile_ctl *ctl)
{
	int r = pile_http_follow(ctl->socket, "/v1/events?follow=1&since=0", line_print,
				 (void *)ctl);

	if (r != 0)
		return pile_http_complain(ctl, r);
	if (!ferror(stdout))
		fprintf(stderr, "pileguard has closed the stream\n");
	return PILE_EXIT_UNREACHABLE;
}

int pile_events_show(const struct pile_ctl *ctl)
{
	const json_t *event;
	json_t *events;
	size_t index;
	int r;

	if (ctl->follow)
		return follow(ctl);
	r = pile_http_get(ctl, "/v1/events", &events);
	if (!events)
		return r;
	json_array_foreach(events, index, event)
		event_print(event);
	json_decref(events);
	return PILE_EXIT_OK;
}

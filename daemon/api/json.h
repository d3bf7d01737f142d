/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * json.h: snapshot -> JSON bodies, one function per GET route.
 * Pure apart from allocation: reads the api's private copy of the snapshot, appends to a text.
 * Api process only. Never blocks; never logs. Units are in the keys (_seconds, _bytes, _ratio,
 * _permille, _per_second); times of day are ISO 8601 in UTC; what is not known is null. Never
 * shown: argv, environment, URIs, client addresses (the snapshot does not hold them).
 */
#pragma once

#include <jansson.h>
#include <stdint.h>

#include "api/snapshot.h"
#include "api/text.h"

/** What a route's path and query string asked for. */
struct pile_query {
	const char *rest;  /* what follows the route's path: "17" in /v1/explain/17; never NULL */
	const char *group; /* ?group=NAME: only this group; or NULL */
	uint64_t since;	   /* ?since=SEQ: only events after it; 0 = all */
	uint64_t now_ns;   /* CLOCK_MONOTONIC */
};

/** Each returns the HTTP status (200, 404) of the body that it appended. */
unsigned int pile_json_status(const struct pile_snapshot_half *half, const struct pile_query *query,
			      struct pile_text *ret);
unsigned int pile_json_groups(const struct pile_snapshot_half *half, const struct pile_query *query,
			      struct pile_text *ret);
unsigned int pile_json_workers(const struct pile_snapshot_half *half,
			       const struct pile_query *query, struct pile_text *ret);
unsigned int pile_json_dependencies(const struct pile_snapshot_half *half,
				    const struct pile_query *query, struct pile_text *ret);
unsigned int pile_json_events(const struct pile_snapshot_half *half, const struct pile_query *query,
			      struct pile_text *ret);
unsigned int pile_json_explain(const struct pile_snapshot_half *half,
			       const struct pile_query *query, struct pile_text *ret);
unsigned int pile_json_policy(const struct pile_snapshot_half *half, const struct pile_query *query,
			      struct pile_text *ret);

/** pile_json_group_value - all that is known of one group; a new reference. */
json_t *pile_json_group_value(const struct pile_snapshot_half *half, uint32_t slot);

/** pile_json_policy_value - where the policy in force came from, and how the files stand to it; a new reference. */
json_t *pile_json_policy_value(const struct pile_snapshot_host *host);

/** pile_json_event_line - one event as one line of JSON, for streams. */
void pile_json_event_line(const struct pile_event *event, struct pile_text *ret);

/** pile_json_error - {"error": "..."} for every answer that is not a success. */
void pile_json_error(const char *sentence, struct pile_text *ret);

/** pile_json_error_format - the same, formatted. */
void pile_json_error_format(struct pile_text *ret, const char *fmt, ...) _printf_(2, 3);

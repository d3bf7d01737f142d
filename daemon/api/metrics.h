/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * metrics.h: snapshot -> Prometheus text format 0.0.4.
 * Pure apart from allocation; used by the api process (/metrics); never blocks; never logs.
 * At most 500 series a host: groups and destinations beyond the first ones are summed up as
 * "other". Labels are group names and destinations only: no argv, environment, URI or client
 * address.
 */
#pragma once

#include "api/json.h"
#include "api/snapshot.h"
#include "api/text.h"

/* 500 series a host (product.md): 21 x 13 for groups, 18 x 8 for destinations, 70 for the
 * host, 8 for fingerprints. */
#define PILE_METRICS_SERIES_MAX 500
#define PILE_METRICS_GROUPS 20

/** pile_metrics_format - append all metrics of @half */
void pile_metrics_format(const struct pile_snapshot_half *half, struct pile_text *ret);

/** pile_metrics_render - the same as a route; returns 200. */
unsigned int pile_metrics_render(const struct pile_snapshot_half *half,
				 const struct pile_query *query, struct pile_text *ret);

// SPDX-License-Identifier: GPL-2.0-or-later
#include "api/metrics.h"

#include <string.h>

#include "api/metrics_form.h"

#define G(field) offsetof(struct pile_snapshot_group, field)
#define D(field) offsetof(struct pile_snapshot_dependency, field)

static const struct metric group_metrics[] = {
	{ "pileguard_group_requests_waiting", "Requests that wait for their first byte.",
	  G(sample.waiting), FORM_U32, SUM_ADD, false },
	{ "pileguard_group_oldest_waiting_seconds", "Age of the oldest waiting request.",
	  G(sample.oldest_ns), FORM_NS, SUM_MAX, false },
	{ "pileguard_group_requests_opened_total", "Requests that arrived.", G(sample.opened),
	  FORM_U64, SUM_ADD, true },
	{ "pileguard_group_requests_answered_total", "Requests that got their first byte.",
	  G(sample.answered), FORM_U64, SUM_ADD, true },
	{ "pileguard_group_requests_closed_total", "Requests that ended without a byte.",
	  G(sample.closed), FORM_U64, SUM_ADD, true },
	{ "pileguard_group_first_byte_p50_seconds", "Median time to the first byte, last 10 s.",
	  G(sample.p50_ns), FORM_NS, SUM_MAX, false },
	{ "pileguard_group_first_byte_p99_seconds",
	  "99th percentile of the time to the first byte, last 10 s.", G(sample.p99_ns), FORM_NS,
	  SUM_MAX, false },
	{ "pileguard_group_busy_workers", "Workers with an accepted connection open.",
	  G(sample.busy), FORM_U32, SUM_ADD, false },
	{ "pileguard_group_backlog_connections", "Connections in the accept queues.",
	  G(sample.backlog), FORM_U32, SUM_ADD, false },
	{ "pileguard_group_memory_bytes", "Memory of the group.", G(sample.memory_bytes), FORM_U64,
	  SUM_ADD, false },
	{ "pileguard_group_risk_ratio",
	  "Memory that an outage of 10 s would take, over what is free; at 1 this host would not "
	  "survive.",
	  G(risk_milli), FORM_MILLI, SUM_MAX, false },
	{ "pileguard_group_stage", "0 calm, 1 suspect, 2 relieve, 3 evict (recorded only).",
	  G(stage), FORM_U32, SUM_MAX, false },
	{ "pileguard_group_would_have_acted",
	  "How often the guard would have acted in the last 24 h.", G(would_have_acted_24h),
	  FORM_U32, SUM_ADD, false },
};

/* breaker_state is kept in `state` of a private copy: 3 stands for "would be open". */
static const struct metric destination_metrics[] = {
	{ "pileguard_destination_connecting", "Connects that are pending.", D(sample.connecting),
	  FORM_U32, SUM_ADD, false },
	{ "pileguard_destination_oldest_connecting_seconds", "Age of the oldest pending connect.",
	  D(sample.oldest_ns), FORM_NS, SUM_MAX, false },
	{ "pileguard_destination_established", "Connections that are established.", D(sample.open),
	  FORM_U32, SUM_ADD, false },
	{ "pileguard_destination_silent",
	  "Established connections where the last word was ours for more than 0.5 s.",
	  D(sample.silent), FORM_U32, SUM_ADD, false },
	{ "pileguard_destination_breaker_state",
	  "0 closed, 1 open (connects are refused), 2 half open, 3 would be open.", D(state),
	  FORM_U32, SUM_MAX, false },
	{ "pileguard_destination_connects_refused_total", "Connects that the guard refused.",
	  D(sample.refused), FORM_U64, SUM_ADD, true },
	{ "pileguard_destination_waits_ended_total", "Pending connects that the guard ended.",
	  D(sample.ended), FORM_U64, SUM_ADD, true },
	{ "pileguard_destination_connects_failed_total", "Connects that failed for any reason.",
	  D(sample.failed), FORM_U64, SUM_ADD, true },
};

/** A labelled thing: where its fields are, and its labels' values. */
struct row {
	const void *base;
	const char *group;
	char destination[PILE_ENDPOINT_TEXT_MAX]; /* "" = no such label */
};

static void metric_put(const struct metric *m, void *base, uint64_t value)
{
	char *at = (char *)base + m->offset;
	uint32_t u32 = (uint32_t)MIN(value, (uint64_t)UINT32_MAX);

	if (m->form == FORM_U32 || m->form == FORM_MILLI)
		memcpy(at, &u32, sizeof(u32));
	else
		memcpy(at, &value, sizeof(value));
}

/** Adds @from's fields to the "other" row. */
static void metrics_fold(const struct metric *metrics, size_t n, void *other, const void *from)
{
	for (size_t i = 0; i < n; i++) {
		uint64_t a = pile_metric_get(&metrics[i], other);
		uint64_t b = pile_metric_get(&metrics[i], from);

		metric_put(&metrics[i], other, metrics[i].sum == SUM_MAX ? MAX(a, b) : a + b);
	}
}

static void rows_append(const struct metric *metrics, size_t n, const struct row *rows,
			size_t n_rows, struct pile_text *ret)
{
	for (size_t i = 0; n_rows && i < n; i++) {
		pile_metric_head(metrics[i].name, metrics[i].help,
				 metrics[i].counter ? "counter" : "gauge", ret);
		for (size_t k = 0; k < n_rows; k++) {
			pile_text_printf(ret, "%s{", metrics[i].name);
			pile_metric_label("group", rows[k].group, ret);
			if (rows[k].destination[0]) {
				pile_text_printf(ret, ",");
				pile_metric_label("destination", rows[k].destination, ret);
			}
			pile_text_printf(ret, "}");
			pile_metric_value(metrics[i].form,
					  pile_metric_get(&metrics[i], rows[k].base), ret);
		}
	}
}

/* ---- which groups, which destinations ---- */

/** Configured first, then whatever is in trouble, then the busiest: a stable order in calm. */
static uint64_t group_weight(const struct pile_snapshot_group *g)
{
	uint64_t busy = MIN(g->sample.opened, (1ULL << 40) - 1);

	return (uint64_t)g->configured << 62 | (uint64_t)(g->stage & 3) << 60 |
	       (uint64_t)MIN(g->sample.waiting, (1u << 20) - 1) << 40 | busy;
}

static uint64_t destination_weight(const struct pile_snapshot_dependency *d)
{
	uint64_t waiting = (uint64_t)d->sample.connecting + d->sample.silent + d->sample.unacked;

	return (uint64_t)(d->state != 0) << 62 | MIN(waiting, (1ULL << 22) - 1) << 40 |
	       MIN(d->sample.started, (1ULL << 40) - 1);
}

/** Marks the @want heaviest of @n; ties go to the lower index. @weights is used up. */
static void heaviest_mark(uint64_t *weights, bool *marks, uint32_t n, uint32_t want)
{
	for (; want > 0; want--) {
		int64_t best = -1;

		for (uint32_t i = 0; i < n; i++)
			if (weights[i] && (best < 0 || weights[i] > weights[best]))
				best = i;
		if (best < 0)
			return;
		marks[best] = true;
		weights[best] = 0;
	}
}

/* All that have no series of their own. A group that is called so is one of them, or its series stood twice. */
#define OTHER "other"

static void groups_append(const struct pile_snapshot_half *half, struct pile_text *ret)
{
	uint64_t weights[PILE_GROUPS_MAX] = { 0 };
	bool marks[PILE_GROUPS_MAX] = { false };
	struct row rows[PILE_METRICS_GROUPS + 1] = { 0 };
	struct pile_snapshot_group other = { 0 };
	bool any_other = false;
	size_t n = 0;

	for (uint32_t i = 0; i < half->n_groups; i++)
		if (half->groups[i].name[0] && strcmp(half->groups[i].name, OTHER) != 0)
			weights[i] = group_weight(&half->groups[i]) + 1;
	heaviest_mark(weights, marks, half->n_groups, PILE_METRICS_GROUPS);
	for (uint32_t i = 0; i < half->n_groups; i++) {
		if (marks[i]) {
			rows[n].base = &half->groups[i];
			rows[n++].group = half->groups[i].name;
		} else if (half->groups[i].name[0]) {
			metrics_fold(group_metrics, ARRAY_LEN(group_metrics), &other,
				     &half->groups[i]);
			any_other = true;
		}
	}
	if (any_other) {
		rows[n].base = &other;
		rows[n++].group = OTHER;
	}
	rows_append(group_metrics, ARRAY_LEN(group_metrics), rows, n, ret);
}

/** The copy that is shown: its state says 3 where a switch keeps the gate from being there. */
static struct pile_snapshot_dependency destination_shown(const struct pile_snapshot_dependency *d)
{
	struct pile_snapshot_dependency shown = *d;

	if (d->state && d->blocked)
		shown.state = 3;
	return shown;
}

static void destinations_append(const struct pile_snapshot_half *half, struct pile_text *ret)
{
	uint64_t weights[PILE_SNAPSHOT_DEPENDENCIES] = { 0 };
	bool marks[PILE_SNAPSHOT_DEPENDENCIES] = { false };
	struct pile_snapshot_dependency shown[PILE_METRICS_DESTINATIONS + 1] = { 0 };
	struct pile_snapshot_dependency *other = &shown[PILE_METRICS_DESTINATIONS];
	struct row rows[PILE_METRICS_DESTINATIONS + 1] = { 0 };
	bool any_other = false;
	size_t n = 0;

	for (uint32_t i = 0; i < half->n_dependencies; i++)
		weights[i] = destination_weight(&half->dependencies[i]) + 1;
	heaviest_mark(weights, marks, half->n_dependencies, PILE_METRICS_DESTINATIONS);
	for (uint32_t i = 0; i < half->n_dependencies; i++) {
		struct pile_snapshot_dependency d = destination_shown(&half->dependencies[i]);

		if (!marks[i]) {
			metrics_fold(destination_metrics, ARRAY_LEN(destination_metrics), other,
				     &d);
			any_other = true;
			continue;
		}
		shown[n] = d;
		rows[n].base = &shown[n];
		rows[n].group =
			d.sample.group < half->n_groups ? half->groups[d.sample.group].name : "";
		pile_endpoint_format(&d.sample.endpoint, rows[n].destination,
				     sizeof(rows[n].destination));
		n++;
	}
	if (any_other) {
		rows[n].base = other;
		rows[n].group = OTHER;
		snprintf(rows[n++].destination, sizeof(rows[0].destination), OTHER);
	}
	rows_append(destination_metrics, ARRAY_LEN(destination_metrics), rows, n, ret);
}

void pile_metrics_format(const struct pile_snapshot_half *half, struct pile_text *ret)
{
	pile_metrics_host(half, ret);
	groups_append(half, ret);
	destinations_append(half, ret);
}

unsigned int pile_metrics_render(const struct pile_snapshot_half *half,
				 const struct pile_query *query, struct pile_text *ret)
{
	(void)query;
	pile_metrics_format(half, ret);
	return 200;
}

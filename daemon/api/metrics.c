// SPDX-License-Identifier: GPL-2.0-or-later
#include "api/metrics.h"

#include <inttypes.h>
#include <string.h>

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

#define H(field) offsetof(struct pile_snapshot_host, field)
#define G(field) offsetof(struct pile_snapshot_group, field)
#define D(field) offsetof(struct pile_snapshot_dependency, field)

static const struct metric host_metrics[] = {
	{ "pileguard_enforcing", "1 when the policy's mode is enforce, 0 when it is observe.",
	  H(mode), FORM_U32, 0, false },
	{ "pileguard_disarmed",
	  "1 while the guard is disarmed by hand: it only observes, whatever the policy says.",
	  H(disarmed), FORM_BOOL, 0, false },
	{ "pileguard_start_time_seconds", "When the guard started, seconds since 1970.",
	  H(started_realtime_ns), FORM_NS, 0, false },
	{ "pileguard_memory_total_bytes", "Memory of the host.", H(memory_total_bytes), FORM_U64, 0,
	  false },
	{ "pileguard_memory_available_bytes", "MemAvailable of the host.",
	  H(memory_available_bytes), FORM_U64, 0, false },
	{ "pileguard_policy_generation", "How many policies were committed.", H(policy_generation),
	  FORM_U64, 0, false },
	{ "pileguard_policy_committed_timestamp_seconds", "When the policy in force was committed.",
	  H(policy_committed_realtime_ns), FORM_NS, 0, false },
	{ "pileguard_policy_reloads_total", "Policies committed by a reload.", H(reloads), FORM_U64,
	  0, true },
	{ "pileguard_policy_reloads_refused_total",
	  "Reloads that changed nothing because the policy was not valid.", H(reloads_refused),
	  FORM_U64, 0, true },
	{ "pileguard_ticks_total", "Periods of the control loop.", H(ticks), FORM_U64, 0, true },
	{ "pileguard_ticks_late_total", "Periods that came too late and were dropped (gaps).",
	  H(ticks_late), FORM_U64, 0, true },
	{ "pileguard_tick_worst_gap_seconds", "Longest time between two periods since the start.",
	  H(worst_gap_ns), FORM_NS, 0, false },
	{ "pileguard_tick_cost_seconds", "What a period costs, moving average.", H(tick_cost_ns),
	  FORM_NS, 0, false },
	{ "pileguard_loop_opened_total",
	  "Gates that the loop in the kernel shut while the guard did not run.", H(loop_opened),
	  FORM_U64, 0, true },
	{ "pileguard_loop_worst_gap_seconds",
	  "Longest time between two periods of the loop in the kernel.", H(loop_worst_gap_ns),
	  FORM_NS, 0, false },
	{ "pileguard_drift_total", "Requests whose end only a sweep has found.", H(drift), FORM_U64,
	  0, true },
	{ "pileguard_sockets_followed", "Sockets that carry a request's state.",
	  H(sockets_followed), FORM_U64, 0, false },
	{ "pileguard_sweeps_total", "Walks over all followed sockets.", H(sweeps), FORM_U64, 0,
	  true },
	{ "pileguard_sweep_cost_seconds", "What a walk costs, moving average.", H(sweep_cost_ns),
	  FORM_NS, 0, false },
	{ "pileguard_events_missed_total",
	  "Events that the kernel dropped (nested runs of a program).", H(recursion_misses),
	  FORM_U64, 0, true },
	{ "pileguard_destinations_lost_total", "Destinations that did not fit into the map.",
	  H(destinations_lost), FORM_U64, 0, true },
	{ "pileguard_not_followed_total",
	  "Sockets, workers and listeners that were not followed, for want of room.",
	  H(not_followed), FORM_U64, 0, true },
	{ "pileguard_waits_not_ended_total",
	  "Pending connects that could not be ended: refused by the kernel, too many, or in another "
	  "network namespace.",
	  H(waits_not_ended), FORM_U64, 0, true },
	{ "pileguard_journal_lines_dropped_total", "Lines that did not get into the journal.",
	  H(lines_dropped), FORM_U64, 0, true },
	{ "pileguard_groups_without_gate",
	  "Groups whose policy enforces fail_fast and whose cgroup could not be attached to.",
	  H(gates_missing), FORM_U32, 0, false },
	{ "pileguard_destinations_dead_not_at_risk",
	  "Destinations that are dead and not refused, because their group is not at risk.",
	  H(dead_not_at_risk), FORM_U32, 0, false },
	{ "pileguard_holds", "Destinations that are refused by hand.", H(holds), FORM_U32, 0,
	  false },
	{ "pileguard_releases", "Destinations that are released by hand: never refused.",
	  H(releases), FORM_U32, 0, false },
	{ "pileguard_outside_enforce_share",
	  "1 when the policy says enforce, and enforce_share leaves this host out.",
	  H(outside_share), FORM_BOOL, 0, false },
	{ "pileguard_guard_cpu_seconds_total", "Processor time of the guard.", H(guard_cpu_ns),
	  FORM_NS, 0, true },
	{ "pileguard_guard_resident_memory_bytes", "Resident memory of the guard.",
	  H(guard_rss_bytes), FORM_U64, 0, false },
	{ "pileguard_network_suspect",
	  "1 while many destinations are dead at once: our own network.", H(network_suspect),
	  FORM_BOOL, 0, false },
	{ "pileguard_breakers_opened_total", "Destinations that were refused (rung 1 opened).",
	  H(opened_total), FORM_U64, 0, true },
	{ "pileguard_breakers_closed_total", "Destinations that are allowed again.",
	  H(closed_total), FORM_U64, 0, true },
	{ "pileguard_breakers_would_have_opened_total",
	  "Destinations that would have been refused, had the policy allowed it.",
	  H(would_open_total), FORM_U64, 0, true },
	{ "pileguard_connects_refused_total", "Connects that ended at once with an error.",
	  H(refused_total), FORM_U64, 0, true },
	{ "pileguard_waits_ended_total", "Pending connects that were ended.", H(ended_total),
	  FORM_U64, 0, true },
	{ "pileguard_bpf_run_seconds_total",
	  "Time in the guard's BPF programs; 0 unless kernel.bpf_stats_enabled.", H(bpf_run_ns),
	  FORM_NS, 0, true },
	{ "pileguard_bpf_runs_total",
	  "Runs of the guard's BPF programs; 0 unless kernel.bpf_stats_enabled.", H(bpf_run_count),
	  FORM_U64, 0, true },
};

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

static uint64_t metric_get(const struct metric *m, const void *base)
{
	const char *at = (const char *)base + m->offset;
	uint64_t u64;
	uint32_t u32;

	if (m->form == FORM_BOOL)
		return *(const bool *)at;
	if (m->form == FORM_U32 || m->form == FORM_MILLI) {
		memcpy(&u32, at, sizeof(u32));
		return u32;
	}
	memcpy(&u64, at, sizeof(u64));
	return u64;
}

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
		uint64_t a = metric_get(&metrics[i], other);
		uint64_t b = metric_get(&metrics[i], from);

		metric_put(&metrics[i], other, metrics[i].sum == SUM_MAX ? MAX(a, b) : a + b);
	}
}

static void head_append(const char *name, const char *help, bool counter, struct pile_text *ret)
{
	pile_text_printf(ret, "# HELP %s %s\n# TYPE %s %s\n", name, help, name,
			 counter ? "counter" : "gauge");
}

static void value_append(enum metric_form form, uint64_t value, struct pile_text *ret)
{
	if (form == FORM_NS)
		pile_text_printf(ret, " %llu.%09llu\n", (unsigned long long)(value / NS_PER_SEC),
				 (unsigned long long)(value % NS_PER_SEC));
	else if (form == FORM_MILLI)
		pile_text_printf(ret, " %" PRIu64 ".%03" PRIu64 "\n", value / 1000, value % 1000);
	else
		pile_text_printf(ret, " %" PRIu64 "\n", value);
}

/** key="value" with the three escapes of the format; bytes that are not ASCII become '?'. */
static void label_append(const char *key, const char *value, struct pile_text *ret)
{
	pile_text_printf(ret, "%s=\"", key);
	for (const char *c = value; *c; c++) {
		if (*c == '\\' || *c == '"')
			pile_text_printf(ret, "\\%c", *c);
		else if (*c == '\n')
			pile_text_printf(ret, "\\n");
		else
			pile_text_printf(ret, "%c", (unsigned char)*c < 0x80 ? *c : '?');
	}
	pile_text_printf(ret, "\"");
}

static void rows_append(const struct metric *metrics, size_t n, const struct row *rows,
			size_t n_rows, struct pile_text *ret)
{
	for (size_t i = 0; n_rows && i < n; i++) {
		head_append(metrics[i].name, metrics[i].help, metrics[i].counter, ret);
		for (size_t k = 0; k < n_rows; k++) {
			pile_text_printf(ret, "%s{", metrics[i].name);
			label_append("group", rows[k].group, ret);
			if (rows[k].destination[0]) {
				pile_text_printf(ret, ",");
				label_append("destination", rows[k].destination, ret);
			}
			pile_text_printf(ret, "}");
			value_append(metrics[i].form, metric_get(&metrics[i], rows[k].base), ret);
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

/* ---- the host ---- */

/** name{key="value",...} 1 */
static void labels_append(const char *name, const char *const labels[][2], size_t n,
			  struct pile_text *ret)
{
	pile_text_printf(ret, "%s{", name);
	for (size_t i = 0; i < n; i++) {
		pile_text_printf(ret, "%s", i ? "," : "");
		label_append(labels[i][0], labels[i][1], ret);
	}
	pile_text_printf(ret, "} 1\n");
}

static void info_append(const char *name, const char *help, const char *const labels[][2], size_t n,
			struct pile_text *ret)
{
	head_append(name, help, false, ret);
	labels_append(name, labels, n, ret);
}

static void host_append(const struct pile_snapshot_half *half, struct pile_text *ret)
{
	const struct pile_snapshot_host *h = &half->host;
	char generation[24];
	const char *const build[][2] = { { "version", h->version },
					 { "kernel", h->kernel },
					 { "tier", h->tier } };
	const char *const policy[][2] = { { "hash", h->policy_hash },
					  { "revision", h->policy_revision },
					  { "generation", generation },
					  { "source", h->policy_source },
					  { "mode", h->mode == PILE_MODE_ENFORCE ? "enforce"
										 : "observe" } };
	const struct {
		const char *name, *help;
		enum metric_form form;
		uint64_t value;
	} more[] = {
		{ "pileguard_snapshot_timestamp_seconds",
		  "When these numbers were taken, seconds since 1970.", FORM_NS,
		  half->realtime_ns },
		{ "pileguard_policy_trouble",
		  "1 while the files on disk are not the policy in force: not reloaded yet, mixed, not valid or gone.",
		  FORM_U32, h->policy_trouble[0] != '\0' },
		{ "pileguard_policy_files_mixed",
		  "1 while the files on disk give different revisions: half of a push.", FORM_U32,
		  h->policy_files == PILE_FILES_MIXED },
		{ "pileguard_sensors_missing",
		  "1 when this kernel refuses a sensor or a gate; pileguardctl status says which.",
		  FORM_U32, h->sensors_missing },
		{ "pileguard_groups", "Groups that are watched.", FORM_U32, half->n_groups },
		{ "pileguard_destinations", "Destinations that are watched.", FORM_U32,
		  half->n_dependencies },
		{ "pileguard_workers", "Workers that are watched.", FORM_U32, half->n_workers },
	};

	snprintf(generation, sizeof(generation), "%" PRIu64, h->policy_generation);
	info_append("pileguard_build_info",
		    "Version of the guard, kernel, and tier of its sensors.", build,
		    ARRAY_LEN(build), ret);
	info_append("pileguard_policy_info", "The policy in force.", policy, ARRAY_LEN(policy),
		    ret);
	for (size_t i = 0; i < ARRAY_LEN(more); i++) {
		head_append(more[i].name, more[i].help, false, ret);
		pile_text_printf(ret, "%s", more[i].name);
		value_append(more[i].form, more[i].value, ret);
	}
	for (size_t i = 0; i < ARRAY_LEN(host_metrics); i++) {
		const struct metric *m = &host_metrics[i];

		head_append(m->name, m->help, m->counter, ret);
		pile_text_printf(ret, "%s", m->name);
		value_append(m->form, metric_get(m, h), ret);
	}
}

/* One query finds the hosts where a file is not as everywhere else. */
static void fingerprints_append(const struct pile_snapshot_host *h, struct pile_text *ret)
{
	const char *const name = "pileguard_fingerprint_info";

	if (!h->n_fingerprints)
		return;
	head_append(name,
		    "Files that the policy lists: 16 digits of SHA-256, or why there is none.",
		    false, ret);
	for (uint32_t i = 0; i < h->n_fingerprints; i++) {
		const char *const labels[][2] = { { "path", h->fingerprints[i].path },
						  { "sha256", h->fingerprints[i].sha256 } };

		labels_append(name, labels, ARRAY_LEN(labels), ret);
	}
}

void pile_metrics_format(const struct pile_snapshot_half *half, struct pile_text *ret)
{
	host_append(half, ret);
	fingerprints_append(&half->host, ret);
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

// SPDX-License-Identifier: GPL-2.0-or-later
/* metrics_host.c: the host, the policy in force, and the guard itself. */
#include <inttypes.h>
#include <string.h>

#include "api/metrics_form.h"

#define H(field) offsetof(struct pile_snapshot_host, field)

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
	{ "pileguard_self_test_success",
	  "1 when the last self-test refused a connect and ended one; 0 also before the first.",
	  H(selftest_passed), FORM_BOOL, 0, false },
	{ "pileguard_self_test_timestamp_seconds",
	  "When that was, seconds since 1970; 0 before the first (never while disarmed).",
	  H(selftest_realtime_ns), FORM_NS, 0, false },
	{ "pileguard_self_test_refuse_seconds", "How long it took to refuse a connect.",
	  H(selftest_refuse_ns), FORM_NS, 0, false },
	{ "pileguard_self_test_end_seconds", "How long it took to end a pending connect.",
	  H(selftest_end_ns), FORM_NS, 0, false },
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
	  "Sockets, workers and listeners that were not followed, for want of room; tables of descriptors too large "
	  "to look for listeners in.",
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
	{ "pileguard_workers_growing", "Workers whose memory grows without end.",
	  H(workers_growing), FORM_U32, 0, false },
	{ "pileguard_leaks",
	  "Groups whose growing workers take all memory within the policy's leak_notice.", H(leaks),
	  FORM_U32, 0, false },
	{ "pileguard_leak_gone_timestamp_seconds",
	  "When the first of them is out of memory, at the rate of now, seconds since 1970; 0 without one.",
	  H(leak_realtime_ns), FORM_NS, 0, false },
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
	{ "pileguard_connections_refused_total",
	  "Connections refused at listeners, at a limit or by a share (rung 2).", H(shed_total),
	  FORM_U64, 0, true },
	{ "pileguard_connects_refused_total", "Connects that ended at once with an error.",
	  H(refused_total), FORM_U64, 0, true },
	{ "pileguard_waits_ended_total", "Pending connects that were ended.", H(ended_total),
	  FORM_U64, 0, true },
	{ "pileguard_workers_evicted_total", "Workers that were ended for their memory (rung 4).",
	  H(evicted_total), FORM_U64, 0, true },
	{ "pileguard_workers_would_have_been_evicted_total",
	  "Workers that would have been ended, had the policy allowed it.", H(would_evict_total),
	  FORM_U64, 0, true },
	{ "pileguard_services_stopped_total",
	  "Services that were stopped because the host's memory was gone by their growth (rung 5).",
	  H(stopped_total), FORM_U64, 0, true },
	{ "pileguard_services_would_have_been_stopped_total",
	  "Services that would have been stopped, had the policy allowed it.", H(would_stop_total),
	  FORM_U64, 0, true },
	{ "pileguard_throttles", "Limits of tasks or processors that rung 3 has set, now.",
	  H(throttles), FORM_U32, 0, false },
	{ "pileguard_throttled_total", "Limits of tasks or processors that rung 3 has set.",
	  H(throttled_total), FORM_U64, 0, true },
	{ "pileguard_would_have_throttled_total",
	  "Limits that rung 3 would have set, had the policy allowed it.", H(would_throttle_total),
	  FORM_U64, 0, true },
	{ "pileguard_bpf_run_seconds_total",
	  "Time in the guard's BPF programs; 0 unless kernel.bpf_stats_enabled.", H(bpf_run_ns),
	  FORM_NS, 0, true },
	{ "pileguard_bpf_runs_total",
	  "Runs of the guard's BPF programs; 0 unless kernel.bpf_stats_enabled.", H(bpf_run_count),
	  FORM_U64, 0, true },
};

/** name{key="value",...} 1 */
static void labels_append(const char *name, const char *const labels[][2], size_t n,
			  struct pile_text *ret)
{
	pile_text_printf(ret, "%s{", name);
	for (size_t i = 0; i < n; i++) {
		pile_text_printf(ret, "%s", i ? "," : "");
		pile_metric_label(labels[i][0], labels[i][1], ret);
	}
	pile_text_printf(ret, "} 1\n");
}

static void info_append(const char *name, const char *help, const char *const labels[][2], size_t n,
			struct pile_text *ret)
{
	pile_metric_head(name, help, "gauge", ret);
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
		pile_metric_head(more[i].name, more[i].help, "gauge", ret);
		pile_text_printf(ret, "%s", more[i].name);
		pile_metric_value(more[i].form, more[i].value, ret);
	}
	for (size_t i = 0; i < ARRAY_LEN(host_metrics); i++) {
		const struct metric *m = &host_metrics[i];

		pile_metric_head(m->name, m->help, m->counter ? "counter" : "gauge", ret);
		pile_text_printf(ret, "%s", m->name);
		pile_metric_value(m->form, pile_metric_get(m, h), ret);
	}
}

/* One query finds the hosts where a file is not as everywhere else. */
static void fingerprints_append(const struct pile_snapshot_host *h, struct pile_text *ret)
{
	const char *const name = "pileguard_fingerprint_info";

	if (!h->n_fingerprints)
		return;
	pile_metric_head(name,
			 "Files that the policy lists: 16 digits of SHA-256, or why there is none.",
			 "gauge", ret);
	for (uint32_t i = 0; i < h->n_fingerprints; i++) {
		const char *const labels[][2] = { { "path", h->fingerprints[i].path },
						  { "sha256", h->fingerprints[i].sha256 } };

		labels_append(name, labels, ARRAY_LEN(labels), ret);
	}
}

/* Buckets add up, as Prometheus wants them. */
static void gaps_append(const struct pile_snapshot_host *h, struct pile_text *ret)
{
	const char *const name = "pileguard_tick_gap_seconds";
	uint64_t n = 0;

	pile_metric_head(name,
			 "Times between two periods of the control loop, which should be 0.1 s.",
			 "histogram", ret);
	for (int i = 0; i < PILE_GAP_BUCKETS; i++) {
		char le[24] = "+Inf";

		n += h->gaps[i];
		if (i < PILE_GAP_BUCKETS - 1)
			snprintf(le, sizeof(le), "%g",
				 (double)pile_snapshot_gap_ns[i] / NS_PER_SEC);
		pile_text_printf(ret, "%s_bucket{le=\"%s\"}", name, le);
		pile_metric_value(FORM_U64, n, ret);
	}
	pile_text_printf(ret, "%s_sum", name);
	pile_metric_value(FORM_NS, h->gaps_sum_ns, ret);
	pile_text_printf(ret, "%s_count", name);
	pile_metric_value(FORM_U64, n, ret);
}

void pile_metrics_host(const struct pile_snapshot_half *half, struct pile_text *ret)
{
	host_append(half, ret);
	gaps_append(&half->host, ret);
	fingerprints_append(&half->host, ret);
}

// SPDX-License-Identifier: GPL-2.0-or-later
#include "api/json.h"

#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

#include "api/json_value.h"
#include "record/explain_text.h"

#define OK 200
#define BIG(value) ((json_int_t)(value))

static const char *const mode_names[] = {
	[PILE_MODE_OBSERVE] = "observe", [PILE_MODE_ENFORCE] = "enforce"
};
static const char *const gate_names[] = { "closed", "open", "half open" };

static const char *group_name(const struct pile_snapshot_half *half, uint32_t slot)
{
	return slot < half->n_groups ? half->groups[slot].name : "";
}

/** ?group=NAME: does this slot pass? */
static bool group_wanted(const struct pile_snapshot_half *half, const struct pile_query *query,
			 uint32_t slot)
{
	return !query->group || strcmp(query->group, group_name(half, slot)) == 0;
}

/** Appends the groups as a JSON array, one at a time: the tree of all of them would be megabytes.
 */
static void groups_append(const struct pile_snapshot_half *half, const struct pile_query *query,
			  struct pile_text *ret)
{
	const char *comma = "";

	pile_text_printf(ret, "[");
	for (uint32_t i = 0; i < half->n_groups; i++) {
		if (!half->groups[i].name[0] || !group_wanted(half, query, i))
			continue;
		pile_text_printf(ret, "%s", comma);
		pile_json_value_emit(pile_json_group_value(half, i), ret);
		comma = ",\n";
	}
	pile_text_printf(ret, "]");
}

unsigned int pile_json_groups(const struct pile_snapshot_half *half, const struct pile_query *query,
			      struct pile_text *ret)
{
	groups_append(half, query, ret);
	pile_text_printf(ret, "\n");
	return OK;
}

static json_t *worker_value(const struct pile_snapshot_half *half,
			    const struct pile_snapshot_worker *w)
{
	return json_pack("{s:I,s:o,s:o,s:I,s:I,s:o,s:I,s:o,s:o,s:o,s:o,s:o}", "pid", BIG(w->pid),
			 "group", pile_json_value_text(group_name(half, w->group)), "comm",
			 pile_json_value_text(w->comm), "waiting", BIG(w->waiting), "connections",
			 BIG(w->connections), "oldest_seconds",
			 pile_json_value_seconds_or_null(w->oldest_ns), "answered_total",
			 BIG(w->answered), "p50_seconds",
			 pile_json_value_seconds_or_null(w->p50_ns), "p99_seconds",
			 pile_json_value_seconds_or_null(w->p99_ns), "rss_bytes",
			 pile_json_value_known(w->rss_bytes), "private_bytes",
			 pile_json_value_known(w->private_bytes), "growing_bytes_per_second",
			 pile_json_value_known(w->rate_bytes));
}

unsigned int pile_json_workers(const struct pile_snapshot_half *half,
			       const struct pile_query *query, struct pile_text *ret)
{
	const char *comma = "";

	pile_text_printf(ret, "[");
	for (uint32_t i = 0; i < half->n_workers; i++) {
		if (!group_wanted(half, query, half->workers[i].group))
			continue;
		pile_text_printf(ret, "%s", comma);
		pile_json_value_emit(worker_value(half, &half->workers[i]), ret);
		comma = ",\n";
	}
	pile_text_printf(ret, "]\n");
	return OK;
}

/** Monotonic time of something in the past -> seconds ago, or null when it never happened. */
static json_t *ago_value(uint64_t then_ns, uint64_t now_ns)
{
	if (!then_ns)
		return json_null();
	return pile_json_value_seconds(now_ns > then_ns ? now_ns - then_ns : 0);
}

static json_t *dependency_value(const struct pile_snapshot_half *half,
				const struct pile_snapshot_dependency *d)
{
	const struct pile_sample_dependency *s = &d->sample;
	json_t *value = json_pack(
		"{s:o,s:o,s:s,s:o,s:o,s:I,s:I,s:o,s:I,s:I,s:I}", "group",
		pile_json_value_text(group_name(half, s->group)), "endpoint",
		pile_json_value_endpoint(&s->endpoint), "gate",
		d->blocked && d->state ? "would be open" : NAME_OF(gate_names, d->state), "blocked",
		pile_json_value_text_or_null(pile_explain_text_blocked(d->blocked)), "explain",
		pile_json_value_known(d->explain_id), "connecting", BIG(s->connecting),
		"stuck_over_500ms", BIG(s->stuck), "oldest_seconds",
		pile_json_value_seconds_or_null(s->oldest_ns), "established", BIG(s->open),
		"silent", BIG(s->silent), "unacknowledged", BIG(s->unacked));

	json_object_update_new(value,
			       json_pack("{s:I,s:I,s:I,s:I,s:I,s:I,s:I}", "started_total",
					 BIG(s->started), "established_total", BIG(s->established),
					 "failed_total", BIG(s->failed), "refused_total",
					 BIG(s->refused), "admitted_total", BIG(s->admitted),
					 "ended_total", BIG(s->ended), "probes", BIG(d->probes)));
	json_object_update_new(value, json_pack("{s:b,s:b,s:I,s:o}", "mute", d->mute,
						"server_speaks_first", s->speaks_first, "ungreeted",
						BIG(s->mute), "last_heard_seconds_ago",
						ago_value(s->last_heard_ns, half->t_ns)));
	json_object_update_new(
		value,
		json_pack("{s:b,s:o,s:o,s:o,s:o}", "dead", d->dead, "last_established_seconds_ago",
			  ago_value(s->last_established_ns, half->t_ns), "last_failed_seconds_ago",
			  ago_value(s->last_failed_ns, half->t_ns), "held_for_seconds",
			  pile_json_value_left(d->held_until_ns, half->t_ns),
			  "released_for_seconds",
			  pile_json_value_left(d->released_until_ns, half->t_ns)));
	return value;
}

/** @open_only: those that are refused, or would be, or are dead all the same, or released by hand. */
static void dependencies_append(const struct pile_snapshot_half *half,
				const struct pile_query *query, bool open_only,
				struct pile_text *ret)
{
	const char *comma = "";

	pile_text_printf(ret, "[");
	for (uint32_t i = 0; i < half->n_dependencies; i++) {
		const struct pile_snapshot_dependency *d = &half->dependencies[i];

		if ((open_only && !d->state && !d->dead && !d->released_until_ns) ||
		    !group_wanted(half, query, d->sample.group))
			continue;
		pile_text_printf(ret, "%s", comma);
		pile_json_value_emit(dependency_value(half, d), ret);
		comma = ",\n";
	}
	pile_text_printf(ret, "]");
}

unsigned int pile_json_dependencies(const struct pile_snapshot_half *half,
				    const struct pile_query *query, struct pile_text *ret)
{
	dependencies_append(half, query, false, ret);
	pile_text_printf(ret, "\n");
	return OK;
}

/* ---- status ---- */

/* The loop in the kernel, which decides while the guard does not run. */
static json_t *loop_value(const struct pile_snapshot_host *h)
{
	return json_pack("{s:b,s:I,s:o,s:I,s:I}", "runs", h->loop, "ticks_total",
			 BIG(h->loop_ticks), "worst_gap_seconds",
			 pile_json_value_seconds(h->loop_worst_gap_ns), "opened_total",
			 BIG(h->loop_opened), "destinations_lost_total", BIG(h->loop_lost));
}

/* [[seconds, count], ...]: times between two ticks up to that; the last one has no end. */
static json_t *gaps_value(const struct pile_snapshot_host *h)
{
	json_t *list = json_array();

	for (int i = 0; i < PILE_GAP_BUCKETS; i++)
		json_array_append_new(
			list, json_pack("[o,I]",
					i < PILE_GAP_BUCKETS - 1
						? pile_json_value_seconds(pile_snapshot_gap_ns[i])
						: json_null(),
					BIG(h->gaps[i])));
	return list;
}

static json_t *status_guard(const struct pile_snapshot_host *h)
{
	json_t *value = json_pack("{s:I,s:I,s:o,s:o,s:I,s:I,s:I,s:o,s:I}", "ticks_total",
				  BIG(h->ticks), "ticks_late_total", BIG(h->ticks_late),
				  "worst_gap_seconds", pile_json_value_seconds(h->worst_gap_ns),
				  "tick_cost_seconds", pile_json_value_seconds(h->tick_cost_ns),
				  "drift_total", BIG(h->drift), "sockets_followed",
				  BIG(h->sockets_followed), "sweeps_total", BIG(h->sweeps),
				  "sweep_cost_seconds", pile_json_value_seconds(h->sweep_cost_ns),
				  "events_missed_total", BIG(h->recursion_misses));

	json_object_update_new(value,
			       json_pack("{s:I,s:I,s:I,s:I,s:I}", "not_followed_total",
					 BIG(h->not_followed), "waits_not_ended_total",
					 BIG(h->waits_not_ended), "journal_lines_dropped_total",
					 BIG(h->lines_dropped), "groups_without_gate",
					 BIG(h->gates_missing), "destinations_dead_not_at_risk",
					 BIG(h->dead_not_at_risk)));
	json_object_update_new(
		value, json_pack("{s:I,s:o,s:I,s:o,s:o}", "destinations_lost_total",
				 BIG(h->destinations_lost), "cpu_seconds_total",
				 pile_json_value_seconds(h->guard_cpu_ns), "rss_bytes",
				 BIG(h->guard_rss_bytes), "bpf_run_seconds_total",
				 pile_json_value_seconds_or_null(h->bpf_run_ns), "bpf_runs_total",
				 pile_json_value_known(h->bpf_run_count)));
	json_object_set_new(value, "gaps_seconds", gaps_value(h));
	json_object_set_new(value, "loop", loop_value(h));
	return value;
}

/** Null before the first one. */
static json_t *status_self_test(const struct pile_snapshot_half *half)
{
	const struct pile_snapshot_host *h = &half->host;

	if (!h->selftest_ns)
		return json_null();
	return json_pack("{s:b,s:o,s:o,s:o,s:o,s:o}", "passed", h->selftest_passed, "failed",
			 pile_json_value_text_or_null(h->selftest_failed), "at",
			 pile_json_value_time(h->selftest_realtime_ns), "age_seconds",
			 ago_value(h->selftest_ns, half->t_ns), "refuse_seconds",
			 pile_json_value_seconds_or_null(h->selftest_refuse_ns), "end_seconds",
			 pile_json_value_seconds_or_null(h->selftest_end_ns));
}

static json_t *status_fail_fast(const struct pile_snapshot_host *h)
{
	return json_pack("{s:I,s:I,s:I,s:I,s:I}", "opened_total", BIG(h->opened_total),
			 "closed_total", BIG(h->closed_total), "connects_refused_total",
			 BIG(h->refused_total), "waits_ended_total", BIG(h->ended_total),
			 "would_have_opened_total", BIG(h->would_open_total));
}

static bool blind_seen(const struct pile_snapshot_half *half, uint32_t upto)
{
	for (uint32_t i = 0; i < upto; i++)
		if (strcmp(half->listeners[i].blind, half->listeners[upto].blind) == 0)
			return true;
	return false;
}

/** What the listeners cannot show, each thing once. */
static json_t *status_blind(const struct pile_snapshot_half *half)
{
	json_t *list = json_array();

	for (uint32_t i = 0; i < half->n_listeners; i++)
		if (half->listeners[i].blind[0] && !blind_seen(half, i))
			json_array_append_new(list, pile_json_value_text(half->listeners[i].blind));
	return list;
}

/** Null, or who and until when (null: until somebody arms it). */
static json_t *status_disarmed(const struct pile_snapshot_half *half)
{
	const struct pile_snapshot_host *h = &half->host;
	uint64_t until = h->disarmed_until_realtime_ns;

	if (!h->disarmed)
		return json_null();
	return json_pack("{s:o,s:o,s:o,s:o,s:s}", "by", pile_json_value_text(h->disarmed_by),
			 "since", pile_json_value_time(h->disarmed_since_realtime_ns), "until",
			 pile_json_value_time(until), "left_seconds",
			 until > half->realtime_ns
				 ? pile_json_value_seconds(until - half->realtime_ns)
				 : json_null(),
			 "undo_command", "pileguardctl arm");
}

static json_t *status_value(const struct pile_snapshot_half *half, const struct pile_query *query)
{
	const struct pile_snapshot_host *h = &half->host;
	json_t *value = json_pack(
		"{s:o,s:o,s:o,s:s,s:o,s:o,s:o,s:o,s:o}", "host", pile_json_value_text(h->hostname),
		"version", pile_json_value_text(h->version), "kernel",
		pile_json_value_text(h->kernel), "mode", NAME_OF(mode_names, h->mode), "as_of",
		pile_json_value_time(half->realtime_ns), "age_seconds",
		ago_value(half->t_ns, query->now_ns), "started_at",
		pile_json_value_time(h->started_realtime_ns), "uptime_seconds",
		ago_value(h->started_ns, half->t_ns), "tier", pile_json_value_text(h->tier));

	json_object_update_new(value, json_pack("{s:o,s:o,s:I,s:o,s:o,s:b}", "missing",
						pile_json_value_text_or_null(h->missing), "blind",
						status_blind(half), "cpus", BIG(h->n_cpus),
						"memory_total_bytes",
						pile_json_value_known(h->memory_total_bytes),
						"memory_available_bytes",
						pile_json_value_known(h->memory_available_bytes),
						"network_suspect", h->network_suspect));
	json_object_set_new(value, "disarmed", status_disarmed(half));
	json_object_set_new(value, "self_test", status_self_test(half));
	json_object_set_new(value, "policy", pile_json_policy_value(h));
	json_object_set_new(value, "guard", status_guard(h));
	json_object_set_new(value, "fail_fast", status_fail_fast(h));
	json_object_set_new(value, "shed",
			    json_pack("{s:I}", "connections_refused_total", BIG(h->shed_total)));
	json_object_set_new(value, "evict",
			    json_pack("{s:I,s:I}", "workers_evicted_total", BIG(h->evicted_total),
				      "would_have_evicted_total", BIG(h->would_evict_total)));
	json_object_set_new(value, "stop",
			    json_pack("{s:I,s:I}", "services_stopped_total", BIG(h->stopped_total),
				      "would_have_stopped_total", BIG(h->would_stop_total)));
	json_object_set_new(value, "throttle",
			    json_pack("{s:I,s:I,s:I,s:I,s:o}", "throttles", BIG(h->throttles),
				      "throttled_total", BIG(h->throttled_total),
				      "would_have_throttled_total", BIG(h->would_throttle_total),
				      "useless_total", BIG(h->useless_total), "waited_ratio",
				      pile_json_value_milli(h->waited_ratio_milli)));
	return value;
}

unsigned int pile_json_status(const struct pile_snapshot_half *half, const struct pile_query *query,
			      struct pile_text *ret)
{
	pile_json_value_emit(status_value(half, query), ret);
	if (ret->failed || !ret->len)
		return OK;
	ret->len--; /* the closing brace: the lists are written one element at a time */
	pile_text_printf(ret, ",\n\"gates\":");
	dependencies_append(half, query, true, ret);
	pile_text_printf(ret, ",\n\"groups\":");
	groups_append(half, query, ret);
	pile_text_printf(ret, "}\n");
	return OK;
}

/* ---- errors ---- */

void pile_json_error(const char *sentence, struct pile_text *ret)
{
	pile_json_value_emit(json_pack("{s:o}", "error", pile_json_value_text(sentence)), ret);
	pile_text_printf(ret, "\n");
}

void pile_json_error_format(struct pile_text *ret, const char *fmt, ...)
{
	char sentence[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(sentence, sizeof(sentence), fmt, ap);
	va_end(ap);
	pile_json_error(sentence, ret);
}

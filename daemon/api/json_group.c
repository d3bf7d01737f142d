// SPDX-License-Identifier: GPL-2.0-or-later
/* json_group.c: all that is known of one group, as a JSON object. */
#include <string.h>

#include "api/json.h"
#include "api/json_value.h"
#include "record/explain_text.h"

#define BIG(value) ((json_int_t)(value))

static const char *const workers_names[] = { [PILE_WORKERS_UNKNOWN] = "unknown",
					     [PILE_WORKERS_PREFORK] = "prefork",
					     [PILE_WORKERS_THREADS] = "threads",
					     [PILE_WORKERS_EVENTS] = "events" };

static json_t *rungs_value(uint32_t enforce)
{
	json_t *list = json_array();

	if (enforce & PILE_RUNG_FAIL_FAST)
		json_array_append_new(list, json_string("fail_fast"));
	if (enforce & PILE_RUNG_SHED)
		json_array_append_new(list, json_string("shed"));
	if (enforce & PILE_RUNG_THROTTLE)
		json_array_append_new(list, json_string("throttle"));
	if (enforce & PILE_RUNG_EVICT)
		json_array_append_new(list, json_string("evict"));
	if (enforce & PILE_RUNG_STOP)
		json_array_append_new(list, json_string("stop"));
	return list;
}

/** [[seconds, count], ...]: waiting requests by age, empty slots left out; the last one means "or
 * older". */
static json_t *ages_value(const struct pile_sample_group *sample)
{
	json_t *list = json_array();

	for (unsigned int i = 0; i < ARRAY_LEN(sample->age); i++)
		if (sample->age[i])
			json_array_append_new(
				list,
				json_pack("[o,I]", pile_json_value_seconds(i * PILE_WHEEL_SLOT_NS),
					  BIG(sample->age[i])));
	return list;
}

/* Rung 2 at one listener; null where its connections are not counted. */
static json_t *door_value(const struct pile_snapshot_listener *l, uint64_t now_ns)
{
	if (!l->counted)
		return json_null();
	return json_pack(
		"{s:o,s:o,s:I,s:I,s:I,s:b,s:o,s:o,s:o}", "max",
		pile_json_value_known(l->connections_max), "refuse_ratio",
		pile_json_value_milli(l->refuse_permille), "open", BIG(l->connections),
		"refused_total", BIG(l->refused), "refused_in_episode", BIG(l->refused_now), "full",
		l->explain_id != 0, "explain", pile_json_value_known(l->explain_id), "blocked",
		pile_json_value_text_or_null(pile_explain_text_blocked(l->blocked)),
		"released_for_seconds", pile_json_value_left(l->released_until_ns, now_ns));
}

static json_t *listeners_value(const struct pile_snapshot_half *half, uint32_t slot)
{
	json_t *list = json_array();

	for (uint32_t i = 0; i < half->n_listeners; i++) {
		const struct pile_snapshot_listener *l = &half->listeners[i];

		if (l->group == slot)
			json_array_append_new(
				list, json_pack("{s:o,s:I,s:b,s:o,s:o}", "endpoint",
						pile_json_value_endpoint(&l->endpoint), "backlog",
						BIG(l->backlog), "mptcp", l->mptcp, "blind",
						pile_json_value_text_or_null(l->blind),
						"connections", door_value(l, half->t_ns)));
	}
	return list;
}

static json_t *requests_value(const struct pile_snapshot_group *group)
{
	const struct pile_sample_group *s = &group->sample;

	return json_pack("{s:I,s:I,s:I,s:I,s:I,s:o,s:o,s:o,s:o,s:I,s:o}", "waiting",
			 BIG(s->waiting), "opened_total", BIG(s->opened), "answered_total",
			 BIG(s->answered), "closed_total", BIG(s->closed), "drift_total",
			 BIG(s->drift), "oldest_seconds",
			 pile_json_value_seconds_or_null(s->oldest_ns), "p50_seconds",
			 pile_json_value_seconds_or_null(s->p50_ns), "p99_seconds",
			 pile_json_value_seconds_or_null(s->p99_ns), "opened_per_second",
			 pile_json_value_milli(group->rate_milli), "learned_waiting_p99",
			 BIG(group->w99), "waiting_by_age_seconds", ages_value(s));
}

static json_t *memory_value(const struct pile_snapshot_group *group)
{
	const struct pile_sample_group *s = &group->sample;

	return json_pack("{s:o,s:o,s:o,s:o,s:o,s:I,s:I,s:I,s:o,s:b}", "used_bytes",
			 pile_json_value_known(s->memory_bytes), "limit_bytes",
			 pile_json_value_known(s->memory_limit_bytes), "free_bytes",
			 json_integer(BIG(group->free_bytes)), "per_request_bytes",
			 pile_json_value_known(group->request_bytes), "exhausted_in_seconds",
			 pile_json_value_seconds(group->exhaustion_ns), "pressure_permille",
			 BIG(s->pressure_permille), "growing_workers", BIG(s->growing),
			 "growing_bytes_per_second", BIG(s->growing_bytes),
			 "growing_gone_in_seconds", pile_json_value_seconds(group->leak_left_ns),
			 "leak", group->leak);
}

static json_t *workers_value(const struct pile_snapshot_group *group)
{
	const struct pile_sample_group *s = &group->sample;

	return json_pack("{s:s,s:o,s:I,s:o,s:I}", "kind",
			 NAME_OF(workers_names, group->workers_kind), "count",
			 pile_json_value_known(s->workers), "busy", BIG(s->busy), "limit",
			 pile_json_value_known(s->workers_limit), "backlog", BIG(s->backlog));
}

/** Stopped by rung 5: until when. */
static json_t *stopped_value(const struct pile_snapshot_group *group)
{
	if (!group->stop_explain_id)
		return json_null();
	return json_pack("{s:I,s:b,s:b,s:o}", "explain", BIG(group->stop_explain_id), "down",
			 group->stop_down, "late", group->stop_late, "starts_in_seconds",
			 pile_json_value_seconds(group->stop_left_ns));
}

/* Tasks and processors, of groups that the policy names. */
static json_t *load_value(const struct pile_snapshot_group *group)
{
	const struct pile_sample_group *s = &group->sample;

	return json_pack("{s:o,s:o,s:o,s:o}", "tasks", pile_json_value_known(s->tasks),
			 "tasks_limit", pile_json_value_known(s->tasks_limit), "cpu_seconds_total",
			 s->cpu_ns ? pile_json_value_seconds(s->cpu_ns) : json_null(), "cpu_ratio",
			 s->cpu_ns ? pile_json_value_milli(group->cpu_permille) : json_null());
}

/* Rung 3; null where nothing is set. */
static json_t *throttle_value(const struct pile_snapshot_group *g)
{
	if (!g->throttle_tasks && !g->throttle_weight && !g->throttle_quota_us)
		return json_null();
	return json_pack(
		"{s:o,s:o,s:o,s:b,s:o}", "tasks_max", pile_json_value_known(g->throttle_tasks),
		"cpu_weight", pile_json_value_known(g->throttle_weight), "cpu_quota_us",
		pile_json_value_known(g->throttle_quota_us), "being_set_back", g->throttle_over,
		"explain", pile_json_value_known(g->throttle_explain_id));
}

/* Forks that fail early at a limit of tasks; explain: while some do. */
static json_t *forks_value(const struct pile_snapshot_group *g)
{
	const struct pile_sample_group *s = &g->sample;

	return json_pack("{s:b,s:I,s:o,s:o}", "fail", g->forks_explain_id != 0,
			 "refused_early_total", BIG(s->forks_refused), "limit",
			 pile_json_value_known(s->forks_limit), "explain",
			 pile_json_value_known(g->forks_explain_id));
}

/* Of a group that is found by match; null of others. */
static json_t *placement_value(const struct pile_snapshot_group *g)
{
	if (!g->matched)
		return json_null();
	return json_pack(
		"{s:b,s:I,s:I,s:o,s:o,s:I,s:I,s:I}", "place", g->place, "inside", BIG(g->inside),
		"outside", BIG(g->outside), "outside_why",
		pile_json_value_text_or_null(g->outside_why), "error",
		pile_json_value_text_or_null(g->place_error ? strerror((int)g->place_error) : ""),
		"look_late_seconds", BIG(g->look_late_s), "looks_total", BIG(g->looks),
		"whole_looks_total", BIG(g->whole_looks));
}

json_t *pile_json_group_value(const struct pile_snapshot_half *half, uint32_t slot)
{
	const struct pile_snapshot_group *g = &half->groups[slot];
	json_t *value = json_pack(
		"{s:o,s:o,s:o,s:b,s:b,s:b,s:b,s:b,s:b,s:o,s:s,s:o,s:I,s:o,s:I}", "name",
		pile_json_value_text(g->name), "unit", pile_json_value_text_or_null(g->unit),
		"cgroup", pile_json_value_text_or_null(g->cgroup), "configured", g->configured,
		"foreign", g->foreign, "present", g->sample.present, "gate_ready", g->gate_ready,
		"gate_missing", g->gate_missing, "learned_long_poll", g->learned_long_poll,
		"enforce", rungs_value(g->enforce), "stage", pile_explain_text_stage(g->stage),
		"risk_ratio", pile_json_value_milli(g->risk_milli), "would_have_acted_24h",
		BIG(g->would_have_acted_24h), "would_have_refused",
		pile_json_value_text_or_null(g->would_have), "reattached_total",
		BIG(g->reattached));

	json_object_set_new(value, "requests", requests_value(g));
	json_object_set_new(value, "workers", workers_value(g));
	json_object_set_new(value, "stopped", stopped_value(g));
	json_object_set_new(value, "memory", memory_value(g));
	json_object_set_new(value, "placement", placement_value(g));
	json_object_set_new(value, "listeners", listeners_value(half, slot));
	json_object_set_new(value, "load", load_value(g));
	json_object_set_new(value, "throttle", throttle_value(g));
	json_object_set_new(value, "forks", forks_value(g));
	return value;
}

// SPDX-License-Identifier: GPL-2.0-or-later
/* Events, explain records and the policy as JSON: the past; json.c shows the present. */
#include <inttypes.h>
#include <signal.h>
#include <string.h>

#include "api/json.h"
#include "api/json_value.h"
#include "record/explain_evict.h"
#include "record/explain_stop.h"
#include "record/explain_throttle.h"
#include "record/explain_text.h"

#define OK 200
#define NOT_FOUND 404
#define BIG(value) ((json_int_t)(value))

static const char *event_kind_name(uint32_t kind)
{
	static const char *const names[] = {
		[PILE_EVENT_START] = "start",	      [PILE_EVENT_STOP] = "stop",
		[PILE_EVENT_POLICY] = "policy",	      [PILE_EVENT_GROUP] = "group",
		[PILE_EVENT_STAGE] = "stage",	      [PILE_EVENT_OPEN] = "open",
		[PILE_EVENT_HALF_OPEN] = "half_open", [PILE_EVENT_CLOSE] = "close",
		[PILE_EVENT_NETWORK] = "network",     [PILE_EVENT_COMMAND] = "command",
		[PILE_EVENT_TROUBLE] = "trouble",     [PILE_EVENT_PROBE] = "probe",
		[PILE_EVENT_DISARM] = "disarm",	      [PILE_EVENT_ARM] = "arm",
		[PILE_EVENT_DROPPED] = "dropped",     [PILE_EVENT_FILES] = "files",
		[PILE_EVENT_LEAK] = "leak",	      [PILE_EVENT_SHED] = "shed",
		[PILE_EVENT_EVICT] = "evict",	      [PILE_EVENT_STOPPED] = "stop_service",
		[PILE_EVENT_THROTTLE] = "throttle",   [PILE_EVENT_FORKS] = "forks",
	};

	return kind < ARRAY_LEN(names) && names[kind] ? names[kind] : "unknown";
}

static json_t *event_value(const struct pile_event *e)
{
	return json_pack("{s:I,s:o,s:s,s:o,s:o,s:o,s:o}", "seq", BIG(e->seq), "at",
			 pile_json_value_time(e->realtime_ns), "kind", event_kind_name(e->kind),
			 "explain", pile_json_value_known(e->explain_id), "group",
			 pile_json_value_text_or_null(e->group), "unit",
			 pile_json_value_text_or_null(e->unit), "text",
			 pile_json_value_text(e->text));
}

void pile_json_event_line(const struct pile_event *event, struct pile_text *ret)
{
	pile_json_value_emit(event_value(event), ret);
	pile_text_printf(ret, "\n");
}

unsigned int pile_json_events(const struct pile_snapshot_half *half, const struct pile_query *query,
			      struct pile_text *ret)
{
	const char *comma = "";

	pile_text_printf(ret, "[");
	for (uint32_t i = 0; i < half->n_events; i++) {
		const struct pile_event *e = &half->events[i];

		if (e->seq <= query->since || (query->group && strcmp(query->group, e->group) != 0))
			continue;
		pile_text_printf(ret, "%s", comma);
		pile_json_value_emit(event_value(e), ret);
		comma = ",\n";
	}
	pile_text_printf(ret, "]\n");
	return OK;
}

/* ---- explain ---- */

static const char *explain_kind_name(uint32_t kind)
{
	static const char *const names[] = {
		[PILE_INTENT_BREAKER_OPEN] = "fail_fast",
		[PILE_INTENT_STAGE] = "stage",
		[PILE_INTENT_NETWORK] = "network",
		[PILE_INTENT_SHED_OPEN] = "shed",
		[PILE_INTENT_EVICT] = "evict",
		[PILE_INTENT_STOP] = "stop",
		[PILE_INTENT_THROTTLE] = "throttle",
		[PILE_INTENT_FORKS] = "forks",
	};

	return kind < ARRAY_LEN(names) && names[kind] ? names[kind] : "unknown";
}

static json_t *why_value(const struct pile_why *w)
{
	json_t *value =
		json_pack("{s:I,s:I,s:o,s:o,s:I,s:I,s:o,s:o,s:I}", "connecting", BIG(w->connecting),
			  "stuck_over_500ms", BIG(w->stuck), "oldest_seconds",
			  pile_json_value_seconds(w->oldest_ns), "no_success_seconds",
			  pile_json_value_seconds(w->no_success_ns), "waiting", BIG(w->waiting),
			  "share_permille", BIG(w->share_permille), "opened_per_second",
			  pile_json_value_milli(w->rate_milli), "per_request_bytes",
			  pile_json_value_known(w->request_bytes), "growth_bytes_per_second",
			  BIG(w->growth_bytes));

	json_object_update_new(
		value, json_pack("{s:I,s:o,s:o,s:b,s:b,s:b,s:b}", "free_bytes", BIG(w->free_bytes),
				 "exhausted_in_seconds", pile_json_value_seconds(w->exhaustion_ns),
				 "pool_limit", pile_json_value_known(w->pool_limit), "risk_memory",
				 w->risk_memory, "risk_pool", w->risk_pool, "always", w->always,
				 "by_hand", w->by_hand));
	json_object_set_new(value, "behind", json_integer(BIG(w->behind)));
	json_object_set_new(value, "own_probe", json_boolean(w->own_probe));
	json_object_set_new(value, "in_kernel", json_boolean(w->in_kernel));
	json_object_update_new(value, json_pack("{s:b,s:I,s:I,s:I}", "mute", w->mute, "ungreeted",
						BIG(w->ungreeted), "silent", BIG(w->silent),
						"unacknowledged", BIG(w->unacked)));
	json_object_update_new(value, json_pack("{s:s,s:s,s:I,s:I}", "stage_from",
						pile_explain_text_stage(w->stage_from), "stage_to",
						pile_explain_text_stage(w->stage_to), "excess",
						BIG(w->excess), "dead_destinations",
						BIG(w->dead_destinations)));
	json_object_update_new(value,
			       json_pack("{s:I,s:o,s:I}", "connections", BIG(w->held),
					 "connections_max", pile_json_value_known(w->held_max),
					 "connections_not_accepted", BIG(w->backlog)));
	json_object_set_new(value, "refuse_ratio", pile_json_value_milli(w->refuse_permille));
	json_object_set_new(value, "waits_for",
			    w->waits ? pile_json_value_endpoint(&w->waits_for) : json_null());
	return value;
}

static json_t *did_value(const struct pile_explain *x)
{
	bool effect = x->first_effect_ns > x->opened_ns;

	bool shed = x->kind == PILE_INTENT_SHED_OPEN, forks = x->kind == PILE_INTENT_FORKS;

	return json_pack("{s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:o,s:I,s:o}", "connects_refused",
			 BIG(shed || forks ? 0 : x->refused), "connections_refused",
			 BIG(shed ? x->refused : 0), "forks_refused", BIG(forks ? x->refused : 0),
			 "waits_ended", BIG(x->ended), "probes", BIG(x->probes),
			 "connects_admitted", BIG(x->admitted), "relapses", BIG(x->flips),
			 "saved_wait_seconds", pile_json_value_seconds(x->saved_wait_ns),
			 "saved_bytes", BIG(x->saved_bytes), "first_effect_after_seconds",
			 effect ? pile_json_value_seconds(x->first_effect_ns - x->opened_ns)
				: json_null());
}

/** Each sentence under its own key: the same words as in the journal and in `pileguardctl explain`.
 */
static void sentences_set(json_t *value, const struct pile_explain *x)
{
	static const struct {
		const char *key;
		const char *(*format)(const struct pile_explain *explain, char *buf, size_t size);
	} sentences[] = {
		{ "why_text", pile_explain_text_why },
		{ "did_text", pile_explain_text_did },
		{ "did_not_text", pile_explain_text_did_not },
		{ "cost_text", pile_explain_text_cost },
		{ "undo_text", pile_explain_text_undo },
		{ "undo_command", pile_explain_text_command },
	};
	char text[PILE_EXPLAIN_TEXT_MAX];

	for (size_t i = 0; i < ARRAY_LEN(sentences); i++)
		json_object_set_new(
			value, sentences[i].key,
			pile_json_value_text_or_null(sentences[i].format(x, text, sizeof(text))));
}

static json_t *candidate_value(const struct pile_candidate *c)
{
	json_t *value =
		json_pack("{s:I,s:o,s:I,s:I,s:I,s:o,s:I,s:o}", "pid", BIG(c->pid), "comm",
			  pile_json_value_text(c->comm), "parent", BIG(c->parent), "private_bytes",
			  BIG(c->private_bytes), "growth_bytes_per_second", BIG(c->growth_bytes),
			  "share_ratio", pile_json_value_milli(c->share_permille), "waiting",
			  BIG(c->waiting), "oldest_seconds", pile_json_value_seconds(c->oldest_ns));

	json_object_update_new(
		value, json_pack("{s:o,s:o,s:b,s:b,s:b,s:b}", "started_seconds_after_boot",
				 pile_json_value_seconds(c->start_ns), "rising_seconds",
				 pile_json_value_seconds(c->rising_ns), "connecting", c->connecting,
				 "in_own_cgroup", c->home, "master", c->master, "alone", c->alone));
	return value;
}

static const char *close_name(uint32_t reason)
{
	static const char *const names[] = {
		[PILE_CLOSE_POLICY] = "policy",	    [PILE_CLOSE_GONE] = "gone",
		[PILE_CLOSE_STOPPED] = "stopped",   [PILE_CLOSE_SWITCHED] = "switched",
		[PILE_CLOSE_DISARMED] = "disarmed", [PILE_CLOSE_TIME] = "time",
		[PILE_CLOSE_USELESS] = "useless",   [PILE_CLOSE_TAKEN] = "taken",
		[PILE_CLOSE_NOT_DONE] = "not_done",
	};

	return reason < ARRAY_LEN(names) && names[reason] ? names[reason] : "";
}

/* Terms, result and candidates of an eviction. */
static void evict_set(json_t *value, const struct pile_explain *x)
{
	static const char *const causes[] = {
		[PILE_EVICT_HOG] = "hog", [PILE_EVICT_LEAK] = "leak"
	};
	static const char *const bounds[] = { [PILE_EVICT_HOST] = "host",
					      [PILE_EVICT_BUDGET] = "memory_budget",
					      [PILE_EVICT_LIMIT] = "cgroup" };
	static const char *const signals[] = { [SIGKILL] = "SIGKILL", [SIGTERM] = "SIGTERM" };
	const struct pile_why_evict *e = &x->why.evict;
	json_t *list = json_array(), *terms;

	terms = json_pack(
		"{s:I,s:o,s:o,s:I,s:I,s:o,s:o,s:o,s:o,s:b}", "pid", BIG(x->why.pid), "cause",
		e->cause < ARRAY_LEN(causes) && causes[e->cause] ? json_string(causes[e->cause])
								 : json_null(),
		"bound", e->bound < ARRAY_LEN(bounds) ? json_string(bounds[e->bound]) : json_null(),
		"workers", BIG(e->workers), "private_bytes", BIG(e->private_bytes),
		"others_mean_bytes", json_integer(BIG(e->others_bytes)), "rising_seconds",
		pile_json_value_seconds(e->rising_ns), "bound_growth_bytes_per_second",
		json_integer(BIG(e->bound_growth_bytes)), "lasts_without_it_seconds",
		pile_json_value_seconds(e->after_ns), "idle", e->idle);
	json_object_update_new(
		terms, json_pack("{s:o,s:o,s:o,s:o}", "signal",
				 e->signal < ARRAY_LEN(signals) && signals[e->signal]
					 ? json_string(signals[e->signal])
					 : json_null(),
				 "gone_after_seconds",
				 e->gone_ns ? pile_json_value_seconds(e->gone_ns) : json_null(),
				 "freed_bytes", pile_json_value_known(e->freed_bytes), "errno",
				 pile_json_value_known((uint64_t)MAX(e->error, 0))));
	json_object_set_new(value, "evict", terms);
	for (uint32_t i = 0; i < MIN(x->candidates.n, PILE_CANDIDATES_MAX); i++)
		json_array_append_new(list, candidate_value(&x->candidates.list[i]));
	json_object_set_new(value, "candidates", list);
}

/* Terms and result of a stop. */
static void stop_set(json_t *value, const struct pile_explain *x)
{
	const struct pile_why_stop *s = &x->why.stop;
	json_t *terms = json_pack("{s:I,s:I,s:o,s:I,s:I,s:I}", "used_bytes", BIG(s->used_bytes),
				  "risen_bytes", BIG(s->risen_bytes), "rising_seconds",
				  pile_json_value_seconds(s->rising_ns), "host_lost_bytes",
				  BIG(s->fell_bytes), "free_when_it_began_bytes",
				  BIG(s->then_bytes), "nth_in_ten_minutes", BIG(s->nth));

	json_object_update_new(
		terms, json_pack("{s:o,s:o,s:o,s:o}", "hold_seconds",
				 pile_json_value_seconds(s->hold_ns), "jitter_seconds",
				 pile_json_value_seconds(s->jitter_ns), "down_after_seconds",
				 s->down_ns ? pile_json_value_seconds(s->down_ns) : json_null(),
				 "errno", pile_json_value_known((uint64_t)MAX(s->error, 0))));
	json_object_set_new(value, "stop", terms);
}

/* Why it was not done: which switch, in this rung's words. */
static const char *blocked_text(const struct pile_explain *x)
{
	if (x->kind == PILE_INTENT_EVICT)
		return pile_explain_evict_switch(x->blocked);
	if (x->kind == PILE_INTENT_STOP)
		return pile_explain_stop_switch(x->blocked);
	if (x->kind == PILE_INTENT_THROTTLE)
		return pile_explain_throttle_switch(x->blocked);
	return pile_explain_text_blocked(x->blocked);
}

static json_t *knob_value(uint64_t value)
{
	return value == UINT64_MAX ? json_null() : json_integer(BIG(value));
}

/* Terms and result of a throttle; units of value and was by the knob: tasks, weight, us of a second. */
static void throttle_set(json_t *value, const struct pile_explain *x)
{
	static const char *const knobs[PILE_KNOBS] = { [PILE_KNOB_NONE] = "none",
						       [PILE_KNOB_TASKS] = "tasks_max",
						       [PILE_KNOB_WEIGHT] = "cpu_weight",
						       [PILE_KNOB_QUOTA] = "cpu_quota_us" };
	static const char *const bounds[] = { [PILE_STORM_LIMIT] = "cgroup",
					      [PILE_STORM_HOST] = "host",
					      [PILE_STORM_MEMORY] = "memory" };
	const struct pile_why_throttle *t = &x->why.throttle;
	bool storm = t->knob == PILE_KNOB_TASKS;
	json_t *terms = json_pack(
		"{s:s,s:o,s:o,s:o,s:I,s:I,s:I,s:o,s:I,s:o}", "knob",
		t->knob < PILE_KNOBS ? knobs[t->knob] : "none", "value", knob_value(t->value),
		"was", knob_value(t->was), "for_seconds", pile_json_value_seconds(t->for_ns),
		"tasks", BIG(t->tasks), "tasks_in_calm", BIG(t->tasks_calm), "tasks_per_second",
		BIG(t->tasks_rate), "bound",
		storm && t->bound < ARRAY_LEN(bounds) ? json_string(bounds[t->bound]) : json_null(),
		"tasks_free", BIG(t->tasks_free), "rising_seconds",
		pile_json_value_seconds(t->rising_ns));

	json_object_update_new(
		terms, json_pack("{s:o,s:o,s:o,s:o,s:o,s:o,s:o}", "protected",
				 pile_json_value_text_or_null(t->protected_name), "waited_seconds",
				 pile_json_value_seconds(t->waited_ns), "ran_seconds",
				 pile_json_value_seconds(t->ran_ns), "window_seconds",
				 pile_json_value_seconds(t->span_ns), "waited_ratio",
				 pile_json_value_milli(t->ratio_milli), "waited_ratio_in_calm",
				 pile_json_value_milli(t->calm_milli), "cpu_ratio",
				 pile_json_value_milli(t->cpu_permille)));
	json_object_update_new(
		terms, json_pack("{s:o,s:o,s:o,s:I,s:b,s:s}", "errno",
				 pile_json_value_known((uint64_t)MAX(t->error, 0)),
				 "in_force_after_seconds",
				 t->on_ns ? pile_json_value_seconds(t->on_ns) : json_null(),
				 "waited_ratio_after", pile_json_value_milli(t->ratio_after_milli),
				 "tasks_after", BIG(t->tasks_after), "undone",
				 t->back == PILE_BACK_DONE || t->back == PILE_BACK_GONE, "ended",
				 close_name(x->closed_ns ? x->close_reason : 0)));
	json_object_set_new(value, "throttle", terms);
}

/** When a monotonic moment was, by the wall clock at the episode's start. */
static json_t *moment_value(const struct pile_explain *x, uint64_t t_ns)
{
	if (!t_ns || t_ns < x->opened_ns)
		return json_null();
	return pile_json_value_time(x->opened_realtime_ns + (t_ns - x->opened_ns));
}

static json_t *explain_value(const struct pile_explain *x, uint64_t now_ns)
{
	uint64_t end_ns = x->closed_ns ? x->closed_ns : now_ns;
	bool breaker = x->kind == PILE_INTENT_BREAKER_OPEN || x->kind == PILE_INTENT_SHED_OPEN,
	     evict = x->kind == PILE_INTENT_EVICT, stop = x->kind == PILE_INTENT_STOP,
	     throttle = x->kind == PILE_INTENT_THROTTLE &&
			(!x->why.throttle.error || x->why.throttle.on_ns),
	     forks = x->kind == PILE_INTENT_FORKS;
	json_t *value = json_pack(
		"{s:I,s:s,s:o,s:o,s:o,s:s,s:b,s:o,s:o,s:o,s:o,s:o,s:o}", "id", BIG(x->id), "kind",
		explain_kind_name(x->kind), "group", pile_json_value_text_or_null(x->group), "unit",
		pile_json_value_text_or_null(x->unit), "endpoint",
		breaker ? pile_json_value_endpoint(&x->endpoint) : json_null(), "state",
		pile_explain_text_state(x), "acted",
		(breaker || evict || stop || throttle || forks) && !x->blocked, "blocked",
		pile_json_value_text_or_null(blocked_text(x)), "opened_at",
		pile_json_value_time(x->opened_realtime_ns), "half_open_at",
		moment_value(x, x->half_open_ns), "closed_at", moment_value(x, x->closed_ns),
		"lasted_seconds",
		pile_json_value_seconds(end_ns > x->opened_ns ? end_ns - x->opened_ns : 0),
		"refuse_errno", pile_json_value_known(x->refuse_errno));

	json_object_set_new(value, "why", why_value(&x->why));
	json_object_set_new(value, "did", did_value(x));
	if (evict)
		evict_set(value, x);
	if (stop)
		stop_set(value, x);
	if (x->kind == PILE_INTENT_THROTTLE)
		throttle_set(value, x);
	if (forks)
		json_object_set_new(value, "forks",
				    json_pack("{s:I,s:I,s:o}", "limit", BIG(x->why.forks.limit),
					      "cgroups_above", BIG(x->why.forks.above), "tasks",
					      pile_json_value_known(x->why.forks.tasks)));
	sentences_set(value, x);
	return value;
}

/** A whole decimal number, nothing else. */
static bool id_parse(const char *text, uint64_t *ret)
{
	uint64_t id = 0;

	if (!text[0] || strlen(text) > 10)
		return false;
	for (; *text; text++) {
		if (*text < '0' || *text > '9')
			return false;
		id = id * 10 + (uint64_t)(*text - '0');
	}
	*ret = id;
	return true;
}

static uint32_t explain_newest(const struct pile_snapshot_half *half)
{
	uint32_t newest = 0;

	for (uint32_t i = 0; i < half->n_explains; i++)
		newest = MAX(newest, half->explains[i].id);
	return newest;
}

unsigned int pile_json_explain(const struct pile_snapshot_half *half,
			       const struct pile_query *query, struct pile_text *ret)
{
	uint64_t id;

	if (!id_parse(query->rest, &id)) {
		pile_json_error(
			"an explain id is a number: the one at the end of the line in the journal",
			ret);
		return NOT_FOUND;
	}
	for (uint32_t i = half->n_explains; i-- > 0;) {
		if (half->explains[i].id != id)
			continue;
		pile_json_value_emit(explain_value(&half->explains[i], half->t_ns), ret);
		pile_text_printf(ret, "\n");
		return OK;
	}
	if (half->n_explains)
		pile_json_error_format(
			ret,
			"there is no explain record %" PRIu64
			": the last %u since the guard's start are kept, the newest is %u",
			id, half->n_explains, explain_newest(half));
	else
		pile_json_error(
			"there is no explain record yet: nothing was decided since the start", ret);
	return NOT_FOUND;
}

/* ---- the policy ---- */

static json_t *fingerprints_value(const struct pile_snapshot_host *h)
{
	json_t *list = json_array();

	for (uint32_t i = 0; i < h->n_fingerprints; i++)
		json_array_append_new(
			list, json_pack("{s:o,s:o}", "path",
					pile_json_value_text(h->fingerprints[i].path), "sha256",
					pile_json_value_text(h->fingerprints[i].sha256)));
	return list;
}

json_t *pile_json_policy_value(const struct pile_snapshot_host *h)
{
	static const char *const files[] = { [PILE_FILES_SAME] = "same",
					     [PILE_FILES_DIFFER] = "differ",
					     [PILE_FILES_MIXED] = "mixed",
					     [PILE_FILES_INVALID] = "not valid",
					     [PILE_FILES_NONE] = "none" };
	json_t *value = json_pack(
		"{s:o,s:o,s:o,s:o,s:I,s:o}", "path", pile_json_value_text(h->policy_path), "source",
		pile_json_value_text(h->policy_source), "revision",
		pile_json_value_text_or_null(h->policy_revision), "hash",
		pile_json_value_text(h->policy_hash), "generation", BIG(h->policy_generation),
		"committed_at", pile_json_value_time(h->policy_committed_realtime_ns));

	json_object_update_new(
		value,
		json_pack("{s:s,s:o,s:o,s:b,s:o}", "files",
			  h->policy_files < ARRAY_LEN(files) ? files[h->policy_files] : "unknown",
			  "trouble", pile_json_value_text_or_null(h->policy_trouble),
			  "enforce_share_ratio", pile_json_value_milli(h->enforce_share_permille),
			  "outside_share", h->outside_share, "fingerprints",
			  fingerprints_value(h)));
	json_object_update_new(value, json_pack("{s:I,s:I}", "reloads_total", BIG(h->reloads),
						"reloads_refused_total", BIG(h->reloads_refused)));
	return value;
}

unsigned int pile_json_policy(const struct pile_snapshot_half *half, const struct pile_query *query,
			      struct pile_text *ret)
{
	json_t *value = pile_json_policy_value(&half->host);

	(void)query;
	json_object_update_new(value,
			       json_pack("{s:b,s:o}", "truncated", half->policy_text_len == 0,
					 "text", pile_json_value_text(half->policy_text)));
	pile_json_value_emit(value, ret);
	pile_text_printf(ret, "\n");
	return OK;
}

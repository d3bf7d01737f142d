// SPDX-License-Identifier: GPL-2.0-or-later
#include "act/stop.h"

#include <errno.h>
#include <string.h>

#include "util/macro.h"

#define FORGET_NS (60 * NS_PER_SEC) /* after its time: decide has told by then (decide/stop.h) */
#define AGAIN_NS NS_PER_SEC
/* masks, dependencies and drop-ins change by daemon-reload, which nobody tells */
#define CHECK_EVERY_NS (300 * NS_PER_SEC)
#define CHECK_AGAIN_NS (10 * NS_PER_SEC) /* systemd did not answer */

static struct pile_act_stopping *stopping_find(struct pile_act_stops *s, uint32_t explain_id)
{
	for (int i = 0; i < PILE_STOPS_MAX; i++)
		if (s->table[i].used && s->table[i].explain_id == explain_id)
			return &s->table[i];
	return NULL;
}

static void result_add(struct pile_act_stops *s, uint32_t explain_id, int error, uint64_t down_ns)
{
	if (s->n_results < PILE_SAMPLE_STOPPED_MAX)
		s->results[s->n_results++] = (struct pile_sample_stopped){
			.explain_id = explain_id,
			.error = error,
			.down_ns = down_ns,
		};
}

static int job_submit(struct pile_manager *manager, enum pile_manager_verb verb, uint64_t id,
		      const char *unit, uint64_t after_ns, uint64_t grace_ns, uint64_t now_ns)
{
	struct pile_manager_job job = {
		.verb = verb,
		.owner = PILE_MANAGER_STOPS,
		.id = id,
		.after_ns = after_ns,
		.grace_ns = grace_ns,
	};

	snprintf(job.unit, sizeof(job.unit), "%s", unit);
	return pile_manager_submit(manager, &job, now_ns);
}

/* ---- can it be? ---- */

static bool may_be_stopped(const struct pile_group *group)
{
	return group->used && group->present && !group->foreign && group->configured &&
	       group->config.unit[0] && (group->config.enforce & PILE_RUNG_STOP);
}

void pile_act_stops_check(struct pile_act_stops *s, struct pile_manager *manager,
			  const struct pile_groups *groups, uint64_t now_ns)
{
	for (uint32_t i = 0; i < groups->n_groups; i++) {
		const struct pile_group *group = &groups->groups[i];
		struct pile_act_stop_fit *fit = &s->fit[i];

		if (fit->asked || !may_be_stopped(group) ||
		    (fit->cgroup_id == group->cgroup_id && now_ns < fit->again_ns))
			continue;
		if (job_submit(manager, PILE_MANAGER_CHECK, i, group->config.unit, 0, 0, now_ns) !=
		    0)
			return;
		/* of a unit that was only restarted what is known holds on; of another's nothing does */
		if (strcmp(fit->unit, group->config.unit) != 0)
			*fit = (struct pile_act_stop_fit){ 0 };
		snprintf(fit->unit, sizeof(fit->unit), "%s", group->config.unit);
		fit->asked = true;
		fit->cgroup_id = group->cgroup_id;
	}
}

bool pile_act_stop_fit(const struct pile_act_stops *s, const struct pile_groups *groups,
		       uint32_t group)
{
	const struct pile_act_stop_fit *fit = &s->fit[group];

	return fit->known && fit->fit && fit->unit[0] &&
	       strcmp(fit->unit, groups->groups[group].config.unit) == 0;
}

/* Returns whether it is news that it is not. */
static bool fit_take(struct pile_act_stops *s, const struct pile_manager_result *result)
{
	struct pile_act_stop_fit *fit = &s->fit[result->job.id % PILE_GROUPS_MAX];
	bool is_fit = result->error == 0, news;

	fit->asked = false;
	if (strcmp(fit->unit, result->job.unit) != 0)
		return false;
	if (!is_fit && result->error != -EOPNOTSUPP) { /* nothing is known by that */
		fit->again_ns = result->done_ns + CHECK_AGAIN_NS;
		return false;
	}
	news = !is_fit && (!fit->known || fit->fit || strcmp(fit->why, result->text) != 0);
	snprintf(fit->why, sizeof(fit->why), "%s", is_fit ? "" : result->text);
	fit->known = true;
	fit->fit = is_fit;
	fit->again_ns = result->done_ns + CHECK_EVERY_NS;
	return news;
}

/* ---- stopped, and started again ---- */

/* The group is looked at again: it may have gone, or become another's, since the intent was made. */
static int service_stop(struct pile_act_stops *s, struct pile_manager *manager,
			const struct pile_group *group, const struct pile_intent *intent,
			uint64_t now_ns)
{
	struct pile_act_stopping *to = NULL;
	int r;

	if (!may_be_stopped(group))
		return -ESRCH;
	for (int i = 0; i < PILE_STOPS_MAX && !to; i++)
		to = s->table[i].used ? NULL : &s->table[i];
	if (!to)
		return -ENOSPC;
	*to = (struct pile_act_stopping){
		.used = true,
		.explain_id = intent->explain_id,
		.until_ns = now_ns + intent->why.stop.hold_ns,
	};
	snprintf(to->unit, sizeof(to->unit), "%s", group->config.unit);
	r = job_submit(manager, PILE_MANAGER_STOP, to->explain_id, to->unit,
		       intent->why.stop.hold_ns, intent->grace_ns, now_ns);
	to->used = r == 0;
	return r;
}

/* It is started, or its timer ended, until systemd says so: what is held must not stay so by a lost answer. */
static void hand_ask(struct pile_manager *manager, struct pile_act_stopping *stopping,
		     uint64_t now_ns)
{
	if (stopping->asked || now_ns < stopping->again_ns)
		return;
	stopping->again_ns = now_ns + AGAIN_NS;
	stopping->asked =
		job_submit(manager, stopping->want_start ? PILE_MANAGER_START : PILE_MANAGER_UNTIME,
			   stopping->explain_id, stopping->unit, 0, 0, now_ns) == 0;
}

static void over_take(struct pile_act_stopping *stopping, const struct pile_intent *intent,
		      uint64_t now_ns)
{
	if (stopping->want_start)
		return; /* until that is done */
	stopping->want_untime =
		intent->close_reason == PILE_CLOSE_STARTED && now_ns < stopping->until_ns;
	stopping->used = stopping->want_untime || !stopping->answered;
}

void pile_act_stops_carry_out(struct pile_act_stops *s, struct pile_manager *manager,
			      const struct pile_groups *groups, const struct pile_intent *intents,
			      uint32_t n, uint64_t now_ns)
{
	for (uint32_t i = 0; i < n; i++) {
		const struct pile_intent *intent = &intents[i];
		struct pile_act_stopping *stopping;
		int r;

		if (intent->blocked != PILE_BLOCKED_NO || intent->group >= PILE_GROUPS_MAX)
			continue;
		stopping = stopping_find(s, intent->explain_id);
		if (intent->kind == PILE_INTENT_STOP_START && stopping)
			stopping->want_start = true;
		if (intent->kind == PILE_INTENT_STOP_OVER && stopping)
			over_take(stopping, intent, now_ns);
		if (intent->kind != PILE_INTENT_STOP)
			continue;
		r = service_stop(s, manager, &groups->groups[intent->group], intent, now_ns);
		if (r < 0)
			result_add(s, intent->explain_id, -r, 0);
	}
	for (int i = 0; i < PILE_STOPS_MAX; i++)
		if (s->table[i].used && (s->table[i].want_start || s->table[i].want_untime))
			hand_ask(manager, &s->table[i], now_ns);
}

bool pile_act_stops_result(struct pile_act_stops *s, const struct pile_manager_result *result)
{
	struct pile_act_stopping *stopping;

	if (result->job.verb == PILE_MANAGER_CHECK)
		return fit_take(s, result);
	stopping = stopping_find(s, (uint32_t)result->job.id);
	if (result->job.verb == PILE_MANAGER_STOP) {
		bool begun = !result->error || result->begun;

		result_add(s, (uint32_t)result->job.id, -result->error,
			   begun ? result->done_ns : 0);
		if (stopping) {
			stopping->answered = true;
			stopping->used = begun || stopping->want_start;
		}
	} else if (stopping) {
		stopping->asked = false;
		stopping->used = result->error != 0;
	}
	return result->error != 0;
}

void pile_act_stops_sample(struct pile_act_stops *s, struct pile_sample *sample, uint64_t now_ns)
{
	sample->n_stopped = s->n_results;
	memcpy(sample->stopped, s->results, s->n_results * sizeof(s->results[0]));
	s->n_results = 0;
	for (int i = 0; i < PILE_STOPS_MAX; i++) {
		struct pile_act_stopping *stopping = &s->table[i];

		if (stopping->answered && !stopping->want_start && !stopping->want_untime &&
		    now_ns > stopping->until_ns + FORGET_NS)
			stopping->used = false;
	}
}

// SPDX-License-Identifier: GPL-2.0-or-later
#include "act/stop.h"

#include <errno.h>
#include <string.h>

#include "util/macro.h"

#define FORGET_NS (60 * NS_PER_SEC) /* after its time: decide has told by then (decide/stop.h) */

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

static int job_submit(struct pile_manager *manager, enum pile_manager_verb verb,
		      const struct pile_act_stopping *stopping, uint64_t after_ns,
		      uint64_t grace_ns, uint64_t now_ns)
{
	struct pile_manager_job job = {
		.verb = verb,
		.owner = PILE_MANAGER_STOPS,
		.id = stopping->explain_id,
		.after_ns = after_ns,
		.grace_ns = grace_ns,
	};

	memcpy(job.unit, stopping->unit, sizeof(job.unit));
	return pile_manager_submit(manager, &job, now_ns);
}

/* The group is looked at again: it may have gone, or become another's, since the intent was made. */
static int service_stop(struct pile_act_stops *s, struct pile_manager *manager,
			const struct pile_group *group, const struct pile_intent *intent,
			uint64_t now_ns)
{
	struct pile_act_stopping *to = NULL;
	int r;

	if (!group->used || !group->present || group->foreign || !group->configured ||
	    !group->config.unit[0] || !(group->config.enforce & PILE_RUNG_STOP))
		return -ESRCH;
	for (int i = 0; i < PILE_STOPS_MAX && !to; i++)
		to = s->table[i].used ? NULL : &s->table[i];
	if (!to)
		return -ENOSPC;
	*to = (struct pile_act_stopping){
		.used = true,
		.explain_id = intent->explain_id,
		.group = intent->group,
		.until_ns = now_ns + intent->why.stop.hold_ns,
	};
	snprintf(to->unit, sizeof(to->unit), "%s", group->config.unit);
	r = job_submit(manager, PILE_MANAGER_STOP, to, intent->why.stop.hold_ns, intent->grace_ns,
		       now_ns);
	to->used = r == 0;
	return r;
}

static void service_start(struct pile_manager *manager, struct pile_act_stopping *stopping,
			  uint64_t now_ns)
{
	/* too many jobs under way: tried again by the sample, and the timer stands */
	if (job_submit(manager, PILE_MANAGER_START, stopping, 0, 0, now_ns) == 0)
		stopping->used = false;
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
			service_start(manager, stopping, now_ns);
		if (intent->kind != PILE_INTENT_STOP)
			continue;
		r = service_stop(s, manager, &groups->groups[intent->group], intent, now_ns);
		if (r < 0)
			result_add(s, intent->explain_id, -r, 0);
	}
}

void pile_act_stops_result(struct pile_act_stops *s, const struct pile_manager_result *result)
{
	struct pile_act_stopping *stopping = stopping_find(s, (uint32_t)result->job.id);

	if (result->job.verb != PILE_MANAGER_STOP)
		return;
	result_add(s, (uint32_t)result->job.id, -result->error,
		   result->error ? 0 : result->done_ns);
	if (!stopping)
		return;
	stopping->down = result->error == 0;
	stopping->used = stopping->down;
}

void pile_act_stops_sample(struct pile_act_stops *s, struct pile_manager *manager,
			   const struct pile_groups *groups, struct pile_sample *sample,
			   uint64_t now_ns)
{
	sample->n_stopped = s->n_results;
	memcpy(sample->stopped, s->results, s->n_results * sizeof(s->results[0]));
	s->n_results = 0;
	for (int i = 0; i < PILE_STOPS_MAX; i++) {
		struct pile_act_stopping *stopping = &s->table[i];
		const struct pile_group *group = &groups->groups[stopping->group];

		if (!stopping->used || !stopping->down)
			continue;
		if (now_ns > stopping->until_ns + FORGET_NS)
			stopping->used = false;
		else if (now_ns < stopping->until_ns &&
			 (!group->used || strcmp(group->config.unit, stopping->unit) != 0))
			service_start(manager, stopping, now_ns);
	}
}

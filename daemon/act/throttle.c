// SPDX-License-Identifier: GPL-2.0-or-later
#include "act/throttle.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#include "act/knob.h"
#include "groups/proc.h"
#include "util/clock.h"
#include "util/macro.h"

#define LOOK_NS NS_PER_SEC /* is it still ours? */
#define SETTLE_NS \
	(5 * NS_PER_SEC) /* systemd writes the cgroup's file some time after it has answered */
/* of the unit's TimeoutStartSec= and TimeoutStopSec=10; the loop, or ExecStopPost, does what is left */
#define SETTLE_ALL_NS (2 * NS_PER_SEC)
#define LATE_NS (5 * NS_PER_SEC)

/* What an earlier guard has left is to be turned back, as if it had been this one's. */
static void adopt(struct pile_act_throttles *t)
{
	for (int i = 0; i < PILE_UNDO_MAX; i++)
		if (t->undo.file->entries[i].knob)
			t->table[i] = (struct pile_act_throttled){
				.used = true,
				.over = true,
				.group = PILE_NO_GROUP,
				.over_ns = pile_clock_ns(CLOCK_MONOTONIC),
				.entry = &t->undo.file->entries[i],
			};
}

int pile_act_throttles_open(struct pile_act_throttles *t, const char *path, const char *drop_ins)
{
	int r = pile_undo_open(&t->undo, path, drop_ins);

	t->ready = r == 0;
	if (t->ready)
		adopt(t);
	return r;
}

/* ---- turn ---- */

/*
 * The unit that owns the group's cgroup, so that systemd would write over what we set; "" = none does. A cgroup inside a
 * unit is the unit's own (Delegate=).
 */
static void unit_of(const struct pile_group *group, const struct pile_manager *manager, char *ret,
		    size_t size)
{
	const char *last = strrchr(group->cgroup, '/');

	ret[0] = '\0';
	if (!manager->ready)
		return;
	if (group->config.unit[0])
		snprintf(ret, size, "%s", group->config.unit);
	else if (last && (!pile_proc_unit(group->cgroup, ret, size) || strcmp(last + 1, ret) != 0))
		ret[0] = '\0';
}

/*
 * What the knob says now. Returns 0; -EALREADY: it is as tight already; or why it cannot be turned. No file of a
 * unit's: its controller is not switched on yet, which systemd does.
 */
static int knob_read(const char *unit, const struct pile_why_throttle *why,
		     struct pile_undo_entry *entry)
{
	uint64_t now = 0;
	int r = pile_knob_read(entry->path, entry->was_text, sizeof(entry->was_text));

	entry->was = UINT64_MAX;
	if (r == -ENOENT && unit[0])
		return 0;
	if (r == 0)
		r = pile_knob_parse(entry->path, entry->was_text, &now);
	if (r < 0)
		return r;
	if (now <= why->value)
		return -EALREADY;
	entry->was = now;
	return 0;
}

static int unit_ask(struct pile_manager *manager, const struct pile_undo_entry *entry,
		    const struct pile_why_throttle *why, uint64_t id, uint64_t now_ns)
{
	struct pile_manager_job job = { .verb = PILE_MANAGER_SET,
					.owner = PILE_MANAGER_THROTTLE,
					.id = id,
					.n_properties = 1 };

	snprintf(job.unit, sizeof(job.unit), "%s", entry->unit);
	snprintf(job.properties[0].name, sizeof(job.properties[0].name), "%s",
		 pile_knob_property(why->knob));
	job.properties[0].value = why->value;
	/* the file tells what the property is, but for a weight: nobody's is 100 and is not set */
	job.properties[0].compare = why->knob == PILE_KNOB_TASKS && entry->was_text[0];
	job.properties[0].expected = entry->was;
	return pile_manager_submit(manager, &job, now_ns);
}

static struct pile_act_throttled *place_find(struct pile_act_throttles *t)
{
	for (int i = 0; i < PILE_UNDO_MAX; i++)
		if (!t->table[i].used)
			return &t->table[i];
	return NULL;
}

/* What is not turned back yet is no state to come back to. */
static bool is_turned(const struct pile_act_throttles *t, const char *path)
{
	for (int i = 0; i < PILE_UNDO_MAX; i++)
		if (t->table[i].used && strcmp(t->table[i].entry->path, path) == 0)
			return true;
	return false;
}

static int turn(struct pile_act_throttles *t, const struct pile_groups *groups,
		struct pile_manager *manager, struct pile_intent *intent, uint64_t now_ns)
{
	const struct pile_group *group = &groups->groups[intent->group];
	struct pile_undo_entry *entry = t->ready ? pile_undo_take(&t->undo) : NULL;
	struct pile_act_throttled *e = place_find(t);
	struct pile_why_throttle *why = &intent->why.throttle;
	int r;

	if (!e || !entry)
		return -ENOSPC;
	if (!group->used || !group->present || group->foreign || !group->cgroup[0] ||
	    strcmp(group->cgroup, "/") == 0)
		return -EXDEV;
	unit_of(group, manager, entry->unit, sizeof(entry->unit));
	snprintf(entry->group, sizeof(entry->group), "%s", group->config.name);
	entry->ours = why->value;
	r = pile_knob_path(&groups->hierarchy, group->cgroup, why->knob, entry->path,
			   sizeof(entry->path));
	if (r == 0 && is_turned(t, entry->path))
		r = -EBUSY;
	if (r == 0)
		r = knob_read(entry->unit, why, entry);
	if (r < 0)
		return r;
	why->was = entry->was;
	pile_knob_format(entry->path, entry->was_text, why->value, entry->ours_text,
			 sizeof(entry->ours_text));
	entry->drop_in_before =
		entry->unit[0] && pile_undo_drop_in(&t->undo, entry->unit, why->knob);
	pile_undo_keep(entry, why->knob);
	*e = (struct pile_act_throttled){ .used = true,
					  .explain_id = intent->explain_id,
					  .group = intent->group,
					  .entry = entry,
					  .again_ns = now_ns + LOOK_NS };
	if (entry->unit[0])
		r = unit_ask(manager, entry, why, (uint64_t)(e - t->table), now_ns);
	else
		r = pile_knob_write(entry->path, entry->ours_text);
	e->asked = entry->unit[0] && r == 0;
	e->on_ns = entry->unit[0] ? 0 : now_ns;
	if (r == 0)
		return 0;
	pile_undo_drop(entry);
	e->used = false;
	return r;
}

/* ---- and back ---- */

static void tell(struct pile_act_throttles *t, const struct pile_act_throttled *e, int result)
{
	struct pile_act_undone *to;

	if (t->n_undone >= ARRAY_LEN(t->undone))
		return;
	to = &t->undone[t->n_undone++];
	*to = (struct pile_act_undone){ .explain_id = e->explain_id,
					.knob = e->entry->knob,
					.result = result };
	snprintf(to->group, sizeof(to->group), "%s", e->entry->group);
	snprintf(to->place, sizeof(to->place), "%s",
		 e->entry->unit[0] ? e->entry->unit : e->entry->path);
	if (result == PILE_UNDONE_TAKEN)
		pile_knob_read(e->entry->path, to->now, sizeof(to->now));
}

static void undone(struct pile_act_throttles *t, struct pile_act_throttled *e, int result)
{
	tell(t, e, result);
	e->used = false;
	pile_undo_drop(e->entry);
}

/* Asks systemd, or does it; what cannot be done now is tried again. */
static void back(struct pile_act_throttles *t, struct pile_act_throttled *e,
		 struct pile_manager *manager, uint64_t now_ns)
{
	struct pile_manager_job job;
	int r;

	e->again_ns = now_ns + LOOK_NS;
	if (e->asked)
		return;
	if (!e->entry->unit[0]) {
		r = pile_undo_cgroup(e->entry);
		if (r >= 0)
			undone(t, e, r);
		return;
	}
	pile_undo_job(e->entry, &job);
	job.id = (uint64_t)(e - t->table);
	e->asked = pile_manager_submit(manager, &job, now_ns) == 0;
}

static struct pile_act_throttled *find(struct pile_act_throttles *t, uint32_t explain_id)
{
	for (int i = 0; i < PILE_UNDO_MAX; i++)
		if (t->table[i].used && t->table[i].explain_id == explain_id)
			return &t->table[i];
	return NULL;
}

void pile_act_throttles_carry_out(struct pile_act_throttles *t, const struct pile_groups *groups,
				  struct pile_manager *manager, struct pile_intent *intents,
				  uint32_t n, uint64_t now_ns)
{
	struct pile_act_throttled *e;
	int r;

	for (uint32_t i = 0; i < n; i++) {
		struct pile_intent *intent = &intents[i];

		if (intent->blocked != PILE_BLOCKED_NO || intent->group >= PILE_GROUPS_MAX)
			continue;
		if (intent->kind == PILE_INTENT_THROTTLE) {
			r = turn(t, groups, manager, intent, now_ns);
			intent->why.throttle.error = -r;
			if (r < 0 && t->n_failed < PILE_UNDO_MAX)
				t->failed[t->n_failed++] = (struct pile_sample_throttled){
					.explain_id = intent->explain_id,
					.error = -r,
				};
		} else if (intent->kind == PILE_INTENT_THROTTLE_OVER) {
			e = find(t, intent->explain_id);
			if (!e)
				continue;
			e->over = true;
			e->over_ns = now_ns;
			back(t, e, manager, now_ns);
		}
	}
}

void pile_act_throttles_result(struct pile_act_throttles *t,
			       const struct pile_manager_result *result, uint64_t now_ns)
{
	struct pile_act_throttled *e =
		result->job.id < PILE_UNDO_MAX ? &t->table[result->job.id] : NULL;
	int r;

	if (!e || !e->used || !e->asked)
		return;
	e->asked = false;
	if (result->job.also_down) { /* it was asked to be set back */
		r = pile_undo_unit(&t->undo, e->entry, result);
		if (r >= 0)
			undone(t, e, r);
		return;
	}
	if (e->over)
		e->again_ns = now_ns;
	if (result->error == 0) {
		e->entry->was = result->job.properties[0].was;
		e->on_ns = now_ns;
		return;
	}
	/* not set, but for one that did not answer in time: who knows */
	e->error = -result->error;
	if (result->error != -ETIMEDOUT && e->over) { /* nothing was set: as it was */
		undone(t, e, PILE_UNDONE_RESTORED);
	} else if (result->error != -ETIMEDOUT) {
		pile_undo_drop(e->entry);
		e->used = false;
		if (t->n_failed < PILE_UNDO_MAX)
			t->failed[t->n_failed++] = (struct pile_sample_throttled){
				.explain_id = e->explain_id,
				.error = e->error,
			};
	}
}

/* The file says what we set, or another hand's. For some seconds systemd has not written it yet. */
static void look(struct pile_act_throttled *e, uint64_t now_ns)
{
	char now[PILE_UNDO_TEXT_MAX];

	e->again_ns = now_ns + LOOK_NS;
	if (!e->on_ns || pile_knob_read(e->entry->path, now, sizeof(now)) < 0)
		return;
	if (strcmp(now, e->entry->ours_text) == 0)
		e->seen = true;
	else if (e->seen || now_ns - e->on_ns >= SETTLE_NS)
		e->taken = true;
}

void pile_act_throttles_sample(struct pile_act_throttles *t, struct pile_manager *manager,
			       struct pile_sample *sample, uint64_t now_ns)
{
	sample->n_throttled = 0;
	for (uint32_t i = 0; i < t->n_failed; i++)
		sample->throttled[sample->n_throttled++] = t->failed[i];
	t->n_failed = 0;
	for (int i = 0; i < PILE_UNDO_MAX; i++) {
		struct pile_act_throttled *e = &t->table[i];

		if (!e->used)
			continue;
		if (now_ns >= e->again_ns) {
			if (e->over)
				back(t, e, manager, now_ns);
			else
				look(e, now_ns);
		}
		if (e->used && e->over && !e->late && now_ns >= e->over_ns + LATE_NS) {
			e->late = true;
			tell(t, e, PILE_UNDONE_LATE);
		}
		if (!e->used || e->over)
			continue;
		sample->throttled[sample->n_throttled++] = (struct pile_sample_throttled){
			.explain_id = e->explain_id,
			.error = e->error,
			.on_ns = e->on_ns,
			.taken = e->taken,
		};
	}
}

static unsigned int count_over(const struct pile_act_throttles *t)
{
	unsigned int n = 0;

	for (int i = 0; i < PILE_UNDO_MAX; i++)
		n += t->table[i].used && t->table[i].over;
	return n;
}

unsigned int pile_act_throttles_settle(struct pile_act_throttles *t, struct pile_manager *manager)
{
	uint64_t now_ns = pile_clock_ns(CLOCK_MONOTONIC), end_ns = now_ns + SETTLE_ALL_NS;
	struct timespec pause = { .tv_nsec = 20 * NS_PER_MS };
	struct pile_manager_result result;

	for (; count_over(t) && now_ns < end_ns; now_ns = pile_clock_ns(CLOCK_MONOTONIC)) {
		for (int i = 0; i < PILE_UNDO_MAX; i++)
			if (t->table[i].used && t->table[i].over && now_ns >= t->table[i].again_ns)
				back(t, &t->table[i], manager, now_ns);
		while (pile_manager_take(manager, &result))
			if (result.job.owner == PILE_MANAGER_THROTTLE)
				pile_act_throttles_result(t, &result, now_ns);
		if (count_over(t))
			nanosleep(&pause, NULL);
	}
	return count_over(t);
}

void pile_act_throttles_close(struct pile_act_throttles *t)
{
	pile_undo_close(&t->undo);
	t->ready = false;
}

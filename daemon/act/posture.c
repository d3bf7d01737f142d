// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * posture.c: which cgroups carry our programs: those whose group enforces something, and no others.
 */
#include <errno.h>
#include <string.h>

#include "act/act.h"

static bool wants_gate(const struct pile_group *group, bool enforce)
{
	return enforce && group->used && group->present && group->cgroup_id && !group->foreign &&
	       group->configured && (group->config.enforce & PILE_RUNG_FAIL_FAST);
}

static bool wants_deadline(const struct pile_group *group, bool enforce)
{
	return enforce && group->used && group->present && group->cgroup_id && !group->foreign &&
	       group->configured && group->config.connect_deadline_ns > 0;
}

/* Two groups of one unit share its cgroup: the program runs once, for the first of them. */
static uint32_t owner_of(const struct pile_groups *g, uint32_t slot, bool enforce)
{
	for (uint32_t i = 0; i < slot; i++)
		if (g->groups[i].cgroup_id == g->groups[slot].cgroup_id &&
		    (wants_gate(&g->groups[i], enforce) || wants_deadline(&g->groups[i], enforce)))
			return i;
	return slot;
}

static void slot_detach(struct pile_act *a, uint32_t slot)
{
	pile_kernel_detach(&a->attachments[slot]);
	a->attached_id[slot] = 0;
}

static void slot_attach(struct pile_act *a, struct pile_kernel *k, const struct pile_groups *g,
			uint32_t slot, bool gate, bool deadline)
{
	_cleanup_close_ int fd = -1;

	fd = pile_groups_cgroup_open(g, slot);
	if (fd < 0) {
		a->attach_error[slot] = fd;
		return;
	}
	a->attach_error[slot] = pile_kernel_attach(k, fd, gate, deadline, &a->attachments[slot]);
	if (a->attach_error[slot] == 0)
		a->attached_id[slot] = g->groups[slot].cgroup_id;
}

static bool attachment_has(const struct pile_kernel_attachment *at, bool gate, bool deadline)
{
	return (at->connect_v4 != NULL) == gate && (at->deadline != NULL) == deadline;
}

static int slot_apply(struct pile_act *a, struct pile_kernel *k, const struct pile_groups *g,
		      uint32_t slot, bool enforce)
{
	const struct pile_group *group = &g->groups[slot];
	bool gate = wants_gate(group, enforce), deadline = wants_deadline(group, enforce);
	bool any = gate || deadline;
	int r;

	r = pile_kernel_deadline_set(k, slot, deadline ? group->config.connect_deadline_ns : 0);
	/* the first of several groups on one cgroup attaches for all: whatever any of them wants */
	if (any && owner_of(g, slot, enforce) != slot) {
		slot_detach(a, slot);
		return r;
	}
	for (uint32_t i = slot + 1; any && i < g->n_groups; i++)
		if (g->groups[i].cgroup_id == group->cgroup_id) {
			gate |= wants_gate(&g->groups[i], enforce);
			deadline |= wants_deadline(&g->groups[i], enforce);
		}
	if (any && a->attached_id[slot] == group->cgroup_id &&
	    attachment_has(&a->attachments[slot], gate, deadline))
		return r;
	slot_detach(a, slot);
	a->attach_error[slot] = 0;
	if (any)
		slot_attach(a, k, g, slot, gate, deadline);
	return r;
}

int pile_act_posture(struct pile_act *a, struct pile_kernel *k, const struct pile_groups *g,
		     bool enforce)
{
	int r, first = 0;

	/* from here on, for some microseconds, nothing is exempt: not more often than something has changed */
	pile_kernel_exempts_clear(k);
	for (uint32_t i = 0; i < g->n_groups; i++)
		if (g->groups[i].used)
			for (uint32_t j = 0; j < g->groups[i].config.n_exempt; j++) {
				r = pile_kernel_exempt_add(k, i, &g->groups[i].config.exempt[j]);
				first = first ? first : r;
			}
	r = pile_act_doors_exempt(a, k, g);
	first = first ? first : r;
	r = pile_act_attach(a, k, g, enforce);
	return first ? first : r;
}

int pile_act_attach(struct pile_act *a, struct pile_kernel *k, const struct pile_groups *g,
		    bool enforce)
{
	int r, first = 0;

	for (uint32_t i = 0; i < PILE_GROUPS_MAX; i++) {
		if (i < g->n_groups && g->groups[i].used) {
			r = slot_apply(a, k, g, i, enforce);
			first = first ? first : r;
		} else if (a->attached_id[i]) {
			slot_detach(a, i);
		}
	}
	return first;
}

bool pile_act_gate_ready(const struct pile_act *a, const struct pile_groups *g, uint32_t group)
{
	if (!g->groups[group].cgroup_id)
		return false;
	/* nearly always its own; else that of one before it, which shares the cgroup */
	for (uint32_t i = group + 1; i-- > 0;)
		if (a->attached_id[i] == g->groups[group].cgroup_id && a->attachments[i].connect_v4)
			return true;
	return false;
}

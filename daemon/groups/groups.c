// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * groups.c: the table of groups: policy groups, found services, their cgroups. Listeners are in
 * listeners.c.
 */
#include "groups/groups.h"

#include <string.h>
#include <sys/stat.h>

#include "groups/proc.h"
#include "groups/table.h"

/* stat() calls in one tick: 128 groups are through in ten, a restarted unit is followed within a second */
#define CHECKS_A_TICK 13

void pile_groups_init(struct pile_groups *g, const struct pile_hierarchy *hierarchy)
{
	struct stat st;

	/*
	 * zeroed by the caller; slots are set up when they are taken, so that unused ones stay
	 * untouched memory
	 */
	g->hierarchy = *hierarchy;
	if (stat("/proc/self/ns/net", &st) == 0)
		g->own_netns = (uint32_t)st.st_ino;
}

void pile_groups_fini(struct pile_groups *g, struct pile_kernel *k)
{
	for (uint32_t i = 0; i < g->n_groups; i++)
		if (g->groups[i].used)
			pile_table_group_drop(g, k, i);
}

uint32_t pile_groups_find(const struct pile_groups *g, const char *name)
{
	for (uint32_t i = 0; i < g->n_groups; i++)
		if (g->groups[i].used && strcmp(g->groups[i].config.name, name) == 0)
			return i;
	return PILE_NO_GROUP;
}

/*
 * Two groups that are listeners of one unit share its cgroup: then only what a worker serves tells
 * them apart.
 */
static bool cgroup_shared(const struct pile_groups *g, uint32_t group)
{
	for (uint32_t i = 0; i < g->n_groups; i++)
		if (i != group && g->groups[i].used && g->groups[i].configured &&
		    g->groups[i].cgroup_id == g->groups[group].cgroup_id)
			return true;
	return false;
}

static void cgroup_tell(struct pile_groups *g, struct pile_kernel *k, uint32_t slot)
{
	struct pile_group *group = &g->groups[slot];

	/* the root cgroup holds everybody: membership there is known by worker only */
	if (strcmp(group->cgroup, "/") != 0)
		group->untold =
			pile_kernel_cgroup_set(k, group->cgroup_id,
					       cgroup_shared(g, slot) ? PILE_NO_GROUP : slot) < 0;
}

void pile_table_cgroup_set(struct pile_groups *g, struct pile_kernel *k, uint32_t slot,
			   const char *cgroup, uint64_t id)
{
	struct pile_group *group = &g->groups[slot];

	if (group->cgroup_id && group->cgroup_id != id && !cgroup_shared(g, slot))
		pile_kernel_cgroup_remove(k, group->cgroup_id);
	if (cgroup != group->cgroup)
		snprintf(group->cgroup, sizeof(group->cgroup), "%s", cgroup);
	group->cgroup_id = id;
	group->present = id != 0;
	group->untold = false;
	if (!id) {
		pile_table_files_close(group);
		return;
	}
	pile_table_files_close(group);
	pile_groups_files_again(g, slot);
	cgroup_tell(g, k, slot);
}

uint32_t pile_table_slot_take(struct pile_groups *g, struct pile_kernel *k, uint64_t now_ns)
{
	uint32_t slot;

	for (slot = 0; slot < PILE_GROUPS_MAX && g->groups[slot].used; slot++)
		;
	if (slot == PILE_GROUPS_MAX)
		return PILE_NO_GROUP;
	memset(&g->groups[slot], 0, sizeof(g->groups[slot]));
	pile_table_files_clear(&g->groups[slot]);
	g->groups[slot].used = true;
	g->groups[slot].seen_ns = now_ns;
	pile_kernel_group_reset(k, slot);
	if (slot >= g->n_groups)
		g->n_groups = slot + 1;
	return slot;
}

void pile_table_port_tell(const struct pile_groups *g, struct pile_kernel *k, uint32_t netns,
			  uint16_t port)
{
	uint32_t group = PILE_NO_GROUP;

	for (uint32_t i = 0; port && i < g->n_listeners; i++) {
		const struct pile_listener *l = &g->listeners[i];

		if (l->used && l->endpoint.port == port && l->netns == netns &&
		    (group == PILE_NO_GROUP || g->groups[l->group].configured))
			group = l->group;
	}
	if (port)
		pile_kernel_port_set(k, netns, port, group);
}

void pile_table_listener_drop(struct pile_groups *g, struct pile_kernel *k, struct pile_listener *l)
{
	pile_kernel_listener_remove(k, l->cookie);
	l->used = false;
	g->doors_due = true;
	pile_table_port_tell(g, k, l->netns, l->endpoint.port);
}

bool pile_table_cgroup_other(const struct pile_groups *g, const char *cgroup, uint64_t id)
{
	char path[PILE_CGROUP_MAX + 256];
	struct stat st;

	pile_table_path(g, cgroup, "", path, sizeof(path));
	return stat(path, &st) == 0 && st.st_ino != id;
}

void pile_table_group_drop(struct pile_groups *g, struct pile_kernel *k, uint32_t slot)
{
	struct pile_group *group = &g->groups[slot];

	if (group->cgroup_id && !cgroup_shared(g, slot))
		pile_kernel_cgroup_remove(k, group->cgroup_id);
	for (uint32_t i = 0; i < g->n_listeners; i++)
		if (g->listeners[i].used && g->listeners[i].group == slot)
			pile_table_listener_drop(g, k, &g->listeners[i]);
	pile_table_files_close(group);
	memset(group, 0, sizeof(*group));
	pile_table_files_clear(group);
	while (g->n_groups > 0 && !g->groups[g->n_groups - 1].used)
		g->n_groups--;
}

static const struct pile_policy_group *policy_find(const struct pile_policy *policy,
						   const char *name)
{
	for (uint32_t i = 0; i < policy->n_groups; i++)
		if (strcmp(policy->groups[i].name, name) == 0)
			return &policy->groups[i];
	return NULL;
}

/* As it is followed: what match finds is in the cgroup that it is placed in. */
static void config_set(struct pile_group *group, const struct pile_policy_group *config)
{
	group->config = *config;
	if (pile_policy_matches(config) && config->place)
		pile_policy_placed(config->name, group->config.cgroup,
				   sizeof(group->config.cgroup));
}

/* @b: as the policy has it */
static bool same_object(const struct pile_policy_group *a, const struct pile_policy_group *b)
{
	if (pile_policy_matches(a) || pile_policy_matches(b))
		return a->place == b->place && pile_policy_match_equal(&a->match, &b->match) &&
		       memcmp(&a->listen, &b->listen, sizeof(a->listen)) == 0;
	return strcmp(a->unit, b->unit) == 0 && strcmp(a->cgroup, b->cgroup) == 0 &&
	       memcmp(&a->listen, &b->listen, sizeof(a->listen)) == 0;
}

/* A found service that the policy now names: by its unit, or by a cgroup above it. */
static bool is_claimed(const struct pile_policy *policy, const struct pile_group *group)
{
	for (uint32_t i = 0; i < policy->n_groups; i++) {
		const struct pile_policy_group *config = &policy->groups[i];
		size_t len = strlen(config->cgroup);
		char placed[PILE_CGROUP_MAX];

		if (strcmp(config->name, group->config.name) == 0)
			return true;
		if (config->unit[0] && strcmp(config->unit, group->config.unit) == 0)
			return true;
		if (len && strncmp(config->cgroup, group->cgroup, len) == 0)
			return true;
		if (pile_policy_matches(config) && config->place &&
		    strcmp(pile_policy_placed(config->name, placed, sizeof(placed)),
			   group->cgroup) == 0)
			return true;
	}
	return false;
}

/* Its slot may be another's soon. */
static void matched_forget(struct pile_groups *g, uint32_t slot)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < g->n_matched; i++)
		if (g->matched[i].group != slot)
			g->matched[n++] = g->matched[i];
	g->n_matched = n;
	for (uint32_t i = 0; i < PILE_CLAIMED_MAX; i++)
		if (g->claimed[i].group == slot)
			g->claimed[i].cookie = 0;
}

/*
 * Groups that the policy no longer names, or names for something else, go; found services that it
 * now names too.
 */
static void groups_retire(struct pile_groups *g, struct pile_kernel *k,
			  const struct pile_policy *policy, pile_groups_event_fn fn, void *arg)
{
	const struct pile_policy_group *config;
	uint32_t gone[PILE_GROUPS_MAX / 32] = {};
	bool any = false;

	for (uint32_t i = 0; i < g->n_groups; i++) {
		struct pile_group *group = &g->groups[i];

		if (!group->used)
			continue;
		config = policy_find(policy, group->config.name);
		if (group->configured && config && same_object(config, &group->config))
			continue;
		if (!group->configured && !is_claimed(policy, group))
			continue;
		/* found services are found again at the next walk, behind the policy's groups */
		fn(PILE_GROUPS_GONE, i, arg);
		matched_forget(g, i);
		pile_table_group_drop(g, k, i);
		gone[i / 32] |= 1u << (i % 32);
		any = true;
	}
	if (any)
		pile_kernel_groups_retire(k, gone);
}

/* A found service makes room for one that the policy names: the one that was seen listening the longest ago. */
static uint32_t slot_make(struct pile_groups *g, struct pile_kernel *k, uint64_t now_ns,
			  pile_groups_event_fn fn, void *arg)
{
	uint32_t slot = pile_table_slot_take(g, k, now_ns), least = PILE_NO_GROUP;
	uint32_t gone[PILE_GROUPS_MAX / 32] = {};

	if (slot != PILE_NO_GROUP)
		return slot;
	for (uint32_t i = 0; i < g->n_groups; i++)
		if (g->groups[i].used && !g->groups[i].configured &&
		    (least == PILE_NO_GROUP || g->groups[i].seen_ns < g->groups[least].seen_ns))
			least = i;
	if (least == PILE_NO_GROUP)
		return PILE_NO_GROUP;
	fn(PILE_GROUPS_GONE, least, arg);
	pile_table_group_drop(g, k, least);
	gone[least / 32] |= 1u << (least % 32);
	pile_kernel_groups_retire(k, gone);
	return pile_table_slot_take(g, k, now_ns);
}

void pile_groups_unit_path(const char *unit, char *ret, size_t size)
{
	pile_policy_unit_path(unit, ret, size);
}

/* A file of the cgroup that is open: ENODEV once the cgroup is gone. A tenth of what a look by its path costs. */
static bool lives(const struct pile_group *group)
{
	char text[64];

	return group->present && group->events_fd >= 0 &&
	       pread(group->events_fd, text, sizeof(text), 0) > 0;
}

/* It is there while a process matches. */
static void match_check(struct pile_groups *g, uint32_t slot, uint64_t now_ns,
			pile_groups_event_fn fn, void *arg)
{
	struct pile_group *group = &g->groups[slot];
	bool was = group->present;

	group->present = false;
	for (uint32_t i = 0; i < g->n_matched && !group->present; i++)
		group->present = g->matched[i].group == slot;
	if (group->present)
		group->seen_ns = now_ns;
	if (group->present != was)
		fn(group->present ? PILE_GROUPS_APPEARED : PILE_GROUPS_GONE, slot, arg);
}

static void group_check(struct pile_groups *g, struct pile_kernel *k, uint32_t slot,
			uint64_t now_ns, pile_groups_event_fn fn, void *arg)
{
	struct pile_group *group = &g->groups[slot];
	char cgroup[PILE_CGROUP_MAX], path[PILE_CGROUP_MAX + 256];
	struct stat st;
	uint64_t id = 0, was = group->cgroup_id;

	if (lives(group)) {
		group->seen_ns = now_ns;
		return;
	}
	/* observed where its processes are: there is no cgroup of its own to look for */
	if (!group->config.unit[0] && !group->config.cgroup[0]) {
		match_check(g, slot, now_ns, fn, arg);
		return;
	}
	if (group->cgroup[0])
		snprintf(cgroup, sizeof(cgroup), "%s", group->cgroup);
	else if (group->config.cgroup[0])
		snprintf(cgroup, sizeof(cgroup), "%s", group->config.cgroup);
	else
		pile_groups_unit_path(group->config.unit, cgroup, sizeof(cgroup));
	pile_table_path(g, cgroup, "", path, sizeof(path));
	/* on 64 bit the inode number of a cgroup directory is its id (kernfs) */
	if (stat(path, &st) == 0 && S_ISDIR(st.st_mode))
		id = st.st_ino;
	if (id)
		group->seen_ns = now_ns;
	if (id == was) {
		if (!id && pile_policy_matches(&group->config))
			match_check(g, slot, now_ns, fn, arg);
		return;
	}
	pile_table_cgroup_set(g, k, slot, id ? cgroup : group->cgroup, id);
	group->foreign = pile_proc_foreign(cgroup);
	if (!id) {
		fn(PILE_GROUPS_GONE, slot, arg);
	} else if (group->seen_before) {
		group->restarts++;
		fn(PILE_GROUPS_RESTARTED, slot, arg);
	} else {
		group->seen_before = true;
		fn(PILE_GROUPS_APPEARED, slot, arg);
	}
}

/* The next @n configured groups in turn, none of them twice. */
static void checks_run(struct pile_groups *g, struct pile_kernel *k, uint32_t n, uint64_t now_ns,
		       pile_groups_event_fn fn, void *arg)
{
	for (uint32_t seen = 0; seen < g->n_groups && n > 0; seen++) {
		uint32_t i = g->check_next % g->n_groups;

		g->check_next = i + 1;
		if (!g->groups[i].used || !g->groups[i].configured)
			continue;
		group_check(g, k, i, now_ns, fn, arg);
		n--;
	}
}

void pile_groups_check(struct pile_groups *g, struct pile_kernel *k, uint64_t now_ns,
		       pile_groups_event_fn fn, void *arg)
{
	checks_run(g, k, CHECKS_A_TICK, now_ns, fn, arg);
	for (uint32_t i = 0; i < g->n_groups; i++)
		if (g->groups[i].untold)
			cgroup_tell(g, k, i);
}

void pile_groups_matched(struct pile_groups *g, const struct pile_matched *matched, uint32_t n)
{
	g->n_matched = MIN(n, PILE_MATCHED_MAX);
	memcpy(g->matched, matched, g->n_matched * sizeof(matched[0]));
}

void pile_groups_apply(struct pile_groups *g, struct pile_kernel *k,
		       const struct pile_policy *policy, uint64_t now_ns, pile_groups_event_fn fn,
		       void *arg)
{
	uint32_t slot;

	pile_kernel_discover_stop(k); /* what it has met may be another group's now */
	g->doors_due = true;
	g->walk_round = 0;
	groups_retire(g, k, policy, fn, arg);
	for (uint32_t i = 0; i < policy->n_groups; i++) {
		slot = pile_groups_find(g, policy->groups[i].name);
		if (slot != PILE_NO_GROUP) {
			config_set(&g->groups[slot], &policy->groups[i]);
			continue;
		}
		slot = slot_make(g, k, now_ns, fn, arg);
		if (slot == PILE_NO_GROUP)
			break; /* cannot be: the policy has at most PILE_GROUPS_MAX */
		g->groups[slot].configured = true;
		config_set(&g->groups[slot], &policy->groups[i]);
		fn(PILE_GROUPS_RESET, slot, arg);
	}
	checks_run(g, k, PILE_GROUPS_MAX, now_ns, fn, arg);
}

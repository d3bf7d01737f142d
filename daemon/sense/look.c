// SPDX-License-Identifier: GPL-2.0-or-later
#include "sense/look.h"

#include <string.h>

#include "groups/proc.h"
#include "util/macro.h"

#define STEP_MIN_BYTES (4ULL << 20)
#define RISE_MIN_BYTES (1ULL << 20)
#define RESERVE_BYTES (64ULL << 20) /* the policy's default (policy.h), as decide takes it */
#define RESERVE_SHARE 50

bool pile_look_group(const struct pile_group *group)
{
	return group->used && group->configured && group->present && !group->foreign &&
	       group->config.workers == PILE_WORKERS_PREFORK;
}

/* Rung 5 goes by what the unit as a whole has, whatever its workers are. */
static bool is_unit(const struct pile_group *group)
{
	return group->used && group->configured && group->present && !group->foreign &&
	       group->config.unit[0];
}

bool pile_look_memory(const struct pile_look *look, const struct pile_group *group)
{
	return (look->on && pile_look_group(group)) || (look->host_on && is_unit(group));
}

static bool gone_soon(uint64_t rise, uint64_t span_ns, uint64_t free)
{
	return span_ns &&
	       (unsigned __int128)free * span_ns < (unsigned __int128)rise * PILE_LOOK_WITHIN_NS;
}

bool pile_look_rise(struct pile_look_rise *rise, uint64_t used, uint64_t free, uint64_t now_ns)
{
	bool soon = false;

	for (uint32_t back = 1; back <= rise->n; back++) {
		uint32_t at = (rise->head + PILE_LOOK_TICKS - (back - 1)) % PILE_LOOK_TICKS;
		uint64_t risen = used > rise->bytes[at] ? used - rise->bytes[at] : 0;

		/* the last, and the first of them: those between tell no more */
		if ((back == 1 && risen >= STEP_MIN_BYTES) ||
		    (back == rise->n && risen >= RISE_MIN_BYTES))
			soon |= gone_soon(risen, now_ns - rise->at_ns[at], free);
	}
	rise->head = (rise->head + 1) % PILE_LOOK_TICKS;
	rise->n = MIN(rise->n + 1, PILE_LOOK_TICKS);
	rise->bytes[rise->head] = used;
	rise->at_ns[rise->head] = now_ns;
	return soon;
}

/* The operator's bound of a group's memory, or UINT64_MAX. */
static uint64_t bound_of(const struct pile_group *group, const struct pile_sample *sample)
{
	const struct pile_policy_group *config = &group->config;
	uint64_t bound = group->memory_limit_bytes ? group->memory_limit_bytes : UINT64_MAX;

	if (config->memory_budget_bytes)
		bound = MIN(bound, config->memory_budget_bytes);
	if (config->memory_budget_permille)
		bound = MIN(bound,
			    sample->memory_total_bytes / 1000 * config->memory_budget_permille);
	return bound;
}

/* What its cgroup is charged, page cache and all; else what its workers hold. */
static uint64_t used_of(struct pile_look *look, const struct pile_group *group, uint32_t slot)
{
	char text[64];
	uint64_t v;

	if (group->memory_current_fd >= 0 &&
	    pile_proc_pread(group->memory_current_fd, text, sizeof(text)) > 0 &&
	    pile_proc_number(text, &v) == 0)
		return v;
	look->blind = true;
	return look->held_bytes[slot];
}

static bool group_soon(struct pile_look *look, const struct pile_group *group, uint32_t slot,
		       uint64_t now_ns, const struct pile_sample *sample)
{
	uint64_t bound = bound_of(group, sample), used;

	if (bound == UINT64_MAX)
		return false;
	used = used_of(look, group, slot);
	return used &&
	       pile_look_rise(&look->groups[slot], used, bound > used ? bound - used : 0, now_ns);
}

bool pile_look_sample(struct pile_look *look, const struct pile_groups *g, uint64_t now_ns,
		      const struct pile_sample *sample)
{
	uint64_t total = sample->memory_total_bytes, available = sample->memory_available_bytes;
	uint64_t reserve =
		look->reserve_bytes ? look->reserve_bytes : RESERVE_BYTES + total / RESERVE_SHARE;
	bool any = false, units = false, soon = false, host_soon;

	look->blind = false;
	for (uint32_t i = 0; i < g->n_groups; i++) {
		units |= is_unit(&g->groups[i]);
		if (!pile_look_group(&g->groups[i]))
			continue;
		any = true;
		soon |= group_soon(look, &g->groups[i], i, now_ns, sample);
	}
	if (!any && !units) {
		look->on = look->host_on = false;
		look->host.n = 0;
		return false;
	}
	host_soon = pile_look_rise(&look->host, total - MIN(available, total),
				   available > reserve ? available - reserve : 0, now_ns);
	if (host_soon)
		look->host_until_ns = now_ns + PILE_LOOK_STAYS_NS;
	look->host_on = now_ns < look->host_until_ns;
	if (soon || host_soon)
		look->until_ns = now_ns + PILE_LOOK_STAYS_NS;
	look->on = any && now_ns < look->until_ns;
	return look->on;
}

void pile_look_group_reset(struct pile_look *look, uint32_t group)
{
	memset(&look->groups[group], 0, sizeof(look->groups[group]));
	look->held_bytes[group] = 0;
}

// SPDX-License-Identifier: GPL-2.0-or-later
/* memory.c: memory of the host and of each group, tasks, pressure. */
#include <string.h>

#include "groups/proc.h"
#include "sense/sense.h"

/* memory.stat costs the kernel a flush of its counters: each tick only while something piles up. */
#define CALM_EVERY_NS NS_PER_SEC
/*
 * The operator's limits are a few files on each level up to the root (20 to 40 us a group), pressure a
 * mean of ten seconds: rarely, but while something piles up, what he sets must count at once.
 */
#define SLOW_CALM_NS (10 * NS_PER_SEC)
#define SLOW_BUSY_NS NS_PER_SEC
#define BUSY_WAITING 12 /* design.md: imbalance counts from 12 requests on */

static uint64_t stat_sum(const char *text)
{
	/* what goes away only with the work: not the page cache */
	static const char *const keys[] = { "anon", "kernel", "sock", "shmem" };
	uint64_t sum = 0, v;

	for (size_t i = 0; i < ARRAY_LEN(keys); i++)
		if (pile_proc_field(text, keys[i], &v) == 0)
			sum += v;
	/* of the kernel's own: dentries and inodes that a backup leaves go when somebody wants their place */
	if (pile_proc_field(text, "slab_reclaimable", &v) == 0)
		sum -= MIN(v, sum);
	return sum;
}

/* "some avg10=1.23 avg60=..." */
static uint32_t pressure_read(int fd)
{
	unsigned int whole, hundredths;
	char text[256];

	if (fd < 0 || pile_proc_pread(fd, text, sizeof(text)) < 0)
		return 0;
	if (sscanf(text, "some avg10=%u.%2u", &whole, &hundredths) != 2)
		return 0;
	return whole * 10 + hundredths / 10;
}

/* Whether it is this group's turn. Groups that came together are looked at in different ticks from then on. */
static bool is_turn(uint64_t *last_ns, uint64_t now_ns, uint64_t every_ns, uint32_t slot)
{
	uint64_t ticks = MAX(every_ns / PILE_TICK_NS, 1);

	if (*last_ns && now_ns - *last_ns < every_ns)
		return false;
	*last_ns = *last_ns ? now_ns : now_ns - slot % ticks * PILE_TICK_NS;
	return true;
}

static void slow_sample(struct pile_sense *s, struct pile_groups *g, uint32_t slot, uint64_t now_ns,
			struct pile_sample_group *ret)
{
	struct pile_group *group = &g->groups[slot];

	if (group->present &&
	    is_turn(&s->groups[slot].slow_ns, now_ns,
		    ret->waiting < BUSY_WAITING ? SLOW_CALM_NS : SLOW_BUSY_NS, slot)) {
		pile_groups_files_again(g, slot);
		ret->pressure_permille = pressure_read(group->pressure_fd);
	}
	ret->memory_limit_bytes = group->memory_limit_bytes;
	ret->workers_limit = group->pids_limit;
}

static void group_sample(struct pile_sense *s, const struct pile_group *group, uint32_t slot,
			 uint64_t now_ns, struct pile_sample_group *ret)
{
	struct pile_sense_group *sg = &s->groups[slot];
	char text[8192];
	bool busy;
	uint64_t v;

	if (!group->present) {
		ret->memory_bytes = 0;
		ret->workers = 0;
		return;
	}
	busy = ret->waiting >= BUSY_WAITING || pile_look_memory(&s->look, group);
	if (!is_turn(&sg->memory_stat_ns, now_ns, busy ? PILE_TICK_NS / 2 : CALM_EVERY_NS, slot))
		return;
	ret->memory_bytes = 0;
	if (group->memory_stat_fd >= 0 &&
	    pile_proc_pread(group->memory_stat_fd, text, sizeof(text)) > 0)
		ret->memory_bytes = stat_sum(text);
	ret->workers = 0;
	if (group->pids_fd >= 0 && pile_proc_pread(group->pids_fd, text, sizeof(text)) > 0 &&
	    pile_proc_number(text, &v) == 0)
		ret->workers = (uint32_t)MIN(v, UINT32_MAX);
}

void pile_memory_sample(struct pile_sense *s, struct pile_groups *g, uint64_t now_ns,
			struct pile_sample *ret)
{
	char text[1024];
	uint64_t v;

	/* MemTotal, MemFree and MemAvailable are the first three lines, SwapFree is the 16th (proc/meminfo.c) */
	if (pile_proc_pread(s->meminfo_fd, text, sizeof(text)) > 0) {
		if (pile_proc_field(text, "MemTotal:", &v) == 0)
			ret->memory_total_bytes = v * 1024;
		if (pile_proc_field(text, "MemAvailable:", &v) == 0)
			ret->memory_available_bytes = v * 1024;
		if (pile_proc_field(text, "SwapFree:", &v) == 0)
			ret->swap_free_bytes = v * 1024;
	}
	for (uint32_t i = 0; i < g->n_groups; i++)
		if (g->groups[i].used) {
			slow_sample(s, g, i, now_ns, &ret->groups[i]);
			group_sample(s, &g->groups[i], i, now_ns, &ret->groups[i]);
		}
}

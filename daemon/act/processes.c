// SPDX-License-Identifier: GPL-2.0-or-later
#include "act/processes.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "util/clock.h"

/* A process is another program right after its birth: what it becomes is seen by then (three seconds). */
#define LOOKS_NEW 3
#define ANCESTORS_MAX 64 /* pools are two or three deep */

uint64_t pile_processes_ticks(void)
{
	return pile_clock_ns(CLOCK_BOOTTIME) /
	       (NS_PER_SEC / (uint64_t)MAX(sysconf(_SC_CLK_TCK), 1));
}

static int by_pid(const void *a, const void *b)
{
	const struct pile_process *x = a, *y = b;

	return x->pid < y->pid ? -1 : x->pid > y->pid;
}

static struct pile_process *find_in(struct pile_process *table, uint32_t n, uint32_t pid)
{
	const struct pile_process key = { .pid = pid };

	return bsearch(&key, table, n, sizeof(table[0]), by_pid);
}

struct pile_process *pile_processes_find(struct pile_processes *p, uint32_t pid)
{
	return find_in(p->table, p->n, pid);
}

static bool listens(const struct pile_holders *holders, uint32_t pid, uint16_t port)
{
	for (uint32_t i = 0; port && i < holders->n; i++)
		if (holders->table[i].tgid == pid && holders->table[i].port == port)
			return true;
	return false;
}

/* Each entry's process; by its number and start, so that nobody is taken for one that is gone. */
void pile_processes_known(struct pile_processes *p, const struct pile_placed *undo)
{
	for (uint32_t i = 0; i < p->n; i++)
		p->table[i].known = -1;
	for (uint32_t i = 0; i < undo->n; i++) {
		struct pile_process *of = pile_processes_find(p, undo->entries[i].pid);

		if (of && of->start_ticks == undo->entries[i].start_ticks)
			of->known = (int16_t)i;
	}
}

static struct pile_placed_entry *entry_of(struct pile_placed *undo, const struct pile_process *of)
{
	return of->known < 0 ? NULL : &undo->entries[of->known];
}

uint32_t pile_processes_key(const char *group)
{
	uint32_t key = 2166136261u;

	for (; *group; group++)
		key = (key ^ (uint8_t)*group) * 16777619u;
	return key ? key : 1;
}

void pile_processes_moved(struct pile_processes *p, const char *group)
{
	uint32_t key = pile_processes_key(group);

	for (uint32_t i = 0; i < p->n; i++) {
		struct pile_process *of = &p->table[i];

		of->was_in = of->was_in == key ? 0 : of->was_in;
		of->hand = of->hand == key ? 0 : of->hand;
	}
}

/* Of this group, the process itself or the nearest above it that was moved; NULL: none. */
static struct pile_placed_entry *entry_above(struct pile_processes *p, struct pile_placed *undo,
					     const struct pile_process *of, const char *group)
{
	for (int i = 0; i < ANCESTORS_MAX && of; i++) {
		struct pile_placed_entry *entry = entry_of(undo, of);

		if (entry && strcmp(entry->group, group) == 0)
			return entry;
		of = of->parent > 1 ? pile_processes_find(p, of->parent) : NULL;
	}
	return NULL;
}

/*
 * Who was placed and is elsewhere now was moved by somebody; so was who was born inside, after who is above it had been
 * placed; and who was seen inside. Children of whom somebody took out stay with it. The operator's hand wins.
 */
static bool moved_by_hand(struct pile_processes *p, struct pile_placed *undo,
			  struct pile_process *of, const char *group)
{
	struct pile_placed_entry *entry = entry_above(p, undo, of, group);
	uint32_t key = pile_processes_key(group);
	bool own = entry && entry == entry_of(undo, of);

	if (of->was_in == key)
		of->hand = key;
	/* not yet moved, or the move was cut off: no hand */
	if (entry && entry->placed_ticks == UINT64_MAX)
		return of->hand == key && !own;
	if (own)
		entry->hand = true;
	/* a tick more: when it began and when its parent was moved are both rounded */
	return of->hand == key ||
	       (entry && (entry->hand || of->start_ticks > entry->placed_ticks + 1));
}

/* Most processes are no rule's program, which is told by one look instead of four. */
static bool program_may(const struct pile_match_rule *rules, uint32_t n, uint32_t pid)
{
	uint64_t dev, ino;
	char path[64];

	for (uint32_t i = 0; i < n; i++)
		if (!rules[i].match.exe[0])
			return true;
	snprintf(path, sizeof(path), "/proc/%u/exe", pid);
	if (pile_match_file(path, &dev, &ino) < 0)
		return false;
	for (uint32_t i = 0; i < n; i++)
		if (rules[i].has_exe && rules[i].exe_dev == dev && rules[i].exe_ino == ino)
			return true;
	return false;
}

static void judge(struct pile_processes *p, struct pile_process *of,
		  const struct pile_match_rule *rules, uint32_t n,
		  const struct pile_holders *holders, struct pile_placed *undo)
{
	struct pile_match_process seen;
	char own[PILE_CGROUP_MAX];

	of->rule = -1;
	of->inside = false;
	if (!program_may(rules, n, of->pid) || pile_match_read(of->pid, &seen) < 0 ||
	    seen.start_ticks != of->start_ticks)
		return;
	for (uint32_t i = 0; i < n && of->rule < 0; i++) {
		pile_policy_placed(rules[i].group, own, sizeof(own));
		if (!pile_match_is(&rules[i], &seen, listens(holders, of->pid, rules[i].match.port),
				   own))
			continue;
		of->rule = (int16_t)i;
		of->inside = strcmp(seen.cgroup, own) == 0;
		of->stay = (uint8_t)pile_match_stays(&rules[i], &seen, p->guard);
		/* also where something else keeps it for now: whose hand it was is seen once */
		if (!of->inside && moved_by_hand(p, undo, of, rules[i].group) &&
		    of->stay == PILE_MATCH_MAY_MOVE)
			of->stay = PILE_MATCH_HAND;
		of->was_in = of->inside ? pile_processes_key(rules[i].group) : 0;
		of->hand = of->inside ? 0 : of->hand;
	}
}

/* Its number alone, and what was known of it. */
static void numbers_read(struct pile_processes *p)
{
	DIR *proc = opendir("/proc");
	struct dirent *entry;

	p->n = 0;
	p->cut = false;
	while (proc && (entry = readdir(proc))) {
		if (entry->d_name[0] < '1' || entry->d_name[0] > '9')
			continue;
		if (p->n == PILE_PROCESSES_MAX) {
			p->cut = true;
			break;
		}
		p->table[p->n++] = (struct pile_process){
			.pid = (uint32_t)strtoul(entry->d_name, NULL, 10),
			.rule = -1,
			.candidate = -1,
		};
	}
	if (proc)
		closedir(proc);
	/* procfs lists them in this order; it costs nothing then, and is not promised */
	qsort(p->table, p->n, sizeof(p->table[0]), by_pid);
}

void pile_processes_look(struct pile_processes *p, const struct pile_match_rule *rules, uint32_t n,
			 const struct pile_holders *holders, struct pile_placed *undo, bool whole)
{
	uint32_t n_before = p->n;

	memcpy(p->before, p->table, n_before * sizeof(p->table[0]));
	numbers_read(p);
	/* first who is whose child, for all: the rules ask for parents */
	for (uint32_t i = 0; i < p->n; i++) {
		struct pile_process *of = &p->table[i],
				    *was = find_in(p->before, n_before, of->pid);
		struct pile_match_process seen;

		if (was && !whole && was->looks >= LOOKS_NEW && was->rule < 0) {
			*of = *was;
			continue;
		}
		if (pile_match_stat(of->pid, &seen) < 0)
			continue; /* gone: without a start it is nobody */
		of->parent = seen.parent;
		of->start_ticks = seen.start_ticks;
		if (was && was->start_ticks == of->start_ticks) {
			of->looks = was->looks;
			of->was_in = was->was_in;
			of->hand = was->hand;
		}
		of->candidate = seen.kernel_thread ? -1 : 0; /* to be judged, below */
	}
	pile_processes_known(p, undo);
	for (uint32_t i = 0; i < p->n; i++) {
		struct pile_process *of = &p->table[i];

		if (of->candidate < 0)
			continue;
		of->candidate = -1;
		judge(p, of, rules, n, holders, undo);
		of->looks = (uint8_t)MIN(of->looks + 1, LOOKS_NEW);
	}
}

/* It is where its parent was, was born before that was moved, and nothing keeps it there. */
static bool child_follows(struct pile_processes *p, const struct pile_match_rule *rules,
			  uint32_t rule, struct pile_placed *undo, const struct pile_process *of)
{
	struct pile_process *parent = pile_processes_find(p, of->parent);
	struct pile_match_process seen, above;
	const struct pile_placed_entry *entry;
	enum pile_match_stay stay;

	if (!parent || !of->start_ticks || of->inside || of->known >= 0)
		return false;
	entry = entry_of(undo, parent);
	if (entry && (entry->hand || strcmp(entry->group, rules[rule].group) != 0))
		return false;
	if (entry ? entry->placed_ticks != UINT64_MAX && of->start_ticks > entry->placed_ticks + 1
		  : parent->candidate != (int16_t)rule)
		return false;
	if (pile_match_read(of->pid, &seen) < 0 || seen.start_ticks != of->start_ticks)
		return false;
	if (entry) {
		if (strcmp(seen.cgroup, undo->origins[entry->origin]) != 0)
			return false;
	} else if (pile_match_read(parent->pid, &above) < 0 ||
		   strcmp(seen.cgroup, above.cgroup) != 0) {
		return false;
	}
	stay = pile_match_stays(&rules[rule], &seen, p->guard);
	return stay == PILE_MATCH_MAY_MOVE || stay == PILE_MATCH_ELSEWHERE;
}

uint32_t pile_processes_candidates(struct pile_processes *p, const struct pile_match_rule *rules,
				   uint32_t rule, const struct pile_trees *trees,
				   struct pile_placed *undo)
{
	uint32_t found = 0, more;

	pile_processes_known(p, undo);
	for (uint32_t i = 0; i < p->n; i++) {
		struct pile_process *of = &p->table[i];
		char where[PILE_CGROUP_MAX];

		of->candidate = -1;
		if (of->rule != (int16_t)rule || of->inside || of->stay != PILE_MATCH_MAY_MOVE)
			continue;
		if (pile_trees_where(&trees->trees[0], of->pid, where, sizeof(where)) < 0)
			continue;
		if (pile_trees_foreign(&trees->trees[0], where)) {
			of->stay = PILE_MATCH_FOREIGN;
			continue;
		}
		of->candidate = (int16_t)rule;
		found++;
	}
	/* a generation each time */
	do {
		more = 0;
		for (uint32_t i = 0; i < p->n; i++) {
			struct pile_process *of = &p->table[i];

			if (of->candidate >= 0 || of->rule >= 0 ||
			    !child_follows(p, rules, rule, undo, of))
				continue;
			of->candidate = (int16_t)rule;
			more++;
		}
		found += more;
	} while (more);
	return found;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * processes.h: the processes of this host, as a table that is looked over again and again: who matches which rule,
 * and who is whose child.
 * Owned by the placing thread (place.h); reads /proc, so it may block (a process whose memory is written to has a lock
 * that such a read waits for): never in the control loop. No allocation; never logs.
 */
#pragma once

#include "act/placed.h"
#include "groups/match.h"

/* pid_max's default; what is beyond is not looked at, which is told */
#define PILE_PROCESSES_MAX 32768
#define PILE_PROCESSES_RULES_MAX PILE_GROUPS_MAX

struct pile_process {
	uint32_t pid, parent;
	uint64_t start_ticks;
	int16_t known;	   /* its entry in the undo record; -1 = none */
	uint8_t looks;	   /* times that it was looked at, up to some */
	int16_t rule;	   /* that it matches; -1 = none */
	int16_t candidate; /* rule whose group it is to be placed in now; -1 = none */
	uint8_t stay;	   /* enum pile_match_stay, where a rule is matched */
	bool inside;	   /* it is in its group's cgroup */
	/* groups (pile_processes_key()), 0 = none: in whose cgroup it was seen last; out of whose somebody took it */
	uint32_t was_in, hand;
};

struct pile_processes {
	uint32_t n;
	bool cut; /* there are more than fit */
	uint32_t guard;
	struct pile_process table[PILE_PROCESSES_MAX], before[PILE_PROCESSES_MAX];
};

/**
 * pile_processes_look - who is there now, and what each matches
 * @whole: all of them; else those only that are new, or matched: a program is known within its first three looks
 */
void pile_processes_look(struct pile_processes *p, const struct pile_match_rule *rules, uint32_t n,
			 const struct pile_holders *holders, struct pile_placed *undo, bool whole);

/** pile_processes_find - NULL: not there at the last look. */
struct pile_process *pile_processes_find(struct pile_processes *p, uint32_t pid);

/**
 * pile_processes_candidates - mark who is to be placed by this rule: who matches it, and, in the same cgroup as its
 * parent was, each child of one that is a candidate, or that was placed only after the child was born
 * Returns how many.
 */
uint32_t pile_processes_candidates(struct pile_processes *p, const struct pile_match_rule *rules,
				   uint32_t rule, const struct pile_trees *trees,
				   struct pile_placed *undo);

/** pile_processes_key - a number for a group's name, never 0: a rule's index is another group's after a reload. */
uint32_t pile_processes_key(const char *group);

/** pile_processes_moved - the guard itself has moved out who was in this group's cgroup: that was nobody's hand. */
void pile_processes_moved(struct pile_processes *p, const char *group);

/** pile_processes_known - mark who has an entry in the record; each look does. */
void pile_processes_known(struct pile_processes *p, const struct pile_placed *undo);

/** pile_processes_ticks - now, in the unit of start_ticks. */
uint64_t pile_processes_ticks(void);

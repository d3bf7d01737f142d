/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * load.h: tasks and processor time of the groups that the policy names, and how long what it protects waits for a
 * processor: for rung 3.
 * Part of struct pile_sense; control loop only. Short reads, no allocation; never logs.
 * Each tick one small read (/proc/loadavg). The others, some us a group, each second (/proc/stat, and who has a quota:
 * never more often); and each tick while tasks come to be, or more of them want to run than there are processors.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "groups/groups.h"
#include "sense/sample.h"

#define PILE_LOAD_CALM_NS NS_PER_SEC
#define PILE_LOAD_STAYS_NS (5 * NS_PER_SEC) /* after the last reason to look each tick */
/* tasks that came to be since the last tick, or over ten: a login takes five, a page of PHP none */
#define PILE_LOAD_TASKS 8
#define PILE_LOAD_TASKS_SECOND 32

#define PILE_LOAD_MISSING_NS (60 * NS_PER_SEC)
#define PILE_LOAD_ABOVE 4 /* a unit, its slices */

/** One unit or cgroup that is protected. */
struct pile_load_protected {
	char cgroup[PILE_CGROUP_MAX]; /* below the v2 mount */
	uint64_t cgroup_id;
	int pressure_fd, stat_fd; /* -1 = not there */
	uint64_t seen_ns;	  /* when it was there last, or was looked for first */
	bool told;		  /* that it is missing */
	/* cpu.stat where the cpu controller is: its own, and those above it, the nearest first; -1 = not there */
	int quota_fds[PILE_LOAD_ABOVE];
};

struct pile_load {
	int loadavg_fd;	   /* -1 = each tick is a look */
	int stat_fd;	   /* /proc/stat; -1 = nobody knows what is left over */
	uint64_t until_ns; /* until then each tick is a look */
	uint32_t ticks;
	uint32_t tasks_second; /* of the host, a second ago */
	uint32_t tasks_limit;
	uint64_t limit_ns; /* when it was read last */
	uint32_t n_protected;
	struct pile_load_protected protected[PILE_PROTECT_MAX];
	bool pressure_missing; /* the kernel tells no pressure (psi=1): nothing is proven */
};

/** pile_load_open - @l: zeroed. */
void pile_load_open(struct pile_load *l);
void pile_load_close(struct pile_load *l);

/** pile_load_protect - what the policy names: a change begins anew. */
void pile_load_protect(struct pile_load *l, const struct pile_policy *policy);

/** pile_load_sample - fills in what is known; @ret->load_ns says when it was looked. */
void pile_load_sample(struct pile_load *l, const struct pile_groups *g, uint64_t now_ns,
		      struct pile_sample *ret);

/**
 * pile_load_missing - one that the policy protects, and that is not there for a minute: nothing that waits there is seen
 * Each is named once a policy; slices come and go. Returns its cgroup, or NULL.
 */
const char *pile_load_missing(struct pile_load *l, const struct pile_sample *sample);

/** pile_load_idle - what the first line of /proc/stat says that all processors had left over, ns, total; 0: nothing. */
uint64_t pile_load_idle(const char *text);

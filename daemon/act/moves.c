// SPDX-License-Identifier: GPL-2.0-or-later
#include "act/moves.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <unistd.h>

#include "groups/match.h"

int pile_moves_hold(struct pile_moving *m, uint32_t pid, uint64_t start_ticks)
{
	struct pile_match_process p;
	int r;

	*m = (struct pile_moving){ .pid = pid, .start_ticks = start_ticks };
	m->pidfd = pidfd_open((pid_t)pid, 0);
	if (m->pidfd < 0)
		return -errno;
	r = pile_match_stat(pid, &p);
	if (r == 0 && p.start_ticks != start_ticks)
		r = -ESRCH;
	if (r < 0)
		pile_moves_drop(m);
	return r == -ENOENT ? -ESRCH : r;
}

void pile_moves_drop(struct pile_moving *m)
{
	if (m->pidfd >= 0)
		close(m->pidfd);
	m->pidfd = -1;
}

bool pile_moves_still(const struct pile_moving *m)
{
	/* no signal; also for a process that has ended, as long as nobody has waited for it */
	return pidfd_send_signal(m->pidfd, 0, NULL, 0) == 0 || errno != ESRCH;
}

static bool is_in(const struct pile_tree *tree, uint32_t pid, const char *cgroup)
{
	char where[PILE_CGROUP_MAX];

	return pile_trees_where(tree, pid, where, sizeof(where)) == 0 && strcmp(where, cgroup) == 0;
}

/* The number was moved into @cgroup by mistake: back to where its parent is. Not where nothing was written: not ours. */
static void mend(const struct pile_tree *tree, uint32_t pid, const char *cgroup)
{
	char home[PILE_CGROUP_MAX];
	struct pile_match_process p;

	if (pile_match_stat(pid, &p) < 0 || !is_in(tree, pid, cgroup))
		return;
	if (pile_trees_where(tree, p.parent, home, sizeof(home)) < 0)
		snprintf(home, sizeof(home), "/");
	/* a child of a placed process is born inside, and belongs there */
	if (strcmp(home, cgroup) != 0)
		pile_trees_put(tree, home, pid);
}

int pile_moves_put(const struct pile_trees *t, const struct pile_moving *m, const char *from,
		   const char *cgroup)
{
	bool written[PILE_TREES_MAX] = { false };
	int r = 0;

	if (!is_in(&t->trees[0], m->pid, from))
		return pile_moves_still(m) ? -ESTALE : -ESRCH;
	for (uint32_t i = 0; i < t->n && r == 0; i++) {
		if (i && !is_in(&t->trees[i], m->pid, "/"))
			continue;
		r = pile_trees_put(&t->trees[i], cgroup, m->pid);
		written[i] = r == 0;
		/* the other trees are for rungs that come; the unified one is what acts */
		r = i ? 0 : r;
	}
	if (pile_moves_still(m))
		return r;
	for (uint32_t i = 0; i < t->n; i++)
		if (written[i])
			mend(&t->trees[i], m->pid, cgroup);
	return -ESRCH;
}

/* Where the origin is gone, or may hold no processes (v2): what is above it, at last the root, which always may. */
static int put_above(const struct pile_tree *tree, uint32_t pid, const char *origin, char *at)
{
	char *slash;
	int r;

	snprintf(at, PILE_CGROUP_MAX, "%s", origin);
	for (;;) {
		r = pile_trees_put(tree, at, pid);
		slash = strrchr(at, '/');
		if (r == 0 || r == -ESRCH || !slash || strcmp(at, "/") == 0)
			return r;
		slash[slash == at] = '\0';
	}
}

int pile_moves_back(const struct pile_trees *t, const struct pile_moving *m, const char *cgroup,
		    const char *origin)
{
	char at[PILE_TREES_MAX][PILE_CGROUP_MAX];
	bool written[PILE_TREES_MAX] = { false };
	int r = 0, one;

	for (uint32_t i = 0; i < t->n; i++) {
		if (!is_in(&t->trees[i], m->pid, cgroup))
			continue;
		one = put_above(&t->trees[i], m->pid, i ? "/" : origin, at[i]);
		written[i] = one == 0;
		r = r ? r : one;
	}
	if (pile_moves_still(m))
		return r;
	for (uint32_t i = 0; i < t->n; i++)
		if (written[i])
			mend(&t->trees[i], m->pid, at[i]);
	return -ESRCH;
}

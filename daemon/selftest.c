// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * selftest.c: when rung 1 is tried (act/selftest.h), and what is told of it: at the start, whenever it is armed again,
 * and daily; sooner while it fails. Never while it is needed, and not while the guard is disarmed: hands off.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "groups/proc.h"
#include "guard.h"
#include "util/clock.h"
#include "util/quantity.h"

#define EVERY_NS (24 * 3600 * NS_PER_SEC)
#define JITTER_S 3600 /* by the host, so that no fleet does it in one moment */
#define AGAIN_NS (600 * NS_PER_SEC)

static int own_cgroup_open(const struct pile_guard *g)
{
	char cgroup[PILE_CGROUP_MAX], path[PILE_CGROUP_MAX + 256];
	int fd, r = pile_proc_cgroup((uint32_t)getpid(), cgroup, sizeof(cgroup));

	if (r < 0)
		return r;
	snprintf(path, sizeof(path), "%s%s", g->groups.hierarchy.unified, cgroup);
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

/* Rung 1 is at work: that it works is seen elsewhere, and the tick has better to do. */
static bool is_needed(const struct pile_guard *g)
{
	return g->act.n_gates || g->act.draining;
}

static void passed_say(struct pile_guard *g)
{
	char refuse[32], end[32];

	pile_quantity_format_duration(g->selftest.last.refuse_ns / NS_PER_US * NS_PER_US, refuse,
				      sizeof(refuse));
	pile_quantity_format_duration(g->selftest.last.end_ns / NS_PER_US * NS_PER_US, end,
				      sizeof(end));
	pile_guard_say(
		g, PILE_EVENT_START, PILE_NO_GROUP,
		"self-test passed: a connect is refused in %s, a pending one ended in %s, a gate without a "
		"lease is open",
		refuse, end);
}

static void failed_say(struct pile_guard *g)
{
	const struct pile_selftest *t = &g->selftest.last;

	pile_guard_say(g, PILE_EVENT_TROUBLE, PILE_NO_GROUP,
		       "self-test FAILED: cannot %s (%s)%s: rung 1 may not work on this host",
		       pile_selftest_step_name(t->step), pile_selftest_error_name(t->error),
		       t->step == PILE_SELFTEST_ATTACH && t->error == -EPERM
			       ? ": another program on a parent cgroup forbids it"
			       : "");
}

void pile_selftest_again(struct pile_guard *g)
{
	g->selftest.next_ns = 0;
}

void pile_selftest_tick(struct pile_guard *g, uint64_t now_ns)
{
	struct pile_selftesting *s = &g->selftest;
	bool was = s->at_ns && s->last.step == PILE_SELFTEST_PASSED, is;
	_cleanup_close_ int cgroup_fd = -1;

	if (now_ns < s->next_ns || g->view.disarmed || is_needed(g))
		return;
	cgroup_fd = own_cgroup_open(g);
	pile_selftest_run(&g->kernel, cgroup_fd, &s->last);
	/* once may be chance: a connect that gets an answer where none was to be expected */
	if (s->last.step != PILE_SELFTEST_PASSED)
		pile_selftest_run(&g->kernel, cgroup_fd, &s->last);
	is = s->last.step == PILE_SELFTEST_PASSED;
	if (is && !was)
		passed_say(g);
	else if (!is && (was || !s->at_ns))
		failed_say(g);
	s->at_ns = now_ns;
	s->at_realtime_ns = pile_clock_ns(CLOCK_REALTIME);
	s->next_ns = now_ns + (is ? EVERY_NS - g->host_seed % JITTER_S * NS_PER_SEC : AGAIN_NS);
}

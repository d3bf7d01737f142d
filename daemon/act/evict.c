// SPDX-License-Identifier: GPL-2.0-or-later
#include "act/evict.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "groups/proc.h"
#include "util/clock.h"
#include "util/macro.h"

/* After SIGKILL: what is in the kernel for longer is not ended by a signal. */
#define GIVE_UP_NS (10 * NS_PER_SEC)

/*
 * Of a process that is being killed: frees what it holds without waiting for it to be scheduled (5.15). It takes as
 * long as that does, so not in the control loop. EAGAIN: somebody holds its memory's lock.
 */
static void *reaper_main(void *arg)
{
	int in = (int)(intptr_t)arg, pidfd;

	while (read(in, &pidfd, sizeof(pidfd)) == (ssize_t)sizeof(pidfd)) {
		syscall(SYS_process_mrelease, pidfd, 0);
		close(pidfd);
	}
	close(in);
	return NULL;
}

static void reaper_start(struct pile_act_evicts *e)
{
	int ends[2];

	if (pipe2(ends, O_CLOEXEC) < 0)
		return;
	if (fcntl(ends[1], F_SETFL, O_NONBLOCK) < 0 ||
	    pthread_create(&e->reaper, NULL, reaper_main, (void *)(intptr_t)ends[0]) != 0) {
		close(ends[0]);
		close(ends[1]);
		return;
	}
	e->reaper_fd = ends[1];
}

int pile_act_evicts_open(struct pile_act_evicts *e)
{
	_cleanup_close_ int self = -1;

	e->reaper_fd = -1;
	for (int i = 0; i < PILE_EVICTS_MAX; i++)
		e->table[i].pidfd = -1;
	e->ticks_ns = NS_PER_SEC / (uint64_t)MAX(sysconf(_SC_CLK_TCK), 1);
	self = pidfd_open(getpid(), 0);
	if (self < 0 || pidfd_send_signal(self, 0, NULL, 0) < 0)
		return -errno;
	reaper_start(e);
	e->ready = true;
	return 0;
}

static void evicting_drop(struct pile_act_evicting *v)
{
	if (v->pidfd >= 0)
		close(v->pidfd);
	v->pidfd = -1;
}

void pile_act_evicts_close(struct pile_act_evicts *e)
{
	for (int i = 0; i < PILE_EVICTS_MAX && e->ready; i++)
		evicting_drop(&e->table[i]);
	if (e->ready && e->reaper_fd >= 0) {
		close(e->reaper_fd);
		pthread_join(e->reaper, NULL);
	}
	e->ready = false;
}

/* ---- is it the one that was meant? ---- */

/*
 * "PID (NAME) STATE PPID ...": a name may hold anything, so from the last parenthesis on; the start is 20 fields after
 * the state. Returns 0 or -EBADMSG.
 */
static int stat_parse(const char *text, uint32_t *ret_parent, uint64_t *ret_start_ticks)
{
	const char *at = strrchr(text, ')');
	unsigned long long start;
	unsigned int parent;

	if (!at || sscanf(at + 1, " %*c %u", &parent) != 1)
		return -EBADMSG;
	for (int field = 0; at && field < 20; field++)
		at = strchr(at + 1, ' ');
	if (!at || sscanf(at, " %llu", &start) != 1)
		return -EBADMSG;
	*ret_parent = parent;
	*ret_start_ticks = start;
	return 0;
}

static int cgroup_check(uint32_t pid, const char *wanted)
{
	char path[PILE_CGROUP_MAX];
	int r = pile_proc_cgroup(pid, path, sizeof(path));

	if (r < 0)
		return r;
	return strcmp(path, wanted) == 0 ? 0 : -EXDEV;
}

/*
 * 0, or why it is not: -ESTALE another process has its number by now, -EXDEV it, or its parent, is not in the group's
 * cgroup; or it is gone.
 */
static int victim_check(const struct pile_act_evicts *e, const struct pile_group *group,
			const struct pile_why *why)
{
	char path[64], text[1024];
	uint64_t start_ticks;
	uint32_t parent;
	ssize_t n;
	int r;

	if (!group->used || !group->present || group->foreign || !group->cgroup[0] ||
	    strcmp(group->cgroup, "/") == 0)
		return -EXDEV;
	snprintf(path, sizeof(path), "/proc/%u/stat", why->pid);
	n = pile_proc_read(path, text, sizeof(text));
	if (n < 0)
		return (int)n;
	r = stat_parse(text, &parent, &start_ticks);
	if (r < 0)
		return r;
	if (start_ticks != why->evict.start_ns / e->ticks_ns)
		return -ESTALE;
	r = cgroup_check(why->pid, group->cgroup);
	return r < 0 ? r : cgroup_check(parent, group->cgroup);
}

/* ---- signals ---- */

static int signal_send(struct pile_act_evicting *v, int signal)
{
	if (pidfd_send_signal(v->pidfd, signal, NULL, 0) < 0)
		return -errno;
	v->signal = (uint32_t)signal;
	return 0;
}

static struct pile_act_evicting *place_find(struct pile_act_evicts *e)
{
	for (int i = 0; i < PILE_EVICTS_MAX; i++)
		if (e->table[i].pidfd < 0)
			return &e->table[i];
	return NULL;
}

static int victim_end(struct pile_act_evicts *e, const struct pile_group *group,
		      const struct pile_intent *intent, uint64_t now_ns)
{
	struct pile_act_evicting *v = place_find(e);
	const struct pile_why *why = &intent->why;
	int r;

	if (!v || !e->ready)
		return -ENOSPC;
	*v = (struct pile_act_evicting){
		.pidfd = pidfd_open((pid_t)why->pid, 0),
		.explain_id = intent->explain_id,
		.pid = why->pid,
		.group = intent->group,
		.start_ns = why->evict.start_ns,
		.kill_ns = now_ns + intent->grace_ns,
		.give_up_ns = now_ns + intent->grace_ns + GIVE_UP_NS,
		.held_bytes = why->evict.private_bytes,
	};
	if (v->pidfd < 0)
		return -errno;
	r = victim_check(e, group, why);
	if (r == 0)
		r = signal_send(v, SIGTERM);
	if (r < 0)
		evicting_drop(v);
	return r;
}

void pile_act_evicts_carry_out(struct pile_act_evicts *e, const struct pile_groups *groups,
			       struct pile_intent *intents, uint32_t n, uint64_t now_ns)
{
	int r;

	for (uint32_t i = 0; i < n; i++) {
		struct pile_intent *intent = &intents[i];

		if (intent->kind != PILE_INTENT_EVICT || intent->blocked != PILE_BLOCKED_NO ||
		    intent->group >= PILE_GROUPS_MAX)
			continue;
		r = victim_end(e, &groups->groups[intent->group], intent, now_ns);
		intent->why.evict.error = -r;
		if (r < 0 && e->n_failed < PILE_SAMPLE_EVICTED_MAX)
			e->failed[e->n_failed++] = (struct pile_sample_evicted){
				.explain_id = intent->explain_id,
				.pid = intent->why.pid,
				.error = -r,
			};
	}
}

/* Its memory, without waiting for it to run: the thread has a descriptor of its own. */
static void memory_release(const struct pile_act_evicts *e, const struct pile_act_evicting *v)
{
	int copy = e->reaper_fd >= 0 ? fcntl(v->pidfd, F_DUPFD_CLOEXEC, 3) : -1;

	if (copy >= 0 && write(e->reaper_fd, &copy, sizeof(copy)) != (ssize_t)sizeof(copy))
		close(copy);
}

static void held_update(struct pile_act_evicting *v, const struct pile_sample *sample)
{
	for (uint32_t i = 0; i < MIN(sample->n_workers, PILE_SAMPLE_WORKERS_MAX); i++)
		if (sample->workers[i].pid == v->pid && sample->workers[i].start_ns == v->start_ns)
			v->held_bytes = MAX(v->held_bytes, sample->workers[i].private_bytes);
}

/* What let the guard end it lets it still. */
static bool is_allowed(const struct pile_act_evicting *v, const struct pile_groups *groups)
{
	const struct pile_group *group = &groups->groups[v->group];

	return group->used && !group->foreign && (group->config.enforce & PILE_RUNG_EVICT);
}

static bool waits_on_dependency(const struct pile_act_evicting *v, const struct pile_sample *sample)
{
	for (uint32_t i = 0; i < MIN(sample->n_workers, PILE_SAMPLE_WORKERS_MAX); i++)
		if (sample->workers[i].pid == v->pid && sample->workers[i].start_ns == v->start_ns)
			return sample->workers[i].connecting;
	return false;
}

/* Returns whether it is over: gone, or not to be ended. @allowed: to be killed; @waits: on a dependency */
static bool evicting_follow(const struct pile_act_evicts *e, struct pile_act_evicting *v,
			    bool allowed, bool waits, uint64_t now_ns, bool *ret_gone)
{
	struct pollfd fd = { .fd = v->pidfd, .events = POLLIN };
	int r;

	*ret_gone = poll(&fd, 1, 0) > 0;
	if (*ret_gone)
		return true;
	if (now_ns >= v->give_up_ns) {
		v->error = ETIMEDOUT;
		return true;
	}
	if (v->signal == SIGKILL || now_ns < v->kill_ns)
		return false;
	if (!allowed) {
		v->error = ECANCELED;
		return true;
	}
	if (waits)
		return false;
	r = signal_send(v, SIGKILL);
	if (r == 0)
		memory_release(e, v);
	v->error = r == -ESRCH ? 0 : -r;
	return r < 0 && r != -ESRCH;
}

static void result_add(struct pile_sample *sample, const struct pile_sample_evicted *result)
{
	if (sample->n_evicted < PILE_SAMPLE_EVICTED_MAX)
		sample->evicted[sample->n_evicted++] = *result;
}

void pile_act_evicts_sample(struct pile_act_evicts *e, const struct pile_groups *groups,
			    bool enforce, struct pile_sample *sample, uint64_t now_ns)
{
	bool gone;

	sample->n_evicted = 0;
	for (uint32_t i = 0; i < e->n_failed; i++)
		result_add(sample, &e->failed[i]);
	e->n_failed = 0;
	for (int i = 0; i < PILE_EVICTS_MAX && e->ready; i++) {
		struct pile_act_evicting *v = &e->table[i];

		/* a full sample: told by the next */
		if (v->pidfd < 0 || sample->n_evicted == PILE_SAMPLE_EVICTED_MAX)
			continue;
		held_update(v, sample);
		if (!evicting_follow(e, v, enforce && is_allowed(v, groups),
				     waits_on_dependency(v, sample), now_ns, &gone))
			continue;
		result_add(sample, &(struct pile_sample_evicted){
					   .explain_id = v->explain_id,
					   .pid = v->pid,
					   .signal = v->signal,
					   .error = v->error,
					   .gone_ns = gone ? now_ns : 0,
					   .freed_bytes = gone ? v->held_bytes : 0,
				   });
		evicting_drop(v);
	}
}

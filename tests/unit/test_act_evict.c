// SPDX-License-Identifier: GPL-2.0-or-later
/* Who is sent a signal: the process that was meant, and no other; real children, cgroups as the test says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "act/evict.h"
#include "groups/proc.h"
#include "util/clock.h"
#include "util/macro.h"

#define CGROUP "/system.slice/php8.2-fpm.service"

static struct pile_act_evicts evicts;
static struct pile_groups groups;
static struct pile_sample sample;
static struct pile_intent intent;
static pid_t child;
static bool enforce;
static const char *child_cgroup, *parent_cgroup;

ssize_t pile_proc_read(const char *path, char *buf, size_t size)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, buf, size - 1);

	buf[MAX(n, 0)] = '\0';
	return n < 0 ? -errno : n;
}

int pile_proc_cgroup(uint32_t tgid, char *ret, size_t size)
{
	snprintf(ret, size, "%s", tgid == (uint32_t)child ? child_cgroup : parent_cgroup);
	return 0;
}

/* Since boot, to the tick: as /proc tells it. */
static uint64_t started_ns(pid_t pid)
{
	char path[64], text[1024], *at;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	assert_true(pile_proc_read(path, text, sizeof(text)) > 0);
	at = strrchr(text, ')');
	for (int i = 0; i < 20; i++)
		at = strchr(at + 1, ' ');
	return strtoull(at, NULL, 10) * evicts.ticks_ns;
}

/* @deaf: to SIGTERM; its name is one that a careless reader takes for other fields. */
static void child_start(bool deaf)
{
	int ready[2];
	char c;

	assert_int_equal(pipe(ready), 0);
	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		prctl(PR_SET_NAME, "x) R 1 1 1 (");
		if (deaf)
			signal(SIGTERM, SIG_IGN);
		(void)!write(ready[1], "r", 1);
		for (;;)
			pause();
	}
	assert_int_equal(read(ready[0], &c, 1), 1);
	close(ready[0]);
	close(ready[1]);
	intent.why.pid = (uint32_t)child;
	intent.why.evict.start_ns = started_ns(child) + evicts.ticks_ns / 2;
}

static int begin(void **state)
{
	(void)state;
	memset(&evicts, 0, sizeof(evicts));
	memset(&sample, 0, sizeof(sample));
	groups.groups[0] = (struct pile_group){ .used = true, .present = true, .cgroup = CGROUP };
	groups.groups[0].config.enforce = PILE_RUNG_EVICT;
	enforce = true;
	intent = (struct pile_intent){ .kind = PILE_INTENT_EVICT,
				       .explain_id = 17,
				       .grace_ns = 200 * NS_PER_MS,
				       .why.evict.private_bytes = 500 };
	child = 0;
	child_cgroup = parent_cgroup = CGROUP;
	return pile_act_evicts_open(&evicts);
}

static int end(void **state)
{
	(void)state;
	if (child > 0) {
		kill(child, SIGKILL);
		waitpid(child, NULL, 0);
	}
	pile_act_evicts_close(&evicts);
	return 0;
}

static void carry_out(void)
{
	pile_act_evicts_carry_out(&evicts, &groups, &intent, 1, pile_clock_ns(CLOCK_MONOTONIC));
}

/* Ticks until something is told of it; at most ten seconds. */
static const struct pile_sample_evicted *told(void)
{
	uint64_t until_ns = pile_clock_ns(CLOCK_MONOTONIC) + 10 * NS_PER_SEC, now_ns;

	do {
		now_ns = pile_clock_ns(CLOCK_MONOTONIC);
		pile_act_evicts_sample(&evicts, &groups, enforce, &sample, now_ns);
	} while (!sample.n_evicted && now_ns < until_ns);
	assert_int_equal(sample.n_evicted, 1);
	assert_int_equal(sample.evicted[0].explain_id, 17);
	return &sample.evicted[0];
}

static int ended_by(void)
{
	int status;

	assert_int_equal(waitpid(child, &status, 0), child);
	child = 0;
	assert_true(WIFSIGNALED(status));
	return WTERMSIG(status);
}

static void is_ended(void **state)
{
	const struct pile_sample_evicted *result;

	(void)state;
	child_start(false);
	carry_out();
	result = told();
	assert_true(result->gone_ns > 0);
	assert_int_equal(result->signal, SIGTERM);
	assert_int_equal(result->error, 0);
	assert_int_equal(result->freed_bytes, 500);
	assert_int_equal(ended_by(), SIGTERM);
	pile_act_evicts_sample(&evicts, &groups, enforce, &sample, pile_clock_ns(CLOCK_MONOTONIC));
	assert_int_equal(sample.n_evicted, 0);
}

static void is_killed(void **state)
{
	uint64_t from_ns = pile_clock_ns(CLOCK_MONOTONIC);
	const struct pile_sample_evicted *result;

	(void)state;
	child_start(true);
	carry_out();
	result = told();
	assert_int_equal(result->signal, SIGKILL);
	assert_true(result->gone_ns - from_ns >= intent.grace_ns);
	assert_int_equal(ended_by(), SIGKILL);
}

/* What let the guard end it is switched off within the grace: SIGTERM was sent, SIGKILL is not. */
static void is_not_killed(void **state)
{
	const struct pile_sample_evicted *result;

	(void)state;
	child_start(true);
	for (int i = 0; i < 2; i++) {
		carry_out();
		enforce = i == 1; /* disarmed; then the policy takes the rung out */
		groups.groups[0].config.enforce = i == 1 ? 0 : PILE_RUNG_EVICT;
		result = told();
		assert_int_equal(result->error, ECANCELED);
		assert_int_equal(result->signal, SIGTERM);
		assert_int_equal(result->gone_ns, 0);
		assert_int_equal(waitpid(child, NULL, WNOHANG), 0);
	}
}

/* It began to wait on a dependency after SIGTERM: it may hold a lock now. */
static void is_not_killed_while_it_waits(void **state)
{
	uint64_t until_ns = pile_clock_ns(CLOCK_MONOTONIC) + intent.grace_ns + 200 * NS_PER_MS;

	(void)state;
	child_start(true);
	carry_out();
	sample.n_workers = 1;
	sample.workers[0] = (struct pile_sample_worker){ .pid = (uint32_t)child,
							 .start_ns = intent.why.evict.start_ns,
							 .connecting = true };
	while (pile_clock_ns(CLOCK_MONOTONIC) < until_ns) {
		pile_act_evicts_sample(&evicts, &groups, enforce, &sample,
				       pile_clock_ns(CLOCK_MONOTONIC));
		assert_int_equal(sample.n_evicted, 0);
		assert_int_equal(waitpid(child, NULL, WNOHANG), 0);
	}
	sample.workers[0].connecting = false;
	assert_int_equal(told()->signal, SIGKILL);
	assert_int_equal(ended_by(), SIGKILL);
}

/* Nothing is sent, for this; the child is there. */
static void not_sent(int error)
{
	const struct pile_sample_evicted *result;

	carry_out();
	result = told();
	assert_int_equal(result->error, error);
	assert_int_equal(intent.why.evict.error, error); /* for the journal's line */
	assert_int_equal(result->signal, 0);
	assert_int_equal(result->gone_ns, 0);
	assert_int_equal(waitpid(child, NULL, WNOHANG), 0);
}

static void another_process(void **state)
{
	(void)state;
	child_start(false);
	intent.why.evict.start_ns -= NS_PER_SEC;
	not_sent(ESTALE);
	intent.why.evict.start_ns += 2 * NS_PER_SEC;
	not_sent(ESTALE);
}

static void another_cgroup(void **state)
{
	struct pile_group *g = &groups.groups[0];

	(void)state;
	child_start(false);
	child_cgroup = "/system.slice/ssh.service";
	not_sent(EXDEV);
	child_cgroup = CGROUP "/below";
	not_sent(EXDEV);
	child_cgroup = CGROUP;
	parent_cgroup = "/init.scope"; /* a unit's main process: systemd's child */
	not_sent(EXDEV);
	parent_cgroup = CGROUP;
	g->present = false;
	not_sent(EXDEV);
	g->present = true;
	g->foreign = true;
	not_sent(EXDEV);
	g->foreign = false;
	/* everybody's */
	snprintf(g->cgroup, sizeof(g->cgroup), "/");
	child_cgroup = parent_cgroup = "/";
	not_sent(EXDEV);
}

static void is_gone_already(void **state)
{
	const struct pile_sample_evicted *result;

	(void)state;
	child_start(false);
	kill(child, SIGKILL);
	ended_by();
	carry_out();
	result = told();
	assert_int_equal(result->error, ESRCH);
}

/* What is blocked, and every other intent, moves nobody. */
static void not_asked(void **state)
{
	(void)state;
	child_start(false);
	intent.blocked = PILE_BLOCKED_OBSERVE;
	carry_out();
	intent.blocked = PILE_BLOCKED_NO;
	intent.kind = PILE_INTENT_EVICT_OVER;
	carry_out();
	intent.kind = PILE_INTENT_LEAK;
	carry_out();
	pile_act_evicts_sample(&evicts, &groups, enforce, &sample, pile_clock_ns(CLOCK_MONOTONIC));
	assert_int_equal(sample.n_evicted, 0);
	assert_int_equal(waitpid(child, NULL, WNOHANG), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(is_ended, begin, end),
		cmocka_unit_test_setup_teardown(is_killed, begin, end),
		cmocka_unit_test_setup_teardown(is_not_killed, begin, end),
		cmocka_unit_test_setup_teardown(is_not_killed_while_it_waits, begin, end),
		cmocka_unit_test_setup_teardown(another_process, begin, end),
		cmocka_unit_test_setup_teardown(another_cgroup, begin, end),
		cmocka_unit_test_setup_teardown(is_gone_already, begin, end),
		cmocka_unit_test_setup_teardown(not_asked, begin, end),
	};

	return cmocka_run_group_tests_name("act_evict", tests, NULL, NULL);
}

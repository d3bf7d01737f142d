// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * storm KIND ...: what takes tasks or processors, never more than it is told, never for longer; children die with it.
 *
 *   storm fork RATE MOST SECONDS   RATE children a second, MOST in all, each of which sleeps
 *   storm bomb MOST SECONDS        children that fork children, as fast as they can, MOST in all
 *   storm threads MOST SECONDS     threads that sleep
 *   storm spin N SECONDS           N processes that spin
 *   storm login EVERY_MS WORK_MS SECONDS   WORK_MS of work each EVERY_MS, in a child; prints how long each took, ms
 *
 * A line "made N failed M" ends all but login: what there is, and how often there was no more of it (EAGAIN).
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_SEC 1000000000LL
#define NS_PER_MS 1000000LL
#define FAILED_PAUSE_US 1000 /* whoever gets no more tries again a thousand times a second */

static struct {
	_Atomic int made, failed, over;
} * shared;

static int64_t now_ns(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return t.tv_sec * NS_PER_SEC + t.tv_nsec;
}

static void sleep_until(int64_t until_ns)
{
	struct timespec t = { until_ns / NS_PER_SEC, until_ns % NS_PER_SEC };

	clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
}

/* Returns 0 in the child, which dies with its parent. */
static pid_t fork_one(void)
{
	pid_t pid = fork();

	if (pid == 0)
		prctl(PR_SET_PDEATHSIG, SIGKILL);
	else if (pid < 0)
		shared->failed++;
	else
		shared->made++;
	return pid;
}

static void storm_fork(int rate, int most, int64_t end_ns)
{
	int64_t from_ns = now_ns(CLOCK_MONOTONIC);

	for (int n = 1; now_ns(CLOCK_MONOTONIC) < end_ns; n++) {
		if (shared->made >= most) {
			sleep_until(end_ns);
			break;
		}
		if (fork_one() == 0) {
			sleep_until(end_ns + NS_PER_SEC);
			_exit(0);
		}
		sleep_until(from_ns + n * NS_PER_SEC / rate);
	}
}

/* Each of them, and all of theirs. */
static void bomb(int most, int64_t end_ns)
{
	while (now_ns(CLOCK_MONOTONIC) < end_ns && !shared->over) {
		if (shared->made >= most) {
			usleep(10 * FAILED_PAUSE_US);
			continue;
		}
		switch (fork_one()) {
		case 0:
			bomb(most, end_ns);
			_exit(0);
		case -1:
			usleep(FAILED_PAUSE_US);
			break;
		default:
			break;
		}
	}
}

static void *thread_main(void *arg)
{
	sleep_until(*(int64_t *)arg);
	return NULL;
}

static void storm_threads(int most, int64_t end_ns)
{
	static int64_t until_ns;
	pthread_attr_t attr;
	pthread_t thread;

	until_ns = end_ns;
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 16384);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	while (now_ns(CLOCK_MONOTONIC) < end_ns && shared->made < most) {
		if (pthread_create(&thread, &attr, thread_main, &until_ns) == 0) {
			shared->made++;
		} else {
			shared->failed++;
			usleep(FAILED_PAUSE_US);
		}
	}
	sleep_until(end_ns);
}

static void storm_spin(int n, int64_t end_ns)
{
	for (int i = 0; i < n; i++)
		if (fork_one() == 0) {
			while (now_ns(CLOCK_MONOTONIC) < end_ns)
				;
			_exit(0);
		}
	sleep_until(end_ns);
}

static void login(int every_ms, int work_ms, int64_t end_ns)
{
	int64_t next_ns = now_ns(CLOCK_MONOTONIC);

	while (next_ns < end_ns) {
		int64_t from_ns = now_ns(CLOCK_MONOTONIC);

		if (fork() == 0) {
			while (now_ns(CLOCK_PROCESS_CPUTIME_ID) < work_ms * NS_PER_MS)
				;
			_exit(0);
		}
		wait(NULL);
		printf("%.1f\n", (double)(now_ns(CLOCK_MONOTONIC) - from_ns) / 1e6);
		fflush(stdout);
		next_ns += every_ms * NS_PER_MS;
		sleep_until(next_ns);
	}
}

int main(int argc, char **argv)
{
	const char *kind = argc > 1 ? argv[1] : "";
	int last = argc > 2 ? atoi(argv[argc - 1]) : 0, first = argc > 2 ? atoi(argv[2]) : 0;
	int64_t end_ns = now_ns(CLOCK_MONOTONIC) + last * NS_PER_SEC;

	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	if (shared == MAP_FAILED)
		return 1;
	signal(SIGCHLD, strcmp(kind, "login") ? SIG_IGN : SIG_DFL);
	if (!strcmp(kind, "login") && argc == 5) {
		login(first, atoi(argv[3]), end_ns);
		return 0;
	}
	if (!strcmp(kind, "fork") && argc == 5)
		storm_fork(first, atoi(argv[3]), end_ns);
	else if (!strcmp(kind, "bomb") && argc == 4)
		bomb(first, end_ns);
	else if (!strcmp(kind, "threads") && argc == 4)
		storm_threads(first, end_ns);
	else if (!strcmp(kind, "spin") && argc == 4)
		storm_spin(first, end_ns);
	else
		return 2;
	shared->over = 1;
	printf("made %d failed %d\n", shared->made, shared->failed);
	return 0;
}

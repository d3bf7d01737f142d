// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * moves.c: one process moved, natively, as root: also when its number becomes another's between the look and the write,
 * which is made to happen by clone3(set_tid). Prints TAP; makes cgroups /pgtest-moves-PID*, and takes them away.
 */
#include <errno.h>
#include <linux/sched.h>
#include <mntent.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "act/moves.h"
#include "groups/match.h"
#include "util/macro.h"

ssize_t __real_write(int fd, const void *buf, size_t n);
ssize_t __wrap_write(int fd, const void *buf, size_t n);
int __real_pidfd_send_signal(int fd, int signal, siginfo_t *info, unsigned int flags);
int __wrap_pidfd_send_signal(int fd, int signal, siginfo_t *info, unsigned int flags);

static struct pile_trees trees;
static char home[64], target[64], from[64];
static pid_t victim, stranger;
static bool
	refused_at_write; /* ... and the write is refused; somebody has put the stranger there */
static bool
	swap_at_write; /* the victim's number becomes the stranger's right before the next write */
static bool blind;     /* nobody asks whether the number is still its own */
static int tests, failures;

static void check(bool ok, const char *what)
{
	printf("%sok %d - %s\n", ok ? "" : "not ", ++tests, what);
	failures += !ok;
}

/* @pid: 0 = any */
static pid_t child_make(pid_t pid)
{
	struct clone_args args = {
		.exit_signal = SIGCHLD,
		.set_tid = pid ? (uint64_t)(uintptr_t)&pid : 0,
		.set_tid_size = pid ? 1 : 0,
	};
	pid_t child = (pid_t)syscall(SYS_clone3, &args, sizeof(args));

	if (child == 0) {
		for (;;)
			pause();
	}
	return child;
}

static void child_end(pid_t pid)
{
	if (pid > 0) {
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
	}
}

static void swap(void)
{
	pid_t number = victim;

	child_end(victim);
	victim = 0;
	stranger = child_make(number);
	if (stranger != number) {
		printf("Bail out! no process can be given a number: %s\n", strerror(errno));
		_exit(1);
	}
}

ssize_t __wrap_write(int fd, const void *buf, size_t n)
{
	if (swap_at_write) {
		swap_at_write = false;
		swap();
	}
	if (refused_at_write) {
		refused_at_write = false;
		__real_write(fd, buf, n);
		errno = EPERM;
		return -1;
	}
	return __real_write(fd, buf, n);
}

int __wrap_pidfd_send_signal(int fd, int signal, siginfo_t *info, unsigned int flags)
{
	return blind ? 0 : __real_pidfd_send_signal(fd, signal, info, flags);
}

static bool is_in(pid_t pid, const char *cgroup)
{
	char where[PILE_CGROUP_MAX];

	return pile_trees_where(&trees.trees[0], (uint32_t)pid, where, sizeof(where)) == 0 &&
	       strcmp(where, cgroup) == 0;
}

static void victim_begin(struct pile_moving *m)
{
	struct pile_match_process p;

	victim = child_make(0);
	pile_trees_put(&trees.trees[0], from, (uint32_t)victim);
	if (pile_match_stat((uint32_t)victim, &p) < 0 ||
	    pile_moves_hold(m, (uint32_t)victim, p.start_ticks) < 0)
		printf("Bail out! the victim cannot be held\n");
}

static void all_end(struct pile_moving *m)
{
	pile_moves_drop(m);
	child_end(victim);
	child_end(stranger);
	victim = stranger = 0;
}

static void test_plain(void)
{
	struct pile_moving m;

	victim_begin(&m);
	check(pile_moves_put(&trees, &m, from, target) == 0 && is_in(victim, target), "moved");
	check(pile_moves_put(&trees, &m, from, target) == -ESTALE, "it is not there any more");
	check(pile_moves_back(&trees, &m, target, from) == 0 && is_in(victim, from), "back");
	check(pile_moves_back(&trees, &m, target, "/") == 0 && is_in(victim, from),
	      "who is elsewhere is left there");
	all_end(&m);
}

static void test_origin_gone(void)
{
	char gone[128];
	struct pile_moving m;

	victim_begin(&m);
	pile_moves_put(&trees, &m, from, target);
	snprintf(gone, sizeof(gone), "%s/was/here", home);
	check(pile_moves_back(&trees, &m, target, gone) == 0 && is_in(victim, home),
	      "back to what is left above its origin");
	all_end(&m);
}

static void test_reused(void)
{
	struct pile_moving m;

	victim_begin(&m);
	swap_at_write = true;
	check(pile_moves_put(&trees, &m, from, target) == -ESRCH, "told that it is gone");
	check(stranger && is_in(stranger, home), "the other with its number is where it was born");
	all_end(&m);

	victim_begin(&m);
	swap();
	check(pile_moves_put(&trees, &m, from, target) == -ESRCH && is_in(stranger, home),
	      "gone before the look: nobody is moved");
	all_end(&m);

	victim_begin(&m);
	swap_at_write = blind = true;
	pile_moves_put(&trees, &m, from, target);
	blind = false;
	check(is_in(stranger, target), "red: without asking, the other one would have been moved");
	all_end(&m);
}

/* Where nothing was written nothing is to be mended. */
static void test_reused_and_refused(void)
{
	struct pile_moving m;

	victim_begin(&m);
	swap_at_write = refused_at_write = true;
	check(pile_moves_put(&trees, &m, from, target) == -ESRCH && is_in(stranger, target),
	      "refused: the other with its number is where somebody else has put it");
	all_end(&m);
}

static void test_held(void)
{
	struct pile_match_process p;
	struct pile_moving m;

	victim = child_make(0);
	pile_match_stat((uint32_t)victim, &p);
	check(pile_moves_hold(&m, (uint32_t)victim, p.start_ticks + 1) == -ESRCH && m.pidfd < 0,
	      "another start is another process");
	all_end(&m);
}

static int mount_find(char *ret, size_t size)
{
	FILE *mounts = setmntent("/proc/self/mounts", "re");
	struct mntent *entry;
	int r = -ENOENT;

	while (mounts && r < 0 && (entry = getmntent(mounts)))
		if (strcmp(entry->mnt_type, "cgroup2") == 0) {
			snprintf(ret, size, "%s", entry->mnt_dir);
			r = 0;
		}
	if (mounts)
		endmntent(mounts);
	return r;
}

int main(void)
{
	char mount[256];

	if (geteuid() != 0 || mount_find(mount, sizeof(mount)) < 0) {
		printf("1..0 # SKIP needs root and cgroup v2\n");
		return 0;
	}
	setvbuf(stdout, NULL, _IONBF, 0); /* children are copies */
	pile_trees_find(&trees, mount, false);
	snprintf(home, sizeof(home), "/pgtest-moves-%d", getpid());
	snprintf(from, sizeof(from), "/pgtest-moves-%d-from", getpid());
	snprintf(target, sizeof(target), "/pgtest-moves-%d-target", getpid());
	if (pile_trees_make(&trees, home) < 0 || pile_trees_make(&trees, from) < 0 ||
	    pile_trees_make(&trees, target) < 0) {
		printf("Bail out! no cgroup can be made\n");
		return 1;
	}
	/* who is born here is born in home */
	pile_trees_put(&trees.trees[0], home, (uint32_t)getpid());
	test_plain();
	test_origin_gone();
	test_reused();
	test_reused_and_refused();
	test_held();
	pile_trees_put(&trees.trees[0], "/", (uint32_t)getpid());
	check(pile_trees_remove(&trees, target) == 0 && pile_trees_remove(&trees, from) == 0 &&
		      pile_trees_remove(&trees, home) == 0,
	      "nothing is left");
	printf("1..%d\n", tests);
	return failures ? 1 : 0;
}

// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * sharers.c: one table of descriptors that many processes share: sharers PROCESSES
 * stdin is a socket, for both directions: a walk that looks at few descriptors comes far in one read. Says how many there
 * are when all share it, small as it is, and obeys one byte each, answered by another: "g": the highest number is opened,
 * and it has as many places as RLIMIT_NOFILE allows; "a": more processes with such a table each. All of
 * them end with the socket.
 */
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define STACK_BYTES 4096
#define ALONE_PLACES (20 << 20) /* more than one read goes through; 8 bytes each */

static struct rlimit files;

static int wait_for_end(void *arg)
{
	(void)arg;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (pause() < 0)
		;
	return 0;
}

/* And nothing else is open in it. Returns that number. */
static int grow(void)
{
	int top = (int)files.rlim_max - 1;

	if (dup2(STDIN_FILENO, top) == top)
		close(STDIN_FILENO);
	return top;
}

static int alone(void *arg)
{
	grow();
	return wait_for_end(arg);
}

static int make(int n, int flags, int (*fn)(void *))
{
	char *stacks = mmap(NULL, (size_t)n * STACK_BYTES, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int made = 0;

	if (stacks == MAP_FAILED)
		return 0;
	while (made < n && clone(fn, stacks + (size_t)(made + 1) * STACK_BYTES,
				 CLONE_VM | flags | SIGCHLD, NULL) > 0)
		made++;
	return made;
}

int main(int argc, char **argv)
{
	int talk = STDIN_FILENO;
	char word;

	if (argc != 2 || getrlimit(RLIMIT_NOFILE, &files) < 0)
		return 2;
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);
	close(STDOUT_FILENO);
	close(STDERR_FILENO);
	dprintf(STDIN_FILENO, "%d\n", make(atoi(argv[1]), CLONE_FILES, wait_for_end));
	while (read(talk, &word, 1) == 1) {
		if (word == 'g')
			talk = grow();
		else
			make((int)(ALONE_PLACES / files.rlim_max), 0, alone);
		dprintf(talk, "done\n");
	}
	kill(0, SIGKILL); /* a session of its own */
	return 0;
}

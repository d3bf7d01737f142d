// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * servers.c: many processes that have served one request each: servers PROCESSES CGROUP
 * Moves itself to CGROUP, listens, says "listening"; "go" on stdin makes the processes, asks each once, and says
 * "served N". All of them end with stdin.
 */
#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define STACK_BYTES 4096

static int listener;

/* Of a process that shares its memory with all others: nothing of libc's that would mind. */
static int serve_once(void *arg)
{
	char word;
	int fd;

	(void)arg;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	fd = accept(listener, NULL, NULL);
	if (fd >= 0 && read(fd, &word, 1) == 1)
		write(fd, &word, 1);
	close(fd);
	while (pause() < 0)
		;
	return 0;
}

static int make(int n)
{
	char *stacks = mmap(NULL, (size_t)n * STACK_BYTES, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int made = 0;

	if (stacks == MAP_FAILED)
		return 0;
	while (made < n && clone(serve_once, stacks + (size_t)(made + 1) * STACK_BYTES,
				 CLONE_VM | SIGCHLD, NULL) > 0)
		made++;
	return made;
}

/* Whether somebody answers who has not answered yet: those that have do not accept again. */
static int ask(const struct sockaddr_in *at)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0), answered;
	char word = 'x';

	answered = connect(fd, (const struct sockaddr *)at, sizeof(*at)) == 0 &&
		   write(fd, &word, 1) == 1 && read(fd, &word, 1) == 1;
	close(fd);
	return answered;
}

int main(int argc, char **argv)
{
	struct sockaddr_in at = { .sin_family = AF_INET,
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(at);
	int made, served = 0, procs;
	char line[16], path[512];

	if (argc != 3)
		return 2;
	snprintf(path, sizeof(path), "%s/cgroup.procs", argv[2]);
	procs = open(path, O_WRONLY | O_CLOEXEC);
	if (procs < 0 || write(procs, "0", 1) != 1)
		return 1;
	listener = socket(AF_INET, SOCK_STREAM, 0);
	if (listener < 0 || bind(listener, (struct sockaddr *)&at, len) < 0 ||
	    listen(listener, 64) < 0 || getsockname(listener, (struct sockaddr *)&at, &len) < 0)
		return 1;
	puts("listening");
	fflush(stdout);
	if (!fgets(line, sizeof(line), stdin))
		return 0;
	made = make(atoi(argv[1]));
	while (served < made && ask(&at))
		served++;
	printf("served %d\n", served);
	fflush(stdout);
	while (fgets(line, sizeof(line), stdin))
		;
	kill(0, SIGKILL); /* a session of its own */
	return 0;
}

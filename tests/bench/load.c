// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * load.c: one question, one answer, many times, over one connection: load ours|foreign tcp|unix N PATH [CPUS]
 * ours: accepted from a listener that stays, so that the guard follows it. foreign: from one that is closed at once.
 * CPUS: on each of the first so many processors one connection of its own, with both of its ends there: nothing but
 * the guard's own counters is shared. Else both ends run where the scheduler puts them.
 * Says "ready", waits for a line on stdin, and prints how many nanoseconds of CPU time a round trip took, both ends
 * together (the mean of all): what else runs on the machine takes time, but not theirs.
 */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define CPUS_MAX 8 /* the listener's backlog */

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static int listener_open(bool tcp, const char *path, struct sockaddr_storage *sa, socklen_t *len)
{
	struct sockaddr_in in = { .sin_family = AF_INET,
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	int fd = socket(tcp ? AF_INET : AF_UNIX, SOCK_STREAM, 0);

	snprintf(un.sun_path, sizeof(un.sun_path), "%s", path);
	*len = tcp ? sizeof(in) : sizeof(un);
	memcpy(sa, tcp ? (void *)&in : (void *)&un, *len);
	if (bind(fd, (struct sockaddr *)sa, *len) < 0 || listen(fd, 8) < 0)
		fail("listen");
	if (tcp && getsockname(fd, (struct sockaddr *)sa, len) < 0)
		fail("getsockname");
	return fd;
}

static int connection(bool tcp, int listener, const struct sockaddr_storage *sa, socklen_t len,
		      int *ret_server)
{
	int client = socket(tcp ? AF_INET : AF_UNIX, SOCK_STREAM, 0), one = 1;

	if (connect(client, (const struct sockaddr *)sa, len) < 0)
		fail("connect");
	*ret_server = accept(listener, NULL, NULL);
	if (*ret_server < 0)
		fail("accept");
	if (tcp) {
		setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		setsockopt(*ret_server, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	}
	return client;
}

static void wait_for_word(void)
{
	char line[16];

	printf("ready\n");
	fflush(stdout);
	if (!fgets(line, sizeof(line), stdin))
		exit(1);
}

static void serve(int fd)
{
	char buf[64];
	ssize_t n;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	while ((n = recv(fd, buf, sizeof(buf), 0)) > 0)
		if (send(fd, buf, (size_t)n, MSG_NOSIGNAL) != n)
			break;
	_exit(0);
}

static long long cpu_ns(int who)
{
	struct rusage usage;

	getrusage(who, &usage);
	return (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000000LL +
	       (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1000LL;
}

static void cpu_keep(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set) < 0)
		fail("affinity");
}

/* Returns the nanoseconds of a round trip. The server is a child, and the only one. */
static long long ask(int fd, long n)
{
	long long start = cpu_ns(RUSAGE_SELF);
	char buf[8] = "question";

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (long i = 0; i < n; i++)
		if (send(fd, buf, 8, MSG_NOSIGNAL) != 8 || recv(fd, buf, 8, MSG_WAITALL) != 8)
			fail("round trip");
	shutdown(fd, SHUT_WR); /* the server ends */
	if (wait(NULL) < 0)
		fail("wait");
	return (cpu_ns(RUSAGE_SELF) - start + cpu_ns(RUSAGE_CHILDREN)) / n;
}

int main(int argc, char **argv)
{
	bool ours = argc >= 5 && strcmp(argv[1], "ours") == 0,
	     tcp = argc >= 5 && strcmp(argv[2], "tcp") == 0;
	int cpus = argc == 6 ? atoi(argv[5]) : 0, pairs = cpus ? cpus : 1;
	int listener, server[CPUS_MAX], client[CPUS_MAX], results[2];
	long long took, sum = 0;
	struct sockaddr_storage sa;
	socklen_t len;
	long n;

	if (argc < 5 || cpus < 0 || cpus > CPUS_MAX)
		return 2;
	n = atol(argv[3]);
	listener = listener_open(tcp, argv[4], &sa, &len);
	if (ours)
		wait_for_word(); /* followed first, connected then */
	for (int i = 0; i < pairs; i++)
		client[i] = connection(tcp, listener, &sa, len, &server[i]);
	if (!ours) {
		close(listener);
		wait_for_word();
	}
	if (pipe(results) < 0)
		fail("pipe");
	for (int i = 0; i < pairs; i++)
		if (fork() == 0) {
			if (cpus)
				cpu_keep(i);
			if (fork() == 0)
				serve(server[i]);
			took = ask(client[i], n);
			return write(results[1], &took, sizeof(took)) != sizeof(took);
		}
	for (int i = 0; i < pairs; i++) {
		if (read(results[0], &took, sizeof(took)) != sizeof(took))
			fail("result");
		sum += took;
	}
	printf("%lld\n", sum / pairs);
	return 0;
}

// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * crowd.c: many workers with many connections: crowd WORKERS CONNECTIONS CGROUP
 * The workers are in CGROUP, share one listener and get the same number of connections each. Says "ready" when all
 * connections stand and each has had one answer ("listening" first, and waits for a line, so that somebody can look at
 * the listener before). Then obeys lines on stdin: "ask RATE SECONDS": so many requests a second over all connections
 * in turn, prints the mean ns of one; "hang": one request on each that is not answered, prints "hung".
 */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define EACH_MAX 1024 /* connections of one worker */
#define CONNECTIONS_MAX 20000
#define NS_PER_SEC 1000000000LL

static int connections[CONNECTIONS_MAX];

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static long long now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * NS_PER_SEC + t.tv_nsec;
}

static void cgroup_enter(const char *cgroup)
{
	char path[512];
	FILE *f;

	snprintf(path, sizeof(path), "%s/cgroup.procs", cgroup);
	f = fopen(path, "we");
	if (!f || fputs("0", f) < 0 || fclose(f) != 0)
		fail(path);
}

/* 'a' is answered, anything else is not. */
static void worker(int listener, int n)
{
	struct pollfd fds[EACH_MAX];
	char byte;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (int i = 0; i < n; i++) {
		fds[i].fd = accept(listener, NULL, NULL);
		fds[i].events = POLLIN;
		if (fds[i].fd < 0 || recv(fds[i].fd, &byte, 1, 0) != 1 ||
		    send(fds[i].fd, &byte, 1, MSG_NOSIGNAL) != 1)
			_exit(1);
	}
	while (poll(fds, (nfds_t)n, -1) > 0)
		for (int i = 0; i < n; i++) {
			if (!fds[i].revents)
				continue;
			if (recv(fds[i].fd, &byte, 1, 0) != 1)
				_exit(0);
			if (byte == 'a')
				send(fds[i].fd, &byte, 1, MSG_NOSIGNAL);
		}
	_exit(0);
}

/* The workers, in a process of their own, so that the client stays outside of their cgroup. */
static pid_t service_start(int listener, int workers, int each, const char *cgroup)
{
	pid_t pid = fork();

	if (pid != 0)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	cgroup_enter(cgroup);
	for (int i = 0; i < workers; i++)
		if (fork() == 0)
			worker(listener, each);
	for (;;)
		pause();
}

static int connection(const struct sockaddr_in *sa)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;

	if (fd < 0 || connect(fd, (const struct sockaddr *)sa, sizeof(*sa)) < 0)
		fail("connect");
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	return fd;
}

static void ask_one(int fd)
{
	char byte = 'a';

	if (send(fd, &byte, 1, MSG_NOSIGNAL) != 1 || recv(fd, &byte, 1, 0) != 1)
		fail("ask");
}

static void ask(int n, long rate, long seconds)
{
	long long start = now_ns(), spent = 0, from, due;
	struct timespec t;

	for (long i = 0; i < rate * seconds; i++) {
		due = start + i * NS_PER_SEC / rate;
		t = (struct timespec){ due / NS_PER_SEC, due % NS_PER_SEC };
		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
		from = now_ns();
		ask_one(connections[i % n]);
		spent += now_ns() - from;
	}
	printf("%lld\n", spent / (rate * seconds));
}

static void obey(int n)
{
	char line[64];
	long rate, seconds;

	printf("ready\n");
	fflush(stdout);
	while (fgets(line, sizeof(line), stdin)) {
		if (sscanf(line, "ask %ld %ld", &rate, &seconds) == 2 && rate > 0 && seconds > 0)
			ask(n, rate, seconds);
		else if (strcmp(line, "hang\n") == 0) {
			for (int i = 0; i < n; i++)
				if (send(connections[i], "h", 1, MSG_NOSIGNAL) != 1)
					fail("hang");
			printf("hung\n");
		}
		fflush(stdout);
	}
}

int main(int argc, char **argv)
{
	struct sockaddr_in sa = { .sin_family = AF_INET,
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct rlimit limit = { CONNECTIONS_MAX, CONNECTIONS_MAX };
	socklen_t len = sizeof(sa);
	int workers, n, listener;
	pid_t service;
	char line[16];

	if (argc != 4)
		return 2;
	workers = atoi(argv[1]);
	n = atoi(argv[2]);
	if (workers < 1 || n < 1 || n > CONNECTIONS_MAX || n % workers || n / workers > EACH_MAX)
		return 2;
	setrlimit(RLIMIT_NOFILE, &limit);
	listener = socket(AF_INET, SOCK_STREAM, 0);
	if (bind(listener, (struct sockaddr *)&sa, sizeof(sa)) < 0 || listen(listener, 1024) < 0 ||
	    getsockname(listener, (struct sockaddr *)&sa, &len) < 0)
		fail("listen");
	service = service_start(listener, workers, n / workers, argv[3]);
	close(listener);
	printf("listening\n");
	fflush(stdout);
	if (fgets(line, sizeof(line), stdin)) {
		for (int i = 0; i < n; i++) {
			connections[i] = connection(&sa);
			ask_one(connections[i]);
		}
		obey(n);
	}
	kill(service, SIGKILL); /* its workers go with it */
	return 0;
}

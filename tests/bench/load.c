// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * load.c: one question, one answer, many times, over one connection: load ours|foreign tcp|unix N PATH
 * ours: accepted from a listener that stays, so that the guard follows it. foreign: from one that is closed at once.
 * Says "ready", waits for a line on stdin, and prints how many nanoseconds a round trip took.
 */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

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

static long long now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

int main(int argc, char **argv)
{
	bool ours = argc == 5 && strcmp(argv[1], "ours") == 0,
	     tcp = argc == 5 && strcmp(argv[2], "tcp") == 0;
	struct sockaddr_storage sa;
	int listener, server, client;
	char buf[8] = "question";
	long long start;
	socklen_t len;
	long n;

	if (argc != 5)
		return 2;
	n = atol(argv[3]);
	listener = listener_open(tcp, argv[4], &sa, &len);
	if (ours)
		wait_for_word(); /* followed first, connected then */
	client = connection(tcp, listener, &sa, len, &server);
	if (!ours) {
		close(listener);
		wait_for_word();
	}
	if (fork() == 0)
		serve(server);
	close(server);
	start = now_ns();
	for (long i = 0; i < n; i++)
		if (send(client, buf, 8, MSG_NOSIGNAL) != 8 ||
		    recv(client, buf, 8, MSG_WAITALL) != 8)
			fail("round trip");
	printf("%lld\n", (now_ns() - start) / n);
	return 0;
}

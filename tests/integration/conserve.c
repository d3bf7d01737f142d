// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * conserve.c: servers and clients of every habit that requests have, good and bad; test_conserve.py counts along.
 *
 *   conserve serve prefork|events CGROUP WORKERS PORT UNIX_PATH   until it is killed; workers that die are replaced
 *   conserve ask REQUESTS SEED THREADS {PORT|UNIX_PATH}...	    prints one line a target: sent, answered, unanswered
 *
 * A request is a head (what the server shall do, how many bytes follow) and a body; an answer is ANSWER bytes. What must
 * not be answered never is, so that the client's count of answers is exact, whoever is killed when.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define ANSWER 64
#define TARGETS_MAX 8
#define BODY_MAX 4096

enum habit {
	KEEP = 'k', /* answered; the connection stays */
	ONCE = 'o', /* answered and closed by the server */
	FCGI = 'f', /* answered, sending side shut down, then a left-over record is read: php-fpm */
	STREAM = 's', /* answered in three pieces */
	HALF = 'h',   /* the client has shut down its sending side before the answer */
	UPLOAD = 'u', /* the body comes in chunks */
	CLOSE = 'c',  /* closed without an answer */
	RESET = 'r',  /* the client resets while the server thinks */
	DIE = 'd',    /* the worker dies by SIGKILL in mid-request */
};

struct head {
	uint8_t habit;
	uint8_t pad;
	uint16_t body;
};

struct conn {
	int fd;
	uint32_t have;
	uint8_t data[sizeof(struct head) + BODY_MAX];
};

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static int socket_for(const char *target, bool listening)
{
	struct sockaddr_in in = { .sin_family = AF_INET,
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	bool tcp = target[0] != '/';
	struct sockaddr *sa = tcp ? (struct sockaddr *)&in : (struct sockaddr *)&un;
	socklen_t len = tcp ? sizeof(in) : sizeof(un);
	int fd = socket(tcp ? AF_INET : AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;

	in.sin_port = htons((uint16_t)atoi(target));
	snprintf(un.sun_path, sizeof(un.sun_path), "%s", target);
	if (fd < 0)
		return -1;
	if (tcp) { /* accepted sockets inherit it: no 40 ms between the pieces of an answer */
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	}
	if (listening ? bind(fd, sa, len) == 0 && listen(fd, 1024) == 0 : connect(fd, sa, len) == 0)
		return fd;
	close(fd);
	return -1;
}

/* ---- servers ---- */

static bool answer(int fd, int pieces)
{
	static const char bytes[ANSWER] = "answer";

	for (int i = 0; i < pieces; i++)
		if (send(fd, bytes, ANSWER / (size_t)pieces, MSG_NOSIGNAL) < 0)
			return false;
	return true;
}

/* Does what the request says. Returns false when the connection is over. */
static bool request_serve(int fd, uint8_t habit)
{
	switch (habit) {
	case CLOSE:
		return false;
	case DIE:
		raise(SIGKILL);
		return false;
	case RESET: /* never answered: read on, until the client has gone */
		return true;
	case STREAM:
		return answer(fd, 4);
	case ONCE:
		answer(fd, 1);
		return false;
	case FCGI:
		if (!answer(fd, 1))
			return false;
		shutdown(fd, SHUT_WR);
		return true; /* what is left over is read, until the client closes */
	default:
		return answer(fd, 1);
	}
}

/* Reads once. Returns false when the connection is over. */
static bool conn_read(struct conn *c)
{
	struct head head;
	ssize_t n = recv(c->fd, c->data + c->have, sizeof(c->data) - c->have, 0);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return true;
	if (n <= 0)
		return false;
	c->have += (uint32_t)n;
	while (c->have >= sizeof(head)) {
		memcpy(&head, c->data, sizeof(head));
		if (c->have < sizeof(head) + head.body)
			return true;
		if (!request_serve(c->fd, head.habit))
			return false;
		c->have -= (uint32_t)sizeof(head) + head.body;
		memmove(c->data, c->data + sizeof(head) + head.body, c->have);
		if (head.habit == FCGI || head.habit == RESET)
			c->have = 0;
	}
	return true;
}

/* One connection at a time, as php-fpm. */
static void worker_prefork(const int *listeners)
{
	static struct conn c;
	int ep = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event ev = { .events = EPOLLIN | EPOLLEXCLUSIVE };

	for (int i = 0; i < 2; i++) {
		ev.data.fd = listeners[i];
		epoll_ctl(ep, EPOLL_CTL_ADD, listeners[i], &ev);
	}
	for (;;) {
		if (epoll_wait(ep, &ev, 1, -1) <= 0)
			continue;
		c.fd = accept4(ev.data.fd, NULL, NULL, SOCK_CLOEXEC);
		c.have = 0;
		if (c.fd < 0)
			continue;
		while (conn_read(&c))
			;
		close(c.fd);
	}
}

static void accept_all(int ep, int listener)
{
	struct epoll_event ev = { .events = EPOLLIN };
	struct conn *c;
	int fd;

	while ((fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0) {
		c = calloc(1, sizeof(*c));
		if (!c)
			fail("calloc");
		c->fd = fd;
		ev.data.ptr = c;
		epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev);
	}
}

/* All connections at once, as nginx. */
static void worker_events(const int *listeners)
{
	struct epoll_event evs[64], ev = { .events = EPOLLIN | EPOLLEXCLUSIVE };
	int ep = epoll_create1(EPOLL_CLOEXEC);
	struct conn *c;

	for (int i = 0; i < 2; i++) {
		ev.data.ptr = (void *)&listeners[i];
		epoll_ctl(ep, EPOLL_CTL_ADD, listeners[i], &ev);
	}
	for (;;) {
		int n = epoll_wait(ep, evs, 64, -1);

		for (int i = 0; i < n; i++) {
			c = evs[i].data.ptr;
			if ((int *)c >= listeners && (int *)c < listeners + 2) {
				accept_all(ep, *(int *)c);
			} else if (!conn_read(c)) {
				/* not left to close(): whoever walks descriptors (the guard, lsof) holds the file for
				 * a moment longer, and its events would come for memory that is free */
				epoll_ctl(ep, EPOLL_CTL_DEL, c->fd, NULL);
				close(c->fd);
				free(c);
			}
		}
	}
}

static void cgroup_enter(const char *cgroup)
{
	char path[512];
	int fd;

	snprintf(path, sizeof(path), "%s/cgroup.procs", cgroup);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, "0", 1) != 1)
		fail(path);
	close(fd);
}

static void worker_start(bool events, const int *listeners)
{
	if (fork() != 0)
		return;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	(events ? worker_events : worker_prefork)(listeners);
}

__attribute__((noreturn)) static void serve(char **argv)
{
	bool events = strcmp(argv[0], "events") == 0;
	int listeners[2];

	cgroup_enter(argv[1]);
	for (int i = 0; i < 2; i++) {
		listeners[i] = socket_for(argv[3 + i], true);
		if (listeners[i] < 0)
			fail(argv[3 + i]);
		fcntl(listeners[i], F_SETFL, O_NONBLOCK);
	}
	for (int i = 0; i < atoi(argv[2]); i++)
		worker_start(events, listeners);
	puts("ready");
	fflush(stdout);
	for (;;)
		if (wait(NULL) > 0)
			worker_start(events, listeners);
}

/* ---- clients ---- */

struct counts {
	uint64_t sent, answered, unanswered, retried;
};

struct asker {
	pthread_t thread;
	uint64_t requests, random;
	char **targets;
	int n_targets;
	struct counts counts[TARGETS_MAX];
};

static uint32_t pick(struct asker *a, uint32_t n)
{
	a->random ^= a->random << 13; /* xorshift64 */
	a->random ^= a->random >> 7;
	a->random ^= a->random << 17;
	return (uint32_t)(a->random >> 32) % n;
}

static bool body_send(struct asker *a, int fd, uint8_t habit)
{
	uint8_t data[sizeof(struct head) + BODY_MAX] = { 0 };
	struct head head = { .habit = habit, .body = (uint16_t)(16 + pick(a, 200)) };
	size_t at = 0, size, piece;

	if (habit == UPLOAD)
		head.body = BODY_MAX;
	memcpy(data, &head, sizeof(head));
	size = sizeof(head) + head.body;
	while (at < size) {
		piece = habit == UPLOAD ? 1400 : size;
		if (piece > size - at)
			piece = size - at;
		if (send(fd, data + at, piece, MSG_NOSIGNAL) != (ssize_t)piece)
			return false;
		at += piece;
		if (habit == UPLOAD && pick(a, 16) == 0)
			usleep(200);
	}
	return true;
}

/* True when the first byte of an answer came. */
static bool answer_read(int fd)
{
	char buf[ANSWER];
	size_t have = 0;
	ssize_t n;

	while (have < ANSWER) {
		n = recv(fd, buf, ANSWER - have, 0);
		if (n <= 0)
			return have > 0;
		have += (size_t)n;
	}
	return true;
}

/* One request on an open connection. Returns false when the connection is over. */
static bool request_ask(struct asker *a, int fd, uint8_t habit, struct counts *count)
{
	struct linger linger = { .l_onoff = 1 };
	char left_over[8] = { 0 };
	bool answered;

	/* not even sent: a kept connection whose server died meanwhile */
	if (!body_send(a, fd, habit)) {
		count->retried++;
		return false;
	}
	count->sent++;
	if (habit == FCGI)
		send(fd, left_over, sizeof(left_over), MSG_NOSIGNAL);
	if (habit == HALF)
		shutdown(fd, SHUT_WR);
	if (habit == RESET) {
		if (pick(a, 4) == 0)
			usleep(300);
		setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
		count->unanswered++;
		return false;
	}
	answered = answer_read(fd);
	count->answered += answered;
	count->unanswered += !answered;
	return answered && (habit == KEEP || habit == STREAM || habit == UPLOAD);
}

static uint8_t habit_pick(struct asker *a)
{
	/* of 1000: mostly connections that stay, and a good share of everything else */
	static const struct {
		uint16_t upto;
		uint8_t habit;
	} table[] = { { 880, KEEP }, { 900, STREAM }, { 910, UPLOAD }, { 940, ONCE }, { 970, FCGI },
		      { 980, HALF }, { 989, CLOSE },  { 999, RESET },  { 1000, DIE } };
	static const char *
		only; /* HABITS=kkc: these and no others, to find out which one is counted wrongly */
	uint32_t n = pick(a, 1000);

	if (!only)
		only = getenv("HABITS") ? getenv("HABITS") : "";
	if (only[0])
		return (uint8_t)only[n % strlen(only)];
	for (size_t i = 0;; i++)
		if (n < table[i].upto)
			return table[i].habit == DIE && pick(a, 10) ? CLOSE : table[i].habit;
}

static void *asker_run(void *arg)
{
	struct asker *a = arg;

	while (a->requests > 0) {
		uint32_t t = pick(a, (uint32_t)a->n_targets);
		int fd = socket_for(a->targets[t], false), rest = 60;

		if (fd < 0) {
			usleep(1000);
			continue;
		}
		do
			a->requests--;
		while (request_ask(a, fd, habit_pick(a), &a->counts[t]) && --rest > 0 &&
		       a->requests > 0);
		close(fd);
	}
	return NULL;
}

static int ask(int argc, char **argv)
{
	int n = atoi(argv[2]);
	struct asker *askers = calloc((size_t)n, sizeof(*askers));
	struct counts sum;

	if (!askers || argc - 3 > TARGETS_MAX)
		fail("askers");
	for (int i = 0; i < n; i++) {
		askers[i].requests = strtoull(argv[0], NULL, 10) / (uint64_t)n;
		askers[i].random =
			(strtoull(argv[1], NULL, 10) + 1) * 0x9e3779b97f4a7c15ULL + (uint64_t)i;
		askers[i].targets = argv + 3;
		askers[i].n_targets = argc - 3;
		pthread_create(&askers[i].thread, NULL, asker_run, &askers[i]);
	}
	for (int i = 0; i < n; i++)
		pthread_join(askers[i].thread, NULL);
	for (int t = 0; t < argc - 3; t++) {
		memset(&sum, 0, sizeof(sum));
		for (int i = 0; i < n; i++) {
			sum.sent += askers[i].counts[t].sent;
			sum.answered += askers[i].counts[t].answered;
			sum.unanswered += askers[i].counts[t].unanswered;
			sum.retried += askers[i].counts[t].retried;
		}
		printf("%s %llu %llu %llu %llu\n", argv[3 + t], (unsigned long long)sum.sent,
		       (unsigned long long)sum.answered, (unsigned long long)sum.unanswered,
		       (unsigned long long)sum.retried);
	}
	free(askers);
	return 0;
}

int main(int argc, char **argv)
{
	signal(SIGPIPE, SIG_IGN);
	if (argc == 7 && strcmp(argv[1], "serve") == 0)
		serve(argv + 2);
	if (argc >= 6 && strcmp(argv[1], "ask") == 0)
		return ask(argc - 2, argv + 2);
	fprintf(stderr, "usage: see the top of tests/integration/conserve.c\n");
	return 2;
}

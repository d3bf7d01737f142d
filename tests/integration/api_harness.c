// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * api_harness: the api process with a guard made of cardboard.
 *
 *   api_harness SOCKET [--torn] [--big] [--keep]
 *     harness; prints "api PID", then takes lines from stdin:
 *       event TEXT              a new event is published
 *       mute | talk             the guard stops / goes on answering commands
 *       bad | good              reload fails / succeeds
 *       policy HASH             another hash is in force
 *       disarmed [BY SECONDS]   the guard is disarmed (0: until armed), or not any more
 *     end of stdin: the guard hangs up, the api must exit; prints "exit STATUS".
 *   api_harness --api | --api-keep    the api itself (--keep: with its privileges)
 *   api_harness --sandbox             drops its privileges and tries what must not work
 *
 * --torn: the snapshot is rewritten five thousand times between pauses of 1 ms, each time with one number everywhere.
 * --big: as many groups, destinations, workers, events as fit.
 */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "api/api.h"
#include "api/privileges.h"
#include "api_fixture.h"
#include "pileguard/api.h"

struct harness {
	struct pile_snapshot *shared;
	struct pile_snapshot_half next;
	int command_fd;
	bool torn, mute, bad;
	uint64_t torn_n;
};

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static void publish(struct harness *h)
{
	struct pile_snapshot_half *half = pile_snapshot_begin(h->shared);
	size_t skip = offsetof(struct pile_snapshot_half, t_ns);

	memcpy((char *)half + skip, (char *)&h->next + skip, sizeof(*half) - skip);
	pile_snapshot_publish(h->shared, half);
}

/** One number in the first and the last thing that is copied, and in between. */
static void publish_torn(struct harness *h)
{
	struct pile_snapshot_half *half = pile_snapshot_begin(h->shared);

	h->torn_n++;
	half->host.ticks = h->torn_n;
	for (uint32_t i = 0; i < half->n_groups; i++)
		half->groups[i].sample.opened = h->torn_n;
	for (uint32_t i = 0; i < half->n_workers; i++)
		half->workers[i].answered = h->torn_n;
	half->host.drift = h->torn_n;
	pile_snapshot_publish(h->shared, half);
}

static void fill_big(struct pile_snapshot_half *half)
{
	while (half->n_groups < PILE_GROUPS_MAX) {
		char name[PILE_NAME_MAX];

		snprintf(name, sizeof(name), "service-%03u", half->n_groups);
		fixture_group(half, name, "some-quite-long-unit-name.service")->sample.opened =
			half->n_groups;
	}
	while (half->n_dependencies < PILE_SNAPSHOT_DEPENDENCIES) {
		char text[64];

		half->dependencies[half->n_dependencies] = half->dependencies[0];
		snprintf(text, sizeof(text), "10.8.%u.1:443", half->n_dependencies);
		half->dependencies[half->n_dependencies++].sample.endpoint = fixture_endpoint(text);
	}
	while (half->n_workers < PILE_SNAPSHOT_WORKERS) {
		half->workers[half->n_workers] = half->workers[0];
		half->workers[half->n_workers].pid += half->n_workers;
		half->n_workers++;
	}
	while (half->n_events < PILE_SNAPSHOT_EVENTS)
		fixture_event(half, PILE_EVENT_TROUBLE, 0, "www",
			      "something that the guard could not do");
	while (half->n_explains < PILE_SNAPSHOT_EXPLAINS) {
		half->explains[half->n_explains] = fixture_explain();
		half->explains[half->n_explains].id = 17 + half->n_explains;
		half->n_explains++;
	}
}

static int listen_open(const char *path)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
	unlink(path);
	if (fd < 0 || bind(fd, (struct sockaddr *)&addr, sizeof(addr)) != 0 ||
	    chmod(path, 0666) != 0 || listen(fd, 1024) != 0)
		die(path);
	return fd;
}

static pid_t api_start(int listen_fd, int snapshot_fd, int command_fd, bool keep)
{
	int from[] = { listen_fd, snapshot_fd, command_fd };
	pid_t pid = fork();

	if (pid != 0)
		return pid;
	for (int i = 0; i < 3; i++)
		from[i] = fcntl(from[i], F_DUPFD, 32);
	for (int i = 0; i < 3; i++)
		dup2(from[i], PILE_API_FD_LISTEN + i);
	close_range(PILE_API_FD_COMMAND + 1, ~0U, 0);
	execl("/proc/self/exe", "api_harness", keep ? "--api-keep" : "--api", (char *)NULL);
	_exit(127);
}

/** The client's uid by the descriptor that came along; -1 without one. */
static int uid_receive(int fd, struct pile_command *command)
{
	struct iovec iov = { command, sizeof(*command) };
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control;
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = &control,
			      .msg_controllen = sizeof(control) };
	_cleanup_close_ int client = -1;
	struct ucred cred;
	socklen_t len = sizeof(cred);
	const struct cmsghdr *cmsg;

	if (recvmsg(fd, &msg, MSG_CMSG_CLOEXEC) != (ssize_t)sizeof(*command))
		die("command");
	cmsg = CMSG_FIRSTHDR(&msg);
	if (!cmsg || cmsg->cmsg_type != SCM_RIGHTS)
		return -1;
	memcpy(&client, CMSG_DATA(cmsg), sizeof(client));
	return getsockopt(client, SOL_SOCKET, SO_PEERCRED, &cred, &len) == 0 ? (int)cred.uid : -1;
}

static void command_answer(struct harness *h)
{
	struct pile_command c;
	int uid = uid_receive(h->command_fd, &c);
	struct pile_reply reply = { .version = PILE_COMMAND_VERSION, .id = c.id, .generation = 4 };

	if (h->mute)
		return;
	if (c.kind == PILE_COMMAND_RELOAD && h->bad) {
		reply.result = -EINVAL;
		snprintf(reply.text, sizeof(reply.text),
			 "/etc/pileguard/policy.yaml:4:11: mode must be observe or enforce, not "
			 "\"maybe\"");
	} else if (c.kind == PILE_COMMAND_RELOAD) {
		snprintf(reply.text, sizeof(reply.text),
			 "1 group enforces fail_fast (was: none); nothing else changes");
	} else if (c.kind == PILE_COMMAND_DISARM || c.kind == PILE_COMMAND_ARM) {
		snprintf(reply.text, sizeof(reply.text), "%s by %.64s for %u s by uid %d",
			 c.kind == PILE_COMMAND_DISARM ? "disarmed" : "armed",
			 c.by[0] ? c.by : "nobody", c.seconds, uid);
	} else if (strcmp(c.group, "www") != 0) {
		reply.result = -EPERM;
		snprintf(reply.text, sizeof(reply.text),
			 "group %.64s may not be held: mode is observe", c.group);
	} else {
		snprintf(reply.text, sizeof(reply.text), "%s %.64s %.64s for %u s by uid %d",
			 c.kind == PILE_COMMAND_HOLD ? "held" : "released", c.group, c.endpoint,
			 c.seconds, uid);
	}
	if (send(h->command_fd, &reply, sizeof(reply), 0) < 0)
		die("reply");
}

/* "disarmed BY SECONDS": 0 = until armed */
static void disarmed_obey(struct harness *h, const char *words)
{
	struct pile_snapshot_host *host = &h->next.host;
	unsigned long long seconds = 0;

	host->disarmed = sscanf(words, "%63s %llu", host->disarmed_by, &seconds) == 2;
	host->disarmed_since_realtime_ns = FIXTURE_REALTIME_NS - 600 * NS_PER_SEC;
	host->disarmed_until_realtime_ns = seconds ? FIXTURE_REALTIME_NS + seconds * NS_PER_SEC : 0;
}

static void line_obey(struct harness *h, char *line)
{
	line[strcspn(line, "\n")] = '\0';
	if (strncmp(line, "event ", 6) == 0)
		fixture_event(&h->next, PILE_EVENT_TROUBLE, 0, "www", line + 6);
	else if (strncmp(line, "policy ", 7) == 0)
		snprintf(h->next.host.policy_hash, sizeof(h->next.host.policy_hash), "%.64s",
			 line + 7);
	else if (strncmp(line, "disarmed ", 9) == 0)
		disarmed_obey(h, line + 9);
	else if (strcmp(line, "mute") == 0 || strcmp(line, "talk") == 0)
		h->mute = line[0] == 'm';
	else if (strcmp(line, "bad") == 0 || strcmp(line, "good") == 0)
		h->bad = line[0] == 'b';
	publish(h);
	printf("ok\n");
	fflush(stdout);
}

static void serve(struct harness *h)
{
	struct pollfd pfds[] = { { .fd = 0, .events = POLLIN },
				 { .fd = h->command_fd, .events = POLLIN } };
	char line[250];

	setvbuf(stdin, NULL, _IONBF, 0);
	for (;;) {
		/* pauses, or whoever reads never has a chance: each is lapped */
		if (poll(pfds, 2, h->torn ? 1 : -1) < 0)
			die("poll");
		if (pfds[1].revents & POLLHUP)
			return;
		if (pfds[1].revents & POLLIN)
			command_answer(h);
		if (pfds[0].revents && !fgets(line, sizeof(line), stdin))
			return;
		if (pfds[0].revents)
			line_obey(h, line);
		if (h->torn)
			for (int i = 0; i < 5000; i++)
				publish_torn(h);
	}
}

/** Says on stdout what the sandbox lets through; ends by SIGSYS. */
static int sandbox_try(void)
{
	struct pile_error err = { 0 };
	char *const argv[] = { "true", NULL };
	int one = 1, pair[2];

	setvbuf(stdout, NULL, _IONBF, 0);
	/* stands for the listener, which the next api process is given too; and any other socket */
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0 || dup2(pair[0], 40) < 0 ||
	    dup2(pair[1], PILE_API_FD_LISTEN) < 0)
		return 1;
	if (pile_privileges_drop(&err) != 0) {
		printf("drop: %s\n", err.text);
		return 1;
	}
	printf("open %s\n", open("/etc/passwd", O_RDONLY) < 0 ? strerrorname_np(errno) : "works");
	printf("socket %s\n",
	       socket(AF_INET, SOCK_STREAM, 0) < 0 ? strerrorname_np(errno) : "works");
	printf("kill %s\n", kill(getppid(), 0) < 0 ? strerrorname_np(errno) : "works");
	printf("setuid %s\n", setuid(0) < 0 ? strerrorname_np(errno) : "works");
	printf("exec page %s\n", mmap(NULL, 4096, PROT_READ | PROT_EXEC,
				      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED
					 ? strerrorname_np(errno)
					 : "works");
	printf("shutdown of the listener %s\n",
	       shutdown(PILE_API_FD_LISTEN, SHUT_RDWR) < 0 ? strerrorname_np(errno) : "works");
	printf("option of the listener %s\n",
	       setsockopt(PILE_API_FD_LISTEN, SOL_SOCKET, SO_SNDBUF, &one, sizeof(one)) < 0
		       ? strerrorname_np(errno)
		       : "works");
	printf("dup of the listener %s\n",
	       dup(PILE_API_FD_LISTEN) < 0 ? strerrorname_np(errno) : "works");
	printf("... by the upper half %s\n",
	       syscall(SYS_shutdown, PILE_API_FD_LISTEN | 1L << 32, SHUT_RDWR) < 0
		       ? strerrorname_np(errno)
		       : "works");
	printf("shutdown of another %s\n",
	       shutdown(40, SHUT_WR) < 0 ? strerrorname_np(errno) : "works");
	printf("128 MiB %s\n", mmap(NULL, 128 << 20, PROT_READ | PROT_WRITE,
				    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED
				       ? strerrorname_np(errno)
				       : "works");
	execv("/bin/true", argv);
	printf("execve returned\n");
	return 1;
}

int main(int argc, char **argv)
{
	static struct harness h;
	int memfd, pair[2], listen_fd, status;
	bool keep = false, big = false;
	pid_t pid;

	if (argc < 2)
		return 2;
	if (strcmp(argv[1], "--sandbox") == 0)
		return sandbox_try();
	if (strncmp(argv[1], "--api", 5) == 0)
		return pile_api_main(strcmp(argv[1], "--api") == 0);
	for (int i = 2; i < argc; i++) {
		h.torn |= strcmp(argv[i], "--torn") == 0;
		big |= strcmp(argv[i], "--big") == 0;
		keep |= strcmp(argv[i], "--keep") == 0;
	}

	memfd = memfd_create("pileguard-snapshot", MFD_CLOEXEC);
	if (memfd < 0 || ftruncate(memfd, sizeof(*h.shared)) != 0)
		die("memfd");
	h.shared = mmap(NULL, sizeof(*h.shared), PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0);
	if (h.shared == MAP_FAILED ||
	    socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
		die("start");
	h.shared->magic = PILE_SNAPSHOT_MAGIC;
	h.shared->size = sizeof(*h.shared);
	fixture_fill(&h.next);
	if (big)
		fill_big(&h.next);
	publish(&h);
	publish(&h); /* both halves, for --torn */

	listen_fd = listen_open(argv[1]);
	pid = api_start(listen_fd, memfd, pair[1], keep);
	close(listen_fd);
	close(pair[1]);
	h.command_fd = pair[0];
	printf("api %d\n", (int)pid);
	fflush(stdout);
	serve(&h);
	close(pair[0]);
	waitpid(pid, &status, 0);
	unlink(argv[1]);
	printf("exit %d\n", WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
	return 0;
}

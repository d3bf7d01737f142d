// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * child.c: the stats socket, the api process, and how the few commands (command.c) come up from it.
 * The api process is a program of its own (exec, never a bare fork: an inherited descriptor would
 * keep gates alive; and its HTTP library would cost the guard 3 MiB). It gets three descriptors and
 * nothing else. A command carries its client's socket: who asks is read here, from the kernel.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "api/api.h"
#include "guard.h"
#include "pileguard/api.h"
#include "util/clock.h"

#ifndef PILE_LIBEXECDIR
#define PILE_LIBEXECDIR "/usr/libexec"
#endif

#define BACKOFF_MAX_NS (30 * NS_PER_SEC)
#define HIGH_FD 32 /* above the numbers that the child uses, so that no dup2 runs over a source */

static int fd_raise(int fd)
{
	int high = fcntl(fd, F_DUPFD_CLOEXEC, HIGH_FD), error = errno;

	close(fd);
	return high < 0 ? -error : high;
}

static int socket_open(int fd, const char *path, gid_t group)
{
	if (group && chown(path, 0, group) == 0 && chmod(path, 0660) < 0)
		return -errno;
	return listen(fd, 1024) < 0 ? -errno : 0;
}

/* @ours: what stands there is this guard's own, whoever answers */
static int socket_bind(const char *path, gid_t group, bool ours)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	_cleanup_close_ int fd = -1;
	int r;

	if (strlen(path) >= sizeof(sa.sun_path))
		return -ENAMETOOLONG;
	memcpy(sa.sun_path, path, strlen(path));
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	/* one that a killed guard left is taken over; one that answers is another guard's */
	if (!ours && (connect(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0 || errno == EAGAIN))
		return -EADDRINUSE;
	if (unlink(path) < 0 && errno != ENOENT)
		return -errno;
	/* nobody gets in before the owner is set: the path takes the socket's mode (umask is for all threads) */
	if (fchmod(fd, 0600) < 0 || bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0)
		return -errno;
	r = socket_open(fd, path, group);
	if (r == 0)
		r = fd_raise(TAKE_FD(fd));
	if (r < 0)
		unlink(path);
	return r;
}

int pile_child_listen(struct pile_guard *g, struct pile_error *err)
{
	struct group *group = getgrnam(PILE_API_GROUP);
	char dir[256], *slash;
	int fd;

	umask(0022);
	g->child.group = group ? group->gr_gid : 0;
	snprintf(dir, sizeof(dir), "%s", g->options.socket_path);
	slash = strrchr(dir, '/');
	if (slash) {
		*slash = '\0';
		if (mkdir(dir, 0755) < 0 && errno != EEXIST)
			return pile_error_set(err, errno, "cannot make %s: %s", dir,
					      strerror(errno));
	}
	fd = socket_bind(g->options.socket_path, g->child.group, false);
	if (fd == -EADDRINUSE)
		return pile_error_set(
			err, fd,
			"another guard answers at %s: give this one a --socket, --state and --motd of its own",
			g->options.socket_path);
	if (fd < 0)
		return pile_error_set(err, fd, "cannot listen on %s: %s", g->options.socket_path,
				      strerror(-fd));
	g->child.listen_fd = fd;
	return 0;
}

uint64_t pile_child_cookie(const struct pile_guard *g)
{
	uint64_t cookie = 0;
	socklen_t len = sizeof(cookie);

	getsockopt(g->child.listen_fd, SOL_SOCKET, SO_COOKIE, &cookie, &len);
	return cookie;
}

/* The process before may have handed its listener on, to somebody who shuts it, or answers there. */
static int listen_anew(struct pile_guard *g)
{
	int fd = socket_bind(g->options.socket_path, g->child.group, true);

	if (fd < 0)
		return fd;
	close(g->child.listen_fd);
	g->child.listen_fd = fd;
	g->groups.own_cookie = pile_child_cookie(g);
	return 0;
}

void pile_child_reply(struct pile_guard *g, uint32_t id, int result, const char *text)
{
	struct pile_reply reply = { .version = PILE_COMMAND_VERSION,
				    .id = id,
				    .result = result,
				    .generation = g->generation };

	if (!id || g->child.command_fd < 0)
		return;
	snprintf(reply.text, sizeof(reply.text), "%s", text);
	if (send(g->child.command_fd, &reply, sizeof(reply), MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		return; /* the api process went away: its client hears of it there */
}

#define KEPT_WITHIN_NS (2 * NS_PER_SEC) /* a disk that takes longer is not waited for */

static void late_reply(struct pile_guard *g, struct pile_late *late, const char *more)
{
	char text[sizeof(late->text) + 128];

	snprintf(text, sizeof(text), "%s%s", late->text, more);
	pile_child_reply(g, late->id, 0, text);
	late->id = 0;
}

void pile_child_reply_late(struct pile_guard *g, struct pile_late *late, uint32_t id,
			   const char *text)
{
	if (late->id)
		late_reply(g, late, "");
	late->id = id;
	late->by_ns = pile_clock_ns(CLOCK_MONOTONIC) + KEPT_WITHIN_NS;
	snprintf(late->text, sizeof(late->text), "%s", text);
}

void pile_child_late(struct pile_guard *g, struct pile_late *late, bool done, int error,
		     const char *lost, uint64_t now_ns)
{
	char more[128] = "";

	if (!late->id || (!done && now_ns <= late->by_ns))
		return;
	if (error < 0)
		snprintf(more, sizeof(more), " (NOT kept on disk: %s)", lost);
	late_reply(g, late, done ? more : " (not on disk yet: the disk is slow)");
}

#define RIGHTS_MAX 8 /* more than one is refused; room, so that none is left open */

/* A stranger's socket must not keep the loop waiting while it is closed. */
static void stranger_close(int fd)
{
	struct linger at_once = { .l_onoff = 1 };

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
	close(fd);
}

/* All descriptors that came with a message. Returns how many. */
static size_t rights_take(struct msghdr *msg, int ret[RIGHTS_MAX])
{
	size_t n = 0, here;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		here = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		here = MIN(here, RIGHTS_MAX - n);
		memcpy(ret + n, CMSG_DATA(c), here * sizeof(int));
		n += here;
	}
	return n;
}

/* One command a tick: pile_child_check listens again. A process that talks without end is not heard more often. */
static int on_command(sd_event_source *source, int fd, uint32_t revents, void *arg)
{
	union {
		struct cmsghdr head;
		char space[CMSG_SPACE(RIGHTS_MAX * sizeof(int))];
	} control;
	struct pile_command command;
	struct iovec iov = { &command, sizeof(command) };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = &control,
			      .msg_controllen = sizeof(control) };
	int rights[RIGHTS_MAX];
	size_t n_rights;
	ssize_t n;

	(void)revents;
	sd_event_source_set_enabled(source, SD_EVENT_OFF);
	n = recvmsg(fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	if (n <= 0) /* 0: the api process is gone, pile_child_check starts another */
		return 0;
	n_rights = rights_take(&msg, rights);
	if (n == (ssize_t)sizeof(command) && n_rights <= 1 && !(msg.msg_flags & MSG_CTRUNC))
		pile_command_run(arg, &command, n_rights ? rights[0] : -1);
	for (size_t i = 0; i < n_rights; i++)
		stranger_close(rights[i]);
	return 0;
}

/* Beside this program (a build tree), else where it was installed. */
static void program_find(char *ret, size_t size)
{
	char *slash;
	ssize_t n = readlink("/proc/self/exe", ret, size - sizeof("pileguard-api"));

	ret[MAX(n, 0)] = '\0';
	slash = strrchr(ret, '/');
	if (slash) {
		snprintf(slash + 1, sizeof("pileguard-api"), "pileguard-api");
		if (access(ret, X_OK) == 0)
			return;
	}
	snprintf(ret, size, "%s", PILE_LIBEXECDIR "/pileguard/pileguard-api");
}

static int child_spawn(const struct pile_child *child, int command_fd, pid_t *ret)
{
	char *const argv[] = { (char *)"pileguard-api", NULL };
	char *const envp[] = { NULL };
	char program[512];
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	sigset_t none;
	int r;

	posix_spawn_file_actions_init(&actions);
	posix_spawnattr_init(&attr);
	sigemptyset(&none);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK);
	posix_spawn_file_actions_adddup2(&actions, child->listen_fd, PILE_API_FD_LISTEN);
	posix_spawn_file_actions_adddup2(&actions, child->snapshot_fd, PILE_API_FD_SNAPSHOT);
	posix_spawn_file_actions_adddup2(&actions, command_fd, PILE_API_FD_COMMAND);
	program_find(program, sizeof(program));
	r = posix_spawn(ret, program, &actions, &attr, argv, envp);
	posix_spawnattr_destroy(&attr);
	posix_spawn_file_actions_destroy(&actions);
	return -r;
}

int pile_child_start(struct pile_guard *g)
{
	struct pile_child *child = &g->child;
	_cleanup_close_ int theirs = -1;
	int pair[2], r;

	child->started_ns = g->sample.now_ns;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
		return -errno;
	child->command_fd = pair[0];
	/* it counts its commands anew: whoever asked the one before is gone */
	g->reload.command_id = g->reload.late.id = g->disarm.late.id = 0;
	theirs = fd_raise(pair[1]);
	r = theirs < 0 ? theirs : child_spawn(child, theirs, &child->pid);
	if (r == 0)
		r = sd_event_add_io(g->event, &child->source_command, child->command_fd, EPOLLIN,
				    on_command, g);
	if (r < 0)
		pile_child_stop(g);
	return r;
}

void pile_child_check(struct pile_guard *g, uint64_t now_ns)
{
	struct pile_child *child = &g->child;
	uint64_t wait = NS_PER_SEC << MIN(child->failures, 5);
	int status;

	if (child->source_command)
		sd_event_source_set_enabled(child->source_command, SD_EVENT_ON);
	if (child->pid > 0 && waitpid(child->pid, &status, WNOHANG) == child->pid) {
		child->pid = 0;
		child->failures =
			now_ns - child->started_ns > BACKOFF_MAX_NS ? 0 : child->failures + 1;
		pile_child_stop(g);
		pile_guard_say(
			g, PILE_EVENT_TROUBLE, PILE_NO_GROUP,
			"the stats socket's process ended (status %d): starting another; guarding goes on",
			WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
		return;
	}
	/*
	 * the first tick comes before the first start: two of them would share the listener, and
	 * one get no answers
	 */
	if (child->pid != 0 || !child->started_ns || child->listen_fd < 0 ||
	    now_ns - child->started_ns <= MIN(wait, BACKOFF_MAX_NS))
		return;
	child->started_ns = now_ns; /* again after that time, if it cannot be bound */
	if (listen_anew(g) == 0)
		pile_child_start(g);
}

void pile_child_stop(struct pile_guard *g)
{
	struct pile_child *child = &g->child;

	child->source_command = sd_event_source_disable_unref(child->source_command);
	if (child->command_fd >= 0)
		close(child->command_fd); /* the child ends when its pair closes */
	child->command_fd = -1;
	if (child->pid > 0) {
		kill(child->pid,
		     SIGKILL); /* nothing else is sure to end it, and it has nothing to lose */
		waitpid(child->pid, NULL, 0);
	}
	child->pid = 0;
}

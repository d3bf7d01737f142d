// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Sampler and fault switch of the test machine.
 *
 * Talks to the host over a virtio serial port: a JSON line a second goes out,
 * one-word commands come in. It keeps working while the guest burns: memory is
 * locked, the scheduling class is real time (its unit sees to that), and nothing
 * is executed or allocated after the start. So nobody needs a login during an
 * outage to see it or to end it.
 *
 * The faults are rules that wait in the database's network namespace (see
 * database-network); a write to the rule's address list switches one. Or the
 * database itself hangs: it is stopped, by a signal.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define PORT "/dev/virtio-ports/pile.agent"
#define FPM_GROUP "/sys/fs/cgroup/system.slice/php8.2-fpm.service/"
#define NGINX_GROUP "/sys/fs/cgroup/system.slice/nginx.service/"
#define SSH_GROUP "/sys/fs/cgroup/system.slice/ssh.service/"
#define GUARD_GROUP "/sys/fs/cgroup/system.slice/pileguard.service/"
#define DATABASE_PROCESSES "/sys/fs/cgroup/outside.slice/mariadb.service/cgroup.procs"
#define FPM_SOCKET "/run/php/php8.2-fpm.sock"
#define WORKERS_UID 33 /* www-data, in every Debian */
#define APPLICATION "10.9.0.1"

static char buffer[1 << 20]; /* one file of /proc at a time */
static char line[2048];
static unsigned line_size;
static int port = -1;
static int list_lost = -1;
static int list_refused = -1;

static long long now_ns(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

/* Reads a whole file into buffer; an absent file reads as empty. */
static const char *slurp(const char *path)
{
	size_t used = 0;
	ssize_t n;
	int fd;

	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		while (used < sizeof(buffer) - 1) {
			n = read(fd, buffer + used, sizeof(buffer) - 1 - used);
			if (n <= 0)
				break;
			used += n;
		}
		close(fd);
	}
	buffer[used] = 0;
	return buffer;
}

/* The number that follows key in text, or -1. */
static double number_after(const char *text, const char *key)
{
	const char *at = strstr(text, key);

	return at && *text ? strtod(at + strlen(key), NULL) : -1;
}

static double number_in(const char *path, const char *key)
{
	return number_after(slurp(path), key);
}

/* The workers' connects to the database that wait; the guard's own probes belong to another user. */
static long long connecting(void)
{
	long long count = 0;
	const char *at;
	unsigned uid;

	/* "sl: local remote st tx:rx tr:when retransmits uid": state 02 is SYN_SENT, port 0CEA 3306 */
	for (at = slurp("/proc/net/tcp"); (at = strstr(at, ":0CEA 02 ")); at += 9)
		if (sscanf(at + 9, "%*s %*s %*s %u", &uid) == 1 && uid == WORKERS_UID)
			count++;
	return count;
}

/* Connections of the pool's socket: accepted, or waiting to be. */
static long long in_flight(void)
{
	long long count = 0;
	const char *at;

	/* "Num RefCount Protocol Flags Type St Inode Path": the listener has flag 00010000 */
	for (at = slurp("/proc/net/unix"); (at = strstr(at, " " FPM_SOCKET)); at++)
		count++;
	return count > 0 ? count - 1 : 0;
}

static void add(const char *name, double value)
{
	if (line_size < sizeof(line))
		line_size += snprintf(line + line_size, sizeof(line) - line_size, ",\"%s\":%.12g",
				      name, value);
}

static void send_line(void)
{
	if (line_size + 2 > sizeof(line))
		return;
	line[line_size++] = '}';
	line[line_size++] = '\n';
	if (write(port, line, line_size) < 0)
		return; /* nobody listens: the next sample will tell */
}

static void begin(const char *type)
{
	line_size =
		snprintf(line, sizeof(line), "{\"type\":\"%s\",\"t_ns\":%lld,\"realtime_ns\":%lld",
			 type, now_ns(CLOCK_MONOTONIC), now_ns(CLOCK_REALTIME));
}

static void sample(void)
{
	static const struct {
		const char *name, *path, *key;
	} fields[] = {
		{ "available_kb", "/proc/meminfo", "MemAvailable:" },
		{ "load1", "/proc/loadavg", "" },
		{ "major_faults", "/proc/vmstat", "pgmajfault " },
		{ "host_oom_kills", "/proc/vmstat", "oom_kill " },
		{ "memory_full_avg10", "/proc/pressure/memory", "full avg10=" },
		{ "cpu_some_avg10", "/proc/pressure/cpu", "some avg10=" },
		{ "fpm_main_pid", "/run/php/php8.2-fpm.pid", "" },
		{ "fpm_tasks", FPM_GROUP "pids.current", "" },
		{ "fpm_memory", FPM_GROUP "memory.current", "" },
		{ "fpm_memory_peak", FPM_GROUP "memory.peak", "" },
		{ "fpm_oom_kills", FPM_GROUP "memory.events", "oom_kill " },
		{ "host_cpu_us", "/sys/fs/cgroup/cpu.stat", "usage_usec " },
		{ "fpm_cpu_us", FPM_GROUP "cpu.stat", "usage_usec " },
		{ "nginx_cpu_us", NGINX_GROUP "cpu.stat", "usage_usec " },
		{ "ssh_cpu_us", SSH_GROUP "cpu.stat", "usage_usec " },
		{ "page_faults", "/proc/vmstat", "pgfault " },
		{ "huge_faults", "/proc/vmstat", "thp_fault_alloc " },
		{ "huge_fallbacks", "/proc/vmstat", "thp_fault_fallback " },
		{ "guard_memory", GUARD_GROUP "memory.current", "" },
		{ "guard_cpu_us", GUARD_GROUP "cpu.stat", "usage_usec " },
	};
	unsigned i;

	begin("sample");
	for (i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
		add(fields[i].name, number_in(fields[i].path, fields[i].key));
	add("connecting", connecting());
	add("in_flight", in_flight());
	add("took_ns", now_ns(CLOCK_MONOTONIC) - (long long)number_after(line, "\"t_ns\":"));
	send_line();
}

/* Opens an address list as the database's network namespace shows it. */
static int list_open(const char *name)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/thread-self/net/xt_recent/%s", name);
	return open(path, O_RDWR | O_CLOEXEC);
}

static bool lists_open(void)
{
	int own = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	int database = open("/run/netns/db", O_RDONLY | O_CLOEXEC);
	bool ok = own >= 0 && database >= 0 && !setns(database, CLONE_NEWNET);

	if (ok) {
		list_lost = list_open("lost");
		list_refused = list_open("refused");
		ok = !setns(own, CLONE_NEWNET) && list_lost >= 0 && list_refused >= 0;
	}
	close(own);
	close(database);
	return ok;
}

static int list_set(int list, bool on)
{
	const char *entry = on ? "+" APPLICATION : "-" APPLICATION;

	if (lseek(list, 0, SEEK_SET) <
	    0) /* the kernel takes entries at offset 0 only, and no pwrite() */
		return errno;
	return write(list, entry, strlen(entry)) < 0 ? errno : 0;
}

static int database_signal(int sig)
{
	pid_t pid = (pid_t)number_in(DATABASE_PROCESSES, "");

	return pid <= 0 ? ESRCH : kill(pid, sig) ? errno : 0;
}

static void command(const char *word)
{
	int rc = -1;

	if (!strcmp(word, "lose"))
		rc = list_set(list_refused, false) ?: list_set(list_lost, true);
	else if (!strcmp(word, "refuse"))
		rc = list_set(list_lost, false) ?: list_set(list_refused, true);
	else if (!strcmp(word, "return"))
		rc = list_set(list_lost, false) ?: list_set(list_refused, false);
	else if (!strcmp(word, "hang"))
		rc = database_signal(SIGSTOP);
	else if (!strcmp(word, "wake"))
		rc = database_signal(SIGCONT);
	else if (!strcmp(word, "ping"))
		rc = 0;
	begin(word);
	add("rc", rc);
	send_line();
}

/* Takes whole lines out of what has arrived so far. */
static void commands_read(void)
{
	static char text[256];
	static size_t used;
	ssize_t n = read(port, text + used, sizeof(text) - 1 - used);
	char *end;

	if (n <= 0) {
		struct timespec pause = { .tv_nsec = 100000000 };

		nanosleep(&pause, NULL); /* the host hung up: the port stays readable */
		return;
	}
	used += n;
	text[used] = 0;
	while ((end = strchr(text, '\n'))) {
		*end = 0;
		command(text);
		used -= end + 1 - text;
		memmove(text, end + 1, used + 1);
	}
	if (used == sizeof(text) - 1)
		used = 0;
}

int main(void)
{
	const struct itimerspec second = { .it_interval = { .tv_sec = 1 },
					   .it_value = { .tv_sec = 1 } };
	int timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);

	port = open(PORT, O_RDWR | O_CLOEXEC | O_NONBLOCK);
	if (timer < 0 || port < 0 || !lists_open()) {
		perror("pile-agent: " PORT " or the database's namespace");
		return 1;
	}
	if (mlockall(MCL_CURRENT | MCL_FUTURE) || timerfd_settime(timer, 0, &second, NULL)) {
		perror("pile-agent");
		return 1;
	}
	for (;;) {
		struct pollfd fds[] = { { .fd = timer, .events = POLLIN },
					{ .fd = port, .events = POLLIN } };
		unsigned long long ticks;

		if (poll(fds, 2, -1) < 0 && errno != EINTR)
			return 1;
		if (fds[1].revents)
			commands_read();
		if (fds[0].revents && read(timer, &ticks, sizeof(ticks)) > 0)
			sample();
	}
}

// SPDX-License-Identifier: GPL-2.0-or-later
/* The api process: start, the loop, the end. */
#include "api/server.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#include "api/api.h"
#include "api/privileges.h"
#include "util/clock.h"
#include "util/error.h"
#include "util/macro.h"

/* Deadlines are looked at so often; 5 s then means 5.0 to 5.3 s. */
#define SWEEP_MS 250
/* Per connection: head, headers' index and answer's head. A head over this gets 431 (or 414) from
 * libmicrohttpd. */
#define CONNECTION_BYTES PILE_API_REQUEST_BYTES_MAX

uint64_t pile_server_now(void)
{
	return pile_clock_ns(CLOCK_MONOTONIC);
}

int pile_server_refresh(struct pile_server *server)
{
	uint64_t had = server->view->sequence;
	int r;

	if (had && !(had & 1) && had == pile_snapshot_sequence(server->shared))
		return 0;
	r = pile_snapshot_read(server->shared, server->view);
	if (r != 0)
		server->view->sequence = 0; /* the copy is torn: show nothing rather than a mix */
	return r;
}

/** Maps what the guard shows; refuses a memfd that is too small, since reading past its end is a
 * SIGBUS. */
static int snapshot_map(int fd, const struct pile_snapshot **ret, struct pile_error *err)
{
	const struct pile_snapshot *shared;
	struct stat st;

	if (fstat(fd, &st) != 0)
		return pile_error_set(err, errno, "cannot look at the snapshot: %s",
				      strerror(errno));
	if (st.st_size < (off_t)sizeof(*shared))
		return pile_error_set(err, EPROTO,
				      "the snapshot is too small: guard and api differ");
	shared = mmap(NULL, sizeof(*shared), PROT_READ, MAP_SHARED, fd, 0);
	if (shared == MAP_FAILED)
		return pile_error_set(err, errno, "cannot map the snapshot: %s", strerror(errno));
	if (shared->magic != PILE_SNAPSHOT_MAGIC || shared->size != sizeof(*shared))
		return pile_error_set(err, EPROTO,
				      "the snapshot has another layout: guard and api differ");
	*ret = shared;
	return 0;
}

static int server_start(struct pile_server *server, struct pile_error *err)
{
	int flags = fcntl(PILE_API_FD_LISTEN, F_GETFL);

	/* After another process took the connection, a blocking accept would wait for ever. */
	if (flags < 0 || fcntl(PILE_API_FD_LISTEN, F_SETFL, flags | O_NONBLOCK) != 0)
		return pile_error_set(err, errno, "no listening socket: %s", strerror(errno));
	server->mhd = MHD_start_daemon(
		MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL, pile_routes_handle, server,
		MHD_OPTION_LISTEN_SOCKET, PILE_API_FD_LISTEN, MHD_OPTION_CONNECTION_LIMIT,
		(unsigned int)PILE_API_CLIENTS_MAX, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
		(size_t)CONNECTION_BYTES, MHD_OPTION_CONNECTION_MEMORY_INCREMENT, (size_t)1024,
		MHD_OPTION_CONNECTION_TIMEOUT, (unsigned int)PILE_API_REQUEST_SECONDS_MAX,
		MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_NOTIFY_CONNECTION, pile_clients_notify,
		server, MHD_OPTION_END);
	if (!server->mhd)
		return pile_error_set(err, EIO, "libmicrohttpd does not start");
	return 0;
}

/** How long to sleep: for ever when nobody is connected. */
static int poll_timeout(struct pile_server *server)
{
	MHD_UNSIGNED_LONG_LONG ms;
	int timeout = server->oldest || server->n_answers ? SWEEP_MS : -1;

	if (MHD_get_timeout(server->mhd, &ms) == MHD_YES &&
	    (timeout < 0 || ms < (unsigned int)timeout))
		timeout = ms < SWEEP_MS ? (int)ms : SWEEP_MS;
	return timeout;
}

/** Until the guard hangs up. */
static int server_run(struct pile_server *server)
{
	const union MHD_DaemonInfo *info =
		MHD_get_daemon_info(server->mhd, MHD_DAEMON_INFO_EPOLL_FD);
	struct pollfd pfds[] = {
		{ .fd = info->epoll_fd, .events = POLLIN },
		{ .fd = server->command_fd, .events = POLLIN },
	};

	for (;;) {
		if (poll(pfds, ARRAY_LEN(pfds), poll_timeout(server)) < 0 && errno != EINTR)
			return -errno;
		if (pfds[1].revents && pile_commands_receive(server) != 0)
			return 0;
		pile_stream_wake(server, pile_server_now());
		MHD_run(server->mhd);
		pile_clients_sweep(server, pile_server_now());
		pile_answers_sweep(server, pile_server_now());
	}
}

/** Hands everything back, so that a leak checker sees what is one. The listening socket is the
 * guard's: not shut down. */
static void server_stop(struct pile_server *server)
{
	MHD_quiesce_daemon(server->mhd);
	for (struct pile_client *c = server->oldest; c; c = c->next)
		pile_clients_drop(c);
	MHD_run(server->mhd); /* a suspended connection would make MHD_stop_daemon abort */
	pile_answers_sweep(server, UINT64_MAX);
	MHD_stop_daemon(server->mhd);
	munmap((void *)server->shared, sizeof(*server->shared));
}

/** One thread, one heap; what a large answer took goes back to the kernel at once. */
static void heap_tune(void)
{
	mallopt(M_ARENA_MAX, 1);
	mallopt(M_MMAP_THRESHOLD, 64 * 1024);
	mallopt(M_TRIM_THRESHOLD, 256 * 1024);
}

int pile_api_main(bool drop_privileges)
{
	static struct pile_snapshot_half view;
	struct pile_server server = { .command_fd = PILE_API_FD_COMMAND, .view = &view };
	struct pile_error err = { 0 };
	int r;

	prctl(PR_SET_NAME, "pileguard-api", 0, 0, 0);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGHUP,
	       SIG_IGN); /* `systemctl kill -s HUP` means the guard, and reaches all of its unit */
	close_range(PILE_API_FD_COMMAND + 1, ~0U, 0);
	heap_tune();
	tzset();

	r = snapshot_map(PILE_API_FD_SNAPSHOT, &server.shared, &err);
	if (r == 0)
		r = server_start(&server, &err);
	if (r == 0 && drop_privileges)
		r = pile_privileges_drop(&err);
	if (r != 0) {
		fprintf(stderr, "pileguard-api: %s\n", err.text);
		return PILE_EXIT_FAILURE;
	}
	r = server_run(&server);
	server_stop(&server);
	return r == 0 ? PILE_EXIT_OK : PILE_EXIT_FAILURE;
}

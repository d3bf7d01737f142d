// SPDX-License-Identifier: GPL-2.0-or-later
/* Who is connected, how long each may take, and who has to go when there are too many. */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "api/server.h"
#include "util/macro.h"

static void list_add(struct pile_server *server, struct pile_client *client)
{
	client->prev = server->newest;
	if (server->newest)
		server->newest->next = client;
	else
		server->oldest = client;
	server->newest = client;
}

static void list_remove(struct pile_server *server, struct pile_client *client)
{
	if (client->prev)
		client->prev->next = client->next;
	else
		server->oldest = client->next;
	if (client->next)
		client->next->prev = client->prev;
	else
		server->newest = client->prev;
}

static void client_started(struct pile_server *server, struct MHD_Connection *connection,
			   void **socket_context)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
	struct pile_client *client = calloc(1, sizeof(*client));

	*socket_context = client;
	if (!client)
		return; /* the handler finds no client and closes the connection */
	client->server = server;
	client->connection = connection;
	client->fd = info ? info->connect_fd : -1;
	client->deadline_ns = pile_server_now() + PILE_SERVER_REQUEST_NS;
	list_add(server, client);
	server->n_clients++;
}

static void client_closed(struct pile_server *server, struct pile_client *client)
{
	if (!client->dropped)
		server->n_clients--;
	if (client->phase == PILE_CLIENT_FOLLOWING)
		server->n_followers--;
	list_remove(server, client);
	free(client);
}

void pile_clients_notify(void *server, struct MHD_Connection *connection, void **socket_context,
			 enum MHD_ConnectionNotificationCode code)
{
	if (code == MHD_CONNECTION_NOTIFY_STARTED)
		client_started(server, connection, socket_context);
	else if (*socket_context)
		client_closed(server, *socket_context);
}

struct pile_client *pile_clients_get(struct MHD_Connection *connection)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);

	return info ? info->socket_context : NULL;
}

uid_t pile_clients_uid(const struct pile_client *client)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);

	if (getsockopt(client->fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) != 0 ||
	    len != sizeof(cred))
		return (uid_t)-1;
	return cred.uid;
}

void pile_clients_suspend(struct pile_client *client)
{
	if (client->suspended)
		return;
	client->suspended = true;
	MHD_suspend_connection(client->connection);
}

void pile_clients_resume(struct pile_client *client)
{
	if (!client->suspended)
		return;
	client->suspended = false;
	MHD_resume_connection(client->connection);
}

void pile_clients_drop(struct pile_client *client)
{
	if (client->dropped)
		return;
	client->dropped = true;
	client->server->n_clients--;
	client->server->n_dropped++;
	shutdown(client->fd, SHUT_RDWR);
	pile_clients_resume(client); /* a suspended connection is not looked at */
}

/** Gone while nobody was reading from it? (A suspended connection is in nobody's epoll set.) */
static bool hung_up(const struct pile_client *client)
{
	struct pollfd pfd = { .fd = client->fd };

	return client->suspended && poll(&pfd, 1, 0) > 0 && (pfd.revents & (POLLHUP | POLLERR));
}

static void sweep_one(struct pile_client *client, uint64_t now_ns)
{
	if (client->dropped)
		return;
	if (hung_up(client))
		pile_clients_drop(client);
	else if (now_ns < client->deadline_ns)
		return;
	else if (client->phase == PILE_CLIENT_COMMAND)
		pile_commands_expire(client);
	else
		pile_clients_drop(client);
}

/**
 * Makes room: the oldest connections go first, whether they do not finish asking or do not read the
 * answer. Who asks and reads as fast as it can is done before a hundred newer ones have come.
 */
static void drop_oldest(struct pile_server *server)
{
	for (struct pile_client *c = server->oldest; c; c = c->next) {
		if (server->n_clients + PILE_SERVER_SPARE <= PILE_API_CLIENTS_MAX)
			return;
		if (c->phase == PILE_CLIENT_READING || c->phase == PILE_CLIENT_WRITING)
			pile_clients_drop(c);
	}
}

/** Makes room in memory: whoever takes his time over a large answer. */
static void drop_slow_readers(struct pile_server *server, uint64_t now_ns)
{
	if (server->answers_bytes <= PILE_SERVER_ANSWERS_BYTES_MAX / 2)
		return;
	for (struct pile_client *c = server->oldest; c; c = c->next)
		if (c->phase == PILE_CLIENT_WRITING && c->large &&
		    now_ns + PILE_SERVER_REQUEST_NS > c->deadline_ns + PILE_SERVER_SLOW_NS)
			pile_clients_drop(c);
}

void pile_clients_sweep(struct pile_server *server, uint64_t now_ns)
{
	for (struct pile_client *c = server->oldest; c; c = c->next)
		sweep_one(c, now_ns);
	drop_oldest(server);
	drop_slow_readers(server, now_ns);
}

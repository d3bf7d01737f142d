// SPDX-License-Identifier: GPL-2.0-or-later
/* GET /v1/events?follow=1: no thread, no queue: each follower remembers the last event it was sent.
 */
#include <string.h>

#include "api/json.h"
#include "api/server.h"
#include "util/macro.h"

/* Shorter than the 15 to 60 s after which proxies and clients give an idle stream up. */
#define KEEPALIVE_NS (10 * NS_PER_SEC)
/* A follower that does not read for so long is dropped. */
#define STUCK_NS (10 * NS_PER_SEC)
/* At least one event, every byte of its texts escaped as \u00XX (6 x (256 + 256 + 64) + keys). */
#define BLOCK_BYTES 8192

/** Writes whole lines of new events into buf; returns the bytes. */
static size_t lines_write(struct pile_client *client, const struct pile_snapshot_half *view,
			  char *buf, size_t size)
{
	size_t len = 0;

	for (uint32_t i = 0; i < view->n_events; i++) {
		_cleanup_text_ struct pile_text line = { 0 };

		if (view->events[i].seq <= client->follow_seq)
			continue;
		pile_json_event_line(&view->events[i], &line);
		if (!line.failed && len + line.len > size)
			break;
		if (!line.failed) {
			memcpy(buf + len, line.data, line.len);
			len += line.len;
		}
		client->follow_seq = view->events[i].seq;
	}
	return len;
}

static ssize_t stream_read(void *cls, uint64_t pos, char *buf, size_t size)
{
	struct pile_client *client = cls;
	size_t len = 0;

	(void)pos;
	if (client->dropped)
		return MHD_CONTENT_READER_END_WITH_ERROR;
	if (pile_server_refresh(client->server) == 0)
		len = lines_write(client, client->server->view, buf, size);
	if (!len && client->follow_keepalive)
		buf[len++] = '\n';
	client->follow_keepalive = false;
	if (len) {
		client->follow_said_ns = pile_server_now();
		client->deadline_ns = client->follow_said_ns + STUCK_NS;
		return (ssize_t)len;
	}
	client->deadline_ns = UINT64_MAX; /* everything was taken: nothing is owed */
	pile_clients_suspend(client);
	return 0;
}

static uint64_t newest_seq(const struct pile_snapshot_half *view)
{
	return view->n_events ? view->events[view->n_events - 1].seq : 0;
}

enum MHD_Result pile_stream_start(struct pile_client *client, uint64_t since)
{
	struct pile_server *server = client->server;
	struct MHD_Response *response;
	enum MHD_Result result;

	if (server->n_followers >= PILE_SERVER_FOLLOWERS_MAX)
		return pile_routes_error(
			client, MHD_HTTP_SERVICE_UNAVAILABLE,
			"16 clients follow the events already; ask without follow=1");
	response = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, BLOCK_BYTES, stream_read,
						     client, NULL);
	if (!response)
		return MHD_NO;
	client->follow_seq = since == UINT64_MAX ? newest_seq(server->view) : since;
	client->follow_said_ns = pile_server_now();
	client->deadline_ns = client->follow_said_ns + STUCK_NS;
	MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, "application/x-ndjson");
	MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
	MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
	result = MHD_queue_response(client->connection, MHD_HTTP_OK, response);
	MHD_destroy_response(response);
	if (result == MHD_YES) {
		client->phase = PILE_CLIENT_FOLLOWING;
		server->n_followers++;
	}
	return result;
}

void pile_stream_wake(struct pile_server *server, uint64_t now_ns)
{
	if (!server->n_followers || pile_server_refresh(server) != 0)
		return;
	for (struct pile_client *c = server->oldest; c; c = c->next) {
		if (c->phase != PILE_CLIENT_FOLLOWING || !c->suspended)
			continue;
		c->follow_keepalive = now_ns - c->follow_said_ns >= KEEPALIVE_NS;
		if (!c->follow_keepalive && newest_seq(server->view) <= c->follow_seq)
			continue;
		c->deadline_ns = now_ns + STUCK_NS;
		pile_clients_resume(c);
	}
}

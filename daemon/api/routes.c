// SPDX-License-Identifier: GPL-2.0-or-later
/* Which path gets which answer: one table. */
#include <errno.h>
#include <string.h>

#include "api/json.h"
#include "api/metrics.h"
#include "api/server.h"
#include "util/macro.h"

#define TYPE_JSON "application/json"
#define TYPE_METRICS "text/plain; version=0.0.4; charset=utf-8"

struct route {
	const char *path;
	bool tail;    /* something follows the path: /v1/explain/17 */
	bool streams; /* knows ?follow=1 */
	const char *type;
	unsigned int (*render)(const struct pile_snapshot_half *half,
			       const struct pile_query *query,
			       struct pile_text *ret); /* GET; NULL: POST */
	enum pile_command_kind command;
};

static const struct route routes[] = {
	{ .path = "/v1/status", .type = TYPE_JSON, .render = pile_json_status },
	{ .path = "/v1/groups", .type = TYPE_JSON, .render = pile_json_groups },
	{ .path = "/v1/workers", .type = TYPE_JSON, .render = pile_json_workers },
	{ .path = "/v1/dependencies", .type = TYPE_JSON, .render = pile_json_dependencies },
	{ .path = "/v1/events", .type = TYPE_JSON, .render = pile_json_events, .streams = true },
	{ .path = "/v1/explain/", .type = TYPE_JSON, .render = pile_json_explain, .tail = true },
	{ .path = "/v1/policy", .type = TYPE_JSON, .render = pile_json_policy },
	{ .path = "/metrics", .type = TYPE_METRICS, .render = pile_metrics_render },
	{ .path = "/v1/reload", .command = PILE_COMMAND_RELOAD },
	{ .path = "/v1/hold", .command = PILE_COMMAND_HOLD },
	{ .path = "/v1/release", .command = PILE_COMMAND_RELEASE },
	{ .path = "/v1/disarm", .command = PILE_COMMAND_DISARM },
	{ .path = "/v1/arm", .command = PILE_COMMAND_ARM },
};

_Static_assert(ARRAY_LEN(routes) <= PILE_SERVER_ROUTES_MAX, "one kept answer a route");

static const struct route *route_find(const char *url)
{
	for (size_t i = 0; i < ARRAY_LEN(routes); i++) {
		const struct route *r = &routes[i];

		if (r->tail ? strncmp(url, r->path, strlen(r->path)) == 0
			    : strcmp(url, r->path) == 0)
			return r;
	}
	return NULL;
}

/** Hands @response (borrowed) to the client. */
static enum MHD_Result response_queue(struct pile_client *client, unsigned int status,
				      struct MHD_Response *response, size_t size)
{
	client->phase = PILE_CLIENT_WRITING;
	client->large = size > PILE_SERVER_SMALL_BYTES;
	client->deadline_ns = pile_server_now() + PILE_SERVER_REQUEST_NS;
	return MHD_queue_response(client->connection, status, response);
}

enum MHD_Result pile_routes_queue(struct pile_client *client, unsigned int status, const char *type,
				  const char *allow, struct pile_text *text)
{
	size_t size = text->len;
	struct MHD_Response *response = pile_answers_make(client->server, type, text);
	enum MHD_Result result;

	if (!response)
		return MHD_NO;
	if (allow)
		MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, allow);
	if (status == MHD_HTTP_SERVICE_UNAVAILABLE)
		MHD_add_response_header(response, MHD_HTTP_HEADER_RETRY_AFTER, "1");
	result = response_queue(client, status, response, size);
	MHD_destroy_response(response);
	return result;
}

static enum MHD_Result error_allow(struct pile_client *client, unsigned int status,
				   const char *allow, const char *sentence)
{
	_cleanup_text_ struct pile_text text = { 0 };

	pile_json_error(sentence, &text);
	if (text.failed)
		return MHD_NO;
	return pile_routes_queue(client, status, TYPE_JSON, allow, &text);
}

enum MHD_Result pile_routes_error(struct pile_client *client, unsigned int status,
				  const char *sentence)
{
	return error_allow(client, status, NULL, sentence);
}

static const char *argument(struct pile_client *client, const char *key)
{
	return MHD_lookup_connection_value(client->connection, MHD_GET_ARGUMENT_KIND, key);
}

/** ?since=SEQ; @missing when it is not given. Returns -EINVAL for anything but a number. */
static int argument_since(struct pile_client *client, uint64_t missing, uint64_t *ret)
{
	const char *text = argument(client, "since");
	char *end;

	*ret = missing;
	if (!text)
		return 0;
	if (text[0] < '0' || text[0] > '9')
		return -EINVAL;
	errno = 0;
	*ret = strtoull(text, &end, 10);
	return *end || errno ? -EINVAL : 0;
}

/** Renders, sends, and keeps the answer for the next one who asks when it is the same for
 * everybody. */
static enum MHD_Result render_answer(struct pile_client *client, const struct route *route,
				     const struct pile_query *query, bool keep)
{
	struct pile_server *server = client->server;
	size_t index = (size_t)(route - routes), size;
	_cleanup_text_ struct pile_text text = { 0 };
	struct MHD_Response *response;
	enum MHD_Result result;
	unsigned int status;

	if (!pile_answers_fit(server, server->answers[index].size))
		return pile_routes_error(
			client, MHD_HTTP_SERVICE_UNAVAILABLE,
			"too many large answers wait for slow clients; try again in a second");
	status = route->render(server->view, query, &text);
	if (text.failed)
		return pile_routes_error(client, MHD_HTTP_INTERNAL_SERVER_ERROR,
					 "the answer does not fit into memory");
	size = text.len;
	response = pile_answers_make(server, route->type, &text);
	if (!response)
		return MHD_NO;
	result = response_queue(client, status, response, size);
	if (keep)
		pile_answers_keep(server, index, response, status, size, query->now_ns);
	else
		MHD_destroy_response(response);
	return result;
}

static enum MHD_Result get_answer(struct pile_client *client, const struct route *route,
				  const char *url)
{
	const char *follow = route->streams ? argument(client, "follow") : NULL;
	bool streams = follow && strcmp(follow, "0") != 0;
	struct pile_query query = {
		.rest = url + strlen(route->path),
		.group = argument(client, "group"),
		.now_ns = pile_server_now(),
	};
	const struct pile_answer *ready;
	bool common;

	if (argument_since(client, streams ? UINT64_MAX : 0, &query.since) != 0)
		return pile_routes_error(client, MHD_HTTP_BAD_REQUEST,
					 "since must be the number (seq) of an event");
	common = !route->tail && !query.group && !query.since;
	ready = common ? pile_answers_find(client->server, (size_t)(route - routes), query.now_ns)
		       : NULL;
	if (ready)
		return response_queue(client, ready->status, ready->response, ready->size);
	if (pile_server_refresh(client->server) != 0)
		return pile_routes_error(
			client, MHD_HTTP_SERVICE_UNAVAILABLE,
			"the guard has not published anything yet; try again in a second");
	if (streams)
		return pile_stream_start(client, query.since);
	return render_answer(client, route, &query, common);
}

/** The head of a POST: may its body come? 0, or the status that says no. */
static unsigned int body_refused(struct pile_client *client, const char **ret_sentence)
{
	const char *length = MHD_lookup_connection_value(client->connection, MHD_HEADER_KIND,
							 MHD_HTTP_HEADER_CONTENT_LENGTH);

	/* libmicrohttpd takes no answer in the middle of a body, so an endless one is refused
	 * before it starts. */
	if (MHD_lookup_connection_value(client->connection, MHD_HEADER_KIND,
					MHD_HTTP_HEADER_TRANSFER_ENCODING)) {
		*ret_sentence = "send the body with a Content-Length";
		return MHD_HTTP_LENGTH_REQUIRED;
	}
	if (length && strtoull(length, NULL, 10) > PILE_SERVER_BODY_MAX) {
		*ret_sentence = "the body may have 1024 bytes at most";
		return MHD_HTTP_CONTENT_TOO_LARGE;
	}
	return 0;
}

/** First call, the head is complete: refuse what can be refused without a body. */
static enum MHD_Result head_check(struct pile_client *client, const struct route *route,
				  const char *method)
{
	bool get = strcmp(method, MHD_HTTP_METHOD_GET) == 0 ||
		   strcmp(method, MHD_HTTP_METHOD_HEAD) == 0;
	bool post = strcmp(method, MHD_HTTP_METHOD_POST) == 0;
	const char *sentence = NULL;
	unsigned int status;

	if (!route)
		return pile_routes_error(
			client, MHD_HTTP_NOT_FOUND,
			"no such path; there are /v1/status, /v1/groups, /v1/workers, "
			"/v1/dependencies, /v1/events, /v1/explain/ID, /v1/policy and /metrics");
	if (route->render ? !get : !post)
		return error_allow(
			client, MHD_HTTP_METHOD_NOT_ALLOWED, route->render ? "GET, HEAD" : "POST",
			route->render ? "this path is read with GET" : "this path takes POST");
	status = body_refused(client, &sentence);
	return status ? pile_routes_error(client, status, sentence) : MHD_YES;
}

enum MHD_Result pile_routes_handle(void *server, struct MHD_Connection *connection, const char *url,
				   const char *method, const char *version, const char *upload,
				   size_t *upload_size, void **context)
{
	struct pile_client *client = pile_clients_get(connection);
	const struct route *route = route_find(url);

	(void)server;
	(void)version;
	if (!client)
		return MHD_NO;
	if (!*context) {
		*context = client;
		return head_check(client, route, method);
	}
	if (*upload_size) {
		if (client->body_len + *upload_size > PILE_SERVER_BODY_MAX)
			return MHD_NO;
		memcpy(client->body + client->body_len, upload, *upload_size);
		client->body_len += *upload_size;
		*upload_size = 0;
		return MHD_YES;
	}
	if (client->phase == PILE_CLIENT_COMMAND)
		return client->command_status ? pile_commands_answer(client) : MHD_YES;
	if (client->dropped || !route)
		return MHD_NO;
	return route->render ? get_answer(client, route, url)
			     : pile_commands_post(client, route->command);
}

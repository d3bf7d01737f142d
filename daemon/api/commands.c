// SPDX-License-Identifier: GPL-2.0-or-later
/* POST: the few commands, as fixed-size requests with the client's own socket, up the pair to the
 * guard. */
#include <errno.h>
#include <jansson.h>
#include <string.h>
#include <sys/socket.h>

#include "api/json.h"
#include "api/json_value.h"
#include "api/server.h"
#include "util/macro.h"

/* hold and release when the request does not say: long enough for a person, short enough to be
 * forgotten. */
#define SECONDS_DEFAULT 600

/** Sends a command and the client's descriptor in one packet. */
static int command_send(int fd, const struct pile_command *command, int client_fd)
{
	struct iovec iov = { .iov_base = (void *)command, .iov_len = sizeof(*command) };
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = { 0 };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);

	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(cmsg), &client_fd, sizeof(int));
	if (sendmsg(fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL) != (ssize_t)sizeof(*command))
		return errno ? -errno : -EIO;
	return 0;
}

/** Copies a mandatory string of the body; refuses what does not fit or is no plain text. */
static int field_text(const json_t *body, const char *key, char *buf, size_t size)
{
	const json_t *value = json_object_get(body, key);
	const char *text = json_string_value(value);

	if (!text || !text[0] || json_string_length(value) != strlen(text) || strlen(text) >= size)
		return -EINVAL;
	for (const char *c = text; *c; c++)
		if ((unsigned char)*c < 0x21 || (unsigned char)*c == 0x7f)
			return -EINVAL;
	memcpy(buf, text, strlen(text) + 1);
	return 0;
}

/** ["seconds"], from 1 to @max, into @ret; left as it is when absent. */
static int field_seconds(const json_t *body, json_int_t max, uint32_t *ret)
{
	const json_t *seconds = json_object_get(body, "seconds");

	if (!seconds)
		return 0;
	if (!json_is_integer(seconds) || json_integer_value(seconds) < 1 ||
	    json_integer_value(seconds) > max)
		return -EINVAL;
	*ret = (uint32_t)json_integer_value(seconds);
	return 0;
}

/** hold, release: {"group": "www", "endpoint": "10.9.0.2:3306", "seconds": 600}. Returns NULL or
 * what is wrong. */
static const char *hand_parse(const json_t *body, struct pile_command *command)
{
	command->seconds = SECONDS_DEFAULT;
	if (!json_is_object(body))
		return "the body must be one JSON object: {\"group\": \"www\", \"endpoint\": "
		       "\"10.9.0.2:3306\", \"seconds\": 600}";
	if (field_text(body, "group", command->group, sizeof(command->group)) != 0)
		return "\"group\" must be a group's name";
	if (field_text(body, "endpoint", command->endpoint, sizeof(command->endpoint)) != 0)
		return "\"endpoint\" must be an address and port: \"10.9.0.2:3306\"";
	if (field_seconds(body, PILE_HAND_SECONDS_MAX, &command->seconds) != 0)
		return "\"seconds\" must be a whole number from 1 to 86400";
	return NULL;
}

/** disarm, arm: {"seconds": 3600, "by": "alice"}, each of them and the body optional. Returns NULL or what is wrong. */
static const char *disarm_parse(const json_t *body, struct pile_command *command)
{
	if (!json_is_object(body))
		return "the body must be one JSON object: {\"seconds\": 3600, \"by\": \"alice\"}";
	if (json_object_get(body, "by") &&
	    field_text(body, "by", command->by, sizeof(command->by)) != 0)
		return "\"by\" must be the name of who does this";
	if (command->kind == PILE_COMMAND_ARM && json_object_get(body, "seconds"))
		return "arm takes no \"seconds\": the guard stays armed";
	if (field_seconds(body, PILE_DISARM_SECONDS_MAX, &command->seconds) != 0)
		return "\"seconds\" must be a whole number from 1 to 2592000 (30 days)";
	return NULL;
}

/** Returns NULL or what is wrong. */
static const char *body_parse(const struct pile_client *client, struct pile_command *command)
{
	bool hand = command->kind == PILE_COMMAND_HOLD || command->kind == PILE_COMMAND_RELEASE;
	const char *wrong;
	json_t *body;

	if (command->kind == PILE_COMMAND_RELOAD || (!hand && !client->body_len))
		return NULL;
	body = json_loadb(client->body, client->body_len, JSON_REJECT_DUPLICATES, NULL);
	wrong = hand ? hand_parse(body, command) : disarm_parse(body, command);
	json_decref(body);
	return wrong;
}

enum MHD_Result pile_commands_post(struct pile_client *client, enum pile_command_kind kind)
{
	struct pile_server *server = client->server;
	struct pile_command command = { .version = PILE_COMMAND_VERSION, .kind = (uint16_t)kind };
	const char *wrong;

	if (pile_clients_uid(client) != 0)
		return pile_routes_error(
			client, MHD_HTTP_FORBIDDEN,
			"only root may change anything: run the command with sudo");
	wrong = body_parse(client, &command);
	if (wrong)
		return pile_routes_error(client, MHD_HTTP_UNPROCESSABLE_CONTENT, wrong);

	command.id = ++server->next_command_id;
	if (command_send(server->command_fd, &command, client->fd) != 0)
		return pile_routes_error(client, MHD_HTTP_SERVICE_UNAVAILABLE,
					 "the guard does not take commands right now; try again");
	client->command_id = command.id;
	client->command_kind = command.kind;
	client->phase = PILE_CLIENT_COMMAND;
	client->deadline_ns = pile_server_now() + PILE_SERVER_COMMAND_NS;
	pile_clients_suspend(client);
	return MHD_YES;
}

/** What the guard's errno means to an HTTP client. */
static unsigned int status_of(int32_t result)
{
	static const struct {
		int32_t error;
		unsigned int status;
	} table[] = {
		{ 0, MHD_HTTP_OK },
		{ EACCES, MHD_HTTP_FORBIDDEN },
		{ EINVAL, MHD_HTTP_UNPROCESSABLE_CONTENT },
		{ ENOENT, MHD_HTTP_UNPROCESSABLE_CONTENT },
		{ EFBIG, MHD_HTTP_UNPROCESSABLE_CONTENT },
		{ ETIMEDOUT, MHD_HTTP_GATEWAY_TIMEOUT },
	};

	for (size_t i = 0; i < ARRAY_LEN(table); i++)
		if (-result == table[i].error)
			return table[i].status;
	return MHD_HTTP_CONFLICT;
}

enum MHD_Result pile_commands_answer(struct pile_client *client)
{
	_cleanup_text_ struct pile_text text = { 0 };
	const char *key = client->command_status == MHD_HTTP_OK ? "text" : "error";

	pile_json_value_emit(json_pack("{s:b,s:o,s:I}", "ok", client->command_status == MHD_HTTP_OK,
				       key, pile_json_value_text(client->command_text),
				       "generation", (json_int_t)client->command_generation),
			     &text);
	pile_text_printf(&text, "\n");
	if (text.failed)
		return MHD_NO;
	client->phase = PILE_CLIENT_WRITING;
	client->deadline_ns = pile_server_now() + PILE_SERVER_REQUEST_NS;
	return pile_routes_queue(client, client->command_status, "application/json", NULL, &text);
}

static void reply_take(struct pile_server *server, struct pile_reply *reply)
{
	reply->text[sizeof(reply->text) - 1] = '\0';
	for (struct pile_client *c = server->oldest; c; c = c->next) {
		if (c->phase != PILE_CLIENT_COMMAND || c->command_id != reply->id ||
		    c->command_status)
			continue;
		c->command_status = status_of(reply->result);
		c->command_generation = reply->generation;
		memcpy(c->command_text, reply->text, sizeof(c->command_text));
		pile_clients_resume(c);
		return;
	}
}

void pile_commands_expire(struct pile_client *client)
{
	if (client->command_status) {
		pile_clients_drop(client);
		return;
	}
	client->command_status = MHD_HTTP_GATEWAY_TIMEOUT;
	snprintf(client->command_text, sizeof(client->command_text),
		 "the guard did not answer within 15 s; what it did is in: pileguardctl events");
	client->deadline_ns = pile_server_now() + PILE_SERVER_REQUEST_NS;
	pile_clients_resume(client);
}

int pile_commands_receive(struct pile_server *server)
{
	struct pile_reply reply;

	for (;;) {
		ssize_t n = recv(server->command_fd, &reply, sizeof(reply), MSG_DONTWAIT);

		if (n == 0)
			return -EPIPE;
		if (n < 0)
			return errno == EAGAIN || errno == EINTR ? 0 : -EPIPE;
		if (n == (ssize_t)sizeof(reply) && reply.version == PILE_COMMAND_VERSION)
			reply_take(server, &reply);
	}
}

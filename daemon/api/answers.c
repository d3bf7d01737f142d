// SPDX-License-Identifier: GPL-2.0-or-later
/* Answers in memory: shared by everybody who asks at once, and counted. */
#include "api/server.h"
#include "util/macro.h"

/** A body; freed when the last client has it. */
struct body {
	struct pile_server *server;
	size_t size;
	char *data;
};

static size_t counted(size_t size)
{
	return size > PILE_SERVER_SMALL_BYTES ? size : 0;
}

static void body_free(void *cls)
{
	struct body *body = cls;

	body->server->answers_bytes -= counted(body->size);
	free(body->data);
	free(body);
}

struct MHD_Response *pile_answers_make(struct pile_server *server, const char *type,
				       struct pile_text *text)
{
	struct body *body = malloc(sizeof(*body));
	struct MHD_IoVec iov = { text->data, text->len };
	struct MHD_Response *response;

	if (!body) {
		pile_text_fini(text);
		return NULL;
	}
	*body = (struct body){ server, text->len, text->data };
	*text = (struct pile_text){ 0 };
	server->answers_bytes += counted(body->size);
	response = MHD_create_response_from_iovec(&iov, 1, body_free, body);
	if (!response) {
		body_free(body);
		return NULL;
	}
	MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
	MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
	/* One request a connection: a deadline then covers a whole client, and none is kept for an
	 * idle one. */
	MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
	return response;
}

struct pile_answer *pile_answers_find(struct pile_server *server, size_t route, uint64_t now_ns)
{
	struct pile_answer *answer = &server->answers[route];

	/* By time as well: an answer tells its own age, which grows when the guard stops
	 * publishing. */
	if (!answer->response || now_ns - answer->made_ns >= PILE_SERVER_ANSWER_NS ||
	    answer->sequence != pile_snapshot_sequence(server->shared))
		return NULL;
	return answer;
}

static void forget(struct pile_server *server, struct pile_answer *answer)
{
	if (!answer->response)
		return;
	MHD_destroy_response(answer->response);
	answer->response = NULL;
	server->n_answers--;
}

void pile_answers_keep(struct pile_server *server, size_t route, struct MHD_Response *response,
		       unsigned int status, size_t size, uint64_t now_ns)
{
	struct pile_answer *answer = &server->answers[route];

	forget(server, answer);
	*answer = (struct pile_answer){ response, status, size, now_ns, server->view->sequence };
	server->n_answers++;
}

bool pile_answers_fit(const struct pile_server *server, size_t size)
{
	return server->answers_bytes + counted(size) <= PILE_SERVER_ANSWERS_BYTES_MAX;
}

void pile_answers_sweep(struct pile_server *server, uint64_t now_ns)
{
	for (size_t i = 0; server->n_answers && i < ARRAY_LEN(server->answers); i++)
		if (!pile_answers_find(server, i, now_ns))
			forget(server, &server->answers[i]);
}

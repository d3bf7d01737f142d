/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * http.h: as much of HTTP as it takes to ask the stats socket: one request, one answer, end of
 * file. HTTP/1.0, so that an answer is never chunked. Smaller than libcurl, which would bring TLS
 * and a dozen libraries. Blocks, within a deadline; allocates; prints the one sentence of trouble
 * to stderr itself (pile_http_get).
 */
#pragma once

#include <jansson.h>
#include <stddef.h>

#include "ctl.h"

struct pile_http_answer {
	int status; /* 200, 404, ... */
	char *body; /* heap, NUL-terminated; the caller frees */
	size_t size;
};

/**
 * pile_http_request - ask, and wait for the whole answer
 * @path: path and query; @body: JSON of a POST, or NULL for a GET
 * @seconds: the longest silence that is tolerated
 * Returns 0; -ENOENT, -ECONNREFUSED nobody listens; -EACCES; -ETIMEDOUT; -EPROTO not an answer.
 */
int pile_http_request(const char *socket, const char *path, const char *body, unsigned int seconds,
		      struct pile_http_answer *ret);

/**
 * pile_http_follow - an endless answer, line by line (empty lines are left out)
 * @line: called with each line; nonzero ends it. Returns 0 at the end of the stream, or as above.
 */
int pile_http_follow(const char *socket, const char *path,
		     int (*line)(const char *text, void *data), void *data);

/** pile_http_complain - one sentence for what pile_http_request returned; returns the exit status.
 */
int pile_http_complain(const struct pile_ctl *ctl, int error);

/**
 * pile_http_get - GET for a command: complains itself; with --json prints the body and is done
 * @ret: the parsed answer (json_decref it); NULL after --json
 * Returns an exit status: PILE_EXIT_OK, also after --json.
 */
int pile_http_get(const struct pile_ctl *ctl, const char *path, json_t **ret);

/** pile_http_error_text - the sentence of an {"error": ...} body, or a general one. @buf: where.
 * Returns buf. */
const char *pile_http_error_text(const struct pile_http_answer *answer, char *buf, size_t size);

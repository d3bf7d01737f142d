/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * server.h: what the files of the api process share: the server and its clients.
 * One thread: poll on libmicrohttpd's epoll descriptor and the command pair (server.c), so nothing
 * here is locked. clients.c: deadlines, who is dropped; routes.c: which answer; answers.c: one
 * answer for all who ask at once; commands.c: POST, up the pair; stream.c: ?follow=1. All of it
 * runs in the unprivileged child only. Bounded: clients, bytes of requests, bytes of unsent
 * answers.
 */
#pragma once

#include <microhttpd.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "api/snapshot.h"
#include "api/text.h"
#include "pileguard/api.h"

/* A command is some 60 bytes of JSON with names of at most 64 and 128. */
#define PILE_SERVER_BODY_MAX 1024
/* Bytes of all large answers that are in memory: a few workers lists; keeps the process below 16
 * MiB. */
#define PILE_SERVER_ANSWERS_BYTES_MAX (3u << 20)
/* An answer serves everybody who asks within a tick of the guard: a thousand clients cost as much
 * as one. */
#define PILE_SERVER_ANSWER_NS (100 * NS_PER_MS)
/* A client that reads takes milliseconds for a large answer; whoever takes longer goes first when
 * memory is short. */
#define PILE_SERVER_SLOW_NS NS_PER_SEC
#define PILE_SERVER_ROUTES_MAX 16
/* An answer up to this size is always given: status of a host with a dozen groups. */
#define PILE_SERVER_SMALL_BYTES 32768
/* A command's answer: the guard itself has 10 s for a reload on its slow thread. */
#define PILE_SERVER_COMMAND_NS (15 * NS_PER_SEC)
#define PILE_SERVER_REQUEST_NS (PILE_API_REQUEST_SECONDS_MAX * NS_PER_SEC)
/* So many connections stay free for the next client: libmicrohttpd accepts at most 10 in one turn.
 */
#define PILE_SERVER_SPARE 16
#define PILE_SERVER_FOLLOWERS_MAX 16

enum pile_client_phase {
	PILE_CLIENT_READING = 0, /* the request is not complete */
	PILE_CLIENT_COMMAND,	 /* waits for the guard */
	PILE_CLIENT_WRITING,	 /* the answer is on its way */
	PILE_CLIENT_FOLLOWING,	 /* an endless answer */
};

/** One connection. Owned by the list in struct pile_server, freed when libmicrohttpd says that it
 * is closed. */
struct pile_client {
	struct pile_client *prev, *next; /* oldest first */
	struct pile_server *server;
	struct MHD_Connection *connection;
	int fd; /* borrowed from libmicrohttpd */
	enum pile_client_phase phase;
	bool suspended;
	bool dropped;	      /* shut down by us; libmicrohttpd will notice */
	uint64_t deadline_ns; /* dropped when not done by then; UINT64_MAX: none */
	bool large;	      /* it is sent a large answer */
	/* POST */
	size_t body_len;
	char body[PILE_SERVER_BODY_MAX + 1];
	uint32_t command_id;
	uint16_t command_kind;
	unsigned int command_status; /* HTTP status of the reply; 0 = not there yet */
	char command_text[sizeof(((struct pile_reply *)0)->text)];
	uint64_t command_generation;
	/* ?follow=1 */
	uint64_t follow_seq;	 /* the last event that was sent */
	uint64_t follow_said_ns; /* when anything was sent last */
	bool follow_keepalive;	 /* one is due */
};

/** The last answer of a route that is the same for everybody. */
struct pile_answer {
	struct MHD_Response *response; /* one reference; NULL: none */
	unsigned int status;
	size_t size; /* of the last one, also after it was dropped: what to expect */
	uint64_t made_ns;
	uint64_t sequence; /* of the snapshot that it was made from */
};

struct pile_server {
	struct MHD_Daemon *mhd;
	int command_fd;
	const struct pile_snapshot *shared;
	struct pile_snapshot_half *view; /* the private copy that answers are made from */
	struct pile_client *oldest, *newest;
	unsigned int n_clients; /* connected and not dropped */
	unsigned int n_followers;
	struct pile_answer answers[PILE_SERVER_ROUTES_MAX];
	unsigned int n_answers; /* of them: with a response */
	size_t answers_bytes;	/* of all large answers in memory */
	uint32_t next_command_id;
	uint64_t n_dropped; /* clients dropped since the start */
};

/* ---- server.c ---- */

/** pile_server_now - CLOCK_MONOTONIC in ns */
uint64_t pile_server_now(void);

/** pile_server_refresh - bring the private copy up to date. Returns 0; -EAGAIN when there is none
 * to show yet. */
int pile_server_refresh(struct pile_server *server);

/* ---- clients.c ---- */

/** pile_clients_notify - libmicrohttpd's callback: a connection came or went. */
void pile_clients_notify(void *server, struct MHD_Connection *connection, void **socket_context,
			 enum MHD_ConnectionNotificationCode code);

/** pile_clients_get - the client behind a connection; never NULL inside a handler unless memory ran
 * out */
struct pile_client *pile_clients_get(struct MHD_Connection *connection);

/** pile_clients_uid - who it is by SO_PEERCRED; (uid_t)-1 when the kernel does not say */
uid_t pile_clients_uid(const struct pile_client *client);

/** pile_clients_suspend, pile_clients_resume - stop and go on serving one connection; safe to call
 * twice. */
void pile_clients_suspend(struct pile_client *client);
void pile_clients_resume(struct pile_client *client);

/** pile_clients_drop - end it: its socket is shut down, libmicrohttpd closes it in its next turn.
 */
void pile_clients_drop(struct pile_client *client);

/**
 * pile_clients_sweep - drop whoever is past its deadline, has gone away while suspended, is the
 * oldest when connections become scarce, or reads slowly when memory does
 */
void pile_clients_sweep(struct pile_server *server, uint64_t now_ns);

/* ---- routes.c ---- */

/** pile_routes_handle - libmicrohttpd's access handler */
enum MHD_Result pile_routes_handle(void *server, struct MHD_Connection *connection, const char *url,
				   const char *method, const char *version, const char *upload,
				   size_t *upload_size, void **context);

/** pile_routes_error - answer with a sentence. */
enum MHD_Result pile_routes_error(struct pile_client *client, unsigned int status,
				  const char *sentence);

/** pile_routes_queue - send @text (taken) with this status and type; @allow: for 405, else NULL */
enum MHD_Result pile_routes_queue(struct pile_client *client, unsigned int status, const char *type,
				  const char *allow, struct pile_text *text);

/* ---- answers.c ---- */

/**
 * pile_answers_make - an answer with the headers that all have
 * @text: taken, in every case. Returns a reference, or NULL when memory ran out.
 */
struct MHD_Response *pile_answers_make(struct pile_server *server, const char *type,
				       struct pile_text *text);

/** pile_answers_find - the answer of this route made less than a tick ago from what is still
 * current, borrowed, or NULL */
struct pile_answer *pile_answers_find(struct pile_server *server, size_t route, uint64_t now_ns);

/** pile_answers_keep - let @response (a reference of its own is taken) answer whoever asks next */
void pile_answers_keep(struct pile_server *server, size_t route, struct MHD_Response *response,
		       unsigned int status, size_t size, uint64_t now_ns);

/** pile_answers_fit - is there room for one more of @size bytes? If not: 503. */
bool pile_answers_fit(const struct pile_server *server, size_t size);

/** pile_answers_sweep - forget those that are too old */
void pile_answers_sweep(struct pile_server *server, uint64_t now_ns);

/* ---- commands.c ---- */

/** pile_commands_post - the whole body of a POST is there: check, hand up, suspend; or answer an
 * error. */
enum MHD_Result pile_commands_post(struct pile_client *client, enum pile_command_kind kind);

/** pile_commands_answer - the guard replied (or the deadline passed): the HTTP answer */
enum MHD_Result pile_commands_answer(struct pile_client *client);

/** pile_commands_receive - take what the guard has replied. Returns 0; -EPIPE when the guard is
 * gone. */
int pile_commands_receive(struct pile_server *server);

/** pile_commands_expire - give up on a command whose deadline has passed. */
void pile_commands_expire(struct pile_client *client);

/* ---- stream.c ---- */

/** pile_stream_start - answer with events as they happen, one JSON object a line, an empty line
 * every 10 s */
enum MHD_Result pile_stream_start(struct pile_client *client, uint64_t since);

/** pile_stream_wake - let those followers go on for whom there is something to say. */
void pile_stream_wake(struct pile_server *server, uint64_t now_ns);

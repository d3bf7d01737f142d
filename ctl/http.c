// SPDX-License-Identifier: GPL-2.0-or-later
#include "http.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "pileguard/api.h"
#include "util/macro.h"
#include "value.h"

/* The largest answer (2,048 workers) has some 0.7 MB. */
#define ANSWER_BYTES_MAX (8u << 20)
#define GET_SECONDS 5
/* The stream says something every 10 s. */
#define FOLLOW_SECONDS 30

static int connect_to(const char *path, unsigned int seconds)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	struct timeval tv = { .tv_sec = seconds };
	_cleanup_close_ int fd = -1;

	if (strlen(path) >= sizeof(addr.sun_path))
		return -ENAMETOOLONG;
	memcpy(addr.sun_path, path, strlen(path) + 1);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)) != 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv)) != 0)
		return -errno;
	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) != 0)
		return errno == EAGAIN ? -ETIMEDOUT : -errno;
	return TAKE_FD(fd);
}

static int send_all(int fd, const char *bytes, size_t n)
{
	while (n > 0) {
		ssize_t sent = send(fd, bytes, n, MSG_NOSIGNAL);

		if (sent < 0 && errno == EINTR)
			continue;
		if (sent < 0)
			return errno == EAGAIN ? -ETIMEDOUT : -errno;
		bytes += sent;
		n -= (size_t)sent;
	}
	return 0;
}

static int request_send(int fd, const char *path, const char *body)
{
	_cleanup_free_ char *text = NULL;
	int n;

	if (body)
		n = asprintf(
			&text,
			"POST %s HTTP/1.0\r\nHost: pileguard\r\nContent-Type: application/json\r\n"
			"Content-Length: %zu\r\n\r\n%s",
			path, strlen(body), body);
	else
		n = asprintf(&text, "GET %s HTTP/1.0\r\nHost: pileguard\r\n\r\n", path);
	if (n < 0) {
		text = NULL;
		return -ENOMEM;
	}
	return send_all(fd, text, (size_t)n);
}

/** Bytes read so far; grows up to ANSWER_BYTES_MAX. */
struct inbox {
	char *data;
	size_t len, size;
};

/** Reads once. Returns the bytes, 0 at the end, or negative errno. */
static ssize_t inbox_read(int fd, struct inbox *box)
{
	ssize_t n;

	if (box->len + 4096 > box->size) {
		size_t size = box->size ? box->size * 2 : 65536;
		char *data;

		if (size > ANSWER_BYTES_MAX)
			return -EFBIG;
		data = realloc(box->data, size);
		if (!data)
			return -ENOMEM;
		box->data = data;
		box->size = size;
	}
	do {
		n = recv(fd, box->data + box->len, box->size - box->len - 1, 0);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == EAGAIN ? -ETIMEDOUT : -errno;
	box->len += (size_t)n;
	box->data[box->len] = '\0';
	return n;
}

/** Reads up to the end of the head. Returns where the body starts; @ret_status from the first line.
 */
static ssize_t head_read(int fd, struct inbox *box, int *ret_status)
{
	for (;;) {
		ssize_t n = inbox_read(fd, box);
		const char *end;

		if (n < 0)
			return n;
		if (n == 0)
			return -EPROTO;
		end = memmem(box->data, box->len, "\r\n\r\n", 4);
		if (!end && box->len > PILE_API_REQUEST_BYTES_MAX)
			return -EPROTO;
		if (!end)
			continue;
		if (sscanf(box->data, "HTTP/1.%*1[01] %3d", ret_status) != 1)
			return -EPROTO;
		return end + 4 - box->data;
	}
}

/** The body's size as announced; -1 when it is not. */
static long long announced_size(const char *head, size_t n)
{
	static const char key[] = "\r\nContent-Length:";
	long long size = -1;

	for (size_t i = 0; i + sizeof(key) < n; i++)
		if (strncasecmp(head + i, key, sizeof(key) - 1) == 0)
			size = strtoll(head + i + sizeof(key) - 1, NULL, 10);
	return size;
}

int pile_http_request(const char *socket_path, const char *path, const char *body,
		      unsigned int seconds, struct pile_http_answer *ret)
{
	_cleanup_close_ int fd = connect_to(socket_path, seconds);
	_cleanup_free_ char *data = NULL;
	struct inbox box = { 0 };
	int status = 0;
	ssize_t n, start;
	long long size;

	if (fd < 0)
		return fd;
	n = request_send(fd, path, body);
	if (n < 0)
		return (int)n;
	start = head_read(fd, &box, &status);
	for (n = start; n > 0;)
		n = inbox_read(fd, &box);
	data = box.data;
	if (n < 0)
		return (int)n;
	size = announced_size(data, (size_t)start);
	if (size >= 0 && (unsigned long long)size != box.len - (size_t)start)
		return -EPROTO;
	ret->status = status;
	ret->size = box.len - (size_t)start;
	memmove(data, data + start, ret->size + 1);
	ret->body = TAKE_PTR(data);
	return 0;
}

/** Hands out the complete lines and keeps the rest. */
static int lines_take(struct inbox *box, int (*line)(const char *text, void *data), void *data)
{
	char *start = box->data, *end;
	int stop = 0;

	while (!stop && (end = memchr(start, '\n', box->len - (size_t)(start - box->data)))) {
		*end = '\0';
		if (*start)
			stop = line(start, data);
		start = end + 1;
	}
	box->len -= (size_t)(start - box->data);
	memmove(box->data, start, box->len + 1);
	return stop;
}

int pile_http_follow(const char *socket_path, const char *path,
		     int (*line)(const char *text, void *data), void *data)
{
	_cleanup_close_ int fd = connect_to(socket_path, FOLLOW_SECONDS);
	_cleanup_free_ char *bytes = NULL;
	struct inbox box = { 0 };
	int status = 0;
	ssize_t n;

	if (fd < 0)
		return fd;
	n = request_send(fd, path, NULL);
	if (n < 0)
		return (int)n;
	n = head_read(fd, &box, &status);
	if (n > 0 && status == 200) {
		box.len -= (size_t)n;
		memmove(box.data, box.data + n, box.len + 1);
		while (!lines_take(&box, line, data) && (n = inbox_read(fd, &box)) > 0)
			;
	} else if (n > 0) {
		n = -EBUSY;
	}
	bytes = box.data;
	return n < 0 ? (int)n : 0;
}

/* A word on the kernel's command line. */
static bool cmdline_has(const char *word)
{
	char line[4096] = "", *save = NULL;
	FILE *file = fopen("/proc/cmdline", "re");

	if (!file)
		return false;
	if (!fgets(line, sizeof(line), file))
		line[0] = '\0';
	fclose(file);
	for (char *at = strtok_r(line, " \n", &save); at; at = strtok_r(NULL, " \n", &save))
		if (strcmp(at, word) == 0)
			return true;
	return false;
}

/* What keeps the unit from starting (dist/pileguard.service.in), before anybody tries to start it. */
static void not_running_complain(const struct pile_ctl *ctl)
{
	bool file = access(PILE_CTL_DISABLED_FILE, F_OK) == 0;
	bool word = cmdline_has(PILE_CTL_OFF_WORD);

	fprintf(stderr, "pileguard is not running (%s)", ctl->socket);
	if (file)
		fprintf(stderr, "; " PILE_CTL_DISABLED_FILE " keeps it from starting");
	if (word)
		fprintf(stderr, "; \"" PILE_CTL_OFF_WORD
				"\" on the kernel's command line keeps it from starting");
	fprintf(stderr, ". %s%s%s\n", word ? "Boot without that word, then" : "Start it with",
		file ? ": sudo rm " PILE_CTL_DISABLED_FILE " &&" : ":",
		" sudo systemctl start pileguard");
}

int pile_http_complain(const struct pile_ctl *ctl, int error)
{
	switch (error) {
	case -ENOENT:
	case -ECONNREFUSED:
		not_running_complain(ctl);
		return PILE_EXIT_UNREACHABLE;
	case -EACCES:
	case -EPERM:
		fprintf(stderr,
			"%s: permission denied. Use sudo, or join the group " PILE_API_GROUP
			" (sudo usermod -aG " PILE_API_GROUP " $USER) and log in again\n",
			ctl->socket);
		return PILE_EXIT_FAILURE;
	case -ETIMEDOUT:
		fprintf(stderr,
			"pileguard did not answer in time (%s). See: systemctl status pileguard\n",
			ctl->socket);
		return PILE_EXIT_UNREACHABLE;
	case -EBUSY:
		fprintf(stderr, "pileguard serves too many followers; try again later\n");
		return PILE_EXIT_FAILURE;
	default:
		fprintf(stderr, "%s: %s. Does pileguard listen there?\n", ctl->socket,
			strerror(-error));
		return PILE_EXIT_UNREACHABLE;
	}
}

const char *pile_http_error_text(const struct pile_http_answer *answer, char *buf, size_t size)
{
	json_t *body = json_loadb(answer->body, answer->size, 0, NULL);
	const char *text = json_string_value(json_object_get(body, "error"));

	if (text)
		pile_value_clean(text, buf, size);
	else
		snprintf(buf, size, "pileguard answered with HTTP status %d", answer->status);
	json_decref(body);
	return buf;
}

int pile_http_get(const struct pile_ctl *ctl, const char *path, json_t **ret)
{
	struct pile_http_answer answer = { 0 };
	_cleanup_free_ char *body = NULL;
	char text[1024];
	int r = pile_http_request(ctl->socket, path, NULL, GET_SECONDS, &answer);

	*ret = NULL;
	if (r != 0)
		return pile_http_complain(ctl, r);
	body = answer.body;
	if (answer.status != 200) {
		fprintf(stderr, "%s\n", pile_http_error_text(&answer, text, sizeof(text)));
		return answer.status == 503 ? PILE_EXIT_UNREACHABLE : PILE_EXIT_FAILURE;
	}
	if (ctl->json) {
		fwrite(answer.body, 1, answer.size, stdout);
		return PILE_EXIT_OK;
	}
	*ret = json_loadb(answer.body, answer.size, 0, NULL);
	if (!*ret)
		return pile_http_complain(ctl, -EPROTO);
	return PILE_EXIT_OK;
}

// SPDX-License-Identifier: GPL-2.0-or-later
#include "keep.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "util/macro.h"

#define LEARNED_FILE "learned"
#define DISARM_FILE "disarmed"
#define EXPLAIN_FILE "explain.next" /* a number: the next episode's */
#define EVICTED_FILE "evicted"
#define RUNNING_FILE "running" /* there while a guard runs; empty */
#define UNCLEAN_FILE "unclean" /* when guards ended without taking it away: seconds, a line each */
#define SAFE_FILE "safe-mode"  /* until when the last one was, and how long: seconds */
#define KEEP_PATH_MAX 280

static const char *path_in(const char *dir, const char *name, char buf[KEEP_PATH_MAX])
{
	snprintf(buf, KEEP_PATH_MAX, "%s/%s", dir, name);
	return buf;
}

/* The whole of it under its name, or what stood there before. */
static int file_write(const char *path, const void *data, size_t size, mode_t mode, bool sync)
{
	_cleanup_close_ int fd = -1;
	char aside[KEEP_PATH_MAX + 8];
	ssize_t n;
	int r = 0;

	snprintf(aside, sizeof(aside), "%s.new", path);
	fd = open(aside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, mode);
	if (fd < 0)
		return -errno;
	n = write(fd, data, size);
	if (n < 0 || (sync && fsync(fd) < 0))
		r = -errno;
	else if ((size_t)n != size)
		r = -ENOSPC;
	else if (rename(aside, path) < 0)
		r = -errno;
	if (r < 0)
		unlink(aside);
	return r;
}

/* At most @size bytes; how many there were, or negative errno. */
static ssize_t file_read(const char *path, void *ret, size_t size)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	ssize_t n = fd < 0 ? -1 : read(fd, ret, size);

	return n < 0 ? -errno : n;
}

int pile_keep_learned(const char *state_dir, const struct pile_baseline_record *records, uint32_t n)
{
	char path[KEEP_PATH_MAX];

	return file_write(path_in(state_dir, LEARNED_FILE, path), records, n * sizeof(*records),
			  0600, true);
}

uint32_t pile_keep_learned_load(const char *state_dir, struct pile_baseline_record *ret,
				uint32_t max)
{
	char path[KEEP_PATH_MAX];
	ssize_t n = file_read(path_in(state_dir, LEARNED_FILE, path), ret, max * sizeof(*ret));

	return n > 0 ? (uint32_t)((size_t)n / sizeof(*ret)) : 0;
}

int pile_keep_explain_next(const char *state_dir, uint32_t next)
{
	char path[KEEP_PATH_MAX], text[16];

	snprintf(text, sizeof(text), "%u\n", next);
	return file_write(path_in(state_dir, EXPLAIN_FILE, path), text, strlen(text), 0600, true);
}

uint32_t pile_keep_explain_next_load(const char *state_dir)
{
	char path[KEEP_PATH_MAX], text[16] = "", *end;
	unsigned long next;

	if (file_read(path_in(state_dir, EXPLAIN_FILE, path), text, sizeof(text) - 1) <= 0)
		return 1;
	next = strtoul(text, &end, 10);
	return *end == '\n' && next > 0 && next <= UINT32_MAX ? (uint32_t)next : 1;
}

int pile_keep_disarmed(const char *state_dir, const char *text)
{
	_cleanup_close_ int dir = open(state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	char path[KEEP_PATH_MAX];
	int r = 0;

	if (dir < 0)
		return -errno;
	path_in(state_dir, DISARM_FILE, path);
	if (text[0])
		r = file_write(path, text, strlen(text), 0600, true);
	else if (unlink(path) < 0 && errno != ENOENT)
		r = -errno;
	if (r == 0 && fsync(dir) < 0)
		r = -errno;
	return r;
}

int pile_keep_disarmed_load(const char *state_dir, char *ret, size_t size)
{
	char path[KEEP_PATH_MAX];
	ssize_t n = file_read(path_in(state_dir, DISARM_FILE, path), ret, size - 1);

	ret[MAX(n, 0)] = '\0';
	return n < 0 ? (int)n : 0;
}

int pile_keep_evicted(const char *state_dir, const char *text)
{
	char path[KEEP_PATH_MAX];

	return file_write(path_in(state_dir, EVICTED_FILE, path), text, strlen(text), 0600, true);
}

int pile_keep_evicted_load(const char *state_dir, char *ret, size_t size)
{
	char path[KEEP_PATH_MAX];
	ssize_t n = file_read(path_in(state_dir, EVICTED_FILE, path), ret, size - 1);

	ret[MAX(n, 0)] = '\0';
	return n < 0 ? (int)n : 0;
}

/* The ends that still count, at most the newest PILE_KEEP_UNCLEAN_MAX. */
static uint32_t unclean_load(const char *path, uint64_t now_s, uint64_t ret[PILE_KEEP_UNCLEAN_MAX])
{
	char text[PILE_KEEP_UNCLEAN_MAX * 24 + 1] = "", *at = text, *end;
	uint32_t n = 0;

	if (file_read(path, text, sizeof(text) - 1) <= 0)
		return 0;
	for (; n < PILE_KEEP_UNCLEAN_MAX; at = end + 1) {
		uint64_t then_s = strtoull(at, &end, 10);

		if (end == at || *end != '\n')
			break;
		/* what lies in the future is of a clock that was wrong */
		if (then_s <= now_s && now_s - then_s < PILE_KEEP_UNCLEAN_S)
			ret[n++] = then_s;
	}
	return n;
}

static int unclean_add(const char *path, uint64_t now_s, uint64_t ends[PILE_KEEP_UNCLEAN_MAX],
		       uint32_t *n)
{
	char text[PILE_KEEP_UNCLEAN_MAX * 24 + 1];
	size_t len = 0;

	if (*n == PILE_KEEP_UNCLEAN_MAX)
		memmove(ends, ends + 1, --*n * sizeof(*ends));
	ends[(*n)++] = now_s;
	for (uint32_t i = 0; i < *n; i++)
		len += (size_t)snprintf(text + len, sizeof(text) - len, "%llu\n",
					(unsigned long long)ends[i]);
	return file_write(path, text, len, 0600, true);
}

int pile_keep_begin(const char *state_dir, uint64_t now_s, uint32_t *ret_ends)
{
	char running[KEEP_PATH_MAX], unclean[KEEP_PATH_MAX];
	uint64_t ends[PILE_KEEP_UNCLEAN_MAX];
	uint32_t n;
	int r;

	path_in(state_dir, RUNNING_FILE, running);
	path_in(state_dir, UNCLEAN_FILE, unclean);
	n = unclean_load(unclean, now_s, ends);
	if (access(running, F_OK) == 0)
		r = unclean_add(unclean, now_s, ends, &n);
	else
		r = file_write(running, "", 0, 0600, true);
	*ret_ends = n;
	return r;
}

void pile_keep_end(const char *state_dir)
{
	char path[KEEP_PATH_MAX];

	unlink(path_in(state_dir, RUNNING_FILE, path));
}

uint64_t pile_keep_safe(const char *state_dir, uint64_t now_s)
{
	char path[KEEP_PATH_MAX], text[64] = "";
	unsigned long long until_s = 0, length_s = 0;

	unlink(path_in(state_dir, UNCLEAN_FILE, path)); /* they have had their consequence */
	path_in(state_dir, SAFE_FILE, path);
	if (file_read(path, text, sizeof(text) - 1) <= 0 ||
	    sscanf(text, "%llu %llu\n", &until_s, &length_s) != 2 ||
	    length_s > PILE_KEEP_SAFE_MAX_S || now_s > until_s + PILE_KEEP_SAFE_CALM_S)
		length_s = 0;
	length_s = length_s ? MIN(2 * length_s, PILE_KEEP_SAFE_MAX_S) : PILE_KEEP_SAFE_S;
	snprintf(text, sizeof(text), "%llu %llu\n", (unsigned long long)now_s + length_s, length_s);
	file_write(path, text, strlen(text), 0600, true);
	return length_s;
}

int pile_keep_motd(const char *path, const char *text)
{
	int r;

	if (!text[0])
		return unlink(path) < 0 && errno != ENOENT && errno != ENOTDIR ? -errno : 0;
	r = file_write(path, text, strlen(text), 0644, false);
	return r == -ENOENT ? 0 : r; /* a host without pam_motd's directory */
}

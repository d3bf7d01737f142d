// SPDX-License-Identifier: GPL-2.0-or-later
#include "act/placed.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "act/moves.h"
#include "groups/match.h"
#include "groups/proc.h"

#define ROUNDS_MAX 64	 /* of looking again */
#define ANCESTORS_MAX 64 /* pools are two or three deep */
#define RUNS_MAX 1024	 /* started by hand and still there */

static int origin_index(struct pile_placed *u, const char *origin)
{
	if (strlen(origin) >= PILE_CGROUP_MAX)
		return -ENAMETOOLONG;
	for (uint32_t i = 0; i < u->n_origins; i++)
		if (strcmp(u->origins[i], origin) == 0)
			return (int)i;
	if (u->n_origins == PILE_PLACED_ORIGINS_MAX)
		return -ENOSPC;
	snprintf(u->origins[u->n_origins], PILE_CGROUP_MAX, "%s", origin);
	return (int)u->n_origins++;
}

struct pile_placed_entry *pile_placed_add(struct pile_placed *u, const char *group, uint32_t pid,
					  uint64_t start_ticks, uint64_t placed_ticks,
					  const char *origin)
{
	int at = u->n < PILE_PLACED_MAX ? origin_index(u, origin) : -ENOSPC;
	struct pile_placed_entry *entry;

	if (at < 0)
		return NULL;
	entry = &u->entries[u->n++];
	*entry = (struct pile_placed_entry){
		.pid = pid,
		.origin = (uint16_t)at,
		.start_ticks = start_ticks,
		.placed_ticks = placed_ticks,
	};
	snprintf(entry->group, sizeof(entry->group), "%s", group);
	return entry;
}

bool pile_placed_again(struct pile_placed *u, struct pile_placed_entry *entry, const char *group,
		       const char *origin)
{
	int at = origin_index(u, origin);

	if (at < 0)
		return false;
	*entry = (struct pile_placed_entry){
		.pid = entry->pid,
		.origin = (uint16_t)at,
		.start_ticks = entry->start_ticks,
		.placed_ticks = UINT64_MAX,
	};
	snprintf(entry->group, sizeof(entry->group), "%s", group);
	return true;
}

struct pile_placed_entry *pile_placed_find(struct pile_placed *u, uint32_t pid,
					   uint64_t start_ticks)
{
	for (uint32_t i = 0; i < u->n; i++)
		if (u->entries[i].pid == pid && u->entries[i].start_ticks == start_ticks)
			return &u->entries[i];
	return NULL;
}

/* A guard that runs for months sees more origins than fit, one after the other. */
static void origins_compact(struct pile_placed *u)
{
	uint16_t to[PILE_PLACED_ORIGINS_MAX];
	bool used[PILE_PLACED_ORIGINS_MAX] = { false };
	uint32_t n = 0;

	for (uint32_t i = 0; i < u->n; i++)
		used[u->entries[i].origin] = true;
	for (uint32_t i = 0; i < u->n_origins; i++) {
		to[i] = (uint16_t)n;
		if (!used[i])
			continue;
		if (n != i)
			memcpy(u->origins[n], u->origins[i], PILE_CGROUP_MAX);
		n++;
	}
	u->n_origins = n;
	for (uint32_t i = 0; i < u->n; i++)
		u->entries[i].origin = to[u->entries[i].origin];
}

uint32_t pile_placed_drop(struct pile_placed *u,
			  bool (*gone)(const struct pile_placed_entry *entry, void *arg), void *arg)
{
	uint32_t n = 0, was = u->n;

	for (uint32_t i = 0; i < was; i++)
		if (!gone(&u->entries[i], arg))
			u->entries[n++] = u->entries[i];
	u->n = n;
	origins_compact(u);
	return was - n;
}

/* ---- as a text ---- */

static bool is_name(const char *name)
{
	return name[0] && name[0] != '.' &&
	       !name[strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789._-")];
}

/* What is written to below a mount must stay there. */
static bool is_path(const char *path)
{
	return path[0] == '/' && !strstr(path, "//") && !strstr(path, "/../") &&
	       !strstr(path, "/./") && (strlen(path) < 3 || strcmp(path + strlen(path) - 3, "/.."));
}

static bool line_parse(const char *line, struct pile_placed *ret)
{
	char group[PILE_NAME_MAX], word[8];
	unsigned long long start, placed;
	struct pile_placed_entry *entry;
	unsigned int pid;
	int at = 0;

	_Static_assert(PILE_NAME_MAX == 64, "the width below");
	if (sscanf(line, "%u %llu %llu %7s %63s %n", &pid, &start, &placed, word, group, &at) !=
		    5 ||
	    !at || pid <= 1 || !is_name(group) || !is_path(line + at) ||
	    (strcmp(word, "ours") && strcmp(word, "hand")) || pile_placed_find(ret, pid, start))
		return false;
	entry = pile_placed_add(ret, group, pid, start, placed, line + at);
	if (!entry)
		return false;
	entry->hand = !strcmp(word, "hand");
	return true;
}

uint32_t pile_placed_parse(char *text, struct pile_placed *ret)
{
	uint32_t passed = 0;
	char *save = NULL;

	ret->n = ret->n_origins = 0;
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
		passed += !line_parse(line, ret);
	return passed;
}

size_t pile_placed_format(const struct pile_placed *u, char *buf, size_t size)
{
	size_t used = 0;

	buf[0] = '\0';
	for (uint32_t i = 0; i < u->n && used < size; i++) {
		const struct pile_placed_entry *e = &u->entries[i];

		used += (size_t)snprintf(
			buf + used, size - used, "%u %llu %llu %s %s %s\n", e->pid,
			(unsigned long long)e->start_ticks, (unsigned long long)e->placed_ticks,
			e->hand ? "hand" : "ours", e->group, u->origins[e->origin]);
	}
	return MIN(used, size - 1);
}

int pile_placed_load(const char *path, struct pile_placed *ret)
{
	_cleanup_free_ char *text = NULL;
	_cleanup_close_ int fd = -1;
	struct stat st;
	ssize_t n;

	ret->n = ret->n_origins = 0;
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	if (fstat(fd, &st) < 0)
		return -errno;
	/* a record that somebody else can write to is none */
	if (!S_ISREG(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & 022))
		return -EPERM;
	text = malloc(PILE_PLACED_TEXT_MAX + 1);
	if (!text)
		return -ENOMEM;
	n = pile_proc_pread(fd, text, PILE_PLACED_TEXT_MAX + 1);
	if (n < 0)
		return (int)n;
	pile_placed_parse(text, ret);
	return 0;
}

static int text_write(const char *path, const char *text, size_t len)
{
	_cleanup_close_ int fd = -1;

	/* of a process that had this number, and was cut off in the middle */
	unlink(path);
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return -errno;
	while (len > 0) {
		ssize_t n = write(fd, text, len);

		if (n < 0 && errno != EINTR)
			return -errno;
		text += MAX(n, 0);
		len -= (size_t)MAX(n, 0);
	}
	return 0;
}

int pile_placed_save(const char *path, const struct pile_placed *u)
{
	_cleanup_free_ char *text = NULL;
	char aside[320];
	size_t len;
	int r;

	if (!u->n)
		return unlink(path) < 0 && errno != ENOENT ? -errno : 0;
	text = malloc(PILE_PLACED_TEXT_MAX);
	if (!text)
		return -ENOMEM;
	len = pile_placed_format(u, text, PILE_PLACED_TEXT_MAX);
	/* unplace beside the guard writes too */
	snprintf(aside, sizeof(aside), "%s.new.%d", path, (int)getpid());
	r = text_write(aside, text, len);
	if (r == 0 && rename(aside, path) < 0)
		r = -errno;
	if (r < 0)
		unlink(aside);
	return r;
}

/* ---- carried out ---- */

struct started {
	uint32_t n;
	struct {
		uint32_t pid;
		uint64_t start_ticks;
	} runs[RUNS_MAX];
};

static void started_load(const char *path, struct started *ret)
{
	unsigned long long start;
	unsigned int pid;
	FILE *file = fopen(path, "re");

	ret->n = 0;
	/* whoever writes to it does so in place */
	if (file)
		(void)flock(fileno(file), LOCK_SH);
	while (file && ret->n < RUNS_MAX && fscanf(file, "%u %llu %*s", &pid, &start) == 2) {
		ret->runs[ret->n].pid = pid;
		ret->runs[ret->n++].start_ticks = start;
	}
	if (file)
		fclose(file);
}

static bool was_started(const struct started *s, const struct pile_match_process *p)
{
	for (uint32_t i = 0; i < s->n; i++)
		if (s->runs[i].pid == p->pid && s->runs[i].start_ticks == p->start_ticks)
			return true;
	return false;
}

/*
 * Where it goes; NULL: it stays. Whose parents are gone may have been started inside, or put there by somebody: nobody
 * knows where that one belongs.
 */
static const char *origin_of(struct pile_placed *u, const struct started *s, const char *group,
			     const struct pile_match_process *of)
{
	struct pile_match_process p = *of;

	for (int i = 0; i < ANCESTORS_MAX && p.pid > 1; i++) {
		const struct pile_placed_entry *entry = pile_placed_find(u, p.pid, p.start_ticks);

		if (entry && strcmp(entry->group, group) == 0)
			return u->origins[entry->origin];
		if (was_started(s, &p))
			return NULL;
		if (pile_match_stat(p.parent, &p) < 0)
			break;
	}
	return NULL;
}

/* Returns 1 where it was moved, 0 where it stays or is gone, or negative errno. */
static int one_back(const struct pile_trees *t, struct pile_placed *u, const struct started *s,
		    const char *group, const char *cgroup, uint32_t pid)
{
	struct pile_moving m = { .pidfd = -1 };
	struct pile_match_process p;
	const char *origin;
	int r;

	if (pile_match_stat(pid, &p) < 0)
		return 0;
	origin = origin_of(u, s, group, &p);
	if (!origin)
		return 0;
	r = pile_moves_hold(&m, pid, p.start_ticks);
	if (r == 0)
		r = pile_moves_back(t, &m, cgroup, origin);
	pile_moves_drop(&m);
	return r == 0 ? 1 : r == -ESRCH ? 0 : r;
}

int pile_placed_back(const struct pile_trees *t, struct pile_placed *u, const char *group,
		     const char *run_path)
{
	static struct started started;
	static uint32_t pids[PILE_PLACED_MAX];
	char cgroup[PILE_CGROUP_MAX];
	int moved = 1, error = 0, stay = 0;

	started_load(run_path, &started);
	pile_policy_placed(group, cgroup, sizeof(cgroup));
	for (int round = 0; round < ROUNDS_MAX && moved > 0; round++) {
		moved = stay = 0;
		for (uint32_t i = 0; i < t->n; i++) {
			uint32_t n = pile_trees_list(&t->trees[i], cgroup, pids, PILE_PLACED_MAX);

			for (uint32_t j = 0; j < n; j++) {
				int r = one_back(t, u, &started, group, cgroup, pids[j]);

				moved += r > 0;
				error = r < 0 ? r : error;
				stay += r <= 0 && !i;
			}
		}
	}
	if (!stay)
		pile_trees_remove(t, cgroup);
	/* who forks faster than that goes with the next undo */
	return error ? error : moved ? -EAGAIN : stay;
}

// SPDX-License-Identifier: GPL-2.0-or-later
/* residue_find.c: what there is of pileguard: in processes, files, systemd's directories and cgroups. */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "act/placed.h"
#include "pileguard/api.h"
#include "pileguard/undo.h"
#include "residue.h"
#include "util/macro.h"

#define NAME "pileguard"
#define DAEMON "pileguardd"

struct pile_residue_thing *pile_residue_add(struct pile_residue *r, enum pile_residue_kind kind)
{
	struct pile_residue_thing *things = r->things;

	if (r->n == r->size) {
		things = realloc(things, (r->size + 64) * sizeof(*things));
		if (!things)
			return NULL;
		r->things = things;
		r->size += 64;
	}
	things = &r->things[r->n++];
	memset(things, 0, sizeof(*things));
	things->kind = kind;
	return things;
}

static void add_text(struct pile_residue *r, enum pile_residue_kind kind, const char *text)
{
	struct pile_residue_thing *thing = pile_residue_add(r, kind);

	if (thing)
		snprintf(thing->text, sizeof(thing->text), "%s", text);
}

static void each_entry(const char *path,
		       void (*look)(const char *path, const char *name, void *data), void *data)
{
	DIR *dir = opendir(path);
	struct dirent *e;

	while (dir && (e = readdir(dir)))
		look(path, e->d_name, data);
	if (dir)
		closedir(dir);
}

/* ---- processes ---- */

static void comm_read(pid_t pid, char *ret, size_t size)
{
	char path[64];
	FILE *file;

	ret[0] = '\0';
	snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
	file = fopen(path, "re");
	if (!file)
		return;
	if (!fgets(ret, (int)size, file))
		ret[0] = '\0';
	fclose(file);
	ret[strcspn(ret, "\n")] = '\0';
}

/* A name alone is anybody's to take. */
static bool is_roots(pid_t pid)
{
	struct stat st;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d", (int)pid);
	return stat(path, &st) == 0 && st.st_uid == 0;
}

static void hold(struct pile_residue_thing *thing, pid_t pid)
{
	char comm[sizeof(thing->comm)];

	if (thing->guard)
		return;
	comm_read(pid, comm, sizeof(comm));
	thing->holder = pid;
	thing->guard = strncmp(comm, DAEMON, strlen(DAEMON)) == 0 && is_roots(pid);
	for (char *c = comm; *c; c++)
		if (!isprint((unsigned char)*c))
			*c = '?';
	memcpy(thing->comm, comm, sizeof(comm));
}

/* One descriptor: is it one of the BPF objects that were found? */
static void fdinfo_read(struct pile_residue *r, pid_t pid, const char *path)
{
	static const struct {
		const char *key;
		enum pile_residue_kind kind;
	} keys[] = {
		{ "prog_id:", PILE_RESIDUE_PROGRAM },
		{ "map_id:", PILE_RESIDUE_MAP },
		{ "link_id:", PILE_RESIDUE_LINK },
	};
	FILE *file = fopen(path, "re");
	char line[256];

	if (!file)
		return;
	while (fgets(line, sizeof(line), file))
		for (size_t k = 0; k < ARRAY_LEN(keys); k++) {
			size_t n = strlen(keys[k].key);
			uint32_t id;

			if (strncmp(line, keys[k].key, n) != 0)
				continue;
			id = (uint32_t)strtoul(line + n, NULL, 10);
			for (unsigned int i = 0; i < r->n; i++)
				if (r->things[i].kind == keys[k].kind && r->things[i].id == id)
					hold(&r->things[i], pid);
		}
	fclose(file);
}

/** Whose descriptors are looked at. */
struct process {
	struct pile_residue *r;
	pid_t pid;
};

static void descriptor_look(const char *path, const char *name, void *data)
{
	struct process *process = data;
	char file[300];

	snprintf(file, sizeof(file), "%.200s/%.20s", path, name);
	if (isdigit((unsigned char)name[0]))
		fdinfo_read(process->r, process->pid, file);
}

static void process_look(const char *path, const char *name, void *data)
{
	struct process process = { .r = data, .pid = (pid_t)atoi(name) };
	char inside[300];

	snprintf(inside, sizeof(inside), "%s/%.20s/fdinfo", path, name);
	if (process.pid > 0 && process.pid != getpid())
		each_entry(inside, descriptor_look, &process);
}

/* ---- files ---- */

static void drop_in_look(const char *path, const char *name, void *data)
{
	char file[900];

	snprintf(file, sizeof(file), "%s/%s", path, name);
	if (strstr(name, NAME))
		add_text(data, PILE_RESIDUE_DROP_IN, file);
}

/* Our own unit's are the operator's. */
static void unit_look(const char *path, const char *name, void *data)
{
	size_t n = strlen(name);
	char inside[600];

	snprintf(inside, sizeof(inside), "%s/%s", path, name);
	if (n > 2 && strcmp(name + n - 2, ".d") == 0 && strncmp(name, NAME, strlen(NAME)) != 0)
		each_entry(inside, drop_in_look, data);
}

static void drop_ins_find(struct pile_residue *r)
{
	static const char *const roots[] = {
		"/etc/systemd/system",	       "/run/systemd/system",
		"/run/systemd/transient",      "/etc/systemd/system.control",
		"/run/systemd/system.control",
	};

	for (size_t i = 0; i < ARRAY_LEN(roots); i++)
		each_entry(roots[i], unit_look, r);
}

/* A service that rung 5 holds down is started by it. */
static void timer_look(const char *path, const char *name, void *data)
{
	char file[600];

	snprintf(file, sizeof(file), "%s/%s", path, name);
	if (strncmp(name, NAME "-start-", strlen(NAME "-start-")) == 0)
		add_text(data, PILE_RESIDUE_FILE, file);
}

static bool anybody_listens(const char *path)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
	return fd >= 0 &&
	       (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0 || errno == EAGAIN);
}

/* One that runs; 0: none does. */
static pid_t guard_find(const struct pile_residue *r)
{
	for (unsigned int i = 0; i < r->n; i++)
		if (r->things[i].guard)
			return r->things[i].holder;
	return 0;
}

/* As it would be written by hand. */
static const char *knob_before(const struct pile_undo_entry *e, char *buf, size_t size)
{
	if (!e->unit[0])
		snprintf(buf, size, "%.*s", PILE_UNDO_TEXT_MAX - 1, e->was_text);
	else if (e->was == UINT64_MAX)
		snprintf(buf, size, "%s", e->knob == PILE_KNOB_TASKS ? "infinity" : "not set");
	else if (e->knob == PILE_KNOB_QUOTA)
		snprintf(buf, size, "%llu%%", (unsigned long long)e->was / 10000);
	else
		snprintf(buf, size, "%llu", (unsigned long long)e->was);
	return buf;
}

/* What rung 3 has set and not set back yet: its own record says so. A guard that runs sees to it. */
static void knobs_find(struct pile_residue *r, const char *socket_path)
{
	static const char *const names[PILE_KNOBS] = { "", "TasksMax", "CPUWeight", "CPUQuota" };
	struct pile_undo_file record;
	pid_t guard = guard_find(r);
	char path[256];
	FILE *file;

	pile_undo_path(socket_path, path, sizeof(path));
	file = fopen(path, "re");
	if (!file)
		return;
	/* another guard, with a socket of its own, does not see to these */
	if (!anybody_listens(socket_path))
		guard = 0;
	if (fread(&record, sizeof(record), 1, file) != 1 || !pile_undo_is_valid(&record))
		memset(&record, 0, sizeof(record));
	fclose(file);
	for (int i = 0; i < PILE_UNDO_MAX; i++) {
		const struct pile_undo_entry *e = &record.entries[i];
		char text[600], before[PILE_UNDO_TEXT_MAX + 1];

		if (!e->knob || e->knob >= PILE_KNOBS)
			continue;
		snprintf(text, sizeof(text), "%s of %.*s, before: %s%s", names[e->knob],
			 (int)MIN(sizeof(e->path), 400u), e->unit[0] ? e->unit : e->path,
			 knob_before(e, before, sizeof(before)),
			 guard ? "" : "  undo: sudo pileguardd --undo");
		add_text(r, PILE_RESIDUE_KNOB, text);
		if (guard)
			hold(&r->things[r->n - 1], guard);
	}
	if (!guard)
		add_text(r, PILE_RESIDUE_FILE, path);
}

/* The record of what was placed, beside the socket. */
static void record_find(struct pile_residue *r, const char *socket_path, const char *name,
			pid_t guard)
{
	const char *slash = strrchr(socket_path, '/');
	char path[300], text[400];

	snprintf(path, sizeof(path), "%.*s%s", slash ? (int)(slash - socket_path) + 1 : 0,
		 socket_path, name);
	if (access(path, F_OK) < 0)
		return;
	snprintf(text, sizeof(text), "%s%s", path, guard ? "" : ": sudo pileguardctl unplace");
	add_text(r, PILE_RESIDUE_FILE, text);
	if (guard)
		hold(&r->things[r->n - 1], guard);
}

/* The socket belongs to whoever listens; the line for logins, and the record, to a guard that runs. */
static void files_find(struct pile_residue *r, const char *socket_path)
{
	pid_t guard = guard_find(r);
	struct stat st;

	record_find(r, socket_path, PILE_PLACED_FILE,
		    guard && anybody_listens(socket_path) ? guard : 0);
	if (lstat(PILE_MOTD_FILE, &st) == 0) {
		add_text(r, PILE_RESIDUE_FILE, PILE_MOTD_FILE);
		if (guard)
			hold(&r->things[r->n - 1], guard);
	}
	each_entry("/run/systemd/transient", timer_look, r);
	if (lstat(socket_path, &st) == 0 && !(guard && anybody_listens(socket_path)))
		add_text(r, PILE_RESIDUE_FILE, socket_path);
}

/* ---- cgroups ---- */

/* nftw hands nothing through */
static struct pile_residue *walked;

/*
 * Nobody is in it, and no cgroup. Under systemd it is a unit, which systemd takes away at its own time, or keeps, as it
 * does with others' slices; to stop it would end whoever has come into it.
 */
static bool is_empty_slice(const char *path)
{
	char procs[700];
	struct stat st;
	bool empty;
	FILE *file;

	/* a directory's links are its name, ".", and each ".." in it */
	if (sd_booted() <= 0 || stat(path, &st) < 0 || st.st_nlink != 2)
		return false;
	snprintf(procs, sizeof(procs), "%.650s/cgroup.procs", path);
	file = fopen(procs, "re");
	empty = !file || fgetc(file) == EOF;
	if (file)
		fclose(file);
	return empty;
}

static int cgroup_look(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	unsigned int n = walked->n;
	char text[600];
	FILE *file;
	int pid;

	if (type != FTW_D)
		return FTW_CONTINUE;
	for (unsigned int i = 0; i < n; i++) {
		struct pile_residue_thing *thing = &walked->things[i];
		size_t len = strlen(thing->text);

		if (thing->kind == PILE_RESIDUE_LINK && thing->cgroup == st->st_ino)
			snprintf(thing->text + len, sizeof(thing->text) - len, " on %.220s", path);
	}
	/* a session may call its own cgroups as it likes */
	if (strncmp(path + ftw->base, NAME, strlen(NAME)) != 0 || st->st_uid != 0)
		return FTW_CONTINUE;
	if (strcmp(path + ftw->base, PILE_PLACE_SLICE) == 0 && is_empty_slice(path))
		return FTW_SKIP_SUBTREE;
	add_text(walked, PILE_RESIDUE_CGROUP, path);
	/* in it are other services' processes, placed by a guard; it is that one's */
	if (strcmp(path + ftw->base, PILE_PLACE_SLICE) == 0 && guard_find(walked)) {
		hold(&walked->things[n], guard_find(walked));
		return FTW_SKIP_SUBTREE;
	}
	snprintf(text, sizeof(text), "%.500s/cgroup.procs", path);
	file = fopen(text, "re");
	while (file && walked->n > n && fscanf(file, "%d", &pid) == 1)
		hold(&walked->things[n], pid);
	if (file)
		fclose(file);
	return FTW_SKIP_SUBTREE;
}

/* Groups are placed in each hierarchy of v1 as well; nothing else of ours is there. */
static void slice_find(struct pile_residue *r, const char *mount)
{
	pid_t guard = guard_find(r);
	char path[600];

	snprintf(path, sizeof(path), "%s/" PILE_PLACE_SLICE, mount);
	if (access(path, F_OK) < 0 || is_empty_slice(path))
		return;
	add_text(r, PILE_RESIDUE_CGROUP, path);
	if (guard)
		hold(&r->things[r->n - 1], guard);
}

/* Also gives the links the path of their cgroup. */
static void cgroups_find(struct pile_residue *r)
{
	FILE *mounts = fopen("/proc/self/mounts", "re");
	char line[1024], path[512], type[64];
	bool unified = false;

	walked = r;
	while (mounts && fgets(line, sizeof(line), mounts)) {
		if (sscanf(line, "%*s %511s %63s", path, type) != 2)
			continue;
		if (strcmp(type, "cgroup") == 0)
			slice_find(r, path);
		if (strcmp(type, "cgroup2") == 0 && !unified)
			nftw(path, cgroup_look, 32, FTW_PHYS | FTW_MOUNT | FTW_ACTIONRETVAL);
		unified |= strcmp(type, "cgroup2") == 0;
	}
	if (mounts)
		fclose(mounts);
}

int pile_residue_find(struct pile_residue *r, const char *socket_path)
{
	int rc;

	r->n = 0;
	rc = pile_residue_bpf_find(r);
	if (rc < 0)
		return rc;
	each_entry("/proc", process_look, r);
	files_find(r, socket_path);
	knobs_find(r, socket_path);
	drop_ins_find(r);
	cgroups_find(r);
	return 0;
}

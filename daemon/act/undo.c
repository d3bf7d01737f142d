// SPDX-License-Identifier: GPL-2.0-or-later
#include "act/undo.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "act/knob.h"
#include "groups/proc.h"
#include "util/clock.h"
#include "util/macro.h"

#define DROP_INS \
	"/run/systemd/system.control" /* systemd.unit(5): what set-property --runtime leaves */
#define POLL_NS (20 * NS_PER_MS)
#define ANSWER_NS (2 * NS_PER_SEC)
#define ALL_NS (5 * NS_PER_SEC)

/* ---- the record ---- */

static void texts_end(struct pile_undo_entry *e)
{
	e->group[sizeof(e->group) - 1] = '\0';
	e->unit[sizeof(e->unit) - 1] = '\0';
	e->path[sizeof(e->path) - 1] = '\0';
	e->ours_text[sizeof(e->ours_text) - 1] = '\0';
	e->was_text[sizeof(e->was_text) - 1] = '\0';
}

/* Of another version, or not whole: nothing in it can be believed. */
static void file_check(struct pile_undo_file *file)
{
	if (!pile_undo_is_valid(file)) {
		memset(file, 0, sizeof(*file));
		file->size = sizeof(*file);
		file->magic = PILE_UNDO_MAGIC;
	}
	for (int i = 0; i < PILE_UNDO_MAX; i++) {
		texts_end(&file->entries[i]);
		if (file->entries[i].knob >= PILE_KNOBS)
			file->entries[i].knob = PILE_KNOB_NONE;
	}
}

int pile_undo_open(struct pile_undo *u, const char *path, const char *drop_ins)
{
	_cleanup_close_ int fd = -1;
	struct stat st;
	void *map;
	int r;

	*u = (struct pile_undo){ 0 };
	snprintf(u->path, sizeof(u->path), "%s", path);
	snprintf(u->drop_ins, sizeof(u->drop_ins), "%s", drop_ins ? drop_ins : DROP_INS);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return -errno;
	/* whoever may write there could have anything written by the guard */
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_uid != geteuid() ||
	    (st.st_mode & 022))
		return -EPERM;
	/* all pages are there from now on: no store can fail for want of one */
	r = posix_fallocate(fd, 0, sizeof(*u->file));
	if (r > 0)
		return -r;
	map = mmap(NULL, sizeof(*u->file), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd,
		   0);
	if (map == MAP_FAILED)
		return -errno;
	u->file = map;
	file_check(u->file);
	return 0;
}

static bool is_empty(const struct pile_undo *u)
{
	for (int i = 0; i < PILE_UNDO_MAX; i++)
		if (u->file->entries[i].knob)
			return false;
	return true;
}

void pile_undo_close(struct pile_undo *u)
{
	if (!u->file)
		return;
	if (is_empty(u))
		unlink(u->path);
	munmap(u->file, sizeof(*u->file));
	u->file = NULL;
}

struct pile_undo_entry *pile_undo_take(struct pile_undo *u)
{
	for (int i = 0; u->file && i < PILE_UNDO_MAX; i++)
		if (!u->file->entries[i].knob) {
			memset(&u->file->entries[i], 0, sizeof(u->file->entries[i]));
			return &u->file->entries[i];
		}
	return NULL;
}

/* Whoever reads it after the guard's death sees the whole entry or none. */
void pile_undo_keep(struct pile_undo_entry *entry, enum pile_knob knob)
{
	__atomic_store_n(&entry->knob, (uint32_t)knob, __ATOMIC_RELEASE);
}

void pile_undo_drop(struct pile_undo_entry *entry)
{
	__atomic_store_n(&entry->knob, PILE_KNOB_NONE, __ATOMIC_RELEASE);
}

/* ---- systemd's drop-ins ---- */

static int drop_in_path(const struct pile_undo *u, const char *unit, enum pile_knob knob,
			bool folder, char *ret, size_t size)
{
	int n;

	if (folder)
		n = snprintf(ret, size, "%s/%s.d", u->drop_ins, unit);
	else
		n = snprintf(ret, size, "%s/%s.d/50-%s.conf", u->drop_ins, unit,
			     pile_knob_setting(knob));
	return n > 0 && (size_t)n < size ? 0 : -ENAMETOOLONG;
}

bool pile_undo_drop_in(const struct pile_undo *u, const char *unit, enum pile_knob knob)
{
	char path[PILE_UNDO_PATH_MAX];

	return drop_in_path(u, unit, knob, false, path, sizeof(path)) == 0 &&
	       access(path, F_OK) == 0;
}

/* "1204", "infinity", "", "150%", "150.00%": is it this value? */
static bool says(const char *text, enum pile_knob knob, uint64_t value)
{
	double percent;
	uint64_t n;

	if (!text[0] || strcmp(text, "infinity") == 0)
		return value == UINT64_MAX;
	if (knob == PILE_KNOB_QUOTA)
		return sscanf(text, "%lf%%", &percent) == 1 &&
		       (uint64_t)(percent * 10000 + 0.5) == value;
	return sscanf(text, "%" SCNu64, &n) == 1 && n == value;
}

/* Nothing but one setting, with a value that came from us. */
static bool drop_in_is_ours(const char *text, const struct pile_undo_entry *e)
{
	const char *setting = pile_knob_setting(e->knob);
	size_t len = strlen(setting);
	unsigned int ours = 0;
	char line[256];

	while (*text) {
		size_t n = strcspn(text, "\n");

		snprintf(line, sizeof(line), "%.*s", (int)MIN(n, sizeof(line) - 1), text);
		text += n + (text[n] == '\n');
		if (!line[0] || line[0] == '#' || line[0] == '[')
			continue;
		if (strncmp(line, setting, len) != 0 || line[len] != '=' ||
		    (!says(line + len + 1, e->knob, e->ours) &&
		     !says(line + len + 1, e->knob, e->was)))
			return false;
		ours++;
	}
	return ours == 1;
}

static void drop_in_remove(const struct pile_undo *u, const struct pile_undo_entry *e)
{
	char path[PILE_UNDO_PATH_MAX], text[2048];

	if (e->drop_in_before || drop_in_path(u, e->unit, e->knob, false, path, sizeof(path)) < 0 ||
	    pile_proc_read(path, text, sizeof(text)) < 0 || !drop_in_is_ours(text, e))
		return;
	unlink(path);
	/* the directory is systemd's too: it goes when nothing else is in it */
	if (drop_in_path(u, e->unit, e->knob, true, path, sizeof(path)) == 0)
		rmdir(path);
}

/* ---- compare and restore ---- */

int pile_undo_cgroup(const struct pile_undo_entry *e)
{
	char now[PILE_UNDO_TEXT_MAX];
	int r = pile_knob_read(e->path, now, sizeof(now));

	if (r == -ENOENT || r == -ENODEV)
		return PILE_UNDONE_GONE;
	if (r < 0)
		return r;
	if (strcmp(now, e->was_text) == 0) /* it was never turned */
		return PILE_UNDONE_RESTORED;
	if (strcmp(now, e->ours_text) != 0)
		return PILE_UNDONE_TAKEN;
	return pile_knob_write(e->path, e->was_text);
}

void pile_undo_job(const struct pile_undo_entry *e, struct pile_manager_job *ret)
{
	*ret = (struct pile_manager_job){ .verb = PILE_MANAGER_SET,
					  .owner = PILE_MANAGER_THROTTLE,
					  .also_down = true,
					  .n_properties = 1 };
	snprintf(ret->unit, sizeof(ret->unit), "%s", e->unit);
	snprintf(ret->properties[0].name, sizeof(ret->properties[0].name), "%s",
		 pile_knob_property(e->knob));
	ret->properties[0].value = e->was;
	ret->properties[0].compare = true;
	ret->properties[0].expected = e->ours;
}

int pile_undo_unit(const struct pile_undo *u, const struct pile_undo_entry *e,
		   const struct pile_manager_result *result)
{
	int error = result->error;

	if (error == -ESTALE && result->job.properties[0].was == e->was)
		error = 0;
	if (error == -ENOENT || error == -ESTALE || error == 0)
		drop_in_remove(u, e);
	switch (error) {
	case 0:
		return PILE_UNDONE_RESTORED;
	case -ESTALE:
		return PILE_UNDONE_TAKEN;
	case -ENOENT:
		return PILE_UNDONE_GONE;
	default:
		return error;
	}
}

/* What is on its way: all at once, so that one answer that does not come is waited for once. */
struct undoing {
	struct pile_undo *undo;
	void (*told)(const struct pile_undo_entry *entry, int result, void *arg);
	void *arg;
	bool asked[PILE_UNDO_MAX];
	unsigned int n_asked, left;
};

static void entry_end(struct undoing *u, int i, int result)
{
	struct pile_undo_entry *e = &u->undo->file->entries[i];

	u->told(e, result, u->arg);
	if (result < 0)
		u->left++;
	else
		pile_undo_drop(e);
}

static void entry_begin(struct undoing *u, struct pile_manager *manager, int i)
{
	struct pile_undo_entry *e = &u->undo->file->entries[i];
	struct pile_manager_job job;
	int r;

	if (!e->unit[0]) {
		entry_end(u, i, pile_undo_cgroup(e));
		return;
	}
	pile_undo_job(e, &job);
	job.id = (uint64_t)i;
	r = pile_manager_submit(manager, &job, pile_clock_ns(CLOCK_MONOTONIC));
	u->asked[i] = r == 0;
	u->n_asked += r == 0;
	if (r < 0)
		entry_end(u, i, r);
}

static void answers_await(struct undoing *u, struct pile_manager *manager)
{
	uint64_t begun_ns = pile_clock_ns(CLOCK_MONOTONIC), heard_ns = begun_ns, now_ns;
	struct timespec pause = { .tv_nsec = POLL_NS };
	struct pile_manager_result result;

	while (u->n_asked) {
		now_ns = pile_clock_ns(CLOCK_MONOTONIC);
		if (now_ns - heard_ns >= ANSWER_NS || now_ns - begun_ns >= ALL_NS)
			return;
		if (!pile_manager_take(manager, &result)) {
			nanosleep(&pause, NULL);
			continue;
		}
		if (result.job.id >= PILE_UNDO_MAX || !u->asked[result.job.id])
			continue;
		heard_ns = now_ns;
		u->asked[result.job.id] = false;
		u->n_asked--;
		entry_end(u, (int)result.job.id,
			  pile_undo_unit(u->undo, &u->undo->file->entries[result.job.id], &result));
	}
}

unsigned int pile_undo_all(struct pile_undo *undo, struct pile_manager *manager,
			   void (*told)(const struct pile_undo_entry *entry, int result, void *arg),
			   void *arg)
{
	struct undoing u = { .undo = undo, .told = told, .arg = arg };

	for (int i = 0; undo->file && i < PILE_UNDO_MAX; i++)
		if (undo->file->entries[i].knob)
			entry_begin(&u, manager, i);
	answers_await(&u, manager);
	for (int i = 0; i < PILE_UNDO_MAX; i++)
		if (u.asked[i])
			entry_end(&u, i, -ETIMEDOUT);
	return u.left;
}

// SPDX-License-Identifier: GPL-2.0-or-later
#include "policy/files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define TRIES 3 /* a push of some files takes milliseconds */
#define SUFFIX ".yaml"

/** The names, before anything is read: [0] is policy.yaml, then the fragments in order. */
struct names {
	char folder[256]; /* policy.d, with its path */
	const char *own;  /* policy.yaml's own name */
	uint32_t n;
	char names[PILE_FILES_MAX][NAME_MAX + 1];
};

static int fail_file(struct pile_error *err, int code, const char *path, const char *text)
{
	return pile_error_set_at(err, code, path, 0, 0, "%s", text);
}

static int fail_errno(struct pile_error *err, int code, const char *path)
{
	return pile_error_set_at(err, code, path, 0, 0, "cannot be read: %s", strerror(code));
}

static int read_all(int fd, char *buf, size_t size, size_t *ret_size)
{
	size_t used = 0;

	while (used < size) {
		ssize_t n = read(fd, buf + used, size - used);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		used += (size_t)n;
	}
	*ret_size = used;
	return 0;
}

int pile_files_read_one(int dir_fd, const char *path, size_t size_max, char **ret, size_t *ret_size,
			struct pile_error *err)
{
	_cleanup_close_ int place = -1, fd = -1;
	_cleanup_free_ char *buf = NULL;
	char reopen[48];
	struct stat st;
	size_t size = 0;
	char *fitting;
	int r;

	/* Looked at before it is opened: opening a device is an act (a watchdog's timer starts), a FIFO's waits. */
	place = openat(dir_fd, path, O_PATH | O_CLOEXEC);
	if (place < 0 || fstat(place, &st) < 0)
		return fail_errno(err, errno, path);
	if (!S_ISREG(st.st_mode))
		return fail_file(err, EINVAL, path, "not a regular file");
	snprintf(reopen, sizeof(reopen), "/proc/self/fd/%d", place);
	fd = open(reopen, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (fd < 0)
		return fail_errno(err, errno, path);
	/* The size is found by reading: files in /proc say 0, and others may grow. */
	buf = malloc(size_max + 1);
	if (!buf)
		return fail_file(err, ENOMEM, path, "out of memory");
	r = read_all(fd, buf, size_max + 1, &size);
	if (r < 0)
		return fail_errno(err, -r, path);
	if (size > size_max)
		return pile_error_set_at(err, EFBIG, path, 0, 0, "larger than %zu KiB",
					 size_max / 1024);
	fitting = realloc(buf, size + 1);
	if (fitting)
		buf = fitting;
	buf[size] = '\0';
	*ret = TAKE_PTR(buf);
	*ret_size = size;
	return 0;
}

/* ---- names ---- */

static bool ends_with(const char *name, const char *suffix)
{
	size_t n = strlen(name), m = strlen(suffix);

	return n > m && !strcmp(name + n - m, suffix);
}

/* What ends up in logs and on terminals. */
static bool is_printable(const char *name)
{
	for (; *name; name++)
		if (*name <= 0x20 || *name > 0x7e)
			return false;
	return true;
}

static void names_begin(const char *path, struct names *ret)
{
	const char *slash = strrchr(path, '/');
	int length = slash ? (int)(slash - path + 1) : 0;

	ret->own = path + length;
	ret->n = 0;
	snprintf(ret->folder, sizeof(ret->folder), "%.*spolicy.d", length, path);
}

static void path_of(const struct names *names, const char *path, const char *name, char *buf,
		    size_t size)
{
	if (!strcmp(name, names->own))
		snprintf(buf, size, "%s", path);
	else
		snprintf(buf, size, "%s/%s", names->folder, name);
}

static int fragment_check(const struct names *names, const char *name, struct pile_error *err)
{
	char path[sizeof(names->folder) + NAME_MAX + 2];

	if (!is_printable(name))
		return fail_file(
			err, EINVAL, names->folder,
			"holds a file whose name has a blank, a control or a non-ASCII character: rename it");
	if (!strcmp(name, names->own))
		return pile_error_set_at(
			err, EINVAL, names->folder, 0, 0,
			"holds a file that is called %s as the policy itself: rename it", name);
	if (!ends_with(name, ".yml"))
		return 0;
	path_of(names, "", name, path, sizeof(path));
	return fail_file(err, EINVAL, path, "is not read: name it .yaml");
}

/* Keeps the order: policy.yaml first, then by byte values, whatever the locale. */
static int name_add(struct names *names, const char *name, struct pile_error *err)
{
	uint32_t at = names->n;

	if (names->n == PILE_FILES_MAX)
		return pile_error_set_at(err, E2BIG, names->folder, 0, 0,
					 "holds more than %u files: write fewer fragments",
					 PILE_FILES_FRAGMENTS_MAX);
	while (at > 0 && strcmp(names->names[at - 1], names->own) != 0 &&
	       (!strcmp(name, names->own) || strcmp(name, names->names[at - 1]) < 0)) {
		memcpy(names->names[at], names->names[at - 1], sizeof(names->names[0]));
		at--;
	}
	snprintf(names->names[at], sizeof(names->names[0]), "%s", name);
	names->n++;
	return 0;
}

static int fragments_find(struct names *names, struct pile_error *err)
{
	struct dirent *entry;
	DIR *dir = opendir(names->folder);
	int r = 0;

	if (!dir)
		return errno == ENOENT ? 0 : fail_errno(err, errno, names->folder);
	while (r == 0 && (entry = readdir(dir))) {
		if (entry->d_name[0] == '.')
			continue;
		if (ends_with(entry->d_name, SUFFIX) || ends_with(entry->d_name, ".yml"))
			r = fragment_check(names, entry->d_name, err);
		if (r == 0 && ends_with(entry->d_name, SUFFIX))
			r = name_add(names, entry->d_name, err);
	}
	closedir(dir);
	return r;
}

static int names_find(const char *path, struct names *ret, struct pile_error *err)
{
	struct stat st;
	int r;

	names_begin(path, ret);
	r = fragments_find(ret, err);
	if (r < 0)
		return r;
	if (stat(path, &st) < 0 && errno == ENOENT)
		return 0;
	return name_add(ret, ret->own, err);
}

static bool names_have(const struct names *names, const char *name)
{
	for (uint32_t i = 0; i < names->n; i++)
		if (!strcmp(names->names[i], name))
			return true;
	return false;
}

/* What a replacement brings that is not on disk yet. */
static int names_replace(struct names *names, const struct pile_files_with *with, size_t n_with,
			 struct pile_error *err)
{
	int r = 0;

	for (size_t i = 0; i < n_with && r == 0; i++) {
		const char *name = with[i].name;

		if (strcmp(name, names->own) != 0 &&
		    (name[0] == '.' || strchr(name, '/') || !ends_with(name, SUFFIX) ||
		     !is_printable(name)))
			return pile_error_set_at(
				err, EINVAL, name, 0, 0,
				"is no file of a policy: write %s, or a fragment's name like 50-api.yaml",
				names->own);
		if (names_have(names, name))
			continue;
		if (!with[i].path[0])
			return pile_error_set_at(err, ENOENT, name, 0, 0,
						 "is not there: nothing to leave out");
		r = name_add(names, name, err);
	}
	return r;
}

/* ---- the mark ---- */

static void mark_add(uint64_t *mark, const void *data, size_t size)
{
	for (size_t i = 0; i < size; i++)
		*mark = (*mark ^ ((const uint8_t *)data)[i]) *
			0x100000001b3ULL; /* FNV-1a, 64 bit */
}

static uint64_t mark_of(const struct names *names, const char *path)
{
	char text[sizeof(names->folder) + NAME_MAX + 2];
	uint64_t mark = 0xcbf29ce484222325ULL;
	struct stat st;

	for (uint32_t i = 0; i < names->n; i++) {
		path_of(names, path, names->names[i], text, sizeof(text));
		mark_add(&mark, text, strlen(text) + 1);
		if (stat(text, &st) < 0)
			continue;
		mark_add(&mark, &st.st_ino, sizeof(st.st_ino));
		mark_add(&mark, &st.st_size, sizeof(st.st_size));
		mark_add(&mark, &st.st_mtim, sizeof(st.st_mtim));
		mark_add(&mark, &st.st_ctim, sizeof(st.st_ctim));
	}
	return mark ? mark : 1;
}

uint64_t pile_files_mark(const char *path)
{
	_cleanup_free_ struct names *names = malloc(sizeof(*names));

	if (!names)
		return 1;
	names_find(path, names,
		   NULL); /* what is wrong with them is said by the one who reads them */
	return mark_of(names, path);
}

/* ---- reading ---- */

/* The path to read instead of @name, or NULL. The last one counts. */
static const char *replaced(const struct pile_files_with *with, size_t n_with, const char *name)
{
	const char *path = NULL;

	for (size_t i = 0; i < n_with; i++)
		if (!strcmp(with[i].name, name))
			path = with[i].path;
	return path;
}

static int read_named(const struct names *names, const char *path,
		      const struct pile_files_with *with, size_t n_with, struct pile_files *files,
		      struct pile_error *err)
{
	size_t left = PILE_FILES_SIZE_MAX;
	int r;

	for (uint32_t i = 0; i < names->n; i++) {
		struct pile_files_one *one = &files->files[files->n];
		const char *other = replaced(with, n_with, names->names[i]);
		char text[sizeof(names->folder) + NAME_MAX + 2];

		if (other && !other[0])
			continue;
		path_of(names, path, names->names[i], text, sizeof(text));
		r = pile_files_read_one(AT_FDCWD, other ? other : text, left, &one->text,
					&one->size, err);
		if (r == -EFBIG)
			return fail_file(
				err, EFBIG, other ? other : text,
				"too large: a policy may have 1 MiB in all its files, and has some kilobytes");
		if (r < 0)
			return r;
		snprintf(one->name, sizeof(one->name), "%s", other ? other : text);
		left -= one->size;
		files->n++;
	}
	return files->n ? 0 : fail_errno(err, ENOENT, path);
}

/* One try. Returns -EAGAIN when they were not the same before and after. */
static int read_once(const char *path, const struct pile_files_with *with, size_t n_with,
		     struct pile_files *files, struct pile_error *err)
{
	_cleanup_free_ struct names *names = malloc(sizeof(*names));
	int r;

	if (!names)
		return fail_file(err, ENOMEM, path, "out of memory");
	r = names_find(path, names, err);
	if (r < 0)
		return r;
	files->mark = mark_of(names, path);
	r = names_replace(names, with, n_with, err);
	if (r == 0)
		r = read_named(names, path, with, n_with, files, err);
	if (files->mark != pile_files_mark(path))
		return fail_file(err, EAGAIN, path,
				 "the policy's files are being written: try again when they stand");
	return r;
}

static void files_freep(struct pile_files **files)
{
	if (*files)
		pile_files_fini(*files);
	free(*files);
}

int pile_files_read(const char *path, const struct pile_files_with *with, size_t n_with,
		    struct pile_files *ret, struct pile_error *err)
{
	_cleanup_(files_freep) struct pile_files *files = calloc(1, sizeof(*files));
	int r = -EAGAIN;

	if (!files)
		return fail_file(err, ENOMEM, path, "out of memory");
	for (int i = 0; i < TRIES && r == -EAGAIN; i++) {
		pile_files_fini(files);
		r = read_once(path, with, n_with, files, err);
	}
	if (r < 0)
		return r;
	*ret = *files;
	memset(files, 0, sizeof(*files));
	return 0;
}

void pile_files_fini(struct pile_files *files)
{
	for (uint32_t i = 0; i < files->n; i++)
		free(files->files[i].text);
	memset(files, 0, sizeof(*files));
}

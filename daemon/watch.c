// SPDX-License-Identifier: GPL-2.0-or-later
#include "watch.h"

#include <errno.h>
#include <fcntl.h>
#include <sha2.h>
#include <string.h>
#include <sys/stat.h>

#include "policy/files.h"
#include "policy/load.h"

/* Only a result that stands is remembered: after "being written" the next look reads again. */
static int remember(struct pile_watch *w, uint64_t mark, int result,
		    const struct pile_policy *policy, const struct pile_error *err)
{
	bool stands = result != -EAGAIN && result != -ENOMEM;

	if (!stands && w->mark_read)
		return result;
	if (stands)
		w->mark_read = w->mark_seen = mark;
	w->result = result;
	w->error = *err;
	snprintf(w->hash, sizeof(w->hash), "%s", result >= 0 ? policy->hash : "");
	return result;
}

int pile_watch_load(struct pile_watch *w, const char *path, struct pile_policy *ret,
		    struct pile_error *err)
{
	_cleanup_free_ struct pile_files *files = calloc(1, sizeof(*files));
	uint64_t mark = pile_files_mark(path);
	int r;

	memset(err, 0, sizeof(*err));
	if (!files)
		return remember(w, mark, pile_error_set(err, ENOMEM, "out of memory"), ret, err);
	r = pile_files_read(path, NULL, 0, files, err);
	if (r < 0)
		return remember(w, mark, r, ret, err);
	mark = files->mark;
	r = pile_load_files(files, ret, err);
	pile_files_fini(files);
	return remember(w, mark, r, ret, err);
}

bool pile_watch_look(struct pile_watch *w, const char *path, struct pile_policy *scratch)
{
	uint64_t mark = pile_files_mark(path), seen = w->mark_seen;
	struct pile_error err;
	int r;

	w->mark_seen = mark;
	if (mark == w->mark_read || mark != seen)
		return false;
	r = pile_watch_load(w, path, scratch, &err);
	return r != -EAGAIN && r != -ENOMEM;
}

static uint64_t file_mark(const struct stat *st)
{
	const uint64_t parts[] = { st->st_ino,
				   (uint64_t)st->st_size,
				   (uint64_t)st->st_mtim.tv_sec,
				   (uint64_t)st->st_mtim.tv_nsec,
				   (uint64_t)st->st_ctim.tv_sec,
				   (uint64_t)st->st_ctim.tv_nsec };
	uint64_t mark = 0xcbf29ce484222325ULL;

	for (size_t i = 0; i < ARRAY_LEN(parts); i++)
		mark = (mark ^ parts[i]) * 0x100000001b3ULL;
	return mark ? mark : 1;
}

static void hash(const char *path, char ret[PILE_WATCH_HASH_MAX])
{
	_cleanup_free_ char *text = NULL;
	char digest[SHA256_DIGEST_STRING_LENGTH];
	size_t size = 0;
	int r = pile_files_read_one(AT_FDCWD, path, PILE_FILES_SIZE_MAX, &text, &size, NULL);

	if (r < 0)
		snprintf(ret, PILE_WATCH_HASH_MAX, "%s",
			 r == -ENOENT  ? "missing"
			 : r == -EFBIG ? "too large"
				       : "unreadable");
	else
		snprintf(ret, PILE_WATCH_HASH_MAX, "%.16s",
			 SHA256Data((const uint8_t *)text, size, digest));
}

bool pile_watch_fingerprint(struct pile_watch *w, const char (*paths)[PILE_FINGERPRINT_PATH_MAX],
			    uint32_t n)
{
	bool changed = w->n_fingerprints != n;

	w->n_fingerprints = MIN(n, PILE_FINGERPRINTS_MAX);
	for (uint32_t i = 0; i < w->n_fingerprints; i++) {
		struct pile_watch_fingerprint *f = &w->fingerprints[i];
		struct stat st;
		uint64_t mark = stat(paths[i], &st) == 0 ? file_mark(&st) : 0;

		if (!strcmp(f->path, paths[i]) && f->mark == mark && f->sha256[0])
			continue;
		snprintf(f->path, sizeof(f->path), "%s", paths[i]);
		f->mark = mark;
		if (mark && S_ISREG(st.st_mode) && !(st.st_mode & S_IROTH))
			snprintf(f->sha256, sizeof(f->sha256), "not public");
		else
			hash(f->path, f->sha256);
		changed = true;
	}
	return changed;
}

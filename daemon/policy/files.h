/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * files.h: the files that make up the policy: policy.yaml, and policy.d/NAME.yaml beside it, in the order of their names.
 * Bytes only: what they mean is load.h's business. Owns what it read (init by read, fini).
 * Slow thread and pileguardctl: reads files, so it may block, and allocates. Never logs.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "util/error.h"

#define PILE_FILES_FRAGMENTS_MAX 64 /* some teams' worth */
#define PILE_FILES_SIZE_MAX \
	(1024u * 1024u) /* all together: 128 groups with every key are 330 KiB */
#define PILE_FILES_MAX (PILE_FILES_FRAGMENTS_MAX + 1)

/** One file: where it lies, for people, and its bytes. */
struct pile_files_one {
	char name[256]; /* as errors name it */
	char *text;	/* heap; with a NUL behind its end */
	size_t size;
};

struct pile_files {
	uint32_t n;
	struct pile_files_one files[PILE_FILES_MAX];
	uint64_t mark; /* of what was read, pile_files_mark() */
};

/** As if another file stood in one's place: pileguardctl policy check --with NAME=CANDIDATE. */
struct pile_files_with {
	const char *name; /* policy.yaml's own name, or a fragment's: "50-api.yaml" */
	const char *path; /* the file to read instead; "" = as if NAME were gone */
};

/**
 * pile_files_read - read all of them, as they stood at one moment
 * @path: policy.yaml; it may be missing when there are fragments
 * @with, @n_with: replacements, tried in their order; their names must be those of a policy's file
 * @ret: to be given to pile_files_fini(); untouched on failure
 * Hidden files and those that end in anything but .yaml are passed over (editors' and dpkg's leftovers);
 * one that ends in .yml is an error, since somebody meant it.
 * Returns 0; -ENOENT there are none; -EAGAIN they changed again and again while they were read; -EINVAL a
 * name or a file that cannot be one; -EFBIG, -E2BIG too large, too many; other negative errno. err has file and text.
 */
int pile_files_read(const char *path, const struct pile_files_with *with, size_t n_with,
		    struct pile_files *ret, struct pile_error *err);

/** pile_files_fini - free the texts; harmless on a zeroed one. */
void pile_files_fini(struct pile_files *files);

/**
 * pile_files_mark - a number that changes with the files: their names, sizes, times and inodes
 * Cheap: no file is opened. 0 is never returned.
 */
uint64_t pile_files_mark(const char *path);

/**
 * pile_files_read_one - one regular file, whole
 * @dir_fd: where a relative @path begins (AT_FDCWD: here)
 * @size_max: bytes; more is -EFBIG
 * @ret: heap, the caller frees; with a NUL behind its end
 * Returns 0 or negative errno (-ENOENT, -EFBIG, -EINVAL not a regular file) with err->file and text
 * set.
 */
int pile_files_read_one(int dir_fd, const char *path, size_t size_max, char **ret, size_t *ret_size,
			struct pile_error *err);

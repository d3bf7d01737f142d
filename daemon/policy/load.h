/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * load.h: YAML text -> struct pile_policy, or an error with file:line:column.
 * Owns nothing; *ret is untouched on failure. Called from the slow thread and from pileguardctl.
 * May block (reads a file) and allocate. Never logs.
 */
#pragma once

#include "policy/policy.h"

#define PILE_LOAD_SIZE_MAX (1024u * 1024u) /* 128 groups with every key are 330 KiB */

/**
 * pile_load_file - read, parse and validate the whole of one policy file
 * @path: the file; at most 1 MiB, regular
 * @ret: filled (with hash and source) only on success
 * @err: file, line, column and a sentence that says what would be right
 * Returns 0; -ENOENT no such file; -EINVAL not a valid policy; -EFBIG; other negative errno.
 */
int pile_load_file(const char *path, struct pile_policy *ret, struct pile_error *err);

/**
 * pile_load_text - the same from memory; @name stands for the file in errors and becomes the source
 * An empty text, or one without groups, is a valid policy: observe all.
 */
int pile_load_text(const char *text, size_t size, const char *name, struct pile_policy *ret,
		   struct pile_error *err);

/**
 * pile_load_format - the effective policy as canonical YAML (every key, defaults included)
 * @ret: heap, the caller frees. Loading it again gives the same policy and the same hash.
 * Returns 0 or -ENOMEM.
 */
int pile_load_format(const struct pile_policy *policy, char **ret);

/**
 * pile_load_seal - set policy->hash: SHA-256 of the canonical text
 * For policies that were put together or changed by hand; the loaders above did it already.
 * Returns 0 or -ENOMEM.
 */
int pile_load_seal(struct pile_policy *policy);

/**
 * pile_load_builtin - pile_policy_init() with its hash: what is in force without any file
 * Returns 0 or -ENOMEM.
 */
int pile_load_builtin(struct pile_policy *ret);

/**
 * pile_load_read - one regular file of at most 1 MiB, whole
 * @dir_fd: where a relative @path begins (AT_FDCWD: here)
 * @ret: heap, the caller frees; not NUL-terminated
 * Returns 0 or negative errno (-ENOENT, -EFBIG, -EINVAL not a regular file) with err->file and text
 * set.
 */
int pile_load_read(int dir_fd, const char *path, char **ret, size_t *ret_size,
		   struct pile_error *err);

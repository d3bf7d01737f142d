/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * load.h: YAML text -> struct pile_policy, or an error with file:line:column.
 * Owns nothing; *ret is untouched on failure. Called from the slow thread and from pileguardctl.
 * May block (reads a file) and allocate. Never logs.
 */
#pragma once

#include "policy/files.h"
#include "policy/policy.h"

/**
 * pile_load_files - parse and validate the whole of what several files say together
 * Of a key of the top the last file that gives it counts; groups and fingerprints add up, in the files' order.
 * @ret: filled (with hash and source) only on success
 * @err: file, line, column and a sentence that says what would be right
 * Returns 0; 1 when it is valid, but two files give different revisions (half of a push): @ret is filled, err says
 * where; -EINVAL not a valid policy; -ENOMEM.
 */
int pile_load_files(const struct pile_files *files, struct pile_policy *ret,
		    struct pile_error *err);

/**
 * pile_load_file - read, parse and validate one file by itself, without fragments
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

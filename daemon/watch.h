/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * watch.h: what stands on disk: the policy's files, and other files whose hashes the policy asks for (fingerprints).
 * Plain data, owned by slow.h; used at start, then by the slow thread alone: reads files, so it may block, and
 * allocates. Never logs. Whether the files are the policy in force is said by reload.c.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "policy/policy.h"
#include "util/error.h"

#define PILE_WATCH_HASH_MAX 17 /* 16 digits of SHA-256 and the NUL: enough to tell files apart */

/** One file of fingerprints. */
struct pile_watch_fingerprint {
	char path[PILE_FINGERPRINT_PATH_MAX];
	/* or "missing", "unreadable", "too large"; "not public": who may not read it may not guess at it by its hash */
	char sha256[PILE_WATCH_HASH_MAX];
	uint64_t mark; /* of its size, times and inode when it was hashed */
};

struct pile_watch {
	uint64_t mark_read; /* of the policy's files when they were read last */
	uint64_t mark_seen; /* ... and when they were looked at last */
	int result;	    /* of that reading: pile_load_files(), or why they could not be read */
	char hash[65];	    /* valid when result >= 0 */
	struct pile_error error;
	uint32_t n_fingerprints;
	struct pile_watch_fingerprint fingerprints[PILE_FINGERPRINTS_MAX];
};

/**
 * pile_watch_load - read and check the policy's files, and remember how that went
 * @path: policy.yaml; fragments lie beside it
 * Returns what pile_files_read() and pile_load_files() return, with @err (also kept in @w). *ret is filled when the
 * result is 0 or 1.
 */
int pile_watch_load(struct pile_watch *w, const char *path, struct pile_policy *ret,
		    struct pile_error *err);

/**
 * pile_watch_look - have the files changed? They are read again when they have, and then stood still from one look to
 * the next: a push in the middle of its writing is not worth a word.
 * @scratch: room for a policy; its content is not used
 * Returns true when they were read, and @w's result is a new one.
 */
bool pile_watch_look(struct pile_watch *w, const char *path, struct pile_policy *scratch);

/**
 * pile_watch_fingerprint - hash these files, those that changed since the last time
 * @paths, @n: as the policy in force lists them; files that only root can replace, on a local disk
 * Returns true when the list, or a hash, is another one than before.
 */
bool pile_watch_fingerprint(struct pile_watch *w, const char (*paths)[PILE_FINGERPRINT_PATH_MAX],
			    uint32_t n);

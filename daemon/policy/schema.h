/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * schema.h: the keys of a policy file: the one table of them, for libcyaml and for the shape check.
 * What libcyaml fills lies in struct pile_schema_root; texts with a unit or an address stay texts
 * here, and convert.c turns them into numbers.
 * Owned by the loader. Slow thread and pileguardctl: allocates, never logs.
 */
#pragma once

#include <cyaml/cyaml.h>

#include "policy/policy.h"

#define PILE_SCHEMA_LIST_MAX PILE_EXEMPT_MAX /* entries of exempt, and plenty for enforce */

/** match, in a group: as written. */
struct pile_schema_match {
	char *exe;
	char *user;
	char *cgroup;
	char *port;
};

/** One entry of groups: as written; NULL or 0 where the key is missing (so in the root below). */
struct pile_schema_group {
	char *name;
	char *unit;
	char *cgroup;
	struct pile_schema_match *match;
	char *listen;
	char *workers_max;
	char *memory_budget;
	char *dead_after;
	char *probe_every;
	char *connect_deadline;
	char *baseline_waiting;
	char *connections_max;
	char *shed_share;
	char *stop_hold;
	char *cache_life;
	char **enforce;
	uint32_t n_enforce;
	char **exempt;
	uint32_t n_exempt;
	char **shed_exempt;
	uint32_t n_shed_exempt;
	char **server_speaks_first;
	uint32_t n_server_speaks_first;
	enum pile_workers workers;
	int place;
	enum pile_fail_fast fail_fast;
	int refuse_with;
};

struct pile_schema_root {
	enum pile_mode *mode;
	char *revision;
	char *enforce_share;
	char *memory_reserve;
	char *leak_notice;
	char **fingerprints;
	uint32_t n_fingerprints;
	char **protect;
	uint32_t n_protect;
	struct pile_schema_group *groups;
	uint32_t n_groups;
};

extern const struct cyaml_schema_value pile_schema_policy;
extern const cyaml_strval_t pile_schema_modes[2];
extern const cyaml_strval_t pile_schema_workers[4];
extern const cyaml_strval_t pile_schema_places[2];
extern const cyaml_strval_t pile_schema_fail_fasts[2];
extern const cyaml_strval_t pile_schema_errnos[4];

/**
 * pile_schema_load - fill the struct (through libcyaml)
 * @ret: heap; pile_schema_free() it. To be called on texts that pile_shape_check() passed.
 * Returns 0, -EINVAL (text, and line and column where libcyaml knows them), -ENOMEM.
 */
int pile_schema_load(const char *text, size_t size, struct pile_schema_root **ret,
		     struct pile_error *err);

/** pile_schema_free - also as a cleanup: pile_schema_freep. NULL is fine. */
void pile_schema_free(struct pile_schema_root *root);

static inline void pile_schema_freep(struct pile_schema_root **root)
{
	pile_schema_free(*root);
}

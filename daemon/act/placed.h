/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * placed.h: the record of what was placed: which process, of which group, and where it came from. It lies on /run, which
 * has the same life as cgroups, and is written before anything is moved.
 * Plain data of fixed size, owned by the caller; reading and writing the file may block; never logs. Part of
 * pileguardctl too, which undoes by it where the guard may not.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "act/trees.h"
#include "policy/policy.h"

#define PILE_PLACED_FILE "placed" /* beside the stats socket */
#define PILE_PLACED_RUN_FILE \
	"placed.run" /* what pileguardctl run has started: a line each, only added to */
#define PILE_PLACED_MAX \
	2048 /* processes that were moved; their children are born inside, and take no place */
#define PILE_PLACED_ORIGINS_MAX 64
/* each entry is a line: pid, start, placed, word, group, origin */
#define PILE_PLACED_TEXT_MAX (PILE_PLACED_MAX * (64 + PILE_NAME_MAX + PILE_CGROUP_MAX))

struct pile_placed_entry {
	uint32_t pid;
	uint16_t origin; /* index */
	bool hand;	 /* somebody has moved it out since: left alone */
	bool kept; /* nobody wants it placed, and systemd has it: who takes it out now undoes; not part of the text */
	uint64_t start_ticks;
	uint64_t placed_ticks; /* UINT64_MAX = not seen inside yet */
	uint64_t asked_ns;     /* that it is put there, last; not part of the text */
	char group[PILE_NAME_MAX];
};

struct pile_placed {
	uint32_t n, n_origins;
	struct pile_placed_entry entries[PILE_PLACED_MAX];
	char origins[PILE_PLACED_ORIGINS_MAX][PILE_CGROUP_MAX];
};

/** pile_placed_add - one more. Returns it, or NULL: there is no room. */
struct pile_placed_entry *pile_placed_add(struct pile_placed *u, const char *group, uint32_t pid,
					  uint64_t start_ticks, uint64_t placed_ticks,
					  const char *origin);

/** pile_placed_again - an entry of another group, or of a move that did not come, is for a new one. False: no room. */
bool pile_placed_again(struct pile_placed *u, struct pile_placed_entry *entry, const char *group,
		       const char *origin);

/** pile_placed_find - by number and start; NULL: it was not moved. */
struct pile_placed_entry *pile_placed_find(struct pile_placed *u, uint32_t pid,
					   uint64_t start_ticks);

/** pile_placed_drop - forget entries that @gone says of, and origins that nobody has. Returns how many entries went. */
uint32_t pile_placed_drop(struct pile_placed *u,
			  bool (*gone)(const struct pile_placed_entry *entry, void *arg),
			  void *arg);

/**
 * pile_placed_parse - @text is a record; it is cut at its line ends
 * Lines that make no sense (a name that is no group's, a path that is none, too many) are passed over: who can write
 * there is root, and what is not known is not moved. Returns how many were.
 */
uint32_t pile_placed_parse(char *text, struct pile_placed *ret);

/** pile_placed_format - returns the text's length, 0 when nothing is recorded. */
size_t pile_placed_format(const struct pile_placed *u, char *buf, size_t size);

/** pile_placed_load - no file is an empty record. Returns 0 or negative errno. */
int pile_placed_load(const char *path, struct pile_placed *ret);

/** pile_placed_save - aside, then in its place; an empty record has no file. Returns 0 or negative errno. */
int pile_placed_save(const char *path, const struct pile_placed *u);

/**
 * pile_placed_back - all processes of a group back to where they came from, and its cgroup removed
 * A child goes where the nearest above it goes that is recorded; what pileguardctl run has started (@run_path lists
 * it), and its children, stay; so does who has nobody above it that is recorded. Processes that somebody moved out are
 * not touched. Returns how many stay, or negative errno. Of @u nothing is taken.
 */
int pile_placed_back(const struct pile_trees *t, struct pile_placed *u, const char *group,
		     const char *run_path);

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * undo.h: what rung 3 has turned and must turn back: a small file on /run, which lives as long as the knobs do.
 * Mapped by the guard and written by plain stores, before the knob is turned: it stands there whatever becomes of the
 * guard, and no write can block. Read by the next guard, by `pileguardd --undo` and by `pileguardctl residue`.
 * Of fixed width; a reader clamps what it finds.
 */
#ifndef PILEGUARD_UNDO_H
#define PILEGUARD_UNDO_H

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "pileguard/limits.h"

#define PILE_UNDO_NAME "throttled" /* beside the stats socket */
#define PILE_UNDO_MAGIC 0x31304f444e554750ULL
#define PILE_UNDO_MAX 16      /* knobs turned at once: three of a group, of five groups at a time */
#define PILE_UNDO_TEXT_MAX 48 /* "18446744073709551615 1000000" and more */
#define PILE_UNDO_PATH_MAX 832 /* a mount point, a cgroup, a file */

enum pile_knob {
	PILE_KNOB_NONE = 0,
	PILE_KNOB_TASKS, /* TasksMax, pids.max: how many tasks; UINT64_MAX = no limit */
	PILE_KNOB_WEIGHT, /* CPUWeight, cpu.weight: 1 to 10000, 100 by default; v1's shares are 1024 for 100 */
	PILE_KNOB_QUOTA, /* CPUQuotaPerSecUSec, cpu.max: us of a second; UINT64_MAX = no limit */
	PILE_KNOBS,
};

struct pile_undo_entry {
	uint32_t knob;		 /* enum pile_knob; 0 = free: written last, cleared first */
	uint32_t drop_in_before; /* unit: systemd's own file for the property was there already */
	uint64_t ours, was;	 /* unit: values of the property */
	char group[PILE_NAME_MAX];
	char unit[PILE_UNIT_MAX];      /* "" = a file of a cgroup that no unit owns */
	char path[PILE_UNDO_PATH_MAX]; /* the file of the cgroup */
	char ours_text[PILE_UNDO_TEXT_MAX],
		was_text[PILE_UNDO_TEXT_MAX]; /* ... and what it holds */
};

struct pile_undo_file {
	uint64_t magic;
	uint32_t size; /* sizeof(struct pile_undo_file) */
	uint32_t pad;
	struct pile_undo_entry entries[PILE_UNDO_MAX];
};

_Static_assert(sizeof(struct pile_undo_entry) % 8 == 0, "no hole at the end");

/** pile_undo_is_valid - what was read is such a file. */
static inline int pile_undo_is_valid(const struct pile_undo_file *file)
{
	return file->magic == PILE_UNDO_MAGIC && file->size == sizeof(*file);
}

/** pile_undo_path - of the file, from the stats socket's: the same directory. */
static inline void pile_undo_path(const char *socket_path, char *ret, size_t size)
{
	const char *slash = strrchr(socket_path, '/');

	snprintf(ret, size, "%.*s%s", slash ? (int)(slash - socket_path) + 1 : 0, socket_path,
		 PILE_UNDO_NAME);
}

#endif

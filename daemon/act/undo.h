/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * undo.h: the record of what must be turned back (pileguard/undo.h), and turning it back: only what is still ours.
 * Opened once at the start (may block); written by the control loop as memory; no allocation after start; never logs.
 * systemd keeps what was set at run time as a drop-in of its own, which would outrank a later one of the operator:
 * that goes as well, when it came with us and says nothing but what we set.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "act/manager.h"
#include "pileguard/undo.h"

struct pile_undo {
	struct pile_undo_file *file; /* NULL: there is no record, and so nothing is turned */
	char path[256];
	char drop_ins[128]; /* where systemd keeps them; a test's own directory otherwise */
};

enum pile_undone {
	PILE_UNDONE_RESTORED = 0,
	PILE_UNDONE_TAKEN, /* it is not ours any more: left alone */
	PILE_UNDONE_GONE,  /* the cgroup, or the unit, is not there any more */
	PILE_UNDONE_LATE,  /* not yet, for some seconds: told once, and tried further */
};

/**
 * pile_undo_open - map the file, make it when there is none; what an earlier guard left in it stays
 * @path: of the file; @drop_ins: NULL = systemd's
 * Returns 0 or negative errno.
 */
int pile_undo_open(struct pile_undo *u, const char *path, const char *drop_ins);

/** pile_undo_close - the file goes when nothing is left to be turned back. */
void pile_undo_close(struct pile_undo *u);

/** pile_undo_take - a free place; it counts once its knob is set (pile_undo_keep). NULL: there is none. */
struct pile_undo_entry *pile_undo_take(struct pile_undo *u);

/** pile_undo_keep - from now on it is to be turned back. */
void pile_undo_keep(struct pile_undo_entry *entry, enum pile_knob knob);

/** pile_undo_drop - it is turned back. */
void pile_undo_drop(struct pile_undo_entry *entry);

/** pile_undo_drop_in - is there a file of systemd's for this property of the unit? */
bool pile_undo_drop_in(const struct pile_undo *u, const char *unit, enum pile_knob knob);

/** pile_undo_cgroup - an entry of a cgroup's file: compare and restore. Returns enum pile_undone or negative errno. */
int pile_undo_cgroup(const struct pile_undo_entry *entry);

/** pile_undo_job - an entry of a unit: what is to be asked of systemd; id and owner are the caller's. */
void pile_undo_job(const struct pile_undo_entry *entry, struct pile_manager_job *ret);

/**
 * pile_undo_unit - what systemd said: the drop-in goes. What is as it was already is nobody else's.
 * Returns enum pile_undone; negative errno: it could not be asked, again later.
 */
int pile_undo_unit(const struct pile_undo *u, const struct pile_undo_entry *entry,
		   const struct pile_manager_result *result);

/**
 * pile_undo_all - whatever the record holds, after a guard that is gone. Waits for systemd: two seconds for each of its
 * answers, five in all.
 * @told: each entry and what became of it (enum pile_undone, or negative errno: it is in the record still)
 * Returns how many are left.
 */
unsigned int pile_undo_all(struct pile_undo *u, struct pile_manager *manager,
			   void (*told)(const struct pile_undo_entry *entry, int result, void *arg),
			   void *arg);

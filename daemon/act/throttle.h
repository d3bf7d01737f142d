/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * throttle.h: rung 3: turns the knobs that intents name, and back: through systemd for units (manager.h), by the
 * cgroup's own files where no unit owns it.
 * Owned by the guard; control loop only; no allocation after start; never blocks, never logs: what came of it is in the
 * sample (struct pile_sample_throttled).
 * What is to be turned back stands in the record on /run before the knob is turned (undo.h). Undo is compare-and-restore:
 * what somebody else has set meanwhile is his, and noticed within a second.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "act/manager.h"
#include "act/undo.h"
#include "decide/intent.h"
#include "groups/groups.h"
#include "sense/sample.h"

/** A knob that is turned, or is being turned back. */
struct pile_act_throttled {
	bool used;
	bool over;  /* it is to be turned back */
	bool asked; /* systemd was asked, and has not answered */
	bool seen;  /* the file has held what we set: another value is another hand's */
	bool taken;
	bool late;		    /* it could not be turned back for some seconds: told */
	uint32_t explain_id, group; /* 0, none: an earlier guard's */
	int error;		    /* positive errno: it was not turned */
	uint64_t on_ns, over_ns;
	uint64_t again_ns;	       /* when systemd is asked next, or the file is looked at */
	struct pile_undo_entry *entry; /* in the record */
};

/** What became of one that was turned back, to be told; taken by the guard each tick. */
struct pile_act_undone {
	uint32_t explain_id; /* 0: an earlier guard's */
	int result;	     /* enum pile_undone */
	uint32_t knob;
	char group[PILE_NAME_MAX];	/* of the record */
	char place[PILE_UNDO_PATH_MAX]; /* the unit, or the file */
	char now[PILE_UNDO_TEXT_MAX];	/* TAKEN: what it is instead, where that is known */
};

struct pile_act_throttles {
	bool ready; /* there is a record: knobs may be turned */
	struct pile_undo undo;
	struct pile_act_throttled table[PILE_UNDO_MAX];
	/* those that came to nothing at once, until the next sample tells */
	uint32_t n_failed;
	struct pile_sample_throttled failed[PILE_UNDO_MAX];
	uint32_t n_undone;
	struct pile_act_undone
		undone[2 * PILE_UNDO_MAX]; /* that one is late, and then what became of it */
};

/**
 * pile_act_throttles_open - what an earlier guard has left in the record is to be turned back
 * @path: of the record; @drop_ins: NULL = systemd's. Returns 0 or negative errno: nothing is ever turned.
 */
int pile_act_throttles_open(struct pile_act_throttles *t, const char *path, const char *drop_ins);

/**
 * pile_act_throttles_settle - start, stop: waits for what is to be turned back, two seconds at most in all
 * What is left is tried each second by pile_act_throttles_sample(), and stands in the record. Returns how many are.
 */
unsigned int pile_act_throttles_settle(struct pile_act_throttles *t, struct pile_manager *manager);

/** pile_act_throttles_close - the record goes when nothing is left in it. */
void pile_act_throttles_close(struct pile_act_throttles *t);

/** pile_act_throttles_carry_out - the intents of this tick that are not blocked. */
void pile_act_throttles_carry_out(struct pile_act_throttles *t, const struct pile_groups *groups,
				  struct pile_manager *manager, struct pile_intent *intents,
				  uint32_t n, uint64_t now_ns);

/** pile_act_throttles_result - what systemd said of a job of ours (PILE_MANAGER_THROTTLE). */
void pile_act_throttles_result(struct pile_act_throttles *t,
			       const struct pile_manager_result *result, uint64_t now_ns);

/** pile_act_throttles_sample - each tick, before decide: what is in force, what failed, what another hand has set. */
void pile_act_throttles_sample(struct pile_act_throttles *t, struct pile_manager *manager,
			       struct pile_sample *sample, uint64_t now_ns);

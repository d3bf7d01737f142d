/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * stop.h: rung 5: has systemd stop a service, hold it down and start it again (manager.h).
 * Owned by the guard; control loop only; never blocks, allocates or logs: what came of it is in the sample.
 * A timer of systemd's starts the service again, asked for before the stop is: it needs no guard. Whether a unit can be
 * stopped and started again is asked in calm times, when it appears and every few minutes.
 */
#pragma once

#include "act/manager.h"
#include "decide/intent.h"
#include "groups/groups.h"
#include "sense/sample.h"

struct pile_act_stopping {
	bool used;
	bool answered; /* systemd has, to the stop */
	/* start it; or end its timer only: somebody else has started it. Asked again until systemd has done it */
	bool want_start, want_untime;
	bool asked; /* ... and has not answered yet */
	uint32_t explain_id;
	uint64_t until_ns; /* forgotten some time after */
	uint64_t again_ns;
	char unit[PILE_UNIT_MAX];
};

/** Whether a group's unit can be stopped and started again. */
struct pile_act_stop_fit {
	uint64_t cgroup_id; /* of the unit when it was asked; 0 = not yet */
	uint64_t again_ns;
	bool asked, known, fit;
	char unit[PILE_UNIT_MAX]; /* that it is known of: slots are given away */
	char why[128];		  /* it is not */
};

struct pile_act_stops {
	struct pile_act_stopping table[PILE_STOPS_MAX];
	struct pile_act_stop_fit fit[PILE_GROUPS_MAX];
	/* until the next sample tells */
	uint32_t n_results;
	struct pile_sample_stopped results[PILE_SAMPLE_STOPPED_MAX];
};

/** pile_act_stops_check - ask about the units of groups that may be stopped, when it is time. Each tick. */
void pile_act_stops_check(struct pile_act_stops *s, struct pile_manager *manager,
			  const struct pile_groups *groups, uint64_t now_ns);

/** pile_act_stop_fit - the group's unit can be stopped and started again. */
bool pile_act_stop_fit(const struct pile_act_stops *s, const struct pile_groups *groups,
		       uint32_t group);

/** pile_act_stops_carry_out - the STOP and STOP_START intents of this tick that are not blocked, and ends. */
void pile_act_stops_carry_out(struct pile_act_stops *s, struct pile_manager *manager,
			      const struct pile_groups *groups, const struct pile_intent *intents,
			      uint32_t n, uint64_t now_ns);

/**
 * pile_act_stops_result - systemd's answer to a job of PILE_MANAGER_STOPS; told by the next sample
 * Returns whether a person should hear of it: an error, or that a unit cannot be stopped, and that is news.
 */
bool pile_act_stops_result(struct pile_act_stops *s, const struct pile_manager_result *result);

/** pile_act_stops_sample - what came of it, into @sample. Each tick, before decide */
void pile_act_stops_sample(struct pile_act_stops *s, struct pile_sample *sample, uint64_t now_ns);

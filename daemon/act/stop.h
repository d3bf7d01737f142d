/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * stop.h: rung 5: has systemd stop a service, hold it down and start it again (manager.h).
 * Owned by the guard; control loop only; never blocks, allocates or logs: what came of it is in the sample.
 * A timer of systemd's starts the service again, asked for before the stop is: it needs no guard.
 */
#pragma once

#include "act/manager.h"
#include "decide/intent.h"
#include "groups/groups.h"
#include "sense/sample.h"

struct pile_act_stopping {
	bool used;
	bool down;
	uint32_t explain_id, group;
	uint64_t until_ns; /* forgotten some time after */
	char unit[PILE_UNIT_MAX];
};

struct pile_act_stops {
	struct pile_act_stopping table[PILE_STOPS_MAX];
	/* until the next sample tells */
	uint32_t n_results;
	struct pile_sample_stopped results[PILE_SAMPLE_STOPPED_MAX];
};

/** pile_act_stops_carry_out - the STOP and STOP_START intents of this tick that are not blocked. */
void pile_act_stops_carry_out(struct pile_act_stops *s, struct pile_manager *manager,
			      const struct pile_groups *groups, const struct pile_intent *intents,
			      uint32_t n, uint64_t now_ns);

/** pile_act_stops_result - systemd's answer to a job of PILE_MANAGER_STOPS; told by the next sample. */
void pile_act_stops_result(struct pile_act_stops *s, const struct pile_manager_result *result);

/**
 * pile_act_stops_sample - what came of it, into @sample. Each tick, before decide
 * What is held down for a group that the policy does not name any more is started at once.
 */
void pile_act_stops_sample(struct pile_act_stops *s, struct pile_manager *manager,
			   const struct pile_groups *groups, struct pile_sample *sample,
			   uint64_t now_ns);

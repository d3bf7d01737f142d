/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * network.h: many destinations dead at once is our own network: say so, open nothing.
 * Owned by struct pile_decide; control loop only. Pure: no clock, no allocation, never blocks,
 * never logs.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "decide/proof.h"
#include "sense/sample.h"

#define PILE_NETWORK_ADDRESSES_MIN 3 /* distinct addresses, not ports: one host may serve many */

struct pile_network {
	bool suspect; /* named; over at the first success anywhere, or when nobody tries any more */
	/* 3 addresses suspect or dead, no success for 1 s: an opening waits for the other proofs */
	bool forming;
	uint32_t explain_id;
	/* distinct addresses dead or suspect, with >= 10 % of their group's waiting, now */
	uint32_t dead;
	uint64_t success_ns;  /* last connect established off this host */
	uint64_t since_ns;    /* when named */
	uint64_t watched_ns;  /* first tick: no success can be claimed missing before it */
	uint64_t troubled_ns; /* last tick with one dead or suspect; 10 s later it is over */
};

/*
 * A network that is forming holds an opening back for this long after its proof, no longer: a
 * client's 3 s are running.
 */
#define PILE_NETWORK_FORMING_NS (400 * NS_PER_MS)

void pile_network_init(struct pile_network *network);

/**
 * pile_network_update - one tick
 * Named when one destination is proven dead, with it at least 3 distinct addresses are dead or
 * suspect (proof.h), and nothing off this host was established for @dead_after_ns. Over at the
 * first success, or when nobody tries for 10 s. Loopback destinations neither count as dead nor as
 * a success: they say nothing about the network. Destinations with < 10 % of their group's waiting
 * do not count (a mail-out to 5,000 dead addresses), nor do those that have never answered: whoever has
 * a login, or an API that fetches what its clients name, can connect to three addresses where nobody is.
 * @counted: per group; what a user's session, a container, or anybody but the groups that the policy names
 * tries says nothing about this host.
 * @dead_after_ns: the longest of the groups concerned; no success anywhere for that long is part of
 * the proof.
 * Returns +1 when named now, -1 when over now, 0 otherwise.
 */
int pile_network_update(struct pile_network *network, const struct pile_proofs *proofs,
			const struct pile_sample *sample, const bool counted[PILE_GROUPS_MAX],
			uint64_t dead_after_ns);

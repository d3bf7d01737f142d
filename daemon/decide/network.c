// SPDX-License-Identifier: GPL-2.0-or-later
#include "decide/network.h"

#include <string.h>
#include <sys/socket.h>

#include "util/macro.h"

#define FORMING_SILENCE_NS NS_PER_SEC
#define TROUBLE_OVER_NS (10 * NS_PER_SEC)

void pile_network_init(struct pile_network *network)
{
	memset(network, 0, sizeof(*network));
}

/* 127.0.0.0/8, ::1, and unix sockets: they work without any network. */
static bool is_local(const struct pile_endpoint *ep)
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };
	static const uint8_t loopback6[16] = { [15] = 1 };

	if (ep->family == AF_UNIX || !memcmp(ep->addr, loopback6, sizeof(loopback6)))
		return true;
	return !memcmp(ep->addr, mapped, sizeof(mapped)) && ep->addr[12] == 127;
}

/* No earlier entry of the table counts for the same address. */
static bool is_first(const struct pile_proofs *proofs, const bool *counted, unsigned int index,
		     bool dead_only)
{
	for (unsigned int i = 0; i < index; i++) {
		const struct pile_proof *p = &proofs->table[i];

		if (p->used && counted[p->group] && p->established &&
		    (dead_only ? p->dead : p->dead || p->suspect) &&
		    !memcmp(p->endpoint.addr, proofs->table[index].endpoint.addr,
			    sizeof(p->endpoint.addr)))
			return false;
	}
	return true;
}

/*
 * Distinct addresses off this host that are dead (or, with !@dead_only, at least suspect), and answered before: to
 * connect to what was never there is easily done.
 */
static uint32_t count(const struct pile_proofs *proofs, const bool *counted, bool dead_only)
{
	uint32_t n = 0;

	for (unsigned int i = 0; i < proofs->n_places; i++) {
		const struct pile_proof *p = &proofs->table[i];

		if (p->used && counted[p->group] && p->established &&
		    (dead_only ? p->dead : p->dead || p->suspect) && !is_local(&p->endpoint) &&
		    is_first(proofs, counted, i, dead_only))
			n++;
	}
	return n;
}

static void follow_successes(struct pile_network *network, const struct pile_sample *sample,
			     const bool *counted)
{
	uint32_t n = MIN(sample->n_dependencies, PILE_SAMPLE_DEPENDENCIES_MAX);

	for (uint32_t i = 0; i < n; i++) {
		const struct pile_sample_dependency *dep = &sample->dependencies[i];

		if (counted[dep->group] && !is_local(&dep->endpoint))
			network->success_ns = MAX(network->success_ns,
						  MIN(dep->last_established_ns, sample->now_ns));
	}
	for (uint32_t i = 0; i < MIN(sample->n_probes, PILE_SAMPLE_PROBES_MAX); i++)
		if (pile_proof_is_life(&sample->probes[i]) &&
		    !is_local(&sample->probes[i].endpoint))
			network->success_ns = sample->now_ns;
}

int pile_network_update(struct pile_network *network, const struct pile_proofs *proofs,
			const struct pile_sample *sample, const bool counted[PILE_GROUPS_MAX],
			uint64_t dead_after_ns)
{
	uint64_t now_ns = sample->now_ns, silence_ns;
	uint32_t troubled = count(proofs, counted, false);

	if (!network->watched_ns)
		network->watched_ns = now_ns;
	follow_successes(network, sample, counted);
	silence_ns = now_ns - MAX(network->success_ns, MIN(network->watched_ns, now_ns));
	network->dead = troubled;
	network->forming =
		troubled >= PILE_NETWORK_ADDRESSES_MIN && silence_ns >= FORMING_SILENCE_NS;
	if (troubled)
		network->troubled_ns = now_ns;
	if (network->suspect) {
		if (network->success_ns <= network->since_ns &&
		    now_ns - network->troubled_ns <= TROUBLE_OVER_NS)
			return 0;
		network->suspect = false;
		return -1;
	}
	/*
	 * one proof, two more in the same trouble, and silence everywhere: waiting for their proofs
	 * would open the first
	 */
	if (troubled < PILE_NETWORK_ADDRESSES_MIN || !count(proofs, counted, true) ||
	    silence_ns < dead_after_ns)
		return 0;
	network->suspect = true;
	network->since_ns = now_ns;
	return 1;
}

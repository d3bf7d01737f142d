// SPDX-License-Identifier: GPL-2.0-or-later
#include "decide/mute.h"

#include <errno.h>
#include <string.h>

#include "decide/proof.h"
#include "util/macro.h"

/*
 * A server that has greeted the guard is not asked again so soon, whoever waits there: MySQL counts connections that
 * end before they have logged in, and shuts a host out after 100 of them (max_connect_errors).
 */
#define ASK_AGAIN_NS (10 * NS_PER_SEC)

struct pile_mute *pile_mutes_find(struct pile_mutes *mutes, uint32_t group,
				  const struct pile_endpoint *endpoint)
{
	for (uint32_t i = 0; i < mutes->n_places; i++) {
		struct pile_mute *m = &mutes->table[i];

		if (m->used && m->group == group && pile_endpoint_equal(&m->endpoint, endpoint))
			return m;
	}
	return NULL;
}

bool pile_mutes_suspect(const struct pile_mutes *mutes, uint32_t group)
{
	for (uint32_t i = 0; i < mutes->n_places; i++)
		if (mutes->table[i].used && mutes->table[i].group == group &&
		    mutes->table[i].suspect)
			return true;
	return false;
}

void pile_mute_restart(struct pile_mute *mute, uint64_t now_ns)
{
	mute->floor_ns = MAX(mute->floor_ns, now_ns);
	mute->quiet_ns = 0;
	mute->suspect = mute->doubt = mute->unasked = mute->proved = false;
}

void pile_mutes_forget(struct pile_mutes *mutes, uint32_t group)
{
	for (uint32_t i = 0; i < mutes->n_places; i++)
		if (mutes->table[i].group == group)
			mutes->table[i].used = false;
}

static struct pile_mute *add(struct pile_mutes *mutes, const struct pile_sample_dependency *dep,
			     uint64_t now_ns)
{
	for (uint32_t i = 0; i < PILE_MUTES_MAX; i++) {
		struct pile_mute *m = &mutes->table[i];

		if (m->used)
			continue;
		*m = (struct pile_mute){
			.used = true,
			.group = dep->group,
			.endpoint = dep->endpoint,
			.established = dep->established,
			.refused_by_peer = dep->refused_by_peer,
			.floor_ns = now_ns,
		};
		mutes->n_places = MAX(mutes->n_places, i + 1);
		return m;
	}
	return NULL;
}

static void follow_totals(struct pile_mute *m, const struct pile_sample_dependency *dep,
			  uint64_t now_ns)
{
	if (dep->established < m->established || dep->refused_by_peer != m->refused_by_peer)
		m->floor_ns = now_ns;
	m->established = dep->established;
	m->refused_by_peer = dep->refused_by_peer;
}

static void follow_probes(struct pile_mute *m, const struct pile_sample *sample)
{
	m->probe_ns = 0;
	m->told = false;
	for (uint32_t i = 0; i < MIN(sample->n_probes, PILE_SAMPLE_PROBES_MAX); i++) {
		const struct pile_sample_probe *probe = &sample->probes[i];

		if (probe->group != m->group ||
		    !pile_endpoint_equal(&probe->endpoint, &m->endpoint))
			continue;
		if (probe->ungreeted_since_ns)
			m->probe_ns = m->probe_ns ? MIN(m->probe_ns, probe->ungreeted_since_ns)
						  : probe->ungreeted_since_ns;
		else if (!probe->pending_since_ns)
			m->told |= probe->answered || probe->error == ECONNREFUSED ||
				   probe->error == ECONNRESET;
	}
	if (m->told)
		m->floor_ns = m->greeted_ns = sample->now_ns;
}

static void judge(struct pile_mute *m, const struct pile_sample_dependency *dep,
		  uint64_t dead_after_ns, uint64_t now_ns)
{
	uint64_t heard_ns = MAX(m->floor_ns, MIN(dep->last_heard_ns, now_ns));
	uint64_t third_ns = dep->mute_ns[PILE_MUTE_CONNECTIONS - 1];

	m->unheard_ns = now_ns - heard_ns;
	/* without a counter nobody knows what was heard on connections that are over */
	if (!dep->established || m->share_permille < PILE_PROOF_SHARE_PERMILLE)
		return;
	m->quiet_ns = MIN(m->unheard_ns, third_ns);
	m->suspect = m->quiet_ns >= MIN(dead_after_ns / 2, NS_PER_SEC);
	m->doubt = m->quiet_ns >= dead_after_ns / 2 &&
		   (!m->greeted_ns || now_ns - m->greeted_ns >= ASK_AGAIN_NS);
	m->unasked = m->quiet_ns >= dead_after_ns + dead_after_ns / 2;
	m->proved = m->quiet_ns >= dead_after_ns && m->probe_ns > heard_ns &&
		    m->probe_ns + dead_after_ns <= now_ns;
}

static void follow(struct pile_mute *m, const struct pile_sample_dependency *dep,
		   const struct pile_policy_group *config, const struct pile_sample *sample)
{
	m->sampled = true;
	follow_totals(m, dep, sample->now_ns);
	follow_probes(m, sample);
	m->ungreeted = dep->mute;
	m->silent = dep->silent - MIN(dep->silent, dep->mute);
	m->unacked = dep->unacked;
	m->share_permille =
		pile_proof_share(dep->connecting + m->ungreeted + m->silent + m->unacked,
				 &sample->groups[dep->group], config);
	judge(m, dep, MAX(config->dead_after_ns, NS_PER_SEC), sample->now_ns);
}

static void begin_tick(struct pile_mutes *mutes, const struct pile_sample *sample, uint64_t lost_ns)
{
	while (mutes->n_places && !mutes->table[mutes->n_places - 1].used)
		mutes->n_places--;
	for (uint32_t i = 0; i < mutes->n_places; i++) {
		struct pile_mute *m = &mutes->table[i];

		m->sampled = false;
		m->ungreeted = m->silent = m->unacked = m->share_permille = 0;
		m->quiet_ns = m->unheard_ns = 0;
		m->suspect = m->doubt = m->unasked = m->proved = false;
		if (lost_ns)
			m->floor_ns = sample->now_ns;
	}
}

void pile_mutes_update(struct pile_mutes *mutes,
		       const struct pile_policy_group *config[PILE_GROUPS_MAX],
		       const struct pile_sample *sample, uint64_t lost_ns)
{
	begin_tick(mutes, sample, lost_ns);
	for (uint32_t i = 0; i < MIN(sample->n_dependencies, PILE_SAMPLE_DEPENDENCIES_MAX); i++) {
		const struct pile_sample_dependency *dep = &sample->dependencies[i];
		struct pile_mute *m;

		if (!dep->speaks_first || !(dep->open || dep->connecting) ||
		    dep->group >= PILE_GROUPS_MAX || !config[dep->group])
			continue;
		m = pile_mutes_find(mutes, dep->group, &dep->endpoint);
		if (!m)
			m = add(mutes, dep, sample->now_ns);
		if (m)
			follow(m, dep, config[dep->group], sample);
	}
	for (uint32_t i = 0; i < mutes->n_places; i++)
		mutes->table[i].used &= mutes->table[i].sampled;
}

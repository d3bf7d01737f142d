// SPDX-License-Identifier: GPL-2.0-or-later
#include "decide/proof.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "util/macro.h"

#define BLIP_MARGIN_NS (400 * NS_PER_MS) /* dead_after 2.4 s - 2 s that a retransmission survives */
#define UNANSWERED_NS (300 * NS_PER_MS)	 /* longer than any round trip on the ground */
#define DEAD_AFTER_MIN_NS NS_PER_SEC	 /* policy.h: 1 s .. 60 s */
#define SUSPECT_NS NS_PER_SEC
#define PENDING_SLACK_NS (50 * NS_PER_MS) /* "the oldest" is as old as the sweep that saw it */
#define QUIET_NS NS_PER_SEC		  /* nothing pending for so long: the clock stops */
#define FORGET_NS (5 * NS_PER_SEC)
#define OLDER_SHARE 4 /* of the requests that wait: whose cause is an earlier one */

/*
 * When Linux sends a SYN again, in seconds after connect(): the initial RTO of 1 s doubles each time
 * (tcp(7), tcp_syn_retries), since Linux 6.5 only after four of 1 s (tcp_syn_linear_timeouts). One
 * of each pair: not before the first, not after the second.
 */
static const uint8_t syn_schedule_s[][2] = { { 1, 1 },	 { 3, 3 },   { 7, 7 },
					     { 11, 15 }, { 19, 31 }, { 35, 63 } };

/* What all destinations are judged by in one tick; per group but for the sample. */
struct look {
	const struct pile_policy_group **config;
	const struct pile_risk *risk;
	const bool *piles_up;
	const struct pile_sample *sample;
	uint32_t waits[PILE_GROUPS_MAX]; /* for anything, by TCP */
};

static uint32_t hash_bytes(uint32_t hash, const void *data, size_t size)
{
	const uint8_t *bytes = data;

	for (size_t i = 0; i < size; i++)
		hash = (hash ^ bytes[i]) * 16777619u; /* FNV-1a */
	return hash;
}

uint32_t pile_proof_key(uint32_t group, const struct pile_endpoint *endpoint)
{
	uint32_t hash = hash_bytes(2166136261u, &group, sizeof(group));

	if (endpoint->family == AF_UNIX)
		return hash_bytes(hash, endpoint->path,
				  strnlen(endpoint->path, sizeof(endpoint->path)));
	hash = hash_bytes(hash, endpoint->addr, sizeof(endpoint->addr));
	return hash_bytes(hash, &endpoint->port, sizeof(endpoint->port));
}

bool pile_proof_is_life(const struct pile_sample_probe *probe)
{
	switch (probe->error) {
	case ECONNREFUSED:
	case ECONNRESET: /* hung up on, not left waiting */
	case EMFILE:
	case ENFILE:
	case ENOBUFS:
	case ENOMEM:
	case EADDRNOTAVAIL:
		return true;
	default:
		return probe->answered;
	}
}

static struct pile_proof *find(struct pile_proofs *proofs, uint32_t key, uint32_t group,
			       const struct pile_endpoint *endpoint)
{
	for (unsigned int i = 0; i < proofs->n_places; i++) {
		struct pile_proof *p = &proofs->table[i];

		if (p->used && p->key == key && p->group == group &&
		    pile_endpoint_equal(&p->endpoint, endpoint))
			return p;
	}
	return NULL;
}

struct pile_proof *pile_proofs_find(struct pile_proofs *proofs, uint32_t group,
				    const struct pile_endpoint *endpoint)
{
	return find(proofs, pile_proof_key(group, endpoint), group, endpoint);
}

bool pile_proofs_suspect(const struct pile_proofs *proofs, uint32_t group)
{
	for (unsigned int i = 0; i < proofs->n_places; i++) {
		const struct pile_proof *p = &proofs->table[i];

		if (p->used && p->group == group && (p->suspect || p->dead))
			return true;
	}
	return false;
}

void pile_proof_restart(struct pile_proof *proof, uint64_t now_ns)
{
	proof->alive_ns = MAX(proof->alive_ns, now_ns);
	proof->onset_ns = 0;
	proof->elapsed_ns = 0;
	proof->attempts = 0;
	proof->suspect = proof->dead = false;
}

void pile_proofs_restart(struct pile_proofs *proofs, uint64_t now_ns)
{
	for (unsigned int i = 0; i < proofs->n_places; i++)
		if (proofs->table[i].used)
			pile_proof_restart(&proofs->table[i], now_ns);
}

void pile_proofs_forget(struct pile_proofs *proofs, uint32_t group)
{
	for (unsigned int i = 0; i < proofs->n_places; i++)
		if (proofs->table[i].group == group)
			proofs->table[i].used = false;
	proofs->watched_ns[group] = 0;
}

/* A place for @dep: a free one, or that of a destination that this sample does not have (any more). */
static struct pile_proof *add(struct pile_proofs *proofs, uint32_t key,
			      const struct pile_sample_dependency *dep)
{
	struct pile_proof *place = NULL;

	for (unsigned int i = 0; i < PILE_PROOFS_MAX; i++) {
		struct pile_proof *p = &proofs->table[i];

		if (!p->used) {
			place = p;
			proofs->n_places = MAX(proofs->n_places, i + 1);
			break;
		}
		if (!p->sampled && (!place || p->seen_ns < place->seen_ns))
			place = p;
	}
	if (!place)
		return NULL;
	memset(place, 0, sizeof(*place));
	place->used = true;
	place->key = key;
	place->group = dep->group;
	place->endpoint = dep->endpoint;
	place->started = dep->started;
	place->established = dep->established;
	place->refused_by_peer = dep->refused_by_peer;
	place->alive_ns = MAX(proofs->watched_ns[dep->group], 1);
	return place;
}

/* Signs of life, and totals that go back. */
static void follow_totals(struct pile_proof *p, const struct pile_sample_dependency *dep,
			  uint64_t now_ns)
{
	uint64_t established_ns = MIN(dep->last_established_ns, now_ns);

	if (dep->started < p->started || dep->established < p->established ||
	    dep->refused_by_peer < p->refused_by_peer) {
		pile_proof_restart(p, now_ns);
	} else if (dep->refused_by_peer > p->refused_by_peer ||
		   (dep->established > p->established && !established_ns)) {
		p->alive_ns = now_ns;
	}
	p->alive_ns = MAX(p->alive_ns, established_ns);
	p->started = dep->started;
	p->established = dep->established;
	p->refused_by_peer = dep->refused_by_peer;
	if (p->onset_ns && p->alive_ns > p->onset_ns)
		p->onset_ns = 0;
}

static void start_clock(const struct pile_proofs *proofs, struct pile_proof *p, uint64_t now_ns)
{
	uint64_t begun_ns = now_ns - p->oldest_ns;
	bool ours = begun_ns >= p->alive_ns && begun_ns >= proofs->trusted_ns;

	p->onset_ns = ours ? begun_ns : MAX(p->alive_ns, proofs->trusted_ns);
	p->onset_ns = MAX(p->onset_ns, 1);
	p->onset_lost_ns = proofs->lost_ns;
	p->onset_started = ours ? p->started - MIN(p->started, p->connecting) : p->started;
	p->first_ns = ours ? p->onset_ns : 0;
	p->retried_ns = p->fresh_ns = 0;
}

/* The earliest time that a SYN must have been sent at to count as evidence (clause 4). */
static uint64_t edge_ns(const struct pile_proofs *proofs, const struct pile_proof *p,
			uint64_t dead_after_ns)
{
	return p->onset_ns + (proofs->lost_ns - p->onset_lost_ns) + dead_after_ns - BLIP_MARGIN_NS;
}

static void mark_attempts(struct pile_proof *p, const struct pile_sample_dependency *dep,
			  uint64_t edge, uint64_t now_ns)
{
	uint64_t last_ns = MIN(dep->last_started_ns, now_ns);

	if (last_ns <= p->onset_ns)
		return;
	if (!p->first_ns)
		p->first_ns = last_ns;
	if (!p->retried_ns && last_ns + NS_PER_SEC >= edge)
		p->retried_ns = last_ns;
	if (!p->fresh_ns && last_ns >= edge)
		p->fresh_ns = last_ns;
}

/*
 * A retransmission of the connect begun at @begun_ns was sent after the edge, and nothing came
 * back.
 */
static bool retransmitted(const struct pile_proof *p, uint64_t begun_ns, uint64_t edge,
			  uint64_t now_ns)
{
	if (!begun_ns || now_ns - p->oldest_ns > begun_ns + PENDING_SLACK_NS)
		return false; /* it has ended: what is pending began later */
	for (unsigned int i = 0; i < ARRAY_LEN(syn_schedule_s); i++) {
		uint64_t earliest_ns = begun_ns + syn_schedule_s[i][0] * NS_PER_SEC,
			 latest_ns = begun_ns + syn_schedule_s[i][1] * NS_PER_SEC;

		if (earliest_ns >= edge && latest_ns + UNANSWERED_NS <= now_ns)
			return true;
	}
	return false;
}

static bool unanswered(const struct pile_proof *p, uint64_t edge, uint64_t now_ns)
{
	return (p->fresh_ns && p->fresh_ns + UNANSWERED_NS <= now_ns) ||
	       retransmitted(p, p->first_ns, edge, now_ns) ||
	       retransmitted(p, p->retried_ns, edge, now_ns);
}

/* The guard's own connect: life when it is answered, evidence while it is not. */
static void follow_probe(struct pile_proof *p, const struct pile_sample *sample)
{
	p->probe_ns = 0;
	p->told = false;
	for (uint32_t i = 0; i < MIN(sample->n_probes, PILE_SAMPLE_PROBES_MAX); i++) {
		const struct pile_sample_probe *probe = &sample->probes[i];

		if (probe->group != p->group ||
		    !pile_endpoint_equal(&probe->endpoint, &p->endpoint))
			continue;
		if (probe->ungreeted_since_ns)
			p->alive_ns =
				sample->now_ns; /* that SYN was answered; mute.h has the rest */
		else if (probe->pending_since_ns)
			p->probe_ns = probe->pending_since_ns;
		else if (probe->answered || probe->error == ECONNREFUSED)
			p->told = true;
	}
	if (p->told)
		p->alive_ns = sample->now_ns;
}

/*
 * Requests that somebody works on. Those in the accept queue wait for a worker, not for a
 * destination: behind a full pool of 10 there may be 2,000 of them, and the 10 would be nothing.
 */
static uint32_t worked_on(const struct pile_sample_group *g, const struct pile_policy_group *config)
{
	if (config->workers == PILE_WORKERS_PREFORK && g->workers)
		return MIN(g->waiting, g->workers);
	return g->backlog < g->waiting ? g->waiting - g->backlog : g->waiting;
}

static uint32_t share_of(uint32_t connecting, uint32_t requests)
{
	if (!connecting)
		return 0;
	/* requests that we cannot see (0) must not hide a destination */
	return connecting >= requests ? 1000 : (uint32_t)((uint64_t)connecting * 1000 / requests);
}

uint32_t pile_proof_share(uint32_t waits, const struct pile_sample_group *g,
			  const struct pile_policy_group *config)
{
	return share_of(waits, worked_on(g, config));
}

static uint32_t waits_of(const struct pile_sample_dependency *dep)
{
	return dep->connecting + dep->ungreeted + MAX(dep->silent, dep->unacked);
}

static uint32_t older_than(const struct pile_sample_group *g, uint64_t age_ns)
{
	uint32_t n = 0;

	/* one slot further: the wheel's edges are coarse */
	for (uint64_t i = age_ns / PILE_WHEEL_SLOT_NS + 2; i < ARRAY_LEN(g->age); i++)
		n += g->age[i];
	return n;
}

/*
 * All others wait for whoever connects here: those that have asked before, and wait for nothing else that can be seen,
 * came to wait since. How many; 0 = it is not so.
 */
static uint32_t behind(const struct pile_proof *p, const struct pile_sample_dependency *dep,
		       const struct look *look)
{
	const struct pile_sample_group *g = &look->sample->groups[dep->group];
	const struct pile_policy_group *config = look->config[dep->group];
	uint32_t requests = worked_on(g, config);

	if (!look->piles_up[dep->group] || !p->stuck || !dep->established ||
	    look->waits[dep->group] > waits_of(dep) ||
	    requests < p->connecting + PILE_PROOF_STUCK_MIN ||
	    (config->workers != PILE_WORKERS_PREFORK && config->workers != PILE_WORKERS_THREADS) ||
	    older_than(g, look->sample->now_ns - p->onset_ns) > g->waiting / OLDER_SHARE)
		return 0;
	return requests - p->connecting;
}

static void judge(struct pile_proof *p, const struct pile_sample_dependency *dep,
		  const struct look *look, uint64_t edge)
{
	const struct pile_policy_group *config = look->config[dep->group];
	uint64_t now_ns = look->sample->now_ns;
	bool always = config->fail_fast == PILE_FAIL_FAST_ALWAYS;
	bool hurry = look->risk[dep->group].hurry, late_syn;
	uint64_t need_ns = MAX(config->dead_after_ns, DEAD_AFTER_MIN_NS);

	p->suspect = p->share_permille >= PILE_PROOF_SHARE_PERMILLE &&
		     p->stuck >= PILE_PROOF_STUCK_MIN && p->elapsed_ns >= SUSPECT_NS;
	if (p->share_permille < PILE_PROOF_SHARE_PERMILLE ||
	    p->stuck < (always ? 1 : PILE_PROOF_STUCK_MIN) ||
	    p->attempts < PILE_PROOF_ATTEMPTS_MIN) {
		p->behind = behind(p, dep, look);
		if (!p->behind)
			return;
		hurry = false;
	}
	late_syn = hurry || unanswered(p, edge, now_ns);
	p->lacks_syn = !late_syn && now_ns >= edge;
	p->own_probe = !late_syn && p->probe_ns >= edge && p->probe_ns + UNANSWERED_NS <= now_ns;
	p->dead = p->elapsed_ns >= (hurry ? DEAD_AFTER_MIN_NS : need_ns) &&
		  (late_syn || p->own_probe);
}

static void follow(struct pile_proofs *proofs, struct pile_proof *p,
		   const struct pile_sample_dependency *dep, const struct look *look)
{
	const struct pile_policy_group *config = look->config[dep->group];
	const struct pile_sample *sample = look->sample;
	uint64_t now_ns = sample->now_ns, edge, lost_ns;

	p->sampled = true;
	follow_probe(p, sample);
	follow_totals(p, dep, now_ns);
	p->connecting = dep->connecting;
	p->stuck = MIN(dep->stuck, dep->connecting);
	p->oldest_ns = dep->connecting ? MIN(dep->oldest_ns, now_ns) : 0;
	p->share_permille = pile_proof_share(p->connecting, &sample->groups[dep->group], config);
	if (p->connecting)
		p->seen_ns = now_ns;
	if (now_ns - p->seen_ns > QUIET_NS)
		p->onset_ns = 0;
	if (!p->onset_ns && p->stuck)
		start_clock(proofs, p, now_ns);
	if (!p->onset_ns)
		return;
	edge = edge_ns(proofs, p, MAX(config->dead_after_ns, DEAD_AFTER_MIN_NS));
	mark_attempts(p, dep, edge, now_ns);
	lost_ns = proofs->lost_ns - p->onset_lost_ns;
	p->elapsed_ns = now_ns - p->onset_ns > lost_ns ? now_ns - p->onset_ns - lost_ns : 0;
	p->attempts = p->started - MIN(p->started, p->onset_started);
	if (p->first_ns ==
	    p->onset_ns) /* all that is pending began since; the guard may have come later */
		p->attempts = MAX(p->attempts, p->connecting);
	judge(p, dep, look, edge);
}

static void begin_tick(struct pile_proofs *proofs,
		       const struct pile_policy_group *config[PILE_GROUPS_MAX],
		       const struct pile_sample *sample, uint64_t lost_ns)
{
	if (lost_ns) {
		proofs->lost_ns += lost_ns;
		proofs->trusted_ns = sample->now_ns;
	}
	for (unsigned int i = 0; i < PILE_GROUPS_MAX; i++) {
		if (!config[i])
			proofs->watched_ns[i] = 0;
		else if (!proofs->watched_ns[i])
			proofs->watched_ns[i] = sample->now_ns;
	}
	while (proofs->n_places && !proofs->table[proofs->n_places - 1].used)
		proofs->n_places--;
	for (unsigned int i = 0; i < proofs->n_places; i++) {
		struct pile_proof *p = &proofs->table[i];

		if (!p->used)
			continue;
		p->connecting = p->stuck = p->share_permille = p->behind = 0;
		p->oldest_ns = p->elapsed_ns = p->attempts = 0;
		p->suspect = p->dead = p->lacks_syn = p->own_probe = p->sampled = false;
		if (lost_ns) /* these were marked against an edge that has moved */
			p->retried_ns = p->fresh_ns = 0;
		if (!config[p->group])
			p->used = false;
	}
}

void pile_proofs_update(struct pile_proofs *proofs,
			const struct pile_policy_group *config[PILE_GROUPS_MAX],
			const struct pile_risk *risk, const bool piles_up[PILE_GROUPS_MAX],
			const struct pile_sample *sample, uint64_t lost_ns)
{
	struct look look = {
		.config = config, .risk = risk, .piles_up = piles_up, .sample = sample
	};
	uint32_t n = MIN(sample->n_dependencies, PILE_SAMPLE_DEPENDENCIES_MAX), n_fresh = 0;
	uint32_t keys[PILE_SAMPLE_DEPENDENCIES_MAX];
	uint16_t fresh[PILE_SAMPLE_DEPENDENCIES_MAX];

	begin_tick(proofs, config, sample, lost_ns);
	for (uint32_t i = 0; i < n; i++)
		if (sample->dependencies[i].group < PILE_GROUPS_MAX)
			look.waits[sample->dependencies[i].group] +=
				waits_of(&sample->dependencies[i]);
	for (uint32_t i = 0; i < n; i++) {
		const struct pile_sample_dependency *dep = &sample->dependencies[i];
		struct pile_proof *p;

		if (dep->group >= PILE_GROUPS_MAX || !config[dep->group])
			continue;
		keys[i] = pile_proof_key(dep->group, &dep->endpoint);
		p = find(proofs, keys[i], dep->group, &dep->endpoint);
		if (p)
			follow(proofs, p, dep, &look);
		else if (dep->connecting)
			fresh[n_fresh++] = (uint16_t)i;
	}
	/* when all that is known has been followed it is clear whose place may be taken */
	for (uint32_t j = 0; j < n_fresh; j++) {
		const struct pile_sample_dependency *dep = &sample->dependencies[fresh[j]];
		struct pile_proof *p = add(proofs, keys[fresh[j]], dep);

		if (p)
			follow(proofs, p, dep, &look);
	}
	/*
	 * at the end: after a pause of the guard every entry looks forgotten until this tick has
	 * seen it
	 */
	for (uint32_t i = 0; i < proofs->n_places; i++)
		if (proofs->table[i].used && sample->now_ns - proofs->table[i].seen_ns > FORGET_NS)
			proofs->table[i].used = false;
}

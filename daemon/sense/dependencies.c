// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * dependencies.c: what the groups' workers connect to. What waits is found by a sweep, never by
 * counting up and down; totals and times come from the kernel's counters.
 */
#include <string.h>
#include <sys/socket.h>

#include "sense/sense.h"
#include "util/clock.h"

#define STUCK_NS (500 * NS_PER_MS) /* sample.h: "stuck" */
#define CALM_SWEEP_NS NS_PER_SEC   /* nothing pending: once a second is enough for "silent" */
#define QUIET_SWEEP_NS \
	(5 * NS_PER_SEC) /* no connection at all, and none was begun since the last sweep */
#define LARGE_SWEEP_NS (300 * NS_PER_MS) /* many connections: a sweep costs 0.1-0.3 us each */
#define LARGE_SWEEP 2000
/* a destination that nobody uses is forgotten after five minutes */
#define FORGET_NS (300 * NS_PER_SEC)
/* our word was the last for so long: a log or a counter takes it, and never answers */
#define ONE_WAY_MS 30000
#define WAITS_MAX (PILE_SENSE_WORKERS_MAX / 2)

static struct pile_sample_dependency *known_find(struct pile_sense *s, uint32_t group,
						 const uint8_t *addr, uint16_t port)
{
	for (uint32_t i = 0; i < s->n_known; i++) {
		struct pile_sample_dependency *d = &s->known[i];

		if (d->group == group && d->endpoint.port == port &&
		    memcmp(d->endpoint.addr, addr, 16) == 0)
			return d;
	}
	return NULL;
}

/* Connections to it, pending ones too, by the sweep that runs or else by the last one. */
static uint32_t in_use(const struct pile_sense *s, const struct pile_sample_dependency *d)
{
	return MAX(d->connecting + d->open, s->before[d - s->known]);
}

/* 2: several wait for it, or a connection stands; 1: it has answered; 0: neither. */
static int worth(const struct pile_sense *s, const struct pile_sample_dependency *d)
{
	if (d->open > 0 || in_use(s, d) > 1)
		return 2;
	return d->established > 0;
}

/*
 * What matters least: its group is not named by the policy (whoever has a login can open connects),
 * nobody waits for it and it never answered, fewest connections, longest unused. A mail-out to thousands of
 * addresses, one connect each, must not push the database out, even while nobody asks it: so recency comes last.
 */
static bool matters_less(const struct pile_sense *s, const struct pile_sample_dependency *a,
			 const struct pile_sample_dependency *b)
{
	if (s->named[a->group] != s->named[b->group])
		return s->named[b->group];
	if (worth(s, a) != worth(s, b))
		return worth(s, a) < worth(s, b);
	if (in_use(s, a) != in_use(s, b))
		return in_use(s, a) < in_use(s, b);
	if (a->established != b->established)
		return a->established < b->established;
	return a->last_started_ns < b->last_started_ns;
}

static struct pile_sample_dependency *known_take(struct pile_sense *s, struct pile_kernel *k,
						 uint32_t group)
{
	struct pile_sample_dependency *least = NULL;
	struct pile_bpf_destination key;

	if (s->n_known < PILE_SAMPLE_DEPENDENCIES_MAX)
		return &s->known[s->n_known++];
	for (uint32_t i = 0; i < s->n_known; i++)
		if (!least || matters_less(s, &s->known[i], least))
			least = &s->known[i];
	s->destinations_lost++;
	if (!s->named[group] && s->named[least->group])
		return NULL;
	if (s->named[group] == s->named[least->group] && worth(s, least) == 2)
		return NULL;
	pile_kernel_destination_key(least->group, &least->endpoint, &key);
	pile_kernel_destination_remove(k, &key);
	s->before[least - s->known] = 0;
	return least;
}

static void totals_refresh(struct pile_kernel *k, struct pile_sample_dependency *d)
{
	struct pile_bpf_destination_counts c;
	struct pile_bpf_destination key;

	pile_kernel_destination_key(d->group, &d->endpoint, &key);
	if (pile_kernel_destination_get(k, &key, &c) < 0)
		return;
	d->started = c.started;
	d->established = c.established;
	d->failed = c.failed;
	d->refused_by_peer = c.refused_by_peer;
	d->last_started_ns = c.last_started_ns;
	d->last_established_ns = c.last_established_ns;
	d->last_failed_ns = c.last_failed_ns;
	d->last_heard_ns = MAX(d->last_heard_ns, c.last_heard_ns);
}

static struct pile_sample_dependency *known_get(struct pile_sense *s, struct pile_kernel *k,
						uint32_t group, const uint8_t *addr, uint16_t port)
{
	struct pile_sample_dependency *d = known_find(s, group, addr, port);

	if (d)
		return d;
	d = known_take(s, k, group);
	if (!d)
		return NULL;
	memset(d, 0, sizeof(*d));
	d->group = group;
	d->endpoint = pile_endpoint_of(addr, port);
	totals_refresh(k, d); /* what it is worth, before the next one looks for a place */
	return d;
}

struct sweep {
	struct pile_sense *s;
	struct pile_kernel *k;
	uint64_t now_ns;
	uint32_t
		met[2]; /* connections of groups that the policy does not name, and that it names */
};

static void pending_add(struct pile_sense *s, const struct pile_bpf_record_connect *rec,
			const struct pile_sample_dependency *d, uint32_t state, uint64_t started_ns)
{
	struct pile_sense_pending *p;

	if (s->n_pending == PILE_SENSE_PENDING_MAX) {
		s->pending_lost++;
		return;
	}
	p = &s->pending[s->n_pending++];
	p->group = rec->group;
	p->netns = rec->netns;
	p->endpoint = d->endpoint;
	memcpy(p->source, rec->source, sizeof(p->source));
	p->source_port = rec->source_port;
	p->family = rec->family;
	p->cookie = rec->cookie;
	p->started_ns = started_ns;
	p->state = state;
	p->received = rec->received;
}

/* The longest first; what is shorter than all of them falls out. */
static void mute_age_add(struct pile_sample_dependency *d, uint64_t age_ns)
{
	for (uint32_t i = 0; i < PILE_MUTE_CONNECTIONS; i++) {
		uint64_t shorter_ns = d->mute_ns[i];

		if (age_ns <= shorter_ns)
			continue;
		d->mute_ns[i] = age_ns;
		age_ns = shorter_ns;
	}
}

static uint64_t before(uint64_t now_ns, uint32_t ms)
{
	return now_ns - MIN(now_ns, ms * NS_PER_MS);
}

/* An established connection, with what it waits for. Where the server speaks first, that wait may have to be ended. */
static void open_see(struct sweep *sweep, const struct pile_bpf_record_connect *rec,
		     struct pile_sample_dependency *d)
{
	uint64_t quiet_ns = rec->quiet_ms * NS_PER_MS;
	bool mute = !rec->received && quiet_ns >= STUCK_NS;

	d->open++;
	d->silent += rec->state == PILE_CONNECT_SILENT || rec->state == PILE_CONNECT_MUTE;
	d->unacked += rec->state == PILE_CONNECT_UNACKED;
	d->ungreeted += !rec->received;
	d->mute += mute;
	if (mute)
		mute_age_add(d, quiet_ns);
	if (rec->received)
		d->last_heard_ns = MAX(d->last_heard_ns, before(sweep->now_ns, rec->quiet_ms));
	if (!d->speaks_first || !sweep->s->named[rec->group])
		return;
	if (rec->state == PILE_CONNECT_UNACKED)
		pending_add(sweep->s, rec, d, PILE_CONNECT_UNACKED,
			    before(sweep->now_ns, rec->silent_ms));
	else if (mute)
		pending_add(sweep->s, rec, d, PILE_CONNECT_MUTE,
			    before(sweep->now_ns, rec->quiet_ms));
	else if (rec->state == PILE_CONNECT_SILENT && rec->awaited)
		pending_add(sweep->s, rec, d, PILE_CONNECT_SILENT,
			    before(sweep->now_ns, rec->silent_ms));
}

/* A worker whose connect is pending, or that spoke last and has no answer. After so long nobody will answer. */
static bool is_awaited(const struct pile_bpf_record_connect *rec)
{
	if (rec->state == PILE_CONNECT_PENDING)
		return true;
	return rec->silent_ms < ONE_WAY_MS &&
	       (rec->state == PILE_CONNECT_SILENT || rec->state == PILE_CONNECT_MUTE ||
		rec->state == PILE_CONNECT_UNACKED);
}

static uint32_t *waits_place(struct pile_sense *s, uint32_t pid)
{
	uint32_t at = (pid * 2654435761u) % PILE_SENSE_WORKERS_MAX;

	while (s->waits[at] && s->waits[at] != pid)
		at = (at + 1) % PILE_SENSE_WORKERS_MAX;
	return &s->waits[at];
}

/* The table keeps free places, so that a look for a pid ends; what does not fit is told by n_waits. */
static void waits_add(struct pile_sense *s, uint32_t pid)
{
	uint32_t *place;

	if (!pid || s->n_waits > WAITS_MAX)
		return;
	place = waits_place(s, pid);
	if (*place == pid || ++s->n_waits > WAITS_MAX)
		return;
	*place = pid;
}

bool pile_dependencies_awaited(const struct pile_sense *s, uint32_t pid)
{
	return s->n_waits > WAITS_MAX || *waits_place((struct pile_sense *)s, pid) == pid;
}

static void connect_see(const struct pile_bpf_record *record, void *arg)
{
	const struct pile_bpf_record_connect *rec = (const void *)record;
	struct sweep *sweep = arg;
	struct pile_sample_dependency *d;
	uint64_t age;

	if (record->type != PILE_RECORD_CONNECT || rec->group >= PILE_GROUPS_MAX)
		return;
	sweep->met[sweep->s->named[rec->group]]++;
	if (rec->state == PILE_CONNECT_OVER)
		return;
	sweep->s->n_connects++;
	if (sweep->s->named[rec->group] && is_awaited(rec))
		waits_add(sweep->s, rec->worker);
	d = known_get(sweep->s, sweep->k, rec->group, rec->addr, rec->port);
	if (!d)
		return;
	if (rec->state != PILE_CONNECT_PENDING) {
		open_see(sweep, rec, d);
		return;
	}
	age = sweep->now_ns > rec->started_ns ? sweep->now_ns - rec->started_ns : 0;
	d->connecting++;
	d->stuck += age >= STUCK_NS;
	d->oldest_ns = MAX(d->oldest_ns, MAX(age, 1));
	if (sweep->s->named[rec->group]) /* others are observed only: nobody will end these */
		pending_add(sweep->s, rec, d, PILE_CONNECT_PENDING, rec->started_ns);
}

static bool sweep_due(const struct pile_sense *s, const struct pile_kernel *k, uint64_t now_ns)
{
	const struct pile_bpf_totals *t = k->totals;
	uint64_t since = now_ns - s->connects_swept_ns;
	uint64_t started = __atomic_load_n(&t->connects_started, __ATOMIC_RELAXED);
	bool pending;
	uint64_t done = __atomic_load_n(&t->connects_established, __ATOMIC_RELAXED) +
			__atomic_load_n(&t->connects_failed, __ATOMIC_RELAXED);
	/* on a host with a million descriptors a walk may cost a tick: a tenth of the time at most */
	if (since < 10 * s->connects_cost_ns)
		return false;
	pending = started != done || s->n_pending > 0;
	if (!pending && !s->n_connects && started == s->connects_started_swept)
		return since >= QUIET_SWEEP_NS;
	if (s->n_connects > LARGE_SWEEP)
		return since >= (pending ? LARGE_SWEEP_NS : CALM_SWEEP_NS);
	/* somebody may be ended for his memory: not one who waits */
	return pending || s->look.on || since >= CALM_SWEEP_NS;
}

static void connects_sweep(struct pile_sense *s, struct pile_kernel *k, uint64_t now_ns)
{
	struct sweep sweep = { .s = s, .k = k, .now_ns = now_ns };
	uint64_t from, before[2];

	for (uint32_t i = 0; i < s->n_known; i++) {
		s->before[i] = s->known[i].connecting + s->known[i].open;
		s->known[i].connecting = 0;
		s->known[i].stuck = 0;
		s->known[i].oldest_ns = 0;
		s->known[i].open = 0;
		s->known[i].silent = 0;
		s->known[i].unacked = 0;
		s->known[i].ungreeted = s->known[i].mute = 0;
		memset(s->known[i].mute_ns, 0, sizeof(s->known[i].mute_ns));
	}
	s->n_pending = 0;
	s->n_connects = 0;
	s->n_waits = 0;
	memset(s->waits, 0, sizeof(s->waits));
	s->connects_swept_ns = now_ns;
	s->connects_started_swept = __atomic_load_n(&k->totals->connects_started, __ATOMIC_RELAXED);
	from = pile_clock_ns(CLOCK_MONOTONIC);
	pile_kernel_followed(k, PILE_FOLLOWED_CONNECTS, before);
	if (pile_kernel_sweep_connects(k, connect_see, &sweep) == 0)
		pile_kernel_follow_allow(k, PILE_FOLLOWED_CONNECTS, before, sweep.met);
	memset(s->before, 0, sizeof(s->before));
	s->connects_cost_ns = pile_clock_ns(CLOCK_MONOTONIC) - from;
}

/*
 * Connects that are over within a tick are never met by the sweep: their counters tell of them. What
 * has no place here need not be counted there. Says how many more the groups that the policy does
 * not name may have.
 */
static void destinations_learn(struct pile_sense *s, struct pile_kernel *k)
{
	uint64_t added = __atomic_load_n(&k->totals->unnamed_added, __ATOMIC_RELAXED);
	struct pile_bpf_destination key, next;
	uint32_t unnamed = 0;
	bool more = pile_kernel_destination_next(k, NULL, &next) == 0;

	for (int i = 0; more && i < PILE_DESTINATIONS_MAX; i++) {
		key = next;
		more = pile_kernel_destination_next(k, &key, &next) == 0;
		if (key.group >= PILE_GROUPS_MAX || !known_get(s, k, key.group, key.addr, key.port))
			pile_kernel_destination_remove(k, &key);
		else
			unnamed += !s->named[key.group];
	}
	pile_kernel_unnamed_allow(k, added + PILE_DESTINATIONS_UNNAMED_MAX -
					     MIN(unnamed, PILE_DESTINATIONS_UNNAMED_MAX));
}

static void destinations_forget(struct pile_sense *s, struct pile_kernel *k, uint64_t now_ns)
{
	struct pile_bpf_destination key;

	for (uint32_t i = 0; i < s->n_known;) {
		struct pile_sample_dependency *d = &s->known[i];
		uint64_t used =
			MAX(d->last_started_ns, MAX(d->last_established_ns, d->last_failed_ns));

		if (d->connecting || d->open || now_ns < used + FORGET_NS) {
			i++;
			continue;
		}
		pile_kernel_destination_key(d->group, &d->endpoint, &key);
		pile_kernel_destination_remove(k, &key);
		s->known[i] = s->known[--s->n_known];
	}
}

static void names_take(struct pile_sense *s, struct pile_kernel *k, const struct pile_groups *g)
{
	for (uint32_t i = 0; i < PILE_GROUPS_MAX; i++)
		s->named[i] = i < g->n_groups && g->groups[i].used && g->groups[i].configured;
	pile_kernel_named_set(k, s->named);
}

static void speaks_first_take(struct pile_sense *s, const struct pile_groups *g)
{
	for (uint32_t i = 0; i < s->n_known; i++) {
		struct pile_sample_dependency *d = &s->known[i];
		const struct pile_policy_group *config = &g->groups[d->group].config;

		d->speaks_first = g->groups[d->group].used &&
				  pile_endpoint_listed(config->server_speaks_first,
						       config->n_server_speaks_first, &d->endpoint);
	}
}

void pile_dependencies_sample(struct pile_sense *s, struct pile_kernel *k,
			      const struct pile_groups *g, uint64_t now_ns, struct pile_sample *ret)
{
	names_take(s, k, g);
	speaks_first_take(s, g);
	if (sweep_due(s, k, now_ns))
		connects_sweep(s, k, now_ns);
	if (s->tick % 10 == 5)
		destinations_learn(s, k);
	for (uint32_t i = 0; i < s->n_known; i++)
		totals_refresh(k, &s->known[i]);
	if (s->tick % 10 == 5)
		destinations_forget(s, k, now_ns);
	ret->n_dependencies = s->n_known;
	memcpy(ret->dependencies, s->known, sizeof(s->known[0]) * s->n_known);
	ret->dependencies_lost = s->destinations_lost;
}

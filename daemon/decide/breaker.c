// SPDX-License-Identifier: GPL-2.0-or-later
#include "decide/breaker.h"

#include <string.h>

#include "decide/breaker_inner.h"
#include "decide/decide.h"
#include "decide/halfopen.h"
#include "util/macro.h"
#include "util/number.h"

#define PROBE_MIN_NS (200 * NS_PER_MS) /* policy.h: probe_every 200 ms .. 2 s */
#define JITTER_PERMILLE 200	       /* product.md: +-20 % */
/* when something was heard is known by the kernel's ticks (10 ms at most), and by when a sweep looked */
#define HEARD_SLACK_NS (50 * NS_PER_MS)

static const struct pile_sample_dependency nothing_seen;

void pile_breakers_init(struct pile_breakers *breakers)
{
	memset(breakers, 0, sizeof(*breakers));
}

uint64_t pile_breaker_probe_period(uint64_t every_ns, uint32_t host_seed, uint32_t key,
				   uint64_t count)
{
	uint64_t hash = (((uint64_t)host_seed << 32) | key) + count * 0x9e3779b97f4a7c15ULL;
	uint64_t permille;

	hash = (hash ^ (hash >> 30)) * 0xbf58476d1ce4e5b9ULL; /* splitmix64 */
	hash = (hash ^ (hash >> 27)) * 0x94d049bb133111ebULL;
	hash ^= hash >> 31;
	permille = 1000 - JITTER_PERMILLE + hash % (2 * JITTER_PERMILLE + 1);
	every_ns = CLAMP(every_ns, PROBE_MIN_NS, PILE_BREAKER_PROBE_MAX_NS);
	return CLAMP(every_ns * permille / 1000, PROBE_MIN_NS, PILE_BREAKER_PROBE_MAX_NS);
}

static bool is_exempt(const struct pile_policy_group *config, const struct pile_endpoint *endpoint)
{
	for (uint32_t i = 0; i < MIN(config->n_exempt, PILE_EXEMPT_MAX); i++)
		if (pile_endpoint_matches(&config->exempt[i], endpoint))
			return true;
	return false;
}

bool pile_breaker_speaks_first(const struct pile_policy_group *config,
			       const struct pile_endpoint *endpoint)
{
	return pile_endpoint_listed(config->server_speaks_first,
				    MIN(config->n_server_speaks_first, PILE_SPEAKS_FIRST_MAX),
				    endpoint);
}

enum pile_blocked pile_breaker_observing(const struct pile_decide_view *view)
{
	return view->outside_share ? PILE_BLOCKED_SHARE : PILE_BLOCKED_OBSERVE;
}

enum pile_blocked pile_breaker_blocked(const struct pile_breakers *breakers,
				       const struct pile_decide_view *view,
				       const struct pile_network *network, uint32_t group,
				       const struct pile_endpoint *endpoint, uint64_t now_ns)
{
	const struct pile_decide_group *g = &view->groups[group];

	if (g->foreign)
		return PILE_BLOCKED_FOREIGN;
	if (is_exempt(&g->config, endpoint))
		return PILE_BLOCKED_EXEMPT;
	if (pile_hands_find(&breakers->hands, group, endpoint, false, now_ns))
		return PILE_BLOCKED_RELEASED;
	if (network && network->suspect)
		return PILE_BLOCKED_NETWORK;
	if (view->mode != PILE_MODE_ENFORCE)
		return pile_breaker_observing(view);
	if (!(g->config.enforce & PILE_RUNG_FAIL_FAST))
		return PILE_BLOCKED_RUNG;
	if (view->disarmed)
		return PILE_BLOCKED_DISARMED;
	if (pile_policy_matches(&g->config) && !g->placed)
		return PILE_BLOCKED_UNPLACED;
	/* last: in observe mode, and while disarmed, nothing is attached, and that is not the reason */
	return g->gate_ready ? PILE_BLOCKED_NO : PILE_BLOCKED_KERNEL;
}

static const struct pile_sample_dependency *seen(const struct pile_sample *sample,
						 const struct pile_breaker *b)
{
	for (uint32_t i = 0; i < MIN(sample->n_dependencies, PILE_SAMPLE_DEPENDENCIES_MAX); i++) {
		const struct pile_sample_dependency *dep = &sample->dependencies[i];

		if (dep->group == b->group && dep->endpoint.port == b->endpoint.port &&
		    pile_endpoint_equal(&dep->endpoint, &b->endpoint))
			return dep;
	}
	return NULL;
}

struct pile_breaker *pile_breaker_get(struct pile_breakers *breakers, uint32_t group,
				      const struct pile_endpoint *endpoint)
{
	for (uint32_t i = 0; i < breakers->n_places; i++) {
		struct pile_breaker *b = &breakers->table[i];

		if (b->state != PILE_BREAKER_FREE && !b->orphan && b->group == group &&
		    pile_endpoint_equal(&b->endpoint, endpoint))
			return b;
	}
	return NULL;
}

const struct pile_breaker *pile_breakers_find(const struct pile_breakers *breakers, uint32_t group,
					      const struct pile_endpoint *endpoint)
{
	return pile_breaker_get((struct pile_breakers *)breakers, group, endpoint);
}

bool pile_breakers_open_in(const struct pile_breakers *breakers, uint32_t group)
{
	for (uint32_t i = 0; i < breakers->n_places; i++)
		if (breakers->table[i].state != PILE_BREAKER_FREE &&
		    breakers->table[i].group == group)
			return true;
	return false;
}

struct pile_intent *pile_breaker_say(const struct pile_breaker *b, enum pile_intent_kind kind,
				     struct pile_intents *out)
{
	struct pile_intent *intent = pile_intents_add(out, kind, b->group);

	if (!intent)
		return NULL;
	intent->endpoint = b->endpoint;
	intent->blocked = b->blocked;
	intent->explain_id = b->explain_id;
	intent->allow = b->allow;
	intent->relapses = b->relapses;
	intent->probe_every_ns = b->probe_every_ns;
	intent->refuse_errno = b->refuse_errno;
	intent->speaks_first = b->speaks_first;
	intent->why = b->why;
	return intent;
}

static void remember(struct pile_breakers *breakers, const struct pile_breaker *b, uint64_t now_ns)
{
	struct pile_breaker_memory *place = &breakers->closed[0];

	for (unsigned int i = 0; i < PILE_BREAKERS_MAX; i++) {
		struct pile_breaker_memory *memory = &breakers->closed[i];

		if (memory->key == b->key && memory->closed_ns) {
			place = memory;
			break;
		}
		if (memory->closed_ns < place->closed_ns)
			place = memory;
	}
	*place = (struct pile_breaker_memory){ .key = b->key,
					       .flaps = b->flaps,
					       .closed_ns = MAX(now_ns, 1) };
}

static uint32_t count_flap(struct pile_breakers *breakers, uint32_t key, uint64_t now_ns)
{
	for (unsigned int i = 0; i < PILE_BREAKERS_MAX; i++) {
		const struct pile_breaker_memory *memory = &breakers->closed[i];

		if (memory->closed_ns && memory->key == key &&
		    pile_number_minus(now_ns, memory->closed_ns) < PILE_BREAKER_FLAP_NS) {
			breakers->flaps++;
			return memory->flaps + 1;
		}
	}
	return 0;
}

void pile_breaker_finish(struct pile_breakers *breakers, struct pile_breaker *b, uint64_t now_ns,
			 enum pile_close_reason reason, struct pile_intents *out)
{
	struct pile_proof *proof = pile_proofs_find(&breakers->proofs, b->group, &b->endpoint);
	struct pile_mute *mute = pile_mutes_find(&breakers->mutes, b->group, &b->endpoint);
	struct pile_intent *intent = pile_breaker_say(b, PILE_INTENT_BREAKER_CLOSE, out);

	if (!intent)
		return; /* no room this tick: the next one says it */
	intent->allow = 0;
	intent->close_reason = reason;
	intent->outage_ns = pile_number_minus(now_ns, b->opened_ns);
	if (!b->blocked) {
		breakers->closed_total++;
		remember(breakers, b, now_ns);
		/* whatever the reason, opening again takes the same proof again */
		if (proof && !b->orphan)
			pile_proof_restart(proof, now_ns);
		if (mute && !b->orphan)
			pile_mute_restart(mute, now_ns);
	}
	memset(b, 0, sizeof(*b));
}

static void count_probes(struct pile_breaker *b, const struct pile_sample *sample,
			 bool *ret_answered, bool *ret_failed)
{
	*ret_answered = *ret_failed = false;
	for (uint32_t i = 0; i < MIN(sample->n_probes, PILE_SAMPLE_PROBES_MAX); i++) {
		const struct pile_sample_probe *probe = &sample->probes[i];

		if (probe->group != b->group || probe->pending_since_ns ||
		    !pile_endpoint_equal(&probe->endpoint, &b->endpoint))
			continue;
		b->probes++;
		*ret_answered = pile_proof_is_life(probe); /* the last one counts */
		*ret_failed = !*ret_answered;
		b->probes_failed += *ret_failed;
	}
}

static bool is_gone(struct pile_breaker *b, const struct pile_breaker_context *context,
		    enum pile_blocked blocked)
{
	const struct pile_sample_group *g = &context->sample->groups[b->group];

	if (b->orphan || !context->view->groups[b->group].used || !g->used)
		return true;
	/* a unit that restarts, and the gate of an open one: back within a second or so */
	if (g->present && (blocked != PILE_BLOCKED_KERNEL || b->blocked)) {
		b->absent_ns = 0;
		return false;
	}
	if (!b->absent_ns)
		b->absent_ns = context->now_ns;
	return pile_number_minus(context->now_ns, b->absent_ns) > PILE_BREAKER_ABSENT_NS;
}

static void move_real(struct pile_breakers *breakers, struct pile_breaker *b,
		      const struct pile_breaker_context *context,
		      const struct pile_sample_dependency *dep, bool succeeded,
		      struct pile_intents *out)
{
	const struct pile_policy_group *config = &context->view->groups[b->group].config;
	enum pile_halfopen step = PILE_HALFOPEN_STAY;
	bool answered, failed;

	count_probes(b, context->sample, &answered, &failed);
	b->refuse_errno = config->refuse_errno;
	b->probe_every_ns = pile_breaker_probe_period(config->probe_every_ns,
						      context->view->host_seed, b->key, b->probes);
	if (b->by_hand) {
		if (!pile_hands_find(&breakers->hands, b->group, &b->endpoint, true,
				     context->now_ns)) {
			pile_breaker_finish(breakers, b, context->now_ns, PILE_CLOSE_HOLD_OVER,
					    out);
			return;
		}
	} else if (b->state == PILE_BREAKER_HALF) {
		step = pile_halfopen_move(b, dep, failed, context->now_ns);
	} else if (answered || succeeded) {
		pile_halfopen_begin(b, dep, context->now_ns);
		step = PILE_HALFOPEN_STEP;
	}
	if (step == PILE_HALFOPEN_STEP)
		pile_breaker_say(b, PILE_INTENT_BREAKER_ALLOW, out);
	if (step == PILE_HALFOPEN_DONE)
		pile_breaker_finish(breakers, b, context->now_ns, PILE_CLOSE_ANSWERED, out);
	else
		pile_breaker_say(b, PILE_INTENT_BREAKER_RENEW, out);
}

static void move_virtual(struct pile_breakers *breakers, struct pile_breaker *b,
			 const struct pile_breaker_context *context, enum pile_blocked blocked,
			 bool succeeded, struct pile_intents *out)
{
	const struct pile_proof *proof =
		pile_proofs_find(&breakers->proofs, b->group, &b->endpoint);
	const struct pile_mute *mute = pile_mutes_find(&breakers->mutes, b->group, &b->endpoint);
	uint64_t now_ns = context->now_ns;
	bool dead = (proof && proof->dead) || (mute && mute->proved);

	if (succeeded)
		pile_breaker_finish(breakers, b, now_ns, PILE_CLOSE_ANSWERED, out);
	else if (pile_number_minus(now_ns, b->pending_ns) > PILE_BREAKER_QUIET_NS)
		pile_breaker_finish(breakers, b, now_ns, PILE_CLOSE_QUIET, out);
	else if (blocked == PILE_BLOCKED_NO && dead && !context->late)
		pile_breaker_finish(breakers, b, now_ns, PILE_CLOSE_SWITCHED, out);
}

static enum pile_close_reason close_reason(enum pile_blocked blocked)
{
	switch (blocked) {
	case PILE_BLOCKED_RELEASED:
		return PILE_CLOSE_RELEASED;
	case PILE_BLOCKED_DISARMED:
		return PILE_CLOSE_DISARMED;
	default:
		return PILE_CLOSE_POLICY;
	}
}

/*
 * Where the server speaks first, what counts is not that its kernel establishes connections, but that something is
 * heard: in an outage of the ordinary kind by one that was made since, since those from before may talk on.
 */
static void count_greetings(struct pile_breaker *b, struct pile_sample_dependency *dep)
{
	if (dep->last_heard_ns > b->heard_ns + HEARD_SLACK_NS &&
	    (b->why.mute || (dep->last_established_ns > b->opened_ns &&
			     dep->last_heard_ns + HEARD_SLACK_NS > dep->last_established_ns))) {
		b->heard_ns = dep->last_heard_ns;
		b->greetings++;
	}
	dep->established = b->greetings;
	dep->connecting += dep->ungreeted;
}

static void move(struct pile_breakers *breakers, struct pile_breaker *b,
		 const struct pile_breaker_context *context, struct pile_intents *out)
{
	const struct pile_sample_dependency *dep = seen(context->sample, b);
	const struct pile_policy_group *config = &context->view->groups[b->group].config;
	struct pile_sample_dependency greeted;
	/* a network that is named keeps new episodes from opening; those that are open stay */
	enum pile_blocked blocked =
		pile_breaker_blocked(breakers, context->view, b->blocked ? context->network : NULL,
				     b->group, &b->endpoint, context->now_ns);
	bool succeeded;

	if (is_gone(b, context, blocked)) {
		pile_breaker_finish(breakers, b, context->now_ns, PILE_CLOSE_GONE, out);
		return;
	}
	if (b->why.mute && !b->by_hand && !pile_breaker_speaks_first(config, &b->endpoint)) {
		pile_breaker_finish(breakers, b, context->now_ns, PILE_CLOSE_POLICY, out);
		return;
	}
	if (!dep)
		dep = &nothing_seen;
	if (b->speaks_first && dep != &nothing_seen) {
		greeted = *dep;
		count_greetings(b, &greeted);
		dep = &greeted;
	}
	succeeded = dep->established > b->established || dep->refused_by_peer > b->refused_by_peer;
	if (dep != &nothing_seen)
		pile_halfopen_follow(b, dep);
	if (dep->connecting)
		b->pending_ns = context->now_ns; /* or not greeted: see above */
	if (b->blocked)
		move_virtual(breakers, b, context, blocked, succeeded, out);
	else if (blocked != PILE_BLOCKED_NO && blocked != PILE_BLOCKED_KERNEL)
		pile_breaker_finish(breakers, b, context->now_ns, close_reason(blocked), out);
	else
		move_real(breakers, b, context, dep, succeeded, out);
}

/*
 * A free place, or that of the episode with the smallest share (virtual ones first), if smaller
 * than @share.
 */
static struct pile_breaker *make_room(struct pile_breakers *breakers, uint32_t share, bool real,
				      uint64_t now_ns, struct pile_intents *out)
{
	struct pile_breaker *least = NULL;
	uint32_t least_rank = share + (real ? 2000 : 0);

	for (unsigned int i = 0; i < PILE_BREAKERS_MAX; i++) {
		struct pile_breaker *b = &breakers->table[i];
		uint32_t rank =
			b->why.share_permille + (b->blocked ? 0 : 2000) + (b->by_hand ? 4000 : 0);

		if (b->state == PILE_BREAKER_FREE)
			return b;
		if (rank < least_rank) {
			least = b;
			least_rank = rank;
		}
	}
	if (least)
		pile_breaker_finish(breakers, least, now_ns, PILE_CLOSE_ROOM, out);
	return least && least->state == PILE_BREAKER_FREE ? least : NULL;
}

void pile_breaker_say_open(const struct pile_breaker *b, bool over, struct pile_intents *out)
{
	struct pile_intent *intent = pile_breaker_say(b, PILE_INTENT_BREAKER_OPEN, out);

	if (!intent)
		return;
	intent->at_ns = b->opened_ns;
	intent->over = over;
}

void pile_breaker_open(struct pile_breakers *breakers, const struct pile_breaker_context *context,
		       uint32_t group, const struct pile_endpoint *endpoint,
		       enum pile_blocked blocked, const struct pile_why *why, uint64_t opened_ns,
		       struct pile_intents *out)
{
	const struct pile_policy_group *config = &context->view->groups[group].config;
	struct pile_breaker *b =
		make_room(breakers, why->share_permille, !blocked, context->now_ns, out);
	const struct pile_sample_dependency *dep;

	if (!b || out->n + 1 >= PILE_INTENTS_MAX)
		return;
	*b = (struct pile_breaker){
		.state = PILE_BREAKER_OPEN,
		.key = pile_proof_key(group, endpoint),
		.group = group,
		.endpoint = *endpoint,
		.blocked = blocked,
		.by_hand = why->by_hand,
		.opened_ns = opened_ns,
		.pending_ns = context->now_ns,
		.refuse_errno = config->refuse_errno,
		.why = *why,
	};
	breakers->n_places = MAX(breakers->n_places, (uint32_t)(b - breakers->table) + 1);
	dep = seen(context->sample, b);
	b->speaks_first = pile_breaker_speaks_first(config, endpoint);
	b->heard_ns = context->now_ns;
	b->established = dep && !b->speaks_first ? dep->established : 0;
	b->refused_by_peer = dep ? dep->refused_by_peer : 0;
	b->explain_id = pile_explain_id_take(context->next_explain_id);
	b->probe_every_ns = pile_breaker_probe_period(config->probe_every_ns,
						      context->view->host_seed, b->key, 0);
	if (blocked) {
		breakers->would_open++;
	} else {
		breakers->opened++;
		b->flaps = count_flap(breakers, b->key, context->now_ns);
	}
	pile_breaker_say_open(b, false, out);
	if (!blocked)
		pile_breaker_say(b, PILE_INTENT_BREAKER_RENEW, out);
}

void pile_breakers_update(struct pile_breakers *breakers,
			  const struct pile_breaker_context *context, struct pile_intents *out)
{
	uint32_t asked = 0;

	pile_hands_expire(&breakers->hands, context->now_ns);
	if (context->view->disarmed)
		pile_hands_open(&breakers->hands);
	while (breakers->n_places &&
	       breakers->table[breakers->n_places - 1].state == PILE_BREAKER_FREE)
		breakers->n_places--;
	pile_breakers_follow_loops(breakers, context, out);
	for (uint32_t i = 0; i < breakers->n_places; i++)
		if (breakers->table[i].state != PILE_BREAKER_FREE)
			move(breakers, &breakers->table[i], context, out);
	if (context->late)
		return;
	pile_breakers_follow_hands(breakers, context, out);
	pile_breakers_follow_proofs(breakers, context, &asked, out);
	pile_breakers_follow_mutes(breakers, context, &asked, out);
}

void pile_breakers_renew(const struct pile_breakers *breakers, struct pile_intents *out)
{
	for (uint32_t i = 0; i < breakers->n_places; i++)
		if (breakers->table[i].state != PILE_BREAKER_FREE && !breakers->table[i].blocked)
			pile_breaker_say(&breakers->table[i], PILE_INTENT_BREAKER_RENEW, out);
}

void pile_breakers_close_all(struct pile_breakers *breakers, uint64_t now_ns,
			     enum pile_close_reason reason, struct pile_intents *out)
{
	for (uint32_t i = 0; i < breakers->n_places; i++)
		if (breakers->table[i].state != PILE_BREAKER_FREE)
			pile_breaker_finish(breakers, &breakers->table[i], now_ns, reason, out);
}

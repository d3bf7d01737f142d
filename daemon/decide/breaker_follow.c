// SPDX-License-Identifier: GPL-2.0-or-later
/* breaker_follow.c: how episodes of rung 1 begin: by a hand, the loop in the kernel, a proof, a server that is mute. */
#include "decide/breaker_inner.h"
#include "decide/decide.h"
#include "decide/halfopen.h"
#include "util/macro.h"
#include "util/number.h"

/* the 64 episodes kept are ten minutes of these */
#define FOREIGN_EVERY_NS (10 * NS_PER_SEC)

void pile_breakers_follow_hands(struct pile_breakers *breakers,
				const struct pile_breaker_context *context,
				struct pile_intents *out)
{
	for (unsigned int i = 0; i < PILE_HANDS_MAX; i++) {
		const struct pile_hand *hand = &breakers->hands.table[i];
		struct pile_why why = { .by_hand = true, .share_permille = 1000 };
		struct pile_breaker *b;

		if (!hand->used || !hand->hold || !context->view->groups[hand->group].used ||
		    !context->sample->groups[hand->group].present ||
		    pile_breaker_blocked(breakers, context->view, NULL, hand->group,
					 &hand->endpoint, context->now_ns))
			continue;
		b = pile_breaker_get(breakers, hand->group, &hand->endpoint);
		if (b && !b->blocked) {
			if (b->state == PILE_BREAKER_HALF)
				pile_halfopen_fail(b);
			b->by_hand = b->why.by_hand = true;
			continue;
		}
		if (b)
			pile_breaker_finish(breakers, b, context->now_ns, PILE_CLOSE_SWITCHED, out);
		pile_risk_explain(&context->risk[hand->group],
				  context->sample->groups[hand->group].waiting, &why);
		pile_breaker_open(breakers, context, hand->group, &hand->endpoint, PILE_BLOCKED_NO,
				  &why, context->now_ns, out);
	}
}

static void explain_loop(const struct pile_sample_loop *loop,
			 const struct pile_breaker_context *context, struct pile_why *why)
{
	*why = (struct pile_why){
		.connecting = loop->connecting,
		.stuck = loop->stuck,
		.no_success_ns = loop->no_success_ns,
		.share_permille = loop->waiting > loop->connecting
					  ? (uint32_t)(loop->connecting * 1000ULL / loop->waiting)
					  : 1000,
		.always = context->view->groups[loop->group].config.fail_fast ==
			  PILE_FAIL_FAST_ALWAYS,
		.in_kernel = true,
	};
	pile_risk_explain(&context->risk[loop->group], loop->waiting, why);
}

/* What the loop in the kernel opened and closed again: nothing is left of it but its record. */
static void tell_loop(struct pile_breakers *breakers, const struct pile_breaker_context *context,
		      const struct pile_sample_loop *loop, const struct pile_why *why,
		      struct pile_intents *out)
{
	struct pile_breaker b = {
		.group = loop->group,
		.endpoint = loop->endpoint,
		.opened_ns = loop->opened_ns,
		.refuse_errno = context->view->groups[loop->group].config.refuse_errno,
		.explain_id = pile_explain_id_take(context->next_explain_id),
		.why = *why,
	};
	struct pile_intent *intent;

	breakers->opened++;
	breakers->closed_total++;
	pile_breaker_say_open(&b, true, out);
	intent = pile_breaker_say(&b, PILE_INTENT_BREAKER_CLOSE, out);
	if (!intent)
		return;
	intent->close_reason = PILE_CLOSE_ANSWERED;
	intent->at_ns = loop->closed_ns;
	intent->outage_ns = pile_number_minus(loop->closed_ns, loop->opened_ns);
	intent->over = true;
}

/*
 * The guard is back. What the loop in the kernel holds shut goes on as an episode of the guard's, unless a switch forbids
 * it by now; what it has opened again is over, also for the guard's own gate.
 */
void pile_breakers_follow_loops(struct pile_breakers *breakers,
				const struct pile_breaker_context *context,
				struct pile_intents *out)
{
	for (uint32_t i = 0; i < MIN(context->sample->n_loops, PILE_LOOP_MAX); i++) {
		const struct pile_sample_loop *loop = &context->sample->loops[i];
		struct pile_breaker *b = pile_breaker_get(breakers, loop->group, &loop->endpoint);
		bool ours = b && !b->blocked;
		struct pile_why why;

		/* what the loop takes for an answer, an established connection, is none of a mute one */
		if (!context->view->groups[loop->group].used ||
		    (ours && (b->by_hand || b->why.mute)) || (ours && loop->open))
			continue;
		if (ours) {
			pile_breaker_finish(breakers, b, context->now_ns, PILE_CLOSE_ANSWERED, out);
			continue;
		}
		explain_loop(loop, context, &why);
		if (!loop->open)
			tell_loop(breakers, context, loop, &why, out);
		else if (!pile_breaker_blocked(breakers, context->view, NULL, loop->group,
					       &loop->endpoint, context->now_ns)) {
			if (b)
				pile_breaker_finish(breakers, b, context->now_ns,
						    PILE_CLOSE_SWITCHED, out);
			pile_breaker_open(breakers, context, loop->group, &loop->endpoint,
					  PILE_BLOCKED_NO, &why, loop->opened_ns, out);
		}
	}
}

static void explain_proof(const struct pile_proof *p, const struct pile_breaker_context *context,
			  struct pile_why *why)
{
	*why = (struct pile_why){
		.connecting = p->connecting,
		.stuck = p->stuck,
		.oldest_ns = p->oldest_ns,
		.no_success_ns = pile_number_minus(context->now_ns, p->onset_ns),
		.share_permille = p->share_permille,
		.always = context->view->groups[p->group].config.fail_fast == PILE_FAIL_FAST_ALWAYS,
		.own_probe = p->own_probe,
		.behind = p->behind,
	};
	pile_risk_explain(&context->risk[p->group], context->sample->groups[p->group].waiting, why);
}

static struct pile_intent *say_probe(const struct pile_proof *p, enum pile_intent_kind kind,
				     struct pile_intents *out)
{
	struct pile_intent *intent = pile_intents_add(out, kind, p->group);

	if (!intent)
		return NULL;
	intent->endpoint = p->endpoint;
	intent->why.connecting = p->connecting;
	return intent;
}

static struct pile_intent *say_greeting(const struct pile_mute *m, enum pile_intent_kind kind,
					struct pile_intents *out)
{
	struct pile_intent *intent = pile_intents_add(out, kind, m->group);

	if (!intent)
		return NULL;
	intent->endpoint = m->endpoint;
	intent->speaks_first = true;
	intent->why.mute = true;
	intent->why.ungreeted = m->ungreeted;
	return intent;
}

/* Where nothing would be opened, nobody is asked. */
static void ask(const struct pile_breakers *breakers, const struct pile_breaker_context *context,
		struct pile_proof *p, uint32_t *asked, struct pile_intents *out)
{
	struct pile_intent *intent;

	if (*asked >= PILE_SCOUTS_MAX || pile_breakers_find(breakers, p->group, &p->endpoint) ||
	    pile_breaker_blocked(breakers, context->view, context->network, p->group, &p->endpoint,
				 context->now_ns))
		return;
	intent = say_probe(p, PILE_INTENT_PROBE, out);
	if (!intent)
		return;
	intent->speaks_first =
		pile_breaker_speaks_first(&context->view->groups[p->group].config, &p->endpoint);
	intent->first = !p->asked;
	p->asked = true;
	++*asked;
}

/* What was asked is over: opened, alive, or nobody is stuck any more. */
static void ask_end(struct pile_proof *p, struct pile_intents *out)
{
	if (p->told && !say_probe(p, PILE_INTENT_PROBE_ANSWERED, out))
		return; /* no room this tick: the next one says it */
	p->asked = false;
}

/*
 * Nothing is ever done for another manager's groups, and whoever has a login can stage an outage in
 * one: their episodes must not push the others' out of the records.
 */
static bool may_record(struct pile_breakers *breakers, enum pile_blocked blocked, uint64_t now_ns)
{
	if (blocked != PILE_BLOCKED_FOREIGN)
		return true;
	if (breakers->foreign_ns &&
	    pile_number_minus(now_ns, breakers->foreign_ns) < FOREIGN_EVERY_NS)
		return false;
	breakers->foreign_ns = now_ns;
	return true;
}

void pile_breakers_follow_proofs(struct pile_breakers *breakers,
				 const struct pile_breaker_context *context, uint32_t *asked,
				 struct pile_intents *out)
{
	for (unsigned int i = 0; i < breakers->proofs.n_places; i++) {
		struct pile_proof *p = &breakers->proofs.table[i];
		const struct pile_policy_group *config = &context->view->groups[p->group].config;
		enum pile_blocked blocked;
		struct pile_why why;

		if (p->used && p->asked && !p->lacks_syn)
			ask_end(p, out);
		if (!p->used || !(p->dead || p->lacks_syn) ||
		    !context->sample->groups[p->group].present ||
		    (config->fail_fast != PILE_FAIL_FAST_ALWAYS &&
		     !pile_risk_at_risk(&context->risk[p->group])))
			continue;
		if (p->lacks_syn)
			ask(breakers, context, p, asked, out);
		if (!p->dead)
			continue;
		/* others look dead too: their proofs are due, and then it is our own network */
		if (context->network->forming && !context->network->suspect &&
		    p->elapsed_ns < config->dead_after_ns + PILE_NETWORK_FORMING_NS)
			continue;
		if (pile_breaker_get(breakers, p->group, &p->endpoint))
			continue;
		blocked = pile_breaker_blocked(breakers, context->view, context->network, p->group,
					       &p->endpoint, context->now_ns);
		if (!may_record(breakers, blocked, context->now_ns))
			continue;
		explain_proof(p, context, &why);
		pile_breaker_open(breakers, context, p->group, &p->endpoint, blocked, &why,
				  context->now_ns, out);
	}
}

static void explain_mute(const struct pile_mute *m, const struct pile_breaker_context *context,
			 struct pile_why *why)
{
	*why = (struct pile_why){
		.mute = true,
		.ungreeted = m->ungreeted,
		.silent = m->silent,
		.unacked = m->unacked,
		.oldest_ns = m->quiet_ns,
		.no_success_ns = m->unheard_ns,
		.share_permille = m->share_permille,
		.always = context->view->groups[m->group].config.fail_fast == PILE_FAIL_FAST_ALWAYS,
		.own_probe = m->proved,
	};
	pile_risk_explain(&context->risk[m->group], context->sample->groups[m->group].waiting, why);
}

static void ask_greeting(struct pile_mute *m, uint32_t *asked, struct pile_intents *out)
{
	struct pile_intent *intent;

	if (*asked >= PILE_SCOUTS_MAX)
		return;
	intent = say_greeting(m, PILE_INTENT_PROBE, out);
	if (!intent)
		return;
	intent->first = !m->asked;
	m->asked = true;
	++*asked;
}

/*
 * Where nothing may be done nobody is asked, and what would have been done is not known for sure: it is recorded when
 * asking would have taken no longer.
 */
static void follow_mute(struct pile_breakers *breakers, const struct pile_breaker_context *context,
			struct pile_mute *m, uint32_t *asked, struct pile_intents *out)
{
	struct pile_breaker *b = pile_breaker_get(breakers, m->group, &m->endpoint);
	enum pile_blocked blocked = pile_breaker_blocked(breakers, context->view, context->network,
							 m->group, &m->endpoint, context->now_ns);
	struct pile_why why;

	if (b && !b->blocked) {
		/* dead as far as connects could tell; now its connections are known to wait in vain as well */
		if (m->proved && !b->by_hand && !b->why.mute && b->state == PILE_BREAKER_OPEN)
			explain_mute(m, context, &b->why);
		return;
	}
	if (blocked == PILE_BLOCKED_NO && m->doubt)
		ask_greeting(m, asked, out);
	if (b || !(blocked == PILE_BLOCKED_NO ? m->proved : m->unasked) ||
	    !may_record(breakers, blocked, context->now_ns))
		return;
	explain_mute(m, context, &why);
	pile_breaker_open(breakers, context, m->group, &m->endpoint, blocked, &why, context->now_ns,
			  out);
}

void pile_breakers_follow_mutes(struct pile_breakers *breakers,
				const struct pile_breaker_context *context, uint32_t *asked,
				struct pile_intents *out)
{
	for (uint32_t i = 0; i < breakers->mutes.n_places; i++) {
		struct pile_mute *m = &breakers->mutes.table[i];
		const struct pile_policy_group *config = &context->view->groups[m->group].config;

		if (m->used && m->asked && !m->doubt &&
		    (!m->told || say_greeting(m, PILE_INTENT_PROBE_ANSWERED, out)))
			m->asked = false;
		if (m->used && m->doubt && context->sample->groups[m->group].present &&
		    (config->fail_fast == PILE_FAIL_FAST_ALWAYS ||
		     pile_risk_at_risk(&context->risk[m->group])))
			follow_mute(breakers, context, m, asked, out);
	}
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* breaker_inner.h: between breaker.c, where episodes live and end, and breaker_follow.c, where they begin. */
#pragma once

#include "decide/breaker.h"

/** pile_breaker_get - the episode of a destination of @group, or NULL. */
struct pile_breaker *pile_breaker_get(struct pile_breakers *breakers, uint32_t group,
				      const struct pile_endpoint *endpoint);

/** pile_breaker_speaks_first - whether the policy says so of the server at @endpoint. */
bool pile_breaker_speaks_first(const struct pile_policy_group *config,
			       const struct pile_endpoint *endpoint);

/**
 * pile_breaker_open - an episode begins
 * @blocked: which switch stops it: then it is a virtual one; @opened_ns: CLOCK_MONOTONIC
 * Where there is no room, neither for it nor for its intents, the next tick tries again.
 */
void pile_breaker_open(struct pile_breakers *breakers, const struct pile_breaker_context *context,
		       uint32_t group, const struct pile_endpoint *endpoint,
		       enum pile_blocked blocked, const struct pile_why *why, uint64_t opened_ns,
		       struct pile_intents *out);

/** pile_breaker_finish - it ends; where this tick has no room for the intent, the next one says it. */
void pile_breaker_finish(struct pile_breakers *breakers, struct pile_breaker *b, uint64_t now_ns,
			 enum pile_close_reason reason, struct pile_intents *out);

/** pile_breaker_say - an intent about @b, or NULL where there is no room. */
struct pile_intent *pile_breaker_say(const struct pile_breaker *b, enum pile_intent_kind kind,
				     struct pile_intents *out);

/** pile_breaker_say_open - @over: it is over already, and only told. */
void pile_breaker_say_open(const struct pile_breaker *b, bool over, struct pile_intents *out);

/* One tick each. @asked: destinations that the guard asks itself in this tick, PILE_SCOUTS_MAX at most. */
void pile_breakers_follow_hands(struct pile_breakers *breakers,
				const struct pile_breaker_context *context,
				struct pile_intents *out);
void pile_breakers_follow_loops(struct pile_breakers *breakers,
				const struct pile_breaker_context *context,
				struct pile_intents *out);
void pile_breakers_follow_proofs(struct pile_breakers *breakers,
				 const struct pile_breaker_context *context, uint32_t *asked,
				 struct pile_intents *out);
void pile_breakers_follow_mutes(struct pile_breakers *breakers,
				const struct pile_breaker_context *context, uint32_t *asked,
				struct pile_intents *out);

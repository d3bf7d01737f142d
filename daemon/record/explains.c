// SPDX-License-Identifier: GPL-2.0-or-later
#include "record/explains.h"

#include <stdio.h>
#include <string.h>

#include "util/macro.h"

/* The oldest closed one makes room; an open episode is only pushed out when all are open. */
static struct pile_explain *explain_take(struct pile_record *r)
{
	struct pile_explain *x, *oldest = NULL;

	if (r->n_explains < PILE_RECORD_EXPLAINS)
		return &r->explains[r->n_explains++];
	for (uint32_t i = 0; i < PILE_RECORD_EXPLAINS; i++) {
		x = &r->explains[i];
		if (!oldest || (x->closed_ns != 0) > (oldest->closed_ns != 0) ||
		    ((x->closed_ns != 0) == (oldest->closed_ns != 0) &&
		     x->opened_ns < oldest->opened_ns))
			oldest = x;
	}
	return oldest;
}

static struct pile_explain *explain_open(struct pile_record *r, const struct pile_intent *intent,
					 const char *group, const char *unit, uint64_t now_ns,
					 uint64_t realtime_ns)
{
	struct pile_explain *x = explain_take(r);

	memset(x, 0, sizeof(*x));
	x->id = intent->explain_id;
	x->kind = intent->kind;
	snprintf(x->group, sizeof(x->group), "%s", group);
	snprintf(x->unit, sizeof(x->unit), "%s", unit);
	x->endpoint = intent->endpoint;
	x->blocked = intent->blocked;
	x->why = intent->why;
	x->opened_ns = intent->at_ns ? intent->at_ns : now_ns;
	x->opened_realtime_ns = realtime_ns - (now_ns - MIN(x->opened_ns, now_ns));
	x->refuse_errno = (uint32_t)MAX(intent->refuse_errno, 0);
	return x;
}

static void explain_close(struct pile_record *r, struct pile_explain *x,
			  const struct pile_intent *intent, uint64_t now_ns)
{
	if (!x || x->closed_ns)
		return;
	x->closed_ns = intent->at_ns ? intent->at_ns : now_ns;
	x->close_reason = intent->close_reason;
	if (x->blocked == PILE_BLOCKED_NO && x->kind == PILE_INTENT_BREAKER_OPEN)
		r->closed_total++;
}

/* What came of it: the terms of the decision stay. */
static void evicted_take(struct pile_explain *x, const struct pile_intent *intent)
{
	const struct pile_why_evict *from = &intent->why.evict;

	if (!x)
		return;
	x->why.evict.signal = from->signal;
	x->why.evict.error = intent->close_reason == PILE_CLOSE_NOT_ENDED ? from->error : 0;
	x->why.evict.gone_ns = from->gone_ns;
	x->why.evict.freed_bytes = from->freed_bytes;
}

/* What came of a stop, as far as it is known by now. */
static void stopped_take(struct pile_explain *x, const struct pile_intent *intent)
{
	if (!x)
		return;
	x->why.stop.early |= intent->why.stop.early;
	x->why.stop.late |= intent->why.stop.late;
	if (intent->why.stop.down_ns)
		x->why.stop.down_ns = intent->why.stop.down_ns;
	if (intent->why.stop.error)
		x->why.stop.error = intent->why.stop.error;
}

/* It is no breaker that closes, and not counted as one. */
static void ended_close(struct pile_explain *x, const struct pile_intent *intent, uint64_t now_ns)
{
	if (!x || x->closed_ns)
		return;
	x->closed_ns = now_ns;
	x->close_reason = intent->close_reason;
}

/* Rungs 4 and 5: what is ended, and what came of it. */
static void ended_follow(struct pile_record *r, struct pile_explain *x,
			 const struct pile_intent *intent, const char *group, const char *unit,
			 uint64_t now_ns, uint64_t realtime_ns)
{
	switch (intent->kind) {
	case PILE_INTENT_EVICT:
		r->would_evict_total += intent->blocked != PILE_BLOCKED_NO;
		explain_open(r, intent, group, unit, now_ns, realtime_ns);
		break;
	case PILE_INTENT_EVICT_OVER:
		r->evicted_total += intent->close_reason == PILE_CLOSE_ENDED;
		evicted_take(x, intent);
		ended_close(x, intent, now_ns);
		break;
	case PILE_INTENT_STOP:
		r->would_stop_total += intent->blocked != PILE_BLOCKED_NO;
		explain_open(r, intent, group, unit, now_ns, realtime_ns);
		break;
	case PILE_INTENT_STOP_DOWN:
		r->stopped_total++;
		stopped_take(x, intent);
		break;
	case PILE_INTENT_STOP_START:
	case PILE_INTENT_STOP_LATE:
		stopped_take(x, intent);
		break;
	case PILE_INTENT_STOP_OVER:
		stopped_take(x, intent);
		ended_close(x, intent, now_ns);
		break;
	default:
		break;
	}
}

/* Rung 3: what is turned; and what came of it, while the terms stay. */
static void throttle_follow(struct pile_record *r, struct pile_explain *x,
			    const struct pile_intent *intent, const char *group, const char *unit,
			    uint64_t now_ns, uint64_t realtime_ns)
{
	const struct pile_why_throttle *from = &intent->why.throttle;

	if (intent->kind == PILE_INTENT_THROTTLE) {
		r->would_throttle_total += intent->blocked != PILE_BLOCKED_NO;
		r->throttled_total += intent->blocked == PILE_BLOCKED_NO && !from->error;
		explain_open(r, intent, group, unit, now_ns, realtime_ns);
		return;
	}
	r->useless_total += intent->close_reason == PILE_CLOSE_USELESS;
	if (x) {
		x->why.throttle.error = from->error;
		x->why.throttle.on_ns = from->on_ns;
		x->why.throttle.ratio_after_milli = from->ratio_after_milli;
		x->why.throttle.tasks_after = from->tasks_after;
	}
	ended_close(x, intent, now_ns);
}

/* Rung 1 goes on: half open, and open again. */
static void breaker_step(struct pile_explain *x, const struct pile_intent *intent, uint64_t now_ns)
{
	if (intent->kind == PILE_INTENT_BREAKER_ALLOW) {
		if (!x->half_open_ns)
			x->half_open_ns = now_ns;
		return;
	}
	if (intent->why.mute && !x->why.mute) /* found out later */
		x->why = intent->why;
	x->why.by_hand = intent->why.by_hand; /* a hold may come on top of a proof */
	if (intent->relapses > x->flips)
		x->half_open_ns = 0; /* open again */
	x->flips = intent->relapses;
}

void pile_explains_follow(struct pile_record *r, const struct pile_intent *intent,
			  const char *group, const char *unit, uint64_t now_ns,
			  uint64_t realtime_ns)
{
	struct pile_explain *x = pile_record_explain(r, intent->explain_id);

	switch (intent->kind) {
	case PILE_INTENT_BREAKER_OPEN:
		if (intent->blocked == PILE_BLOCKED_NO)
			r->opened_total++;
		else
			r->would_open_total++;
		explain_open(r, intent, group, unit, now_ns, realtime_ns);
		break;
	case PILE_INTENT_NETWORK:
	case PILE_INTENT_SHED_OPEN:
	case PILE_INTENT_FORKS:
		explain_open(r, intent, group, unit, now_ns, realtime_ns);
		break;
	case PILE_INTENT_EVICT:
	case PILE_INTENT_EVICT_OVER:
	case PILE_INTENT_STOP:
	case PILE_INTENT_STOP_DOWN:
	case PILE_INTENT_STOP_START:
	case PILE_INTENT_STOP_LATE:
	case PILE_INTENT_STOP_OVER:
		ended_follow(r, x, intent, group, unit, now_ns, realtime_ns);
		break;
	case PILE_INTENT_THROTTLE:
	case PILE_INTENT_THROTTLE_OVER:
		throttle_follow(r, x, intent, group, unit, now_ns, realtime_ns);
		break;
	case PILE_INTENT_STAGE:
		/* stages have an event; an episode of their own only when the intent names one */
		if (intent->explain_id && !x)
			x = explain_open(r, intent, group, unit, now_ns, realtime_ns);
		if (x && intent->why.stage_to == PILE_STAGE_CALM)
			explain_close(r, x, intent, now_ns);
		break;
	case PILE_INTENT_BREAKER_RENEW:
	case PILE_INTENT_BREAKER_ALLOW:
		if (x)
			breaker_step(x, intent, now_ns);
		break;
	case PILE_INTENT_SHED_CLOSE:
		if (x)
			x->why.held = MAX(x->why.held, intent->why.held);
		explain_close(r, x, intent, now_ns);
		break;
	case PILE_INTENT_FORKS_OVER:
		ended_close(x, intent, now_ns);
		break;
	case PILE_INTENT_BREAKER_CLOSE:
	case PILE_INTENT_NETWORK_OVER:
		explain_close(r, x, intent, now_ns);
		break;
	default:
		break;
	}
}

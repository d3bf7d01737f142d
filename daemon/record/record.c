// SPDX-License-Identifier: GPL-2.0-or-later
#include "record/record.h"

#include <stdarg.h>
#include <string.h>

#include "record/explain_text.h"
#include "record/explains.h"

#define DAY_NS (24 * 3600 * NS_PER_SEC)
/*
 * What a wait that was ended or refused would have lasted: the incident's connect timeout. The
 * application's own is not known to us; a wait that had already lasted is not taken off. It is an
 * estimate, and explain says so.
 */
#define WAIT_NS (10 * NS_PER_SEC)

void pile_record_init(struct pile_record *r)
{
	r->next_seq = 1;
}

static enum pile_notice notice_of(enum pile_event_kind kind)
{
	static const enum pile_notice notices[] = {
		[PILE_EVENT_START] = PILE_NOTICE_START,
		[PILE_EVENT_STOP] = PILE_NOTICE_STOP,
		[PILE_EVENT_POLICY] = PILE_NOTICE_POLICY,
		[PILE_EVENT_GROUP] = PILE_NOTICE_GROUP,
		[PILE_EVENT_COMMAND] = PILE_NOTICE_HAND,
		[PILE_EVENT_TROUBLE] = PILE_NOTICE_TROUBLE,
		[PILE_EVENT_DISARM] = PILE_NOTICE_DISARMED,
		[PILE_EVENT_ARM] = PILE_NOTICE_ARMED,
		[PILE_EVENT_DROPPED] = PILE_NOTICE_DROPPED,
		[PILE_EVENT_FILES] = PILE_NOTICE_FILES,
	};

	return (size_t)kind < ARRAY_LEN(notices) ? notices[kind] : PILE_NOTICE_NONE;
}

/* The next place in the ring, all but its text. */
static struct pile_event *event_take(struct pile_record *r, enum pile_event_kind kind,
				     uint32_t explain_id, const char *group, const char *unit,
				     uint64_t now_ns, uint64_t realtime_ns)
{
	struct pile_event *e = &r->events[r->next_seq % PILE_RECORD_EVENTS];

	memset(e, 0, sizeof(*e));
	e->seq = r->next_seq++;
	e->t_ns = now_ns;
	e->realtime_ns = realtime_ns;
	e->kind = kind;
	e->explain_id = explain_id;
	e->notice = notice_of(kind);
	snprintf(e->group, sizeof(e->group), "%s", group);
	snprintf(e->unit, sizeof(e->unit), "%s", unit);
	if (r->n_events < PILE_RECORD_EVENTS)
		r->n_events++;
	return e;
}

const struct pile_event *pile_record_event(struct pile_record *r, enum pile_event_kind kind,
					   uint32_t explain_id, const char *group, const char *unit,
					   uint64_t now_ns, uint64_t realtime_ns, const char *fmt,
					   ...)
{
	struct pile_event *e = event_take(r, kind, explain_id, group, unit, now_ns, realtime_ns);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(e->text, sizeof(e->text), fmt, ap);
	va_end(ap);
	return e;
}

struct pile_explain *pile_record_explain(struct pile_record *r, uint32_t id)
{
	for (uint32_t i = 0; i < r->n_explains; i++)
		if (r->explains[i].id == id)
			return &r->explains[i];
	return NULL;
}

static enum pile_notice intent_notice(const struct pile_intent *intent)
{
	bool acted = intent->blocked == PILE_BLOCKED_NO;

	switch (intent->kind) {
	case PILE_INTENT_BREAKER_OPEN:
		return acted ? PILE_NOTICE_REFUSED : PILE_NOTICE_WOULD_REFUSE;
	case PILE_INTENT_BREAKER_ALLOW:
		return PILE_NOTICE_HALF_OPEN;
	case PILE_INTENT_BREAKER_CLOSE:
		return acted ? PILE_NOTICE_ALLOWED : PILE_NOTICE_WOULD_ALLOW;
	case PILE_INTENT_PROBE:
	case PILE_INTENT_PROBE_ANSWERED:
		return PILE_NOTICE_SCOUT;
	case PILE_INTENT_STAGE:
		return PILE_NOTICE_STAGE;
	case PILE_INTENT_NETWORK:
		return PILE_NOTICE_NETWORK;
	case PILE_INTENT_NETWORK_OVER:
		return PILE_NOTICE_NETWORK_OVER;
	case PILE_INTENT_LEAK:
		return PILE_NOTICE_LEAK;
	case PILE_INTENT_LEAK_OVER:
		return PILE_NOTICE_LEAK_OVER;
	case PILE_INTENT_SHED_OPEN:
		return PILE_NOTICE_SHED;
	case PILE_INTENT_SHED_CLOSE:
		return PILE_NOTICE_SHED_OVER;
	case PILE_INTENT_THROTTLE:
		return acted ? PILE_NOTICE_THROTTLE : PILE_NOTICE_WOULD_THROTTLE;
	case PILE_INTENT_THROTTLE_OVER:
		return acted ? PILE_NOTICE_THROTTLE_OVER : PILE_NOTICE_WOULD_THROTTLE_OVER;
	case PILE_INTENT_EVICT:
		return acted ? PILE_NOTICE_EVICT : PILE_NOTICE_WOULD_EVICT;
	case PILE_INTENT_EVICT_OVER:
		return acted ? PILE_NOTICE_EVICT_OVER : PILE_NOTICE_WOULD_EVICT_OVER;
	case PILE_INTENT_STOP:
	case PILE_INTENT_STOP_DOWN:
	case PILE_INTENT_STOP_START:
	case PILE_INTENT_STOP_LATE:
		return acted ? PILE_NOTICE_STOPPED : PILE_NOTICE_WOULD_STOP;
	case PILE_INTENT_STOP_OVER:
		return acted ? PILE_NOTICE_STOPPED_OVER : PILE_NOTICE_WOULD_STOP_OVER;
	case PILE_INTENT_FORKS:
		return PILE_NOTICE_FORKS;
	case PILE_INTENT_FORKS_OVER:
		return PILE_NOTICE_FORKS_OVER;
	default:
		return PILE_NOTICE_NONE;
	}
}

static void destination_set(struct pile_event *e, const struct pile_endpoint *endpoint)
{
	if (endpoint->family)
		pile_endpoint_format(endpoint, e->destination, sizeof(e->destination));
}

static enum pile_event_kind event_kind(const struct pile_intent *intent)
{
	static const enum pile_event_kind kinds[] = {
		[PILE_INTENT_BREAKER_OPEN] = PILE_EVENT_OPEN,
		[PILE_INTENT_BREAKER_ALLOW] = PILE_EVENT_HALF_OPEN,
		[PILE_INTENT_BREAKER_CLOSE] = PILE_EVENT_CLOSE,
		[PILE_INTENT_PROBE] = PILE_EVENT_PROBE,
		[PILE_INTENT_PROBE_ANSWERED] = PILE_EVENT_PROBE,
		[PILE_INTENT_STAGE] = PILE_EVENT_STAGE,
		[PILE_INTENT_NETWORK] = PILE_EVENT_NETWORK,
		[PILE_INTENT_NETWORK_OVER] = PILE_EVENT_NETWORK,
		[PILE_INTENT_LEAK] = PILE_EVENT_LEAK,
		[PILE_INTENT_LEAK_OVER] = PILE_EVENT_LEAK,
		[PILE_INTENT_SHED_OPEN] = PILE_EVENT_SHED,
		[PILE_INTENT_SHED_CLOSE] = PILE_EVENT_SHED,
		[PILE_INTENT_THROTTLE] = PILE_EVENT_THROTTLE,
		[PILE_INTENT_THROTTLE_OVER] = PILE_EVENT_THROTTLE,
		[PILE_INTENT_EVICT] = PILE_EVENT_EVICT,
		[PILE_INTENT_EVICT_OVER] = PILE_EVENT_EVICT,
		[PILE_INTENT_STOP] = PILE_EVENT_STOPPED,
		[PILE_INTENT_STOP_DOWN] = PILE_EVENT_STOPPED,
		[PILE_INTENT_STOP_START] = PILE_EVENT_STOPPED,
		[PILE_INTENT_STOP_LATE] = PILE_EVENT_STOPPED,
		[PILE_INTENT_STOP_OVER] = PILE_EVENT_STOPPED,
		[PILE_INTENT_FORKS] = PILE_EVENT_FORKS,
		[PILE_INTENT_FORKS_OVER] = PILE_EVENT_FORKS,
	};

	return (size_t)intent->kind < ARRAY_LEN(kinds) ? kinds[intent->kind] : 0;
}

const struct pile_event *pile_record_intent(struct pile_record *r, const struct pile_intent *intent,
					    const char *group, const char *unit, uint64_t now_ns,
					    uint64_t realtime_ns)
{
	bool over =
		intent->kind == PILE_INTENT_THROTTLE_OVER || intent->kind == PILE_INTENT_FORKS_OVER;
	const struct pile_explain *x = over ? pile_record_explain(r, intent->explain_id) : NULL;
	enum pile_event_kind kind = event_kind(intent);
	char text[sizeof(r->events[0].text)];
	struct pile_event *e;

	/* the slot may be another group's by now */
	if (x) {
		group = x->group;
		unit = x->unit;
	}
	pile_explains_follow(r, intent, group, unit, now_ns, realtime_ns);
	if (!kind)
		return NULL;
	/* half open is told once, with its first step */
	if (intent->kind == PILE_INTENT_BREAKER_ALLOW && intent->allow > 1)
		return NULL;
	if (intent->kind == PILE_INTENT_PROBE && !intent->first)
		return NULL;
	pile_explain_text_intent(intent, group, pile_record_explain(r, intent->explain_id), text,
				 sizeof(text));
	if (!text[0])
		return NULL;
	e = event_take(r, kind, intent->explain_id, group, unit, now_ns, realtime_ns);
	e->notice = intent_notice(intent);
	destination_set(e, &intent->endpoint);
	memcpy(e->text, text, sizeof(e->text));
	return e;
}

const struct pile_event *pile_record_probing(struct pile_record *r,
					     const struct pile_intent *intent, const char *group,
					     const char *unit, uint64_t now_ns,
					     uint64_t realtime_ns)
{
	struct pile_event *e = event_take(r, PILE_EVENT_OPEN, intent->explain_id, group, unit,
					  now_ns, realtime_ns);

	e->notice = PILE_NOTICE_PROBING;
	destination_set(e, &intent->endpoint);
	pile_explain_text_probing(intent, group, e->text, sizeof(e->text));
	return e;
}

void pile_record_candidates(struct pile_record *r, uint32_t explain_id,
			    const struct pile_candidates *candidates)
{
	struct pile_explain *x = pile_record_explain(r, explain_id);

	if (x)
		x->candidates = *candidates;
}

const struct pile_event *pile_record_undone(struct pile_record *r, uint32_t explain_id,
					    uint32_t back, const char *now, uint64_t now_ns,
					    uint64_t realtime_ns)
{
	struct pile_explain *x = pile_record_explain(r, explain_id);
	bool late = back == PILE_BACK_LATE;
	struct pile_event *e;

	if (!x)
		return NULL;
	x->why.throttle.back = back;
	e = event_take(r, late ? PILE_EVENT_TROUBLE : PILE_EVENT_THROTTLE, explain_id, x->group,
		       x->unit, now_ns, realtime_ns);
	e->notice = late ? PILE_NOTICE_TROUBLE : PILE_NOTICE_THROTTLE_OVER;
	pile_explain_text_back(x, now, e->text, sizeof(e->text));
	return e;
}

void pile_record_effects(struct pile_record *r, uint32_t explain_id,
			 const struct pile_record_effects *effects)
{
	struct pile_explain *x = pile_record_explain(r, explain_id);
	uint64_t concurrent;

	if (!x)
		return;
	if (x->kind == PILE_INTENT_SHED_OPEN) {
		r->shed_total += effects->refused - MIN(effects->refused, x->refused);
		x->refused = MAX(x->refused, effects->refused);
		x->first_effect_ns =
			x->first_effect_ns ? x->first_effect_ns : effects->first_effect_ns;
		return;
	}
	if (x->kind == PILE_INTENT_FORKS) {
		x->refused = MAX(x->refused, effects->refused);
		return;
	}
	r->refused_total += effects->refused - MIN(effects->refused, x->refused);
	r->ended_total += effects->ended - MIN(effects->ended, x->ended);
	x->refused = MAX(x->refused, effects->refused);
	x->ended = MAX(x->ended, effects->ended);
	x->admitted = MAX(x->admitted, effects->admitted);
	x->probes = MAX(x->probes, effects->probes);
	if (!x->first_effect_ns)
		x->first_effect_ns = effects->first_effect_ns;
	x->saved_wait_ns = (x->refused + x->ended) * WAIT_NS;
	/* at once: no more than arrive while one wait lasts */
	concurrent = (uint64_t)x->why.rate_milli * (WAIT_NS / NS_PER_MS) / 1000000;
	x->saved_bytes =
		MIN(x->refused + x->ended, MAX(concurrent, x->ended)) * x->why.request_bytes;
}

uint32_t pile_record_would_have(const struct pile_record *r, const char *group, uint64_t now_ns,
				const struct pile_explain **ret_last)
{
	const struct pile_explain *x, *last = NULL;
	uint32_t n = 0;

	for (uint32_t i = 0; i < r->n_explains; i++) {
		x = &r->explains[i];
		if ((x->kind != PILE_INTENT_BREAKER_OPEN && x->kind != PILE_INTENT_SHED_OPEN &&
		     x->kind != PILE_INTENT_EVICT && x->kind != PILE_INTENT_STOP &&
		     x->kind != PILE_INTENT_THROTTLE) ||
		    x->blocked == PILE_BLOCKED_NO || strcmp(x->group, group) != 0 ||
		    now_ns - x->opened_ns > DAY_NS)
			continue;
		n++;
		if (!last || x->opened_ns > last->opened_ns)
			last = x;
	}
	*ret_last = last;
	return n;
}

// SPDX-License-Identifier: GPL-2.0-or-later
#include "decide/shed.h"

#include <string.h>
#include <sys/socket.h>

#include "decide/decide.h"
#include "util/macro.h"

enum pile_blocked pile_shed_blocked(const struct pile_decide_view *view,
				    const struct pile_hands *hands,
				    const struct pile_sample_door *door, uint64_t now_ns)
{
	enum pile_blocked blocked = pile_decide_switch(view, door->group, PILE_RUNG_SHED);

	if (blocked != PILE_BLOCKED_NO)
		return blocked;
	if (door->out_of_reach)
		return PILE_BLOCKED_NETNS;
	if (door->ambiguous)
		return PILE_BLOCKED_AMBIGUOUS;
	if (door->unsettled)
		return PILE_BLOCKED_UNSETTLED;
	if (pile_hands_find(hands, door->group, &door->endpoint, false, now_ns))
		return PILE_BLOCKED_RELEASED;
	return (door->endpoint.family == AF_UNIX ? view->shed_unix_ready : view->shed_tcp_ready)
		       ? PILE_BLOCKED_NO
		       : PILE_BLOCKED_KERNEL;
}

static void shed_close(struct pile_shed *shed, enum pile_close_reason reason, uint64_t now_ns,
		       struct pile_intents *out)
{
	struct pile_intent *intent = pile_intents_add(out, PILE_INTENT_SHED_CLOSE, shed->group);

	shed->open = false;
	if (!intent)
		return;
	intent->endpoint = shed->endpoint;
	intent->blocked = shed->blocked;
	intent->explain_id = shed->explain_id;
	intent->close_reason = reason;
	intent->outage_ns = now_ns > shed->opened_ns ? now_ns - shed->opened_ns : 0;
	intent->why.refused = shed->refused - shed->refused_base;
	intent->why.held = shed->most;
}

/* What one tick of one door needs to see. */
struct look {
	const struct pile_decide_view *view;
	const struct pile_sample *sample;
	const struct pile_sample_door *door;
	enum pile_blocked blocked;
	uint32_t share_permille;
	bool late;
	uint32_t *next_explain_id;
	struct pile_intents *out;
};

/* Where the group's own waits sit, as far as its connections tell. */
static void waits_explain(const struct pile_sample *sample, uint32_t group, struct pile_why *why)
{
	for (uint32_t i = 0; i < sample->n_dependencies; i++) {
		const struct pile_sample_dependency *d = &sample->dependencies[i];
		uint32_t waits = d->connecting + MAX(d->silent, d->unacked);

		if (d->group != group || waits <= why->waits)
			continue;
		why->waits = waits;
		why->waits_for = d->endpoint;
		why->connecting = d->connecting;
	}
}

static void shed_open(struct pile_shed *shed, const struct look *look, uint64_t refused_base)
{
	const struct pile_sample_door *door = look->door;
	const struct pile_sample_group *g = &look->sample->groups[door->group];
	struct pile_intent *intent;

	shed->open = true;
	shed->blocked = look->blocked;
	shed->opened_ns = shed->over_ns = look->sample->now_ns;
	shed->refused_base = refused_base;
	shed->first_ns = 0;
	shed->most = door->held;
	shed->explain_id = pile_explain_id_take(look->next_explain_id);
	intent = pile_intents_add(look->out, PILE_INTENT_SHED_OPEN, door->group);
	if (!intent)
		return;
	intent->endpoint = door->endpoint;
	intent->blocked = look->blocked;
	intent->explain_id = shed->explain_id;
	intent->why.held_max = look->view->groups[door->group].config.connections_max;
	intent->why.by_share = look->share_permille &&
			       (!intent->why.held_max || door->held < intent->why.held_max);
	/* one may have left since it was full */
	intent->why.held =
		intent->why.by_share ? door->held : MAX(door->held, intent->why.held_max);
	intent->why.backlog = door->backlog;
	intent->why.refuse_permille = look->share_permille;
	intent->why.waiting = g->waiting;
	intent->why.oldest_ns = g->oldest_ns;
	intent->why.refused = door->refused - refused_base;
	waits_explain(look->sample, door->group, &intent->why);
}

static enum pile_close_reason switched(enum pile_blocked blocked)
{
	if (blocked == PILE_BLOCKED_DISARMED)
		return PILE_CLOSE_DISARMED;
	return blocked == PILE_BLOCKED_RELEASED ? PILE_CLOSE_RELEASED : PILE_CLOSE_SWITCHED;
}

static void door_update(struct pile_shed *shed, const struct look *look)
{
	const struct pile_sample_door *door = look->door;
	uint32_t limit = look->view->groups[door->group].config.connections_max;
	uint64_t before = shed->known ? shed->refused : door->refused,
		 now_ns = look->sample->now_ns;
	bool refused = door->refused > before;
	bool would = (limit && door->held >= limit) || look->share_permille;
	bool over = refused || (look->blocked && would);

	shed->known = true;
	shed->group = door->group;
	shed->endpoint = door->endpoint;
	shed->refused = door->refused;
	if (shed->open && shed->blocked != look->blocked)
		shed_close(shed, switched(look->blocked), now_ns, look->out);
	/* a refusal is a fact, whenever it is heard of */
	if (over && !shed->open && (refused || !look->late))
		shed_open(shed, look, before);
	if (!shed->open)
		return;
	shed->most = MAX(shed->most, door->held);
	if (refused && !shed->first_ns)
		shed->first_ns = now_ns;
	if (over)
		shed->over_ns = now_ns;
	else if (now_ns - shed->over_ns >= PILE_SHED_CALM_NS)
		shed_close(shed, PILE_CLOSE_CALM, now_ns, look->out);
}

void pile_shed_rule(const struct pile_decide *state, const struct pile_decide_view *view,
		    const struct pile_sample_door *door, uint64_t now_ns,
		    struct pile_shed_rule *ret)
{
	const struct pile_decide_group *group = &view->groups[door->group];

	ret->may_refuse =
		pile_shed_blocked(view, &state->breakers.hands, door, now_ns) == PILE_BLOCKED_NO;
	ret->limit = group->config.connections_max;
	ret->share_permille = state->sheds.shares[door->group].permille;
}

static bool is_same(const struct pile_shed *shed, const struct pile_sample_door *door)
{
	return shed->group == door->group && pile_endpoint_equal(&shed->endpoint, &door->endpoint);
}

void pile_sheds_update(struct pile_decide *state, const struct pile_decide_view *view,
		       const struct pile_sample *sample, bool late, struct pile_intents *out)
{
	const struct pile_hands *hands = &state->breakers.hands;
	struct pile_sheds *sheds = &state->sheds;

	for (uint32_t i = 1; i < PILE_DOORS_MAX; i++) {
		const struct pile_sample_door *door = &sample->doors[i];
		struct pile_shed *shed = &sheds->doors[i];
		struct look look;
		bool there = door->used && door->group < view->n_groups &&
			     view->groups[door->group].used;

		if (shed->known && (!there || !is_same(shed, door))) {
			if (shed->open)
				shed_close(shed,
					   shed->group < view->n_groups &&
							   view->groups[shed->group].used
						   ? PILE_CLOSE_POLICY
						   : PILE_CLOSE_GONE,
					   sample->now_ns, out);
			memset(shed, 0, sizeof(*shed));
		}
		if (!there)
			continue;
		if (shed->known && door->refused > shed->refused)
			sheds->refused += door->refused - shed->refused;
		look = (struct look){
			.view = view,
			.sample = sample,
			.door = door,
			.blocked = pile_shed_blocked(view, hands, door, sample->now_ns),
			.share_permille = sheds->shares[door->group].permille,
			.late = late,
			.next_explain_id = &state->next_explain_id,
			.out = out,
		};
		door_update(shed, &look);
	}
}

void pile_sheds_close_all(struct pile_sheds *sheds, enum pile_close_reason reason,
			  struct pile_intents *out)
{
	for (uint32_t i = 1; i < PILE_DOORS_MAX; i++)
		if (sheds->doors[i].open)
			shed_close(&sheds->doors[i], reason, sheds->doors[i].over_ns, out);
}

bool pile_shed_is_listener(const struct pile_sheds *sheds, uint32_t group,
			   const struct pile_endpoint *endpoint)
{
	for (uint32_t i = 1; i < PILE_DOORS_MAX; i++)
		if (sheds->doors[i].known && sheds->doors[i].group == group &&
		    pile_endpoint_equal(&sheds->doors[i].endpoint, endpoint))
			return true;
	return false;
}

bool pile_shed_open_in(const struct pile_sheds *sheds, uint32_t group)
{
	for (uint32_t i = 1; i < PILE_DOORS_MAX; i++)
		if (sheds->doors[i].open && sheds->doors[i].group == group)
			return true;
	return false;
}

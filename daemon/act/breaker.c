// SPDX-License-Identifier: GPL-2.0-or-later
/* breaker.c: gates, as the intents say: shut, renewed, half open, open again. */
#include <errno.h>
#include <string.h>

#include "act/act.h"
#include "util/clock.h"

int pile_act_open(struct pile_act *a)
{
	memset(a, 0, sizeof(*a));
	for (int i = 0; i < PILE_ACT_GATES_MAX; i++)
		for (int j = 0; j < PILE_ACT_PROBES_IN_FLIGHT; j++)
			a->gates[i].in_flight[j].fd = -1;
	a->check_fd = -1;
	a->diag_fd = pile_destroy_open();
	if (a->diag_fd < 0)
		return a->diag_fd;
	a->check_fd = pile_destroy_open();
	return a->check_fd < 0 ? a->check_fd : 0;
}

static struct pile_act_gate *gate_find(struct pile_act *a, uint32_t group,
				       const struct pile_endpoint *endpoint)
{
	for (uint32_t i = 0; i < a->n_gates; i++)
		if (a->gates[i].used && a->gates[i].group == group &&
		    pile_endpoint_equal(&a->gates[i].endpoint, endpoint))
			return &a->gates[i];
	return NULL;
}

const struct pile_act_gate *pile_act_gate_find(const struct pile_act *a, uint32_t group,
					       const struct pile_endpoint *endpoint)
{
	return gate_find((struct pile_act *)a, group, endpoint);
}

static struct pile_act_gate *gate_take(struct pile_act *a, const struct pile_intent *intent,
				       uint64_t now_ns)
{
	for (int i = 0; i < PILE_ACT_GATES_MAX; i++) {
		struct pile_act_gate *gate = &a->gates[i];

		if (gate->used)
			continue;
		memset(gate, 0, sizeof(*gate));
		for (int j = 0; j < PILE_ACT_PROBES_IN_FLIGHT; j++)
			gate->in_flight[j].fd = -1;
		gate->used = true;
		a->n_gates = MAX(a->n_gates, (uint32_t)i + 1);
		gate->group = intent->group;
		gate->endpoint = intent->endpoint;
		gate->explain_id = intent->explain_id;
		gate->next_probe_ns = now_ns + intent->probe_every_ns;
		pile_kernel_destination_key(intent->group, &intent->endpoint, &gate->key);
		return gate;
	}
	return NULL;
}

static bool past_is(const struct pile_act_past *past, const struct pile_bpf_destination *key)
{
	return (past->refused || past->ended) && memcmp(&past->key, key, sizeof(*key)) == 0;
}

/* The totals of a destination outlive its gate; the longest ago makes room. */
void pile_past_add(struct pile_act *a, const struct pile_bpf_destination *key, uint64_t refused,
		   uint64_t ended)
{
	struct pile_act_past *to = &a->past[0];
	uint64_t newest = 0;

	if (!refused && !ended)
		return;
	for (int i = 0; i < PILE_ACT_PAST_MAX; i++) {
		newest = MAX(newest, a->past[i].dropped);
		if (past_is(&a->past[i], key)) {
			to = &a->past[i];
			break;
		}
		if (a->past[i].dropped < to->dropped)
			to = &a->past[i];
	}
	if (!past_is(to, key))
		*to = (struct pile_act_past){ .key = *key };
	to->refused += refused;
	to->ended += ended;
	to->dropped = newest + 1;
}

void pile_act_group_reset(struct pile_act *a, uint32_t group)
{
	a->drains[group].draining = false;
	a->draining = false; /* nothing more before the next tick has looked again */
	for (int i = 0; i < PILE_ACT_PAST_MAX; i++)
		if (a->past[i].key.group == group)
			a->past[i].refused = a->past[i].ended = 0;
}

static void gate_drop(struct pile_act *a, struct pile_act_gate *gate, struct pile_kernel *k)
{
	pile_kernel_gate_counts(k, &gate->key, &gate->counts);
	pile_past_add(a, &gate->key, gate->counts.refused + gate->loop_refused, gate->ended);
	for (int j = 0; j < PILE_ACT_PROBES_IN_FLIGHT; j++)
		if (gate->in_flight[j].fd >= 0)
			close(gate->in_flight[j].fd);
	pile_kernel_gate_remove(k, &gate->key);
	gate->used = false;
	while (a->n_gates && !a->gates[a->n_gates - 1].used)
		a->n_gates--;
}

void pile_act_close(struct pile_act *a, struct pile_kernel *k)
{
	for (int i = 0; i < PILE_ACT_GATES_MAX; i++)
		if (a->gates[i].used)
			gate_drop(a, &a->gates[i], k);
	for (uint32_t i = 0; i < PILE_GROUPS_MAX; i++)
		if (a->attached_id[i])
			pile_kernel_detach(&a->attachments[i]);
	pile_scouts_dismiss(a);
	if (a->diag_fd >= 0)
		close(a->diag_fd);
	a->diag_fd = -1;
	if (a->check_fd >= 0)
		close(a->check_fd);
	a->check_fd = -1;
}

static int gate_write(struct pile_act_gate *gate, struct pile_kernel *k,
		      const struct pile_intent *intent, uint64_t now_ns)
{
	int r;

	/* shut: what was let through before is over; half open: so many more than then */
	if (!intent->allow) {
		gate->half_base = gate->counts.admitted;
		gate->half_ns = 0;
	} else if (!gate->half_ns) {
		gate->half_ns = now_ns;
	}
	gate->value.allow = gate->half_base + intent->allow;
	gate->value.lease_ns = now_ns + PILE_ACT_LEASE_NS;
	gate->value.refuse_errno = (uint32_t)intent->refuse_errno;
	gate->value.explain_id = intent->explain_id;
	gate->value.by_hand = intent->why.by_hand || intent->why.mute;
	gate->speaks_first = intent->speaks_first;
	gate->mute = intent->why.mute;
	gate->by_hand = intent->why.by_hand;
	gate->probe_every_ns = intent->probe_every_ns;
	r = pile_kernel_gate_set(k, &gate->key, &gate->value);
	if (r == 0)
		gate->lease_ns = gate->value.lease_ns;
	return r;
}

static int intent_carry_out(struct pile_act *a, struct pile_kernel *k,
			    const struct pile_intent *intent, const struct pile_sense *sense,
			    uint32_t own_netns, uint64_t now_ns)
{
	struct pile_act_gate *gate = gate_find(a, intent->group, &intent->endpoint);

	if (intent->kind == PILE_INTENT_PROBE) {
		pile_scout_send(a, intent, sense, own_netns, now_ns);
		return 0;
	}
	if (intent->kind == PILE_INTENT_BREAKER_CLOSE) {
		if (gate)
			gate_drop(a, gate, k);
		return 0;
	}
	if (intent->kind != PILE_INTENT_BREAKER_OPEN && intent->kind != PILE_INTENT_BREAKER_RENEW &&
	    intent->kind != PILE_INTENT_BREAKER_ALLOW)
		return 0;
	if (!gate)
		gate = gate_take(a, intent, now_ns);
	if (!gate)
		return -ENOSPC;
	return gate_write(gate, k, intent, now_ns);
}

int pile_act_carry_out(struct pile_act *a, struct pile_kernel *k, const struct pile_intent *intents,
		       uint32_t n, const struct pile_sense *sense, uint32_t own_netns,
		       uint64_t now_ns)
{
	int r, first = 0;

	for (uint32_t i = 0; i < n; i++) {
		if (intents[i].blocked != PILE_BLOCKED_NO || intents[i].over)
			continue;
		r = intent_carry_out(a, k, &intents[i], sense, own_netns, now_ns);
		if (r < 0 && first == 0)
			first = r;
	}
	pile_drain_tick(a, k, sense, own_netns, now_ns);
	return first;
}

static void past_fill(const struct pile_act *a, struct pile_sample_dependency *d)
{
	struct pile_bpf_destination key;

	pile_kernel_destination_key(d->group, &d->endpoint, &key);
	d->refused = d->ended = 0;
	for (int i = 0; i < PILE_ACT_PAST_MAX && a->past[i].dropped; i++)
		if (past_is(&a->past[i], &key)) {
			d->refused = a->past[i].refused;
			d->ended = a->past[i].ended;
			return;
		}
}

void pile_act_sample(struct pile_act *a, struct pile_kernel *k, struct pile_sample *sample)
{
	for (uint32_t i = 0; i < a->n_gates; i++)
		if (a->gates[i].used)
			pile_kernel_gate_counts(k, &a->gates[i].key, &a->gates[i].counts);
	for (uint32_t i = 0; i < sample->n_dependencies; i++) {
		struct pile_sample_dependency *d = &sample->dependencies[i];
		const struct pile_act_gate *gate = gate_find(a, d->group, &d->endpoint);

		past_fill(a, d);
		if (!gate)
			continue;
		d->refused += gate->counts.refused + gate->loop_refused;
		d->admitted = MIN(gate->counts.admitted, gate->value.allow);
		d->ended += gate->ended;
	}
}

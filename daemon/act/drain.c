// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * drain.c: ends the waits behind the gates. Not all at once: a thousand workers that wake in the same
 * moment are a load of a thousand, and nobody logs in for as long as that takes. First as many as the
 * CPUs can work at, the oldest first, then one for each request that is answered. As the gate, so the
 * ending: without a lease that the kernel still honours nobody's wait is ended.
 */
#include <errno.h>
#include <string.h>

#include "act/act.h"
#include "util/clock.h"

/* a question that nobody has answered for so long, and nobody is greeted: the incident's own time-out */
#define MUTE_ASKED_NS (10 * NS_PER_SEC)

/* A netlink sequence number carries the gate it is for. */
#define SEQ_GATE_SHIFT 24
#define SEQ_MASK ((1u << SEQ_GATE_SHIFT) - 1)
#define ANSWERS_MAX 64 /* collected after so many questions at the latest */

uint32_t pile_drain_quota(uint64_t answered, uint32_t woken, uint32_t left, uint32_t most,
			  uint32_t n_cpus, bool tick)
{
	uint32_t window = PILE_ACT_WOKEN_PER_CPU * n_cpus, quota;

	quota = window + answered > woken ? (uint32_t)MIN(window + answered - woken, window) : 0;
	/* workers that answer nothing, or much later, clock nothing */
	if (tick)
		quota = MAX(quota, most / PILE_ACT_DRAIN_TICKS + 1);
	return MIN(quota, MIN(left, PILE_ACT_ENDS_PER_PASS));
}

/* The time of an effect is taken when it is known, not when the tick began. */
static void answers_collect(struct pile_act *a)
{
	uint32_t seq;
	int error;

	if (a->diag_fd < 0 || !a->asked)
		return;
	for (int i = 0; i < 2 * PILE_ACT_ENDS_PER_PASS; i++) {
		struct pile_act_gate *gate;

		if (pile_destroy_receive(a->diag_fd, &seq, &error) == 0)
			return;
		a->asked--;
		gate = &a->gates[(seq >> SEQ_GATE_SHIFT) % PILE_ACT_GATES_MAX];
		if (error == 0) {
			a->ended++;
			gate->ended++;
			if (!gate->first_ended_ns)
				gate->first_ended_ns = pile_clock_ns(CLOCK_MONOTONIC);
		} else if (error != -ENOENT) {
			a->ends_failed++; /* ENOENT: it ended by itself meanwhile */
		}
	}
}

/*
 * SOCK_DESTROY takes a socket in whatever state it is (tcp_diag_destroy() goes by addresses and cookie), and the
 * list is as old as the sweep: where the destination has answered somebody since then, nobody is ended before the
 * next sweep.
 */
static void gate_ask(struct pile_act_gate *gate, struct pile_kernel *k,
		     const struct pile_sense *sense)
{
	struct pile_bpf_destination_counts counts;

	gate->answered = gate->heard = false;
	if (pile_kernel_destination_get(k, &gate->key, &counts) < 0)
		return;
	gate->answered = counts.last_established_ns >= sense->connects_swept_ns;
	gate->heard = counts.last_heard_ns >= sense->connects_swept_ns;
}

static void gates_ask(struct pile_act *a, struct pile_kernel *k, const struct pile_sense *sense)
{
	for (uint32_t i = 0; i < a->n_gates; i++)
		if (a->gates[i].used)
			gate_ask(&a->gates[i], k, sense);
}

/*
 * Half open, what waited before is left alone: the destination answers, and so it will their next SYN. What was
 * let through and is stuck is ended.
 */
static bool is_to_end(const struct pile_act_gate *gate, const struct pile_sense_pending *p,
		      uint64_t now_ns)
{
	if (now_ns >= gate->lease_ns || gate->answered)
		return false;
	if (gate->value.allow <= gate->half_base)
		return true;
	return p->started_ns >= gate->half_ns && p->started_ns < now_ns &&
	       now_ns - p->started_ns >= PILE_ACT_STUCK_NS;
}

/*
 * An established connection that waits: none that serves anybody. One that has asked is given longer: what greets nobody
 * may be a queue before a server that works on it. Behind a gate that was shut because nobody can
 * connect, only what is not even acknowledged, or was never greeted: an answer may still be on its way. Half open none:
 * what was let through is given the time that half open gives it.
 */
static bool is_to_end_established(const struct pile_act_gate *gate,
				  const struct pile_sense_pending *p, uint64_t now_ns)
{
	if (!gate->speaks_first || gate->heard || now_ns >= gate->lease_ns ||
	    gate->value.allow > gate->half_base)
		return false;
	if (p->state == PILE_CONNECT_SILENT)
		return gate->mute && now_ns >= p->started_ns &&
		       now_ns - p->started_ns >= MUTE_ASKED_NS;
	return gate->mute || !gate->by_hand;
}

/* The gate that @p waits behind, if its wait is to be ended. */
static struct pile_act_gate *gate_of(struct pile_act *a, const struct pile_sense_pending *p,
				     uint64_t now_ns)
{
	for (uint32_t i = 0; i < a->n_gates; i++) {
		struct pile_act_gate *gate = &a->gates[i];

		if (gate->used && gate->group == p->group &&
		    pile_endpoint_equal(&gate->endpoint, &p->endpoint))
			return (p->state > PILE_CONNECT_PENDING
					? is_to_end_established(gate, p, now_ns)
					: is_to_end(gate, p, now_ns))
				       ? gate
				       : NULL;
	}
	return NULL;
}

/*
 * Asked before each: all who began to wait in one moment send their SYNs again in one moment, and while a pass ends
 * the first of them the others may be answered. What is left is the moment between this and SOCK_DESTROY.
 */
static bool is_still_to_end(struct pile_act *a, struct pile_kernel *k,
			    const struct pile_sense *sense, uint32_t i, uint64_t now_ns)
{
	gate_ask(a->drain_gate[i], k, sense);
	return gate_of(a, &sense->pending[i], now_ns) == a->drain_gate[i];
}

/* Returns 0, or negative errno: no more in this pass. */
static int wait_end(struct pile_act *a, struct pile_act_gate *gate,
		    const struct pile_sense_pending *p)
{
	uint32_t seq = (uint32_t)(gate - a->gates) << SEQ_GATE_SHIFT | (a->diag_seq++ & SEQ_MASK);
	int r;

	if (p->state > PILE_CONNECT_PENDING && !pile_recheck_is_waiting(a->check_fd, p))
		return 0;
	r = pile_destroy_send(a->diag_fd, seq, p);
	if (r < 0) {
		a->ends_failed += r != -EAGAIN;
		return r;
	}
	a->asked++;
	/*
	 * explain's "first effect" is held against clients: not after all the others. And the socket's buffer has
	 * room for 277 answers.
	 */
	if (!gate->first_ended_ns || a->asked >= ANSWERS_MAX)
		answers_collect(a);
	return 0;
}

/* Which waits are to be ended, and how many of each group; those out of reach are counted and passed over. */
static void waits_mark(struct pile_act *a, const struct pile_sense *sense, uint32_t own_netns,
		       uint64_t now_ns, uint32_t left[PILE_GROUPS_MAX])
{
	if (a->drain_swept_ns != sense->connects_swept_ns) {
		a->drain_swept_ns = sense->connects_swept_ns;
		memset(a->drain_asked, 0, sizeof(a->drain_asked));
	}
	for (uint32_t i = 0; i < sense->n_pending; i++) {
		const struct pile_sense_pending *p = &sense->pending[i];

		a->drain_gate[i] = a->drain_asked[i] ? NULL : gate_of(a, p, now_ns);
		if (!a->drain_gate[i])
			continue;
		if (p->netns == own_netns) {
			left[p->group]++;
			continue;
		}
		a->out_of_reach++;
		a->drain_asked[i] = true;
		a->drain_gate[i] = NULL;
	}
}

/* Who waits longest of @group's marked ones; sense->n_pending: nobody. */
static uint32_t oldest_find(const struct pile_act *a, const struct pile_sense *sense,
			    uint32_t group)
{
	uint32_t oldest = sense->n_pending;

	for (uint32_t i = 0; i < sense->n_pending; i++)
		if (a->drain_gate[i] && sense->pending[i].group == group &&
		    (oldest == sense->n_pending ||
		     sense->pending[i].started_ns < sense->pending[oldest].started_ns))
			oldest = i;
	return oldest;
}

/* @budget: what may be ended in this pass yet. Returns how many are left. */
static uint32_t group_drain(struct pile_act *a, struct pile_kernel *k,
			    const struct pile_sense *sense, uint32_t group, uint32_t left,
			    bool tick, uint64_t now_ns, uint32_t *budget)
{
	struct pile_act_drain *drain = &a->drains[group];
	uint64_t opened, answered;
	uint32_t quota = left;

	pile_kernel_answers_read(k, group, &opened, &answered);
	if (!drain->draining)
		*drain = (struct pile_act_drain){ .draining = true, .answered_base = answered };
	drain->most = MAX(drain->most, left);
	/* a group without requests, or a slot that was given away: no clock, so no pace */
	if (opened && answered >= drain->answered_base)
		quota = pile_drain_quota(answered - drain->answered_base, drain->woken, left,
					 drain->most, sense->n_cpus, tick);
	for (quota = MIN(quota, *budget); quota; quota--, left--, (*budget)--) {
		uint32_t i = oldest_find(a, sense, group);

		if (i == sense->n_pending || !a->drain_gate[i])
			break;
		if (is_still_to_end(a, k, sense, i, now_ns)) {
			if (wait_end(a, a->drain_gate[i], &sense->pending[i]) < 0)
				break;
			a->drain_asked[i] = true;
			drain->woken++;
		}
		a->drain_gate[i] = NULL;
	}
	return left;
}

static bool drain(struct pile_act *a, struct pile_kernel *k, const struct pile_sense *sense,
		  uint32_t own_netns, bool tick, uint64_t now_ns)
{
	uint32_t left[PILE_GROUPS_MAX] = { 0 }, budget = PILE_ACT_ENDS_PER_PASS;
	bool more = false;

	if (a->diag_fd < 0 ||
	    (!tick && now_ns - sense->connects_swept_ns > PILE_ACT_DRAIN_STALE_NS))
		return false;
	gates_ask(a, k, sense);
	waits_mark(a, sense, own_netns, now_ns, left);
	for (uint32_t group = 0; group < PILE_GROUPS_MAX; group++) {
		if (left[group])
			more |= group_drain(a, k, sense, group, left[group], tick, now_ns,
					    &budget) > 0;
		else if (tick && a->drains[group].draining)
			a->drains[group].draining = false;
	}
	answers_collect(a);
	return more;
}

void pile_drain_tick(struct pile_act *a, struct pile_kernel *k, const struct pile_sense *sense,
		     uint32_t own_netns, uint64_t now_ns)
{
	a->draining = drain(a, k, sense, own_netns, true, now_ns);
}

bool pile_act_drain_pass(struct pile_act *a, struct pile_kernel *k, const struct pile_sense *sense,
			 uint32_t own_netns, uint64_t now_ns)
{
	a->draining = a->draining && drain(a, k, sense, own_netns, false, now_ns);
	return a->draining;
}

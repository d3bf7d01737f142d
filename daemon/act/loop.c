// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * loop.c: what the loop in the kernel (bpf/loop.bpf.c) did while the guard did not run: looked at by the first tick after
 * that, taken over by it, and told.
 */
#include "act/act.h"

static void loop_add(const struct pile_bpf_destination *key, const struct pile_bpf_loop *loop,
		     struct pile_sample *sample)
{
	struct pile_sample_loop *to = &sample->loops[sample->n_loops++];

	*to = (struct pile_sample_loop){
		.group = key->group,
		.endpoint = pile_endpoint_of(key->addr, key->port),
		.open = loop->lease_ns > sample->now_ns,
		.opened_ns = loop->opened_ns,
		.closed_ns = loop->closed_ns ? loop->closed_ns : sample->now_ns,
		.refused = loop->refused,
		.admitted = loop->admitted,
		.openings = loop->openings,
		.first_refused_ns = loop->first_refused_ns,
		.no_success_ns = loop->no_success_ns,
		.connecting = loop->connecting,
		.stuck = loop->stuck,
		.waiting = loop->waiting,
	};
}

void pile_act_loop_sample(struct pile_act *a, struct pile_kernel *k, struct pile_sample *sample)
{
	struct pile_bpf_destination key, *prev = NULL, next;
	uint64_t opened = k->totals->loop_opened;
	struct pile_bpf_loop loop;

	sample->n_loops = 0;
	if (opened == a->loop_taken)
		return;
	a->loop_taken = opened;
	for (int i = 0; i < 2 * PILE_LOOP_MAX && sample->n_loops < PILE_LOOP_MAX; i++) {
		if (pile_kernel_loop_next(k, prev, &next) < 0)
			return;
		key = next;
		prev = &key;
		if (key.group < PILE_GROUPS_MAX && pile_kernel_loop_get(k, &key, &loop) == 0 &&
		    loop.openings)
			loop_add(&key, &loop, sample);
	}
}

void pile_act_loop_take(struct pile_act *a, struct pile_kernel *k, const struct pile_sample *sample)
{
	for (uint32_t i = 0; i < sample->n_loops; i++) {
		const struct pile_sample_loop *loop = &sample->loops[i];
		struct pile_act_gate *gate =
			(struct pile_act_gate *)pile_act_gate_find(a, loop->group, &loop->endpoint);
		struct pile_bpf_destination key;

		pile_kernel_destination_key(loop->group, &loop->endpoint, &key);
		pile_kernel_loop_remove(k, &key);
		if (!gate) {
			pile_past_add(a, &key, loop->refused, 0);
			continue;
		}
		gate->loop_refused += loop->refused;
		gate->loop_admitted += loop->admitted;
		if (!gate->loop_first_ns)
			gate->loop_first_ns = loop->first_refused_ns;
	}
}

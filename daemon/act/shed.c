// SPDX-License-Identifier: GPL-2.0-or-later
/* shed.c: rung 2's programs while a policy wants them, and the doors' limits and leases, as decide allows. */
#include <sys/socket.h>

#include "act/act.h"

#define AGAIN_NS (2 * NS_PER_SEC) /* what could not be attached is tried again */

/* What the doors there are would have attached. */
static struct pile_kernel_doors doors_wanted(const struct pile_groups *g, bool enforce)
{
	struct pile_kernel_doors wanted = {};

	for (uint32_t i = 1; i < PILE_DOORS_MAX; i++) {
		const struct pile_door *d = &g->doors[i];
		bool refuse;

		if (!d->used || d->gone)
			continue;
		refuse = enforce && !d->out_of_reach &&
			 (g->groups[d->group].config.enforce & PILE_RUNG_SHED);
		if (d->endpoint.family == AF_UNIX) {
			wanted.count_unix = true;
			wanted.refuse_unix |= refuse;
		} else {
			wanted.count_tcp = true;
			wanted.refuse_tcp |= refuse;
		}
	}
	return wanted;
}

int pile_act_doors_attach(struct pile_act *a, struct pile_kernel *k, const struct pile_groups *g,
			  bool enforce, uint64_t now_ns)
{
	struct pile_kernel_doors wanted = doors_wanted(g, enforce);

	if (a->doors_error && now_ns < a->doors_again_ns)
		return a->doors_error;
	a->doors_error = pile_kernel_doors_attach(k, &wanted);
	a->doors_again_ns = now_ns + AGAIN_NS;
	return a->doors_error;
}

/* FNV-1a over who is exempt where: found services come and go, and change nothing here. */
static uint64_t exempt_key(const struct pile_groups *g)
{
	uint64_t key = 0xcbf29ce484222325ULL;

	for (uint32_t i = 0; i < g->n_groups; i++)
		for (uint32_t j = 0; g->groups[i].used && j < g->groups[i].config.n_shed_exempt;
		     j++) {
			const struct pile_endpoint *ep = &g->groups[i].config.shed_exempt[j];

			key = (key ^ i) * 0x100000001b3ULL;
			for (size_t b = 0; b < sizeof(ep->addr); b++)
				key = (key ^ ep->addr[b]) * 0x100000001b3ULL;
			key = (key ^ ep->port) * 0x100000001b3ULL;
		}
	return key;
}

int pile_act_doors_exempt(struct pile_act *a, struct pile_kernel *k, const struct pile_groups *g)
{
	uint64_t key = exempt_key(g);
	int r, first = 0;

	if (key == a->doors_exempt_key)
		return 0;
	pile_kernel_door_exempts_clear(k);
	for (uint32_t i = 0; i < g->n_groups; i++) {
		const struct pile_policy_group *config = &g->groups[i].config;

		if (!g->groups[i].used)
			continue;
		for (uint32_t j = 0; j < config->n_shed_exempt; j++) {
			const struct pile_endpoint *ep = &config->shed_exempt[j];

			if (ep->family == AF_UNIX || ep->port)
				continue;
			r = pile_kernel_door_exempt_add(k, i, ep);
			first = first ? first : r;
		}
	}
	a->doors_exempt_key = first ? 0 : key;
	return first;
}

void pile_act_doors_write(struct pile_kernel *k, const struct pile_sample *sample,
			  const struct pile_shed_rule rules[PILE_DOORS_MAX], uint64_t now_ns)
{
	for (uint32_t i = 1; i < PILE_DOORS_MAX; i++)
		if (sample->doors[i].used)
			pile_kernel_door_set(k, i, sample->doors[i].group, rules[i].limit,
					     rules[i].share_permille,
					     rules[i].may_refuse ? now_ns + PILE_ACT_LEASE_NS : 0);
}

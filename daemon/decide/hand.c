// SPDX-License-Identifier: GPL-2.0-or-later
#include "decide/hand.h"

#include <errno.h>
#include <stddef.h>

/*
 * What is said now replaces what was said about the same destination, or about one that it covers.
 */
static bool is_replaced(const struct pile_hand *hand, uint32_t group,
			const struct pile_endpoint *endpoint)
{
	return hand->used && hand->group == group &&
	       (pile_endpoint_equal(&hand->endpoint, endpoint) ||
		pile_endpoint_matches(endpoint, &hand->endpoint) ||
		pile_endpoint_matches(&hand->endpoint, endpoint));
}

int pile_hands_set(struct pile_hands *hands, uint32_t group, const struct pile_endpoint *endpoint,
		   bool hold, uint64_t until_ns)
{
	struct pile_hand *place = NULL;

	for (unsigned int i = 0; i < PILE_HANDS_MAX; i++) {
		struct pile_hand *hand = &hands->table[i];

		if (is_replaced(hand, group, endpoint))
			hand->used = false;
		if (!hand->used && !place)
			place = hand;
	}
	if (!place)
		return -ENOSPC;
	*place = (struct pile_hand){
		.used = true,
		.hold = hold,
		.group = group,
		.endpoint = *endpoint,
		.until_ns = until_ns,
	};
	return 0;
}

const struct pile_hand *pile_hands_find(const struct pile_hands *hands, uint32_t group,
					const struct pile_endpoint *endpoint, bool hold,
					uint64_t now_ns)
{
	for (unsigned int i = 0; i < PILE_HANDS_MAX; i++) {
		const struct pile_hand *hand = &hands->table[i];

		if (!hand->used || hand->hold != hold || hand->group != group ||
		    hand->until_ns <= now_ns)
			continue;
		if (hold ? pile_endpoint_equal(&hand->endpoint, endpoint)
			 : pile_endpoint_matches(&hand->endpoint, endpoint))
			return hand;
	}
	return NULL;
}

void pile_hands_expire(struct pile_hands *hands, uint64_t now_ns)
{
	for (unsigned int i = 0; i < PILE_HANDS_MAX; i++)
		if (hands->table[i].until_ns <= now_ns)
			hands->table[i].used = false;
}

void pile_hands_open(struct pile_hands *hands)
{
	for (unsigned int i = 0; i < PILE_HANDS_MAX; i++)
		if (hands->table[i].hold)
			hands->table[i].used = false;
}

void pile_hands_forget(struct pile_hands *hands, uint32_t group)
{
	for (unsigned int i = 0; i < PILE_HANDS_MAX; i++)
		if (hands->table[i].group == group)
			hands->table[i].used = false;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * hand.h: the operator's hand: destinations held refused, or released, until a time.
 * One fixed table, owned by struct pile_breakers; control loop only. Pure: never blocks, allocates,
 * logs.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "util/endpoint.h"

#define PILE_HANDS_MAX 64

struct pile_hand {
	bool used;
	bool hold; /* true: refuse; false: never refuse */
	uint32_t group;
	struct pile_endpoint endpoint; /* a release may leave the port, or the address, open */
	uint64_t until_ns;
};

struct pile_hands {
	struct pile_hand table[PILE_HANDS_MAX];
};

/**
 * pile_hands_set - replaces what was said before about this destination and those it covers.
 * Returns 0; -ENOSPC.
 */
int pile_hands_set(struct pile_hands *hands, uint32_t group, const struct pile_endpoint *endpoint,
		   bool hold, uint64_t until_ns);

/**
 * pile_hands_find - the entry in force for this destination (hold: exact; release: by pattern), or
 * NULL.
 */
const struct pile_hand *pile_hands_find(const struct pile_hands *hands, uint32_t group,
					const struct pile_endpoint *endpoint, bool hold,
					uint64_t now_ns);

/** pile_hands_expire - drop what is past its time. */
void pile_hands_expire(struct pile_hands *hands, uint64_t now_ns);

/** pile_hands_open - drop all holds; releases stay. */
void pile_hands_open(struct pile_hands *hands);

/** pile_hands_forget - drop all entries of a group. */
void pile_hands_forget(struct pile_hands *hands, uint32_t group);

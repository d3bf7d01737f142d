// SPDX-License-Identifier: GPL-2.0-or-later
#include "decide/halfopen.h"

#include "util/macro.h"

static uint64_t since(uint64_t now_ns, uint64_t then_ns)
{
	return now_ns > then_ns ? now_ns - then_ns : 0;
}

static void set_marks(struct pile_breaker *b, const struct pile_sample_dependency *dep,
		      uint64_t now_ns)
{
	b->step_ns = now_ns;
	b->step_admitted = dep->admitted;
	b->step_established = dep->established;
}

void pile_halfopen_begin(struct pile_breaker *b, const struct pile_sample_dependency *dep,
			 uint64_t now_ns)
{
	b->state = PILE_BREAKER_HALF;
	b->half_ns = now_ns;
	b->allow = 1;
	set_marks(b, dep, now_ns);
}

void pile_halfopen_fail(struct pile_breaker *b)
{
	b->state = PILE_BREAKER_OPEN;
	b->half_ns = 0;
	b->allow = 0;
	b->relapses++;
}

void pile_halfopen_follow(struct pile_breaker *b, const struct pile_sample_dependency *dep)
{
	if (dep->established < b->established || dep->admitted < b->step_admitted) {
		b->step_admitted = dep->admitted;
		b->step_established = dep->established;
	}
	b->established = dep->established;
	b->refused_by_peer = dep->refused_by_peer;
}

/* A connect that was let through is not answered: begun since half-open, older than 500 ms. */
static bool is_stuck(const struct pile_breaker *b, const struct pile_sample_dependency *dep,
		     uint64_t now_ns)
{
	if (dep->stuck && since(now_ns, dep->oldest_ns) >= b->half_ns)
		return true;
	/* an older one that could not be ended hides the age of ours: go by the totals */
	return dep->admitted > b->step_admitted && dep->established == b->step_established &&
	       dep->connecting && since(now_ns, b->step_ns) > PILE_HALFOPEN_STUCK_NS + PILE_TICK_NS;
}

/* Users came and got through; or none is under way and none came for 200 ms. */
static bool may_step(const struct pile_breaker *b, const struct pile_sample_dependency *dep,
		     uint64_t now_ns)
{
	if (dep->established > b->step_established)
		return true;
	return (dep->admitted <= b->step_admitted || !dep->connecting) &&
	       since(now_ns, b->step_ns) >= PILE_HALFOPEN_IDLE_STEP_NS;
}

enum pile_halfopen pile_halfopen_move(struct pile_breaker *b,
				      const struct pile_sample_dependency *dep, bool failed,
				      uint64_t now_ns)
{
	if (is_stuck(b, dep, now_ns) || (failed && dep->established <= b->step_established)) {
		pile_halfopen_fail(b);
		return PILE_HALFOPEN_FAILED;
	}
	if (!may_step(b, dep, now_ns))
		return PILE_HALFOPEN_STAY;
	if (b->allow >= PILE_HALFOPEN_ALLOW_LAST)
		return PILE_HALFOPEN_DONE;
	b->allow *= 2;
	set_marks(b, dep, now_ns);
	return PILE_HALFOPEN_STEP;
}

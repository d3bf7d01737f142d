/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * rules.h: the hard rules of rung 1, for the loop in the kernel (bpf/loop.bpf.c), which decides while the guard
 * does not run. One source for both: compiled into the program, and for the host by the tests, which
 * compare the two input by input. Integers only, bounded loops, nothing outside the arguments is read.
 * They are decide/proof.h's clauses with what a timer in the kernel can know: totals of connects, no list of
 * those that are pending. Where that tells less, the rule is the stricter one: it may come later than the
 * guard would, never sooner.
 */
#ifndef PILEGUARD_RULES_H
#define PILEGUARD_RULES_H

#include "pileguard/abi.h"

#ifdef __bpf__
#define PILE_RULE static __attribute__((always_inline)) inline
#else
#define PILE_RULE static inline __attribute__((unused))
#endif

#define PILE_RULE_MS 1000000ULL
#define PILE_RULE_STUCK_NS (500 * PILE_RULE_MS)	 /* proof.h: pending for so long is stuck */
#define PILE_RULE_MARGIN_NS (400 * PILE_RULE_MS) /* proof.h: a blip of 2 s and its retransmission */
#define PILE_RULE_UNANSWERED_NS (300 * PILE_RULE_MS) /* proof.h: longer than any round trip */
#define PILE_RULE_SUSPECT_NS (1000 * PILE_RULE_MS)
#define PILE_RULE_LATE_NS (4 * PILE_TICK_NS) /* a step later than that: nobody looked meanwhile */
/* ... and real-time tasks have a processor: for so long of each second (sched_rt_runtime_us), or of another one */
#define PILE_RULE_STARVED_NS (950 * PILE_RULE_MS)
#define PILE_RULE_PAUSE_NS (1500 * PILE_RULE_MS) /* ... than that: a pause, and all begins anew */
#define PILE_RULE_HORIZON_MS 15000ULL		 /* risk.h: memory gone sooner than that */
#define PILE_RULE_NOISE_BYTES (1ULL << 20)	 /* risk.h: growth below is none */

enum pile_rule_verdict {
	PILE_RULE_CALM = 0,
	PILE_RULE_SUSPECT, /* 3 stuck, >= 10 % of the waiting, no success for 1 s */
	PILE_RULE_DEAD,
};

/** What one step sees of a destination: the kernel's own totals, and the group's settings. */
struct pile_rule_input {
	pile_u64 now_ns;
	pile_u64 started, ended; /* ended: established + failed */
	pile_u64 last_started_ns;
	pile_u64 last_syn_ns;	/* the last SYN that was sent: a connect's first one, or again */
	pile_u64 alive_ns;	/* last connect established, or refused by the peer; 0 = never */
	pile_u32 waiting;	/* the group's requests */
	pile_u32 workers;	/* workers: prefork: how many there were; 0 = says nothing */
	pile_u64 dead_after_ns; /* policy: 1 s .. 60 s */
	pile_u32 always;	/* policy: fail_fast: always */
	pile_u32
		watched; /* had anything been pending a tick ago, there would have been a step then */
};

/*
 * Connects pending now that were begun PILE_RULE_STUCK_NS ago or earlier, at least: all that had been started
 * then, less all that have ended in any order since the beginning.
 */
PILE_RULE pile_u64 pile_rule_stuck(const struct pile_rule_state *s,
				   const struct pile_rule_input *in)
{
	pile_u64 started = 0;

	for (int i = 0; i < PILE_RULE_STEPS; i++)
		if (s->at_ns[i] && s->at_ns[i] + PILE_RULE_STUCK_NS <= in->now_ns &&
		    s->started[i] > started)
			started = s->started[i];
	return started > in->ended ? started - in->ended : 0;
}

/* >= 10 % of the requests that somebody works on; requests that nobody sees (0) hide no destination. */
PILE_RULE int pile_rule_share(const struct pile_rule_input *in, pile_u64 pending)
{
	pile_u64 worked = in->waiting, workers = in->workers;

	if (workers) {
		if (workers < pending)
			workers = pending; /* more came since */
		if (worked > workers)
			worked = workers;
	}
	return pending * 10 >= worked;
}

PILE_RULE void pile_rule_onset(struct pile_rule_state *s, const struct pile_rule_input *in,
			       pile_u64 pending, int clean)
{
	s->onset_ns = in->now_ns;
	/* one alone: it is known when that was begun */
	if (clean && pending == 1 && in->last_started_ns < in->now_ns &&
	    in->last_started_ns > in->alive_ns)
		s->onset_ns = in->last_started_ns;
	s->onset_started = in->started - pending;
	s->late_ns = s->fresh_ns = 0;
}

/**
 * pile_rule_step - one look at a destination, every PILE_TICK_NS
 * @s: zeroed before the first one. Returns enum pile_rule_verdict.
 * Dead, all of it: 3 connects stuck (1 where @in says always), 3 attempts since the clock started; >= 10 % of the
 * group's waiting; the clock shows dead_after without a sign of life (established, or refused by the
 * peer); a SYN sent later than dead_after - 400 ms, a connect's first one or again, is unanswered for 300 ms.
 * When looks come late, so do answers and what is sent again: all of them are softirqs, and real-time tasks keep Linux
 * before 6.5 from them for up to 0.95 s at a time. So both times are longer by twice the latest look: once for the SYN
 * to leave, once for its answer to be read. After more than 1.5 s, a pause, all begins anew.
 */
PILE_RULE pile_u32 pile_rule_step(struct pile_rule_state *s, const struct pile_rule_input *in)
{
	pile_u64 pending = in->started > in->ended ? in->started - in->ended : 0, elapsed, edge,
		 stuck, slack, late;
	pile_u64 gap = s->seen_ns ? in->now_ns - s->seen_ns : 0;
	int clean = gap ? !s->pending && gap <= PILE_RULE_LATE_NS : (int)in->watched, late_syn;

	s->seen_ns = in->now_ns;
	s->pending = pending;
	if (gap > PILE_RULE_PAUSE_NS) {
		s->onset_ns = 0;
		for (int i = 0; i < PILE_RULE_STEPS; i++)
			s->at_ns[i] = 0;
	} else {
		late = gap > PILE_TICK_NS ? gap - PILE_TICK_NS : 0;
		if (gap > PILE_RULE_LATE_NS && late < PILE_RULE_STARVED_NS)
			late = PILE_RULE_STARVED_NS;
		if (late > s->late_ns)
			s->late_ns = late;
	}
	s->step = (s->step + 1) & (PILE_RULE_STEPS - 1);
	s->at_ns[s->step & (PILE_RULE_STEPS - 1)] = in->now_ns;
	s->started[s->step & (PILE_RULE_STEPS - 1)] = in->started;
	if (!pending || in->alive_ns > s->onset_ns)
		s->onset_ns = 0;
	if (!pending)
		return PILE_RULE_CALM;
	if (!s->onset_ns)
		pile_rule_onset(s, in, pending, clean);
	elapsed = in->now_ns - s->onset_ns;
	slack = 2 * s->late_ns;
	edge = in->dead_after_ns > PILE_RULE_MARGIN_NS ? in->dead_after_ns - PILE_RULE_MARGIN_NS
						       : 0;
	if (!s->fresh_ns && in->last_syn_ns >= s->onset_ns + edge)
		s->fresh_ns = in->last_syn_ns;
	stuck = pile_rule_stuck(s, in);
	if (!pile_rule_share(in, pending) || stuck < (in->always ? 1 : 3))
		return PILE_RULE_CALM;
	late_syn = s->fresh_ns && s->fresh_ns + PILE_RULE_UNANSWERED_NS + slack <= in->now_ns;
	if (elapsed >= in->dead_after_ns + slack && late_syn && in->started - s->onset_started >= 3)
		return PILE_RULE_DEAD;
	return stuck >= 3 && elapsed >= PILE_RULE_SUSPECT_NS ? PILE_RULE_SUSPECT : PILE_RULE_CALM;
}

/** A group at one tick. */
struct pile_rule_load {
	struct pile_bpf_used used;
	pile_u32 waiting; /* requests */
	pile_u32 pad;
};

PILE_RULE pile_u64 pile_rule_minus(pile_u64 a, pile_u64 b)
{
	return a > b ? a - b : 0;
}

/**
 * pile_rule_at_risk - risk.h's two risks
 * @now, @then: @span_ms apart (below 500 ms says nothing); @rule: the group's settings, as the guard last knew them.
 * Memory is gone within 15 s at the rate at which the group's cgroup grew (its page cache too: the kernel's own counter
 * of the rest is seconds old), or, where that is not known, at which requests came to wait.
 */
PILE_RULE int pile_rule_at_risk(const struct pile_bpf_rule *rule, const struct pile_rule_load *now,
				const struct pile_rule_load *then, pile_u64 span_ms)
{
	pile_u64 grown, taken, left,
		noted_ms = pile_rule_minus(now->used.at_ns, then->used.at_ns) / PILE_RULE_MS;

	if (rule->always)
		return 1;
	if (rule->pool_limit && now->waiting > rule->pool_limit / 2)
		return 1;
	/* nobody connects, and requests come all the same: a pool of connections, all of them pending */
	if (rule->used_bytes && then->used.bytes && noted_ms >= PILE_RULE_STUCK_NS / PILE_RULE_MS) {
		grown = pile_rule_minus(now->used.bytes, then->used.bytes);
		taken = pile_rule_minus(now->used.bytes, rule->used_bytes);
		span_ms = noted_ms;
	} else {
		grown = pile_rule_minus(now->waiting, then->waiting) * rule->request_bytes;
		taken = pile_rule_minus(now->waiting, rule->waiting) * rule->request_bytes;
	}
	if (span_ms < PILE_RULE_STUCK_NS / PILE_RULE_MS)
		return 0;
	left = pile_rule_minus(rule->free_bytes, taken);
	if (grown <= PILE_RULE_NOISE_BYTES || grown <= rule->free_bytes / 200)
		return 0;
	/* left / (grown / span) < 15 s; 2^40 bytes and a window of 2^14 ms fit into 64 bits */
	return left * span_ms < grown * PILE_RULE_HORIZON_MS;
}

/** pile_rule_lease - a gate with this deadline is shut at @now_ns. */
PILE_RULE int pile_rule_lease(pile_u64 lease_ns, pile_u64 now_ns)
{
	return now_ns < lease_ns;
}

#endif

// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * starve.c: do the protected wait for a processor, and who takes it?
 * Waited is PSI's "some": as long as one task of the cgroup was ready and had none. Divided by what the cgroup ran, it
 * says how many times longer everything took, however little it had to do: 0 where nobody wanted anything.
 * It is no proof by itself: who has a quota waits by that, and where a processor was left over nobody was kept from one.
 */
#include <string.h>

#include "decide/decide.h"
#include "util/macro.h"
#include "util/number.h"

#define RAN_MIN_NS NS_PER_MS /* what ran less is taken for that: a ratio needs something */
/* what is learned of calm: up by an eighth of the difference, down by a sixty-fourth */
#define LEARN_UP 8
#define LEARN_DOWN 64
#define RATIO_MAX 1000000

static uint32_t ratio_of(uint64_t waited_ns, uint64_t ran_ns)
{
	return (uint32_t)MIN(waited_ns * 1000 / MAX(ran_ns, RAN_MIN_NS), RATIO_MAX);
}

static void window_begin(struct pile_starves *s, const struct pile_rung_context *ctx)
{
	const struct pile_sample *sample = ctx->sample;

	s->from_ns = sample->now_ns;
	s->idle_ns = sample->idle_ns;
	for (uint32_t i = 0; i < PILE_PROTECT_MAX; i++) {
		struct pile_starve *p = &s->protected[i];

		p->waited_ns = sample->protected[i].waited_ns;
		p->ran_ns = sample->protected[i].ran_ns;
		p->quota_waits = sample->protected[i].quota_waits;
		p->cgroup_id = sample->protected[i].known ? sample->protected[i].cgroup_id : 0;
	}
	for (uint32_t i = 0; i < ctx->view->n_groups; i++)
		s->cpu_ns[i] = sample->groups[i].cpu_ns;
}

/* Takes most of the processors in this window: anybody? */
static bool shares_take(struct pile_starves *s, const struct pile_rung_context *ctx,
			uint64_t span_ns)
{
	uint64_t all_ns = span_ns * MAX(ctx->sample->n_cpus, 1);
	bool any = false;

	for (uint32_t i = 0; i < ctx->view->n_groups; i++) {
		uint64_t now = ctx->sample->groups[i].cpu_ns;
		uint64_t used = s->cpu_ns[i] ? pile_number_minus(now, s->cpu_ns[i]) : 0;

		s->last.share_permille[i] = (uint32_t)MIN(used * 1000 / MAX(all_ns, 1), 1000);
		any |= s->last.share_permille[i] >= PILE_STARVE_SHARE_PERMILLE;
	}
	return any;
}

/* Who suffers of others day by day has it so in calm; slowly, or a minute of it would hide what follows. */
static void calm_learn(struct pile_starve *p, bool suffers)
{
	uint32_t up = suffers ? LEARN_DOWN : LEARN_UP;

	if (p->ratio_milli > p->calm_milli)
		p->calm_milli += (p->ratio_milli - p->calm_milli + up - 1) / up;
	else
		p->calm_milli -= (p->calm_milli - p->ratio_milli) / LEARN_DOWN;
}

/* One of the protected in this window: did it suffer? */
static bool suffers(struct pile_starve *p, const struct pile_sample_protected *now,
		    uint64_t span_ns, uint64_t *ret_waited_ns, uint64_t *ret_ran_ns)
{
	p->ratio_milli = 0;
	*ret_waited_ns = *ret_ran_ns = 0;
	if (!p->cgroup_id || !now->known || now->cgroup_id != p->cgroup_id)
		return false;
	*ret_waited_ns = pile_number_minus(now->waited_ns, p->waited_ns);
	*ret_ran_ns = pile_number_minus(now->ran_ns, p->ran_ns);
	if (now->quota_waits != p->quota_waits)
		return false;
	if (*ret_waited_ns < span_ns / PILE_STARVE_WAITED_SHARE)
		return false;
	p->ratio_milli = ratio_of(*ret_waited_ns, *ret_ran_ns);
	return p->ratio_milli >= PILE_STARVE_SLOW_MILLI &&
	       p->ratio_milli >= PILE_STARVE_CALM_TIMES * p->calm_milli;
}

/* All that the processors could do was done: less is left over than a scheduler takes to find it. */
static bool is_all_taken(const struct pile_starves *s, const struct pile_rung_context *ctx,
			 uint64_t span_ns)
{
	uint64_t all_ns = span_ns * MAX(ctx->sample->n_cpus, 1);

	return s->idle_ns && ctx->sample->idle_ns >= s->idle_ns &&
	       (ctx->sample->idle_ns - s->idle_ns) * 1000 < all_ns * PILE_STARVE_IDLE_PERMILLE;
}

static void window_end(struct pile_starves *s, const struct pile_rung_context *ctx, bool learn)
{
	struct pile_starve_window *w = &s->last;
	uint64_t span_ns = ctx->sample->now_ns - s->from_ns, waited_ns, ran_ns;
	bool taken;

	w->from_ns = s->from_ns;
	w->to_ns = ctx->sample->now_ns;
	taken = shares_take(s, ctx, span_ns);
	w->suffers = false;
	w->who = 0;
	w->ratio_milli = 0;
	w->waited_ns = w->ran_ns = 0;
	for (uint32_t i = 0; i < MIN(ctx->view->n_protect, PILE_PROTECT_MAX); i++) {
		struct pile_starve *p = &s->protected[i];
		bool one = suffers(p, &ctx->sample->protected[i], span_ns, &waited_ns, &ran_ns);

		if (learn && !taken && w->to_ns >= s->hit_ns + PILE_STARVE_LEARN_NS)
			calm_learn(p, one);
		if ((one && !w->suffers) ||
		    (one == w->suffers && p->ratio_milli > w->ratio_milli)) {
			w->who = i;
			w->ratio_milli = p->ratio_milli;
			w->waited_ns = waited_ns;
			w->ran_ns = ran_ns;
		}
		w->suffers |= one;
	}
	if (w->suffers && taken)
		s->hit_ns = w->to_ns;
	w->run = w->suffers && taken && is_all_taken(s, ctx, span_ns) ? w->run + 1 : 0;
	w->severe =
		w->run && w->ratio_milli >= PILE_STARVE_SEVERE_MILLI && 2 * w->waited_ns >= span_ns;
}

bool pile_starves_update(struct pile_starves *s, const struct pile_rung_context *ctx, bool learn)
{
	uint64_t now_ns = ctx->sample->now_ns;
	bool ended = false;

	/* what a late tick spans is no window: nobody knows who ran when */
	if (ctx->late) {
		s->from_ns = 0;
		s->last.run = 0;
		s->last.suffers = false;
	}
	if (ctx->sample->load_ns != now_ns || ctx->sample->idle_at_ns != now_ns)
		return false;
	if (s->from_ns && now_ns - s->from_ns < PILE_STARVE_WINDOW_NS - PILE_TICK_NS / 2)
		return false;
	if (s->from_ns) {
		window_end(s, ctx, learn);
		ended = true;
	}
	window_begin(s, ctx);
	return ended;
}

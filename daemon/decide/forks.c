// SPDX-License-Identifier: GPL-2.0-or-later
#include "decide/forks.h"

#include "decide/decide.h"

static void forks_close(struct pile_forks *f, uint32_t group, enum pile_close_reason reason,
			uint64_t now_ns, struct pile_intents *out)
{
	struct pile_intent *intent = pile_intents_add(out, PILE_INTENT_FORKS_OVER, group);

	f->open = false;
	if (!intent)
		return;
	intent->explain_id = f->explain_id;
	intent->close_reason = reason;
	intent->outage_ns = now_ns > f->opened_ns ? now_ns - f->opened_ns : 0;
	intent->why.refused = f->refused - f->refused_base;
}

static void forks_open(struct pile_forks *f, const struct pile_rung_context *ctx, uint32_t group,
		       uint64_t before, struct pile_intents *out)
{
	const struct pile_sample_group *g = &ctx->sample->groups[group];
	struct pile_intent *intent = pile_intents_add(out, PILE_INTENT_FORKS, group);

	f->open = true;
	f->opened_ns = ctx->sample->now_ns;
	f->refused_base = before;
	f->explain_id = pile_explain_id_take(ctx->next_explain_id);
	if (!intent)
		return;
	intent->explain_id = f->explain_id;
	intent->why.refused = g->forks_refused - before;
	intent->why.forks.limit = g->forks_limit;
	intent->why.forks.above = g->forks_above;
	intent->why.forks.tasks = g->tasks;
}

static enum pile_close_reason switched(enum pile_blocked blocked)
{
	return blocked == PILE_BLOCKED_DISARMED ? PILE_CLOSE_DISARMED : PILE_CLOSE_POLICY;
}

static void group_update(struct pile_forks *f, const struct pile_rung_context *ctx, uint32_t group,
			 struct pile_intents *out)
{
	uint64_t total = ctx->sample->groups[group].forks_refused, now_ns = ctx->sample->now_ns,
		 before = f->known ? f->refused : total;
	enum pile_blocked blocked = pile_decide_switch(ctx->view, group, PILE_RUNG_THROTTLE);

	f->known = true;
	f->refused = total;
	if (total > before) {
		f->last_ns = now_ns;
		if (!f->open)
			forks_open(f, ctx, group, before, out);
	} else if (f->open && blocked != PILE_BLOCKED_NO) {
		forks_close(f, group, switched(blocked), now_ns, out);
	} else if (f->open && now_ns - f->last_ns >= PILE_FORKS_CALM_NS) {
		forks_close(f, group, PILE_CLOSE_CALM, now_ns, out);
	}
}

void pile_forks_update(struct pile_forks forks[PILE_GROUPS_MAX],
		       const struct pile_rung_context *ctx, struct pile_intents *out)
{
	for (uint32_t i = 0; i < ctx->view->n_groups; i++) {
		struct pile_forks *f = &forks[i];

		/* open, but not known: it was another group's */
		if (f->open && (!f->known || !ctx->view->groups[i].used))
			forks_close(f, i, PILE_CLOSE_GONE, ctx->sample->now_ns, out);
		if (ctx->view->groups[i].used)
			group_update(f, ctx, i, out);
		else
			f->known = false;
	}
}

void pile_forks_forget(struct pile_forks *forks)
{
	forks->known = false;
}

void pile_forks_close_all(struct pile_forks forks[PILE_GROUPS_MAX], enum pile_close_reason reason,
			  uint64_t now_ns, struct pile_intents *out)
{
	for (uint32_t i = 0; i < PILE_GROUPS_MAX; i++)
		if (forks[i].open)
			forks_close(&forks[i], i, reason, now_ns, out);
}

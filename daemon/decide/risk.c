// SPDX-License-Identifier: GPL-2.0-or-later
#include "decide/risk.h"

#include <string.h>

#include "util/macro.h"
#include "util/number.h"

#define GROWTH_TICKS 10		  /* 1 s */
#define FIT_WAITING_MIN 8	  /* the regression needs W to have moved by as much */
#define REQUEST_BYTES_MIN 4096ULL /* a page */
#define REQUEST_BYTES_MAX (1ULL << 30)
#define GROWTH_NOISE_BYTES (1ULL << 20)
#define CONNECT_TIMEOUT_S 10 /* incident.md: what an untuned client waits for a connect */
#define HURRY_TICKS 3
#define QUEUE_TICKS 10	    /* an accept queue for 1 s */
#define QUEUE_WORKERS_MIN 4 /* fewer workers: a queue says nothing about a pool */
#define CALM_SPAN 600	    /* moving average of the rate: 1 min */

void pile_risk_init(struct pile_risk *risk)
{
	memset(risk, 0, sizeof(*risk));
	risk->exhaustion_ns = PILE_RISK_NEVER;
}

/* The point @back ticks before the newest; the oldest there is when the ring holds fewer. */
static const struct pile_risk_point *point(const struct pile_risk *risk, uint32_t back)
{
	back = MIN(back, risk->n - 1);
	return &risk->ring[(risk->head + PILE_RISK_WINDOW - back) % PILE_RISK_WINDOW];
}

static void push(struct pile_risk *risk, const struct pile_sample *sample,
		 const struct pile_sample_group *g)
{
	risk->head = (risk->head + 1) % PILE_RISK_WINDOW;
	risk->n = MIN(risk->n + 1, PILE_RISK_WINDOW);
	risk->ring[risk->head] = (struct pile_risk_point){
		.t_ns = sample->now_ns,
		.memory_bytes = g->memory_bytes,
		.available_bytes = sample->memory_available_bytes,
		.opened = g->opened,
		.waiting = g->waiting,
		.workers = g->workers,
	};
}

static void update_budget(struct pile_risk *risk, const struct pile_policy_group *config,
			  uint64_t reserve_bytes, const struct pile_sample *sample,
			  const struct pile_sample_group *g)
{
	uint64_t budget = config->memory_budget_bytes;

	risk->free_bytes = pile_number_minus(sample->memory_available_bytes, reserve_bytes);
	if (config->memory_budget_permille) {
		uint64_t share = sample->memory_total_bytes / 1000 * config->memory_budget_permille;

		budget = budget ? MIN(budget, share) : share;
	}
	if (g->memory_bytes) {
		if (budget)
			risk->free_bytes =
				MIN(risk->free_bytes, pile_number_minus(budget, g->memory_bytes));
		if (g->memory_limit_bytes)
			risk->free_bytes =
				MIN(risk->free_bytes,
				    pile_number_minus(g->memory_limit_bytes, g->memory_bytes));
	}
	risk->budget_bytes = g->memory_bytes + risk->free_bytes;
}

/* Memory growth per second since @back ticks ago; 0 = not growing, or within the noise. */
static uint64_t growth(const struct pile_risk *risk, uint32_t back)
{
	const struct pile_risk_point *now = point(risk, 0), *then = point(risk, back);
	uint64_t span_ns = now->t_ns - then->t_ns, grown;

	/* half a second at least: shorter spans turn one allocation into a landslide */
	if (risk->n <= GROWTH_TICKS / 2 || !span_ns)
		return 0;
	if (now->memory_bytes && then->memory_bytes)
		grown = pile_number_minus(now->memory_bytes, then->memory_bytes);
	else
		grown = pile_number_minus(then->available_bytes, now->available_bytes);
	if (grown <= GROWTH_NOISE_BYTES || grown <= risk->budget_bytes / 200)
		return 0;
	return pile_number_per_second(grown, span_ns);
}

static uint64_t exhaustion_ns(const struct pile_risk *risk, uint64_t growth_bytes)
{
	unsigned __int128 left = (unsigned __int128)risk->free_bytes * NS_PER_SEC;

	if (!growth_bytes)
		return PILE_RISK_NEVER;
	return (uint64_t)MIN(left / growth_bytes, (unsigned __int128)PILE_RISK_NEVER - 1);
}

static void update_growth(struct pile_risk *risk)
{
	const struct pile_risk_point *now = point(risk, 0), *then = point(risk, GROWTH_TICKS);
	uint64_t span_ns = now->t_ns - then->t_ns;

	risk->rate_milli =
		span_ns ? (uint32_t)MIN(pile_number_per_second(
						pile_number_minus(now->opened, then->opened) * 1000,
						span_ns),
					UINT32_MAX)
			: 0;
	risk->growth_bytes = growth(risk, GROWTH_TICKS);
	risk->exhaustion_ns = exhaustion_ns(risk, risk->growth_bytes);
}

/*
 * Least squares of memory over waiting, over 2 s in which both grew. KiB and centred on the oldest
 * point, so that 21 products of 2^30 KiB (1 TiB) and 2^20 requests fit into 64 bits.
 */
static uint64_t fit_request_bytes(const struct pile_risk *risk)
{
	const struct pile_risk_point *oldest = point(risk, PILE_RISK_WINDOW - 1),
				     *now = point(risk, 0);
	int64_t n = risk->n, sum_w = 0, sum_m = 0, sum_ww = 0, sum_wm = 0, var, cov;

	if (now->waiting < oldest->waiting + FIT_WAITING_MIN ||
	    now->memory_bytes <= oldest->memory_bytes || !oldest->memory_bytes)
		return 0;
	for (uint32_t i = 0; i < risk->n; i++) {
		const struct pile_risk_point *p = point(risk, i);
		int64_t w = CLAMP((int64_t)p->waiting - oldest->waiting, -(1LL << 20), 1LL << 20);
		int64_t m = ((int64_t)p->memory_bytes - (int64_t)oldest->memory_bytes) / 1024;

		m = CLAMP(m, -(1LL << 30), 1LL << 30);
		sum_w += w;
		sum_m += m;
		sum_ww += w * w;
		sum_wm += w * m;
	}
	if (!n)
		return 0;
	var = sum_ww - sum_w * sum_w / n;
	cov = sum_wm - sum_w * sum_m / n;
	if (var <= 0 || cov <= 0)
		return 0;
	return CLAMP((uint64_t)(cov / var) * 1024, REQUEST_BYTES_MIN, REQUEST_BYTES_MAX);
}

static void update_request(struct pile_risk *risk, const struct pile_sample_group *g)
{
	uint64_t fitted = risk->n == PILE_RISK_WINDOW ? fit_request_bytes(risk) : 0;

	if (fitted) {
		risk->request_bytes = fitted;
		risk->measured = true;
	} else if (!risk->measured && g->workers && g->memory_bytes) {
		risk->request_bytes =
			CLAMP(g->memory_bytes / g->workers, REQUEST_BYTES_MIN, REQUEST_BYTES_MAX);
	}
}

static void update_pool(struct pile_risk *risk, const struct pile_policy_group *config,
			const struct pile_sample_group *g)
{
	uint32_t limit = config->workers_max;
	bool full = g->backlog && g->workers >= QUEUE_WORKERS_MIN &&
		    g->workers <= point(risk, GROWTH_TICKS)->workers;

	risk->queue_run = full ? MIN(risk->queue_run + 1, QUEUE_TICKS) : 0;
	if (config->workers != PILE_WORKERS_EVENTS) {
		if (g->workers_limit)
			limit = limit ? MIN(limit, g->workers_limit) : g->workers_limit;
		if (risk->queue_run >= QUEUE_TICKS)
			limit = limit ? MIN(limit, g->workers) : g->workers;
	}
	risk->pool_limit = limit;
	risk->pool = limit && g->waiting > limit / 2;
}

static void update_ratio(struct pile_risk *risk)
{
	unsigned __int128 need;

	/*
	 * by hand, not by a division alone: an idle group's last request would never be forgotten
	 */
	if (risk->calm_rate_milli < risk->rate_milli)
		risk->calm_rate_milli +=
			(risk->rate_milli - risk->calm_rate_milli + CALM_SPAN - 1) / CALM_SPAN;
	else
		risk->calm_rate_milli -=
			(risk->calm_rate_milli - risk->rate_milli + CALM_SPAN - 1) / CALM_SPAN;
	need = (unsigned __int128)risk->calm_rate_milli * CONNECT_TIMEOUT_S * risk->request_bytes;
	need /= MAX(risk->free_bytes, 1ULL); /* the rate is in thousandths, so the ratio is too */
	risk->ratio_milli = (uint32_t)MIN(need, UINT32_MAX);
}

/* The pool is full before memory is gone: growth will end by itself, and what it holds fits. */
static bool pool_ends_first(const struct pile_risk *risk, uint32_t waiting)
{
	uint32_t room = risk->pool_limit > waiting ? risk->pool_limit - waiting : 0;

	return risk->pool_limit && risk->request_bytes &&
	       room <= risk->free_bytes / risk->request_bytes;
}

/* Over 2 s, where one second may be chance: a proof of death is shortened by this. */
static void update_hurry(struct pile_risk *risk, uint32_t waiting)
{
	uint64_t left_ns = exhaustion_ns(risk, growth(risk, PILE_RISK_WINDOW - 1));

	if (left_ns < PILE_RISK_HURRY_NS && risk->memory && !pool_ends_first(risk, waiting))
		risk->hurry_run = MIN(risk->hurry_run + 1, HURRY_TICKS);
	else
		risk->hurry_run = 0;
	risk->hurry = risk->hurry_run >= HURRY_TICKS;
}

void pile_risk_update(struct pile_risk *risk, const struct pile_policy_group *config,
		      uint64_t reserve_bytes, const struct pile_sample *sample, uint32_t group,
		      bool late)
{
	const struct pile_sample_group *g = &sample->groups[group];

	/* a total that went back is a new object: nothing before it can be compared */
	if (late || (risk->n && g->opened < point(risk, 0)->opened)) {
		risk->n = 0;
		risk->hurry_run = risk->queue_run = 0;
	}
	push(risk, sample, g);
	update_budget(risk, config, reserve_bytes, sample, g);
	update_growth(risk);
	update_request(risk, g);
	update_pool(risk, config, g);
	update_ratio(risk);
	risk->memory = risk->exhaustion_ns < PILE_RISK_HORIZON_NS;
	update_hurry(risk, g->waiting);
}

bool pile_risk_at_risk(const struct pile_risk *risk)
{
	return risk->memory || risk->pool;
}

void pile_risk_explain(const struct pile_risk *risk, uint32_t waiting, struct pile_why *why)
{
	why->waiting = waiting;
	why->rate_milli = risk->rate_milli;
	why->request_bytes = risk->request_bytes;
	why->growth_bytes = risk->growth_bytes;
	why->free_bytes = risk->free_bytes;
	why->exhaustion_ns = risk->exhaustion_ns;
	why->pool_limit = risk->pool_limit;
	why->risk_memory = risk->memory;
	why->risk_pool = risk->pool;
}

// SPDX-License-Identifier: GPL-2.0-or-later
#include "sim.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "trace.h"

#define STEP_NS (10 * NS_PER_MS)
#define RTT_NS NS_PER_MS
#define ERROR_NS (5 * NS_PER_MS) /* what the application needs to say that its database is away */
#define MAIL_BASE 1000

enum { QUEUED = 0, CONNECTING, ANSWERING, DONE };

static const uint64_t syn_at_ns[] = { 0,
				      NS_PER_SEC,
				      3 * NS_PER_SEC,
				      7 * NS_PER_SEC,
				      15 * NS_PER_SEC,
				      31 * NS_PER_SEC,
				      63 * NS_PER_SEC,
				      127 * NS_PER_SEC };

static uint64_t next_random(struct sim *sim)
{
	uint64_t x = sim->random += 0x9e3779b97f4a7c15ULL;

	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
	return x ^ (x >> 31);
}

static double uniform(struct sim *sim)
{
	return (double)((next_random(sim) >> 11) + 1) / 9007199254740993.0;
}

static const struct sim_phase *phase_at(const struct sim *sim, int target, uint64_t t_ns)
{
	static const struct sim_phase hole = { .state = SIM_HOLE };
	const struct sim_phase *phases, *found;

	if (target >= MAIL_BASE)
		return &hole;
	phases = sim->config.deps[target].phases;
	found = &phases[0];
	for (unsigned int i = 1; i < SIM_PHASES_MAX && phases[i].from_ns; i++)
		if (SIM_START_NS + phases[i].from_ns <= t_ns)
			found = &phases[i];
	return found;
}

static struct sim_counts *counts_of(struct sim *sim, int target)
{
	return target >= MAIL_BASE ? &sim->mail[target - MAIL_BASE] : &sim->counts[target];
}

static uint32_t rate_at(const struct sim *sim, uint64_t t_ns)
{
	uint32_t rate = sim->config.rate_milli;

	for (unsigned int i = 0; i < SIM_PHASES_MAX && sim->config.steps[i].from_ns; i++)
		if (SIM_START_NS + sim->config.steps[i].from_ns <= t_ns)
			rate = sim->config.steps[i].rate_milli;
	return rate;
}

static int choose_target(struct sim *sim, uint64_t t_ns)
{
	uint32_t dice = (uint32_t)(next_random(sim) % 1000);

	for (int i = 0; i < SIM_DEPS_MAX && sim->config.deps[i].endpoint; i++) {
		if (dice < sim->config.deps[i].permille)
			return i;
		dice -= sim->config.deps[i].permille;
	}
	if (dice < sim->config.mail_permille && t_ns >= SIM_START_NS + sim->config.mail_from_ns)
		return MAIL_BASE + (int)(next_random(sim) % SIM_MAIL_MAX);
	return -1;
}

static void answer_at(struct sim_request *r, uint64_t t_ns, bool error)
{
	r->state = ANSWERING;
	r->next_ns = t_ns;
	r->error = error;
}

static void end_connect(struct sim *sim, struct sim_request *r, uint64_t t_ns)
{
	struct sim_counts *c = counts_of(sim, r->target);

	c->failed++;
	c->last_failed_ns = t_ns;
	answer_at(r, t_ns + ERROR_NS, true);
}

/* A SYN leaves at @t_ns. */
static void send_syn(struct sim *sim, struct sim_request *r, uint64_t t_ns)
{
	const struct sim_phase *phase = phase_at(sim, r->target, t_ns);
	struct sim_counts *c = counts_of(sim, r->target);
	uint64_t give_up_ns =
		sim->config.timeout_ns ? r->connect_ns + sim->config.timeout_ns : UINT64_MAX;

	if (phase->state == SIM_UP) {
		c->established++;
		c->last_established_ns = t_ns + RTT_NS;
		answer_at(r, t_ns + RTT_NS + phase->answer_ns, false);
	} else if (phase->state == SIM_RST) {
		c->refused_by_peer++;
		end_connect(sim, r, t_ns + RTT_NS);
	} else {
		if (!r->syn && !sim->result.first_stuck_ns && r->target < MAIL_BASE)
			sim->result.first_stuck_ns = t_ns - SIM_START_NS;
		r->syn++;
		if (r->syn >= ARRAY_LEN(syn_at_ns) ||
		    r->connect_ns + syn_at_ns[r->syn] > give_up_ns)
			r->next_ns = give_up_ns == UINT64_MAX ? r->connect_ns + syn_at_ns[7]
							      : give_up_ns;
		else
			r->next_ns = r->connect_ns + syn_at_ns[r->syn];
	}
}

static void begin(struct sim *sim, struct sim_request *r, uint64_t t_ns)
{
	struct sim_counts *c;
	struct sim_gate *gate =
		r->target >= 0 && r->target < MAIL_BASE ? &sim->gates[r->target] : NULL;

	sim->serving++;
	if (r->target < 0) {
		bool slow = next_random(sim) % 1000 < sim->config.slow_permille;

		answer_at(r, t_ns + (slow ? sim->config.slow_ns : sim->config.service_ns), false);
		return;
	}
	c = counts_of(sim, r->target);
	if (gate && gate->shut) {
		if (c->admitted - gate->admitted_base >= gate->allow) {
			c->refused++;
			answer_at(r, t_ns + ERROR_NS, true);
			return;
		}
		c->admitted++;
	}
	r->state = CONNECTING;
	r->connect_ns = t_ns;
	r->syn = 0;
	c->started++;
	c->last_started_ns = t_ns;
	send_syn(sim, r, t_ns);
}

static void finish(struct sim *sim, struct sim_request *r, uint64_t t_ns)
{
	struct sim_result *result = &sim->result;

	r->state = DONE;
	sim->serving--;
	sim->answered++;
	sim->recent_us[sim->n_recent++ % ARRAY_LEN(sim->recent_us)] =
		(uint32_t)((t_ns - r->arrived_ns) / 1000);
	if (r->target < 0)
		return;
	if (r->error) {
		result->errors++;
		if (r->arrived_ns >= sim->mark_ns)
			result->last_error_ns = t_ns - SIM_START_NS;
	} else {
		result->good++;
		if (r->arrived_ns >= sim->mark_ns && !result->first_good_ns)
			result->first_good_ns = t_ns - SIM_START_NS;
	}
}

static void move(struct sim *sim, struct sim_request *r)
{
	while (r->state != QUEUED && r->state != DONE && r->next_ns <= sim->now_ns) {
		uint64_t t_ns = r->next_ns;

		if (r->state == ANSWERING)
			finish(sim, r, t_ns);
		else if (r->syn >= ARRAY_LEN(syn_at_ns) ||
			 t_ns != r->connect_ns + syn_at_ns[r->syn])
			end_connect(
				sim, r,
				t_ns); /* the application's patience, or the kernel's, is over */
		else
			send_syn(sim, r, t_ns);
	}
}

static void arrive(struct sim *sim)
{
	while (sim->next_arrival_ns <= sim->now_ns) {
		uint64_t t_ns = sim->next_arrival_ns;
		uint32_t rate = rate_at(sim, t_ns);
		struct sim_request *r = &sim->live[sim->n_live];

		if (rate && sim->now_ns >= sim->absent_until_ns && sim->n_live < SIM_LIVE_MAX) {
			*r = (struct sim_request){ .arrived_ns = t_ns,
						   .target = choose_target(sim, t_ns) };
			sim->n_live++;
			sim->opened++;
		}
		/* no rate: look again in 10 ms */
		sim->next_arrival_ns +=
			rate ? (uint64_t)(-log(uniform(sim)) * 1e12 / rate) + 1 : STEP_NS;
	}
}

static void step(struct sim *sim)
{
	uint32_t kept = 0;

	sim->now_ns += STEP_NS;
	arrive(sim);
	for (uint32_t i = 0; i < sim->n_live; i++) {
		struct sim_request *r = &sim->live[i];

		if (r->state == QUEUED && (!sim->config.pool || sim->serving < sim->config.pool))
			begin(sim, r, MAX(r->arrived_ns, sim->now_ns - STEP_NS));
		move(sim, r);
		if (r->state != DONE)
			sim->live[kept++] = *r;
	}
	sim->n_live = kept;
	sim->workers = MAX(sim->workers, sim->serving);
	sim->result.peak_waiting = MAX(sim->result.peak_waiting, sim->n_live);
}

static int by_value(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

static void fill_latency(struct sim *sim, struct pile_sample_group *g)
{
	static uint32_t sorted[4096];
	uint32_t n = MIN(sim->n_recent,
			 MIN(sim->config.rate_milli / 100 + 1, (uint32_t)ARRAY_LEN(sorted)));

	for (uint32_t i = 0; i < n; i++)
		sorted[i] = sim->recent_us[(sim->n_recent - 1 - i) % ARRAY_LEN(sim->recent_us)];
	qsort(sorted, n, sizeof(sorted[0]), by_value);
	g->p50_ns = n ? sorted[n / 2] * 1000ULL : 0;
	g->p99_ns = n ? sorted[(uint64_t)n * 99 / 100] * 1000ULL : 0;
}

static void fill_group(struct sim *sim)
{
	struct pile_sample_group *g = &sim->sample.groups[0];
	const struct sim_config *config = &sim->config;
	uint64_t used;

	memset(g, 0, sizeof(*g));
	g->used = true;
	g->present = sim->now_ns >= sim->absent_until_ns;
	g->opened = sim->opened;
	g->answered = sim->answered;
	g->closed = sim->closed;
	g->waiting = sim->n_live;
	g->workers = config->static_pool ? config->pool : sim->workers;
	g->workers_limit = 0;
	g->busy = sim->serving;
	for (uint32_t i = 0; i < sim->n_live; i++) {
		uint64_t age = sim->now_ns - sim->live[i].arrived_ns;

		g->age[MIN(age / PILE_WHEEL_SLOT_NS, PILE_WHEEL_SLOTS)]++;
		g->oldest_ns = MAX(g->oldest_ns, age / PILE_WHEEL_SLOT_NS * PILE_WHEEL_SLOT_NS);
		g->backlog += sim->live[i].state == QUEUED;
	}
	used = config->static_pool ? 0 : config->request_bytes * sim->serving;
	g->memory_bytes = config->base_bytes + used;
	sim->sample.memory_total_bytes = config->total_bytes;
	sim->sample.memory_available_bytes =
		config->available_bytes > used ? config->available_bytes - used : 0;
	if (!sim->sample.memory_available_bytes && !sim->result.lost_ns)
		sim->result.lost_ns = sim_ns(sim);
	fill_latency(sim, g);
}

static void count_pending(struct sim *sim)
{
	for (int i = 0; i < SIM_DEPS_MAX; i++)
		sim->counts[i].connecting = sim->counts[i].stuck = 0, sim->counts[i].oldest_ns = 0;
	if (sim->config.mail_permille)
		for (int i = 0; i < SIM_MAIL_MAX; i++)
			sim->mail[i].connecting = sim->mail[i].stuck = 0,
			sim->mail[i].oldest_ns = 0;
	for (uint32_t i = 0; i < sim->n_live; i++) {
		const struct sim_request *r = &sim->live[i];
		struct sim_counts *c;

		if (r->state != CONNECTING)
			continue;
		c = counts_of(sim, r->target);
		c->connecting++;
		c->stuck += sim->now_ns - r->connect_ns > 500 * NS_PER_MS;
		c->oldest_ns = MAX(c->oldest_ns, sim->now_ns - r->connect_ns);
	}
}

static void add_dependency(struct sim *sim, const struct sim_counts *c,
			   const struct pile_endpoint *endpoint)
{
	struct pile_sample_dependency *dep;

	if (sim->sample.n_dependencies >= PILE_SAMPLE_DEPENDENCIES_MAX)
		return;
	dep = &sim->sample.dependencies[sim->sample.n_dependencies++];
	*dep = (struct pile_sample_dependency){
		.endpoint = *endpoint,
		.connecting = c->connecting,
		.stuck = c->stuck,
		.oldest_ns = c->oldest_ns,
		.started = c->started,
		.established = c->established,
		.failed = c->failed,
		.refused_by_peer = c->refused_by_peer,
		.last_started_ns = c->last_started_ns,
		.last_established_ns = c->last_established_ns,
		.last_failed_ns = c->last_failed_ns,
		.refused = c->refused,
		.admitted = c->admitted,
		.ended = c->ended,
	};
}

static void fill_dependencies(struct sim *sim)
{
	sim->sample.n_dependencies = 0;
	count_pending(sim);
	/* the mail-out first: the database must not be lost behind it */
	for (unsigned int i = 0;
	     sim->config.mail_permille && i < SIM_MAIL_MAX &&
	     sim->sample.n_dependencies < PILE_SAMPLE_DEPENDENCIES_MAX - SIM_DEPS_MAX;
	     i++) {
		struct pile_endpoint ep = sim->endpoints[0];

		ep.addr[13] = 77;
		ep.addr[14] = (uint8_t)(i / 250);
		ep.addr[15] = (uint8_t)(1 + i % 250);
		ep.port = 25;
		if (sim->mail[i].connecting)
			add_dependency(sim, &sim->mail[i], &ep);
	}
	for (int i = 0; i < SIM_DEPS_MAX && sim->config.deps[i].endpoint; i++)
		if (sim->counts[i].started)
			add_dependency(sim, &sim->counts[i], &sim->endpoints[i]);
}

static void fill_scout(struct sim *sim, int dep)
{
	struct sim_gate *gate = &sim->gates[dep];
	bool ended = gate->scout_answered || gate->scout_error;

	if (!gate->scout_ns || !gate->scout_wanted) {
		gate->scout_ns = 0;
		return;
	}
	sim->sample.probes[sim->sample.n_probes++] = (struct pile_sample_probe){
		.endpoint = sim->endpoints[dep],
		.answered = gate->scout_answered,
		.error = gate->scout_error,
		.pending_since_ns = ended ? 0 : gate->scout_ns,
	};
	gate->scout_wanted = false;
	if (ended)
		gate->scout_ns = 0;
}

static void fill_probes(struct sim *sim)
{
	sim->sample.n_probes = 0;
	for (int i = 0; i < SIM_DEPS_MAX; i++) {
		struct sim_gate *gate = &sim->gates[i];

		fill_scout(sim, i);
		if (!gate->shut || !gate->probe_done)
			continue;
		gate->probe_done = false;
		sim->sample.probes[sim->sample.n_probes++] = (struct pile_sample_probe){
			.endpoint = sim->endpoints[i],
			.answered = gate->probe_answered,
			.error = gate->probe_error,
		};
	}
}

/* A fresh SYN when due; what it finds is known at once, or at the next probe. */
static void probe(struct sim *sim)
{
	for (int i = 0; i < SIM_DEPS_MAX; i++) {
		struct sim_gate *gate = &sim->gates[i];
		enum sim_state state;

		if (!gate->shut || sim->now_ns < gate->next_probe_ns)
			continue;
		state = phase_at(sim, i, sim->now_ns)->state;
		gate->probe_done = true;
		gate->probe_answered = state == SIM_UP;
		gate->probe_error = state == SIM_RST ? ECONNREFUSED : ETIMEDOUT;
		gate->next_probe_ns = sim->now_ns + gate->period_ns;
	}
}

static void end_pending(struct sim *sim, int dep)
{
	for (uint32_t i = 0; i < sim->n_live; i++) {
		struct sim_request *r = &sim->live[i];

		if (r->state != CONNECTING || r->target != dep)
			continue;
		sim->counts[dep].ended++;
		sim->result.ended++;
		end_connect(sim, r, sim->now_ns);
	}
}

static int dep_of(const struct sim *sim, const struct pile_endpoint *endpoint)
{
	for (int i = 0; i < SIM_DEPS_MAX && sim->config.deps[i].endpoint; i++)
		if (pile_endpoint_equal(&sim->endpoints[i], endpoint))
			return i;
	return -1;
}

/* Its SYN meets what is there when it is sent; a lost one is lost. */
static void apply_scout(struct sim *sim, const struct pile_intent *intent)
{
	int dep = dep_of(sim, &intent->endpoint);
	struct sim_gate *gate = &sim->gates[MAX(dep, 0)];
	enum sim_state state;

	if (dep < 0 || sim->config.no_scouts)
		return;
	gate->scout_wanted = true;
	if (gate->scout_ns)
		return;
	state = phase_at(sim, dep, sim->now_ns)->state;
	gate->scout_ns = sim->now_ns;
	gate->scout_answered = state == SIM_UP;
	gate->scout_error = state == SIM_RST ? ECONNREFUSED : 0;
}

static void apply_breaker(struct sim *sim, const struct pile_intent *intent)
{
	int dep = dep_of(sim, &intent->endpoint);
	struct sim_gate *gate;

	if (dep < 0 || intent->blocked)
		return;
	gate = &sim->gates[dep];
	gate->period_ns = intent->probe_every_ns;
	if (intent->kind == PILE_INTENT_BREAKER_CLOSE) {
		memset(gate, 0, sizeof(*gate));
		return;
	}
	if (!gate->shut)
		gate->next_probe_ns = sim->now_ns + intent->probe_every_ns;
	gate->shut = true;
	if (intent->allow && !gate->allow)
		gate->admitted_base = sim->counts[dep].admitted;
	gate->allow = intent->allow;
	if (!intent->allow)
		end_pending(sim, dep);
}

static void note_open(struct sim *sim, const struct pile_intent *intent)
{
	struct sim_result *result = &sim->result;
	int dep = dep_of(sim, &intent->endpoint);

	if (intent->blocked) {
		if (!result->would_opens++)
			result->first_blocked = intent->blocked;
		return;
	}
	if (!result->opens++) {
		result->first_open_ns = sim_ns(sim);
		result->why = intent->why;
	}
	result->last_open_ns = sim_ns(sim);
	if (dep >= 0)
		result->open_ports |= 1u << dep;
}

static void note(struct sim *sim, const struct pile_intent *intent)
{
	struct sim_result *result = &sim->result;

	switch (intent->kind) {
	case PILE_INTENT_BREAKER_OPEN:
		note_open(sim, intent);
		break;
	case PILE_INTENT_BREAKER_ALLOW:
		result->allows++;
		if (!result->first_half_ns)
			result->first_half_ns = sim_ns(sim);
		break;
	case PILE_INTENT_BREAKER_CLOSE:
		result->closes++;
		result->last_close_ns = sim_ns(sim);
		result->close_reason = intent->close_reason;
		break;
	case PILE_INTENT_STAGE:
		result->stages++;
		if (!result->stage_ns[intent->why.stage_to])
			result->stage_ns[intent->why.stage_to] = sim_ns(sim);
		break;
	case PILE_INTENT_NETWORK:
		result->networks++;
		break;
	case PILE_INTENT_NETWORK_OVER:
		result->networks_over++;
		break;
	default:
		break;
	}
}

static void tick(struct sim *sim, uint64_t late_ns)
{
	sim->sample.now_ns = sim->now_ns;
	sim->sample.late_ns = late_ns;
	fill_group(sim);
	fill_dependencies(sim);
	fill_probes(sim);
	if (sim->trace)
		trace_write(sim->trace, &sim->sample);
	pile_decide_tick(&sim->state, &sim->view, &sim->sample, sim->intents, &sim->n_intents);
	for (uint32_t i = 0; i < sim->n_intents; i++) {
		note(sim, &sim->intents[i]);
		if (sim->intents[i].kind == PILE_INTENT_PROBE)
			apply_scout(sim, &sim->intents[i]);
		else if (sim->intents[i].kind <= PILE_INTENT_BREAKER_CLOSE)
			apply_breaker(sim, &sim->intents[i]);
	}
	sim->result.refused = 0;
	for (int i = 0; i < SIM_DEPS_MAX; i++)
		sim->result.refused += sim->counts[i].refused;
}

struct sim_config sim_config_incident(uint32_t seed)
{
	return (struct sim_config){
		.seed = seed,
		.rate_milli = 40000,
		.deps = { { .endpoint = "10.9.0.2:3306",
			    .permille = 800,
			    .phases = { { .answer_ns = 20 * NS_PER_MS } } } },
		.service_ns = 10 * NS_PER_MS,
		.timeout_ns = 10 * NS_PER_SEC,
		.pool = 1000,
		.request_bytes = 6 << 20,
		.base_bytes = 60 << 20,
		.total_bytes = 1500ULL << 20,
		.available_bytes = 1200ULL << 20,
	};
}

struct sim *sim_new(const struct sim_config *config)
{
	struct sim *sim = calloc(1, sizeof(*sim));
	struct pile_decide_group *group;

	if (!sim)
		abort();
	sim->config = *config;
	sim->random = config->seed;
	sim->now_ns = sim->mark_ns = SIM_START_NS;
	sim->next_arrival_ns = SIM_START_NS + 1;
	pile_decide_init(&sim->state, 1);
	sim->view.mode = PILE_MODE_ENFORCE;
	sim->view.host_seed = config->seed * 2654435761u;
	group = &sim->view.groups[0];
	sim->view.n_groups = 1;
	group->used = group->gate_ready = true;
	pile_policy_group_init(&group->config, "www");
	group->config.workers = PILE_WORKERS_PREFORK;
	group->config.workers_max = config->pool;
	group->config.enforce = PILE_RUNG_FAIL_FAST;
	group->config.baseline_waiting = 2;
	for (int i = 0; i < SIM_DEPS_MAX && config->deps[i].endpoint; i++)
		if (pile_endpoint_parse(config->deps[i].endpoint, false, &sim->endpoints[i]) < 0)
			abort();
	return sim;
}

void sim_free(struct sim *sim)
{
	free(sim);
}

static void advance(struct sim *sim, uint64_t for_ns)
{
	for (uint64_t t = 0; t < for_ns; t += STEP_NS) {
		step(sim);
		probe(sim);
	}
}

void sim_run(struct sim *sim, uint64_t until_ns)
{
	while (sim_ns(sim) < until_ns) {
		advance(sim, PILE_TICK_NS);
		tick(sim, 0);
	}
}

void sim_pause(struct sim *sim, uint64_t for_ns)
{
	advance(sim, for_ns);
	tick(sim, for_ns - PILE_TICK_NS);
}

void sim_restart(struct sim *sim, uint64_t for_ns)
{
	sim->absent_until_ns = sim->now_ns + for_ns;
	sim->n_live = sim->serving = sim->workers = 0;
	sim->opened = sim->answered = sim->closed = 0;
	memset(sim->counts, 0, sizeof(sim->counts));
	memset(sim->mail, 0, sizeof(sim->mail));
}

void sim_mark(struct sim *sim)
{
	sim->mark_ns = sim->now_ns;
	sim->result.first_good_ns = sim->result.last_error_ns = 0;
}

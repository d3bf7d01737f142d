/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * sim.h: a small model of the incident, for the pure decision code: requests arrive in open loop
 * (Poisson), some need a dependency, a connect to a black hole sends its SYN again at 1, 3, 7 s and
 * gives up after the application's time-out. Each 100 ms a struct pile_sample goes to
 * pile_decide_tick, and its intents come back: refuse, end, allow, probe. Owned by the test (heap,
 * sim_new / sim_free). Deterministic for a seed. One group, slot 0.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "decide/decide.h"

#define SIM_START_NS (1000 * NS_PER_SEC)
#define SIM_DEPS_MAX 8
#define SIM_PHASES_MAX 8
#define SIM_LIVE_MAX 40000
#define SIM_MAIL_MAX 5000

enum sim_state { SIM_UP = 0, SIM_HOLE, SIM_RST };

/** From this time on (since the start) a dependency does this. */
struct sim_phase {
	uint64_t from_ns;
	enum sim_state state;
	uint64_t answer_ns; /* from established to the answer */
};

struct sim_dep {
	const char *endpoint;
	uint32_t permille; /* of all requests that need it */
	struct sim_phase
		phases[SIM_PHASES_MAX]; /* in order; the first from 0; from_ns 0 ends the list */
};

struct sim_step {
	uint64_t from_ns;
	uint32_t rate_milli;
};

struct sim_config {
	uint32_t seed;
	uint32_t rate_milli;		       /* requests a second x 1000 */
	struct sim_step steps[SIM_PHASES_MAX]; /* later rates; from_ns 0 ends the list */
	struct sim_dep deps[SIM_DEPS_MAX];
	uint32_t mail_permille; /* of all requests go to one of SIM_MAIL_MAX dead addresses */
	uint64_t mail_from_ns;
	uint32_t slow_permille; /* of the requests without dependency take slow_ns */
	uint64_t slow_ns;
	uint64_t service_ns; /* a request without dependency */
	uint64_t timeout_ns; /* the application's connect time-out; 0 = none */
	uint32_t pool;	     /* workers at most; the rest queues */
	bool static_pool;    /* all workers exist from the start, memory is flat */
	bool no_scouts;	     /* the guard cannot connect by itself */
	uint64_t request_bytes, base_bytes, total_bytes,
		available_bytes; /* available: at the start */
};

/** What happened. Times since the start; 0 = never. */
struct sim_result {
	uint64_t first_stuck_ns; /* begin of the first connect whose first SYN was lost */
	uint64_t first_open_ns, last_open_ns, last_close_ns, first_half_ns;
	uint64_t stage_ns[4];		       /* first time in each stage */
	uint64_t lost_ns;		       /* memory was gone */
	uint64_t first_good_ns, last_error_ns; /* of requests with a dependency, since sim_mark() */
	uint32_t opens, would_opens, closes, allows, networks, networks_over, stages;
	uint32_t first_blocked; /* of the first virtual episode */
	uint32_t open_ports;	/* bit i: an episode was really opened for deps[i] */
	enum pile_close_reason close_reason;
	uint64_t peak_waiting, errors, good, refused, ended;
	struct pile_why why; /* of the first real opening */
};

struct sim_request {
	uint64_t arrived_ns, next_ns, connect_ns;
	int32_t target; /* -1 none, 0.. deps, 1000.. mail */
	uint8_t state, syn;
	bool error;
};

struct sim_counts {
	uint32_t connecting, stuck, open;
	uint64_t oldest_ns, started, established, failed, refused_by_peer, last_started_ns,
		last_established_ns, last_failed_ns, refused, admitted, ended;
};

struct sim_gate {
	bool shut;
	uint32_t allow;
	uint64_t admitted_base, next_probe_ns, period_ns;
	bool probe_done, probe_answered;
	int probe_error;
	/* the guard's own connect before anything is opened: when its SYN left; 0 = none */
	uint64_t scout_ns;
	bool scout_wanted, scout_answered;
	int scout_error;
};

struct sim {
	struct sim_config config;
	struct pile_decide state;
	struct pile_decide_view view;
	struct pile_sample sample;
	struct pile_intent intents[PILE_INTENTS_MAX];
	uint32_t n_intents;
	struct sim_result result;
	uint64_t now_ns, next_arrival_ns, random, absent_until_ns, mark_ns;
	uint64_t opened, answered, closed;
	uint32_t serving, workers, n_live;
	uint32_t recent_us[4096], n_recent;
	struct sim_request live[SIM_LIVE_MAX];
	struct sim_counts counts[SIM_DEPS_MAX], mail[SIM_MAIL_MAX];
	struct sim_gate gates[SIM_DEPS_MAX];
	struct pile_endpoint endpoints[SIM_DEPS_MAX];
	FILE *trace; /* not NULL: each sample is written there */
};

/**
 * sim_config_incident - incident.md's stack: 40/s, 80 % authenticated, 6 MiB, 10 s, 1.1 GiB free;
 * db at 10.9.0.2:3306.
 */
struct sim_config sim_config_incident(uint32_t seed);

/**
 * sim_new - the view: mode enforce, fail_fast allowed, gate ready, baseline 2 given, so that no
 * grace is needed.
 */
struct sim *sim_new(const struct sim_config *config);
void sim_free(struct sim *sim);

/** sim_run - until @until_ns since the start, a tick each 100 ms. */
void sim_run(struct sim *sim, uint64_t until_ns);

/** sim_pause - the guard is stopped for @for_ns; the world goes on; the tick after it is late. */
void sim_pause(struct sim *sim, uint64_t for_ns);

/**
 * sim_restart - the unit restarts: its requests and counters are gone, the group is absent for
 * @for_ns.
 */
void sim_restart(struct sim *sim, uint64_t for_ns);

/** sim_mark - first_good_ns and last_error_ns count from here. */
void sim_mark(struct sim *sim);

/** sim_ns - since the start. */
static inline uint64_t sim_ns(const struct sim *sim)
{
	return sim->now_ns - SIM_START_NS;
}

// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The whole law against the simulator (sim.h) and against recorded traces (trace.h,
 * tests/unit/traces/ *.tsv): fires in time where it must, stays silent where it must.
 * PILE_TEST_VERBOSE=1 prints each scenario's figures; PILE_TEST_RECORD=DIR writes the checked-in
 * traces anew.
 */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "sim.h"
#include "trace.h"

#define S NS_PER_SEC
#define MS NS_PER_MS
#define FAIL_NS (30 * S) /* when things go wrong in most scenarios */

#ifndef PILE_TRACES_DIR
#define PILE_TRACES_DIR "tests/unit/traces"
#endif

static double seconds(uint64_t ns)
{
	return (double)ns / 1e9;
}

/* A time in the result, relative to the first stuck connect; -1 = never. */
static double after_stuck(const struct sim_result *r, uint64_t ns)
{
	return ns ? seconds(ns) - seconds(r->first_stuck_ns) : -1;
}

static void show(const struct sim *sim, const char *name)
{
	const struct sim_result *r = &sim->result;

	if (!getenv("PILE_TEST_VERBOSE"))
		return;
	print_message("%-28s open %.2f S1 %.2f S2 %.2f S3 %.2f opens %u would %u closes %u "
		      "last close at %.2f stages %u "
		      "network %u peak waiting %llu, good from %.2f\n",
		      name, after_stuck(r, r->first_open_ns), after_stuck(r, r->stage_ns[1]),
		      after_stuck(r, r->stage_ns[2]), after_stuck(r, r->stage_ns[3]), r->opens,
		      r->would_opens, r->closes, seconds(r->last_close_ns), r->stages, r->networks,
		      (unsigned long long)r->peak_waiting, seconds(r->first_good_ns));
}

static void assert_silent(const struct sim *sim, const char *name)
{
	show(sim, name);
	if (sim->result.opens || sim->result.would_opens || sim->result.networks)
		print_error("%s: seed %u\n", name, sim->config.seed);
	assert_int_equal(sim->result.opens, 0);
	assert_int_equal(sim->result.would_opens, 0);
	assert_int_equal(sim->result.networks, 0);
	assert_int_equal(sim->state.intents_lost, 0);
}

static void run_silent(const struct sim_config *config, uint64_t until_ns, const char *name)
{
	struct sim *sim = sim_new(config);

	sim_run(sim, until_ns);
	assert_silent(sim, name);
	sim_free(sim);
}

static void add_phase(struct sim_dep *dep, uint64_t from_ns, enum sim_state state,
		      uint64_t answer_ns)
{
	unsigned int i = 1;

	while (dep->phases[i].from_ns)
		i++;
	dep->phases[i] =
		(struct sim_phase){ .from_ns = from_ns, .state = state, .answer_ns = answer_ns };
}

static void outage(struct sim_dep *dep, uint64_t from_ns, uint64_t for_ns)
{
	add_phase(dep, from_ns, SIM_HOLE, 0);
	add_phase(dep, from_ns + for_ns, SIM_UP, 20 * MS);
}

/* --- it fires in time --- */

static void check_incident(struct sim_config *config, uint64_t from_ns, uint64_t for_ns,
			   const char *name)
{
	uint64_t back_ns = from_ns + for_ns;
	struct sim *sim;

	outage(&config->deps[0], from_ns, for_ns);
	sim = sim_new(config);
	sim_run(sim, back_ns);
	sim_mark(sim);
	sim_run(sim, back_ns + 30 * S);
	show(sim, name);
	assert_in_range(sim->result.first_open_ns - sim->result.first_stuck_ns, 2400 * MS,
			2700 * MS);
	assert_int_equal(sim->result.opens, 1);
	assert_true(sim->result.stage_ns[PILE_STAGE_SUSPECT] > 0);
	assert_true(sim->result.stage_ns[PILE_STAGE_SUSPECT] <= sim->result.first_stuck_ns + 2 * S);
	assert_int_equal(sim->result.stage_ns[PILE_STAGE_EVICT], 0);
	assert_int_equal(sim->result.lost_ns, 0);
	assert_true(sim->result.ended > 30);
	assert_int_equal(sim->result.closes, 1);
	assert_int_equal(sim->result.close_reason, PILE_CLOSE_ANSWERED);
	assert_in_range(sim->result.last_close_ns, back_ns, back_ns + 2 * S);
	assert_in_range(sim->result.first_good_ns, back_ns, back_ns + 2 * S);
	assert_true(sim->result.last_error_ns <= back_ns + 2 * S);
	assert_int_equal(sim->state.verdict[0].stage, PILE_STAGE_CALM);
	assert_int_equal(sim->result.networks, 0);
	assert_int_equal(sim->state.intents_lost, 0);
	sim_free(sim);
}

static void test_incident_at_many_phases(void **state)
{
	(void)state;
	for (uint32_t seed = 1; seed <= 40; seed++) {
		struct sim_config config = sim_config_incident(seed);

		check_incident(&config, FAIL_NS + seed * 37 * MS, 60 * S + seed * 53 * MS,
			       "incident 60 s");
	}
}

static void test_incident_at_other_rates(void **state)
{
	static const uint32_t rates[] = { 25000, 60000, 100000, 200000 };

	(void)state;
	for (unsigned int i = 0; i < ARRAY_LEN(rates); i++)
		for (uint32_t seed = 1; seed <= 8; seed++) {
			struct sim_config config = sim_config_incident(seed);

			config.rate_milli = rates[i];
			config.request_bytes = 160ULL * (1 << 20) * 1000 / rates[i];
			check_incident(&config, FAIL_NS + seed * 37 * MS, 60 * S + seed * 53 * MS,
				       "incident, other rates");
		}
}

static void test_incident_of_15_minutes(void **state)
{
	(void)state;
	for (uint32_t seed = 1; seed <= 5; seed++) {
		struct sim_config config = sim_config_incident(seed);

		check_incident(&config, FAIL_NS, 900 * S + seed * 270 * MS, "incident 15 min");
	}
}

static void test_incident_right_after_the_start_without_a_baseline(void **state)
{
	struct sim_config config = sim_config_incident(3);
	struct sim *sim;

	(void)state;
	outage(&config.deps[0], 4 * S, 60 * S);
	sim = sim_new(&config);
	sim->view.groups[0].config.baseline_waiting = 0;
	sim_run(sim, 80 * S);
	show(sim, "incident after 4 s");
	assert_in_range(sim->result.first_open_ns - sim->result.first_stuck_ns, 2400 * MS,
			2700 * MS);
	assert_int_equal(sim->result.opens, 1);
	sim_free(sim);
}

/*
 * Nobody acts: the stages are recorded in order, in time, and the memory goes as incident.md says.
 */
static void test_incident_unguarded_records_all_stages(void **state)
{
	(void)state;
	for (uint32_t seed = 1; seed <= 20; seed++) {
		struct sim_config config = sim_config_incident(seed);
		struct sim *sim;

		outage(&config.deps[0], FAIL_NS, 60 * S);
		sim = sim_new(&config);
		sim->view.mode = PILE_MODE_OBSERVE;
		sim_run(sim, FAIL_NS + 20 * S);
		show(sim, "incident, observe");
		assert_int_equal(sim->result.opens, 0);
		assert_int_equal(sim->result.refused, 0);
		assert_int_equal(sim->result.ended, 0);
		assert_int_equal(sim->result.would_opens, 1);
		assert_int_equal(sim->result.first_blocked, PILE_BLOCKED_OBSERVE);
		assert_in_range(sim->result.stage_ns[1] - sim->result.first_stuck_ns, 600 * MS,
				1700 * MS);
		assert_in_range(sim->result.stage_ns[2] - sim->result.first_stuck_ns, 1600 * MS,
				2900 * MS);
		assert_true(sim->result.stage_ns[3] > sim->result.stage_ns[2]);
		assert_true(sim->result.stage_ns[3] < sim->result.lost_ns);
		assert_in_range(sim->result.lost_ns - sim->result.first_stuck_ns, 5 * S, 9 * S);
		sim_free(sim);
	}
}

static void test_observe_explains_once_and_ends_with_the_return(void **state)
{
	struct sim_config config = sim_config_incident(5);
	struct sim *sim;

	(void)state;
	outage(&config.deps[0], FAIL_NS, 60 * S);
	sim = sim_new(&config);
	sim->view.mode = PILE_MODE_OBSERVE;
	sim_run(sim, FAIL_NS + 100 * S);
	assert_int_equal(sim->result.would_opens, 1);
	assert_int_equal(sim->result.closes, 1);
	assert_in_range(sim->result.last_close_ns, FAIL_NS + 60 * S, FAIL_NS + 61 * S);
	assert_int_equal(sim->result.refused + sim->result.ended + sim->result.opens, 0);
	sim_free(sim);
}

/*
 * A small pool of which every worker is stuck at once sends no SYN late enough: the guard's own
 * connect is the proof, and without it the retransmission of 3 s.
 */
static void check_small_static_pool(bool no_scouts, uint64_t latest_ns)
{
	unsigned int by_own_probe = 0;

	for (uint32_t seed = 1; seed <= 20; seed++) {
		struct sim_config config = sim_config_incident(seed);
		struct sim *sim;

		config.pool = 10;
		config.static_pool = true;
		config.no_scouts = no_scouts;
		config.base_bytes = 1100ULL << 20;
		config.available_bytes = 120ULL << 20;
		outage(&config.deps[0], FAIL_NS, 60 * S);
		sim = sim_new(&config);
		sim_run(sim, FAIL_NS + 90 * S);
		show(sim, "static pool of 10");
		assert_in_range(sim->result.first_open_ns - sim->result.first_stuck_ns, 2400 * MS,
				latest_ns);
		assert_int_equal(sim->result.opens, 1);
		assert_int_equal(sim->result.closes, 1);
		by_own_probe += sim->result.why.own_probe;
		sim_free(sim);
	}
	assert_int_equal(by_own_probe > 10, !no_scouts);
}

static void test_small_static_pool(void **state)
{
	(void)state;
	check_small_static_pool(false, 2700 * MS);
}

static void test_small_static_pool_without_own_probe(void **state)
{
	(void)state;
	check_small_static_pool(true, 3400 * MS);
}

/*
 * Memory would be gone 2 s after the first stuck connect: the proof is shortened, and the host
 * lives.
 */
static void test_a_host_with_two_seconds_left(void **state)
{
	(void)state;
	for (uint32_t seed = 1; seed <= 20; seed++) {
		struct sim_config config = sim_config_incident(seed);
		struct sim *sim;

		config.rate_milli = 200000;
		config.request_bytes = 3500 << 10;
		config.timeout_ns = 0;
		outage(&config.deps[0], FAIL_NS, 60 * S);
		sim = sim_new(&config);
		sim_run(sim, FAIL_NS + 20 * S);
		show(sim, "two seconds left");
		assert_in_range(sim->result.first_open_ns - sim->result.first_stuck_ns, S,
				1900 * MS);
		assert_int_equal(sim->result.lost_ns, 0);
		sim_free(sim);
	}
}

/*
 * The host of the database boots: black hole, then RST, then service. Nobody waits for a probe at
 * the end.
 */
static void test_a_reboot_of_the_database(void **state)
{
	struct sim_config config = sim_config_incident(13);
	struct sim *sim;

	(void)state;
	add_phase(&config.deps[0], FAIL_NS, SIM_HOLE, 0);
	add_phase(&config.deps[0], FAIL_NS + 40 * S, SIM_RST, 0);
	add_phase(&config.deps[0], FAIL_NS + 60 * S, SIM_UP, 20 * MS);
	sim = sim_new(&config);
	sim_run(sim, FAIL_NS + 60 * S);
	sim_mark(sim);
	sim_run(sim, FAIL_NS + 90 * S);
	show(sim, "reboot of the database");
	assert_int_equal(sim->result.opens, 1);
	assert_in_range(sim->result.last_close_ns, FAIL_NS + 40 * S, FAIL_NS + 43 * S);
	assert_int_equal(sim->result.last_error_ns, 0);
	sim_free(sim);
}

/*
 * Traffic is withdrawn while it is dead: the episode stays, probed, and closes at the return
 * without any user.
 */
static void test_withdrawn_traffic(void **state)
{
	struct sim_config config = sim_config_incident(9);
	struct sim *sim;

	(void)state;
	outage(&config.deps[0], FAIL_NS, 120 * S);
	config.steps[0] = (struct sim_step){ FAIL_NS + 30 * S, 0 };
	sim = sim_new(&config);
	sim_run(sim, FAIL_NS + 45 * S);
	assert_int_equal(sim->n_live, 0);
	sim_run(sim, FAIL_NS + 125 * S);
	show(sim, "traffic withdrawn");
	assert_int_equal(sim->result.closes, 1);
	assert_in_range(sim->result.last_close_ns, FAIL_NS + 120 * S, FAIL_NS + 123 * S);
	sim_free(sim);
}

/* --- it stays silent --- */

static void test_blips_open_nothing_at_any_phase(void **state)
{
	static const uint64_t lengths[] = { 500 * MS, S, 2 * S };
	static const uint32_t rates[] = { 5000, 15000, 40000, 120000 };
	static const uint32_t pools[] = { 1000, 60, 12 };

	(void)state;
	for (unsigned int i = 0; i < ARRAY_LEN(lengths) * ARRAY_LEN(rates) * ARRAY_LEN(pools); i++)
		for (uint32_t seed = 1; seed <= 30; seed++) {
			struct sim_config config = sim_config_incident(seed);

			config.rate_milli = rates[i % 4];
			config.pool = pools[i / 4 % 3];
			config.request_bytes = 240ULL * (1 << 20) * 1000 / config.rate_milli;
			outage(&config.deps[0], 5 * S + seed * 61 * MS + i * 7 * MS,
			       lengths[i / 12]);
			run_silent(&config, 14 * S, "blip");
		}
}

static void test_blips_open_nothing_with_always(void **state)
{
	(void)state;
	for (uint32_t seed = 1; seed <= 60; seed++) {
		struct sim_config config = sim_config_incident(seed);
		struct sim *sim;

		config.rate_milli = seed % 2 ? 3000 : 40000;
		outage(&config.deps[0], 5 * S + seed * 61 * MS, 2 * S);
		sim = sim_new(&config);
		sim->view.groups[0].config.fail_fast = PILE_FAIL_FAST_ALWAYS;
		sim_run(sim, 14 * S);
		assert_silent(sim, "blip, always");
		sim_free(sim);
	}
}

static void test_refusals_are_harmless(void **state)
{
	struct sim_config config = sim_config_incident(2);

	(void)state;
	add_phase(&config.deps[0], 10 * S, SIM_RST, 0);
	run_silent(&config, 70 * S, "RST");
}

static void test_brown_outs(void **state)
{
	static const uint64_t slower[] = { 800 * MS, 3 * S };

	(void)state;
	for (unsigned int i = 0; i < ARRAY_LEN(slower); i++)
		for (uint32_t seed = 1; seed <= 5; seed++) {
			struct sim_config config = sim_config_incident(seed);

			add_phase(&config.deps[0], 10 * S, SIM_UP, 20 * MS + slower[i]);
			run_silent(&config, 70 * S, "brown-out");
		}
}

/* Steps and bursts of healthy traffic: nothing opened, and not even a stage recorded. */
static void test_steps_and_bursts(void **state)
{
	(void)state;
	for (uint32_t seed = 1; seed <= 10; seed++) {
		struct sim_config config = sim_config_incident(seed);
		struct sim *sim;

		config.steps[0] = (struct sim_step){ 40 * S, 120000 }; /* x3 for good */
		config.steps[1] = (struct sim_step){ 80 * S, 200000 }; /* x5 for 3 s */
		config.steps[2] = (struct sim_step){ 83 * S, 40000 };
		sim = sim_new(&config);
		sim->view.groups[0].config.baseline_waiting = 0; /* learned at 40/s */
		sim_run(sim, 100 * S);
		assert_silent(sim, "x3, x5");
		assert_int_equal(sim->result.stages, 0);
		sim_free(sim);
	}
}

static void test_slow_endpoint(void **state)
{
	struct sim_config config = sim_config_incident(4);
	struct sim *sim;

	(void)state;
	config.slow_permille = 100; /* of the fifth that needs no database: 2 % of all */
	config.slow_ns = 8 * S;
	sim = sim_new(&config);
	sim_run(sim, 120 * S);
	assert_silent(sim, "2 % slow");
	assert_int_equal(sim->result.stages, 0);
	sim_free(sim);
}

static void test_restarts(void **state)
{
	struct sim_config config = sim_config_incident(6);
	struct sim *sim = sim_new(&config);

	(void)state;
	for (unsigned int i = 1; i <= 20; i++) {
		sim_run(sim, i * 7 * S);
		sim_restart(sim, 400 * MS + i * 50 * MS);
	}
	sim_run(sim, 160 * S);
	assert_silent(sim, "restart x 20");
	assert_int_equal(sim->result.stages, 0);
	sim_free(sim);
}

static void test_a_pool_that_lives_at_92_percent(void **state)
{
	struct sim_config config = sim_config_incident(7);

	(void)state;
	config.static_pool = true;
	config.pool = 80;
	config.base_bytes = 1380ULL << 20;
	config.available_bytes = 120ULL << 20;
	config.service_ns = 200 * MS;
	run_silent(&config, 120 * S, "92 % of memory");
}

static void test_pauses_of_the_guard(void **state)
{
	(void)state;
	for (uint32_t seed = 1; seed <= 20; seed++) {
		struct sim_config config = sim_config_incident(seed);
		struct sim *sim;

		/* the blip falls into the pause: at its end everything looks stuck for seconds */
		outage(&config.deps[0], 10 * S + seed * 100 * MS, 2 * S);
		sim = sim_new(&config);
		sim_run(sim, 9 * S);
		sim_pause(sim, 4 * S);
		sim_run(sim, 20 * S);
		assert_silent(sim, "pause");
		assert_int_equal(sim->state.ticks_dropped, 1);
		sim_free(sim);
	}
}

/* Every cache is cold: for 5 s each request takes a second, memory grows, the database answers. */
static void test_cold_cache(void **state)
{
	struct sim_config config = sim_config_incident(8);

	(void)state;
	config.deps[0].phases[0].answer_ns = S;
	add_phase(&config.deps[0], 5 * S, SIM_UP, 20 * MS);
	run_silent(&config, 40 * S, "cold cache");
}

/* --- several destinations --- */

/* A mail-out to 5,000 dead addresses beside a database that is alive: 30 % of the requests hang. */
static void test_mail_out_alone(void **state)
{
	(void)state;
	for (uint32_t seed = 1; seed <= 3; seed++) {
		struct sim_config config = sim_config_incident(seed);

		config.deps[0].permille = 500;
		config.mail_permille = 300;
		config.mail_from_ns = 10 * S;
		run_silent(&config, 60 * S, "mail-out");
	}
}

static void test_mail_out_does_not_hide_the_database(void **state)
{
	(void)state;
	for (uint32_t seed = 1; seed <= 5; seed++) {
		struct sim_config config = sim_config_incident(seed);
		struct sim *sim;

		config.deps[0].permille = 500;
		config.mail_permille = 300;
		config.mail_from_ns = 10 * S;
		config.available_bytes = config.total_bytes =
			2400ULL << 20; /* the mail-out alone holds 720 MiB */
		outage(&config.deps[0], FAIL_NS, 60 * S);
		sim = sim_new(&config);
		sim_run(sim, FAIL_NS - 100 * MS);
		sim->result.first_stuck_ns = 0;
		assert_int_equal(sim->result.opens, 0);
		sim_run(sim, FAIL_NS + 30 * S);
		show(sim, "mail-out and database");
		assert_in_range(sim->result.first_open_ns - sim->result.first_stuck_ns, 2400 * MS,
				3000 * MS);
		assert_int_equal(sim->result.open_ports, 1);
		assert_int_equal(sim->result.opens, 1);
		assert_int_equal(sim->result.networks, 0);
		sim_free(sim);
	}
}

static struct sim_config three_hosts(uint32_t seed)
{
	struct sim_config config = sim_config_incident(seed);

	config.deps[0].permille = 400;
	config.deps[1] = config.deps[0];
	config.deps[1].endpoint = "10.9.0.3:6379";
	config.deps[1].permille = 250;
	config.deps[2] = config.deps[0];
	config.deps[2].endpoint = "10.9.0.4:5672";
	config.deps[2].permille = 150;
	return config;
}

static void test_three_dead_at_once_are_our_network(void **state)
{
	(void)state;
	for (uint32_t seed = 1; seed <= 20; seed++) {
		struct sim_config config = three_hosts(seed);
		struct sim *sim;

		for (unsigned int i = 0; i < 3; i++)
			outage(&config.deps[i],
			       FAIL_NS + seed * 31 * MS + (seed % 2 ? 0 : i * 150 * MS), 30 * S);
		sim = sim_new(&config);
		sim_run(sim, FAIL_NS + 60 * S);
		show(sim, "three dead");
		assert_int_equal(sim->result.opens, 0);
		assert_int_equal(sim->result.networks, 1);
		assert_int_equal(sim->result.networks_over, 1);
		assert_in_range(sim->result.would_opens, 1, 3);
		assert_int_equal(sim->result.first_blocked, PILE_BLOCKED_NETWORK);
		assert_int_equal(sim->result.refused + sim->result.ended, 0);
		sim_free(sim);
	}
}

/* A fourth, elsewhere, answers: the network works, and the three are refused. */
static void test_three_dead_beside_a_fourth_that_answers(void **state)
{
	struct sim_config config = three_hosts(4);
	struct sim *sim;

	(void)state;
	config.deps[3] = config.deps[0];
	config.deps[3].endpoint = "10.9.0.5:443";
	config.deps[3].permille = 200;
	for (unsigned int i = 0; i < 3; i++)
		outage(&config.deps[i], FAIL_NS, 30 * S);
	sim = sim_new(&config);
	sim_run(sim, FAIL_NS + 60 * S);
	show(sim, "three dead, a fourth alive");
	assert_int_equal(sim->result.networks, 0);
	assert_int_equal(sim->result.open_ports, 7);
	assert_in_range(sim->result.first_open_ns - sim->result.first_stuck_ns, 2400 * MS,
			2900 * MS);
	sim_free(sim);
}

/* Three ports of one address are one host, not a network. */
static void test_three_ports_of_one_host_are_refused(void **state)
{
	struct sim_config config = three_hosts(2);
	struct sim *sim;

	(void)state;
	config.deps[1].endpoint = "10.9.0.2:6379";
	config.deps[2].endpoint = "10.9.0.2:5672";
	for (unsigned int i = 0; i < 3; i++)
		outage(&config.deps[i], FAIL_NS, 30 * S);
	sim = sim_new(&config);
	sim_run(sim, FAIL_NS + 60 * S);
	show(sim, "three ports");
	assert_int_equal(sim->result.networks, 0);
	assert_int_equal(sim->result.open_ports, 7);
	assert_int_equal(sim->result.closes, sim->result.opens);
	sim_free(sim);
}

/*
 * Loopback works without any network: it is no proof that the network works, and its death is none
 * of its death.
 */
static void test_loopback_says_nothing_about_the_network(void **state)
{
	struct sim_config config = three_hosts(2);
	struct sim *sim;

	(void)state;
	config.deps[3] = config.deps[0];
	config.deps[3].endpoint = "127.0.0.1:11211";
	config.deps[0].permille = 250;
	config.deps[3].permille = 200;
	for (unsigned int i = 0; i < 3; i++)
		outage(&config.deps[i], FAIL_NS, 30 * S);
	sim = sim_new(&config);
	sim_run(sim, FAIL_NS + 20 * S);
	assert_int_equal(sim->result.networks, 1);
	assert_int_equal(sim->result.opens, 0);
	sim_free(sim);
	config.deps[2].endpoint = "127.0.0.1:5672";
	sim = sim_new(&config);
	sim_run(sim, FAIL_NS + 20 * S);
	assert_int_equal(sim->result.networks, 0);
	assert_true(sim->result.opens > 0);
	sim_free(sim);
}

static void test_one_of_two_is_refused_alone(void **state)
{
	(void)state;
	for (uint32_t seed = 1; seed <= 10; seed++) {
		struct sim_config config = three_hosts(seed);
		struct sim *sim;

		outage(&config.deps[1], FAIL_NS, 30 * S);
		config.available_bytes = 700ULL << 20;
		sim = sim_new(&config);
		sim_run(sim, FAIL_NS + 60 * S);
		show(sim, "one of several");
		assert_int_equal(sim->result.open_ports, 2);
		assert_int_equal(sim->result.closes, sim->result.opens);
		sim_free(sim);
	}
}

/* --- learning --- */

static void test_nothing_is_learned_from_the_incident(void **state)
{
	struct sim_config config = sim_config_incident(11);
	struct pile_baseline before;
	struct sim *sim;

	(void)state;
	outage(&config.deps[0], 120 * S, 900 * S);
	sim = sim_new(&config);
	sim->view.mode = PILE_MODE_OBSERVE; /* unguarded: W = 320 for 15 minutes, in balance */
	sim->view.groups[0].config.baseline_waiting = 0;
	sim->config.available_bytes = sim->config.total_bytes = 8ULL << 30;
	sim->config.pool = sim->view.groups[0].config.workers_max = 400;
	sim_run(sim, 120 * S);
	before = sim->state.baseline[0];
	assert_in_range(before.w99, 1, 8);
	sim_run(sim, 1015 * S);
	assert_true(sim->result.peak_waiting > 200);
	/* the first half second cannot be told from a peak; after it not one sample */
	assert_true(sim->state.baseline[0].samples - before.samples < 20);
	assert_in_range(sim->state.baseline[0].w99, 1, 14);
	sim_free(sim);
}

/* The guard comes up in the middle of it: 300 samples pass, and none of them is what is normal. */
static void test_nothing_is_learned_when_it_starts_in_the_incident(void **state)
{
	struct sim_config config = sim_config_incident(11);
	struct sim *sim;

	(void)state;
	config.available_bytes = config.total_bytes = 8ULL << 30;
	config.deps[0].phases[0].state = SIM_HOLE;
	sim = sim_new(&config);
	sim->view.groups[0].config.baseline_waiting = 0;
	sim->view.groups[0].config.workers_max = 0; /* never at risk, so no breaker freezes it */
	sim_run(sim, 60 * S);
	assert_int_equal(sim->result.opens, 0);
	assert_true(sim->state.baseline[0].samples < 30);
	assert_false(pile_baseline_ready(&sim->state.baseline[0], 0));
	sim_free(sim);
}

static void test_the_level_of_calm_traffic_is_learned(void **state)
{
	struct sim_config config = sim_config_incident(12);
	struct sim *sim = sim_new(&config);

	(void)state;
	sim->view.groups[0].config.baseline_waiting = 0;
	sim_run(sim, 29 * S);
	assert_false(pile_baseline_ready(&sim->state.baseline[0], 0));
	sim_run(sim, 600 * S);
	assert_true(pile_baseline_ready(&sim->state.baseline[0], 0));
	assert_in_range(sim->state.baseline[0].w99, 2, 5);
	assert_in_range(sim->state.baseline[0].p99_ns, 15 * MS, 40 * MS);
	assert_in_range(sim->state.baseline[0].rate_milli, 36000, 44000);
	assert_true(sim->state.risk[0].ratio_milli >
		    1000); /* incident.md, lesson 4: it would happen today */
	sim_free(sim);
}

/* --- recorded traces --- */

struct replay {
	struct pile_decide state;
	struct pile_sample sample;
	struct pile_intent intents[PILE_INTENTS_MAX];
	uint64_t start_ns, open_ns, stage_ns[4];
	struct pile_endpoint opened;
	uint32_t opens;
};

static void replay_tick(struct replay *replay, const struct trace *trace)
{
	uint32_t n;

	if (!replay->start_ns)
		replay->start_ns = replay->sample.now_ns;
	pile_decide_tick(&replay->state, &trace->view, &replay->sample, replay->intents, &n);
	for (uint32_t i = 0; i < n; i++) {
		const struct pile_intent *intent = &replay->intents[i];

		if (intent->kind == PILE_INTENT_BREAKER_OPEN && !replay->opens++) {
			replay->open_ns = replay->sample.now_ns - replay->start_ns;
			replay->opened = intent->endpoint;
		}
		if (intent->kind == PILE_INTENT_STAGE && !replay->stage_ns[intent->why.stage_to])
			replay->stage_ns[intent->why.stage_to] =
				replay->sample.now_ns - replay->start_ns;
	}
}

static void check_expectation(const struct replay *replay, const struct trace_expectation *e)
{
	if (e->kind == TRACE_NONE) {
		assert_int_equal(replay->opens, 0);
	} else if (e->kind == TRACE_STAGE) {
		assert_in_range(replay->stage_ns[e->stage] / MS, e->from_ms, e->to_ms);
	} else {
		assert_true(replay->opens > 0);
		assert_true(pile_endpoint_equal(&replay->opened, &e->endpoint));
		assert_in_range(replay->open_ns / MS, e->from_ms, e->to_ms);
	}
}

static void replay_file(const char *path)
{
	struct replay *replay = calloc(1, sizeof(*replay));
	struct trace trace;
	unsigned int ticks = 0;
	int r;

	assert_non_null(replay);
	assert_int_equal(trace_open(&trace, path), 0);
	pile_decide_init(&replay->state, 1);
	while ((r = trace_next(&trace, &replay->sample)) == 1) {
		replay_tick(replay, &trace);
		ticks++;
	}
	if (r < 0)
		print_error("%s:%u: not understood\n", path, trace.line);
	assert_int_equal(r, 0);
	assert_true(ticks > 50);
	assert_true(trace.n_expectations > 0);
	for (unsigned int i = 0; i < trace.n_expectations; i++) {
		print_message("  %s: %u ticks, expectation %u\n", path, ticks, i + 1);
		check_expectation(replay, &trace.expectations[i]);
	}
	trace_close(&trace);
	free(replay);
}

static void test_recorded_traces(void **state)
{
	const char *path = getenv("PILE_TRACES_DIR") ? getenv("PILE_TRACES_DIR") : PILE_TRACES_DIR;
	DIR *dir = opendir(path);
	const struct dirent *entry;
	unsigned int n = 0;

	(void)state;
	if (!dir)
		print_error("%s: not there; run from the top directory or set PILE_TRACES_DIR\n",
			    path);
	assert_non_null(dir);
	while ((entry = readdir(dir))) {
		size_t length = strlen(entry->d_name);
		char file[512];

		if (length < 4 || strcmp(entry->d_name + length - 4, ".tsv"))
			continue;
		snprintf(file, sizeof(file), "%s/%s", path, entry->d_name);
		replay_file(file);
		n++;
	}
	closedir(dir);
	assert_true(n >= 7);
}

/* Writes a checked-in trace anew. */
static void record(const char *dir, const char *name, const struct sim_config *config,
		   const char *expectations, enum pile_mode mode)
{
	struct sim *sim = sim_new(config);
	char path[512];

	snprintf(path, sizeof(path), "%s/%s.tsv", dir, name);
	sim_run(sim, 4 * S);
	sim->view.mode = mode;
	sim->trace = fopen(path, "we");
	if (!sim->trace)
		abort();
	fprintf(sim->trace,
		"# made by the simulator: PILE_TEST_RECORD=tests/unit/traces test_decide\n%s",
		expectations);
	trace_write_group(sim->trace, 0, &sim->view.groups[0].config);
	sim_run(sim, 16 * S);
	fclose(sim->trace);
	sim_free(sim);
}

static int record_traces(const char *dir)
{
	struct sim_config config = sim_config_incident(1);

	outage(&config.deps[0], 6 * S, 60 * S);
	record(dir, "incident-unguarded", &config,
	       "!\topen\t10.9.0.2:3306\t4300\t4800\n"
	       "!\tstage\t1\t2500\t3700\n!\tstage\t2\t3500\t4800\n",
	       PILE_MODE_OBSERVE);
	record(dir, "incident-guarded", &config, "!\topen\t10.9.0.2:3306\t4300\t4800\n",
	       PILE_MODE_ENFORCE);
	config = sim_config_incident(2);
	outage(&config.deps[0], 6 * S, 2 * S);
	record(dir, "blip-2s", &config, "!\tnone\n", PILE_MODE_ENFORCE);
	config = sim_config_incident(3);
	add_phase(&config.deps[0], 6 * S, SIM_UP, 3 * S);
	record(dir, "brown-out-3s", &config, "!\tnone\n", PILE_MODE_ENFORCE);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_incident_at_many_phases),
		cmocka_unit_test(test_incident_at_other_rates),
		cmocka_unit_test(test_incident_of_15_minutes),
		cmocka_unit_test(test_incident_right_after_the_start_without_a_baseline),
		cmocka_unit_test(test_incident_unguarded_records_all_stages),
		cmocka_unit_test(test_observe_explains_once_and_ends_with_the_return),
		cmocka_unit_test(test_small_static_pool),
		cmocka_unit_test(test_small_static_pool_without_own_probe),
		cmocka_unit_test(test_a_host_with_two_seconds_left),
		cmocka_unit_test(test_a_reboot_of_the_database),
		cmocka_unit_test(test_withdrawn_traffic),
		cmocka_unit_test(test_blips_open_nothing_at_any_phase),
		cmocka_unit_test(test_blips_open_nothing_with_always),
		cmocka_unit_test(test_refusals_are_harmless),
		cmocka_unit_test(test_brown_outs),
		cmocka_unit_test(test_steps_and_bursts),
		cmocka_unit_test(test_slow_endpoint),
		cmocka_unit_test(test_restarts),
		cmocka_unit_test(test_a_pool_that_lives_at_92_percent),
		cmocka_unit_test(test_pauses_of_the_guard),
		cmocka_unit_test(test_cold_cache),
		cmocka_unit_test(test_mail_out_alone),
		cmocka_unit_test(test_mail_out_does_not_hide_the_database),
		cmocka_unit_test(test_three_dead_at_once_are_our_network),
		cmocka_unit_test(test_three_dead_beside_a_fourth_that_answers),
		cmocka_unit_test(test_three_ports_of_one_host_are_refused),
		cmocka_unit_test(test_loopback_says_nothing_about_the_network),
		cmocka_unit_test(test_one_of_two_is_refused_alone),
		cmocka_unit_test(test_nothing_is_learned_from_the_incident),
		cmocka_unit_test(test_nothing_is_learned_when_it_starts_in_the_incident),
		cmocka_unit_test(test_the_level_of_calm_traffic_is_learned),
		cmocka_unit_test(test_recorded_traces),
	};

	if (getenv("PILE_TEST_RECORD"))
		return record_traces(getenv("PILE_TEST_RECORD"));
	return cmocka_run_group_tests(tests, NULL, NULL);
}

// SPDX-License-Identifier: GPL-2.0-or-later
/* Requests from hand-made shards: what waits; how often the truth is looked for; nothing is settled unswept. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "sense/sense.h"
#include "util/macro.h"

#define GROUP 3
#define START_NS (1000 * NS_PER_SEC)

static struct pile_sense sense;
static struct pile_kernel kernel;
static struct pile_groups groups;
static struct pile_sample sample;
static struct pile_bpf_shard shards[PILE_GROUPS_MAX];
static struct pile_bpf_control control;
static struct pile_bpf_totals totals;
static struct pile_bpf_door_counts door_counts[PILE_DOORS_MAX];
static uint64_t now_ns;
static int sweeps, flips;

/* ---- what is not looked at here ---- */

int pile_kernel_sweep_sockets(struct pile_kernel *k, pile_kernel_record_fn fn, void *arg)
{
	(void)k;
	(void)fn;
	(void)arg;
	sweeps++;
	return 0;
}

void pile_dependencies_sample(struct pile_sense *s, struct pile_kernel *k,
			      const struct pile_groups *g, uint64_t now, struct pile_sample *ret)
{
	(void)s;
	(void)k;
	(void)g;
	(void)now;
	(void)ret;
}

void pile_memory_sample(struct pile_sense *s, struct pile_groups *g, uint64_t now,
			struct pile_sample *ret)
{
	(void)s;
	(void)g;
	(void)now;
	(void)ret;
}

void pile_load_open(struct pile_load *l)
{
	l->loadavg_fd = -1;
}

void pile_load_close(struct pile_load *l)
{
	(void)l;
}

void pile_load_sample(struct pile_load *l, const struct pile_groups *g, uint64_t now,
		      struct pile_sample *ret)
{
	(void)l;
	(void)g;
	(void)now;
	(void)ret;
}

bool pile_look_sample(struct pile_look *look, const struct pile_groups *g, uint64_t now,
		      const struct pile_sample *seen)
{
	(void)look;
	(void)g;
	(void)now;
	(void)seen;
	return false;
}

void pile_look_group_reset(struct pile_look *look, uint32_t group)
{
	(void)look;
	(void)group;
}

void pile_workers_sample(struct pile_sense *s, const struct pile_groups *g, uint64_t now,
			 struct pile_sample *ret)
{
	(void)s;
	(void)g;
	(void)now;
	(void)ret;
}

void pile_growth_sample(struct pile_growth *g, struct pile_kernel *k,
			const bool named[PILE_GROUPS_MAX], uint64_t now, struct pile_sample *ret)
{
	(void)g;
	(void)k;
	(void)named;
	(void)now;
	(void)ret;
}

/* ---- a kernel of one processor ---- */

static int setup(void **state)
{
	(void)state;
	memset(&sense, 0, sizeof(sense));
	memset(&groups, 0, sizeof(groups));
	memset(&sample, 0, sizeof(sample));
	memset(shards, 0, sizeof(shards));
	memset(&control, 0, sizeof(control));
	kernel = (struct pile_kernel){
		.shards = shards,
		.n_shards = 1,
		.control = &control,
		.totals = &totals,
		.door_counts = door_counts,
	};
	memset(door_counts, 0, sizeof(door_counts));
	groups.n_groups = GROUP + 1;
	groups.groups[GROUP].used = groups.groups[GROUP].present = true;
	now_ns = START_NS;
	sweeps = flips = 0;
	return 0;
}

static uint32_t slot_of_time(uint64_t t_ns)
{
	return (uint32_t)(t_ns >> PILE_WHEEL_SLOT_SHIFT) % PILE_WHEEL_SLOTS;
}

static void request_open(void)
{
	shards[GROUP].opened++;
	shards[GROUP].wheel[control.generation][slot_of_time(now_ns)]++;
}

/* The one that is in this slot of this generation. */
static void request_answer(uint64_t opened_ns, int generation)
{
	shards[GROUP].answered++;
	shards[GROUP].wheel[generation][slot_of_time(opened_ns)]--;
}

static void tick(void)
{
	uint32_t before = control.generation;

	pile_sense_tick(&sense, &kernel, &groups, now_ns, &sample);
	flips += control.generation != before;
	now_ns += PILE_TICK_NS;
}

static void seconds(unsigned int n)
{
	for (unsigned int i = 0; i < 10 * n; i++)
		tick();
}

/* ---- what waits ---- */

static void test_one_waits_and_is_answered(void **state)
{
	const struct pile_sample_group *g = &sample.groups[GROUP];
	uint64_t opened_ns;

	(void)state;
	seconds(3);
	for (int round = 0; round < 12; round++) { /* at each place of a second */
		opened_ns = now_ns;
		request_open();
		tick();
		assert_int_equal(g->waiting, 1);
		assert_int_equal(g->age[0], 1);
		assert_true(g->oldest_ns > 0);
		request_answer(opened_ns, shards[GROUP].wheel[0][slot_of_time(opened_ns)] ? 0 : 1);
		tick();
		assert_int_equal(g->waiting, 0);
		assert_int_equal(g->oldest_ns, 0);
		assert_int_equal(g->opened, g->answered);
	}
}

/* An end that nobody has seen: the sweep leaves it behind, it counts as closed, and nothing waits any more. */
static void test_a_missed_end_is_drift(void **state)
{
	const struct pile_sample_group *g = &sample.groups[GROUP];

	(void)state;
	request_open();
	seconds(2);
	assert_int_equal(g->waiting, 0);
	assert_int_equal(g->drift, 1);
	assert_int_equal(g->closed, 1);
	request_open(); /* and the next one is seen at once */
	tick();
	assert_int_equal(g->waiting, 1);
}

/* ---- how often the truth is looked for ---- */

static void test_each_second_while_requests_come(void **state)
{
	(void)state;
	for (int i = 0; i < 10; i++) {
		shards[GROUP].opened++;
		shards[GROUP].answered++;
		seconds(1);
	}
	assert_int_equal(sweeps, 10);
	assert_int_equal(flips, 10);
}

/* The last sweep finds nothing for it (a stub), so it would be settled: put where the next wheel is, as a sweep does. */
static void test_each_second_while_one_waits(void **state)
{
	uint64_t opened_ns = now_ns;

	(void)state;
	request_open();
	for (int i = 0; i < 100; i++) {
		int32_t *from = &shards[GROUP].wheel[!control.generation][slot_of_time(opened_ns)];

		if (i % 10 == 1) {
			shards[GROUP].wheel[control.generation][slot_of_time(opened_ns)] += *from;
			*from = 0;
		}
		tick();
		assert_int_equal(sample.groups[GROUP].waiting, 1);
	}
	assert_int_equal(sweeps, 10);
}

static void test_seldom_where_nothing_happens(void **state)
{
	(void)state;
	seconds(20);
	assert_in_range(sweeps, 4, 5);
	assert_int_equal(flips, sweeps);
	sweeps = 0;
	shards[GROUP].opened++;
	shards[GROUP].answered++;
	seconds(2);
	assert_in_range(sweeps, 1, 2);
}

static void test_each_second_while_a_queue_stands(void **state)
{
	(void)state;
	groups.n_listeners = 8;
	groups.listeners[7].used = true;
	groups.listeners[7].group = GROUP;
	groups.listeners[7].backlog = 1;
	seconds(10);
	assert_int_equal(sweeps, 10);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_one_waits_and_is_answered, setup),
		cmocka_unit_test_setup(test_a_missed_end_is_drift, setup),
		cmocka_unit_test_setup(test_each_second_while_requests_come, setup),
		cmocka_unit_test_setup(test_each_second_while_one_waits, setup),
		cmocka_unit_test_setup(test_seldom_where_nothing_happens, setup),
		cmocka_unit_test_setup(test_each_second_while_a_queue_stands, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

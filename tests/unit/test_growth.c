// SPDX-License-Identifier: GPL-2.0-or-later
/* Which worker grows without end, and which only breathes, warms up, or is another one by the same number. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>

#include "sense/growth.h"
#include "util/macro.h"

#define MIB (1024ULL * 1024)
#define NOTICE_NS (24 * 3600 * NS_PER_SEC)
#define SPAN_NS (60 * NS_PER_SEC) /* of 24 h */
#define GROUP 3
#define OTHERS 5 /* a group that the policy does not name */

static struct pile_growth growth;
static struct pile_sample sample;
static uint64_t now_ns;

/* What the walk meets. */
static struct pile_bpf_record_worker met[PILE_SNAPSHOT_WORKERS + 100];
static uint32_t n_met, n_walks;
static int walk_fails;
static const bool named[PILE_GROUPS_MAX] = { [GROUP] = true };
static uint64_t followed_before;
static uint32_t others_met;

uint64_t pile_kernel_unnamed_workers(const struct pile_kernel *k)
{
	(void)k;
	return 70;
}

void pile_kernel_unnamed_workers_allow(struct pile_kernel *k, uint64_t before, uint32_t number)
{
	(void)k;
	followed_before = before;
	others_met = number;
}

int pile_kernel_workers_walk(struct pile_kernel *k, pile_kernel_record_fn fn, void *arg)
{
	(void)k;
	n_walks++;
	for (uint32_t i = 0; i < n_met; i++)
		fn((const struct pile_bpf_record *)&met[i], arg);
	return walk_fails;
}

static struct pile_bpf_record_worker *worker(uint32_t pid, uint64_t bytes)
{
	struct pile_bpf_record_worker *rec = &met[n_met++];

	*rec = (struct pile_bpf_record_worker){
		.head = { PILE_RECORD_WORKER, sizeof(*rec) },
		.tgid = pid,
		.group = GROUP,
		.start_ns = 1000 + pid,
		.private_bytes = bytes,
		.resident_bytes = bytes + MIB,
		.comm = "php-fpm8.2",
	};
	return rec;
}

static int fresh(void **state)
{
	(void)state;
	memset(&growth, 0, sizeof(growth));
	memset(&sample, 0, sizeof(sample));
	n_met = n_walks = 0;
	walk_fails = 0;
	now_ns = 5000 * NS_PER_SEC;
	pile_growth_policy(&growth, NOTICE_NS);
	return 0;
}

static void tick(void)
{
	pile_growth_sample(&growth, NULL, named, now_ns, &sample);
	now_ns += PILE_TICK_NS;
}

/* Ticks until @seconds are over; each asks @held what the worker at @i holds by then. */
static void seconds(double s, uint64_t (*held)(uint32_t i, double t))
{
	static double t;
	uint64_t end = now_ns + (uint64_t)(s * (double)NS_PER_SEC);

	if (now_ns == 5000 * NS_PER_SEC)
		t = 0;
	for (; now_ns < end; t += 0.1) {
		for (uint32_t i = 0; i < n_met; i++)
			met[i].private_bytes = held(i, t);
		tick();
	}
}

/* ---- one of twenty leaks 1 MiB a second ---- */

static uint64_t leaks(uint32_t i, double t)
{
	uint64_t breath =
		(uint64_t)(t * 7 + i) % 5 * 6 * MIB; /* a request's memory, and freed again */

	return 20 * MIB + breath + (i == 7 ? (uint64_t)(t * (double)MIB) : 0);
}

static void one_of_twenty(void **state)
{
	(void)state;
	for (uint32_t i = 0; i < 20; i++)
		worker(100 + i, 20 * MIB);
	seconds(590, leaks);
	assert_int_equal(sample.groups[GROUP].growing, 0); /* not before ten spans are over */
	seconds(60, leaks);
	assert_int_equal(sample.groups[GROUP].growing, 1);
	assert_in_range(sample.groups[GROUP].growing_bytes, MIB * 95 / 100, MIB * 105 / 100);
	assert_int_equal(sample.n_growers, 1);
	assert_int_equal(sample.growers[0].pid, 107);
	assert_int_equal(sample.growers[0].group, GROUP);
	assert_int_equal(sample.grown_over_ns, 540 * NS_PER_SEC);
	assert_in_range(sample.growers[0].grown_bytes, 510 * MIB, 570 * MIB);
	/* a walk each ten seconds */
	assert_in_range(n_walks, 63, 68);
	/* gone: with the next walk nobody grows */
	met[7] = met[--n_met];
	seconds(11, leaks);
	assert_int_equal(sample.n_growers, 0);
	assert_int_equal(sample.groups[GROUP].growing, 0);
	assert_null(pile_growth_find(&growth, 107));
	assert_non_null(pile_growth_find(&growth, 119));
}

/* ---- what is no leak ---- */

static uint64_t warms_up(uint32_t i, double t)
{
	double left = 1;

	(void)i;
	for (int n = 0; n < (int)(t / 60); n++)
		left *= 0.7;
	return 20 * MIB + (uint64_t)((1 - left) * 400 * (double)MIB);
}

static uint64_t saw_tooth(uint32_t i, double t)
{
	(void)i;
	return 50 * MIB + (uint64_t)(t * (double)MIB) % (200 * MIB); /* a collection each 200 s */
}

static uint64_t steps(uint32_t i, double t)
{
	(void)i;
	return 50 * MIB + (uint64_t)(t / 150) * 40 * MIB; /* larger requests now and then */
}

static uint64_t trickle(uint32_t i, double t)
{
	(void)i;
	return 50 * MIB + (uint64_t)(t * 800); /* half a MiB in ten minutes */
}

static uint64_t flat(uint32_t i, double t)
{
	(void)i;
	(void)t;
	return 500 * MIB;
}

static void what_is_no_leak(void **state)
{
	static uint64_t (*const held[])(uint32_t i, double t) = { warms_up, saw_tooth, steps,
								  trickle, flat };

	for (size_t i = 0; i < ARRAY_LEN(held); i++) {
		fresh(state);
		worker(7, 0);
		for (int minute = 0; minute < 40; minute++) {
			seconds(60, held[i]);
			assert_int_equal(sample.groups[GROUP].growing, 0);
		}
	}
}

/* Off by up to 256 KiB each time, as the kernel's own counter is. */
static uint64_t blurred(uint32_t i, double t)
{
	(void)i;
	return 50 * MIB + (uint64_t)(t * (double)MIB / 4) + (uint64_t)(t * 13) % 5 * 50 * 1024;
}

static void a_blurred_one_is(void **state)
{
	(void)state;
	worker(7, 0);
	seconds(700, blurred);
	assert_int_equal(sample.groups[GROUP].growing, 1);
}

/* ---- who is who ---- */

static uint64_t grows(uint32_t i, double t)
{
	(void)i;
	return 10 * MIB + (uint64_t)(t * (double)MIB);
}

static void a_number_that_is_used_again(void **state)
{
	(void)state;
	worker(7, 0);
	seconds(660, grows);
	assert_int_equal(sample.n_growers, 1);
	met[0].start_ns++;
	seconds(11, grows);
	assert_int_equal(sample.n_growers, 0);
	seconds(500, grows);
	assert_int_equal(sample.n_growers, 0);
	seconds(100, grows);
	assert_int_equal(sample.n_growers, 1);
}

static void more_than_fit(void **state)
{
	(void)state;
	for (uint32_t i = 0; i < PILE_SNAPSHOT_WORKERS + 100; i++)
		worker(1 + 4096 * (i % 50) + i, MIB); /* many at one place of the index */
	tick();
	assert_int_equal(growth.n, PILE_SNAPSHOT_WORKERS);
	assert_int_equal(growth.lost, 100);
	for (uint32_t i = 0; i < PILE_SNAPSHOT_WORKERS; i++)
		assert_non_null(pile_growth_find(&growth, met[i].tgid));
	/* half of them go, the others find room */
	memmove(met, met + 1024, sizeof(met) - 1024 * sizeof(met[0]));
	n_met -= 1024;
	for (int i = 0; i < 210; i++)
		tick();
	assert_int_equal(growth.n, PILE_SNAPSHOT_WORKERS + 100 - 1024);
	assert_int_equal(growth.lost, 0);
	for (uint32_t i = 0; i < n_met; i++)
		assert_int_equal(pile_growth_find(&growth, met[i].tgid)->start_ns, met[i].start_ns);
}

/* Somebody starts more servers than are followed, before the service that the policy names has its workers. */
static void named_ones_come_first(void **state)
{
	(void)state;
	for (uint32_t i = 0; i < PILE_SNAPSHOT_WORKERS + 50; i++)
		worker(100 + i, MIB)->group = i % 2 ? OTHERS : OTHERS + 1;
	for (uint32_t i = 0; i < 20; i++)
		worker(50000 + i, MIB);
	tick();
	assert_int_equal(growth.lost, 20);
	assert_int_equal(growth.others_lost, 50);
	assert_int_equal(others_met, PILE_SNAPSHOT_WORKERS + 50);
	assert_int_equal(followed_before, 70);
	for (int i = 0; i < 11; i++) /* the next walk is a hurried one, and finds room */
		tick();
	assert_int_equal(growth.lost, 0);
	assert_int_equal(growth.others_lost, PILE_SNAPSHOT_WORKERS + 50);
	assert_int_equal(growth.n, 20);
	for (uint32_t i = 0; i < 20; i++)
		assert_non_null(pile_growth_find(&growth, 50000 + i));
	/* the others go: after a while those that are left are seen, too */
	memmove(met, met + PILE_SNAPSHOT_WORKERS,
		sizeof(met) - PILE_SNAPSHOT_WORKERS * sizeof(met[0]));
	n_met -= PILE_SNAPSHOT_WORKERS;
	for (int i = 0; i < 750; i++)
		tick();
	assert_int_equal(growth.lost + growth.others_lost, 0);
	assert_int_equal(growth.n, 70);
}

static void an_unfinished_walk_forgets_nobody(void **state)
{
	(void)state;
	worker(7, MIB)->group = OTHERS;
	worker(8, MIB);
	tick();
	n_met = 1;
	walk_fails = -ETIME;
	for (int i = 0; i < 110; i++)
		tick();
	assert_non_null(pile_growth_find(&growth, 8));
	assert_int_equal(others_met, 0); /* nobody knows how many there are: no bound for them */
	walk_fails = 0;
	for (int i = 0; i < 110; i++)
		tick();
	assert_null(pile_growth_find(&growth, 8));
}

/* Swapped out, and in again: its own all the while, and no growth. */
static void swapped_out_and_in_again(void **state)
{
	(void)state;
	growth.look = true;
	worker(7, 300 * MIB);
	for (int i = 0; i < 20; i++) {
		met[0].private_bytes = (300 - 10 * (uint64_t)i) * MIB;
		met[0].swapped_bytes = 10 * (uint64_t)i * MIB;
		tick();
		assert_int_equal(pile_growth_rising(&growth, &growth.workers[0]), 0);
	}
	assert_int_equal(growth.workers[0].private_bytes, 110 * MIB);
	assert_int_equal(growth.workers[0].own_bytes, 300 * MIB);
	for (int i = 19; i >= 0; i--) {
		met[0].private_bytes = (300 - 10 * (uint64_t)i) * MIB;
		met[0].swapped_bytes = 10 * (uint64_t)i * MIB;
		tick();
		assert_int_equal(pile_growth_rising(&growth, &growth.workers[0]), 0);
	}
}

/* Somebody wants to see a worker that no walk has met: the next one comes within a second. */
static void asked_for(void **state)
{
	(void)state;
	for (int i = 0; i < 50; i++)
		tick();
	assert_int_equal(n_walks, 1);
	worker(9, MIB);
	assert_null(pile_growth_find(&growth, 9));
	tick();
	assert_int_equal(n_walks, 2);
	assert_int_equal(pile_growth_find(&growth, 9)->resident_bytes, 2 * MIB);
	assert_string_equal(pile_growth_find(&growth, 9)->comm, "php-fpm8.2");
	/* of one that never comes: once a second */
	for (int i = 0; i < 50; i++) {
		pile_growth_find(&growth, 10);
		tick();
	}
	assert_in_range(n_walks, 6, 8);
}

static void another_policy(void **state)
{
	(void)state;
	worker(7, 0);
	seconds(660, grows);
	assert_int_equal(sample.n_growers, 1);
	pile_growth_policy(&growth, NOTICE_NS); /* the same again */
	seconds(11, grows);
	assert_int_equal(sample.n_growers, 1);
	pile_growth_policy(&growth, 24 * 60 * NS_PER_SEC); /* ten seconds instead of ten minutes */
	seconds(0.5, grows);
	assert_int_equal(sample.n_growers, 0);
	seconds(12, grows);
	assert_int_equal(sample.n_growers, 1);
	assert_in_range(sample.growers[0].rate_bytes, MIB * 9 / 10, MIB * 11 / 10);
	pile_growth_policy(&growth, 0);
	seconds(60, grows);
	assert_int_equal(sample.n_growers, 0);
	assert_int_equal(pile_growth_find(&growth, 7)->rate_bytes, 0);
}

static void bad_records(void **state)
{
	(void)state;
	worker(0, MIB);
	worker(5, MIB)->group = PILE_GROUPS_MAX;
	worker(6, MIB)->group = PILE_NO_GROUP;
	worker(7, UINT64_MAX)->head.type = PILE_RECORD_SOCKET;
	worker(8, UINT64_MAX);
	memset(met[4].comm, 'x', sizeof(met[4].comm));
	tick();
	assert_int_equal(growth.n, 1);
	assert_int_equal(strlen(pile_growth_find(&growth, 8)->comm), 15);
}

/* Looked at each tick: what was taken in the last 400 ms, and for how long without a pause. */
static void looked_at(void **state)
{
	const struct pile_growth_worker *w;
	uint64_t recent_ns;
	uint32_t back;

	(void)state;
	worker(7, 30 * MIB);
	worker(8, 30 * MIB);
	seconds(20, leaks);
	assert_in_range(n_walks, 2, 4);
	back = pile_growth_recent(&growth, &recent_ns);
	assert_int_equal(back, 0);
	assert_int_equal(recent_ns, 0);
	growth.look = true;
	n_walks = 0;
	for (int i = 0; i < 8; i++) {
		met[0].private_bytes += 20 * MIB;
		tick();
	}
	assert_int_equal(n_walks, 8);
	back = pile_growth_recent(&growth, &recent_ns);
	assert_int_equal(back, 4);
	assert_int_equal(recent_ns, 400 * NS_PER_MS);
	w = pile_growth_find(&growth, 7);
	assert_int_equal(pile_growth_risen(&growth, w, back), 80 * MIB);
	assert_int_equal(pile_growth_rising(&growth, w), 700 * NS_PER_MS);
	assert_int_equal(w->private_bytes - w->risen_from, 140 * MIB);
	assert_int_equal(pile_growth_risen(&growth, pile_growth_find(&growth, 8), back), 0);
	/* a pause: what the kernel's counters are off by is one */
	met[0].private_bytes += 100 * 1024;
	tick();
	assert_int_equal(pile_growth_rising(&growth, w), 0);
	/* another process by this number: nothing is known of it */
	met[0].start_ns++;
	met[0].private_bytes += 500 * MIB;
	tick();
	w = pile_growth_find(&growth, 7);
	assert_int_equal(pile_growth_risen(&growth, w, back), 0);
	assert_int_equal(pile_growth_risen(&growth, w, 1), 0);
	assert_int_equal(w->rising_ns, now_ns - PILE_TICK_NS);
}

/* One that takes 8 MiB at a time, and computes in between, rises; one that took its memory and works with it does not. */
static void in_steps(void **state)
{
	const struct pile_growth_worker *w;

	(void)state;
	worker(7, 30 * MIB);
	seconds(20, leaks);
	growth.look = true;
	tick();
	for (int i = 0; i < 30; i++) {
		met[0].private_bytes += i % 3 ? 0 : 8 * MIB; /* two walks of three it does not */
		tick();
		w = pile_growth_find(&growth, 7);
		assert_int_equal(pile_growth_rising(&growth, w) > 0, i % 3 == 0);
	}
	met[0].private_bytes += 8 * MIB;
	tick();
	w = pile_growth_find(&growth, 7);
	assert_int_equal(pile_growth_rising(&growth, w), 3100 * NS_PER_MS);
	assert_int_equal(w->private_bytes - w->risen_from, 88 * MIB);
	/* three walks without: it begins anew */
	for (int i = 0; i < 3; i++)
		tick();
	met[0].private_bytes += 8 * MIB;
	tick();
	assert_int_equal(pile_growth_rising(&growth, w), 100 * NS_PER_MS);
	/* what it gives back in between ends it, too */
	met[0].private_bytes -= 8 * MIB;
	tick();
	met[0].private_bytes += 8 * MIB;
	tick();
	assert_int_equal(pile_growth_rising(&growth, w), 100 * NS_PER_MS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(one_of_twenty, fresh),
		cmocka_unit_test_setup(what_is_no_leak, fresh),
		cmocka_unit_test_setup(a_blurred_one_is, fresh),
		cmocka_unit_test_setup(a_number_that_is_used_again, fresh),
		cmocka_unit_test_setup(more_than_fit, fresh),
		cmocka_unit_test_setup(named_ones_come_first, fresh),
		cmocka_unit_test_setup(an_unfinished_walk_forgets_nobody, fresh),
		cmocka_unit_test_setup(swapped_out_and_in_again, fresh),
		cmocka_unit_test_setup(asked_for, fresh),
		cmocka_unit_test_setup(another_policy, fresh),
		cmocka_unit_test_setup(bad_records, fresh),
		cmocka_unit_test_setup(looked_at, fresh),
		cmocka_unit_test_setup(in_steps, fresh),
	};

	return cmocka_run_group_tests_name("growth", tests, NULL, NULL);
}

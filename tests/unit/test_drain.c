// SPDX-License-Identifier: GPL-2.0-or-later
/* How many waits are ended at once: few while nothing comes of it, more as answers come, all in the end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "act/act.h"
#include "util/endpoint.h"

#define GROUP 3
#define NETNS 7
#define NOW_NS (100 * NS_PER_SEC)
#define SWEPT_NS (NOW_NS - 50 * NS_PER_MS)

/* One gate, shut and under lease; the kernel's end of netlink is a socket pair. */
static struct pile_act act;
static struct pile_act_gate *const gate = &act.gates[5];
static struct pile_sense sense;
static struct pile_kernel kernel;
static struct pile_bpf_shard shards[PILE_GROUPS_MAX];
static struct pile_bpf_destination_counts destination;
static unsigned int answers_after; /* so many questions it answers somebody; 0: never */
static int netlink = -1;

int pile_kernel_destination_get(struct pile_kernel *k, const struct pile_bpf_destination *key,
				struct pile_bpf_destination_counts *ret)
{
	(void)k;
	(void)key;
	if (answers_after && --answers_after == 0)
		destination.last_established_ns = SWEPT_NS + 1;
	*ret = destination;
	return 0;
}

/* What the kernel says of an established connection when it is asked once more. */
static bool still_waits;

bool pile_recheck_is_waiting(int fd, const struct pile_sense_pending *pending)
{
	(void)fd;
	assert_true(pending->state > PILE_CONNECT_PENDING);
	return still_waits;
}

static int fresh(void **state)
{
	int pair[2];

	(void)state;
	memset(&act, 0, sizeof(act));
	memset(&sense, 0, sizeof(sense));
	memset(shards, 0, sizeof(shards));
	memset(&destination, 0, sizeof(destination));
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, pair), 0);
	act.diag_fd = pair[0];
	netlink = pair[1];
	kernel.shards = shards;
	kernel.n_shards = 1;
	shards[GROUP].opened = 1;
	sense.n_cpus = 2;
	sense.connects_swept_ns = SWEPT_NS;
	still_waits = true;
	answers_after = 0;
	gate->used = true;
	act.n_gates = 6;
	gate->group = GROUP;
	gate->lease_ns = NOW_NS + PILE_ACT_LEASE_NS;
	assert_int_equal(pile_endpoint_parse("10.9.0.2:3306", false, &gate->endpoint), 0);
	return 0;
}

static int over(void **state)
{
	(void)state;
	close(act.diag_fd);
	close(netlink);
	return 0;
}

/* Its source port is its name. */
static void waits(uint16_t port, uint64_t for_ns)
{
	sense.pending[sense.n_pending++] = (struct pile_sense_pending){
		.group = GROUP,
		.netns = NETNS,
		.endpoint = gate->endpoint,
		.source_port = port,
		.family = AF_INET,
		.started_ns = NOW_NS - for_ns,
	};
}

/* The source port of the next wait that the kernel is asked to end; 0: of none. */
static uint16_t asked(void)
{
	struct {
		struct nlmsghdr head;
		struct inet_diag_req_v2 req;
	} msg;

	if (recv(netlink, &msg, sizeof(msg), 0) != (ssize_t)sizeof(msg))
		return 0;
	return (uint16_t)(msg.req.id.idiag_sport >> 8 | msg.req.id.idiag_sport << 8);
}

static unsigned int asked_in_all(void)
{
	unsigned int n = 0;

	while (asked())
		n++;
	return n;
}

static void tick(void)
{
	pile_drain_tick(&act, &kernel, &sense, NETNS, NOW_NS);
}

static bool pass(uint64_t now_ns)
{
	return pile_act_drain_pass(&act, &kernel, &sense, NETNS, now_ns);
}

static void the_oldest_first_and_not_all(void **state)
{
	(void)state;
	for (uint16_t i = 1; i <= 20; i++)
		waits(i, (2 + (i * 7) % 20) * NS_PER_SEC);
	tick();
	assert_true(act.draining);
	assert_int_equal(asked(), 17); /* 17 * 7 % 20 is 19 */
	assert_int_equal(asked(), 14);
	assert_int_equal(asked_in_all(), 6); /* eight at once, on two CPUs */
	assert_true(pass(NOW_NS + PILE_ACT_DRAIN_PASS_NS));
	assert_int_equal(asked_in_all(), 0); /* none is through */
	shards[GROUP].answered = 3;
	assert_true(pass(NOW_NS + 2 * PILE_ACT_DRAIN_PASS_NS));
	assert_int_equal(asked_in_all(), 3);
	shards[GROUP].answered = 100;
	assert_true(pass(NOW_NS + 3 * PILE_ACT_DRAIN_PASS_NS));
	assert_int_equal(asked_in_all(), 8);
	assert_false(pass(NOW_NS + 4 * PILE_ACT_DRAIN_PASS_NS));
	assert_int_equal(asked_in_all(), 1); /* twenty, and none of them twice */
}

static void a_group_without_requests_has_no_pace(void **state)
{
	(void)state;
	shards[GROUP].opened = 0;
	for (uint16_t i = 1; i <= 100; i++)
		waits(i, NS_PER_SEC);
	tick();
	assert_int_equal(asked_in_all(), 100);
}

static void nobody_without_a_lease(void **state)
{
	(void)state;
	waits(1, 2 * NS_PER_SEC);
	gate->lease_ns = NOW_NS;
	tick();
	assert_int_equal(asked_in_all(), 0);
	gate->lease_ns = NOW_NS + 1;
	tick();
	assert_int_equal(asked(), 1);
}

/* SOCK_DESTROY would take an established socket as well. */
static void nobody_whose_destination_has_answered(void **state)
{
	(void)state;
	waits(1, 2 * NS_PER_SEC);
	destination.last_established_ns = SWEPT_NS;
	tick();
	assert_int_equal(asked_in_all(), 0);
	destination.last_established_ns = SWEPT_NS - 1;
	tick();
	assert_int_equal(asked(), 1);
}

/* All began in one moment, so all their SYNs go out again in one moment: that of the pass that ends them. */
static void nobody_more_once_it_answers_in_mid_pass(void **state)
{
	(void)state;
	for (uint16_t i = 1; i <= 6; i++)
		waits(i, 3 * NS_PER_SEC);
	answers_after = 4; /* one question of the pass, and one before each wait */
	tick();
	assert_int_equal(asked(), 1);
	assert_int_equal(asked(), 2);
	assert_int_equal(asked_in_all(), 0);
	assert_false(pass(NOW_NS + PILE_ACT_DRAIN_PASS_NS));
	assert_int_equal(asked_in_all(), 0);
	sense.connects_swept_ns = SWEPT_NS + 2; /* and it is gone again: the next sweep's list */
	tick();
	assert_int_equal(asked_in_all(), 6);
}

static void nobody_by_an_old_sweep(void **state)
{
	(void)state;
	for (uint16_t i = 1; i <= 20; i++)
		waits(i, 2 * NS_PER_SEC);
	tick();
	assert_int_equal(asked_in_all(), 8);
	shards[GROUP].answered = 8;
	assert_false(pass(SWEPT_NS + PILE_ACT_DRAIN_STALE_NS + 1));
	assert_int_equal(asked_in_all(), 0);
}

/* Half open: who waited before is left to his next SYN, who was let through and is stuck is not. */
static void half_open_only_what_came_since(void **state)
{
	(void)state;
	gate->value.allow = 1;
	gate->half_ns = NOW_NS - NS_PER_SEC;
	waits(1, 2 * NS_PER_SEC);
	waits(2, 800 * NS_PER_MS);
	waits(3, 300 * NS_PER_MS);
	waits(4, 0);
	sense.pending[3].started_ns = NOW_NS + 1; /* begun after the tick's clock was read */
	tick();
	assert_int_equal(asked(), 2);
	assert_int_equal(asked(), 0);
}

/* Three established connections that wait: silent, mute, unacknowledged. */
static void establish(void)
{
	for (uint16_t i = 0; i < 3; i++) {
		waits(10 + i, (12 - i) * NS_PER_SEC);
		sense.pending[i].state = PILE_CONNECT_SILENT + i;
	}
}

static void established_where_the_server_is_mute(void **state)
{
	(void)state;
	establish();
	tick();
	assert_int_equal(asked_in_all(), 0); /* not declared */
	gate->speaks_first = gate->mute = true;
	tick();
	assert_int_equal(asked(), 10);
	assert_int_equal(asked(), 11);
	assert_int_equal(asked(), 12);
	assert_int_equal(asked(), 0);
	/* a question is given ten seconds: who greets nobody may be a queue before a server that works on it */
	sense.connects_swept_ns++;
	sense.pending[0].started_ns = NOW_NS - 9 * NS_PER_SEC;
	tick();
	assert_int_equal(asked(), 11);
	assert_int_equal(asked(), 12);
	assert_int_equal(asked(), 0);
}

/* Shut because nobody can connect: an answer may still be on its way. */
static void established_where_it_is_only_dead(void **state)
{
	(void)state;
	establish();
	gate->speaks_first = gate->by_hand = true;
	tick();
	assert_int_equal(asked_in_all(), 0); /* held: nothing is proved */
	gate->by_hand = false;
	tick();
	assert_int_equal(asked(), 11);
	assert_int_equal(asked(), 12);
	assert_int_equal(asked(), 0);
}

static void established_is_left_alone(void **state)
{
	(void)state;
	establish();
	gate->speaks_first = gate->mute = true;
	still_waits = false; /* it has got its answer meanwhile */
	tick();
	assert_int_equal(asked_in_all(), 0);
	still_waits = true;
	sense.connects_swept_ns++;
	destination.last_heard_ns = sense.connects_swept_ns; /* somebody else has */
	tick();
	assert_int_equal(asked_in_all(), 0);
	destination.last_heard_ns = 0;
	gate->value.allow = 1; /* half open */
	gate->half_ns = NOW_NS - 8 * NS_PER_SEC;
	tick();
	assert_int_equal(asked_in_all(), 0);
	gate->value.allow = 0;
	gate->lease_ns = NOW_NS;
	tick();
	assert_int_equal(asked_in_all(), 0);
	gate->lease_ns = NOW_NS + 1;
	tick();
	assert_int_equal(asked_in_all(), 3);
}

static void out_of_reach_is_counted(void **state)
{
	(void)state;
	waits(1, 2 * NS_PER_SEC);
	waits(2, 2 * NS_PER_SEC);
	sense.pending[0].netns = NETNS + 1;
	tick();
	assert_int_equal(asked(), 2);
	assert_int_equal(asked(), 0);
	assert_int_equal(act.out_of_reach, 1);
	tick();
	assert_int_equal(act.out_of_reach, 1); /* once each sweep */
}

static void a_window_for_each_cpu(void **state)
{
	(void)state;
	assert_int_equal(pile_drain_quota(0, 0, 1000, 1000, 2, false), 8);
	assert_int_equal(pile_drain_quota(0, 0, 1000, 1000, 64, false), 256);
	assert_int_equal(pile_drain_quota(0, 0, 3, 3, 2, false), 3);
	assert_int_equal(pile_drain_quota(0, 0, 0, 0, 2, true), 0);
}

static void one_more_for_each_that_is_through(void **state)
{
	(void)state;
	assert_int_equal(pile_drain_quota(0, 8, 100, 100, 2, false), 0);
	assert_int_equal(pile_drain_quota(5, 8, 100, 100, 2, false), 5);
	/* answers of others than those that were woken make room as well: for a window, not for all */
	assert_int_equal(pile_drain_quota(UINT64_MAX / 2, 8, 100, 100, 2, false), 8);
	assert_int_equal(pile_drain_quota(0, UINT32_MAX, 100, 100, 2, false), 0);
}

/* Workers that sleep before they answer, or answer nobody: nothing clocks, and still nobody is forgotten. */
static void all_are_out_in_time_whatever_is_answered(void **state)
{
	(void)state;
	for (uint32_t n = 1; n <= 2048; n = n * 3 + 1)
		for (uint32_t cpus = 1; cpus <= 64; cpus *= 8) {
			uint32_t left = n, woken = 0, ticks = 0;

			while (left) {
				uint32_t quota = pile_drain_quota(0, woken, left, n, cpus, true);

				assert_in_range(quota, 1, left);
				left -= quota;
				woken += quota;
				ticks++;
			}
			assert_in_range(ticks, 1, PILE_ACT_DRAIN_TICKS);
		}
}

static void a_pass_is_bounded(void **state)
{
	(void)state;
	assert_int_equal(pile_drain_quota(100000, 0, 100000, 100000, 64, true),
			 PILE_ACT_ENDS_PER_PASS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_window_for_each_cpu),
		cmocka_unit_test(one_more_for_each_that_is_through),
		cmocka_unit_test(all_are_out_in_time_whatever_is_answered),
		cmocka_unit_test(a_pass_is_bounded),
		cmocka_unit_test_setup_teardown(the_oldest_first_and_not_all, fresh, over),
		cmocka_unit_test_setup_teardown(a_group_without_requests_has_no_pace, fresh, over),
		cmocka_unit_test_setup_teardown(nobody_without_a_lease, fresh, over),
		cmocka_unit_test_setup_teardown(nobody_whose_destination_has_answered, fresh, over),
		cmocka_unit_test_setup_teardown(nobody_more_once_it_answers_in_mid_pass, fresh,
						over),
		cmocka_unit_test_setup_teardown(nobody_by_an_old_sweep, fresh, over),
		cmocka_unit_test_setup_teardown(half_open_only_what_came_since, fresh, over),
		cmocka_unit_test_setup_teardown(established_where_the_server_is_mute, fresh, over),
		cmocka_unit_test_setup_teardown(established_where_it_is_only_dead, fresh, over),
		cmocka_unit_test_setup_teardown(established_is_left_alone, fresh, over),
		cmocka_unit_test_setup_teardown(out_of_reach_is_counted, fresh, over),
	};

	return cmocka_run_group_tests_name("drain", tests, NULL, NULL);
}

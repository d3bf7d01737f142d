// SPDX-License-Identifier: GPL-2.0-or-later
/* Which listeners have a door, and what the kernel is told of their addresses: hand-made listeners, no kernel. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "groups/groups.h"
#include "util/macro.h"

#define NETNS 7
#define WITH 0	  /* a group with connections_max */
#define OTHER 1	  /* another one with it */
#define WITHOUT 2 /* one without */

static struct pile_groups groups;
static struct pile_kernel kernel;
static int told[PILE_LISTENERS_MAX]; /* index by cookie; -1 = nothing */
static uint32_t ports, cleared;

int pile_kernel_listener_set(struct pile_kernel *k, uint64_t cookie, uint32_t group, uint32_t door)
{
	(void)k;
	(void)group;
	told[cookie] = (int)door;
	return 0;
}

int pile_kernel_door_port_set(struct pile_kernel *k, const struct pile_endpoint *ep, int index,
			      bool v6only)
{
	(void)k;
	(void)ep;
	(void)v6only;
	ports += index >= 0;
	return 0;
}

void pile_kernel_door_claim(struct pile_kernel *k, uint32_t index, uint32_t group)
{
	(void)k;
	(void)index;
	(void)group;
}

void pile_kernel_door_clear(struct pile_kernel *k, uint32_t index)
{
	(void)k;
	(void)index;
	cleared++;
}

void pile_kernel_doors_tell(struct pile_kernel *k, uint64_t gone,
			    const uint32_t doored[PILE_GROUPS_MAX / 32], uint32_t own_netns)
{
	(void)k;
	(void)gone;
	(void)doored;
	(void)own_netns;
}

static struct pile_listener *listener(uint32_t at, uint32_t group, const char *place)
{
	struct pile_listener *l = &groups.listeners[at];

	*l = (struct pile_listener){ .used = true, .group = group, .cookie = at, .netns = NETNS };
	assert_int_equal(pile_endpoint_parse(place, false, &l->endpoint), 0);
	groups.n_listeners = MAX(groups.n_listeners, at + 1);
	groups.doors_due = true;
	return l;
}

static struct pile_listener *at_port(uint32_t at, uint32_t group, uint32_t host, uint32_t port)
{
	char place[64];

	snprintf(place, sizeof(place), "127.0.%u.%u:%u", host / 256, host % 256, port);
	return listener(at, group, place);
}

static int setup(void **state)
{
	(void)state;
	memset(&groups, 0, sizeof(groups));
	groups.own_netns = NETNS;
	groups.n_groups = 3;
	for (int i = 0; i < 3; i++)
		groups.groups[i].used = groups.groups[i].configured = true;
	groups.groups[WITH].config.connections_max = groups.groups[OTHER].config.connections_max =
		10;
	for (int i = 0; i < PILE_LISTENERS_MAX; i++)
		told[i] = -1;
	ports = cleared = 0;
	return 0;
}

static uint32_t with_door(void)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < groups.n_listeners; i++)
		n += groups.listeners[i].used && groups.listeners[i].door;
	return n;
}

static uint32_t door_for(uint32_t at)
{
	const struct pile_endpoint *ep = &groups.listeners[at].endpoint;

	for (uint32_t i = 0; i < groups.n_door_ports[groups.door_ports_told]; i++) {
		const struct pile_door_port *p = &groups.door_ports[groups.door_ports_told][i];

		if (pile_endpoint_equal(&p->endpoint, ep))
			return p->door;
	}
	return UINT32_MAX;
}

static void test_one_for_each_address(void **state)
{
	(void)state;
	at_port(0, WITH, 1, 8080);
	at_port(1, WITH, 1, 8080); /* SO_REUSEPORT, or one that is about to go */
	at_port(2, WITH, 1, 8081);
	at_port(3, WITHOUT, 1, 8082);
	listener(4, WITH, "/run/app.sock");
	pile_groups_doors(&groups, &kernel);
	assert_int_equal(groups.listeners[0].door, groups.listeners[1].door);
	assert_int_not_equal(groups.listeners[0].door, groups.listeners[2].door);
	assert_true(groups.listeners[4].door > 0);
	assert_int_equal(told[3], -1);
	assert_true(groups.doors_untagged);
	/* it outlives its listener, and is the next one's */
	groups.listeners[2].used = false;
	groups.doors_due = true;
	pile_groups_doors(&groups, &kernel);
	at_port(5, WITH, 1, 8081);
	pile_groups_doors(&groups, &kernel);
	assert_int_equal(groups.listeners[5].door, told[2]);
	/* until the policy takes it; its place is another's when two sweeps have passed, */
	groups.groups[WITH].config.connections_max = 0;
	groups.doors_due = true;
	groups.doors_sweeps = 10;
	pile_groups_doors(&groups, &kernel);
	assert_int_equal(with_door(), 0);
	assert_int_equal(told[5], 0);
	groups.doors_sweeps = 11;
	pile_groups_doors(&groups, &kernel);
	assert_int_equal(cleared, 0);
	groups.doors_sweeps = 12;
	pile_groups_doors(&groups, &kernel);
	assert_int_equal(cleared, 0);
	/* and a walk: what a unix listener's address leads to stands in the kernel until then */
	groups.walked = ++groups.epoch;
	pile_groups_doors(&groups, &kernel);
	assert_int_equal(cleared, 3);
	assert_int_equal(groups.doors_gone, 0);
}

static void test_exempt_listener(void **state)
{
	struct pile_policy_group *config = &groups.groups[WITH].config;

	(void)state;
	config->n_shed_exempt = 2;
	assert_int_equal(pile_endpoint_parse(":8081", true, &config->shed_exempt[0]), 0);
	assert_int_equal(pile_endpoint_parse("127.0.0.1", true, &config->shed_exempt[1]), 0);
	at_port(0, WITH, 1, 8080); /* an address without a port is a client's */
	at_port(1, WITH, 1, 8081);
	pile_groups_doors(&groups, &kernel);
	assert_true(groups.listeners[0].door > 0);
	assert_int_equal(groups.listeners[1].door, 0);
}

/* A listener that comes, early in the table, when all places are taken: nobody who is there loses his. */
static void test_no_place_is_taken_from_the_living(void **state)
{
	uint32_t before[PILE_LISTENERS_MAX];

	(void)state;
	for (uint32_t i = 0; i < 31; i++)
		at_port(1 + i, WITH, 1, 1000 + i);
	for (uint32_t i = 0; i < 32; i++)
		at_port(40 + i, OTHER, 1, 2000 + i);
	pile_groups_doors(&groups, &kernel);
	assert_int_equal(with_door(), 63);
	for (uint32_t i = 0; i < groups.n_listeners; i++)
		before[i] = groups.listeners[i].door;
	at_port(0, WITH, 1, 3000);
	for (int round = 0; round < 5; round++) {
		groups.doors_due = true;
		groups.doors_sweeps += 2;
		groups.walked = ++groups.epoch;
		pile_groups_doors(&groups, &kernel);
	}
	assert_int_equal(groups.listeners[0].door, 0);
	for (uint32_t i = 1; i < groups.n_listeners; i++)
		assert_int_equal(groups.listeners[i].door, before[i]);
	assert_int_equal(groups.doors_lost, 1);
	/* one goes: its place is free after two sweeps and a walk */
	groups.listeners[40].used = false;
	for (int round = 0; round < 3; round++) {
		groups.doors_due = true;
		groups.doors_sweeps += 2;
		groups.walked = ++groups.epoch;
		pile_groups_doors(&groups, &kernel);
	}
	assert_true(groups.listeners[0].door > 0);
}

static void test_a_group_has_half_of_them_at_most(void **state)
{
	(void)state;
	for (uint32_t i = 0; i < 100; i++)
		at_port(i, WITH, 1, 1000 + i);
	at_port(200, OTHER, 1, 2000);
	pile_groups_doors(&groups, &kernel);
	assert_int_equal(with_door(), 33);
	assert_true(groups.listeners[200].door > 0);
	assert_int_equal(groups.doors_lost, 68);
}

static void test_neighbours(void **state)
{
	(void)state;
	/* beside a door on one address, neighbours on others are nothing that it could catch */
	at_port(0, WITH, 1, 8080);
	for (uint32_t i = 0; i < 300; i++)
		at_port(1 + i, WITHOUT, 2 + i, 8080);
	pile_groups_doors(&groups, &kernel);
	assert_int_equal(groups.n_door_ports[groups.door_ports_told], 1);
	assert_int_equal(door_for(0), groups.listeners[0].door);
	/* beside a wildcard each of them is told; one more than there is room for: nobody is refused at that port */
	listener(310, OTHER, "[::]:9090");
	at_port(311, WITHOUT, 1, 9090);
	pile_groups_doors(&groups, &kernel);
	assert_int_equal(door_for(310), groups.listeners[310].door);
	assert_int_equal(door_for(311), 0);
	assert_false(groups.doors[groups.listeners[310].door].ambiguous);
	for (uint32_t i = 0; i < 150; i++)
		at_port(320 + i, WITHOUT, 2 + i, 9090);
	pile_groups_doors(&groups, &kernel);
	assert_int_equal(door_for(310), 0);
	assert_true(groups.doors[groups.listeners[310].door].ambiguous);
	assert_int_equal(door_for(0), groups.listeners[0].door);
	assert_false(groups.doors[groups.listeners[0].door].ambiguous);
}

static void test_two_groups_on_one_address(void **state)
{
	(void)state;
	at_port(0, WITH, 1, 8080);
	at_port(1, WITHOUT, 1, 8080);
	at_port(2, WITH, 1, 8081);
	pile_groups_doors(&groups, &kernel);
	assert_int_equal(door_for(0), 0);
	assert_true(groups.doors[groups.listeners[0].door].ambiguous);
	assert_false(groups.doors[groups.listeners[2].door].ambiguous);
	groups.listeners[1].used = false;
	groups.doors_due = true;
	pile_groups_doors(&groups, &kernel);
	assert_int_equal(door_for(0), groups.listeners[0].door);
	assert_false(groups.doors[groups.listeners[0].door].ambiguous);
}

static void test_another_network_namespace(void **state)
{
	(void)state;
	at_port(0, WITH, 1, 8080)->netns = NETNS + 1;
	at_port(1, WITH, 1, 8080);
	listener(2, WITH, "/run/app.sock")->netns = NETNS + 1;
	pile_groups_doors(&groups, &kernel);
	assert_int_not_equal(groups.listeners[0].door, groups.listeners[1].door);
	assert_true(groups.doors[groups.listeners[0].door].out_of_reach);
	assert_false(groups.doors[groups.listeners[1].door].out_of_reach);
	assert_false(groups.doors[groups.listeners[2].door].out_of_reach);
	assert_int_equal(groups.n_door_ports[groups.door_ports_told], 1);
}

#define T(name) cmocka_unit_test_setup(name, setup)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_one_for_each_address),
		T(test_exempt_listener),
		T(test_no_place_is_taken_from_the_living),
		T(test_a_group_has_half_of_them_at_most),
		T(test_neighbours),
		T(test_two_groups_on_one_address),
		T(test_another_network_namespace),
	};

	return cmocka_run_group_tests_name("doors", tests, NULL, NULL);
}

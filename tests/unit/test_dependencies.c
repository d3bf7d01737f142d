// SPDX-License-Identifier: GPL-2.0-or-later
/* Which destinations keep their place when there are more than places: what answers, and what many wait for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "sense/sense.h"
#include "util/endpoint.h"

#define GROUP 3
#define MAILS 400 /* under way at once: more than there are places */

static struct pile_sense sense;
static struct pile_sample sample;
static struct pile_groups groups;
static struct pile_bpf_totals totals;
static struct pile_bpf_control control;
static struct pile_kernel kernel = { .totals = &totals, .control = &control };
static uint64_t now_ns;
static bool slow; /* no sweep in the ticks that walk over the counters */

/* The kernel: what it counts, and what its sweep meets, in that order. */
static struct {
	struct pile_bpf_destination key;
	struct pile_bpf_destination_counts counts;
} counted[PILE_DESTINATIONS_MAX + 1];
static uint32_t n_counted, n_removed_database;
static struct pile_bpf_record_connect met[2 * MAILS];
static uint32_t n_met;
static struct pile_bpf_destination database;

static bool equal(const struct pile_bpf_destination *a, const struct pile_bpf_destination *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}

void pile_kernel_destination_key(uint32_t group, const struct pile_endpoint *ep,
				 struct pile_bpf_destination *ret)
{
	memset(ret, 0, sizeof(*ret));
	memcpy(ret->addr, ep->addr, sizeof(ret->addr));
	ret->group = group;
	ret->port = ep->port;
}

int pile_kernel_destination_get(struct pile_kernel *k, const struct pile_bpf_destination *key,
				struct pile_bpf_destination_counts *ret)
{
	(void)k;
	for (uint32_t i = 0; i < n_counted; i++)
		if (equal(&counted[i].key, key)) {
			*ret = counted[i].counts;
			return 0;
		}
	return -ENOENT;
}

int pile_kernel_destination_remove(struct pile_kernel *k, const struct pile_bpf_destination *key)
{
	(void)k;
	n_removed_database += equal(key, &database);
	for (uint32_t i = 0; i < n_counted; i++)
		if (equal(&counted[i].key, key)) {
			counted[i] = counted[--n_counted];
			return 0;
		}
	return -ENOENT;
}

/* As a hash map's: a key that was removed meanwhile begins the walk anew. */
int pile_kernel_destination_next(struct pile_kernel *k, const struct pile_bpf_destination *prev,
				 struct pile_bpf_destination *ret)
{
	uint32_t next = 0;

	(void)k;
	for (uint32_t i = 0; prev && i < n_counted; i++)
		if (equal(&counted[i].key, prev))
			next = i + 1;
	if (next >= n_counted)
		return -ENOENT;
	*ret = counted[next].key;
	return 0;
}

int pile_kernel_sweep_connects(struct pile_kernel *k, pile_kernel_record_fn fn, void *arg)
{
	(void)k;
	for (uint32_t i = 0; i < n_met; i++)
		fn((const struct pile_bpf_record *)&met[i], arg);
	return 0;
}

static void address(uint8_t *to, uint32_t net, uint32_t number)
{
	memset(to, 0, 16);
	to[10] = to[11] = 0xff;
	to[12] = 10;
	to[13] = (uint8_t)net;
	to[14] = (uint8_t)(number >> 8);
	to[15] = (uint8_t)number;
}

static struct pile_bpf_destination_counts *counts(const uint8_t *addr, uint16_t port)
{
	struct pile_bpf_destination key = { .group = GROUP, .port = port };

	memcpy(key.addr, addr, 16);
	for (uint32_t i = 0; i < n_counted; i++)
		if (equal(&counted[i].key, &key))
			return &counted[i].counts;
	assert_true(n_counted < PILE_DESTINATIONS_MAX);
	memset(&counted[n_counted], 0, sizeof(counted[0]));
	counted[n_counted].key = key;
	return &counted[n_counted++].counts;
}

/* A connect that the sweep meets. */
static void waits(const uint8_t *addr, uint16_t port, uint64_t for_ns)
{
	struct pile_bpf_record_connect *rec = &met[n_met++];

	*rec = (struct pile_bpf_record_connect){
		.head = { PILE_RECORD_CONNECT, sizeof(*rec) },
		.group = GROUP,
		.port = port,
		.state = PILE_CONNECT_PENDING,
		.started_ns = now_ns - for_ns,
	};
	memcpy(rec->addr, addr, 16);
	totals.connects_started = totals.connects_established + totals.connects_failed + 1;
}

/* The mail-out's window at @lap: each address is tried once, the window moves by 10 a tick. */
static void mail_out(uint32_t lap)
{
	uint8_t addr[16];

	for (uint32_t i = lap * 10; i < lap * 10 + MAILS; i++) {
		struct pile_bpf_destination_counts *c;

		address(addr, 77, i % 5000);
		c = counts(addr, 25);
		if (i >= lap * 10 + MAILS - 10 || lap == 0) {
			c->started++;
			c->last_started_ns = now_ns;
		}
		waits(addr, 25, 4 * NS_PER_SEC - (i - lap * 10) * (4 * NS_PER_SEC / MAILS));
	}
}

static const struct pile_sample_dependency *sampled(void)
{
	for (uint32_t i = 0; i < sample.n_dependencies; i++)
		if (memcmp(sample.dependencies[i].endpoint.addr, database.addr, 16) == 0)
			return &sample.dependencies[i];
	return NULL;
}

static void tick(void)
{
	now_ns += PILE_TICK_NS;
	sense.tick++;
	pile_dependencies_sample(&sense, &kernel, &groups, now_ns, &sample);
	/* by this host's clock: a slow one must skip no sweep, but for those that are to be skipped */
	sense.connects_cost_ns = slow && (sense.tick + 1) % 10 == 5 ? NS_PER_SEC : 0;
	n_met = 0;
}

static int fresh(void **state)
{
	(void)state;
	memset(&sense, 0, sizeof(sense));
	memset(&totals, 0, sizeof(totals));
	n_counted = n_met = n_removed_database = 0;
	now_ns = 1000 * NS_PER_SEC;
	slow = false;
	groups.n_groups = GROUP + 1;
	groups.groups[GROUP].used = groups.groups[GROUP].configured = true;
	memset(&database, 0, sizeof(database));
	address(database.addr, 9, 2);
	database.group = GROUP;
	database.port = 3306;
	return 0;
}

/* It is asked now and then, answers at once, and no connection to it stands when the sweep comes. */
static void a_mail_out_does_not_push_out_what_answers(void **state)
{
	(void)state;
	for (uint32_t lap = 0; lap < 100; lap++) {
		struct pile_bpf_destination_counts *c = counts(database.addr, database.port);

		if (lap % 7 == 0) {
			c->started++;
			c->established++;
			c->last_started_ns = c->last_established_ns = now_ns;
		}
		mail_out(lap);
		tick();
		if (lap >= 5) {
			assert_non_null(sampled());
			assert_int_equal(sampled()->established, lap / 7 + 1);
		}
	}
	assert_int_equal(n_removed_database, 0);
}

/* It is first asked when all places are taken; no sweep meets it, the walk over the counters does, before some mails. */
static void what_answers_finds_a_place_among_mails(void **state)
{
	(void)state;
	slow = true;
	for (uint32_t lap = 0; lap < 60; lap++) {
		mail_out(lap);
		if (lap >= 20) {
			struct pile_bpf_destination_counts *c =
				counts(database.addr, database.port);

			c->started++;
			c->established++;
			c->last_started_ns = c->last_established_ns = now_ns;
		}
		if (lap == 20) {
			counted[n_counted] = counted[0];
			counted[0] = counted[n_counted - 1];
			counted[n_counted - 1] = counted[n_counted];
		}
		tick();
		if (lap >= 30)
			assert_non_null(sampled());
	}
	assert_int_equal(n_removed_database, 0);
}

/* It never answered, and the sweep meets it last: what waited for it a tick ago is its weight until then. */
static void nor_what_several_wait_for(void **state)
{
	uint64_t began_ns = now_ns;

	(void)state;
	for (uint32_t lap = 0; lap < 40; lap++) {
		counts(database.addr, database.port)->started = 5;
		mail_out(lap);
		for (int i = 0; i < 5; i++)
			waits(database.addr, database.port, now_ns - began_ns);
		tick();
		if (lap >= 5) {
			assert_non_null(sampled());
			assert_int_equal(sampled()->connecting, 5);
			assert_int_equal(sampled()->started, 5);
		}
	}
	assert_int_equal(n_removed_database, 0);
}

/* Only so long as it is in use: what has answered once does not keep everybody else out. */
static void a_newcomer_finds_a_place_among_what_is_idle(void **state)
{
	uint8_t addr[16];

	(void)state;
	for (uint32_t i = 0; i < PILE_SAMPLE_DEPENDENCIES_MAX; i++) {
		struct pile_bpf_destination_counts *c;

		address(addr, 8, i);
		c = counts(addr, 80);
		c->started = c->established = 1;
		c->last_started_ns = c->last_established_ns = now_ns;
	}
	for (int i = 0; i < 10; i++)
		tick();
	assert_int_equal(sample.n_dependencies, PILE_SAMPLE_DEPENDENCIES_MAX);
	counts(database.addr, database.port)->started = 1;
	waits(database.addr, database.port, NS_PER_SEC);
	tick();
	assert_non_null(sampled());
	assert_int_equal(sampled()->connecting, 1);
}

/* The kernel counts on while a tick works: what it counted after the tick began is no reason to forget. */
static void what_is_used_while_a_tick_works_is_kept(void **state)
{
	(void)state;
	for (int i = 0; i < 30; i++) {
		struct pile_bpf_destination_counts *c = counts(database.addr, database.port);

		c->started++;
		c->established++;
		c->last_started_ns = c->last_established_ns = now_ns + PILE_TICK_NS + 1;
		tick();
	}
	assert_non_null(sampled());
	assert_int_equal(sampled()->established, 30);
	assert_int_equal(n_removed_database, 0);
}

/*
 * How many more connections may be followed is what there is room for, less what the sweep met: closed ones that
 * somebody keeps too. Those of groups that the policy does not name have a quarter of the room.
 */
static void a_sweep_says_how_many_more_may_be_followed(void **state)
{
	const uint32_t unnamed = PILE_FOLLOWED_CONNECTS, named = PILE_FOLLOWED_CONNECTS + 1;

	(void)state;
	totals.followed[unnamed] = 5000;
	totals.followed[named] = 90000;
	for (uint32_t i = 0; i < 300; i++) {
		waits(database.addr, database.port, NS_PER_SEC);
		if (i < 100)
			met[i].group = GROUP + 1;
		if (i % 2)
			met[i].state = PILE_CONNECT_OVER;
	}
	tick();
	assert_int_equal(control.followed_max[unnamed], 5000 + PILE_STORAGE_UNNAMED_MAX - 100);
	assert_int_equal(control.followed_max[named], 90000 + PILE_STORAGE_MAX - 300);
	assert_int_equal(sense.n_connects, 150);
	/* more than there is room for, for whatever reason: none */
	pile_kernel_follow_allow(&kernel, PILE_FOLLOWED_SOCKETS, (uint64_t[2]){ 7, 8 },
				 (uint32_t[2]){ PILE_STORAGE_MAX + 5, 1 });
	assert_int_equal(control.followed_max[PILE_FOLLOWED_SOCKETS], 7);
	assert_int_equal(control.followed_max[PILE_FOLLOWED_SOCKETS + 1], 8);
}

/* An established connection that the sweep meets: @received bytes, the last one @quiet_ms ago. */
static struct pile_bpf_record_connect *stands(uint16_t state, uint32_t received, uint32_t quiet_ms)
{
	struct pile_bpf_record_connect *rec = &met[n_met];

	waits(database.addr, database.port, 100 * NS_PER_SEC);
	rec->state = state;
	rec->received = received;
	rec->quiet_ms = rec->silent_ms = quiet_ms;
	rec->awaited = 1;
	return rec;
}

/* What nobody waits for is no wait, and where it is not declared none is to be ended. */
static void where_the_server_speaks_first_established_ones_wait(void **state)
{
	struct pile_policy_group *config = &groups.groups[GROUP].config;

	(void)state;
	for (int declared = 0; declared < 2; declared++) {
		config->n_server_speaks_first = (uint32_t)declared;
		config->server_speaks_first[0] = pile_endpoint_of(database.addr, database.port);
		counts(database.addr, database.port)->last_heard_ns = now_ns - 9 * NS_PER_SEC;
		counts(database.addr, database.port)->last_established_ns = now_ns;
		for (int i = 0; i < 10; i++)
			tick();
		stands(PILE_CONNECT_OPEN, 0, 100);
		stands(PILE_CONNECT_MUTE, 0, 1000);
		stands(PILE_CONNECT_MUTE, 0, 4000);
		stands(PILE_CONNECT_MUTE, 0, 2000);
		stands(PILE_CONNECT_MUTE, 0, 3000);
		stands(PILE_CONNECT_SILENT, 0, 1500); /* it spoke first itself */
		stands(PILE_CONNECT_SILENT, 80, 5000);
		stands(PILE_CONNECT_SILENT, 80, 6000)->awaited = 0;
		stands(PILE_CONNECT_UNACKED, 80, 7000);
		stands(PILE_CONNECT_OPEN, 80, 8000);
		tick();
		assert_int_equal(sampled()->open, 10);
		assert_int_equal(sampled()->speaks_first, declared);
		assert_int_equal(sampled()->ungreeted, 6);
		assert_int_equal(sampled()->mute, 5);
		assert_int_equal(sampled()->mute_ns[0], 4 * NS_PER_SEC);
		assert_int_equal(sampled()->mute_ns[1], 3 * NS_PER_SEC);
		assert_int_equal(sampled()->mute_ns[2], 2 * NS_PER_SEC);
		assert_int_equal(sampled()->last_heard_ns, now_ns - 5 * NS_PER_SEC);
		assert_int_equal(sense.n_pending, declared ? 7 : 0);
		for (uint32_t i = 0; i < sense.n_pending; i++)
			assert_true(sense.pending[i].started_ns >= now_ns - 7 * NS_PER_SEC &&
				    sense.pending[i].started_ns <= now_ns - NS_PER_SEC);
		now_ns += 5 * NS_PER_SEC;
		tick();
		assert_int_equal(sampled()->mute, 0);
		assert_int_equal(sampled()->mute_ns[0], 0);
		assert_int_equal(sense.n_pending, 0);
		fresh(NULL);
	}
	config->n_server_speaks_first = 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(a_mail_out_does_not_push_out_what_answers, fresh),
		cmocka_unit_test_setup(what_answers_finds_a_place_among_mails, fresh),
		cmocka_unit_test_setup(nor_what_several_wait_for, fresh),
		cmocka_unit_test_setup(what_is_used_while_a_tick_works_is_kept, fresh),
		cmocka_unit_test_setup(a_sweep_says_how_many_more_may_be_followed, fresh),
		cmocka_unit_test_setup(where_the_server_speaks_first_established_ones_wait, fresh),
		cmocka_unit_test_setup(a_newcomer_finds_a_place_among_what_is_idle, fresh),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

// SPDX-License-Identifier: GPL-2.0-or-later
/* The shared snapshot: order of publishing, torn copies, a hostile writer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <pthread.h>
#include <stdbool.h>

#include "../integration/api_fixture.h"
#include "api/snapshot.h"

#define ROUNDS 3000

static struct pile_snapshot *shared_new(void)
{
	struct pile_snapshot *shared = calloc(1, sizeof(*shared));

	assert_non_null(shared);
	shared->magic = PILE_SNAPSHOT_MAGIC;
	shared->size = sizeof(*shared);
	return shared;
}

static void test_nothing_before_the_first_publish(void **state)
{
	static struct pile_snapshot_half half;
	_cleanup_free_ struct pile_snapshot *shared = shared_new();

	(void)state;
	assert_int_equal(pile_snapshot_read(shared, &half), -EAGAIN);
	fixture_fill(pile_snapshot_begin(shared));
	assert_int_equal(pile_snapshot_read(shared, &half), -EAGAIN);
}

static void test_publish_alternates_and_counts(void **state)
{
	static struct pile_snapshot_half half;
	_cleanup_free_ struct pile_snapshot *shared = shared_new();
	struct pile_snapshot_half *last = NULL;

	(void)state;
	for (uint64_t i = 1; i <= 5; i++) {
		struct pile_snapshot_half *next = pile_snapshot_begin(shared);

		assert_ptr_not_equal(next, last);
		fixture_fill(next);
		next->host.ticks = i;
		/* What is being written is not what is read. */
		if (last) {
			assert_int_equal(pile_snapshot_read(shared, &half), 0);
			assert_int_equal(half.host.ticks, i - 1);
		}
		pile_snapshot_publish(shared, next);
		last = next;
		assert_int_equal(pile_snapshot_sequence(shared), 2 * i);
		assert_int_equal(pile_snapshot_read(shared, &half), 0);
		assert_int_equal(half.host.ticks, i);
		assert_int_equal(half.sequence, 2 * i);
	}
}

static void test_a_writer_that_died_in_the_middle(void **state)
{
	static struct pile_snapshot_half half;
	_cleanup_free_ struct pile_snapshot *shared = shared_new();
	struct pile_snapshot_half *next = pile_snapshot_begin(shared);

	(void)state;
	fixture_fill(next);
	pile_snapshot_publish(shared, next);
	pile_snapshot_begin(shared)->host.ticks = 99; /* and dies */
	assert_int_equal(pile_snapshot_read(shared, &half), 0);
	assert_int_equal(half.host.ticks, 108000);
	next = pile_snapshot_begin(shared); /* its successor */
	fixture_fill(next);
	pile_snapshot_publish(shared, next);
	assert_int_equal(pile_snapshot_sequence(shared), 4);
	assert_int_equal(pile_snapshot_read(shared, &half), 0);
}

static void test_another_layout(void **state)
{
	static struct pile_snapshot_half half;
	_cleanup_free_ struct pile_snapshot *shared = shared_new();

	(void)state;
	shared->size--;
	assert_int_equal(pile_snapshot_read(shared, &half), -EPROTO);
	shared->size++;
	shared->magic++;
	assert_int_equal(pile_snapshot_read(shared, &half), -EPROTO);
}

static void test_a_hostile_half_is_clamped_and_terminated(void **state)
{
	static struct pile_snapshot_half half;
	_cleanup_free_ struct pile_snapshot *shared = shared_new();
	struct pile_snapshot_half *next = pile_snapshot_begin(shared);
	uint64_t sequence = next->sequence;

	(void)state;
	memset(next, 0xff, sizeof(*next));
	next->sequence = sequence;
	pile_snapshot_publish(shared, next);
	shared->current = 0xfffffffd; /* odd: the second half */
	assert_int_equal(pile_snapshot_read(shared, &half), 0);
	assert_int_equal(half.n_groups, PILE_GROUPS_MAX);
	assert_int_equal(half.n_listeners, PILE_SNAPSHOT_LISTENERS);
	assert_int_equal(half.n_dependencies, PILE_SNAPSHOT_DEPENDENCIES);
	assert_int_equal(half.n_workers, PILE_SNAPSHOT_WORKERS);
	assert_int_equal(half.n_events, PILE_SNAPSHOT_EVENTS);
	assert_int_equal(half.n_explains, PILE_SNAPSHOT_EXPLAINS);
	assert_int_equal(half.policy_text_len, sizeof(half.policy_text) - 1);
	assert_int_equal(strlen(half.policy_text), sizeof(half.policy_text) - 1);
	assert_int_equal(strlen(half.groups[PILE_GROUPS_MAX - 1].name), PILE_NAME_MAX - 1);
	assert_int_equal(strlen(half.events[0].text), sizeof(half.events[0].text) - 1);
	assert_int_equal(strlen(half.workers[7].comm), sizeof(half.workers[7].comm) - 1);
	assert_true(half.groups[0].sample.present == true);
	assert_true(half.groups[0].leak == true);
	assert_true(half.explains[0].why.by_hand == true);
}

static void *write_all_the_time(void *arg)
{
	struct pile_snapshot *shared = arg;

	for (uint64_t i = 1; i <= ROUNDS; i++) {
		struct pile_snapshot_half *half = pile_snapshot_begin(shared);

		half->host.ticks = i;
		half->n_groups = PILE_GROUPS_MAX;
		for (uint32_t k = 0; k < PILE_GROUPS_MAX; k++)
			half->groups[k].sample.opened = i;
		half->host.drift = i;
		pile_snapshot_publish(shared, half);
	}
	return NULL;
}

static void test_a_copy_is_of_one_piece(void **state)
{
	static struct pile_snapshot_half half;
	_cleanup_free_ struct pile_snapshot *shared = shared_new();
	unsigned int good = 0;
	uint64_t last = 0;
	pthread_t writer;

	(void)state;
	assert_int_equal(pthread_create(&writer, NULL, write_all_the_time, shared), 0);
	while (last < ROUNDS) {
		if (pile_snapshot_read(shared, &half) != 0)
			continue;
		good++;
		assert_true(half.host.ticks >= last);
		last = half.host.ticks;
		assert_int_equal(half.host.drift, last);
		for (uint32_t k = 0; k < half.n_groups; k++)
			assert_int_equal(half.groups[k].sample.opened, last);
	}
	pthread_join(writer, NULL);
	assert_true(good > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nothing_before_the_first_publish),
		cmocka_unit_test(test_publish_alternates_and_counts),
		cmocka_unit_test(test_a_writer_that_died_in_the_middle),
		cmocka_unit_test(test_another_layout),
		cmocka_unit_test(test_a_hostile_half_is_clamped_and_terminated),
		cmocka_unit_test(test_a_copy_is_of_one_piece),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

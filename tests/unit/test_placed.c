// SPDX-License-Identifier: GPL-2.0-or-later
/* placed.c: the record of what was placed, as a text and back, and texts that nobody of ours wrote. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "act/moves.h"
#include "act/placed.h"
#include "util/macro.h"

static struct pile_placed record, again;
static char text[PILE_PLACED_TEXT_MAX];

/* What is carried out is the integration tests'. */
int pile_moves_hold(struct pile_moving *m, uint32_t pid, uint64_t start_ticks)
{
	(void)m;
	(void)pid;
	(void)start_ticks;
	return -ESRCH;
}

void pile_moves_drop(struct pile_moving *m)
{
	(void)m;
}

int pile_moves_back(const struct pile_trees *t, const struct pile_moving *m, const char *cgroup,
		    const char *origin)
{
	(void)t;
	(void)m;
	(void)cgroup;
	(void)origin;
	return 0;
}

uint32_t pile_trees_list(const struct pile_tree *tree, const char *cgroup, uint32_t *ret,
			 uint32_t max)
{
	(void)tree;
	(void)cgroup;
	(void)ret;
	(void)max;
	return 0;
}

int pile_trees_remove(const struct pile_trees *t, const char *cgroup)
{
	(void)t;
	(void)cgroup;
	return 0;
}

static void parse(const char *from, struct pile_placed *ret, uint32_t passed)
{
	snprintf(text, sizeof(text), "%s", from);
	assert_int_equal(pile_placed_parse(text, ret), passed);
}

static void test_round_trip(void **state)
{
	struct pile_placed_entry *e;

	(void)state;
	record.n = record.n_origins = 0;
	assert_non_null(pile_placed_add(&record, "www", 12, 345, UINT64_MAX, "/"));
	e = pile_placed_add(&record, "a.b-c_1", 4194304, 18446744073709551614ull, 7,
			    "/with blank/x");
	assert_non_null(e);
	e->hand = true;
	assert_non_null(pile_placed_add(&record, "www", 13, 345, 8, "/"));
	assert_int_equal(record.n_origins, 2);
	assert_true(pile_placed_format(&record, text, sizeof(text)) > 0);
	assert_int_equal(pile_placed_parse(text, &again), 0);
	assert_int_equal(again.n, 3);
	assert_int_equal(again.n_origins, 2);
	e = pile_placed_find(&again, 4194304, 18446744073709551614ull);
	assert_non_null(e);
	assert_true(e->hand);
	assert_int_equal(e->placed_ticks, 7);
	assert_string_equal(e->group, "a.b-c_1");
	assert_string_equal(again.origins[e->origin], "/with blank/x");
	assert_non_null(pile_placed_find(&again, 12, 345));
	assert_null(pile_placed_find(&again, 12, 346)); /* another process has its number */
}

static void test_odd_texts(void **state)
{
	static const char *const odd[] = {
		"x",
		"12 34 56 ours www",
		"12 34 56 ours www ",
		"12 34 56 ours www relative",
		"12 34 56 ours www /../../etc",
		"12 34 56 ours www /a/..",
		"12 34 56 ours www /a//b",
		"12 34 56 theirs www /",
		"12 34 56 ours WWW /",
		"12 34 56 ours ../x /",
		"12 34 56 ours .x /",
		"1 34 56 ours www /",
		"0 34 56 ours www /",
		"12 34 56 ours aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa /",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(odd); i++) {
		parse(odd[i], &again, 1);
		assert_int_equal(again.n, 0);
	}
	parse("", &again, 0);
	assert_int_equal(again.n, 0);
	/* what makes sense beside it is kept; one process is one entry */
	parse("x\n12 34 56 ours www /\n12 34 57 ours www /a\n13 34 56 hand www /a\n", &again, 2);
	assert_int_equal(again.n, 2);
}

static void test_full(void **state)
{
	(void)state;
	record.n = record.n_origins = 0;
	for (uint32_t i = 0; i < PILE_PLACED_MAX; i++)
		assert_non_null(pile_placed_add(&record, "www", i + 2, i, i, "/"));
	assert_null(pile_placed_add(&record, "www", 1, 1, 1, "/"));
	assert_true(pile_placed_format(&record, text, sizeof(text)) < sizeof(text) - 1);
	assert_int_equal(pile_placed_parse(text, &again), 0);
	assert_int_equal(again.n, PILE_PLACED_MAX);
	record.n = record.n_origins = 0;
	for (uint32_t i = 0; i < PILE_PLACED_ORIGINS_MAX; i++) {
		char path[16];

		snprintf(path, sizeof(path), "/%u", i);
		assert_non_null(pile_placed_add(&record, "www", i + 2, i, i, path));
	}
	assert_null(pile_placed_add(&record, "www", 999, 1, 1, "/more"));
	assert_non_null(pile_placed_add(&record, "www", 999, 1, 1, "/3"));
}

static bool is_odd(const struct pile_placed_entry *entry, void *arg)
{
	(void)arg;
	return entry->pid % 2;
}

static bool is_any(const struct pile_placed_entry *entry, void *arg)
{
	(void)entry;
	(void)arg;
	return true;
}

static void test_drop(void **state)
{
	(void)state;
	record.n = record.n_origins = 0;
	for (uint32_t i = 2; i < 12; i++)
		assert_non_null(pile_placed_add(&record, "www", i, i, i, "/"));
	assert_int_equal(pile_placed_drop(&record, is_odd, NULL), 5);
	assert_int_equal(record.n, 5);
	assert_non_null(pile_placed_find(&record, 10, 10));
	assert_null(pile_placed_find(&record, 11, 11));
	assert_int_equal(pile_placed_drop(&record, is_any, NULL), 5);
	assert_int_equal(record.n_origins, 0);
}

static bool is_of(const struct pile_placed_entry *entry, void *arg)
{
	return entry->pid == *(uint32_t *)arg;
}

/* A guard that runs for months: an origin that nobody has any more makes room for another. */
static void test_origins(void **state)
{
	char path[16];

	(void)state;
	record.n = record.n_origins = 0;
	for (uint32_t i = 0; i < 5 * PILE_PLACED_ORIGINS_MAX; i++) {
		uint32_t pid = i + 2;

		snprintf(path, sizeof(path), "/%u", i);
		assert_non_null(pile_placed_add(&record, "www", pid, i, i, path));
		if (i == 3)
			continue;
		assert_int_equal(pile_placed_drop(&record, is_of, &pid), 1);
	}
	assert_int_equal(record.n, 1);
	assert_string_equal(record.origins[record.entries[0].origin], "/3");
	/* an entry that is taken for another group's move */
	record.entries[0].hand = true;
	assert_true(pile_placed_again(&record, &record.entries[0], "api", "/4"));
	assert_string_equal(record.entries[0].group, "api");
	assert_string_equal(record.origins[record.entries[0].origin], "/4");
	assert_false(record.entries[0].hand);
	assert_true(record.entries[0].placed_ticks == UINT64_MAX);
	assert_int_equal(record.entries[0].pid, 5);
}

static void test_file(void **state)
{
	char dir[] = "/tmp/pileguard-undo-XXXXXX", path[64];

	(void)state;
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/placed", dir);
	assert_int_equal(pile_placed_load(path, &again), 0);
	assert_int_equal(again.n, 0);
	record.n = record.n_origins = 0;
	assert_non_null(pile_placed_add(&record, "www", 12, 345, 6, "/x"));
	assert_int_equal(pile_placed_save(path, &record), 0);
	assert_int_equal(pile_placed_load(path, &again), 0);
	assert_int_equal(again.n, 1);
	/* whoever else can write there would say where processes go */
	assert_int_equal(chmod(path, 0666), 0);
	assert_int_equal(pile_placed_load(path, &again), -EPERM);
	record.n = 0;
	assert_int_equal(pile_placed_save(path, &record), 0);
	assert_int_equal(access(path, F_OK), -1);
	assert_int_equal(symlink("/etc/passwd", path), 0);
	assert_int_equal(pile_placed_load(path, &again), -ELOOP);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(rmdir(dir), 0);
	assert_int_equal(pile_placed_load(path, &again), 0);
	assert_non_null(pile_placed_add(&record, "www", 12, 345, 6, "/x"));
	assert_int_equal(pile_placed_save(path, &record), -ENOENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip), cmocka_unit_test(test_odd_texts),
		cmocka_unit_test(test_full),	   cmocka_unit_test(test_drop),
		cmocka_unit_test(test_origins),	   cmocka_unit_test(test_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

// SPDX-License-Identifier: GPL-2.0-or-later
/* What stands on disk: read again only when it has changed and come to rest; hashes of other files. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "watch.h"

/* struct pile_policy is 400 KiB: not on the stack. */
static struct pile_policy policy;
static struct pile_watch watch;
static char dir[64], path[80];

static int setup(void **state)
{
	(void)state;
	memset(&watch, 0, sizeof(watch));
	snprintf(dir, sizeof(dir), "/tmp/pile-watch-XXXXXX");
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/policy.yaml", dir);
	return 0;
}

static int teardown(void **state)
{
	char command[96];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf '%s'", dir);
	return system(command);
}

static void put(const char *to, const char *text)
{
	FILE *f = fopen(to, "w");

	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
}

static bool look(void)
{
	return pile_watch_look(&watch, path, &policy);
}

static void test_read_when_it_has_come_to_rest(void **state)
{
	struct pile_error err;
	char hash[65];

	(void)state;
	assert_int_equal(pile_watch_load(&watch, path, &policy, &err), -ENOENT);
	assert_int_equal(watch.result, -ENOENT);
	assert_false(look());
	put(path, "mode: observe\n");
	assert_false(look()); /* it may be half of a push */
	put(path, "mode: enforce\n# more\n");
	assert_false(look()); /* it was written again meanwhile */
	assert_true(look());
	assert_int_equal(watch.result, 0);
	assert_string_equal(watch.hash, policy.hash);
	snprintf(hash, sizeof(hash), "%s", watch.hash);
	assert_false(look()); /* nothing new */
	put(path, "mode: maybe\n");
	assert_false(look());
	assert_true(look());
	assert_int_equal(watch.result, -EINVAL);
	assert_string_equal(watch.hash, "");
	assert_string_equal(watch.error.file, path);
	put(path, "mode: enforce\n");
	look();
	assert_true(look());
	assert_string_equal(watch.hash, hash); /* a comment less is the same policy */
}

static void test_a_reload_is_a_look(void **state)
{
	struct pile_error err;

	(void)state;
	put(path, "mode: observe\n");
	assert_int_equal(pile_watch_load(&watch, path, &policy, &err), 0);
	assert_false(look());
	assert_false(look());
	assert_string_equal(watch.hash, policy.hash);
}

static void test_fingerprints(void **state)
{
	char paths[3][PILE_FINGERPRINT_PATH_MAX];

	(void)state;
	snprintf(paths[0], sizeof(paths[0]), "%s/a", dir);
	snprintf(paths[1], sizeof(paths[1]), "%s/none", dir);
	snprintf(paths[2], sizeof(paths[2]), "%s", dir);
	put(paths[0], "abc");
	assert_true(pile_watch_fingerprint(&watch, paths, 3));
	assert_int_equal(watch.n_fingerprints, 3);
	assert_string_equal(watch.fingerprints[0].sha256,
			    "ba7816bf8f01cfea"); /* FIPS 180-2, example B.1 */
	assert_string_equal(watch.fingerprints[1].sha256, "missing");
	assert_string_equal(watch.fingerprints[2].sha256, "unreadable");
	assert_false(pile_watch_fingerprint(&watch, paths, 3)); /* not hashed again */
	put(paths[0], "abcd");
	assert_true(pile_watch_fingerprint(&watch, paths, 3));
	assert_string_not_equal(watch.fingerprints[0].sha256, "ba7816bf8f01cfea");
	/* a secret's hash is a way to guess at it */
	assert_int_equal(chmod(paths[0], 0640), 0);
	assert_true(pile_watch_fingerprint(&watch, paths, 3));
	assert_string_equal(watch.fingerprints[0].sha256, "not public");
	assert_int_equal(chmod(paths[0], 0644), 0);
	assert_true(pile_watch_fingerprint(&watch, paths, 3));
	assert_int_equal(strlen(watch.fingerprints[0].sha256), 16);
	assert_true(pile_watch_fingerprint(&watch, paths, 1)); /* another list */
	assert_int_equal(watch.n_fingerprints, 1);
	assert_true(
		pile_watch_fingerprint(&watch, paths + 1, 1)); /* another file in the same place */
	assert_string_equal(watch.fingerprints[0].sha256, "missing");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	static const struct CMUnitTest tests[] = {
		TEST(test_read_when_it_has_come_to_rest),
		TEST(test_a_reload_is_a_look),
		TEST(test_fingerprints),
	};

	return cmocka_run_group_tests_name("watch", tests, NULL, NULL);
}

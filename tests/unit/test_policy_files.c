// SPDX-License-Identifier: GPL-2.0-or-later
/* The files that make up a policy: which, in which order, as of one moment, and what they say together. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/stat.h>

#include "policy/files.h"
#include "policy/load.h"

#define PATH_SIZE 256

/* struct pile_policy is 400 KiB: not on the stack. */
static struct pile_policy loaded;
static struct pile_files files;

struct stage {
	char dir[64], path[80]; /* policy.yaml in it */
};

static int setup(void **state)
{
	static struct stage stage;
	char fragments[96];

	snprintf(stage.dir, sizeof(stage.dir), "/tmp/pile-files-XXXXXX");
	assert_non_null(mkdtemp(stage.dir));
	snprintf(stage.path, sizeof(stage.path), "%s/policy.yaml", stage.dir);
	snprintf(fragments, sizeof(fragments), "%s/policy.d", stage.dir);
	assert_int_equal(mkdir(fragments, 0700), 0);
	*state = &stage;
	return 0;
}

static int teardown(void **state)
{
	const struct stage *s = *state;
	char command[96];

	pile_files_fini(&files);
	snprintf(command, sizeof(command), "rm -rf '%s'", s->dir);
	return system(command);
}

static const char *path_in(const struct stage *s, const char *name, char *buf)
{
	snprintf(buf, PATH_SIZE, "%s/%s", s->dir, name);
	return buf;
}

/* As a careful push does it: aside, then renamed. */
static void put(const struct stage *s, const char *name, const char *text)
{
	char path[PATH_SIZE], aside[PATH_SIZE];
	FILE *f;

	f = fopen(path_in(s, "aside", aside), "w");
	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
	assert_int_equal(rename(aside, path_in(s, name, path)), 0);
}

static void take_away(const struct stage *s, const char *name)
{
	char path[PATH_SIZE];

	assert_int_equal(unlink(path_in(s, name, path)), 0);
}

static int read_files(const struct stage *s, struct pile_error *err)
{
	pile_files_fini(&files);
	return pile_files_read(s->path, NULL, 0, &files, err);
}

static void read_ok(const struct stage *s)
{
	struct pile_error err = { 0 };

	if (read_files(s, &err) < 0)
		fail_msg("%s: %s", err.file, err.text);
}

/* The last parts of the names, one after the other. */
static void assert_names(const char *expected)
{
	char names[512] = "";

	for (uint32_t i = 0; i < files.n; i++)
		snprintf(names + strlen(names), sizeof(names) - strlen(names), "%s%s", i ? " " : "",
			 strrchr(files.files[i].name, '/') + 1);
	assert_string_equal(names, expected);
}

static int load_all(const struct stage *s, struct pile_error *err)
{
	read_ok(s);
	return pile_load_files(&files, &loaded, err);
}

/* "policy.d/b.yaml:3:5: sentence", without the folder that the test made */
static void assert_said(const struct stage *s, const struct pile_error *err, const char *expected)
{
	char text[1024];

	pile_error_format(err, text, sizeof(text));
	assert_memory_equal(text, s->dir, strlen(s->dir));
	assert_string_equal(text + strlen(s->dir) + 1, expected);
}

static void test_order(void **state)
{
	const struct stage *s = *state;

	put(s, "policy.d/b.yaml", "");
	put(s, "policy.d/a.yaml", "");
	put(s, "policy.d/Z.yaml", "");
	put(s, "policy.d/10-x.yaml", "");
	put(s, "policy.d/9-x.yaml", "");
	read_ok(s);
	assert_names("10-x.yaml 9-x.yaml Z.yaml a.yaml b.yaml");
	put(s, "policy.yaml", "");
	read_ok(s);
	assert_names("policy.yaml 10-x.yaml 9-x.yaml Z.yaml a.yaml b.yaml");
	/* what editors and dpkg leave behind */
	put(s, "policy.d/.a.yaml", "mode: broken");
	put(s, "policy.d/a.yaml~", "mode: broken");
	put(s, "policy.d/a.yaml.dpkg-dist", "mode: broken");
	put(s, "policy.d/README", "mode: broken");
	put(s, "policy.d/.yaml", "mode: broken");
	read_ok(s);
	assert_int_equal(files.n, 6);
}

static void test_none(void **state)
{
	const struct stage *s = *state;
	struct pile_error err = { 0 };
	char path[PATH_SIZE];

	assert_int_equal(read_files(s, &err), -ENOENT);
	assert_said(s, &err, "policy.yaml: cannot be read: No such file or directory");
	assert_int_equal(rmdir(path_in(s, "policy.d", path)), 0);
	assert_int_equal(read_files(s, &err), -ENOENT);
	put(s, "policy.yaml", "");
	read_ok(s);
	assert_names("policy.yaml");
	put(s, "policy.d", "");
	assert_int_equal(read_files(s, &err), -ENOTDIR);
	assert_said(s, &err, "policy.d: cannot be read: Not a directory");
}

static void test_bad_names(void **state)
{
	static const struct {
		const char *name, *said;
	} cases[] = {
		{ "policy.d/api.yml", "policy.d/api.yml: is not read: name it .yaml" },
		{ "policy.d/policy.yaml",
		  "policy.d: holds a file that is called policy.yaml as the policy itself: rename it" },
		{ "policy.d/a\n.yaml",
		  "policy.d: holds a file whose name has a blank, a control or a non-ASCII character: rename it" },
		{ "policy.d/\xc3\xa4.yaml",
		  "policy.d: holds a file whose name has a blank, a control or a non-ASCII character: rename it" },
	};
	const struct stage *s = *state;

	put(s, "policy.yaml", "");
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct pile_error err = { 0 };

		put(s, cases[i].name, "");
		assert_int_equal(read_files(s, &err), -EINVAL);
		assert_said(s, &err, cases[i].said);
		take_away(s, cases[i].name);
	}
	read_ok(s);
}

static void test_bounds(void **state)
{
	static char big[PILE_FILES_SIZE_MAX];
	const struct stage *s = *state;
	struct pile_error err = { 0 };
	char name[PATH_SIZE], path[PATH_SIZE];

	for (int i = 0; i < PILE_FILES_FRAGMENTS_MAX; i++) {
		snprintf(name, sizeof(name), "policy.d/%02d.yaml", i);
		put(s, name, "");
	}
	put(s, "policy.yaml", "");
	read_ok(s);
	assert_int_equal(files.n, PILE_FILES_MAX);
	put(s, "policy.d/more.yaml", "");
	assert_int_equal(read_files(s, &err), -E2BIG);
	assert_said(s, &err, "policy.d: holds more than 64 files: write fewer fragments");
	take_away(s, "policy.d/more.yaml");
	/* all together */
	memset(big, '#', sizeof(big) - 1);
	put(s, "policy.d/00.yaml", big);
	put(s, "policy.d/01.yaml", "#");
	read_ok(s);
	put(s, "policy.d/01.yaml", "##");
	assert_int_equal(read_files(s, &err), -EFBIG);
	assert_said(
		s, &err,
		"policy.d/01.yaml: too large: a policy may have 1 MiB in all its files, and has some kilobytes");
	take_away(s, "policy.d/01.yaml");
	assert_int_equal(mkfifo(path_in(s, "policy.d/01.yaml", path), 0600), 0);
	assert_int_equal(read_files(s, &err), -EINVAL); /* and returns */
	assert_said(s, &err, "policy.d/01.yaml: not a regular file");
}

static void test_with(void **state)
{
	const struct stage *s = *state;
	char candidate[PATH_SIZE];
	const struct pile_files_with with[] = {
		{ "20-b.yaml", path_in(s, "candidate", candidate) },
		{ "policy.yaml", "" },
		{ "15-new.yaml", candidate },
	};
	struct pile_error err = { 0 };

	put(s, "policy.yaml", "mode: enforce");
	put(s, "policy.d/10-a.yaml", "");
	put(s, "policy.d/20-b.yaml", "");
	put(s, "policy.d/30-c.yaml", "");
	put(s, "candidate", "revision: new");
	assert_int_equal(pile_files_read(s->path, with, 3, &files, &err), 0);
	assert_names("10-a.yaml candidate candidate 30-c.yaml");
	assert_string_equal(files.files[1].text, "revision: new");
	pile_files_fini(&files);
	for (size_t i = 0; i < 4; i++) {
		static const char *const bad[] = { "policy.d/20-b.yaml", "../x.yaml", ".x.yaml",
						   "x.yml" };
		const struct pile_files_with wrong = { bad[i], candidate };

		assert_int_equal(pile_files_read(s->path, &wrong, 1, &files, &err), -EINVAL);
		assert_string_equal(
			err.text,
			"is no file of a policy: write policy.yaml, or a fragment's name like "
			"50-api.yaml");
	}
	assert_int_equal(pile_files_read(s->path, &(struct pile_files_with){ "x.yaml", "/nowhere" },
					 1, &files, &err),
			 -ENOENT);
	assert_string_equal(err.file, "/nowhere");
}

static void test_mark(void **state)
{
	const struct stage *s = *state;
	uint64_t before, now;
	char path[PATH_SIZE], other[PATH_SIZE];

	put(s, "policy.yaml", "mode: observe");
	put(s, "policy.d/a.yaml", "");
	before = pile_files_mark(s->path);
	assert_true(before != 0);
	assert_true(pile_files_mark(s->path) == before);
	read_ok(s);
	assert_true(files.mark == before);
	put(s, "policy.yaml", "mode: enforce"); /* as long as before */
	now = pile_files_mark(s->path);
	assert_true(now != before);
	put(s, "policy.d/b.yaml", "");
	assert_true(pile_files_mark(s->path) != now);
	take_away(s, "policy.d/b.yaml");
	assert_true(pile_files_mark(s->path) == now);
	assert_int_equal(
		rename(path_in(s, "policy.d/a.yaml", path), path_in(s, "policy.d/c.yaml", other)),
		0);
	assert_true(pile_files_mark(s->path) != now);
}

/* ---- what they say together ---- */

static void test_together(void **state)
{
	const struct stage *s = *state;
	struct pile_error err = { 0 };
	char source[PATH_SIZE];

	put(s, "policy.yaml",
	    "mode: observe\nmemory_reserve: 1GiB\nfingerprints: [/etc/a]\ngroups:\n"
	    "  - {name: www, unit: www.service}\n");
	put(s, "policy.d/10-api.yaml",
	    "groups:\n  - {name: api, unit: api.service}\nfingerprints: [/etc/b]\n");
	put(s, "policy.d/20-none.yaml", "# nothing yet\n");
	put(s, "policy.d/30-on.yaml",
	    "mode: enforce\nenforce_share: 10%\ngroups:\n  - {name: x, unit: x.service}\n");
	put(s, "policy.d/40-reserve.yaml", "memory_reserve: auto\n");
	assert_int_equal(load_all(s, &err), 0);
	assert_int_equal(loaded.mode, PILE_MODE_ENFORCE);
	assert_int_equal(loaded.enforce_share_permille, 100);
	assert_int_equal(loaded.memory_reserve_bytes, 0);
	assert_int_equal(loaded.n_groups, 3);
	assert_string_equal(loaded.groups[0].name, "www");
	assert_string_equal(loaded.groups[1].name, "api");
	assert_string_equal(loaded.groups[2].name, "x");
	assert_int_equal(loaded.n_fingerprints, 2);
	assert_string_equal(loaded.fingerprints[1], "/etc/b");
	snprintf(source, sizeof(source), "%s and 4 more in %s/policy.d", s->path, s->dir);
	assert_string_equal(loaded.source, source);
}

/* One text, or the same in pieces: the same policy. */
static void test_same_hash(void **state)
{
	static const char first[] = "mode: enforce\ngroups:\n  - {name: www, unit: www.service}\n",
			  second[] = "  - {name: api, unit: api.service, enforce: [fail_fast]}\n";
	const struct stage *s = *state;
	struct pile_error err = { 0 };
	char text[512], hash[65];

	snprintf(text, sizeof(text), "%s%s", first, second);
	assert_int_equal(pile_load_text(text, strlen(text), "one", &loaded, &err), 0);
	snprintf(hash, sizeof(hash), "%s", loaded.hash);
	put(s, "policy.yaml", first);
	snprintf(text, sizeof(text), "groups:\n%s", second);
	put(s, "policy.d/api.yaml", text);
	assert_int_equal(load_all(s, &err), 0);
	assert_string_equal(loaded.hash, hash);
}

static void test_places(void **state)
{
	static const struct {
		const char *fragment, *said;
	} cases[] = {
		{ "groups:\n  - {name: b, unit: b.service}\n  - name: c\n    unit: c.service\n    dead_after: 2\n",
		  "policy.d/b.yaml:5:17: dead_after: '2' has no unit: write 2s, 500ms or 1min" },
		{ "groups:\n  - {name: b, unit: b.service}\n  - name: c\n    unit: c.service\n    dead_after: 2h\n",
		  "policy.d/b.yaml:5:17: dead_after: 2h is out of range: write 1s to 1min" },
		{ "groups:\n  - name: www\n    unit: b.service\n",
		  "policy.d/b.yaml:2:11: name: 'www' is the name of an earlier group: write another" },
		{ "# mine\nmemory_reserve: 1KiB\n",
		  "policy.d/b.yaml:2:17: memory_reserve: 1024 bytes keep no login alive: write 64MiB, or auto" },
		{ "fingerprints:\n  - /etc/b\n  - /etc/a\n",
		  "policy.d/b.yaml:3:5: fingerprints: '/etc/a' is given twice: remove one" },
		{ "mode:\n  enforced\n",
		  "policy.d/b.yaml:2:3: mode: 'enforced' is not known: write observe or enforce" },
		{ "groups: [\n",
		  "policy.d/b.yaml:2:1: this is not YAML: a list in brackets was opened and not closed" },
	};
	const struct stage *s = *state;

	put(s, "policy.yaml",
	    "fingerprints: [/etc/a]\nmemory_reserve: 1GiB\n"
	    "groups:\n  - {name: www, unit: www.service}\n  - {name: y, unit: y.service}\n");
	put(s, "policy.d/a.yaml", "groups:\n  - {name: a, unit: a.service}\n");
	put(s, "policy.d/c.yaml", "groups:\n  - {name: z, unit: z.service}\n");
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct pile_error err = { 0 };

		put(s, "policy.d/b.yaml", cases[i].fragment);
		memset(&loaded, 0x5a, sizeof(loaded));
		assert_int_equal(load_all(s, &err), -EINVAL);
		if (i + 1 < ARRAY_LEN(cases))
			assert_said(s, &err, cases[i].said);
		else /* the sentence is libyaml's and hint.c's: the place counts */
			assert_true(strstr(err.file, "policy.d/b.yaml") && err.line == 2);
		assert_int_equal(loaded.n_groups, 0x5a5a5a5a); /* untouched */
	}
}

/* What no file says alone: 128 groups in one, one in another. */
static void test_too_many(void **state)
{
	const struct stage *s = *state;
	struct pile_error err = { 0 };
	char text[16384] = "groups:\n";

	for (int i = 0; i < PILE_GROUPS_MAX; i++)
		snprintf(text + strlen(text), sizeof(text) - strlen(text),
			 "  - {name: g%d, unit: g%d.service}\n", i, i);
	put(s, "policy.yaml", text);
	assert_int_equal(load_all(s, &err), 0);
	put(s, "policy.d/a.yaml", "groups:\n  - {name: a, unit: a.service}\n");
	assert_int_equal(load_all(s, &err), -EINVAL);
	assert_said(s, &err,
		    "policy.d/a.yaml:2:5: groups: more than 128 in all files: leave some out");
}

static void test_revisions(void **state)
{
	const struct stage *s = *state;
	struct pile_error err = { 0 };
	char expected[PATH_SIZE];

	put(s, "policy.yaml", "mode: enforce\nrevision: 41\n");
	put(s, "policy.d/a.yaml", "# without one\n");
	put(s, "policy.d/b.yaml", "revision: \"41\"\n");
	assert_int_equal(load_all(s, &err), 0);
	assert_string_equal(loaded.revision, "41");
	memset(&loaded, 0x5a, sizeof(loaded));
	put(s, "policy.d/b.yaml", "mode: enforce\nrevision: 42\n");
	assert_int_equal(load_all(s, &err), 1);
	snprintf(
		expected, sizeof(expected),
		"policy.d/b.yaml:2:11: revision: '42', but '41' in %s: half of a push; write the others too",
		s->path);
	assert_said(s, &err, expected);
	assert_int_equal(loaded.n_groups,
			 0); /* filled all the same: a check in context goes on with it */
	put(s, "policy.yaml", "mode: enforce\nrevision: 42\n");
	assert_int_equal(load_all(s, &err), 0);
}

/* ---- a push while we read ---- */

struct push {
	const struct stage *stage;
	_Atomic bool stop;
};

static void *push_on_and_on(void *arg)
{
	static const char *const names[] = { "policy.yaml", "policy.d/a.yaml", "policy.d/b.yaml" };
	struct push *push = arg;
	char text[32];

	for (unsigned int n = 1; !push->stop; n++) {
		snprintf(text, sizeof(text), "%u", n);
		for (size_t i = 0; i < ARRAY_LEN(names); i++)
			put(push->stage, names[i], text);
	}
	return NULL;
}

/* The files of a push are written in order: at any one moment none is newer than the one before it, or older by two. */
static void test_one_moment(void **state)
{
	const struct stage *s = *state;
	struct push push = { .stage = s };
	unsigned int read = 0, refused = 0;
	pthread_t thread;

	put(s, "policy.yaml", "0");
	put(s, "policy.d/a.yaml", "0");
	put(s, "policy.d/b.yaml", "0");
	assert_int_equal(pthread_create(&thread, NULL, push_on_and_on, &push), 0);
	for (int i = 0; i < 20000 && (read < 200 || i < 2000); i++) {
		struct pile_error err = { 0 };
		unsigned long n[3];

		if (read_files(s, &err) < 0) {
			refused++;
			assert_string_equal(
				err.text,
				"the policy's files are being written: try again when they stand");
			continue;
		}
		read++;
		assert_int_equal(files.n, 3);
		for (int k = 0; k < 3; k++)
			n[k] = strtoul(files.files[k].text, NULL, 10);
		if (n[0] < n[1] || n[1] < n[2] || n[0] - n[2] > 1)
			fail_msg("never stood together: %lu %lu %lu", n[0], n[1], n[2]);
	}
	push.stop = true;
	pthread_join(thread, NULL);
	assert_true(read >= 200 || refused > 10000);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	static const struct CMUnitTest tests[] = {
		TEST(test_order),  TEST(test_none),	TEST(test_bad_names), TEST(test_bounds),
		TEST(test_with),   TEST(test_mark),	TEST(test_together),  TEST(test_same_hash),
		TEST(test_places), TEST(test_too_many), TEST(test_revisions), TEST(test_one_moment),
	};

	return cmocka_run_group_tests_name("policy_files", tests, NULL, NULL);
}

// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The policy: golden files (tests/unit/policy/good, bad), rules that no text can break, files, the
 * store, the diff. Run from the top of the repository.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "policy/check.h"
#include "policy/diff.h"
#include "policy/format.h"
#include "policy/load.h"
#include "policy/store.h"

#define CORPUS "tests/unit/policy/"
#define SAMPLE "dist/policy.yaml"
#define STORED "policy.committed.yaml"
#define PATH_SIZE 512

/* struct pile_policy is 400 KiB: not on the stack. */
static struct pile_policy loaded, again;

static char *read_file(const char *path, size_t *ret_size)
{
	struct pile_error err = { 0 };
	char *text = NULL;

	if (pile_files_read_one(AT_FDCWD, path, PILE_FILES_SIZE_MAX, &text, ret_size, &err) < 0)
		fail_msg("%s: %s", path, err.text);
	text[*ret_size < PILE_FILES_SIZE_MAX ? *ret_size : PILE_FILES_SIZE_MAX] = '\0';
	return text;
}

static void write_file(const char *path, const char *text, size_t size)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	assert_int_equal(fwrite(text, 1, size, f), size);
	assert_int_equal(fclose(f), 0);
}

static int load_string(const char *text, struct pile_policy *ret, struct pile_error *err)
{
	return pile_load_text(text, strlen(text), "test", ret, err);
}

static void load_ok(const char *text, struct pile_policy *ret)
{
	struct pile_error err = { 0 };

	if (load_string(text, ret, &err) < 0)
		fail_msg("%u:%u: %s", err.line, err.column, err.text);
}

static bool ends_with(const char *text, const char *end)
{
	return strlen(text) >= strlen(end) && !strcmp(text + strlen(text) - strlen(end), end);
}

static int is_yaml(const struct dirent *entry)
{
	return ends_with(entry->d_name, ".yaml");
}

typedef void (*file_test)(const char *path, const char *name);

static int for_each_file(const char *dir, file_test test)
{
	struct dirent **entries;
	char path[PATH_SIZE];
	int n = scandir(dir, &entries, is_yaml, alphasort);

	for (int i = 0; i < n; i++) {
		snprintf(path, sizeof(path), "%s/%s", dir, entries[i]->d_name);
		test(path, entries[i]->d_name);
		free(entries[i]);
	}
	if (n >= 0)
		free(entries);
	return n;
}

/* "x.yaml" -> "x.error" */
static void sibling(const char *path, const char *suffix, char *buf)
{
	snprintf(buf, PATH_SIZE, "%.*s%s", (int)(strlen(path) - strlen(".yaml")), path, suffix);
}

/* load(format(p)) == p, same text, same hash. */
static void assert_round_trip(const struct pile_policy *policy)
{
	_cleanup_free_ char *text = NULL, *text_again = NULL;

	assert_int_equal(pile_load_format(policy, &text), 0);
	load_ok(text, &again);
	snprintf(again.source, sizeof(again.source), "%s", policy->source);
	assert_int_equal(pile_load_format(&again, &text_again), 0);
	assert_string_equal(text, text_again);
	assert_string_equal(policy->hash, again.hash);
	assert_memory_equal(policy->groups, again.groups, again.n_groups * sizeof(again.groups[0]));
	assert_int_equal(policy->mode, again.mode);
	assert_int_equal(policy->memory_reserve_bytes, again.memory_reserve_bytes);
	assert_int_equal(policy->leak_notice_ns, again.leak_notice_ns);
	assert_int_equal(policy->n_groups, again.n_groups);
}

static void check_good(const char *path, const char *name)
{
	_cleanup_free_ char *text = NULL, *canonical = NULL;
	struct pile_error err = { 0 };
	char golden[PATH_SIZE];
	size_t size;

	if (pile_load_file(path, &loaded, &err) < 0)
		fail_msg("%s:%u:%u: %s", name, err.line, err.column, err.text);
	assert_string_equal(loaded.source, path);
	assert_int_equal(strlen(loaded.hash), 64);
	assert_round_trip(&loaded);
	sibling(path, ".canonical", golden);
	if (access(golden, F_OK) < 0)
		return;
	canonical = read_file(golden, &size);
	assert_int_equal(pile_load_format(&loaded, &text), 0);
	assert_string_equal(text, canonical);
}

static void test_good(void **state)
{
	(void)state;
	assert_true(for_each_file(CORPUS "good", check_good) >= 10);
}

static void check_bad(const char *path, const char *name)
{
	_cleanup_free_ char *text = NULL, *expected = NULL;
	struct pile_error err = { 0 };
	char golden[PATH_SIZE], message[PILE_ERROR_TEXT_MAX + 300];
	size_t size, error_size;

	sibling(path, ".error", golden);
	if (access(golden, F_OK) < 0)
		fail_msg("%s has no .error beside it", name);
	text = read_file(path, &size);
	expected = read_file(golden, &error_size);
	expected[strcspn(expected, "\n")] = '\0';
	memset(&loaded, 0x5a, sizeof(loaded));
	memset(&again, 0x5a, sizeof(again));
	assert_int_equal(pile_load_text(text, size, name, &loaded, &err), -EINVAL);
	assert_string_equal(pile_error_format(&err, message, sizeof(message)), expected);
	assert_memory_equal(&loaded, &again, sizeof(loaded)); /* untouched */
	/* Callers that want no sentence get the same verdict. */
	assert_int_equal(pile_load_text(text, size, name, &loaded, NULL), -EINVAL);
}

static void test_bad(void **state)
{
	(void)state;
	assert_true(for_each_file(CORPUS "bad", check_bad) >= 30);
}

/* The packaged sample: loads as it is, and loads with every key taken out of its comment. */
static void test_sample(void **state)
{
	_cleanup_free_ char *text = NULL;
	struct pile_error err = { 0 };
	size_t size;

	(void)state;
	text = read_file(SAMPLE, &size);
	assert_int_equal(pile_load_file(SAMPLE, &loaded, &err), 0);
	assert_int_equal(loaded.mode, PILE_MODE_OBSERVE);
	assert_int_equal(loaded.n_groups, 0);
	for (size_t i = 0; i < PILE_FORMAT_KEYS; i++) {
		char key[64];

		snprintf(key, sizeof(key), "%s: ", pile_format_keys[i].name);
		if (!strstr(text, key))
			fail_msg("the sample does not explain %s", key);
	}
	for (size_t i = 0; i < PILE_FORMAT_TOPS; i++) {
		char key[64];

		snprintf(key, sizeof(key), "%s: ", pile_format_tops[i].name);
		if (!strstr(text, key))
			fail_msg("the sample does not explain %s", key);
	}
	/* "#groups:", "#  - name": an option; "# Check:": prose */
	for (char *line = text; line && *line;
	     line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL)
		if (line[0] == '#' && (line[1] != ' ' || line[2] == ' '))
			line[0] = line[1] == ' ' ? ' ' : '\n';
	load_ok(text, &loaded);
	assert_int_equal(loaded.n_groups, 1);
	assert_string_equal(loaded.groups[0].name, "www");
	assert_int_equal(loaded.groups[0].enforce, 0);
	assert_round_trip(&loaded);
}

static void test_builtin(void **state)
{
	(void)state;
	assert_int_equal(pile_load_builtin(&loaded), 0);
	assert_string_equal(loaded.source, "built in");
	assert_int_equal(strlen(loaded.hash), 64);
	load_ok("", &again);
	assert_string_equal(loaded.hash, again.hash); /* an empty file is the built-in policy */
	assert_round_trip(&loaded);
}

/* The largest policy: every group, every exemption, the longest texts. Fits, and reads back. */
static void test_largest(void **state)
{
	_cleanup_free_ char *text = NULL;
	struct pile_error err = { 0 };
	char path[64];

	(void)state;
	pile_policy_init(&loaded);
	loaded.n_groups = PILE_GROUPS_MAX;
	for (uint32_t i = 0; i < PILE_GROUPS_MAX; i++) {
		struct pile_policy_group *g = &loaded.groups[i];
		char name[PILE_NAME_MAX];

		snprintf(name, sizeof(name), "g%0*u", PILE_NAME_MAX - 2, i);
		pile_policy_group_init(g, name);
		memset(g->cgroup, '"', sizeof(g->cgroup) - 1);
		memcpy(g->cgroup, "/a000", 5);
		snprintf(g->cgroup + 2, 4, "%03u", i);
		g->cgroup[5] = '-';
		g->n_exempt = PILE_EXEMPT_MAX;
		g->n_server_speaks_first = PILE_SPEAKS_FIRST_MAX;
		for (uint32_t j = 0; j < PILE_EXEMPT_MAX; j++) {
			snprintf(path, sizeof(path),
				 "[2001:db8:ffff:ffff:ffff:ffff:ffff:fff%x]:65535", j);
			assert_int_equal(pile_endpoint_parse(path, false, &g->exempt[j]), 0);
			g->server_speaks_first[j] = g->exempt[j];
		}
	}
	assert_int_equal(pile_check_policy(&loaded, path, sizeof(path), &err), 0);
	assert_int_equal(pile_load_seal(&loaded), 0);
	assert_int_equal(pile_load_format(&loaded, &text), 0);
	assert_true(strlen(text) < PILE_FILES_SIZE_MAX / 2);
	assert_round_trip(&loaded);
}

static void break_budget(struct pile_policy_group *g)
{
	g->memory_budget_bytes = 1ULL << 30;
	g->memory_budget_permille = 600;
}

static void break_share(struct pile_policy_group *g)
{
	g->memory_budget_permille = 1001;
}

static void break_enforce(struct pile_policy_group *g)
{
	g->enforce = PILE_RUNG_FAIL_FAST | 1u << 1;
}

static void break_errno(struct pile_policy_group *g)
{
	g->refuse_errno = 0;
}

static void break_exempt(struct pile_policy_group *g)
{
	g->n_exempt = 2;
	assert_int_equal(pile_endpoint_parse("10.0.0.1", true, &g->exempt[0]), 0);
	assert_int_equal(pile_endpoint_parse("/run/x", true, &g->exempt[1]), 0);
}

static void break_speaks_first(struct pile_policy_group *g)
{
	g->n_server_speaks_first = 1;
	assert_int_equal(pile_endpoint_parse("10.0.0.1", true, &g->server_speaks_first[0]), 0);
}

/* What the loader cannot build is refused all the same: policies are also put together by code. */
static void test_check(void **state)
{
	static const struct {
		void (*damage)(struct pile_policy_group *);
		const char *path;
	} cases[] = {
		{ break_budget, "groups[1].memory_budget" },
		{ break_share, "groups[1].memory_budget" },
		{ break_enforce, "groups[1].enforce" },
		{ break_errno, "groups[1].refuse_with" },
		{ break_exempt, "groups[1].exempt[1]" },
		{ break_speaks_first, "groups[1].server_speaks_first[0]" },
	};
	struct pile_error err;
	char path[64];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		load_ok("groups: [{name: a, unit: a.service}, {name: b, unit: b.service}]",
			&loaded);
		cases[i].damage(&loaded.groups[1]);
		err = (struct pile_error){ 0 };
		assert_int_equal(pile_check_policy(&loaded, path, sizeof(path), &err), -EINVAL);
		assert_string_equal(path, cases[i].path);
		assert_true(strlen(err.text) > 20);
	}
}

static void new_dir(char dir[PATH_SIZE])
{
	snprintf(dir, PATH_SIZE, "/tmp/pile-policy-XXXXXX");
	assert_non_null(mkdtemp(dir));
}

static void remove_dir(const char *dir)
{
	char command[PATH_SIZE + 16];

	snprintf(command, sizeof(command), "rm -rf '%s'", dir);
	assert_int_equal(system(command), 0);
}

static void test_load_file(void **state)
{
	static char big[PILE_FILES_SIZE_MAX + 1];
	struct pile_error err = { 0 };
	char dir[PATH_SIZE], path[PATH_SIZE + 16];

	(void)state;
	new_dir(dir);
	snprintf(path, sizeof(path), "%s/p.yaml", dir);
	assert_int_equal(pile_load_file(path, &loaded, &err), -ENOENT);
	assert_string_equal(err.file, path);
	assert_int_equal(pile_load_file(dir, &loaded, &err), -EINVAL);
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_int_equal(pile_load_file(path, &loaded, &err), -EINVAL); /* and returns */
	assert_int_equal(unlink(path), 0);
	memset(big, '#', sizeof(big));
	write_file(path, big, sizeof(big));
	assert_int_equal(pile_load_file(path, &loaded, &err), -EFBIG);
	assert_int_equal(pile_load_text(big, sizeof(big), "big", &loaded, &err), -EFBIG);
	write_file(path, big, sizeof(big) - 1);
	assert_int_equal(pile_load_file(path, &loaded, &err), 0);
	assert_int_equal(loaded.n_groups, 0);
	remove_dir(dir);
}

static void commit_every_key(const char *dir, uint64_t generation)
{
	struct pile_error err = { 0 };

	assert_int_equal(pile_load_file(CORPUS "good/every-key.yaml", &loaded, &err), 0);
	assert_int_equal(pile_store_commit(dir, &loaded, generation, &err), 0);
}

static void test_store(void **state)
{
	struct pile_error err = { 0 };
	char dir[PATH_SIZE], path[PATH_SIZE + 64];
	uint64_t generation = 99;

	(void)state;
	new_dir(dir);
	assert_int_equal(pile_store_load(dir, &again, &generation, &err), -ENOENT);
	assert_int_equal(generation, 99);
	commit_every_key(dir, 7);
	assert_int_equal(pile_store_load(dir, &again, &generation, &err), 0);
	assert_int_equal(generation, 7);
	assert_string_equal(again.hash, loaded.hash);
	assert_memory_equal(again.groups, loaded.groups,
			    loaded.n_groups * sizeof(loaded.groups[0]));
	snprintf(path, sizeof(path), "%s/" STORED, dir);
	assert_string_equal(again.source, path);
	/* The next one takes its place, also when a crash left half of a new file behind. */
	snprintf(path, sizeof(path), "%s/." STORED ".new", dir);
	write_file(path, "# pileguard: ha", 15);
	assert_int_equal(pile_store_load(dir, &again, &generation, &err), 0);
	assert_int_equal(generation, 7);
	assert_int_equal(pile_load_builtin(&loaded), 0);
	assert_int_equal(pile_store_commit(dir, &loaded, UINT64_MAX, &err), 0);
	assert_int_equal(access(path, F_OK), -1);
	assert_int_equal(pile_store_load(dir, &again, &generation, &err), 0);
	assert_true(generation == UINT64_MAX);
	assert_string_equal(again.hash, loaded.hash);
	remove_dir(dir);
}

/* Any byte flipped, any length cut: refused, nothing handed out. */
static void test_store_damage(void **state)
{
	_cleanup_free_ char *text = NULL;
	struct pile_error err = { 0 };
	char dir[PATH_SIZE], path[PATH_SIZE + 64];
	uint64_t generation = 99;
	size_t size;

	(void)state;
	new_dir(dir);
	commit_every_key(dir, 7);
	snprintf(path, sizeof(path), "%s/" STORED, dir);
	text = read_file(path, &size);
	for (size_t i = 0; i < size; i++) {
		text[i] ^= (char)(1 << i % 8);
		write_file(path, text, size);
		text[i] ^= (char)(1 << i % 8);
		if (pile_store_load(dir, &again, &generation, &err) != -EINVAL)
			fail_msg("flipped byte %zu of %zu passed", i, size);
	}
	for (size_t i = 0; i < size; i++) {
		write_file(path, text, i);
		if (pile_store_load(dir, &again, &generation, &err) != -EINVAL)
			fail_msg("%zu of %zu bytes passed", i, size);
	}
	assert_int_equal(generation, 99);
	assert_string_equal(err.file, path);
	remove_dir(dir);
}

static void test_store_unwritable(void **state)
{
	struct pile_error err = { 0 };
	char dir[PATH_SIZE], path[PATH_SIZE + 64];
	uint64_t generation;

	(void)state;
	new_dir(dir);
	commit_every_key(dir, 7);
	snprintf(path, sizeof(path), "%s/none", dir);
	assert_int_equal(pile_store_commit(path, &loaded, 8, &err), -ENOENT);
	assert_int_equal(pile_store_load(path, &again, &generation, &err), -ENOENT);
	snprintf(path, sizeof(path), "%s/" STORED, dir);
	assert_int_equal(pile_store_commit(path, &loaded, 8, &err), -ENOTDIR);
	/* Root writes into any directory, but not over one: the old policy stays. */
	snprintf(path, sizeof(path), "%s/." STORED ".new", dir);
	assert_int_equal(mkdir(path, 0700), 0);
	assert_int_equal(pile_store_commit(dir, &loaded, 8, &err), -EISDIR);
	assert_true(strlen(err.text) > 10);
	assert_int_equal(pile_store_load(dir, &again, &generation, &err), 0);
	assert_int_equal(generation, 7);
	if (geteuid() != 0) {
		assert_int_equal(rmdir(path), 0);
		assert_int_equal(chmod(dir, 0500), 0);
		assert_int_equal(pile_store_commit(dir, &loaded, 8, &err), -EACCES);
		assert_int_equal(chmod(dir, 0700), 0);
	}
	remove_dir(dir);
}

/* A host that is inside of a share is inside of every larger one; without a machine id only "all" means it. */
static void test_share(void **state)
{
	static const struct {
		uint32_t share, place;
		enum pile_mode mode;
	} cases[] = {
		{ 1, 0, PILE_MODE_ENFORCE },	  { 1, 1, PILE_MODE_OBSERVE },
		{ 500, 499, PILE_MODE_ENFORCE },  { 500, 500, PILE_MODE_OBSERVE },
		{ 999, 999, PILE_MODE_OBSERVE },  { 1000, 999, PILE_MODE_ENFORCE },
		{ 999, 1000, PILE_MODE_OBSERVE }, { 1000, 1000, PILE_MODE_ENFORCE },
	};

	(void)state;
	pile_policy_init(&loaded);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		loaded.enforce_share_permille = cases[i].share;
		loaded.mode = PILE_MODE_ENFORCE;
		assert_int_equal(pile_policy_mode(&loaded, cases[i].place), cases[i].mode);
		loaded.mode = PILE_MODE_OBSERVE;
		assert_int_equal(pile_policy_mode(&loaded, cases[i].place), PILE_MODE_OBSERVE);
	}
}

#define WWW "{name: www, unit: a.service, enforce: "

static void test_diff(void **state)
{
	static const struct {
		const char *from, *to;
		unsigned int n;
		const char *text;
	} cases[] = {
		{ "", "", 0, "nothing changes" },
		{ "groups: [" WWW "[]}]", "groups: [" WWW "[fail_fast]}]", 1,
		  "1 group enforces fail_fast (was: none); nothing else changes" },
		{ "groups: [" WWW "[fail_fast]}]", "", 2,
		  "1 group enforces nothing (was: fail_fast); 1 group removed: www; nothing else changes" },
		{ "",
		  "mode: enforce\ngroups: [" WWW
		  "[fail_fast]}, {name: b, cgroup: /b, enforce: [fail_fast]}]",
		  3,
		  "2 groups enforce fail_fast (was: none); mode is enforce (was: observe); "
		  "2 groups added: www, b; nothing else changes" },
		{ "groups: [" WWW "[]}]",
		  "memory_reserve: 1GiB\ngroups: [" WWW "[], dead_after: 3s}]", 2,
		  "memory_reserve is 1GiB (was: auto); www: dead_after is 3s (was: 2.4s); nothing else changes" },
		{ "groups: [{name: a, unit: a.service}]", "groups: [{name: a, cgroup: /a}]", 2,
		  "a: unit is none (was: a.service); a: cgroup is /a (was: none); nothing else changes" },
		{ "groups: [{name: a, unit: a.service}, {name: b, unit: b.service}]",
		  "groups: [{name: b, unit: b.service}, {name: a, unit: a.service}]", 1,
		  "the order of the groups changes; nothing else changes" },
	};
	char buf[512], small[24];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		load_ok(cases[i].from, &loaded);
		load_ok(cases[i].to, &again);
		assert_int_equal(pile_diff_format(&loaded, &again, buf, sizeof(buf)), cases[i].n);
		assert_string_equal(buf, cases[i].text);
		assert_int_equal(pile_diff_format(&loaded, &again, small, sizeof(small)),
				 cases[i].n);
		assert_true(strlen(small) < sizeof(small));
		assert_true(!cases[i].n || ends_with(small, "..."));
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),	     cmocka_unit_test(test_bad),
		cmocka_unit_test(test_sample),	     cmocka_unit_test(test_builtin),
		cmocka_unit_test(test_largest),	     cmocka_unit_test(test_check),
		cmocka_unit_test(test_load_file),    cmocka_unit_test(test_store),
		cmocka_unit_test(test_store_damage), cmocka_unit_test(test_store_unwritable),
		cmocka_unit_test(test_diff),	     cmocka_unit_test(test_share),
	};

	return cmocka_run_group_tests_name("policy", tests, NULL, NULL);
}

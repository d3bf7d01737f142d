// SPDX-License-Identifier: GPL-2.0-or-later
/* put.c: whom the record knows when a move comes late, is refused, or fails for one of many. The host is made up here. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "act/moves.h"
#include "act/put.h"
#include "util/clock.h"
#include "util/macro.h"

#define N 150
#define PLACED "/pileguard.slice/pileguard-www.scope"
#define SECOND_NS 1000000000ull

/* what a made-up manager does with a question */
enum answer { MOVES, COMES_LATE, REFUSES, SAYS_NOTHING_USEFUL, REFUSES_ONE };

static struct pile_place place;
static struct {
	bool there, refuses;
	char cgroup[64];
} world[N]; /* by pid - 2; each began at its pid */
static uint32_t n_world, saves;
static enum answer answer;
static atomic_bool hangs; /* the file system that the program is on */
static atomic_uint asks;
static uint32_t bad;

static bool is_there(uint32_t pid)
{
	return pid >= 2 && pid < n_world + 2 && world[pid - 2].there;
}

int pile_trees_where(const struct pile_tree *tree, uint32_t pid, char *ret, size_t size)
{
	(void)tree;
	if (!is_there(pid))
		return -ENOENT;
	snprintf(ret, size, "%s", world[pid - 2].cgroup);
	return 0;
}

int pile_trees_make(const struct pile_trees *t, const char *cgroup)
{
	(void)t;
	(void)cgroup;
	return 0;
}

int pile_trees_remove(const struct pile_trees *t, const char *cgroup)
{
	(void)t;
	(void)cgroup;
	return 0;
}

void pile_trees_find(struct pile_trees *ret, const char *unified, bool systemd)
{
	(void)ret;
	(void)unified;
	(void)systemd;
}

uint32_t pile_trees_list(const struct pile_tree *tree, const char *cgroup, uint32_t *ret,
			 uint32_t max)
{
	uint32_t n = 0;

	(void)tree;
	for (uint32_t pid = 2; pid < n_world + 2 && n < max; pid++)
		if (is_there(pid) && strcmp(world[pid - 2].cgroup, cgroup) == 0)
			ret[n++] = pid;
	return n;
}

int pile_match_stat(uint32_t pid, struct pile_match_process *ret)
{
	*ret = (struct pile_match_process){ .pid = pid, .start_ticks = pid };
	return is_there(pid) ? 0 : -ENOENT;
}

int pile_match_read(uint32_t pid, struct pile_match_process *ret)
{
	int r = pile_match_stat(pid, ret);

	return r ? r : pile_trees_where(NULL, pid, ret->cgroup, sizeof(ret->cgroup));
}

int pile_match_file(const char *path, uint64_t *ret_dev, uint64_t *ret_ino)
{
	(void)path;
	(void)ret_dev;
	(void)ret_ino;
	asks++;
	while (hangs)
		usleep(1000);
	return -ENOENT;
}

const char *pile_match_why(enum pile_match_stay stay)
{
	(void)stay;
	return "";
}

enum pile_match_stay pile_match_stays(const struct pile_match_rule *rule,
				      const struct pile_match_process *p, uint32_t guard)
{
	(void)rule;
	(void)p;
	(void)guard;
	return PILE_MATCH_MAY_MOVE;
}

int pile_moves_hold(struct pile_moving *m, uint32_t pid, uint64_t start_ticks)
{
	*m = (struct pile_moving){ .pid = pid, .start_ticks = start_ticks, .pidfd = -1 };
	return is_there(pid) ? 0 : -ESRCH;
}

void pile_moves_drop(struct pile_moving *m)
{
	(void)m;
}

bool pile_moves_still(const struct pile_moving *m)
{
	return is_there(m->pid);
}

int pile_moves_put(const struct pile_trees *t, const struct pile_moving *m, const char *from,
		   const char *cgroup)
{
	(void)t;
	(void)from;
	if (world[m->pid - 2].refuses)
		return -EPERM;
	snprintf(world[m->pid - 2].cgroup, sizeof(world[0].cgroup), "%s", cgroup);
	return 0;
}

int pile_moves_back(const struct pile_trees *t, const struct pile_moving *m, const char *cgroup,
		    const char *origin)
{
	(void)cgroup;
	return pile_moves_put(t, m, NULL, origin);
}

uint64_t pile_processes_ticks(void)
{
	return 1000;
}

void pile_processes_moved(struct pile_processes *p, const char *group)
{
	(void)p;
	(void)group;
}

void pile_processes_known(struct pile_processes *p, const struct pile_placed *undo)
{
	(void)p;
	(void)undo;
}

void pile_processes_look(struct pile_processes *p, const struct pile_match_rule *rules, uint32_t n,
			 const struct pile_holders *holders, struct pile_placed *undo, bool whole)
{
	(void)rules;
	(void)n;
	(void)holders;
	(void)undo;
	(void)whole;
	p->n = 0;
	for (uint32_t pid = 2; pid < n_world + 2; pid++)
		if (is_there(pid))
			p->table[p->n++] = (struct pile_process){ .pid = pid, .start_ticks = pid };
}

uint32_t pile_processes_candidates(struct pile_processes *p, const struct pile_match_rule *rules,
				   uint32_t rule, const struct pile_trees *trees,
				   struct pile_placed *undo)
{
	uint32_t n = 0;

	(void)rules;
	(void)trees;
	(void)undo;
	for (uint32_t i = 0; i < p->n; i++) {
		bool inside = strcmp(world[p->table[i].pid - 2].cgroup, PLACED) == 0;

		p->table[i].candidate = inside ? -1 : (int16_t)rule;
		n += !inside;
	}
	return n;
}

/* ---- the manager ---- */

static void asked_move(const struct pile_place_ask *ask)
{
	for (uint32_t i = 0; i < ask->n; i++)
		snprintf(world[ask->pids[i] - 2].cgroup, sizeof(world[0].cgroup), "%s", PLACED);
}

static int asked(const struct pile_place_ask *ask)
{
	saves += access(place.record_path, F_OK) == 0;
	for (uint32_t i = 0; answer == REFUSES_ONE && i < ask->n; i++)
		if (ask->pids[i] == bad)
			return -EINVAL;
	if (answer == MOVES || answer == REFUSES_ONE)
		asked_move(ask);
	return answer == REFUSES ? -EACCES : answer == SAYS_NOTHING_USEFUL ? -ETIMEDOUT : 0;
}

static atomic_bool manager_stop;

static void *manager(void *arg)
{
	struct pile_place_ask ask;

	(void)arg;
	while (!manager_stop) {
		if (pile_place_asks(&place, &ask))
			pile_place_answer(&place, asked(&ask));
		usleep(1000);
	}
	return NULL;
}

/* All candidates once; with a manager beside, unless the guard moves by itself. Returns what the group's status says. */
static int group_put(void)
{
	uint64_t failed_ns = 0;
	pthread_t thread;

	manager_stop = false;
	if (!place.direct)
		assert_int_equal(pthread_create(&thread, NULL, manager, NULL), 0);
	pile_put_look(&place, true);
	pile_put_group(&place, 0, &failed_ns);
	manager_stop = true;
	if (!place.direct)
		pthread_join(thread, NULL);
	return pile_put_status(&place, 0)->error;
}

static uint32_t inside(void)
{
	static uint32_t pids[N];

	return pile_trees_list(NULL, PLACED, pids, N);
}

static void begin(bool direct, uint32_t n)
{
	pthread_condattr_t attr;

	memset(&place, 0, sizeof(place));
	place.running = true;
	place.direct = direct;
	place.n_rules = 1;
	place.wants[0] = PILE_PLACE_PUT;
	snprintf(place.rules[0].group, sizeof(place.rules[0].group), "www");
	snprintf(place.record_path, sizeof(place.record_path), "/tmp/pileguard-put-%d", getpid());
	unlink(place.record_path);
	pthread_mutex_init(&place.lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&place.wake, &attr);
	pthread_condattr_destroy(&attr);
	memset(world, 0, sizeof(world));
	n_world = n;
	saves = 0;
	answer = MOVES;
	for (uint32_t i = 0; i < n; i++) {
		world[i].there = true;
		snprintf(world[i].cgroup, sizeof(world[i].cgroup), "/");
	}
}

static int end(void **state)
{
	(void)state;
	unlink(place.record_path);
	return 0;
}

static void test_asked(void **state)
{
	(void)state;
	begin(false, 100);
	assert_int_equal(group_put(), 0);
	assert_int_equal(inside(), 100);
	assert_int_equal(saves, 2); /* written down before each question */
	assert_int_equal(place.undo.n, 100);
	assert_int_equal(place.undo.entries[0].placed_ticks, 1000);
}

/* PID 1 says yes, and is slow: the record knows, until then and from then on. */
static void test_late(void **state)
{
	(void)state;
	begin(false, 2);
	answer = COMES_LATE;
	assert_int_equal(group_put(), 0);
	assert_int_equal(inside(), 0);
	assert_int_equal(place.undo.n, 2);
	assert_true(place.undo.entries[0].placed_ticks == UINT64_MAX);
	snprintf(world[0].cgroup, sizeof(world[0].cgroup), "%s", PLACED);
	pile_put_look(&place, false);
	assert_int_equal(place.undo.entries[0].placed_ticks, 1000);
	/* the other one does not come any more */
	assert_int_equal(place.undo.n, 2);
	place.undo.entries[1].asked_ns -= 61 * SECOND_NS;
	pile_put_look(&place, false);
	assert_int_equal(place.undo.n, 1);
	assert_int_equal(place.undo.entries[0].pid, 2);
}

static void test_late_and_gone(void **state)
{
	(void)state;
	begin(false, 2);
	answer = SAYS_NOTHING_USEFUL; /* nobody knows what is under way */
	assert_int_equal(group_put(), -ETIMEDOUT);
	assert_int_equal(place.undo.n, 2);
	world[0].there = false;
	pile_put_look(&place, false);
	assert_int_equal(place.undo.n, 1);
	assert_int_equal(place.undo.entries[0].pid, 3);
	/* what a guard that was killed in between left is taken over alike */
	assert_int_equal(pile_placed_save(place.record_path, &place.undo), 0);
	assert_int_equal(pile_put_adopt(&place), 0);
	assert_int_equal(place.undo.n, 1);
	snprintf(world[1].cgroup, sizeof(world[1].cgroup), "%s", PLACED);
	pile_put_look(&place, false);
	assert_int_equal(place.undo.entries[0].placed_ticks, 1000);
}

static void test_refused(void **state)
{
	(void)state;
	begin(false, 2);
	answer = REFUSES;
	assert_int_equal(group_put(), -EACCES);
	assert_int_equal(place.undo.n, 0);
	/* nobody is left to be moved: nothing is wrong any more */
	n_world = 0;
	assert_int_equal(group_put(), 0);
}

/* One answer for 64: those beside the one that it is about are moved. */
static void test_one_of_many_asked(void **state)
{
	(void)state;
	begin(false, N);
	answer = REFUSES_ONE;
	bad = 20;
	for (int i = 0; i < 8; i++)
		assert_int_equal(group_put(), -EINVAL);
	assert_int_equal(inside(), N - 1);
	assert_int_equal(place.undo.n, N - 1);
}

static void test_one_of_many(void **state)
{
	(void)state;
	begin(true, N);
	world[0].refuses = true;
	assert_int_equal(group_put(), -EPERM);
	assert_int_equal(inside(), N - 1);
	assert_int_equal(place.undo.n, N - 1);
	assert_int_equal(pile_put_status(&place, 0)->moved, N - 1);
	world[0].there = false;
	assert_int_equal(group_put(), 0);
}

/* The group had another name: its record says nothing of this one's. */
static void test_renamed(void **state)
{
	struct pile_placed_entry *entry;

	(void)state;
	begin(true, 1);
	snprintf(world[0].cgroup, sizeof(world[0].cgroup), "/mine");
	entry = pile_placed_add(&place.undo, "old", 2, 2, 5, "/");
	entry->hand = true;
	assert_int_equal(group_put(), 0);
	assert_int_equal(place.undo.n, 1);
	assert_string_equal(entry->group, "www");
	assert_string_equal(place.undo.origins[entry->origin], "/mine");
	assert_int_equal(entry->placed_ticks, 1000);
}

/* Under systemd who is not wanted any more stays until the operator undoes it: no hand, when it is wanted again. */
static void test_wanted_again(void **state)
{
	(void)state;
	begin(false, 3);
	assert_int_equal(group_put(), 0);
	place.wants[0] = PILE_PLACE_BACK;
	pile_put_others_back(&place);
	assert_int_equal(place.next.news[0].kind, PILE_PLACE_KEPT);
	assert_int_equal(place.undo.n, 3);
	for (uint32_t i = 0; i < 2; i++)
		snprintf(world[i].cgroup, sizeof(world[i].cgroup), "/");
	place.wants[0] = PILE_PLACE_PUT;
	pile_put_others_back(&place);
	assert_int_equal(place.undo.n, 1);
	assert_int_equal(place.undo.entries[0].pid, 4);
	/* while it is wanted it is a hand */
	snprintf(world[2].cgroup, sizeof(world[2].cgroup), "/");
	pile_put_others_back(&place);
	assert_int_equal(place.undo.n, 1);
}

static void test_full(void **state)
{
	char path[16];

	(void)state;
	begin(true, N);
	for (uint32_t i = 0; i < N; i++)
		snprintf(world[i].cgroup, sizeof(world[i].cgroup), "/%u", i);
	assert_int_equal(group_put(), -ENOSPC);
	assert_int_equal(place.next.news[0].kind, PILE_PLACE_ORIGINS);
	begin(true, 1);
	for (uint32_t i = 0; i < PILE_PLACED_MAX; i++) {
		snprintf(path, sizeof(path), "/%u", i % 3);
		assert_non_null(pile_placed_add(&place.undo, "old", 1000 + i, 1, 5, path));
	}
	assert_int_equal(group_put(), -ENOSPC);
	assert_int_equal(place.next.news[0].kind, PILE_PLACE_FULL);
	assert_int_equal(inside(), 0);
}

/* A record that cannot be read is not written over. */
static void test_unreadable(void **state)
{
	(void)state;
	begin(true, 1);
	assert_int_equal(symlink("/etc/passwd", place.record_path), 0);
	assert_int_equal(pile_put_adopt(&place), -ELOOP);
	assert_int_equal(place.next.news[0].kind, PILE_PLACE_RECORD);
	assert_int_equal(access(place.record_path, F_OK), 0);
}

/* A server that does not answer: the stop does not wait for it. */
static void test_hangs(void **state)
{
	static const struct pile_hierarchy hierarchy;
	static struct pile_place other;
	struct pile_place_rule rule = { .rule = { .group = "www",
						  .match = { .exe = "/net/www" } } };
	uint64_t began_ns = pile_clock_ns(CLOCK_MONOTONIC);

	(void)state;
	hangs = true;
	assert_int_equal(pile_place_open(&other, &hierarchy, "/nonexistent"), 0);
	pile_place_rules(&other, &rule, 1, 1);
	while (!asks)
		usleep(1000);
	pile_place_close(&other);
	assert_true(pile_clock_ns(CLOCK_MONOTONIC) - began_ns < 5 * SECOND_NS);
	assert_false(other.running);
	hangs = false;
	pthread_join(other.thread, NULL);
	assert_true(other.ending);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(test_asked, end),
		cmocka_unit_test_teardown(test_late, end),
		cmocka_unit_test_teardown(test_late_and_gone, end),
		cmocka_unit_test_teardown(test_refused, end),
		cmocka_unit_test_teardown(test_one_of_many_asked, end),
		cmocka_unit_test_teardown(test_one_of_many, end),
		cmocka_unit_test_teardown(test_renamed, end),
		cmocka_unit_test_teardown(test_wanted_again, end),
		cmocka_unit_test_teardown(test_full, end),
		cmocka_unit_test_teardown(test_unreadable, end),
		cmocka_unit_test(test_hangs),
	};

	return cmocka_run_group_tests_name("put", tests, NULL, NULL);
}

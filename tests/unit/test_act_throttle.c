// SPDX-License-Identifier: GPL-2.0-or-later
/* Compare and restore: files of cgroups made by hand, a systemd of the test's own; what is another hand's is left. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "act/knob.h"
#include "act/throttle.h"
#include "util/clock.h"
#include "util/macro.h"

#define UNIT "php8.2-fpm.service"
#define CGROUP "/system.slice/" UNIT

static char root[64];
static struct pile_act_throttles throttles;
static struct pile_groups groups;
static struct pile_manager manager;
static struct pile_sample sample;
static uint64_t now_ns;

/* ---- systemd: one property, and the drop-in that it leaves ---- */

static struct {
	uint64_t value;
	int error;
	bool silent; /* it does not answer */
	struct pile_manager_result results[4];
	unsigned int n, jobs;
} systemd;

static char *path_of(const char *fmt, const char *name)
{
	static char paths[4][256];
	static unsigned int next;
	char *path = paths[next++ % ARRAY_LEN(paths)];

	snprintf(path, sizeof(paths[0]), fmt, root, name);
	return path;
}

static void put_text(const char *path, const char *text)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static const char *text_of(const char *path)
{
	static char text[256];

	if (pile_knob_read(path, text, sizeof(text)) < 0)
		return NULL;
	return text;
}

static void drop_in_write(const char *name, uint64_t value)
{
	char text[200];

	mkdir(path_of("%s/control/%s", ""), 0755);
	mkdir(path_of("%s/control/%s.d", UNIT), 0755);
	snprintf(text, sizeof(text),
		 value == UINT64_MAX ? "# systemd's\n[Service]\n%s=infinity\n"
				     : "# systemd's\n[Service]\n%s=%llu\n",
		 name, (unsigned long long)value);
	put_text(path_of("%s/control/" UNIT ".d/50-%s.conf", name), text);
}

static bool drop_in_there(const char *name)
{
	return access(path_of("%s/control/" UNIT ".d/50-%s.conf", name), F_OK) == 0;
}

int pile_manager_submit(struct pile_manager *m, const struct pile_manager_job *job, uint64_t now)
{
	struct pile_manager_result *to = &systemd.results[systemd.n];
	char text[32];

	(void)m;
	systemd.jobs++;
	if (systemd.silent)
		return 0;
	*to = (struct pile_manager_result){ .job = *job, .error = systemd.error, .asked_ns = now };
	systemd.n++;
	if (to->error)
		return 0;
	to->job.properties[0].was = systemd.value;
	if (job->properties[0].compare && job->properties[0].expected != systemd.value) {
		to->error = -ESTALE;
		return 0;
	}
	systemd.value = job->properties[0].value;
	drop_in_write(job->properties[0].name, systemd.value);
	snprintf(text, sizeof(text), systemd.value == UINT64_MAX ? "max\n" : "%llu\n",
		 (unsigned long long)systemd.value);
	put_text(path_of("%s" CGROUP "/%s", "pids.max"), text);
	return 0;
}

bool pile_manager_take(struct pile_manager *m, struct pile_manager_result *ret)
{
	(void)m;
	if (!systemd.n)
		return false;
	*ret = systemd.results[0];
	memmove(systemd.results, systemd.results + 1, --systemd.n * sizeof(*ret));
	return true;
}

/* ---- the guard's part ---- */

static unsigned int tells; /* of what was turned back */
static int told_last;

static void step(void)
{
	struct pile_manager_result result;

	now_ns += PILE_TICK_NS;
	while (pile_manager_take(&manager, &result))
		pile_act_throttles_result(&throttles, &result, now_ns);
	tells += throttles.n_undone;
	if (throttles.n_undone)
		told_last = throttles.undone[throttles.n_undone - 1].result;
	throttles.n_undone = 0;
	pile_act_throttles_sample(&throttles, &manager, &sample, now_ns);
}

static int intend(enum pile_intent_kind kind, uint32_t knob, uint64_t value)
{
	struct pile_intent intent = { .kind = kind,
				      .explain_id = 17,
				      .why.throttle = { .knob = knob, .value = value } };

	pile_act_throttles_carry_out(&throttles, &groups, &manager, &intent, 1, now_ns);
	return intent.why.throttle.error;
}

static int begin(void **state)
{
	(void)state;
	strcpy(root, "/tmp/test_act_throttle.XXXXXX");
	assert_non_null(mkdtemp(root));
	mkdir(path_of("%s/system.slice%s", ""), 0755);
	mkdir(path_of("%s" CGROUP "%s", ""), 0755);
	put_text(path_of("%s" CGROUP "/%s", "pids.max"), "1739\n");
	put_text(path_of("%s" CGROUP "/%s", "cpu.weight"), "100\n");
	put_text(path_of("%s" CGROUP "/%s", "cpu.max"), "max 100000\n");
	memset(&groups, 0, sizeof(groups));
	memset(&throttles, 0, sizeof(throttles));
	memset(&systemd, 0, sizeof(systemd));
	systemd.value = 1739;
	tells = 0;
	told_last = -1;
	strcpy(groups.hierarchy.unified, root);
	groups.groups[0] = (struct pile_group){ .used = true, .present = true, .cgroup = CGROUP };
	strcpy(groups.groups[0].config.name, "www");
	manager.ready = false;
	now_ns = 1000 * NS_PER_SEC;
	return pile_act_throttles_open(&throttles, path_of("%s/%s", PILE_UNDO_NAME),
				       path_of("%s/%s", "control"));
}

static int end(void **state)
{
	char command[128];

	(void)state;
	pile_undo_close(&throttles.undo);
	snprintf(command, sizeof(command), "rm -r %s", root);
	return system(command);
}

static int left(void)
{
	int n = 0;

	for (int i = 0; i < PILE_UNDO_MAX; i++)
		n += throttles.undo.file->entries[i].knob != 0;
	return n;
}

static void with_unit(void)
{
	manager.ready = true;
	strcpy(groups.groups[0].config.unit, UNIT);
}

/* ---- files ---- */

static void cgroup_there_and_back(void **state)
{
	static const struct {
		uint32_t knob;
		uint64_t value;
		const char *file, *was, *ours;
	} knobs[] = {
		{ PILE_KNOB_TASKS, 300, "pids.max", "1739", "300" },
		{ PILE_KNOB_WEIGHT, 10, "cpu.weight", "100", "10" },
		{ PILE_KNOB_QUOTA, 1500000, "cpu.max", "max 100000", "150000 100000" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(knobs); i++) {
		assert_int_equal(intend(PILE_INTENT_THROTTLE, knobs[i].knob, knobs[i].value), 0);
		assert_string_equal(text_of(path_of("%s" CGROUP "/%s", knobs[i].file)),
				    knobs[i].ours);
		assert_int_equal(left(), 1);
		step();
		assert_int_equal(sample.n_throttled, 1);
		assert_true(sample.throttled[0].on_ns > 0);
		assert_int_equal(intend(PILE_INTENT_THROTTLE_OVER, knobs[i].knob, knobs[i].value),
				 0);
		assert_string_equal(text_of(path_of("%s" CGROUP "/%s", knobs[i].file)),
				    knobs[i].was);
		assert_int_equal(left(), 0);
		step();
		assert_int_equal(sample.n_throttled, 0);
	}
}

/* cgroup v1 has shares of 1024, and a quota of its own; a period that somebody chose stays. */
static void v1_and_periods(void **state)
{
	uint64_t value;
	char text[48];

	(void)state;
	pile_knob_format("/x/cpu.shares", "1024", 10, text, sizeof(text));
	assert_string_equal(text, "102");
	assert_int_equal(pile_knob_parse("/x/cpu.shares", "1024", &value), 0);
	assert_int_equal(value, 100);
	pile_knob_format("/x/cpu.cfs_quota_us", "-1", 1500000, text, sizeof(text));
	assert_string_equal(text, "150000");
	assert_int_equal(pile_knob_parse("/x/cpu.cfs_quota_us", "-1", &value), 0);
	assert_true(value == UINT64_MAX);
	pile_knob_format("/x/cpu.max", "max 50000", 1500000, text, sizeof(text));
	assert_string_equal(text, "75000 50000");
	assert_int_equal(pile_knob_parse("/x/cpu.max", "75000 50000", &value), 0);
	assert_int_equal(value, 1500000);
	assert_int_equal(pile_knob_parse("/x/cpu.max", "nonsense", &value), -EBADMSG);
}

/* It is noticed within a second, and left. */
static void cgroup_taken(void **state)
{
	(void)state;
	assert_int_equal(intend(PILE_INTENT_THROTTLE, PILE_KNOB_TASKS, 300), 0);
	for (int i = 0; i < 11; i++)
		step();
	assert_false(sample.throttled[0].taken);
	put_text(path_of("%s" CGROUP "/%s", "pids.max"), "500\n");
	for (int i = 0; i < 11; i++)
		step();
	assert_true(sample.throttled[0].taken);
	intend(PILE_INTENT_THROTTLE_OVER, PILE_KNOB_TASKS, 300);
	assert_string_equal(text_of(path_of("%s" CGROUP "/%s", "pids.max")), "500");
	assert_int_equal(throttles.n_undone, 1);
	assert_int_equal(throttles.undone[0].result, PILE_UNDONE_TAKEN);
	assert_string_equal(throttles.undone[0].now, "500");
	assert_int_equal(left(), 0);
}

/* Never looser than it is; nothing that is not there; nothing in the root. */
static void not_turned(void **state)
{
	(void)state;
	assert_int_equal(intend(PILE_INTENT_THROTTLE, PILE_KNOB_TASKS, 2000), EALREADY);
	unlink(path_of("%s" CGROUP "/%s", "cpu.weight"));
	assert_int_equal(intend(PILE_INTENT_THROTTLE, PILE_KNOB_WEIGHT, 10), ENOENT);
	strcpy(groups.groups[0].cgroup, "/");
	assert_int_equal(intend(PILE_INTENT_THROTTLE, PILE_KNOB_TASKS, 300), EXDEV);
	strcpy(groups.groups[0].cgroup, CGROUP);
	groups.groups[0].foreign = true;
	assert_int_equal(intend(PILE_INTENT_THROTTLE, PILE_KNOB_TASKS, 300), EXDEV);
	step();
	assert_int_equal(sample.n_throttled, 4);
	assert_int_equal(sample.throttled[1].error, ENOENT);
	assert_int_equal(left(), 0);
	step();
	assert_int_equal(sample.n_throttled, 0);
}

/* The cgroup goes: nothing is left to be set back. */
static void cgroup_gone(void **state)
{
	(void)state;
	assert_int_equal(intend(PILE_INTENT_THROTTLE, PILE_KNOB_TASKS, 300), 0);
	unlink(path_of("%s" CGROUP "/%s", "pids.max"));
	intend(PILE_INTENT_THROTTLE_OVER, PILE_KNOB_TASKS, 300);
	assert_int_equal(throttles.undone[0].result, PILE_UNDONE_GONE);
	assert_int_equal(left(), 0);
}

/* A guard that was killed: the record tells the next one, or `pileguardd --undo`. */
static unsigned int told_n;
static int told_result;

static void told(const struct pile_undo_entry *entry, int result, void *arg)
{
	(void)arg;
	assert_string_equal(entry->group, "www");
	told_n++;
	told_result = result;
}

static void killed(void **state)
{
	struct pile_undo undo;

	(void)state;
	told_n = 0;
	assert_int_equal(intend(PILE_INTENT_THROTTLE, PILE_KNOB_TASKS, 300), 0);
	pile_undo_close(&throttles.undo); /* unmapped, as by its death */
	assert_int_equal(access(path_of("%s/%s", PILE_UNDO_NAME), F_OK), 0);
	assert_int_equal(pile_undo_open(&undo, path_of("%s/%s", PILE_UNDO_NAME),
					path_of("%s/%s", "control")),
			 0);
	assert_int_equal(pile_undo_all(&undo, &manager, told, NULL), 0);
	assert_int_equal(told_n, 1);
	assert_int_equal(told_result, PILE_UNDONE_RESTORED);
	assert_string_equal(text_of(path_of("%s" CGROUP "/%s", "pids.max")), "1739");
	pile_undo_close(&undo);
	assert_int_equal(access(path_of("%s/%s", PILE_UNDO_NAME), F_OK), -1);
}

/* What is no record of ours says nothing, and is none of anybody else's. */
static void damaged(void **state)
{
	struct pile_undo undo;

	(void)state;
	pile_undo_close(&throttles.undo);
	put_text(path_of("%s/%s", PILE_UNDO_NAME), "no record");
	chmod(path_of("%s/%s", PILE_UNDO_NAME), 0666);
	assert_int_equal(pile_undo_open(&undo, path_of("%s/%s", PILE_UNDO_NAME), NULL), -EPERM);
	chmod(path_of("%s/%s", PILE_UNDO_NAME), 0600);
	assert_int_equal(pile_undo_open(&undo, path_of("%s/%s", PILE_UNDO_NAME), NULL), 0);
	assert_int_equal(pile_undo_all(&undo, &manager, told, NULL), 0);
	pile_undo_close(&undo);
}

/* ---- units ---- */

static void unit_there_and_back(void **state)
{
	(void)state;
	with_unit();
	assert_int_equal(intend(PILE_INTENT_THROTTLE, PILE_KNOB_TASKS, 300), 0);
	step();
	assert_int_equal(systemd.value, 300);
	assert_true(sample.throttled[0].on_ns > 0);
	assert_true(drop_in_there("TasksMax"));
	intend(PILE_INTENT_THROTTLE_OVER, PILE_KNOB_TASKS, 300);
	step();
	assert_int_equal(systemd.value, 1739);
	assert_false(drop_in_there("TasksMax"));
	assert_int_equal(access(path_of("%s/control/%s.d", UNIT), F_OK), -1);
	assert_int_equal(left(), 0);
}

/* set-property by hand: his, and his drop-in stays. */
static void unit_taken(void **state)
{
	(void)state;
	with_unit();
	assert_int_equal(intend(PILE_INTENT_THROTTLE, PILE_KNOB_TASKS, 300), 0);
	step();
	systemd.value = 900;
	drop_in_write("TasksMax", 900);
	intend(PILE_INTENT_THROTTLE_OVER, PILE_KNOB_TASKS, 300);
	step();
	assert_int_equal(systemd.value, 900);
	assert_true(drop_in_there("TasksMax"));
	assert_int_equal(left(), 0);
}

/* A drop-in that was there before us stays, whatever it says. */
static void unit_drop_in_before(void **state)
{
	(void)state;
	with_unit();
	drop_in_write("TasksMax", 1739);
	assert_int_equal(intend(PILE_INTENT_THROTTLE, PILE_KNOB_TASKS, 300), 0);
	step();
	intend(PILE_INTENT_THROTTLE_OVER, PILE_KNOB_TASKS, 300);
	step();
	assert_int_equal(systemd.value, 1739);
	assert_true(drop_in_there("TasksMax"));
}

/* Somebody set it in the moment between our look and systemd's: nothing is set. */
static void unit_race(void **state)
{
	(void)state;
	with_unit();
	systemd.value = 1000;
	assert_int_equal(intend(PILE_INTENT_THROTTLE, PILE_KNOB_TASKS, 300), 0);
	step();
	assert_int_equal(systemd.value, 1000);
	assert_int_equal(sample.throttled[0].error, ESTALE);
	assert_int_equal(left(), 0);
}

/* systemd cannot be asked now: again, each second, until it can. */
static void unit_asked_again(void **state)
{
	unsigned int jobs;

	(void)state;
	with_unit();
	assert_int_equal(intend(PILE_INTENT_THROTTLE, PILE_KNOB_TASKS, 300), 0);
	step();
	systemd.error = -ECONNREFUSED;
	intend(PILE_INTENT_THROTTLE_OVER, PILE_KNOB_TASKS, 300);
	jobs = systemd.jobs;
	for (int i = 0; i < 35; i++)
		step();
	assert_in_range(systemd.jobs - jobs, 3, 4);
	assert_int_equal(left(), 1);
	systemd.error = 0;
	for (int i = 0; i < 15; i++)
		step();
	assert_int_equal(left(), 0);
	assert_int_equal(systemd.value, 1739);
}

/* It is over before systemd has answered: first what it says of the one, then the other. */
static void unit_over_at_once(void **state)
{
	struct pile_manager_result result;

	(void)state;
	with_unit();
	assert_int_equal(intend(PILE_INTENT_THROTTLE, PILE_KNOB_TASKS, 300), 0);
	intend(PILE_INTENT_THROTTLE_OVER, PILE_KNOB_TASKS, 300);
	assert_int_equal(systemd.n, 1);
	assert_true(pile_manager_take(&manager, &result));
	pile_act_throttles_result(&throttles, &result, now_ns);
	for (int i = 0; i < 15; i++)
		step();
	assert_int_equal(systemd.value, 1739);
	assert_int_equal(left(), 0);
}

/* What somebody has set back already, is as it was: nobody is blamed. */
static void unit_is_as_before(void **state)
{
	(void)state;
	with_unit();
	assert_int_equal(intend(PILE_INTENT_THROTTLE, PILE_KNOB_TASKS, 300), 0);
	step();
	systemd.value = 1739;
	intend(PILE_INTENT_THROTTLE_OVER, PILE_KNOB_TASKS, 300);
	step();
	assert_int_equal(told_last, PILE_UNDONE_RESTORED);
	assert_false(drop_in_there("TasksMax"));
	assert_int_equal(left(), 0);
}

/* One that is not set back yet is not turned again: what it is now is not what it was. */
static void not_turned_twice(void **state)
{
	(void)state;
	with_unit();
	assert_int_equal(intend(PILE_INTENT_THROTTLE, PILE_KNOB_TASKS, 300), 0);
	step();
	systemd.error = -ECONNREFUSED;
	intend(PILE_INTENT_THROTTLE_OVER, PILE_KNOB_TASKS, 300);
	step();
	assert_int_equal(intend(PILE_INTENT_THROTTLE, PILE_KNOB_TASKS, 200), EBUSY);
	assert_int_equal(left(), 1);
}

/* It cannot be set back: that is told once, after five seconds; and then that it is. */
static void told_when_late(void **state)
{
	(void)state;
	with_unit();
	assert_int_equal(intend(PILE_INTENT_THROTTLE, PILE_KNOB_TASKS, 300), 0);
	step();
	systemd.error = -ECONNREFUSED;
	intend(PILE_INTENT_THROTTLE_OVER, PILE_KNOB_TASKS, 300);
	for (int i = 0; i < 48; i++)
		step();
	assert_int_equal(tells, 0);
	for (int i = 0; i < 100; i++)
		step();
	assert_int_equal(tells, 1);
	assert_int_equal(told_last, PILE_UNDONE_LATE);
	systemd.error = 0;
	for (int i = 0; i < 15; i++)
		step();
	assert_int_equal(tells, 2);
	assert_int_equal(told_last, PILE_UNDONE_RESTORED);
}

/* What an earlier guard has left, and could not be set back at the start, is tried each second. */
static void adopted(void **state)
{
	(void)state;
	with_unit();
	assert_int_equal(intend(PILE_INTENT_THROTTLE, PILE_KNOB_TASKS, 300), 0);
	step();
	pile_undo_close(&throttles.undo); /* as by its death */
	memset(&throttles, 0, sizeof(throttles));
	systemd.error = -ECONNREFUSED;
	assert_int_equal(pile_act_throttles_open(&throttles, path_of("%s/%s", PILE_UNDO_NAME),
						 path_of("%s/%s", "control")),
			 0);
	for (int i = 0; i < 25; i++)
		step();
	assert_int_equal(sample.n_throttled, 0); /* decide knows nothing of it */
	assert_int_equal(left(), 1);
	systemd.error = 0;
	for (int i = 0; i < 15; i++)
		step();
	assert_int_equal(left(), 0);
	assert_int_equal(systemd.value, 1739);
	assert_int_equal(told_last, PILE_UNDONE_RESTORED);
}

/* systemd does not answer: a start, or a stop, waits two seconds, with sixteen as with one; --undo five at most. */
static void waits_no_longer(void **state)
{
	uint64_t begun_ns = pile_clock_ns(CLOCK_MONOTONIC), took_ns;

	(void)state;
	with_unit();
	assert_int_equal(intend(PILE_INTENT_THROTTLE, PILE_KNOB_TASKS, 300), 0);
	step();
	for (int i = 1; i < PILE_UNDO_MAX; i++)
		throttles.undo.file->entries[i] = throttles.undo.file->entries[0];
	systemd.silent = true;
	told_n = 0;
	alarm(20);
	assert_int_equal(pile_undo_all(&throttles.undo, &manager, told, NULL), PILE_UNDO_MAX);
	took_ns = pile_clock_ns(CLOCK_MONOTONIC) - begun_ns;
	assert_true(took_ns < 6 * NS_PER_SEC);
	assert_int_equal(told_n, PILE_UNDO_MAX);
	assert_int_equal(told_result, -ETIMEDOUT);
	assert_int_equal(left(), PILE_UNDO_MAX);
	alarm(0);
}

static void settles(void **state)
{
	uint64_t begun_ns = pile_clock_ns(CLOCK_MONOTONIC);

	(void)state;
	with_unit();
	now_ns = begun_ns;
	assert_int_equal(intend(PILE_INTENT_THROTTLE, PILE_KNOB_TASKS, 300), 0);
	step();
	intend(PILE_INTENT_THROTTLE_OVER, PILE_KNOB_TASKS, 300);
	assert_int_equal(pile_act_throttles_settle(&throttles, &manager), 0);
	assert_int_equal(systemd.value, 1739);
	assert_int_equal(intend(PILE_INTENT_THROTTLE, PILE_KNOB_TASKS, 300), 0);
	step();
	systemd.silent = true;
	intend(PILE_INTENT_THROTTLE_OVER, PILE_KNOB_TASKS, 300);
	assert_int_equal(pile_act_throttles_settle(&throttles, &manager), 1);
	assert_true(pile_clock_ns(CLOCK_MONOTONIC) - begun_ns < 4 * NS_PER_SEC);
	assert_int_equal(left(), 1);
}

/* ... which says that it has not set it: as it was, and that is told. */
static void unit_over_at_once_refused(void **state)
{
	(void)state;
	with_unit();
	systemd.error = -EACCES;
	assert_int_equal(intend(PILE_INTENT_THROTTLE, PILE_KNOB_TASKS, 300), 0);
	intend(PILE_INTENT_THROTTLE_OVER, PILE_KNOB_TASKS, 300);
	step();
	assert_int_equal(tells, 1);
	assert_int_equal(told_last, PILE_UNDONE_RESTORED);
	assert_int_equal(left(), 0);
}

/* A group by its cgroup, which is a unit's: systemd is asked, or it would write over it. */
static void unit_of_cgroup(void **state)
{
	(void)state;
	manager.ready = true;
	assert_int_equal(intend(PILE_INTENT_THROTTLE, PILE_KNOB_TASKS, 300), 0);
	assert_int_equal(systemd.jobs, 1);
	assert_string_equal(systemd.results[0].job.unit, UNIT);
}

#define T(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(cgroup_there_and_back),
		T(v1_and_periods),
		T(cgroup_taken),
		T(not_turned),
		T(cgroup_gone),
		T(killed),
		T(damaged),
		T(unit_there_and_back),
		T(unit_taken),
		T(unit_drop_in_before),
		T(unit_race),
		T(unit_asked_again),
		T(unit_over_at_once),
		T(unit_of_cgroup),
		T(unit_is_as_before),
		T(not_turned_twice),
		T(told_when_late),
		T(adopted),
		T(waits_no_longer),
		T(settles),
		T(unit_over_at_once_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

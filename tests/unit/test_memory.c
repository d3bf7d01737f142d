// SPDX-License-Identifier: GPL-2.0-or-later
/* Limits of a group's cgroup as files of a hierarchy made by hand: whatever is set later counts, too. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "sense/sense.h"
#include "util/macro.h"

#define START_NS (1000 * NS_PER_SEC)
#define MIB (1ULL << 20)

static struct pile_sense sense;
static struct pile_kernel kernel;
static struct pile_groups groups;
static struct pile_policy policy;
static struct pile_sample sample;
static struct pile_hierarchy hierarchy;
static uint64_t now_ns;

/* ---- what is not looked at here ---- */

int pile_kernel_cgroup_set(struct pile_kernel *k, uint64_t id, uint32_t group)
{
	(void)k;
	(void)id;
	(void)group;
	return 0;
}

int pile_kernel_cgroup_remove(struct pile_kernel *k, uint64_t id)
{
	(void)k;
	(void)id;
	return 0;
}

void pile_kernel_group_reset(struct pile_kernel *k, uint32_t group)
{
	(void)k;
	(void)group;
}

void pile_kernel_groups_retire(struct pile_kernel *k, const uint32_t gone[PILE_GROUPS_MAX / 32])
{
	(void)k;
	(void)gone;
}

void pile_kernel_discover_stop(struct pile_kernel *k)
{
	(void)k;
}

int pile_kernel_port_set(struct pile_kernel *k, uint32_t netns, uint16_t port, uint32_t group)
{
	(void)k;
	(void)netns;
	(void)port;
	(void)group;
	return 0;
}

int pile_kernel_listener_remove(struct pile_kernel *k, uint64_t cookie)
{
	(void)k;
	(void)cookie;
	return 0;
}

static void event(enum pile_groups_event what, uint32_t group, void *arg)
{
	(void)what;
	(void)group;
	(void)arg;
}

/* ---- a hierarchy of two levels ---- */

static void knob(const char *file, const char *text)
{
	char path[sizeof(hierarchy.unified) + 64];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", hierarchy.unified, file);
	f = fopen(path, "w");
	assert_non_null(f);
	fprintf(f, "%s\n", text);
	assert_int_equal(fclose(f), 0);
}

static int setup(void **state)
{
	char path[sizeof(hierarchy.unified) + 64];

	(void)state;
	memset(&sense, 0, sizeof(sense));
	memset(&groups, 0, sizeof(groups));
	memset(&policy, 0, sizeof(policy));
	memset(&sample, 0, sizeof(sample));
	now_ns = START_NS;
	snprintf(hierarchy.unified, sizeof(hierarchy.unified), "/tmp/pile-memory-XXXXXX");
	assert_non_null(mkdtemp(hierarchy.unified));
	for (const char *const *at = (const char *const[]){ "/up", "/up/www", NULL }; *at; at++) {
		snprintf(path, sizeof(path), "%s%s", hierarchy.unified, *at);
		assert_int_equal(mkdir(path, 0700), 0);
	}
	policy.n_groups = 1;
	snprintf(policy.groups[0].name, sizeof(policy.groups[0].name), "www");
	snprintf(policy.groups[0].cgroup, sizeof(policy.groups[0].cgroup), "/up/www");
	sense.meminfo_fd = -1;
	return 0;
}

static int teardown(void **state)
{
	static const char *const files[] = { "/up/www/cpu.pressure",
					     "/up/www/cpu.stat",
					     "/up/cpu.stat",
					     "/up/www/memory.max",
					     "/up/www/pids.max",
					     "/up/www/memory.stat",
					     "/up/www",
					     "/up/memory.max",
					     "/up",
					     "" };
	char path[sizeof(hierarchy.unified) + 64];

	(void)state;
	pile_groups_fini(&groups, &kernel);
	for (size_t i = 0; i < ARRAY_LEN(files); i++) {
		snprintf(path, sizeof(path), "%s%s", hierarchy.unified, files[i]);
		remove(path);
	}
	return 0;
}

static void begin(void)
{
	pile_groups_init(&groups, &hierarchy);
	pile_groups_apply(&groups, &kernel, &policy, now_ns, event, NULL);
	assert_true(groups.groups[0].present);
}

static void seconds(unsigned int n)
{
	for (unsigned int i = 0; i < n * (NS_PER_SEC / PILE_TICK_NS); i++) {
		now_ns += PILE_TICK_NS;
		pile_groups_check(&groups, &kernel, now_ns, event, NULL);
		pile_memory_sample(&sense, &groups, now_ns, &sample);
	}
}

static void test_set_later(void **state)
{
	(void)state;
	knob("up/www/memory.max", "max");
	knob("up/www/pids.max", "max");
	begin();
	seconds(1);
	assert_int_equal(sample.groups[0].memory_limit_bytes, 0);
	assert_int_equal(sample.groups[0].workers_limit, 0);
	knob("up/www/memory.max", "629145600");
	knob("up/www/pids.max", "700");
	seconds(10);
	assert_int_equal(sample.groups[0].memory_limit_bytes, 600 * MIB);
	assert_int_equal(sample.groups[0].workers_limit, 700);
	knob("up/www/memory.max", "max");
	seconds(10);
	assert_int_equal(sample.groups[0].memory_limit_bytes, 0);
}

static void test_set_above(void **state)
{
	(void)state;
	knob("up/www/memory.max", "629145600");
	begin();
	seconds(1);
	assert_int_equal(sample.groups[0].memory_limit_bytes, 600 * MIB);
	knob("up/memory.max", "314572800");
	seconds(10);
	assert_int_equal(sample.groups[0].memory_limit_bytes, 300 * MIB);
}

/* While requests pile up, it counts within a second. */
static void test_set_while_requests_wait(void **state)
{
	(void)state;
	begin();
	sample.groups[0].waiting = 20;
	seconds(1);
	knob("up/www/memory.max", "629145600");
	seconds(1);
	assert_int_equal(sample.groups[0].memory_limit_bytes, 600 * MIB);
}

/* A controller that systemd switches on later brings its files with it. */
static void test_files_come_later(void **state)
{
	(void)state;
	begin();
	seconds(1);
	assert_int_equal(sample.groups[0].memory_bytes, 0);
	knob("up/www/memory.stat", "anon 1048576");
	seconds(11);
	assert_int_equal(sample.groups[0].memory_bytes, MIB);
}

/* What goes when somebody wants its place is nobody's use: page cache, and of the kernel's own dentries and inodes. */
static void test_what_counts(void **state)
{
	(void)state;
	knob("up/www/memory.stat",
	     "anon 4194304\nfile 1073741824\nkernel 3145728\nsock 1048576\nshmem 0\n"
	     "slab_reclaimable 2097152\n");
	begin();
	seconds(1);
	assert_int_equal(sample.groups[0].memory_bytes, 6 * MIB);
}

/* A file that ends with its directory, as a cgroup's do, is asked; what is gone is seen to be gone. */
static void test_gone(void **state)
{
	char path[sizeof(hierarchy.unified) + 64];

	(void)state;
	knob("up/www/cgroup.events", "populated 1");
	begin();
	seconds(1);
	assert_true(groups.groups[0].present);
	snprintf(path, sizeof(path), "%s/up/www/cgroup.events", hierarchy.unified);
	assert_int_equal(truncate(path, 0), 0);
	assert_int_equal(remove(path), 0);
	snprintf(path, sizeof(path), "%s/up/www", hierarchy.unified);
	assert_int_equal(rmdir(path), 0);
	seconds(1);
	assert_false(groups.groups[0].present);
}

/* What is protected is not there: named once, after a minute; a slice comes and goes. */
static void test_protected_missing(void **state)
{
	static struct pile_load load;
	unsigned int named = 0;

	(void)state;
	policy.n_protect = 3;
	snprintf(policy.protect[0], sizeof(policy.protect[0]), "/up/www");
	snprintf(policy.protect[1], sizeof(policy.protect[1]), "ssh.service");
	snprintf(policy.protect[2], sizeof(policy.protect[2]), "user.slice");
	knob("up/www/cpu.stat", "usage_usec 5");
	knob("up/www/cpu.pressure", "some avg10=0.00 avg60=0.00 avg300=0.00 total=1204");
	begin();
	pile_load_open(&load);
	load.pressure_missing = false;
	pile_load_protect(&load, &policy);
	for (int i = 0; i < 200; i++, now_ns += NS_PER_SEC) {
		const char *cgroup;

		pile_load_sample(&load, &groups, now_ns, &sample);
		cgroup = pile_load_missing(&load, &sample);
		if (!cgroup)
			continue;
		named++;
		assert_string_equal(cgroup, "/system.slice/ssh.service");
		assert_int_equal(i, 60);
	}
	assert_int_equal(named, 1);
	pile_load_close(&load);
}

/* Who is protected: how often a quota held it, its own or one above it; with what was left over, each second. */
static void test_protected(void **state)
{
	const struct pile_sample_protected *p = &sample.protected[0];
	static struct pile_load load;

	(void)state;
	knob("up/cpu.stat", "usage_usec 9\nnr_throttled 3");
	knob("up/www/cpu.stat", "usage_usec 5\nnr_throttled 1");
	knob("up/www/cpu.pressure", "some avg10=0.00 avg60=0.00 avg300=0.00 total=1204");
	policy.n_protect = 1;
	snprintf(policy.protect[0], sizeof(policy.protect[0]), "/up/www");
	begin();
	pile_load_open(&load);
	load.pressure_missing = false;
	pile_load_protect(&load, &policy);
	for (int i = 0; i < 12; i++, now_ns += PILE_TICK_NS) {
		load.until_ns = UINT64_MAX;
		pile_load_sample(&load, &groups, now_ns, &sample);
		assert_true(p->known && sample.idle_ns);
		assert_int_equal(sample.idle_at_ns, START_NS + (i < 10 ? 0 : NS_PER_SEC));
		assert_int_equal(p->waited_ns, 1204 * NS_PER_US);
		assert_int_equal(p->quota_waits, i < 10 ? 4 : 6);
		knob("up/cpu.stat", "usage_usec 9\nnr_throttled 5");
	}
	pile_load_close(&load);
	assert_true(
		pile_load_idle("cpu  592568 14987 93220 157358 1511 0 1816 783 0 0\ncpu0 1\n") ==
		158869 * (NS_PER_SEC / (uint64_t)sysconf(_SC_CLK_TCK)));
	assert_int_equal(pile_load_idle("cpu0 1 2 3\n"), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_set_later, setup, teardown),
		cmocka_unit_test_setup_teardown(test_set_above, setup, teardown),
		cmocka_unit_test_setup_teardown(test_set_while_requests_wait, setup, teardown),
		cmocka_unit_test_setup_teardown(test_files_come_later, setup, teardown),
		cmocka_unit_test_setup_teardown(test_what_counts, setup, teardown),
		cmocka_unit_test_setup_teardown(test_gone, setup, teardown),
		cmocka_unit_test_setup_teardown(test_protected, setup, teardown),
		cmocka_unit_test_setup_teardown(test_protected_missing, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

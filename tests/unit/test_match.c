// SPDX-License-Identifier: GPL-2.0-or-later
/* match.c: what /proc says of a process, whether a rule holds, and what keeps a process where it is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "groups/match.h"
#include "util/macro.h"

#define OWN "/pileguard.slice/pileguard-node.scope"
#define GUARD 77

static struct pile_match_process process(void)
{
	return (struct pile_match_process){ .pid = 100,
					    .parent = 1,
					    .start_ticks = 5,
					    .uid = 1001,
					    .comm = "node",
					    .exe_dev = 8,
					    .exe_ino = 42,
					    .cgroup = "/" };
}

static struct pile_match_rule rule(void)
{
	return (struct pile_match_rule){
		.group = "node",
		.match = { .exe = "/usr/bin/node" },
		.place = true,
		.has_exe = true,
		.exe_dev = 8,
		.exe_ino = 42,
	};
}

static void test_stat(void **state)
{
	struct pile_match_process p = { .pid = 7 };

	(void)state;
	assert_int_equal(
		pile_match_stat_parse("7 (node) S 3 7 7 34816 7 4194304 1 2 3 4 5 6 7 8 20 0 11 0 "
				      "123456 9 9 18446744073709551615",
				      &p),
		0);
	assert_string_equal(p.comm, "node");
	assert_int_equal(p.parent, 3);
	assert_int_equal(p.start_ticks, 123456);
	assert_true(p.terminal);
	assert_false(p.kernel_thread);
	/* a name that pretends to be the rest of the line */
	assert_int_equal(
		pile_match_stat_parse(
			"7 (a) S 1 (x) R 9 7 7 0 -1 2129984 1 2 3 4 5 6 7 8 20 0 1 0 777 0", &p),
		0);
	assert_string_equal(p.comm, "a) S 1 (x");
	assert_int_equal(p.parent, 9);
	assert_int_equal(p.start_ticks, 777);
	assert_false(p.terminal);
	assert_true(p.kernel_thread);
	assert_int_equal(pile_match_stat_parse("", &p), -EBADMSG);
	assert_int_equal(pile_match_stat_parse("7 (node", &p), -EBADMSG);
	assert_int_equal(pile_match_stat_parse(")(", &p), -EBADMSG);
	assert_int_equal(pile_match_stat_parse("7 (node) S 3 7", &p), -EBADMSG);
}

static void test_status(void **state)
{
	struct pile_match_process p = { 0 };

	(void)state;
	assert_int_equal(
		pile_match_status_parse("Name:\tx\nUid:\t1001\t0\t0\t0\nNSpid:\t7\nX:\t1\n", &p),
		0);
	assert_int_equal(p.uid, 1001); /* the real one: who runs it, not what it has become */
	assert_false(p.namespaced);
	assert_int_equal(pile_match_status_parse("Name:\tx\nUid:\t0\t0\t0\t0\nNSpid:\t7\t1\n", &p),
			 0);
	assert_true(p.namespaced);
	assert_int_equal(pile_match_status_parse("Name:\tx\n", &p), -EBADMSG);
	/* a kernel without pid namespaces tells none; a long line of groups cuts off what would have been told */
	assert_int_equal(pile_match_status_parse("Name:\tx\nUid:\t0\t0\t0\t0\nX:\t1\n", &p), 0);
	assert_false(p.namespaced);
	assert_int_equal(pile_match_status_parse("Name:\tx\nUid:\t0\t0\t0\t0\nGroups:\t1 2 3", &p),
			 0);
	assert_true(p.namespaced);
	assert_int_equal(
		pile_match_status_parse("Name:\tx\nUid:\t0\t0\t0\t0\nGroups:\t1\nNSpid:\t71", &p),
		0);
	assert_true(p.namespaced);
}

static void test_self(void **state)
{
	struct pile_match_process p;

	(void)state;
	assert_int_equal(pile_match_read((uint32_t)getpid(), &p), 0);
	assert_int_equal(p.parent, getppid());
	assert_int_equal(p.uid, getuid());
	assert_int_not_equal(p.exe_ino, 0);
	assert_true(p.start_ticks > 0);
	assert_true(pile_match_read(0x7fffffff, &p) < 0);
}

/* Each thing that a rule can say, alone and together; all must hold. */
static void test_rules(void **state)
{
	struct pile_match_process p = process();
	struct pile_match_rule r = rule();

	(void)state;
	assert_true(pile_match_is(&r, &p, false, OWN));
	p.exe_ino = 43; /* a copy, under whatever name */
	assert_false(pile_match_is(&r, &p, false, OWN));
	p.exe_ino = 0; /* not told */
	r.exe_ino = 0;
	assert_false(pile_match_is(&r, &p, false, OWN));
	r = rule();
	p = process();
	r.has_exe = false; /* no such program */
	assert_false(pile_match_is(&r, &p, false, OWN));

	r = rule();
	snprintf(r.match.user, sizeof(r.match.user), "api");
	assert_false(pile_match_is(&r, &p, false, OWN)); /* nobody here has that name */
	r.has_uid = true;
	r.uid = 1001;
	assert_true(pile_match_is(&r, &p, false, OWN));
	p.uid = 1002;
	assert_false(pile_match_is(&r, &p, false, OWN));

	p = process();
	r.match.port = 8080;
	assert_false(pile_match_is(&r, &p, false, OWN));
	assert_true(pile_match_is(&r, &p, true, OWN));

	snprintf(r.match.cgroup, sizeof(r.match.cgroup), "/workers/*");
	assert_false(pile_match_is(&r, &p, true, OWN));
	snprintf(p.cgroup, sizeof(p.cgroup), "/workers/a");
	assert_true(pile_match_is(&r, &p, true, OWN));
	snprintf(p.cgroup, sizeof(p.cgroup), "/workers/a/b"); /* a star is one name */
	assert_false(pile_match_is(&r, &p, true, OWN));
	snprintf(p.cgroup, sizeof(p.cgroup), OWN); /* it was in it, and is placed */
	assert_true(pile_match_is(&r, &p, true, OWN));
	p.kernel_thread = true;
	assert_false(pile_match_is(&r, &p, true, OWN));
}

static void test_stays(void **state)
{
	static const struct {
		const char *cgroup, *comm;
		enum pile_match_stay stay;
	} cases[] = {
		{ "/", "node", PILE_MATCH_MAY_MOVE },
		{ "/init.scope", "node", PILE_MATCH_MAY_MOVE },
		{ "/system.slice/nginx.service", "node", PILE_MATCH_UNIT },
		{ "/system.slice/nginx.service/worker", "node", PILE_MATCH_UNIT },
		{ "/user.slice/user-0.slice/session-1.scope", "node", PILE_MATCH_FOREIGN },
		{ "/machine.slice/libpod-1.scope", "node", PILE_MATCH_FOREIGN },
		{ "/kubepods.slice/x", "node", PILE_MATCH_FOREIGN },
		{ "/docker/12ab", "node", PILE_MATCH_FOREIGN },
		{ "/workers/a", "node", PILE_MATCH_ELSEWHERE },
		{ "/pileguard.slice/pileguard-a.scope", "node", PILE_MATCH_PLACED },
		{ "/", "sshd", PILE_MATCH_SESSION },
		{ "/", "agetty", PILE_MATCH_SESSION },
		{ "/", "sudo", PILE_MATCH_SESSION },
	};
	struct pile_match_rule r = rule();
	struct pile_match_process p;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		p = process();
		snprintf(p.cgroup, sizeof(p.cgroup), "%s", cases[i].cgroup);
		snprintf(p.comm, sizeof(p.comm), "%s", cases[i].comm);
		assert_int_equal(pile_match_stays(&r, &p, GUARD), cases[i].stay);
		assert_int_equal(pile_match_why(cases[i].stay)[0] == '\0', !cases[i].stay);
	}
	p = process();
	p.terminal = true;
	assert_int_equal(pile_match_stays(&r, &p, GUARD), PILE_MATCH_SESSION);
	p = process();
	p.namespaced = true;
	assert_int_equal(pile_match_stays(&r, &p, GUARD), PILE_MATCH_FOREIGN);
	p = process();
	p.pid = 1;
	assert_int_equal(pile_match_stays(&r, &p, GUARD), PILE_MATCH_KERNEL);
	p = process();
	p.parent = GUARD;
	assert_int_equal(pile_match_stays(&r, &p, GUARD), PILE_MATCH_GUARD);
	p.pid = GUARD;
	p.parent = 1;
	assert_int_equal(pile_match_stays(&r, &p, GUARD), PILE_MATCH_GUARD);
	/* a cgroup that the rule names may be left; a unit's, or another manager's, never */
	snprintf(r.match.cgroup, sizeof(r.match.cgroup), "/*/*");
	p = process();
	snprintf(p.cgroup, sizeof(p.cgroup), "/workers/a");
	assert_int_equal(pile_match_stays(&r, &p, GUARD), PILE_MATCH_MAY_MOVE);
	snprintf(p.cgroup, sizeof(p.cgroup), "/system.slice/x.service");
	assert_int_equal(pile_match_stays(&r, &p, GUARD), PILE_MATCH_UNIT);
	snprintf(p.cgroup, sizeof(p.cgroup), "/docker/x");
	assert_int_equal(pile_match_stays(&r, &p, GUARD), PILE_MATCH_FOREIGN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_stat),  cmocka_unit_test(test_status),
		cmocka_unit_test(test_self),  cmocka_unit_test(test_rules),
		cmocka_unit_test(test_stays),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

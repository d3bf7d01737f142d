// SPDX-License-Identifier: GPL-2.0-or-later
/* proc.c: what a cgroup's path says of whose it is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>

#include "groups/proc.h"
#include "util/macro.h"

static void test_unit(void **state)
{
	static const struct {
		const char *cgroup, *unit;
	} cases[] = {
		{ "/system.slice/php8.2-fpm.service", "php8.2-fpm.service" },
		{ "/system.slice/system-getty.slice/getty@tty1.service", "getty@tty1.service" },
		{ "/system.slice/nginx.service/worker", "nginx.service" },
		{ "/a.slice/a-b.slice/x.scope", "x.scope" },
		{ "/system.slice/y.socket", "y.socket" },
		{ "/init.scope", "init.scope" },
		{ "/user.slice/user-0.slice/session-1.scope", "session-1.scope" },
		{ "/user.slice/user-7.slice/user@7.service/app.slice/z.service", "user@7.service" },
		/* below a unit everything is that unit's own business: a container's, or a user's */
		{ "/system.slice/docker-12ab.scope/system.slice/nginx.service",
		  "docker-12ab.scope" },
		{ "/machine.slice/libpod-1.scope/system.slice/nginx.service", "libpod-1.scope" },
		/* ... and below what is no slice too */
		{ "/docker/12ab/system.slice/nginx.service", NULL },
		{ "/lxc.payload.web/system.slice/nginx.service", NULL },
		{ "/mine/system.slice/nginx.service", NULL },
		{ "/system.slice", NULL },
		{ "/.service", NULL },
		{ "/", NULL },
		{ "", NULL },
	};
	char unit[PILE_UNIT_MAX];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		bool found = pile_proc_unit(cases[i].cgroup, unit, sizeof(unit));

		assert_int_equal(found, cases[i].unit != NULL);
		if (found)
			assert_string_equal(unit, cases[i].unit);
	}
	assert_false(pile_proc_unit("/system.slice/nginx.service", unit, 13));
	assert_true(pile_proc_unit("/system.slice/nginx.service", unit, 14));
}

static void test_cgroup(void **state)
{
	static const struct {
		const char *text, *cgroup;
		int r;
	} cases[] = {
		{ "0::/a/b\n", "/a/b", 0 },
		{ "5:pids:/x\n0::/a\n", "/a", 0 },
		{ "0::/\n5:pids:/x", "/", 0 },
		/* cut off: "/user.slice" would have been its child's limits, and "/" nobody's */
		{ "5:pids:/x\n0::/user.slice/user-1000.slice", NULL, -ENAMETOOLONG },
		{ "0::/", NULL, -ENAMETOOLONG },
		{ "5:pids:/x\n0:", NULL, -ENOENT },
		{ "0::/a (deleted)\n", NULL, -ENOENT },
		{ "", NULL, -ENOENT },
	};
	char text[128], cgroup[64];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		snprintf(text, sizeof(text), "%s", cases[i].text);
		assert_int_equal(pile_proc_cgroup_parse(text, cgroup, sizeof(cgroup)), cases[i].r);
		if (!cases[i].r)
			assert_string_equal(cgroup, cases[i].cgroup);
	}
	snprintf(text, sizeof(text), "0::/abc\n");
	assert_int_equal(pile_proc_cgroup_parse(text, cgroup, 4), -ENAMETOOLONG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_unit),
		cmocka_unit_test(test_cgroup),
	};

	return cmocka_run_group_tests_name("proc", tests, NULL, NULL);
}

// SPDX-License-Identifier: GPL-2.0-or-later
/* proc.c: what a cgroup's path says of whose it is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_unit),
	};

	return cmocka_run_group_tests_name("proc", tests, NULL, NULL);
}

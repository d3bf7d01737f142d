// SPDX-License-Identifier: GPL-2.0-or-later
#include "scope.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-bus.h>
#include <time.h>
#include <unistd.h>

#include "policy/policy.h"
#include "util/macro.h"

#define SYSTEMD_SOCKET "unix:path=/run/systemd/private"
#define SYSTEMD \
	"org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager"
#define PAUSE_NS (25 * 1000000L)
#define TRIES 200 /* five seconds, for a PID 1 that is busy */

static bool is_there(const struct pile_trees *trees, const char *cgroup)
{
	char where[PILE_CGROUP_MAX];

	return pile_trees_where(&trees->trees[0], (uint32_t)getpid(), where, sizeof(where)) == 0 &&
	       strcmp(where, cgroup) == 0;
}

/* 0: there is none of that name, or it is where it should be; -EEXIST: it is another's. */
static int scope_look(sd_bus *bus, const char *unit, const char *cgroup, sd_bus_error *error)
{
	_cleanup_free_ char *found = NULL;
	sd_bus_message *reply = NULL;
	const char *path;
	int r = sd_bus_call_method(bus, SYSTEMD, "GetUnit", error, &reply, "s", unit);

	if (r < 0 && sd_bus_error_has_name(error, "org.freedesktop.systemd1.NoSuchUnit"))
		return 0;
	if (r >= 0)
		r = sd_bus_message_read(reply, "o", &path);
	if (r >= 0)
		r = sd_bus_get_property_string(bus, "org.freedesktop.systemd1", path,
					       "org.freedesktop.systemd1.Scope", "ControlGroup",
					       error, &found);
	sd_bus_message_unref(reply);
	if (r < 0 || !found[0] || strcmp(found, cgroup) == 0)
		return MIN(r, 0);
	sd_bus_error_free(error);
	sd_bus_error_setf(error, "org.freedesktop.systemd1.UnitExists", "%s is another's, in %s",
			  unit, found);
	return -EEXIST;
}

static int scope_attach(sd_bus *bus, const char *unit, sd_bus_error *error)
{
	sd_bus_error_free(error);
	return sd_bus_call_method(bus, SYSTEMD, "AttachProcessesToUnit", error, NULL, "ssau", unit,
				  "", 1, (uint32_t)getpid());
}

static int scope_start(sd_bus *bus, const char *unit, sd_bus_error *error)
{
	sd_bus_error_free(error);
	return sd_bus_call_method(bus, SYSTEMD, "StartTransientUnit", error, NULL,
				  "ssa(sv)a(sa(sv))", unit, "fail", 5, "Description", "s",
				  "API workers placed by pileguard", "Slice", "s", PILE_PLACE_SLICE,
				  "Delegate", "b", 1, "CollectMode", "s", "inactive-or-failed",
				  "PIDs", "au", 1, (uint32_t)getpid(), 0);
}

int pile_scope_join(const char *name, const struct pile_trees *trees, const char *cgroup,
		    char *ret_why, size_t size)
{
	const struct timespec pause = { .tv_nsec = PAUSE_NS };
	sd_bus_error error = SD_BUS_ERROR_NULL;
	char unit[PILE_UNIT_MAX];
	sd_bus *bus = NULL;
	int r, looked = -ENOTCONN;

	snprintf(unit, sizeof(unit), PILE_PLACE_PREFIX "%s.scope", name);
	r = sd_bus_new(&bus);
	if (r >= 0)
		r = sd_bus_set_address(bus, SYSTEMD_SOCKET);
	if (r >= 0)
		r = sd_bus_start(bus);
	if (r >= 0)
		r = looked = scope_look(bus, unit, cgroup, &error);
	if (looked >= 0)
		r = scope_attach(bus, unit, &error);
	if (r < 0 && looked >= 0)
		r = scope_start(bus, unit, &error);
	/* somebody else was faster */
	if (r < 0 && looked >= 0 &&
	    sd_bus_error_has_name(&error, "org.freedesktop.systemd1.UnitExists")) {
		sd_bus_error_free(&error);
		r = scope_look(bus, unit, cgroup, &error);
		r = r < 0 ? r : scope_attach(bus, unit, &error);
	}
	snprintf(ret_why, size, "%s", error.message ? error.message : r < 0 ? strerror(-r) : "");
	for (int i = 0; r >= 0 && !is_there(trees, cgroup); i++) {
		if (i == TRIES)
			r = -ETIMEDOUT;
		nanosleep(&pause, NULL);
	}
	if (r == -ETIMEDOUT)
		snprintf(ret_why, size, "systemd has not moved this process within 5 s");
	sd_bus_error_free(&error);
	sd_bus_flush_close_unref(bus);
	return MIN(r, 0);
}

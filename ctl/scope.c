// SPDX-License-Identifier: GPL-2.0-or-later
#include "scope.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
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
				  "ssa(sv)a(sa(sv))", unit, "fail", 4, "Description", "s",
				  "API workers placed by pileguard", "Slice", "s", PILE_PLACE_SLICE,
				  "Delegate", "b", 1, "PIDs", "au", 1, (uint32_t)getpid(), 0);
}

int pile_scope_join(const char *name, const struct pile_trees *trees, const char *cgroup,
		    char *ret_why, size_t size)
{
	const struct timespec pause = { .tv_nsec = PAUSE_NS };
	sd_bus_error error = SD_BUS_ERROR_NULL;
	char unit[PILE_UNIT_MAX];
	sd_bus *bus = NULL;
	int r;

	snprintf(unit, sizeof(unit), PILE_PLACE_PREFIX "%s.scope", name);
	r = sd_bus_new(&bus);
	if (r >= 0)
		r = sd_bus_set_address(bus, SYSTEMD_SOCKET);
	if (r >= 0)
		r = sd_bus_start(bus);
	if (r >= 0)
		r = scope_attach(bus, unit, &error);
	if (r < 0 && bus)
		r = scope_start(bus, unit, &error);
	/* somebody else was faster */
	if (r < 0 && sd_bus_error_has_name(&error, "org.freedesktop.systemd1.UnitExists"))
		r = scope_attach(bus, unit, &error);
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

enum slice {
	SLICE_GONE,
	SLICE_BARE,  /* no scope is in it */
	SLICE_EMPTY, /* scopes that systemd is about to take away */
	SLICE_USED,
};

static enum slice slice_look(const struct pile_trees *trees)
{
	char path[300], cgroup[PILE_CGROUP_MAX];
	enum slice found = SLICE_BARE;
	struct dirent *entry;
	uint32_t pid;
	DIR *dir;

	snprintf(path, sizeof(path), "%s/" PILE_PLACE_SLICE, trees->trees[0].mount);
	dir = opendir(path);
	if (!dir)
		return SLICE_GONE;
	while ((entry = readdir(dir))) {
		if (strncmp(entry->d_name, PILE_PLACE_PREFIX, strlen(PILE_PLACE_PREFIX)) != 0)
			continue;
		snprintf(cgroup, sizeof(cgroup), "/" PILE_PLACE_SLICE "/%s", entry->d_name);
		found = pile_trees_list(&trees->trees[0], cgroup, &pid, 1) || found == SLICE_USED
				? SLICE_USED
				: SLICE_EMPTY;
	}
	closedir(dir);
	return found;
}

void pile_scope_slice_end(const struct pile_trees *trees)
{
	const struct timespec pause = { .tv_nsec = PAUSE_NS };
	enum slice slice = slice_look(trees);
	sd_bus *bus = NULL;
	int r;

	for (int i = 0; i < TRIES && slice == SLICE_EMPTY; i++) {
		nanosleep(&pause, NULL);
		slice = slice_look(trees);
	}
	if (slice != SLICE_BARE)
		return;
	r = sd_bus_new(&bus);
	if (r >= 0)
		r = sd_bus_set_address(bus, SYSTEMD_SOCKET);
	if (r >= 0)
		r = sd_bus_start(bus);
	if (r >= 0)
		sd_bus_call_method(bus, SYSTEMD, "StopUnit", NULL, NULL, "ss", PILE_PLACE_SLICE,
				   "replace");
	sd_bus_flush_close_unref(bus);
}

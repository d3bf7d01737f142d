// SPDX-License-Identifier: GPL-2.0-or-later
/* pileguardctl unplace: processes that the guard has placed go back, by its own record. Under systemd the guard may not
 * do it itself: its unit sees the cgroups read-only, and PID 1 takes a process out of a scope for nobody. */
#include <errno.h>
#include <mntent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "act/placed.h"
#include "ctl.h"
#include "pileguard/api.h"
#include "util/macro.h"

void pile_unplace_path(const struct pile_ctl *ctl, const char *name, char *ret, size_t size)
{
	const char *slash = strrchr(ctl->socket, '/');

	snprintf(ret, size, "%.*s%s", slash ? (int)(slash - ctl->socket) + 1 : 0, ctl->socket,
		 name);
}

int pile_unplace_mount(char *ret, size_t size)
{
	FILE *mounts = setmntent("/proc/self/mounts", "re");
	struct mntent *entry;
	int r = -ENOENT;

	while (mounts && r < 0 && (entry = getmntent(mounts)))
		if (strcmp(entry->mnt_type, "cgroup2") == 0 && strlen(entry->mnt_dir) < size) {
			snprintf(ret, size, "%s", entry->mnt_dir);
			r = 0;
		}
	if (mounts)
		endmntent(mounts);
	return r;
}

static bool of_group(const struct pile_placed_entry *entry, void *arg)
{
	return strcmp(entry->group, arg) == 0;
}

static void told(const struct pile_ctl *ctl, const char *group, int r)
{
	if (ctl->json)
		printf("{\"group\":\"%s\",\"back\":%s,\"stay\":%d}\n", group,
		       r < 0 ? "false" : "true", MAX(r, 0));
	else if (r < 0)
		fprintf(stderr, "%s: not all processes could be moved back: %s\n", group,
			strerror(-r));
	else if (r > 0)
		printf("%s: back where they were, but for %d that %s started inside\n", group, r,
		       r == 1 ? "was" : "were");
	else
		printf("%s: back where they were\n", group);
}

/** Each group of the record, or one. Returns 0 or the last error. */
static int groups_back(const struct pile_ctl *ctl, const struct pile_trees *trees,
		       struct pile_placed *undo)
{
	char run_path[300], group[PILE_NAME_MAX];
	int error = 0, r;

	pile_unplace_path(ctl, PILE_PLACED_RUN_FILE, run_path, sizeof(run_path));
	for (uint32_t i = 0; i < undo->n;) {
		snprintf(group, sizeof(group), "%s", undo->entries[i].group);
		if (ctl->n_args && strcmp(group, ctl->args[0]) != 0) {
			i++;
			continue;
		}
		r = pile_placed_back(trees, undo, group, run_path);
		told(ctl, group, r);
		error = r < 0 ? r : error;
		/* also where it failed: it is told, and what is there is another day's */
		pile_placed_drop(undo, of_group, group);
	}
	return error;
}

int pile_unplace_command(const struct pile_ctl *ctl)
{
	_cleanup_free_ struct pile_placed *undo = calloc(1, sizeof(*undo));
	const char *result = getenv("SERVICE_RESULT");
	struct pile_trees trees;
	char path[300], mount[256];
	uint32_t before;
	int r = undo ? 0 : -ENOMEM;

	pile_unplace_path(ctl, PILE_PLACED_FILE, path, sizeof(path));
	/* run by the unit when the guard has ended: of one that did not end by itself the next takes all over */
	if (result && strcmp(result, "success") != 0) {
		if (access(path, F_OK) == 0)
			fprintf(stderr,
				"what was placed stays, for the next guard; without one: sudo pileguardctl unplace\n");
		return PILE_EXIT_OK;
	}
	if (r == 0)
		r = pile_placed_load(path, undo);
	if (r == 0)
		r = pile_unplace_mount(mount, sizeof(mount));
	if (r < 0) {
		fprintf(stderr, "%s: %s\n", path, strerror(-r));
		return PILE_EXIT_FAILURE;
	}
	pile_trees_find(&trees, mount, sd_booted() > 0);
	before = undo->n;
	if (!before && !ctl->json && !result)
		printf("nothing is recorded as placed\n");
	r = groups_back(ctl, &trees, undo);
	if (undo->n < before)
		r = r ? r : pile_placed_save(path, undo);
	pile_trees_sweep(&trees);
	return r < 0 ? PILE_EXIT_FAILURE : PILE_EXIT_OK;
}

// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * hierarchy.c: where the cgroup hierarchies are mounted. Start only: libcgroup allocates and reads
 * /proc/mounts.
 */
#include <errno.h>
#include <libcgroup.h>
#include <mntent.h>
#include <string.h>
#include <systemd/sd-daemon.h>

#include "groups/groups.h"

/*
 * libcgroup 2.0 names controllers, not the bare v2 mount of a hybrid host, so the mount table has
 * the word.
 */
static int unified_find(char *ret, size_t size)
{
	struct mntent *entry;
	FILE *mounts;
	int r = -ENOENT;

	mounts = setmntent("/proc/self/mounts", "re");
	if (!mounts)
		return -errno;
	while ((entry = getmntent(mounts)))
		if (strcmp(entry->mnt_type, "cgroup2") == 0) {
			snprintf(ret, size, "%s", entry->mnt_dir);
			r = 0;
			break;
		}
	endmntent(mounts);
	return r;
}

static void memory_find(struct pile_hierarchy *h)
{
	char *mount = NULL;

	if (cgroup_init() != 0)
		return;
	if (cgroup_get_subsys_mount_point("memory", &mount) != 0)
		return;
	if (strcmp(mount, h->unified) != 0) {
		snprintf(h->memory_v1, sizeof(h->memory_v1), "%s", mount);
		h->hybrid = true;
	}
	free(mount);
}

/* A controller that is v1's, where it is; "" where it is v2's, or there is none. */
static void v1_find(const struct pile_hierarchy *h, const char *controller, char *ret, size_t size)
{
	char *mount = NULL;

	if (cgroup_init() != 0 || cgroup_get_subsys_mount_point(controller, &mount) != 0)
		return;
	if (strcmp(mount, h->unified) != 0)
		snprintf(ret, size, "%s", mount);
	free(mount);
}

int pile_groups_hierarchy_find(struct pile_hierarchy *ret, struct pile_error *err)
{
	struct pile_hierarchy h = {};
	int r;

	h.systemd = sd_booted() > 0;
	r = unified_find(h.unified, sizeof(h.unified));
	if (r < 0)
		return pile_error_set(
			err, r,
			"no cgroup v2 hierarchy is mounted: mount -t cgroup2 none /sys/fs/cgroup, or boot "
			"with systemd.unified_cgroup_hierarchy=1");
	memory_find(&h);
	v1_find(&h, "pids", h.pids_v1, sizeof(h.pids_v1));
	v1_find(&h, "cpu", h.cpu_v1, sizeof(h.cpu_v1));
	*ret = h;
	return 0;
}

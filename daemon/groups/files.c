// SPDX-License-Identifier: GPL-2.0-or-later
/* files.c: the files of a group's cgroup, kept open, and the limits that hold there. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "groups/proc.h"
#include "groups/table.h"

void pile_table_path(const struct pile_groups *g, const char *cgroup, const char *file, char *ret,
		     size_t size)
{
	/* the root cgroup is "/": the mount point itself */
	snprintf(ret, size, "%s%s%s%s", g->hierarchy.unified,
		 strcmp(cgroup, "/") == 0 ? "" : cgroup, file[0] ? "/" : "", file);
}

int pile_groups_cgroup_open(const struct pile_groups *g, uint32_t group)
{
	char path[PILE_CGROUP_MAX + 256];
	int fd;

	if (!g->groups[group].cgroup[0])
		return -ENOENT;
	pile_table_path(g, g->groups[group].cgroup, "", path, sizeof(path));
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

static int file_open(const struct pile_groups *g, const char *cgroup, const char *file)
{
	char path[PILE_CGROUP_MAX + 300];

	pile_table_path(g, cgroup, file, path, sizeof(path));
	return open(path, O_RDONLY | O_CLOEXEC);
}

/* v1: of the cgroup of the same name. */
static int tasks_open(const struct pile_groups *g, const char *cgroup)
{
	char path[PILE_CGROUP_MAX + 300];

	if (!g->hierarchy.pids_v1[0])
		return file_open(g, cgroup, "pids.current");
	snprintf(path, sizeof(path), "%s%s/pids.current", g->hierarchy.pids_v1, cgroup);
	return open(path, O_RDONLY | O_CLOEXEC);
}

static uint64_t limit_read(const struct pile_groups *g, const char *cgroup, const char *file)
{
	char path[PILE_CGROUP_MAX + 300], text[64];
	uint64_t value;

	pile_table_path(g, cgroup, file, path, sizeof(path));
	if (pile_proc_read(path, text, sizeof(text)) < 0 || pile_proc_number(text, &value) < 0)
		return UINT64_MAX;
	return value;
}

static uint64_t tasks_limit_v1(const struct pile_groups *g, const char *from)
{
	char cgroup[PILE_CGROUP_MAX], path[PILE_CGROUP_MAX + 300], text[64], *slash;
	uint64_t lowest = UINT64_MAX, v;

	snprintf(cgroup, sizeof(cgroup), "%s", from);
	while (cgroup[0] && strcmp(cgroup, "/") != 0) {
		snprintf(path, sizeof(path), "%s%s/pids.max", g->hierarchy.pids_v1, cgroup);
		if (pile_proc_read(path, text, sizeof(text)) > 0 && pile_proc_number(text, &v) == 0)
			lowest = MIN(lowest, v);
		slash = strrchr(cgroup, '/');
		if (!slash)
			break;
		*slash = '\0';
	}
	return lowest;
}

/* The lowest memory.max and pids.max from the cgroup up to the root. */
static void limits_read(const struct pile_groups *g, struct pile_group *group)
{
	uint64_t memory = UINT64_MAX, pids = UINT64_MAX, tasks, v;
	char cgroup[PILE_CGROUP_MAX], *slash;

	snprintf(cgroup, sizeof(cgroup), "%s", group->cgroup);
	while (cgroup[0] && strcmp(cgroup, "/") != 0) {
		v = limit_read(g, cgroup, "memory.max");
		memory = MIN(memory, v);
		v = limit_read(g, cgroup, "pids.max");
		pids = MIN(pids, v);
		slash = strrchr(cgroup, '/');
		if (!slash)
			break;
		*slash = '\0';
	}
	/* v1: a cgroup of the same name, as systemd and libcgroup make them */
	if (g->hierarchy.pids_v1[0])
		tasks = tasks_limit_v1(g, group->cgroup);
	else
		tasks = pids;
	group->tasks_limit = tasks >= UINT32_MAX ? 0 : (uint32_t)tasks;
	group->memory_limit_bytes = memory == UINT64_MAX ? 0 : memory;
	group->pids_limit = pids >= UINT32_MAX ? 0 : (uint32_t)pids;
}

void pile_table_files_clear(struct pile_group *group)
{
	group->events_fd = -1;
	group->memory_stat_fd = -1;
	group->memory_current_fd = -1;
	group->pids_fd = -1;
	group->pressure_fd = -1;
	group->tasks_fd = -1;
	group->cpu_stat_fd = -1;
}

void pile_table_files_close(struct pile_group *group)
{
	int *fds[] = { &group->events_fd,  &group->memory_stat_fd, &group->memory_current_fd,
		       &group->pids_fd,	   &group->pressure_fd,	   &group->tasks_fd,
		       &group->cpu_stat_fd };

	for (size_t i = 0; i < ARRAY_LEN(fds); i++)
		if (*fds[i] >= 0)
			close(*fds[i]);
	pile_table_files_clear(group);
}

void pile_groups_files_again(struct pile_groups *g, uint32_t slot)
{
	struct pile_group *group = &g->groups[slot];
	const struct {
		int *fd;
		const char *name;
	} files[] = {
		{ &group->events_fd, "cgroup.events" },
		{ &group->memory_stat_fd, "memory.stat" },
		{ &group->memory_current_fd, "memory.current" },
		{ &group->pids_fd, "pids.current" },
		{ &group->pressure_fd, "memory.pressure" },
		{ &group->cpu_stat_fd, "cpu.stat" },
	};

	if (strcmp(group->cgroup, "/") == 0)
		return;
	for (size_t i = 0; i < ARRAY_LEN(files); i++)
		if (*files[i].fd < 0)
			*files[i].fd = file_open(g, group->cgroup, files[i].name);
	if (group->tasks_fd < 0)
		group->tasks_fd = tasks_open(g, group->cgroup);
	limits_read(g, group);
}

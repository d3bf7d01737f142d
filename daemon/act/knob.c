// SPDX-License-Identifier: GPL-2.0-or-later
#include "act/knob.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "groups/proc.h"
#include "util/macro.h"

#define SHARES_PER_100 1024 /* cgroup v1's default, v2's is 100 */
#define PERIOD_US 100000    /* the kernel's default */
#define US_PER_SEC 1000000

int pile_knob_path(const struct pile_hierarchy *h, const char *cgroup, enum pile_knob knob,
		   char *ret, size_t size)
{
	const char *v1 = knob == PILE_KNOB_TASKS ? h->pids_v1 : h->cpu_v1, *file = "pids.max";
	int n;

	if (knob == PILE_KNOB_WEIGHT)
		file = v1[0] ? "cpu.shares" : "cpu.weight";
	else if (knob == PILE_KNOB_QUOTA)
		file = v1[0] ? "cpu.cfs_quota_us" : "cpu.max";
	n = snprintf(ret, size, "%s%s/%s", v1[0] ? v1 : h->unified, cgroup, file);
	return n > 0 && (size_t)n < size ? 0 : -ENAMETOOLONG;
}

int pile_knob_read(const char *path, char *ret, size_t size)
{
	ssize_t n = pile_proc_read(path, ret, size);

	if (n < 0)
		return (int)n;
	ret[strcspn(ret, "\n")] = '\0';
	return 0;
}

int pile_knob_write(const char *path, const char *text)
{
	_cleanup_close_ int fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
	size_t len = strlen(text);

	if (fd < 0 || write(fd, text, len) != (ssize_t)len)
		return -errno;
	return 0;
}

static bool is_file(const char *path, const char *name)
{
	const char *slash = strrchr(path, '/');

	return slash && strcmp(slash + 1, name) == 0;
}

int pile_knob_parse(const char *path, const char *text, uint64_t *ret)
{
	unsigned long long value, period = PERIOD_US;

	if (is_file(path, "cpu.cfs_quota_us") && text[0] == '-') {
		*ret = UINT64_MAX;
		return 0;
	}
	if (pile_proc_number(text, ret) < 0)
		return -EBADMSG;
	if (is_file(path, "cpu.shares"))
		*ret = MAX(*ret * 100 / SHARES_PER_100, 1);
	else if (*ret != UINT64_MAX && is_file(path, "cpu.max")) {
		if (sscanf(text, "%llu %llu", &value, &period) != 2 || !period)
			return -EBADMSG;
		*ret = value * US_PER_SEC / period;
	} else if (is_file(path, "cpu.cfs_quota_us"))
		*ret = *ret * US_PER_SEC / period;
	return 0;
}

void pile_knob_format(const char *path, const char *was, uint64_t value, char *ret, size_t size)
{
	unsigned long long period = PERIOD_US;

	if (is_file(path, "cpu.shares")) {
		snprintf(ret, size, "%llu",
			 (unsigned long long)MAX(value * SHARES_PER_100 / 100, 2));
	} else if (is_file(path, "cpu.max")) {
		if (sscanf(was, "%*s %llu", &period) != 1 || !period)
			period = PERIOD_US;
		snprintf(ret, size, "%llu %llu", (unsigned long long)value * period / US_PER_SEC,
			 period);
	} else if (is_file(path, "cpu.cfs_quota_us")) {
		snprintf(ret, size, "%" PRIu64, value * PERIOD_US / US_PER_SEC);
	} else {
		snprintf(ret, size, "%" PRIu64, value);
	}
}

const char *pile_knob_property(enum pile_knob knob)
{
	static const char *const names[PILE_KNOBS] = {
		[PILE_KNOB_NONE] = "",
		[PILE_KNOB_TASKS] = "TasksMax",
		[PILE_KNOB_WEIGHT] = "CPUWeight",
		[PILE_KNOB_QUOTA] = "CPUQuotaPerSecUSec",
	};

	return knob < PILE_KNOBS ? names[knob] : "";
}

const char *pile_knob_setting(enum pile_knob knob)
{
	return knob == PILE_KNOB_QUOTA ? "CPUQuota" : pile_knob_property(knob);
}

// SPDX-License-Identifier: GPL-2.0-or-later
#include "sense/load.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "groups/proc.h"
#include "util/macro.h"

#define LIMIT_EVERY_NS (10 * NS_PER_SEC) /* sysctl: an operator's hand, rarely */
#define SECOND_TICKS 10

static void protected_close(struct pile_load_protected *p)
{
	if (p->pressure_fd >= 0)
		close(p->pressure_fd);
	if (p->stat_fd >= 0)
		close(p->stat_fd);
	p->pressure_fd = p->stat_fd = -1;
	for (uint32_t i = 0; i < PILE_LOAD_ABOVE; i++) {
		if (p->quota_fds[i] >= 0)
			close(p->quota_fds[i]);
		p->quota_fds[i] = -1;
	}
	p->cgroup_id = 0;
}

void pile_load_open(struct pile_load *l)
{
	l->loadavg_fd = open("/proc/loadavg", O_RDONLY | O_CLOEXEC);
	l->stat_fd = open("/proc/stat", O_RDONLY | O_CLOEXEC);
	for (uint32_t i = 0; i < PILE_PROTECT_MAX; i++) {
		l->protected[i].pressure_fd = l->protected[i].stat_fd = -1;
		memset(l->protected[i].quota_fds, -1, sizeof(l->protected[i].quota_fds));
	}
	l->pressure_missing = access("/proc/pressure/cpu", R_OK) < 0;
}

void pile_load_close(struct pile_load *l)
{
	for (uint32_t i = 0; i < l->n_protected; i++)
		protected_close(&l->protected[i]);
	l->n_protected = 0;
	if (l->loadavg_fd >= 0)
		close(l->loadavg_fd);
	if (l->stat_fd >= 0)
		close(l->stat_fd);
	l->loadavg_fd = l->stat_fd = -1;
}

void pile_load_protect(struct pile_load *l, const struct pile_policy *policy)
{
	for (uint32_t i = 0; i < l->n_protected; i++)
		protected_close(&l->protected[i]);
	l->n_protected = policy->n_protect;
	for (uint32_t i = 0; i < policy->n_protect; i++) {
		struct pile_load_protected *p = &l->protected[i];

		p->seen_ns = 0;
		p->told = false;
		if (policy->protect[i][0] == '/')
			snprintf(p->cgroup, sizeof(p->cgroup), "%s", policy->protect[i]);
		else
			pile_groups_unit_path(policy->protect[i], p->cgroup, sizeof(p->cgroup));
	}
}

/* ---- the host ---- */

static uint64_t number_of(const char *path)
{
	char text[64];
	uint64_t v;

	if (pile_proc_read(path, text, sizeof(text)) < 0 || pile_proc_number(text, &v) < 0)
		return UINT64_MAX;
	return v;
}

/* "0.20 0.18 0.12 3/1204 8123": those that run or want to, of how many tasks */
static bool loadavg_parse(const char *text, uint32_t *ret_running, uint32_t *ret_tasks)
{
	return sscanf(text, "%*s %*s %*s %u/%u", ret_running, ret_tasks) == 2;
}

/* Is this tick a look? Sees to @ret->host_tasks in any case. */
static bool is_look(struct pile_load *l, uint64_t now_ns, struct pile_sample *ret)
{
	uint32_t running = 0, tasks = ret->host_tasks, was = ret->host_tasks;
	char text[128];
	bool reason;

	if (l->loadavg_fd < 0 || pile_proc_pread(l->loadavg_fd, text, sizeof(text)) < 0 ||
	    !loadavg_parse(text, &running, &tasks))
		return true;
	ret->host_tasks = tasks;
	reason = (was && tasks >= was + PILE_LOAD_TASKS) ||
		 (l->tasks_second && tasks >= l->tasks_second + PILE_LOAD_TASKS_SECOND) ||
		 running > ret->n_cpus + 1; /* and this one, which is reading */
	if (l->ticks++ % SECOND_TICKS == 0)
		l->tasks_second = tasks;
	if (reason)
		l->until_ns = now_ns + PILE_LOAD_STAYS_NS;
	return now_ns < l->until_ns || now_ns - ret->load_ns >= PILE_LOAD_CALM_NS;
}

/* "cpu  592568 14987 93220 157358 1511 ...": the fourth is idle, the fifth idle with a disk asked; in USER_HZ */
uint64_t pile_load_idle(const char *text)
{
	unsigned long long idle, iowait;

	if (sscanf(text, "cpu %*u %*u %*u %llu %llu", &idle, &iowait) != 2)
		return 0;
	return (idle + iowait) * (NS_PER_SEC / (uint64_t)sysconf(_SC_CLK_TCK));
}

/* Each second at most: the kernel makes all of the file for its first line. */
static void idle_sample(struct pile_load *l, uint64_t now_ns, struct pile_sample *ret)
{
	char text[256];

	if (now_ns - ret->idle_at_ns < PILE_LOAD_CALM_NS - PILE_TICK_NS / 2)
		return;
	ret->idle_at_ns = now_ns;
	ret->idle_ns = l->stat_fd >= 0 && pile_proc_pread(l->stat_fd, text, sizeof(text)) > 0
			       ? pile_load_idle(text)
			       : 0;
}

static void limit_sample(struct pile_load *l, uint64_t now_ns, struct pile_sample *ret)
{
	uint64_t limit;

	if (!l->limit_ns || now_ns - l->limit_ns >= LIMIT_EVERY_NS) {
		l->limit_ns = now_ns;
		limit = MIN(number_of("/proc/sys/kernel/pid_max"),
			    number_of("/proc/sys/kernel/threads-max"));
		l->tasks_limit = limit >= UINT32_MAX ? 0 : (uint32_t)limit;
	}
	ret->host_tasks_limit = l->tasks_limit;
}

/* ---- cgroups ---- */

static bool cpu_read(int fd, uint64_t *ret_ns)
{
	char text[1024];
	uint64_t us;

	if (fd < 0 || pile_proc_pread(fd, text, sizeof(text)) < 0 ||
	    pile_proc_field(text, "usage_usec", &us) < 0)
		return false;
	*ret_ns = us * NS_PER_US;
	return true;
}

static void group_sample(const struct pile_group *group, struct pile_sample_group *ret)
{
	char text[64];
	uint64_t v;

	ret->tasks = 0;
	ret->cpu_ns = 0;
	ret->tasks_limit = group->tasks_limit;
	if (!group->present || !group->configured)
		return;
	if (group->tasks_fd >= 0 && pile_proc_pread(group->tasks_fd, text, sizeof(text)) > 0 &&
	    pile_proc_number(text, &v) == 0)
		ret->tasks = (uint32_t)MIN(v, UINT32_MAX);
	if (cpu_read(group->cpu_stat_fd, &v))
		ret->cpu_ns = v;
}

static int file_open(const struct pile_groups *g, const char *cgroup, const char *file,
		     uint64_t *ret_id)
{
	char path[PILE_CGROUP_MAX + 300];
	struct stat st;

	snprintf(path, sizeof(path), "%s%s", g->hierarchy.unified, cgroup);
	if (stat(path, &st) < 0)
		return -ENOENT;
	*ret_id = st.st_ino;
	snprintf(path, sizeof(path), "%s%s/%s", g->hierarchy.unified, cgroup, file);
	return open(path, O_RDONLY | O_CLOEXEC);
}

/* "some avg10=0.00 avg60=0.00 avg300=0.00 total=1204\n..."; us, kept by the kernel up to this moment */
static bool waited_read(int fd, uint64_t *ret_ns)
{
	unsigned long long us;
	char text[256], *at;

	if (fd < 0 || pile_proc_pread(fd, text, sizeof(text)) < 0 || strncmp(text, "some ", 5) != 0)
		return false;
	at = strstr(text, "total=");
	if (!at || sscanf(at, "total=%llu", &us) != 1)
		return false;
	*ret_ns = us * NS_PER_US;
	return true;
}

static void quotas_open(struct pile_load_protected *p, const struct pile_groups *g)
{
	const char *mount = g->hierarchy.cpu_v1[0] ? g->hierarchy.cpu_v1 : g->hierarchy.unified;
	char path[PILE_CGROUP_MAX + 300], cgroup[PILE_CGROUP_MAX], *slash;

	snprintf(cgroup, sizeof(cgroup), "%s", p->cgroup);
	for (uint32_t i = 0; i < PILE_LOAD_ABOVE && cgroup[0]; i++) {
		snprintf(path, sizeof(path), "%s%s/cpu.stat", mount, cgroup);
		p->quota_fds[i] = open(path, O_RDONLY | O_CLOEXEC);
		slash = strrchr(cgroup, '/');
		*(slash ?: cgroup) = '\0';
	}
}

/* Who waits by a quota is kept waiting by nobody else. */
static uint64_t quota_waits(const struct pile_load_protected *p)
{
	uint64_t sum = 0, n;
	char text[1024];

	for (uint32_t i = 0; i < PILE_LOAD_ABOVE; i++)
		if (p->quota_fds[i] >= 0 &&
		    pile_proc_pread(p->quota_fds[i], text, sizeof(text)) > 0 &&
		    pile_proc_field(text, "nr_throttled", &n) == 0)
			sum += n;
	return sum;
}

static void protected_sample(struct pile_load_protected *p, const struct pile_groups *g,
			     bool second, struct pile_sample_protected *ret)
{
	if (p->stat_fd < 0)
		quotas_open(p, g);
	if (p->pressure_fd < 0)
		p->pressure_fd = file_open(g, p->cgroup, "cpu.pressure", &p->cgroup_id);
	if (p->stat_fd < 0)
		p->stat_fd = file_open(g, p->cgroup, "cpu.stat", &p->cgroup_id);
	ret->cgroup_id = p->cgroup_id;
	ret->known =
		waited_read(p->pressure_fd, &ret->waited_ns) && cpu_read(p->stat_fd, &ret->ran_ns);
	/* it is not there, or is not any more: looked for again at the next look */
	if (!ret->known)
		protected_close(p);
	else if (second)
		ret->quota_waits = quota_waits(p);
}

const char *pile_load_missing(struct pile_load *l, const struct pile_sample *sample)
{
	for (uint32_t i = 0; i < l->n_protected && !l->pressure_missing; i++) {
		struct pile_load_protected *p = &l->protected[i];
		const char *dot = strrchr(p->cgroup, '.');

		if (sample->protected[i].known || !p->seen_ns)
			p->seen_ns = sample->load_ns;
		if (p->told || (dot && strcmp(dot, ".slice") == 0) ||
		    sample->load_ns - p->seen_ns < PILE_LOAD_MISSING_NS)
			continue;
		p->told = true;
		return p->cgroup;
	}
	return NULL;
}

void pile_load_sample(struct pile_load *l, const struct pile_groups *g, uint64_t now_ns,
		      struct pile_sample *ret)
{
	if (!is_look(l, now_ns, ret))
		return;
	ret->load_ns = now_ns;
	limit_sample(l, now_ns, ret);
	idle_sample(l, now_ns, ret);
	for (uint32_t i = 0; i < g->n_groups; i++)
		if (g->groups[i].used)
			group_sample(&g->groups[i], &ret->groups[i]);
	for (uint32_t i = 0; i < PILE_PROTECT_MAX; i++) {
		ret->protected[i].known = false;
		if (i < l->n_protected && !l->pressure_missing)
			protected_sample(&l->protected[i], g, ret -> idle_at_ns == now_ns,
					 &ret -> protected[i]);
	}
}

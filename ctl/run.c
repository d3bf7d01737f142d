// SPDX-License-Identifier: GPL-2.0-or-later
/* pileguardctl run: starts a command inside a group. This process goes there itself and then becomes the command:
 * there is no moment in which that is elsewhere; its exit status, signals, descriptors and environment are its own. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "act/trees.h"
#include "act/placed.h"
#include "ctl.h"
#include "groups/match.h"
#include "groups/proc.h"
#include "scope.h"
#include "util/macro.h"

/* env(1), nohup(1), timeout(1): not started; found and not executable; not found */
#define EXIT_NOT_STARTED 125
#define EXIT_CANNOT 126
#define EXIT_NOT_FOUND 127

#define RUN_TEXT_MAX 65536

static int fail(const char *group, const char *why)
{
	fprintf(stderr, "pileguardctl run: group %s: %s; nothing was started\n", group, why);
	return EXIT_NOT_STARTED;
}

/** Where the group's processes are, or why nobody can be started there. */
static const char *group_find(const struct pile_policy *policy, const char *name, char *ret,
			      size_t size)
{
	const struct pile_policy_group *group = NULL;
	char unit[PILE_UNIT_MAX];

	for (uint32_t i = 0; i < policy->n_groups && !group; i++)
		if (strcmp(policy->groups[i].name, name) == 0)
			group = &policy->groups[i];
	if (!group)
		return "the policy in force has no such group";
	if (group->unit[0])
		return "systemd starts its processes: systemctl start";
	/* as of the policy, not of who is in it: systemd would not know of a process that is put there */
	if (group->cgroup[0] && pile_proc_foreign(group->cgroup))
		return "its cgroup is another manager's";
	if (group->cgroup[0] && pile_proc_unit(group->cgroup, unit, sizeof(unit)))
		return "its cgroup is a unit's, whose processes systemd starts: systemctl start";
	if (pile_policy_matches(group) && !group->place)
		return "its processes are observed where they are (place: no)";
	if (pile_policy_matches(group))
		pile_policy_placed(name, ret, size);
	else
		snprintf(ret, size, "%s", group->cgroup);
	return NULL;
}

/* ---- without systemd ---- */

/** In each tree where nobody else has put this process somewhere. Returns 0 or negative errno. */
static int join(const struct pile_trees *trees, const char *cgroup, bool make)
{
	char where[PILE_CGROUP_MAX];
	uint32_t self = (uint32_t)getpid();
	int r = make ? pile_trees_make(trees, cgroup) : 0;

	if (r == 0)
		r = pile_trees_put(&trees->trees[0], cgroup, self);
	for (uint32_t i = 1; i < trees->n && r == 0; i++)
		if (pile_trees_where(&trees->trees[i], self, where, sizeof(where)) == 0 &&
		    strcmp(where, "/") == 0)
			(void)pile_trees_put(&trees->trees[i], cgroup, self);
	return r;
}

/* ---- written down ---- */

/** Lines of processes that are there still, moved to its front. Returns the new length. */
static size_t living_keep(char *text, size_t len)
{
	struct pile_match_process p;
	unsigned long long start;
	unsigned int pid;
	size_t used = 0, n;

	for (size_t at = 0; at < len; at += n) {
		n = strcspn(text + at, "\n");
		n += text[at + n] == '\n';
		if (sscanf(text + at, "%u %llu", &pid, &start) == 2 &&
		    pile_match_stat(pid, &p) == 0 && p.start_ticks == start) {
			memmove(text + used, text + at, n);
			used += n;
		}
	}
	return used;
}

/**
 * So that unplace and the guard leave it inside: it has never been elsewhere. Before it is there: a guard that undoes
 * meanwhile would take it out. Returns 0 or negative errno.
 */
static int started_note(const struct pile_ctl *ctl)
{
	_cleanup_free_ char *text = calloc(1, RUN_TEXT_MAX + 1);
	_cleanup_close_ int fd = -1;
	struct pile_match_process self;
	char path[300];
	ssize_t n;
	size_t len;
	int r;

	pile_unplace_path(ctl, PILE_PLACED_RUN_FILE, path, sizeof(path));
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	/* without a directory there is no guard, and nothing is undone */
	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	if (!text)
		return -ENOMEM;
	if (flock(fd, LOCK_EX) < 0)
		return -errno;
	r = pile_match_stat((uint32_t)getpid(), &self);
	if (r < 0)
		return r;
	n = pread(fd, text, RUN_TEXT_MAX - 128, 0);
	if (n < 0)
		return -errno;
	len = living_keep(text, (size_t)n);
	len += (size_t)snprintf(text + len, RUN_TEXT_MAX - len, "%u %llu %s\n", self.pid,
				(unsigned long long)self.start_ticks, ctl->group);
	n = pwrite(fd, text, len, 0);
	if (n != (ssize_t)len)
		return n < 0 ? -errno : -ENOSPC;
	return ftruncate(fd, (off_t)len) < 0 ? -errno : 0;
}

int pile_run_command(const struct pile_ctl *ctl)
{
	static struct pile_policy policy;
	char cgroup[PILE_CGROUP_MAX] = "", mount[256], why[300] = "";
	struct pile_error err = { 0 };
	struct pile_trees trees;
	const char *refused;
	bool placed;
	int r;

	if (!ctl->group) {
		fprintf(stderr, "usage: pileguardctl run --group NAME -- COMMAND...\n");
		return EXIT_NOT_STARTED;
	}
	r = pile_policy_in_force(ctl, &policy, &err);
	if (r < 0)
		return fail(ctl->group, pile_error_format(&err, why, sizeof(why)));
	refused = group_find(&policy, ctl->group, cgroup, sizeof(cgroup));
	if (refused)
		return fail(ctl->group, refused);
	placed = strncmp(cgroup, "/" PILE_PLACE_SLICE "/", strlen(PILE_PLACE_SLICE) + 2) == 0;
	r = pile_unplace_mount(mount, sizeof(mount));
	if (r < 0)
		return fail(ctl->group, "no cgroup v2 hierarchy is mounted");
	r = placed ? started_note(ctl) : 0;
	if (r < 0) {
		snprintf(why, sizeof(why), "it cannot be noted as started inside: %s",
			 strerror(-r));
		return fail(ctl->group, why);
	}
	pile_trees_find(&trees, mount, false);
	if (placed && sd_booted() > 0)
		r = pile_scope_join(ctl->group, &trees, cgroup, why, sizeof(why));
	else
		r = join(&trees, cgroup, placed);
	if (r < 0)
		return fail(ctl->group, why[0] ? why : strerror(-r));
	execvp(ctl->args[0], ctl->args);
	r = errno;
	fprintf(stderr, "pileguardctl run: %s: %s\n", ctl->args[0], strerror(r));
	return r == ENOENT ? EXIT_NOT_FOUND : EXIT_CANNOT;
}

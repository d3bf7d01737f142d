// SPDX-License-Identifier: GPL-2.0-or-later
#include "groups/match.h"

#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "groups/proc.h"

#define KERNEL_THREAD 0x00200000ul /* PF_KTHREAD, include/linux/sched.h: the same since 2.6.27 */

static uint64_t field_number(const char *text, int skip)
{
	for (; skip > 0 && text; skip--)
		text = strchr(text + 1, ' ');
	return text ? strtoull(text, NULL, 10) : 0;
}

/* "PID (NAME) STATE PPID PGRP SESSION TTY ...": a name may hold anything, so from the last parenthesis on. */
int pile_match_stat_parse(const char *text, struct pile_match_process *ret)
{
	const char *open = strchr(text, '('), *close = strrchr(text, ')');
	const char *last = close;

	if (!open || !close || close < open || !close[1])
		return -EBADMSG;
	for (int field = 0; last && field < 20;
	     field++) /* the start is 20 fields behind the name */
		last = strchr(last + 1, ' ');
	if (!last)
		return -EBADMSG;
	snprintf(ret->comm, sizeof(ret->comm), "%.*s", (int)(close - open - 1), open + 1);
	ret->parent = (uint32_t)field_number(close, 2);
	ret->terminal = field_number(close, 5) != 0;
	ret->kernel_thread = field_number(close, 7) & KERNEL_THREAD;
	ret->start_ticks = strtoull(last, NULL, 10);
	return 0;
}

int pile_match_status_parse(const char *text, struct pile_match_process *ret)
{
	const char *uid = strstr(text, "\nUid:\t"), *space = strstr(text, "\nNSpid:\t");
	size_t len = strlen(text);
	const char *end;

	if (!uid)
		return -EBADMSG;
	ret->uid = (uint32_t)strtoul(uid + 6, NULL, 10);
	/* one number for each pid namespace that it lives in, ours first */
	end = space ? strchr(space + 8, '\n') : NULL;
	/* many supplementary groups (64 Ki are allowed) push it out of what was read: not told is not ours */
	ret->namespaced = end ? memchr(space + 8, '\t', (size_t)(end - space - 8)) != NULL
			      : space || !len || text[len - 1] != '\n';
	return 0;
}

int pile_match_file(const char *path, uint64_t *ret_dev, uint64_t *ret_ino)
{
	struct statx stx;

	if (statx(AT_FDCWD, path, AT_STATX_DONT_SYNC, STATX_INO, &stx) < 0)
		return -errno;
	*ret_dev = makedev(stx.stx_dev_major, stx.stx_dev_minor);
	*ret_ino = stx.stx_ino;
	return 0;
}

int pile_match_stat(uint32_t pid, struct pile_match_process *ret)
{
	char path[64], text[1024];
	ssize_t n;

	*ret = (struct pile_match_process){ .pid = pid };
	snprintf(path, sizeof(path), "/proc/%u/stat", pid);
	n = pile_proc_read(path, text, sizeof(text));
	return n < 0 ? (int)n : pile_match_stat_parse(text, ret);
}

int pile_match_read(uint32_t pid, struct pile_match_process *ret)
{
	char path[64], text[4096];
	ssize_t n;
	int r = pile_match_stat(pid, ret);

	if (r < 0)
		return r;
	snprintf(path, sizeof(path), "/proc/%u/status", pid);
	n = pile_proc_read(path, text, sizeof(text));
	r = n < 0 ? (int)n : pile_match_status_parse(text, ret);
	if (r < 0)
		return r;
	/* the file itself: a path is what its own mount namespace makes of it */
	snprintf(path, sizeof(path), "/proc/%u/exe", pid);
	(void)pile_match_file(path, &ret->exe_dev, &ret->exe_ino);
	return pile_proc_cgroup(pid, ret->cgroup, sizeof(ret->cgroup));
}

bool pile_match_is(const struct pile_match_rule *rule, const struct pile_match_process *p,
		   bool listens, const char *own)
{
	const struct pile_policy_match *m = &rule->match;

	if (p->kernel_thread)
		return false;
	if (m->exe[0] && (!rule->has_exe || !p->exe_ino || p->exe_dev != rule->exe_dev ||
			  p->exe_ino != rule->exe_ino))
		return false;
	if (m->user[0] && (!rule->has_uid || p->uid != rule->uid))
		return false;
	if (m->port && !listens)
		return false;
	return !m->cgroup[0] || strcmp(p->cgroup, own) == 0 ||
	       fnmatch(m->cgroup, p->cgroup, FNM_PATHNAME) == 0;
}

/* Who lets people in, or carries a session: with it in a group a limit of the group would be one of logins. */
static bool is_login(const char *comm)
{
	static const char *const names[] = { "sshd",   "sshd-session", "sshd-auth", "login",
					     "agetty", "getty",	       "dropbear",  "su",
					     "sudo",   "systemd",      "init",	    "(sd-pam)" };

	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (strcmp(comm, names[i]) == 0)
			return true;
	return false;
}

enum pile_match_stay pile_match_stays(const struct pile_match_rule *rule,
				      const struct pile_match_process *p, uint32_t guard)
{
	char unit[PILE_UNIT_MAX];

	if (p->kernel_thread || p->pid <= 1)
		return PILE_MATCH_KERNEL;
	if (p->pid == guard || p->parent == guard)
		return PILE_MATCH_GUARD;
	if (p->namespaced || pile_proc_foreign(p->cgroup))
		return PILE_MATCH_FOREIGN;
	if (p->terminal || is_login(p->comm))
		return PILE_MATCH_SESSION;
	/* what a container of systemd is entered with lands beside PID 1, in init.scope */
	if (pile_proc_unit(p->cgroup, unit, sizeof(unit)) &&
	    strncmp(unit, PILE_PLACE_PREFIX, strlen(PILE_PLACE_PREFIX)) == 0 &&
	    strncmp(p->cgroup, "/" PILE_PLACE_SLICE "/", strlen(PILE_PLACE_SLICE) + 2) == 0)
		return PILE_MATCH_PLACED;
	if (pile_proc_unit(p->cgroup, unit, sizeof(unit)))
		return strcmp(unit, "init.scope") ? PILE_MATCH_UNIT : PILE_MATCH_MAY_MOVE;
	if (strcmp(p->cgroup, "/") != 0 &&
	    (!rule->match.cgroup[0] || fnmatch(rule->match.cgroup, p->cgroup, FNM_PATHNAME) != 0))
		return PILE_MATCH_ELSEWHERE;
	return PILE_MATCH_MAY_MOVE;
}

const char *pile_match_why(enum pile_match_stay stay)
{
	static const char *const texts[PILE_MATCH_STAYS] = {
		[PILE_MATCH_MAY_MOVE] = "",
		[PILE_MATCH_KERNEL] = "it is the kernel's",
		[PILE_MATCH_GUARD] = "it is pileguard's own",
		[PILE_MATCH_SESSION] = "it belongs to a login (pileguardctl run starts one inside)",
		[PILE_MATCH_UNIT] = "a systemd unit owns it (guard that, by unit:)",
		[PILE_MATCH_FOREIGN] = "another manager's: observed only",
		[PILE_MATCH_ELSEWHERE] = "it is in a cgroup that match does not name",
		[PILE_MATCH_HAND] = "somebody has moved it out of the group",
		[PILE_MATCH_PLACED] = "it is placed as another group",
	};

	return stay < PILE_MATCH_STAYS ? texts[stay] : "";
}

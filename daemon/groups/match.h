/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * match.h: does a process belong to a group that is found by match, and may it be placed?
 * Pure, but for pile_match_read(), which reads /proc (short reads, no allocation) and needs CAP_SYS_PTRACE to tell
 * others' programs. Owns nothing; any thread; never logs.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "policy/policy.h"

/** What is known of a process. */
struct pile_match_process {
	uint32_t pid, parent;
	uint64_t start_ticks; /* since boot, by USER_HZ: with the pid it names the process */
	uint32_t uid;	      /* real */
	bool kernel_thread;
	bool terminal;	 /* its session has one: somebody is logged in there */
	bool namespaced; /* it lives in another pid namespace: a container's */
	char comm[16];
	uint64_t exe_dev, exe_ino;    /* its program's file; 0, 0 = not known */
	char cgroup[PILE_CGROUP_MAX]; /* on the unified tree */
};

#define PILE_HOLDERS_MAX 1024 /* a prefork pool holds its listener once a worker */

/** A process holds a socket that listens on a port that some rule names. */
struct pile_holder {
	uint32_t tgid;
	uint16_t port;
};

struct pile_holders {
	uint32_t n;
	struct pile_holder table[PILE_HOLDERS_MAX];
};

/** A rule with its names looked up. */
struct pile_match_rule {
	char group[PILE_NAME_MAX];
	struct pile_policy_match match;
	bool place;   /* and moved, where a switch does not forbid it */
	bool has_uid; /* the user is known here */
	uint32_t uid;
	bool has_exe; /* the program is there */
	uint64_t exe_dev, exe_ino;
};

/** Why a process that matches is left where it is. */
enum pile_match_stay {
	PILE_MATCH_MAY_MOVE = 0,
	PILE_MATCH_KERNEL,    /* a kernel thread, PID 1 */
	PILE_MATCH_GUARD,     /* the guard itself, or a process of its own */
	PILE_MATCH_SESSION,   /* a login, or what was started in one */
	PILE_MATCH_UNIT,      /* a systemd unit owns it: guard that */
	PILE_MATCH_FOREIGN,   /* another manager's */
	PILE_MATCH_ELSEWHERE, /* in a cgroup that the rule does not name */
	PILE_MATCH_HAND,      /* somebody has moved it out of the group's cgroup */
	PILE_MATCH_PLACED,    /* as another group, which may have been this one's name before */
	PILE_MATCH_STAYS,
};

/**
 * pile_match_read - all that is known of a process
 * Returns 0 or negative errno; -ESRCH, -ENOENT: it is gone. Where its program cannot be told, that is left 0.
 */
int pile_match_read(uint32_t pid, struct pile_match_process *ret);

/**
 * pile_match_file - which file a path leads to, without asking a server for it (what is known here is enough)
 * Returns 0 or negative errno.
 */
int pile_match_file(const char *path, uint64_t *ret_dev, uint64_t *ret_ino);

/** pile_match_stat - of it only pid, parent, start, terminal, kernel_thread and name: one short read. */
int pile_match_stat(uint32_t pid, struct pile_match_process *ret);

/** pile_match_stat_parse - @text: /proc/PID/stat. Returns 0 or -EBADMSG. */
int pile_match_stat_parse(const char *text, struct pile_match_process *ret);

/**
 * pile_match_status_parse - @text: /proc/PID/status: real user, namespace; cut off before that is told it is taken to
 * have one of its own. Returns 0 or -EBADMSG.
 */
int pile_match_status_parse(const char *text, struct pile_match_process *ret);

/**
 * pile_match_is - does all of the rule hold?
 * @listens: it holds a socket that listens on the rule's port. A cgroup that the rule names is no part of it for a
 * process in @own, the group's own.
 */
bool pile_match_is(const struct pile_match_rule *rule, const struct pile_match_process *p,
		   bool listens, const char *own);

/** pile_match_stays - what keeps it where it is, the most lasting first; @guard: the guard's own pid. */
enum pile_match_stay pile_match_stays(const struct pile_match_rule *rule,
				      const struct pile_match_process *p, uint32_t guard);

/** pile_match_why - "a systemd unit owns it", for people. */
const char *pile_match_why(enum pile_match_stay stay);

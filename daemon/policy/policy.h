/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * policy.h: the operator's wishes, as plain data.
 * struct pile_policy is a fixed-size value: built aside, validated whole, then copied into place.
 * Built on the slow thread (loading may block and allocate); read by every room.
 * Nothing here blocks except load and store; nothing here logs: errors go to struct pile_error.
 * No pointers inside, so a copy is a copy.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "pileguard/limits.h"
#include "util/endpoint.h"
#include "util/error.h"

enum pile_mode {
	PILE_MODE_OBSERVE = 0, /* watches and explains; changes nothing */
	PILE_MODE_ENFORCE = 1, /* the rungs that each group names may act */
};

/** Rungs of the ladder, as bits of pile_policy_group.enforce. Only the ones built are accepted. */
enum pile_rung {
	PILE_RUNG_FAIL_FAST = 1u << 0,
	PILE_RUNG_SHED = 1u << 1,
	PILE_RUNG_THROTTLE = 1u << 2,
	PILE_RUNG_EVICT = 1u << 3,
	PILE_RUNG_STOP = 1u << 4,
};

enum pile_workers {
	PILE_WORKERS_UNKNOWN = 0,
	PILE_WORKERS_PREFORK, /* one request a process at a time: php-fpm, Apache prefork */
	PILE_WORKERS_THREADS, /* one request a thread */
	PILE_WORKERS_EVENTS,  /* many requests a process: nginx, Node.js, Go */
};

enum pile_fail_fast {
	PILE_FAIL_FAST_AT_RISK = 0, /* dead and the group at risk (default) */
	PILE_FAIL_FAST_ALWAYS = 1,  /* dead is enough */
};

/** Processes that no unit owns: all that is given must hold. None at all: the group has no match. */
struct pile_policy_match {
	char exe[PILE_MATCH_EXE_MAX];	/* the program's file, or "" */
	char user[PILE_MATCH_USER_MAX]; /* name or number of the real user, or "" */
	char cgroup[PILE_CGROUP_MAX];	/* where they are now, a glob of whole paths, or "" */
	uint16_t port;			/* holds a socket that listens on it; 0 = not given */
};

struct pile_policy_group {
	char name[PILE_NAME_MAX]; /* [a-z0-9._-]+, begins with a letter or digit, unique */
	char unit[PILE_UNIT_MAX]; /* systemd unit with its suffix, or "" */
	/* path below the v2 mount ("/a/b"), or ""; one of unit, cgroup, match */
	char cgroup[PILE_CGROUP_MAX];
	struct pile_policy_match match;
	bool place; /* what matches is put into a cgroup of its own (pile_policy_placed) */
	/* one listener of the unit; family 0 = all of its listeners */
	struct pile_endpoint listen;
	enum pile_workers workers;
	uint32_t workers_max;	      /* the pool's cap (pm.max_children); 0 = not declared */
	uint64_t memory_budget_bytes; /* 0 = what the host has */
	uint32_t
		memory_budget_permille; /* alternative: share of the host's memory; 0 = not given */
	uint32_t enforce;		/* bits of enum pile_rung */
	enum pile_fail_fast fail_fast;
	uint64_t dead_after_ns;	      /* default 2.4 s, 1 s .. 60 s */
	uint64_t probe_every_ns;      /* default 1 s, 200 ms .. 2 s */
	uint64_t connect_deadline_ns; /* 0 = off; 300 ms .. 60 s */
	/* positive errno handed to connect(); default ECONNREFUSED */
	int refuse_errno;
	uint32_t baseline_waiting; /* W99 given by hand; 0 = learn it */
	/* shed: connections that each listener may hold at once; 0 = none is counted */
	uint32_t connections_max;
	/* shed: the most that is refused of new connections while requests pile up; 0 = nothing */
	uint32_t shed_share_permille;
	/* stop: held down for so long, twice as long each time again; default 10 s, 1 s .. 10 min */
	uint64_t stop_hold_ns;
	/*
	 * stop: how long the service's caches live. Hosts start it again apart by a quarter more than that: a restart
	 * empties them, and all hosts would ask at once. Default 4 min (incident.md), 1 s .. 1 h; 0 = it caches nothing
	 */
	uint64_t cache_life_ns;
	uint32_t n_shed_exempt;
	/* clients (port 0), and listeners, that are never refused */
	struct pile_endpoint shed_exempt[PILE_EXEMPT_MAX];
	uint32_t n_exempt;
	struct pile_endpoint exempt[PILE_EXEMPT_MAX]; /* never refused; port 0 = every port */
	/* the server greets who connects (MySQL, SMTP, IMAP): where it does not, it hangs; with a port each */
	uint32_t n_server_speaks_first;
	struct pile_endpoint server_speaks_first[PILE_SPEAKS_FIRST_MAX];
};

#define PILE_POLICY_BUILT_IN "built in" /* the source of a policy that no file gave */

/** How the files on disk stand to the policy in force. */
enum pile_files_state {
	PILE_FILES_SAME = 0, /* they would be the same policy again */
	PILE_FILES_DIFFER,   /* valid, and another policy: they wait for a reload */
	PILE_FILES_MIXED,    /* their revisions disagree: half of a push */
	PILE_FILES_INVALID,  /* not valid, or not readable */
	PILE_FILES_NONE,     /* there are none */
};

struct pile_policy {
	enum pile_mode mode;
	/* hosts on which mode: enforce is in force, by hash of the machine's id; 1000 = all */
	uint32_t enforce_share_permille;
	char revision[PILE_REVISION_MAX]; /* what the files call their state, or "" */
	/* other files, whose hashes are shown as metrics: absolute paths */
	uint32_t n_fingerprints;
	char fingerprints[PILE_FINGERPRINTS_MAX][PILE_FINGERPRINT_PATH_MAX];
	/* what the host keeps; 0 ("auto") = 64 MiB + 2 % of memory */
	uint64_t memory_reserve_bytes;
	/* growth of workers' memory that takes all of it within so long is told; 0 ("none") = nothing is */
	uint64_t leak_notice_ns;
	/*
	 * units (with a suffix), or cgroups ("/a/b"), whose waiting for a processor proves that a group takes too much
	 * (rung 3); none given: ssh.service, user.slice
	 */
	uint32_t n_protect;
	char protect[PILE_PROTECT_MAX][PILE_UNIT_MAX];
	uint32_t n_groups;
	struct pile_policy_group groups[PILE_GROUPS_MAX];
	char hash[65];	  /* SHA-256 of the canonical text, lower-case hex */
	char source[256]; /* files it came from, or "built in" */
};

/**
 * pile_policy_mode - what the policy's mode comes to on one host
 * @share_permille: where the host stands, 0 to 999 (a hash of its machine id); 1000 where it has no id:
 *                  outside of every share but 100 %
 */
enum pile_mode pile_policy_mode(const struct pile_policy *policy, uint32_t share_permille);

/**
 * pile_policy_init - the built-in policy: observe, no groups
 * Defaults are product.md's table. Never fails.
 * Its hash is left empty: pile_load_builtin() sets that as well.
 */
void pile_policy_init(struct pile_policy *policy);

/**
 * pile_policy_copy - *to = *from, but only the groups there are: the rest of the table stays
 * untouched memory
 */
void pile_policy_copy(struct pile_policy *to, const struct pile_policy *from);

/** pile_policy_match_equal - the same rule. */
bool pile_policy_match_equal(const struct pile_policy_match *a, const struct pile_policy_match *b);

/** pile_policy_matches - the group is one of processes that are found by match. */
bool pile_policy_matches(const struct pile_policy_group *group);

/* under systemd a slice and a scope in it, else cgroups of the same names */
#define PILE_PLACE_SLICE "pileguard.slice"
#define PILE_PLACE_PREFIX "pileguard-"

/**
 * pile_policy_unit_path - where the cgroup of a unit stands, below any mount, unless it says otherwise (Slice=)
 * An instance has its template's slice, a slice stands in those that its name names.
 */
void pile_policy_unit_path(const char *unit, char *ret, size_t size);

/** pile_policy_placed - the cgroup that a group's processes are placed in, below any mount. Returns @ret. */
const char *pile_policy_placed(const char *name, char *ret, size_t size);

/**
 * pile_policy_group_init - a group with product.md's defaults and this name
 */
void pile_policy_group_init(struct pile_policy_group *group, const char *name);

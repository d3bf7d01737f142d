/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * groups.h: which sockets and cgroups belong to whom. A slot of the table is a group's index
 * everywhere.
 * Owned by the guard; control loop only. Reads /proc and the cgroup mount (short reads, no
 * allocation); changes nothing in the world except the sensors' own maps. Never logs: what changed
 * is told through pile_groups_event_fn.
 * Groups of the policy keep their slot as long as they are named; services found listening get the
 * slots behind.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "groups/match.h"
#include "kernel/kernel.h"
#include "policy/policy.h"
#include "pileguard/limits.h"

/** Where the v2 hierarchy is; found once at start (libcgroup, else mountinfo), never hard-coded. */
struct pile_hierarchy {
	char unified[256]; /* mount point of cgroup v2; "" = there is none */
	/* mount point of the v1 memory controller on hybrid hosts; "" = on v2 or absent */
	char memory_v1[256];
	/* ... and of pids and cpu: rung 3; "" likewise */
	char pids_v1[256], cpu_v1[256];
	bool hybrid;
	bool systemd; /* systemd is the init of this host */
};

struct pile_group {
	bool used;
	bool configured;  /* named by the policy */
	bool foreign;	  /* another manager's (containers, user sessions): observed only */
	bool present;	  /* its cgroup exists */
	bool seen_before; /* its cgroup was there once: the next one is a restart */
	struct pile_policy_group config;
	char cgroup[PILE_CGROUP_MAX]; /* path below the v2 mount; "" = not known yet */
	uint64_t cgroup_id;	      /* 0 = not there */
	bool untold;		      /* the kernel could not be told of it: tried again */
	uint32_t restarts;	      /* how often the cgroup was made anew while we followed it */
	uint32_t n_listeners;
	uint64_t seen_ns; /* last time a listener or the cgroup was seen */
	/* kept open; -1 = not there */
	int events_fd, memory_stat_fd, memory_current_fd, pids_fd, pressure_fd, tasks_fd,
		cpu_stat_fd;
	uint64_t memory_limit_bytes;
	uint32_t pids_limit;
	uint32_t tasks_limit; /* the same, or that of v1's cgroup of the same name; 0 = none */
};

struct pile_listener {
	bool used;
	bool mptcp;
	bool v6only;
	uint16_t type; /* SOCK_STREAM or SOCK_SEQPACKET */
	uint32_t group;
	uint64_t cookie;
	uint64_t cgroup_id;
	uint32_t tgid; /* a process that holds it */
	uint32_t netns;
	uint32_t backlog;
	uint32_t epoch; /* the walk that saw it last */
	uint32_t door;	/* index into struct pile_groups.doors; 0 = none */
	struct pile_endpoint endpoint;
	char comm[16];
};

/** A listener whose connections are counted, and refused beyond the policy's limit; of all that are bound alike. */
struct pile_door {
	bool used;
	bool gone; /* until its connections are forgotten: then another may have the place */
	bool out_of_reach; /* TCP, in another network namespace: counted, never refused */
	bool ambiguous;	   /* TCP: another group's listener has the same address: never refused */
	uint32_t group, netns, n_listeners;
	struct pile_endpoint endpoint;
	uint64_t gone_sweeps; /* sweeps when it went */
	uint32_t gone_epoch;  /* the walk that was the last, or under way, then */
};

/** Which door the connections to an address have; 0 = none, but one that is less special would catch them. */
struct pile_door_port {
	struct pile_endpoint endpoint;
	uint32_t door;
	bool v6only;
};

#define PILE_DOOR_PORTS_MAX 128

#define PILE_MATCHED_MAX 1024
#define PILE_CLAIMED_MAX \
	64 /* listeners that are held by a process that matches, and by others too */

/** A process that matches a group's rule, and is not in a cgroup of the group's own. */
struct pile_matched {
	uint32_t tgid, group;
};

struct pile_groups {
	struct pile_hierarchy hierarchy;
	uint32_t own_netns;
	uint64_t own_cookie; /* the guard's own stats socket: not watched; 0 = not known */
	uint32_t epoch;
	uint32_t walked;      /* the epoch of the last walk that came to its end */
	uint32_t n_groups;    /* slots in use: highest used + 1 */
	uint32_t n_listeners; /* places in use: highest used + 1, or more until the next walk */
	uint32_t check_next;  /* where the next pile_groups_check begins */
	struct pile_group groups[PILE_GROUPS_MAX];
	struct pile_listener listeners[PILE_LISTENERS_MAX];
	uint64_t listeners_lost; /* listeners that did not fit: the most at once */
	/* the walk that looks for them; it may take some ticks */
	uint32_t walk_round; /* walks of this discovery that are over */
	uint32_t walk_lost;  /* listeners that did not fit, in this walk */
	bool walk_again;     /* a new listener must be tagged by another walk */
	bool walk_mptcp;     /* since the discovery's begin: one of MPTCP was met */
	uint32_t walk_parts; /* of the walk that is under way */
	/* groups that are found by match: by number, ascending */
	uint32_t n_matched;
	struct pile_matched matched[PILE_MATCHED_MAX];
	/* who holds listeners on ports that a match names: of this walk, and of the last whole one */
	struct pile_holders holders_next, holders;
	bool holders_new; /* told by a walk, not yet taken */
	/* a master that does not match holds the listener of workers that do: it is theirs */
	struct {
		uint64_t cookie;
		uint32_t group;
	} claimed[PILE_CLAIMED_MAX];
	uint32_t n_claimed;			     /* ever; the oldest gives its place away */
	uint32_t claimed_from[PILE_GROUPS_MAX / 32]; /* found groups that had one: found again */
	/* doors.c; [0] is never used */
	struct pile_door doors[PILE_DOORS_MAX];
	struct pile_door_port
		door_ports[2][PILE_DOOR_PORTS_MAX]; /* told to the kernel, and the next */
	uint32_t n_door_ports[2], door_ports_told;
	bool doors_due;	       /* a listener, or the policy, has changed */
	bool doors_untagged;   /* a walk is due that brings a door into its listener */
	uint64_t doors_sweeps; /* sweeps that have been settled */
	uint64_t doors_gone;   /* bits by index */
	uint64_t doors_lost;   /* listeners that wanted one and found no place: the most at once */
};

enum pile_groups_event {
	PILE_GROUPS_APPEARED = 1,
	PILE_GROUPS_GONE,
	PILE_GROUPS_RESTARTED, /* its cgroup was made anew: gates must be attached again */
	PILE_GROUPS_RESET,     /* the slot now holds another group: forget what was learned */
};

typedef void (*pile_groups_event_fn)(enum pile_groups_event event, uint32_t group, void *arg);

/**
 * pile_groups_hierarchy_find - where cgroup v2 is mounted. May block: start only. -ENOENT when
 * there is no v2.
 */
int pile_groups_hierarchy_find(struct pile_hierarchy *ret, struct pile_error *err);

/** pile_groups_init - @g: zeroed by the caller. */
void pile_groups_init(struct pile_groups *g, const struct pile_hierarchy *hierarchy);
void pile_groups_fini(struct pile_groups *g, struct pile_kernel *k);

/**
 * pile_groups_apply - take over a policy: its groups by name keep their slots, the others go
 * Fires RESET, GONE and APPEARED. Cannot fail (the policy was validated against the same limits).
 */
void pile_groups_apply(struct pile_groups *g, struct pile_kernel *k,
		       const struct pile_policy *policy, uint64_t now_ns, pile_groups_event_fn fn,
		       void *arg);

/**
 * pile_groups_check - every tick: has a configured unit's cgroup come, gone, or been made anew?
 * One stat() a configured group; where there are many, each of them once a second.
 */
void pile_groups_check(struct pile_groups *g, struct pile_kernel *k, uint64_t now_ns,
		       pile_groups_event_fn fn, void *arg);

/**
 * pile_groups_discover - walk all processes' sockets: new listeners get a group, tags are set, and at its end old
 * ones expire
 * Some 100 ms of it at most; returns 1 when there is more: to be called again; 0 at its end, or negative errno.
 */
int pile_groups_discover(struct pile_groups *g, struct pile_kernel *k, uint64_t now_ns,
			 pile_groups_event_fn fn, void *arg);

/**
 * pile_groups_files_again - files of the group's cgroup that could not be opened so far; and its limits:
 * the lowest memory.max and pids.max up to the root
 * Done when its cgroup appears, which may be before systemd has written them; the operator may set
 * them, and switch controllers on, at any time. A group whose cgroup is the root, or is not there, has none.
 */
void pile_groups_files_again(struct pile_groups *g, uint32_t slot);

/**
 * pile_groups_doors - every tick: doors for the listeners of groups with connections_max, told to the kernel
 * What two sweeps (doors_sweeps, kept by the caller) and a walk have passed since it went is forgotten.
 */
void pile_groups_doors(struct pile_groups *g, struct pile_kernel *k);

/**
 * pile_groups_unit_path - where systemd puts a unit that names no slice of its own: "/system.slice/x.service",
 * "/a.slice/a-b.slice"
 */
void pile_groups_unit_path(const char *unit, char *ret, size_t size);

/**
 * pile_groups_matched - which processes match a group's rule and are not in its cgroup; copied
 * @matched: by number, ascending
 */
void pile_groups_matched(struct pile_groups *g, const struct pile_matched *matched, uint32_t n);

/** pile_groups_find - slot by name, or PILE_NO_GROUP. */
uint32_t pile_groups_find(const struct pile_groups *g, const char *name);

/**
 * pile_groups_cgroup_open - O_PATH-free directory descriptor of the group's cgroup, or negative
 * errno.
 */
int pile_groups_cgroup_open(const struct pile_groups *g, uint32_t group);

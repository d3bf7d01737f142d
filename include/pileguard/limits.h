/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * limits.h: the sizes that every side agrees on (BPF, daemon, api, ctl).
 * Constants only; owns nothing. Each says where its number comes from.
 */
#ifndef PILEGUARD_LIMITS_H
#define PILEGUARD_LIMITS_H

#define PILE_GROUPS_MAX 128	   /* a host has some dozens of listening services */
#define PILE_NAME_MAX 64	   /* a group's name, with its NUL */
#define PILE_UNIT_MAX 256	   /* systemd's UNIT_NAME_MAX */
#define PILE_CGROUP_MAX 512	   /* path below the v2 mount */
#define PILE_UNIX_PATH_MAX 108	   /* sizeof(sockaddr_un.sun_path) */
#define PILE_ENDPOINT_TEXT_MAX 128 /* "[v6]:port" or a unix path */
#define PILE_MATCH_EXE_MAX 256 /* a program's path; systemd and Debian have none longer than 200 */
#define PILE_MATCH_USER_MAX 33 /* useradd(8): 32 characters; with the NUL */
#define PILE_EXEMPT_MAX 16     /* destinations that a group never refuses */
#define PILE_SPEAKS_FIRST_MAX 16 /* destinations of a group whose server speaks first */
#define PILE_REVISION_MAX 64	 /* a commit's 40 digits, or a date and a number; with the NUL */
#define PILE_FINGERPRINTS_MAX \
	8 /* files whose hashes are shown: as many as the 500 series leave room for */
#define PILE_FINGERPRINT_PATH_MAX 128
#define PILE_PROTECT_MAX \
	8 /* units whose waiting for a processor is a reason to throttle: sshd, logins, some more */
#define PILE_LISTENERS_MAX 512	   /* listeners followed at once */
#define PILE_DESTINATIONS_MAX 1024 /* (group, destination) pairs counted in the kernel */
/* of those, as many as groups that the policy does not name may hold: anybody can open connects */
#define PILE_DESTINATIONS_UNNAMED_MAX 512
#define PILE_DOORS_MAX \
	64 /* listeners whose connections are counted, index 0 = none: bits of one word */
#define PILE_WORKERS_MAX 16384 /* workers followed in the kernel */
/* of those, as many as groups that the policy does not name may hold: anybody can start what serves something */
#define PILE_WORKERS_UNNAMED_MAX 8192
/*
 * Sockets that carry a state of ours: accepted ones, and as many that connect. What such a state takes is charged
 * to the guard's cgroup, 320 bytes a socket: 42 MB in all (MemoryMax= of the unit is sized for it).
 */
#define PILE_STORAGE_MAX 65536
#define PILE_STORAGE_UNNAMED_MAX 16384 /* of those: of groups that the policy does not name */
#define PILE_WALK_FILES 16384 /* descriptors that one read of a walk may look at: some ms */

/* 2^28 ns = 268 ms: design.md's 250 ms, by a shift instead of a division */
#define PILE_WHEEL_SLOT_SHIFT 28
#define PILE_WHEEL_SLOT_NS (1ULL << PILE_WHEEL_SLOT_SHIFT)
#define PILE_WHEEL_SLOTS 64	  /* 17 s, then "older" */
#define PILE_TICK_NS 100000000ULL /* one control loop period */
/* The guard has not ticked for so long: the kernel's loop may decide. Five periods, two more than a late tick. */
#define PILE_LOOP_LATE_NS (5 * PILE_TICK_NS)
#define PILE_LOOP_MAX 64		 /* destinations it follows: as many as there are gates */
#define PILE_LOOP_LEASE_NS 5000000000ULL /* product.md: gates */
/* limits at doors go on without the guard for so long: nobody corrects what the doors count meanwhile */
#define PILE_LOOP_DOORS_NS 600000000000ULL
#define PILE_LOOP_TRY_NS \
	1000000000ULL /* one connect a second finds out whether the destination is back */

/* First-byte latency: 4 buckets an octave from 64 us (bucket 0: below) to 67 s (last: above). */
#define PILE_LATENCY_MIN_SHIFT 16 /* 2^16 ns = 65.5 us */
#define PILE_LATENCY_OCTAVES 20
#define PILE_LATENCY_BUCKETS (PILE_LATENCY_OCTAVES * 4 + 2)

/* Snapshot (api) bounds: 500 metric series a host, see product.md. */
#define PILE_SNAPSHOT_DEPENDENCIES 256
#define PILE_SNAPSHOT_WORKERS 2048
#define PILE_SNAPSHOT_LISTENERS 256
#define PILE_SNAPSHOT_EVENTS 256
#define PILE_SNAPSHOT_EXPLAINS 64
#define PILE_METRICS_DESTINATIONS 17
#define PILE_GAP_BUCKETS 6 /* times between two ticks */

#endif

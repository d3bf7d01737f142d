/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * api.h: names and limits of the stats socket, and the commands that the api process hands up to
 * the guard.
 * Crosses a build boundary: daemon, api child, pileguardctl.
 */
#ifndef PILEGUARD_API_H
#define PILEGUARD_API_H

#include <stdint.h>

#include "pileguard/limits.h"

#define PILE_VERSION "1.0"

#define PILE_API_SOCKET "/run/pileguard/stats.sock"
#define PILE_MOTD_FILE \
	"/run/motd.d/50-pileguard" /* shown at login by pam_motd(8) while anything is held */
#define PILE_API_GROUP "pileguard" /* may read; only uid 0 may POST */
#define PILE_API_USER "pileguard"  /* the api child runs as this user */
#define PILE_API_CLIENTS_MAX 128
#define PILE_API_MEMORY_MAX \
	(64 << 20) /* address space of its process; what it uses is some MiB of that */
#define PILE_API_REQUEST_BYTES_MAX 8192 /* head and body together */
#define PILE_API_REQUEST_SECONDS_MAX 5	/* a request must be complete by then */

/* Exit statuses of pileguardctl and pileguardd; 78 is sysexits' EX_CONFIG. */
#define PILE_EXIT_OK 0
#define PILE_EXIT_FAILURE 1
#define PILE_EXIT_USAGE 2
#define PILE_EXIT_UNREACHABLE 3 /* the daemon does not answer */
#define PILE_EXIT_DIFFERS 4	/* the policy's files are not the policy in force */
#define PILE_EXIT_CONFIG 78

enum pile_command_kind {
	PILE_COMMAND_RELOAD = 1,
	PILE_COMMAND_HOLD,
	PILE_COMMAND_RELEASE,
	PILE_COMMAND_DISARM,
	PILE_COMMAND_ARM,
};

#define PILE_COMMAND_VERSION 2

#define PILE_HAND_SECONDS_MAX 86400	     /* hold, release: forgotten after a day */
#define PILE_DISARM_SECONDS_MAX (30 * 86400) /* disarm, where a time is given */

/** api -> guard over a SOCK_SEQPACKET pair. The client's socket travels with it (SCM_RIGHTS): the guard itself asks
 *  SO_PEERCRED, so that a subverted api process cannot claim to be root. */
struct pile_command {
	uint16_t version;
	uint16_t kind; /* enum pile_command_kind */
	uint32_t id;   /* echoed in the reply */
	uint32_t
		seconds; /* hold, release: how long, 1..PILE_HAND_SECONDS_MAX; disarm: 0 = until armed, or .._DISARM_.. */
	uint32_t pad;
	char group[PILE_NAME_MAX];
	char endpoint[PILE_ENDPOINT_TEXT_MAX];
	char by[PILE_NAME_MAX]; /* disarm, arm: who, as root's command says it; for the records only */
};

/** guard -> api. */
struct pile_reply {
	uint16_t version;
	uint16_t pad;
	uint32_t id;
	int32_t result; /* 0 or negative errno */
	uint32_t pad2;
	uint64_t generation; /* the policy in force afterwards */
	char text[768];	     /* one sentence: what changed, or file:line:column and why not */
};

#endif

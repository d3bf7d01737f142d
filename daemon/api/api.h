/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * api.h: the unprivileged process that answers the stats socket.
 * pile_api_main runs in a process and a program of its own (pileguard-api, started by
 * daemon/child.c):
 * no capabilities, its own uid, seccomp; the only room that parses HTTP. It may block and allocate,
 * within limits.
 * It inherits exactly three descriptors: the listening socket, the snapshot (read-only memfd), the
 * command pair.
 */
#pragma once

#include <stdbool.h>

/** Descriptor numbers that the child is started with. */
#define PILE_API_FD_LISTEN 3
#define PILE_API_FD_SNAPSHOT 4
#define PILE_API_FD_COMMAND 5

/**
 * pile_api_main - serve until the command pair closes (the guard is gone)
 * @drop_privileges: become PILE_API_USER (or "nobody"), drop every capability, enter seccomp; false
 * only in tests Returns an exit status.
 */
int pile_api_main(bool drop_privileges);

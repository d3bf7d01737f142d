/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * privileges.h: how the api child loses everything that it does not need.
 * Called once, before the first foreign byte is read, after every descriptor is there.
 * Irreversible. Fills an error instead of logging.
 */
#pragma once

#include "util/error.h"

/**
 * pile_privileges_drop - another user, no capability, no new privileges, a seccomp allow-list
 * Becomes PILE_API_USER from /etc/passwd (no NSS: a directory server may be what is dead), "nobody"
 * when absent; keeps its user when it is not root already. Never goes on with more than that: every
 * failure is an error. Returns 0 or negative errno.
 */
int pile_privileges_drop(struct pile_error *err);

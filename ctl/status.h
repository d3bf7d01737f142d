/* SPDX-License-Identifier: GPL-2.0-or-later */
/* status.h: the parts of `pileguardctl status`, each printed on stdout. */
#pragma once

#include <jansson.h>
#include <stdbool.h>

#include "ctl.h"

/** pile_status_at_risk - whether the host would not survive that this group (of /v1/status) loses what it waits for. */
bool pile_status_at_risk(const json_t *group);

/** pile_status_table - a line for each group. */
void pile_status_table(const struct pile_ctl *ctl, const json_t *groups);

/** pile_status_oddities - a loud line for whatever somebody should know who looks at 3 a.m. */
void pile_status_oddities(const struct pile_ctl *ctl, const json_t *status);

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bus.h: one job of manager.h over one connection to systemd's own socket: bus.c, and bus_stop.c (stop, start, timers).
 * Called by manager.c's thread only; blocks for as long as systemd does (PILE_MANAGER_ANSWER_NS a call); allocates, as
 * libsystemd does; never logs: errors are returned, with systemd's words in the call.
 */
#pragma once

#include <systemd/sd-bus.h>

#include "act/manager.h"

#define PILE_BUS_DESTINATION "org.freedesktop.systemd1"
#define PILE_BUS_PATH "/org/freedesktop/systemd1"
#define PILE_BUS_MANAGER "org.freedesktop.systemd1.Manager"
#define PILE_BUS_UNIT "org.freedesktop.systemd1.Unit"

/* One job's connection. */
struct pile_bus_call {
	sd_bus *bus;
	sd_bus_error error;
	char path[512]; /* of the unit's object */
};

/** pile_bus_open - @call: to be closed, also when this fails. Returns 0 or negative errno (so all below). */
int pile_bus_open(struct pile_manager *m, struct pile_bus_call *call);
void pile_bus_close(struct pile_manager *m, struct pile_bus_call *call);

/** pile_bus_unit_find - the unit's object, into @call->path; -ENOENT and the like when systemd does not know it. */
int pile_bus_unit_find(struct pile_bus_call *call, const char *unit);

/** pile_bus_unit_is_down - whether it is inactive or failed: 1, 0, or negative errno. */
int pile_bus_unit_is_down(struct pile_bus_call *call);

/* one verb of manager.h each */
int pile_bus_set(struct pile_bus_call *call, struct pile_manager_job *job);
int pile_bus_scope(struct pile_bus_call *call, const struct pile_manager_job *job);
/** pile_bus_check - @ret_why: what keeps the unit from being stopped and started again, with -EOPNOTSUPP */
int pile_bus_check(struct pile_bus_call *call, const struct pile_manager_job *job, char *ret_why,
		   size_t size);
int pile_bus_stop(struct pile_manager *m, struct pile_bus_call *call,
		  struct pile_manager_result *result);
int pile_bus_start(struct pile_bus_call *call, const struct pile_manager_job *job);
void pile_bus_untime(struct pile_bus_call *call, const struct pile_manager_job *job);

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * knob.h: the files of a cgroup that rung 3 turns: pids.max, cpu.weight, cpu.max, and v1's of the same meaning.
 * Owns nothing; control loop, and at start and stop; one small read or write each, no allocation; never logs.
 * On v1 the cgroup is the one of the same name in the controller's hierarchy, as systemd and libcgroup make them.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "groups/groups.h"
#include "pileguard/undo.h"

/** pile_knob_path - where the knob of a cgroup is, or would be. Returns 0 or -ENAMETOOLONG. */
int pile_knob_path(const struct pile_hierarchy *h, const char *cgroup, enum pile_knob knob,
		   char *ret, size_t size);

/** pile_knob_read - the file's one line, without its end. Returns 0 or negative errno. */
int pile_knob_read(const char *path, char *ret, size_t size);

/** pile_knob_write - Returns 0 or negative errno. */
int pile_knob_write(const char *path, const char *text);

/**
 * pile_knob_parse - what the file's text means, in the units of enum pile_knob
 * Returns 0 or -EBADMSG. By the file's name it is known whose it is.
 */
int pile_knob_parse(const char *path, const char *text, uint64_t *ret);

/** pile_knob_format - the text that sets the value; @was: what the file holds now (a period is kept). */
void pile_knob_format(const char *path, const char *was, uint64_t value, char *ret, size_t size);

/** pile_knob_property - systemd's name of it on D-Bus ("CPUQuotaPerSecUSec"), and in a unit file ("CPUQuota"). */
const char *pile_knob_property(enum pile_knob knob);
const char *pile_knob_setting(enum pile_knob knob);

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * proc.h: small reads of /proc and cgroup files into the caller's buffer.
 * Owns nothing; control loop; no allocation; never logs. A process may vanish at any moment: -ESRCH
 * or -ENOENT.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "pileguard/limits.h"

/**
 * pile_proc_read - the whole of a small file, NUL-terminated, cut at @size - 1. Returns bytes or
 * negative errno.
 */
ssize_t pile_proc_read(const char *path, char *buf, size_t size);

/** pile_proc_pread - the same from an open descriptor, from its start. */
ssize_t pile_proc_pread(int fd, char *buf, size_t size);

/**
 * pile_proc_cgroup - the v2 path of a process ("/system.slice/x.service"). Returns 0 or negative
 * errno.
 */
int pile_proc_cgroup(uint32_t tgid, char *ret, size_t size);

/**
 * pile_proc_cgroup_parse - the same of a text like /proc/PID/cgroup; it is cut at the line's end
 * -ENAMETOOLONG: it was cut off before, and would read as another cgroup, above it.
 */
int pile_proc_cgroup_parse(char *text, char *ret, size_t size);

/** pile_proc_number - a decimal number, or "max" as UINT64_MAX. Returns 0 or -EINVAL. */
int pile_proc_number(const char *text, uint64_t *ret);

/**
 * pile_proc_field - value of "key value" lines, as in memory.stat and /proc/meminfo ("key: value
 * kB")
 * @key: with its colon where the file has one; must stand at the start of a line
 */
int pile_proc_field(const char *text, const char *key, uint64_t *ret);

/**
 * pile_proc_unit - the systemd unit in a cgroup path: the service, socket or scope below slices only
 * What lies below anything else is that one's own: a container has a system.slice too.
 */
bool pile_proc_unit(const char *cgroup, char *ret, size_t size);

/**
 * pile_proc_foreign - the cgroup belongs to another manager: containers, virtual machines, user
 * sessions.
 */
bool pile_proc_foreign(const char *cgroup);

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * selftest.h: does rung 1 work on this host, now? Tried on the guard's own process and on a listener that it makes
 * for the purpose, by the same programs, maps and calls as in an outage: nobody else is concerned.
 * Control loop; some milliseconds, nothing is waited for; a dozen descriptors, all gone at the end.
 */
#pragma once

#include <stdint.h>

#include "kernel/kernel.h"

enum pile_selftest_step {
	PILE_SELFTEST_LISTEN, /* a listener on 127.0.0.1, and the guard's own cgroup */
	PILE_SELFTEST_ATTACH, /* the gate's programs on that cgroup */
	PILE_SELFTEST_REFUSE, /* a connect behind a shut gate gets the gate's errno */
	PILE_SELFTEST_LEASE,  /* the same gate, its lease over: it refuses nobody */
	PILE_SELFTEST_END,    /* a connect that nobody answers is ended */
	PILE_SELFTEST_PASSED,
};

struct pile_selftest {
	enum pile_selftest_step step; /* the one that failed, or PILE_SELFTEST_PASSED */
	int error;		      /* negative errno; 0 = it had another effect than it should */
	uint64_t refuse_ns;	      /* connect() to its errno */
	uint64_t end_ns;	      /* SOCK_DESTROY to the socket's error */
};

/**
 * pile_selftest_run - try rung 1
 * @cgroup_fd: the guard's own cgroup (v2), or negative errno when it could not be opened
 * The guard's process belongs to PILE_SELF_GROUP meanwhile, so that its connects are counted for nobody.
 */
void pile_selftest_run(struct pile_kernel *k, int cgroup_fd, struct pile_selftest *ret);

/** pile_selftest_step_name - what a step tries, as part of a sentence; borrowed. */
const char *pile_selftest_step_name(enum pile_selftest_step step);

/** pile_selftest_error_name - why not; borrowed until the next call of strerror(). */
const char *pile_selftest_error_name(int error);

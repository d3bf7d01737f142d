/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * trace.h: samples on paper: recordings of real hosts, or of the simulator, fed to the decision
 * code tick by tick.
 *
 * Tab-separated, one record a line, the first field says which. Times in ms of CLOCK_MONOTONIC,
 * 0 = never; sizes in KiB.
 *   #  comment
 *   !  none                      expectation: nothing opens, not even virtually
 *   !  open ENDPOINT FROM TO     expectation: the first opening (virtual ones too) is of this one,
 *                                in this interval since the trace's begin
 *   !  stage N FROM TO           expectation: stage N is reached for the first time then
 *   c  SLOT NAME WORKERS(0..3) WORKERS_MAX ENFORCE(bits) FAIL_FAST(0|1) BASELINE
 *                                a group's policy; the mode is enforce
 *   g  SLOT OPENED ANSWERED CLOSED WAITING WORKERS LIMIT BUSY BACKLOG P50_US P99_US MEMORY
 *      MEMORY_LIMIT AGES         AGES: "slot:count,slot:count", "-" when nothing waits
 *   d  SLOT ENDPOINT CONNECTING STUCK OLDEST STARTED ESTABLISHED FAILED REFUSED_BY_PEER
 *      LAST_STARTED LAST_ESTABLISHED LAST_FAILED SILENT UNACKED
 *   p  SLOT ENDPOINT ANSWERED(0|1) ERRNO      a probe's result
 *   t  NOW LATE TOTAL AVAILABLE  ends a tick: all g, d and p lines since the last t belong to it
 * A group without a g line in a tick is absent in it.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "decide/decide.h"
#include "sense/sample.h"

#define TRACE_EXPECTATIONS_MAX 8

struct trace_expectation {
	enum { TRACE_NONE, TRACE_OPEN, TRACE_STAGE } kind;
	struct pile_endpoint endpoint;
	unsigned int stage;
	uint64_t from_ms, to_ms;
};

struct trace {
	FILE *file;
	unsigned int line;
	unsigned int n_expectations;
	struct trace_expectation expectations[TRACE_EXPECTATIONS_MAX];
	struct pile_decide_view view; /* from the c lines */
};

/** trace_open - 0 or -errno. */
int trace_open(struct trace *trace, const char *path);
void trace_close(struct trace *trace);

/** trace_next - the next tick's sample: 1; 0 at the end; -EBADMSG at trace->line. */
int trace_next(struct trace *trace, struct pile_sample *ret);

/** trace_write_group, trace_write - the way out. */
void trace_write_group(FILE *file, uint32_t slot, const struct pile_policy_group *config);
void trace_write(FILE *file, const struct pile_sample *sample);

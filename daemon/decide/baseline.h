/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * baseline.h: what is normal for a group: waiting requests (W99), first byte (p99), X, request
 * rate. One fixed-size struct per group, owned by struct pile_decide; control loop only (import and
 * export: any thread, on a copy). Pure integers: no clock, no allocation, never blocks, never logs.
 * Time is counted in samples (100 ms each). Never learned from an incident: the caller says when to
 * freeze, a sample in excess freezes itself.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "pileguard/limits.h"

/*
 * W in buckets: 0..7 exactly, then 4 an octave (quantile error <= 25 %, upwards) up to 65,535, then
 * "more".
 */
#define PILE_BASELINE_EXACT 8
#define PILE_BASELINE_BUCKETS (PILE_BASELINE_EXACT + 13 * 4 + 1)

/* samples before anything counts as learned: 30 s, issue 2's half minute */
#define PILE_BASELINE_GRACE 300
#define PILE_BASELINE_DAY 864000 /* learned samples in a day of 100 ms ticks */
#define PILE_BASELINE_WAITING_MAX 1000000u

/** Learned state of one group. */
struct pile_baseline {
	uint64_t samples;     /* learned so far */
	uint32_t w99;	      /* in force: 99th percentile of waiting, under the day's ceiling */
	uint32_t w99_ceiling; /* w99 may not pass this before the day's samples are over */
	uint32_t day_samples; /* learned since the ceiling was set, 0..PILE_BASELINE_DAY */
	uint64_t p99_ns; /* first byte, moving average of the 10 s p99; 0 = nothing answered yet */
	uint64_t p99_ceiling_ns;
	uint32_t rate_milli; /* requests opened per second x 1000, moving average of a minute */
	uint32_t total;	     /* sum of counts */
	uint32_t counts[PILE_BASELINE_BUCKETS];
	uint32_t excess_run; /* samples in excess in a row; not persisted */
};

/** One sample for learning. */
struct pile_baseline_input {
	uint32_t waiting;
	uint64_t p99_ns; /* over the last 10 s; 0 = nothing answered */
	uint32_t rate_milli;
	bool excess; /* W above the law's bound */
	bool frozen; /* a stage is on, a breaker of the group is open, or connects are stuck */
};

void pile_baseline_init(struct pile_baseline *baseline);

/**
 * pile_baseline_learn - take one sample (100 ms) in, or leave it
 * Frozen samples are never learned. Samples in excess are not learned either, except after ten
 * minutes of excess in a row without a stage (so without imbalance): that is a service which grew,
 * not an incident, and the day's ceiling still holds. W99 and p99 grow at most by half (plus 8
 * requests, plus 1 ms) a day of learned samples; they may fall freely. Weight halves every day
 * (counts are halved when a day's samples are in).
 */
void pile_baseline_learn(struct pile_baseline *baseline, const struct pile_baseline_input *input);

/**
 * pile_baseline_ready - the grace is over, or the policy gave the level by hand (@by_hand:
 * baseline_waiting, 0 = no).
 */
bool pile_baseline_ready(const struct pile_baseline *baseline, uint32_t by_hand);

/**
 * pile_baseline_waiting - W99 in force: @by_hand when not 0, else the learned one (0 before the
 * grace is over).
 */
uint32_t pile_baseline_waiting(const struct pile_baseline *baseline, uint32_t by_hand);

/**
 * pile_baseline_patience_ns - X = clamp(8 x p99, 1 s, 3 s) (design.md); 1 s while nothing is
 * learned.
 */
uint64_t pile_baseline_patience_ns(const struct pile_baseline *baseline);

#define PILE_BASELINE_MAGIC 0x31424750u /* "PGB1" */
#define PILE_BASELINE_VERSION 1

/**
 * What is kept on disk, host byte order (it never leaves the host). One record a group, found by
 * name.
 */
struct pile_baseline_record {
	uint32_t magic;
	uint16_t version;
	uint16_t size; /* sizeof(struct pile_baseline_record) */
	char name[PILE_NAME_MAX];
	uint64_t samples;
	uint64_t p99_ns;
	uint64_t p99_ceiling_ns;
	uint32_t w99;
	uint32_t w99_ceiling;
	uint32_t day_samples;
	uint32_t rate_milli;
	uint32_t total;
	uint32_t counts[PILE_BASELINE_BUCKETS];
	uint32_t pad;
	uint32_t checksum; /* FNV-1a over all bytes before it */
};

_Static_assert(sizeof(struct pile_baseline_record) % 8 == 0, "no hidden padding");

/** pile_baseline_export - @name: the group's, shorter than PILE_NAME_MAX (cut otherwise). */
void pile_baseline_export(const struct pile_baseline *baseline, const char *name,
			  struct pile_baseline_record *ret);

/**
 * pile_baseline_import - the way back, every field checked
 * Returns 0; -EPROTO wrong magic, version or size; -EBADMSG wrong checksum; -ERANGE a value out of
 * bounds or inconsistent; -ENOENT when it belongs to another group than @name. *ret is untouched on
 * failure.
 */
int pile_baseline_import(const struct pile_baseline_record *record, const char *name,
			 struct pile_baseline *ret);

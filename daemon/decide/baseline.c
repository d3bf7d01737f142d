// SPDX-License-Identifier: GPL-2.0-or-later
#include "decide/baseline.h"

#include <errno.h>
#include <string.h>

#include "util/macro.h"

#define GROWTH_SLACK_WAITING 8 /* a small service may go from 0 to 8 in a day */
#define GROWTH_SLACK_NS NS_PER_MS
#define THAW_SAMPLES 6000	   /* ten minutes of balanced excess: the service grew */
#define P99_SPAN 6000		   /* moving average over ten minutes of samples */
#define RATE_SPAN 600		   /* over one minute */
#define NS_MAX (3600 * NS_PER_SEC) /* nothing waits longer; bound for import */

void pile_baseline_init(struct pile_baseline *baseline)
{
	memset(baseline, 0, sizeof(*baseline));
}

static unsigned int bucket_of(uint32_t waiting)
{
	unsigned int octave;

	if (waiting < PILE_BASELINE_EXACT)
		return waiting;
	if (waiting > UINT16_MAX)
		return PILE_BASELINE_BUCKETS - 1;
	octave = 31 - (unsigned int)__builtin_clz(waiting); /* 3..15 */
	return PILE_BASELINE_EXACT + (octave - 3) * 4 + ((waiting >> (octave - 2)) & 3);
}

/* The largest W that falls into this bucket: quantiles err upwards, that is, to the quiet side. */
static uint32_t bucket_top(unsigned int bucket)
{
	unsigned int octave;

	if (bucket < PILE_BASELINE_EXACT)
		return bucket;
	if (bucket == PILE_BASELINE_BUCKETS - 1)
		return PILE_BASELINE_WAITING_MAX;
	bucket -= PILE_BASELINE_EXACT;
	octave = 3 + bucket / 4;
	return ((4 + bucket % 4 + 1) << (octave - 2)) - 1;
}

static uint32_t quantile99(const struct pile_baseline *baseline)
{
	uint64_t want = (uint64_t)baseline->total * 99, seen = 0;

	for (unsigned int i = 0; i < PILE_BASELINE_BUCKETS; i++) {
		seen += baseline->counts[i];
		if (seen * 100 >= want)
			return bucket_top(i);
	}
	return 0;
}

static void halve(struct pile_baseline *baseline)
{
	baseline->total = 0;
	for (unsigned int i = 0; i < PILE_BASELINE_BUCKETS; i++) {
		baseline->counts[i] /= 2;
		baseline->total += baseline->counts[i];
	}
}

static void set_ceilings(struct pile_baseline *baseline)
{
	uint64_t waiting = (uint64_t)baseline->w99 + baseline->w99 / 2 + GROWTH_SLACK_WAITING;

	baseline->w99_ceiling = (uint32_t)MIN(waiting, PILE_BASELINE_WAITING_MAX);
	baseline->p99_ceiling_ns =
		MIN(baseline->p99_ns + baseline->p99_ns / 2 + GROWTH_SLACK_NS, NS_MAX);
	baseline->day_samples = 0;
}

/*
 * Moving average that follows at 1/span, faster while it has seen little; never sticks on rounding.
 */
static uint64_t follow(uint64_t average, uint64_t value, uint64_t samples, uint64_t span)
{
	uint64_t weight = MIN(samples + 1, span);
	uint64_t gap = value > average ? value - average : average - value;
	uint64_t step = gap / weight;

	if (!step && gap)
		step = 1;
	return value > average ? average + step : average - step;
}

static bool excess_stands(struct pile_baseline *baseline, const struct pile_baseline_input *input)
{
	if (!input->excess || input->frozen) {
		baseline->excess_run = 0;
		return false;
	}
	if (baseline->excess_run < THAW_SAMPLES)
		baseline->excess_run++;
	return baseline->excess_run < THAW_SAMPLES;
}

void pile_baseline_learn(struct pile_baseline *baseline, const struct pile_baseline_input *input)
{
	bool graced = baseline->samples >= PILE_BASELINE_GRACE;
	uint64_t p99_ns = MIN(input->p99_ns, NS_MAX);

	if (excess_stands(baseline, input) || input->frozen)
		return;
	baseline->counts[bucket_of(input->waiting)]++;
	baseline->total++;
	baseline->rate_milli = (uint32_t)follow(baseline->rate_milli, input->rate_milli,
						baseline->samples, RATE_SPAN);
	if (p99_ns) {
		baseline->p99_ns = baseline->p99_ns ? follow(baseline->p99_ns, p99_ns,
							     baseline->samples, P99_SPAN)
						    : p99_ns;
		if (graced)
			baseline->p99_ns = MIN(baseline->p99_ns, baseline->p99_ceiling_ns);
	}
	baseline->samples++;
	if (baseline->samples < PILE_BASELINE_GRACE)
		return;
	baseline->w99 = quantile99(baseline);
	if (!graced) {
		set_ceilings(baseline);
		return;
	}
	baseline->w99 = MIN(baseline->w99, baseline->w99_ceiling);
	if (++baseline->day_samples >= PILE_BASELINE_DAY) {
		halve(baseline);
		set_ceilings(baseline);
	}
}

bool pile_baseline_ready(const struct pile_baseline *baseline, uint32_t by_hand)
{
	return by_hand || baseline->samples >= PILE_BASELINE_GRACE;
}

uint32_t pile_baseline_waiting(const struct pile_baseline *baseline, uint32_t by_hand)
{
	return by_hand ? MIN(by_hand, PILE_BASELINE_WAITING_MAX) : baseline->w99;
}

uint64_t pile_baseline_patience_ns(const struct pile_baseline *baseline)
{
	return CLAMP(8 * baseline->p99_ns, NS_PER_SEC, 3 * NS_PER_SEC);
}

static uint32_t checksum(const struct pile_baseline_record *record)
{
	const uint8_t *bytes = (const uint8_t *)record;
	uint32_t hash = 2166136261u; /* FNV-1a, 32 bits */

	for (size_t i = 0; i < offsetof(struct pile_baseline_record, checksum); i++)
		hash = (hash ^ bytes[i]) * 16777619u;
	return hash;
}

void pile_baseline_export(const struct pile_baseline *baseline, const char *name,
			  struct pile_baseline_record *ret)
{
	memset(ret, 0, sizeof(*ret));
	ret->magic = PILE_BASELINE_MAGIC;
	ret->version = PILE_BASELINE_VERSION;
	ret->size = sizeof(*ret);
	snprintf(ret->name, sizeof(ret->name), "%s", name);
	ret->samples = baseline->samples;
	ret->p99_ns = baseline->p99_ns;
	ret->p99_ceiling_ns = baseline->p99_ceiling_ns;
	ret->w99 = baseline->w99;
	ret->w99_ceiling = baseline->w99_ceiling;
	ret->day_samples = baseline->day_samples;
	ret->rate_milli = baseline->rate_milli;
	ret->total = baseline->total;
	memcpy(ret->counts, baseline->counts, sizeof(ret->counts));
	ret->checksum = checksum(ret);
}

static bool in_bounds(const struct pile_baseline_record *record)
{
	uint64_t sum = 0;

	for (unsigned int i = 0; i < PILE_BASELINE_BUCKETS; i++)
		sum += record->counts[i];
	/* counts are halved daily, so two days' samples are the most that can stand there */
	return sum == record->total && sum <= 2 * PILE_BASELINE_DAY && sum <= record->samples &&
	       record->samples <= UINT64_MAX / 2 && record->p99_ns <= NS_MAX &&
	       record->p99_ceiling_ns <= NS_MAX && record->w99 <= PILE_BASELINE_WAITING_MAX &&
	       record->w99_ceiling <= PILE_BASELINE_WAITING_MAX &&
	       (record->samples < PILE_BASELINE_GRACE ||
		(record->w99 <= record->w99_ceiling && record->p99_ns <= record->p99_ceiling_ns)) &&
	       record->day_samples < PILE_BASELINE_DAY;
}

int pile_baseline_import(const struct pile_baseline_record *record, const char *name,
			 struct pile_baseline *ret)
{
	if (record->magic != PILE_BASELINE_MAGIC || record->version != PILE_BASELINE_VERSION ||
	    record->size != sizeof(*record))
		return -EPROTO;
	if (record->checksum != checksum(record))
		return -EBADMSG;
	if (!memchr(record->name, '\0', sizeof(record->name)) || !in_bounds(record))
		return -ERANGE;
	if (strcmp(record->name, name))
		return -ENOENT;
	pile_baseline_init(ret);
	ret->samples = record->samples;
	ret->p99_ns = record->p99_ns;
	ret->p99_ceiling_ns = record->p99_ceiling_ns;
	ret->w99 = record->w99;
	ret->w99_ceiling = record->w99_ceiling;
	ret->day_samples = record->day_samples;
	ret->rate_milli = record->rate_milli;
	ret->total = record->total;
	memcpy(ret->counts, record->counts, sizeof(ret->counts));
	return 0;
}

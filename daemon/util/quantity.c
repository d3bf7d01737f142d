// SPDX-License-Identifier: GPL-2.0-or-later
#include "util/quantity.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#define FRACTION_DIGITS 9 /* 1 ns of a second; more digits than that are a typing error */
#define FRACTION_ONE 1000000000ULL
#define VALUE_MAX (1ULL << 63)

struct unit {
	const char *name;
	uint64_t factor;
};

/** "2.4s" taken apart: whole 2, fraction 400000000 (of 10^9), unit "s". */
struct number {
	uint64_t whole; /* stays at VALUE_MAX + 1 once it is beyond VALUE_MAX */
	uint64_t fraction;
	unsigned int n_fraction;
	const char *unit;
};

/* Largest first: format_duration walks down. */
static const struct unit duration_units[] = {
	{ "h", 3600 * NS_PER_SEC }, { "min", 60 * NS_PER_SEC }, { "s", NS_PER_SEC },
	{ "ms", NS_PER_MS },	    { "us", NS_PER_US },
};
#define DURATION_SECONDS \
	2 /* index of "s": from here down decimals read well ("2.4s", not "1.2min") */

static const struct unit size_units[] = {
	{ "B", 1 },
	{ "KiB", 1ULL << 10 },
	{ "MiB", 1ULL << 20 },
	{ "GiB", 1ULL << 30 },
	{ "TiB", 1ULL << 40 },
};

static const struct unit percent_units[] = { { "%", 10 } };

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static const char *scan_whole(const char *p, struct number *ret)
{
	for (; is_digit(*p); p++) {
		if (ret->whole > VALUE_MAX / 10)
			ret->whole = VALUE_MAX + 1;
		else
			ret->whole = ret->whole * 10 + (uint64_t)(*p - '0');
	}
	return p;
}

/* Digits, a point and 1 to 9 more digits, a unit; no blanks, no sign, no exponent. */
static int scan_number(const char *text, struct number *ret)
{
	const char *p = text;
	uint64_t scale = FRACTION_ONE;

	*ret = (struct number){ 0 };
	if (!is_digit(*p))
		return -EINVAL;
	p = scan_whole(p, ret);
	if (*p == '.') {
		for (p++; is_digit(*p); p++) {
			if (++ret->n_fraction > FRACTION_DIGITS)
				return -EINVAL;
			scale /= 10;
			ret->fraction += (uint64_t)(*p - '0') * scale;
		}
		if (!ret->n_fraction)
			return -EINVAL;
	}
	ret->unit = p;
	return *p ? 0 : -EDOM;
}

static const struct unit *find_unit(const char *name, const struct unit *units, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!strcmp(name, units[i].name))
			return &units[i];
	return NULL;
}

/* What is smaller than 1 (ns, byte) is dropped: 1.1GiB is no whole number of bytes, and nobody
 * minds. */
static int parse_scaled(const char *text, const struct unit *units, size_t n, uint64_t *ret)
{
	const struct unit *unit;
	struct number number;
	unsigned __int128 value;
	int r;

	r = scan_number(text, &number);
	if (r < 0)
		return r;
	unit = find_unit(number.unit, units, n);
	if (!unit)
		return -EINVAL;
	value = (unsigned __int128)number.whole * unit->factor;
	value += (unsigned __int128)number.fraction * unit->factor / FRACTION_ONE;
	if (value > VALUE_MAX)
		return -ERANGE;
	*ret = (uint64_t)value;
	return 0;
}

int pile_quantity_parse_duration(const char *text, uint64_t *ret_ns)
{
	return parse_scaled(text, duration_units, ARRAY_LEN(duration_units), ret_ns);
}

int pile_quantity_parse_size(const char *text, uint64_t *ret_bytes)
{
	return parse_scaled(text, size_units, ARRAY_LEN(size_units), ret_bytes);
}

int pile_quantity_parse_percent(const char *text, uint32_t *ret_permille)
{
	struct number number;
	uint64_t permille;
	int r;

	r = parse_scaled(text, percent_units, ARRAY_LEN(percent_units), &permille);
	if (r < 0)
		return r;
	if (permille > 1000)
		return -ERANGE;
	/* Permille hold one decimal; to drop the others in silence would change what was asked for.
	 */
	(void)scan_number(text, &number);
	if (number.fraction % (FRACTION_ONE / 10))
		return permille == 1000 ? -ERANGE : -EINVAL;
	*ret_permille = (uint32_t)permille;
	return 0;
}

/* The step of three digits at this size: 1.23, 12.3, 123. */
static uint64_t three_digit_step(uint64_t ns, uint64_t factor)
{
	if (ns < 10 * factor)
		return factor / 100;
	return ns < 100 * factor ? factor / 10 : factor;
}

/* Three digits hold it exactly; minutes and hours only when whole. */
static bool reads_exactly(uint64_t ns, size_t unit)
{
	uint64_t factor = duration_units[unit].factor;

	if (unit < DURATION_SECONDS || ns >= 1000 * factor)
		return ns % factor == 0 && ns < 1000 * factor;
	return ns % three_digit_step(ns, factor) == 0;
}

static const char *print_decimal(uint64_t ns, const struct unit *unit, char *buf, size_t size)
{
	unsigned long long whole = ns / unit->factor;
	unsigned int hundredths = (unsigned int)((ns % unit->factor) / (unit->factor / 100));

	if (hundredths % 10)
		snprintf(buf, size, "%llu.%02u%s", whole, hundredths, unit->name);
	else if (hundredths)
		snprintf(buf, size, "%llu.%u%s", whole, hundredths / 10, unit->name);
	else
		snprintf(buf, size, "%llu%s", whole, unit->name);
	return buf;
}

static size_t largest_unit(uint64_t ns)
{
	size_t i = 0;

	while (i + 1 < ARRAY_LEN(duration_units) && ns < duration_units[i].factor)
		i++;
	return i;
}

static uint64_t round_to(uint64_t ns, uint64_t step)
{
	return (ns / step + (ns % step >= (step + 1) / 2)) * step;
}

const char *pile_quantity_format_duration(uint64_t ns, char *buf, size_t size)
{
	uint64_t rounded;
	size_t i;

	ns = MIN(ns, VALUE_MAX); /* rounding up cannot wrap */
	i = largest_unit(ns);
	if (reads_exactly(ns, i) && ns)
		return print_decimal(ns, &duration_units[i], buf, size);
	if (i + 1 < ARRAY_LEN(duration_units) && reads_exactly(ns, i + 1))
		return print_decimal(ns, &duration_units[i + 1], buf, size);
	rounded = round_to(ns, three_digit_step(ns, duration_units[i].factor));
	if (!rounded) {
		snprintf(buf, size, "0ms");
		return buf;
	}
	return print_decimal(rounded, &duration_units[largest_unit(rounded)], buf, size);
}

const char *pile_quantity_format_size(uint64_t bytes, char *buf, size_t size)
{
	static const char letters[] = "BKMGT";
	uint64_t factor = 1, whole;
	size_t i = 0;

	bytes = MIN(bytes, VALUE_MAX);
	/* One step early, so that 1023.6 KiB reads 1M and not 1024K. */
	while (i + 1 < strlen(letters) && bytes >= 1024 * factor - factor / 2) {
		factor <<= 10;
		i++;
	}
	whole = bytes / factor;
	if (whole < 10 && i) {
		uint64_t tenths = whole * 10 + ((bytes % factor) * 10 + factor / 2) / factor;

		if (tenths % 10 && tenths < 100) {
			snprintf(buf, size, "%llu.%u%c", (unsigned long long)tenths / 10,
				 (unsigned int)(tenths % 10), letters[i]);
			return buf;
		}
		snprintf(buf, size, "%llu%c", (unsigned long long)(tenths / 10), letters[i]);
		return buf;
	}
	snprintf(buf, size, "%llu%c", (unsigned long long)(round_to(bytes, factor) / factor),
		 letters[i]);
	return buf;
}

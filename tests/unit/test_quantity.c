// SPDX-License-Identifier: GPL-2.0-or-later
/* Quantities: every unit, every way to get one wrong, and the forms that tables show. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "util/quantity.h"

#define UNTOUCHED 0xdeadbeefULL

struct parse_case {
	const char *text;
	int r;
	uint64_t value;
};

struct format_case {
	uint64_t value;
	const char *text;
};

static const struct parse_case durations[] = {
	{ "0s", 0, 0 },
	{ "250ms", 0, 250000000 },
	{ "2s", 0, 2000000000 },
	{ "2.4s", 0, 2400000000 },
	{ "10min", 0, 600000000000 },
	{ "1h", 0, 3600000000000 },
	{ "1.5h", 0, 5400000000000 },
	{ "17us", 0, 17000 },
	{ "1.123456789s", 0, 1123456789 },
	{ "0.0005us", 0, 0 },
	{ "007s", 0, 7000000000 },
	{ "9223372036.854775807s", 0, INT64_MAX },
	{ "9223372036.854775808s", 0, 1ULL << 63 },
	{ "9223372036.854775809s", -ERANGE, 0 },
	{ "2562048h", -ERANGE, 0 },
	{ "18446744073709551616us", -ERANGE, 0 },
	{ "99999999999999999999999999999999999999999999h", -ERANGE, 0 },
	{ "2", -EDOM, 0 },
	{ "2.5", -EDOM, 0 },
	{ "99999999999999999999999999", -EDOM, 0 },
	{ "", -EINVAL, 0 },
	{ "s", -EINVAL, 0 },
	{ "-1s", -EINVAL, 0 },
	{ "+1s", -EINVAL, 0 },
	{ " 1s", -EINVAL, 0 },
	{ "1 s", -EINVAL, 0 },
	{ "1s ", -EINVAL, 0 },
	{ "1S", -EINVAL, 0 },
	{ "1sec", -EINVAL, 0 },
	{ "1m", -EINVAL, 0 },
	{ "1d", -EINVAL, 0 },
	{ "1.s", -EINVAL, 0 },
	{ ".5s", -EINVAL, 0 },
	{ "1e3s", -EINVAL, 0 },
	{ "0x10s", -EINVAL, 0 },
	{ "1.5.5s", -EINVAL, 0 },
	{ "1.1234567890s", -EINVAL, 0 },
	{ "1h30min", -EINVAL, 0 },
	{ "512MiB", -EINVAL, 0 },
};

static const struct parse_case sizes[] = {
	{ "0B", 0, 0 },
	{ "4096B", 0, 4096 },
	{ "512KiB", 0, 524288 },
	{ "512MiB", 0, 536870912 },
	{ "1.5GiB", 0, 1610612736 },
	{ "1.1GiB", 0, 1181116006 },
	{ "2TiB", 0, 2199023255552 },
	{ "8388608TiB", 0, 1ULL << 63 },
	{ "8388609TiB", -ERANGE, 0 },
	{ "512", -EDOM, 0 },
	{ "512M", -EINVAL, 0 },
	{ "512MB", -EINVAL, 0 },
	{ "512mib", -EINVAL, 0 },
	{ "60%", -EINVAL, 0 },
	{ "-1B", -EINVAL, 0 },
};

static const struct parse_case percents[] = {
	{ "0%", 0, 0 },		  { "60%", 0, 600 },	  { "2.5%", 0, 25 },
	{ "2.50%", 0, 25 },	  { "100%", 0, 1000 },	  { "100.0%", 0, 1000 },
	{ "100.1%", -ERANGE, 0 }, { "101%", -ERANGE, 0 }, { "100.04%", -ERANGE, 0 },
	{ "2.55%", -EINVAL, 0 },  { "60", -EDOM, 0 },	  { "60 %", -EINVAL, 0 },
	{ "60%%", -EINVAL, 0 },	  { "%", -EINVAL, 0 },	  { "-1%", -EINVAL, 0 },
};

static const struct format_case duration_texts[] = {
	{ 0, "0ms" },
	{ 4, "0ms" },
	{ 500, "0.5us" },
	{ 64 * NS_PER_US, "64us" },
	{ 12 * NS_PER_MS, "12ms" },
	{ 41 * NS_PER_MS + 600 * NS_PER_US, "41.6ms" },
	{ 999 * NS_PER_MS + 999999, "1s" },
	{ NS_PER_SEC, "1s" },
	{ 1234567890, "1.23s" },
	{ 2400 * NS_PER_MS, "2.4s" },
	{ 10 * NS_PER_SEC + 10 * NS_PER_MS, "10s" },
	{ 52 * NS_PER_SEC, "52s" },
	{ 59990 * NS_PER_MS, "1min" },
	{ 60 * NS_PER_SEC, "1min" },
	{ 72 * NS_PER_SEC, "72s" },
	{ 90 * NS_PER_SEC, "90s" },
	{ 1000 * NS_PER_SEC, "16.7min" },
	{ 600 * NS_PER_SEC, "10min" },
	{ 3600 * NS_PER_SEC, "1h" },
	{ 5400 * NS_PER_SEC, "90min" },
	{ 3661 * NS_PER_SEC, "1.02h" },
	{ 26 * 3600 * NS_PER_SEC, "26h" },
	{ UINT64_MAX, "2562048h" },
};

static const struct format_case size_texts[] = {
	{ 0, "0B" },
	{ 512, "512B" },
	{ 1023, "1023B" },
	{ 1024, "1K" },
	{ 1536, "1.5K" },
	{ 6 << 20, "6M" },
	{ 412ULL << 20, "412M" },
	{ (1ULL << 30) + (100ULL << 20), "1.1G" },
	{ (1ULL << 20) - 1, "1M" },
	{ (10ULL << 20) - 1, "10M" },
	{ 1023ULL << 20, "1023M" },
	{ 5ULL << 40, "5T" },
	{ 1ULL << 62, "4194304T" },
	{ UINT64_MAX, "8388608T" },
};

static void check_parse(int (*parse)(const char *, uint64_t *), const struct parse_case *cases,
			size_t n)
{
	for (size_t i = 0; i < n; i++) {
		uint64_t value = UNTOUCHED;
		int r = parse(cases[i].text, &value);

		if (r != cases[i].r || value != (r ? UNTOUCHED : cases[i].value))
			fail_msg("'%s': %d, %llu", cases[i].text, r, (unsigned long long)value);
	}
}

static int parse_percent(const char *text, uint64_t *ret)
{
	uint32_t permille = (uint32_t)UNTOUCHED;
	int r = pile_quantity_parse_percent(text, &permille);

	*ret = permille;
	return r;
}

static void check_format(const char *(*format)(uint64_t, char *, size_t),
			 const struct format_case *cases, size_t n)
{
	char buf[32];

	for (size_t i = 0; i < n; i++)
		assert_string_equal(format(cases[i].value, buf, sizeof(buf)), cases[i].text);
}

static void test_parse_duration(void **state)
{
	(void)state;
	check_parse(pile_quantity_parse_duration, durations, ARRAY_LEN(durations));
}

static void test_parse_size(void **state)
{
	(void)state;
	check_parse(pile_quantity_parse_size, sizes, ARRAY_LEN(sizes));
}

static void test_parse_percent(void **state)
{
	(void)state;
	check_parse(parse_percent, percents, ARRAY_LEN(percents));
}

static void test_format_duration(void **state)
{
	(void)state;
	check_format(pile_quantity_format_duration, duration_texts, ARRAY_LEN(duration_texts));
}

static void test_format_size(void **state)
{
	(void)state;
	check_format(pile_quantity_format_size, size_texts, ARRAY_LEN(size_texts));
}

/* A small buffer is cut, terminated and returned. */
static void test_format_short_buffer(void **state)
{
	char buf[3];

	(void)state;
	assert_ptr_equal(pile_quantity_format_duration(2400 * NS_PER_MS, buf, sizeof(buf)), buf);
	assert_string_equal(buf, "2.");
	assert_string_equal(pile_quantity_format_size(412ULL << 20, buf, sizeof(buf)), "41");
}

/* Whatever is shown can be read back, and is within the half of the third digit. */
static void test_format_reads_back(void **state)
{
	char buf[32];
	uint64_t back;

	(void)state;
	for (uint64_t ns = NS_PER_US; ns < 1ULL << 62; ns += ns / 7 + 1) {
		pile_quantity_format_duration(ns, buf, sizeof(buf));
		assert_int_equal(pile_quantity_parse_duration(buf, &back), 0);
		if ((ns > back ? ns - back : back - ns) > ns / 100)
			fail_msg("%llu shown as %s", (unsigned long long)ns, buf);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parse_duration),
		cmocka_unit_test(test_parse_size),
		cmocka_unit_test(test_parse_percent),
		cmocka_unit_test(test_format_duration),
		cmocka_unit_test(test_format_size),
		cmocka_unit_test(test_format_short_buffer),
		cmocka_unit_test(test_format_reads_back),
	};

	return cmocka_run_group_tests_name("quantity", tests, NULL, NULL);
}

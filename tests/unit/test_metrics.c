// SPDX-License-Identifier: GPL-2.0-or-later
/* Prometheus text: names, values, escapes, the bound of 500 series. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "../integration/api_fixture.h"
#include "api/metrics.h"

static struct pile_snapshot_half half;

static int setup(void **state)
{
	(void)state;
	memset(&half, 0, sizeof(half));
	fixture_fill(&half);
	return 0;
}

static unsigned int series_count(const char *text)
{
	unsigned int n = 0;

	for (const char *line = text; *line; line = strchr(line, '\n') + 1)
		n += *line != '#';
	return n;
}

static void assert_has(const struct pile_text *text, const char *line)
{
	if (!strstr(text->data, line))
		fail_msg("%s is missing in:\n%s", line, text->data);
}

static void test_values(void **state)
{
	_cleanup_text_ struct pile_text text = { 0 };

	(void)state;
	pile_metrics_format(&half, &text);
	assert_false(text.failed);
	assert_has(&text, "\npileguard_enforcing 0\n");
	assert_has(&text, "\npileguard_ticks_total 108000\n");
	assert_has(&text, "\npileguard_tick_worst_gap_seconds 0.412000000\n");
	assert_has(&text, "\npileguard_tick_gap_seconds_bucket{le=\"0.15\"} 107996\n"
			  "pileguard_tick_gap_seconds_bucket{le=\"0.25\"} 107999\n"
			  "pileguard_tick_gap_seconds_bucket{le=\"0.5\"} 108000\n");
	assert_has(&text, "\npileguard_tick_gap_seconds_bucket{le=\"+Inf\"} 108000\n"
			  "pileguard_tick_gap_seconds_sum 10800.000000000\n"
			  "pileguard_tick_gap_seconds_count 108000\n");
	assert_has(&text, "\npileguard_self_test_success 1\n");
	assert_has(&text, "\npileguard_self_test_refuse_seconds 0.000200000\n");
	assert_has(&text, "\npileguard_group_requests_waiting{group=\"node-push\"} 212\n");
	assert_has(&text,
		   "\npileguard_group_oldest_waiting_seconds{group=\"node-push\"} 24.000000000\n");
	assert_has(&text, "\npileguard_group_risk_ratio{group=\"www\"} 1.780\n");
	assert_has(&text, "\npileguard_destination_breaker_state{group=\"www\",destination=\"10.9."
			  "0.2:3306\"} 1\n");
	assert_has(&text, "\npileguard_destination_established{group=\"nginx\",destination=\"[2001:"
			  "db8::1]:443\"} 4\n");
	assert_has(&text, "pileguard_policy_info{hash=\"3f9c21e0");
	assert_null(strstr(text.data, "\"other\""));
}

/* Each metric: HELP, TYPE, then its series in one run; counters end in _total; none twice. */
static void test_shape(void **state)
{
	_cleanup_text_ struct pile_text text = { 0 };
	char name[128] = "", type[16] = "", key[160];
	char *line, *save = NULL;

	(void)state;
	pile_metrics_format(&half, &text);
	for (line = strtok_r(text.data, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		if (sscanf(line, "# TYPE %127s %15s", name, type) == 2) {
			size_t n = strlen(name);
			bool total = n > 6 && strcmp(name + n - 6, "_total") == 0;

			assert_int_equal(strncmp(name, "pileguard_", 10), 0);
			assert_int_equal(total, strcmp(type, "counter") == 0);
		} else if (line[0] != '#') {
			snprintf(key, sizeof(key), "%.*s", (int)strcspn(line, "{ "), line);
			if (strcmp(type, "histogram") == 0) /* _bucket, _sum, _count */
				key[MIN(strlen(key), strlen(name))] = '\0';
			assert_string_equal(key, name);
		}
	}
}

static void test_escapes(void **state)
{
	_cleanup_text_ struct pile_text text = { 0 };

	(void)state;
	snprintf(half.groups[0].name, sizeof(half.groups[0].name), "a\"b\\c\nd\xff");
	pile_metrics_format(&half, &text);
	assert_has(&text, "{group=\"a\\\"b\\\\c\\nd?\"} 3\n");
}

/* All that a snapshot can hold, and one group whose name is that of what is summed up. */
static void fill_whole(void)
{
	fixture_group(&half, "other", "x.service")->sample.waiting = 1000;
	half.groups[half.n_groups - 1].configured = true;
	while (half.n_groups < PILE_GROUPS_MAX) {
		char name[PILE_NAME_MAX];

		snprintf(name, sizeof(name), "g%u", half.n_groups);
		fixture_group(&half, name, "x.service")->sample.opened = 10;
	}
	while (half.n_dependencies < PILE_SNAPSHOT_DEPENDENCIES) {
		half.dependencies[half.n_dependencies] = half.dependencies[1];
		half.dependencies[half.n_dependencies].sample.endpoint.port =
			(uint16_t)half.n_dependencies;
		half.dependencies[half.n_dependencies++].sample.silent = 2;
	}
	half.dependencies[100].sample.connecting = 30;
	half.dependencies[200].state = 1;
	half.dependencies[200].blocked = PILE_BLOCKED_OBSERVE;
	half.host.n_fingerprints = PILE_FINGERPRINTS_MAX;
	for (uint32_t i = 0; i < PILE_FINGERPRINTS_MAX; i++) {
		struct pile_snapshot_fingerprint *f = &half.host.fingerprints[i];

		snprintf(f->path, sizeof(f->path), "/etc/%u \"x\"", i);
		snprintf(f->sha256, sizeof(f->sha256), "0123456789abcde%u", i);
	}
}

static void test_no_more_than_500_series(void **state)
{
	_cleanup_text_ struct pile_text text = { 0 };

	(void)state;
	fill_whole();
	pile_metrics_format(&half, &text);
	assert_false(text.failed);
	printf("# %u series at most\n", series_count(text.data));
	assert_in_range(series_count(text.data), 400, PILE_METRICS_SERIES_MAX);
	assert_has(
		&text,
		"pileguard_fingerprint_info{path=\"/etc/7 \\\"x\\\"\",sha256=\"0123456789abcde7\"} 1\n");
	/* The sum is conserved: 124 groups of 10 and three with their own are there in all. */
	assert_has(&text, "pileguard_group_requests_opened_total{group=\"www\"} 41204\n");
	assert_has(&text, "pileguard_group_requests_opened_total{group=\"other\"} 1070\n");
	/* Those that wait, and those that are (or would be) refused, are among those that have their own. */
	assert_has(&text, "pileguard_destination_connecting{group=\"nginx\",destination=\"[2001:"
			  "db8::1]:100\"} 30\n");
	assert_has(&text, "pileguard_destination_breaker_state{group=\"nginx\",destination=\"[2001:"
			  "db8::1]:200\"} 3\n");
	assert_has(&text, "pileguard_destination_silent{group=\"other\",destination=\"other\"}");
}

static int name_compare(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Prometheus refuses an answer as a whole in which one series stands twice. */
static void test_no_series_twice(void **state)
{
	_cleanup_text_ struct pile_text text = { 0 };
	char *names[PILE_METRICS_SERIES_MAX], *save = NULL;
	size_t n = 0;

	(void)state;
	fill_whole();
	pile_metrics_format(&half, &text);
	assert_has(&text, "pileguard_group_requests_waiting{group=\"other\"} 1000\n");
	for (char *line = strtok_r(text.data, "\n", &save); line;
	     line = strtok_r(NULL, "\n", &save)) {
		if (line[0] == '#')
			continue;
		*strrchr(line, ' ') = '\0';
		assert_in_range(n, 0, PILE_METRICS_SERIES_MAX - 1);
		names[n++] = line;
	}
	qsort(names, n, sizeof(names[0]), name_compare);
	for (size_t i = 1; i < n; i++)
		assert_string_not_equal(names[i - 1], names[i]);
}

/* Prometheus' own opinion of all names, units and types. */
static void test_promtool(void **state)
{
	_cleanup_text_ struct pile_text text = { 0 };
	FILE *check;

	(void)state;
	if (access("/usr/bin/promtool", X_OK) != 0)
		skip(); /* tests/deps installs it */
	fill_whole();
	pile_metrics_format(&half, &text);
	check = popen("/usr/bin/promtool check metrics", "w");
	assert_non_null(check);
	assert_int_equal(fwrite(text.data, 1, text.len, check), text.len);
	assert_int_equal(pclose(check), 0); /* 3 for a warning */
}

#define SECRET "s3cret"
#define SECRET_PUT(field) snprintf(field, sizeof(field), "%s", SECRET)

/* Labels are names of groups and destinations, and what the host says of itself: no other text is shown. */
static void test_no_other_text_is_shown(void **state)
{
	static const char *const keys[] = { "group",  "destination", "version",	 "kernel",
					    "tier",   "hash",	     "revision", "path",
					    "sha256", "generation",  "source",	 "mode",
					    "le" };
	_cleanup_text_ struct pile_text text = { 0 };

	(void)state;
	SECRET_PUT(half.host.hostname);
	SECRET_PUT(half.host.missing);
	SECRET_PUT(half.host.selftest_failed);
	SECRET_PUT(half.host.policy_trouble);
	SECRET_PUT(half.groups[0].unit);
	SECRET_PUT(half.groups[0].cgroup);
	SECRET_PUT(half.groups[0].would_have);
	SECRET_PUT(half.listeners[0].endpoint.path);
	SECRET_PUT(half.listeners[0].blind);
	SECRET_PUT(half.workers[0].comm);
	SECRET_PUT(half.events[0].text);
	SECRET_PUT(half.explains[0].unit);
	SECRET_PUT(half.policy_text);
	pile_metrics_format(&half, &text);
	assert_null(strstr(text.data, SECRET));
	for (const char *at = text.data; (at = strpbrk(at, "{,")); at++) {
		size_t len = strspn(at + 1, "abcdefghijklmnopqrstuvwxyz_");
		bool known = false;

		if (strncmp(at + 1 + len, "=\"", 2) != 0)
			continue; /* a comma in a help text */
		for (size_t i = 0; i < ARRAY_LEN(keys); i++)
			known |= strlen(keys[i]) == len && strncmp(keys[i], at + 1, len) == 0;
		assert_true(known);
	}
}

static void test_empty_host(void **state)
{
	_cleanup_text_ struct pile_text text = { 0 };

	(void)state;
	memset(&half, 0, sizeof(half));
	pile_metrics_format(&half, &text);
	assert_false(text.failed);
	assert_null(strstr(text.data, "pileguard_group_"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_values, setup),
		cmocka_unit_test_setup(test_shape, setup),
		cmocka_unit_test_setup(test_escapes, setup),
		cmocka_unit_test_setup(test_no_more_than_500_series, setup),
		cmocka_unit_test_setup(test_no_series_twice, setup),
		cmocka_unit_test_setup(test_promtool, setup),
		cmocka_unit_test_setup(test_no_other_text_is_shown, setup),
		cmocka_unit_test_setup(test_empty_host, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

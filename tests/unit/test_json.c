// SPDX-License-Identifier: GPL-2.0-or-later
/* JSON bodies: always valid, whatever bytes the snapshot holds; the values that people and tools
 * rely on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <jansson.h>

#include "../integration/api_fixture.h"
#include "api/json.h"

typedef unsigned int render_fn(const struct pile_snapshot_half *half,
			       const struct pile_query *query, struct pile_text *ret);

static render_fn *const renderers[] = {
	pile_json_status, pile_json_groups,  pile_json_workers, pile_json_dependencies,
	pile_json_events, pile_json_explain, pile_json_policy,
};

static struct pile_snapshot_half half;

static int setup(void **state)
{
	(void)state;
	memset(&half, 0, sizeof(half));
	fixture_fill(&half);
	return 0;
}

/** Renders and parses; the caller json_decrefs. */
static json_t *rendered(render_fn *render, const struct pile_query *query, unsigned int wanted)
{
	_cleanup_text_ struct pile_text text = { 0 };
	json_error_t error;
	json_t *value;

	assert_int_equal(render(&half, query, &text), wanted);
	assert_false(text.failed);
	value = json_loadb(text.data, text.len, JSON_REJECT_DUPLICATES, &error);
	if (!value)
		fail_msg("%s at %d in %s", error.text, error.position, text.data);
	return value;
}

static void test_status(void **state)
{
	const struct pile_query query = { .rest = "", .now_ns = FIXTURE_NOW_NS + 12 * NS_PER_SEC };
	json_t *v = rendered(pile_json_status, &query, 200);
	const json_t *group = json_array_get(json_object_get(v, "groups"), 0);

	(void)state;
	assert_string_equal(json_string_value(json_object_get(v, "as_of")),
			    "2025-10-09T08:53:20.123Z");
	assert_true(json_real_value(json_object_get(v, "age_seconds")) == 12);
	assert_true(json_is_null(json_object_get(v, "missing")));
	assert_int_equal(json_array_size(json_object_get(v, "groups")), 3);
	assert_int_equal(json_array_size(json_object_get(v, "gates")), 1);
	assert_true(json_real_value(json_object_get(group, "risk_ratio")) == 1.78);
	assert_int_equal(json_array_size(json_object_get(group, "listeners")), 1);
	json_decref(v);
}

static void test_filters(void **state)
{
	struct pile_query query = { .rest = "", .group = "nginx" };
	json_t *v;

	(void)state;
	for (size_t i = 1; i <= 3; i++) {
		v = rendered(renderers[i], &query, 200);
		assert_int_equal(json_array_size(v), 1);
		json_decref(v);
	}
	query = (struct pile_query){ .rest = "", .since = 1 };
	v = rendered(pile_json_events, &query, 200);
	assert_int_equal(json_array_size(v), 1);
	json_decref(v);
}

static void test_explain(void **state)
{
	static const char *const absent[] = {
		"", "0", "18", "-17", "17 ", "017x", "99999999999999999999"
	};
	struct pile_query query = { .rest = "17" };
	json_t *v = rendered(pile_json_explain, &query, 200);

	(void)state;
	assert_string_equal(json_string_value(json_object_get(v, "opened_at")),
			    "2025-10-09T08:52:30.623Z");
	assert_true(json_is_null(json_object_get(v, "closed_at")));
	assert_true(json_real_value(json_object_get(v, "lasted_seconds")) == 49.5);
	assert_true(json_is_true(json_object_get(v, "acted")));
	json_decref(v);
	for (size_t i = 0; i < ARRAY_LEN(absent); i++) {
		query.rest = absent[i];
		v = rendered(pile_json_explain, &query, 404);
		assert_non_null(json_string_value(json_object_get(v, "error")));
		json_decref(v);
	}
}

/* Bytes that are no UTF-8, control characters, enum values out of every table, slots out of range.
 */
static void test_odd_bytes(void **state)
{
	const struct pile_query query = { .rest = "17" };

	(void)state;
	snprintf(half.groups[0].name, sizeof(half.groups[0].name), "a\"\\\x01\xff\xc3\x28");
	snprintf(half.workers[0].comm, sizeof(half.workers[0].comm), "\x1b[2J\xe2\x82");
	snprintf(half.host.hostname, sizeof(half.host.hostname), "\xf0\x9f");
	half.groups[1].workers_kind = half.groups[1].stage = half.host.mode = 999;
	half.dependencies[0].state = half.dependencies[0].blocked = 999;
	half.dependencies[1].sample.group = half.workers[1].group = UINT32_MAX;
	half.events[0].kind = half.explains[0].kind = 999;
	half.groups[0].exhaustion_ns = half.explains[0].why.exhaustion_ns = UINT64_MAX;
	half.realtime_ns = half.explains[0].opened_realtime_ns = UINT64_MAX;
	for (size_t i = 0; i < ARRAY_LEN(renderers); i++)
		json_decref(rendered(renderers[i], &query, 200));
}

static void test_empty_host(void **state)
{
	const struct pile_query query = { .rest = "1" };

	(void)state;
	memset(&half, 0, sizeof(half));
	for (size_t i = 0; i < ARRAY_LEN(renderers); i++)
		json_decref(rendered(renderers[i], &query,
				     renderers[i] == pile_json_explain ? 404 : 200));
}

static void test_event_line_is_one_line(void **state)
{
	_cleanup_text_ struct pile_text text = { 0 };

	(void)state;
	snprintf(half.events[0].text, sizeof(half.events[0].text), "two\nlines");
	pile_json_event_line(&half.events[0], &text);
	assert_ptr_equal(strchr(text.data, '\n'), text.data + text.len - 1);
}

static void test_text_has_an_upper_bound(void **state)
{
	_cleanup_text_ struct pile_text text = { 0 };
	static char block[65536];

	(void)state;
	for (int i = 0; i < 64; i++)
		pile_text_append(&text, block, sizeof(block));
	assert_true(text.failed);
	assert_true(text.len < PILE_TEXT_BYTES_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_status, setup),
		cmocka_unit_test_setup(test_filters, setup),
		cmocka_unit_test_setup(test_explain, setup),
		cmocka_unit_test_setup(test_odd_bytes, setup),
		cmocka_unit_test_setup(test_empty_host, setup),
		cmocka_unit_test_setup(test_event_line_is_one_line, setup),
		cmocka_unit_test_setup(test_text_has_an_upper_bound, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

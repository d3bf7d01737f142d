// SPDX-License-Identifier: GPL-2.0-or-later
/* The sentences, word for word, since people and alert rules read them; and short buffers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "../integration/api_fixture.h"
#include "record/explain_text.h"

static struct pile_intent intent_make(enum pile_intent_kind kind)
{
	struct pile_explain x = fixture_explain();
	struct pile_intent intent = {
		.kind = kind,
		.endpoint = x.endpoint,
		.explain_id = 17,
		.probe_every_ns = NS_PER_SEC,
		.refuse_errno = ECONNREFUSED,
		.why = x.why,
	};

	return intent;
}

static void assert_line(const struct pile_intent *intent, const char *group,
			const struct pile_explain *x, const char *wanted)
{
	char line[256];

	assert_string_equal(pile_explain_text_intent(intent, group, x, line, sizeof(line)), wanted);
}

static void test_open(void **state)
{
	struct pile_intent intent = intent_make(PILE_INTENT_BREAKER_OPEN);
	char line[256];

	(void)state;
	assert_line(
		&intent, "www", NULL,
		"www: 10.9.0.2:3306 is dead (41 connecting, oldest 2.4 s, no success for 2.5 s; "
		"memory gone in 5 s): connects refused. explain 17; undo: pileguardctl release www "
		"10.9.0.2:3306");
	intent.blocked = PILE_BLOCKED_OBSERVE;
	assert_line(
		&intent, "www", NULL,
		"www: 10.9.0.2:3306 is dead (41 connecting, oldest 2.4 s, no success for 2.5 s; "
		"memory gone in 5 s): would have refused connects (mode: observe). explain 17");
	intent.blocked = PILE_BLOCKED_NO;
	intent.why.risk_memory = false;
	intent.why.risk_pool = true;
	intent.why.pool_limit = 80;
	assert_line(
		&intent, "www", NULL,
		"www: 10.9.0.2:3306 is dead (41 connecting, oldest 2.4 s, no success for 2.5 s; "
		"44 wait on a pool of 80): connects refused. explain 17; undo: pileguardctl release www "
		"10.9.0.2:3306");
	intent.why.by_hand = true;
	assert_line(
		&intent, "www", NULL,
		"www: 10.9.0.2:3306 held by hand: connects refused. explain 17; undo: pileguardctl "
		"release www 10.9.0.2:3306");
	assert_string_equal(pile_explain_text_probing(&intent, "www", line, sizeof(line)),
			    "www: probing 10.9.0.2:3306 every 1.0 s. explain 17");
}

/* Decided by the loop in the kernel: what it cannot know is not told, and nothing is to be undone that is over. */
static void test_open_in_kernel(void **state)
{
	struct pile_intent intent = intent_make(PILE_INTENT_BREAKER_OPEN);
	struct pile_explain x = fixture_explain();
	char text[PILE_EXPLAIN_TEXT_MAX];

	(void)state;
	intent.why.in_kernel = x.why.in_kernel = true;
	assert_line(
		&intent, "www", NULL,
		"www: 10.9.0.2:3306 is dead (41 connecting, no success for 2.5 s; decided in the kernel, the guard "
		"did not run): connects refused. explain 17; undo: pileguardctl release www 10.9.0.2:3306");
	intent.over = true;
	assert_line(
		&intent, "www", NULL,
		"www: 10.9.0.2:3306 is dead (41 connecting, no success for 2.5 s; decided in the kernel, the guard "
		"did not run): connects were refused. explain 17");
	pile_explain_text_why(&x, text, sizeof(text));
	assert_non_null(strstr(text, "the guard itself did not run"));
	assert_non_null(strstr(text, "at risk by what came to wait"));
	assert_null(strstr(text, "gone in"));
	x.half_open_ns = x.flips = 0;
	x.admitted = 9;
	pile_explain_text_did(&x, text, sizeof(text));
	assert_non_null(strstr(text, ", let 9 through to find out"));
}

/* Names as long as they may be: number and hint are there, and no command that is cut. */
static void test_open_with_long_names(void **state)
{
	struct pile_intent intent = intent_make(PILE_INTENT_BREAKER_OPEN);
	char group[PILE_NAME_MAX], line[256], command[256];
	size_t shown = 0;

	(void)state;
	intent.endpoint = fixture_endpoint("[2001:db8:1111:2222:3333:4444:5555:6666]:65535");
	intent.explain_id = UINT32_MAX;
	intent.why.connecting = 99999;
	for (size_t n = 1; n < sizeof(group); n++) {
		memset(group, 'g', n);
		group[n] = '\0';
		pile_explain_text_intent(&intent, group, NULL, line, sizeof(line));
		snprintf(command, sizeof(command),
			 "explain 4294967295; undo: pileguardctl release %s "
			 "[2001:db8:1111:2222:3333:4444:5555:6666]:65535",
			 group);
		shown += strstr(line, command) != NULL;
		assert_true(strstr(line, command) ||
			    strstr(line, ". explain 4294967295; undo: see there"));
	}
	assert_in_range(shown, 1, sizeof(group) - 10); /* both kinds were tried */
}

static void test_allow_and_close(void **state)
{
	struct pile_intent intent = intent_make(PILE_INTENT_BREAKER_ALLOW);
	struct pile_explain x = fixture_explain();

	(void)state;
	intent.allow = 1;
	assert_line(
		&intent, "www", NULL,
		"www: 10.9.0.2:3306 answers the probe: 1 connect let through so far. explain 17");
	intent.kind = PILE_INTENT_BREAKER_CLOSE;
	intent.close_reason = PILE_CLOSE_ANSWERED;
	intent.outage_ns = 52 * NS_PER_SEC;
	x.half_open_ns = x.opened_ns + 50 * NS_PER_SEC;
	x.closed_ns = x.half_open_ns + 1600 * NS_PER_MS;
	assert_line(&intent, "www", &x,
		    "www: 10.9.0.2:3306 answered after 52 s: 1, 2, 4 ... all (1.6 s). explain 17 "
		    "closed");
	assert_line(&intent, "www", NULL,
		    "www: 10.9.0.2:3306 answered after 52 s: connects allowed again. explain 17 "
		    "closed");
	intent.blocked = PILE_BLOCKED_OBSERVE;
	assert_line(&intent, "www", &x,
		    "www: 10.9.0.2:3306 answered after 52 s: nothing was refused (mode: observe). "
		    "explain 17 closed");
	intent.blocked = PILE_BLOCKED_NO;
	intent.close_reason = PILE_CLOSE_RELEASED;
	assert_line(&intent, "www", &x,
		    "www: 10.9.0.2:3306: released by hand after 52 s: connects allowed again. "
		    "explain 17 closed");
	intent.kind = PILE_INTENT_BREAKER_RENEW;
	assert_line(&intent, "www", &x, "");
}

static void test_stage_and_network(void **state)
{
	struct pile_intent intent = intent_make(PILE_INTENT_STAGE);

	(void)state;
	intent.why.stage_to = PILE_STAGE_SUSPECT;
	intent.why.excess = 39;
	intent.why.risk_memory = false;
	assert_line(&intent, "www", NULL,
		    "www: suspect (was calm): 44 requests wait, 39 more than learned, 32 opened/s; "
		    "recorded only. explain 17");
	intent.kind = PILE_INTENT_NETWORK;
	intent.why.dead_destinations = 7;
	assert_line(
		&intent, NULL, NULL,
		"host: 7 addresses are dead or silent at once: our own network, not theirs; no further one is "
		"refused. explain 17");
	intent.kind = PILE_INTENT_NETWORK_OVER;
	assert_line(&intent, "", NULL, "host: our own network works again. explain 17 closed");
}

static void test_own_connects(void **state)
{
	struct pile_intent intent = intent_make(PILE_INTENT_PROBE);

	(void)state;
	intent.why.connecting = 6;
	assert_line(
		&intent, "www", NULL,
		"www: 6 connects to 10.9.0.2:3306 stuck, and none sends a SYN that could tell: the guard "
		"connects there once by itself");
	intent.kind = PILE_INTENT_PROBE_ANSWERED;
	assert_line(
		&intent, "www", NULL,
		"www: 10.9.0.2:3306 answered the guard's own connect: not dead, nothing is refused");
}

#define SENTENCE(form, x, wanted)                                                             \
	do {                                                                                  \
		char _buf[PILE_EXPLAIN_TEXT_MAX];                                             \
		assert_string_equal(pile_explain_text_##form(x, _buf, sizeof(_buf)), wanted); \
	} while (0)

static void test_explain_that_acts(void **state)
{
	struct pile_explain x = fixture_explain();

	(void)state;
	SENTENCE(why, &x,
		 "dead: 41 connecting (38 for longer than 500 ms, oldest 2.4 s), none established "
		 "for 2.5 s; "
		 "93.1 % of www's 44 waiting requests. at risk: 32 requests/s x 6.0 MiB each, "
		 "growing 208 MiB/s, "
		 "1.1 GiB free: gone in 5.4 s (limit 15 s).");
	SENTENCE(did, &x,
		 "refused 1,204 connects, ended 41 waits; saved about 12,380 s of waiting and 1.9 "
		 "GiB of memory; "
		 "probed 49 times; first effect 3 ms after the decision");
	SENTENCE(did_not, &x, "refuse clients or restart the service (this version cannot)");
	SENTENCE(
		cost, &x,
		"1,204 connects failed with ECONNREFUSED at once, 41 pending ones with ECONNABORTED, each "
		"sooner than its own time-out (taken to be 10 s)");
	SENTENCE(undo, &x,
		 "closes by itself at the first success.  now: sudo pileguardctl release www "
		 "10.9.0.2:3306  "
		 "everything: sudo pileguardctl disarm");
	SENTENCE(command, &x, "pileguardctl release www 10.9.0.2:3306");
	assert_string_equal(pile_explain_text_state(&x), "open");
	x.half_open_ns = x.opened_ns + 1;
	assert_string_equal(pile_explain_text_state(&x), "half open");
	x.closed_ns = x.opened_ns + 52 * NS_PER_SEC;
	x.close_reason = PILE_CLOSE_ANSWERED;
	assert_string_equal(pile_explain_text_state(&x), "closed");
	SENTENCE(undo, &x, "nothing to undo: closed after 52 s (the destination answered again)");
	SENTENCE(command, &x, "");
}

static void test_explain_that_only_watched(void **state)
{
	struct pile_explain x = fixture_explain();

	(void)state;
	x.blocked = PILE_BLOCKED_RUNG;
	x.refused = x.ended = 0;
	SENTENCE(did, &x,
		 "nothing: would have refused connects to 10.9.0.2:3306 and ended the 41 pending "
		 "ones "
		 "(the group's enforce list does not name fail_fast)");
	SENTENCE(did_not, &x,
		 "refuse connects or end waits (the group's enforce list does not name fail_fast); "
		 "refuse clients or restart the service (this version cannot)");
	SENTENCE(cost, &x, "none: no connect failed because of this");
	SENTENCE(undo, &x, "nothing to undo: nothing was changed");
	assert_string_equal(pile_explain_text_state(&x), "would be open");
}

static void test_numbers(void **state)
{
	static const struct {
		uint64_t ns;
		const char *text;
	} durations[] = {
		{ 0, "0 ms" },
		{ 480 * NS_PER_MS, "480 ms" },
		{ NS_PER_SEC, "1.0 s" },
		{ 2449 * NS_PER_MS, "2.4 s" },
		{ 9949 * NS_PER_MS, "9.9 s" },
		{ 9960 * NS_PER_MS, "10 s" },
		{ 179 * NS_PER_SEC, "179 s" },
		{ 900 * NS_PER_SEC, "15 min" },
		{ 14400 * NS_PER_SEC, "4 h" },
		{ UINT64_MAX, "never" },
		{ UINT64_MAX - 1, "5124095 h" },
	};
	static const struct {
		uint64_t bytes;
		const char *text;
	} sizes[] = {
		{ 0, "0 B" },
		{ 1023, "1023 B" },
		{ 1024, "1.0 KiB" },
		{ 6ULL << 20, "6.0 MiB" },
		{ 208ULL << 20, "208 MiB" },
		{ 1126ULL << 20, "1.1 GiB" },
		{ 1ULL << 40, "1.0 TiB" },
		{ UINT64_MAX, "16777216 TiB" },
	};
	char buf[64];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(durations); i++)
		assert_string_equal(pile_explain_text_duration(durations[i].ns, buf, sizeof(buf)),
				    durations[i].text);
	for (size_t i = 0; i < ARRAY_LEN(sizes); i++)
		assert_string_equal(pile_explain_text_bytes(sizes[i].bytes, buf, sizeof(buf)),
				    sizes[i].text);
	assert_string_equal(pile_explain_text_count(0, buf, sizeof(buf)), "0");
	assert_string_equal(pile_explain_text_count(999, buf, sizeof(buf)), "999");
	assert_string_equal(pile_explain_text_count(1204, buf, sizeof(buf)), "1,204");
	assert_string_equal(pile_explain_text_count(UINT64_MAX, buf, sizeof(buf)),
			    "18,446,744,073,709,551,615");
}

/* Any size: cut, terminated, nothing written behind (the sanitizer looks). Any enum value: some
 * words. */
static void test_short_buffers_and_odd_values(void **state)
{
	struct pile_intent intent;
	struct pile_explain x;

	(void)state;
	for (unsigned int fill = 0; fill < 2; fill++) {
		memset(&intent, fill ? 0x7f : 0, sizeof(intent));
		memset(&x, fill ? 0x7f : 0, sizeof(x));
		intent.endpoint = x.endpoint = fixture_endpoint("/run/x.sock");
		memset(&intent.why.risk_memory, fill, 4);
		memset(&x.why.risk_memory, fill, 4);
		x.group[PILE_NAME_MAX - 1] = '\0';
		for (size_t size = 0; size < 64; size++) {
			_cleanup_free_ char *buf = malloc(size + 1);

			for (int kind = -1; kind < 12; kind++) {
				intent.kind = (enum pile_intent_kind)kind;
				pile_explain_text_intent(&intent, "www", &x, buf, size);
				x.kind = (uint32_t)kind;
				pile_explain_text_why(&x, buf, size);
				pile_explain_text_did(&x, buf, size);
				pile_explain_text_did_not(&x, buf, size);
				pile_explain_text_cost(&x, buf, size);
				pile_explain_text_undo(&x, buf, size);
				assert_true(size == 0 || strlen(buf) < size);
			}
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_open),
		cmocka_unit_test(test_open_in_kernel),
		cmocka_unit_test(test_open_with_long_names),
		cmocka_unit_test(test_allow_and_close),
		cmocka_unit_test(test_stage_and_network),
		cmocka_unit_test(test_own_connects),
		cmocka_unit_test(test_explain_that_acts),
		cmocka_unit_test(test_explain_that_only_watched),
		cmocka_unit_test(test_numbers),
		cmocka_unit_test(test_short_buffers_and_odd_values),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

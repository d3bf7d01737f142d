// SPDX-License-Identifier: GPL-2.0-or-later
/* Endpoints: text and back, equality across the two spellings of IPv4, and patterns. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "util/endpoint.h"

struct good_case {
	const char *text;
	bool port_optional;
	uint8_t family;
	uint16_t port;
	const char *canonical; /* NULL: as written */
};

struct match_case {
	const char *pattern, *text;
	bool matches;
};

static const struct good_case good[] = {
	{ "10.9.0.2:3306", false, AF_INET, 3306, NULL },
	{ "0.0.0.0:80", false, AF_INET, 80, NULL },
	{ "[2001:db8::1]:443", false, AF_INET6, 443, NULL },
	{ "[2001:DB8:0::1]:443", false, AF_INET6, 443, "[2001:db8::1]:443" },
	{ "[::ffff:10.9.0.2]:3306", false, AF_INET, 3306, "10.9.0.2:3306" },
	{ ":9000", false, AF_INET6, 9000, NULL },
	{ "[::]:9000", false, AF_INET6, 9000, ":9000" },
	{ ":65535", false, AF_INET6, 65535, NULL },
	{ "10.9.0.2", true, AF_INET, 0, NULL },
	{ "2001:db8::1", true, AF_INET6, 0, NULL },
	{ "[2001:db8::1]", true, AF_INET6, 0, "2001:db8::1" },
	{ "::", true, AF_INET6, 0, NULL },
	{ "::1", true, AF_INET6, 0, NULL },
	{ "::ffff:10.9.0.2", true, AF_INET, 0, "10.9.0.2" },
	{ "/run/php/php8.2-fpm.sock", false, AF_UNIX, 0, NULL },
	{ "@abstract", false, AF_UNIX, 0, NULL },
	{ "/", false, 0, 0, NULL },
	{ "@", false, 0, 0, NULL },
	{ "/run/", false, 0, 0, NULL },
	{ "run/x.sock", false, 0, 0, NULL },
	{ "/run/a\nb", false, 0, 0, NULL },
	{ "", false, 0, 0, NULL },
	{ "", true, 0, 0, NULL },
	{ ":", false, 0, 0, NULL },
	{ ":0", false, 0, 0, NULL },
	{ ":65536", false, 0, 0, NULL },
	{ ":080000", false, 0, 0, NULL },
	{ ": 80", false, 0, 0, NULL },
	{ ":+80", false, 0, 0, NULL },
	{ "10.9.0.2", false, 0, 0, NULL },
	{ "10.9.0.2:", false, 0, 0, NULL },
	{ "10.9.0.2:", true, 0, 0, NULL },
	{ "10.9.0:80", false, 0, 0, NULL },
	{ "10.9.0.256:80", false, 0, 0, NULL },
	{ "10.9.0.2:80x", false, 0, 0, NULL },
	{ "localhost:80", false, 0, 0, NULL },
	{ "db.example.org", true, 0, 0, NULL },
	{ "2001:db8::1", false, 0, 0, NULL },
	{ "[2001:db8::1]", false, 0, 0, NULL },
	{ "[2001:db8::1]443", false, 0, 0, NULL },
	{ "[2001:db8::1", true, 0, 0, NULL },
	{ "[10.9.0.2]:80", false, 0, 0, NULL },
	{ "[fe80::1%eth0]:80", false, 0, 0, NULL },
	{ "[]:80", false, 0, 0, NULL },
	{ "*:80", false, 0, 0, NULL },
	{ "[1111:2222:3333:4444:5555:6666:7777:8888:9999:aaaa:bbbb:cccc]:80", false, 0, 0, NULL },
};

static const struct match_case matches[] = {
	{ "10.9.0.2:3306", "10.9.0.2:3306", true },
	{ "10.9.0.2:3306", "[::ffff:10.9.0.2]:3306", true },
	{ "10.9.0.2:3306", "10.9.0.2:3307", false },
	{ "10.9.0.2", "10.9.0.2:3307", true },
	{ "10.9.0.2", "10.9.0.3:3307", false },
	{ ":3306", "10.9.0.2:3306", true },
	{ ":3306", "[2001:db8::1]:3306", true },
	{ ":3306", "[2001:db8::1]:3307", false },
	{ "::", "10.9.0.2:1", true },
	{ "0.0.0.0:80", "10.9.0.2:80", true },
	{ "0.0.0.0:80", "[2001:db8::1]:80", false },
	{ "/run/a.sock", "/run/a.sock", true },
	{ "/run/a.sock", "/run/b.sock", false },
	{ "::", "/run/b.sock", false },
	{ "/run/b.sock", "10.9.0.2:80", false },
};

static void test_parse(void **state)
{
	static const struct pile_endpoint untouched = { .pad = 7 };
	char buf[PILE_ENDPOINT_TEXT_MAX];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		const struct good_case *c = &good[i];
		struct pile_endpoint ep = untouched;
		int r = pile_endpoint_parse(c->text, c->port_optional, &ep);

		if (r != (c->family ? 0 : -EINVAL))
			fail_msg("'%s': %d", c->text, r);
		if (r < 0) {
			assert_memory_equal(&ep, &untouched, sizeof(ep));
			continue;
		}
		assert_int_equal(ep.family, c->family);
		assert_int_equal(ep.port, c->port);
		assert_string_equal(pile_endpoint_format(&ep, buf, sizeof(buf)),
				    c->canonical ? c->canonical : c->text);
	}
}

/* parse(format(x)) == x, for all that parses. */
static void test_round_trip(void **state)
{
	char buf[PILE_ENDPOINT_TEXT_MAX];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		struct pile_endpoint a, b;

		if (pile_endpoint_parse(good[i].text, good[i].port_optional, &a) < 0)
			continue;
		pile_endpoint_format(&a, buf, sizeof(buf));
		assert_int_equal(pile_endpoint_parse(buf, good[i].port_optional, &b), 0);
		assert_memory_equal(&a, &b, sizeof(a));
		assert_true(pile_endpoint_equal(&a, &b));
	}
}

static void test_path_length(void **state)
{
	char path[PILE_UNIX_PATH_MAX + 1], buf[PILE_ENDPOINT_TEXT_MAX];
	struct pile_endpoint ep;

	(void)state;
	memset(path, 'a', sizeof(path));
	path[0] = '/';
	path[PILE_UNIX_PATH_MAX] = '\0';
	assert_int_equal(pile_endpoint_parse(path, false, &ep), -EINVAL);
	path[PILE_UNIX_PATH_MAX - 1] = '\0';
	assert_int_equal(pile_endpoint_parse(path, false, &ep), 0);
	assert_string_equal(pile_endpoint_format(&ep, buf, sizeof(buf)), path);
}

static void test_equal(void **state)
{
	struct pile_endpoint v4, mapped, other, path, none = { 0 };
	char buf[8];

	(void)state;
	assert_int_equal(pile_endpoint_parse("10.9.0.2:80", false, &v4), 0);
	assert_int_equal(pile_endpoint_parse("10.9.0.2:81", false, &other), 0);
	assert_int_equal(pile_endpoint_parse("/run/a", false, &path), 0);
	mapped = v4;
	mapped.family = AF_INET6; /* as a sensor may report it */
	assert_true(pile_endpoint_equal(&v4, &mapped));
	assert_false(pile_endpoint_equal(&v4, &other));
	assert_false(pile_endpoint_equal(&v4, &path));
	assert_false(pile_endpoint_equal(&none, &path));
	assert_true(pile_endpoint_equal(&none, &none));
	assert_false(pile_endpoint_matches(&none, &v4));
	assert_false(pile_endpoint_matches(&v4, &none));
	assert_string_equal(pile_endpoint_format(&none, buf, sizeof(buf)), "");
}

static void test_matches(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(matches); i++) {
		struct pile_endpoint pattern, ep;

		assert_int_equal(pile_endpoint_parse(matches[i].pattern, true, &pattern), 0);
		assert_int_equal(pile_endpoint_parse(matches[i].text, false, &ep), 0);
		if (pile_endpoint_matches(&pattern, &ep) != matches[i].matches)
			fail_msg("%s against %s", matches[i].pattern, matches[i].text);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parse),	    cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_path_length), cmocka_unit_test(test_equal),
		cmocka_unit_test(test_matches),
	};

	return cmocka_run_group_tests_name("endpoint", tests, NULL, NULL);
}

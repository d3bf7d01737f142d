// SPDX-License-Identifier: GPL-2.0-or-later
/* Whose dead destinations say "our own network": not those that anybody with a login can stage. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <string.h>

#include "decide/decide.h"
#include "util/endpoint.h"
#include "util/macro.h"

#define NAMED 0
#define FOUND 1
#define NOW_NS (100 * NS_PER_SEC)
#define DEAD_AFTER_NS (2400 * NS_PER_MS)

static struct pile_proofs proofs;
static struct pile_sample sample;
static struct pile_network network;

static int fresh(void **state)
{
	(void)state;
	memset(&proofs, 0, sizeof(proofs));
	memset(&sample, 0, sizeof(sample));
	pile_network_init(&network);
	network.watched_ns = NS_PER_SEC; /* nobody has succeeded for 99 s */
	sample.now_ns = NOW_NS;
	return 0;
}

static void dead_add(uint32_t group, const char *endpoint, uint64_t established)
{
	struct pile_proof *p = proofs.table;

	while (p->used)
		p++;
	*p = (struct pile_proof){
		.used = true, .group = group, .established = established, .dead = true
	};
	assert_int_equal(pile_endpoint_parse(endpoint, false, &p->endpoint), 0);
}

static int update(bool named_counts, bool found_counts)
{
	bool counted[PILE_GROUPS_MAX] = { [NAMED] = named_counts, [FOUND] = found_counts };

	return pile_network_update(&network, &proofs, &sample, counted, DEAD_AFTER_NS);
}

static void three_of_a_named_group_tell(void **state)
{
	(void)state;
	dead_add(NAMED, "10.9.0.2:3306", 5);
	dead_add(NAMED, "10.9.0.3:3306", 5);
	assert_int_equal(update(true, false), 0);
	dead_add(NAMED, "10.9.0.4:3306", 5);
	assert_int_equal(update(true, false), 1);
}

static void what_a_login_can_stage_does_not(void **state)
{
	(void)state;
	dead_add(NAMED, "10.9.0.2:3306", 5);
	dead_add(FOUND, "192.0.2.1:80", 5);
	dead_add(FOUND, "192.0.2.2:80", 5);
	dead_add(FOUND, "192.0.2.3:80", 5);
	assert_int_equal(update(true, false), 0);
	assert_false(network.forming);
	assert_int_equal(update(true, true), 1); /* red: as it was */
}

/* An API that fetches what its clients name, a mail-out: three addresses where nobody ever answered. */
static void what_never_answered_does_not(void **state)
{
	(void)state;
	dead_add(NAMED, "10.9.0.2:3306", 5);
	dead_add(NAMED, "192.0.2.1:25", 0);
	dead_add(NAMED, "192.0.2.2:25", 0);
	dead_add(NAMED, "192.0.2.3:25", 0);
	assert_int_equal(update(true, false), 0);
	assert_false(network.forming);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(three_of_a_named_group_tell, fresh),
		cmocka_unit_test_setup(what_a_login_can_stage_does_not, fresh),
		cmocka_unit_test_setup(what_never_answered_does_not, fresh),
	};

	return cmocka_run_group_tests_name("network", tests, NULL, NULL);
}

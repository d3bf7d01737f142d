// SPDX-License-Identifier: GPL-2.0-or-later
/* Whose dead destinations say "our own network": not those that anybody with a login can stage. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <string.h>

#include "breaker_fixture.h"
#include "util/endpoint.h"

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
	proofs.n_places = (uint32_t)(p - proofs.table) + 1;
	assert_int_equal(pile_endpoint_parse(endpoint, false, &p->endpoint), 0);
}

static void database_and_three_dead(uint32_t group, uint64_t established)
{
	static const char *const elsewhere[] = { "192.0.2.1:80", "192.0.2.2:80", "192.0.2.3:80" };

	dead_add(NAMED, "10.9.0.2:3306", 5);
	for (size_t i = 0; i < ARRAY_LEN(elsewhere); i++)
		dead_add(group, elsewhere[i], established);
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
	database_and_three_dead(FOUND, 5);
	assert_int_equal(update(true, false), 0);
	assert_false(network.forming);
	assert_int_equal(update(true, true), 1); /* red: as it was */
}

/* An API that fetches what its clients name, a mail-out: three addresses where nobody ever answered. */
static void what_never_answered_does_not(void **state)
{
	(void)state;
	database_and_three_dead(NAMED, 0);
	assert_int_equal(update(true, false), 0);
	assert_false(network.forming);
}

/* A found service's three destinations die with the named group's one: everything as decide sees it. */
static void found_group_dies_too(struct fixture *f, bool named)
{
	f->view.groups[NAMED].named = named;
	f->view.n_groups = MAX(FOUND, NAMED) + 1;
	f->view.groups[FOUND].used = true;
	pile_policy_group_init(&f->view.groups[FOUND].config, "ssh");
	f->sample.groups[FOUND] = f->sample.groups[NAMED];
	f->sample.n_dependencies = 4;
	f->hole = true;
}

static bool opens_or_names(struct fixture *f, bool *ret_network)
{
	for (int i = 0; i < 40; i++) {
		for (uint32_t d = 1; d < 4; d++) {
			f->sample.dependencies[d] = *dep(f);
			f->sample.dependencies[d].group = FOUND;
			f->sample.dependencies[d].endpoint.addr[15] = (uint8_t)(10 + d);
		}
		tick(f);
		*ret_network |= said(f, PILE_INTENT_NETWORK) != NULL;
		for (uint32_t n = 0; n < f->n; n++)
			if (f->intents[n].kind == PILE_INTENT_BREAKER_OPEN &&
			    f->intents[n].group == NAMED && !f->intents[n].blocked)
				return true;
	}
	return false;
}

static void a_named_group_opens_all_the_same(void **state)
{
	bool own_network = false;

	found_group_dies_too(*state, true);
	assert_true(opens_or_names(*state, &own_network));
	assert_false(own_network);
}

/* Nobody is named: what is found is all there is to tell by. */
static void where_nobody_is_named_all_count(void **state)
{
	bool own_network = false;

	found_group_dies_too(*state, false);
	assert_false(opens_or_names(*state, &own_network));
	assert_true(own_network);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(three_of_a_named_group_tell, fresh),
		cmocka_unit_test_setup(what_a_login_can_stage_does_not, fresh),
		cmocka_unit_test_setup(what_never_answered_does_not, fresh),
		T(a_named_group_opens_all_the_same),
		T(where_nobody_is_named_all_count),
	};

	return cmocka_run_group_tests_name("network", tests, NULL, NULL);
}

// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * rules_compare.c: the hard rules, compiled for the host and into a BPF program, given the same inputs: every
 * verdict and every byte of the kept state must be the same. `rules_compare OBJECT [CASES]`: exit status 0 when they are.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rules_case.h"

#define MS 1000000ULL

static pile_u64 some(pile_u64 below)
{
	return (((pile_u64)random() << 31) ^ (pile_u64)random()) % below;
}

static void load_fill(struct pile_rule_load *load, pile_u64 now_ns)
{
	load->used.bytes = some(4) ? some(1ULL << 33) : 0;
	load->used.at_ns = now_ns - some(1500 * MS);
	load->waiting = (pile_u32)some(2000);
}

/* The next look at a destination: mostly a tick later with more connects, now and then a success, a pause, nonsense. */
static void next_input(struct rules_case *c, long i)
{
	struct pile_rule_input *in = &c->in;

	in->now_ns += some(20) ? 100 * MS + some(30 * MS) : some(4000 * MS);
	in->started += some(8);
	if (some(3))
		in->last_started_ns = in->last_syn_ns = in->now_ns - some(100 * MS);
	else if (some(2))
		in->last_syn_ns = in->now_ns - some(100 * MS);
	if (!some(40))
		in->ended += some(in->started - in->ended + 1);
	if (!some(80))
		in->alive_ns = in->now_ns - some(100 * MS);
	in->waiting = (pile_u32)some(some(2) ? 2000 : 40);
	in->workers = some(2) ? (pile_u32)some(300) : 0;
	in->dead_after_ns = some(2) ? 2400 * MS : 1000 * MS + some(8000 * MS);
	in->always = some(2);
	in->watched = some(2);
	c->rule = (struct pile_bpf_rule){
		.always = !some(8),
		.pool_limit = some(3) ? 0 : (pile_u32)some(500),
		.waiting = (pile_u32)some(100),
		.free_bytes = some(1ULL << 40),
		.request_bytes = some(1ULL << 26),
	};
	load_fill(&c->then, in->now_ns - 1000 * MS);
	load_fill(&c->now, in->now_ns);
	c->rule.used_bytes = some(4) ? c->then.used.bytes : 0;
	c->span_ms = some(1200);
	if (i % 400)
		return;
	/* another destination; sometimes one whose totals make no sense */
	memset(&c->state, 0, sizeof(c->state));
	in->started = some(1000);
	in->ended = some(2) ? some(in->started + 1) : some(3000);
}

static long compare(int prog_fd, long cases, long *ret_dead, long *ret_risk)
{
	struct rules_case host = { .in.now_ns = 5000000 * MS }, kernel;
	LIBBPF_OPTS(bpf_test_run_opts, opts, .ctx_in = &kernel, .ctx_size_in = sizeof(kernel));

	for (long i = 0; i < cases; i++) {
		next_input(&host, i);
		kernel = host;
		rules_apply(&host);
		if (bpf_prog_test_run_opts(prog_fd, &opts) != 0)
			return i;
		if (memcmp(&host, &kernel, sizeof(host)) != 0)
			return i;
		*ret_dead += host.verdict == PILE_RULE_DEAD;
		*ret_risk += host.risk;
	}
	return cases;
}

int main(int argc, char **argv)
{
	struct bpf_object *obj = bpf_object__open_file(argv[1], NULL);
	long cases = argc > 2 ? atol(argv[2]) : 100000, same, dead = 0, risk = 0;
	struct bpf_program *prog;

	if (!obj || bpf_object__load(obj) < 0) {
		printf("the rules do not load\n");
		return 1;
	}
	prog = bpf_object__find_program_by_name(obj, "rules_run");
	srandom(1);
	same = compare(bpf_program__fd(prog), cases, &dead, &risk);
	/* with nobody dead, or nobody or everybody at risk, nothing was compared */
	printf("the same in %ld of %ld cases, %ld of them dead, %ld at risk\n", same, cases, dead,
	       risk);
	bpf_object__close(obj);
	return same != cases || dead <= cases / 1000 || risk <= cases / 10 ||
	       risk >= cases * 9 / 10;
}

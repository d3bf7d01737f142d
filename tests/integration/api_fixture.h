/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * api_fixture.h: a snapshot made by hand, shared by the unit tests and the api harness.
 * The numbers are those of product.md's first five minutes, so that the tables can be compared with
 * it.
 */
#pragma once

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "api/snapshot.h"
#include "util/macro.h"

/* 31 years after boot: no test machine is older, so that age_seconds is 0. */
#define FIXTURE_NOW_NS (1000000000 * NS_PER_SEC)
#define FIXTURE_REALTIME_NS (1760000000ULL * NS_PER_SEC + 123 * NS_PER_MS)

static inline struct pile_endpoint fixture_endpoint(const char *text)
{
	struct pile_endpoint endpoint = { 0 };

	if (pile_endpoint_parse(text, false, &endpoint) != 0)
		abort();
	return endpoint;
}

static inline void fixture_host(struct pile_snapshot_host *h)
{
	snprintf(h->hostname, sizeof(h->hostname), "api-17");
	snprintf(h->kernel, sizeof(h->kernel), "6.1.0-56");
	snprintf(h->version, sizeof(h->version), "1.0");
	snprintf(h->tier, sizeof(h->tier), "B");
	h->started_ns = FIXTURE_NOW_NS - 3 * 3600 * NS_PER_SEC;
	h->started_realtime_ns = FIXTURE_REALTIME_NS - 3 * 3600 * NS_PER_SEC;
	h->n_cpus = 2;
	h->memory_total_bytes = 1536ULL << 20;
	h->memory_available_bytes = 1126ULL << 20;
	snprintf(h->policy_source, sizeof(h->policy_source), "built in");
	snprintf(h->policy_hash, sizeof(h->policy_hash),
		 "3f9c21e0a1b2c3d4e5f60718293a4b5c6d7e8f901a2b3c4d5e6f708192a3b4c5");
	h->policy_generation = 3;
	h->policy_committed_realtime_ns = FIXTURE_REALTIME_NS - 3600 * NS_PER_SEC;
	h->reloads = 2;
	h->ticks = 108000;
	h->ticks_late = 1;
	h->worst_gap_ns = 412 * NS_PER_MS;
	h->tick_cost_ns = 180 * NS_PER_US;
	h->gaps[0] = 107996;
	h->gaps[1] = 3;
	h->gaps[2] = 1;
	h->gaps_sum_ns = 10800 * NS_PER_SEC;
	h->selftest_passed = true;
	h->selftest_ns = FIXTURE_NOW_NS - 20 * NS_PER_SEC;
	h->selftest_realtime_ns = FIXTURE_REALTIME_NS - 20 * NS_PER_SEC;
	h->selftest_refuse_ns = 200 * NS_PER_US;
	h->selftest_end_ns = 900 * NS_PER_US;
	h->sockets_followed = 221;
	h->guard_cpu_ns = 21 * NS_PER_SEC;
	h->guard_rss_bytes = 7ULL << 20;
	h->opened_total = 1;
	h->refused_total = 1204;
	h->ended_total = 41;
	h->would_open_total = 2;
}

static inline struct pile_snapshot_group *fixture_group(struct pile_snapshot_half *half,
							const char *name, const char *unit)
{
	struct pile_snapshot_group *g = &half->groups[half->n_groups++];

	memset(g, 0, sizeof(*g));
	snprintf(g->name, sizeof(g->name), "%s", name);
	snprintf(g->unit, sizeof(g->unit), "%s", unit);
	snprintf(g->cgroup, sizeof(g->cgroup), "/system.slice/%.200s", unit);
	g->sample.used = g->sample.present = true;
	g->exhaustion_ns = g->leak_left_ns = UINT64_MAX;
	g->free_bytes = 1126ULL << 20;
	g->gate_ready = true;
	return g;
}

/* Placed, and held down. */
static inline void fixture_placed(struct pile_snapshot_half *half)
{
	struct pile_snapshot_group *g = fixture_group(half, "node-push", "node-push.service");

	g->matched = g->place = true;
	g->inside = g->outside = 1;
	snprintf(g->outside_why, sizeof(g->outside_why), "another manager's: observed only");
	g->look_late_s = 42;
	g->learned_long_poll = true;
	g->risk_milli = 100;
	g->w99 = 230;
	g->sample.opened = 9000;
	g->sample.answered = 8788;
	g->sample.waiting = 212;
	g->sample.age[PILE_WHEEL_SLOTS] = 212;
	g->sample.oldest_ns = 24 * NS_PER_SEC;
	g->sample.p50_ns = 24 * NS_PER_SEC;
	g->sample.p99_ns = 25 * NS_PER_SEC;
	g->sample.workers = 1;
	g->sample.memory_bytes = 180ULL << 20;
	g->stop_explain_id = 21;
	g->stop_down = true;
	g->stop_left_ns = 95 * NS_PER_SEC;
}

static inline void fixture_groups(struct pile_snapshot_half *half)
{
	struct pile_snapshot_group *g = fixture_group(half, "www", "php8.2-fpm.service");

	g->configured = true;
	g->workers_kind = PILE_WORKERS_PREFORK;
	g->enforce = PILE_RUNG_FAIL_FAST;
	g->risk_milli = 1780;
	g->rate_milli = 32000;
	g->request_bytes = 6ULL << 20;
	g->w99 = 5;
	g->would_have_acted_24h = 2;
	snprintf(g->would_have, sizeof(g->would_have), "10.9.0.2:3306");
	g->sample.growing = 1;
	g->sample.growing_bytes = 700ULL << 10;
	g->leak = true;
	g->leak_left_ns = 1647 * NS_PER_SEC;
	g->sample.opened = 41204;
	g->sample.answered = 41190;
	g->sample.closed = 11;
	g->sample.waiting = 3;
	g->sample.age[0] = 3;
	g->sample.oldest_ns = 12 * NS_PER_MS;
	g->sample.p50_ns = 6 * NS_PER_MS;
	g->sample.p99_ns = 48 * NS_PER_MS;
	g->sample.workers = 40;
	g->sample.busy = 3;
	g->sample.memory_bytes = 412ULL << 20;

	g = fixture_group(half, "nginx", "nginx.service");
	g->workers_kind = PILE_WORKERS_EVENTS;
	g->sample.opened = 52000;
	g->sample.answered = 51997;
	g->sample.waiting = 3;
	g->sample.age[0] = 3;
	g->sample.oldest_ns = 13 * NS_PER_MS;
	g->sample.p50_ns = 6 * NS_PER_MS;
	g->sample.p99_ns = 49 * NS_PER_MS;
	g->sample.workers = 3;
	g->sample.memory_bytes = 31ULL << 20;
	g->sample.tasks = 5;
	g->sample.cpu_ns = 1204 * NS_PER_SEC;
	g->throttle_tasks = 313;
	g->throttle_weight = 10;
	g->throttle_quota_us = 1500000;
	g->throttle_explain_id = 20;
	g->sample.forks_refused = 4321;
	g->sample.forks_limit = 300;
	g->forks_explain_id = 17;
	g->cpu_permille = 940;
	fixture_placed(half);
}

static inline void fixture_dependencies(struct pile_snapshot_half *half)
{
	struct pile_snapshot_dependency *d = &half->dependencies[half->n_dependencies++];

	memset(d, 0, sizeof(*d));
	d->sample.endpoint = fixture_endpoint("10.9.0.2:3306");
	d->sample.connecting = 2;
	d->sample.stuck = 2;
	d->sample.oldest_ns = 1300 * NS_PER_MS;
	d->sample.started = 42000;
	d->sample.established = 40700;
	d->sample.failed = 1300;
	d->sample.last_established_ns = FIXTURE_NOW_NS - 52 * NS_PER_SEC;
	d->sample.last_failed_ns = FIXTURE_NOW_NS - NS_PER_SEC;
	d->sample.refused = 1204;
	d->sample.ended = 41;
	d->state = 1;
	d->explain_id = 17;
	d->probes = 52;

	d = &half->dependencies[half->n_dependencies++];
	memset(d, 0, sizeof(*d));
	d->sample.group = 1;
	d->sample.endpoint = fixture_endpoint("[2001:db8::1]:443");
	d->sample.started = d->sample.established = 12;
	d->sample.open = 4;
	d->sample.last_established_ns = FIXTURE_NOW_NS - 3 * NS_PER_SEC;
}

static inline struct pile_explain fixture_explain(void)
{
	struct pile_explain x = {
		.id = 17,
		.kind = PILE_INTENT_BREAKER_OPEN,
		.group = "www",
		.unit = "php8.2-fpm.service",
		.endpoint = fixture_endpoint("10.9.0.2:3306"),
		.why = {
			.connecting = 41,
			.stuck = 38,
			.oldest_ns = 2400 * NS_PER_MS,
			.no_success_ns = 2500 * NS_PER_MS,
			.waiting = 44,
			.share_permille = 931,
			.rate_milli = 32000,
			.request_bytes = 6ULL << 20,
			.growth_bytes = 208ULL << 20,
			.free_bytes = 1126ULL << 20,
			.exhaustion_ns = 5400 * NS_PER_MS,
			.risk_memory = true,
		},
		.opened_ns = FIXTURE_NOW_NS - 49500 * NS_PER_MS,
		.opened_realtime_ns = FIXTURE_REALTIME_NS - 49500 * NS_PER_MS,
		.refused = 1204,
		.ended = 41,
		.probes = 49,
		.first_effect_ns = FIXTURE_NOW_NS - 49500 * NS_PER_MS + 3 * NS_PER_MS,
		.saved_wait_ns = 12380 * NS_PER_SEC,
		.saved_bytes = 1946ULL << 20,
		.refuse_errno = ECONNREFUSED,
	};

	return x;
}

/** Rung 3: a weight, because sshd waited. */
static inline struct pile_explain fixture_throttle(void)
{
	struct pile_explain x = {
		.id = 20,
		.kind = PILE_INTENT_THROTTLE,
		.group = "nginx",
		.unit = "nginx.service",
		.why.exhaustion_ns = UINT64_MAX,
		.why.throttle = { .knob = PILE_KNOB_WEIGHT,
				  .value = 10,
				  .was = UINT64_MAX,
				  .for_ns = 61 * NS_PER_SEC,
				  .tasks = 133,
				  .protected_name = "ssh.service",
				  .waited_ns = 640 * NS_PER_MS,
				  .ran_ns = 160 * NS_PER_MS,
				  .span_ns = NS_PER_SEC,
				  .ratio_milli = 4000,
				  .calm_milli = 100,
				  .cpu_permille = 940 },
	};
	struct pile_explain like = fixture_explain();

	x.opened_ns = like.opened_ns;
	x.opened_realtime_ns = like.opened_realtime_ns;
	return x;
}

static inline void fixture_event(struct pile_snapshot_half *half, uint32_t kind,
				 uint32_t explain_id, const char *group, const char *text)
{
	struct pile_event *e;
	uint64_t seq = half->n_events ? half->events[half->n_events - 1].seq + 1 : 1;

	if (half->n_events == PILE_SNAPSHOT_EVENTS) {
		memmove(&half->events[0], &half->events[1],
			sizeof(half->events) - sizeof(half->events[0]));
		half->n_events--;
	}
	e = &half->events[half->n_events++];
	memset(e, 0, sizeof(*e));
	e->seq = seq;
	e->t_ns = FIXTURE_NOW_NS;
	e->realtime_ns = FIXTURE_REALTIME_NS;
	e->kind = kind;
	e->explain_id = explain_id;
	snprintf(e->group, sizeof(e->group), "%s", group);
	snprintf(e->text, sizeof(e->text), "%.255s", text);
}

static inline void fixture_listeners(struct pile_snapshot_half *half)
{
	struct pile_snapshot_listener *l;

	l = &half->listeners[half->n_listeners++];
	memset(l, 0, sizeof(*l));
	l->endpoint = fixture_endpoint("/run/php/php8.2-fpm.sock");
	l->counted = true;
	l->connections_max = 120;
	l->connections = 120;
	l->refused = 38;
	l->refused_now = 38;
	l->explain_id = 17;
	for (int port = 443; port < 448; port++) {
		char text[16];

		snprintf(text, sizeof(text), ":%d", port);
		l = &half->listeners[half->n_listeners++];
		memset(l, 0, sizeof(*l));
		l->group = 1;
		l->endpoint = fixture_endpoint(text);
		snprintf(l->blind, sizeof(l->blind), "HTTP/2 on %s (%s)", text,
			 port == 445 ? "another" : "streams");
	}
}

/** fixture_fill - everything of a half but its sequence */
static inline void fixture_fill(struct pile_snapshot_half *half)
{
	static const char policy[] =
		"mode: observe\ngroups:\n  - name: www\n    unit: php8.2-fpm.service\n";

	half->n_groups = half->n_listeners = half->n_dependencies = 0;
	half->n_workers = half->n_events = half->n_explains = 0;
	half->t_ns = FIXTURE_NOW_NS;
	half->realtime_ns = FIXTURE_REALTIME_NS;
	memset(&half->host, 0, sizeof(half->host));
	fixture_host(&half->host);
	fixture_groups(half);
	fixture_listeners(half);
	fixture_dependencies(half);
	half->workers[half->n_workers++] = (struct pile_snapshot_worker){
		.pid = 812,
		.waiting = 1,
		.connections = 1,
		.oldest_ns = 12 * NS_PER_MS,
		.answered = 1040,
		.p50_ns = 6 * NS_PER_MS,
		.p99_ns = 48 * NS_PER_MS,
		.rss_bytes = 21ULL << 20,
		.private_bytes = 12ULL << 20,
		.rate_bytes = 700ULL << 10,
		.comm = "php-fpm",
	};
	half->workers[half->n_workers++] = (struct pile_snapshot_worker){
		.pid = 640,
		.group = 1,
		.answered = 26000,
		.p50_ns = 6 * NS_PER_MS,
		.p99_ns = 49 * NS_PER_MS,
		.rss_bytes = 9ULL << 20,
		.private_bytes = 2ULL << 20,
		.comm = "nginx",
	};
	fixture_event(half, PILE_EVENT_START, 0, "", "pileguard 1.0 started: mode observe");
	fixture_event(half, PILE_EVENT_OPEN, 17, "www",
		      "www: 10.9.0.2:3306 is dead: connects refused. explain 17");
	half->explains[half->n_explains++] = fixture_explain();
	half->explains[half->n_explains++] = fixture_throttle();
	half->policy_text_len = sizeof(policy) - 1;
	memcpy(half->policy_text, policy, sizeof(policy));
}

// SPDX-License-Identifier: GPL-2.0-or-later
#include "sense/sense.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "util/clock.h"

#define SWEEP_EVERY_TICKS 10 /* design.md: truth once a second */
/* ... where there is something to be true about: a walk of all sockets is half of what an idle guard costs */
#define QUIET_SWEEP_NS (5 * NS_PER_SEC)

int pile_sense_init(struct pile_sense *s)
{
	s->meminfo_fd = open("/proc/meminfo", O_RDONLY | O_CLOEXEC);
	if (s->meminfo_fd < 0)
		return -errno;
	pile_load_open(&s->load);
	s->n_cpus = (uint32_t)MAX(sysconf(_SC_NPROCESSORS_ONLN), 1);
	return 0;
}

void pile_sense_fini(struct pile_sense *s)
{
	pile_load_close(&s->load);
	if (s->meminfo_fd >= 0)
		close(s->meminfo_fd);
	s->meminfo_fd = -1;
}

void pile_sense_group_reset(struct pile_sense *s, uint32_t group)
{
	memset(&s->groups[group], 0, sizeof(s->groups[group]));
	s->busy[group] = 0;
	pile_look_group_reset(&s->look, group);
	/* whoever is new is looked at at once */
	s->flipped_ns = s->connects_swept_ns = 0;
	for (uint32_t i = 0; i < s->n_known;) {
		if (s->known[i].group == group)
			s->known[i] = s->known[--s->n_known];
		else
			i++;
	}
}

/*
 * Nothing waits, nothing is queued, and no request has begun or ended since the last sweep: another one could
 * only find connections that have come or gone without a word.
 */
static bool nothing_new(struct pile_sense *s, const struct pile_sample *last)
{
	uint64_t events = 0, waiting = 0;

	for (uint32_t i = 0; i < PILE_GROUPS_MAX; i++) {
		const struct pile_sample_group *g = &last->groups[i];

		if (!g->used)
			continue;
		events += g->opened + g->answered + g->closed;
		waiting += g->waiting + g->backlog;
	}
	if (waiting || events != s->events_swept) {
		s->events_swept = events;
		return false;
	}
	return true;
}

/*
 * Truth once a second: flip the wheels, sweep a tick later (so that nobody still counts into the
 * old one by a stale look at the generation), settle a tick after that.
 */
static void truth_step(struct pile_sense *s, struct pile_kernel *k, struct pile_groups *g,
		       uint64_t now_ns, const struct pile_sample *last)
{
	uint64_t from;

	switch (s->tick % SWEEP_EVERY_TICKS) {
	case 0:
		s->swept = false;
		s->flipped = !nothing_new(s, last) || now_ns - s->flipped_ns >= QUIET_SWEEP_NS;
		if (!s->flipped)
			break;
		s->flipped_ns = now_ns;
		pile_kernel_generation_flip(k);
		break;
	case 1:
		if (!s->flipped)
			break;
		from = pile_clock_ns(CLOCK_MONOTONIC);
		s->swept = pile_requests_sweep(s, k, g) == 0;
		s->sweep_cost_ns = pile_clock_ns(CLOCK_MONOTONIC) - from;
		s->sweeps++;
		break;
	case 2:
		/* only what a sweep has gone over may be called left behind */
		if (s->swept)
			for (uint32_t i = 0; i < g->n_groups; i++)
				if (g->groups[i].used)
					s->groups[i].drift += pile_kernel_wheel_settle(k, i);
		if (s->swept) {
			s->doors_drift += pile_kernel_doors_settle(k);
			s->settled++;
			s->settled_ns = now_ns;
		}
		break;
	default:
		break;
	}
}

/* What bpf/forks has refused; the kernel writes meanwhile. */
static void forks_sample(const struct pile_kernel *k, const struct pile_groups *g,
			 struct pile_sample *ret)
{
	for (uint32_t i = 0; i < g->n_groups; i++) {
		const struct pile_bpf_forks *from = pile_kernel_forks(k, i);

		ret->groups[i].forks_refused = from->refused;
		ret->groups[i].forks_limit = from->limit;
		ret->groups[i].forks_above = from->above;
	}
}

void pile_sense_tick(struct pile_sense *s, struct pile_kernel *k, struct pile_groups *g,
		     uint64_t now_ns, struct pile_sample *ret)
{
	ret->now_ns = now_ns;
	ret->late_ns = 0;
	if (s->last_ns && now_ns - s->last_ns > PILE_TICK_NS)
		ret->late_ns = now_ns - s->last_ns - PILE_TICK_NS;
	s->last_ns = now_ns;
	ret->n_cpus = s->n_cpus;
	truth_step(s, k, g, now_ns, ret);
	pile_requests_sample(s, k, g, now_ns, ret);
	pile_dependencies_sample(s, k, g, now_ns, ret);
	pile_memory_sample(s, g, now_ns, ret);
	s->growth.look = pile_look_sample(&s->look, g, now_ns, ret);
	s->growth.hurry |= s->look.blind;
	pile_growth_sample(&s->growth, k, s->named, now_ns, ret);
	pile_load_sample(&s->load, g, now_ns, ret);
	forks_sample(k, g, ret);
	if (!s->settled_ns)
		s->settled_ns = now_ns;
	pile_doors_sample(s, k, g, ret);
	/* of a part of the workers nobody can say who takes most */
	if (s->growth.walked_ns == now_ns && s->growth.whole && !s->growth.lost)
		pile_workers_sample(s, g, now_ns, ret);
	s->tick++;
}

// SPDX-License-Identifier: GPL-2.0-or-later
/* workers.c: all that is known of each worker that might be ended for its memory, in one row. */
#include <string.h>

#include "sense/sense.h"

static void serving_fill(const struct pile_sense *s, uint64_t now_ns,
			 struct pile_sample_worker *ret)
{
	const struct pile_sense_worker *seen = pile_requests_worker(s, ret->pid);

	if (!seen)
		return;
	ret->waiting = seen->waiting;
	if (seen->oldest_open_ns && now_ns > seen->oldest_open_ns)
		ret->oldest_ns = now_ns - seen->oldest_open_ns;
}

static void worker_fill(const struct pile_sense *s, const struct pile_growth_worker *w,
			const struct pile_group *group, uint32_t back, uint64_t now_ns,
			struct pile_sample_worker *ret)
{
	*ret = (struct pile_sample_worker){
		.group = w->group,
		.pid = w->pid,
		.parent = w->parent,
		.start_ns = w->start_ns,
		.private_bytes = w->private_bytes,
		.recent_bytes = pile_growth_risen(&s->growth, w, back),
		.rising_ns = pile_growth_rising(&s->growth, w),
		.rate_bytes = w->rate_bytes,
		.home = group->cgroup_id && w->cgroup_id == group->cgroup_id &&
			w->parent_cgroup_id == group->cgroup_id,
		.connecting = pile_dependencies_awaited(s, w->pid),
	};
	if (ret->rising_ns && w->own_bytes > w->risen_from)
		ret->risen_bytes = w->own_bytes - w->risen_from;
	memcpy(ret->comm, w->comm, sizeof(ret->comm));
	serving_fill(s, now_ns, ret);
}

void pile_workers_sample(struct pile_sense *s, const struct pile_groups *g, uint64_t now_ns,
			 struct pile_sample *ret)
{
	const struct pile_growth *growth = &s->growth;
	uint32_t back = pile_growth_recent(growth, &ret->recent_ns);

	ret->looked_ns = now_ns;
	ret->n_workers = 0;
	memset(s->look.held_bytes, 0, sizeof(s->look.held_bytes));
	for (uint32_t i = 0; i < growth->n; i++) {
		const struct pile_growth_worker *w = &growth->workers[i];

		if (w->group >= g->n_groups || !pile_look_group(&g->groups[w->group]))
			continue;
		s->look.held_bytes[w->group] += w->private_bytes;
		worker_fill(s, w, &g->groups[w->group], back, now_ns,
			    &ret->workers[ret->n_workers++]);
	}
}

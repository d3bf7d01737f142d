// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * forks.bpf.c: a fork that a limit of tasks refuses is refused before it has copied anything. The kernel asks the limit
 * last of all, after the parent's memory was copied under its lock; and whoever reads that process's /proc/PID/cmdline
 * (ps, `systemctl status`, PID 1) waits for this lock. With hundreds of processes whose forks fail, each waiting for a
 * processor with its lock held, that takes half a minute. Refused is only what would be refused at that moment anyway.
 */
#include "maps.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "GPL";

#define CLONE_INTO_CGROUP \
	0x200000000ULL /* uapi/linux/sched.h: the child's limits are another cgroup's */
#define DEPTH_MAX 16
#define PASS_EVERY_NS 60000000000LL
#define LASTING_NS 100000000LL

/* The pids controller's state of the cgroup that this task is in, of v1 or v2. */
static __always_inline struct cgroup_subsys_state *pids_of(struct task_struct *task)
{
	__u32 at = bpf_core_enum_value(enum cgroup_subsys_id, pids_cgrp_id);
	struct cgroup_subsys_state *css = NULL;
	void *set = BPF_CORE_READ(task, cgroups);

	bpf_probe_read_kernel(&css, sizeof(css),
			      set + bpf_core_field_offset(struct css_set, subsys) +
				      at * sizeof(css));
	return css;
}

/* As pids_can_fork() has it, but for the root, which has no limit. Notes which limit that is. */
static __always_inline bool is_full(struct cgroup_subsys_state *css, struct pile_bpf_forks *forks)
{
	for (int i = 0; i < DEPTH_MAX && css; i++) {
		struct cgroup_subsys_state *parent = BPF_CORE_READ(css, parent);
		struct pids_cgroup *pids =
			(void *)css - bpf_core_field_offset(struct pids_cgroup, css);
		__u64 limit = BPF_CORE_READ(pids, limit.counter);

		if (!parent)
			return false;
		if ((__u64)BPF_CORE_READ(pids, counter.counter) >= limit) {
			forks->limit = limit;
			forks->above = i;
			return true;
		}
		css = parent;
	}
	return false;
}

/*
 * For a while now: the kernel looks some milliseconds later, and a task that ends in between would have made room. What
 * is full each time that anybody looks is full then, too.
 */
static __always_inline bool is_lasting(struct pile_bpf_forks *forks, __u64 now_ns)
{
	/*
	 * Looks that are far apart prove nothing of the time between, and whoever forks now and then is no storm.
	 * Signed: another processor may have looked since we have asked what time it is.
	 */
	if (!forks->full_ns || (__s64)(now_ns - forks->looked_ns) > LASTING_NS)
		forks->full_ns = now_ns;
	forks->looked_ns = now_ns;
	return (__s64)(now_ns - forks->full_ns) >= LASTING_NS;
}

/*
 * One a minute goes the kernel's own way: it counts in pids.events, and the kernel's log has its line. (One a second:
 * in a crowd of 570 each took seconds, and some were under way all the time.)
 */
static __always_inline bool passes(struct pile_bpf_forks *forks, __u64 now_ns)
{
	__u64 before = forks->passed_ns;

	return (!before || (__s64)(now_ns - before) >= PASS_EVERY_NS) &&
	       __sync_val_compare_and_swap(&forks->passed_ns, before, now_ns) == before;
}

SEC("fmod_ret/security_task_alloc")
int BPF_PROG(fork_refuse, struct task_struct *task, __u64 clone_flags, int ret)
{
	struct pile_bpf_control *ctl = control_get();
	struct pile_bpf_totals *t = totals_get();
	__u64 id = bpf_get_current_cgroup_id(), now_ns;
	struct pile_bpf_cgroup *home;
	struct pile_bpf_forks *forks;

	if (ret || !ctl || !t || clone_flags & CLONE_INTO_CGROUP)
		return ret;
	home = bpf_map_lookup_elem(&cgroups, &id);
	/* no comparison with PILE_GROUPS_MAX: clang drops the mask below then, and 6.1's verifier needs it */
	if (!home || home->group == PILE_NO_GROUP || home->group == PILE_SELF_GROUP ||
	    !group_bit(ctl->forks, home->group))
		return 0;
	forks = &t->forks[home->group & (PILE_GROUPS_MAX - 1)];
	now_ns = bpf_ktime_get_ns();
	if ((__s64)(now_ns - ctl->tick_ns) > (__s64)PILE_LOOP_LEASE_NS)
		return 0;
	if (!is_full(pids_of(bpf_get_current_task_btf()), forks)) {
		forks->full_ns = 0;
		return 0;
	}
	if (!is_lasting(forks, now_ns) || passes(forks, now_ns))
		return 0;
	__sync_fetch_and_add(&forks->refused, 1);
	return -EAGAIN;
}

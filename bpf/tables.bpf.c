// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * tables.bpf.c: how large the tables of descriptors are that a walk over all descriptors goes through. It asks its
 * program for those that are open only; over empty places it passes by itself, all that there are within one read, and
 * whoever opens one high number has half a million. One walk over all tasks (0.3 us each), which tells those that
 * iter/task_file looks at.
 */
#include "maps.h"

char LICENSE[] SEC("license") = "GPL";

#define PF_KTHREAD 0x00200000 /* linux/sched.h: all share one small table, with nothing in it */

SEC("iter/task")
int walk_tables(struct bpf_iter__task *ctx)
{
	struct pile_bpf_record_table rec = { .head = { PILE_RECORD_TABLE, sizeof(rec) } };
	struct task_struct *task = ctx->task;
	struct files_struct *files;
	int users;
	bool leads;

	if (!task)
		return 0;
	if (walk_full())
		return 1;
	files = task->files;
	if (!files || task->flags & PF_KTHREAD)
		return 0;
	leads = task->pid == task->tgid;
	/* as the kernel's own walk: a thread that shares its leader's is passed over */
	if (!leads && files == task->group_leader->files)
		return 0;
	rec.tid = task->pid;
	rec.places = files->fdt->max_fds;
	rec.files = (__u64)files;
	/* what else is to be known is far away in memory: only where somebody uses it */
	users = files->count.counter;
	rec.shared = users > 1 && users > (leads ? task->signal->nr_threads : 1);
	if (rec.shared)
		rec.cgroup_id = task->cgroups->dfl_cgrp->kn->id;
	bpf_seq_write(ctx->meta->seq, &rec, sizeof(rec));
	return 0;
}

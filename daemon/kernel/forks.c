// SPDX-License-Identifier: GPL-2.0-or-later
/* forks.c: forks at a limit of tasks: the program, once it is wanted. */
#include <bpf/libbpf.h>
#include <errno.h>

#include "kernel/kernel.h"

int pile_kernel_forks_set(struct pile_kernel *k, const uint32_t bits[PILE_GROUPS_MAX / 32])
{
	bool wanted = false;

	for (int i = 0; i < PILE_GROUPS_MAX / 32; i++) {
		__atomic_store_n(&k->control->forks[i], bits[i], __ATOMIC_RELAXED);
		wanted |= bits[i] != 0;
	}
	/* once attached it stays, and returns at once: to take it off waits for each task to run, in a storm for long */
	if (k->fork_link || !wanted)
		return 0;
	if (!k->fork_refuse)
		return -ENOSYS;
	k->fork_link = bpf_program__attach(k->fork_refuse);
	return k->fork_link ? 0 : -errno;
}

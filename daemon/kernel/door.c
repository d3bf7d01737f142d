// SPDX-License-Identifier: GPL-2.0-or-later
/* door.c: rung 2's side of the kernel room: programs attached while they are wanted, limits, counts. */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "kernel/kernel.h"

enum { DOOR_TCP, DOOR_TCP_GONE, DOOR_UNIX, DOOR_UNIX_ENTER, DOOR_LINKS };

_Static_assert(ARRAY_LEN(((struct pile_kernel *)0)->door_links) == DOOR_LINKS, "one a program");

static struct bpf_link *door_attach(const struct bpf_program *prog, bool netns)
{
	_cleanup_close_ int fd = -1;

	if (!netns)
		return bpf_program__attach(prog);
	fd = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	return fd < 0 ? NULL : bpf_program__attach_netns(prog, fd);
}

int pile_kernel_doors_attach(struct pile_kernel *k, const struct pile_kernel_doors *wanted)
{
	const struct {
		const struct bpf_program *prog;
		bool wanted, needed;
	} links[DOOR_LINKS] = {
		[DOOR_TCP] = { k->door_tcp, wanted->refuse_tcp, true },
		[DOOR_TCP_GONE] = { k->door_tcp_gone, wanted->count_tcp, false },
		/* what refuses counts with it: without it there would be no end to what is let in */
		[DOOR_UNIX_ENTER] = { k->door_unix_enter, wanted->count_unix, wanted->refuse_unix },
		[DOOR_UNIX] = { k->door_unix, wanted->refuse_unix, true },
	};
	int first = 0;

	for (int i = 0; i < DOOR_LINKS; i++) {
		int r = 0;

		if (!links[i].wanted) {
			if (i == DOOR_UNIX_ENTER)
				continue;
			bpf_link__destroy(k->door_links[i]);
			k->door_links[i] = NULL;
			continue;
		}
		if (k->door_links[i])
			continue;
		if (links[i].prog)
			k->door_links[i] = door_attach(links[i].prog, i == DOOR_TCP);
		if (!k->door_links[i])
			r = links[i].prog ? -errno : -ENOSYS;
		if (links[i].needed && first == 0)
			first = r;
	}
	return first;
}

void pile_kernel_doors_detach(struct pile_kernel *k)
{
	for (int i = 0; i < DOOR_LINKS; i++) {
		bpf_link__destroy(k->door_links[i]);
		k->door_links[i] = NULL;
	}
}

bool pile_kernel_doors_ready(const struct pile_kernel *k, bool of_unix)
{
	return of_unix ? k->door_links[DOOR_UNIX] && k->door_links[DOOR_UNIX_ENTER]
		       : k->door_links[DOOR_TCP] != NULL;
}

void pile_kernel_door_set(struct pile_kernel *k, uint32_t index, uint32_t group, uint32_t limit,
			  uint32_t share_permille, uint64_t lease_ns)
{
	struct pile_bpf_door *door = &k->doors[index];

	/* a connect may look between any two of these: open first, or shut last */
	if (door->limit != limit || door->group != group) {
		__atomic_store_n(&door->lease_ns, 0, __ATOMIC_SEQ_CST);
		__atomic_store_n(&door->group, group, __ATOMIC_SEQ_CST);
		__atomic_store_n(&door->limit, limit, __ATOMIC_SEQ_CST);
	}
	__atomic_store_n(&door->share_permille, share_permille, __ATOMIC_SEQ_CST);
	__atomic_store_n(&door->lease_ns, lease_ns, __ATOMIC_SEQ_CST);
	/* the guard runs: what the loop in the kernel went on with is the guard's again */
	if (k->door_counts[index].loop_lease_ns)
		__atomic_store_n(&k->door_counts[index].loop_lease_ns, 0, __ATOMIC_SEQ_CST);
}

void pile_kernel_door_claim(struct pile_kernel *k, uint32_t index, uint32_t group)
{
	__atomic_store_n(&k->doors[index].group, group, __ATOMIC_SEQ_CST);
}

void pile_kernel_door_clear(struct pile_kernel *k, uint32_t index)
{
	memset(&k->doors[index], 0, sizeof(k->doors[index]));
	memset(&k->door_counts[index], 0, sizeof(k->door_counts[index]));
}

void pile_kernel_doors_tell(struct pile_kernel *k, uint64_t gone,
			    const uint32_t doored[PILE_GROUPS_MAX / 32], uint32_t own_netns)
{
	for (int i = 0; i < PILE_GROUPS_MAX / 32; i++)
		__atomic_store_n(&k->control->doored[i], doored[i], __ATOMIC_RELAXED);
	k->control->own_netns = own_netns;
	__atomic_store_n(&k->control->doors_gone, gone, __ATOMIC_RELAXED);
}

int pile_kernel_door_port_set(struct pile_kernel *k, const struct pile_endpoint *ep, int index,
			      bool v6only)
{
	struct pile_bpf_destination key;
	uint32_t value = (uint32_t)index | (v6only ? PILE_DOOR_V6ONLY : 0);

	pile_kernel_destination_key(0, ep, &key);
	return index < 0 ? bpf_map_delete_elem(k->map_door_ports, &key)
			 : bpf_map_update_elem(k->map_door_ports, &key, &value, BPF_ANY);
}

void pile_kernel_door_exempts_clear(struct pile_kernel *k)
{
	struct pile_bpf_destination key;

	for (int i = 0; i < PILE_GROUPS_MAX * PILE_EXEMPT_MAX; i++) {
		if (bpf_map_get_next_key(k->map_door_exempts, NULL, &key) < 0)
			return;
		bpf_map_delete_elem(k->map_door_exempts, &key);
	}
}

int pile_kernel_door_exempt_add(struct pile_kernel *k, uint32_t group,
				const struct pile_endpoint *ep)
{
	struct pile_bpf_destination key;
	uint32_t yes = 1;

	pile_kernel_destination_key(group, ep, &key);
	return bpf_map_update_elem(k->map_door_exempts, &key, &yes, BPF_ANY);
}

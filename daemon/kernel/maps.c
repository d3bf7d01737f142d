// SPDX-License-Identifier: GPL-2.0-or-later
/* maps.c: opens the maps; typed access to the hash maps; attaching the gates to cgroups. */
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>

#include "kernel/kernel.h"

static int map_fd(const struct bpf_object *maps, const char *name)
{
	return bpf_object__find_map_fd_by_name(maps, name);
}

static void *map_mmap(const struct bpf_object *maps, const char *name, size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, map_fd(maps, name), 0);

	return p == MAP_FAILED ? NULL : p;
}

int pile_maps_open(struct pile_kernel *k, const struct bpf_object *maps)
{
	k->map_workers = map_fd(maps, "workers");
	k->map_cgroups = map_fd(maps, "cgroups");
	k->map_listeners = map_fd(maps, "listeners");
	k->map_listener_ports = map_fd(maps, "listener_ports");
	k->map_unix_addresses = map_fd(maps, "unix_addresses");
	k->map_destinations = map_fd(maps, "destinations");
	k->map_gates = map_fd(maps, "gates");
	k->map_gate_counts = map_fd(maps, "gate_counts");
	k->map_deadlines = map_fd(maps, "deadlines");
	k->map_exempts = map_fd(maps, "exempts");
	k->map_loops = map_fd(maps, "loops");
	k->map_door_ports = map_fd(maps, "door_ports");
	k->map_door_exempts = map_fd(maps, "door_exempts");
	k->shards_bytes = sizeof(struct pile_bpf_shard) * PILE_GROUPS_MAX * k->n_shards;
	k->shards = map_mmap(maps, "shards", k->shards_bytes);
	k->control = map_mmap(maps, "control", sizeof(*k->control));
	k->totals = map_mmap(maps, "totals", sizeof(*k->totals));
	k->rules = map_mmap(maps, "rules", sizeof(*k->rules) * PILE_GROUPS_MAX);
	k->doors = map_mmap(maps, "doors", sizeof(*k->doors) * PILE_DOORS_MAX);
	k->door_counts = map_mmap(maps, "door_counts", sizeof(*k->door_counts) * PILE_DOORS_MAX);
	if (!k->shards || !k->control || !k->totals || !k->rules || !k->doors || !k->door_counts)
		return -ENOMEM;
	k->control->n_shards = k->n_shards;
	k->control->guard_tgid = (uint32_t)getpid();
	k->control->unnamed_added_max = PILE_DESTINATIONS_UNNAMED_MAX;
	k->control->unnamed_workers_max = PILE_WORKERS_UNNAMED_MAX;
	if (getrandom(&k->control->secret, sizeof(k->control->secret), GRND_NONBLOCK) < 0)
		k->control->secret =
			k->control->guard_tgid; /* before the pool is filled: at boot */
	k->control->page_bytes = (uint32_t)sysconf(_SC_PAGESIZE);
	for (int i = 0; i < PILE_FOLLOWED; i++)
		k->control->followed_max[i] = i & 1 ? PILE_STORAGE_MAX : PILE_STORAGE_UNNAMED_MAX;
	return 0;
}

void pile_maps_close(struct pile_kernel *k)
{
	if (k->shards)
		munmap(k->shards, k->shards_bytes);
	if (k->control)
		munmap(k->control, sizeof(*k->control));
	if (k->totals)
		munmap(k->totals, sizeof(*k->totals));
	if (k->rules)
		munmap(k->rules, sizeof(*k->rules) * PILE_GROUPS_MAX);
	if (k->doors)
		munmap(k->doors, sizeof(*k->doors) * PILE_DOORS_MAX);
	if (k->door_counts)
		munmap(k->door_counts, sizeof(*k->door_counts) * PILE_DOORS_MAX);
}

int pile_kernel_cgroup_set(struct pile_kernel *k, uint64_t cgroup_id, uint32_t group)
{
	struct pile_bpf_cgroup value = { .group = group };

	return bpf_map_update_elem(k->map_cgroups, &cgroup_id, &value, BPF_ANY);
}

int pile_kernel_cgroup_remove(struct pile_kernel *k, uint64_t cgroup_id)
{
	return bpf_map_delete_elem(k->map_cgroups, &cgroup_id);
}

int pile_kernel_listener_set(struct pile_kernel *k, uint64_t cookie, uint32_t group, uint32_t door)
{
	struct pile_bpf_listener value = { .group = group, .door = door };

	return bpf_map_update_elem(k->map_listeners, &cookie, &value, BPF_ANY);
}

int pile_kernel_listener_remove(struct pile_kernel *k, uint64_t cookie)
{
	return bpf_map_delete_elem(k->map_listeners, &cookie);
}

int pile_kernel_port_set(struct pile_kernel *k, uint32_t netns, uint16_t port, uint32_t group)
{
	uint64_t key = (uint64_t)netns << 16 | port;

	return group == PILE_NO_GROUP
		       ? bpf_map_delete_elem(k->map_listener_ports, &key)
		       : bpf_map_update_elem(k->map_listener_ports, &key, &group, BPF_ANY);
}

void pile_kernel_unix_expire(struct pile_kernel *k)
{
	struct pile_bpf_unix_address value;
	uint64_t key, next, *prev = NULL;

	for (int i = 0; i < PILE_LISTENERS_MAX; i++) {
		if (bpf_map_get_next_key(k->map_unix_addresses, prev, &next) < 0)
			return;
		key = next;
		prev = &key;
		if (bpf_map_lookup_elem(k->map_unix_addresses, &key, &value) == 0 &&
		    value.epoch != k->control->epoch) {
			bpf_map_delete_elem(k->map_unix_addresses, &key);
			prev = NULL;
		}
	}
}

int pile_kernel_worker_get(struct pile_kernel *k, uint32_t tgid, struct pile_bpf_worker *ret)
{
	return bpf_map_lookup_elem(k->map_workers, &tgid, ret);
}

int pile_kernel_self_set(struct pile_kernel *k, bool self)
{
	struct pile_bpf_worker value = { .group = PILE_SELF_GROUP };
	uint32_t tgid = (uint32_t)getpid();

	return self ? bpf_map_update_elem(k->map_workers, &tgid, &value, BPF_ANY)
		    : bpf_map_delete_elem(k->map_workers, &tgid);
}

int pile_kernel_worker_next(struct pile_kernel *k, const uint32_t *prev, uint32_t *ret)
{
	return bpf_map_get_next_key(k->map_workers, prev, ret);
}

void pile_kernel_destination_key(uint32_t group, const struct pile_endpoint *ep,
				 struct pile_bpf_destination *ret)
{
	memset(ret, 0, sizeof(*ret));
	memcpy(ret->addr, ep->addr, sizeof(ret->addr));
	ret->group = group;
	ret->port = ep->port;
}

int pile_kernel_destination_get(struct pile_kernel *k, const struct pile_bpf_destination *key,
				struct pile_bpf_destination_counts *ret)
{
	return bpf_map_lookup_elem(k->map_destinations, key, ret);
}

int pile_kernel_destination_remove(struct pile_kernel *k, const struct pile_bpf_destination *key)
{
	return bpf_map_delete_elem(k->map_destinations, key);
}

int pile_kernel_destination_next(struct pile_kernel *k, const struct pile_bpf_destination *prev,
				 struct pile_bpf_destination *ret)
{
	return bpf_map_get_next_key(k->map_destinations, prev, ret);
}

int pile_kernel_gate_set(struct pile_kernel *k, const struct pile_bpf_destination *key,
			 const struct pile_bpf_gate *gate)
{
	struct pile_bpf_gate_counts zero = {};
	int r;

	r = bpf_map_update_elem(k->map_gate_counts, key, &zero, BPF_NOEXIST);
	if (r < 0 && r != -EEXIST)
		return r;
	return bpf_map_update_elem(k->map_gates, key, gate, BPF_ANY);
}

int pile_kernel_gate_counts(struct pile_kernel *k, const struct pile_bpf_destination *key,
			    struct pile_bpf_gate_counts *ret)
{
	return bpf_map_lookup_elem(k->map_gate_counts, key, ret);
}

int pile_kernel_gate_remove(struct pile_kernel *k, const struct pile_bpf_destination *key)
{
	int r = bpf_map_delete_elem(k->map_gates, key);

	bpf_map_delete_elem(k->map_gate_counts, key);
	return r;
}

void pile_kernel_rule_set(struct pile_kernel *k, uint32_t group, const struct pile_bpf_rule *rule)
{
	/* each number is true by itself: the loop may see some of the last tick's and some of this one's */
	k->rules[group] = *rule;
}

void pile_kernel_ticked(struct pile_kernel *k, uint64_t now_ns)
{
	__atomic_store_n(&k->control->tick_ns, now_ns, __ATOMIC_RELAXED);
}

int pile_kernel_loop_next(struct pile_kernel *k, const struct pile_bpf_destination *prev,
			  struct pile_bpf_destination *ret)
{
	return bpf_map_get_next_key(k->map_loops, prev, ret);
}

int pile_kernel_loop_get(struct pile_kernel *k, const struct pile_bpf_destination *key,
			 struct pile_bpf_loop *ret)
{
	return bpf_map_lookup_elem(k->map_loops, key, ret);
}

int pile_kernel_loop_remove(struct pile_kernel *k, const struct pile_bpf_destination *key)
{
	return bpf_map_delete_elem(k->map_loops, key);
}

int pile_kernel_deadline_set(struct pile_kernel *k, uint32_t group, uint64_t deadline_ns)
{
	struct pile_bpf_deadline value = {};
	uint32_t hz = k->control->hz ? k->control->hz : 250;
	uint64_t jiffies = deadline_ns * hz / NS_PER_SEC;

	if (deadline_ns) {
		value.syn_count = deadline_ns < 2 * NS_PER_SEC	 ? 1
				  : deadline_ns < 7 * NS_PER_SEC ? 2
								 : 3;
		value.rto_jiffies = (uint32_t)(jiffies / ((2u << value.syn_count) - 1));
		if (!value.rto_jiffies)
			value.rto_jiffies = 1;
	}
	return bpf_map_update_elem(k->map_deadlines, &group, &value, BPF_ANY);
}

void pile_kernel_exempts_clear(struct pile_kernel *k)
{
	struct pile_bpf_destination key;

	for (int i = 0; i < PILE_GROUPS_MAX * PILE_EXEMPT_MAX; i++) {
		if (bpf_map_get_next_key(k->map_exempts, NULL, &key) < 0)
			return;
		bpf_map_delete_elem(k->map_exempts, &key);
	}
}

int pile_kernel_exempt_add(struct pile_kernel *k, uint32_t group, const struct pile_endpoint *ep)
{
	struct pile_bpf_destination key;
	uint32_t yes = 1;

	pile_kernel_destination_key(group, ep, &key);
	return bpf_map_update_elem(k->map_exempts, &key, &yes, BPF_ANY);
}

static int cgroup_link(const struct bpf_program *prog, int cgroup_fd, struct bpf_link **ret)
{
	struct bpf_link *link;

	if (!prog)
		return -ENOSYS;
	link = bpf_program__attach_cgroup(prog, cgroup_fd);
	if (!link)
		return -errno;
	*ret = link;
	return 0;
}

int pile_kernel_attach(struct pile_kernel *k, int cgroup_fd, bool with_gate, bool with_deadline,
		       struct pile_kernel_attachment *ret)
{
	struct pile_kernel_attachment made = {};
	int r = 0;

	if (with_gate)
		r = cgroup_link(k->connect_v4, cgroup_fd, &made.connect_v4);
	if (r == 0 && with_gate)
		r = cgroup_link(k->connect_v6, cgroup_fd, &made.connect_v6);
	/* without it the gates of the loop in the kernel refuse all the same, and waits end by themselves */
	if (r == 0 && with_gate && k->end_waits)
		r = cgroup_link(k->end_waits, cgroup_fd, &made.end_waits);
	if (r == 0 && with_deadline)
		r = cgroup_link(k->deadline, cgroup_fd, &made.deadline);
	if (r < 0) {
		pile_kernel_detach(&made);
		return r;
	}
	*ret = made;
	return 0;
}

void pile_kernel_detach(struct pile_kernel_attachment *attachment)
{
	bpf_link__destroy(attachment->connect_v4);
	bpf_link__destroy(attachment->connect_v6);
	bpf_link__destroy(attachment->deadline);
	bpf_link__destroy(attachment->end_waits);
	memset(attachment, 0, sizeof(*attachment));
}

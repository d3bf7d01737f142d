// SPDX-License-Identifier: GPL-2.0-or-later
#include "kernel/kernel.h"

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "breaker.skel.h"
#include "deadline.skel.h"
#include "dependencies.skel.h"
#include "discover.skel.h"
#include "door.skel.h"
#include "door_unix.skel.h"
#include "forks.skel.h"
#include "loop.skel.h"
#include "maps.skel.h"
#include "memory.skel.h"
#include "requests.skel.h"
#include "requests_unix.skel.h"
#include "requests_fentry.skel.h"
#include "sweep.skel.h"
#include "sweep_all.skel.h"
#include "tables.skel.h"

#include "kernel/object.h"

enum object_id {
	MAPS,
	SENSOR,
	UNIX,
	DEPENDENCIES,
	DISCOVER,
	SWEEP,
	BREAKER,
	DEADLINE,
	LOOP,
	MEMORY,
	DOOR,
	DOOR_UNIX,
	TABLES,
	FORKS
};

_Static_assert(MAPS == PILE_OBJECT_MAPS, "the first");
_Static_assert(FORKS + 1 == PILE_KERNEL_OBJECTS, "one slot an object");

static const struct pile_object_def sensor_a = { "requests", requests_bpf__elf_bytes, "", false };
static const struct pile_object_def sensor_b = { "requests_fentry", requests_fentry_bpf__elf_bytes,
						 "", false };
static const struct pile_object_def sweep_own = { "sweep", sweep_bpf__elf_bytes, "", false };
static const struct pile_object_def sweep_all = { "sweep_all", sweep_all_bpf__elf_bytes, "", true };

static const struct pile_object_def object_defs[PILE_KERNEL_OBJECTS] = {
	[MAPS] = { "maps", maps_bpf__elf_bytes, "", true },
	[UNIX] = { "requests_unix", requests_unix_bpf__elf_bytes,
		   "closes of unix connections are found by the sweep, up to 1.2 s late, and of 100,000 unix "
		   "requests some are counted with the next",
		   false },
	[DEPENDENCIES] = { "dependencies", dependencies_bpf__elf_bytes,
			   "no dependencies are seen: rung 1 cannot act", false },
	[DISCOVER] = { "discover", discover_bpf__elf_bytes, "", true },
	[BREAKER] = { "breaker", breaker_bpf__elf_bytes, "rung 1 cannot refuse connects", false },
	[DEADLINE] = { "deadline", deadline_bpf__elf_bytes, "connect_deadline has no effect",
		       false },
	[LOOP] = { "loop", loop_bpf__elf_bytes,
		   "no loop in the kernel: while the guard itself does not run, nothing acts",
		   false },
	[MEMORY] = { "memory", memory_bpf__elf_bytes,
		     "what single workers hold is not seen: none that grows is told", false },
	[DOOR] = { "door", door_bpf__elf_bytes, "rung 2 cannot refuse connections (TCP)", false },
	[DOOR_UNIX] = { "door_unix", door_unix_bpf__elf_bytes,
			"rung 2 cannot refuse connections to unix sockets", false },
	[TABLES] = { "tables", tables_bpf__elf_bytes,
		     "how large tables of descriptors are is not seen: whoever makes thousands of large ones keeps "
		     "the guard waiting",
		     false },
	[FORKS] = { "forks", forks_bpf__elf_bytes,
		    "forks beyond a limit of tasks are refused late: whoever looks at a fork bomb's processes waits",
		    false },
};

static void missing_add(struct pile_kernel *k, const char *what)
{
	size_t len = strlen(k->missing);

	if (!what[0])
		return;
	snprintf(k->missing + len, sizeof(k->missing) - len, "%s%s", len ? "; " : "", what);
}

const char *pile_kernel_tier_name(enum pile_tier tier)
{
	static const char *const names[] = {
		[PILE_TIER_NONE] = "none", [PILE_TIER_A] = "A", [PILE_TIER_B] = "B"
	};

	return names[tier];
}

static int sensor_try(struct pile_kernel *k, const struct btf *vmlinux,
		      const struct pile_object_def *def, enum object_id id)
{
	int r;

	r = pile_object_load(k, vmlinux, def, &k->objects[id]);
	if (r < 0)
		return r;
	r = pile_object_attach(k, k->objects[id]);
	if (r < 0) {
		bpf_object__close(k->objects[id]);
		k->objects[id] = NULL;
	}
	return r;
}

static void sensor_choose(struct pile_kernel *k, const struct btf *vmlinux)
{
	if (btf__find_by_name_kind(vmlinux, "btf_trace_sock_recv_length", BTF_KIND_TYPEDEF) >= 0 &&
	    sensor_try(k, vmlinux, &sensor_a, SENSOR) == 0)
		k->tier = PILE_TIER_A;
	else if (sensor_try(k, vmlinux, &sensor_b, SENSOR) == 0)
		k->tier = PILE_TIER_B;
	else
		missing_add(
			k,
			"no request sensor: this kernel has neither socket tracepoints (6.3) nor "
			"allows fentry; only connects, memory and queues are seen");
}

static void sweep_detach(struct pile_kernel *k)
{
	for (int i = 0; i < PILE_KERNEL_WALKS_MAX; i++) {
		bpf_link__destroy(k->sweep_sockets[i]);
		bpf_link__destroy(k->sweep_connects[i]);
		k->sweep_sockets[i] = k->sweep_connects[i] = NULL;
	}
	pile_descriptors_fini(&k->sweep_files_sockets);
	pile_descriptors_fini(&k->sweep_files_connects);
	bpf_object__close(k->objects[SWEEP]);
	k->objects[SWEEP] = NULL;
}

/* Over our own storage: exact, and costs what is ours. */
static int sweep_own_open(struct pile_kernel *k, const struct btf *vmlinux)
{
	int r = pile_object_load(k, vmlinux, &sweep_own, &k->objects[SWEEP]);

	if (r < 0)
		return r;
	k->sweep_sockets[0] =
		pile_object_iter(k->objects[SWEEP], "sweep_sockets",
				 bpf_object__find_map_fd_by_name(k->objects[MAPS], "sockets"));
	k->sweep_connects[0] =
		pile_object_iter(k->objects[SWEEP], "sweep_connects",
				 bpf_object__find_map_fd_by_name(k->objects[MAPS], "connects"));
	return k->sweep_sockets[0] && k->sweep_connects[0] ? 0 : -ENOSYS;
}

/* Returns 0 or -ENOSYS. */
static int files_attach(struct pile_kernel_descriptors *f, struct bpf_object *obj,
			const char *prog_name)
{
	struct bpf_program *prog = bpf_object__find_program_by_name(obj, prog_name);

	if (!prog)
		return -ENOSYS;
	pile_descriptors_init(f, pile_object_iter(obj, prog_name, -1), bpf_program__fd(prog));
	return f->link ? 0 : -ENOSYS;
}

/* Over all sockets of the host. */
static int sweep_all_open(struct pile_kernel *k, const struct btf *vmlinux)
{
	static const char *const of_sockets[] = { "sweep_tcp_sockets", "sweep_unix_sockets" };
	int r = pile_object_load(k, vmlinux, &sweep_all, &k->objects[SWEEP]);

	if (r < 0)
		return r;
	for (size_t i = 0; i < ARRAY_LEN(of_sockets); i++) {
		k->sweep_sockets[i] = pile_object_iter(k->objects[SWEEP], of_sockets[i], -1);
		if (!k->sweep_sockets[i])
			return -ENOSYS;
	}
	k->sweep_connects[0] = pile_object_iter(k->objects[SWEEP], "sweep_tcp_connects", -1);
	if (!k->sweep_connects[0])
		return -ENOSYS;
	r = files_attach(&k->sweep_files_sockets, k->objects[SWEEP], "sweep_file_sockets");
	if (r < 0)
		return r;
	return files_attach(&k->sweep_files_connects, k->objects[SWEEP], "sweep_file_connects");
}

static int sweep_choose(struct pile_kernel *k, const struct btf *vmlinux)
{
	int r = sweep_own_open(k, vmlinux);

	if (r == 0)
		return 0;
	sweep_detach(k);
	r = sweep_all_open(k, vmlinux);
	if (r == 0)
		missing_add(
			k,
			"no walk of socket storage: all sockets are walked instead, and requests in "
			"the accept queues of other network namespaces are counted as closed");
	return r;
}

static int discover_attach(struct pile_kernel *k)
{
	int r = files_attach(&k->discover, k->objects[DISCOVER], "discover");

	k->iter_hidden = pile_object_iter(k->objects[DISCOVER], "discover_hidden", -1);
	if (r == 0 && !k->iter_hidden)
		missing_add(k, "requests to listeners of MPTCP are not seen");
	return r;
}

static void memory_attach(struct pile_kernel *k)
{
	if (!k->objects[MEMORY])
		return;
	k->iter_workers = pile_object_iter(k->objects[MEMORY], "walk_workers", -1);
	if (!k->iter_workers)
		missing_add(k, object_defs[MEMORY].without);
}

static void tables_attach(struct pile_kernel *k)
{
	if (!k->objects[TABLES])
		return;
	k->iter_tables = pile_object_iter(k->objects[TABLES], "walk_tables", -1);
	if (!k->iter_tables)
		missing_add(k, object_defs[TABLES].without);
}

static int jiffies_run(int prog_fd, uint32_t *ret)
{
	LIBBPF_OPTS(bpf_test_run_opts, opts);
	int r = bpf_prog_test_run_opts(prog_fd, &opts);

	*ret = opts.retval;
	return r;
}

/* CONFIG_HZ is one of four; a tenth of a second of the kernel's own ticks tells which. */
static void hz_learn(struct pile_kernel *k)
{
	static const uint32_t known[] = { 100, 250, 300, 1000 };
	struct bpf_program *prog =
		bpf_object__find_program_by_name(k->objects[DISCOVER], "jiffies_read");
	struct timespec nap = { .tv_nsec = 100 * NS_PER_MS }, from, to;
	uint32_t a = 0, b = 0, best = 250;
	double hz, distance = 1e9;

	/* where that cannot be run: a coarse clock moves once a tick (KTIME_LOW_RES) */
	if (clock_getres(CLOCK_MONOTONIC_COARSE, &from) == 0 && from.tv_nsec > 0)
		k->control->hz = (uint32_t)(NS_PER_SEC / (uint64_t)from.tv_nsec);
	clock_gettime(CLOCK_MONOTONIC, &from);
	if (!prog || jiffies_run(bpf_program__fd(prog), &a) < 0)
		return;
	nanosleep(&nap, NULL);
	clock_gettime(CLOCK_MONOTONIC, &to);
	if (jiffies_run(bpf_program__fd(prog), &b) < 0)
		return;
	hz = (b - a) /
	     ((double)(to.tv_sec - from.tv_sec) + (double)(to.tv_nsec - from.tv_nsec) / 1e9);
	for (size_t i = 0; i < ARRAY_LEN(known); i++) {
		double d = hz > known[i] ? hz - known[i] : known[i] - hz;

		if (d < distance) {
			distance = d;
			best = known[i];
		}
	}
	k->control->hz = best;
}

/* Arms the timer. It ends with the last descriptor of its map: with this process. */
static void loop_start(struct pile_kernel *k)
{
	LIBBPF_OPTS(bpf_test_run_opts, opts);
	const struct bpf_program *prog = pile_object_program(k->objects[LOOP], "loop_start");

	if (!prog)
		return;
	k->loop = bpf_prog_test_run_opts(bpf_program__fd(prog), &opts) == 0 && opts.retval == 0;
	if (!k->loop)
		missing_add(k, object_defs[LOOP].without);
}

static int objects_load(struct pile_kernel *k, const struct btf *vmlinux, struct pile_error *err)
{
	const struct pile_object_def *def;
	bool attach;
	int r;

	for (int id = 0; id < PILE_KERNEL_OBJECTS; id++) {
		def = &object_defs[id];
		if (id == SENSOR) {
			sensor_choose(k, vmlinux);
			continue;
		}
		if (id == SWEEP) {
			r = sweep_choose(k, vmlinux);
			if (r < 0)
				return pile_error_set(err, r, "cannot walk the host's sockets: %s",
						      pile_object_why_not(r));
			continue;
		}
		attach = id == DEPENDENCIES || id == UNIX;
		r = attach ? sensor_try(k, vmlinux, def, (enum object_id)id)
			   : pile_object_load(k, vmlinux, def, &k->objects[id]);
		if (r < 0 && def->required)
			return pile_error_set(err, r, "cannot load %s: %s", def->name,
					      pile_object_why_not(r));
		if (r < 0)
			missing_add(k, def->without);
	}
	return 0;
}

int pile_kernel_open(struct pile_kernel *k, struct pile_error *err)
{
	struct btf *vmlinux;
	int cpus, r;

	memset(k, 0, sizeof(*k));
	libbpf_set_print(pile_object_log);
	libbpf_set_strict_mode(LIBBPF_STRICT_ALL);
	cpus = libbpf_num_possible_cpus();
	k->n_shards = (uint32_t)CLAMP(cpus, 1, PILE_SHARDS_MAX);
	vmlinux = btf__load_vmlinux_btf();
	if (!vmlinux)
		return pile_error_set(
			err, ENOENT,
			"no kernel type information (/sys/kernel/btf/vmlinux): a kernel built with "
			"CONFIG_DEBUG_INFO_BTF is needed, as Debian's are");
	r = objects_load(k, vmlinux, err);
	btf__free(vmlinux);
	if (r < 0)
		goto fail;
	r = pile_maps_open(k, k->objects[MAPS]);
	if (r < 0) {
		pile_error_set(err, r, "cannot map the counters: %s", strerror(-r));
		goto fail;
	}
	k->control->unix_sends = pile_object_has(k->objects[UNIX], "answer_unix");
	memory_attach(k);
	tables_attach(k);
	r = discover_attach(k);
	if (r < 0) {
		pile_error_set(err, r, "cannot walk the host's descriptors: %s",
			       pile_object_why_not(r));
		goto fail;
	}
	k->connect_v4 = pile_object_program(k->objects[BREAKER], "connect_v4");
	k->connect_v6 = pile_object_program(k->objects[BREAKER], "connect_v6");
	k->deadline = pile_object_program(k->objects[DEADLINE], "connect_deadline");
	k->end_waits = pile_object_program(k->objects[LOOP], "loop_syn_timeout");
	k->door_tcp = pile_object_program(k->objects[DOOR], "door_tcp");
	k->door_tcp_gone = pile_object_program(k->objects[DOOR], "door_tcp_gone");
	k->door_unix = pile_object_program(k->objects[DOOR_UNIX], "door_unix");
	k->door_unix_enter = pile_object_program(k->objects[DOOR_UNIX], "door_unix_enter");
	k->fork_refuse = pile_object_program(k->objects[FORKS], "fork_refuse");
	k->buffer = malloc(PILE_KERNEL_READ_BYTES);
	if (!k->buffer) {
		r = pile_error_set(err, -ENOMEM, "out of memory");
		goto fail;
	}
	hz_learn(k);
	loop_start(k);
	return 0;
fail:
	pile_kernel_close(k);
	return r;
}

void pile_kernel_cost(const struct pile_kernel *k, struct pile_kernel_cost *ret)
{
	struct bpf_prog_info info;
	struct bpf_program *prog;
	uint32_t size;

	memset(ret, 0, sizeof(*ret));
	for (int id = 0; id < PILE_KERNEL_OBJECTS; id++) {
		if (!k->objects[id])
			continue;
		bpf_object__for_each_program(prog, k->objects[id]) {
			size = sizeof(info);
			memset(&info, 0, sizeof(info));
			if (bpf_program__fd(prog) < 0 ||
			    bpf_obj_get_info_by_fd(bpf_program__fd(prog), &info, &size) < 0)
				continue;
			ret->misses += info.recursion_misses;
			ret->run_ns += info.run_time_ns;
			ret->runs += info.run_cnt;
		}
	}
}

void pile_kernel_close(struct pile_kernel *k)
{
	pile_kernel_discover_stop(k);
	pile_descriptors_fini(&k->discover);
	bpf_link__destroy(k->iter_tables);
	bpf_link__destroy(k->iter_hidden);
	bpf_link__destroy(k->iter_workers);
	pile_kernel_doors_detach(k);
	bpf_link__destroy(k->fork_link);
	sweep_detach(k);
	while (k->n_links > 0)
		bpf_link__destroy(k->links[--k->n_links]);
	pile_maps_close(k);
	for (int id = PILE_KERNEL_OBJECTS - 1; id >= 0; id--)
		bpf_object__close(k->objects[id]);
	free(k->buffer);
	memset(k, 0, sizeof(*k));
}

// SPDX-License-Identifier: GPL-2.0-or-later
#include "kernel/object.h"

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <errno.h>
#include <string.h>

/* What libbpf said last: the cause of a failure is in its log, not in its error code. */
static __thread char libbpf_said[256];

int pile_object_log(enum libbpf_print_level level, const char *fmt, va_list ap)
{
	if (level != LIBBPF_WARN)
		return 0;
	vsnprintf(libbpf_said, sizeof(libbpf_said), fmt, ap);
	libbpf_said[strcspn(libbpf_said, "\n")] = '\0';
	return 0;
}

/*
 * All objects use the maps of the first: by name. Internal maps (.rodata and such) stay their own.
 */
static int maps_share(struct bpf_object *maps, struct bpf_object *obj)
{
	struct bpf_map *map, *shared;
	int r;

	bpf_object__for_each_map(map, obj) {
		if (bpf_map__is_internal(map))
			continue;
		shared = bpf_object__find_map_by_name(maps, bpf_map__name(map));
		if (!shared)
			continue;
		r = bpf_map__reuse_fd(map, bpf_map__fd(shared));
		if (r < 0)
			return r;
	}
	return 0;
}

/* A function that this kernel does not have takes its program out, not the whole object. */
static void programs_select(struct bpf_object *obj, const struct btf *vmlinux)
{
	struct bpf_program *prog;
	const char *section, *name;

	bpf_object__for_each_program(prog, obj) {
		section = bpf_program__section_name(prog);
		name = strchr(section, '/');
		if (!name ||
		    (strncmp(section, "fentry/", 7) != 0 && strncmp(section, "fexit/", 6) != 0))
			continue;
		if (btf__find_by_name_kind(vmlinux, name + 1, BTF_KIND_FUNC) < 0)
			bpf_program__set_autoload(prog, false);
	}
}

int pile_object_load(const struct pile_kernel *k, const struct btf *vmlinux,
		     const struct pile_object_def *def, struct bpf_object **ret)
{
	LIBBPF_OPTS(bpf_object_open_opts, opts, .object_name = def->name);
	struct bpf_object *obj;
	struct bpf_map *map;
	const void *bytes;
	size_t size;
	int r;

	libbpf_said[0] = '\0'; /* of another object */
	bytes = def->bytes(&size);
	obj = bpf_object__open_mem(bytes, size, &opts);
	if (!obj)
		return -errno;
	programs_select(obj, vmlinux);
	if (k->objects[PILE_OBJECT_MAPS]) {
		r = maps_share(k->objects[PILE_OBJECT_MAPS], obj);
	} else {
		map = bpf_object__find_map_by_name(obj, "shards");
		r = map ? bpf_map__set_max_entries(map, PILE_GROUPS_MAX * k->n_shards) : -ENOENT;
	}
	if (r == 0)
		r = bpf_object__load(obj);
	if (r < 0) {
		bpf_object__close(obj);
		return r;
	}
	*ret = obj;
	return 0;
}

static int link_keep(struct pile_kernel *k, struct bpf_link *link)
{
	if (!link)
		return -errno;
	if (k->n_links == PILE_KERNEL_LINKS_MAX) {
		bpf_link__destroy(link);
		return -ENOSPC;
	}
	k->links[k->n_links++] = link;
	return 0;
}

int pile_object_attach(struct pile_kernel *k, struct bpf_object *obj)
{
	unsigned int before = k->n_links;
	struct bpf_program *prog;
	int r;

	bpf_object__for_each_program(prog, obj) {
		if (!bpf_program__autoload(prog))
			continue;
		r = link_keep(k, bpf_program__attach(prog));
		if (r < 0) {
			while (k->n_links > before)
				bpf_link__destroy(k->links[--k->n_links]);
			return r;
		}
	}
	return 0;
}

struct bpf_link *pile_object_iter(struct bpf_object *obj, const char *prog_name, int map_fd)
{
	struct bpf_program *prog = bpf_object__find_program_by_name(obj, prog_name);
	union bpf_iter_link_info info = {};
	struct bpf_iter_attach_opts opts;

	if (!prog)
		return NULL;
	/* memset: libbpf refuses non-zero padding, and LIBBPF_OPTS leaves it undefined */
	memset(&opts, 0, sizeof(opts));
	opts.sz = sizeof(opts);
	opts.link_info = &info;
	opts.link_info_len = sizeof(info);
	info.map.map_fd = (uint32_t)map_fd;
	return bpf_program__attach_iter(prog, map_fd >= 0 ? &opts : NULL);
}

const struct bpf_program *pile_object_program(const struct bpf_object *obj, const char *name)
{
	return obj ? bpf_object__find_program_by_name(obj, name) : NULL;
}

/* A function that this kernel does not have took its program out (programs_select). */
bool pile_object_has(const struct bpf_object *obj, const char *name)
{
	const struct bpf_program *prog = pile_object_program(obj, name);

	return prog && bpf_program__autoload(prog);
}

const char *pile_object_why_not(int r)
{
	if (r == -EPERM)
		return "no privilege to load BPF programs: run as root with CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN "
		       "(or the kernel is locked down)";
	if (r == -ENOSYS || r == -EINVAL)
		return "this kernel does not take the programs: Linux 6.1 or later with CONFIG_BPF_SYSCALL is needed";
	return libbpf_said[0] ? libbpf_said : strerror(-r);
}

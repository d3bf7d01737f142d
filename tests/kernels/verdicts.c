// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * verdicts: what this kernel says of each of the guard's BPF programs. First the daemon's own kernel room loads and
 * attaches what it takes here, with bpf_object__load() watched; then each program that it did not keep is tried by
 * itself. As root.
 *
 * usage: verdicts CGROUP          a cgroup v2 directory, to attach rung 1 and the deadline to for a moment
 *
 * A line a program, tab-separated: object, program, verdict, its instructions, those that the verifier looked at (each as
 * often as it did), states it kept, why. Then "# name: value" lines. Verdicts:
 *   runs            the guard has it loaded, and attached where it attaches at its start
 *   spare           loads and attaches; another one does its work on this kernel
 *   left            the same, but the guard gave up its object
 *   absent          what it hangs on is not in this kernel
 *   refused (ERRNO), not attached (ERRNO)
 */
#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "breaker.skel.h"
#include "deadline.skel.h"
#include "dependencies.skel.h"
#include "discover.skel.h"
#include "door.skel.h"
#include "door_unix.skel.h"
#include "forks.skel.h"
#include "kernel/kernel.h"
#include "loop.skel.h"
#include "maps.skel.h"
#include "memory.skel.h"
#include "requests.skel.h"
#include "requests_fentry.skel.h"
#include "requests_unix.skel.h"
#include "sweep.skel.h"
#include "sweep_all.skel.h"
#include "tables.skel.h"
#include "util/macro.h"

#define PROGRAMS_MAX 24
#define LOG_BYTES (64 * 1024)
#define LOG_STATS 4 /* BPF_LOG_STATS: one line about the whole; errors as ever */
#define WHY_BYTES 160

struct source {
	const char *name;
	const void *(*bytes)(size_t *size);
};

static const struct source sources[] = {
	{ "requests", requests_bpf__elf_bytes },
	{ "requests_fentry", requests_fentry_bpf__elf_bytes },
	{ "requests_unix", requests_unix_bpf__elf_bytes },
	{ "dependencies", dependencies_bpf__elf_bytes },
	{ "discover", discover_bpf__elf_bytes },
	{ "sweep", sweep_bpf__elf_bytes },
	{ "sweep_all", sweep_all_bpf__elf_bytes },
	{ "breaker", breaker_bpf__elf_bytes },
	{ "deadline", deadline_bpf__elf_bytes },
	{ "loop", loop_bpf__elf_bytes },
	{ "memory", memory_bpf__elf_bytes },
	{ "door", door_bpf__elf_bytes },
	{ "door_unix", door_unix_bpf__elf_bytes },
	{ "tables", tables_bpf__elf_bytes },
	{ "forks", forks_bpf__elf_bytes },
};

/* What the daemon's own load of an object gave, program by program, in the order of the object. */
struct load {
	bool tried;
	char logs[PROGRAMS_MAX][LOG_BYTES];
};

static struct load loads[ARRAY_LEN(sources)];
static char said[WHY_BYTES]; /* by libbpf, first: later lines only say that the whole failed */

int __real_bpf_object__load(struct bpf_object *obj);
int __wrap_bpf_object__load(struct bpf_object *obj);

int __wrap_bpf_object__load(struct bpf_object *obj)
{
	struct bpf_program *prog;
	int n = 0;

	for (size_t i = 0; i < ARRAY_LEN(sources); i++) {
		if (strcmp(sources[i].name, bpf_object__name(obj)) != 0)
			continue;
		loads[i].tried = true;
		bpf_object__for_each_program(prog, obj) {
			if (n == PROGRAMS_MAX)
				break;
			bpf_program__set_log_level(prog, LOG_STATS);
			bpf_program__set_log_buf(prog, loads[i].logs[n++], LOG_BYTES);
		}
	}
	return __real_bpf_object__load(obj);
}

static int print_keep(enum libbpf_print_level level, const char *fmt, va_list ap)
{
	if (level == LIBBPF_WARN && !said[0])
		vsnprintf(said, sizeof(said), fmt, ap);
	return 0;
}

/* "processed 1234 insns (limit 1000000) max_states_per_insn 4 total_states 56 peak_states 56 mark_read 7" */
static void stats_of(const char *log, unsigned long *ret_insns, unsigned long *ret_states)
{
	const char *at = strstr(log, "processed ");

	*ret_insns = *ret_states = 0;
	if (!at || sscanf(at, "processed %lu insns", ret_insns) != 1)
		return;
	at = strstr(at, "total_states ");
	if (at && sscanf(at, "total_states %lu", ret_states) != 1)
		*ret_states = 0;
}

/* The verifier's last sentence before its statistics, else libbpf's. */
static void why_of(const char *log, char why[static WHY_BYTES])
{
	static const char *const statistics[] = { "verification time ", "stack depth ",
						  "processed " };
	const char *end = log + strlen(log), *line;

	why[0] = '\0';
	for (size_t i = 0; i < ARRAY_LEN(statistics); i++) {
		line = strstr(log, statistics[i]);
		if (line && line < end)
			end = line;
	}
	while (end > log && end[-1] == '\n')
		end--;
	for (line = end; line > log && line[-1] != '\n';)
		line--;
	if (end > line)
		snprintf(why, WHY_BYTES, "%.*s", (int)(end - line), line);
	else if (!strstr(said, "program load failed")) /* that tells what the errno tells */
		snprintf(why, WHY_BYTES, "%s", said);
	why[strcspn(why, "\n")] = '\0';
	for (char *c = why; *c; c++)
		if (*c == '\t')
			*c = ' ';
}

/* Whether what a program hangs on, a function or a tracepoint, is in this kernel. Others hang on nothing. */
static bool is_present(const struct btf *vmlinux, const char *section)
{
	const char *name = strchr(section, '/');
	char type[128];

	if (!name)
		return true;
	name++;
	if (strncmp(section, "tp_btf/", 7) == 0) {
		snprintf(type, sizeof(type), "btf_trace_%s", name);
		return btf__find_by_name_kind(vmlinux, type, BTF_KIND_TYPEDEF) >= 0;
	}
	if (strncmp(section, "fentry/", 7) == 0 || strncmp(section, "fexit/", 6) == 0)
		return btf__find_by_name_kind(vmlinux, name, BTF_KIND_FUNC) >= 0;
	return true;
}

static struct bpf_link *iter_attach(const struct bpf_program *prog, int map_fd)
{
	union bpf_iter_link_info info = {};
	struct bpf_iter_attach_opts opts;

	/* memset: libbpf refuses non-zero padding */
	memset(&opts, 0, sizeof(opts));
	opts.sz = sizeof(opts);
	opts.link_info = &info;
	opts.link_info_len = sizeof(info);
	info.map.map_fd = (uint32_t)map_fd;
	return bpf_program__attach_iter(prog, map_fd >= 0 ? &opts : NULL);
}

/* Attaches for a moment. A program that user space runs by hand has nothing to be attached to. */
static int attach_alone(const struct bpf_program *prog, const struct bpf_object *maps,
			int cgroup_fd)
{
	const char *section = bpf_program__section_name(prog), *name = bpf_program__name(prog);
	struct bpf_link *link;
	int map_fd = -1;

	if (strcmp(section, "syscall") == 0)
		return 0;
	if (strcmp(section, "iter/bpf_sk_storage_map") == 0)
		map_fd = bpf_object__find_map_fd_by_name(
			maps, strstr(name, "connects") ? "connects" : "sockets");
	if (strncmp(section, "iter/", 5) == 0)
		link = iter_attach(prog, map_fd);
	else if (strncmp(section, "cgroup/", 7) == 0 || strcmp(section, "sockops") == 0)
		link = bpf_program__attach_cgroup(prog, cgroup_fd);
	else
		link = bpf_program__attach(prog);
	if (!link)
		return -errno;
	bpf_link__destroy(link);
	return 0;
}

static struct bpf_object *source_open(const struct source *source, const struct bpf_object *maps)
{
	LIBBPF_OPTS(bpf_object_open_opts, opts, .object_name = source->name);
	const void *bytes;
	struct bpf_object *obj;
	const struct bpf_map *shared;
	struct bpf_map *map;
	size_t size;

	bytes = source->bytes(&size);
	obj = bpf_object__open_mem(bytes, size, &opts);
	if (!obj)
		return NULL;
	bpf_object__for_each_map(map, obj) {
		shared = maps ? bpf_object__find_map_by_name(maps, bpf_map__name(map)) : NULL;
		if (shared && !bpf_map__is_internal(map))
			bpf_map__reuse_fd(map, bpf_map__fd(shared));
	}
	return obj;
}

struct verdict {
	char word[64], why[WHY_BYTES];
	unsigned int size;
	unsigned long insns, states;
};

/* Instructions of a loaded program, as the kernel has rewritten them; 0: not known. */
static unsigned int size_of(const struct bpf_program *prog)
{
	struct bpf_prog_info info = {};
	uint32_t bytes = sizeof(info);

	if (!prog || bpf_program__fd(prog) < 0 ||
	    bpf_obj_get_info_by_fd(bpf_program__fd(prog), &info, &bytes) < 0)
		return 0;
	return info.xlated_prog_len / 8;
}

/* One program by itself, the others of its object left out. */
static void program_try(const struct source *source, const char *name,
			const struct bpf_object *maps, int cgroup_fd, struct verdict *ret)
{
	static char log[LOG_BYTES];
	struct bpf_object *obj = source_open(source, maps);
	struct bpf_program *prog;
	int r;

	log[0] = said[0] = '\0';
	if (!obj) {
		snprintf(ret->word, sizeof(ret->word), "refused (%s)", strerror(errno));
		return;
	}
	bpf_object__for_each_program(prog, obj)
		bpf_program__set_autoload(prog, strcmp(bpf_program__name(prog), name) == 0);
	prog = bpf_object__find_program_by_name(obj, name);
	bpf_program__set_log_level(prog, LOG_STATS);
	bpf_program__set_log_buf(prog, log, sizeof(log));
	r = __real_bpf_object__load(obj);
	stats_of(log, &ret->insns, &ret->states);
	if (r < 0) {
		snprintf(ret->word, sizeof(ret->word), "refused (%s)", strerror(-r));
		why_of(log, ret->why);
	} else {
		ret->size = size_of(prog);
		r = attach_alone(prog, maps, cgroup_fd);
		if (r < 0) {
			snprintf(ret->word, sizeof(ret->word), "not attached (%s)", strerror(-r));
			why_of("", ret->why);
		}
	}
	bpf_object__close(obj);
}

/* By name: the address of one that was given up may be another's now. */
static const struct bpf_object *kept(const struct pile_kernel *k, const char *name)
{
	for (int i = 0; i < PILE_KERNEL_OBJECTS; i++)
		if (k->objects[i] && strcmp(bpf_object__name(k->objects[i]), name) == 0)
			return k->objects[i];
	return NULL;
}

static void source_print(const struct pile_kernel *k, size_t index, const struct btf *vmlinux,
			 const struct bpf_object *maps, int cgroup_fd)
{
	const struct source *source = &sources[index];
	const struct bpf_object *is = kept(k, source->name);
	struct bpf_object *obj = source_open(source, NULL);
	struct bpf_program *prog;
	int n = 0;

	if (!obj)
		return;
	bpf_object__for_each_program(prog, obj) {
		const char *name = bpf_program__name(prog);
		struct verdict v = {};

		if (!is_present(vmlinux, bpf_program__section_name(prog))) {
			snprintf(v.word, sizeof(v.word), "absent");
		} else if (is && n < PROGRAMS_MAX) {
			snprintf(v.word, sizeof(v.word), "runs");
			v.size = size_of(bpf_object__find_program_by_name(is, name));
			stats_of(loads[index].logs[n], &v.insns, &v.states);
		} else {
			snprintf(v.word, sizeof(v.word), loads[index].tried ? "left" : "spare");
			program_try(source, name, maps, cgroup_fd, &v);
		}
		printf("%s\t%s\t%s\t%u\t%lu\t%lu\t%s\n", source->name, name, v.word, v.size,
		       v.insns, v.states, v.why);
		n++;
	}
	bpf_object__close(obj);
}

static struct bpf_object *maps_make(void)
{
	static const struct source source = { "maps", maps_bpf__elf_bytes };
	struct bpf_object *maps = source_open(&source, NULL);
	struct bpf_map *shards;

	if (!maps)
		return NULL;
	shards = bpf_object__find_map_by_name(maps, "shards");
	if (shards && bpf_map__set_max_entries(shards, PILE_GROUPS_MAX) == 0 &&
	    __real_bpf_object__load(maps) == 0)
		return maps;
	bpf_object__close(maps);
	return NULL;
}

static const char *attach_try(struct pile_kernel *k, int cgroup_fd, bool gate, bool deadline)
{
	struct pile_kernel_attachment attachment;
	int r = pile_kernel_attach(k, cgroup_fd, gate, deadline, &attachment);

	if (r < 0)
		return strerror(-r);
	pile_kernel_detach(&attachment);
	return "ok";
}

int main(int argc, char **argv)
{
	static struct pile_kernel kernel;
	struct pile_error err = {};
	struct bpf_object *maps;
	struct btf *vmlinux;
	char text[512];
	int r, fd;

	fd = argc == 2 ? open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	if (fd < 0) {
		fprintf(stderr, "usage: %s CGROUP\n", argv[0]);
		return 2;
	}
	r = pile_kernel_open(&kernel, &err);
	libbpf_set_print(print_keep);
	vmlinux = btf__load_vmlinux_btf();
	maps = maps_make();
	if (vmlinux && maps)
		for (size_t i = 0; i < ARRAY_LEN(sources); i++)
			source_print(&kernel, i, vmlinux, maps, fd);
	bpf_object__close(maps);
	btf__free(vmlinux);
	printf("# open: %s\n", r < 0 ? pile_error_format(&err, text, sizeof(text)) : "ok");
	if (r < 0)
		return 1;
	printf("# tier: %s\n# missing: %s\n# loop: %s\n# hertz: %u\n",
	       pile_kernel_tier_name(kernel.tier), kernel.missing[0] ? kernel.missing : "nothing",
	       kernel.loop ? "armed" : "not armed", kernel.control->hz);
	printf("# attach rung 1: %s\n", attach_try(&kernel, fd, true, false));
	printf("# attach deadline: %s\n", attach_try(&kernel, fd, false, true));
	pile_kernel_close(&kernel);
	close(fd);
	return 0;
}

// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * verdicts: what this kernel says of each of the guard's BPF programs, loaded as the guard loads them (the daemon's own
 * kernel room, with bpf_object__load() watched). Needs root.
 *
 * usage: verdicts CGROUP          a cgroup v2 directory, to attach rung 1 and the deadline to for a moment
 *
 * A line a program, tab-separated: object, program, verdict, instructions that the verifier looked at, states it kept.
 * Verdicts: runs (loaded; attached where the guard attaches it at its start), refused (with the errno), absent (the
 * function that it hangs on is not there), "not attached" (loaded, its hook was refused). Then "# name: value" lines.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "kernel/kernel.h"

#define LOADS_MAX 16
#define PROGRAMS_MAX 24
#define LOG_BYTES (64 * 1024)
#define LOG_STATS 4 /* BPF_LOG_STATS: one line about the whole, and nothing else */

struct program {
	char name[64];
	bool wanted, loaded;
	char log[LOG_BYTES];
};

struct load {
	char object[64];
	int result;
	const struct bpf_object *is; /* an address to compare by */
	int n_programs;
	struct program programs[PROGRAMS_MAX];
};

static struct load loads[LOADS_MAX];
static int n_loads;

int __real_bpf_object__load(struct bpf_object *obj);
int __wrap_bpf_object__load(struct bpf_object *obj);

int __wrap_bpf_object__load(struct bpf_object *obj)
{
	struct load *load = &loads[n_loads < LOADS_MAX - 1 ? n_loads++ : LOADS_MAX - 1];
	struct bpf_program *prog;
	int i = 0;

	snprintf(load->object, sizeof(load->object), "%s", bpf_object__name(obj));
	load->is = obj;
	bpf_object__for_each_program(prog, obj) {
		struct program *p = &load->programs[i];

		if (i == PROGRAMS_MAX)
			break;
		i++;
		snprintf(p->name, sizeof(p->name), "%s", bpf_program__name(prog));
		p->wanted = bpf_program__autoload(prog);
		bpf_program__set_log_level(prog, LOG_STATS);
		bpf_program__set_log_buf(prog, p->log, sizeof(p->log));
	}
	load->n_programs = i;
	load->result = __real_bpf_object__load(obj);
	i = 0;
	bpf_object__for_each_program(prog, obj) {
		if (i < load->n_programs)
			load->programs[i++].loaded = bpf_program__fd(prog) >= 0;
	}
	return load->result;
}

static bool is_kept(const struct pile_kernel *k, const struct bpf_object *obj)
{
	for (int i = 0; i < PILE_KERNEL_OBJECTS; i++)
		if (k->objects[i] == obj)
			return true;
	return false;
}

/* "processed 1234 insns (limit 1000000) max_states_per_insn 4 total_states 56 peak_states 56 mark_read 7" */
static void stats_of(const struct program *p, unsigned long *ret_insns, unsigned long *ret_states)
{
	const char *at = strstr(p->log, "processed ");

	*ret_insns = *ret_states = 0;
	if (!at || sscanf(at, "processed %lu insns", ret_insns) != 1)
		return;
	at = strstr(at, "total_states ");
	if (at && sscanf(at, "total_states %lu", ret_states) != 1)
		*ret_states = 0;
}

static void program_print(const struct pile_kernel *k, const struct load *load,
			  const struct program *p)
{
	unsigned long insns, states;
	char verdict[64] = "runs";

	stats_of(p, &insns, &states);
	if (!p->wanted)
		snprintf(verdict, sizeof(verdict), "absent");
	else if (load->result < 0 && !p->loaded)
		snprintf(verdict, sizeof(verdict), "refused (%s)", strerror(-load->result));
	else if (load->result < 0 || !is_kept(k, load->is))
		snprintf(verdict, sizeof(verdict), "not attached");
	printf("%s\t%s\t%s\t%lu\t%lu\n", load->object, p->name, verdict, insns, states);
}

static int attach_try(struct pile_kernel *k, const char *cgroup, bool gate, bool deadline)
{
	struct pile_kernel_attachment attachment;
	int fd = open(cgroup, O_RDONLY | O_DIRECTORY | O_CLOEXEC), r;

	if (fd < 0)
		return -errno;
	r = pile_kernel_attach(k, fd, gate, deadline, &attachment);
	if (r == 0)
		pile_kernel_detach(&attachment);
	close(fd);
	return r;
}

int main(int argc, char **argv)
{
	static struct pile_kernel kernel;
	struct pile_error err = {};
	int r, rung1, deadline;
	char text[512];

	if (argc != 2) {
		fprintf(stderr, "usage: %s CGROUP\n", argv[0]);
		return 2;
	}
	r = pile_kernel_open(&kernel, &err);
	for (int i = 0; i < n_loads; i++)
		for (int j = 0; j < loads[i].n_programs; j++)
			program_print(&kernel, &loads[i], &loads[i].programs[j]);
	if (r < 0) {
		printf("# open: %s\n", pile_error_format(&err, text, sizeof(text)));
		return 1;
	}
	rung1 = attach_try(&kernel, argv[1], true, false);
	deadline = attach_try(&kernel, argv[1], false, true);
	printf("# open: ok\n# tier: %s\n# missing: %s\n# loop: %s\n# hertz: %u\n# attach rung 1: %s\n# attach deadline: %s\n",
	       pile_kernel_tier_name(kernel.tier), kernel.missing[0] ? kernel.missing : "nothing",
	       kernel.loop ? "armed" : "not armed", kernel.control->hz,
	       rung1 < 0 ? strerror(-rung1) : "ok", deadline < 0 ? strerror(-deadline) : "ok");
	pile_kernel_close(&kernel);
	return 0;
}

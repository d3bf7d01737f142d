/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * residue.h: what of pileguard is on this host, as found by looking at the host, not by asking the daemon.
 * residue_find.c collects, and tells apart what belongs to a guard that runs; residue_bpf.c asks the kernel for
 * programs, maps and links; residue.c prints. Owned by the command; blocks, allocates; prints only through residue.c.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum pile_residue_kind {
	PILE_RESIDUE_PROGRAM,
	PILE_RESIDUE_MAP,
	PILE_RESIDUE_LINK,
	PILE_RESIDUE_KNOB, /* this version sets none */
	PILE_RESIDUE_DROP_IN,
	PILE_RESIDUE_CGROUP,
	PILE_RESIDUE_FILE,
	PILE_RESIDUE_KINDS,
};

struct pile_residue_thing {
	enum pile_residue_kind kind;
	uint32_t id;	 /* of the kernel; 0 = not a BPF object */
	char text[300];	 /* a name, a path */
	pid_t holder;	 /* a process that has it open; 0 = none seen */
	char comm[16];	 /* the holder's */
	bool guard;	 /* the holder is a guard */
	uint64_t cgroup; /* links: the id of the cgroup; 0 = none */
};

struct pile_residue {
	struct pile_residue_thing *things; /* heap; the caller frees */
	unsigned int n, size;
};

/** pile_residue_add - one more, zeroed but for @kind; borrowed until the next is added. NULL: out of memory. */
struct pile_residue_thing *pile_residue_add(struct pile_residue *r, enum pile_residue_kind kind);

/**
 * pile_residue_bpf_find - programs, maps and links of any guard
 * A map is ours when its key or value has a type of pileguard/abi.h (the kernel keeps the types, whatever the version
 * and the name), a program when it uses such a map, a link when it runs such a program.
 * Returns 0, or negative errno: -EPERM when the kernel does not let us look.
 */
int pile_residue_bpf_find(struct pile_residue *r);

/** pile_residue_find - all that there is, into @r, anew. Returns 0 or negative errno. */
int pile_residue_find(struct pile_residue *r, const char *socket_path);

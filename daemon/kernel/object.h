/* SPDX-License-Identifier: GPL-2.0-or-later */
/* object.h: one BPF object: loaded with the maps of all, attached, asked for a program. Called by kernel.c only. */
#pragma once

#include <bpf/libbpf.h>
#include <stdarg.h>

#include "kernel/kernel.h"

#define PILE_OBJECT_MAPS 0 /* place in pile_kernel.objects of the one whose maps the others use */

struct pile_object_def {
	const char *name;
	const void *(*bytes)(size_t *size);
	const char *without; /* what is lost when the kernel refuses it */
	bool required;
};

/** pile_object_log - for libbpf_set_print(): its last warning is kept for pile_object_why_not(). */
int pile_object_log(enum libbpf_print_level level, const char *fmt, va_list ap);

/** pile_object_why_not - negative errno of the last load, in words; borrowed, until the next one. */
const char *pile_object_why_not(int r);

/**
 * pile_object_load - without the programs whose functions this kernel does not have
 * @vmlinux: the kernel's types. Returns 0 or negative errno; @ret is the caller's, to be closed.
 */
int pile_object_load(const struct pile_kernel *k, const struct btf *vmlinux,
		     const struct pile_object_def *def, struct bpf_object **ret);

/** pile_object_attach - every program of it, or none. Links are kept in @k. Returns 0 or negative errno. */
int pile_object_attach(struct pile_kernel *k, struct bpf_object *obj);

/** pile_object_iter - @map_fd: the map to be walked; -1 = none. Returns the caller's link, or NULL with errno. */
struct bpf_link *pile_object_iter(struct bpf_object *obj, const char *prog_name, int map_fd);

/** pile_object_program - borrowed; NULL: no such object (@obj may be NULL), or no such program. */
const struct bpf_program *pile_object_program(const struct bpf_object *obj, const char *name);

/** pile_object_has - such a program was loaded: this kernel has the function that it is attached to. */
bool pile_object_has(const struct bpf_object *obj, const char *name);

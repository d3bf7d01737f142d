// SPDX-License-Identifier: GPL-2.0-or-later
#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "residue.h"
#include "util/macro.h"

#define TYPES "pile_bpf_" /* how the structs of abi.h are called */
#define PROGRAM_MAPS_MAX 64

static bool type_is_ours(const struct btf *btf, uint32_t id)
{
	const struct btf_type *type = id ? btf__type_by_id(btf, id) : NULL;
	const char *name = type ? btf__name_by_offset(btf, type->name_off) : NULL;

	return name && strncmp(name, TYPES, strlen(TYPES)) == 0;
}

static bool map_is_ours(const struct bpf_map_info *info)
{
	struct btf *btf;
	bool ours;

	if (!info->btf_id)
		return false;
	btf = btf__load_from_kernel_by_id(info->btf_id);
	if (!btf)
		return false;
	ours = type_is_ours(btf, info->btf_key_type_id) ||
	       type_is_ours(btf, info->btf_value_type_id);
	btf__free(btf);
	return ours;
}

static const struct pile_residue_thing *find(const struct pile_residue *r,
					     enum pile_residue_kind kind, uint32_t id)
{
	for (unsigned int i = 0; i < r->n; i++)
		if (r->things[i].kind == kind && r->things[i].id == id)
			return &r->things[i];
	return NULL;
}

static int add(struct pile_residue *r, enum pile_residue_kind kind, uint32_t id, const char *name)
{
	struct pile_residue_thing *thing = pile_residue_add(r, kind);

	if (!thing)
		return -ENOMEM;
	thing->id = id;
	snprintf(thing->text, sizeof(thing->text), "%s", name);
	return 0;
}

/* Each of these looks at one object; one that has gone meanwhile is passed over. */

static int map_look(struct pile_residue *r, uint32_t id, bool by_type)
{
	_cleanup_close_ int fd = bpf_map_get_fd_by_id(id);
	struct bpf_map_info info = {};
	uint32_t size = sizeof(info);

	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	if (bpf_obj_get_info_by_fd(fd, &info, &size) < 0)
		return -errno;
	if ((by_type && !map_is_ours(&info)) || find(r, PILE_RESIDUE_MAP, id))
		return 0;
	return add(r, PILE_RESIDUE_MAP, id, info.name);
}

static int map_look_typed(struct pile_residue *r, uint32_t id)
{
	return map_look(r, id, true);
}

/* With all of its maps: some of ours have plain types. */
static int program_look(struct pile_residue *r, uint32_t id)
{
	_cleanup_close_ int fd = bpf_prog_get_fd_by_id(id);
	uint32_t maps[PROGRAM_MAPS_MAX] = {};
	struct bpf_prog_info info = { .nr_map_ids = PROGRAM_MAPS_MAX,
				      .map_ids = (uint64_t)(uintptr_t)maps };
	uint32_t size = sizeof(info), n;
	bool ours = false;
	int rc;

	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	if (bpf_obj_get_info_by_fd(fd, &info, &size) < 0)
		return -errno;
	n = MIN(info.nr_map_ids, (uint32_t)PROGRAM_MAPS_MAX);
	for (uint32_t i = 0; i < n; i++)
		ours |= find(r, PILE_RESIDUE_MAP, maps[i]) != NULL;
	if (!ours)
		return 0;
	rc = add(r, PILE_RESIDUE_PROGRAM, id, info.name);
	for (uint32_t i = 0; i < n && rc == 0; i++)
		rc = map_look(r, maps[i], false);
	return rc;
}

static int link_look(struct pile_residue *r, uint32_t id)
{
	_cleanup_close_ int fd = bpf_link_get_fd_by_id(id);
	const struct pile_residue_thing *program;
	struct bpf_link_info info = {};
	uint32_t size = sizeof(info);
	char text[sizeof(program->text)];
	int rc;

	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	if (bpf_obj_get_info_by_fd(fd, &info, &size) < 0)
		return -errno;
	program = find(r, PILE_RESIDUE_PROGRAM, info.prog_id);
	if (!program)
		return 0;
	snprintf(text, sizeof(text), "of %.200s", program->text);
	rc = add(r, PILE_RESIDUE_LINK, id, text);
	if (rc == 0 && info.type == BPF_LINK_TYPE_CGROUP)
		r->things[r->n - 1].cgroup = info.cgroup.cgroup_id;
	return rc;
}

static int walk(struct pile_residue *r, int (*next)(uint32_t start, uint32_t *ret),
		int (*look)(struct pile_residue *r, uint32_t id))
{
	uint32_t id = 0;
	int rc = 0;

	while (rc == 0 && next(id, &id) == 0)
		rc = look(r, id);
	if (rc == 0 && errno != ENOENT)
		rc = -errno;
	return rc;
}

static int quiet(enum libbpf_print_level level, const char *fmt, va_list ap)
{
	(void)level;
	(void)fmt;
	(void)ap;
	return 0;
}

int pile_residue_bpf_find(struct pile_residue *r)
{
	int rc;

	libbpf_set_print(quiet);
	rc = walk(r, bpf_map_get_next_id, map_look_typed);
	if (rc == 0)
		rc = walk(r, bpf_prog_get_next_id, program_look);
	return rc == 0 ? walk(r, bpf_link_get_next_id, link_look) : rc;
}

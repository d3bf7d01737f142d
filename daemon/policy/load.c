// SPDX-License-Identifier: GPL-2.0-or-later
/* Each file: text -> tree with places -> shape -> libcyaml -> numbers; the whole: rules -> hash. Each step may
 * refuse, none logs. */
#include "policy/load.h"

#include <errno.h>
#include <fcntl.h>
#include <sha2.h>
#include <string.h>

#include "policy/check.h"
#include "policy/convert.h"
#include "policy/format.h"
#include "policy/shape.h"

#define PATH_MAX_IN_POLICY 64 /* "groups[127].connect_deadline" */

/** What one file brought, to find a place again when the whole is checked. */
struct part {
	const char *name;
	struct pile_locate tree;
	uint32_t first_group,
		first_fingerprint; /* of the policy's, that are this file's or a later one's */
	char revision[PILE_REVISION_MAX];
};

struct parts {
	uint32_t n;
	struct part parts[PILE_FILES_MAX];
};

static void parts_freep(struct parts **parts)
{
	if (!*parts)
		return;
	for (uint32_t i = 0; i < (*parts)->n; i++)
		pile_locate_fini(&(*parts)->parts[i].tree);
	free(*parts);
}

/* The value at @path of this part is wrong: say where it stands. */
static int place(const struct part *part, const char *path, int r, struct pile_error *err)
{
	const struct pile_locate_node *node = pile_locate_find(&part->tree, path);

	if (!err)
		return r;
	snprintf(err->file, sizeof(err->file), "%s", part->name);
	if (node) {
		err->line = node->line;
		err->column = node->column;
	}
	return r;
}

static bool gives(const struct part *part, const char *key)
{
	return part->tree.n && pile_locate_find(&part->tree, key) != part->tree.nodes;
}

/* "---" and comments alone are an empty policy as well. */
static bool is_empty(const struct pile_locate *tree)
{
	return !tree->n || tree->nodes[0].empty;
}

static int part_convert(struct part *part, const struct pile_files_one *file,
			struct pile_policy *policy, struct pile_error *err)
{
	_cleanup_(pile_schema_freep) struct pile_schema_root *root = NULL;
	char path[PATH_MAX_IN_POLICY] = "";
	int r;

	r = pile_shape_check(&part->tree, err);
	if (r < 0)
		return r;
	r = pile_schema_load(file->text, file->size, &root, err);
	if (r < 0)
		return r;
	r = pile_convert_policy(root, policy, path, sizeof(path), err);
	if (r < 0)
		return place(part, path, r, err);
	if (root->revision)
		snprintf(part->revision, sizeof(part->revision), "%s", root->revision);
	return 0;
}

/* The steps below know lines, not files. */
static int part_load(struct part *part, const struct pile_files_one *file,
		     struct pile_policy *policy, struct pile_error *err)
{
	int r;

	part->name = file->name;
	part->first_group = policy->n_groups;
	part->first_fingerprint = policy->n_fingerprints;
	pile_error_set_at(err, EINVAL, file->name, 0, 0, "%s", "");
	if (file->size > PILE_FILES_SIZE_MAX)
		return pile_error_set(err, EFBIG, "larger than 1 MiB: a policy is some kilobytes");
	r = pile_locate_parse(file->text, file->size, &part->tree, err);
	if (r == 0 && !is_empty(&part->tree))
		r = part_convert(part, file, policy, err);
	if (err)
		snprintf(err->file, sizeof(err->file), "%s", file->name);
	return r;
}

/*
 * "groups[7].unit" of the whole is "groups[2].unit" of the file that brought it. A key of the top stands in the last
 * file that gives it.
 */
static const struct part *part_find(const struct parts *parts, const char *path, char *ret_path,
				    size_t size)
{
	const struct part *found = &parts->parts[0];
	bool group = !strncmp(path, "groups[", 7),
	     fingerprint = !strncmp(path, "fingerprints[", 13);
	const char *bracket = strchr(path, '[');
	unsigned long index = bracket ? strtoul(bracket + 1, NULL, 10) : 0;

	for (uint32_t i = 0; i < parts->n; i++) {
		const struct part *part = &parts->parts[i];

		if (group	  ? part->first_group <= index
		    : fingerprint ? part->first_fingerprint <= index
				  : gives(part, path))
			found = part;
	}
	if (group || fingerprint)
		snprintf(ret_path, size, "%.*s[%lu%s", (int)(bracket - path), path,
			 index - (group ? found->first_group : found->first_fingerprint),
			 strchr(path, ']'));
	else
		snprintf(ret_path, size, "%s", path);
	return found;
}

static int check_whole(const struct parts *parts, const struct pile_policy *policy,
		       struct pile_error *err)
{
	char path[PATH_MAX_IN_POLICY] = "", own[PATH_MAX_IN_POLICY + 24] = "";
	int r = pile_check_policy(policy, path, sizeof(path), err);

	return r < 0 ? place(part_find(parts, path, own, sizeof(own)), own, r, err) : 0;
}

/* Returns 1 when two files give different ones. A file that gives none has no part in it. */
static int check_revisions(const struct parts *parts, struct pile_error *err)
{
	const struct part *first = NULL;

	for (uint32_t i = 0; i < parts->n; i++) {
		const struct part *part = &parts->parts[i];

		if (!part->revision[0])
			continue;
		if (!first)
			first = part;
		if (!strcmp(part->revision, first->revision))
			continue;
		pile_error_set(
			err, EINVAL,
			"revision: '%s', but '%s' in %.200s: half of a push; write the others too",
			part->revision, first->revision, first->name);
		return place(part, "revision", 1, err);
	}
	return 0;
}

/* What is said of where it came from. */
static void source_format(const struct pile_files *files, char *buf, size_t size)
{
	const char *last = files->files[files->n - 1].name, *slash = strrchr(last, '/');

	if (files->n == 1)
		snprintf(buf, size, "%s", last);
	else
		snprintf(buf, size, "%s and %u more in %.*s", files->files[0].name, files->n - 1,
			 slash ? (int)(slash - last) : 1, slash ? last : ".");
}

int pile_load_files(const struct pile_files *files, struct pile_policy *ret, struct pile_error *err)
{
	_cleanup_(parts_freep) struct parts *parts = calloc(1, sizeof(*parts));
	_cleanup_free_ struct pile_policy *policy = calloc(1, sizeof(*policy));
	int r = 0, mixed;

	if (!policy || !parts)
		return pile_error_set_at(err, ENOMEM, files->files[0].name, 0, 0, "out of memory");
	pile_policy_init(policy);
	for (uint32_t i = 0; i < files->n && r == 0; i++)
		r = part_load(&parts->parts[parts->n++], &files->files[i], policy, err);
	if (r == 0)
		r = check_whole(parts, policy, err);
	if (r < 0)
		return r;
	mixed = check_revisions(parts, err);
	source_format(files, policy->source, sizeof(policy->source));
	r = pile_load_seal(policy);
	if (r < 0)
		return pile_error_set_at(err, r, files->files[0].name, 0, 0, "out of memory");
	pile_policy_copy(ret, policy);
	return mixed;
}

int pile_load_text(const char *text, size_t size, const char *name, struct pile_policy *ret,
		   struct pile_error *err)
{
	_cleanup_free_ struct pile_files *files = calloc(1, sizeof(*files));

	if (!files)
		return pile_error_set_at(err, ENOMEM, name, 0, 0, "out of memory");
	files->n = 1;
	files->files[0].text = (char *)text; /* borrowed: only read */
	files->files[0].size = size;
	snprintf(files->files[0].name, sizeof(files->files[0].name), "%s", name);
	return pile_load_files(files, ret, err);
}

int pile_load_file(const char *path, struct pile_policy *ret, struct pile_error *err)
{
	_cleanup_free_ char *text = NULL;
	size_t size = 0;
	int r;

	r = pile_files_read_one(AT_FDCWD, path, PILE_FILES_SIZE_MAX, &text, &size, err);
	if (r < 0)
		return r;
	return pile_load_text(text, size, path, ret, err);
}

int pile_load_builtin(struct pile_policy *ret)
{
	pile_policy_init(ret);
	return pile_load_seal(ret);
}

int pile_load_format(const struct pile_policy *policy, char **ret)
{
	_cleanup_free_ char *text = NULL;
	size_t size;
	bool failed;
	FILE *f;

	f = open_memstream(&text, &size);
	if (!f)
		return -ENOMEM;
	pile_format_write(policy, f);
	failed = ferror(f);
	failed |= fclose(f) != 0;
	if (failed)
		return -ENOMEM;
	*ret = TAKE_PTR(text);
	return 0;
}

int pile_load_seal(struct pile_policy *policy)
{
	_cleanup_free_ char *text = NULL;
	int r;

	r = pile_load_format(policy, &text);
	if (r < 0)
		return r;
	_Static_assert(sizeof(policy->hash) == SHA256_DIGEST_STRING_LENGTH, "hex and NUL");
	SHA256Data((const uint8_t *)text, strlen(text), policy->hash);
	return 0;
}

// SPDX-License-Identifier: GPL-2.0-or-later
/* Text -> tree with places -> shape -> libcyaml -> numbers -> rules -> hash; each step may refuse,
 * none logs. */
#include "policy/load.h"

#include <errno.h>
#include <fcntl.h>
#include <sha2.h>
#include <string.h>
#include <sys/stat.h>

#include "policy/check.h"
#include "policy/convert.h"
#include "policy/format.h"
#include "policy/shape.h"

#define PATH_MAX_IN_POLICY 64 /* "groups[127].connect_deadline" */

static int read_all(int fd, char *buf, size_t size, size_t *ret_size)
{
	size_t used = 0;

	while (used < size) {
		ssize_t n = read(fd, buf + used, size - used);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		used += (size_t)n;
	}
	*ret_size = used;
	return 0;
}

static int fail_file(struct pile_error *err, int code, const char *path, const char *text)
{
	return pile_error_set_at(err, code, path, 0, 0, "%s", text);
}

static int fail_errno(struct pile_error *err, int code, const char *path)
{
	return pile_error_set_at(err, code, path, 0, 0, "cannot be read: %s", strerror(code));
}

int pile_load_read(int dir_fd, const char *path, char **ret, size_t *ret_size,
		   struct pile_error *err)
{
	_cleanup_close_ int fd = -1;
	_cleanup_free_ char *buf = NULL;
	struct stat st;
	size_t size = 0;
	int r;

	/* O_NONBLOCK: a FIFO in the file's place must not stop the guard. */
	fd = openat(dir_fd, path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (fd < 0 || fstat(fd, &st) < 0)
		return fail_errno(err, errno, path);
	if (!S_ISREG(st.st_mode))
		return fail_file(err, EINVAL, path,
				 "not a regular file: write the policy into one");
	/* The size is found by reading: files in /proc say 0, and others may grow. */
	buf = malloc(PILE_LOAD_SIZE_MAX + 1);
	if (!buf)
		return fail_file(err, ENOMEM, path, "out of memory");
	r = read_all(fd, buf, PILE_LOAD_SIZE_MAX + 1, &size);
	if (r < 0)
		return fail_errno(err, -r, path);
	if (size > PILE_LOAD_SIZE_MAX)
		return fail_file(err, EFBIG, path, "larger than 1 MiB: a policy is some kilobytes");
	*ret = TAKE_PTR(buf);
	*ret_size = size;
	return 0;
}

/* The value at @path is wrong: say where it stands. */
static int place(const struct pile_locate *tree, const char *path, int r, struct pile_error *err)
{
	const struct pile_locate_node *node = pile_locate_find(tree, path);

	if (err && node) {
		err->line = node->line;
		err->column = node->column;
	}
	return r;
}

static int load_tree(const struct pile_locate *tree, const char *text, size_t size,
		     struct pile_policy *policy, struct pile_error *err)
{
	_cleanup_(pile_schema_freep) struct pile_schema_root *root = NULL;
	char path[PATH_MAX_IN_POLICY] = "";
	int r;

	r = pile_shape_check(tree, err);
	if (r < 0)
		return r;
	r = pile_schema_load(text, size, &root, err);
	if (r < 0)
		return r;
	r = pile_convert_policy(root, policy, path, sizeof(path), err);
	if (r == 0)
		r = pile_check_policy(policy, path, sizeof(path), err);
	return r < 0 ? place(tree, path, r, err) : 0;
}

/* "---" and comments alone are an empty policy as well. */
static bool is_empty(const struct pile_locate *tree)
{
	return !tree->n || tree->nodes[0].empty;
}

static int load_policy(const char *text, size_t size, struct pile_policy *policy,
		       struct pile_error *err)
{
	_cleanup_(pile_locate_fini) struct pile_locate tree = { 0 };
	int r;

	if (size > PILE_LOAD_SIZE_MAX)
		return pile_error_set(err, EFBIG, "larger than 1 MiB: a policy is some kilobytes");
	r = pile_locate_parse(text, size, &tree, err);
	if (r < 0)
		return r;
	if (!is_empty(&tree))
		r = load_tree(&tree, text, size, policy, err);
	return r;
}

int pile_load_text(const char *text, size_t size, const char *name, struct pile_policy *ret,
		   struct pile_error *err)
{
	_cleanup_free_ struct pile_policy *policy = calloc(1, sizeof(*policy));
	int r;

	/* The steps below know lines, not files. */
	pile_error_set_at(err, EINVAL, name, 0, 0, "%s", "");
	if (!policy)
		return fail_file(err, ENOMEM, name, "out of memory");
	pile_policy_init(policy);
	r = load_policy(text, size, policy, err);
	if (err)
		snprintf(err->file, sizeof(err->file), "%s", name);
	if (r < 0)
		return r;
	snprintf(policy->source, sizeof(policy->source), "%s", name);
	r = pile_load_seal(policy);
	if (r < 0)
		return fail_file(err, r, name, "out of memory");
	pile_policy_copy(ret, policy);
	return 0;
}

int pile_load_file(const char *path, struct pile_policy *ret, struct pile_error *err)
{
	_cleanup_free_ char *text = NULL;
	size_t size = 0;
	int r;

	r = pile_load_read(AT_FDCWD, path, &text, &size, err);
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

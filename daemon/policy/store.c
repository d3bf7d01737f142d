// SPDX-License-Identifier: GPL-2.0-or-later
#include "policy/store.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sha2.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "policy/files.h"
#include "policy/load.h"

#define FILE_NAME "policy.committed.yaml"
/* One fixed name, under the directory's lock: a crash leaves at most one, and the next commit
 * overwrites it. */
#define NEW_NAME "." FILE_NAME ".new"

#define HEX_LENGTH (SHA256_DIGEST_STRING_LENGTH - 1)
#define STORE_PATH_MAX 256   /* for people: errors and policy->source */
#define GENERATION_LENGTH 20 /* UINT64_MAX in decimal */

/*
 * The file: a seal over all that follows it, so that no flipped bit passes, then the generation,
 * then the canonical text. "hash" is the policy's own, as status shows it: for people; a newer
 * version may compute another one.
 */
#define SEAL_PREFIX "# pileguard: the last committed policy, kept by the guard; do not edit. seal: "
#define GENERATION_PREFIX "# generation: "
#define HASH_PREFIX "# hash: "

static const char *path_in(const char *dir, char path[STORE_PATH_MAX])
{
	snprintf(path, STORE_PATH_MAX, "%s/" FILE_NAME, dir);
	return path;
}

static int fail(struct pile_error *err, int code, const char *dir, const char *what)
{
	char path[STORE_PATH_MAX];

	return pile_error_set_at(err, code, path_in(dir, path), 0, 0, "%s", what);
}

static int fail_errno(struct pile_error *err, int code, const char *dir, const char *what)
{
	char text[128];

	snprintf(text, sizeof(text), "%s: %s", what, strerror(code));
	return fail(err, code, dir, text);
}

static int write_all(int fd, const char *text, size_t size)
{
	while (size) {
		ssize_t n = write(fd, text, size);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		text += n;
		size -= (size_t)n;
	}
	return 0;
}

/* Seal line, generation line, hash line, canonical text. */
static int compose(const struct pile_policy *policy, uint64_t generation, char **ret)
{
	_cleanup_free_ char *yaml = NULL, *body = NULL;
	char hash[SHA256_DIGEST_STRING_LENGTH], seal[SHA256_DIGEST_STRING_LENGTH];
	int r;

	r = pile_load_format(policy, &yaml);
	if (r < 0)
		return r;
	SHA256Data((const uint8_t *)yaml, strlen(yaml), hash);
	if (asprintf(&body, GENERATION_PREFIX "%" PRIu64 "\n" HASH_PREFIX "%s\n%s", generation,
		     hash, yaml) < 0) {
		body = NULL;
		return -ENOMEM;
	}
	SHA256Data((const uint8_t *)body, strlen(body), seal);
	return asprintf(ret, SEAL_PREFIX "%s\n%s", seal, body) < 0 ? -ENOMEM : 0;
}

/* The new file, whole and on the disk, before it takes the old one's name. */
static int write_new(int dir_fd, const char *text)
{
	_cleanup_close_ int fd = -1;
	int r;

	fd = openat(dir_fd, NEW_NAME, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0640);
	if (fd < 0)
		return -errno;
	r = write_all(fd, text, strlen(text));
	if (r < 0)
		return r;
	return fsync(fd) < 0 ? -errno : 0;
}

static int replace(int dir_fd, const char *text)
{
	int r;

	r = write_new(dir_fd, text);
	if (r == 0 && renameat(dir_fd, NEW_NAME, dir_fd, FILE_NAME) < 0)
		r = -errno;
	if (r < 0) {
		unlinkat(dir_fd, NEW_NAME, 0);
		return r;
	}
	return fsync(dir_fd) < 0 ? -errno : 0;
}

int pile_store_commit(const char *dir, const struct pile_policy *policy, uint64_t generation,
		      struct pile_error *err)
{
	_cleanup_close_ int dir_fd = -1;
	_cleanup_free_ char *text = NULL;
	int r;

	if (compose(policy, generation, &text) < 0)
		return fail(err, ENOMEM, dir, "out of memory");
	dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir_fd < 0)
		return fail_errno(err, errno, dir, "the state directory cannot be opened");
	/* Two writers at once (the guard, pileguardctl) would share NEW_NAME. The lock ends with
	 * the descriptor. */
	if (flock(dir_fd, LOCK_EX) < 0)
		return fail_errno(err, errno, dir, "the state directory cannot be locked");
	r = replace(dir_fd, text);
	return r < 0 ? fail_errno(err, -r, dir, "the policy cannot be kept") : 0;
}

/* Moves @p behind @prefix and @length characters of @set and a line feed; NULL when it reads
 * otherwise. */
static const char *take_line(const char *p, const char *prefix, const char *set, size_t length,
			     const char **ret_value)
{
	if (!p || strncmp(p, prefix, strlen(prefix)))
		return NULL;
	p += strlen(prefix);
	*ret_value = p;
	if (strspn(p, set) < 1 || strspn(p, set) > length)
		return NULL;
	p += strspn(p, set);
	return *p == '\n' ? p + 1 : NULL;
}

/* @text is NUL-terminated. Returns the YAML inside of it, or NULL when the file is not as it was
 * written. */
static const char *open_seal(const char *text, size_t size, uint64_t *ret_generation)
{
	const char *seal, *generation, *hash, *body, *p;
	char expected[SHA256_DIGEST_STRING_LENGTH];

	if (strlen(text) != size)
		return NULL;
	body = take_line(text, SEAL_PREFIX, "0123456789abcdef", HEX_LENGTH, &seal);
	if (!body)
		return NULL;
	SHA256Data((const uint8_t *)body, strlen(body), expected);
	if (strncmp(seal, expected, HEX_LENGTH))
		return NULL;
	p = take_line(body, GENERATION_PREFIX, "0123456789", GENERATION_LENGTH, &generation);
	p = take_line(p, HASH_PREFIX, "0123456789abcdef", HEX_LENGTH, &hash);
	if (p)
		*ret_generation = strtoull(generation, NULL, 10);
	return p;
}

uint64_t pile_store_time(const char *dir)
{
	char path[STORE_PATH_MAX];
	struct stat st;

	if (stat(path_in(dir, path), &st) < 0)
		return 0;
	return (uint64_t)st.st_mtim.tv_sec * NS_PER_SEC + (uint64_t)st.st_mtim.tv_nsec;
}

int pile_store_load(const char *dir, struct pile_policy *ret, uint64_t *ret_generation,
		    struct pile_error *err)
{
	_cleanup_close_ int dir_fd = -1;
	_cleanup_free_ char *text = NULL;
	char path[STORE_PATH_MAX];
	uint64_t generation = 0;
	const char *yaml;
	size_t size;
	int r;

	dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir_fd < 0)
		return fail_errno(err, errno, dir,
				  "no committed policy: the state directory cannot be opened");
	r = pile_files_read_one(dir_fd, FILE_NAME, PILE_FILES_SIZE_MAX, &text, &size, err);
	if (r < 0)
		return fail_errno(err, -r, dir, "no committed policy can be read");
	yaml = open_seal(text, size, &generation);
	if (!yaml)
		return fail(
			err, EINVAL, dir,
			"the committed policy was changed or cut after it was written: reload a good "
			"policy.yaml to replace it");
	r = pile_load_text(yaml, strlen(yaml), path_in(dir, path), ret, err);
	if (r < 0)
		return r;
	*ret_generation = generation;
	return 0;
}

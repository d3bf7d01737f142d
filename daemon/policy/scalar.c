// SPDX-License-Identifier: GPL-2.0-or-later
#include "policy/scalar.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "policy/policy.h"
#include "util/quantity.h"

#define COUNT_MAX 1000000u /* workers, waiting requests: ten times what any host of ours holds */

#define WRITE_DURATION "write 2s, 500ms or 1min"
#define WRITE_SIZE "write 512MiB, 1.5GiB or 64KiB"
#define WRITE_BUDGET "write 60%, 512MiB or host"
#define WRITE_DEADLINE "write 1s, or none"
#define WRITE_PERCENT "write 60% or 2.5%, at most 100%"

static int fail_quantity(const char *key, const char *text, int r, const char *what,
			 const char *advice, struct pile_error *err)
{
	if (r == -EDOM)
		return pile_error_set(err, EINVAL, "%s: '%.64s' has no unit: %s", key, text,
				      advice);
	if (r == -ERANGE)
		return pile_error_set(err, EINVAL, "%s: '%.64s' is too much: %s", key, text,
				      advice);
	return pile_error_set(err, EINVAL, "%s: '%.64s' is not %s: %s", key, text, what, advice);
}

int pile_scalar_duration(const char *key, const char *text, void *target, struct pile_error *err)
{
	int r = pile_quantity_parse_duration(text, target);

	return r < 0 ? fail_quantity(key, text, r, "a duration", WRITE_DURATION, err) : 0;
}

/* 0 stands for "none" in the struct, so a duration of 0 must not slip into it. */
int pile_scalar_deadline(const char *key, const char *text, void *target, struct pile_error *err)
{
	uint64_t ns = 0;
	int r;

	if (!strcmp(text, "none"))
		return 0;
	r = pile_quantity_parse_duration(text, &ns);
	if (r < 0)
		return fail_quantity(key, text, r, "a duration", WRITE_DEADLINE, err);
	if (!ns)
		return pile_error_set(err, EINVAL, "%s: '%.64s' would end every connect: %s", key,
				      text, WRITE_DEADLINE);
	*(uint64_t *)target = ns;
	return 0;
}

/* "none": a restart empties nothing. */
int pile_scalar_life(const char *key, const char *text, void *target, struct pile_error *err)
{
	if (strcmp(text, "none"))
		return pile_scalar_duration(key, text, target, err);
	*(uint64_t *)target = 0;
	return 0;
}

static int bytes_parse(const char *key, const char *text, const char *advice, uint64_t *target,
		       struct pile_error *err)
{
	uint64_t bytes = 0;
	int r = pile_quantity_parse_size(text, &bytes);

	if (r < 0)
		return fail_quantity(key, text, r, "a size", advice, err);
	if (!bytes)
		return pile_error_set(err, EINVAL, "%s: '%.64s' is nothing: %s", key, text, advice);
	*target = bytes;
	return 0;
}

int pile_scalar_permille(const char *key, const char *text, void *target, struct pile_error *err)
{
	uint32_t permille = 0;
	int r = pile_quantity_parse_percent(text, &permille);

	if (r < 0)
		return fail_quantity(key, text, r, "a share", WRITE_PERCENT, err);
	if (!permille)
		return pile_error_set(err, EINVAL, "%s: '%.64s' is nothing: %s", key, text,
				      WRITE_PERCENT);
	*(uint32_t *)target = permille;
	return 0;
}

/* Both forms of one key; the target is the whole group. */
int pile_scalar_budget(const char *key, const char *text, void *target, struct pile_error *err)
{
	struct pile_policy_group *group = target;

	if (!strcmp(text, "host"))
		return 0;
	if (strchr(text, '%'))
		return pile_scalar_permille(key, text, &group->memory_budget_permille, err);
	return bytes_parse(key, text, WRITE_BUDGET, &group->memory_budget_bytes, err);
}

static int count_parse(const char *key, const char *text, const char *none, uint32_t *target,
		       struct pile_error *err)
{
	size_t n = strlen(text);
	unsigned long count;

	if (!strcmp(text, none))
		return 0;
	if (strspn(text, "0123456789") != n)
		return pile_error_set(err, EINVAL,
				      "%s: '%.64s' is not a whole number: write 100, or %s", key,
				      text, none);
	count = n < 10 ? strtoul(text, NULL, 10) : COUNT_MAX + 1ul;
	if (!count || count > COUNT_MAX)
		return pile_error_set(err, EINVAL,
				      "%s: '%.64s' is out of range: write 1 to %u, or %s", key,
				      text, COUNT_MAX, none);
	*target = (uint32_t)count;
	return 0;
}

int pile_scalar_workers_max(const char *key, const char *text, void *target, struct pile_error *err)
{
	return count_parse(key, text, "unknown", target, err);
}

int pile_scalar_connections_max(const char *key, const char *text, void *target,
				struct pile_error *err)
{
	return count_parse(key, text, "none", target, err);
}

int pile_scalar_shed_share(const char *key, const char *text, void *target, struct pile_error *err)
{
	return strcmp(text, "none") ? pile_scalar_permille(key, text, target, err) : 0;
}

int pile_scalar_baseline(const char *key, const char *text, void *target, struct pile_error *err)
{
	return count_parse(key, text, "learn", target, err);
}

int pile_scalar_listen(const char *key, const char *text, void *target, struct pile_error *err)
{
	if (!strcmp(text, "all") || pile_endpoint_parse(text, false, target) == 0)
		return 0;
	return pile_error_set(
		err, EINVAL,
		"%s: '%.128s' is not an address with a port: write /run/app.sock, \"@name\", "
		":9000, 127.0.0.1:9000 or \"[::1]:9000\", or all",
		key, text);
}

static int text_copy(const char *key, const char *text, char *target, size_t size,
		     struct pile_error *err)
{
	if (strlen(text) >= size)
		return pile_error_set(err, EINVAL, "%s: is %zu characters long: write at most %zu",
				      key, strlen(text), size - 1);
	snprintf(target, size, "%s", text);
	return 0;
}

int pile_scalar_name(const char *key, const char *text, void *target, struct pile_error *err)
{
	return text_copy(key, text, target, PILE_NAME_MAX, err);
}

int pile_scalar_unit(const char *key, const char *text, void *target, struct pile_error *err)
{
	return text_copy(key, text, target, PILE_UNIT_MAX, err);
}

int pile_scalar_cgroup(const char *key, const char *text, void *target, struct pile_error *err)
{
	return text_copy(key, text, target, PILE_CGROUP_MAX, err);
}

int pile_scalar_exe(const char *key, const char *text, void *target, struct pile_error *err)
{
	return text_copy(key, text, target, PILE_MATCH_EXE_MAX, err);
}

int pile_scalar_user(const char *key, const char *text, void *target, struct pile_error *err)
{
	return text_copy(key, text, target, PILE_MATCH_USER_MAX, err);
}

int pile_scalar_port(const char *key, const char *text, void *target, struct pile_error *err)
{
	size_t n = strlen(text);
	unsigned long port = n < 6 ? strtoul(text, NULL, 10) : 0;

	if (strspn(text, "0123456789") != n || !port || port > UINT16_MAX)
		return pile_error_set(err, EINVAL,
				      "%s: '%.64s' is not a port: write a number from 1 to 65535",
				      key, text);
	*(uint16_t *)target = (uint16_t)port;
	return 0;
}

int pile_scalar_revision(const char *key, const char *text, void *target, struct pile_error *err)
{
	return text_copy(key, text, target, PILE_REVISION_MAX, err);
}

int pile_scalar_reserve(const char *key, const char *text, void *target, struct pile_error *err)
{
	if (strcmp(text, "auto"))
		return bytes_parse(key, text, WRITE_SIZE, target, err);
	*(uint64_t *)target = 0;
	return 0;
}

int pile_scalar_notice(const char *key, const char *text, void *target, struct pile_error *err)
{
	if (strcmp(text, "none"))
		return pile_scalar_duration(key, text, target, err);
	*(uint64_t *)target = 0;
	return 0;
}

int pile_scalar_path(const char *key, const char *text, void *target, struct pile_error *err)
{
	return text_copy(key, text, target, PILE_FINGERPRINT_PATH_MAX, err);
}

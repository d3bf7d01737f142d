// SPDX-License-Identifier: GPL-2.0-or-later
#include "groups/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "util/macro.h"

ssize_t pile_proc_pread(int fd, char *buf, size_t size)
{
	ssize_t n;

	do {
		n = pread(fd, buf, size - 1, 0);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	buf[n] = '\0';
	return n;
}

ssize_t pile_proc_read(const char *path, char *buf, size_t size)
{
	_cleanup_close_ int fd = -1;

	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	return pile_proc_pread(fd, buf, size);
}

int pile_proc_cgroup(uint32_t tgid, char *ret, size_t size)
{
	char path[64], text[4096];
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%u/cgroup", tgid);
	n = pile_proc_read(path, text, sizeof(text));
	return n < 0 ? (int)n : pile_proc_cgroup_parse(text, ret, size);
}

int pile_proc_cgroup_parse(char *text, char *ret, size_t size)
{
	char *line, *end;

	line = strncmp(text, "0::", 3) == 0 ? text : strstr(text, "\n0::");
	if (!line)
		return -ENOENT;
	line = strchr(line, '/');
	if (!line)
		return -ENOENT;
	end = strchr(line, '\n');
	if (!end)
		return -ENAMETOOLONG;
	*end = '\0';
	if (strlen(line) >= size)
		return -ENAMETOOLONG;
	/* a cgroup that is gone reads "/path (deleted)" */
	if (strstr(line, " (deleted)"))
		return -ENOENT;
	snprintf(ret, size, "%s", line);
	return 0;
}

int pile_proc_number(const char *text, uint64_t *ret)
{
	char *end;

	if (strncmp(text, "max", 3) == 0) {
		*ret = UINT64_MAX;
		return 0;
	}
	if (*text < '0' || *text > '9')
		return -EINVAL;
	errno = 0;
	*ret = strtoull(text, &end, 10);
	return errno ? -EINVAL : 0;
}

int pile_proc_field(const char *text, const char *key, uint64_t *ret)
{
	size_t len = strlen(key);
	const char *p = text;

	while (p) {
		if (strncmp(p, key, len) == 0 && (p[len] == ' ' || p[len] == '\t'))
			return pile_proc_number(p + len + strspn(p + len, " \t"), ret);
		p = strchr(p, '\n');
		if (p)
			p++;
	}
	return -ENOENT;
}

static bool ends_with(const char *s, size_t len, const char *suffix)
{
	size_t n = strlen(suffix);

	return len > n && strncmp(s + len - n, suffix, n) == 0;
}

static bool unit_copy(const char *unit, size_t len, char *ret, size_t size)
{
	if (len >= size)
		return false;
	memcpy(ret, unit, len);
	ret[len] = '\0';
	return true;
}

bool pile_proc_unit(const char *cgroup, char *ret, size_t size)
{
	static const char *const suffixes[] = { ".service", ".socket", ".scope" };
	const char *p = cgroup;
	size_t len;

	do {
		p += *p == '/';
		len = strcspn(p, "/");
		for (size_t i = 0; i < ARRAY_LEN(suffixes); i++)
			if (ends_with(p, len, suffixes[i]))
				return unit_copy(p, len, ret, size);
		p += len;
	} while (*p == '/' && ends_with(p - len, len, ".slice"));
	return false;
}

bool pile_proc_foreign(const char *cgroup)
{
	static const char *const prefixes[] = {
		"/user.slice", "/machine.slice", "/kubepods",
		"/docker",     "/lxc",		 "/libpod",
		"/garden",     "/ecs",		 "/system.slice/docker-",
	};
	for (size_t i = 0; i < ARRAY_LEN(prefixes); i++)
		if (strncmp(cgroup, prefixes[i], strlen(prefixes[i])) == 0)
			return true;
	return strstr(cgroup, "/kubepods") != NULL || strstr(cgroup, "/libpod-") != NULL ||
	       strstr(cgroup, "/crio-") != NULL || strstr(cgroup, "/cri-containerd-") != NULL;
}

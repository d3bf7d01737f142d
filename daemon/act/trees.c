// SPDX-License-Identifier: GPL-2.0-or-later
#include "act/trees.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libcgroup.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "groups/proc.h"
#include "policy/policy.h"
#include "util/macro.h"

#define PATH_SIZE (PILE_CGROUP_MAX + 300)

typedef struct cgroup *cgroup_ptr;

static inline void cgroup_freep(cgroup_ptr *cgroup)
{
	cgroup_free(cgroup);
}

/* What libcgroup says of a failed call: the errno behind it, where there is one. */
static int failed(int error)
{
	if (error == ECGOTHER)
		return cgroup_get_last_errno() > 0 ? -cgroup_get_last_errno() : -EIO;
	return error == ECGROUPNOTEXIST ? -ENOENT : error == ECGROUPNOTOWNER ? -EPERM : -EIO;
}

static void tree_add(struct pile_trees *t, const char *controller, const char *mount, bool unified)
{
	struct pile_tree *tree = &t->trees[t->n];

	if (t->n == PILE_TREES_MAX || strlen(mount) >= sizeof(tree->mount))
		return;
	/* controllers that are mounted together are one tree */
	for (uint32_t i = 0; i < t->n; i++)
		if (!t->trees[i].unified && strcmp(t->trees[i].mount, mount) == 0)
			return;
	*tree = (struct pile_tree){ .unified = unified };
	snprintf(tree->controller, sizeof(tree->controller), "%s", controller);
	snprintf(tree->mount, sizeof(tree->mount), "%s", mount);
	t->n++;
}

/* libcgroup would switch it on at v2's root, which would outlive us. */
static bool is_on(const char *unified, const char *controller)
{
	char path[PATH_SIZE], text[1024], *save = NULL;

	snprintf(path, sizeof(path), "%s/cgroup.subtree_control", unified);
	if (pile_proc_read(path, text, sizeof(text)) < 0)
		return false;
	for (char *word = strtok_r(text, " \n", &save); word; word = strtok_r(NULL, " \n", &save))
		if (strcmp(word, controller) == 0)
			return true;
	return false;
}

void pile_trees_find(struct pile_trees *ret, const char *unified, bool systemd)
{
	static const char *const controllers[] = { "pids", "cpu", "memory", "name=systemd" };

	*ret = (struct pile_trees){ .managed = systemd };
	tree_add(ret, "", unified, true);
	if (cgroup_init() != 0)
		return;
	for (size_t i = 0; i < ARRAY_LEN(controllers); i++) {
		_cleanup_free_ char *mount = NULL;

		if ((strncmp(controllers[i], "name=", 5) == 0 && !systemd) ||
		    cgroup_get_subsys_mount_point(controllers[i], &mount) != 0)
			continue;
		if (strcmp(mount, unified) != 0)
			tree_add(ret, controllers[i], mount, false);
		else if (!ret->trees[0].controller[0] && is_on(unified, controllers[i]))
			snprintf(ret->trees[0].controller, sizeof(ret->trees[0].controller), "%s",
				 controllers[i]);
	}
}

static void path_format(const struct pile_tree *tree, const char *cgroup, const char *file,
			char *ret)
{
	snprintf(ret, PATH_SIZE, "%s%s%s%s", tree->mount, strcmp(cgroup, "/") == 0 ? "" : cgroup,
		 file[0] ? "/" : "", file);
}

/* The next longer beginning of a path: "/a/b" -> "/a", "/a/b". Returns false at its end. */
static bool ancestor_next(const char *cgroup, size_t *at, char *ret)
{
	if (!cgroup[*at])
		return false;
	*at += 1 + strcspn(cgroup + *at + 1, "/");
	snprintf(ret, PILE_CGROUP_MAX, "%.*s", (int)*at, cgroup);
	return true;
}

static int plain_make(const struct pile_tree *tree, const char *cgroup)
{
	char ancestor[PILE_CGROUP_MAX], path[PATH_SIZE];
	size_t at = 0;

	while (ancestor_next(cgroup, &at, ancestor)) {
		path_format(tree, ancestor, "", path);
		if (mkdir(path, 0755) < 0 && errno != EEXIST)
			return -errno;
	}
	return 0;
}

static int library_make(const struct pile_tree *tree, const char *cgroup)
{
	_cleanup_(cgroup_freep) cgroup_ptr c = cgroup_new_cgroup(cgroup + 1);
	int r;

	if (!c || !cgroup_add_controller(c, tree->controller))
		return -ENOMEM;
	r = cgroup_create_cgroup(c, 1);
	return r ? failed(r) : 0;
}

int pile_trees_make(const struct pile_trees *t, const char *cgroup)
{
	for (uint32_t i = 0; i < t->n; i++) {
		char path[PATH_SIZE];
		int r;

		path_format(&t->trees[i], cgroup, "", path);
		if (access(path, F_OK) == 0)
			continue;
		r = t->trees[i].controller[0] ? library_make(&t->trees[i], cgroup)
					      : plain_make(&t->trees[i], cgroup);
		if (r < 0)
			return r;
	}
	return 0;
}

/* Not by libcgroup, which would move to the parent whoever came into it meanwhile; the kernel refuses. */
int pile_trees_remove(const struct pile_trees *t, const char *cgroup)
{
	char path[PATH_SIZE], *slash;
	int r = 0;

	for (uint32_t i = 0; i < t->n && !t->managed; i++) {
		path_format(&t->trees[i], cgroup, "", path);
		if (rmdir(path) < 0 && errno != ENOENT) {
			r = r ? r : -errno;
			continue;
		}
		slash = strrchr(path, '/');
		*slash = '\0';
		/* others' may be in it: then it stays */
		if (strcmp(path, t->trees[i].mount) != 0)
			(void)rmdir(path);
	}
	return r;
}

uint32_t pile_trees_sweep(const struct pile_trees *t)
{
	char path[PATH_SIZE], inner[PATH_SIZE + 256];
	struct dirent *entry;
	uint32_t n = 0;

	for (uint32_t i = 0; i < t->n && !t->managed; i++) {
		DIR *dir;

		path_format(&t->trees[i], "/" PILE_PLACE_SLICE, "", path);
		dir = opendir(path);
		while (dir && (entry = readdir(dir))) {
			if (strncmp(entry->d_name, PILE_PLACE_PREFIX, strlen(PILE_PLACE_PREFIX)))
				continue;
			/* the kernel refuses while somebody is in it */
			snprintf(inner, sizeof(inner), "%s/%s", path, entry->d_name);
			n += rmdir(inner) == 0;
		}
		if (dir)
			closedir(dir);
		(void)rmdir(path);
	}
	return n;
}

/* "7:pids:/a": the line of this tree, where several controllers may stand together. */
static const char *line_find(const struct pile_tree *tree, char *text)
{
	char *line, *save = NULL;

	for (line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		char *names = strchr(line, ':'), *path = names ? strchr(names + 1, ':') : NULL;
		char *name, *inner = NULL;

		if (!path)
			continue;
		*path++ = '\0';
		if (tree->unified) {
			if (strcmp(line, "0:") == 0)
				return path;
			continue;
		}
		for (name = strtok_r(names + 1, ",", &inner); name;
		     name = strtok_r(NULL, ",", &inner))
			if (strcmp(name, tree->controller) == 0)
				return path;
	}
	return NULL;
}

int pile_trees_where(const struct pile_tree *tree, uint32_t pid, char *ret, size_t size)
{
	char path[64], text[8192];
	const char *found;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%u/cgroup", pid);
	n = pile_proc_read(path, text, sizeof(text));
	if (n < 0)
		return (int)n;
	/* cut off it would read as another cgroup, above its own */
	if (!n || text[n - 1] != '\n')
		return n ? -ENAMETOOLONG : -ENOENT;
	found = line_find(tree, text);
	/* a cgroup that is gone reads "/path (deleted)" */
	if (!found || found[0] != '/' || strstr(found, " (deleted)"))
		return -ENOENT;
	if (strlen(found) >= size)
		return -ENAMETOOLONG;
	snprintf(ret, size, "%s", found);
	return 0;
}

static int plain_put(const struct pile_tree *tree, const char *cgroup, const char *pid)
{
	_cleanup_close_ int fd = -1;
	char path[PATH_SIZE];

	path_format(tree, cgroup, "cgroup.procs", path);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	return write(fd, pid, strlen(pid)) < 0 ? -errno : 0;
}

/*
 * As a knob: cgroup_attach_task_pid() writes to `tasks` on v1, which moves one thread of the process and leaves the
 * others behind.
 */
static int library_put(const struct pile_tree *tree, const char *cgroup, const char *pid)
{
	_cleanup_(cgroup_freep) cgroup_ptr c = cgroup_new_cgroup(cgroup + 1);
	struct cgroup_controller *controller =
		c ? cgroup_add_controller(c, tree->controller) : NULL;
	int r;

	if (!controller || cgroup_add_value_string(controller, "cgroup.procs", pid) != 0)
		return -ENOMEM;
	r = cgroup_modify_cgroup(c);
	return r ? failed(r) : 0;
}

int pile_trees_put(const struct pile_tree *tree, const char *cgroup, uint32_t pid)
{
	char text[16];

	snprintf(text, sizeof(text), "%u", pid);
	/* libcgroup has no word for a root */
	if (!tree->controller[0] || strcmp(cgroup, "/") == 0)
		return plain_put(tree, cgroup, text);
	return library_put(tree, cgroup, text);
}

uint32_t pile_trees_list(const struct pile_tree *tree, const char *cgroup, uint32_t *ret,
			 uint32_t max)
{
	char path[PATH_SIZE];
	unsigned int pid;
	uint32_t n = 0;
	FILE *file;

	path_format(tree, cgroup, "cgroup.procs", path);
	file = fopen(path, "re");
	if (!file)
		return 0;
	while (n < max && fscanf(file, "%u", &pid) == 1)
		if (pid) /* 0: of a pid namespace that is not ours */
			ret[n++] = pid;
	fclose(file);
	return n;
}

bool pile_trees_foreign(const struct pile_tree *tree, const char *cgroup)
{
	char ancestor[PILE_CGROUP_MAX], path[PATH_SIZE], value[8];
	struct stat st;
	size_t at = 0;

	if (strcmp(cgroup, "/") == 0)
		return false;
	while (ancestor_next(cgroup, &at, ancestor)) {
		path_format(tree, ancestor, "", path);
		if (stat(path, &st) < 0 || st.st_uid != 0)
			return true;
		/* systemd marks what it has handed over, in one of two ways */
		if (getxattr(path, "trusted.delegate", value, sizeof(value)) > 0 ||
		    getxattr(path, "user.delegate", value, sizeof(value)) > 0)
			return true;
	}
	return false;
}

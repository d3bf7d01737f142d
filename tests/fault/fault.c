// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * fault.c: calls that fail when a test says so. Linked into build/fault/pileguardd with --wrap (fault.mk), around the
 * same objects that the shipped daemon is made of. Caught are the calls of the daemon itself, and libcyaml's
 * allocations; what other libraries do inside is not.
 */
#include "fault.h"

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <cyaml/cyaml.h>
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <libcgroup.h>
#include <pthread.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <systemd/sd-event.h>
#include <unistd.h>

/* Numbers are the test's, too: faultlib.py. */
enum function {
	F_MALLOC,
	F_CALLOC,
	F_REALLOC,
	F_REALLOCARRAY,
	F_STRNDUP,
	F_ASPRINTF,
	F_OPEN_MEMSTREAM,
	F_CYAML_MEM,
	F_MAP_UPDATE,
	F_MAP_DELETE,
	F_MAP_REUSE,
	F_OBJECT_OPEN,
	F_OBJECT_LOAD,
	F_ATTACH,
	F_ATTACH_CGROUP,
	F_ATTACH_ITER,
	F_ITER_CREATE,
	F_LINK_CREATE,
	F_TEST_RUN,
	F_BTF_LOAD,
	F_WRITE,
	F_FSYNC,
	F_FTRUNCATE,
	F_RENAME,
	F_RENAMEAT,
	F_OPEN,
	F_OPENAT,
	F_OPENDIR,
	F_SOCKET,
	F_SOCKETPAIR,
	F_BIND,
	F_LISTEN,
	F_FCNTL,
	F_EVENTFD,
	F_MEMFD,
	F_MMAP,
	F_THREAD,
	F_SPAWN,
	F_EVENT_NEW,
	F_EVENT_IO,
	F_EVENT_SIGNAL,
	F_EVENT_TIME,
	F_READ,
	F_MKDIR,
	F_PIDFD_OPEN,
	F_CGROUP_CREATE,
	F_CGROUP_MODIFY,
	FUNCTIONS
};

static struct fault_page *page;

/* Return addresses within the daemon, innermost first; of a library that calls back: within that. */
static void __attribute__((noinline)) call_fill(struct fault_call *call)
{
	void *frames[24], *own = NULL;
	unsigned int depth = 0;
	Dl_info info;
	int n = backtrace(frames, 24);

	if (dladdr((void *)call_fill, &info))
		own = info.dli_fbase;
	/* this one, fails() and the wrapper itself are not what is asked for */
	for (int i = 3; i < n && depth < FAULT_DEPTH; i++) {
		if (!dladdr(frames[i], &info))
			continue;
		if (info.dli_fbase != own && depth > 0)
			break;
		call->at[depth++] = (uint32_t)((uintptr_t)frames[i] - (uintptr_t)info.dli_fbase);
	}
}

static bool is_armed(const struct fault_call *call)
{
	return page->armed.function == call->function &&
	       memcmp(page->armed.at, call->at, page->depth * sizeof(call->at[0])) == 0;
}

/* Written down; true: this is the one that is to fail. */
static bool __attribute__((noinline)) fails(enum function function, int error)
{
	struct fault_call call = { .function = function };
	uint32_t n;

	if (!page)
		return false;
	call_fill(&call);
	n = __atomic_fetch_add(&page->n_calls, 1, __ATOMIC_SEQ_CST);
	if (n < FAULT_CALLS_MAX)
		page->calls[n] = call;
	if (!__atomic_load_n(&page->left, __ATOMIC_SEQ_CST) || !is_armed(&call) ||
	    __atomic_sub_fetch(&page->left, 1, __ATOMIC_SEQ_CST) != 0)
		return false;
	__atomic_add_fetch(&page->fired, 1, __ATOMIC_SEQ_CST);
	errno = error;
	return true;
}

static void __attribute__((constructor)) fault_open(void)
{
	const char *path = getenv("PILE_FAULT_FILE");
	void *warm[2], *p;
	int fd;

	(void)backtrace(warm, 2); /* loads what it needs the first time */
	fd = path ? openat64(AT_FDCWD, path, O_RDWR | O_CLOEXEC) : -1;
	if (fd < 0)
		return;
	p = mmap64(NULL, sizeof(*page), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (p == MAP_FAILED)
		return;
	page = p;
	page->magic = FAULT_MAGIC;
	page->functions = FUNCTIONS;
}

/* A function of fixed arguments: its result type, name, what it returns when it fails, errno, parameters, arguments. */
#define WRAP(type, name, number, error, failure, params, args)        \
	type __real_##name params;                                    \
	type __wrap_##name params;                                    \
	type __attribute__((noinline)) __wrap_##name params           \
	{                                                             \
		type r;                                               \
                                                                      \
		if (fails(number, error))                             \
			return failure;                               \
		r = __real_##name args;                               \
		__asm__ volatile("" ::: "memory"); /* no tail call */ \
		return r;                                             \
	}

WRAP(void *, malloc, F_MALLOC, ENOMEM, NULL, (size_t size), (size))
WRAP(void *, calloc, F_CALLOC, ENOMEM, NULL, (size_t n, size_t size), (n, size))
WRAP(void *, realloc, F_REALLOC, ENOMEM, NULL, (void *p, size_t size), (p, size))
WRAP(void *, reallocarray, F_REALLOCARRAY, ENOMEM, NULL, (void *p, size_t n, size_t size),
     (p, n, size))
WRAP(char *, strndup, F_STRNDUP, ENOMEM, NULL, (const char *s, size_t n), (s, n))
WRAP(FILE *, open_memstream, F_OPEN_MEMSTREAM, ENOMEM, NULL, (char **p, size_t *size), (p, size))
WRAP(int, bpf_map_update_elem, F_MAP_UPDATE, ENOMEM, -ENOMEM,
     (int fd, const void *key, const void *value, __u64 flags), (fd, key, value, flags))
WRAP(int, bpf_map_delete_elem, F_MAP_DELETE, EBUSY, -EBUSY, (int fd, const void *key), (fd, key))
WRAP(int, bpf_map__reuse_fd, F_MAP_REUSE, EMFILE, -EMFILE, (struct bpf_map * map, int fd),
     (map, fd))
WRAP(struct bpf_object *, bpf_object__open_mem, F_OBJECT_OPEN, ENOMEM, NULL,
     (const void *buf, size_t size, const struct bpf_object_open_opts *opts), (buf, size, opts))
WRAP(int, bpf_object__load, F_OBJECT_LOAD, ENOMEM, -ENOMEM, (struct bpf_object * obj), (obj))
WRAP(struct bpf_link *, bpf_program__attach, F_ATTACH, EBUSY, NULL, (const struct bpf_program *p),
     (p))
WRAP(struct bpf_link *, bpf_program__attach_cgroup, F_ATTACH_CGROUP, ENOMEM, NULL,
     (const struct bpf_program *p, int fd), (p, fd))
WRAP(struct bpf_link *, bpf_program__attach_iter, F_ATTACH_ITER, ENOMEM, NULL,
     (const struct bpf_program *p, const struct bpf_iter_attach_opts *opts), (p, opts))
WRAP(int, bpf_iter_create, F_ITER_CREATE, EMFILE, -EMFILE, (int fd), (fd))
WRAP(int, bpf_link_create, F_LINK_CREATE, EMFILE, -EMFILE,
     (int prog_fd, int target_fd, enum bpf_attach_type type,
      const struct bpf_link_create_opts *opts),
     (prog_fd, target_fd, type, opts))
WRAP(int, bpf_prog_test_run_opts, F_TEST_RUN, ENOMEM, -ENOMEM,
     (int fd, struct bpf_test_run_opts *opts), (fd, opts))
WRAP(struct btf *, btf__load_vmlinux_btf, F_BTF_LOAD, ENOMEM, NULL, (void), ())
WRAP(int, fsync, F_FSYNC, EIO, -1, (int fd), (fd))
WRAP(int, ftruncate, F_FTRUNCATE, ENOMEM, -1, (int fd, off_t size), (fd, size))
WRAP(int, rename, F_RENAME, EIO, -1, (const char *from, const char *to), (from, to))
WRAP(int, renameat, F_RENAMEAT, EIO, -1, (int from_fd, const char *from, int to_fd, const char *to),
     (from_fd, from, to_fd, to))
WRAP(DIR *, opendir, F_OPENDIR, EMFILE, NULL, (const char *path), (path))
WRAP(int, socket, F_SOCKET, EMFILE, -1, (int family, int type, int protocol),
     (family, type, protocol))
WRAP(int, socketpair, F_SOCKETPAIR, EMFILE, -1, (int family, int type, int protocol, int pair[2]),
     (family, type, protocol, pair))
WRAP(int, bind, F_BIND, ENOSPC, -1, (int fd, const struct sockaddr *sa, socklen_t len),
     (fd, sa, len))
WRAP(int, listen, F_LISTEN, EADDRINUSE, -1, (int fd, int backlog), (fd, backlog))
WRAP(int, eventfd, F_EVENTFD, EMFILE, -1, (unsigned int value, int flags), (value, flags))
WRAP(int, memfd_create, F_MEMFD, EMFILE, -1, (const char *name, unsigned int flags), (name, flags))
WRAP(void *, mmap, F_MMAP, ENOMEM, MAP_FAILED,
     (void *at, size_t size, int protection, int flags, int fd, off_t offset),
     (at, size, protection, flags, fd, offset))
WRAP(int, pthread_create, F_THREAD, EAGAIN, EAGAIN,
     (pthread_t * thread, const pthread_attr_t *attr, void *(*run)(void *), void *arg),
     (thread, attr, run, arg))
WRAP(int, posix_spawn, F_SPAWN, EAGAIN, EAGAIN,
     (pid_t * pid, const char *path, const posix_spawn_file_actions_t *actions,
      const posix_spawnattr_t *attr, char *const argv[], char *const envp[]),
     (pid, path, actions, attr, argv, envp))
WRAP(int, sd_event_new, F_EVENT_NEW, EMFILE, -EMFILE, (sd_event * *ret), (ret))
WRAP(int, sd_event_add_io, F_EVENT_IO, ENOMEM, -ENOMEM,
     (sd_event * event, sd_event_source **ret, int fd, uint32_t events, sd_event_io_handler_t fn,
      void *arg),
     (event, ret, fd, events, fn, arg))
WRAP(int, sd_event_add_signal, F_EVENT_SIGNAL, EMFILE, -EMFILE,
     (sd_event * event, sd_event_source **ret, int sig, sd_event_signal_handler_t fn, void *arg),
     (event, ret, sig, fn, arg))
WRAP(int, sd_event_add_time, F_EVENT_TIME, EMFILE, -EMFILE,
     (sd_event * event, sd_event_source **ret, clockid_t clock, uint64_t usec, uint64_t accuracy,
      sd_event_time_handler_t fn, void *arg),
     (event, ret, clock, usec, accuracy, fn, arg))
WRAP(ssize_t, read, F_READ, EIO, -1, (int fd, void *buf, size_t size), (fd, buf, size))

WRAP(int, mkdir, F_MKDIR, ENOMEM, -1, (const char *path, mode_t mode), (path, mode))
WRAP(int, pidfd_open, F_PIDFD_OPEN, EMFILE, -1, (pid_t pid, unsigned int flags), (pid, flags))
WRAP(int, cgroup_create_cgroup, F_CGROUP_CREATE, ENOMEM, ECGFAIL,
     (struct cgroup * cgroup, int ignore_ownership), (cgroup, ignore_ownership))
WRAP(int, cgroup_modify_cgroup, F_CGROUP_MODIFY, ENOMEM, ECGFAIL, (struct cgroup * cgroup),
     (cgroup))

/* libcyaml's allocator: frees too, and that does not fail. */
void *__real_cyaml_mem(void *ctx, void *p, size_t size);
void *__wrap_cyaml_mem(void *ctx, void *p, size_t size);
void *__attribute__((noinline)) __wrap_cyaml_mem(void *ctx, void *p, size_t size)
{
	if (size && fails(F_CYAML_MEM, ENOMEM))
		return NULL;
	return __real_cyaml_mem(ctx, p, size);
}

/* Of files on disk only: an eventfd's write does not fail but for a full counter. */
ssize_t __real_write(int fd, const void *buf, size_t size);
ssize_t __wrap_write(int fd, const void *buf, size_t size);
ssize_t __attribute__((noinline)) __wrap_write(int fd, const void *buf, size_t size)
{
	struct stat st;

	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && fails(F_WRITE, ENOSPC))
		return -1;
	return __real_write(fd, buf, size);
}

/* Those of variable arguments: the one that may follow is read whether it is there or not. */
int __real_open(const char *path, int flags, mode_t mode);
int __wrap_open(const char *path, int flags, mode_t mode);
int __attribute__((noinline)) __wrap_open(const char *path, int flags, mode_t mode)
{
	return fails(F_OPEN, EMFILE) ? -1 : __real_open(path, flags, mode);
}

int __real_openat(int dir, const char *path, int flags, mode_t mode);
int __wrap_openat(int dir, const char *path, int flags, mode_t mode);
int __attribute__((noinline)) __wrap_openat(int dir, const char *path, int flags, mode_t mode)
{
	return fails(F_OPENAT, EMFILE) ? -1 : __real_openat(dir, path, flags, mode);
}

int __real_fcntl(int fd, int command, long arg);
int __wrap_fcntl(int fd, int command, long arg);
int __attribute__((noinline)) __wrap_fcntl(int fd, int command, long arg)
{
	return fails(F_FCNTL, EMFILE) ? -1 : __real_fcntl(fd, command, arg);
}

int __wrap___asprintf_chk(char **ret, int flag, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
int __attribute__((noinline)) __wrap___asprintf_chk(char **ret, int flag, const char *fmt, ...)
{
	va_list ap;
	int n;

	(void)flag;
	if (fails(F_ASPRINTF, ENOMEM))
		return -1;
	va_start(ap, fmt);
	n = vasprintf(ret, fmt, ap);
	va_end(ap);
	return n;
}

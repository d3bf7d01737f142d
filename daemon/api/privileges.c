// SPDX-License-Identifier: GPL-2.0-or-later
#include "api/privileges.h"

#include <cap-ng.h>
#include <errno.h>
#include <pwd.h>
#include <seccomp.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "api/api.h"
#include "pileguard/api.h"
#include "util/macro.h"

/** The user's numbers from /etc/passwd itself. */
static int user_find(const char *name, uid_t *ret_uid, gid_t *ret_gid)
{
	_cleanup_fclose_ FILE *f = fopen("/etc/passwd", "re");
	const struct passwd *pw;

	if (!f)
		return -errno;
	while ((pw = fgetpwent(f))) {
		if (strcmp(pw->pw_name, name) != 0)
			continue;
		*ret_uid = pw->pw_uid;
		*ret_gid = pw->pw_gid;
		return pw->pw_uid ? 0 : -EPERM;
	}
	return -ENOENT;
}

static int become_user(struct pile_error *err)
{
	uid_t uid = 0;
	gid_t gid = 0;
	int flags = CAPNG_DROP_SUPP_GRP;
	int r;

	if (geteuid() != 0)
		return 0;
	if (user_find(PILE_API_USER, &uid, &gid) != 0 && user_find("nobody", &uid, &gid) != 0)
		return pile_error_set(
			err, ENOENT,
			"neither " PILE_API_USER
			" nor nobody is in /etc/passwd: create the user " PILE_API_USER);
	/* The bounding set matters no more after no_new_privs; a unit without CAP_SETPCAP cannot
	 * clear it. */
	if (capng_have_capability(CAPNG_EFFECTIVE, CAP_SETPCAP))
		flags |= CAPNG_CLEAR_BOUNDING;
	capng_clear(CAPNG_SELECT_CAPS);
	r = capng_change_id((int)uid, (int)gid, (capng_flags_t)flags);
	if (r != 0)
		return pile_error_set(err, EPERM,
				      "cannot become user %u (capng_change_id: %d): CAP_SETUID and "
				      "CAP_SETGID are needed",
				      uid, r);
	return 0;
}

static int drop_capabilities(struct pile_error *err)
{
	capng_clear(CAPNG_SELECT_CAPS);
	if (capng_apply(CAPNG_SELECT_CAPS) != 0)
		return pile_error_set(err, EPERM, "cannot drop the capabilities");
	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) != 0 && errno != EINVAL)
		return pile_error_set(err, errno, "cannot clear the ambient capabilities");
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
		return pile_error_set(err, errno, "cannot set no_new_privs");
	prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	return 0;
}

/** No files to write, no core with the snapshot in it, no more descriptors than clients. */
static int limit_resources(struct pile_error *err)
{
	static const struct {
		int resource;
		rlim_t limit;
	} limits[] = {
		{ RLIMIT_CORE, 0 },
		{ RLIMIT_FSIZE, 0 },
		{ RLIMIT_NOFILE, PILE_API_CLIENTS_MAX + 64 },
		{ RLIMIT_AS, PILE_API_MEMORY_MAX },
	};

	for (size_t i = 0; i < ARRAY_LEN(limits); i++) {
		struct rlimit limit = { limits[i].limit, limits[i].limit };

		if (setrlimit(limits[i].resource, &limit) != 0)
			return pile_error_set(err, errno, "cannot lower resource limit %d",
					      limits[i].resource);
	}
	return 0;
}

/* What serving accepted sockets takes: no open, no socket, no connect, no clone, no signal to
 * others. */
static const int allowed_calls[] = {
	SCMP_SYS(accept4),	 SCMP_SYS(recvfrom),
	SCMP_SYS(recvmsg),	 SCMP_SYS(sendto),
	SCMP_SYS(sendmsg),	 SCMP_SYS(read),
	SCMP_SYS(readv),	 SCMP_SYS(write),
	SCMP_SYS(writev),	 SCMP_SYS(close),
	SCMP_SYS(getsockopt),	 SCMP_SYS(getsockname),
	SCMP_SYS(getpeername),	 SCMP_SYS(poll),
	SCMP_SYS(ppoll),	 SCMP_SYS(epoll_wait),
	SCMP_SYS(epoll_pwait),	 SCMP_SYS(epoll_ctl),
	SCMP_SYS(fstat),	 SCMP_SYS(newfstatat), /* stdio */
	SCMP_SYS(clock_gettime), SCMP_SYS(gettimeofday),
	SCMP_SYS(time),		 SCMP_SYS(getrandom), /* jansson's seed */
	SCMP_SYS(brk),		 SCMP_SYS(munmap),
	SCMP_SYS(mremap),	 SCMP_SYS(madvise),
	SCMP_SYS(futex),	 SCMP_SYS(getpid),
	SCMP_SYS(gettid),	 SCMP_SYS(rt_sigprocmask),
	SCMP_SYS(rt_sigreturn),	 SCMP_SYS(restart_syscall),
	SCMP_SYS(sched_yield),	 SCMP_SYS(exit),
	SCMP_SYS(exit_group),
};

/* Whatever libraries do after an update, they never do these: the process is no longer ours. */
static const int deadly_calls[] = {
	SCMP_SYS(execve),
	SCMP_SYS(execveat),
	SCMP_SYS(ptrace),
	SCMP_SYS(process_vm_readv),
	SCMP_SYS(process_vm_writev),
	SCMP_SYS(bpf),
	SCMP_SYS(mount),
	SCMP_SYS(setns),
	SCMP_SYS(unshare),
	SCMP_SYS(init_module),
	SCMP_SYS(finit_module),
	SCMP_SYS(kexec_load),
	SCMP_SYS(keyctl),
	SCMP_SYS(userfaultfd),
	SCMP_SYS(io_uring_setup),
	SCMP_SYS(perf_event_open),
};

/*
 * Calls on every socket but the listener, which the next such process is given too: descriptors that differ from its
 * number in @bit, and have nothing above the low 8 (RLIMIT_NOFILE). The kernel looks at the low half of the argument
 * only: "not equal" would let its number pass with something in the upper half.
 */
static int socket_rules_add(scmp_filter_ctx filter, scmp_datum_t bit)
{
	static const int calls[] = { SCMP_SYS(shutdown), SCMP_SYS(setsockopt) };
	const struct scmp_arg_cmp other = SCMP_A0(SCMP_CMP_MASKED_EQ, ~0xffULL | bit,
						  ~(scmp_datum_t)PILE_API_FD_LISTEN & bit);
	int r = 0;

	_Static_assert(PILE_API_CLIENTS_MAX + 64 <= 256, "descriptors fit into the low 8 bits");
	for (size_t i = 0; !r && i < ARRAY_LEN(calls); i++)
		r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, calls[i], 1, other);
	return r;
}

static int rules_add(scmp_filter_ctx filter)
{
	const struct scmp_arg_cmp not_executable = SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0);
	const struct scmp_arg_cmp get_flags = SCMP_A1(SCMP_CMP_EQ, 3 /* F_GETFL */);
	int r = 0;

	for (size_t i = 0; !r && i < ARRAY_LEN(allowed_calls); i++)
		r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, allowed_calls[i], 0);
	for (size_t i = 0; !r && i < ARRAY_LEN(deadly_calls); i++)
		r = seccomp_rule_add(filter, SCMP_ACT_KILL_PROCESS, deadly_calls[i], 0);
	if (!r)
		r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 1, not_executable);
	if (!r)
		r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(mprotect), 1, not_executable);
	if (!r)
		r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(fcntl), 1, get_flags);
	for (unsigned int bit = 0; !r && bit < 8; bit++)
		r = socket_rules_add(filter, 1ULL << bit);
	return r;
}

/**
 * Default EPERM, not kill: a C library that tries a newer call first (it did so for clone3,
 * faccessat2, rseq) falls back, and the stats stay there in the middle of an incident; what an
 * intruder gains by surviving is nothing, since the call was not carried out. Calls that only an
 * intruder makes do kill, so that the guard sees SIGSYS and says so.
 */
static int enter_seccomp(struct pile_error *err)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
	int r;

	if (!filter)
		return pile_error_set(err, ENOMEM, "cannot create a seccomp filter");
	r = rules_add(filter);
	if (!r)
		r = seccomp_load(filter);
	seccomp_release(filter);
	return r ? pile_error_set(err, -r, "cannot load the seccomp filter: %s", strerror(-r)) : 0;
}

int pile_privileges_drop(struct pile_error *err)
{
	int r = limit_resources(err);

	if (r == 0)
		r = become_user(err);
	if (r == 0)
		r = drop_capabilities(err);
	if (r == 0)
		r = enter_seccomp(err);
	return r;
}

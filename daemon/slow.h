/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * slow.h: the one thread that may block: the journal, the disk, loading a policy.
 * Owned by the guard. The control loop hands over fixed-size jobs and never waits: a full queue
 * drops log lines (and counts them), never a policy job. Results come back through an eventfd.
 */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "decide/baseline.h"
#include "decide/disarm.h"
#include "keep.h"
#include "policy/policy.h"
#include "record/record.h"
#include "watch.h"

#define PILE_SLOW_LINES 256	      /* queued journal lines */
#define PILE_SLOW_LINES_PER_SECOND 10 /* product.md: log, at most 10 a second */
#define PILE_SLOW_COMMON_PER_SECOND 7 /* of them, of what anybody can cause */

#define PILE_MOTD_TEXT_MAX 2048
#define PILE_SLOW_TEXT_MAX 65536 /* struct pile_snapshot_half.policy_text */

/** What a finished policy load says. */
struct pile_slow_policy {
	int result;		   /* of pile_watch_load(); 1: valid, but half of a push */
	struct pile_policy policy; /* valid when result is not negative */
	struct pile_error error;
	uint32_t ticket;	       /* as given by the caller */
	char text[PILE_SLOW_TEXT_MAX]; /* canonical YAML; "" when it does not fit */
};

/** What was written last of something that somebody may wait for: which one, and how it went. */
struct pile_slow_done {
	uint64_t ticket;
	int error; /* 0 or negative errno */
};

struct pile_slow {
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	bool running, stop;
	bool to_journal; /* else to stderr */
	int event_fd;	 /* readable when a policy load has finished */
	struct pile_event lines[PILE_SLOW_LINES];
	uint32_t head, n;
	/* not written; they are in `events` all the same. Touched by pile_slow_say only */
	uint64_t lines_dropped, dropped_ns;
	uint64_t second_ns; /* the second that is counted */
	uint32_t second_lines, second_common;
	/* policy */
	bool load_wanted, load_done;
	uint32_t load_ticket;
	char policy_path[256];
	struct pile_slow_policy loaded;
	/* what stands on disk */
	bool watch_wanted, watch_done;
	struct pile_watch
		watch; /* the thread's own; what was seen before it started is the caller's to fill in */
	struct pile_watch watched; /* what it saw last */
	uint32_t n_fingerprints;
	char fingerprints[PILE_FINGERPRINTS_MAX][PILE_FINGERPRINT_PATH_MAX];
	/* state directory */
	char state_dir[256];
	bool commit_wanted;
	struct pile_policy commit_policy;
	uint64_t commit_generation;
	struct pile_slow_done commit_done; /* ticket: the generation */
	bool learned_wanted;
	uint32_t n_learned;
	struct pile_baseline_record learned[PILE_GROUPS_MAX];
	bool evicted_wanted;
	char evicted_text[PILE_KEEP_EVICTED_MAX];
	bool explain_next_wanted;
	uint32_t explain_next;
	bool disarm_wanted;
	char disarm_text[PILE_DISARM_TEXT_MAX]; /* "" = no such file */
	uint32_t disarm_ticket;			/* of what is wanted */
	struct pile_slow_done disarm_done;
	/* the line for logins */
	char motd_path[256];
	bool motd_wanted;
	char motd_text[PILE_MOTD_TEXT_MAX]; /* "" = no such file */
	int motd_error;
	int learned_error, explain_error,
		evicted_error; /* of the last write: negative errno; 0 = fine */
};

/**
 * pile_slow_start - @s: zeroed by the caller, but for what its watch has seen already; @motd_path: the file for
 * pile_slow_motd, below a directory that is there, or is not: then nothing is written. Returns 0 or negative errno.
 */
int pile_slow_start(struct pile_slow *s, const char *policy_path, const char *state_dir,
		    const char *motd_path);

/** pile_slow_stop - finish what is queued, join. */
void pile_slow_stop(struct pile_slow *s);

/** pile_slow_say - queue a line for the journal. */
void pile_slow_say(struct pile_slow *s, const struct pile_event *event);

/**
 * pile_slow_load - read and check the policy file; event_fd tells when it is done. Returns 0 or
 * -EBUSY.
 */
int pile_slow_load(struct pile_slow *s, uint32_t ticket);

/**
 * pile_slow_policy_text - canonical text of a policy into @ret (PILE_SLOW_TEXT_MAX; "" when it does not fit); may block
 * and allocate. Returns 0 or -ENOMEM.
 */
int pile_slow_policy_text(const struct pile_policy *policy, char *ret);

/** pile_slow_loaded - take the result. Returns false when there is none. */
bool pile_slow_loaded(struct pile_slow *s, struct pile_slow_policy *ret);

/**
 * pile_slow_watch - look at the policy's files, and at those that @policy takes fingerprints of; event_fd tells when
 * there is something to fetch.
 */
void pile_slow_watch(struct pile_slow *s, const struct pile_policy *policy);

/** pile_slow_watched - what stands on disk. Returns false when nothing new was seen. */
bool pile_slow_watched(struct pile_slow *s, struct pile_watch *ret);

/** pile_slow_commit - keep this policy as the last committed one. */
void pile_slow_commit(struct pile_slow *s, const struct pile_policy *policy, uint64_t generation);

/**
 * pile_slow_disarm - keep this text (pile_disarm_format) over restarts; "": none any more
 * @ticket: by which pile_slow_disarm_kept asks for it; a later one takes the place of what was not done yet.
 */
void pile_slow_disarm(struct pile_slow *s, const char *text, uint32_t ticket);

/** pile_slow_disarm_kept - is it done? @ret_error: then 0 or negative errno. */
bool pile_slow_disarm_kept(struct pile_slow *s, uint32_t ticket, int *ret_error);

/** pile_slow_motd - from now on whoever logs in is shown these lines; "": none. */
void pile_slow_motd(struct pile_slow *s, const char *text);

/** pile_slow_committed - is this generation on disk? *ret_error: 0, or why the last try was in vain. */
bool pile_slow_committed(struct pile_slow *s, uint64_t generation, int *ret_error);

/** pile_slow_learned - keep what was learned. @records is copied. */
void pile_slow_learned(struct pile_slow *s, const struct pile_baseline_record *records, uint32_t n);

/**
 * pile_slow_explain_next - keep the number of the next episode: after a restart none of them, in an
 * old journal line, means another one.
 */
void pile_slow_explain_next(struct pile_slow *s, uint32_t next);

/** pile_slow_evicted - keep this text: evictions that count against the budgets also after a restart. */
void pile_slow_evicted(struct pile_slow *s, const char *text);

/** pile_slow_again - what could not be written is tried once more. */
void pile_slow_again(struct pile_slow *s);

/** pile_slow_trouble - the state directory cannot be written: negative errno of what failed last; 0 = it can. */
int pile_slow_trouble(struct pile_slow *s);

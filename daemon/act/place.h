/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * place.h: puts processes that match a group's rule into a cgroup of the group's own, and back: by a thread of its own,
 * since looking at processes and writing to cgroups may block, and libcgroup allocates. The control loop hands over
 * rules and takes results; it never waits. Under systemd the thread moves nobody: it asks, and the control loop passes
 * that on to the manager (manager.h).
 * Owned by the guard. Never logs: what happened is told by pile_place_take().
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "act/processes.h"
#include "groups/groups.h"

#define PILE_PLACE_MATCHED_MAX PILE_MATCHED_MAX
#define PILE_PLACE_NEWS_MAX 32
#define PILE_PLACE_ASK_MAX 64 /* processes in one question; PILE_MANAGER_PIDS_MAX */

enum pile_place_want {
	PILE_PLACE_BACK = 0, /* whoever was placed goes back */
	PILE_PLACE_HOLD,     /* nobody is moved */
	PILE_PLACE_PUT,
};

struct pile_place_rule {
	struct pile_match_rule rule; /* names; the thread looks them up */
	enum pile_place_want want;
};

/** How a group stands, as of the last look. */
struct pile_place_status {
	char group[PILE_NAME_MAX];
	uint32_t inside;	   /* processes in its cgroup */
	uint32_t outside;	   /* that match and are not */
	uint64_t moved;		   /* since the start */
	enum pile_match_stay stay; /* why one that is outside stays there; MAY_MOVE = no reason */
	uint32_t stay_pid;
	char stay_group[PILE_NAME_MAX]; /* which other one it is placed as */
	int error;			/* of the last move: negative errno; 0 = fine */
	bool unknown_user;		/* nobody here has the rule's user's name */
	bool unknown_exe;		/* ... or there is no such program */
};

enum pile_place_news_kind {
	PILE_PLACE_WENT_BACK = 1, /* @n processes stay that were started inside */
	PILE_PLACE_KEPT,	  /* it cannot be undone from here: in systemd's hands */
	PILE_PLACE_FULL,	  /* no room in the record: nobody else is placed */
	PILE_PLACE_ORIGINS,	  /* ... for one more cgroup that processes come from */
	PILE_PLACE_RECORD,	  /* the record cannot be read or written: nobody is placed */
	PILE_PLACE_CUT,		  /* too many processes: some are not looked at */
	PILE_PLACE_NEWS_KINDS,
};

struct pile_place_news {
	enum pile_place_news_kind kind;
	char group[PILE_NAME_MAX];
	uint32_t n;
	int error;
};

/** Processes to be put into a group's scope by systemd. */
struct pile_place_ask {
	char group[PILE_NAME_MAX];
	uint32_t n;
	uint32_t pids[PILE_PLACE_ASK_MAX];
};

/** What the thread tells. */
struct pile_place_told {
	uint32_t generation; /* of the rules that all of this is about */
	uint32_t n_statuses, n_news, n_matched;
	struct pile_place_status statuses[PILE_GROUPS_MAX];
	struct pile_place_news news[PILE_PLACE_NEWS_MAX];
	struct {
		uint32_t tgid;
		uint16_t rule; /* index into what was handed over, and into statuses */
	} matched[PILE_PLACE_MATCHED_MAX];
	uint64_t cost_ns; /* the last look */
	uint64_t looks,
		whole_looks; /* since the start; whole: also at those that were known already */
};

struct pile_place {
	bool running;
	atomic_bool stop;
	atomic_bool ending; /* the thread has seen that, and undoes what it did */
	bool direct;	    /* moves by itself: there is no systemd to ask */
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	/* handed over */
	bool rules_new;
	uint32_t generation_in;
	uint32_t n_rules_in;
	struct pile_place_rule rules_in[PILE_GROUPS_MAX];
	struct pile_holders holders_in;
	/* told */
	bool told_new;
	struct pile_place_told told;
	bool ask_ready, ask_answered;
	struct pile_place_ask ask;
	int ask_error;
	/* the thread's own */
	char record_path[256], run_path[256];
	bool adopted;  /* the record is read: without what it says nobody is moved */
	bool back_due; /* there are new rules: what they do not want goes back */
	struct pile_trees trees;
	uint32_t n_rules;
	struct pile_match_rule rules[PILE_GROUPS_MAX];
	enum pile_place_want wants[PILE_GROUPS_MAX];
	struct pile_holders holders;
	struct pile_place_told next;
	struct pile_placed undo;
	struct pile_processes processes;
};

/**
 * pile_place_open - start the thread
 * @p: zeroed by the caller; @run_dir: where the record lies. Returns 0 or negative errno.
 */
int pile_place_open(struct pile_place *p, const struct pile_hierarchy *hierarchy,
		    const char *run_dir);

/**
 * pile_place_close - all that was placed goes back, where there is no systemd; then the thread ends
 * A thread that hangs (a program of a rule on a file system that does not answer) is left behind after three seconds: @p
 * is still its own then, and what was placed stays, with its record.
 */
void pile_place_close(struct pile_place *p);

/**
 * pile_place_rules - from now on these. Nothing is moved before they are given once.
 * @generation: told with what comes of them
 */
void pile_place_rules(struct pile_place *p, const struct pile_place_rule *rules, uint32_t n,
		      uint32_t generation);

/** pile_place_holders - who listens on ports that rules name. Returns false when it was not the moment: again later. */
bool pile_place_holders(struct pile_place *p, const struct pile_holders *holders);

/** pile_place_why - why one stays outside, and what to type, for people. Returns @buf. */
const char *pile_place_why(const struct pile_place_status *s, char *buf, size_t size);

/** pile_place_take - what is new. Returns false when nothing is. */
bool pile_place_take(struct pile_place *p, struct pile_place_told *ret);

/** pile_place_asks - a question for systemd, once. Returns false when there is none. */
bool pile_place_asks(struct pile_place *p, struct pile_place_ask *ret);

/** pile_place_answer - how that went: 0 or negative errno. */
void pile_place_answer(struct pile_place *p, int error);

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * guard.h: owns everything. One control loop: sense, decide, act, record, publish, every 100 ms.
 * The control loop's thread allocates nothing, logs nothing and waits for nothing but its events
 * after start; what can block is done by the slow thread (slow.h), what parses strangers' bytes by
 * the api process (child.h).
 */
#pragma once

#include <sys/utsname.h>
#include <systemd/sd-event.h>

#include "act/act.h"
#include "act/evict.h"
#include "act/manager.h"
#include "act/place.h"
#include "act/selftest.h"
#include "act/stop.h"
#include "act/throttle.h"
#include "api/snapshot.h"
#include "pileguard/api.h"
#include "decide/decide.h"
#include "decide/disarm.h"
#include "groups/groups.h"
#include "kernel/kernel.h"
#include "policy/policy.h"
#include "record/record.h"
#include "sense/sense.h"
#include "slow.h"

struct pile_options {
	const char *policy_path; /* /etc/pileguard/policy.yaml */
	const char *state_dir;	 /* /var/lib/pileguard */
	const char *socket_path; /* PILE_API_SOCKET */
	const char *motd_path;	 /* PILE_MOTD_FILE */
};

/** The api process and the ends of what it was given. */
struct pile_child {
	int listen_fd, snapshot_fd, command_fd, pidfd;
	pid_t pid;
	gid_t group; /* may connect; 0 = only root */
	uint64_t started_ns;
	unsigned int failures; /* in a row: the next start waits longer */
	sd_event_source *source_command, *source_child;
};

/** An answer that waits until what was done stands on disk, for a moment: it is in force already. */
struct pile_late {
	uint32_t id; /* of the command; 0 = nobody waits */
	uint64_t by_ns;
	char text[384];
};

/** A reload that somebody waits for. */
struct pile_reload {
	bool waiting; /* a command asked; the reply goes to the api process */
	uint32_t command_id;
	uint32_t ticket;
	bool again;	       /* another SIGHUP came while one was under way */
	struct pile_late late; /* taken; a start takes what stands on disk */
};

/** Whether the guard is disarmed, and who waits to hear that this stands on disk. */
struct pile_disarming {
	struct pile_disarm now;
	bool marked; /* that a guard runs: the mark goes when it ends by itself */
	int mark_error; /* negative errno: the mark, or the end of the one before, could not be written */
	bool safe_mode;	 /* by this start: too many guards before it did not */
	uint32_t ticket; /* of the last text for the slow thread */
	struct pile_late late;
};

/** What of placing is known, and what of it was said. */
struct pile_placing {
	uint32_t generation; /* of the rules that are with the thread */
	uint64_t key;	     /* of what they were made from */
	uint64_t asked;	     /* questions to systemd */
	int refused;	     /* negative errno of the last that it said no to */
	char refusal[160];   /* ... and its words */
	uint32_t n_rules;
	uint64_t told_ns; /* what of them was told last, or that they are there */
	struct pile_place_told told;
	uint64_t news_ns
		[PILE_PLACE_NEWS_KINDS]; /* when trouble of a kind was said last; 0 = never */
	struct pile_place_said {
		uint64_t moved, moved_ns; /* told of so many, then */
		enum pile_match_stay stay;
		uint64_t stay_ns;
		int error;
		bool unknown;
	} said[PILE_GROUPS_MAX]; /* by rule */
};

/** The last self-test, and when the next one is due. */
struct pile_selftesting {
	struct pile_selftest last;
	uint64_t at_ns, at_realtime_ns; /* 0 = none yet */
	uint64_t next_ns;
};

struct pile_guard {
	struct pile_options options;
	sd_event *event;
	sd_event_source *drain; /* the next pass of act's ending of waits */
	struct pile_kernel kernel;
	struct pile_groups groups;
	struct pile_sense sense;
	struct pile_sample sample;
	struct pile_decide decide;
	struct pile_decide_view view;
	struct pile_act act;
	struct pile_act_evicts evicts;
	struct pile_act_throttles throttles;
	struct pile_manager manager;
	struct pile_act_stops stops;
	struct pile_record record;
	struct pile_slow slow;
	struct pile_child child;
	struct pile_reload reload;
	struct pile_disarming disarm;
	struct pile_selftesting selftest;
	struct pile_place place;
	struct pile_placing placing;
	struct pile_intent intents[PILE_INTENTS_MAX];
	uint32_t n_intents;
	struct pile_snapshot *shared;
	uint64_t published_seq;	   /* the record's next event when that was published last */
	struct pile_policy policy; /* in force */
	char policy_text[PILE_SLOW_TEXT_MAX];
	uint64_t generation;
	uint64_t committed_realtime_ns;
	struct pile_watch watch;		  /* what stands on disk, as last seen */
	enum pile_files_state files_state;	  /* ... against what is in force */
	char policy_trouble[PILE_ERROR_TEXT_MAX]; /* why they are not the same; "" when they are */
	bool commit_due; /* at start: what is in force was not committed yet */
	char store_trouble
		[PILE_ERROR_TEXT_MAX]; /* at start: why the committed policy is not used */
	uint64_t reloads, reloads_refused;
	struct pile_slow_policy loaded;
	struct pile_baseline_record learned[PILE_GROUPS_MAX];
	uint32_t n_learned;
	bool posture_due;	   /* attachments may differ from what is wanted */
	uint64_t posture_again_ns; /* some of it failed: tried again then; 0 = all is as wanted */
	int posture_error_said, doors_error_said, forks_error_said,
		attach_error_said[PILE_GROUPS_MAX];
	uint64_t started_ns, started_realtime_ns;
	uint64_t ticks, ticks_late, worst_gap_ns, tick_cost_ns, last_tick_ns;
	uint64_t gaps[PILE_GAP_BUCKETS], gaps_sum_ns; /* by pile_snapshot_gap_ns */
	bool followed_said;			      /* what was there at the start, in one line */
	uint64_t discovered_ns, discover_cost_ns, learned_saved_ns;
	uint64_t walk_said_ns; /* when it was said last that walks take long; 0 = never */
	uint64_t attached_ns[PILE_GROUPS_MAX];
	struct pile_kernel_cost cost;
	/* lines that the journal did not get: how many were told, and since when there was none, or one was told */
	uint64_t lines_dropped_said, lines_dropped_ns;
	uint64_t motd_key;    /* of what the line for logins says; 0 = there is none */
	uint64_t losses_said; /* sum of all that was counted as lost when it was last told */
	int store_error_said, motd_error_said;
	uint32_t explain_next_kept;
	uint64_t evicted_kept,
		stopped_kept; /* evictions and stops that were handed over to be kept */
	uint32_t host_seed;
	uint32_t
		host_share_permille; /* where it stands for enforce_share: 0..999; 1000 = nowhere */
	struct utsname host;
	bool watchdog;
	char missing[512];
	bool sensors_missing; /* ... and a sensor or a gate is among it */
};

/**
 * pile_guard_run - start, run until SIGTERM or SIGINT, stop. Returns an exit status
 * (pileguard/api.h).
 */
int pile_guard_run(const struct pile_options *options);

/* tell.c: each is told once for as long as it is so */
/**
 * pile_guard_say - an event that is not an intent: recorded and sent to the journal. @group may be
 * PILE_NO_GROUP.
 */
void pile_guard_say(struct pile_guard *g, enum pile_event_kind kind, uint32_t group,
		    const char *fmt, ...) _printf_(4, 5);
/** pile_tell_event - sends what is recorded to the journal; NULL = nothing. */
void pile_tell_event(struct pile_guard *g, const struct pile_event *event);
void pile_tell_appeared(struct pile_guard *g, uint32_t slot);
void pile_tell_attached(struct pile_guard *g, uint32_t slot);
/** pile_tell_attach_error - returns whether there is one. */
bool pile_tell_attach_error(struct pile_guard *g, uint32_t slot);
/** pile_tell_doors - before the view has it: where rung 2 can refuse from here on, or a negative errno. */
void pile_tell_doors(struct pile_guard *g, int error, bool tcp, bool of_unix);
/** pile_tell_forks - @error: negative errno of what cannot be attached. */
void pile_tell_forks(struct pile_guard *g, int error);
void pile_tell_walk(struct pile_guard *g, uint64_t now_ns);
/** pile_tell_tick - once a tick: what is lost, dropped, cannot be kept; what is followed, after the start. */
void pile_tell_tick(struct pile_guard *g, uint64_t now_ns);

/* reload.c */
/**
 * pile_guard_reload - start a reload; @command_id: 0 = nobody waits for the result. Returns 0 or
 * -EBUSY.
 */
int pile_guard_reload(struct pile_guard *g, uint32_t command_id);
/** pile_reload_tick - whoever reloaded is told, when the policy stands on disk. */
void pile_reload_tick(struct pile_guard *g, uint64_t now_ns);
/** pile_reload_done - the slow thread has read the files (event_fd of slow.h; @arg: the guard). */
int pile_reload_done(sd_event_source *source, int fd, uint32_t revents, void *arg);
/**
 * pile_reload_boot - the policy to begin with: the last committed one; without one, the files; without any, observe
 * Before the slow thread is started: reads files. Returns 0; negative errno, with @err, when there is none.
 */
int pile_reload_boot(struct pile_guard *g, struct pile_policy *policy, struct pile_error *err);
/** pile_reload_start - it comes into force, after the slow thread was started. */
void pile_reload_start(struct pile_guard *g, const struct pile_policy *policy);
/** pile_reload_files_say - that the files on disk are not what is in force, when they are not. */
void pile_reload_files_say(struct pile_guard *g);
/** pile_reload_status_tell - the line of `systemctl status`; @first: other fields, each with its line feed. */
void pile_reload_status_tell(const struct pile_guard *g, const char *first);

/* command.c */
/** pile_command_run - carry out a command; @client_fd: its client's socket, or -1. The reply goes to the api process. */
void pile_command_run(struct pile_guard *g, struct pile_command *c, int client_fd);
/** pile_command_recall - start only: was the guard disarmed when it ended? */
void pile_command_recall(struct pile_guard *g);
/** pile_command_hello - start only: tell that it still is. */
void pile_command_hello(struct pile_guard *g);
/** pile_command_tick - what ends by itself, and answers that waited for the disk. */
void pile_command_tick(struct pile_guard *g, uint64_t now_ns);

/* tick.c */
void pile_tick(struct pile_guard *g);
/** pile_tick_group - a group came, went, restarted (on_event of groups.h; @arg: the guard). */
void pile_tick_group(enum pile_groups_event event, uint32_t slot, void *arg);
/** pile_tick_view - what decide must know of each group; @whole: the policy's part too. */
void pile_tick_view(struct pile_guard *g, bool whole);
/** pile_tick_record - the intents of this tick, into the record and the journal. */
void pile_tick_record(struct pile_guard *g, uint64_t now_ns);
/** pile_learned_save - what calm looks like, to the slow thread, to be kept on disk. */
void pile_learned_save(struct pile_guard *g, uint64_t now_ns);

/* selftest.c */
/** pile_selftest_tick - try rung 1 when that is due, and tell when the result is another one than before. */
void pile_selftest_tick(struct pile_guard *g, uint64_t now_ns);
/** pile_selftest_again - in the next tick. */
void pile_selftest_again(struct pile_guard *g);

/* placing.c */
/** pile_placing_open - start only. Returns 0 or negative errno. */
int pile_placing_open(struct pile_guard *g);
/** pile_placing_stop - all that was placed goes back, where that is the guard's to do. */
void pile_placing_stop(struct pile_guard *g);
/** pile_placing_tick - rules when they have changed, what came of them, questions for systemd. */
void pile_placing_tick(struct pile_guard *g, uint64_t now_ns);
/** pile_placing_result - systemd has answered. */
void pile_placing_result(struct pile_guard *g, const struct pile_manager_result *result);
/** pile_placing_status - of a group; NULL: it is not found by match, or nothing is known yet. */
const struct pile_place_status *pile_placing_status(const struct pile_guard *g, const char *name);

/** pile_placing_late - for so many seconds the thread has told of no look; 0 = it does its work. */
uint32_t pile_placing_late(const struct pile_guard *g, uint64_t now_ns);

/* evicted.c */
/** pile_evicted_recall - start only: evictions of an earlier guard count against the budgets. */
void pile_evicted_recall(struct pile_guard *g);
/** pile_evicted_keep - hand over to be kept what has changed. */
void pile_evicted_keep(struct pile_guard *g, uint64_t now_ns);

/* throttled.c */
/** pile_throttled_start - start only: what an earlier guard left turned is turned back, and told. May block. */
void pile_throttled_start(struct pile_guard *g);
/** pile_throttled_tick - what came of what was turned back. */
void pile_throttled_tick(struct pile_guard *g, uint64_t now_ns);
/** pile_throttled_stop - what is turned back is waited for, two seconds at most, and told. */
void pile_throttled_stop(struct pile_guard *g);
/** pile_throttled_undo - `pileguardd --undo`: the same for a guard that is gone. Returns an exit status. */
int pile_throttled_undo(const struct pile_options *options);

/* motd.c */
/** pile_motd_tick - hand over the line for logins when it has changed. */
void pile_motd_tick(struct pile_guard *g);

/* publish.c */
/** pile_publish - what there is to know now, into the snapshot; twice a second where nothing happens. */
void pile_publish(struct pile_guard *g, uint64_t now_ns);
int pile_publish_open(struct pile_guard *g);

/* publish_groups.c */
/** pile_publish_groups - @index: PILE_GROUPS_MAX, by slot: the place in @half, or PILE_NO_GROUP. */
void pile_publish_groups(const struct pile_guard *g, struct pile_snapshot_half *half,
			 uint32_t *index);
/** pile_publish_listeners - those of groups that the policy names come first. */
void pile_publish_listeners(const struct pile_guard *g, struct pile_snapshot_half *half,
			    const uint32_t *index);

/* child.c */
int pile_child_listen(struct pile_guard *g, struct pile_error *err);
/** pile_child_cookie - the stats socket's cookie, so that the guard does not watch itself. */
uint64_t pile_child_cookie(const struct pile_guard *g);
int pile_child_start(struct pile_guard *g);
void pile_child_check(struct pile_guard *g, uint64_t now_ns);
void pile_child_reply(struct pile_guard *g, uint32_t id, int result, const char *text);
/** pile_child_reply_late - answer when it stands on disk; whoever waited there before is answered at once. */
void pile_child_reply_late(struct pile_guard *g, struct pile_late *late, uint32_t id,
			   const char *text);
/**
 * pile_child_late - does it? Each tick.
 * @done, @error: whether it was written, and how that went; @lost: what it means that it could not be
 */
void pile_child_late(struct pile_guard *g, struct pile_late *late, bool done, int error,
		     const char *lost, uint64_t now_ns);
void pile_child_stop(struct pile_guard *g);

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * snapshot.h: what the privileged guard shows to the unprivileged api process.
 * A memfd of struct pile_snapshot, written by the guard's control loop, mapped read-only by the
 * api.
 * Two halves: the guard writes the half that is not current, then publishes it by one store; a
 * reader copies a half and checks that it was not overwritten meanwhile (pile_snapshot_read). Never
 * blocks, never logs.
 * The reader trusts nothing: counts are clamped, texts are terminated after the copy.
 */
#pragma once

#include <stdatomic.h>
#include <stdint.h>

#include "pileguard/limits.h"
#include "policy/policy.h"
#include "record/record.h"
#include "sense/sample.h"

#define PILE_SNAPSHOT_MAGIC 0x31564e5350474c50ULL /* layout version 1 */

struct pile_snapshot_group {
	char name[PILE_NAME_MAX];
	char unit[PILE_UNIT_MAX];
	char cgroup[PILE_CGROUP_MAX];
	bool configured;   /* named by the policy; false: found listening, observed */
	bool foreign;	   /* another manager's cgroup: observed only */
	bool gate_ready;   /* rung 1 attached */
	bool gate_missing; /* the policy wants it attached, and it is not */
	bool learned_long_poll;
	bool matched;		     /* found by match; the rest of these is 0 for others */
	bool place;		     /* ... and put into a cgroup of its own, or to be */
	uint32_t inside;	     /* processes in it */
	uint32_t outside;	     /* that match and are not */
	uint32_t place_error;	     /* errno of the last try to place; 0 = fine */
	char outside_why[184];	     /* why one of them stays there, or "" */
	uint64_t looks, whole_looks; /* for processes that match, since the start */
	uint32_t look_late_s;	     /* nobody has looked for so long; 0 = it is as it should be */
	uint32_t workers_kind;	     /* enum pile_workers */
	/* bits of enum pile_rung that are really in force (mode and gates considered) */
	uint32_t enforce;
	uint32_t stage; /* enum pile_stage */
	uint32_t w99;	/* learned level of waiting requests */
	/* calm-time risk ratio x 1000; at or above 1000 this host would not survive */
	uint32_t risk_milli;
	uint32_t rate_milli;	/* requests opened per second x 1000 */
	uint64_t request_bytes; /* memory per waiting request */
	uint64_t free_bytes;	/* what is left of the budget */
	uint64_t exhaustion_ns; /* UINT64_MAX = not growing */
	/* rung 5 holds it down: the record, 0 = it does not; how long still, and whether it is down by now */
	uint32_t stop_explain_id;
	bool stop_down, stop_late; /* late: it should run again by now */
	uint64_t stop_left_ns;
	uint64_t leak_left_ns; /* by workers that grow without end; UINT64_MAX = none does */
	bool leak;	       /* ... and that is told */
	uint32_t would_have_acted_24h;
	char would_have[PILE_ENDPOINT_TEXT_MAX]; /* destination of the last one, or "" */
	uint64_t attached_ns;			 /* when it was attached last (monotonic) */
	uint32_t reattached;			 /* how often the unit was restarted under us */
	/* rung 3, in force now: 0 = not set; explain: of the last of them */
	uint64_t throttle_tasks, throttle_weight, throttle_quota_us;
	uint32_t throttle_explain_id; /* 0: an earlier guard has set it */
	uint32_t forks_explain_id;    /* forks were refused early within the last minute; 0: none */
	bool throttle_over;	      /* one of them is being set back */
	uint32_t cpu_permille; /* of all processors' time, in the last second that was looked at */
	struct pile_sample_group sample;
};

struct pile_snapshot_listener {
	uint32_t group;
	struct pile_endpoint endpoint;
	uint32_t backlog;
	bool mptcp;
	char blind[128]; /* what this listener cannot show, or "" */
	/* rung 2; counted: it has a door, else the rest is 0; connections_max: 0 = no limit */
	bool counted;
	uint32_t connections_max, connections;
	uint32_t refuse_permille;   /* of new ones, now */
	uint64_t refused;	    /* since the door is there */
	uint64_t refused_now;	    /* in this episode */
	uint32_t explain_id;	    /* of the episode, when it is full; else 0 */
	uint32_t blocked;	    /* enum pile_blocked: why nobody is refused here */
	uint64_t released_until_ns; /* monotonic; 0 = not released by hand */
};

struct pile_snapshot_dependency {
	struct pile_sample_dependency sample;
	uint32_t state; /* 0 closed, 1 open, 2 half open */
	uint32_t explain_id;
	uint32_t blocked;	    /* enum pile_blocked of the open episode */
	uint64_t probes;	    /* the guard's own connects, in this episode */
	uint64_t held_until_ns;	    /* monotonic; 0 = not held by hand */
	uint64_t released_until_ns; /* monotonic; 0 = not released by hand */
	bool dead;		    /* proven; refused only when the group is at risk as well */
	bool mute;		    /* the open episode's reason: it greets nobody */
};

struct pile_snapshot_worker {
	uint32_t pid;
	uint32_t group;
	uint32_t waiting;
	uint32_t connections; /* accepted connections open */
	uint64_t oldest_ns;
	uint64_t answered;
	uint64_t p50_ns, p99_ns;
	uint64_t rss_bytes, private_bytes; /* 0 = not known */
	uint64_t rate_bytes;		   /* a second, when its memory grows without end; else 0 */
	char comm[16];
};

/** A file that the policy lists, and its hash: 16 digits of SHA-256, or why there is none. */
struct pile_snapshot_fingerprint {
	char path[PILE_FINGERPRINT_PATH_MAX];
	char sha256[17];
};

/** Up to which time between two ticks a bucket counts; the last one has no end. */
extern const uint64_t pile_snapshot_gap_ns[PILE_GAP_BUCKETS - 1];

struct pile_snapshot_host {
	char hostname[64];
	char kernel[65];
	char version[32];
	uint64_t started_realtime_ns, started_ns;
	uint32_t mode; /* enum pile_mode */
	bool disarmed; /* by hand: whatever the mode, it only observes */
	char disarmed_by[PILE_NAME_MAX];
	uint64_t disarmed_since_realtime_ns,
		disarmed_until_realtime_ns; /* until: 0 = until armed */
	uint32_t n_cpus;
	char tier[16]; /* "A", "B" or "none" */
	/* what this host does not give the guard, and what that costs; "" = all there */
	char missing[512];
	bool sensors_missing; /* a sensor or a gate is among it */
	uint64_t memory_total_bytes, memory_available_bytes;
	/* policy */
	char policy_source[256];
	char policy_hash[65];
	uint64_t policy_generation;
	char policy_path[256]; /* policy.yaml; fragments lie beside it */
	char policy_revision[PILE_REVISION_MAX];
	uint32_t policy_files; /* enum pile_files_state: files on disk, against what is in force */
	/* why the files on disk are not in force; "" = they are */
	char policy_trouble[PILE_ERROR_TEXT_MAX];
	uint32_t enforce_share_permille;
	bool outside_share; /* mode: enforce, but not on this host */
	uint32_t n_fingerprints;
	struct pile_snapshot_fingerprint fingerprints[PILE_FINGERPRINTS_MAX];
	uint64_t policy_committed_realtime_ns;
	uint64_t reloads, reloads_refused;
	/* the guard's own honesty */
	uint64_t ticks, ticks_late, worst_gap_ns, tick_cost_ns; /* cost: moving average */
	uint64_t gaps[PILE_GAP_BUCKETS], gaps_sum_ns;		/* by pile_snapshot_gap_ns */
	/* the last try of rung 1; at: 0 = none yet; failed: what could not be done, and why */
	bool selftest_passed;
	uint64_t selftest_ns, selftest_realtime_ns, selftest_refuse_ns, selftest_end_ns;
	char selftest_failed[128];
	/* the loop in the kernel; opened: gates shut while the guard did not run; lost: no room for a destination */
	bool loop;
	uint64_t loop_ticks, loop_worst_gap_ns, loop_opened, loop_lost;
	uint64_t drift, sockets_followed, sweeps, sweep_cost_ns;
	uint64_t recursion_misses; /* events the kernel dropped */
	uint64_t destinations_lost;
	uint64_t
		not_followed; /* sockets, workers, listeners and tables of descriptors, for want of room */
	uint64_t waits_not_ended; /* pending connects that could not be ended */
	uint64_t lines_dropped;	  /* of the journal */
	uint32_t gates_missing;	  /* groups that should enforce and are not attached */
	uint32_t dead_not_at_risk;
	uint32_t workers_growing; /* their memory, without end */
	uint32_t leaks;		  /* groups of which that is told */
	uint64_t
		leak_realtime_ns; /* when the first of those is out of memory, at the rate of now; 0 = none */
	uint32_t holds, releases; /* by hand, in force */
	uint64_t guard_cpu_ns, guard_rss_bytes;
	bool network_suspect;
	uint64_t opened_total, refused_total, ended_total, closed_total; /* rung 1, carried out */
	uint64_t would_open_total;
	uint64_t shed_total;			   /* rung 2: connections refused */
	uint64_t evicted_total, would_evict_total; /* rung 4 */
	uint64_t stopped_total, would_stop_total;  /* rung 5 */
	uint64_t throttled_total, would_throttle_total, useless_total; /* rung 3 */
	uint32_t throttles; /* knobs that are turned now */
	uint32_t
		waited_ratio_milli; /* the longest that one of the protected waited, in times that it ran */
	/* BPF cost, only when the kernel's statistics are on; else 0 */
	uint64_t bpf_run_ns, bpf_run_count;
};

struct pile_snapshot_half {
	/* even = complete, grows by 2 with each publish; 0 = never written */
	uint64_t sequence;
	uint64_t t_ns, realtime_ns;
	struct pile_snapshot_host host;
	uint32_t n_groups, n_listeners, n_dependencies, n_workers, n_events, n_explains;
	struct pile_snapshot_group groups[PILE_GROUPS_MAX];
	struct pile_snapshot_listener listeners[PILE_SNAPSHOT_LISTENERS];
	struct pile_snapshot_dependency dependencies[PILE_SNAPSHOT_DEPENDENCIES];
	struct pile_snapshot_worker workers[PILE_SNAPSHOT_WORKERS];
	struct pile_event events[PILE_SNAPSHOT_EVENTS];	      /* oldest first */
	struct pile_explain explains[PILE_SNAPSHOT_EXPLAINS]; /* oldest first */
	char policy_text[65536]; /* the effective policy, canonical YAML; "" when it does not fit */
	uint32_t policy_text_len;
};

struct pile_snapshot {
	uint64_t magic;
	uint64_t size;		  /* sizeof(struct pile_snapshot) */
	_Atomic uint32_t current; /* 0 or 1 */
	uint32_t pad;
	struct pile_snapshot_half halves[2];
};

/**
 * pile_snapshot_begin - the half that may be written now (control loop only)
 * Its sequence is made odd first. Everything a tick does not rewrite must be copied by the writer
 * itself.
 */
struct pile_snapshot_half *pile_snapshot_begin(struct pile_snapshot *shared);

/** pile_snapshot_publish - make @half the current one. */
void pile_snapshot_publish(struct pile_snapshot *shared, struct pile_snapshot_half *half);

/**
 * pile_snapshot_read - a consistent, clamped, terminated copy of the current half (api only)
 * @ret: caller's memory. Only the used parts of the arrays are copied.
 * Returns 0; -EAGAIN after 100 torn tries, or before the first publish; -EPROTO when magic or size
 * differ.
 */
int pile_snapshot_read(const struct pile_snapshot *shared, struct pile_snapshot_half *ret);

/**
 * pile_snapshot_sequence - the current half's number: grows with each publish; tells whether a copy
 * is still fresh.
 */
uint64_t pile_snapshot_sequence(const struct pile_snapshot *shared);

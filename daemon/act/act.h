/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * act.h: the only room that changes the world, and only by what an intent says. Rung 1:
 * posture.c keeps the programs attached to the cgroups whose policy names them; breaker.c shuts and
 * opens gates; loop.c takes over what the loop in the kernel shut; drain.c ends the waits behind them,
 * a few at a time, through destroy.c (recheck.c: established ones); shed.c has doors refuse (rung 2); probe.c makes
 * the guard's own connects, to what is held and, one each, to what is nearly proved dead.
 * Owned by the guard; control loop only; no allocation after start; non-blocking sockets only.
 * Never logs: results are in the sample, the gates' counters, and struct pile_act's totals.
 * Fail open: every gate carries a lease of PILE_ACT_LEASE_NS in the kernel, renewed each tick.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "decide/intent.h"
#include "groups/groups.h"
#include "kernel/kernel.h"
#include "sense/sense.h"

#define PILE_ACT_GATES_MAX 64
#define PILE_ACT_LEASE_NS (5 * NS_PER_SEC) /* product.md: gates */
#define PILE_ACT_PROBES_IN_FLIGHT 3	   /* a fresh SYN a second, each given up after 3 s */
#define PILE_ACT_PROBE_TIMEOUT_NS (3 * NS_PER_SEC)
/*
 * Where the server speaks first, a connect that was not greeted waits on: the greeting comes through it as soon as the
 * server works again. A fresh one only now and then, for what hangs alone behind a balancer: each is one more in the
 * hung server's queue, and one of MySQL's max_connect_errors (100).
 */
#define PILE_ACT_PROBE_FRESH_NS (10 * NS_PER_SEC)
#define PILE_ACT_ENDS_PER_PASS 512
#define PILE_ACT_DRAIN_STALE_NS \
	(400 * NS_PER_MS) /* between ticks: what an older sweep found may have connected */
#define PILE_ACT_DRAIN_PASS_NS (5 * NS_PER_MS)
/* Woken at once, for each CPU: enough to keep it busy, few enough that a login's turn comes soon. */
#define PILE_ACT_WOKEN_PER_CPU 4
#define PILE_ACT_DRAIN_TICKS 20 /* whatever the workers do, a backlog is gone in so many ticks */
#define PILE_ACT_PAST_MAX 256	/* destinations shown at once: PILE_SNAPSHOT_DEPENDENCIES */
/* half open: an admitted connect this old has failed */
#define PILE_ACT_STUCK_NS (500 * NS_PER_MS)

struct pile_act_probe {
	int fd; /* -1 = none in flight */
	uint64_t started_ns;
	/* where the server speaks first: when it was seen established; 0 = not yet */
	uint64_t established_ns;
	bool failed; /* ... and it was told that it was not greeted in time; it waits on */
};

/** A gate that is shut or half open. */
struct pile_act_gate {
	bool used;
	uint32_t group;
	uint32_t explain_id;
	struct pile_endpoint endpoint;
	struct pile_bpf_destination key;
	struct pile_bpf_gate value; /* as last written */
	/* as the intent says: a connect is answered when it is greeted; it is mute; the operator holds it */
	bool speaks_first, mute, by_hand;
	uint64_t lease_ns; /* until then the kernel honours it: the last that could be written */
	/* the destination has, since the sweep that the drain works from: established, said something */
	bool answered, heard;
	struct pile_bpf_gate_counts counts; /* as last read */
	uint64_t half_base;		    /* admitted when this half-open began */
	uint64_t half_ns;		    /* when it began; 0 = shut */
	uint64_t probe_every_ns;
	uint64_t next_probe_ns;
	uint64_t probes;
	uint64_t ended;
	uint64_t first_ended_ns;
	/* what the loop in the kernel did in this episode before the guard took it over */
	uint64_t loop_refused, loop_admitted, loop_first_ns;
	struct pile_act_probe in_flight[PILE_ACT_PROBES_IN_FLIGHT];
};

/** One connect of the guard's own to a destination that is not held, while PILE_INTENT_PROBE is repeated; fd -1: over. */
struct pile_act_scout {
	bool used;
	bool wanted; /* repeated in this tick */
	uint32_t group;
	struct pile_endpoint endpoint;
	bool speaks_first;
	struct pile_act_probe probe;
};

/** What the gates of a destination did before the present one. */
struct pile_act_past {
	struct pile_bpf_destination key;
	uint64_t refused, ended;
	uint64_t dropped; /* order of dropping; 0 = free */
};

/** How far the ending of a group's waits has come; not draining: the rest means nothing. */
struct pile_act_drain {
	bool draining;
	uint64_t answered_base; /* requests of the group answered when it began */
	uint32_t woken;		/* waits ended since */
	uint32_t most;		/* waits that were left at one time */
};

struct pile_act {
	int diag_fd;  /* NETLINK_SOCK_DIAG; -1 = pending connects cannot be ended */
	int check_fd; /* another, for questions; -1 = established ones cannot */
	uint32_t diag_seq;
	uint32_t asked; /* questions whose answer has not come yet */
	struct pile_act_drain drains[PILE_GROUPS_MAX];
	bool draining; /* some waits are left for the next pass */
	/* of the pending connects that the sweep at this time found: which are asked for already; this pass's gate */
	uint64_t drain_swept_ns;
	bool drain_asked[PILE_SENSE_PENDING_MAX];
	struct pile_act_gate *drain_gate[PILE_SENSE_PENDING_MAX];
	struct pile_act_gate gates[PILE_ACT_GATES_MAX];
	uint32_t n_gates; /* places in use: highest + 1, or more */
	struct pile_act_past past[PILE_ACT_PAST_MAX];
	struct pile_act_scout scouts[PILE_SCOUTS_MAX];
	struct pile_kernel_attachment attachments[PILE_GROUPS_MAX];
	uint64_t attached_id[PILE_GROUPS_MAX]; /* cgroup id that the attachment is for; 0 = none */
	/* negative errno of the last try; 0 = fine or not wanted */
	int attach_error[PILE_GROUPS_MAX];
	/* totals; out of reach: in another network namespace */
	uint64_t ended, out_of_reach;
	uint64_t ends_failed;
	int doors_error; /* of the last try to attach rung 2's programs */
	uint64_t doors_again_ns;
	uint64_t doors_exempt_key; /* of what was told; 0 = nothing */
	int forks_error;	   /* of the last try to attach rung 3's program */
	uint64_t forks_again_ns;
	uint64_t loop_taken; /* of the kernel's total of loop_opened: those taken over or told */
};

/**
 * pile_act_open - descriptors. Returns 0, or negative errno when pending connects cannot be ended
 * (the rest works).
 */
int pile_act_open(struct pile_act *a);

/** pile_act_close - open every gate, detach everything. */
void pile_act_close(struct pile_act *a, struct pile_kernel *k);

/**
 * pile_act_posture - attach to the cgroups whose groups enforce rung 1 or a deadline, detach from
 * the others
 * Call after a policy change and whenever a group came, went or restarted. In observe mode nothing
 * is attached.
 * Returns 0, or the first negative errno of what was to be told to the kernel (all of it is tried): call it again.
 * What could not be attached is in attach_error.
 */
int pile_act_posture(struct pile_act *a, struct pile_kernel *k, const struct pile_groups *g,
		     bool enforce);

/** pile_act_attach - the part of it that attaches and detaches: for what could not be attached before. */
int pile_act_attach(struct pile_act *a, struct pile_kernel *k, const struct pile_groups *g,
		    bool enforce);

/**
 * pile_act_forks - forks of groups that may be throttled, and are at a limit of tasks, are refused early
 * @enforce: something may be done at all
 * Returns 0, or negative errno of what cannot be attached: tried again every two seconds.
 */
int pile_act_forks(struct pile_act *a, struct pile_kernel *k, const struct pile_groups *g,
		   bool enforce, uint64_t now_ns);

/**
 * pile_act_doors_attach - rung 2's programs, while doors want them; what fails is tried again every two seconds
 * @enforce: doors may refuse at all
 * Returns 0, or negative errno of what cannot be attached.
 */
int pile_act_doors_attach(struct pile_act *a, struct pile_kernel *k, const struct pile_groups *g,
			  bool enforce, uint64_t now_ns);

/**
 * pile_act_doors_exempt - clients that are never refused; told when they are others
 * Returns 0, or the first negative errno.
 */
int pile_act_doors_exempt(struct pile_act *a, struct pile_kernel *k, const struct pile_groups *g);

/** pile_act_doors_write - limits, shares and leases, each tick. @rules: by index, as decide has them */
void pile_act_doors_write(struct pile_kernel *k, const struct pile_sample *sample,
			  const struct pile_shed_rule rules[PILE_DOORS_MAX], uint64_t now_ns);

/** pile_act_gate_ready - rung 1 is attached to this group's cgroup. */
bool pile_act_gate_ready(const struct pile_act *a, const struct pile_groups *g, uint32_t group);

/**
 * pile_act_carry_out - do what the intents say; blocked ones and those for the record only are
 * passed over
 * @sense: the pending connects of this tick, to be ended
 * Returns 0, or the first negative errno met (all intents are tried).
 */
int pile_act_carry_out(struct pile_act *a, struct pile_kernel *k, const struct pile_intent *intents,
		       uint32_t n, const struct pile_sense *sense, uint32_t own_netns,
		       uint64_t now_ns);

/**
 * pile_act_probe_tick - start and collect probes; results, and what scouts still wait for, go into
 * @sample->probes.
 */
void pile_act_probe_tick(struct pile_act *a, uint64_t now_ns, struct pile_sample *sample);

/** pile_act_sample - refused, admitted and ended of each dependency, into @sample. */
void pile_act_sample(struct pile_act *a, struct pile_kernel *k, struct pile_sample *sample);

/** pile_act_loop_sample - what the loop in the kernel has done since the last tick, into @sample. */
void pile_act_loop_sample(struct pile_act *a, struct pile_kernel *k, struct pile_sample *sample);

/**
 * pile_act_loop_take - after the intents were carried out: the gates of the loop in the kernel go, the guard's stand
 * What decide did not take over is open from here on.
 */
void pile_act_loop_take(struct pile_act *a, struct pile_kernel *k,
			const struct pile_sample *sample);

/** pile_act_group_reset - the slot now holds another group: what was done to the old one is not shown for it. */
void pile_act_group_reset(struct pile_act *a, uint32_t group);

/**
 * pile_act_drain_pass - between two ticks: end as many more waits as answers have come since
 * Returns whether some are left that may be ended soon: call again after PILE_ACT_DRAIN_PASS_NS.
 */
bool pile_act_drain_pass(struct pile_act *a, struct pile_kernel *k, const struct pile_sense *sense,
			 uint32_t own_netns, uint64_t now_ns);

/** pile_act_gate_find - borrowed, or NULL. */
const struct pile_act_gate *pile_act_gate_find(const struct pile_act *a, uint32_t group,
					       const struct pile_endpoint *endpoint);

/* parts */

/** pile_past_add - what was done at a destination, beyond the life of its gate. */
void pile_past_add(struct pile_act *a, const struct pile_bpf_destination *key, uint64_t refused,
		   uint64_t ended);

/** pile_drain_tick - the first pass of a tick: also those that no answer has made room for. */
void pile_drain_tick(struct pile_act *a, struct pile_kernel *k, const struct pile_sense *sense,
		     uint32_t own_netns, uint64_t now_ns);

/**
 * pile_drain_quota - how many waits of one group may be ended now
 * @answered: requests of the group that were answered since its drain began
 * @woken: waits ended since then
 * @left: waits that are still to be ended
 * @most: the largest that @left has been
 * @n_cpus: 1 or more
 * @tick: the first pass of a tick: some in any case, so that all are out after PILE_ACT_DRAIN_TICKS
 * As TCP's congestion window: one more for each that is through (Jacobson, "Congestion avoidance and
 * control", 1988, self-clocking); here the window is what the CPUs can work at, and never more in one
 * pass, however much is answered by others.
 */
uint32_t pile_drain_quota(uint64_t answered, uint32_t woken, uint32_t left, uint32_t most,
			  uint32_t n_cpus, bool tick);

int pile_destroy_open(void);

/**
 * pile_destroy_send - ask the kernel to end one pending connect (SOCK_DESTROY): connect() returns
 * ECONNABORTED
 * @seq: comes back with the answer. Returns 0, or negative errno; -EAGAIN: the queue is full, next
 * pass.
 */
int pile_destroy_send(int fd, uint32_t seq, const struct pile_sense_pending *pending);

/**
 * pile_destroy_receive - one answer. Returns 1 with *ret_seq and *ret_error (0 or negative errno),
 * 0 when none is there.
 */
int pile_destroy_receive(int fd, uint32_t *ret_seq, int *ret_error);

/** pile_destroy_request - any question about that connection; @type, @flags: of netlink; @ext: of inet_diag */
int pile_destroy_request(int fd, uint16_t type, uint16_t flags, uint32_t seq, uint8_t ext,
			 const struct pile_sense_pending *pending);

/**
 * pile_recheck_is_waiting - the established connection @pending waits as it did when the sweep met it
 * Asked right before it is ended: what has got an answer meanwhile is left alone. Does not wait; false when the kernel
 * does not say.
 */
bool pile_recheck_is_waiting(int fd, const struct pile_sense_pending *pending);

/**
 * pile_probe_start - a non-blocking connect. Returns a descriptor or negative errno.
 * @speaks_first: it may wait for long, and notices when the other end is gone meanwhile
 */
int pile_probe_start(const struct pile_endpoint *endpoint, bool speaks_first);

/**
 * pile_scout_send - keep one connect to @intent's destination in flight, for as long as this is called each tick
 * Not where none of the group's pending connects is in @own_netns: another network would answer.
 */
void pile_scout_send(struct pile_act *a, const struct pile_intent *intent,
		     const struct pile_sense *sense, uint32_t own_netns, uint64_t now_ns);

/** pile_scouts_dismiss - all of them. */
void pile_scouts_dismiss(struct pile_act *a);

/**
 * pile_probe_poll - 1 answered, 0 not yet, negative errno: it failed
 * @speaks_first: answered is greeted; then *ret_established says whether it is at least established
 */
int pile_probe_poll(int fd, bool speaks_first, bool *ret_established);

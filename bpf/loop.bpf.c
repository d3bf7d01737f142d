// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * loop.bpf.c: rung 1 without user space. A timer looks every PILE_TICK_NS whether the guard has ticked; while it is late
 * (frozen, starved, swapped out) the loop follows the armed groups' destinations by rules.h, shuts gates, renews
 * the leases of those it shut, lets one connect a second through and opens again when one succeeds. Waits that
 * are pending already end at their next SYN time-out but one (TCP_SYNCNT).
 * With the guard's death all of it ends: `guard_dead`, and the timer goes with the last descriptor of its map.
 */
#include "connects.h"
#include "sockops.h"

#include "pileguard/rules.h"

char LICENSE[] SEC("license") = "GPL";

#define CLOCK_MONOTONIC 1
/* Places that a destination with one pending connect may take; the rest is for those with three. */
#define LOOP_LONE_MAX (PILE_LOOP_MAX * 3 / 4)
#define QUIET_NS 1000000000ULL
#define KEEP_NS \
	2000000000ULL /* the guard may be on time for so long before the loop forgets what it has seen */
#define NETWORK_DEAD 3 /* decide/network.h: so many addresses at once are our own network */
#define WAITED 16      /* a power of two; a second of ticks and some */
#define WAITED_BACK 10

struct timer {
	struct bpf_timer timer;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct timer);
} loop_timer SEC(".maps");

/* A group at the last ticks. */
struct waited {
	__u64 pass; /* the pass that wrote the newest */
	__u64 at_ns[WAITED];
	struct pile_rule_load load[WAITED];
	__u32 n, head;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, PILE_GROUPS_MAX);
	__type(key, __u32);
	__type(value, struct waited);
} loop_waited SEC(".maps");

/* Never written: a loop entry is too large for the stack. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct pile_bpf_loop);
} loop_fresh SEC(".maps");

/* What one pass over the destinations sees. */
struct pass {
	__u64 now_ns, number;
	__u32 may_shut;	     /* the guard is late now, not only a moment ago */
	__u32 watched;	     /* the pass before was a tick ago, and had room for everybody */
	__u32 used;	     /* entries */
	__u32 lost;	     /* destinations without one */
	__u32 suspects;	     /* addresses that look dead, at most NETWORK_DEAD */
	__u32 were_suspects; /* ... in the pass before */
	__u32 suspect[NETWORK_DEAD][4];
};

static __u64 pass_ns, passes, on_time_ns;
static __u32 suspects, lost, used;

/* Global functions, so that the verifier looks at each once and not on every path to it. */

__attribute__((noinline)) __u64 loop_waiting(__u32 group)
{
	struct pile_bpf_control *ctl = control_get();
	__u64 opened = 0, ended = 0;

	if (!ctl)
		return 0;
	for (__u32 i = 0; i < PILE_SHARDS_MAX; i++) {
		__u32 at = group * ctl->n_shards + i;
		struct pile_bpf_shard *shard;

		if (i >= ctl->n_shards)
			break;
		shard = bpf_map_lookup_elem(&shards, &at);
		if (!shard)
			break;
		opened += shard->opened;
		ended += shard->answered + shard->closed;
	}
	return opened - ended;
}

__attribute__((noinline)) __u32 loop_rule_step(struct pile_rule_state *state,
					       struct pile_rule_input *in)
{
	return state && in ? pile_rule_step(state, in) : PILE_RULE_CALM;
}

__attribute__((noinline)) __u32 loop_rule_stuck(struct pile_rule_state *state,
						struct pile_rule_input *in)
{
	return state && in ? (__u32)pile_rule_stuck(state, in) : 0;
}

__attribute__((noinline)) int loop_exempt(struct pile_bpf_destination *key)
{
	return key && is_exempt(key);
}

/* Once a pass for each group, however many destinations it has. */
static __always_inline struct waited *waited_update(__u32 group, const struct pile_bpf_rule *rule,
						    const struct pass *pass)
{
	struct waited *w = bpf_map_lookup_elem(&loop_waited, &group);
	struct pile_bpf_totals *t = totals_get();
	struct pile_rule_load *load;
	__s64 waiting;

	if (!t || !w || w->pass == pass->number)
		return w;
	if (w->pass + 1 != pass->number)
		w->n = 0;
	w->pass = pass->number;
	w->head = (w->head + 1) & (WAITED - 1);
	w->at_ns[w->head & (WAITED - 1)] = pass->now_ns;
	waiting = (__s64)(loop_waiting(group) - rule->drift);
	load = &w->load[w->head & (WAITED - 1)];
	load->waiting = waiting > 0 ? (__u32)waiting : 0;
	load->used = t->used[group & (PILE_GROUPS_MAX - 1)];
	if (w->n < WAITED)
		w->n++;
	return w;
}

static __always_inline bool at_risk(const struct pile_bpf_rule *rule, const struct waited *w)
{
	__u32 back = w->n > WAITED_BACK ? WAITED_BACK : w->n - 1, now = w->head & (WAITED - 1);
	__u32 then = (w->head - back) & (WAITED - 1);

	return pile_rule_at_risk(rule, &w->load[now], &w->load[then],
				 (w->at_ns[now] - w->at_ns[then]) / PILE_RULE_MS);
}

static __always_inline void loop_open(struct pile_bpf_loop *loop, const struct pile_bpf_rule *rule,
				      __u64 now, __u32 waiting, bool inherited)
{
	struct pile_bpf_totals *t = totals_get();

	loop->opened_ns = now;
	loop->closed_ns = 0;
	loop->openings++;
	loop->inherited = inherited;
	loop->refuse_errno = rule->refuse_errno;
	loop->connecting = (__u32)loop->rule.pending;
	loop->waiting = waiting;
	loop->no_success_ns = loop->rule.onset_ns ? now - loop->rule.onset_ns : 0;
	loop->next_ns = now + PILE_LOOP_TRY_NS;
	loop->lease_ns = now + PILE_LOOP_LEASE_NS;
	if (t)
		__sync_fetch_and_add(&t->loop_opened, 1);
}

static __always_inline void loop_close(struct pile_bpf_loop *loop, __u64 now)
{
	loop->lease_ns = 0;
	loop->closed_ns = now;
	loop->rule.onset_ns = 0;
}

static __always_inline void suspect_add(struct pass *pass, const struct pile_bpf_destination *key)
{
	const __u32 *addr = (const __u32 *)key->addr;

	/* what is on this host says nothing about its network */
	if (key->addr[10] == 0xff && key->addr[12] == 127)
		return;
	for (__u32 i = 0; i < NETWORK_DEAD; i++) {
		if (i >= pass->suspects) {
			pass->suspect[i][0] = addr[0];
			pass->suspect[i][1] = addr[1];
			pass->suspect[i][2] = addr[2];
			pass->suspect[i][3] = addr[3];
			pass->suspects++;
			return;
		}
		if (pass->suspect[i][0] == addr[0] && pass->suspect[i][1] == addr[1] &&
		    pass->suspect[i][2] == addr[2] && pass->suspect[i][3] == addr[3])
			return;
	}
}

/* The guard's own gate, shut by a proof: it goes on here. Half open, or held by hand: it ends with its lease. */
static __always_inline bool is_inherited(const struct pile_bpf_destination *key, __u64 now)
{
	struct pile_bpf_gate *gate = bpf_map_lookup_elem(&gates, key);
	struct pile_bpf_gate_counts *counts = bpf_map_lookup_elem(&gate_counts, key);

	return gate && counts && !gate->by_hand && counts->admitted >= gate->allow &&
	       pile_rule_lease(gate->lease_ns, now);
}

static __always_inline void loop_judge(struct pass *pass, const struct pile_bpf_destination *key,
				       const struct pile_bpf_destination_counts *counts,
				       const struct pile_bpf_rule *rule, struct pile_bpf_loop *loop)
{
	struct waited *w = waited_update(key->group, rule, pass);
	struct pile_rule_input in = {
		.now_ns = pass->now_ns,
		.started = counts->started,
		.ended = counts->established + counts->failed,
		.last_started_ns = counts->last_started_ns,
		.last_syn_ns = counts->last_started_ns > counts->last_again_ns
				       ? counts->last_started_ns
				       : counts->last_again_ns,
		.alive_ns = counts->last_established_ns > counts->last_refused_ns
				    ? counts->last_established_ns
				    : counts->last_refused_ns,
		.workers = rule->workers,
		.dead_after_ns = rule->dead_after_ns,
		.always = rule->always,
		.watched = pass->watched,
	};
	__u32 verdict;

	if (!w)
		return;
	in.waiting = w->load[w->head & (WAITED - 1)].waiting;
	verdict = loop_rule_step(&loop->rule, &in);
	if ((verdict != PILE_RULE_CALM || loop->lease_ns) && counts->established)
		suspect_add(pass, key);
	if (loop->lease_ns) {
		if (in.alive_ns > loop->opened_ns)
			loop_close(loop, pass->now_ns);
		else
			loop->lease_ns = pass->now_ns + PILE_LOOP_LEASE_NS;
		return;
	}
	loop->stuck = loop_rule_stuck(&loop->rule, &in);
	if (!pass->may_shut)
		return;
	if (!loop->openings && is_inherited(key, pass->now_ns)) {
		loop_open(loop, rule, pass->now_ns, in.waiting, true);
		return;
	}
	if (verdict == PILE_RULE_DEAD && pass->suspects < NETWORK_DEAD &&
	    pass->were_suspects < NETWORK_DEAD && at_risk(rule, w))
		loop_open(loop, rule, pass->now_ns, in.waiting, false);
}

static __always_inline struct pile_bpf_loop *
loop_get(struct pass *pass, const struct pile_bpf_destination *key,
	 const struct pile_bpf_destination_counts *counts)
{
	struct pile_bpf_loop *loop = bpf_map_lookup_elem(&loops, key), *fresh;
	__u64 ended = counts->established + counts->failed;
	__u64 pending = counts->started > ended ? counts->started - ended : 0;
	__u32 zero = 0;

	if (loop) {
		pass->used++;
		return loop;
	}
	if (!pending && !(pass->may_shut && is_inherited(key, pass->now_ns)))
		return NULL;
	fresh = bpf_map_lookup_elem(&loop_fresh, &zero);
	if (fresh && (pending != 1 || used < LOOP_LONE_MAX) &&
	    bpf_map_update_elem(&loops, key, fresh, BPF_NOEXIST) == 0)
		loop = bpf_map_lookup_elem(&loops, key);
	if (loop)
		pass->used++;
	else
		pass->lost++;
	return loop;
}

static long destination_look(struct bpf_map *map, struct pile_bpf_destination *key,
			     struct pile_bpf_destination_counts *counts, struct pass *pass)
{
	__u32 group = key->group;
	struct pile_bpf_rule *rule = bpf_map_lookup_elem(&rules, &group);
	struct pile_bpf_destination at = *key;
	struct pile_bpf_loop *loop;

	if (!rule)
		return 0;
	if (!rule->armed || loop_exempt(&at)) {
		loop = bpf_map_lookup_elem(&loops, key);
		if (loop && loop->lease_ns)
			loop_close(loop, pass->now_ns);
		return 0;
	}
	loop = loop_get(pass, key, counts);
	if (loop)
		loop_judge(pass, key, counts, rule, loop);
	return 0;
}

/* Those that nothing was done for, once nothing is pending; of a pass that used none: all of them. */
static long loop_forget(struct bpf_map *map, struct pile_bpf_destination *key,
			struct pile_bpf_loop *loop, struct pass *pass)
{
	struct pile_bpf_destination gone = *key;

	if (loop->openings)
		return 0;
	/* not seen any more: the guard took its destination away */
	if (pass->used && loop->rule.pending && pass->now_ns - loop->rule.seen_ns < QUIET_NS)
		return 0;
	bpf_map_delete_elem(&loops, &gone);
	return 0;
}

static __always_inline void loop_pass(__u64 now, bool may_shut)
{
	struct pass pass = {
		.now_ns = now,
		.number = ++passes,
		.may_shut = may_shut,
		.watched = pass_ns && now - pass_ns <= PILE_RULE_LATE_NS && !lost,
		.were_suspects = suspects,
	};
	struct pile_bpf_totals *t = totals_get();

	bpf_for_each_map_elem(&destinations, destination_look, &pass, 0);
	pass_ns = now;
	suspects = pass.suspects;
	lost = pass.lost;
	used = pass.used;
	if (t && pass.lost)
		__sync_fetch_and_add(&t->loop_lost, pass.lost);
	bpf_for_each_map_elem(&loops, loop_forget, &pass, 0);
}

/*
 * Limits at doors hold without the guard: they are judged there. For ten minutes; what the doors count is corrected
 * by nobody meanwhile.
 */
static __always_inline void doors_renew(__u64 now, __u64 late)
{
	struct pile_bpf_door_counts *counts;
	struct pile_bpf_door *door;

	if (late > PILE_LOOP_DOORS_NS)
		return;
	for (__u32 i = 1; i < PILE_DOORS_MAX; i++) {
		__u32 index = i;

		door = bpf_map_lookup_elem(&doors, &index);
		counts = bpf_map_lookup_elem(&door_counts, &index);
		if (door && counts && door->limit &&
		    (pile_rule_lease(door->lease_ns, now) ||
		     pile_rule_lease(counts->loop_lease_ns, now)))
			counts->loop_lease_ns = now + PILE_LOOP_LEASE_NS;
	}
}

static int loop_tick(void *map, __u32 *key, struct timer *timer)
{
	struct pile_bpf_control *ctl = control_get();
	struct pile_bpf_totals *t = totals_get();
	__u64 now = bpf_ktime_get_ns(), late;
	static __u64 last;

	if (!ctl || !t || ctl->guard_dead)
		return 0;
	bpf_timer_start(&timer->timer, PILE_TICK_NS, 0);
	if (last && now - last > t->loop_worst_gap_ns)
		t->loop_worst_gap_ns = now - last;
	last = now;
	t->loop_ticks++;
	late = now > ctl->tick_ns ? now - ctl->tick_ns : 0;
	if (!ctl->tick_ns)
		return 0;
	if (late < PILE_LOOP_LATE_NS) {
		if (!on_time_ns)
			on_time_ns = now;
		if (!pass_ns)
			return 0;
		if (now - on_time_ns > KEEP_NS) {
			struct pass over = { .now_ns = now };

			pass_ns = 0;
			bpf_for_each_map_elem(&loops, loop_forget, &over, 0);
			return 0;
		}
		loop_pass(now, false);
		return 0;
	}
	on_time_ns = 0;
	doors_renew(now, late);
	loop_pass(now, true);
	return 0;
}

SEC("syscall")
int loop_start(void *ctx)
{
	__u32 zero = 0;
	struct timer *timer = bpf_map_lookup_elem(&loop_timer, &zero);

	if (!timer)
		return 1;
	if (bpf_timer_init(&timer->timer, &loop_timer, CLOCK_MONOTONIC) ||
	    bpf_timer_set_callback(&timer->timer, loop_tick) ||
	    bpf_timer_start(&timer->timer, PILE_TICK_NS, 0))
		return 2;
	return 0;
}

/* A SYN is sent again: what the rules take for evidence. Returns whether nobody is to wait for its answer. */
static __always_inline bool syn_again(struct bpf_sock *sk)
{
	struct pile_bpf_destination key = {};
	struct pile_bpf_destination_counts *counts;
	struct pile_bpf_connect *st;
	struct pile_bpf_control *ctl = control_get();
	struct pile_bpf_loop *loop;
	__u64 now = bpf_ktime_get_ns();

	if (!sk || !ctl || ctl->guard_dead)
		return false;
	st = bpf_sk_storage_get(&connects, sk, NULL, 0);
	if (!st)
		return false;
	connect_key(st, &key);
	counts = bpf_map_lookup_elem(&destinations, &key);
	if (counts)
		counts->last_again_ns = now;
	loop = bpf_map_lookup_elem(&loops, &key);
	return loop && pile_rule_lease(loop->lease_ns, now);
}

/*
 * At a SYN's time-out: behind a gate of the loop's no further one is sent, and the wait ends at the next time-out
 * with the kernel's own ETIMEDOUT. Attached to the groups' cgroups only.
 */
SEC("sockops")
int loop_syn_timeout(struct bpf_sock_ops *ctx)
{
	int count = 1;

	if (ctx->op == BPF_SOCK_OPS_TCP_CONNECT_CB)
		bpf_sock_ops_cb_flags_set(ctx,
					  ctx->bpf_sock_ops_cb_flags | BPF_SOCK_OPS_RTO_CB_FLAG);
	else if (ctx->op == BPF_SOCK_OPS_RTO_CB && ctx->state == TCP_SYN_SENT && syn_again(ctx->sk))
		bpf_setsockopt(ctx, SOL_TCP, TCP_SYNCNT, &count, sizeof(count));
	return 1;
}

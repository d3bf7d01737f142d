// SPDX-License-Identifier: GPL-2.0-or-later
#include "act/put.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#include "act/moves.h"
#include "util/clock.h"

/* Of looking again for children in one go: each halves what a storm of forks has left. */
#define ROUNDS_MAX 32
#define FAILED_NS (10 * NS_PER_SEC) /* after a move that failed: not before */
#define ANSWER_NS (20 * NS_PER_SEC) /* the manager's own limits, and the control loop's tick */
/* Three seconds, for PID 1 under load: who is not moved by then is tried again. */
#define SCOPE_PAUSE_NS (50 * 1000000L)
#define SCOPE_PAUSES 60
/* Whom PID 1 was asked to move, and did not refuse, does not come any more: a few times its own limits. */
#define PENDING_NS (60 * NS_PER_SEC)

void pile_put_news(struct pile_place *p, enum pile_place_news_kind kind, const char *group,
		   uint32_t n, int error)
{
	struct pile_place_told *told = &p->next;

	if (told->n_news == PILE_PLACE_NEWS_MAX)
		return; /* each is told again, or does not matter any more */
	told->news[told->n_news] = (struct pile_place_news){ .kind = kind, .n = n, .error = error };
	snprintf(told->news[told->n_news].group, PILE_NAME_MAX, "%s", group);
	told->n_news++;
}

struct pile_place_status *pile_put_status(struct pile_place *p, uint32_t rule)
{
	return &p->next.statuses[rule];
}

/* ---- the record ---- */

static int record_save(struct pile_place *p)
{
	int r = pile_placed_save(p->record_path, &p->undo);

	if (r < 0)
		pile_put_news(p, PILE_PLACE_RECORD, "", 0, r);
	return r;
}

/* While somebody is in the cgroup, one of the group's entries stays: it knows where their kind came from. */
static bool entry_gone(const struct pile_placed_entry *entry, void *arg)
{
	struct pile_place *p = arg;
	char cgroup[PILE_CGROUP_MAX];
	uint32_t pid;

	for (uint32_t i = 0; i < p->processes.n; i++)
		if (p->processes.table[i].known == (int16_t)(entry - p->undo.entries))
			return false;
	for (const struct pile_placed_entry *e = p->undo.entries; e < entry; e++)
		if (strcmp(e->group, entry->group) == 0)
			return true;
	pile_policy_placed(entry->group, cgroup, sizeof(cgroup));
	return pile_trees_list(&p->trees.trees[0], cgroup, &pid, 1) == 0;
}

void pile_put_prune(struct pile_place *p)
{
	pile_processes_known(&p->processes, &p->undo);
	if (p->undo.n && pile_placed_drop(&p->undo, entry_gone, p) > 0)
		record_save(p);
}

static bool entry_inside(const struct pile_place *p, const struct pile_placed_entry *entry)
{
	char cgroup[PILE_CGROUP_MAX], where[PILE_CGROUP_MAX];
	struct pile_match_process now;

	pile_policy_placed(entry->group, cgroup, sizeof(cgroup));
	return pile_trees_where(&p->trees.trees[0], entry->pid, where, sizeof(where)) == 0 &&
	       strcmp(where, cgroup) == 0 && pile_match_stat(entry->pid, &now) == 0 &&
	       now.start_ticks == entry->start_ticks;
}

/* Nobody will move it any more: it is gone, or it was asked for long ago. Without systemd each move is done at once. */
static bool entry_void(const struct pile_placed_entry *entry, void *arg)
{
	const struct pile_place *p = arg;
	struct pile_match_process now;

	if (entry->placed_ticks != UINT64_MAX)
		return false;
	return p->direct || !entry->asked_ns || pile_match_stat(entry->pid, &now) < 0 ||
	       now.start_ticks != entry->start_ticks ||
	       pile_clock_ns(CLOCK_MONOTONIC) - entry->asked_ns > PENDING_NS;
}

/* PID 1 under load moves them when nobody waits any more: who is inside then was placed, and is in the record. */
static void pending_settle(struct pile_place *p)
{
	uint32_t settled = 0;

	for (uint32_t i = 0; i < p->undo.n; i++) {
		struct pile_placed_entry *entry = &p->undo.entries[i];

		if (entry->placed_ticks != UINT64_MAX || !entry_inside(p, entry))
			continue;
		entry->placed_ticks = pile_processes_ticks();
		settled++;
	}
	settled += pile_placed_drop(&p->undo, entry_void, p);
	if (settled)
		record_save(p);
}

/* ---- moving ---- */

struct batch {
	uint32_t n;
	bool refused; /* by the manager: nothing is under way */
	struct pile_moving held[PILE_PLACE_ASK_MAX];
	char from[PILE_PLACE_ASK_MAX][PILE_CGROUP_MAX];
};

static void batch_drop(struct batch *b)
{
	for (uint32_t i = 0; i < b->n; i++)
		pile_moves_drop(&b->held[i]);
	b->n = 0;
	b->refused = false;
}

/* Held from here on: what is looked at below is what was found. */
static void batch_add(struct pile_place *p, struct batch *b, uint32_t rule,
		      const struct pile_process *of)
{
	const struct pile_match_rule *r = &p->rules[rule];
	struct pile_moving *m = &b->held[b->n];
	enum pile_match_stay stay;
	struct pile_match_process seen;
	char where[PILE_CGROUP_MAX];

	if (pile_moves_hold(m, of->pid, of->start_ticks) < 0)
		return;
	if (pile_match_read(of->pid, &seen) < 0 || seen.start_ticks != of->start_ticks) {
		pile_moves_drop(m);
		return;
	}
	/* two readers of one line, which must say the same: where it is from goes into the record */
	if (pile_trees_where(&p->trees.trees[0], of->pid, where, sizeof(where)) < 0 ||
	    strcmp(where, seen.cgroup) != 0) {
		pile_moves_drop(m);
		return;
	}
	/* what was found by its parent need not match, and its cgroup need not be named */
	stay = pile_match_stays(r, &seen, p->processes.guard);
	if (stay != PILE_MATCH_MAY_MOVE && (of->rule >= 0 || stay != PILE_MATCH_ELSEWHERE)) {
		pile_moves_drop(m);
		return;
	}
	snprintf(b->from[b->n], PILE_CGROUP_MAX, "%s", seen.cgroup);
	b->n++;
}

/* Written down before anything is moved. Returns 0 or negative errno: then nobody is moved. */
static int batch_record(struct pile_place *p, struct batch *b, uint32_t rule)
{
	const char *group = p->rules[rule].group;

	for (uint32_t i = 0; i < b->n; i++) {
		struct pile_placed_entry *entry =
			pile_placed_find(&p->undo, b->held[i].pid, b->held[i].start_ticks);

		/* of a group that had another name: it is where it is now, and was put there by nobody of ours */
		if (entry &&
		    (strcmp(entry->group, group) != 0 || entry->placed_ticks == UINT64_MAX)) {
			if (!pile_placed_again(&p->undo, entry, group, b->from[i]))
				entry = NULL;
		} else if (!entry) {
			entry = pile_placed_add(&p->undo, group, b->held[i].pid,
						b->held[i].start_ticks, UINT64_MAX, b->from[i]);
		}
		if (!entry) {
			pile_put_news(p,
				      p->undo.n < PILE_PLACED_MAX ? PILE_PLACE_ORIGINS
								  : PILE_PLACE_FULL,
				      group, p->undo.n, 0);
			return -ENOSPC;
		}
		entry->asked_ns = pile_clock_ns(CLOCK_MONOTONIC);
	}
	return record_save(p);
}

/*
 * Under systemd: by the control loop, and its thread for that. Returns 0 or negative errno; where nobody has said no, it
 * may be done yet.
 */
static int manager_ask(struct pile_place *p, struct batch *b, const char *group)
{
	struct timespec until;
	int r = -ETIMEDOUT;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += ANSWER_NS / NS_PER_SEC;
	pthread_mutex_lock(&p->lock);
	p->ask = (struct pile_place_ask){ .n = b->n };
	snprintf(p->ask.group, sizeof(p->ask.group), "%s", group);
	for (uint32_t i = 0; i < b->n; i++)
		p->ask.pids[i] = b->held[i].pid;
	p->ask_ready = true;
	p->ask_answered = false;
	while (!p->ask_answered && !p->stop &&
	       pthread_cond_timedwait(&p->wake, &p->lock, &until) == 0)
		;
	if (p->ask_answered)
		r = p->ask_error;
	b->refused = p->ask_answered && r < 0 && r != -ETIMEDOUT;
	p->ask_ready = p->ask_answered = false;
	pthread_mutex_unlock(&p->lock);
	return r;
}

/* A scope is started by a job: its processes are moved a moment after it was asked for. */
static int scope_await(struct pile_place *p, const struct batch *b, const char *cgroup)
{
	const struct timespec pause = { .tv_nsec = SCOPE_PAUSE_NS };
	char where[PILE_CGROUP_MAX];

	for (int i = 0; i < SCOPE_PAUSES && !p->stop; i++) {
		bool all = true;

		for (uint32_t k = 0; k < b->n && all; k++)
			all = pile_trees_where(&p->trees.trees[0], b->held[k].pid, where,
					       sizeof(where)) < 0 ||
			      strcmp(where, cgroup) == 0;
		if (all)
			return 0;
		nanosleep(&pause, NULL);
	}
	return 0; /* who is not there yet stays in the record for a while: pending_settle() */
}

static int batch_move(struct pile_place *p, struct batch *b, uint32_t rule)
{
	const char *group = p->rules[rule].group;
	char cgroup[PILE_CGROUP_MAX];
	int r, one, error = 0;

	pile_policy_placed(group, cgroup, sizeof(cgroup));
	if (!p->direct) {
		r = manager_ask(p, b, group);
		return r < 0 ? r : scope_await(p, b, cgroup);
	}
	r = pile_trees_make(&p->trees, cgroup);
	for (uint32_t i = 0; i < b->n && r == 0; i++) {
		one = pile_moves_put(&p->trees, &b->held[i], b->from[i], cgroup);
		/* one that cannot be moved holds up nobody */
		if (one < 0 && one != -ESRCH && one != -ESTALE)
			error = error ? error : one;
	}
	return r ? r : error;
}

/* Who is in it now, and was all the time the one that was meant. Returns how many. */
static uint32_t batch_verify(struct pile_place *p, struct batch *b, uint32_t rule)
{
	uint64_t now = pile_processes_ticks();
	char cgroup[PILE_CGROUP_MAX], where[PILE_CGROUP_MAX];
	uint32_t moved = 0;

	pile_policy_placed(p->rules[rule].group, cgroup, sizeof(cgroup));
	for (uint32_t i = 0; i < b->n; i++) {
		struct pile_placed_entry *entry =
			pile_placed_find(&p->undo, b->held[i].pid, b->held[i].start_ticks);

		/* its answer was no: who is not there now does not come */
		if (entry && b->refused)
			entry->asked_ns = 0;
		if (!entry || !pile_moves_still(&b->held[i]) ||
		    pile_trees_where(&p->trees.trees[0], entry->pid, where, sizeof(where)) < 0 ||
		    strcmp(where, cgroup) != 0)
			continue;
		entry->placed_ticks = now;
		moved++;
	}
	/* the others are where they were, or gone, or on their way */
	pile_placed_drop(&p->undo, entry_void, p);
	return moved;
}

/* Those from @at on are another batch's: who holds them, drops them. */
static void batch_cut(const struct batch *b, uint32_t at, uint32_t n, struct batch *ret)
{
	*ret = (struct batch){ .n = n };
	memcpy(ret->held, b->held + at, n * sizeof(b->held[0]));
	memcpy(ret->from, b->from + at, n * sizeof(b->from[0]));
}

/* One call to the manager is one answer for all: after a no once more in halves, so that it is about fewer each time. */
static int halves_move(struct pile_place *p, struct batch *b, uint32_t rule)
{
	static struct batch part;
	uint32_t size = (b->n + 1) / 2;
	int error = 0, r;

	for (uint32_t at = 0; at < b->n && !p->stop; at += size) {
		batch_cut(b, at, MIN(size, b->n - at), &part);
		r = batch_move(p, &part, rule);
		b->refused &= part.refused;
		error = error ? error : r;
	}
	return error;
}

/* Returns 0 or negative errno; adds up how many were placed. */
static int batch_place(struct pile_place *p, struct batch *b, uint32_t rule, uint32_t *moved)
{
	int r = batch_record(p, b, rule);
	bool recorded = r == 0;
	uint32_t n;

	if (recorded)
		r = batch_move(p, b, rule);
	if (b->refused && b->n > 1)
		r = halves_move(p, b, rule);
	b->refused |= !recorded;
	n = batch_verify(p, b, rule);
	/* also that somebody is not: what is dropped is nobody's any more */
	if (n || (r < 0 && recorded))
		record_save(p);
	*moved += n;
	return r;
}

void pile_put_look(struct pile_place *p, bool whole)
{
	pending_settle(p);
	pile_processes_look(&p->processes, p->rules, p->n_rules, &p->holders, &p->undo, whole);
	/* who leaves a group that is not to be placed goes back: no hand, should it be wanted again */
	for (uint32_t i = 0; i < p->n_rules; i++)
		if (p->wants[i] == PILE_PLACE_BACK)
			pile_processes_moved(&p->processes, p->rules[i].group);
}

/* One round: all that are candidates now, also behind some that cannot be moved. Returns 0 or the first error. */
static int round_place(struct pile_place *p, uint32_t rule, uint32_t *moved)
{
	static struct batch batch; /* 32 KiB, the thread's alone */
	int error = 0, r;

	pile_processes_candidates(&p->processes, p->rules, rule, &p->trees, &p->undo);
	for (uint32_t i = 0; i < p->processes.n && error != -ENOSPC && !p->stop; i++) {
		const struct pile_process *of = &p->processes.table[i];

		if (of->candidate == (int16_t)rule)
			batch_add(p, &batch, rule, of);
		if (batch.n == PILE_PLACE_ASK_MAX || (batch.n && i == p->processes.n - 1)) {
			r = batch_place(p, &batch, rule, moved);
			error = error ? error : r;
			batch_drop(&batch);
		}
	}
	batch_drop(&batch);
	return error;
}

/* Children that were born before their parent was moved are outside: looked for again until there are none. */
void pile_put_group(struct pile_place *p, uint32_t rule, uint64_t *failed_ns)
{
	struct pile_place_status *status = pile_put_status(p, rule);
	uint64_t now_ns = pile_clock_ns(CLOCK_MONOTONIC);
	uint32_t moved = 1;
	int error = 0, r;

	if (*failed_ns && now_ns - *failed_ns < FAILED_NS)
		return;
	*failed_ns = 0;
	for (int round = 0; round < ROUNDS_MAX && moved && !p->stop; round++) {
		moved = 0;
		r = round_place(p, rule, &moved);
		error = error ? error : r;
		status->moved += moved;
		if (moved)
			pile_put_look(p, true);
	}
	/* also that there is nobody to be moved: then nothing is wrong any more */
	status->error = error;
	if (error)
		*failed_ns = now_ns;
}

/* ---- back ---- */

static bool entry_of_group(const struct pile_placed_entry *entry, void *arg)
{
	return strcmp(entry->group, arg) == 0;
}

static void group_back(struct pile_place *p, const char *name)
{
	char group[PILE_NAME_MAX];
	int r;

	snprintf(group, sizeof(group), "%s", name); /* the entry that it stands in goes */
	if (!p->direct) {
		for (uint32_t i = 0; i < p->undo.n; i++)
			p->undo.entries[i].kept |= strcmp(p->undo.entries[i].group, group) == 0;
		pile_put_news(p, PILE_PLACE_KEPT, group, 0, 0);
		return;
	}
	r = pile_placed_back(&p->trees, &p->undo, group, p->run_path);
	pile_processes_moved(&p->processes, group);
	pile_put_news(p, PILE_PLACE_WENT_BACK, group, (uint32_t)MAX(r, 0), MIN(r, 0));
	if (r < 0)
		return;
	pile_placed_drop(&p->undo, entry_of_group, group);
	record_save(p);
}

static bool is_wanted(const struct pile_place *p, const char *group)
{
	for (uint32_t i = 0; i < p->n_rules; i++)
		if (strcmp(p->rules[i].group, group) == 0)
			return p->wants[i] != PILE_PLACE_BACK;
	return false;
}

/* A group that was not wanted is again. Whom the operator has taken out meanwhile went back, as without systemd. */
static bool entry_undone(const struct pile_placed_entry *entry, void *arg)
{
	const struct pile_place *p = arg;

	return entry->kept && is_wanted(p, entry->group) && !entry_inside(p, entry);
}

/* Groups that the policy does not want placed, or does not have, any more. */
void pile_put_others_back(struct pile_place *p)
{
	char last[PILE_NAME_MAX] = "";

	if (pile_placed_drop(&p->undo, entry_undone, p))
		record_save(p);
	for (uint32_t i = 0; i < p->undo.n; i++)
		p->undo.entries[i].kept &= !is_wanted(p, p->undo.entries[i].group);
	for (uint32_t i = 0; i < p->undo.n; i++) {
		const char *group = p->undo.entries[i].group;

		if (is_wanted(p, group) || strcmp(group, last) == 0)
			continue;
		snprintf(last, sizeof(last), "%s", group);
		group_back(p, group);
		if (p->direct)
			i = UINT32_MAX; /* the table has moved up: from its beginning */
	}
}

void pile_put_all_back(struct pile_place *p)
{
	uint32_t at = 0, n;

	p->n_rules = 0;
	/* what cannot go back keeps its entries, for pileguardctl unplace */
	while (at < p->undo.n) {
		n = p->undo.n;
		group_back(p, p->undo.entries[at].group);
		at += p->undo.n == n;
	}
}

/* Of a guard that was killed: who is where it put them was placed; who is not may be moved yet, by PID 1. */
int pile_put_adopt(struct pile_place *p)
{
	int r = pile_placed_load(p->record_path, &p->undo);

	if (r < 0) {
		pile_put_news(p, PILE_PLACE_RECORD, "", 0, r);
		return r;
	}
	for (uint32_t i = 0; i < p->undo.n; i++)
		p->undo.entries[i].asked_ns = pile_clock_ns(CLOCK_MONOTONIC);
	pending_settle(p);
	return 0;
}

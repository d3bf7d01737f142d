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

static bool entry_failed(const struct pile_placed_entry *entry, void *arg)
{
	(void)arg;
	return entry->placed_ticks == UINT64_MAX;
}

/* ---- moving ---- */

struct batch {
	uint32_t n;
	struct pile_moving held[PILE_PLACE_ASK_MAX];
	char from[PILE_PLACE_ASK_MAX][PILE_CGROUP_MAX];
};

static void batch_drop(struct batch *b)
{
	for (uint32_t i = 0; i < b->n; i++)
		pile_moves_drop(&b->held[i]);
	b->n = 0;
}

/* Held from here on: what is looked at below is what was found. */
static void batch_add(struct pile_place *p, struct batch *b, uint32_t rule,
		      const struct pile_process *of)
{
	const struct pile_match_rule *r = &p->rules[rule];
	struct pile_moving *m = &b->held[b->n];
	enum pile_match_stay stay;
	struct pile_match_process seen;

	if (pile_moves_hold(m, of->pid, of->start_ticks) < 0)
		return;
	if (pile_match_read(of->pid, &seen) < 0 || seen.start_ticks != of->start_ticks) {
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
	for (uint32_t i = 0; i < b->n; i++)
		if (!pile_placed_find(&p->undo, b->held[i].pid, b->held[i].start_ticks) &&
		    !pile_placed_add(&p->undo, p->rules[rule].group, b->held[i].pid,
				     b->held[i].start_ticks, UINT64_MAX, b->from[i])) {
			pile_put_news(p, PILE_PLACE_FULL, p->rules[rule].group, PILE_PLACED_MAX, 0);
			return -ENOSPC;
		}
	return record_save(p);
}

/* Under systemd: by the control loop, and its thread for that. Returns 0 or negative errno. */
static int manager_ask(struct pile_place *p, const struct batch *b, const char *group)
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
	return 0; /* who is not there is not placed: batch_verify() */
}

static int batch_move(struct pile_place *p, struct batch *b, uint32_t rule)
{
	const char *group = p->rules[rule].group;
	char cgroup[PILE_CGROUP_MAX];
	int r, one;

	pile_policy_placed(group, cgroup, sizeof(cgroup));
	if (!p->direct) {
		r = manager_ask(p, b, group);
		return r < 0 ? r : scope_await(p, b, cgroup);
	}
	r = pile_trees_make(&p->trees, cgroup);
	for (uint32_t i = 0; i < b->n && r == 0; i++) {
		one = pile_moves_put(&p->trees, &b->held[i], b->from[i], cgroup);
		if (one < 0 && one != -ESRCH && one != -ESTALE)
			r = one;
	}
	return r;
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

		if (!entry || !pile_moves_still(&b->held[i]) ||
		    pile_trees_where(&p->trees.trees[0], entry->pid, where, sizeof(where)) < 0 ||
		    strcmp(where, cgroup) != 0)
			continue;
		entry->placed_ticks = now;
		moved++;
	}
	/* the others are where they were, or gone */
	pile_placed_drop(&p->undo, entry_failed, NULL);
	return moved;
}

/* Returns how many were placed, or negative errno. */
static int batch_place(struct pile_place *p, struct batch *b, uint32_t rule)
{
	struct pile_place_status *status = pile_put_status(p, rule);
	uint32_t moved;
	int r = batch_record(p, b, rule);

	if (r == 0)
		r = batch_move(p, b, rule);
	moved = batch_verify(p, b, rule);
	if (moved)
		record_save(p);
	status->error = r;
	status->moved += moved;
	return r < 0 ? r : (int)moved;
}

void pile_put_look(struct pile_place *p, bool whole)
{
	pile_processes_look(&p->processes, p->rules, p->n_rules, &p->holders, &p->undo, whole);
}

/* One round: all that are candidates now. Returns how many were placed, or negative errno. */
static int round_place(struct pile_place *p, uint32_t rule)
{
	static struct batch batch; /* 32 KiB, the thread's alone */
	int moved = 0, r = 0;

	pile_processes_candidates(&p->processes, p->rules, rule, &p->trees, &p->undo);
	for (uint32_t i = 0; i < p->processes.n && r >= 0 && !p->stop; i++) {
		const struct pile_process *of = &p->processes.table[i];

		if (of->candidate == (int16_t)rule)
			batch_add(p, &batch, rule, of);
		if (batch.n == PILE_PLACE_ASK_MAX || (batch.n && i == p->processes.n - 1)) {
			r = batch_place(p, &batch, rule);
			moved += MAX(r, 0);
			batch_drop(&batch);
		}
	}
	batch_drop(&batch);
	return r < 0 ? r : moved;
}

/* Children that were born before their parent was moved are outside: looked for again until there are none. */
void pile_put_group(struct pile_place *p, uint32_t rule, uint64_t *failed_ns)
{
	uint64_t now_ns = pile_clock_ns(CLOCK_MONOTONIC);
	int r = 1;

	if (*failed_ns && now_ns - *failed_ns < FAILED_NS)
		return;
	*failed_ns = 0;
	for (int round = 0; round < ROUNDS_MAX && r > 0 && !p->stop; round++) {
		r = round_place(p, rule);
		if (r > 0)
			pile_put_look(p, true);
	}
	if (r < 0)
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
		pile_put_news(p, PILE_PLACE_KEPT, group, 0, 0);
		return;
	}
	r = pile_placed_back(&p->trees, &p->undo, group, p->run_path);
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

/* Groups that the policy does not want placed, or does not have, any more. */
void pile_put_others_back(struct pile_place *p)
{
	char last[PILE_NAME_MAX] = "";

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

/* Of a guard that was killed: who is where it put them was placed, who is not was not, or was moved since. */
void pile_put_adopt(struct pile_place *p)
{
	char cgroup[PILE_CGROUP_MAX], where[PILE_CGROUP_MAX];

	pile_placed_load(p->record_path, &p->undo);
	for (uint32_t i = 0; i < p->undo.n; i++) {
		struct pile_placed_entry *entry = &p->undo.entries[i];

		pile_policy_placed(entry->group, cgroup, sizeof(cgroup));
		if (entry->placed_ticks == UINT64_MAX &&
		    pile_trees_where(&p->trees.trees[0], entry->pid, where, sizeof(where)) == 0 &&
		    strcmp(where, cgroup) == 0)
			entry->placed_ticks = pile_processes_ticks();
	}
	pile_placed_drop(&p->undo, entry_failed, NULL);
}

// SPDX-License-Identifier: GPL-2.0-or-later
#include "act/place.h"

#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "act/put.h"
#include "util/clock.h"

#define LOOK_EVERY_NS NS_PER_SEC /* a process that is new is placed within a second or two */
#define WHOLE_EVERY 10		 /* looks: what has become another program since its birth */
#define PASSWD_SIZE 4096
/* For a look to end that was under way; and for all to go back, which asks nobody but the kernel. */
#define JOIN_SECONDS 3
#define BACK_SECONDS 60

/* ---- the thread's side of what is shared ---- */

static void tell(struct pile_place *p)
{
	pthread_mutex_lock(&p->lock);
	if (!p->told_new)
		p->told.n_news = 0;
	/* news that nobody has taken yet stay */
	for (uint32_t i = 0; i < p->next.n_news && p->told.n_news < PILE_PLACE_NEWS_MAX; i++)
		p->told.news[p->told.n_news++] = p->next.news[i];
	p->told.generation = p->next.generation;
	p->told.n_statuses = p->next.n_statuses;
	memcpy(p->told.statuses, p->next.statuses,
	       p->next.n_statuses * sizeof(p->next.statuses[0]));
	p->told.n_matched = p->next.n_matched;
	memcpy(p->told.matched, p->next.matched, p->next.n_matched * sizeof(p->next.matched[0]));
	p->told.cost_ns = p->next.cost_ns;
	p->told.looks = p->next.looks;
	p->told.whole_looks = p->next.whole_looks;
	p->told_new = true;
	pthread_mutex_unlock(&p->lock);
	p->next.n_news = 0;
}

/*
 * A number is one; a name is looked up in /etc/passwd alone. The C library would ask whom nsswitch.conf names: modules of
 * others' in this process, and servers that may not answer.
 */
static bool user_find(const char *user, uint32_t *ret)
{
	char buf[PASSWD_SIZE];
	struct passwd pw, *found = NULL;
	FILE *file;

	if (user[0] && !user[strspn(user, "0123456789")]) {
		*ret = (uint32_t)strtoul(user, NULL, 10);
		return true;
	}
	file = fopen("/etc/passwd", "re");
	while (file && fgetpwent_r(file, &pw, buf, sizeof(buf), &found) == 0 &&
	       strcmp(pw.pw_name, user) != 0)
		found = NULL;
	if (file)
		fclose(file);
	if (!file || !found)
		return false;
	*ret = found->pw_uid;
	return true;
}

/* As PID 1 sees it: the guard's own unit has no /home, and a /tmp of its own. */
static bool exe_find(const char *exe, struct pile_match_rule *ret)
{
	char path[PILE_MATCH_EXE_MAX + 16];

	snprintf(path, sizeof(path), "/proc/1/root%s", exe);
	return pile_match_file(path, &ret->exe_dev, &ret->exe_ino) == 0 ||
	       pile_match_file(exe, &ret->exe_dev, &ret->exe_ino) == 0;
}

/* A program that is replaced by an upgrade is another file: processes of the old one match no more, and stay placed. */
static void names_find(struct pile_place *p, bool users)
{
	for (uint32_t i = 0; i < p->n_rules; i++) {
		struct pile_match_rule *rule = &p->rules[i];

		if (users && rule->match.user[0])
			rule->has_uid = user_find(rule->match.user, &rule->uid);
		rule->has_exe = rule->match.exe[0] && exe_find(rule->match.exe, rule);
		pile_put_status(p, i)->unknown_user = rule->match.user[0] && !rule->has_uid;
		pile_put_status(p, i)->unknown_exe = rule->match.exe[0] && !rule->has_exe;
	}
}

/* ---- the thread ---- */

/* "/pileguard.slice/pileguard-www.scope": "www". */
static void placed_as(const struct pile_place *p, struct pile_place_status *s)
{
	const char *begin = "/" PILE_PLACE_SLICE "/" PILE_PLACE_PREFIX;
	char where[PILE_CGROUP_MAX];

	const char *name = where + strlen(begin);

	s->stay_group[0] = '\0';
	if (pile_trees_where(&p->trees.trees[0], s->stay_pid, where, sizeof(where)) == 0 &&
	    strncmp(where, begin, strlen(begin)) == 0 && strstr(name, ".scope"))
		snprintf(s->stay_group, sizeof(s->stay_group), "%.*s",
			 (int)(strstr(name, ".scope") - name), name);
}

static void statuses_fill(struct pile_place *p)
{
	static uint32_t pids[PILE_PLACED_MAX];
	char cgroup[PILE_CGROUP_MAX];

	p->next.n_matched = 0;
	for (uint32_t i = 0; i < p->n_rules; i++) {
		struct pile_place_status *s = pile_put_status(p, i);

		pile_policy_placed(p->rules[i].group, cgroup, sizeof(cgroup));
		s->inside = pile_trees_list(&p->trees.trees[0], cgroup, pids, PILE_PLACED_MAX);
		s->outside = 0;
		s->stay = PILE_MATCH_MAY_MOVE;
	}
	for (uint32_t i = 0; i < p->processes.n; i++) {
		const struct pile_process *of = &p->processes.table[i];
		struct pile_place_status *s;

		if (of->rule < 0 || of->inside)
			continue;
		s = pile_put_status(p, (uint32_t)of->rule);
		s->outside++;
		if (of->stay != PILE_MATCH_MAY_MOVE && s->stay == PILE_MATCH_MAY_MOVE) {
			s->stay = of->stay;
			s->stay_pid = of->pid;
			if (of->stay == PILE_MATCH_PLACED)
				placed_as(p, s);
		}
		if (p->next.n_matched < PILE_PLACE_MATCHED_MAX) {
			p->next.matched[p->next.n_matched].tgid = of->pid;
			p->next.matched[p->next.n_matched++].rule = (uint16_t)of->rule;
		}
	}
}

/* Under the lock. Returns whether there are new rules. */
static bool handed_take(struct pile_place *p)
{
	bool fresh = p->rules_new;

	p->holders = p->holders_in;
	if (!fresh)
		return false;
	p->rules_new = false;
	p->n_rules = p->next.n_statuses = p->n_rules_in;
	p->next.generation = p->generation_in;
	for (uint32_t i = 0; i < p->n_rules; i++) {
		struct pile_place_status *s = pile_put_status(p, i);

		p->rules[i] = p->rules_in[i].rule;
		p->wants[i] = p->rules_in[i].want;
		*s = (struct pile_place_status){ .moved = 0 };
		snprintf(s->group, sizeof(s->group), "%s", p->rules[i].group);
	}
	return true;
}

static void work(struct pile_place *p, bool fresh, bool whole)
{
	static uint64_t failed_ns[PILE_GROUPS_MAX];
	uint64_t began = pile_clock_ns(CLOCK_MONOTONIC);

	if (fresh)
		memset(failed_ns, 0, sizeof(failed_ns));
	p->back_due |= fresh;
	names_find(p, fresh || whole);
	if (!p->adopted)
		p->adopted = pile_put_adopt(p) == 0;
	if (p->adopted && p->back_due) {
		pile_put_others_back(p);
		p->back_due = false;
	}
	pile_put_look(p, whole);
	if (p->processes.cut)
		pile_put_news(p, PILE_PLACE_CUT, "", p->processes.n, 0);
	for (uint32_t i = 0; i < p->n_rules && p->adopted && !p->stop; i++)
		if (p->wants[i] == PILE_PLACE_PUT)
			pile_put_group(p, i, &failed_ns[i]);
	pile_put_prune(p);
	statuses_fill(p);
	p->next.cost_ns = pile_clock_ns(CLOCK_MONOTONIC) - began;
	p->next.looks++;
	p->next.whole_looks += whole;
	tell(p);
}

static void *place_main(void *arg)
{
	struct pile_place *p = arg;
	bool given = false;
	struct timespec next;
	uint64_t looks = 0;

	p->adopted = pile_put_adopt(p) == 0;
	pthread_mutex_lock(&p->lock);
	while (!p->stop) {
		bool fresh = handed_take(p);

		given |= fresh;
		if (fresh || (given && p->n_rules)) {
			pthread_mutex_unlock(&p->lock);
			work(p, fresh, fresh || looks++ % WHOLE_EVERY == 0);
			pthread_mutex_lock(&p->lock);
		}
		clock_gettime(CLOCK_MONOTONIC, &next);
		next.tv_sec += LOOK_EVERY_NS / NS_PER_SEC;
		while (!p->stop && !p->rules_new) {
			if (!p->n_rules)
				pthread_cond_wait(&p->wake, &p->lock);
			else if (pthread_cond_timedwait(&p->wake, &p->lock, &next) == ETIMEDOUT)
				break;
		}
	}
	pthread_mutex_unlock(&p->lock);
	p->ending = true;
	if (p->direct && p->adopted)
		pile_put_all_back(p);
	tell(p);
	return NULL;
}

/* ---- the control loop's side ---- */

int pile_place_open(struct pile_place *p, const struct pile_hierarchy *hierarchy,
		    const char *run_dir)
{
	pthread_mutexattr_t lock_attr;
	pthread_condattr_t attr;
	int r;

	p->direct = !hierarchy->systemd;
	p->processes.guard = (uint32_t)getpid();
	snprintf(p->record_path, sizeof(p->record_path), "%s/" PILE_PLACED_FILE, run_dir);
	snprintf(p->run_path, sizeof(p->run_path), "%s/" PILE_PLACED_RUN_FILE, run_dir);
	pile_trees_find(&p->trees, hierarchy->unified, hierarchy->systemd);
	/* whoever holds it while the control loop waits must not be kept from running by ordinary processes */
	pthread_mutexattr_init(&lock_attr);
	pthread_mutexattr_setprotocol(&lock_attr, PTHREAD_PRIO_INHERIT);
	pthread_mutex_init(&p->lock, &lock_attr);
	pthread_mutexattr_destroy(&lock_attr);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&p->wake, &attr);
	pthread_condattr_destroy(&attr);
	r = pthread_create(&p->thread, NULL, place_main, p);
	p->running = r == 0;
	return -r;
}

static bool joined_within(struct pile_place *p, int seconds)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += seconds;
	return pthread_clockjoin_np(p->thread, NULL, CLOCK_MONOTONIC, &until) == 0;
}

void pile_place_close(struct pile_place *p)
{
	if (!p->running)
		return;
	pthread_mutex_lock(&p->lock);
	p->stop = true;
	pthread_cond_broadcast(&p->wake);
	pthread_mutex_unlock(&p->lock);
	if (!joined_within(p, JOIN_SECONDS) && p->ending)
		joined_within(p, BACK_SECONDS);
	p->running = false;
}

void pile_place_rules(struct pile_place *p, const struct pile_place_rule *rules, uint32_t n,
		      uint32_t generation)
{
	if (!p->running)
		return;
	pthread_mutex_lock(&p->lock);
	memcpy(p->rules_in, rules, n * sizeof(rules[0]));
	p->n_rules_in = n;
	p->generation_in = generation;
	p->rules_new = true;
	pthread_cond_broadcast(&p->wake);
	pthread_mutex_unlock(&p->lock);
}

bool pile_place_holders(struct pile_place *p, const struct pile_holders *holders)
{
	if (!p->running || pthread_mutex_trylock(&p->lock) != 0)
		return false;
	p->holders_in.n = holders->n;
	memcpy(p->holders_in.table, holders->table, holders->n * sizeof(holders->table[0]));
	pthread_mutex_unlock(&p->lock);
	return true;
}

const char *pile_place_why(const struct pile_place_status *s, char *buf, size_t size)
{
	if (s->stay == PILE_MATCH_PLACED && s->stay_group[0])
		snprintf(buf, size, "placed as group %s: sudo pileguardctl unplace %s",
			 s->stay_group, s->stay_group);
	else
		snprintf(buf, size, "%s", pile_match_why(s->stay));
	return buf;
}

bool pile_place_take(struct pile_place *p, struct pile_place_told *ret)
{
	bool fresh;

	/* also what the thread has told at its end */
	if ((!p->running && !p->told_new) || pthread_mutex_trylock(&p->lock) != 0)
		return false;
	fresh = p->told_new;
	if (fresh)
		memcpy(ret, &p->told, sizeof(*ret));
	p->told_new = false;
	pthread_mutex_unlock(&p->lock);
	return fresh;
}

bool pile_place_asks(struct pile_place *p, struct pile_place_ask *ret)
{
	bool ready;

	if (!p->running || pthread_mutex_trylock(&p->lock) != 0)
		return false;
	ready = p->ask_ready;
	if (ready)
		*ret = p->ask;
	p->ask_ready = false;
	pthread_mutex_unlock(&p->lock);
	return ready;
}

void pile_place_answer(struct pile_place *p, int error)
{
	if (!p->running)
		return;
	pthread_mutex_lock(&p->lock);
	p->ask_error = error;
	p->ask_answered = true;
	pthread_cond_broadcast(&p->wake);
	pthread_mutex_unlock(&p->lock);
}

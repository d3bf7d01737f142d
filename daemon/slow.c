// SPDX-License-Identifier: GPL-2.0-or-later
#include "slow.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <time.h>

#include "keep.h"
#include "notice.h"
#include "policy/load.h"
#include "policy/store.h"

/* Room for one policy: some 400 KB, used by the thread alone. */
static struct pile_slow_policy scratch;

static void done_tell(struct pile_slow *s, struct pile_slow_done *done, uint64_t ticket, int error)
{
	pthread_mutex_lock(&s->lock);
	*done = (struct pile_slow_done){ .ticket = ticket, .error = error };
	pthread_mutex_unlock(&s->lock);
}

static bool done_is(struct pile_slow *s, const struct pile_slow_done *done, uint64_t ticket,
		    int *ret_error)
{
	bool is;

	pthread_mutex_lock(&s->lock);
	is = done->ticket == ticket;
	*ret_error = is ? done->error : 0;
	pthread_mutex_unlock(&s->lock);
	return is;
}

int pile_slow_policy_text(const struct pile_policy *policy, char *ret)
{
	_cleanup_free_ char *text = NULL;
	int r = pile_load_format(policy, &text);

	ret[0] = '\0';
	if (r == 0 && strlen(text) < PILE_SLOW_TEXT_MAX)
		snprintf(ret, PILE_SLOW_TEXT_MAX, "%s", text);
	return r;
}

static void loaded_copy(struct pile_slow_policy *to, const struct pile_slow_policy *from)
{
	to->result = from->result;
	to->error = from->error;
	to->ticket = from->ticket;
	if (from->result < 0)
		return;
	pile_policy_copy(&to->policy, &from->policy);
	snprintf(to->text, sizeof(to->text), "%s", from->text);
}

/* Somebody looks at the result: the counter may be full, it is readable anyway. */
static void result_tell(const struct pile_slow *s)
{
	uint64_t one = 1;

	(void)!write(s->event_fd, &one, sizeof(one));
}

static void policy_load(struct pile_slow *s, struct pile_slow_policy *loaded)
{
	loaded->result =
		pile_watch_load(&s->watch, s->policy_path, &loaded->policy, &loaded->error);
	if (loaded->result == 0) {
		loaded->result = pile_slow_policy_text(&loaded->policy, loaded->text);
		if (loaded->result < 0)
			pile_error_set(&loaded->error, loaded->result, "out of memory");
	}
	pthread_mutex_lock(&s->lock);
	loaded->ticket = s->load_ticket;
	loaded_copy(&s->loaded, loaded);
	s->load_done = true;
	s->watched = s->watch;
	s->watch_done = true;
	pthread_mutex_unlock(&s->lock);
	result_tell(s);
}

static void disk_look(struct pile_slow *s, struct pile_policy *room,
		      const char (*fingerprints)[PILE_FINGERPRINT_PATH_MAX], uint32_t n)
{
	bool read = pile_watch_look(&s->watch, s->policy_path, room);

	if (!pile_watch_fingerprint(&s->watch, fingerprints, n) && !read)
		return;
	pthread_mutex_lock(&s->lock);
	s->watched = s->watch;
	s->watch_done = true;
	pthread_mutex_unlock(&s->lock);
	result_tell(s);
}

/*
 * A job takes what it needs under the lock, and works without it. Each begins with the lock held, and ends without.
 */

static void disarm_run(struct pile_slow *s)
{
	uint32_t ticket = s->disarm_ticket;
	char text[PILE_DISARM_TEXT_MAX];

	s->disarm_wanted = false;
	memcpy(text, s->disarm_text, sizeof(text));
	pthread_mutex_unlock(&s->lock);
	done_tell(s, &s->disarm_done, ticket, pile_keep_disarmed(s->state_dir, text));
}

static void motd_run(struct pile_slow *s)
{
	char text[PILE_MOTD_TEXT_MAX];

	s->motd_wanted = false;
	memcpy(text, s->motd_text, sizeof(text));
	pthread_mutex_unlock(&s->lock);
	s->motd_error = pile_keep_motd(s->motd_path, text);
}

static void commit_run(struct pile_slow *s)
{
	static struct pile_policy policy;
	uint64_t generation = s->commit_generation;
	struct pile_error err = {};

	s->commit_wanted = false;
	pile_policy_copy(&policy, &s->commit_policy);
	pthread_mutex_unlock(&s->lock);
	done_tell(s, &s->commit_done, generation,
		  pile_store_commit(s->state_dir, &policy, generation, &err));
}

static void line_run(struct pile_slow *s)
{
	struct pile_event line = s->lines[s->head];

	s->head = (s->head + 1) % PILE_SLOW_LINES;
	s->n--;
	pthread_mutex_unlock(&s->lock);
	pile_notice_write(&line, s->to_journal);
}

static void load_run(struct pile_slow *s)
{
	s->load_wanted = false;
	pthread_mutex_unlock(&s->lock);
	policy_load(s, &scratch);
}

static void watch_run(struct pile_slow *s)
{
	char fingerprints[PILE_FINGERPRINTS_MAX][PILE_FINGERPRINT_PATH_MAX];
	uint32_t n = s->n_fingerprints;

	s->watch_wanted = false;
	memcpy(fingerprints, s->fingerprints, sizeof(fingerprints));
	pthread_mutex_unlock(&s->lock);
	disk_look(s, &scratch.policy, fingerprints, n);
}

static void learned_run(struct pile_slow *s)
{
	static struct pile_baseline_record learned[PILE_GROUPS_MAX];
	uint32_t n = s->n_learned;

	s->learned_wanted = false;
	memcpy(learned, s->learned, n * sizeof(learned[0]));
	pthread_mutex_unlock(&s->lock);
	s->learned_error = pile_keep_learned(s->state_dir, learned, n);
}

static void explain_run(struct pile_slow *s)
{
	uint32_t next = s->explain_next;

	s->explain_next_wanted = false;
	pthread_mutex_unlock(&s->lock);
	s->explain_error = pile_keep_explain_next(s->state_dir, next);
}

static void evicted_run(struct pile_slow *s)
{
	char text[PILE_KEEP_EVICTED_MAX];

	s->evicted_wanted = false;
	memcpy(text, s->evicted_text, sizeof(text));
	pthread_mutex_unlock(&s->lock);
	s->evicted_error = pile_keep_evicted(s->state_dir, text);
}

/* In this order: first what somebody waits for, then what is told. */
static void (*job_next(const struct pile_slow *s))(struct pile_slow *)
{
	const struct {
		bool wanted;
		void (*run)(struct pile_slow *);
	} jobs[] = {
		{ s->disarm_wanted, disarm_run },
		{ s->commit_wanted, commit_run },
		{ s->evicted_wanted, evicted_run },
		{ s->motd_wanted, motd_run },
		{ s->n > 0, line_run },
		{ s->load_wanted, load_run },
		{ s->watch_wanted, watch_run },
		{ s->learned_wanted, learned_run },
		{ s->explain_next_wanted, explain_run },
	};

	for (size_t i = 0; i < ARRAY_LEN(jobs); i++)
		if (jobs[i].wanted)
			return jobs[i].run;
	return NULL;
}

static void *slow_main(void *arg)
{
	struct pile_slow *s = arg;

	pthread_mutex_lock(&s->lock);
	for (;;) {
		void (*run)(struct pile_slow *) = job_next(s);

		if (run) {
			run(s);
			pthread_mutex_lock(&s->lock);
		} else if (s->stop) {
			break;
		} else {
			pthread_cond_wait(&s->wake, &s->lock);
		}
	}
	pthread_mutex_unlock(&s->lock);
	return NULL;
}

int pile_slow_start(struct pile_slow *s, const char *policy_path, const char *state_dir,
		    const char *motd_path)
{
	pthread_mutexattr_t attr;
	struct stat st;
	int r;

	snprintf(s->policy_path, sizeof(s->policy_path), "%s", policy_path);
	snprintf(s->state_dir, sizeof(s->state_dir), "%s", state_dir);
	snprintf(s->motd_path, sizeof(s->motd_path), "%s", motd_path);
	/* systemd says so when stderr is the journal */
	s->to_journal = getenv("JOURNAL_STREAM") && stat("/run/systemd/journal/socket", &st) == 0;
	s->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (s->event_fd < 0)
		return -errno;
	/* whoever holds it while the control loop waits must not be kept from running by ordinary processes */
	pthread_mutexattr_init(&attr);
	pthread_mutexattr_setprotocol(&attr, PTHREAD_PRIO_INHERIT);
	pthread_mutex_init(&s->lock, &attr);
	pthread_mutexattr_destroy(&attr);
	pthread_cond_init(&s->wake, NULL);
	r = pthread_create(&s->thread, NULL, slow_main, s);
	if (r != 0) {
		close(s->event_fd);
		return -r;
	}
	s->running = true;
	return 0;
}

void pile_slow_stop(struct pile_slow *s)
{
	if (!s->running)
		return;
	pthread_mutex_lock(&s->lock);
	s->stop = true;
	pthread_cond_signal(&s->wake);
	pthread_mutex_unlock(&s->lock);
	pthread_join(s->thread, NULL);
	close(s->event_fd);
	s->running = false;
}

/*
 * What a person did is always told. Of the rest at most ten a second, and at most seven of what anybody with a login
 * can cause by listening and connecting: such a flood must not hide what the guard does.
 */
static bool line_allowed(struct pile_slow *s, const struct pile_event *event)
{
	bool common = false;

	switch (event->kind) {
	case PILE_EVENT_GROUP:
	case PILE_EVENT_STAGE:
	case PILE_EVENT_TROUBLE:
	case PILE_EVENT_PROBE:
	case PILE_EVENT_LEAK:
		common = true;
		break;
	case PILE_EVENT_OPEN:
	case PILE_EVENT_CLOSE:
		common = event->notice == PILE_NOTICE_WOULD_REFUSE ||
			 event->notice == PILE_NOTICE_WOULD_ALLOW;
		break;
	case PILE_EVENT_STOPPED:
		common = event->notice == PILE_NOTICE_WOULD_STOP ||
			 event->notice == PILE_NOTICE_WOULD_STOP_OVER;
		break;
	case PILE_EVENT_EVICT:
		common = event->notice == PILE_NOTICE_WOULD_EVICT ||
			 event->notice == PILE_NOTICE_WOULD_EVICT_OVER;
		break;
	case PILE_EVENT_THROTTLE:
		common = event->notice == PILE_NOTICE_WOULD_THROTTLE ||
			 event->notice == PILE_NOTICE_WOULD_THROTTLE_OVER;
		break;
	case PILE_EVENT_HALF_OPEN:
	case PILE_EVENT_NETWORK:
		break;
	default:
		return true;
	}
	if (event->t_ns - s->second_ns >= NS_PER_SEC) {
		s->second_ns = event->t_ns;
		s->second_lines = s->second_common = 0;
	}
	if (s->second_lines >= PILE_SLOW_LINES_PER_SECOND ||
	    (common &&
	     (s->second_common >= PILE_SLOW_COMMON_PER_SECOND || s->n >= PILE_SLOW_LINES / 2)))
		return false;
	s->second_lines++;
	s->second_common += common;
	return true;
}

void pile_slow_say(struct pile_slow *s, const struct pile_event *event)
{
	pthread_mutex_lock(&s->lock);
	if (s->n < PILE_SLOW_LINES && line_allowed(s, event)) {
		s->lines[(s->head + s->n++) % PILE_SLOW_LINES] = *event;
	} else {
		s->lines_dropped++;
		s->dropped_ns = event->t_ns;
	}
	pthread_cond_signal(&s->wake);
	pthread_mutex_unlock(&s->lock);
}

int pile_slow_load(struct pile_slow *s, uint32_t ticket)
{
	int r = 0;

	pthread_mutex_lock(&s->lock);
	if (s->load_wanted || s->load_done) {
		r = -EBUSY;
	} else {
		s->load_wanted = true;
		s->load_ticket = ticket;
		pthread_cond_signal(&s->wake);
	}
	pthread_mutex_unlock(&s->lock);
	return r;
}

bool pile_slow_loaded(struct pile_slow *s, struct pile_slow_policy *ret)
{
	uint64_t count;
	bool done;

	if (read(s->event_fd, &count, sizeof(count)) < 0 && errno != EAGAIN)
		return false;
	pthread_mutex_lock(&s->lock);
	done = s->load_done;
	if (done)
		loaded_copy(ret, &s->loaded);
	s->load_done = false;
	pthread_mutex_unlock(&s->lock);
	return done;
}

void pile_slow_watch(struct pile_slow *s, const struct pile_policy *policy)
{
	pthread_mutex_lock(&s->lock);
	s->n_fingerprints = policy->n_fingerprints;
	memcpy(s->fingerprints, policy->fingerprints, sizeof(s->fingerprints));
	s->watch_wanted = true;
	pthread_cond_signal(&s->wake);
	pthread_mutex_unlock(&s->lock);
}

bool pile_slow_watched(struct pile_slow *s, struct pile_watch *ret)
{
	bool done;

	pthread_mutex_lock(&s->lock);
	done = s->watch_done;
	if (done)
		*ret = s->watched;
	s->watch_done = false;
	pthread_mutex_unlock(&s->lock);
	return done;
}

void pile_slow_commit(struct pile_slow *s, const struct pile_policy *policy, uint64_t generation)
{
	pthread_mutex_lock(&s->lock);
	pile_policy_copy(&s->commit_policy, policy);
	s->commit_generation = generation;
	s->commit_wanted = true;
	pthread_cond_signal(&s->wake);
	pthread_mutex_unlock(&s->lock);
}

bool pile_slow_committed(struct pile_slow *s, uint64_t generation, int *ret_error)
{
	return done_is(s, &s->commit_done, generation, ret_error);
}

void pile_slow_disarm(struct pile_slow *s, const char *text, uint32_t ticket)
{
	pthread_mutex_lock(&s->lock);
	snprintf(s->disarm_text, sizeof(s->disarm_text), "%s", text);
	s->disarm_ticket = ticket;
	s->disarm_wanted = true;
	pthread_cond_signal(&s->wake);
	pthread_mutex_unlock(&s->lock);
}

bool pile_slow_disarm_kept(struct pile_slow *s, uint32_t ticket, int *ret_error)
{
	return done_is(s, &s->disarm_done, ticket, ret_error);
}

void pile_slow_again(struct pile_slow *s)
{
	pthread_mutex_lock(&s->lock);
	s->commit_wanted |= s->commit_done.error != 0;
	s->disarm_wanted |= s->disarm_done.error != 0;
	s->learned_wanted |= s->learned_error != 0;
	s->evicted_wanted |= s->evicted_error != 0;
	s->explain_next_wanted |= s->explain_error != 0;
	s->motd_wanted |= s->motd_error != 0;
	if (job_next(s))
		pthread_cond_signal(&s->wake);
	pthread_mutex_unlock(&s->lock);
}

int pile_slow_trouble(struct pile_slow *s)
{
	int error;

	pthread_mutex_lock(&s->lock);
	error = s->commit_done.error ? s->commit_done.error : s->disarm_done.error;
	pthread_mutex_unlock(&s->lock);
	if (!error)
		error = s->learned_error ? s->learned_error : s->explain_error;
	if (!error)
		error = s->evicted_error;
	return error;
}

void pile_slow_motd(struct pile_slow *s, const char *text)
{
	pthread_mutex_lock(&s->lock);
	snprintf(s->motd_text, sizeof(s->motd_text), "%s", text);
	s->motd_wanted = true;
	pthread_cond_signal(&s->wake);
	pthread_mutex_unlock(&s->lock);
}

void pile_slow_learned(struct pile_slow *s, const struct pile_baseline_record *records, uint32_t n)
{
	pthread_mutex_lock(&s->lock);
	s->n_learned = MIN(n, PILE_GROUPS_MAX);
	memcpy(s->learned, records, s->n_learned * sizeof(records[0]));
	s->learned_wanted = true;
	pthread_cond_signal(&s->wake);
	pthread_mutex_unlock(&s->lock);
}

void pile_slow_evicted(struct pile_slow *s, const char *text)
{
	pthread_mutex_lock(&s->lock);
	snprintf(s->evicted_text, sizeof(s->evicted_text), "%s", text);
	s->evicted_wanted = true;
	pthread_cond_signal(&s->wake);
	pthread_mutex_unlock(&s->lock);
}

void pile_slow_explain_next(struct pile_slow *s, uint32_t next)
{
	pthread_mutex_lock(&s->lock);
	s->explain_next = next;
	s->explain_next_wanted = true;
	pthread_cond_signal(&s->wake);
	pthread_mutex_unlock(&s->lock);
}

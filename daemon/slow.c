// SPDX-License-Identifier: GPL-2.0-or-later
#include "slow.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <time.h>

#include "notice.h"
#include "policy/load.h"
#include "policy/store.h"

#define LEARNED_FILE "learned"
#define DISARM_FILE "disarmed"
#define EXPLAIN_FILE "explain.next" /* a number: the next episode's */

static int file_write(const char *path, const void *data, size_t size)
{
	_cleanup_close_ int fd = -1;
	char tmp[300];
	ssize_t n;

	snprintf(tmp, sizeof(tmp), "%s.new", path);
	fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	n = write(fd, data, size);
	if (n < 0 || (size_t)n != size)
		return n < 0 ? -errno : -EIO;
	if (fsync(fd) < 0 || rename(tmp, path) < 0)
		return -errno;
	return 0;
}

static void learned_write(struct pile_slow *s, const struct pile_baseline_record *records,
			  uint32_t n)
{
	char path[280];
	int r;

	snprintf(path, sizeof(path), "%s/" LEARNED_FILE, s->state_dir);
	r = file_write(path, records, n * sizeof(*records));
	if (r < 0)
		s->store_error = r;
}

uint32_t pile_slow_learned_load(const char *state_dir, struct pile_baseline_record *ret,
				uint32_t max)
{
	_cleanup_close_ int fd = -1;
	char path[280];
	ssize_t n;

	snprintf(path, sizeof(path), "%s/" LEARNED_FILE, state_dir);
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return 0;
	n = read(fd, ret, max * sizeof(*ret));
	return n > 0 ? (uint32_t)((size_t)n / sizeof(*ret)) : 0;
}

static void explain_next_write(struct pile_slow *s, uint32_t next)
{
	char path[280], text[16];
	int r;

	snprintf(path, sizeof(path), "%s/" EXPLAIN_FILE, s->state_dir);
	snprintf(text, sizeof(text), "%u\n", next);
	r = file_write(path, text, strlen(text));
	if (r < 0)
		s->store_error = r;
}

uint32_t pile_slow_explain_next_load(const char *state_dir)
{
	_cleanup_close_ int fd = -1;
	char path[280], text[16] = "", *end;
	unsigned long next;

	snprintf(path, sizeof(path), "%s/" EXPLAIN_FILE, state_dir);
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0 || read(fd, text, sizeof(text) - 1) <= 0)
		return 1;
	next = strtoul(text, &end, 10);
	return *end == '\n' && next > 0 && next <= UINT32_MAX ? (uint32_t)next : 1;
}

/* Whole or not at all: somebody may log in meanwhile. It is memory that a boot empties, so nothing is synced. */
static int motd_write(const char *path, const char *text)
{
	_cleanup_close_ int fd = -1;
	char tmp[300];
	ssize_t n;

	if (!text[0])
		return unlink(path) < 0 && errno != ENOENT && errno != ENOTDIR ? -errno : 0;
	snprintf(tmp, sizeof(tmp), "%s.new", path);
	fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644);
	if (fd < 0)
		return errno == ENOENT ? 0 : -errno; /* a host without pam_motd's directory */
	n = write(fd, text, strlen(text));
	if (n >= 0 && (size_t)n != strlen(text))
		errno = ENOSPC;
	if (n < 0 || (size_t)n != strlen(text) || rename(tmp, path) < 0) {
		n = -errno;
		unlink(tmp);
		return (int)n;
	}
	return 0;
}

static void motd_run(struct pile_slow *s)
{
	char text[PILE_MOTD_TEXT_MAX];

	s->motd_wanted = false;
	memcpy(text, s->motd_text, sizeof(text));
	pthread_mutex_unlock(&s->lock);
	s->motd_error = motd_write(s->motd_path, text);
}

/* It must be there after a loss of power, too: the directory as well. */
static int disarm_write(const struct pile_slow *s, const char *text)
{
	_cleanup_close_ int dir = open(s->state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	char path[280];
	int r = 0;

	if (dir < 0)
		return -errno;
	snprintf(path, sizeof(path), "%s/" DISARM_FILE, s->state_dir);
	if (text[0])
		r = file_write(path, text, strlen(text));
	else if (unlink(path) < 0 && errno != ENOENT)
		r = -errno;
	if (r == 0 && fsync(dir) < 0)
		r = -errno;
	return r;
}

int pile_slow_disarm_load(const char *state_dir, char *ret, size_t size)
{
	_cleanup_close_ int fd = -1;
	char path[280];
	ssize_t n;

	ret[0] = '\0';
	snprintf(path, sizeof(path), "%s/" DISARM_FILE, state_dir);
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0)
		return -errno;
	n = read(fd, ret, size - 1);
	if (n < 0)
		return -errno;
	ret[n] = '\0';
	return 0;
}

void pile_slow_policy_text(const struct pile_policy *policy, char *ret)
{
	_cleanup_free_ char *text = NULL;

	ret[0] = '\0';
	if (pile_load_format(policy, &text) == 0 && strlen(text) < PILE_SLOW_TEXT_MAX)
		snprintf(ret, PILE_SLOW_TEXT_MAX, "%s", text);
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

static void load_run(struct pile_slow *s, struct pile_slow_policy *loaded)
{
	loaded->result =
		pile_watch_load(&s->watch, s->policy_path, &loaded->policy, &loaded->error);
	if (loaded->result == 0)
		pile_slow_policy_text(&loaded->policy, loaded->text);
	pthread_mutex_lock(&s->lock);
	loaded->ticket = s->load_ticket;
	loaded_copy(&s->loaded, loaded);
	s->load_done = true;
	s->watched = s->watch;
	s->watch_done = true;
	pthread_mutex_unlock(&s->lock);
	result_tell(s);
}

static void watch_run(struct pile_slow *s, struct pile_policy *scratch,
		      const char (*fingerprints)[PILE_FINGERPRINT_PATH_MAX], uint32_t n)
{
	bool read = pile_watch_look(&s->watch, s->policy_path, scratch);

	if (!pile_watch_fingerprint(&s->watch, fingerprints, n) && !read)
		return;
	pthread_mutex_lock(&s->lock);
	s->watched = s->watch;
	s->watch_done = true;
	pthread_mutex_unlock(&s->lock);
	result_tell(s);
}

/* Comes and goes with the lock not held. */
static void disarm_run(struct pile_slow *s)
{
	uint32_t ticket = s->disarm_ticket;
	char text[PILE_DISARM_TEXT_MAX];
	int r;

	s->disarm_wanted = false;
	memcpy(text, s->disarm_text, sizeof(text));
	pthread_mutex_unlock(&s->lock);
	r = disarm_write(s, text);
	pthread_mutex_lock(&s->lock);
	s->disarm_done = ticket;
	s->disarm_error = r;
	pthread_mutex_unlock(&s->lock);
	if (r < 0)
		s->store_error = r;
}

/*
 * Jobs are copied out under the lock and done without it. Returns false when there was nothing to
 * do.
 */
static bool job_run(struct pile_slow *s)
{
	static struct pile_policy policy;
	static struct pile_baseline_record learned[PILE_GROUPS_MAX];
	static struct pile_slow_policy loaded;
	char fingerprints[PILE_FINGERPRINTS_MAX][PILE_FINGERPRINT_PATH_MAX];
	struct pile_event line;
	struct pile_error err = {};
	uint64_t generation;
	uint32_t n;
	int r;

	if (s->disarm_wanted) { /* before any line: somebody waits for it */
		disarm_run(s);
	} else if (s->motd_wanted) {
		motd_run(s);
	} else if (s->n > 0) {
		line = s->lines[s->head];
		s->head = (s->head + 1) % PILE_SLOW_LINES;
		s->n--;
		pthread_mutex_unlock(&s->lock);
		pile_notice_write(&line, s->to_journal);
	} else if (s->load_wanted) {
		s->load_wanted = false;
		pthread_mutex_unlock(&s->lock);
		load_run(s, &loaded);
	} else if (s->commit_wanted) {
		s->commit_wanted = false;
		pile_policy_copy(&policy, &s->commit_policy);
		generation = s->commit_generation;
		pthread_mutex_unlock(&s->lock);
		r = pile_store_commit(s->state_dir, &policy, generation, &err);
		s->store_error = r;
		pthread_mutex_lock(&s->lock);
		s->commit_done = generation;
		s->commit_error = r;
		pthread_mutex_unlock(&s->lock);
	} else if (s->watch_wanted) {
		s->watch_wanted = false;
		n = s->n_fingerprints;
		memcpy(fingerprints, s->fingerprints, sizeof(fingerprints));
		pthread_mutex_unlock(&s->lock);
		watch_run(s, &loaded.policy, fingerprints, n);
	} else if (s->learned_wanted) {
		s->learned_wanted = false;
		n = s->n_learned;
		memcpy(learned, s->learned, n * sizeof(learned[0]));
		pthread_mutex_unlock(&s->lock);
		learned_write(s, learned, n);
	} else if (s->explain_next_wanted) {
		s->explain_next_wanted = false;
		n = s->explain_next;
		pthread_mutex_unlock(&s->lock);
		explain_next_write(s, n);
	} else {
		return false;
	}
	pthread_mutex_lock(&s->lock);
	return true;
}

static void *slow_main(void *arg)
{
	struct pile_slow *s = arg;

	pthread_mutex_lock(&s->lock);
	for (;;) {
		if (job_run(s))
			continue;
		if (s->stop)
			break;
		pthread_cond_wait(&s->wake, &s->lock);
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
		common = true;
		break;
	case PILE_EVENT_OPEN:
	case PILE_EVENT_CLOSE:
		common = event->notice == PILE_NOTICE_WOULD_REFUSE ||
			 event->notice == PILE_NOTICE_WOULD_ALLOW;
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
	bool done;

	pthread_mutex_lock(&s->lock);
	done = s->commit_done == generation;
	*ret_error = done ? s->commit_error : 0;
	pthread_mutex_unlock(&s->lock);
	return done;
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
	bool done;

	pthread_mutex_lock(&s->lock);
	done = s->disarm_done == ticket;
	*ret_error = done ? s->disarm_error : 0;
	pthread_mutex_unlock(&s->lock);
	return done;
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

void pile_slow_explain_next(struct pile_slow *s, uint32_t next)
{
	pthread_mutex_lock(&s->lock);
	s->explain_next = next;
	s->explain_next_wanted = true;
	pthread_cond_signal(&s->wake);
	pthread_mutex_unlock(&s->lock);
}

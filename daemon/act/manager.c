// SPDX-License-Identifier: GPL-2.0-or-later
#include "act/manager.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <systemd/sd-daemon.h>

#include "act/bus.h"
#include "util/macro.h"

/* PID 1's own socket, root only: neither needs dbus-daemon, which is not on every host and may starve. */
#define PRIVATE_SOCKET "/run/systemd/private"

void pile_manager_bus_fd(struct pile_manager *m, int fd)
{
	pthread_mutex_lock(&m->lock);
	m->bus_fd = fd;
	if (m->stop && fd >= 0)
		shutdown(fd, SHUT_RDWR); /* the guard ends: this job, too */
	pthread_mutex_unlock(&m->lock);
}

bool pile_manager_is_stopping(struct pile_manager *m)
{
	bool stop;

	pthread_mutex_lock(&m->lock);
	stop = m->stop;
	pthread_mutex_unlock(&m->lock);
	return stop;
}

/* ---- the thread ---- */

static int job_do(struct pile_manager *m, struct pile_bus_call *call,
		  struct pile_manager_result *result)
{
	struct pile_manager_job *job = &result->job;

	switch (job->verb) {
	case PILE_MANAGER_SET:
		return pile_bus_set(call, job);
	case PILE_MANAGER_SCOPE:
		return pile_bus_scope(call, job);
	case PILE_MANAGER_STOP:
		return pile_bus_stop(m, call, result);
	case PILE_MANAGER_START:
		return pile_bus_start(call, job);
	case PILE_MANAGER_UNTIME:
		pile_bus_untime(call, job);
		return 0;
	case PILE_MANAGER_CHECK:
		return pile_bus_check(call, job, result->text, sizeof(result->text));
	}
	return -EINVAL;
}

static void job_run(struct pile_manager *m, struct pile_manager_result *result)
{
	struct pile_bus_call call;
	int r = pile_bus_open(m, &call);

	if (r >= 0)
		r = job_do(m, &call, result);
	result->error = MIN(r, 0);
	/* libsystemd has no number for it */
	if (sd_bus_error_has_name(&call.error, "org.freedesktop.systemd1.NoSuchUnit"))
		result->error = -ENOENT;
	if (!result->text[0] && sd_bus_error_is_set(&call.error))
		snprintf(result->text, sizeof(result->text), "%s",
			 call.error.message ?: call.error.name);
	pile_bus_close(m, &call);
}

/* It is never too late for. */
static bool undoes(const struct pile_manager_job *job)
{
	return job->verb == PILE_MANAGER_START || (job->verb == PILE_MANAGER_SET && job->also_down);
}

static void *manager_main(void *arg)
{
	static struct pile_manager_result result; /* one thread: 900 bytes */
	struct pile_manager *m = arg;

	pthread_mutex_lock(&m->lock);
	for (;;) {
		while (!m->n && !m->stop)
			pthread_cond_wait(&m->wake, &m->lock);
		if (m->stop)
			break;
		result = (struct pile_manager_result){ .job = m->jobs[m->head],
						       .asked_ns = m->given_ns[m->head] };
		m->head = (m->head + 1) % PILE_MANAGER_JOBS_MAX;
		m->n--;
		pthread_mutex_unlock(&m->lock);
		result.done_ns = pile_clock_ns(CLOCK_MONOTONIC);
		if (!undoes(&result.job) &&
		    result.done_ns - result.asked_ns > PILE_MANAGER_STALE_NS)
			result.error = -ETIMEDOUT;
		else
			job_run(m, &result);
		result.done_ns = pile_clock_ns(CLOCK_MONOTONIC);
		pthread_mutex_lock(&m->lock);
		m->results[(m->results_head + m->n_results++) % PILE_MANAGER_JOBS_MAX] = result;
	}
	pthread_mutex_unlock(&m->lock);
	return NULL;
}

int pile_manager_open(struct pile_manager *m, const char *socket_path)
{
	pthread_mutexattr_t attr;
	int r;

	*m = (struct pile_manager){ .bus_fd = -1 };
	if (!socket_path && sd_booted() <= 0)
		return -EOPNOTSUPP;
	snprintf(m->socket_path, sizeof(m->socket_path), "%s", socket_path ?: PRIVATE_SOCKET);
	/* whoever holds it while the control loop waits must not be kept from running by ordinary processes */
	pthread_mutexattr_init(&attr);
	pthread_mutexattr_setprotocol(&attr, PTHREAD_PRIO_INHERIT);
	pthread_mutex_init(&m->lock, &attr);
	pthread_mutexattr_destroy(&attr);
	pthread_cond_init(&m->wake, NULL);
	r = pthread_create(&m->thread, NULL, manager_main, m);
	m->ready = r == 0;
	return -r;
}

void pile_manager_close(struct pile_manager *m)
{
	if (!m->ready)
		return;
	pthread_mutex_lock(&m->lock);
	m->stop = true;
	/* what waits for an answer gets none, at once */
	if (m->bus_fd >= 0)
		shutdown(m->bus_fd, SHUT_RDWR);
	pthread_cond_signal(&m->wake);
	pthread_mutex_unlock(&m->lock);
	pthread_join(m->thread, NULL);
	pthread_cond_destroy(&m->wake);
	pthread_mutex_destroy(&m->lock);
	m->ready = false;
}

int pile_manager_submit(struct pile_manager *m, const struct pile_manager_job *job, uint64_t now_ns)
{
	int r = 0;

	if (!m->ready)
		return -EOPNOTSUPP;
	pthread_mutex_lock(&m->lock);
	if (m->in_flight < PILE_MANAGER_JOBS_MAX) {
		uint32_t at = (m->head + m->n++) % PILE_MANAGER_JOBS_MAX;

		m->jobs[at] = *job;
		m->given_ns[at] = now_ns;
		m->in_flight++;
		pthread_cond_signal(&m->wake);
	} else {
		r = -EAGAIN;
	}
	pthread_mutex_unlock(&m->lock);
	return r;
}

bool pile_manager_take(struct pile_manager *m, struct pile_manager_result *ret)
{
	bool taken = false;

	if (!m->ready)
		return false;
	pthread_mutex_lock(&m->lock);
	if (m->n_results) {
		*ret = m->results[m->results_head];
		m->results_head = (m->results_head + 1) % PILE_MANAGER_JOBS_MAX;
		m->n_results--;
		m->in_flight--;
		taken = true;
	}
	pthread_mutex_unlock(&m->lock);
	return taken;
}

// SPDX-License-Identifier: GPL-2.0-or-later
#include "act/manager.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <systemd/sd-bus.h>
#include <systemd/sd-daemon.h>
#include <time.h>

#include "util/macro.h"

/* PID 1's own socket, root only: neither needs dbus-daemon, which is not on every host and may starve. */
#define PRIVATE_SOCKET "/run/systemd/private"
#define DESTINATION "org.freedesktop.systemd1"
#define MANAGER_PATH "/org/freedesktop/systemd1"
#define MANAGER_INTERFACE "org.freedesktop.systemd1.Manager"
#define UNIT_INTERFACE "org.freedesktop.systemd1.Unit"
#define SYSTEMCTL "/usr/bin/systemctl"
#define STATE_EVERY_NS (50 * NS_PER_MS)

/* One job's connection. */
struct call {
	sd_bus *bus;
	sd_bus_error error;
	char path[512]; /* of the unit's object */
};

static void bus_fd_tell(struct pile_manager *m, int fd)
{
	pthread_mutex_lock(&m->lock);
	m->bus_fd = m->stop ? -1 : fd;
	pthread_mutex_unlock(&m->lock);
}

/*
 * A connection for each job: PID 1 sends its signals to whoever is connected to its own socket, and nobody would read
 * them between two jobs.
 */
static int call_open(struct pile_manager *m, struct call *call)
{
	char address[160];
	int r;

	snprintf(address, sizeof(address), "unix:path=%s", m->socket_path);
	*call = (struct call){ .error = SD_BUS_ERROR_NULL };
	r = sd_bus_new(&call->bus);
	if (r >= 0)
		r = sd_bus_set_address(call->bus, address);
	if (r >= 0)
		r = sd_bus_start(call->bus);
	if (r >= 0)
		r = sd_bus_set_method_call_timeout(call->bus, PILE_MANAGER_ANSWER_NS / 1000);
	if (r >= 0)
		bus_fd_tell(m, sd_bus_get_fd(call->bus));
	return MIN(r, 0);
}

static void call_close(struct pile_manager *m, struct call *call)
{
	bus_fd_tell(m, -1);
	sd_bus_error_free(&call->error);
	sd_bus_close_unref(call->bus);
}

/* ---- a unit, as PID 1 has it ---- */

static int unit_find(struct call *call, const char *unit)
{
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
	const char *path;
	int r = sd_bus_call_method(call->bus, DESTINATION, MANAGER_PATH, MANAGER_INTERFACE,
				   "GetUnit", &call->error, &reply, "s", unit);

	if (r >= 0)
		r = sd_bus_message_read(reply, "o", &path);
	if (r < 0)
		return r;
	if (strlen(path) >= sizeof(call->path))
		return -ENAMETOOLONG;
	strcpy(call->path, path);
	return 0;
}

/* Whether it is inactive or failed: 1, 0, or negative errno. */
static int unit_is_down(struct call *call)
{
	_cleanup_free_ char *state = NULL;
	int r = sd_bus_get_property_string(call->bus, DESTINATION, call->path, UNIT_INTERFACE,
					   "ActiveState", &call->error, &state);

	if (r < 0)
		return r;
	return strcmp(state, "inactive") == 0 || strcmp(state, "failed") == 0;
}

/* "php8.2-fpm.service" has its knobs at org.freedesktop.systemd1.Service. */
static int unit_interface(const char *unit, char *ret, size_t size)
{
	static const struct {
		const char *suffix, *interface;
	} of[] = {
		{ ".service", "Service" },
		{ ".scope", "Scope" },
		{ ".slice", "Slice" },
		{ ".socket", "Socket" },
	};
	const char *dot = strrchr(unit, '.');

	for (size_t i = 0; dot && i < sizeof(of) / sizeof(of[0]); i++)
		if (strcmp(dot, of[i].suffix) == 0) {
			snprintf(ret, size, "org.freedesktop.systemd1.%s", of[i].interface);
			return 0;
		}
	return -EINVAL;
}

/* ---- SET ---- */

/* What it is now; -ESTALE when somebody else has set it. */
static int property_compare(struct call *call, const char *interface,
			    struct pile_manager_property *property)
{
	int r = sd_bus_get_property_trivial(call->bus, DESTINATION, call->path, interface,
					    property->name, &call->error, 't', &property->was);

	if (r < 0)
		return r;
	return property->compare && property->was != property->expected ? -ESTALE : 0;
}

static int properties_append(sd_bus_message *message, const struct pile_manager_job *job)
{
	int r = 0;

	for (uint32_t i = 0; i < job->n_properties && r >= 0; i++)
		r = sd_bus_message_append(message, "(sv)", job->properties[i].name, "t",
					  job->properties[i].value);
	return r;
}

static int method_new(struct call *call, sd_bus_message **ret, const char *method)
{
	return sd_bus_message_new_method_call(call->bus, ret, DESTINATION, MANAGER_PATH,
					      MANAGER_INTERFACE, method);
}

static int message_send(struct call *call, sd_bus_message *message)
{
	return sd_bus_call(call->bus, message, 0, &call->error, NULL);
}

static int set(struct call *call, struct pile_manager_job *job)
{
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *message = NULL;
	char interface[64];
	int r = unit_interface(job->unit, interface, sizeof(interface));

	if (r >= 0)
		r = unit_find(call, job->unit);
	if (r >= 0)
		r = unit_is_down(call);
	if (r != 0)
		return r < 0 ? r : -ESRCH;
	for (uint32_t i = 0; i < job->n_properties; i++) {
		r = property_compare(call, interface, &job->properties[i]);
		if (r < 0)
			return r;
	}
	r = method_new(call, &message, "SetUnitProperties");
	if (r >= 0)
		r = sd_bus_message_append(message, "sb", job->unit, 1);
	if (r >= 0)
		r = sd_bus_message_open_container(message, 'a', "(sv)");
	if (r >= 0)
		r = properties_append(message, job);
	if (r >= 0)
		r = sd_bus_message_close_container(message);
	return r < 0 ? r : message_send(call, message);
}

/* ---- SCOPE ---- */

static int pids_append(sd_bus_message *message, const struct pile_manager_job *job)
{
	return sd_bus_message_append_array(message, 'u', job->pids,
					   job->n_pids * sizeof(job->pids[0]));
}

static int scope_join(struct call *call, const struct pile_manager_job *job)
{
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *message = NULL;
	int r = method_new(call, &message, "AttachProcessesToUnit");

	if (r >= 0)
		r = sd_bus_message_append(message, "ss", job->unit, "");
	if (r >= 0)
		r = pids_append(message, job);
	return r < 0 ? r : message_send(call, message);
}

static int scope_properties_append(sd_bus_message *message, const struct pile_manager_job *job)
{
	int r = sd_bus_message_open_container(message, 'a', "(sv)");

	if (r >= 0)
		r = sd_bus_message_append(message, "(sv)(sv)(sv)", "Description", "s",
					  "API workers placed by pileguard", "Slice", "s",
					  job->slice, "Delegate", "b", 1);
	if (r >= 0)
		r = sd_bus_message_open_container(message, 'r', "sv");
	if (r >= 0)
		r = sd_bus_message_append(message, "s", "PIDs");
	if (r >= 0)
		r = sd_bus_message_open_container(message, 'v', "au");
	if (r >= 0)
		r = pids_append(message, job);
	if (r >= 0)
		r = sd_bus_message_close_container(message);
	if (r >= 0)
		r = sd_bus_message_close_container(message);
	if (r >= 0)
		r = properties_append(message, job);
	return r < 0 ? r : sd_bus_message_close_container(message);
}

static int scope(struct call *call, const struct pile_manager_job *job)
{
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *message = NULL;
	int r = unit_find(call, job->unit);

	if (r >= 0)
		r = unit_is_down(call);
	if (r == 0)
		return scope_join(call, job);
	sd_bus_error_free(&call->error);
	r = method_new(call, &message, "StartTransientUnit");
	if (r >= 0)
		r = sd_bus_message_append(message, "ss", job->unit, "fail");
	if (r >= 0)
		r = scope_properties_append(message, job);
	if (r >= 0)
		r = sd_bus_message_append(message, "a(sa(sv))", 0);
	return r < 0 ? r : message_send(call, message);
}

/* ---- STOP, START ---- */

static bool is_stopping(struct pile_manager *m)
{
	bool stop;

	pthread_mutex_lock(&m->lock);
	stop = m->stop;
	pthread_mutex_unlock(&m->lock);
	return stop;
}

/* Until it is down: 1; 0 when it is not after @within_ns; or negative errno. */
static int down_await(struct pile_manager *m, struct call *call, uint64_t within_ns)
{
	uint64_t until_ns = pile_clock_ns(CLOCK_MONOTONIC) + within_ns;
	struct timespec pause = { .tv_nsec = STATE_EVERY_NS };
	int r;

	for (;;) {
		r = unit_is_down(call);
		if (r != 0 || pile_clock_ns(CLOCK_MONOTONIC) >= until_ns)
			return r;
		if (is_stopping(m))
			return -ECANCELED;
		nanosleep(&pause, NULL);
	}
}

static int unit_call(struct call *call, const char *method, const char *unit, const char *mode)
{
	return sd_bus_call_method(call->bus, DESTINATION, MANAGER_PATH, MANAGER_INTERFACE, method,
				  &call->error, NULL, "ss", unit, mode);
}

/* What starts @job's unit later: "pileguard-start-php8.2-fpm" with .timer, or .service. */
static void starter_name(const struct pile_manager_job *job, const char *suffix, char *ret,
			 size_t size)
{
	const char *dot = strrchr(job->unit, '.');
	int len = dot ? (int)(dot - job->unit) : (int)strlen(job->unit);

	snprintf(ret, size, "pileguard-start-%.*s%s", len, job->unit, suffix);
}

/* One that is there already is of an earlier stop: what was asked last holds. */
static void timer_end(struct call *call, const struct pile_manager_job *job)
{
	char timer[PILE_UNIT_MAX + 32];

	starter_name(job, ".timer", timer, sizeof(timer));
	unit_call(call, "StopUnit", timer, "replace");
	sd_bus_error_free(&call->error);
}

/*
 * A transient timer, and the service that it starts: systemd 252 lets nobody name another unit for a transient timer.
 * systemctl does what the operator would: a unit that was masked meanwhile stays down.
 */
static int start_later(struct call *call, const struct pile_manager_job *job)
{
	char timer[PILE_UNIT_MAX + 32], service[PILE_UNIT_MAX + 32], what[PILE_UNIT_MAX + 64];

	starter_name(job, ".timer", timer, sizeof(timer));
	starter_name(job, ".service", service, sizeof(service));
	snprintf(what, sizeof(what), "pileguard stopped %s for a while", job->unit);
	return sd_bus_call_method(call->bus, DESTINATION, MANAGER_PATH, MANAGER_INTERFACE,
				  "StartTransientUnit", &call->error, NULL, "ssa(sv)a(sa(sv))",
				  timer, "replace", 3, "Description", "s", what,
				  "RemainAfterElapse", "b", 0, "TimersMonotonic", "a(st)", 1,
				  "OnActiveSec", job->after_ns / 1000, 1, service, 3, "Description",
				  "s", what, "Type", "s", "oneshot", "ExecStart", "a(sasb)", 1,
				  SYSTEMCTL, 4, SYSTEMCTL, "--no-block", "start", job->unit, 0);
}

/* Its stop job; what has not ended by that in time is killed. */
static int unit_end(struct pile_manager *m, struct call *call, const struct pile_manager_job *job)
{
	int r = unit_call(call, "StopUnit", job->unit, "replace");

	if (r >= 0)
		r = down_await(m, call, job->grace_ns);
	if (r != 0)
		return MIN(r, 0);
	r = sd_bus_call_method(call->bus, DESTINATION, MANAGER_PATH, MANAGER_INTERFACE, "KillUnit",
			       &call->error, NULL, "ssi", job->unit, "all", SIGKILL);
	if (r >= 0)
		r = down_await(m, call, PILE_MANAGER_ANSWER_NS);
	return r == 0 ? -ETIMEDOUT : MIN(r, 0);
}

static int stop(struct pile_manager *m, struct call *call, const struct pile_manager_job *job)
{
	int r = unit_find(call, job->unit);

	if (r >= 0)
		r = unit_is_down(call);
	if (r != 0)
		return r < 0 ? r : -ESRCH;
	timer_end(call, job);
	r = start_later(call, job);
	return r < 0 ? r : unit_end(m, call, job);
}

static int start(struct call *call, const struct pile_manager_job *job)
{
	timer_end(call, job);
	return job->after_ns ? start_later(call, job)
			     : unit_call(call, "StartUnit", job->unit, "replace");
}

/* ---- the thread ---- */

static int job_do(struct pile_manager *m, struct call *call, struct pile_manager_job *job)
{
	switch (job->verb) {
	case PILE_MANAGER_SET:
		return set(call, job);
	case PILE_MANAGER_SCOPE:
		return scope(call, job);
	case PILE_MANAGER_STOP:
		return stop(m, call, job);
	case PILE_MANAGER_START:
		return start(call, job);
	}
	return -EINVAL;
}

static void job_run(struct pile_manager *m, struct pile_manager_result *result)
{
	struct call call;
	int r = call_open(m, &call);

	if (r >= 0)
		r = job_do(m, &call, &result->job);
	result->error = MIN(r, 0);
	if (sd_bus_error_is_set(&call.error))
		snprintf(result->text, sizeof(result->text), "%s",
			 call.error.message ?: call.error.name);
	call_close(m, &call);
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
		if (result.done_ns - result.asked_ns > PILE_MANAGER_STALE_NS)
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

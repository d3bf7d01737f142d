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
#define TIMER_ACCURACY_US UINT64_C(100000) /* systemd's own default is a minute */
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
	m->bus_fd = fd;
	if (m->stop && fd >= 0)
		shutdown(fd, SHUT_RDWR); /* the guard ends: this job, too */
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
	snprintf(call->path, sizeof(call->path), "%s", path);
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
	if (r == 1 && job->also_down)
		r = 0;
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

/* A scope of that name that is somewhere else is somebody else's: joined, its limits would be the group's. */
static int scope_is_ours(struct call *call, const struct pile_manager_job *job)
{
	_cleanup_free_ char *cgroup = NULL;
	char expected[PILE_CGROUP_MAX];
	int r = sd_bus_get_property_string(call->bus, DESTINATION, call->path,
					   "org.freedesktop.systemd1.Scope", "ControlGroup",
					   &call->error, &cgroup);

	if (r < 0)
		return r;
	snprintf(expected, sizeof(expected), "/%s/%s", job->slice, job->unit);
	if (!cgroup[0] || strcmp(cgroup, expected) == 0)
		return 0;
	sd_bus_error_setf(&call->error, "org.freedesktop.systemd1.UnitExists",
			  "%s is another's, in %s", job->unit, cgroup);
	return -EEXIST;
}

static int scope_properties_append(sd_bus_message *message, const struct pile_manager_job *job)
{
	int r = sd_bus_message_open_container(message, 'a', "(sv)");

	if (r >= 0)
		r = sd_bus_message_append(message, "(sv)(sv)(sv)(sv)", "Description", "s",
					  "API workers placed by pileguard", "Slice", "s",
					  job->slice, "Delegate", "b", 1, "CollectMode", "s",
					  "inactive-or-failed");
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
	if (r == 0) {
		r = scope_is_ours(call, job);
		return r < 0 ? r : scope_join(call, job);
	}
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

/* ---- CHECK ---- */

static int unit_flag(struct call *call, const char *name, bool *ret)
{
	int value, r = sd_bus_get_property_trivial(call->bus, DESTINATION, call->path,
						   UNIT_INTERFACE, name, &call->error, 'b', &value);

	*ret = r >= 0 && value;
	return r;
}

/* The first unit in a list of the unit's, or "". */
static int unit_first(struct call *call, const char *list, const char *suffix, char *ret,
		      size_t size)
{
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
	const char *name;
	int r = sd_bus_get_property(call->bus, DESTINATION, call->path, UNIT_INTERFACE, list,
				    &call->error, &reply, "as");

	ret[0] = '\0';
	if (r >= 0)
		r = sd_bus_message_enter_container(reply, 'a', "s");
	while (r >= 0 && (r = sd_bus_message_read(reply, "s", &name)) > 0) {
		size_t len = strlen(name), end = strlen(suffix);

		if (!ret[0] && len >= end && strcmp(name + len - end, suffix) == 0)
			snprintf(ret, size, "%s", name);
	}
	return MIN(r, 0);
}

/* What the unit's stop would take with it, or what would start it again at once. */
static int neighbours_check(struct call *call, char *ret_why, size_t size)
{
	static const struct {
		const char *list, *suffix, *why;
	} lists[] = {
		{ "RequiredBy", "", "which requires it, would be stopped with it" },
		{ "RequisiteOf", "", "which requires it, would be stopped with it" },
		{ "BoundBy", "", "which is bound to it, would be stopped with it" },
		{ "ConsistsOf", "", "which is a part of it, would be stopped with it" },
		{ "TriggeredBy", ".socket", "would start it again at the next connection" },
	};
	char name[96];

	for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
		int r = unit_first(call, lists[i].list, lists[i].suffix, name, sizeof(name));

		if (r < 0)
			return r;
		if (name[0]) {
			snprintf(ret_why, size, "%s, %s", name, lists[i].why);
			return -EOPNOTSUPP;
		}
	}
	return 0;
}

static int check(struct call *call, const struct pile_manager_job *job, char *ret_why, size_t size)
{
	bool transient, can_start;
	int r = unit_find(call, job->unit);

	if (r >= 0)
		r = unit_flag(call, "Transient", &transient);
	if (r >= 0)
		r = unit_flag(call, "CanStart", &can_start);
	if (r < 0)
		return r;
	if (transient || !can_start) {
		snprintf(ret_why, size, "%s",
			 transient
				 ? "it is transient: once it is down there is nothing to start"
				 : "it cannot be started by hand (masked, or RefuseManualStart=)");
		return -EOPNOTSUPP;
	}
	return neighbours_check(call, ret_why, size);
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

static void pause_ns(uint64_t ns)
{
	struct timespec pause = { .tv_nsec = (long)ns };

	nanosleep(&pause, NULL);
}

/* Until it is down: 1; 0 when it is not after @within_ns; or negative errno. */
static int down_await(struct pile_manager *m, struct call *call, uint64_t within_ns)
{
	uint64_t until_ns = pile_clock_ns(CLOCK_MONOTONIC) + within_ns;
	int r;

	for (;;) {
		r = unit_is_down(call);
		if (r != 0 || pile_clock_ns(CLOCK_MONOTONIC) >= until_ns)
			return r;
		if (is_stopping(m))
			return -ECANCELED;
		pause_ns(MIN(STATE_EVERY_NS, MAX(within_ns / 4, NS_PER_MS)));
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

/* Whether systemd knows such a unit; what was asked about is forgotten. */
static bool is_known(struct call *call, const char *unit)
{
	char path[sizeof(call->path)];
	bool known;

	memcpy(path, call->path, sizeof(path));
	known = unit_find(call, unit) >= 0;
	memcpy(call->path, path, sizeof(path));
	sd_bus_error_free(&call->error);
	return known;
}

/* One that is there is of an earlier stop. Its end is a job of systemd's: a new one has no room before. */
static void timer_end(struct call *call, const struct pile_manager_job *job)
{
	uint64_t until_ns = pile_clock_ns(CLOCK_MONOTONIC) + NS_PER_SEC;
	char timer[PILE_UNIT_MAX + 32];

	starter_name(job, ".timer", timer, sizeof(timer));
	if (!is_known(call, timer))
		return;
	unit_call(call, "StopUnit", timer, "replace");
	sd_bus_error_free(&call->error);
	while (is_known(call, timer) && pile_clock_ns(CLOCK_MONOTONIC) < until_ns)
		pause_ns(STATE_EVERY_NS / 5);
}

/*
 * A transient timer, and the service that it starts: systemd 252 lets nobody name another unit for a transient timer.
 * systemctl does what the operator would: a unit that was masked meanwhile stays down. Neither outlives its failure.
 */
static int timer_set(struct call *call, const struct pile_manager_job *job, uint64_t after_ns)
{
	char timer[PILE_UNIT_MAX + 32], service[PILE_UNIT_MAX + 32], what[PILE_UNIT_MAX + 64];

	starter_name(job, ".timer", timer, sizeof(timer));
	starter_name(job, ".service", service, sizeof(service));
	snprintf(what, sizeof(what), "pileguard stopped %s for a while", job->unit);
	return sd_bus_call_method(
		call->bus, DESTINATION, MANAGER_PATH, MANAGER_INTERFACE, "StartTransientUnit",
		&call->error, NULL, "ssa(sv)a(sa(sv))", timer, "replace", 5, "Description", "s",
		what, "CollectMode", "s", "inactive-or-failed", "RemainAfterElapse", "b", 0,
		"AccuracyUSec", "t", TIMER_ACCURACY_US, "TimersMonotonic", "a(st)", 1,
		"OnActiveSec", after_ns / 1000, 1, service, 4, "Description", "s", what,
		"CollectMode", "s", "inactive-or-failed", "Type", "s", "oneshot", "ExecStart",
		"a(sasb)", 1, SYSTEMCTL, 4, SYSTEMCTL, "--no-block", "start", job->unit, 0);
}

/* Somebody stops or starts it at this moment, or it is down: his hand wins. */
static int unit_is_at_rest(struct call *call)
{
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
	_cleanup_free_ char *state = NULL;
	uint32_t job = 0;
	int r = sd_bus_get_property_string(call->bus, DESTINATION, call->path, UNIT_INTERFACE,
					   "ActiveState", &call->error, &state);

	if (r >= 0)
		r = sd_bus_get_property(call->bus, DESTINATION, call->path, UNIT_INTERFACE, "Job",
					&call->error, &reply, "(uo)");
	if (r >= 0)
		r = sd_bus_message_read(reply, "(uo)", &job, NULL);
	if (r < 0)
		return r;
	if (strcmp(state, "inactive") == 0 || strcmp(state, "failed") == 0)
		return -ESRCH;
	return !job && (strcmp(state, "active") == 0 || strcmp(state, "reloading") == 0) ? 0
											 : -EBUSY;
}

/* Its stop job is under way: what has not ended by it in time is killed, and what its main process leaves behind. */
static int unit_end(struct pile_manager *m, struct call *call, const struct pile_manager_job *job)
{
	int r = job->grace_ns ? down_await(m, call, job->grace_ns) : 0;

	if (r < 0)
		return r;
	/* it may have gone in this moment, then there is nobody to kill */
	sd_bus_call_method(call->bus, DESTINATION, MANAGER_PATH, MANAGER_INTERFACE, "KillUnit",
			   &call->error, NULL, "ssi", job->unit, "all", SIGKILL);
	sd_bus_error_free(&call->error);
	r = down_await(m, call, PILE_MANAGER_ANSWER_NS);
	return r == 0 ? -ETIMEDOUT : MIN(r, 0);
}

static int stop(struct pile_manager *m, struct call *call, struct pile_manager_result *result)
{
	const struct pile_manager_job *job = &result->job;
	uint64_t set_ns, now_ns;
	int r = unit_find(call, job->unit);

	if (r >= 0)
		r = unit_is_at_rest(call);
	if (r < 0)
		return r;
	timer_end(call, job);
	set_ns = pile_clock_ns(CLOCK_MONOTONIC);
	r = timer_set(call, job, job->after_ns);
	if (r < 0)
		return r;
	now_ns = pile_clock_ns(CLOCK_MONOTONIC);
	if (is_stopping(m) || now_ns - result->asked_ns > PILE_MANAGER_STALE_NS) {
		timer_end(call, job);
		return -ETIMEDOUT;
	}
	r = unit_call(call, "StopUnit", job->unit, "replace");
	if (r < 0 && r != -ETIMEDOUT) { /* refused: nothing was begun */
		char *text = strdup(call->error.message ?: "");

		sd_bus_error_free(&call->error);
		timer_end(call, job);
		sd_bus_error_set(&call->error, SD_BUS_ERROR_FAILED, text);
		free(text);
		return r;
	}
	result->begun = true;
	r = unit_end(m, call, job);
	/* it took so long that the timer has fired, or will before it is down: in vain, so once more */
	now_ns = pile_clock_ns(CLOCK_MONOTONIC);
	if (now_ns - set_ns + NS_PER_SEC > job->after_ns) {
		timer_end(call, job);
		timer_set(call, job, NS_PER_SEC);
	}
	return r;
}

static int start(struct call *call, const struct pile_manager_job *job)
{
	int r = unit_call(call, "StartUnit", job->unit, "replace");

	if (r >= 0)
		timer_end(call, job);
	return r;
}

/* ---- the thread ---- */

static int job_do(struct pile_manager *m, struct call *call, struct pile_manager_result *result)
{
	struct pile_manager_job *job = &result->job;

	switch (job->verb) {
	case PILE_MANAGER_SET:
		return set(call, job);
	case PILE_MANAGER_SCOPE:
		return scope(call, job);
	case PILE_MANAGER_STOP:
		return stop(m, call, result);
	case PILE_MANAGER_START:
		return start(call, job);
	case PILE_MANAGER_UNTIME:
		timer_end(call, job);
		return 0;
	case PILE_MANAGER_CHECK:
		return check(call, job, result->text, sizeof(result->text));
	}
	return -EINVAL;
}

static void job_run(struct pile_manager *m, struct pile_manager_result *result)
{
	struct call call;
	int r = call_open(m, &call);

	if (r >= 0)
		r = job_do(m, &call, result);
	result->error = MIN(r, 0);
	/* libsystemd has no number for it */
	if (sd_bus_error_has_name(&call.error, "org.freedesktop.systemd1.NoSuchUnit"))
		result->error = -ENOENT;
	if (!result->text[0] && sd_bus_error_is_set(&call.error))
		snprintf(result->text, sizeof(result->text), "%s",
			 call.error.message ?: call.error.name);
	call_close(m, &call);
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

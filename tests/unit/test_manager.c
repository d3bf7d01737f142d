// SPDX-License-Identifier: GPL-2.0-or-later
/* What is asked of systemd, against a manager of the test's own at the other end of the socket. */
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <systemd/sd-bus.h>
#include <time.h>

#include <cmocka.h>

#include "act/manager.h"
#include "util/macro.h"

#define UNIT "php8.2-fpm.service"
#define UNIT_PATH "/org/freedesktop/systemd1/unit/php"

/* The manager's other end: one unit. */
static struct {
	pthread_t thread;
	int listen_fd, stop_fd[2];
	char path[108];
	uint64_t tasks_max;
	const char *state;
	bool deaf, obeys, no_timers; /* never answers; a stop job ends the unit */
	unsigned int stops, kills, starts;
	uint64_t timer_us;
	uint32_t job; /* of somebody else */
	int transient, masked;
	const char *list; /* which of the unit's lists has somebody in it */
	char slice[64], timed_unit[64], collect[32];
	const char *cgroup; /* of a scope */
	unsigned int pids, attached;
} fake;

static struct pile_manager manager;

static int get_unit(sd_bus_message *m, void *data, sd_bus_error *error)
{
	const char *name;

	(void)data;
	assert_true(sd_bus_message_read(m, "s", &name) >= 0);
	if (fake.deaf)
		return 1;
	if (strcmp(name, UNIT) != 0)
		return sd_bus_error_setf(error, "org.freedesktop.systemd1.NoSuchUnit",
					 "Unit %s not loaded.", name);
	return sd_bus_reply_method_return(m, "o", UNIT_PATH);
}

static int set_properties(sd_bus_message *m, void *data, sd_bus_error *error)
{
	const char *name, *property;
	uint64_t value;
	int runtime;

	(void)data, (void)error;
	assert_true(sd_bus_message_read(m, "sb", &name, &runtime) >= 0);
	assert_string_equal(name, UNIT);
	assert_true(runtime);
	assert_true(sd_bus_message_enter_container(m, 'a', "(sv)") >= 0);
	while (sd_bus_message_read(m, "(sv)", &property, "t", &value) > 0)
		if (strcmp(property, "TasksMax") == 0)
			fake.tasks_max = value;
	return sd_bus_reply_method_return(m, "");
}

static int stop_unit(sd_bus_message *m, void *data, sd_bus_error *error)
{
	const char *name, *mode;

	(void)data;
	assert_true(sd_bus_message_read(m, "ss", &name, &mode) >= 0);
	if (strcmp(name, UNIT) != 0)
		return sd_bus_error_setf(error, "org.freedesktop.systemd1.NoSuchUnit",
					 "Unit %s not loaded.", name);
	fake.stops++;
	if (fake.obeys)
		fake.state = "inactive";
	return sd_bus_reply_method_return(m, "o", "/job/1");
}

static int kill_unit(sd_bus_message *m, void *data, sd_bus_error *error)
{
	(void)data, (void)error;
	fake.kills++;
	fake.state = "failed";
	return sd_bus_reply_method_return(m, "");
}

static int start_unit(sd_bus_message *m, void *data, sd_bus_error *error)
{
	(void)data, (void)error;
	fake.starts++;
	fake.state = "active";
	return sd_bus_reply_method_return(m, "o", "/job/2");
}

static void transient_property(sd_bus_message *m)
{
	const char *name, *text, *type;
	const uint32_t *pids;
	size_t size;
	uint64_t us;

	assert_true(sd_bus_message_read(m, "s", &name) >= 0);
	assert_true(sd_bus_message_peek_type(m, NULL, &type) >= 0);
	assert_true(sd_bus_message_enter_container(m, 'v', type) >= 0);
	if (strcmp(name, "PIDs") == 0) {
		assert_true(sd_bus_message_read_array(m, 'u', (const void **)&pids, &size) >= 0);
		fake.pids = (unsigned int)(size / sizeof(*pids));
	} else if (strcmp(name, "TimersMonotonic") == 0) {
		assert_true(sd_bus_message_read(m, "a(st)", 1, &text, &us) >= 0);
		assert_string_equal(text, "OnActiveSec");
		fake.timer_us = us;
	} else if (strcmp(type, "s") == 0) {
		assert_true(sd_bus_message_read(m, "s", &text) >= 0);
		if (strcmp(name, "Slice") == 0)
			snprintf(fake.slice, sizeof(fake.slice), "%s", text);
		if (strcmp(name, "CollectMode") == 0)
			snprintf(fake.collect, sizeof(fake.collect), "%s", text);
	} else {
		assert_true(sd_bus_message_skip(m, type) >= 0);
	}
	assert_true(sd_bus_message_exit_container(m) >= 0);
}

/* The service that a timer starts: what it runs in the end. */
static void starter(sd_bus_message *m)
{
	const char *name, *path, *words[4];

	assert_true(sd_bus_message_read(m, "s", &name) >= 0);
	assert_string_equal(name, "pileguard-start-php8.2-fpm.service");
	assert_true(sd_bus_message_enter_container(m, 'a', "(sv)") >= 0);
	while (sd_bus_message_enter_container(m, 'r', "sv") > 0) {
		assert_true(sd_bus_message_read(m, "s", &name) >= 0);
		if (strcmp(name, "ExecStart") == 0) {
			assert_true(sd_bus_message_read(m, "v", "a(sasb)", 1, &path, 4, &words[0],
							&words[1], &words[2], &words[3],
							NULL) >= 0);
			snprintf(fake.timed_unit, sizeof(fake.timed_unit), "%s", words[3]);
		} else {
			assert_true(sd_bus_message_skip(m, "v") >= 0);
		}
		assert_true(sd_bus_message_exit_container(m) >= 0);
	}
	assert_true(sd_bus_message_exit_container(m) >= 0);
}

static int start_transient(sd_bus_message *m, void *data, sd_bus_error *error)
{
	const char *name, *mode;

	(void)data;
	assert_true(sd_bus_message_read(m, "ss", &name, &mode) >= 0);
	if (fake.no_timers)
		return sd_bus_error_setf(error, SD_BUS_ERROR_ACCESS_DENIED, "no");
	assert_true(sd_bus_message_enter_container(m, 'a', "(sv)") >= 0);
	while (sd_bus_message_enter_container(m, 'r', "sv") > 0) {
		transient_property(m);
		assert_true(sd_bus_message_exit_container(m) >= 0);
	}
	assert_true(sd_bus_message_exit_container(m) >= 0);
	assert_true(sd_bus_message_enter_container(m, 'a', "(sa(sv))") >= 0);
	while (sd_bus_message_enter_container(m, 'r', "sa(sv)") > 0) {
		starter(m);
		assert_true(sd_bus_message_exit_container(m) >= 0);
	}
	return sd_bus_reply_method_return(m, "o", "/job/3");
}

static int attach(sd_bus_message *m, void *data, sd_bus_error *error)
{
	(void)data, (void)error;
	fake.attached++;
	return sd_bus_reply_method_return(m, "");
}

static int state_get(sd_bus *bus, const char *path, const char *interface, const char *property,
		     sd_bus_message *reply, void *data, sd_bus_error *error)
{
	(void)bus, (void)path, (void)interface, (void)property, (void)data, (void)error;
	return sd_bus_message_append(reply, "s", fake.state);
}

static int cgroup_get(sd_bus *bus, const char *path, const char *interface, const char *property,
		      sd_bus_message *reply, void *data, sd_bus_error *error)
{
	(void)bus, (void)path, (void)interface, (void)property, (void)data, (void)error;
	return sd_bus_message_append(reply, "s", fake.cgroup);
}

static int job_get(sd_bus *bus, const char *path, const char *interface, const char *property,
		   sd_bus_message *reply, void *data, sd_bus_error *error)
{
	(void)bus, (void)path, (void)interface, (void)property, (void)data, (void)error;
	return sd_bus_message_append(reply, "(uo)", fake.job, "/");
}

static int flag_get(sd_bus *bus, const char *path, const char *interface, const char *property,
		    sd_bus_message *reply, void *data, sd_bus_error *error)
{
	(void)bus, (void)path, (void)interface, (void)data, (void)error;
	return sd_bus_message_append(
		reply, "b", strcmp(property, "Transient") == 0 ? fake.transient : !fake.masked);
}

static int list_get(sd_bus *bus, const char *path, const char *interface, const char *property,
		    sd_bus_message *reply, void *data, sd_bus_error *error)
{
	(void)bus, (void)path, (void)interface, (void)data, (void)error;
	if (fake.list && strcmp(property, fake.list) == 0)
		return sd_bus_message_append(reply, "as", 2, "a.timer", "b.socket");
	return sd_bus_message_append(reply, "as", 0);
}

static int tasks_get(sd_bus *bus, const char *path, const char *interface, const char *property,
		     sd_bus_message *reply, void *data, sd_bus_error *error)
{
	(void)bus, (void)path, (void)interface, (void)property, (void)data, (void)error;
	return sd_bus_message_append(reply, "t", fake.tasks_max);
}

static const sd_bus_vtable manager_table[] = {
	SD_BUS_VTABLE_START(0),
	SD_BUS_METHOD("GetUnit", "s", "o", get_unit, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_METHOD("SetUnitProperties", "sba(sv)", "", set_properties,
		      SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_METHOD("StopUnit", "ss", "o", stop_unit, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_METHOD("KillUnit", "ssi", "", kill_unit, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_METHOD("StartUnit", "ss", "o", start_unit, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_METHOD("AttachProcessesToUnit", "ssau", "", attach, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_METHOD("StartTransientUnit", "ssa(sv)a(sa(sv))", "o", start_transient,
		      SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_VTABLE_END,
};
static const sd_bus_vtable unit_table[] = {
	SD_BUS_VTABLE_START(0),
	SD_BUS_PROPERTY("ActiveState", "s", state_get, 0, 0),
	SD_BUS_PROPERTY("Job", "(uo)", job_get, 0, 0),
	SD_BUS_PROPERTY("Transient", "b", flag_get, 0, 0),
	SD_BUS_PROPERTY("CanStart", "b", flag_get, 0, 0),
	SD_BUS_PROPERTY("RequiredBy", "as", list_get, 0, 0),
	SD_BUS_PROPERTY("RequisiteOf", "as", list_get, 0, 0),
	SD_BUS_PROPERTY("BoundBy", "as", list_get, 0, 0),
	SD_BUS_PROPERTY("ConsistsOf", "as", list_get, 0, 0),
	SD_BUS_PROPERTY("TriggeredBy", "as", list_get, 0, 0),
	SD_BUS_VTABLE_END,
};
static const sd_bus_vtable scope_table[] = {
	SD_BUS_VTABLE_START(0),
	SD_BUS_PROPERTY("ControlGroup", "s", cgroup_get, 0, 0),
	SD_BUS_VTABLE_END,
};
static const sd_bus_vtable service_table[] = {
	SD_BUS_VTABLE_START(0),
	SD_BUS_PROPERTY("TasksMax", "t", tasks_get, 0, 0),
	SD_BUS_VTABLE_END,
};

static void serve(int fd)
{
	sd_id128_t id = { .bytes = { 1 } };
	sd_bus *bus;

	assert_true(sd_bus_new(&bus) >= 0);
	assert_true(sd_bus_set_fd(bus, fd, fd) >= 0);
	assert_true(sd_bus_set_server(bus, 1, id) >= 0);
	assert_true(sd_bus_set_anonymous(bus, 1) >= 0);
	assert_true(sd_bus_start(bus) >= 0);
	assert_true(sd_bus_add_object_vtable(bus, NULL, "/org/freedesktop/systemd1",
					     "org.freedesktop.systemd1.Manager", manager_table,
					     NULL) >= 0);
	assert_true(sd_bus_add_object_vtable(bus, NULL, UNIT_PATH, "org.freedesktop.systemd1.Unit",
					     unit_table, NULL) >= 0);
	assert_true(sd_bus_add_object_vtable(bus, NULL, UNIT_PATH,
					     "org.freedesktop.systemd1.Service", service_table,
					     NULL) >= 0);
	assert_true(sd_bus_add_object_vtable(bus, NULL, UNIT_PATH, "org.freedesktop.systemd1.Scope",
					     scope_table, NULL) >= 0);
	for (;;) {
		int r = sd_bus_process(bus, NULL);

		if (r < 0 || (r == 0 && sd_bus_wait(bus, UINT64_MAX) < 0))
			break;
	}
	sd_bus_close_unref(bus);
}

static void *fake_main(void *arg)
{
	struct pollfd fds[2] = { { .fd = fake.listen_fd, .events = POLLIN },
				 { .fd = fake.stop_fd[0], .events = POLLIN } };

	(void)arg;
	while (poll(fds, 2, -1) > 0 && !fds[1].revents)
		serve(accept(fake.listen_fd, NULL, NULL));
	return NULL;
}

static int setup(void **state)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	char folder[] = "/tmp/test_manager.XXXXXX";

	(void)state;
	memset(&fake, 0, sizeof(fake));
	fake.state = "active";
	fake.obeys = true;
	fake.tasks_max = 4915;
	assert_non_null(mkdtemp(folder));
	snprintf(fake.path, sizeof(fake.path), "%s/s", folder);
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", fake.path);
	fake.listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(fake.listen_fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(fake.listen_fd, 8), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fake.stop_fd), 0);
	assert_int_equal(pthread_create(&fake.thread, NULL, fake_main, NULL), 0);
	assert_int_equal(pile_manager_open(&manager, fake.path), 0);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	pile_manager_close(&manager);
	shutdown(fake.stop_fd[1], SHUT_RDWR);
	pthread_join(fake.thread, NULL);
	close(fake.listen_fd);
	close(fake.stop_fd[0]);
	close(fake.stop_fd[1]);
	unlink(fake.path);
	*strrchr(fake.path, '/') = '\0';
	rmdir(fake.path);
	return 0;
}

static struct pile_manager_result result_await(void)
{
	struct timespec pause = { .tv_nsec = 2 * NS_PER_MS };
	struct pile_manager_result result;

	for (int i = 0; i < 5000; i++) {
		if (pile_manager_take(&manager, &result))
			return result;
		nanosleep(&pause, NULL);
	}
	fail_msg("no result within ten seconds");
	return result;
}

static struct pile_manager_result ask(const struct pile_manager_job *job)
{
	assert_int_equal(pile_manager_submit(&manager, job, pile_clock_ns(CLOCK_MONOTONIC)), 0);
	return result_await();
}

static struct pile_manager_job tasks_job(uint64_t value, bool compare, uint64_t expected)
{
	return (struct pile_manager_job){
		.verb = PILE_MANAGER_SET,
		.owner = PILE_MANAGER_THROTTLE,
		.id = 7,
		.unit = UNIT,
		.n_properties = 1,
		.properties = { { "TasksMax", value, compare, expected, 0 } },
	};
}

static void test_set_tells_what_it_was(void **state)
{
	struct pile_manager_job job = tasks_job(100, false, 0);
	struct pile_manager_result result = ask(&job);

	(void)state;
	assert_int_equal(result.error, 0);
	assert_int_equal(result.job.id, 7);
	assert_int_equal(result.job.properties[0].was, 4915);
	assert_int_equal(fake.tasks_max, 100);
}

static void test_the_operators_value_stays(void **state)
{
	struct pile_manager_job job = tasks_job(100, false, 0), back = tasks_job(4915, true, 100);
	struct pile_manager_result result;

	(void)state;
	ask(&job);
	fake.tasks_max = 555; /* somebody's set-property */
	result = ask(&back);
	assert_int_equal(result.error, -ESTALE);
	assert_int_equal(result.job.properties[0].was, 555);
	assert_int_equal(fake.tasks_max, 555);
	fake.tasks_max = 100;
	assert_int_equal(ask(&back).error, 0);
	assert_int_equal(fake.tasks_max, 4915);
}

static void test_what_is_not_there(void **state)
{
	struct pile_manager_job job = tasks_job(100, false, 0);
	struct pile_manager_result result;

	(void)state;
	fake.state = "inactive"; /* a drop-in would outlive us there */
	assert_int_equal(ask(&job).error, -ESRCH);
	assert_int_equal(fake.tasks_max, 4915);
	strcpy(job.unit, "gone.service");
	result = ask(&job);
	assert_true(result.error < 0);
	assert_string_equal(result.text, "Unit gone.service not loaded.");
	strcpy(job.unit, "no-suffix");
	assert_int_equal(ask(&job).error, -EINVAL);
	strcpy(job.unit, UNIT);
	fake.state = "active";
	assert_int_equal(ask(&job).error,
			 0); /* a connection that failed takes no other one with it */
}

static void test_stop_by_its_job_or_by_force(void **state)
{
	struct pile_manager_job job = { .verb = PILE_MANAGER_STOP,
					.unit = UNIT,
					.after_ns = 30 * NS_PER_SEC,
					.grace_ns = 200 * NS_PER_MS };

	(void)state;
	assert_int_equal(ask(&job).error, 0);
	assert_int_equal(fake.stops, 1);
	assert_int_equal(fake.timer_us,
			 30000000); /* whoever stops it has seen to it that it starts again */
	assert_string_equal(fake.timed_unit, UNIT);
	assert_int_equal(ask(&job).error, -ESRCH); /* it is down already */
	fake.state = "active";
	fake.obeys = false;
	assert_int_equal(ask(&job).error, 0);
	assert_int_equal(fake.kills, 2);
	assert_string_equal(fake.state, "failed");
	/* somebody stops or starts it in this moment: his hand wins */
	fake.state = "deactivating";
	assert_int_equal(ask(&job).error, -EBUSY);
	fake.state = "active";
	fake.job = 77;
	assert_int_equal(ask(&job).error, -EBUSY);
	fake.job = 0;
	/* what could not be started again is not stopped */
	fake.state = "active";
	fake.no_timers = true;
	assert_true(ask(&job).error < 0);
	assert_int_equal(fake.stops, 2);
	assert_string_equal(fake.state, "active");
}

static void test_start(void **state)
{
	struct pile_manager_job job = { .verb = PILE_MANAGER_START, .unit = UNIT };

	(void)state;
	assert_int_equal(ask(&job).error, 0);
	assert_int_equal(fake.starts, 1);
	assert_string_equal(fake.state, "active");
	/* it undoes: it is never too late for it */
	assert_int_equal(pile_manager_submit(&manager, &job, 1), 0);
	assert_int_equal(result_await().error, 0);
	assert_int_equal(fake.starts, 2);
}

/* What could not be started again, or would take others with it, is known in calm times. */
static void test_check(void **state)
{
	static const char *const lists[] = { "RequiredBy", "RequisiteOf", "BoundBy", "ConsistsOf" };
	struct pile_manager_job job = { .verb = PILE_MANAGER_CHECK, .unit = UNIT };
	struct pile_manager_result result;

	(void)state;
	assert_int_equal(ask(&job).error, 0);
	for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
		fake.list = lists[i];
		result = ask(&job);
		assert_int_equal(result.error, -EOPNOTSUPP);
		assert_non_null(strstr(result.text, "a.timer, which "));
	}
	fake.list = "TriggeredBy"; /* a timer or a path starts it now and then: that is as it was */
	result = ask(&job);
	assert_int_equal(result.error, -EOPNOTSUPP);
	assert_string_equal(result.text, "b.socket, would start it again at the next connection");
	fake.list = NULL;
	fake.transient = 1;
	assert_int_equal(ask(&job).error, -EOPNOTSUPP);
	fake.transient = 0;
	fake.masked = 1;
	assert_int_equal(ask(&job).error, -EOPNOTSUPP);
}

static void test_scope_is_made_once(void **state)
{
	struct pile_manager_job job = { .verb = PILE_MANAGER_SCOPE,
					.unit = "pileguard-app.scope",
					.slice = "pileguard.slice",
					.n_pids = 3,
					.pids = { 11, 12, 13 } };
	struct pile_manager_result result;

	(void)state;
	assert_int_equal(ask(&job).error, 0);
	assert_int_equal(fake.pids, 3);
	assert_string_equal(fake.slice, "pileguard.slice");
	assert_int_equal(fake.attached, 0);
	/* of one whose last process was killed nothing is left that is in the way */
	assert_string_equal(fake.collect, "inactive-or-failed");
	strcpy(job.unit, UNIT); /* one that is there */
	fake.cgroup = "/pileguard.slice/" UNIT;
	assert_int_equal(ask(&job).error, 0);
	assert_int_equal(fake.attached, 1);
	fake.cgroup = "/system.slice/" UNIT; /* of the same name, and another's */
	result = ask(&job);
	assert_int_equal(result.error, -EEXIST);
	assert_non_null(strstr(result.text, "another's, in /system.slice"));
	assert_int_equal(fake.attached, 1);
}

static void test_bounded_and_fresh(void **state)
{
	struct pile_manager_job job = tasks_job(100, false, 0);
	uint64_t now_ns = pile_clock_ns(CLOCK_MONOTONIC);
	struct pile_manager_result result;

	(void)state;
	assert_int_equal(pile_manager_submit(&manager, &job, now_ns - PILE_MANAGER_STALE_NS - 1),
			 0);
	assert_int_equal(result_await().error, -ETIMEDOUT);
	assert_int_equal(fake.tasks_max, 4915);
	job.also_down = true; /* it undoes: never too late */
	assert_int_equal(pile_manager_submit(&manager, &job, now_ns - PILE_MANAGER_STALE_NS - 1),
			 0);
	assert_int_equal(result_await().error, 0);
	job.also_down = false;
	for (int i = 0; i < PILE_MANAGER_JOBS_MAX; i++)
		assert_int_equal(pile_manager_submit(&manager, &job, now_ns), 0);
	assert_int_equal(pile_manager_submit(&manager, &job, now_ns), -EAGAIN);
	for (int i = 0; i < PILE_MANAGER_JOBS_MAX; i++)
		result_await();
	assert_false(pile_manager_take(&manager, &result));
	assert_int_equal(pile_manager_submit(&manager, &job, now_ns), 0);
	result_await();
}

/* PID 1 does not answer: the guard's end does not wait for it. */
static void test_close_does_not_wait(void **state)
{
	struct pile_manager_job job = tasks_job(100, false, 0);
	uint64_t began_ns = pile_clock_ns(CLOCK_MONOTONIC);
	struct timespec pause = { .tv_nsec = 50 * NS_PER_MS };

	(void)state;
	fake.deaf = true;
	assert_int_equal(pile_manager_submit(&manager, &job, began_ns), 0);
	nanosleep(&pause, NULL); /* either way is right; mostly it is in its call by then */
	pile_manager_close(&manager);
	assert_true(pile_clock_ns(CLOCK_MONOTONIC) - began_ns < PILE_MANAGER_ANSWER_NS / 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_set_tells_what_it_was, setup, teardown),
		cmocka_unit_test_setup_teardown(test_the_operators_value_stays, setup, teardown),
		cmocka_unit_test_setup_teardown(test_what_is_not_there, setup, teardown),
		cmocka_unit_test_setup_teardown(test_stop_by_its_job_or_by_force, setup, teardown),
		cmocka_unit_test_setup_teardown(test_start, setup, teardown),
		cmocka_unit_test_setup_teardown(test_check, setup, teardown),
		cmocka_unit_test_setup_teardown(test_scope_is_made_once, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bounded_and_fresh, setup, teardown),
		cmocka_unit_test_setup_teardown(test_close_does_not_wait, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

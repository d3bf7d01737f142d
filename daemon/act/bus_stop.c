// SPDX-License-Identifier: GPL-2.0-or-later
/* bus_stop.c: a unit stopped, and started again by a timer of systemd's. */
#include <errno.h>
#include <string.h>
#include <time.h>

#include "act/bus.h"
#include "util/clock.h"
#include "util/macro.h"

#define SYSTEMCTL "/usr/bin/systemctl"
#define TIMER_ACCURACY_US UINT64_C(100000) /* systemd's own default is a minute */
#define STATE_EVERY_NS (50 * NS_PER_MS)

static void pause_ns(uint64_t ns)
{
	struct timespec pause = { .tv_nsec = (long)ns };

	nanosleep(&pause, NULL);
}

/* Until it is down: 1; 0 when it is not after @within_ns; or negative errno. */
static int down_await(struct pile_manager *m, struct pile_bus_call *call, uint64_t within_ns)
{
	uint64_t until_ns = pile_clock_ns(CLOCK_MONOTONIC) + within_ns;
	int r;

	for (;;) {
		r = pile_bus_unit_is_down(call);
		if (r != 0 || pile_clock_ns(CLOCK_MONOTONIC) >= until_ns)
			return r;
		if (pile_manager_is_stopping(m))
			return -ECANCELED;
		pause_ns(MIN(STATE_EVERY_NS, MAX(within_ns / 4, NS_PER_MS)));
	}
}

static int unit_call(struct pile_bus_call *call, const char *method, const char *unit,
		     const char *mode)
{
	return sd_bus_call_method(call->bus, PILE_BUS_DESTINATION, PILE_BUS_PATH, PILE_BUS_MANAGER,
				  method, &call->error, NULL, "ss", unit, mode);
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
static bool is_known(struct pile_bus_call *call, const char *unit)
{
	char path[sizeof(call->path)];
	bool known;

	memcpy(path, call->path, sizeof(path));
	known = pile_bus_unit_find(call, unit) >= 0;
	memcpy(call->path, path, sizeof(path));
	sd_bus_error_free(&call->error);
	return known;
}

/* One that is there is of an earlier stop. Its end is a job of systemd's: a new one has no room before. */
void pile_bus_untime(struct pile_bus_call *call, const struct pile_manager_job *job)
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
static int timer_set(struct pile_bus_call *call, const struct pile_manager_job *job,
		     uint64_t after_ns)
{
	char timer[PILE_UNIT_MAX + 32], service[PILE_UNIT_MAX + 32], what[PILE_UNIT_MAX + 64];

	starter_name(job, ".timer", timer, sizeof(timer));
	starter_name(job, ".service", service, sizeof(service));
	snprintf(what, sizeof(what), "pileguard stopped %s for a while", job->unit);
	return sd_bus_call_method(call->bus, PILE_BUS_DESTINATION, PILE_BUS_PATH, PILE_BUS_MANAGER,
				  "StartTransientUnit", &call->error, NULL, "ssa(sv)a(sa(sv))",
				  timer, "replace", 5, "Description", "s", what, "CollectMode", "s",
				  "inactive-or-failed", "RemainAfterElapse", "b", 0, "AccuracyUSec",
				  "t", TIMER_ACCURACY_US, "TimersMonotonic", "a(st)", 1,
				  "OnActiveSec", after_ns / 1000, 1, service, 4, "Description", "s",
				  what, "CollectMode", "s", "inactive-or-failed", "Type", "s",
				  "oneshot", "ExecStart", "a(sasb)", 1, SYSTEMCTL, 4, SYSTEMCTL,
				  "--no-block", "start", job->unit, 0);
}

/* Somebody stops or starts it at this moment, or it is down: his hand wins. */
static int unit_is_at_rest(struct pile_bus_call *call)
{
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
	_cleanup_free_ char *state = NULL;
	uint32_t job = 0;
	int r = sd_bus_get_property_string(call->bus, PILE_BUS_DESTINATION, call->path,
					   PILE_BUS_UNIT, "ActiveState", &call->error, &state);

	if (r >= 0)
		r = sd_bus_get_property(call->bus, PILE_BUS_DESTINATION, call->path, PILE_BUS_UNIT,
					"Job", &call->error, &reply, "(uo)");
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
static int unit_end(struct pile_manager *m, struct pile_bus_call *call,
		    const struct pile_manager_job *job)
{
	int r = job->grace_ns ? down_await(m, call, job->grace_ns) : 0;

	if (r < 0)
		return r;
	/* it may have gone in this moment, then there is nobody to kill */
	sd_bus_call_method(call->bus, PILE_BUS_DESTINATION, PILE_BUS_PATH, PILE_BUS_MANAGER,
			   "KillUnit", &call->error, NULL, "ssi", job->unit, "all", SIGKILL);
	sd_bus_error_free(&call->error);
	r = down_await(m, call, PILE_MANAGER_ANSWER_NS);
	return r == 0 ? -ETIMEDOUT : MIN(r, 0);
}

int pile_bus_stop(struct pile_manager *m, struct pile_bus_call *call,
		  struct pile_manager_result *result)
{
	const struct pile_manager_job *job = &result->job;
	uint64_t set_ns, now_ns;
	int r = pile_bus_unit_find(call, job->unit);

	if (r >= 0)
		r = unit_is_at_rest(call);
	if (r < 0)
		return r;
	pile_bus_untime(call, job);
	set_ns = pile_clock_ns(CLOCK_MONOTONIC);
	r = timer_set(call, job, job->after_ns);
	if (r < 0)
		return r;
	now_ns = pile_clock_ns(CLOCK_MONOTONIC);
	if (pile_manager_is_stopping(m) || now_ns - result->asked_ns > PILE_MANAGER_STALE_NS) {
		pile_bus_untime(call, job);
		return -ETIMEDOUT;
	}
	r = unit_call(call, "StopUnit", job->unit, "replace");
	if (r < 0 && r != -ETIMEDOUT) { /* refused: nothing was begun */
		char *text = strdup(call->error.message ?: "");

		sd_bus_error_free(&call->error);
		pile_bus_untime(call, job);
		sd_bus_error_set(&call->error, SD_BUS_ERROR_FAILED, text);
		free(text);
		return r;
	}
	result->begun = true;
	r = unit_end(m, call, job);
	/* it took so long that the timer has fired, or will before it is down: in vain, so once more */
	now_ns = pile_clock_ns(CLOCK_MONOTONIC);
	if (now_ns - set_ns + NS_PER_SEC > job->after_ns) {
		pile_bus_untime(call, job);
		timer_set(call, job, NS_PER_SEC);
	}
	return r;
}

int pile_bus_start(struct pile_bus_call *call, const struct pile_manager_job *job)
{
	int r = unit_call(call, "StartUnit", job->unit, "replace");

	if (r >= 0)
		pile_bus_untime(call, job);
	return r;
}

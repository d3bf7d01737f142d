// SPDX-License-Identifier: GPL-2.0-or-later
#include "act/bus.h"

#include <errno.h>
#include <string.h>

#include "util/macro.h"

/*
 * A connection for each job: PID 1 sends its signals to whoever is connected to its own socket, and nobody would read
 * them between two jobs.
 */
int pile_bus_open(struct pile_manager *m, struct pile_bus_call *call)
{
	char address[160];
	int r;

	snprintf(address, sizeof(address), "unix:path=%s", m->socket_path);
	*call = (struct pile_bus_call){ .error = SD_BUS_ERROR_NULL };
	r = sd_bus_new(&call->bus);
	if (r >= 0)
		r = sd_bus_set_address(call->bus, address);
	if (r >= 0)
		r = sd_bus_start(call->bus);
	if (r >= 0)
		r = sd_bus_set_method_call_timeout(call->bus, PILE_MANAGER_ANSWER_NS / 1000);
	if (r >= 0)
		pile_manager_bus_fd(m, sd_bus_get_fd(call->bus));
	return MIN(r, 0);
}

void pile_bus_close(struct pile_manager *m, struct pile_bus_call *call)
{
	pile_manager_bus_fd(m, -1);
	sd_bus_error_free(&call->error);
	sd_bus_close_unref(call->bus);
}

/* ---- a unit, as PID 1 has it ---- */

int pile_bus_unit_find(struct pile_bus_call *call, const char *unit)
{
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
	const char *path;
	int r = sd_bus_call_method(call->bus, PILE_BUS_DESTINATION, PILE_BUS_PATH, PILE_BUS_MANAGER,
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
int pile_bus_unit_is_down(struct pile_bus_call *call)
{
	_cleanup_free_ char *state = NULL;
	int r = sd_bus_get_property_string(call->bus, PILE_BUS_DESTINATION, call->path,
					   PILE_BUS_UNIT, "ActiveState", &call->error, &state);

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
static int property_compare(struct pile_bus_call *call, const char *interface,
			    struct pile_manager_property *property)
{
	int r = sd_bus_get_property_trivial(call->bus, PILE_BUS_DESTINATION, call->path, interface,
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

static int method_new(struct pile_bus_call *call, sd_bus_message **ret, const char *method)
{
	return sd_bus_message_new_method_call(call->bus, ret, PILE_BUS_DESTINATION, PILE_BUS_PATH,
					      PILE_BUS_MANAGER, method);
}

static int message_send(struct pile_bus_call *call, sd_bus_message *message)
{
	return sd_bus_call(call->bus, message, 0, &call->error, NULL);
}

int pile_bus_set(struct pile_bus_call *call, struct pile_manager_job *job)
{
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *message = NULL;
	char interface[64];
	int r = unit_interface(job->unit, interface, sizeof(interface));

	if (r >= 0)
		r = pile_bus_unit_find(call, job->unit);
	if (r >= 0)
		r = pile_bus_unit_is_down(call);
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

static int scope_join(struct pile_bus_call *call, const struct pile_manager_job *job)
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
static int scope_is_ours(struct pile_bus_call *call, const struct pile_manager_job *job)
{
	_cleanup_free_ char *cgroup = NULL;
	char expected[PILE_CGROUP_MAX];
	int r = sd_bus_get_property_string(call->bus, PILE_BUS_DESTINATION, call->path,
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

int pile_bus_scope(struct pile_bus_call *call, const struct pile_manager_job *job)
{
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *message = NULL;
	int r = pile_bus_unit_find(call, job->unit);

	if (r >= 0)
		r = pile_bus_unit_is_down(call);
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

static int unit_flag(struct pile_bus_call *call, const char *name, bool *ret)
{
	int value, r = sd_bus_get_property_trivial(call->bus, PILE_BUS_DESTINATION, call->path,
						   PILE_BUS_UNIT, name, &call->error, 'b', &value);

	*ret = r >= 0 && value;
	return r;
}

/* The first unit in a list of the unit's, or "". */
static int unit_first(struct pile_bus_call *call, const char *list, const char *suffix, char *ret,
		      size_t size)
{
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
	const char *name;
	int r = sd_bus_get_property(call->bus, PILE_BUS_DESTINATION, call->path, PILE_BUS_UNIT,
				    list, &call->error, &reply, "as");

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
static int neighbours_check(struct pile_bus_call *call, char *ret_why, size_t size)
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

int pile_bus_check(struct pile_bus_call *call, const struct pile_manager_job *job, char *ret_why,
		   size_t size)
{
	bool transient, can_start;
	int r = pile_bus_unit_find(call, job->unit);

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

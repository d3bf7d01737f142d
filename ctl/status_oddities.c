// SPDX-License-Identifier: GPL-2.0-or-later
/* status_oddities.c: what is odd, what the guard does, and what to type: a loud line each. */
#include <stdio.h>
#include <string.h>

#include "status.h"
#include "table.h"
#include "util/macro.h"
#include "value.h"

/* The outage that the risk is told for: what a client waits before it gives up (product.md's sample). */
#define OUTAGE_SECONDS 10
/* The guard publishes ten times a second. */
#define STALE_SECONDS 3

/** "32 req/s x 10 s x 6.0 MiB = 1.9 GiB > 1.1 GiB: ..." */
static void risk_show(const struct pile_ctl *ctl, const json_t *g)
{
	double rate = pile_value_number(g, "requests.opened_per_second");
	double each = pile_value_number(g, "memory.per_request_bytes");
	double free_bytes = pile_value_number(g, "memory.free_bytes");
	double need = rate * OUTAGE_SECONDS * each;
	char name[80], what[140], line[400];

	if (!pile_status_at_risk(g))
		return;
	if (pile_value_known(g, "would_have_refused"))
		pile_value_format_text(g, "would_have_refused", what, sizeof(what));
	else
		snprintf(what, sizeof(what), "a database or service that it waits for");
	pile_value_format_text(g, "name", name, sizeof(name));
	if (need > free_bytes)
		snprintf(line, sizeof(line),
			 "! %s: %.0f req/s x %d s x %.1f MiB = %.1f GiB > %.1f GiB: this host "
			 "would not survive the loss of %s",
			 name, rate, OUTAGE_SECONDS, each / 1048576, need / 1073741824,
			 free_bytes / 1073741824, what);
	else
		snprintf(line, sizeof(line),
			 "! %s: risk %.1f: this host would not survive the loss of %s", name,
			 pile_value_number(g, "risk_ratio"), what);
	pile_table_loud(ctl, line);
}

/** What stands in brackets behind "are refused": who wants it, and how far it is. */
static const char *refused_how(const json_t *gate, char *buf, size_t size)
{
	char left[32];

	if (pile_value_known(gate, "held_for_seconds"))
		snprintf(buf, size, "held by hand, %s left",
			 pile_value_format_seconds(gate, "held_for_seconds", left, sizeof(left)));
	else
		snprintf(buf, size, "%sbreaker %s",
			 pile_value_is(gate, "mute") ? "it greets nobody, " : "",
			 pile_value_text(gate, "gate"));
	return buf;
}

static void gate_show(const struct pile_ctl *ctl, const json_t *gate)
{
	char group[80], endpoint[140], line[400], text[100];

	pile_value_format_text(gate, "group", group, sizeof(group));
	pile_value_format_text(gate, "endpoint", endpoint, sizeof(endpoint));
	if (pile_value_known(gate, "released_for_seconds"))
		snprintf(
			line, sizeof(line),
			"! %s: %s is released by hand, %s left: never refused%s", group, endpoint,
			pile_value_format_seconds(gate, "released_for_seconds", text, sizeof(text)),
			pile_value_is(gate, "dead") ? ", and it is dead" : "");
	else if (strcmp(pile_value_text(gate, "gate"), "closed") == 0)
		snprintf(
			line, sizeof(line),
			"! %s: %s is dead (%.0f connecting); not refused: %s is not at risk (fail_fast: at_risk)",
			group, endpoint, pile_value_number(gate, "connecting"), group);
	else if (pile_value_known(gate, "blocked"))
		snprintf(line, sizeof(line),
			 "! %s: %s is %s: would refuse connects (%s). pileguardctl explain %.0f",
			 group, endpoint, pile_value_is(gate, "mute") ? "mute" : "dead",
			 pile_value_format_text(gate, "blocked", text, sizeof(text)),
			 pile_value_number(gate, "explain"));
	else
		snprintf(
			line, sizeof(line),
			"! %s: connects to %s are refused (%s; %.0f so far). pileguardctl explain %.0f",
			group, endpoint, refused_how(gate, text, sizeof(text)),
			pile_value_number(gate, "refused_total"),
			pile_value_number(gate, "explain"));
	pile_table_loud(ctl, line);
}

static void attachment_show(const struct pile_ctl *ctl, const json_t *g)
{
	char name[80], line[200];

	if (!pile_value_is(g, "gate_missing"))
		return;
	snprintf(
		line, sizeof(line),
		"! %s: should enforce fail_fast, and does not: its cgroup cannot be attached to. See: "
		"journalctl -u pileguard",
		pile_value_format_text(g, "name", name, sizeof(name)));
	pile_table_loud(ctl, line);
}

/** Processes that should be in the group's own cgroup, and are not. */
static void placement_show(const struct pile_ctl *ctl, const json_t *g)
{
	const json_t *placement = pile_value_get(g, "placement");
	char name[80], why[200], line[400];

	if (!pile_value_is(placement, "place") || pile_value_number(placement, "outside") == 0 ||
	    (!pile_value_known(placement, "error") && !pile_value_known(placement, "outside_why")))
		return;
	snprintf(line, sizeof(line), "! %s: %.0f of its processes %s not placed: %s",
		 pile_value_format_text(g, "name", name, sizeof(name)),
		 pile_value_number(placement, "outside"),
		 pile_value_number(placement, "outside") == 1 ? "is" : "are",
		 pile_value_format_text(
			 placement, pile_value_known(placement, "error") ? "error" : "outside_why",
			 why, sizeof(why)));
	/* who stays where he is does so for a reason: no trouble */
	if (pile_value_known(placement, "error"))
		pile_table_loud(ctl, line);
	else
		puts(line + 2);
}

/** What an episode is about: a share while there is one, else the limit, reached now or within the last ten seconds. */
static void door_line(char *line, size_t size, const char *group, const char *endpoint,
		      const json_t *door)
{
	bool blocked = pile_value_known(door, "blocked");
	char why[100], what[160];

	if (pile_value_number(door, "refuse_ratio") > 0)
		snprintf(what, sizeof(what),
			 "requests pile up at %s: %s %.0f %% of new connections", endpoint,
			 blocked ? "would refuse" : "refusing",
			 pile_value_number(door, "refuse_ratio") * 100);
	else if (pile_value_known(door, "max"))
		snprintf(what, sizeof(what), "%s holds %.0f connections of %.0f: %s", endpoint,
			 pile_value_number(door, "open"), pile_value_number(door, "max"),
			 blocked ? "would refuse more" : "more are refused");
	else
		snprintf(what, sizeof(what), "requests piled up at %s: connections %s refused",
			 endpoint, blocked ? "would have been" : "were");
	if (blocked)
		snprintf(line, size, "! %s: %s (%s). pileguardctl explain %.0f", group, what,
			 pile_value_format_text(door, "blocked", why, sizeof(why)),
			 pile_value_number(door, "explain"));
	else
		snprintf(line, size, "! %s: %s (%.0f so far). pileguardctl explain %.0f", group,
			 what, pile_value_number(door, "refused_in_episode"),
			 pile_value_number(door, "explain"));
}

/** A listener that holds as many connections as it may, or one that is released. */
static void door_show(const struct pile_ctl *ctl, const json_t *g, const json_t *listener)
{
	const json_t *door = pile_value_get(listener, "connections");
	char group[80], endpoint[140], line[420], text[100];

	pile_value_format_text(g, "name", group, sizeof(group));
	pile_value_format_text(listener, "endpoint", endpoint, sizeof(endpoint));
	if (pile_value_known(door, "released_for_seconds"))
		snprintf(line, sizeof(line),
			 "! %s: %s is released by hand, %s left: nobody is refused", group,
			 endpoint,
			 pile_value_format_seconds(door, "released_for_seconds", text,
						   sizeof(text)));
	else if (!pile_value_is(door, "full"))
		return;
	else
		door_line(line, sizeof(line), group, endpoint, door);
	pile_table_loud(ctl, line);
}

static void doors_show(const struct pile_ctl *ctl, const json_t *g)
{
	const json_t *one;
	size_t index;

	json_array_foreach(pile_value_get(g, "listeners"), index, one)
		if (json_is_object(pile_value_get(one, "connections")))
			door_show(ctl, g, one);
}

static void leak_show(const struct pile_ctl *ctl, const json_t *g)
{
	char name[80], line[240], rate[32], left[32];

	if (!pile_value_is(g, "memory.leak") || !pile_value_number(g, "memory.growing_workers"))
		return;
	snprintf(
		line, sizeof(line),
		"! %s: %.0f worker%s by %s/s, without end: memory is gone in %s. See: pileguardctl workers",
		pile_value_format_text(g, "name", name, sizeof(name)),
		pile_value_number(g, "memory.growing_workers"),
		pile_value_number(g, "memory.growing_workers") > 1 ? "s grow" : " grows",
		pile_value_format_bytes(g, "memory.growing_bytes_per_second", rate, sizeof(rate)),
		pile_value_format_seconds(g, "memory.growing_gone_in_seconds", left, sizeof(left)));
	pile_table_loud(ctl, line);
}

/** Held down by rung 5. */
static void stopped_show(const struct pile_ctl *ctl, const json_t *g)
{
	const json_t *stopped = pile_value_get(g, "stopped");
	char name[80], unit[80], line[360], left[32];

	if (!json_is_object(stopped))
		return;
	if (pile_value_is(stopped, "late"))
		snprintf(
			line, sizeof(line),
			"! %s: stopped for its memory, should run again by now, and DOES NOT. pileguardctl explain %.0f; now: sudo systemctl start %s",
			pile_value_format_text(g, "name", name, sizeof(name)),
			pile_value_number(stopped, "explain"),
			pile_value_format_text(g, "unit", unit, sizeof(unit)));
	else
		snprintf(
			line, sizeof(line),
			"! %s: stopped for its memory%s; systemd starts it again in %s. pileguardctl explain %.0f; now: sudo systemctl start %s",
			pile_value_format_text(g, "name", name, sizeof(name)),
			pile_value_is(stopped, "down") ? "" : " (not down yet)",
			pile_value_format_seconds(stopped, "starts_in_seconds", left, sizeof(left)),
			pile_value_number(stopped, "explain"),
			pile_value_format_text(g, "unit", unit, sizeof(unit)));
	pile_table_loud(ctl, line);
}

/** What rung 3 has set at a group. */
static void throttle_show(const struct pile_ctl *ctl, const json_t *g)
{
	char name[80], line[280];
	size_t len;

	if (!pile_value_known(g, "throttle"))
		return;
	len = (size_t)snprintf(line, sizeof(line), "! %s is throttled:",
			       pile_value_format_text(g, "name", name, sizeof(name)));
	if (pile_value_known(g, "throttle.tasks_max"))
		len += (size_t)snprintf(line + len, sizeof(line) - len, " TasksMax=%.0f",
					pile_value_number(g, "throttle.tasks_max"));
	if (pile_value_known(g, "throttle.cpu_weight"))
		len += (size_t)snprintf(line + len, sizeof(line) - len, " CPUWeight=%.0f",
					pile_value_number(g, "throttle.cpu_weight"));
	if (pile_value_known(g, "throttle.cpu_quota_us"))
		len += (size_t)snprintf(line + len, sizeof(line) - len, " CPUQuota=%.0f%%",
					pile_value_number(g, "throttle.cpu_quota_us") / 10000);
	if (pile_value_known(g, "throttle.explain"))
		len += (size_t)snprintf(line + len, sizeof(line) - len,
					". pileguardctl explain %.0f",
					pile_value_number(g, "throttle.explain"));
	snprintf(line + len, sizeof(line) - len, "; %s",
		 pile_value_is(g, "throttle.being_set_back")
			 ? "being set back: pileguardctl residue"
			 : "undo: sudo pileguardctl disarm");
	pile_table_loud(ctl, line);
}

/** At a limit of tasks: whoever sees "Resource temporarily unavailable" looks here. */
static void forks_show(const struct pile_ctl *ctl, const json_t *g)
{
	char name[80], line[280];

	if (!pile_value_is(g, "forks.fail"))
		return;
	snprintf(
		line, sizeof(line),
		"! %s: its forks fail: it has as many tasks as it may (%.0f; TasksMax, pids.max). %.0f failed early so far. pileguardctl explain %.0f",
		pile_value_format_text(g, "name", name, sizeof(name)),
		pile_value_number(g, "forks.limit"),
		pile_value_number(g, "forks.refused_early_total"),
		pile_value_number(g, "forks.explain"));
	pile_table_loud(ctl, line);
}

/** What the guard itself has lost since its start. */
static void losses_show(const struct pile_ctl *ctl, const json_t *status)
{
	static const struct {
		const char *key, *text;
	} losses[] = {
		{ "guard.not_followed_total",
		  "sockets, workers, listeners or tables of descriptors were not followed, for want of room" },
		{ "guard.destinations_lost_total", "destinations did not fit into the map" },
		{ "guard.waits_not_ended_total", "pending connects could not be ended" },
		{ "guard.journal_lines_dropped_total", "lines did not get into the journal" },
		{ "evict.workers_evicted_total",
		  "workers were ended for their memory: pileguardctl events" },
		{ "stop.services_stopped_total",
		  "services were stopped for their memory: pileguardctl events" },
		{ "throttle.throttled_total",
		  "limits of tasks or processors were set: pileguardctl events" },
	};
	char line[160];

	for (size_t i = 0; i < ARRAY_LEN(losses); i++) {
		double n = pile_value_number(status, losses[i].key);

		if (n < 1)
			continue;
		snprintf(line, sizeof(line), "! since the start: %.0f %s", n, losses[i].text);
		pile_table_loud(ctl, line);
	}
}

/** One thread looks for all groups: one line. */
static void late_show(const struct pile_ctl *ctl, const json_t *groups)
{
	const json_t *one;
	char line[128];
	double late = 0;
	size_t index;

	json_array_foreach(groups, index, one)
		late = MAX(late, pile_value_number(pile_value_get(one, "placement"),
						   "look_late_seconds"));
	if (late < 1)
		return;
	snprintf(line, sizeof(line), "! placement: no look for %.0f s", late);
	pile_table_loud(ctl, line);
	puts("  it waits for a file system, a lock or systemd: what is placed stays, nobody else is");
}

void pile_status_oddities(const struct pile_ctl *ctl, const json_t *status)
{
	char line[128];
	const json_t *one;
	size_t index;

	json_array_foreach(pile_value_get(status, "gates"), index, one)
		gate_show(ctl, one);
	json_array_foreach(pile_value_get(status, "groups"), index, one) {
		attachment_show(ctl, one);
		placement_show(ctl, one);
	}
	late_show(ctl, pile_value_get(status, "groups"));
	json_array_foreach(pile_value_get(status, "groups"), index, one)
		stopped_show(ctl, one);
	json_array_foreach(pile_value_get(status, "groups"), index, one)
		doors_show(ctl, one);
	json_array_foreach(pile_value_get(status, "groups"), index, one)
		risk_show(ctl, one);
	json_array_foreach(pile_value_get(status, "groups"), index, one)
		leak_show(ctl, one);
	json_array_foreach(pile_value_get(status, "groups"), index, one)
		throttle_show(ctl, one);
	json_array_foreach(pile_value_get(status, "groups"), index, one)
		forks_show(ctl, one);
	losses_show(ctl, status);
	if (pile_value_is(status, "network_suspect"))
		pile_table_loud(ctl, "! many destinations are dead at once: our own network, not "
				     "theirs; no further one is refused");
	if (pile_value_number(status, "age_seconds") > STALE_SECONDS) {
		snprintf(line, sizeof(line),
			 "! these numbers are %.0f s old: the guard's control loop does not run",
			 pile_value_number(status, "age_seconds"));
		pile_table_loud(ctl, line);
	}
}

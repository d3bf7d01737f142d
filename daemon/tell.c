// SPDX-License-Identifier: GPL-2.0-or-later
/* tell.c: what the guard tells of itself, each once for as long as it is so: events, and lines of the journal. */
#include <errno.h>
#include <stdarg.h>
#include <string.h>

#include "guard.h"
#include "util/clock.h"
#include "util/macro.h"
#include "util/quantity.h"

#define WALK_LONG_PARTS 5 /* of a walk over all descriptors: five seconds */
#define WALK_AGAIN_NS (600 * NS_PER_SEC)
#define DROPPED_EVERY_NS (10 * NS_PER_SEC)
#define LOSSES_EVERY_TICKS 100
#define STORE_EVERY_TICKS 20
#define FOLLOWED_NS (2 * NS_PER_SEC) /* after the start: some rounds of discovery */

void pile_tell_event(struct pile_guard *g, const struct pile_event *event)
{
	if (event)
		pile_slow_say(&g->slow, event);
}

void pile_guard_say(struct pile_guard *g, enum pile_event_kind kind, uint32_t group,
		    const char *fmt, ...)
{
	const struct pile_group *of = group < PILE_GROUPS_MAX ? &g->groups.groups[group] : NULL;
	char text[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	pile_tell_event(g,
			pile_record_event(&g->record, kind, 0, of ? of->config.name : "",
					  of ? of->config.unit : "", pile_clock_ns(CLOCK_MONOTONIC),
					  pile_clock_ns(CLOCK_REALTIME), "%s", text));
}

/* At the start all that is there appears at once: each is an event, the journal has one line for all of them. */
void pile_tell_appeared(struct pile_guard *g, uint32_t slot)
{
	const struct pile_group *group = &g->groups.groups[slot];
	const char *how = group->foreign      ? " (another manager's: observed only)"
			  : group->configured ? ""
					      : " (found listening: observed)";

	if (g->followed_said) {
		pile_guard_say(g, PILE_EVENT_GROUP, slot, "%s: followed%s", group->config.name,
			       how);
		return;
	}
	pile_record_event(&g->record, PILE_EVENT_GROUP, 0, group->config.name, group->config.unit,
			  pile_clock_ns(CLOCK_MONOTONIC), pile_clock_ns(CLOCK_REALTIME),
			  "%s: followed%s", group->config.name, how);
}

static void followed_say(struct pile_guard *g, uint64_t now_ns)
{
	char names[160] = "";
	unsigned int n = 0;
	size_t len = 0;

	if (g->followed_said || now_ns - g->started_ns < FOLLOWED_NS)
		return;
	g->followed_said = true;
	for (uint32_t i = 0; i < g->groups.n_groups; i++) {
		const struct pile_group *group = &g->groups.groups[i];

		if (!group->used || !group->present)
			continue;
		if (len < sizeof(names))
			len += (size_t)snprintf(names + len, sizeof(names) - len, "%s%s",
						n ? ", " : "", group->config.name);
		n++;
	}
	pile_guard_say(g, PILE_EVENT_START, PILE_NO_GROUP, "%u service%s followed%s%s%s", n,
		       n == 1 ? " is" : "s are", n ? ": " : "", names,
		       len < sizeof(names) ? "" : "...");
}

/* From here on connects of this group can be refused, or end at the deadline: said before any of them does. */
void pile_tell_attached(struct pile_guard *g, uint32_t slot)
{
	const struct pile_policy_group *config = &g->groups.groups[slot].config;
	const struct pile_kernel_attachment *at = &g->act.attachments[slot];
	char deadline[32];

	pile_quantity_format_duration(config->connect_deadline_ns, deadline, sizeof(deadline));
	pile_guard_say(g, PILE_EVENT_GROUP, slot, "%s: attached to its cgroup:%s%s%s", config->name,
		       at->connect_v4 ? " fail_fast" : "", at->deadline ? " connect_deadline " : "",
		       at->deadline ? deadline : "");
}

/* It is tried again every two seconds, and told when it is another one. Returns whether there is any. */
bool pile_tell_attach_error(struct pile_guard *g, uint32_t slot)
{
	int error = g->groups.groups[slot].used ? g->act.attach_error[slot] : 0;

	if (error && error != g->attach_error_said[slot])
		pile_guard_say(g, PILE_EVENT_TROUBLE, slot, "%s: rung 1 cannot be attached (%s)%s",
			       g->groups.groups[slot].config.name, strerror(-error),
			       error == -EPERM ? ": another program on a parent cgroup forbids it"
					       : "");
	g->attach_error_said[slot] = error;
	return error != 0;
}

/* Where rung 2 can refuse from here on, or why not: told when it is another answer. */
void pile_tell_doors(struct pile_guard *g, int error, bool tcp, bool of_unix)
{
	if (error && error != g->doors_error_said)
		pile_guard_say(
			g, PILE_EVENT_TROUBLE, PILE_NO_GROUP,
			"rung 2 cannot be attached for %s (%s): connections are not refused there",
			tcp	  ? "unix sockets"
			: of_unix ? "TCP"
				  : "any listener",
			strerror(-error));
	else if ((tcp && !g->view.shed_tcp_ready) || (of_unix && !g->view.shed_unix_ready))
		pile_guard_say(g, PILE_EVENT_GROUP, PILE_NO_GROUP,
			       "rung 2 is attached: connections can be refused (%s%s%s)",
			       tcp ? "TCP" : "", tcp && of_unix ? ", " : "",
			       of_unix ? "unix sockets" : "");
	g->doors_error_said = error;
}

void pile_tell_forks(struct pile_guard *g, int error)
{
	if (error && error != g->forks_error_said)
		pile_guard_say(
			g, PILE_EVENT_TROUBLE, PILE_NO_GROUP,
			"forks at a limit of tasks cannot be refused early (%s): the kernel refuses them late",
			strerror(-error));
	g->forks_error_said = error;
}

/* What could not be followed or kept: told once each time there is more of it. */
static void losses_say(struct pile_guard *g)
{
	const struct pile_bpf_totals *t = g->kernel.totals;
	uint64_t lost = t->storage_lost + t->workers_lost + g->groups.listeners_lost +
			g->groups.doors_lost + g->kernel.tables_passed + g->sense.growth.lost_most +
			g->sense.growth.others_lost_most;

	pile_kernel_cost(&g->kernel, &g->cost);
	if (lost > g->losses_said)
		pile_guard_say(
			g, PILE_EVENT_TROUBLE, PILE_NO_GROUP,
			"not followed, for want of room: %llu sockets, %llu workers, %llu listeners in all; %llu listeners without "
			"their limit; tables of descriptors too large to look for listeners in: %llu; workers whose memory is not "
			"seen, so that nobody is evicted: %llu (and %llu of services that the policy does not name)",
			(unsigned long long)t->storage_lost, (unsigned long long)t->workers_lost,
			(unsigned long long)g->groups.listeners_lost,
			(unsigned long long)g->groups.doors_lost,
			(unsigned long long)g->kernel.tables_passed,
			(unsigned long long)g->sense.growth.lost_most,
			(unsigned long long)g->sense.growth.others_lost_most);
	g->losses_said = MAX(lost, g->losses_said);
}

/* It is tried again, and told when it is another error, or none any more. */
static void store_say(struct pile_guard *g)
{
	int error = pile_slow_trouble(&g->slow);

	if (error && error != g->store_error_said)
		pile_guard_say(
			g, PILE_EVENT_TROUBLE, PILE_NO_GROUP,
			"%s cannot be written (%s): a restart would not know the policy in force, what was "
			"learned, nor that it is disarmed",
			g->options.state_dir, strerror(-error));
	if (!error && g->store_error_said)
		pile_guard_say(g, PILE_EVENT_TROUBLE, PILE_NO_GROUP,
			       "%s can be written again: all is kept", g->options.state_dir);
	g->store_error_said = error;
	pile_slow_again(&g->slow);
	if (g->slow.motd_error && g->slow.motd_error != g->motd_error_said)
		pile_guard_say(
			g, PILE_EVENT_TROUBLE, PILE_NO_GROUP,
			"%s cannot be written (%s): whoever logs in is not told what is refused",
			g->options.motd_path, strerror(-g->slow.motd_error));
	g->motd_error_said = g->slow.motd_error;
}

/* Told once it is quiet again, or every ten seconds while it is not. */
static void dropped_say(struct pile_guard *g, uint64_t now_ns)
{
	uint64_t n = g->slow.lines_dropped - g->lines_dropped_said;

	if (!n) {
		g->lines_dropped_ns = now_ns;
		return;
	}
	if (now_ns - g->slow.dropped_ns < NS_PER_SEC &&
	    now_ns - g->lines_dropped_ns < DROPPED_EVERY_NS)
		return;
	g->lines_dropped_said = g->slow.lines_dropped;
	g->lines_dropped_ns = now_ns;
	pile_guard_say(
		g, PILE_EVENT_DROPPED, PILE_NO_GROUP,
		"%llu line%s not written, more than %u a second: pileguardctl events has the last %u",
		(unsigned long long)n, n == 1 ? "" : "s", PILE_SLOW_LINES_PER_SECOND,
		PILE_RECORD_EVENTS);
}

void pile_tell_walk(struct pile_guard *g, uint64_t now_ns)
{
	if (g->groups.walk_parts != WALK_LONG_PARTS ||
	    (g->walk_said_ns && now_ns - g->walk_said_ns < WALK_AGAIN_NS))
		return;
	g->walk_said_ns = now_ns;
	pile_guard_say(
		g, PILE_EVENT_TROUBLE, PILE_NO_GROUP,
		"there are so many descriptors that looking through all of them takes long: new "
		"services are found late");
}

void pile_tell_tick(struct pile_guard *g, uint64_t now_ns)
{
	followed_say(g, now_ns);
	dropped_say(g, now_ns);
	if (g->ticks % LOSSES_EVERY_TICKS == LOSSES_EVERY_TICKS - 1)
		losses_say(g);
	if (g->ticks % STORE_EVERY_TICKS == STORE_EVERY_TICKS - 1)
		store_say(g);
}

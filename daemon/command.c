// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * command.c: what root asks of a guard that runs: reload, hold, release, disarm, arm.
 * Called by the control loop with a fixed-size command and its client's socket; what it asks for is done with
 * the next tick. Disarming is kept on disk by the slow thread, and answered when it stands there.
 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "guard.h"
#include "keep.h"
#include "record/explain_text.h"
#include "util/clock.h"

/*
 * A connection accepted from the stats socket, by root. The name keeps out what else the api process
 * holds or may be handed that says "root" of itself: its own pair, the listener, the near end of a
 * connection to some root's service.
 */
static bool client_is_root(const struct pile_guard *g, int fd)
{
	struct sockaddr_un name = {};
	socklen_t name_len = sizeof(name), len = sizeof(int), cred_len = sizeof(struct ucred);
	int type = 0, listening = 1;
	struct ucred cred;

	if (fd < 0 || getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0 || type != SOCK_STREAM ||
	    getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len) < 0 || listening ||
	    getsockname(fd, (struct sockaddr *)&name, &name_len) < 0 ||
	    name.sun_family != AF_UNIX ||
	    strncmp(name.sun_path, g->options.socket_path, sizeof(name.sun_path)) != 0)
		return false;
	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &cred_len) == 0 && cred.uid == 0;
}

/* Somebody of the group has connected there: what is mistyped has nobody. */
static bool is_known(const struct pile_guard *g, uint32_t group,
		     const struct pile_endpoint *endpoint)
{
	for (uint32_t i = 0; i < g->sample.n_dependencies; i++)
		if (g->sample.dependencies[i].group == group &&
		    pile_endpoint_matches(endpoint, &g->sample.dependencies[i].endpoint))
			return true;
	for (uint32_t i = 1; i < PILE_DOORS_MAX; i++)
		if (g->sample.doors[i].used && g->sample.doors[i].group == group &&
		    pile_endpoint_matches(endpoint, &g->sample.doors[i].endpoint))
			return true;
	return false;
}

static void command_hand(struct pile_guard *g, const struct pile_command *c)
{
	bool hold = c->kind == PILE_COMMAND_HOLD;
	uint64_t until = g->sample.now_ns + c->seconds * NS_PER_SEC;
	uint32_t group = pile_groups_find(&g->groups, c->group);
	struct pile_endpoint endpoint;
	char text[320];
	int r;

	if (group == PILE_NO_GROUP) {
		snprintf(text, sizeof(text), "no group is called %.64s: see pileguardctl groups",
			 c->group);
		pile_child_reply(g, c->id, -ENOENT, text);
		return;
	}
	if (c->seconds < 1 || c->seconds > PILE_HAND_SECONDS_MAX ||
	    pile_endpoint_parse(c->endpoint, !hold, &endpoint) < 0 ||
	    (hold && endpoint.family == AF_UNIX)) {
		pile_child_reply(g, c->id, -EINVAL,
				 "write ADDRESS:PORT (no names) and a time of 1s to 24h");
		return;
	}
	r = pile_decide_hold(&g->decide, &g->view, group, &endpoint, hold, until);
	if (r == -EPERM)
		snprintf(text, sizeof(text), "%s may not be held: %s", c->group,
			 pile_explain_text_blocked(
				 pile_breaker_blocked(&g->decide.breakers, &g->view, NULL, group,
						      &endpoint, g->sample.now_ns)));
	else if (r < 0)
		snprintf(text, sizeof(text), "cannot %s %s: %s", hold ? "hold" : "release",
			 c->endpoint, strerror(-r));
	else
		snprintf(
			text, sizeof(text), "%s: %s is %s by hand for %u s: connects are %s%s",
			c->group, c->endpoint, hold ? "held" : "released", c->seconds,
			hold			     ? "refused"
			: endpoint.family == AF_UNIX ? "taken"
						     : "allowed",
			is_known(g, group, &endpoint)
				? ""
				: " (nobody has connected there lately: pileguardctl dependencies)");
	if (r == 0)
		pile_guard_say(g, PILE_EVENT_COMMAND, group, "%s", text);
	pile_child_reply(g, c->id, r, text);
}

/* ---- disarm ---- */

/* Gates open and programs are detached, or attached again, in the next tick. */
static void disarm_apply(struct pile_guard *g)
{
	char text[PILE_DISARM_TEXT_MAX] = "";

	g->view.disarmed = g->disarm.now.on;
	g->posture_due = true;
	pile_selftest_again(g);
	if (g->disarm.now.on)
		pile_disarm_format(&g->disarm.now, text, sizeof(text));
	pile_slow_disarm(&g->slow, text, ++g->disarm.ticket);
	pile_reload_status_tell(g, "");
}

/* Told in `events` and the journal, and the answer to whoever asked. */
static void disarm_say(struct pile_guard *g, char *text, size_t size)
{
	char described[PILE_DISARM_TEXT_MAX];

	pile_disarm_describe(&g->disarm.now, described, sizeof(described));
	snprintf(text, size,
		 "%s: everything is open, pileguard only observes. undo: pileguardctl arm",
		 described);
	pile_guard_say(g, PILE_EVENT_DISARM, PILE_NO_GROUP, "%s", text);
}

static void command_disarm(struct pile_guard *g, const struct pile_command *c)
{
	char text[sizeof(g->disarm.late.text)];

	if (c->seconds > PILE_DISARM_SECONDS_MAX) {
		pile_child_reply(g, c->id, -EINVAL, "give a time of 1s to 720h, or none");
		return;
	}
	pile_disarm_set(&g->disarm.now, c->by, c->seconds, pile_clock_ns(CLOCK_MONOTONIC),
			pile_clock_ns(CLOCK_REALTIME));
	disarm_apply(g);
	disarm_say(g, text, sizeof(text));
	pile_child_reply_late(g, &g->disarm.late, c->id, text);
}

static const char *armed_mode(const struct pile_guard *g)
{
	return g->view.mode == PILE_MODE_ENFORCE ? "enforce"
						 : "observe: nothing is refused all the same";
}

static void command_arm(struct pile_guard *g, const struct pile_command *c)
{
	char text[sizeof(g->disarm.late.text)];
	struct pile_disarm by;

	if (!g->disarm.now.on) {
		snprintf(text, sizeof(text), "pileguard was not disarmed (mode %s)", armed_mode(g));
		pile_child_reply(g, c->id, 0, text);
		return;
	}
	pile_disarm_set(&by, c->by, 0, 0, 0); /* a name fit for a log */
	g->disarm.now.on = false;
	disarm_apply(g);
	snprintf(text, sizeof(text), "armed again by %s: the policy decides (mode %s)", by.by,
		 armed_mode(g));
	pile_guard_say(g, PILE_EVENT_ARM, PILE_NO_GROUP, "%s", text);
	pile_child_reply_late(g, &g->disarm.late, c->id, text);
}

/* Whatever ends guards again and again may be the guard: hands off, for some hours or until somebody says otherwise. */
static void safe_mode(struct pile_guard *g)
{
	uint64_t now_s = g->started_realtime_ns / NS_PER_SEC;
	char text[PILE_DISARM_TEXT_MAX];
	uint32_t ends;

	g->disarm.mark_error = pile_keep_begin(g->options.state_dir, now_s, &ends);
	g->disarm.marked = true;
	/* one that ran out while nobody was here (disarm_recall) is none */
	if (ends < PILE_KEEP_UNCLEAN_MAX || (g->disarm.now.on && g->disarm.now.until_ns))
		return;
	pile_disarm_set(&g->disarm.now, "safe-mode", pile_keep_safe(g->options.state_dir, now_s),
			g->started_ns, g->started_realtime_ns);
	g->disarm.safe_mode = g->view.disarmed = true;
	pile_slow_disarm(&g->slow, pile_disarm_format(&g->disarm.now, text, sizeof(text)),
			 ++g->disarm.ticket);
}

static void disarm_recall(struct pile_guard *g)
{
	char text[PILE_DISARM_TEXT_MAX] = "";
	int r = pile_keep_disarmed_load(g->options.state_dir, text, sizeof(text));

	if (r == -ENOENT)
		return;
	pile_disarm_parse(text, pile_clock_ns(CLOCK_MONOTONIC), pile_clock_ns(CLOCK_REALTIME),
			  &g->disarm.now);
	if (!g->disarm.now.on)
		g->disarm.now.until_ns =
			0; /* it ran out while nobody was here: told by the first tick */
	g->disarm.now.on = true;
	g->view.disarmed = true;
}

void pile_command_recall(struct pile_guard *g)
{
	disarm_recall(g);
	safe_mode(g);
}

void pile_command_hello(struct pile_guard *g)
{
	char text[sizeof(g->disarm.late.text)];

	if (g->disarm.safe_mode)
		pile_guard_say(
			g, PILE_EVENT_TROUBLE, PILE_NO_GROUP,
			"safe mode: %u guards within %u minutes ended without stopping (killed, crashed, or the host "
			"with them)",
			PILE_KEEP_UNCLEAN_MAX, PILE_KEEP_UNCLEAN_S / 60);
	if (g->disarm.mark_error < 0)
		pile_guard_say(
			g, PILE_EVENT_TROUBLE, PILE_NO_GROUP,
			"%s cannot be written (%s): a guard that is killed will not be counted (safe mode)",
			g->options.state_dir, strerror(-g->disarm.mark_error));
	if (g->disarm.now.on && g->disarm.now.until_ns)
		disarm_say(g, text, sizeof(text));
}

void pile_command_tick(struct pile_guard *g, uint64_t now_ns)
{
	int error;
	bool done;

	if (pile_disarm_is_over(&g->disarm.now, now_ns)) {
		g->disarm.now.on = false;
		disarm_apply(g);
		pile_guard_say(g, PILE_EVENT_ARM, PILE_NO_GROUP,
			       "armed again, the time is over: the policy decides (mode %s)",
			       armed_mode(g));
	}
	done = pile_slow_disarm_kept(&g->slow, g->disarm.ticket, &error);
	pile_child_late(g, &g->disarm.late, done, error, "a restart forgets it", now_ns);
}

/* ---- all of them ---- */

void pile_command_run(struct pile_guard *g, struct pile_command *c, int client_fd)
{
	c->group[sizeof(c->group) - 1] = '\0';
	c->endpoint[sizeof(c->endpoint) - 1] = '\0';
	c->by[sizeof(c->by) - 1] = '\0';
	if (c->version != PILE_COMMAND_VERSION || !c->id)
		return;
	if (!client_is_root(g, client_fd)) {
		pile_child_reply(g, c->id, -EACCES, "only root may do that");
		return;
	}
	switch (c->kind) {
	case PILE_COMMAND_RELOAD:
		if (pile_guard_reload(g, c->id) < 0)
			pile_child_reply(g, c->id, -EBUSY,
					 "another reload is under way: try again");
		break;
	case PILE_COMMAND_HOLD:
	case PILE_COMMAND_RELEASE:
		command_hand(g, c);
		break;
	case PILE_COMMAND_DISARM:
		command_disarm(g, c);
		break;
	case PILE_COMMAND_ARM:
		command_arm(g, c);
		break;
	default:
		pile_child_reply(g, c->id, -EOPNOTSUPP, "this version does not know that command");
	}
}

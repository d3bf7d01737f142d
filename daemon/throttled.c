// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * throttled.c: what rung 3 has turned and must turn back, whatever becomes of the guard: by itself each tick, by the next
 * guard at its start, by `pileguardd --undo` (ExecStopPost=) after one that is gone.
 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "act/knob.h"
#include "guard.h"

static const char *what_became(int result)
{
	switch (result) {
	case PILE_UNDONE_RESTORED:
		return "is as it was before";
	case PILE_UNDONE_TAKEN:
		return "was set by somebody else meanwhile, and is left alone";
	case PILE_UNDONE_GONE:
		return "is gone, with its cgroup";
	case PILE_UNDONE_LATE:
		return "could not be set back yet: tried each second";
	default:
		return strerror(-result);
	}
}

static const char *place_of(const struct pile_undo_entry *entry)
{
	return entry->unit[0] ? entry->unit : entry->path;
}

/* ---- the guard ---- */

/* An earlier guard's has no record of ours. */
static void earlier_tell(struct pile_guard *g, const struct pile_act_undone *undone)
{
	bool late = undone->result == PILE_UNDONE_LATE;

	pile_guard_say(g, late ? PILE_EVENT_TROUBLE : PILE_EVENT_THROTTLE, PILE_NO_GROUP,
		       "%s: an earlier guard had set %s of %.100s: it %s", undone->group,
		       pile_knob_property(undone->knob), undone->place,
		       what_became(undone->result));
}

static void undone_tell(struct pile_guard *g, const struct pile_act_undone *undone, uint64_t now_ns)
{
	static const uint32_t backs[] = { [PILE_UNDONE_RESTORED] = PILE_BACK_DONE,
					  [PILE_UNDONE_TAKEN] = PILE_BACK_TAKEN,
					  [PILE_UNDONE_GONE] = PILE_BACK_GONE,
					  [PILE_UNDONE_LATE] = PILE_BACK_LATE };
	const struct pile_event *event;

	if (!undone->explain_id) {
		earlier_tell(g, undone);
		return;
	}
	event = pile_record_undone(&g->record, undone->explain_id, backs[undone->result],
				   undone->now, now_ns, pile_clock_ns(CLOCK_REALTIME));
	if (event)
		pile_slow_say(&g->slow, event);
}

static bool any_throttles(const struct pile_guard *g)
{
	for (uint32_t i = 0; i < g->view.n_groups; i++)
		if (g->view.groups[i].used && g->view.groups[i].config.enforce & PILE_RUNG_THROTTLE)
			return true;
	return false;
}

static void missing_tell(struct pile_guard *g)
{
	const char *cgroup =
		any_throttles(g) ? pile_load_missing(&g->sense.load, &g->sample) : NULL;

	if (cgroup)
		pile_guard_say(
			g, PILE_EVENT_TROUBLE, PILE_NO_GROUP,
			"protect: there is no %.120s here (or it tells no pressure): nobody is throttled for what waits there",
			cgroup);
}

void pile_throttled_tick(struct pile_guard *g, uint64_t now_ns)
{
	missing_tell(g);
	for (uint32_t i = 0; i < g->throttles.n_undone; i++)
		undone_tell(g, &g->throttles.undone[i], now_ns);
	g->throttles.n_undone = 0;
}

void pile_throttled_start(struct pile_guard *g)
{
	char path[256];
	int r;

	pile_undo_path(g->options.socket_path, path, sizeof(path));
	r = pile_act_throttles_open(&g->throttles, path, NULL);
	if (r < 0) {
		pile_guard_say(g, PILE_EVENT_TROUBLE, PILE_NO_GROUP,
			       "%.150s cannot be kept (%s): nothing is throttled", path,
			       strerror(-r));
		return;
	}
	r = (int)pile_act_throttles_settle(&g->throttles, &g->manager);
	pile_throttled_tick(g, pile_clock_ns(CLOCK_MONOTONIC));
	if (r > 0)
		pile_guard_say(
			g, PILE_EVENT_TROUBLE, PILE_NO_GROUP,
			"%d that an earlier guard has set could not be set back yet: tried each second (pileguardctl residue)",
			r);
}

void pile_throttled_stop(struct pile_guard *g)
{
	unsigned int left =
		g->throttles.ready ? pile_act_throttles_settle(&g->throttles, &g->manager) : 0;

	if (g->slow.running)
		pile_throttled_tick(g, pile_clock_ns(CLOCK_MONOTONIC));
	if (g->slow.running && left)
		pile_guard_say(
			g, PILE_EVENT_TROUBLE, PILE_NO_GROUP,
			"%u that was throttled could not be set back: pileguardd --undo does (pileguardctl residue)",
			left);
	pile_act_throttles_close(&g->throttles);
}

/* ---- after a guard that is gone ---- */

static bool guard_answers(const char *socket_path)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", socket_path);
	return fd >= 0 &&
	       (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0 || errno == EAGAIN);
}

static void undo_told(const struct pile_undo_entry *entry, int result, void *arg)
{
	(void)arg;
	printf("pileguardd: %s: %s of %s %s\n", entry->group, pile_knob_property(entry->knob),
	       place_of(entry), what_became(result));
}

int pile_throttled_undo(const struct pile_options *options)
{
	static struct pile_manager manager;
	struct pile_undo undo;
	unsigned int left;
	char path[256];
	int r;

	if (guard_answers(options->socket_path)) {
		fprintf(stderr,
			"pileguardd: a guard runs: pileguardctl disarm undoes what it does\n");
		return PILE_EXIT_FAILURE;
	}
	pile_undo_path(options->socket_path, path, sizeof(path));
	if (access(path, F_OK) < 0)
		return PILE_EXIT_OK;
	r = pile_undo_open(&undo, path, NULL);
	if (r < 0) {
		fprintf(stderr, "pileguardd: %s: %s\n", path, strerror(-r));
		return PILE_EXIT_FAILURE;
	}
	pile_manager_open(&manager, NULL);
	left = pile_undo_all(&undo, &manager, undo_told, NULL);
	pile_manager_close(&manager);
	pile_undo_close(&undo);
	return left ? PILE_EXIT_FAILURE : PILE_EXIT_OK;
}

// SPDX-License-Identifier: GPL-2.0-or-later
#include "record/explain_stop.h"

#include <errno.h>

const char *pile_explain_stop_switch(uint32_t blocked)
{
	if (blocked == PILE_BLOCKED_RUNG)
		return "the group's enforce list does not name stop";
	if (blocked == PILE_BLOCKED_KERNEL)
		return "there is no systemd to be asked";
	if (blocked == PILE_BLOCKED_UNFIT)
		return "its unit cannot be stopped and started again, or that is not known yet: journalctl -u pileguard";
	if (blocked == PILE_BLOCKED_BUDGET)
		return "it was stopped three times within ten minutes already";
	return pile_explain_text_blocked(blocked);
}

static const char *error_text(int error)
{
	switch (error) {
	case ESRCH:
		return "it was down already, perhaps by the kernel (journalctl -k); to start it: sudo systemctl start UNIT";
	case EBUSY:
		return "somebody else stops or starts it at this moment";
	case ETIMEDOUT:
		return "systemd did not answer in time, or something of the service does not end";
	case ENOSPC:
	case EAGAIN:
		return "too much is asked of systemd already";
	default:
		return error > 0 ? strerrordesc_np(error) : "nothing more is known";
	}
}

void pile_explain_stop_why(struct pen *pen, const struct pile_explain *explain)
{
	const struct pile_why *why = &explain->why;
	const struct pile_why_stop *s = &why->stop;

	put(pen,
	    "the host's memory (%s left) is gone in %s: %s grows by %s/s, by %s in %s, to %s; ",
	    bytes_of(why->free_bytes).text, duration(why->exhaustion_ns).text, explain->group,
	    bytes_of(why->growth_bytes).text, bytes_of(s->risen_bytes).text,
	    duration(s->rising_ns).text, bytes_of(s->used_bytes).text);
	put(pen, "the host lost %s of %s meanwhile; ", bytes_of(s->fell_bytes).text,
	    bytes_of(s->then_bytes).text);
	if (s->swap_bytes)
		put(pen, "%s of what is left is swap; ", bytes_of(s->swap_bytes).text);
	put_count(pen, why->waiting, "request");
	put(pen, why->waiting == 1 ? " waits" : " wait");
}

static void put_hold(struct pen *pen, const struct pile_why_stop *s)
{
	put(pen, "%s", duration(s->hold_ns).text);
	if (s->jitter_ns)
		put(pen,
		    " (%s of it are this host's own, so that a fleet's caches are not filled at once)",
		    duration(s->jitter_ns).text);
}

void pile_explain_stop_did(struct pen *pen, const struct pile_explain *explain)
{
	const struct pile_why_stop *s = &explain->why.stop;

	if (explain->blocked) {
		put(pen, "nothing: would have stopped %s, and started it again after ",
		    explain->unit);
		put_hold(pen, s);
		put(pen, " (%s)", pile_explain_stop_switch(explain->blocked));
		return;
	}
	if (explain->closed_ns && explain->close_reason == PILE_CLOSE_NOT_ENDED) {
		put(pen, "asked systemd in vain to stop %s: %s", explain->unit,
		    error_text(s->error));
		return;
	}
	put(pen, "had systemd stop %s", explain->unit);
	if (!s->down_ns) {
		put(pen, "; it is not down yet");
		return;
	}
	if (s->error)
		put(pen, ": asked for, but it is not down after %s (%s)", duration(s->down_ns).text,
		    error_text(s->error));
	else
		put(pen, ": down after %s", duration(s->down_ns).text);
	put(pen, "; to be started again after ");
	put_hold(pen, s);
	if (s->early)
		put(pen, "; started at once, since what held it down was switched off");
	if (explain->closed_ns && explain->close_reason == PILE_CLOSE_STARTED)
		put(pen, "; it runs again after %s",
		    duration(explain->closed_ns - explain->opened_ns).text);
	else if (s->late)
		put(pen, "; IT DOES NOT RUN, though it should by now");
}

void pile_explain_stop_did_not(struct pen *pen, const struct pile_explain *explain)
{
	if (explain->blocked)
		put(pen, "stop the service (%s); ", pile_explain_stop_switch(explain->blocked));
	put(pen, "stop any other; this was the %s of at most 3 in ten minutes",
	    explain->why.stop.nth == 1	 ? "first"
	    : explain->why.stop.nth == 2 ? "second"
					 : "third");
}

void pile_explain_stop_cost(struct pen *pen, const struct pile_explain *explain)
{
	if (explain->blocked || (explain->closed_ns && !explain->why.stop.down_ns)) {
		put(pen, "none: nothing was changed");
		return;
	}
	put(pen, "everything that the service was busy with (");
	put_count(pen, explain->why.waiting, "request");
	put(pen,
	    " without an answer), whoever asks it until it runs again, and what it had cached");
}

void pile_explain_stop_undo(struct pen *pen, const struct pile_explain *explain)
{
	if (explain->blocked) {
		put(pen, "nothing to undo: nothing was changed");
		return;
	}
	if (explain->closed_ns) {
		put(pen, "nothing to undo: it is over");
		return;
	}
	put(pen,
	    "systemd starts it again by itself, also without pileguard.  now: sudo systemctl start %s  "
	    "everything: sudo pileguardctl disarm",
	    explain->unit);
}

static void put_line_opening(struct pen *pen, const struct pile_intent *intent, const char *group)
{
	const struct pile_why *why = &intent->why;

	put(pen, "%s: grows by %s/s, and the host's memory (%s left) is gone in %s: ", group,
	    bytes_of(why->growth_bytes).text, bytes_of(why->free_bytes).text,
	    duration(why->exhaustion_ns).text);
	if (intent->blocked)
		put(pen, "would be stopped (%s)", pile_explain_stop_switch(intent->blocked));
	else
		put(pen, "its unit is stopped, and started again after %s",
		    duration(why->stop.hold_ns).text);
}

static void put_line_over(struct pen *pen, const struct pile_intent *intent, const char *group)
{
	switch (intent->close_reason) {
	case PILE_CLOSE_STARTED:
		put(pen, "%s: runs again after %s", group, duration(intent->outage_ns).text);
		break;
	case PILE_CLOSE_POLICY:
		put(pen, "%s: not held down any more: the policy does not name it now", group);
		break;
	case PILE_CLOSE_NOT_ENDED:
		put(pen, "%s: could not be stopped: %s", group, error_text(intent->why.stop.error));
		break;
	case PILE_CLOSE_GONE:
		put(pen, "%s: would have been stopped, and is gone", group);
		break;
	default:
		put(pen, "%s: would have been stopped, and grows no more", group);
	}
}

void pile_explain_stop_line(struct pen *pen, const struct pile_intent *intent, const char *group)
{
	switch (intent->kind) {
	case PILE_INTENT_STOP_DOWN:
		put(pen, "%s: %s after %s; started again in %s", group,
		    intent->why.stop.error ? "to be stopped, and not down" : "down",
		    duration(intent->why.stop.down_ns).text, duration(intent->outage_ns).text);
		break;
	case PILE_INTENT_STOP_LATE:
		put(pen, "%s: should have been started again by now, and does not run", group);
		break;
	case PILE_INTENT_STOP_START:
		put(pen, "%s: started again at once: what held it down was switched off", group);
		break;
	case PILE_INTENT_STOP_OVER:
		put_line_over(pen, intent, group);
		break;
	default:
		put_line_opening(pen, intent, group);
	}
	put(pen, ". explain %u%s", intent->explain_id,
	    intent->kind == PILE_INTENT_STOP_OVER ? " closed" : "");
}

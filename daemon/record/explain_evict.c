// SPDX-License-Identifier: GPL-2.0-or-later
#include "record/explain_evict.h"

#include <errno.h>
#include <signal.h>

static const char *bound_name(uint32_t bound)
{
	static const char *const names[] = {
		[PILE_EVICT_HOST] = "the host's memory",
		[PILE_EVICT_BUDGET] = "its memory_budget",
		[PILE_EVICT_LIMIT] = "its cgroup's memory",
	};

	return bound < ARRAY_LEN(names) ? names[bound] : "memory";
}

static const char *signal_name(uint32_t signal)
{
	return signal == SIGKILL ? "SIGTERM, then SIGKILL" : "SIGTERM";
}

const char *pile_explain_evict_switch(uint32_t blocked)
{
	return blocked == PILE_BLOCKED_RUNG ? "the group's enforce list does not name evict"
					    : pile_explain_text_blocked(blocked);
}

static const char *error_text(int error)
{
	switch (error) {
	case ESTALE:
		return "another process has its number by now";
	case EXDEV:
		return "it, or who forked it, is not in the group's cgroup";
	case ESRCH:
	case ENOENT:
		return "it was gone already";
	case ECANCELED:
		return "what let the guard end it was switched off";
	case ETIMEDOUT:
		return "it does not end: it waits in the kernel";
	default:
		return error > 0 ? strerrordesc_np(error) : "nothing more is known";
	}
}

void pile_explain_evict_why(struct pen *pen, const struct pile_explain *explain)
{
	const struct pile_why *why = &explain->why;
	const struct pile_why_evict *e = &why->evict;

	put(pen, "%s (%s left) is gone in %s: worker %u grows by %s/s, ", bound_name(e->bound),
	    bytes_of(why->free_bytes).text, duration(why->exhaustion_ns).text, why->pid,
	    bytes_of(why->growth_bytes).text);
	if (e->few > 1)
		put(pen, "and with %u more takes ", e->few - 1);
	put(pen, "%u.%u %% of what %s's %u workers take, ", why->share_permille / 10,
	    why->share_permille % 10, explain->group, e->workers);
	if (e->cause == PILE_EVICT_LEAK)
		put(pen, "without end for %s;", duration(why->grown_over_ns).text);
	else
		put(pen, "for %s without a pause;", duration(e->rising_ns).text);
	put(pen, " it holds %s, the others %s on average; without it memory lasts ",
	    bytes_of(e->private_bytes).text, bytes_of(e->others_bytes).text);
	if (e->after_ns >= 3600 * NS_PER_SEC)
		put(pen, "for hours");
	else
		put(pen, "for %s", duration(e->after_ns).text);
	put(pen, e->idle ? "; idle" : "; busy with a request for %s",
	    duration(why->oldest_ns).text);
}

void pile_explain_evict_did(struct pen *pen, const struct pile_explain *explain)
{
	const struct pile_why_evict *e = &explain->why.evict;

	if (explain->blocked) {
		put(pen, "nothing: would have sent SIGTERM to worker %u (%s)", explain->why.pid,
		    pile_explain_evict_switch(explain->blocked));
		return;
	}
	if (!explain->closed_ns) {
		put(pen, "sent SIGTERM to worker %u; it is not gone yet", explain->why.pid);
		return;
	}
	if (explain->close_reason != PILE_CLOSE_ENDED) {
		put(pen, "%s worker %u: %s",
		    e->signal ? "sent a signal in vain to" : "nothing was sent to",
		    explain->why.pid, error_text(e->error));
		return;
	}
	put(pen, "sent %s to worker %u: gone %s after the decision; it held %s",
	    signal_name(e->signal), explain->why.pid, duration(e->gone_ns).text,
	    bytes_of(e->freed_bytes).text);
}

void pile_explain_evict_did_not(struct pen *pen, const struct pile_explain *explain)
{
	if (explain->blocked)
		put(pen, "end the worker (%s); ", pile_explain_evict_switch(explain->blocked));
	put(pen, "end any other: one a second at most, and a tenth of a group's workers in 30 s; "
		 "refuse clients or restart the service");
}

void pile_explain_evict_cost(struct pen *pen, const struct pile_explain *explain)
{
	const struct pile_why *why = &explain->why;

	if (explain->blocked || (explain->closed_ns && !why->evict.signal)) {
		put(pen, "none: nothing was changed");
		return;
	}
	if (!why->waiting) {
		put(pen, "no request: none was seen to wait on it");
		return;
	}
	put_count(pen, why->waiting, "request");
	put(pen, " lost, the oldest after %s: its client sees the connection closed",
	    duration(why->oldest_ns).text);
}

void pile_explain_evict_undo(struct pen *pen, const struct pile_explain *explain)
{
	if (explain->blocked) {
		put(pen, "nothing to undo: nothing was changed");
		return;
	}
	put(pen, "none: it cannot be taken back; its master forks another worker.  to have none "
		 "ended: sudo pileguardctl disarm, or take evict out of the policy's enforce");
}

void pile_explain_evict_line(struct pen *pen, const struct pile_intent *intent, const char *group)
{
	const struct pile_why *why = &intent->why;

	put(pen, "%s: worker %u grows by %s/s and holds %s: %s is gone in %s", group, why->pid,
	    bytes_of(why->growth_bytes).text, bytes_of(why->evict.private_bytes).text,
	    bound_name(why->evict.bound), duration(why->exhaustion_ns).text);
	if (intent->blocked)
		put(pen, ": would have been sent SIGTERM (%s)",
		    pile_explain_evict_switch(intent->blocked));
	else if (why->evict.error)
		put(pen, ": not sent SIGTERM (%s)", error_text(why->evict.error));
	else
		put(pen, ": sent SIGTERM");
	put(pen, ". explain %u", intent->explain_id);
}

void pile_explain_evict_line_over(struct pen *pen, const struct pile_intent *intent,
				  const char *group)
{
	const struct pile_why_evict *e = &intent->why.evict;

	put(pen, "%s: worker %u ", group, intent->why.pid);
	switch (intent->close_reason) {
	case PILE_CLOSE_ENDED:
		put(pen, "is gone %s after the decision (%s); it held %s",
		    duration(e->gone_ns).text, signal_name(e->signal),
		    bytes_of(e->freed_bytes).text);
		break;
	case PILE_CLOSE_NOT_ENDED:
		put(pen, "could not be ended: %s", error_text(e->error));
		break;
	case PILE_CLOSE_QUIET:
		put(pen, "grows no more; nothing was done");
		break;
	default:
		put(pen, "is gone; nothing was done");
		break;
	}
	put(pen, ". explain %u closed", intent->explain_id);
}

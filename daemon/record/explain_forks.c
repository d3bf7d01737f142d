// SPDX-License-Identifier: GPL-2.0-or-later
#include "record/explain_forks.h"

static const char *whose(const struct pile_why_forks *f)
{
	return f->above ? "of a cgroup above its own" : "its own cgroup's";
}

void pile_explain_forks_why(struct pen *pen, const struct pile_explain *explain)
{
	const struct pile_why_forks *f = &explain->why.forks;

	put(pen, "the limit of %s tasks (%s: TasksMax, pids.max) was full whenever ",
	    count_of(f->limit).text, whose(f));
	put(pen, "anybody forked, for 100 ms at least");
	if (f->tasks)
		put(pen, "; %s has %s of them", explain->group, count_of(f->tasks).text);
	put(pen,
	    ". Linux refuses such a fork, too, but after it has copied the parent's memory, and whoever looks at these "
	    "processes (ps, systemctl status) waits for that");
}

void pile_explain_forks_did(struct pen *pen, const struct pile_explain *explain)
{
	put(pen, "refused ");
	put_count(pen, explain->refused, "fork");
	put(pen, " before anything was copied, with EAGAIN, as Linux would have");
}

void pile_explain_forks_did_not(struct pen *pen, const struct pile_explain *explain)
{
	(void)explain;
	put(pen,
	    "refuse a fork that Linux would have let through, set or lower a limit (a throttle has a record of its own), "
	    "end anybody");
}

void pile_explain_forks_cost(struct pen *pen, const struct pile_explain *explain)
{
	(void)explain;
	put(pen,
	    "none beside the limit's own; pids.events, and the kernel's log, count one such fork a minute only");
}

void pile_explain_forks_undo(struct pen *pen, const struct pile_explain *explain)
{
	if (explain->closed_ns) {
		put(pen, "nothing to undo: over after %s (%s)",
		    duration(explain->closed_ns > explain->opened_ns
				     ? explain->closed_ns - explain->opened_ns
				     : 0)
			    .text,
		    explain->close_reason == PILE_CLOSE_CALM
			    ? "no fork was refused for a minute"
			    : close_reason_text(explain->close_reason));
		return;
	}
	put(pen, "ends by itself with the first task that ends.");
	if (explain->unit[0])
		put(pen, "  a higher limit: sudo systemctl set-property %s TasksMax=...",
		    explain->unit);
	put(pen, "  now: sudo pileguardctl disarm, and Linux refuses them late");
}

void pile_explain_forks_line(struct pen *pen, const struct pile_intent *intent, const char *group)
{
	const struct pile_why_forks *f = &intent->why.forks;

	put(pen, "%s: at a limit of %llu tasks (%s): its forks fail at once. explain %u", group,
	    (unsigned long long)f->limit, whose(f), intent->explain_id);
}

void pile_explain_forks_line_over(struct pen *pen, const struct pile_intent *intent,
				  const char *group)
{
	put(pen, "%s: forks are not refused early any more (%s): ", group,
	    intent->close_reason == PILE_CLOSE_CALM ? "none was for a minute"
						    : close_reason_text(intent->close_reason));
	put_count(pen, intent->why.refused, "fork");
	put(pen, " in %s. explain %u closed", duration(intent->outage_ns).text, intent->explain_id);
}

// SPDX-License-Identifier: GPL-2.0-or-later
#include "record/explain_shed.h"

static void put_waits(struct pen *pen, const struct pile_why *why)
{
	if (!why->waits) {
		put(pen,
		    " none of its workers waits for a TCP connection of its own: a lock, or its own work.");
		return;
	}
	put(pen, " ");
	put_count(pen, why->waits, "connection");
	put(pen, " of its workers wait%s for %s (%u connecting)%s.", why->waits > 1 ? "" : "s",
	    endpoint_of(&why->waits_for).text, why->connecting,
	    why->waits * 2 < why->waiting ? "; the others for a lock, or their own work" : "");
}

void pile_explain_shed_why(struct pen *pen, const struct pile_explain *explain)
{
	const struct pile_why *why = &explain->why;

	if (pile_explain_is_share(why)) {
		put(pen,
		    "requests pile up: %u of %s's wait, the oldest for %s, and more came than were answered; stage "
		    "relieve (explain of the stage has its terms); %u connections open; refusing began with %u.%u %% of "
		    "new ones.",
		    why->waiting, explain->group, duration(why->oldest_ns).text, why->held,
		    why->refuse_permille / 10, why->refuse_permille % 10);
		put_waits(pen, why);
		return;
	}
	put(pen,
	    "full: %u connections open at once, %u are allowed (connections_max); %u of them not accepted yet; %u "
	    "requests of %s's wait, the oldest for %s.",
	    why->held, why->held_max, why->backlog, why->waiting, explain->group,
	    duration(why->oldest_ns).text);
	put_waits(pen, why);
}

void pile_explain_shed_did(struct pen *pen, const struct pile_explain *explain)
{
	if (explain->blocked) {
		put(pen, "nothing: would have refused connections to %s (%s)",
		    endpoint_of(&explain->endpoint).text,
		    pile_explain_text_blocked(explain->blocked));
		return;
	}
	put(pen, "refused ");
	put_count(pen, explain->refused, "connection");
	put(pen, " at once%s", explain->endpoint.port ? ", with RST" : ", with ECONNREFUSED");
}

void pile_explain_shed_did_not(struct pen *pen, const struct pile_explain *explain)
{
	if (explain->blocked)
		put(pen, "refuse connections (%s); ", pile_explain_text_blocked(explain->blocked));
	put(pen, "end connections that are open, kill workers or restart the service");
}

void pile_explain_shed_cost(struct pen *pen, const struct pile_explain *explain)
{
	if (explain->blocked || !explain->refused) {
		put(pen, "none: no client was refused");
		return;
	}
	put(pen, "each of the %s clients got an error instead of a place in the queue",
	    count_of(explain->refused).text);
}

/* ---- the journal ---- */

void pile_explain_shed_line(struct pen *pen, const struct pile_intent *intent, const char *group)
{
	if (pile_explain_is_share(&intent->why))
		put(pen, "%s: %u requests wait at %s, the oldest for %s: ", group,
		    intent->why.waiting, endpoint_of(&intent->endpoint).text,
		    duration(intent->why.oldest_ns).text);
	else
		put(pen, "%s: %s holds %u connections, its limit is %u: ", group,
		    endpoint_of(&intent->endpoint).text, intent->why.held, intent->why.held_max);
	put(pen, intent->blocked ? "would have refused " : "");
	if (pile_explain_is_share(&intent->why))
		put(pen, "%u.%u %% of new connections", intent->why.refuse_permille / 10,
		    intent->why.refuse_permille % 10);
	else
		put(pen, "further ones");
	if (intent->blocked)
		put(pen, " (%s)", pile_explain_text_blocked(intent->blocked));
	else
		put(pen, " are refused");
	put(pen, ". explain %u", intent->explain_id);
}

void pile_explain_shed_line_over(struct pen *pen, const struct pile_intent *intent,
				 const char *group)
{
	put(pen, "%s: %s: %s after %s: ", group, endpoint_of(&intent->endpoint).text,
	    close_reason_text(intent->close_reason), duration(intent->outage_ns).text);
	if (intent->blocked) {
		put(pen, "nothing was refused");
	} else {
		put(pen, "refused ");
		put_count(pen, intent->why.refused, "connection");
	}
	put(pen, ". explain %u closed", intent->explain_id);
}

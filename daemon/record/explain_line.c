// SPDX-License-Identifier: GPL-2.0-or-later
/* The one-line journal text of each kind of intent. */
#include "record/explain_evict.h"
#include "record/explain_forks.h"
#include "record/explain_stop.h"
#include "record/explain_pen.h"
#include "record/explain_shed.h"
#include "record/explain_throttle.h"

/** What an intent's line needs to know. */
struct line {
	const struct pile_intent *intent;
	const char *group;
	const struct pile_explain *explain; /* or NULL */
};

/** "5 s": a forecast needs no tenths. */
static void put_forecast(struct pen *pen, uint64_t ns)
{
	if (ns >= NS_PER_SEC && ns < 10 * NS_PER_SEC)
		put(pen, "%llu s", (unsigned long long)((ns + NS_PER_SEC / 2) / NS_PER_SEC));
	else
		put(pen, "%s", duration(ns).text);
}

static void put_line_risk(struct pen *pen, const struct pile_why *why)
{
	if (why->risk_memory) {
		put(pen, "; memory gone in ");
		put_forecast(pen, why->exhaustion_ns);
	} else if (why->risk_pool) {
		put(pen, "; %u wait on a pool of %u", why->waiting, why->pool_limit);
	} else if (why->always) {
		put(pen, "; fail_fast: always");
	}
}

/* The whole command or, where names are too long for one line, where it stands: half of one is none. */
static void put_line_undo(struct pen *pen, const struct line *line)
{
	char undo[256];
	int n = snprintf(undo, sizeof(undo), "; undo: pileguardctl release %s %s", line->group,
			 endpoint_of(&line->intent->endpoint).text);

	put(pen, "%s", pen->len + (size_t)n < pen->size ? undo : "; undo: see there");
}

static void put_line_open(struct pen *pen, const struct line *line)
{
	const struct pile_intent *intent = line->intent;
	const struct pile_why *why = &intent->why;

	if (why->by_hand) {
		put(pen, "%s: %s held by hand", line->group, endpoint_of(&intent->endpoint).text);
	} else if (why->in_kernel) {
		put(pen,
		    "%s: %s is dead (%u connecting, no success for %s; decided in the kernel, the guard did not run)",
		    line->group, endpoint_of(&intent->endpoint).text, why->connecting,
		    duration(why->no_success_ns).text);
	} else if (why->mute) {
		put(pen, "%s: %s is mute (", line->group, endpoint_of(&intent->endpoint).text);
		put_count(pen, why->ungreeted, "connection");
		put(pen, ", no greeting for %s; it acknowledges%s", duration(why->oldest_ns).text,
		    why->own_probe ? "" : "; not asked");
		put_line_risk(pen, why);
		put(pen, ")");
	} else {
		put(pen, "%s: %s is dead (%u connecting, oldest %s, no success for %s", line->group,
		    endpoint_of(&intent->endpoint).text, why->connecting,
		    duration(why->oldest_ns).text, duration(why->no_success_ns).text);
		if (why->behind)
			put(pen, ", %u requests wait behind it", why->behind);
		put_line_risk(pen, why);
		put(pen, ")");
	}
	if (intent->blocked)
		put(pen, ": would have refused connects (%s)",
		    pile_explain_text_blocked(intent->blocked));
	else
		put(pen, intent->over ? ": connects were refused" : ": connects refused");
	put(pen, ". explain %u", intent->explain_id);
	if (!intent->blocked && !intent->over)
		put_line_undo(pen, line);
}

static void put_line_allow(struct pen *pen, const struct line *line)
{
	const struct pile_intent *intent = line->intent;

	put(pen, "%s: %s answers the probe: %u connect%s let through so far. explain %u",
	    line->group, endpoint_of(&intent->endpoint).text, intent->allow, plural(intent->allow),
	    intent->explain_id);
}

static void put_line_answered(struct pen *pen, const struct line *line)
{
	const struct pile_explain *x = line->explain;

	put(pen, "%s: %s answered after %s", line->group, endpoint_of(&line->intent->endpoint).text,
	    duration(line->intent->outage_ns).text);
	if (line->intent->blocked)
		put(pen, ": nothing was refused (%s)",
		    pile_explain_text_blocked(line->intent->blocked));
	else if (x && x->half_open_ns && x->closed_ns >= x->half_open_ns)
		put(pen, ": 1, 2, 4 ... all (%s)", duration(x->closed_ns - x->half_open_ns).text);
	else
		put(pen, ": connects allowed again");
}

static void put_line_close(struct pen *pen, const struct line *line)
{
	const struct pile_intent *intent = line->intent;

	if (intent->close_reason == PILE_CLOSE_ANSWERED)
		put_line_answered(pen, line);
	else
		put(pen, "%s: %s: %s after %s: %s", line->group,
		    endpoint_of(&intent->endpoint).text, close_reason_text(intent->close_reason),
		    duration(intent->outage_ns).text,
		    intent->blocked ? "nothing was refused" : "connects allowed again");
	put(pen, ". explain %u closed", intent->explain_id);
}

static void put_line_probe(struct pen *pen, const struct line *line)
{
	if (line->intent->why.mute) {
		put(pen, "%s: ", line->group);
		put_count(pen, line->intent->why.ungreeted, "connection");
		put(pen,
		    " to %s not greeted, and nothing heard from it: the guard connects there once by itself",
		    endpoint_of(&line->intent->endpoint).text);
		return;
	}
	put(pen,
	    "%s: %u connect%s to %s stuck, and none sends a SYN that could tell: the guard connects "
	    "there once by itself",
	    line->group, line->intent->why.connecting, plural(line->intent->why.connecting),
	    endpoint_of(&line->intent->endpoint).text);
}

static void put_line_probe_answered(struct pen *pen, const struct line *line)
{
	put(pen, "%s: %s %s, nothing is refused", line->group,
	    endpoint_of(&line->intent->endpoint).text,
	    line->intent->why.mute ? "greeted the guard's own connect: not mute"
				   : "answered the guard's own connect: not dead");
}

static void put_line_stage(struct pen *pen, const struct line *line)
{
	const struct pile_intent *intent = line->intent;
	const struct pile_why *why = &intent->why;

	put(pen, "%s: %s (was %s): %u requests wait, %u more than learned, %s opened/s",
	    line->group, pile_explain_text_stage(why->stage_to),
	    pile_explain_text_stage(why->stage_from), why->waiting, why->excess,
	    rate_of(why->rate_milli).text);
	put_line_risk(pen, why);
	put(pen, "; recorded only. explain %u", intent->explain_id);
}

static void put_line_network(struct pen *pen, const struct line *line)
{
	put(pen,
	    "%s: %u addresses are dead or silent at once: our own network, not theirs; no further one is "
	    "refused. explain %u",
	    line->group, line->intent->why.dead_destinations, line->intent->explain_id);
}

static void put_line_network_over(struct pen *pen, const struct line *line)
{
	put(pen, "%s: our own network works again. explain %u closed", line->group,
	    line->intent->explain_id);
}

/* "www: worker 4711 grows by 1.0 MiB/s, 540 MiB in 9 min: memory (10 GiB) is gone in 171 min" */
static void put_line_leak(struct pen *pen, const struct line *line)
{
	const struct pile_why *why = &line->intent->why;

	if (!why->pid) /* others grow faster, and only so many are known by number */
		put(pen, "%s: %u worker%s by %s/s", line->group, why->growing,
		    why->growing > 1 ? "s grow" : " grows", bytes_of(why->growth_bytes).text);
	else if (why->growing > 1)
		put(pen, "%s: %u workers grow by %s/s in all, most of them %u: %s in %s",
		    line->group, why->growing, bytes_of(why->growth_bytes).text, why->pid,
		    bytes_of(why->grown_bytes).text, duration(why->grown_over_ns).text);
	else
		put(pen, "%s: worker %u grows by %s/s: %s in %s", line->group, why->pid,
		    bytes_of(why->growth_bytes).text, bytes_of(why->grown_bytes).text,
		    duration(why->grown_over_ns).text);
	put(pen, ", all the while. At that rate the %s that are left are gone in %s",
	    bytes_of(why->free_bytes).text, duration(why->exhaustion_ns).text);
}

static void put_line_leak_over(struct pen *pen, const struct line *line)
{
	if (line->intent->why.growing)
		put(pen, "%s: workers grow by %s/s still; what is left lasts %s", line->group,
		    bytes_of(line->intent->why.growth_bytes).text,
		    duration(line->intent->why.exhaustion_ns).text);
	else
		put(pen, "%s: no worker grows without end any more", line->group);
}

static void put_line_shed(struct pen *pen, const struct line *line)
{
	pile_explain_shed_line(pen, line->intent, line->group);
	if (!line->intent->blocked)
		put_line_undo(pen, line);
}

static void put_line_shed_over(struct pen *pen, const struct line *line)
{
	pile_explain_shed_line_over(pen, line->intent, line->group);
}

static void put_line_evict(struct pen *pen, const struct line *line)
{
	pile_explain_evict_line(pen, line->intent, line->group);
}

static void put_line_evict_over(struct pen *pen, const struct line *line)
{
	pile_explain_evict_line_over(pen, line->intent, line->group);
}

static void put_line_stop(struct pen *pen, const struct line *line)
{
	/* the slot of a group that went may be another's by now: the record knows its name */
	pile_explain_stop_line(pen, line->intent,
			       line->intent->over && line->explain ? line->explain->group
								   : line->group);
}

static void put_line_throttle(struct pen *pen, const struct line *line)
{
	pile_explain_throttle_line(pen, line->intent, line->group);
}

static void put_line_throttle_over(struct pen *pen, const struct line *line)
{
	pile_explain_throttle_line_over(pen, line->intent, line->group);
}

static void put_line_forks(struct pen *pen, const struct line *line)
{
	pile_explain_forks_line(pen, line->intent, line->group);
}

static void put_line_forks_over(struct pen *pen, const struct line *line)
{
	pile_explain_forks_line_over(pen, line->intent, line->group);
}

const char *pile_explain_text_intent(const struct pile_intent *intent, const char *group,
				     const struct pile_explain *explain, char *buf, size_t size)
{
	static void (*const lines[])(struct pen * pen, const struct line *line) = {
		[PILE_INTENT_BREAKER_OPEN] = put_line_open,
		[PILE_INTENT_BREAKER_ALLOW] = put_line_allow,
		[PILE_INTENT_BREAKER_CLOSE] = put_line_close,
		[PILE_INTENT_PROBE] = put_line_probe,
		[PILE_INTENT_PROBE_ANSWERED] = put_line_probe_answered,
		[PILE_INTENT_STAGE] = put_line_stage,
		[PILE_INTENT_NETWORK] = put_line_network,
		[PILE_INTENT_NETWORK_OVER] = put_line_network_over,
		[PILE_INTENT_LEAK] = put_line_leak,
		[PILE_INTENT_LEAK_OVER] = put_line_leak_over,
		[PILE_INTENT_SHED_OPEN] = put_line_shed,
		[PILE_INTENT_SHED_CLOSE] = put_line_shed_over,
		[PILE_INTENT_THROTTLE] = put_line_throttle,
		[PILE_INTENT_THROTTLE_OVER] = put_line_throttle_over,
		[PILE_INTENT_EVICT] = put_line_evict,
		[PILE_INTENT_EVICT_OVER] = put_line_evict_over,
		[PILE_INTENT_STOP] = put_line_stop,
		[PILE_INTENT_STOP_DOWN] = put_line_stop,
		[PILE_INTENT_STOP_START] = put_line_stop,
		[PILE_INTENT_STOP_LATE] = put_line_stop,
		[PILE_INTENT_STOP_OVER] = put_line_stop,
		[PILE_INTENT_FORKS] = put_line_forks,
		[PILE_INTENT_FORKS_OVER] = put_line_forks_over,
	};
	struct line line = { intent, group && group[0] ? group : "host", explain };
	struct pen pen = pen_start(buf, size);

	if ((unsigned int)intent->kind < ARRAY_LEN(lines) && lines[intent->kind])
		lines[intent->kind](&pen, &line);
	return buf;
}

const char *pile_explain_text_probing(const struct pile_intent *intent, const char *group,
				      char *buf, size_t size)
{
	struct pen pen = pen_start(buf, size);

	put(&pen, "%s: probing %s every %s. explain %u", group && group[0] ? group : "host",
	    endpoint_of(&intent->endpoint).text, duration(intent->probe_every_ns).text,
	    intent->explain_id);
	return buf;
}

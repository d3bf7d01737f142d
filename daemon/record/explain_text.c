// SPDX-License-Identifier: GPL-2.0-or-later
#include "record/explain_text.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>

#define MINUTE_NS (60 * NS_PER_SEC)
#define HOUR_NS (60 * MINUTE_NS)

/** Where the next words go; never past size. */
struct pen {
	char *buf;
	size_t size;
	size_t len;
};

/** Small texts that live for one statement. */
struct word {
	char text[PILE_ENDPOINT_TEXT_MAX];
};

static struct pen pen_start(char *buf, size_t size)
{
	if (size)
		buf[0] = '\0';
	return (struct pen){ .buf = buf, .size = size };
}

static void _printf_(2, 3) put(struct pen *pen, const char *fmt, ...)
{
	va_list ap;
	int n;

	if (pen->len + 1 >= pen->size)
		return;
	va_start(ap, fmt);
	n = vsnprintf(pen->buf + pen->len, pen->size - pen->len, fmt, ap);
	va_end(ap);
	if (n > 0)
		pen->len = MIN(pen->len + (size_t)n, pen->size - 1);
}

const char *pile_explain_text_duration(uint64_t ns, char *buf, size_t size)
{
	uint64_t tenths = (ns / (NS_PER_SEC / 10)) + (ns % (NS_PER_SEC / 10) >= NS_PER_SEC / 20);

	if (ns == UINT64_MAX)
		snprintf(buf, size, "never");
	else if (ns < NS_PER_SEC)
		snprintf(buf, size, "%llu ms", (unsigned long long)(ns / NS_PER_MS));
	else if (tenths < 100)
		snprintf(buf, size, "%llu.%llu s", (unsigned long long)(tenths / 10),
			 (unsigned long long)(tenths % 10));
	else if (ns < 3 * MINUTE_NS)
		snprintf(buf, size, "%llu s", (unsigned long long)((tenths + 5) / 10));
	else if (ns < 3 * HOUR_NS)
		snprintf(buf, size, "%llu min", (unsigned long long)(ns / MINUTE_NS));
	else
		snprintf(buf, size, "%llu h", (unsigned long long)(ns / HOUR_NS));
	return buf;
}

const char *pile_explain_text_bytes(uint64_t bytes, char *buf, size_t size)
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB" };
	uint64_t tenths;
	unsigned int unit = 0;
	uint64_t scale = 1;

	while (unit + 1 < ARRAY_LEN(units) && bytes / scale >= 1024) {
		scale *= 1024;
		unit++;
	}
	tenths = bytes / scale * 10 + (bytes % scale * 10 + scale / 2) / scale;
	if (unit == 0 || tenths >= 1000 || (tenths >= 100 && unit < 3))
		snprintf(buf, size, "%llu %s", (unsigned long long)(tenths / 10), units[unit]);
	else
		snprintf(buf, size, "%llu.%llu %s", (unsigned long long)(tenths / 10),
			 (unsigned long long)(tenths % 10), units[unit]);
	return buf;
}

const char *pile_explain_text_count(uint64_t count, char *buf, size_t size)
{
	char plain[24];
	struct pen pen = pen_start(buf, size);
	int n = snprintf(plain, sizeof(plain), "%llu", (unsigned long long)count);

	for (int i = 0; i < n; i++)
		put(&pen, i && (n - i) % 3 == 0 ? ",%c" : "%c", plain[i]);
	return buf;
}

static struct word duration(uint64_t ns)
{
	struct word w;

	pile_explain_text_duration(ns, w.text, sizeof(w.text));
	return w;
}

static struct word bytes_of(uint64_t bytes)
{
	struct word w;

	pile_explain_text_bytes(bytes, w.text, sizeof(w.text));
	return w;
}

static struct word count_of(uint64_t count)
{
	struct word w;

	pile_explain_text_count(count, w.text, sizeof(w.text));
	return w;
}

static struct word endpoint_of(const struct pile_endpoint *endpoint)
{
	struct word w;

	pile_endpoint_format(endpoint, w.text, sizeof(w.text));
	return w;
}

/** Requests a second from thousandths: "0.4", "3.2", "32". */
static struct word rate_of(uint32_t milli)
{
	struct word w;

	if (milli < 10000)
		snprintf(w.text, sizeof(w.text), "%u.%u", milli / 1000, milli % 1000 / 100);
	else
		snprintf(w.text, sizeof(w.text), "%u", (milli + 500) / 1000);
	return w;
}

static const char *plural(uint64_t n)
{
	return n == 1 ? "" : "s";
}

/** "1,204 connects": the number and its noun. */
static void put_count(struct pen *pen, uint64_t n, const char *noun)
{
	put(pen, "%s %s%s", count_of(n).text, noun, plural(n));
}

const char *pile_explain_text_blocked(uint32_t blocked)
{
	static const char *const texts[] = {
		[PILE_BLOCKED_NO] = "",
		[PILE_BLOCKED_OBSERVE] = "mode: observe",
		[PILE_BLOCKED_RUNG] = "the group's enforce list does not name fail_fast",
		[PILE_BLOCKED_EXEMPT] = "the destination is exempt",
		[PILE_BLOCKED_RELEASED] = "released by hand",
		[PILE_BLOCKED_NETWORK] = "many destinations are dead at once: our own network",
		[PILE_BLOCKED_KERNEL] = "this kernel or this privilege cannot do it",
		[PILE_BLOCKED_FOREIGN] = "another manager's cgroup: observed only",
	};

	return blocked < ARRAY_LEN(texts) ? texts[blocked] : "an unknown switch";
}

const char *pile_explain_text_stage(uint32_t stage)
{
	static const char *const names[] = {
		[PILE_STAGE_CALM] = "calm",
		[PILE_STAGE_SUSPECT] = "suspect",
		[PILE_STAGE_RELIEVE] = "relieve",
		[PILE_STAGE_EVICT] = "evict",
	};

	return stage < ARRAY_LEN(names) ? names[stage] : "unknown";
}

const char *pile_explain_text_state(const struct pile_explain *explain)
{
	if (explain->closed_ns)
		return "closed";
	if (explain->kind != PILE_INTENT_BREAKER_OPEN)
		return "going on";
	if (explain->blocked)
		return "would be open";
	return explain->half_open_ns ? "half open" : "open";
}

/* ---- why ---- */

static void put_risk(struct pen *pen, const struct pile_why *why)
{
	if (why->by_hand)
		return;
	if (why->risk_memory)
		put(pen,
		    " at risk: %s requests/s x %s each, growing %s/s, %s free: gone in %s (limit 15 s).",
		    rate_of(why->rate_milli).text, bytes_of(why->request_bytes).text,
		    bytes_of(why->growth_bytes).text, bytes_of(why->free_bytes).text,
		    duration(why->exhaustion_ns).text);
	if (why->risk_pool)
		put(pen, " at risk: %u requests wait, more than half of the pool's %u workers.",
		    why->waiting, why->pool_limit);
	if (why->always && !why->risk_memory && !why->risk_pool)
		put(pen, " risk not asked: fail_fast: always (%u requests wait, %s free).",
		    why->waiting, bytes_of(why->free_bytes).text);
	else if (!why->always && !why->risk_memory && !why->risk_pool)
		put(pen, " not at risk: %u requests wait, %s free.", why->waiting,
		    bytes_of(why->free_bytes).text);
}

static void put_why_breaker(struct pen *pen, const struct pile_explain *explain)
{
	const struct pile_why *why = &explain->why;

	if (why->by_hand)
		put(pen, "held by hand: %u connecting, %u requests wait.", why->connecting, why->waiting);
	else
		put(pen,
		    "dead: %u connecting (%u for longer than 500 ms, oldest %s), none established for %s;"
		    " %u.%u %% of %s's %u waiting requests.",
		    why->connecting, why->stuck, duration(why->oldest_ns).text,
		    duration(why->no_success_ns).text, why->share_permille / 10,
		    why->share_permille % 10, explain->group, why->waiting);
	put_risk(pen, why);
}

static void put_why_stage(struct pen *pen, const struct pile_explain *explain)
{
	const struct pile_why *why = &explain->why;

	put(pen, "%s: %u requests wait, %u more than learned; %s opened/s.",
	    pile_explain_text_stage(why->stage_to), why->waiting, why->excess,
	    rate_of(why->rate_milli).text);
	put_risk(pen, why);
}

static void put_why_network(struct pen *pen, const struct pile_explain *explain)
{
	put(pen,
	    "%u destinations are dead at once: that is our own network (link, route, firewall, resolver),"
	    " not theirs.",
	    explain->why.dead_destinations);
}

/* ---- did, did not, cost, undo ---- */

static void put_did_breaker(struct pen *pen, const struct pile_explain *explain)
{
	if (explain->blocked) {
		put(pen, "nothing: would have refused connects to %s and ended the ",
		    endpoint_of(&explain->endpoint).text);
		put_count(pen, explain->why.connecting, "pending one");
		put(pen, " (%s)", pile_explain_text_blocked(explain->blocked));
		return;
	}
	put(pen, "refused ");
	put_count(pen, explain->refused, "connect");
	put(pen, ", ended ");
	put_count(pen, explain->ended, "wait");
	put(pen, "; saved about %s s of waiting and %s of memory; probed %s time%s",
	    count_of(explain->saved_wait_ns / NS_PER_SEC).text, bytes_of(explain->saved_bytes).text,
	    count_of(explain->probes).text, plural(explain->probes));
	if (explain->half_open_ns)
		put(pen, ", let %s through while half open (%s relapse%s)",
		    count_of(explain->admitted).text, count_of(explain->flips).text,
		    plural(explain->flips));
	if (explain->first_effect_ns > explain->opened_ns)
		put(pen, "; first effect %s after the decision",
		    duration(explain->first_effect_ns - explain->opened_ns).text);
}

static void put_did_record(struct pen *pen, const struct pile_explain *explain)
{
	put(pen, "recorded it%s",
	    explain->kind == PILE_INTENT_NETWORK ? "; no destination is refused on this evidence" : "");
}

static void put_did_not_breaker(struct pen *pen, const struct pile_explain *explain)
{
	if (explain->blocked)
		put(pen, "refuse connects or end waits (%s); ",
		    pile_explain_text_blocked(explain->blocked));
	put(pen, "refuse clients, kill workers or restart the service (this version cannot)");
}

static void put_did_not_stage(struct pen *pen, const struct pile_explain *explain)
{
	(void)explain;
	put(pen, "act on the stage: it is recorded only (this version acts on dead destinations alone)");
}

static void put_did_not_network(struct pen *pen, const struct pile_explain *explain)
{
	put(pen, "refuse connects (%s)", pile_explain_text_blocked(PILE_BLOCKED_NETWORK));
	(void)explain;
}

static void put_cost_breaker(struct pen *pen, const struct pile_explain *explain)
{
	uint64_t hit = explain->refused + explain->ended;

	if (explain->blocked || hit == 0) {
		put(pen, "none: no connect failed because of this");
		return;
	}
	put_count(pen, hit, "connect");
	put(pen, " failed with %s at once instead of waiting%s",
	    explain->refuse_errno > 0 && strerrorname_np((int)explain->refuse_errno)
		    ? strerrorname_np((int)explain->refuse_errno)
		    : "an error",
	    explain->saved_wait_ns ? ": errors " : "");
	if (explain->saved_wait_ns)
		put(pen, "%s sooner", duration(explain->saved_wait_ns / hit).text);
}

static void put_cost_none(struct pen *pen, const struct pile_explain *explain)
{
	(void)explain;
	put(pen, "none: nothing was changed");
}

static bool undoable(const struct pile_explain *explain)
{
	return explain->kind == PILE_INTENT_BREAKER_OPEN && !explain->blocked && !explain->closed_ns;
}

static const char *close_reason_text(uint32_t reason)
{
	static const char *const texts[] = {
		[PILE_CLOSE_NONE] = "for no recorded reason",
		[PILE_CLOSE_ANSWERED] = "the destination answered again",
		[PILE_CLOSE_RELEASED] = "released by hand",
		[PILE_CLOSE_POLICY] = "the policy no longer allows it",
		[PILE_CLOSE_GONE] = "the group went away",
		[PILE_CLOSE_STOPPED] = "the guard was stopped",
	};

	return reason < ARRAY_LEN(texts) ? texts[reason] : texts[PILE_CLOSE_NONE];
}

static void put_undo(struct pen *pen, const struct pile_explain *explain)
{
	struct word command;

	if (explain->closed_ns && explain->kind == PILE_INTENT_BREAKER_OPEN) {
		put(pen, "nothing to undo: closed after %s (%s)",
		    duration(explain->closed_ns > explain->opened_ns ?
				     explain->closed_ns - explain->opened_ns : 0).text,
		    close_reason_text(explain->close_reason));
		return;
	}
	if (!undoable(explain)) {
		put(pen, "nothing to undo: nothing was changed");
		return;
	}
	put(pen, "%s  now: sudo %s  everything: sudo systemctl stop pileguard",
	    explain->why.by_hand ? "ends when the hold runs out." :
				   "closes by itself at the first success.",
	    pile_explain_text_command(explain, command.text, sizeof(command.text)));
}

/* ---- which words for which kind ---- */

struct sentences {
	void (*why)(struct pen *pen, const struct pile_explain *explain);
	void (*did)(struct pen *pen, const struct pile_explain *explain);
	void (*did_not)(struct pen *pen, const struct pile_explain *explain);
	void (*cost)(struct pen *pen, const struct pile_explain *explain);
};

static const struct sentences *sentences_of(uint32_t kind)
{
	static const struct sentences breaker = { put_why_breaker, put_did_breaker,
						  put_did_not_breaker, put_cost_breaker };
	static const struct sentences stage = { put_why_stage, put_did_record, put_did_not_stage,
						put_cost_none };
	static const struct sentences network = { put_why_network, put_did_record,
						  put_did_not_network, put_cost_none };

	if (kind == PILE_INTENT_STAGE)
		return &stage;
	return kind == PILE_INTENT_NETWORK ? &network : &breaker;
}

const char *pile_explain_text_why(const struct pile_explain *explain, char *buf, size_t size)
{
	struct pen pen = pen_start(buf, size);

	sentences_of(explain->kind)->why(&pen, explain);
	return buf;
}

const char *pile_explain_text_did(const struct pile_explain *explain, char *buf, size_t size)
{
	struct pen pen = pen_start(buf, size);

	sentences_of(explain->kind)->did(&pen, explain);
	return buf;
}

const char *pile_explain_text_did_not(const struct pile_explain *explain, char *buf, size_t size)
{
	struct pen pen = pen_start(buf, size);

	sentences_of(explain->kind)->did_not(&pen, explain);
	return buf;
}

const char *pile_explain_text_cost(const struct pile_explain *explain, char *buf, size_t size)
{
	struct pen pen = pen_start(buf, size);

	sentences_of(explain->kind)->cost(&pen, explain);
	return buf;
}

const char *pile_explain_text_undo(const struct pile_explain *explain, char *buf, size_t size)
{
	struct pen pen = pen_start(buf, size);

	put_undo(&pen, explain);
	return buf;
}

const char *pile_explain_text_command(const struct pile_explain *explain, char *buf, size_t size)
{
	struct pen pen = pen_start(buf, size);

	if (undoable(explain))
		put(&pen, "pileguardctl release %s %s", explain->group,
		    endpoint_of(&explain->endpoint).text);
	return buf;
}

/* ---- journal lines ---- */

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

static void put_line_open(struct pen *pen, const struct line *line)
{
	const struct pile_intent *intent = line->intent;
	const struct pile_why *why = &intent->why;

	if (why->by_hand) {
		put(pen, "%s: %s held by hand", line->group, endpoint_of(&intent->endpoint).text);
	} else {
		put(pen, "%s: %s is dead (%u connecting, oldest %s, no success for %s", line->group,
		    endpoint_of(&intent->endpoint).text, why->connecting,
		    duration(why->oldest_ns).text, duration(why->no_success_ns).text);
		put_line_risk(pen, why);
		put(pen, ")");
	}
	if (intent->blocked)
		put(pen, ": would have refused connects (%s)", pile_explain_text_blocked(intent->blocked));
	else
		put(pen, ": connects refused");
	put(pen, ". explain %u", intent->explain_id);
}

static void put_line_allow(struct pen *pen, const struct line *line)
{
	const struct pile_intent *intent = line->intent;

	put(pen, "%s: %s answers the probe: %u connect%s let through so far. explain %u", line->group,
	    endpoint_of(&intent->endpoint).text, intent->allow, plural(intent->allow),
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
		put(pen, "%s: %s: %s after %s: %s", line->group, endpoint_of(&intent->endpoint).text,
		    close_reason_text(intent->close_reason), duration(intent->outage_ns).text,
		    intent->blocked ? "nothing was refused" : "connects allowed again");
	put(pen, ". explain %u closed", intent->explain_id);
}

static void put_line_stage(struct pen *pen, const struct line *line)
{
	const struct pile_intent *intent = line->intent;
	const struct pile_why *why = &intent->why;

	put(pen, "%s: %s (was %s): %u requests wait, %u more than learned, %s opened/s", line->group,
	    pile_explain_text_stage(why->stage_to), pile_explain_text_stage(why->stage_from),
	    why->waiting, why->excess, rate_of(why->rate_milli).text);
	put_line_risk(pen, why);
	put(pen, "; recorded only. explain %u", intent->explain_id);
}

static void put_line_network(struct pen *pen, const struct line *line)
{
	put(pen, "%s: %u destinations are dead at once: our own network, not theirs; none is refused. explain %u",
	    line->group, line->intent->why.dead_destinations, line->intent->explain_id);
}

static void put_line_network_over(struct pen *pen, const struct line *line)
{
	put(pen, "%s: our own network works again. explain %u closed", line->group,
	    line->intent->explain_id);
}

const char *pile_explain_text_intent(const struct pile_intent *intent, const char *group,
				     const struct pile_explain *explain, char *buf, size_t size)
{
	static void (*const lines[])(struct pen *pen, const struct line *line) = {
		[PILE_INTENT_BREAKER_OPEN] = put_line_open,
		[PILE_INTENT_BREAKER_ALLOW] = put_line_allow,
		[PILE_INTENT_BREAKER_CLOSE] = put_line_close,
		[PILE_INTENT_STAGE] = put_line_stage,
		[PILE_INTENT_NETWORK] = put_line_network,
		[PILE_INTENT_NETWORK_OVER] = put_line_network_over,
	};
	struct line line = { intent, group && group[0] ? group : "host", explain };
	struct pen pen = pen_start(buf, size);

	if ((unsigned int)intent->kind < ARRAY_LEN(lines) && lines[intent->kind])
		lines[intent->kind](&pen, &line);
	return buf;
}

const char *pile_explain_text_probing(const struct pile_intent *intent, const char *group, char *buf,
				      size_t size)
{
	struct pen pen = pen_start(buf, size);

	put(&pen, "%s: probing %s every %s", group && group[0] ? group : "host",
	    endpoint_of(&intent->endpoint).text, duration(intent->probe_every_ns).text);
	return buf;
}

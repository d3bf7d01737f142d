// SPDX-License-Identifier: GPL-2.0-or-later
/* Numbers as people read them, and the sentences of an explain record. */
#include "record/explain_text.h"

#include <errno.h>
#include <string.h>

#include "record/explain_evict.h"
#include "record/explain_forks.h"
#include "record/explain_pen.h"
#include "record/explain_shed.h"
#include "record/explain_stop.h"
#include "record/explain_throttle.h"

#define MINUTE_NS (60 * NS_PER_SEC)
#define HOUR_NS (60 * MINUTE_NS)

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

const char *pile_explain_text_blocked(uint32_t blocked)
{
	static const char *const texts[] = {
		[PILE_BLOCKED_NO] = "",
		[PILE_BLOCKED_OBSERVE] = "mode: observe",
		[PILE_BLOCKED_RUNG] = "the group's enforce list does not name this rung",
		[PILE_BLOCKED_EXEMPT] = "the destination is exempt",
		[PILE_BLOCKED_RELEASED] = "released by hand",
		[PILE_BLOCKED_NETWORK] = "many destinations are dead at once: our own network",
		[PILE_BLOCKED_KERNEL] = "this kernel or this privilege cannot do it",
		[PILE_BLOCKED_FOREIGN] = "another manager's cgroup: observed only",
		[PILE_BLOCKED_SHARE] = "enforce_share leaves this host out",
		[PILE_BLOCKED_DISARMED] = "disarmed by hand",
		[PILE_BLOCKED_NETNS] = "it listens in another network namespace",
		[PILE_BLOCKED_AMBIGUOUS] = "another group listens on the same address",
		[PILE_BLOCKED_SHARED] = "another group is in the same cgroup",
		[PILE_BLOCKED_UNPLACED] = "its processes are not in a cgroup of their own",
		[PILE_BLOCKED_UNSETTLED] = "what is counted could not be corrected for a minute",
		[PILE_BLOCKED_UNFIT] = "its unit cannot be stopped and started again",
		[PILE_BLOCKED_PROTECTED] = "its cgroup holds one that is protected, or is in it",
		[PILE_BLOCKED_BUDGET] = "it was done as often as it may be",
		[PILE_BLOCKED_SPARED] =
			"it waits on a dependency, or was not forked for one request at a time: never ended",
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
	if (explain->kind == PILE_INTENT_SHED_OPEN)
		return explain->blocked ? "would refuse" : "refusing";
	if (explain->kind == PILE_INTENT_THROTTLE)
		return explain->blocked ? "would throttle" : "throttling";
	if (explain->kind == PILE_INTENT_FORKS)
		return "refusing forks";
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
	if (why->in_kernel) {
		/* what is known of memory and pool is of the guard's return */
		put(pen, why->always ? " risk not asked: fail_fast: always."
				     : " at risk by what came to wait.");
		return;
	}
	if (why->risk_memory)
		put(pen,
		    " at risk: %s requests/s x %s each, growing %s/s, %s free: gone in %s (limit "
		    "15 s).",
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

static void put_mute(struct pen *pen, const struct pile_explain *explain)
{
	const struct pile_why *why = &explain->why;

	put(pen, "mute: ");
	put_count(pen, why->ungreeted, "connection");
	put(pen, " established and not greeted for %s", duration(why->oldest_ns).text);
	if (why->silent)
		put(pen, ", %u more without an answer", why->silent);
	if (why->unacked)
		put(pen, ", %u unacknowledged", why->unacked);
	put(pen, "; nothing was heard from it for %s, though its server speaks first;",
	    duration(why->no_success_ns).text);
	put(pen,
	    why->own_probe
		    ? " it acknowledges, and did not greet the guard's own connect either;"
		    : " it acknowledges; the guard's own connect, which would tell, was not made;");
	put(pen, " %u.%u %% of %s's %u waiting requests.", why->share_permille / 10,
	    why->share_permille % 10, explain->group, why->waiting);
}

static void put_why_breaker(struct pen *pen, const struct pile_explain *explain)
{
	const struct pile_why *why = &explain->why;

	if (why->by_hand)
		put(pen, "held by hand: %u connecting, %u requests wait.", why->connecting,
		    why->waiting);
	else if (why->in_kernel)
		put(pen,
		    "dead: %u connecting (%u for longer than 500 ms), none established for %s; decided by the loop in the "
		    "kernel, the guard itself did not run; %u requests of %s's waited.",
		    why->connecting, why->stuck, duration(why->no_success_ns).text, why->waiting,
		    explain->group);
	else if (why->mute)
		put_mute(pen, explain);
	else
		put(pen,
		    "dead: %u connecting (%u for longer than 500 ms, oldest %s), none established "
		    "for %s%s;"
		    " %u.%u %% of %s's %u waiting requests.",
		    why->connecting, why->stuck, duration(why->oldest_ns).text,
		    duration(why->no_success_ns).text,
		    why->own_probe ? ", the guard's own connect not answered either" : "",
		    why->share_permille / 10, why->share_permille % 10, explain->group,
		    why->waiting);
	if (why->behind)
		put(pen,
		    " %u more wait for no connection at all, and came after it: most likely for a lock that whoever connects "
		    "holds.",
		    why->behind);
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
	    "%u addresses are dead or silent at once: that is our own network (link, route, firewall, "
	    "resolver), not theirs.",
	    explain->why.dead_destinations);
}

/* ---- did, did not, cost, undo ---- */

static void put_did_breaker(struct pen *pen, const struct pile_explain *explain)
{
	if (explain->blocked) {
		put(pen, "nothing: would have refused connects to %s and ended the ",
		    endpoint_of(&explain->endpoint).text);
		if (explain->why.mute)
			put(pen, "%s connection%s that %s not greeted",
			    count_of(explain->why.ungreeted).text, plural(explain->why.ungreeted),
			    explain->why.ungreeted == 1 ? "is" : "are");
		else
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
	if (explain->half_open_ns || explain->flips)
		put(pen, ", let %s through while half open (%s relapse%s)",
		    count_of(explain->admitted).text, count_of(explain->flips).text,
		    plural(explain->flips));
	else if (explain->why.in_kernel && explain->admitted)
		put(pen, ", let %s through to find out", count_of(explain->admitted).text);
	if (explain->first_effect_ns > explain->opened_ns)
		put(pen, "; first effect %s after the decision",
		    duration(explain->first_effect_ns - explain->opened_ns).text);
}

static void put_did_record(struct pen *pen, const struct pile_explain *explain)
{
	put(pen, "recorded it%s",
	    explain->kind == PILE_INTENT_NETWORK ? "; no destination is refused on this evidence"
						 : "");
}

static void put_did_not_breaker(struct pen *pen, const struct pile_explain *explain)
{
	if (explain->blocked)
		put(pen, "refuse connects or end waits (%s); ",
		    pile_explain_text_blocked(explain->blocked));
	put(pen, "refuse clients, kill workers or restart the service (fail_fast never does)");
}

static void put_did_not_stage(struct pen *pen, const struct pile_explain *explain)
{
	(void)explain;
	put(pen,
	    "act on the stage itself: it is recorded; what goes by it (shed_share) has explain records of its own");
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
	put_count(pen, explain->refused, "connect");
	put(pen, " failed with %s at once, ",
	    explain->refuse_errno > 0 && strerrorname_np((int)explain->refuse_errno)
		    ? strerrorname_np((int)explain->refuse_errno)
		    : "an error");
	put_count(pen, explain->ended, explain->why.mute ? "wait" : "pending one");
	put(pen, " with ECONNABORTED, each sooner than its own time-out (taken to be 10 s)");
}

static void put_cost_none(struct pen *pen, const struct pile_explain *explain)
{
	(void)explain;
	put(pen, "none: nothing was changed");
}

static bool undoable(const struct pile_explain *explain)
{
	return (explain->kind == PILE_INTENT_BREAKER_OPEN ||
		explain->kind == PILE_INTENT_SHED_OPEN) &&
	       !explain->blocked && !explain->closed_ns;
}

static void put_undo_none(struct pen *pen, const struct pile_explain *explain)
{
	(void)explain;
	put(pen, "nothing to undo: nothing was changed");
}

/* Rungs 1 and 2. */
static void put_undo_release(struct pen *pen, const struct pile_explain *explain)
{
	struct word command;

	if (explain->closed_ns) {
		put(pen, "nothing to undo: closed after %s (%s)",
		    duration(explain->closed_ns > explain->opened_ns
				     ? explain->closed_ns - explain->opened_ns
				     : 0)
			    .text,
		    close_reason_text(explain->close_reason));
		return;
	}
	if (!undoable(explain)) {
		put_undo_none(pen, explain);
		return;
	}
	put(pen, "%s  now: sudo %s  everything: sudo pileguardctl disarm",
	    explain->kind == PILE_INTENT_SHED_OPEN
		    ? explain->why.by_share ? "ends by itself once requests are answered again."
					    : "whoever finds less than the limit open is let in."
	    : explain->why.by_hand ? "ends when the hold runs out."
				   : "closes by itself at the first success.",
	    pile_explain_text_command(explain, command.text, sizeof(command.text)));
}

/* ---- which words for which kind ---- */

struct sentences {
	void (*why)(struct pen *pen, const struct pile_explain *explain);
	void (*did)(struct pen *pen, const struct pile_explain *explain);
	void (*did_not)(struct pen *pen, const struct pile_explain *explain);
	void (*cost)(struct pen *pen, const struct pile_explain *explain);
	void (*undo)(struct pen *pen, const struct pile_explain *explain);
};

static const struct sentences *sentences_of(uint32_t kind)
{
	static const struct sentences all[] = {
		[PILE_INTENT_BREAKER_OPEN] = { put_why_breaker, put_did_breaker,
					       put_did_not_breaker, put_cost_breaker,
					       put_undo_release },
		[PILE_INTENT_STAGE] = { put_why_stage, put_did_record, put_did_not_stage,
					put_cost_none, put_undo_none },
		[PILE_INTENT_NETWORK] = { put_why_network, put_did_record, put_did_not_network,
					  put_cost_none, put_undo_none },
		[PILE_INTENT_SHED_OPEN] = { pile_explain_shed_why, pile_explain_shed_did,
					    pile_explain_shed_did_not, pile_explain_shed_cost,
					    put_undo_release },
		[PILE_INTENT_THROTTLE] = { pile_explain_throttle_why, pile_explain_throttle_did,
					   pile_explain_throttle_did_not,
					   pile_explain_throttle_cost, pile_explain_throttle_undo },
		[PILE_INTENT_FORKS] = { pile_explain_forks_why, pile_explain_forks_did,
					pile_explain_forks_did_not, pile_explain_forks_cost,
					pile_explain_forks_undo },
		[PILE_INTENT_EVICT] = { pile_explain_evict_why, pile_explain_evict_did,
					pile_explain_evict_did_not, pile_explain_evict_cost,
					pile_explain_evict_undo },
		[PILE_INTENT_STOP] = { pile_explain_stop_why, pile_explain_stop_did,
				       pile_explain_stop_did_not, pile_explain_stop_cost,
				       pile_explain_stop_undo },
	};

	/* what another process wrote may be of no kind */
	return &all[kind < ARRAY_LEN(all) && all[kind].why ? kind : PILE_INTENT_BREAKER_OPEN];
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

	sentences_of(explain->kind)->undo(&pen, explain);
	return buf;
}

const char *pile_explain_text_back(const struct pile_explain *explain, const char *now, char *buf,
				   size_t size)
{
	struct pen pen = pen_start(buf, size);

	pile_explain_throttle_back(&pen, explain, now);
	return buf;
}

const char *pile_explain_text_command(const struct pile_explain *explain, char *buf, size_t size)
{
	struct pen pen = pen_start(buf, size);

	if (undoable(explain))
		put(&pen, "pileguardctl release %s %s", explain->group,
		    endpoint_of(&explain->endpoint).text);
	else if (explain->kind == PILE_INTENT_THROTTLE && !explain->blocked &&
		 !explain->closed_ns && !explain->why.throttle.error)
		put(&pen, "pileguardctl disarm");
	else if (explain->kind == PILE_INTENT_FORKS && !explain->closed_ns)
		put(&pen, "pileguardctl disarm");
	return buf;
}

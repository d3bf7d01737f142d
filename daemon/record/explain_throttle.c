// SPDX-License-Identifier: GPL-2.0-or-later
#include "record/explain_throttle.h"

#include <errno.h>

/** "TasksMax=1204", "CPUWeight=10", "CPUQuota=150%": as an operator would write it; UINT64_MAX: no limit. */
static struct word setting(uint32_t knob, uint64_t value)
{
	static const char *const names[PILE_KNOBS] = {
		[PILE_KNOB_NONE] = "nothing",
		[PILE_KNOB_TASKS] = "TasksMax",
		[PILE_KNOB_WEIGHT] = "CPUWeight",
		[PILE_KNOB_QUOTA] = "CPUQuota",
	};
	const char *name = knob < PILE_KNOBS ? names[knob] : names[PILE_KNOB_NONE];
	struct word w;

	if (value == UINT64_MAX)
		snprintf(w.text, sizeof(w.text), "%s=%s", name,
			 knob == PILE_KNOB_TASKS ? "infinity" : "");
	else if (knob == PILE_KNOB_QUOTA)
		snprintf(w.text, sizeof(w.text), "%s=%llu%%", name,
			 (unsigned long long)(value / 10000));
	else
		snprintf(w.text, sizeof(w.text), "%s=%llu", name, (unsigned long long)value);
	return w;
}

static const char *bound_name(uint32_t bound)
{
	static const char *const names[] = {
		[PILE_STORM_LIMIT] = "what its cgroup may have of tasks",
		[PILE_STORM_HOST] = "what the host has of tasks",
		[PILE_STORM_MEMORY] = "memory",
	};

	return bound < ARRAY_LEN(names) ? names[bound] : "something";
}

const char *pile_explain_throttle_switch(uint32_t blocked)
{
	return blocked == PILE_BLOCKED_RUNG ? "the group's enforce list does not name throttle"
					    : pile_explain_text_blocked(blocked);
}

static const char *error_text(int error)
{
	switch (error) {
	case EBUSY:
		return "an earlier one is not set back yet";
	case EALREADY:
		return "it is as tight already";
	case ESTALE:
		return "somebody set it at the same moment";
	case ETIMEDOUT:
		return "systemd did not answer in time";
	case EXDEV:
		return "the group has no cgroup of its own";
	case EROFS:
		return "no unit of systemd's owns its cgroup, and the guard may not write there";
	case ENOENT:
		return "its cgroup has no such controller";
	default:
		return error > 0 ? strerrordesc_np(error) : "nothing more is known";
	}
}

/* "2.4": how many times as long as it ran it waited */
static struct word times(uint32_t milli)
{
	return rate_of(milli);
}

/* ---- why ---- */

static void put_storm(struct pen *pen, const struct pile_why *why)
{
	const struct pile_why_throttle *t = &why->throttle;

	put(pen, "%s tasks come a second, for %s without a pause: %s now, %s at most in calm; %s ",
	    count_of(t->tasks_rate).text, duration(t->rising_ns).text, count_of(t->tasks).text,
	    count_of(t->tasks_calm).text, bound_name(t->bound));
	if (t->bound == PILE_STORM_MEMORY)
		put(pen, "(%s left, growing %s/s) ", bytes_of(why->free_bytes).text,
		    bytes_of(why->growth_bytes).text);
	else
		put(pen, "(%s left) ", count_of(t->tasks_free).text);
	put(pen, "is gone in %s (limit 3.0 s)", duration(why->exhaustion_ns).text);
}

static void put_starve(struct pen *pen, const struct pile_why *why)
{
	const struct pile_why_throttle *t = &why->throttle;

	put(pen,
	    "%s waited %s for a processor while it ran %s, in %s: %s times as long (limit 2.0; in calm %s); this group "
	    "took %u.%u %% of all processors' time, with %s tasks",
	    t->protected_name, duration(t->waited_ns).text, duration(t->ran_ns).text,
	    duration(t->span_ns).text, times(t->ratio_milli).text, times(t->calm_milli).text,
	    t->cpu_permille / 10, t->cpu_permille % 10, count_of(t->tasks).text);
	if (t->knob == PILE_KNOB_QUOTA)
		put(pen, "; a lower weight was not enough");
}

void pile_explain_throttle_why(struct pen *pen, const struct pile_explain *explain)
{
	if (explain->why.throttle.knob == PILE_KNOB_TASKS)
		put_storm(pen, &explain->why);
	else
		put_starve(pen, &explain->why);
}

/* ---- did, did not, cost, undo ---- */

static void put_effect(struct pen *pen, const struct pile_why_throttle *t)
{
	if (t->knob == PILE_KNOB_TASKS)
		put(pen, "; %s tasks at most since then", count_of(t->tasks_after).text);
	else
		put(pen, "; at best the protected waited %s times as long as they ran",
		    times(t->ratio_after_milli).text);
}

void pile_explain_throttle_did(struct pen *pen, const struct pile_explain *explain)
{
	const struct pile_why_throttle *t = &explain->why.throttle;

	if (explain->blocked) {
		put(pen, "nothing: would have set %s (%s)", setting(t->knob, t->value).text,
		    pile_explain_throttle_switch(explain->blocked));
		return;
	}
	if (t->error && !t->on_ns) {
		put(pen, "nothing: %s could not be set: %s", setting(t->knob, t->value).text,
		    error_text(t->error));
		return;
	}
	put(pen, "set %s for %s at most", setting(t->knob, t->value).text,
	    duration(t->for_ns).text);
	if (!explain->closed_ns)
		return;
	if (!t->on_ns) {
		put(pen, "; undone before it was in force (%s)",
		    close_reason_text(explain->close_reason));
		return;
	}
	put(pen, ", in force %s after the decision", duration(t->on_ns).text);
	put_effect(pen, t);
	put(pen, "; %s", close_reason_text(explain->close_reason));
}

void pile_explain_throttle_did_not(struct pen *pen, const struct pile_explain *explain)
{
	if (explain->blocked)
		put(pen, "throttle it (%s); ", pile_explain_throttle_switch(explain->blocked));
	put(pen,
	    "limit its memory (memory.high livelocks), freeze it, end anybody or restart the service");
}

void pile_explain_throttle_cost(struct pen *pen, const struct pile_explain *explain)
{
	const struct pile_why_throttle *t = &explain->why.throttle;

	if (explain->blocked || (t->error && !t->on_ns)) {
		put(pen, "none: nothing was changed");
		return;
	}
	switch (t->knob) {
	case PILE_KNOB_TASKS:
		put(pen,
		    "fork() and new threads fail with EAGAIN there; all tasks that there are go on");
		break;
	case PILE_KNOB_WEIGHT:
		put(pen,
		    "it is served after others where processors are short; what nobody else wants it has still");
		break;
	default:
		put(pen, "it is stopped for parts of each 100 ms, also where a processor is idle");
		break;
	}
}

static void put_back(struct pen *pen, const struct pile_why_throttle *t)
{
	struct word set = setting(t->knob, t->value);

	switch (t->back) {
	case PILE_BACK_DONE:
		put(pen, "undone: %s again", setting(t->knob, t->was).text);
		break;
	case PILE_BACK_TAKEN:
		put(pen, "left alone: it was not %s any more", set.text);
		break;
	case PILE_BACK_GONE:
		put(pen, "undone: %s went with its cgroup", set.text);
		break;
	default:
		put(pen, "%s is being set back%s.  by hand: pileguardctl residue tells how",
		    set.text, t->back == PILE_BACK_LATE ? ", tried each second" : "");
		break;
	}
}

void pile_explain_throttle_undo(struct pen *pen, const struct pile_explain *explain)
{
	const struct pile_why_throttle *t = &explain->why.throttle;

	if (explain->blocked || (t->error && t->error != ETIMEDOUT && !t->on_ns)) {
		put(pen, "nothing to undo: nothing was changed");
		return;
	}
	if (explain->closed_ns) {
		put_back(pen, t);
		return;
	}
	put(pen,
	    "ends by itself, sooner when it does not help.  now: sudo pileguardctl disarm, or take throttle out of "
	    "the policy's enforce; what you set yourself wins");
}

/* ---- the journal ---- */

void pile_explain_throttle_line(struct pen *pen, const struct pile_intent *intent,
				const char *group)
{
	const struct pile_why *why = &intent->why;
	const struct pile_why_throttle *t = &why->throttle;

	if (t->knob == PILE_KNOB_TASKS)
		put(pen, "%s: %s tasks come a second, %s now: %s is gone in %s: ", group,
		    count_of(t->tasks_rate).text, count_of(t->tasks).text, bound_name(t->bound),
		    duration(why->exhaustion_ns).text);
	else
		put(pen,
		    "%s: takes %u.%u %% of all processors, and %s waits %s times as long as it runs: ",
		    group, t->cpu_permille / 10, t->cpu_permille % 10, t->protected_name,
		    times(t->ratio_milli).text);
	if (intent->blocked)
		put(pen, "would have set %s (%s)", setting(t->knob, t->value).text,
		    pile_explain_throttle_switch(intent->blocked));
	else if (t->error)
		put(pen, "%s could not be set (%s)", setting(t->knob, t->value).text,
		    error_text(t->error));
	else
		put(pen, "%s for %s at most", setting(t->knob, t->value).text,
		    duration(t->for_ns).text);
	put(pen, ". explain %u", intent->explain_id);
}

void pile_explain_throttle_line_over(struct pen *pen, const struct pile_intent *intent,
				     const char *group)
{
	const struct pile_why_throttle *t = &intent->why.throttle;

	put(pen, "%s: %s: %s after %s", group, setting(t->knob, t->value).text,
	    close_reason_text(intent->close_reason), duration(intent->outage_ns).text);
	if (intent->blocked)
		put(pen, "; nothing was set");
	else if (intent->close_reason == PILE_CLOSE_NOT_DONE)
		put(pen, " (%s)", error_text(t->error));
	else if (intent->close_reason != PILE_CLOSE_TAKEN)
		put(pen, ": being set back");
	put(pen, ". explain %u closed", intent->explain_id);
}

void pile_explain_throttle_back(struct pen *pen, const struct pile_explain *explain,
				const char *now)
{
	const struct pile_why_throttle *t = &explain->why.throttle;
	struct word set = setting(t->knob, t->value);

	put(pen, "%s: ", explain->group);
	switch (t->back) {
	case PILE_BACK_TAKEN:
		put(pen, "%s is not ours any more", set.text);
		if (now[0])
			put(pen, " (%.40s now)", now);
		put(pen, ": left alone");
		break;
	case PILE_BACK_GONE:
		put(pen, "%s went with its cgroup", set.text);
		break;
	case PILE_BACK_LATE:
		put(pen, "%s could not be set back yet: tried each second (pileguardctl residue)",
		    set.text);
		break;
	default:
		put(pen, "%s is set back: %s again", set.text, setting(t->knob, t->was).text);
		break;
	}
	put(pen, ". explain %u", explain->id);
}

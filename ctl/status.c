// SPDX-License-Identifier: GPL-2.0-or-later
/* pileguardctl status: who waits, what would happen, and what is odd: the page that is read at 3
 * a.m. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "ctl.h"
#include "http.h"
#include "pileguard/api.h"
#include "table.h"
#include "util/macro.h"
#include "value.h"

/* The outage that the risk is told for: what a client waits before it gives up (product.md's
 * sample). */
#define OUTAGE_SECONDS 10
/* The guard publishes ten times a second. */
#define STALE_SECONDS 3
#define HASH_SHOWN 7

static const char *cell_name(const json_t *g, char *buf, size_t size)
{
	return pile_value_format_text(g, "name", buf, size);
}

/** The unit, where it says more than the group's name; ".service" goes without saying. */
static const char *cell_unit(const json_t *g, char *buf, size_t size)
{
	static const char suffix[] = ".service";
	size_t n;

	pile_value_format_text(g, "unit", buf, size);
	n = strlen(buf);
	if (n > sizeof(suffix) && strcmp(buf + n - sizeof(suffix) + 1, suffix) == 0)
		buf[n - sizeof(suffix) + 1] = '\0';
	if (strcmp(buf, pile_value_text(g, "name")) == 0)
		snprintf(buf, size, "-");
	return buf;
}

static const char *cell_waiting(const json_t *g, char *buf, size_t size)
{
	return pile_value_format_count(g, "requests.waiting", buf, size);
}

static const char *cell_oldest(const json_t *g, char *buf, size_t size)
{
	return pile_value_format_seconds(g, "requests.oldest_seconds", buf, size);
}

static const char *cell_p50(const json_t *g, char *buf, size_t size)
{
	return pile_value_format_seconds(g, "requests.p50_seconds", buf, size);
}

static const char *cell_p99(const json_t *g, char *buf, size_t size)
{
	return pile_value_format_seconds(g, "requests.p99_seconds", buf, size);
}

/** What it holds, over what it could hold. */
static const char *cell_memory(const json_t *g, char *buf, size_t size)
{
	char used[32], budget[32];
	json_t *sum = json_real(pile_value_number(g, "memory.used_bytes") +
				pile_value_number(g, "memory.free_bytes"));

	snprintf(buf, size, "%s/%s",
		 pile_value_format_bytes(g, "memory.used_bytes", used, sizeof(used)),
		 pile_value_format_bytes(sum, "", budget, sizeof(budget)));
	json_decref(sum);
	return buf;
}

static bool at_risk(const json_t *g)
{
	return pile_value_number(g, "risk_ratio") >= 1;
}

static const char *cell_risk(const json_t *g, char *buf, size_t size)
{
	snprintf(buf, size, "%.1f%s", pile_value_number(g, "risk_ratio"), at_risk(g) ? " !" : "  ");
	return buf;
}

static const char *cell_would(const json_t *g, char *buf, size_t size)
{
	double times = pile_value_number(g, "would_have_acted_24h");
	char what[128];

	if (times < 1)
		snprintf(buf, size, "-");
	else if (pile_value_known(g, "would_have_refused"))
		snprintf(buf, size, "%.0f x refuse %s", times,
			 pile_value_format_text(g, "would_have_refused", what, sizeof(what)));
	else
		snprintf(buf, size, "%.0f x", times);
	return buf;
}

static bool enforces(const json_t *g, const char *rung)
{
	const json_t *one;
	size_t index;

	json_array_foreach(pile_value_get(g, "enforce"), index, one)
		if (json_is_string(one) && strcmp(json_string_value(one), rung) == 0)
			return true;
	return false;
}

static const char *cell_note(const json_t *g, char *buf, size_t size)
{
	const struct {
		bool is;
		const char *text;
	} notes[] = {
		{ !pile_value_is(g, "present"), "not running" },
		{ pile_value_is(g, "foreign"), "another manager's: observed only" },
		{ strcmp(pile_value_text(g, "stage"), "calm") != 0, pile_value_text(g, "stage") },
		{ enforces(g, "fail_fast"), "fail_fast on" },
		{ enforces(g, "shed"), "shed on" },
		{ enforces(g, "throttle"), "throttle on" },
		{ enforces(g, "evict"), "evict on" },
		{ enforces(g, "stop"), "stop on" },
		{ pile_value_is(g, "learned_long_poll"), "long poll, learned" },
		{ pile_value_number(g, "workers.count") == 1, "1 process" },
	};
	size_t len = 0;

	buf[0] = '\0';
	for (size_t i = 0; i < ARRAY_LEN(notes) && len < size; i++)
		if (notes[i].is)
			len += (size_t)snprintf(buf + len, size - len, "%s%s", len ? ", " : "",
						notes[i].text);
	return buf;
}

static void table_show(const struct pile_ctl *ctl, const json_t *groups)
{
	static const struct pile_table_column columns[] = {
		{ "GROUP", false, 0, cell_name, NULL },
		{ "UNIT", false, 5, cell_unit, NULL },
		{ "WAITING", true, 0, cell_waiting, NULL },
		{ "OLDEST", true, 0, cell_oldest, NULL },
		{ "P50", true, 4, cell_p50, NULL },
		{ "P99", true, 2, cell_p99, NULL },
		{ "MEM/BUDGET", true, 3, cell_memory, NULL },
		{ "RISK", true, 0, cell_risk, at_risk },
		{ "WOULD HAVE ACTED (24 h)", false, 1, cell_would, NULL },
		{ "", false, 6, cell_note, NULL },
	};

	if (json_array_size(groups) == 0)
		printf("no service is watched yet: none listens, or the policy's units are not "
		       "running\n");
	else
		pile_table_print(ctl, columns, ARRAY_LEN(columns), groups);
}

/* ---- the head ---- */

/** "self-test ok 20 s ago (refuse a connect 0.2 ms, end a pending one 0.9 ms)"; "" while it failed: that is loud. */
static const char *self_test_text(const json_t *status, char *buf, size_t size)
{
	char ago[32], refuse[32], end[32];

	buf[0] = '\0';
	if (pile_value_is(status, "self_test.passed"))
		snprintf(buf, size,
			 "self-test ok %s ago (refuse a connect %s, end a pending one %s)",
			 pile_value_format_seconds(status, "self_test.age_seconds", ago,
						   sizeof(ago)),
			 pile_value_format_seconds(status, "self_test.refuse_seconds", refuse,
						   sizeof(refuse)),
			 pile_value_format_seconds(status, "self_test.end_seconds", end,
						   sizeof(end)));
	return buf;
}

static void self_test_show(const struct pile_ctl *ctl, const json_t *status)
{
	char why[200], line[300];

	if (!pile_value_known(status, "self_test.failed"))
		return;
	snprintf(line, sizeof(line), "! self-test FAILED: %s. See: journalctl -u pileguard",
		 pile_value_format_text(status, "self_test.failed", why, sizeof(why)));
	pile_table_loud(ctl, line);
}

/* A listener's blind spot is told as "WHAT on PLACE (WHY)": here the same WHAT and WHY once, with up to three places. */
#define PLACES_SHOWN 3
#define BLIND_MAX 256 /* as many listeners as the snapshot holds */

static bool blind_split(const json_t *spot, char *text, size_t size, char **ret_place,
			char **ret_why)
{
	pile_value_format_text(spot, "", text, size);
	*ret_place = strstr(text, " on ");
	*ret_why = *ret_place ? strstr(*ret_place, " (") : NULL;
	if (!*ret_why)
		return false;
	**ret_place = **ret_why = '\0';
	*ret_place += strlen(" on ");
	*ret_why += 1;
	return true;
}

/* Prints the spot at @index and those like it behind it; one that was printed with an earlier one is passed over. */
static void blind_show(const json_t *blind, size_t index, bool *printed)
{
	char first[160], text[160], *place, *why, *other_place, *other_why;
	bool whole = blind_split(json_array_get(blind, index), first, sizeof(first), &place, &why);
	unsigned int places = 1;

	if (printed[index])
		return;
	printf("%s%s", index ? ", " : "   blind: ", first);
	if (!whole)
		return;
	printf(" on %s", place);
	for (size_t i = index + 1; i < json_array_size(blind) && i < BLIND_MAX; i++) {
		if (!blind_split(json_array_get(blind, i), text, sizeof(text), &other_place,
				 &other_why) ||
		    strcmp(text, first) != 0 || strcmp(other_why, why) != 0)
			continue;
		printed[i] = true;
		if (++places <= PLACES_SHOWN)
			printf(", %s", other_place);
	}
	if (places > PLACES_SHOWN)
		printf(" and %u more", places - PLACES_SHOWN);
	printf(" %s", why);
}

static void head_show(const json_t *status)
{
	const json_t *blind = pile_value_get(status, "blind");
	char host[80], kernel[80], tier[32], missing[600], up[32], text[160];
	bool printed[BLIND_MAX] = { false };

	printf("%s   %s%s   up %s", pile_value_format_text(status, "host", host, sizeof(host)),
	       pile_value_text(status, "mode"),
	       pile_value_known(status, "disarmed") ? ", DISARMED by hand" : "",
	       pile_value_format_seconds(status, "uptime_seconds", up, sizeof(up)));
	if (pile_value_is(status, "policy.outside_share"))
		printf("   the policy says enforce; enforce_share %.3g%% leaves this host out",
		       pile_value_number(status, "policy.enforce_share_ratio") * 100);
	if (self_test_text(status, text, sizeof(text))[0])
		printf("   %s", text);
	putchar('\n');
	printf("kernel %s   sensors: tier %s, %s",
	       pile_value_format_text(status, "kernel", kernel, sizeof(kernel)),
	       pile_value_format_text(status, "tier", tier, sizeof(tier)),
	       pile_value_known(status, "missing") ? "not all" : "all");
	for (size_t i = 0; i < json_array_size(blind) && i < BLIND_MAX; i++)
		blind_show(blind, i, printed);
	putchar('\n');
	if (pile_value_known(status, "missing"))
		printf("! missing: %s\n",
		       pile_value_format_text(status, "missing", missing, sizeof(missing)));
}

/** What is on disk, against what is in force. */
struct disk {
	bool same; /* or nothing is wrong with its being absent */
	char phrase[600];
	char trouble[1200]; /* "" = none */
};

static void disk_invalid(const struct pile_error *err, const char *phrase, struct disk *ret)
{
	char text[1100];

	snprintf(ret->phrase, sizeof(ret->phrase), "%s", phrase);
	snprintf(ret->trouble, sizeof(ret->trouble), "%s",
		 pile_error_format(err, text, sizeof(text)));
}

/** Not all may read the files: then what the guard saw some seconds ago. */
static void disk_told(const json_t *status, struct disk *ret)
{
	char text[600];

	ret->same = !pile_value_known(status, "policy.trouble");
	snprintf(ret->phrase, sizeof(ret->phrase), "%s on disk, as the guard sees it",
		 pile_value_format_text(status, "policy.files", text, sizeof(text)));
	if (!ret->same)
		snprintf(ret->trouble, sizeof(ret->trouble), "policy: %s",
			 pile_value_format_text(status, "policy.trouble", text, sizeof(text)));
}

static void disk_compare(const struct pile_ctl *ctl, const json_t *status, struct disk *ret)
{
	static struct pile_policy policy;
	const char *path = pile_policy_path(ctl, status);
	struct pile_error err = { 0 };
	int r = pile_policy_read(ctl, path, &policy, &err);

	memset(ret, 0, sizeof(*ret));
	if (r == -ENOENT &&
	    !strcmp(pile_value_text(status, "policy.source"), PILE_POLICY_BUILT_IN)) {
		ret->same = true;
		snprintf(ret->phrase, sizeof(ret->phrase), "no file on disk");
	} else if (r == -ENOENT) {
		snprintf(ret->phrase, sizeof(ret->phrase), "gone from disk");
		snprintf(ret->trouble, sizeof(ret->trouble),
			 "%s is gone; in force is the last committed policy", path);
	} else if (r == -EACCES) {
		disk_told(status, ret);
	} else if (r < 0) {
		disk_invalid(&err, "not valid on disk", ret);
	} else if (r > 0) {
		disk_invalid(&err, "mixed on disk", ret);
	} else if (strcmp(policy.hash, pile_value_text(status, "policy.hash")) != 0) {
		snprintf(ret->phrase, sizeof(ret->phrase), "differs on disk");
		snprintf(
			ret->trouble, sizeof(ret->trouble),
			"%s is not the policy in force. See: pileguardctl policy diff   Take it: sudo systemctl "
			"reload pileguard",
			policy.source);
	} else {
		ret->same = true;
		snprintf(ret->phrase, sizeof(ret->phrase), "same as on disk");
	}
}

static void disarmed_show(const struct pile_ctl *ctl, const json_t *status)
{
	char by[80], since[32], until[32], line[300];

	if (!pile_value_known(status, "disarmed"))
		return;
	if (pile_value_known(status, "disarmed.until"))
		pile_value_format_time(status, "disarmed.until", until, sizeof(until));
	else
		snprintf(until, sizeof(until), "somebody arms it");
	snprintf(
		line, sizeof(line),
		"! disarmed by %s, since %s, until %s: it only observes. End it: sudo pileguardctl arm",
		pile_value_format_text(status, "disarmed.by", by, sizeof(by)),
		pile_value_format_time(status, "disarmed.since", since, sizeof(since)), until);
	pile_table_loud(ctl, line);
}

/** Returns an exit status. */
static int policy_show(const struct pile_ctl *ctl, const json_t *status)
{
	char source[280], revision[80], line[1300];
	struct disk disk;

	disk_compare(ctl, status, &disk);
	printf("policy: %s, ",
	       pile_value_format_text(status, "policy.source", source, sizeof(source)));
	if (pile_value_known(status, "policy.revision"))
		printf("revision %s, ", pile_value_format_text(status, "policy.revision", revision,
							       sizeof(revision)));
	printf("hash %.*s, %s\n", HASH_SHOWN, pile_value_text(status, "policy.hash"), disk.phrase);
	if (disk.trouble[0]) {
		snprintf(line, sizeof(line), "! %s", disk.trouble);
		pile_table_loud(ctl, line);
	}
	return disk.same ? PILE_EXIT_OK : PILE_EXIT_DIFFERS;
}

/* ---- what is odd ---- */

/** "32 req/s x 10 s x 6.0 MiB = 1.9 GiB > 1.1 GiB: ..." */
static void risk_show(const struct pile_ctl *ctl, const json_t *g)
{
	double rate = pile_value_number(g, "requests.opened_per_second");
	double each = pile_value_number(g, "memory.per_request_bytes");
	double free_bytes = pile_value_number(g, "memory.free_bytes");
	double need = rate * OUTAGE_SECONDS * each;
	char name[80], what[140], line[400];

	if (!at_risk(g))
		return;
	if (pile_value_known(g, "would_have_refused"))
		pile_value_format_text(g, "would_have_refused", what, sizeof(what));
	else
		snprintf(what, sizeof(what), "a database or service that it waits for");
	pile_value_format_text(g, "name", name, sizeof(name));
	if (need > free_bytes)
		snprintf(line, sizeof(line),
			 "! %s: %.0f req/s x %d s x %.1f MiB = %.1f GiB > %.1f GiB: this host "
			 "would not survive the loss of %s",
			 name, rate, OUTAGE_SECONDS, each / 1048576, need / 1073741824,
			 free_bytes / 1073741824, what);
	else
		snprintf(line, sizeof(line),
			 "! %s: risk %.1f: this host would not survive the loss of %s", name,
			 pile_value_number(g, "risk_ratio"), what);
	pile_table_loud(ctl, line);
}

/** What stands in brackets behind "are refused": who wants it, and how far it is. */
static const char *refused_how(const json_t *gate, char *buf, size_t size)
{
	char left[32];

	if (pile_value_known(gate, "held_for_seconds"))
		snprintf(buf, size, "held by hand, %s left",
			 pile_value_format_seconds(gate, "held_for_seconds", left, sizeof(left)));
	else
		snprintf(buf, size, "%sbreaker %s",
			 pile_value_is(gate, "mute") ? "it greets nobody, " : "",
			 pile_value_text(gate, "gate"));
	return buf;
}

static void gate_show(const struct pile_ctl *ctl, const json_t *gate)
{
	char group[80], endpoint[140], line[400], text[100];

	pile_value_format_text(gate, "group", group, sizeof(group));
	pile_value_format_text(gate, "endpoint", endpoint, sizeof(endpoint));
	if (pile_value_known(gate, "released_for_seconds"))
		snprintf(
			line, sizeof(line),
			"! %s: %s is released by hand, %s left: never refused%s", group, endpoint,
			pile_value_format_seconds(gate, "released_for_seconds", text, sizeof(text)),
			pile_value_is(gate, "dead") ? ", and it is dead" : "");
	else if (strcmp(pile_value_text(gate, "gate"), "closed") == 0)
		snprintf(line, sizeof(line),
			 "! %s: %s is dead (%.0f connecting); not refused: %s is not at risk",
			 group, endpoint, pile_value_number(gate, "connecting"), group);
	else if (pile_value_known(gate, "blocked"))
		snprintf(line, sizeof(line),
			 "! %s: %s is %s: would refuse connects (%s). pileguardctl explain %.0f",
			 group, endpoint, pile_value_is(gate, "mute") ? "mute" : "dead",
			 pile_value_format_text(gate, "blocked", text, sizeof(text)),
			 pile_value_number(gate, "explain"));
	else
		snprintf(
			line, sizeof(line),
			"! %s: connects to %s are refused (%s; %.0f so far). pileguardctl explain %.0f",
			group, endpoint, refused_how(gate, text, sizeof(text)),
			pile_value_number(gate, "refused_total"),
			pile_value_number(gate, "explain"));
	pile_table_loud(ctl, line);
}

static void attachment_show(const struct pile_ctl *ctl, const json_t *g)
{
	char name[80], line[200];

	if (!pile_value_is(g, "gate_missing"))
		return;
	snprintf(
		line, sizeof(line),
		"! %s: should enforce fail_fast, and does not: its cgroup cannot be attached to. See: "
		"journalctl -u pileguard",
		pile_value_format_text(g, "name", name, sizeof(name)));
	pile_table_loud(ctl, line);
}

/** Processes that should be in the group's own cgroup, and are not. */
static void placement_show(const struct pile_ctl *ctl, const json_t *g)
{
	const json_t *placement = pile_value_get(g, "placement");
	char name[80], why[200], line[400];

	if (!pile_value_is(placement, "place") || pile_value_number(placement, "outside") == 0 ||
	    (!pile_value_known(placement, "error") && !pile_value_known(placement, "outside_why")))
		return;
	snprintf(line, sizeof(line), "! %s: %.0f of its processes %s not placed: %s",
		 pile_value_format_text(g, "name", name, sizeof(name)),
		 pile_value_number(placement, "outside"),
		 pile_value_number(placement, "outside") == 1 ? "is" : "are",
		 pile_value_format_text(
			 placement, pile_value_known(placement, "error") ? "error" : "outside_why",
			 why, sizeof(why)));
	/* who stays where he is does so for a reason: no trouble */
	if (pile_value_known(placement, "error"))
		pile_table_loud(ctl, line);
	else
		puts(line + 2);
}

/** What an episode is about: a share while there is one, else the limit, reached now or within the last ten seconds. */
static void door_line(char *line, size_t size, const char *group, const char *endpoint,
		      const json_t *door)
{
	bool blocked = pile_value_known(door, "blocked");
	char why[100], what[160];

	if (pile_value_number(door, "refuse_ratio") > 0)
		snprintf(what, sizeof(what),
			 "requests pile up at %s: %s %.0f %% of new connections", endpoint,
			 blocked ? "would refuse" : "refusing",
			 pile_value_number(door, "refuse_ratio") * 100);
	else if (pile_value_known(door, "max"))
		snprintf(what, sizeof(what), "%s holds %.0f connections of %.0f: %s", endpoint,
			 pile_value_number(door, "open"), pile_value_number(door, "max"),
			 blocked ? "would refuse more" : "more are refused");
	else
		snprintf(what, sizeof(what), "requests piled up at %s: connections %s refused",
			 endpoint, blocked ? "would have been" : "were");
	if (blocked)
		snprintf(line, size, "! %s: %s (%s). pileguardctl explain %.0f", group, what,
			 pile_value_format_text(door, "blocked", why, sizeof(why)),
			 pile_value_number(door, "explain"));
	else
		snprintf(line, size, "! %s: %s (%.0f so far). pileguardctl explain %.0f", group,
			 what, pile_value_number(door, "refused_in_episode"),
			 pile_value_number(door, "explain"));
}

/** A listener that holds as many connections as it may, or one that is released. */
static void door_show(const struct pile_ctl *ctl, const json_t *g, const json_t *listener)
{
	const json_t *door = pile_value_get(listener, "connections");
	char group[80], endpoint[140], line[420], text[100];

	pile_value_format_text(g, "name", group, sizeof(group));
	pile_value_format_text(listener, "endpoint", endpoint, sizeof(endpoint));
	if (pile_value_known(door, "released_for_seconds"))
		snprintf(line, sizeof(line),
			 "! %s: %s is released by hand, %s left: nobody is refused", group,
			 endpoint,
			 pile_value_format_seconds(door, "released_for_seconds", text,
						   sizeof(text)));
	else if (!pile_value_is(door, "full"))
		return;
	else
		door_line(line, sizeof(line), group, endpoint, door);
	pile_table_loud(ctl, line);
}

static void doors_show(const struct pile_ctl *ctl, const json_t *g)
{
	const json_t *one;
	size_t index;

	json_array_foreach(pile_value_get(g, "listeners"), index, one)
		if (json_is_object(pile_value_get(one, "connections")))
			door_show(ctl, g, one);
}

static void leak_show(const struct pile_ctl *ctl, const json_t *g)
{
	char name[80], line[240], rate[32], left[32];

	if (!pile_value_is(g, "memory.leak") || !pile_value_number(g, "memory.growing_workers"))
		return;
	snprintf(
		line, sizeof(line),
		"! %s: %.0f worker%s by %s/s, without end: memory is gone in %s. See: pileguardctl workers",
		pile_value_format_text(g, "name", name, sizeof(name)),
		pile_value_number(g, "memory.growing_workers"),
		pile_value_number(g, "memory.growing_workers") > 1 ? "s grow" : " grows",
		pile_value_format_bytes(g, "memory.growing_bytes_per_second", rate, sizeof(rate)),
		pile_value_format_seconds(g, "memory.growing_gone_in_seconds", left, sizeof(left)));
	pile_table_loud(ctl, line);
}

/** Held down by rung 5. */
static void stopped_show(const struct pile_ctl *ctl, const json_t *g)
{
	const json_t *stopped = pile_value_get(g, "stopped");
	char name[80], unit[80], line[360], left[32];

	if (!json_is_object(stopped))
		return;
	if (pile_value_is(stopped, "late"))
		snprintf(
			line, sizeof(line),
			"! %s: stopped for its memory, should run again by now, and DOES NOT. pileguardctl explain %.0f; now: sudo systemctl start %s",
			pile_value_format_text(g, "name", name, sizeof(name)),
			pile_value_number(stopped, "explain"),
			pile_value_format_text(g, "unit", unit, sizeof(unit)));
	else
		snprintf(
			line, sizeof(line),
			"! %s: stopped for its memory%s; systemd starts it again in %s. pileguardctl explain %.0f; now: sudo systemctl start %s",
			pile_value_format_text(g, "name", name, sizeof(name)),
			pile_value_is(stopped, "down") ? "" : " (not down yet)",
			pile_value_format_seconds(stopped, "starts_in_seconds", left, sizeof(left)),
			pile_value_number(stopped, "explain"),
			pile_value_format_text(g, "unit", unit, sizeof(unit)));
	pile_table_loud(ctl, line);
}

/** What rung 3 has set at a group. */
static void throttle_show(const struct pile_ctl *ctl, const json_t *g)
{
	char name[80], line[280];
	size_t len;

	if (!pile_value_known(g, "throttle"))
		return;
	len = (size_t)snprintf(line, sizeof(line), "! %s is throttled:",
			       pile_value_format_text(g, "name", name, sizeof(name)));
	if (pile_value_known(g, "throttle.tasks_max"))
		len += (size_t)snprintf(line + len, sizeof(line) - len, " TasksMax=%.0f",
					pile_value_number(g, "throttle.tasks_max"));
	if (pile_value_known(g, "throttle.cpu_weight"))
		len += (size_t)snprintf(line + len, sizeof(line) - len, " CPUWeight=%.0f",
					pile_value_number(g, "throttle.cpu_weight"));
	if (pile_value_known(g, "throttle.cpu_quota_us"))
		len += (size_t)snprintf(line + len, sizeof(line) - len, " CPUQuota=%.0f%%",
					pile_value_number(g, "throttle.cpu_quota_us") / 10000);
	if (pile_value_known(g, "throttle.explain"))
		len += (size_t)snprintf(line + len, sizeof(line) - len,
					". pileguardctl explain %.0f",
					pile_value_number(g, "throttle.explain"));
	snprintf(line + len, sizeof(line) - len, "; %s",
		 pile_value_is(g, "throttle.being_set_back")
			 ? "being set back: pileguardctl residue"
			 : "undo: sudo pileguardctl disarm");
	pile_table_loud(ctl, line);
}

/** What the guard itself has lost since its start. */
static void losses_show(const struct pile_ctl *ctl, const json_t *status)
{
	static const struct {
		const char *key, *text;
	} losses[] = {
		{ "guard.not_followed_total",
		  "sockets, workers, listeners or tables of descriptors were not followed, for want of room" },
		{ "guard.destinations_lost_total", "destinations did not fit into the map" },
		{ "guard.waits_not_ended_total", "pending connects could not be ended" },
		{ "guard.journal_lines_dropped_total", "lines did not get into the journal" },
		{ "evict.workers_evicted_total",
		  "workers were ended for their memory: pileguardctl events" },
		{ "stop.services_stopped_total",
		  "services were stopped for their memory: pileguardctl events" },
		{ "throttle.throttled_total",
		  "limits of tasks or processors were set: pileguardctl events" },
	};
	char line[160];

	for (size_t i = 0; i < ARRAY_LEN(losses); i++) {
		double n = pile_value_number(status, losses[i].key);

		if (n < 1)
			continue;
		snprintf(line, sizeof(line), "! since the start: %.0f %s", n, losses[i].text);
		pile_table_loud(ctl, line);
	}
}

/** One thread looks for all groups: one line. */
static void late_show(const struct pile_ctl *ctl, const json_t *groups)
{
	const json_t *one;
	char line[128];
	double late = 0;
	size_t index;

	json_array_foreach(groups, index, one)
		late = MAX(late, pile_value_number(pile_value_get(one, "placement"),
						   "look_late_seconds"));
	if (late < 1)
		return;
	snprintf(line, sizeof(line), "! placement: no look for %.0f s", late);
	pile_table_loud(ctl, line);
	puts("  it waits for a file system, a lock or systemd: what is placed stays, nobody else is");
}

static void oddities_show(const struct pile_ctl *ctl, const json_t *status)
{
	char line[128];
	const json_t *one;
	size_t index;

	json_array_foreach(pile_value_get(status, "gates"), index, one)
		gate_show(ctl, one);
	json_array_foreach(pile_value_get(status, "groups"), index, one) {
		attachment_show(ctl, one);
		placement_show(ctl, one);
	}
	late_show(ctl, pile_value_get(status, "groups"));
	json_array_foreach(pile_value_get(status, "groups"), index, one)
		stopped_show(ctl, one);
	json_array_foreach(pile_value_get(status, "groups"), index, one)
		doors_show(ctl, one);
	json_array_foreach(pile_value_get(status, "groups"), index, one)
		risk_show(ctl, one);
	json_array_foreach(pile_value_get(status, "groups"), index, one)
		leak_show(ctl, one);
	json_array_foreach(pile_value_get(status, "groups"), index, one)
		throttle_show(ctl, one);
	losses_show(ctl, status);
	if (pile_value_is(status, "network_suspect"))
		pile_table_loud(ctl, "! many destinations are dead at once: our own network, not "
				     "theirs; no further one is refused");
	if (pile_value_number(status, "age_seconds") > STALE_SECONDS) {
		snprintf(line, sizeof(line),
			 "! these numbers are %.0f s old: the guard's control loop does not run",
			 pile_value_number(status, "age_seconds"));
		pile_table_loud(ctl, line);
	}
}

int pile_status_show(const struct pile_ctl *ctl)
{
	json_t *status;
	int r = pile_http_get(ctl, "/v1/status", &status);

	if (!status)
		return r;
	head_show(status);
	disarmed_show(ctl, status);
	self_test_show(ctl, status);
	r = policy_show(ctl, status);
	table_show(ctl, pile_value_get(status, "groups"));
	oddities_show(ctl, status);
	json_decref(status);
	return r;
}

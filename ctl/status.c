// SPDX-License-Identifier: GPL-2.0-or-later
/* pileguardctl status: who waits, what would happen, and what is odd: the page that is read at 3 a.m. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "ctl.h"
#include "http.h"
#include "pileguard/api.h"
#include "status.h"
#include "table.h"
#include "value.h"

#define HASH_SHOWN 7

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
	pile_status_table(ctl, pile_value_get(status, "groups"));
	pile_status_oddities(ctl, status);
	json_decref(status);
	return r;
}

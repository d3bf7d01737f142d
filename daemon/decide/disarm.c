// SPDX-License-Identifier: GPL-2.0-or-later
#include "decide/disarm.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "util/macro.h"

static void name_copy(char *to, size_t size, const char *from)
{
	size_t n = 0;

	for (; from[n] && from[n] != '\n' && n + 1 < size; n++)
		to[n] = (char)(isalnum((unsigned char)from[n]) || strchr("._@-", from[n]) ? from[n]
											  : '?');
	to[n] = '\0';
}

static uint64_t after(uint64_t now_ns, uint64_t ns)
{
	return ns < UINT64_MAX - now_ns ? now_ns + ns : UINT64_MAX;
}

void pile_disarm_set(struct pile_disarm *d, const char *by, uint64_t seconds, uint64_t now_ns,
		     uint64_t realtime_ns)
{
	uint64_t ns = seconds * NS_PER_SEC;

	*d = (struct pile_disarm){
		.on = true,
		.since_realtime_ns = realtime_ns,
		.until_realtime_ns = seconds ? after(realtime_ns, ns) : 0,
		.until_ns = seconds ? after(now_ns, ns) : UINT64_MAX,
	};
	name_copy(d->by, sizeof(d->by), by[0] ? by : "root");
}

bool pile_disarm_is_over(const struct pile_disarm *d, uint64_t now_ns)
{
	return d->on && d->until_ns <= now_ns;
}

const char *pile_disarm_format(const struct pile_disarm *d, char *buf, size_t size)
{
	snprintf(buf, size,
		 "# pileguard is disarmed, also after a restart; pileguardctl arm ends it\n"
		 "since %llu\nuntil %llu\nby %s\n",
		 (unsigned long long)(d->since_realtime_ns / NS_PER_SEC),
		 (unsigned long long)(d->until_realtime_ns / NS_PER_SEC), d->by);
	return buf;
}

/* The rest of the line that begins with @key and a blank, or NULL. */
static const char *line_find(const char *text, const char *key)
{
	size_t n = strlen(key);

	for (const char *line = text; line; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (strncmp(line, key, n) == 0 && line[n] == ' ')
			return line + n + 1;
	}
	return NULL;
}

/* Whole seconds, to the end of the line, below 2^33 (the year 2242). */
static bool seconds_find(const char *text, const char *key, uint64_t *ret_ns)
{
	const char *at = line_find(text, key);
	unsigned long long seconds;
	char *end;

	if (!at || !isdigit((unsigned char)*at))
		return false;
	seconds = strtoull(at, &end, 10);
	if (*end != '\n' || seconds >= 1ULL << 33)
		return false;
	*ret_ns = seconds * NS_PER_SEC;
	return true;
}

void pile_disarm_parse(const char *text, uint64_t now_ns, uint64_t realtime_ns,
		       struct pile_disarm *ret)
{
	const char *by = line_find(text, "by");
	uint64_t since_ns, until_ns, left_ns;

	pile_disarm_set(ret, by && isgraph((unsigned char)*by) ? by : "unknown", 0, now_ns,
			realtime_ns);
	if (!seconds_find(text, "since", &since_ns) || !seconds_find(text, "until", &until_ns))
		return;
	ret->since_realtime_ns = since_ns;
	if (!until_ns)
		return;
	ret->on = until_ns > realtime_ns && until_ns > since_ns;
	if (!ret->on)
		return;
	/* a clock that was set back meanwhile makes it no longer */
	left_ns = MIN(until_ns - realtime_ns, until_ns - since_ns);
	ret->until_realtime_ns = realtime_ns + left_ns;
	ret->until_ns = after(now_ns, left_ns);
}

static const char *moment(uint64_t realtime_ns, char *buf, size_t size)
{
	time_t seconds = (time_t)(realtime_ns / NS_PER_SEC);
	struct tm tm;

	if (!gmtime_r(&seconds, &tm) || !strftime(buf, size, "%F %H:%M UTC", &tm))
		snprintf(buf, size, "a time unknown");
	return buf;
}

const char *pile_disarm_describe(const struct pile_disarm *d, char *buf, size_t size)
{
	char since[32], until[32];

	snprintf(buf, size, "disarmed by %s at %s, until %s", d->by,
		 moment(d->since_realtime_ns, since, sizeof(since)),
		 d->until_realtime_ns ? moment(d->until_realtime_ns, until, sizeof(until))
				      : "somebody arms it");
	return buf;
}

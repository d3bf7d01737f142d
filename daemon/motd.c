// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * motd.c: what whoever logs in is told while anything is refused or held, or the guard is disarmed: plain lines for
 * pam_motd(8). The text is made here, by the control loop, when what it says has changed; the slow thread writes it,
 * or takes the file away when there is none. It goes with the guard: at its stop here, at its death by the unit.
 */
#include <ctype.h>
#include <stdarg.h>
#include <string.h>

#include "guard.h"

#define GATES_SHOWN 5

static bool is_shut(const struct pile_breaker *b)
{
	return b->state != PILE_BREAKER_FREE && b->blocked == PILE_BLOCKED_NO;
}

static bool is_full(const struct pile_shed *shed)
{
	return shed->open && shed->blocked == PILE_BLOCKED_NO;
}

/* Changes when the text would: which episodes there are, held by hand or not, and until when it is disarmed. */
static uint64_t key_of(const struct pile_guard *g)
{
	uint64_t key = 0;

	for (uint32_t i = 0; i < g->decide.breakers.n_places; i++) {
		const struct pile_breaker *b = &g->decide.breakers.table[i];

		if (is_shut(b))
			key = (key ^ (2 * (uint64_t)b->explain_id + b->by_hand)) *
				      0x100000001b3ULL +
			      1;
	}
	for (uint32_t i = 1; i < PILE_DOORS_MAX; i++)
		if (is_full(&g->decide.sheds.doors[i]))
			key = (key ^ g->decide.sheds.doors[i].explain_id) * 0x100000001b3ULL + 2;
	for (int i = 0; i < PILE_STOPS_MAX; i++)
		if (g->decide.stops.table[i].used && !g->decide.stops.table[i].blocked)
			key = (key ^ g->decide.stops.table[i].explain_id) * 0x100000001b3ULL + 3;
	for (int i = 0; i < PILE_UNDO_MAX; i++)
		if (g->throttles.table[i].used)
			key = (key ^ (2 * (uint64_t)g->throttles.table[i].explain_id +
				      g->throttles.table[i].over)) *
				      0x100000001b3ULL +
			      4;
	if (g->disarm.now.on)
		key ^= g->disarm.now.since_realtime_ns | 1;
	return key;
}

struct page {
	char text[PILE_MOTD_TEXT_MAX];
	size_t len;
};

/* One line, whole or not at all; what is no plain ASCII becomes '?'. */
static void _printf_(2, 3) line_add(struct page *page, const char *fmt, ...)
{
	size_t left = sizeof(page->text) - page->len;
	char *at = page->text + page->len;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(at, left, fmt, ap);
	va_end(ap);
	if (n < 0 || (size_t)n + 2 > left) {
		*at = '\0';
		return;
	}
	for (char *c = at; *c; c++)
		if (!isascii((unsigned char)*c) || !isprint((unsigned char)*c))
			*c = '?';
	memcpy(at + n, "\n", 2);
	page->len += (size_t)n + 1;
}

static void gate_add(struct page *page, const struct pile_guard *g, const struct pile_breaker *b)
{
	const char *group = g->view.groups[b->group].config.name;
	char endpoint[PILE_ENDPOINT_TEXT_MAX];

	pile_endpoint_format(&b->endpoint, endpoint, sizeof(endpoint));
	line_add(page,
		 "pileguard: connects of %s to %s are refused (%s). pileguardctl explain %u; "
		 "undo: sudo pileguardctl release %s %s",
		 group, endpoint,
		 b->by_hand    ? "held by hand"
		 : b->why.mute ? "it is mute"
			       : "it is dead",
		 b->explain_id, group, endpoint);
}

static void door_add(struct page *page, const struct pile_guard *g, const struct pile_shed *shed)
{
	const char *group = g->view.groups[shed->group].config.name;
	char endpoint[PILE_ENDPOINT_TEXT_MAX];

	pile_endpoint_format(&shed->endpoint, endpoint, sizeof(endpoint));
	line_add(
		page,
		"pileguard: connections to %s of %s are refused (rung 2, shed). pileguardctl explain %u; "
		"undo: sudo pileguardctl release %s %s",
		endpoint, group, shed->explain_id, group, endpoint);
}

static void stop_add(struct page *page, const struct pile_guard *g,
		     const struct pile_stop_episode *e)
{
	const struct pile_policy_group *config = &g->view.groups[e->group].config;

	line_add(
		page,
		"pileguard: %s is stopped for a while (rung 5), systemd starts it again. pileguardctl explain %u; "
		"now: sudo systemctl start %s",
		config->name, e->explain_id, config->unit);
}

/* Until it is set back, whoever has set it. */
static void throttle_add(struct page *page, const struct pile_act_throttled *e)
{
	if (e->over)
		line_add(
			page,
			"pileguard: %s was throttled (rung 3), and is being set back. pileguardctl residue",
			e->entry->group);
	else
		line_add(
			page,
			"pileguard: %s is throttled (rung 3). pileguardctl explain %u; undo: sudo pileguardctl disarm",
			e->entry->group, e->explain_id);
}

static void page_make(const struct pile_guard *g, struct page *page)
{
	char disarmed[PILE_DISARM_TEXT_MAX];
	unsigned int n = 0;

	page->text[0] = '\0';
	page->len = 0;
	for (uint32_t i = 0; i < g->decide.breakers.n_places; i++) {
		const struct pile_breaker *b = &g->decide.breakers.table[i];

		if (is_shut(b) && n++ < GATES_SHOWN)
			gate_add(page, g, b);
	}
	for (uint32_t i = 1; i < PILE_DOORS_MAX; i++)
		if (is_full(&g->decide.sheds.doors[i]) && n++ < GATES_SHOWN)
			door_add(page, g, &g->decide.sheds.doors[i]);
	for (int i = 0; i < PILE_STOPS_MAX; i++)
		if (g->decide.stops.table[i].used && !g->decide.stops.table[i].blocked)
			stop_add(page, g, &g->decide.stops.table[i]);
	for (int i = 0; i < PILE_UNDO_MAX; i++)
		if (g->throttles.table[i].used && n++ < GATES_SHOWN)
			throttle_add(page, &g->throttles.table[i]);
	if (n > GATES_SHOWN)
		line_add(page, "pileguard: %u more are refused or throttled: pileguardctl status",
			 n - GATES_SHOWN);
	if (g->disarm.now.on)
		line_add(page, "pileguard: %s: it only observes. undo: sudo pileguardctl arm",
			 pile_disarm_describe(&g->disarm.now, disarmed, sizeof(disarmed)));
}

void pile_motd_tick(struct pile_guard *g)
{
	uint64_t key = key_of(g);
	struct page page;

	if (key == g->motd_key)
		return;
	g->motd_key = key;
	page_make(g, &page);
	pile_slow_motd(&g->slow, page.text);
}

// SPDX-License-Identifier: GPL-2.0-or-later
/* pileguardctl residue: is this host as it was before pileguard came? Found without the daemon's help. */
#include <ctype.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ctl.h"
#include "pileguard/api.h"
#include "residue.h"
#include "util/clock.h"

/* The kernel frees the programs of a guard that has ended after a grace period: up to 0.4 s were seen. */
#define TRIES 20
#define TRY_NS (100 * NS_PER_MS)

static const struct {
	const char *one, *many;
	bool always; /* told also when there is none */
} words[PILE_RESIDUE_KINDS] = {
	[PILE_RESIDUE_PROGRAM] = { "program", "programs", true },
	[PILE_RESIDUE_MAP] = { "map", "maps", false },
	[PILE_RESIDUE_LINK] = { "link", "links", true },
	[PILE_RESIDUE_KNOB] = { "knob", "knobs", true },
	[PILE_RESIDUE_DROP_IN] = { "drop-in", "drop-ins", true },
	[PILE_RESIDUE_CGROUP] = { "cgroup", "cgroups", true },
	[PILE_RESIDUE_FILE] = { "file", "files", false },
};

/* Of a guard that runs (@guard) or of none: "0 programs, 0 links, ...". Returns how many in all. */
static unsigned int counts_format(const struct pile_residue *r, bool guard, bool all, char *buf,
				  size_t size)
{
	unsigned int counts[PILE_RESIDUE_KINDS] = { 0 }, sum = 0;
	size_t len = 0;

	for (unsigned int i = 0; i < r->n; i++)
		counts[r->things[i].kind] += r->things[i].guard == guard;
	buf[0] = '\0';
	for (unsigned int k = 0; k < PILE_RESIDUE_KINDS; k++) {
		sum += counts[k];
		if ((counts[k] || (all && words[k].always)) && len < size)
			len += (size_t)snprintf(buf + len, size - len, "%s%u %s", len ? ", " : "",
						counts[k],
						counts[k] == 1 ? words[k].one : words[k].many);
	}
	return sum;
}

static void thing_format(const struct pile_residue_thing *t, char *buf, size_t size)
{
	char id[16] = "", holder[64] = "";

	if (t->id)
		snprintf(id, sizeof(id), " %u", t->id);
	if (t->holder)
		snprintf(holder, sizeof(holder), ", held by process %d (%s)", (int)t->holder,
			 t->comm);
	else if (t->id)
		snprintf(holder, sizeof(holder), ", held by no process: pinned, or on its way out");
	snprintf(buf, size, "%s%s %s%s", words[t->kind].one, id, t->text, holder);
	for (char *c = buf; *c; c++)
		if (!isascii((unsigned char)*c) || !isprint((unsigned char)*c))
			*c = '?'; /* paths are anybody's words */
}

static void guards_show(const struct pile_residue *r)
{
	char counts[200];
	pid_t last = 0;

	if (counts_format(r, true, false, counts, sizeof(counts)) == 0)
		return;
	printf("pileguard runs (pid");
	for (unsigned int i = 0; i < r->n; i++) {
		bool seen = !r->things[i].guard;

		for (unsigned int k = 0; k < i && !seen; k++)
			seen = r->things[k].guard && r->things[k].holder == r->things[i].holder;
		if (!seen)
			printf("%s %d", last ? "," : "", (int)r->things[i].holder);
		last = seen ? last : r->things[i].holder;
	}
	printf("): %s belong to it, and go when it stops\n", counts);
}

static void text_show(const struct pile_residue *r)
{
	char counts[200], line[500];
	bool running = counts_format(r, true, false, counts, sizeof(counts)) > 0;
	unsigned int left = counts_format(r, false, true, counts, sizeof(counts));

	guards_show(r);
	for (unsigned int i = 0; i < r->n; i++)
		if (!r->things[i].guard) {
			thing_format(&r->things[i], line, sizeof(line));
			printf("left: %s\n", line);
		}
	if (running)
		printf("besides: %s\n", counts);
	else
		printf("%s: %s\n", counts,
		       left ? "NOT as before installation" : "as before installation");
}

static void json_show(const struct pile_residue *r)
{
	json_t *value = json_object(), *left = json_array(), *guards = json_array();
	char line[500];

	for (unsigned int k = 0; k < PILE_RESIDUE_KINDS; k++) {
		unsigned int n = 0;

		for (unsigned int i = 0; i < r->n; i++)
			n += r->things[i].kind == k && !r->things[i].guard;
		json_object_set_new(value, words[k].many, json_integer(n));
	}
	for (unsigned int i = 0; i < r->n; i++) {
		const struct pile_residue_thing *t = &r->things[i];
		bool seen = false;

		if (!t->guard) {
			thing_format(t, line, sizeof(line));
			json_array_append_new(left, json_string(line));
			continue;
		}
		for (size_t k = 0; k < json_array_size(guards); k++)
			seen |= json_integer_value(json_array_get(guards, k)) == t->holder;
		if (!seen)
			json_array_append_new(guards, json_integer(t->holder));
	}
	json_object_set_new(value, "left", left);
	json_object_set_new(value, "guards", guards);
	json_dumpf(value, stdout, JSON_COMPACT);
	putchar('\n');
	json_decref(value);
}

static bool on_its_way_out(const struct pile_residue *r)
{
	for (unsigned int i = 0; i < r->n; i++)
		if (r->things[i].id && !r->things[i].holder)
			return true;
	return false;
}

int pile_residue_show(const struct pile_ctl *ctl)
{
	struct timespec pause = { .tv_nsec = TRY_NS };
	struct pile_residue r = { 0 };
	char counts[200];
	int rc = 0;

	for (int i = 0; i < TRIES; i++) {
		rc = pile_residue_find(&r, ctl->socket);
		if (rc < 0 || !on_its_way_out(&r))
			break;
		nanosleep(&pause, NULL);
	}
	if (rc < 0) {
		fprintf(stderr,
			"%s: the kernel tells its BPF programs to root only: sudo pileguardctl residue\n",
			strerror(-rc));
		free(r.things);
		return PILE_EXIT_USAGE;
	}
	if (ctl->json)
		json_show(&r);
	else
		text_show(&r);
	rc = counts_format(&r, false, true, counts, sizeof(counts)) ? PILE_EXIT_FAILURE
								    : PILE_EXIT_OK;
	free(r.things);
	return rc;
}

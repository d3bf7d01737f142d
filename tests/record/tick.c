// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * tick.c: linked into pileguardd-record, the real guard that also writes down what its decisions were made
 * from: every sample, as far as groups that enforce something are concerned, in the words of
 * tests/unit/trace.h, to $PILE_TRACE. The call of pile_decide_tick() comes here first (ld --wrap).
 */
#include <stdlib.h>
#include <string.h>

#include "trace.h"
#include "util/macro.h"

#define DEFAULT_PATH "/var/lib/pileguard/trace.tsv"

void __real_pile_decide_tick(struct pile_decide *state, const struct pile_decide_view *view,
			     const struct pile_sample *sample, struct pile_intent *ret,
			     uint32_t *ret_n);
void __wrap_pile_decide_tick(struct pile_decide *state, const struct pile_decide_view *view,
			     const struct pile_sample *sample, struct pile_intent *ret,
			     uint32_t *ret_n);

static FILE *file;

/* A slot that is new, or now another group's, is told. */
static void groups_tell(const struct pile_decide_view *view)
{
	static char names[PILE_GROUPS_MAX][PILE_NAME_MAX];

	for (uint32_t i = 0; i < PILE_GROUPS_MAX; i++) {
		const struct pile_decide_group *g = &view->groups[i];

		if (!g->used || !g->config.enforce || !strcmp(names[i], g->config.name))
			continue;
		trace_write_group(file, i, &g->config);
		snprintf(names[i], sizeof(names[i]), "%s", g->config.name);
	}
}

static void sample_write(const struct pile_decide_view *view, const struct pile_sample *sample)
{
	static struct pile_sample s;

	s = *sample;
	s.n_dependencies = 0;
	for (uint32_t i = 0; i < PILE_GROUPS_MAX; i++)
		s.groups[i].used = s.groups[i].used && view->groups[i].config.enforce;
	for (uint32_t i = 0; i < sample->n_dependencies; i++)
		if (s.groups[sample->dependencies[i].group].used)
			s.dependencies[s.n_dependencies++] = sample->dependencies[i];
	trace_write(file, &s);
}

void __wrap_pile_decide_tick(struct pile_decide *state, const struct pile_decide_view *view,
			     const struct pile_sample *sample, struct pile_intent *ret,
			     uint32_t *ret_n)
{
	const char *path = getenv("PILE_TRACE");

	if (!file)
		file = fopen(path ? path : DEFAULT_PATH, "we");
	if (!file)
		abort();
	groups_tell(view);
	sample_write(view, sample);
	fflush(file);
	__real_pile_decide_tick(state, view, sample, ret, ret_n);
}

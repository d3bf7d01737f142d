// SPDX-License-Identifier: GPL-2.0-or-later
#include "trace.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "util/macro.h"

#define FIELDS_MAX 20

int trace_open(struct trace *trace, const char *path)
{
	memset(trace, 0, sizeof(*trace));
	trace->view.mode = PILE_MODE_ENFORCE;
	trace->file = fopen(path, "re");
	return trace->file ? 0 : -errno;
}

void trace_close(struct trace *trace)
{
	if (trace->file)
		fclose(trace->file);
	trace->file = NULL;
}

/* Fields 1.. of a line as numbers; what is not a number reads as 0 and is taken from the text. */
static int read_numbers(char **fields, unsigned int n, uint64_t *numbers)
{
	for (unsigned int i = 0; i < n; i++)
		numbers[i] = strtoull(fields[i], NULL, 10);
	return 0;
}

static int read_expectation(struct trace *trace, char **f, unsigned int n, const uint64_t *v)
{
	struct trace_expectation *e = &trace->expectations[trace->n_expectations];

	if (n < 2 || trace->n_expectations >= TRACE_EXPECTATIONS_MAX)
		return -EBADMSG;
	trace->n_expectations++;
	if (!strcmp(f[1], "none"))
		return 0;
	if (n < 5)
		return -EBADMSG;
	e->from_ms = v[3];
	e->to_ms = v[4];
	if (!strcmp(f[1], "stage")) {
		e->kind = TRACE_STAGE;
		e->stage = (unsigned int)v[2];
		return e->stage <= PILE_STAGE_EVICT ? 0 : -EBADMSG;
	}
	e->kind = TRACE_OPEN;
	return strcmp(f[1], "open") ? -EBADMSG : pile_endpoint_parse(f[2], false, &e->endpoint);
}

static int read_config(struct trace *trace, char **f, unsigned int n, const uint64_t *v)
{
	struct pile_decide_group *g = &trace->view.groups[v[1]];

	if (n < 8)
		return -EBADMSG;
	pile_policy_group_init(&g->config, f[2]);
	trace->view.n_groups = MAX(trace->view.n_groups, (uint32_t)v[1] + 1);
	g->used = g->gate_ready = true;
	g->config.workers = (enum pile_workers)v[3];
	g->config.workers_max = (uint32_t)v[4];
	g->config.enforce = (uint32_t)v[5];
	g->config.fail_fast = (enum pile_fail_fast)v[6];
	g->config.baseline_waiting = (uint32_t)v[7];
	return 0;
}

static int read_ages(const char *text, struct pile_sample_group *g)
{
	unsigned int slot, number;
	int used;

	for (; *text && *text != '-'; text += used) {
		if (sscanf(text, "%u:%u%n", &slot, &number, &used) < 2 || slot > PILE_WHEEL_SLOTS)
			return -EBADMSG;
		g->age[slot] = number;
		g->oldest_ns = slot * PILE_WHEEL_SLOT_NS;
		used += text[used] == ',';
	}
	return 0;
}

static int read_group(struct pile_sample *s, char **f, unsigned int n, const uint64_t *v)
{
	struct pile_sample_group *g = &s->groups[v[1]];

	if (n < 15)
		return -EBADMSG;
	*g = (struct pile_sample_group){
		.used = true,
		.present = true,
		.opened = v[2],
		.answered = v[3],
		.closed = v[4],
		.waiting = (uint32_t)v[5],
		.workers = (uint32_t)v[6],
		.workers_limit = (uint32_t)v[7],
		.busy = (uint32_t)v[8],
		.backlog = (uint32_t)v[9],
		.p50_ns = v[10] * NS_PER_US,
		.p99_ns = v[11] * NS_PER_US,
		.memory_bytes = v[12] * 1024,
		.memory_limit_bytes = v[13] * 1024,
	};
	return read_ages(f[14], g);
}

static int read_dependency(struct pile_sample *s, char **f, unsigned int n, const uint64_t *v)
{
	struct pile_sample_dependency *dep = &s->dependencies[s->n_dependencies];

	if (n < 15 || s->n_dependencies >= PILE_SAMPLE_DEPENDENCIES_MAX)
		return -EBADMSG;
	*dep = (struct pile_sample_dependency){
		.group = (uint32_t)v[1],
		.connecting = (uint32_t)v[3],
		.stuck = (uint32_t)v[4],
		.oldest_ns = v[5] * NS_PER_MS,
		.started = v[6],
		.established = v[7],
		.failed = v[8],
		.refused_by_peer = v[9],
		.last_started_ns = v[10] * NS_PER_MS,
		.last_established_ns = v[11] * NS_PER_MS,
		.last_failed_ns = v[12] * NS_PER_MS,
		.silent = (uint32_t)v[13],
		.unacked = (uint32_t)v[14],
	};
	s->n_dependencies++;
	return pile_endpoint_parse(f[2], false, &dep->endpoint);
}

static int read_probe(struct pile_sample *s, char **f, unsigned int n, const uint64_t *v)
{
	struct pile_sample_probe *probe = &s->probes[s->n_probes];

	if (n < 5 || s->n_probes >= PILE_SAMPLE_PROBES_MAX)
		return -EBADMSG;
	s->n_probes++;
	*probe = (struct pile_sample_probe){ .group = (uint32_t)v[1],
					     .answered = v[3],
					     .error = (int)v[4],
					     .pending_since_ns = n > 5 ? v[5] * NS_PER_MS : 0 };
	return pile_endpoint_parse(f[2], false, &probe->endpoint);
}

static int read_tick(struct pile_sample *s, unsigned int n, const uint64_t *v)
{
	if (n < 5)
		return -EBADMSG;
	s->now_ns = v[1] * NS_PER_MS;
	s->late_ns = v[2] * NS_PER_MS;
	s->memory_total_bytes = v[3] * 1024;
	s->memory_available_bytes = v[4] * 1024;
	return 1;
}

static int read_line(struct trace *trace, struct pile_sample *s, char *line)
{
	char *fields[FIELDS_MAX] = { NULL }, *rest = line;
	uint64_t v[FIELDS_MAX] = { 0 };
	unsigned int n = 0;

	line[strcspn(line, "\n")] = '\0';
	while (rest && n < FIELDS_MAX)
		fields[n++] = strsep(&rest, "\t");
	read_numbers(fields, n, v);
	if (n > 1 && strchr("cgdp", line[0]) && v[1] >= PILE_GROUPS_MAX)
		return -EBADMSG;
	switch (line[0]) {
	case '\0':
	case '#':
		return 0;
	case '!':
		return read_expectation(trace, fields, n, v);
	case 'c':
		return read_config(trace, fields, n, v);
	case 'g':
		return read_group(s, fields, n, v);
	case 'd':
		return read_dependency(s, fields, n, v);
	case 'p':
		return read_probe(s, fields, n, v);
	case 't':
		return read_tick(s, n, v);
	default:
		return -EBADMSG;
	}
}

int trace_next(struct trace *trace, struct pile_sample *ret)
{
	char line[4096];

	memset(ret, 0, sizeof(*ret));
	for (uint32_t i = 0; i < PILE_GROUPS_MAX; i++)
		ret->groups[i].used = trace->view.groups[i].used;
	while (fgets(line, sizeof(line), trace->file)) {
		int r;

		trace->line++;
		r = read_line(trace, ret, line);
		if (r)
			return r < 0 ? -EBADMSG : r;
		for (uint32_t i = 0; i < PILE_GROUPS_MAX; i++)
			ret->groups[i].used |= trace->view.groups[i].used;
	}
	return 0;
}

static uint64_t us(uint64_t ns)
{
	return ns / NS_PER_US;
}

static uint64_t ms(uint64_t ns)
{
	return ns / NS_PER_MS;
}

void trace_write_group(FILE *file, uint32_t slot, const struct pile_policy_group *config)
{
	fprintf(file, "c\t%u\t%s\t%u\t%u\t%u\t%u\t%u\n", slot, config->name, config->workers,
		config->workers_max, config->enforce, config->fail_fast, config->baseline_waiting);
}

static void write_group(FILE *file, uint32_t slot, const struct pile_sample_group *g)
{
	bool any = false;

	fprintf(file, "g\t%u\t%" PRIu64 "\t%" PRIu64 "\t%" PRIu64 "\t%u\t%u\t%u\t%u\t%u", slot,
		g->opened, g->answered, g->closed, g->waiting, g->workers, g->workers_limit,
		g->busy, g->backlog);
	fprintf(file, "\t%" PRIu64 "\t%" PRIu64 "\t%" PRIu64 "\t%" PRIu64 "\t", us(g->p50_ns),
		us(g->p99_ns), g->memory_bytes / 1024, g->memory_limit_bytes / 1024);
	for (unsigned int i = 0; i <= PILE_WHEEL_SLOTS; i++) {
		if (!g->age[i])
			continue;
		fprintf(file, "%s%u:%u", any ? "," : "", i, g->age[i]);
		any = true;
	}
	fputs(any ? "\n" : "-\n", file);
}

static void write_dependency(FILE *file, const struct pile_sample_dependency *dep)
{
	char text[PILE_ENDPOINT_TEXT_MAX];

	fprintf(file, "d\t%u\t%s\t%u\t%u\t%" PRIu64, dep->group,
		pile_endpoint_format(&dep->endpoint, text, sizeof(text)), dep->connecting,
		dep->stuck, ms(dep->oldest_ns));
	fprintf(file, "\t%" PRIu64 "\t%" PRIu64 "\t%" PRIu64 "\t%" PRIu64, dep->started,
		dep->established, dep->failed, dep->refused_by_peer);
	fprintf(file, "\t%" PRIu64 "\t%" PRIu64 "\t%" PRIu64 "\t%u\t%u\n", ms(dep->last_started_ns),
		ms(dep->last_established_ns), ms(dep->last_failed_ns), dep->silent, dep->unacked);
}

void trace_write(FILE *file, const struct pile_sample *sample)
{
	char text[PILE_ENDPOINT_TEXT_MAX];

	for (uint32_t i = 0; i < PILE_GROUPS_MAX; i++)
		if (sample->groups[i].used && sample->groups[i].present)
			write_group(file, i, &sample->groups[i]);
	for (uint32_t i = 0; i < sample->n_dependencies; i++)
		write_dependency(file, &sample->dependencies[i]);
	for (uint32_t i = 0; i < sample->n_probes; i++)
		fprintf(file, "p\t%u\t%s\t%d\t%d\t%" PRIu64 "\n", sample->probes[i].group,
			pile_endpoint_format(&sample->probes[i].endpoint, text, sizeof(text)),
			sample->probes[i].answered, sample->probes[i].error,
			ms(sample->probes[i].pending_since_ns));
	fprintf(file, "t\t%" PRIu64 "\t%" PRIu64 "\t%" PRIu64 "\t%" PRIu64 "\n", ms(sample->now_ns),
		ms(sample->late_ns), sample->memory_total_bytes / 1024,
		sample->memory_available_bytes / 1024);
}

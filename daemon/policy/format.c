// SPDX-License-Identifier: GPL-2.0-or-later
#include "policy/format.h"

#include <ctype.h>
#include <string.h>

#include "policy/schema.h"

struct scale {
	const char *name;
	uint64_t factor;
};

static const struct scale size_scales[] = {
	{ "TiB", 1ULL << 40 },
	{ "GiB", 1ULL << 30 },
	{ "MiB", 1ULL << 20 },
	{ "KiB", 1ULL << 10 },
	{ "B", 1 },
};

/* Whole hours and minutes; decimals from seconds down ("2.4s"). Below 1 us: decimals of us. */
static const struct scale duration_scales[] = {
	{ "h", 3600 * NS_PER_SEC }, { "min", 60 * NS_PER_SEC }, { "s", NS_PER_SEC },
	{ "ms", NS_PER_MS },	    { "us", NS_PER_US },
};
#define DURATION_SECONDS 2

static const char *strval_name(const cyaml_strval_t *words, size_t n, int64_t value)
{
	for (size_t i = 0; i < n; i++)
		if (words[i].val == value)
			return words[i].str;
	return words[0].str;
}

/* Exact, unlike pile_quantity_format_size(): it is read back. */
static void exact_size(uint64_t bytes, char *buf, size_t size)
{
	const struct scale *s = size_scales;

	while (s->factor > 1 && (bytes % s->factor || !bytes))
		s++;
	snprintf(buf, size, "%llu%s", (unsigned long long)(bytes / s->factor), s->name);
}

/* "62.5%" */
static void exact_percent(uint32_t permille, char *buf, size_t size)
{
	if (permille % 10)
		snprintf(buf, size, "%u.%u%%", permille / 10, permille % 10);
	else
		snprintf(buf, size, "%u%%", permille / 10);
}

static void exact_duration(uint64_t ns, char *buf, size_t size)
{
	const struct scale *s = duration_scales;
	const struct scale *last = &duration_scales[ARRAY_LEN(duration_scales) - 1];
	unsigned int thousandths;
	size_t n;

	/* From seconds down: the largest unit that three decimals make exact. */
	while (s < last &&
	       (ns < s->factor ||
		ns % (s - duration_scales < DURATION_SECONDS ? s->factor : s->factor / 1000)))
		s++;
	thousandths = (unsigned int)(ns % s->factor / MAX(s->factor / 1000, 1));
	if (!thousandths) {
		snprintf(buf, size, "%llu%s", (unsigned long long)(ns / s->factor), s->name);
		return;
	}
	n = (size_t)snprintf(buf, size, "%llu.%03u", (unsigned long long)(ns / s->factor),
			     thousandths);
	n = MIN(n, size - 1);
	while (n && buf[n - 1] == '0')
		n--;
	snprintf(buf + n, size - n, "%s", s->name);
}

/* libcyaml reads "null" as a text; other YAML readers do not. */
static bool is_yaml_word(const char *text)
{
	static const char *const words[] = { "null", "true", "false", "yes", "no",
					     "on",   "off",  "y",     "n" };

	for (size_t i = 0; i < ARRAY_LEN(words); i++)
		if (!strcasecmp(text, words[i]))
			return true;
	return false;
}

/* What begins with a digit may read as a number (1e3, 0x10), what holds ':' or '#' as something
 * else again. */
static bool reads_plain(const char *text)
{
	static const char plain[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._/%@-";

	return (isalpha((unsigned char)text[0]) || text[0] == '/') && !text[strspn(text, plain)] &&
	       !is_yaml_word(text);
}

/* Plain where no YAML reader can take it for something else, else in double quotes. */
static void quote(const char *text, char *buf, size_t size)
{
	size_t used = 0;

	if (reads_plain(text)) {
		snprintf(buf, size, "%s", text);
		return;
	}
	buf[used++] = '"';
	for (; *text && used + 3 < size; text++) {
		if (*text == '"' || *text == '\\')
			buf[used++] = '\\';
		buf[used++] = *text;
	}
	buf[used++] = '"';
	buf[used] = '\0';
}

static void value_name(const struct pile_policy_group *g, char *buf, size_t size)
{
	quote(g->name, buf, size);
}

static void value_unit(const struct pile_policy_group *g, char *buf, size_t size)
{
	if (g->unit[0])
		quote(g->unit, buf, size);
}

static void value_cgroup(const struct pile_policy_group *g, char *buf, size_t size)
{
	if (g->cgroup[0])
		quote(g->cgroup, buf, size);
}

/* One more "key: text" of a mapping on one line; @used as in list_add(). */
static size_t mapping_add(const char *key, const char *text, char *buf, size_t size, size_t used)
{
	char quoted[2 * PILE_CGROUP_MAX + 3];

	if (!text[0] || used >= size)
		return used;
	quote(text, quoted, sizeof(quoted));
	return used + (size_t)snprintf(buf + used, size - used, "%s%s: %s", used ? ", " : "{", key,
				       quoted);
}

static void value_match(const struct pile_policy_group *g, char *buf, size_t size)
{
	const struct pile_policy_match *m = &g->match;
	size_t used;

	used = mapping_add("exe", m->exe, buf, size, 0);
	used = mapping_add("user", m->user, buf, size, used);
	used = mapping_add("cgroup", m->cgroup, buf, size, used);
	if (m->port && used < size)
		used += (size_t)snprintf(buf + used, size - used, "%sport: %u", used ? ", " : "{",
					 m->port);
	if (used && used < size)
		snprintf(buf + used, size - used, "}");
}

/* Of groups that are matched only: of others there is nothing to place. */
static void value_place(const struct pile_policy_group *g, char *buf, size_t size)
{
	if (pile_policy_matches(g))
		snprintf(buf, size, "%s",
			 strval_name(pile_schema_places, ARRAY_LEN(pile_schema_places), g->place));
}

static void value_listen(const struct pile_policy_group *g, char *buf, size_t size)
{
	char text[PILE_ENDPOINT_TEXT_MAX];

	if (g->listen.family)
		quote(pile_endpoint_format(&g->listen, text, sizeof(text)), buf, size);
	else
		snprintf(buf, size, "all");
}

static void value_workers(const struct pile_policy_group *g, char *buf, size_t size)
{
	snprintf(buf, size, "%s",
		 strval_name(pile_schema_workers, ARRAY_LEN(pile_schema_workers), g->workers));
}

static void value_count(uint32_t count, const char *none, char *buf, size_t size)
{
	if (count)
		snprintf(buf, size, "%u", count);
	else
		snprintf(buf, size, "%s", none);
}

static void value_workers_max(const struct pile_policy_group *g, char *buf, size_t size)
{
	value_count(g->workers_max, "unknown", buf, size);
}

static void value_memory_budget(const struct pile_policy_group *g, char *buf, size_t size)
{
	uint32_t permille = g->memory_budget_permille;

	if (g->memory_budget_bytes)
		exact_size(g->memory_budget_bytes, buf, size);
	else if (permille)
		exact_percent(permille, buf, size);
	else
		snprintf(buf, size, "host");
}

/* One more of a list; @used: bytes so far, 0 before the first. Returns them with it. */
static size_t list_add(const char *text, char *buf, size_t size, size_t used)
{
	char quoted[2 * MAX(PILE_FINGERPRINT_PATH_MAX, PILE_UNIT_MAX) + 3];

	if (used >= size)
		return used;
	quote(text, quoted, sizeof(quoted));
	return used + (size_t)snprintf(buf + used, size - used, "%s%s", used ? ", " : "[", quoted);
}

static void list_end(char *buf, size_t size, size_t used)
{
	if (used < size)
		snprintf(buf + used, size - used, "%s", used ? "]" : "[]");
}

const struct pile_format_rung pile_format_rungs[PILE_FORMAT_RUNGS] = {
	{ "fail_fast", PILE_RUNG_FAIL_FAST }, { "shed", PILE_RUNG_SHED },
	{ "throttle", PILE_RUNG_THROTTLE },   { "evict", PILE_RUNG_EVICT },
	{ "stop", PILE_RUNG_STOP },
};

static void value_enforce(const struct pile_policy_group *g, char *buf, size_t size)
{
	size_t len = 0;

	for (size_t i = 0; i < PILE_FORMAT_RUNGS && len < size; i++)
		if (g->enforce & pile_format_rungs[i].bit)
			len += (size_t)snprintf(buf + len, size - len, "%s%s", len ? ", " : "[",
						pile_format_rungs[i].name);
	if (len < size)
		snprintf(buf + len, size - len, "%s", len ? "]" : "[]");
}

static void value_fail_fast(const struct pile_policy_group *g, char *buf, size_t size)
{
	snprintf(buf, size, "%s",
		 strval_name(pile_schema_fail_fasts, ARRAY_LEN(pile_schema_fail_fasts),
			     g->fail_fast));
}

static void value_dead_after(const struct pile_policy_group *g, char *buf, size_t size)
{
	exact_duration(g->dead_after_ns, buf, size);
}

static void value_probe_every(const struct pile_policy_group *g, char *buf, size_t size)
{
	exact_duration(g->probe_every_ns, buf, size);
}

/* "none", not "off": YAML 1.1 readers take "off" for a boolean. */
static void value_connect_deadline(const struct pile_policy_group *g, char *buf, size_t size)
{
	if (g->connect_deadline_ns)
		exact_duration(g->connect_deadline_ns, buf, size);
	else
		snprintf(buf, size, "none");
}

static void value_refuse_with(const struct pile_policy_group *g, char *buf, size_t size)
{
	snprintf(buf, size, "%s",
		 strval_name(pile_schema_errnos, ARRAY_LEN(pile_schema_errnos), g->refuse_errno));
}

static void value_endpoints(const struct pile_endpoint *list, uint32_t n, char *buf, size_t size)
{
	char text[PILE_ENDPOINT_TEXT_MAX];
	size_t used = 0;

	for (uint32_t i = 0; i < n; i++)
		used = list_add(pile_endpoint_format(&list[i], text, sizeof(text)), buf, size,
				used);
	list_end(buf, size, used);
}

static void value_exempt(const struct pile_policy_group *g, char *buf, size_t size)
{
	value_endpoints(g->exempt, g->n_exempt, buf, size);
}

static void value_shed_exempt(const struct pile_policy_group *g, char *buf, size_t size)
{
	value_endpoints(g->shed_exempt, g->n_shed_exempt, buf, size);
}

static void value_shed_share(const struct pile_policy_group *g, char *buf, size_t size)
{
	if (g->shed_share_permille)
		exact_percent(g->shed_share_permille, buf, size);
	else
		snprintf(buf, size, "none");
}

static void value_connections_max(const struct pile_policy_group *g, char *buf, size_t size)
{
	value_count(g->connections_max, "none", buf, size);
}

static void value_stop_hold(const struct pile_policy_group *g, char *buf, size_t size)
{
	exact_duration(g->stop_hold_ns, buf, size);
}

static void value_cache_life(const struct pile_policy_group *g, char *buf, size_t size)
{
	if (g->cache_life_ns)
		exact_duration(g->cache_life_ns, buf, size);
	else
		snprintf(buf, size, "none");
}

static void value_speaks_first(const struct pile_policy_group *g, char *buf, size_t size)
{
	value_endpoints(g->server_speaks_first, g->n_server_speaks_first, buf, size);
}

static void value_baseline_waiting(const struct pile_policy_group *g, char *buf, size_t size)
{
	value_count(g->baseline_waiting, "learn", buf, size);
}

const struct pile_format_key pile_format_keys[PILE_FORMAT_KEYS] = {
	{ "name", value_name },
	{ "unit", value_unit },
	{ "cgroup", value_cgroup },
	{ "match", value_match },
	{ "place", value_place },
	{ "listen", value_listen },
	{ "workers", value_workers },
	{ "workers_max", value_workers_max },
	{ "memory_budget", value_memory_budget },
	{ "enforce", value_enforce },
	{ "fail_fast", value_fail_fast },
	{ "dead_after", value_dead_after },
	{ "probe_every", value_probe_every },
	{ "connect_deadline", value_connect_deadline },
	{ "refuse_with", value_refuse_with },
	{ "exempt", value_exempt },
	{ "server_speaks_first", value_speaks_first },
	{ "baseline_waiting", value_baseline_waiting },
	{ "connections_max", value_connections_max },
	{ "shed_share", value_shed_share },
	{ "shed_exempt", value_shed_exempt },
	{ "stop_hold", value_stop_hold },
	{ "cache_life", value_cache_life },
};

const char *pile_format_mode(const struct pile_policy *policy)
{
	return strval_name(pile_schema_modes, ARRAY_LEN(pile_schema_modes), policy->mode);
}

static void top_mode(const struct pile_policy *p, char *buf, size_t size)
{
	snprintf(buf, size, "%s", pile_format_mode(p));
}

static void top_revision(const struct pile_policy *p, char *buf, size_t size)
{
	if (p->revision[0])
		quote(p->revision, buf, size);
}

static void top_enforce_share(const struct pile_policy *p, char *buf, size_t size)
{
	exact_percent(p->enforce_share_permille, buf, size);
}

static void top_memory_reserve(const struct pile_policy *p, char *buf, size_t size)
{
	if (p->memory_reserve_bytes)
		exact_size(p->memory_reserve_bytes, buf, size);
	else
		snprintf(buf, size, "auto");
}

static void top_leak_notice(const struct pile_policy *p, char *buf, size_t size)
{
	if (p->leak_notice_ns)
		exact_duration(p->leak_notice_ns, buf, size);
	else
		snprintf(buf, size, "none");
}

static void top_fingerprints(const struct pile_policy *p, char *buf, size_t size)
{
	size_t used = 0;

	for (uint32_t i = 0; i < p->n_fingerprints; i++)
		used = list_add(p->fingerprints[i], buf, size, used);
	list_end(buf, size, used);
}

static void top_protect(const struct pile_policy *p, char *buf, size_t size)
{
	size_t used = 0;

	for (uint32_t i = 0; i < p->n_protect; i++)
		used = list_add(p->protect[i], buf, size, used);
	list_end(buf, size, used);
}

const struct pile_format_top pile_format_tops[PILE_FORMAT_TOPS] = {
	{ "mode", top_mode },
	{ "revision", top_revision },
	{ "enforce_share", top_enforce_share },
	{ "memory_reserve", top_memory_reserve },
	{ "leak_notice", top_leak_notice },
	{ "fingerprints", top_fingerprints },
	{ "protect", top_protect },
};

static void write_group(const struct pile_policy_group *group, FILE *f)
{
	char value[PILE_FORMAT_VALUE_MAX];

	for (size_t i = 0; i < PILE_FORMAT_KEYS; i++) {
		value[0] = '\0';
		pile_format_keys[i].value(group, value, sizeof(value));
		if (value[0])
			fprintf(f, "%s%s: %s\n", i ? "    " : "  - ", pile_format_keys[i].name,
				value);
	}
}

void pile_format_write(const struct pile_policy *policy, FILE *f)
{
	char value[PILE_FORMAT_TOP_MAX];

	for (size_t i = 0; i < PILE_FORMAT_TOPS; i++) {
		value[0] = '\0';
		pile_format_tops[i].value(policy, value, sizeof(value));
		if (value[0])
			fprintf(f, "%s: %s\n", pile_format_tops[i].name, value);
	}
	fprintf(f, "groups:%s\n", policy->n_groups ? "" : " []");
	for (uint32_t i = 0; i < policy->n_groups; i++)
		write_group(&policy->groups[i], f);
}

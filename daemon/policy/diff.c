// SPDX-License-Identifier: GPL-2.0-or-later
#include "policy/diff.h"

#include <stdarg.h>
#include <string.h>

#include "policy/format.h"

/** The sentence as it grows. */
struct sentence {
	char *buf;
	size_t size, used;
	unsigned int n; /* differences */
};

static void append(struct sentence *s, const char *fmt, ...) _printf_(2, 3);

static void append(struct sentence *s, const char *fmt, ...)
{
	va_list ap;
	int n;

	if (s->used >= s->size)
		return;
	va_start(ap, fmt);
	n = vsnprintf(s->buf + s->used, s->size - s->used, fmt, ap);
	va_end(ap);
	s->used += n > 0 ? (size_t)n : 0;
}

/* Begin one more difference. */
static void begin(struct sentence *s)
{
	append(s, "%s", s->n++ ? "; " : "");
}

static const struct pile_policy_group *find_group(const struct pile_policy *policy,
						  const char *name)
{
	for (uint32_t i = 0; i < policy->n_groups; i++)
		if (!strcmp(policy->groups[i].name, name))
			return &policy->groups[i];
	return NULL;
}

static uint32_t rungs_of(const struct pile_policy *policy, const char *name)
{
	const struct pile_policy_group *group = find_group(policy, name);

	return group ? group->enforce : 0;
}

static void diff_top(struct sentence *s, const struct pile_policy *from,
		     const struct pile_policy *to)
{
	char was[PILE_FORMAT_TOP_MAX], is[PILE_FORMAT_TOP_MAX];

	for (size_t i = 0; i < PILE_FORMAT_TOPS; i++) {
		const struct pile_format_top *key = &pile_format_tops[i];

		snprintf(was, sizeof(was), "none");
		snprintf(is, sizeof(is), "none");
		key->value(from, was, sizeof(was));
		key->value(to, is, sizeof(is));
		if (!strcmp(was, is))
			continue;
		begin(s);
		append(s, "%s is %s (was: %s)", key->name, is, was);
	}
}

/* How many groups of @in have the rung that @out's do not, and what those enforce there, all together. */
static unsigned int rung_count(const struct pile_policy *in, const struct pile_policy *out,
			       uint32_t rung, uint32_t *ret_other)
{
	unsigned int n = 0;

	*ret_other = 0;
	for (uint32_t i = 0; i < in->n_groups; i++) {
		uint32_t other = rungs_of(out, in->groups[i].name);

		if (!(in->groups[i].enforce & rung) || other & rung)
			continue;
		*ret_other |= other;
		n++;
	}
	return n;
}

static void diff_rung(struct sentence *s, const struct pile_policy *from,
		      const struct pile_policy *to, const struct pile_format_rung *rung)
{
	uint32_t before, after;
	unsigned int gained = rung_count(to, from, rung->bit, &before),
		     lost = rung_count(from, to, rung->bit, &after);

	if (gained) {
		begin(s);
		append(s, "%u group%s %s (was: %s)", gained,
		       gained == 1 ? " enforces" : "s enforce", rung->name,
		       before ? "not" : "none");
	}
	if (lost) {
		begin(s);
		append(s, "%u group%s %s (was: %s)", lost, lost == 1 ? " enforces" : "s enforce",
		       after ? "it no more" : "nothing", rung->name);
	}
}

/* The line that matters most comes first, and is one for all groups: who may act now that might not
 * before. */
static void diff_enforce(struct sentence *s, const struct pile_policy *from,
			 const struct pile_policy *to)
{
	for (size_t i = 0; i < PILE_FORMAT_RUNGS; i++)
		diff_rung(s, from, to, &pile_format_rungs[i]);
}

/* Groups of @policy that @other does not have. */
static void diff_presence(struct sentence *s, const struct pile_policy *policy,
			  const struct pile_policy *other, const char *word)
{
	unsigned int n = 0;

	for (uint32_t i = 0; i < policy->n_groups; i++)
		n += !find_group(other, policy->groups[i].name);
	if (!n)
		return;
	begin(s);
	append(s, "%u group%s %s", n, n == 1 ? "" : "s", word);
	for (uint32_t i = 0, k = 0; i < policy->n_groups; i++)
		if (!find_group(other, policy->groups[i].name))
			append(s, "%s%s", k++ ? ", " : ": ", policy->groups[i].name);
}

static const char *value_of(const struct pile_format_key *key,
			    const struct pile_policy_group *group, char *buf, size_t size)
{
	buf[0] = '\0';
	key->value(group, buf, size);
	if (!buf[0])
		snprintf(buf, size, "none");
	return buf;
}

static void diff_group(struct sentence *s, const struct pile_policy_group *from,
		       const struct pile_policy_group *to)
{
	char was[PILE_FORMAT_VALUE_MAX], is[PILE_FORMAT_VALUE_MAX];

	for (size_t i = 0; i < PILE_FORMAT_KEYS; i++) {
		const struct pile_format_key *key = &pile_format_keys[i];

		/* enforce was told above, for all groups at once */
		if (!strcmp(key->name, "enforce"))
			continue;
		if (!strcmp(value_of(key, from, was, sizeof(was)),
			    value_of(key, to, is, sizeof(is))))
			continue;
		begin(s);
		append(s, "%s: %s is %s (was: %s)", to->name, key->name, is, was);
	}
}

/* Same groups in another order: another text and hash, so it must not read "nothing changes". */
static void diff_order(struct sentence *s, const struct pile_policy *from,
		       const struct pile_policy *to)
{
	for (uint32_t i = 0; !s->n && i < to->n_groups && i < from->n_groups; i++) {
		if (!strcmp(from->groups[i].name, to->groups[i].name))
			continue;
		begin(s);
		append(s, "the order of the groups changes");
	}
}

static void close_sentence(struct sentence *s)
{
	append(s, "%s", s->n ? "; nothing else changes" : "nothing changes");
	if (s->used >= s->size && s->size > 4)
		snprintf(s->buf + s->size - 4, 4, "...");
}

unsigned int pile_diff_format(const struct pile_policy *from, const struct pile_policy *to,
			      char *buf, size_t size)
{
	struct sentence s = { .buf = buf, .size = size };

	if (size)
		buf[0] = '\0';
	diff_enforce(&s, from, to);
	diff_top(&s, from, to);
	diff_presence(&s, to, from, "added");
	diff_presence(&s, from, to, "removed");
	for (uint32_t i = 0; i < to->n_groups; i++) {
		const struct pile_policy_group *was = find_group(from, to->groups[i].name);

		if (was)
			diff_group(&s, was, &to->groups[i]);
	}
	diff_order(&s, from, to);
	close_sentence(&s);
	return s.n;
}

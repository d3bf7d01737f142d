// SPDX-License-Identifier: GPL-2.0-or-later
#include "policy/hint.h"

#include <errno.h>
#include <string.h>

#define WORD_MAX 64 /* longer than every key */

struct advice {
	const char *problem; /* how libyaml's words begin */
	char at;	     /* the character found there; 0 = any */
	const char *text;
};

/* The first that fits; libyaml 0.2.5's words. The last fits all. */
static const struct advice advices[] = {
	{ "found character that cannot start any token", '\t', "a tab: indent with spaces" },
	{ "found character that cannot start any token", '@',
	  "a text that begins with '@' must be quoted: \"@name\"" },
	{ "found character that cannot start any token", '%',
	  "a text that begins with '%' must be quoted" },
	{ "found character that cannot start any token", 0,
	  "a text cannot begin with this character: quote it" },
	{ "found a tab character that violates indentation", 0, "a tab: indent with spaces" },
	{ "did not find expected node content", 0,
	  "a value that begins with '[' or ':' must be quoted: \"[::1]:9000\", \":25\"" },
	{ "mapping values are not allowed", 0,
	  "a second ':' in one line, or none in the line above: quote the value, or check the "
	  "indentation" },
	{ "block sequence entries are not allowed", 0,
	  "a '-' is not allowed here: put the list on lines of its own, below its key" },
	{ "did not find expected key", 0,
	  "a key was expected here: align it with the keys above, and quote a value "
	  "that begins with '[' or '\"' and goes on behind its end" },
	{ "did not find expected '-' indicator", 0,
	  "the next entry of the list was expected here: begin it with '-', "
	  "aligned with the entries above" },
	{ "did not find expected ',' or ']'", 0, "a list was not closed: write [one, two]" },
	{ "did not find expected ',' or '}'", 0,
	  "a mapping was not closed: write one 'key: value' a line instead" },
	{ "could not find expected ':'", 0, "a ':' is missing: write 'key: value'" },
	{ "found unexpected end of stream", 0,
	  "a quote was not closed before the end of the file" },
	{ "found unknown escape character", 0,
	  "an unknown escape: use single quotes, or write the backslash twice" },
	{ "found undefined tag handle", 0,
	  "tags (!) are not used in a policy: write the value alone" },
	{ "", 0, "write it as in pileguard's sample policy.yaml" },
};

static const struct advice *find_advice(const char *problem, char at)
{
	const struct advice *a = advices;

	while (strncmp(problem, a->problem, strlen(a->problem)) || (a->at && a->at != at))
		a++;
	return a;
}

/* libyaml gives no line for bytes that it could not even decode: count. */
static void count_place(const char *text, size_t offset, unsigned int *line, unsigned int *column)
{
	*line = *column = 1;
	for (size_t i = 0; i < offset; i++) {
		*column = text[i] == '\n' ? 1 : *column + 1;
		*line += text[i] == '\n';
	}
}

/* libyaml counts characters, not bytes: walk to the line, then over the characters. */
static char char_at(const char *text, size_t size, const yaml_mark_t *mark)
{
	size_t line = mark->line, column = mark->column, i = 0;

	for (; i < size && line; i++)
		line -= text[i] == '\n';
	for (; i < size && column && text[i] != '\n'; i++)
		column -= i + 1 == size || (text[i + 1] & 0xc0) != 0x80;
	return i < size ? text[i] : 0;
}

int pile_hint_syntax(const yaml_parser_t *parser, const char *text, size_t size,
		     struct pile_error *err)
{
	const yaml_mark_t *mark = &parser->problem_mark;
	const char *problem = parser->problem ? parser->problem : "cannot be read";
	unsigned int line, column;

	if (parser->error == YAML_MEMORY_ERROR)
		return pile_error_set(err, ENOMEM, "out of memory");
	if (parser->error == YAML_READER_ERROR) {
		count_place(text, MIN(parser->problem_offset, size), &line, &column);
		return pile_error_set_at(err, EINVAL, NULL, line, column,
					 "not text (%s): write UTF-8 without control characters",
					 problem);
	}
	return pile_error_set_at(err, EINVAL, NULL, (unsigned int)mark->line + 1,
				 (unsigned int)mark->column + 1, "not YAML (%s): %s", problem,
				 find_advice(problem, char_at(text, size, mark))->text);
}

/* Levenshtein's distance, one row; @b at most WORD_MAX letters. */
static size_t distance(const char *a, const char *b)
{
	size_t row[WORD_MAX + 1], n = strlen(b);

	for (size_t j = 0; j <= n; j++)
		row[j] = j;
	for (size_t i = 0; a[i]; i++) {
		size_t diagonal = row[0];

		row[0] = i + 1;
		for (size_t j = 0; j < n; j++) {
			size_t change = diagonal + (a[i] != b[j]);

			diagonal = row[j + 1];
			row[j + 1] = MIN(change, MIN(row[j], row[j + 1]) + 1);
		}
	}
	return row[n];
}

const char *pile_hint_nearest(const char *word, const char *(*next)(const void *words, size_t i),
			      const void *words)
{
	const char *best = NULL, *known;
	size_t best_distance = 0;

	if (strlen(word) > WORD_MAX)
		return NULL;
	for (size_t i = 0; (known = next(words, i)); i++) {
		size_t d = distance(word, known);

		/* Two letters, or one in three: "moed" is near to "mode", "colour" to nothing. */
		if (d > MAX(MAX(strlen(known), strlen(word)) / 3, 2) ||
		    (best && d >= best_distance))
			continue;
		best = known;
		best_distance = d;
	}
	return best;
}

// SPDX-License-Identifier: GPL-2.0-or-later
#include "policy/shape.h"

#include <errno.h>
#include <string.h>

#include "policy/hint.h"
#include "policy/schema.h"

#define WORDS_MAX 320 /* all keys of a group in one line */

typedef const struct pile_locate_node node_t;

struct shape {
	const struct pile_locate *tree;
	struct pile_error *err;
};

typedef int (*shape_check)(const struct shape *, node_t *, const char *key,
			   const cyaml_schema_value_t *);

static int check_value(const struct shape *s, node_t *node, const char *key,
		       const cyaml_schema_value_t *schema);

static const char *next_field(const void *words, size_t i)
{
	return ((const cyaml_schema_field_t *)words)[i].key;
}

static const char *next_strval(const void *words, size_t i)
{
	const cyaml_schema_value_t *schema = words;

	return i < schema->enumeration.count ? schema->enumeration.strings[i].str : NULL;
}

/* "one, two or three" */
static const char *join_words(const char *(*next)(const void *, size_t), const void *words,
			      char *buf, size_t size)
{
	size_t used = 0;
	const char *word;

	buf[0] = '\0';
	for (size_t i = 0; (word = next(words, i)) && used < size; i++) {
		const char *glue = i == 0 ? "" : next(words, i + 1) ? ", " : " or ";

		used += (size_t)snprintf(buf + used, size - used, "%s%s", glue, word);
	}
	return buf;
}

static const cyaml_schema_field_t *find_field(const cyaml_schema_field_t *fields, const char *key)
{
	for (; fields->key; fields++)
		if (!strcmp(fields->key, key))
			return fields;
	return NULL;
}

/* A key of the other level, or NULL. */
static const char *find_level(const cyaml_schema_field_t *fields, const char *key)
{
	const cyaml_schema_field_t *top = pile_schema_policy.mapping.fields;
	const cyaml_schema_field_t *groups = find_field(top, "groups");

	if (fields != top && fields != groups->value.sequence.entry->mapping.fields)
		return find_field(groups->value.sequence.entry->mapping.fields, key)
			       ? "belongs to the group: indent it as far as match"
			       : NULL;
	if (fields != top)
		return find_field(top, key) ? "stands on top, not in a group: write it without "
					      "indentation"
					    : NULL;
	return find_field(groups->value.sequence.entry->mapping.fields, key)
		       ? "belongs to a group: indent it, below its '- name: ...'"
		       : NULL;
}

static int fail_key(const struct shape *s, node_t *node, const cyaml_schema_field_t *fields)
{
	const char *level = find_level(fields, node->key);
	const char *near = pile_hint_nearest(node->key, next_field, fields);
	char words[WORDS_MAX];

	if (level)
		return pile_error_set_at(s->err, EINVAL, NULL, node->key_line, node->key_column,
					 "%.64s: %s", node->key, level);
	if (near)
		return pile_error_set_at(s->err, EINVAL, NULL, node->key_line, node->key_column,
					 "%.64s: unknown key: did you mean %s?", node->key, near);
	return pile_error_set_at(s->err, EINVAL, NULL, node->key_line, node->key_column,
				 "%.64s: unknown key: write one of %s", node->key,
				 join_words(next_field, fields, words, sizeof(words)));
}

static node_t *find_child(const struct shape *s, node_t *parent, const char *key)
{
	node_t *child = pile_locate_first(s->tree, parent);

	while (child && strcmp(child->key, key))
		child = pile_locate_next(s->tree, child);
	return child;
}

static int check_required(const struct shape *s, node_t *node, const cyaml_schema_field_t *fields)
{
	for (; fields->key; fields++)
		if (!(fields->value.flags & CYAML_FLAG_OPTIONAL) &&
		    !find_child(s, node, fields->key))
			return pile_error_set_at(s->err, EINVAL, NULL, node->line, node->column,
						 "%s is missing: write '%s: ...' in this entry",
						 fields->key, fields->key);
	return 0;
}

static int check_mapping(const struct shape *s, node_t *node, const char *key,
			 const cyaml_schema_value_t *schema)
{
	const cyaml_schema_field_t *fields = schema->mapping.fields;
	node_t *child;

	if (node->kind != PILE_LOCATE_MAPPING)
		return pile_error_set_at(
			s->err, EINVAL, NULL, node->line, node->column,
			"%s: 'key: value' lines were expected here: begin with '%s: ...'", key,
			fields[0].key);
	for (child = pile_locate_first(s->tree, node); child;
	     child = pile_locate_next(s->tree, child)) {
		const cyaml_schema_field_t *field = find_field(fields, child->key);
		node_t *first;
		int r;

		if (!field)
			return fail_key(s, child, fields);
		first = find_child(s, node, child->key);
		if (first != child)
			return pile_error_set_at(
				s->err, EINVAL, NULL, child->key_line, child->key_column,
				"%s: already given in line %u: keep one of the two", child->key,
				first->key_line);
		r = check_value(s, child, child->key, &field->value);
		if (r < 0)
			return r;
	}
	return check_required(s, node, fields);
}

static int check_list(const struct shape *s, node_t *node, const char *key,
		      const cyaml_schema_value_t *schema)
{
	node_t *child;
	int r;

	if (node->empty)
		return 0; /* "groups:" and nothing but comments below */
	if (node->kind == PILE_LOCATE_SCALAR && schema->sequence.entry->type != CYAML_MAPPING)
		return pile_error_set_at(s->err, EINVAL, NULL, node->line, node->column,
					 "%s: takes a list: write [%.64s], or [] for none", key,
					 node->text);
	if (node->kind != PILE_LOCATE_LIST)
		return pile_error_set_at(s->err, EINVAL, NULL, node->line, node->column,
					 "%s: takes a list: %s", key,
					 schema->sequence.entry->type == CYAML_MAPPING
						 ? "begin each entry with '- name: ...'"
						 : "write [one, two], or [] for none");
	if (node->n_children > schema->sequence.max)
		return pile_error_set_at(s->err, EINVAL, NULL, node->line, node->column,
					 "%s: has %u entries: write at most %u", key,
					 node->n_children, schema->sequence.max);
	for (child = pile_locate_first(s->tree, node); child;
	     child = pile_locate_next(s->tree, child)) {
		r = check_value(s, child, key, schema->sequence.entry);
		if (r < 0)
			return r;
	}
	return 0;
}

static int check_text(const struct shape *s, node_t *node, const char *key,
		      const cyaml_schema_value_t *schema)
{
	if (node->kind != PILE_LOCATE_SCALAR)
		return pile_error_set_at(
			s->err, EINVAL, NULL, node->line, node->column,
			"%s: takes one value: remove the brackets or the lines below it "
			"(a text that begins with '[' must be quoted)",
			key);
	if (!node->text[0])
		return pile_error_set_at(s->err, EINVAL, NULL, node->line, node->column,
					 "%s: has no value: write one, or leave the key out", key);
	if (strlen(node->text) > schema->string.max)
		return pile_error_set_at(s->err, EINVAL, NULL, node->line, node->column,
					 "%s: is %zu characters long: write at most %u", key,
					 strlen(node->text), schema->string.max);
	return 0;
}

static int check_enum(const struct shape *s, node_t *node, const char *key,
		      const cyaml_schema_value_t *schema)
{
	static const cyaml_schema_value_t as_text = { .string = { .max = UINT32_MAX } };
	const char *word;
	char words[WORDS_MAX];
	int r;

	r = check_text(s, node, key, &as_text);
	if (r < 0)
		return r;
	for (size_t i = 0; (word = next_strval(schema, i)); i++)
		if (!strcmp(word, node->text))
			return 0;
	return pile_error_set_at(s->err, EINVAL, NULL, node->line, node->column,
				 "%s: '%.64s' is not known: write %s", key, node->text,
				 join_words(next_strval, schema, words, sizeof(words)));
}

static const shape_check checks[CYAML__TYPE_COUNT] = {
	[CYAML_MAPPING] = check_mapping,
	[CYAML_SEQUENCE] = check_list,
	[CYAML_STRING] = check_text,
	[CYAML_ENUM] = check_enum,
};

/* As deep as the schema, which is no deeper than the tree (PILE_LOCATE_DEPTH_MAX). */
static int check_value(const struct shape *s, node_t *node, const char *key,
		       const cyaml_schema_value_t *schema)
{
	return checks[schema->type](s, node, key, schema);
}

int pile_shape_check(const struct pile_locate *tree, struct pile_error *err)
{
	const struct shape s = { .tree = tree, .err = err };

	return check_value(&s, tree->nodes, "policy", &pile_schema_policy);
}

// SPDX-License-Identifier: GPL-2.0-or-later
#include "policy/locate.h"

#include <errno.h>
#include <string.h>
#include <yaml.h>

#include "policy/hint.h"

/** One open list or mapping. */
struct level {
	uint32_t node;
	uint32_t last; /* its newest child, 0 = none */
};

struct builder {
	struct pile_locate *tree;
	struct pile_error *err;
	struct level stack[PILE_LOCATE_DEPTH_MAX];
	unsigned int depth;
	char *key; /* read, its value not yet */
	yaml_mark_t key_mark;
	bool seen_document;
};

static int fail_at(struct builder *b, const yaml_mark_t *mark, const char *text)
{
	return pile_error_set_at(b->err, EINVAL, NULL, (unsigned int)mark->line + 1,
				 (unsigned int)mark->column + 1, "%s", text);
}

static int grow(struct pile_locate *tree)
{
	uint32_t allocated = tree->allocated ? tree->allocated * 2 : 64;
	struct pile_locate_node *nodes;

	if (tree->n < tree->allocated)
		return 0;
	nodes = reallocarray(tree->nodes, allocated, sizeof(*nodes));
	if (!nodes)
		return -ENOMEM;
	tree->nodes = nodes;
	tree->allocated = allocated;
	return 0;
}

/* Hang a node below the innermost open list or mapping; it takes the pending key. */
static void link_node(struct builder *b, uint32_t index)
{
	struct pile_locate_node *nodes = b->tree->nodes;
	struct level *level;

	if (!b->depth)
		return;
	level = &b->stack[b->depth - 1];
	if (level->last)
		nodes[level->last].next = index;
	else
		nodes[level->node].child = index;
	level->last = index;
	nodes[level->node].n_children++;
	if (nodes[level->node].kind != PILE_LOCATE_MAPPING)
		return;
	nodes[index].key = TAKE_PTR(b->key);
	nodes[index].key_line = (unsigned int)b->key_mark.line + 1;
	nodes[index].key_column = (unsigned int)b->key_mark.column + 1;
}

static int add_node(struct builder *b, enum pile_locate_kind kind, const yaml_mark_t *mark)
{
	struct pile_locate *tree = b->tree;
	int r;

	if (tree->n >= PILE_LOCATE_NODES_MAX)
		return fail_at(b, mark,
			       "too many values for a policy: split the hosts, not the file");
	r = grow(tree);
	if (r < 0)
		return r;
	tree->nodes[tree->n] = (struct pile_locate_node){
		.kind = kind,
		.line = (unsigned int)mark->line + 1,
		.column = (unsigned int)mark->column + 1,
	};
	link_node(b, tree->n);
	tree->n++;
	return 0;
}

static bool wants_key(const struct builder *b)
{
	return b->depth && !b->key &&
	       b->tree->nodes[b->stack[b->depth - 1].node].kind == PILE_LOCATE_MAPPING;
}

/* Values end up in logs, terminals and paths: nothing there may move a cursor or look like
 * something else. */
static bool is_printable(const char *text, size_t length)
{
	for (size_t i = 0; i < length; i++)
		if (text[i] < 0x20 || text[i] > 0x7e)
			return false;
	return true;
}

static int refuse_decoration(struct builder *b, const yaml_event_t *event,
			     const yaml_char_t *anchor, const yaml_char_t *tag)
{
	if (anchor)
		return fail_at(b, &event->start_mark,
			       "anchors (&) are not used in a policy: write the value itself");
	if (tag)
		return fail_at(b, &event->start_mark,
			       "tags (!) are not used in a policy: write the value alone");
	return 0;
}

static int on_scalar(struct builder *b, const yaml_event_t *event)
{
	const char *value = (const char *)event->data.scalar.value;
	size_t length = event->data.scalar.length;
	struct pile_locate_node *node;
	int r;

	r = refuse_decoration(b, event, event->data.scalar.anchor, event->data.scalar.tag);
	if (r < 0)
		return r;
	if (!is_printable(value, length))
		return fail_at(b, &event->start_mark,
			       "a line break, control or non-ASCII character in a value: "
			       "write printable ASCII on one line");
	if (wants_key(b)) {
		b->key = strndup(value, length);
		b->key_mark = event->start_mark;
		return b->key ? 0 : -ENOMEM;
	}
	r = add_node(b, PILE_LOCATE_SCALAR, &event->start_mark);
	if (r < 0)
		return r;
	node = &b->tree->nodes[b->tree->n - 1];
	node->empty = !length && event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
	node->text = strndup(value, length);
	return node->text ? 0 : -ENOMEM;
}

static int open_level(struct builder *b, enum pile_locate_kind kind, const yaml_event_t *event)
{
	int r;

	if (wants_key(b))
		return fail_at(b, &event->start_mark,
			       "a list or mapping where a key belongs: write 'key: value'");
	if (b->depth >= PILE_LOCATE_DEPTH_MAX)
		return fail_at(b, &event->start_mark,
			       "nested too deep for a policy: check brackets and indentation");
	r = add_node(b, kind, &event->start_mark);
	if (r < 0)
		return r;
	b->stack[b->depth++] = (struct level){ .node = b->tree->n - 1 };
	return 0;
}

static int on_list_start(struct builder *b, const yaml_event_t *event)
{
	int r = refuse_decoration(b, event, event->data.sequence_start.anchor,
				  event->data.sequence_start.tag);

	return r < 0 ? r : open_level(b, PILE_LOCATE_LIST, event);
}

static int on_mapping_start(struct builder *b, const yaml_event_t *event)
{
	int r = refuse_decoration(b, event, event->data.mapping_start.anchor,
				  event->data.mapping_start.tag);

	return r < 0 ? r : open_level(b, PILE_LOCATE_MAPPING, event);
}

static int on_level_end(struct builder *b, const yaml_event_t *event)
{
	(void)event;
	b->depth--;
	return 0;
}

static int on_alias(struct builder *b, const yaml_event_t *event)
{
	return fail_at(b, &event->start_mark,
		       "aliases (*) are not used in a policy: write the value itself");
}

static int on_document_start(struct builder *b, const yaml_event_t *event)
{
	if (b->seen_document)
		return fail_at(b, &event->start_mark,
			       "a second document: a policy file holds one, remove this '---'");
	b->seen_document = true;
	return 0;
}

typedef int (*event_handler)(struct builder *, const yaml_event_t *);

static const event_handler handlers[] = {
	[YAML_DOCUMENT_START_EVENT] = on_document_start,
	[YAML_ALIAS_EVENT] = on_alias,
	[YAML_SCALAR_EVENT] = on_scalar,
	[YAML_SEQUENCE_START_EVENT] = on_list_start,
	[YAML_SEQUENCE_END_EVENT] = on_level_end,
	[YAML_MAPPING_START_EVENT] = on_mapping_start,
	[YAML_MAPPING_END_EVENT] = on_level_end,
};

static int handle_event(struct builder *b, const yaml_event_t *event)
{
	if (event->type >= ARRAY_LEN(handlers) || !handlers[event->type])
		return 0;
	return handlers[event->type](b, event);
}

static int build(struct builder *b, yaml_parser_t *parser, const char *text, size_t size)
{
	bool done = false;
	int r = 0;

	while (!done && r == 0) {
		yaml_event_t event;

		if (!yaml_parser_parse(parser, &event))
			return pile_hint_syntax(parser, text, size, b->err);
		done = event.type == YAML_STREAM_END_EVENT;
		r = handle_event(b, &event);
		yaml_event_delete(&event);
	}
	return r;
}

int pile_locate_parse(const char *text, size_t size, struct pile_locate *ret,
		      struct pile_error *err)
{
	_cleanup_(pile_locate_fini) struct pile_locate tree = { 0 };
	struct builder b = { .tree = &tree, .err = err };
	yaml_parser_t parser;
	int r;

	if (!yaml_parser_initialize(&parser))
		return pile_error_set(err, ENOMEM, "out of memory");
	yaml_parser_set_input_string(&parser, (const unsigned char *)text, size);
	r = build(&b, &parser, text, size);
	yaml_parser_delete(&parser);
	free(b.key);
	if (r == -ENOMEM)
		return pile_error_set(err, ENOMEM, "out of memory");
	if (r < 0)
		return r;
	*ret = tree;
	tree = (struct pile_locate){ 0 };
	return 0;
}

void pile_locate_fini(struct pile_locate *tree)
{
	for (uint32_t i = 0; i < tree->n; i++) {
		free(tree->nodes[i].key);
		free(tree->nodes[i].text);
	}
	free(tree->nodes);
	*tree = (struct pile_locate){ 0 };
}

const struct pile_locate_node *pile_locate_first(const struct pile_locate *tree,
						 const struct pile_locate_node *parent)
{
	return parent->child ? &tree->nodes[parent->child] : NULL;
}

const struct pile_locate_node *pile_locate_next(const struct pile_locate *tree,
						const struct pile_locate_node *node)
{
	return node->next ? &tree->nodes[node->next] : NULL;
}

/* "[3]..." or "name..." at the head of a path; moves @path behind it and behind a '.'. */
static const struct pile_locate_node *step(const struct pile_locate *tree,
					   const struct pile_locate_node *node, const char **path)
{
	bool indexed = **path == '[';
	unsigned long index = indexed ? strtoul(*path + 1, NULL, 10) : 0;
	size_t length = indexed ? strcspn(*path, "]") + 1 : strcspn(*path, ".[");
	const char *name = *path;

	node = pile_locate_first(tree, node);
	while (node) {
		if (indexed ? index-- == 0
			    : node->key && !strncmp(node->key, name, length) && !node->key[length])
			break;
		node = pile_locate_next(tree, node);
	}
	*path += MIN(length, strlen(*path));
	*path += **path == '.';
	return node;
}

const struct pile_locate_node *pile_locate_find(const struct pile_locate *tree, const char *path)
{
	const struct pile_locate_node *node, *below;

	if (!tree->n)
		return NULL;
	for (node = tree->nodes; *path; node = below) {
		below = step(tree, node, &path);
		if (!below)
			break;
	}
	return node;
}

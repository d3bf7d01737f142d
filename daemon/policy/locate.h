/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * locate.h: a YAML text as a tree that knows the line and column of every key and value.
 * libcyaml fills structs but keeps no places; this finds them, and refuses what a policy never
 * needs (anchors, aliases, tags, second documents, depth, bytes outside printable ASCII in values).
 * Owned by the caller (init by parse, fini). Slow thread and pileguardctl: allocates, does not
 * block, never logs.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util/error.h"

#define PILE_LOCATE_DEPTH_MAX 8	     /* the policy needs 4: root, groups, a group, a list */
#define PILE_LOCATE_NODES_MAX 16384u /* 128 groups x (20 keys + 2 x 16 entries) = 6.7 k */

enum pile_locate_kind {
	PILE_LOCATE_SCALAR,
	PILE_LOCATE_LIST,
	PILE_LOCATE_MAPPING,
};

/** One value and, in a mapping, its key. Lines and columns count from 1. Indexes: 0 = none. */
struct pile_locate_node {
	enum pile_locate_kind kind;
	bool empty;	/* a plain scalar without a character: "key:" */
	uint32_t child; /* first child */
	uint32_t next;	/* next sibling */
	uint32_t n_children;
	unsigned int line, column;
	unsigned int key_line, key_column;
	char *key;  /* NULL outside of mappings */
	char *text; /* scalars only */
};

struct pile_locate {
	struct pile_locate_node *nodes; /* [0] is the root */
	uint32_t n, allocated;
};

/**
 * pile_locate_parse - read the whole text
 * @ret: on success the tree (n == 0: nothing but comments), to be given to pile_locate_fini()
 * Returns 0; -EINVAL with line, column and text set; -ENOMEM.
 */
int pile_locate_parse(const char *text, size_t size, struct pile_locate *ret,
		      struct pile_error *err);

/** pile_locate_fini - free the tree; harmless on a zeroed one. */
void pile_locate_fini(struct pile_locate *tree);

/** pile_locate_first, pile_locate_next - walk the children of a node; NULL at the end. */
const struct pile_locate_node *pile_locate_first(const struct pile_locate *tree,
						 const struct pile_locate_node *parent);
const struct pile_locate_node *pile_locate_next(const struct pile_locate *tree,
						const struct pile_locate_node *node);

/**
 * pile_locate_find - the value at "groups[1].exempt[0]", or its nearest ancestor that was written
 * Returns a borrowed node; NULL only when the tree is empty.
 */
const struct pile_locate_node *pile_locate_find(const struct pile_locate *tree, const char *path);

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * table.h: aligned columns; the least important ones are left out on a narrow terminal.
 * Pure but for stdout; allocates; never logs.
 */
#pragma once

#include <jansson.h>
#include <stddef.h>

#include "ctl.h"

#define PILE_TABLE_CELL_MAX 160
#define PILE_TABLE_COLUMNS_MAX 16

struct pile_table_column {
	const char *title;
	bool right;	   /* numbers */
	unsigned int drop; /* 0: always shown; else the highest goes first when it does not fit */
	const char *(*format)(const json_t *row, char *buf, size_t size);
	bool (*loud)(const json_t *row); /* shown in red on a terminal; or NULL */
};

/** pile_table_print - a title line and one line for each element of the array @rows */
void pile_table_print(const struct pile_ctl *ctl, const struct pile_table_column *columns, size_t n,
		      const json_t *rows);

/** pile_table_wrap - @label padded to @indent, then @text in as many lines as the width needs */
void pile_table_wrap(const struct pile_ctl *ctl, const char *label, unsigned int indent,
		     const char *text);

/** pile_table_loud - one line in red, on a terminal */
void pile_table_loud(const struct pile_ctl *ctl, const char *text);

// SPDX-License-Identifier: GPL-2.0-or-later
#include "table.h"

#include <stdio.h>
#include <string.h>

#include "util/macro.h"
#include "value.h"

#define GAP 2
#define RED "\033[31m"
#define PLAIN "\033[0m"

/** Columns on the screen: bytes that do not continue a UTF-8 character. */
static size_t text_width(const char *text)
{
	size_t n = 0;

	for (; *text; text++)
		n += ((unsigned char)*text & 0xc0) != 0x80;
	return n;
}

static void widths_measure(const struct pile_table_column *columns, size_t n, const json_t *rows,
			   size_t *ret_widths)
{
	char cell[PILE_TABLE_CELL_MAX];
	const json_t *row;
	size_t index;

	for (size_t i = 0; i < n; i++) {
		ret_widths[i] = text_width(columns[i].title);
		json_array_foreach(rows, index, row)
			ret_widths[i] = MAX(ret_widths[i],
					    text_width(columns[i].format(row, cell, sizeof(cell))));
	}
}

/** Which columns fit: drops the one with the highest `drop` until the rest does. */
static void columns_choose(const struct pile_ctl *ctl, const struct pile_table_column *columns,
			   size_t n, const size_t *widths, bool *ret_shown)
{
	for (size_t i = 0; i < n; i++)
		ret_shown[i] = true;
	while (ctl->width) {
		size_t total = 0, victim = n;

		for (size_t i = 0; i < n; i++) {
			if (!ret_shown[i])
				continue;
			total += widths[i] + GAP;
			if (columns[i].drop &&
			    (victim == n || columns[i].drop > columns[victim].drop))
				victim = i;
		}
		if (total <= ctl->width + GAP || victim == n)
			return;
		ret_shown[victim] = false;
	}
}

/** Prints one cell; the blanks that follow it wait in @blanks until there is something behind them.
 */
static void cell_print(const struct pile_table_column *column, const char *text, size_t width,
		       bool loud, size_t *blanks)
{
	size_t pad = width - MIN(width, text_width(text));

	if (column->right)
		*blanks += pad;
	if (text[0]) {
		printf("%*s%s%s%s", (int)*blanks, "", loud ? RED : "", text, loud ? PLAIN : "");
		*blanks = 0;
	}
	*blanks += GAP + (column->right ? 0 : pad);
}

/** One line: the titles when @row is NULL. */
static void row_print(const struct pile_ctl *ctl, const struct pile_table_column *columns, size_t n,
		      const size_t *widths, const bool *shown, const json_t *row)
{
	char cell[PILE_TABLE_CELL_MAX];
	size_t blanks = 0;

	for (size_t i = 0; i < n; i++) {
		const struct pile_table_column *c = &columns[i];

		if (shown[i])
			cell_print(c, row ? c->format(row, cell, sizeof(cell)) : c->title,
				   widths[i], row && ctl->color && c->loud && c->loud(row),
				   &blanks);
	}
	putchar('\n');
}

void pile_table_print(const struct pile_ctl *ctl, const struct pile_table_column *columns, size_t n,
		      const json_t *rows)
{
	size_t widths[PILE_TABLE_COLUMNS_MAX], index;
	bool shown[PILE_TABLE_COLUMNS_MAX];
	const json_t *row;

	n = MIN(n, (size_t)PILE_TABLE_COLUMNS_MAX);
	widths_measure(columns, n, rows, widths);
	columns_choose(ctl, columns, n, widths, shown);
	row_print(ctl, columns, n, widths, shown, NULL);
	json_array_foreach(rows, index, row)
		row_print(ctl, columns, n, widths, shown, row);
}

void pile_table_wrap(const struct pile_ctl *ctl, const char *label, unsigned int indent,
		     const char *text)
{
	size_t room = ctl->width > indent + 20 ? ctl->width - indent : SIZE_MAX;
	size_t at = 0;

	printf("%-*s", (int)indent, label);
	while (*text) {
		size_t word = strcspn(text, " ");
		size_t blanks = strspn(text + word, " ");

		if (at && at + word > room) {
			printf("\n%*s", (int)indent, "");
			at = 0;
		}
		printf("%.*s", (int)word, text);
		text += word + blanks;
		/* The blanks stay only when the next word does too. */
		if (*text && at + word + blanks + strcspn(text, " ") <= room)
			printf("%*s", (int)blanks, "");
		at += word + blanks;
	}
	putchar('\n');
}

void pile_table_loud(const struct pile_ctl *ctl, const char *text)
{
	char clean[2048]; /* whoever told it may want to move the cursor */

	printf("%s%s%s\n", ctl->color ? RED : "", pile_value_clean(text, clean, sizeof(clean)),
	       ctl->color ? PLAIN : "");
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * hint.h: from "this is wrong" to "this would be right": YAML syntax errors and mistyped words.
 * Owns nothing; called by the loader; pure. Never blocks; never logs.
 */
#pragma once

#include <stddef.h>
#include <yaml.h>

#include "util/error.h"

/**
 * pile_hint_syntax - turn libyaml's last problem into an error with line, column and advice
 * @parser: after a failed yaml_parser_parse(); @text, @size: its input
 * Returns -EINVAL, or -ENOMEM when that was the problem.
 */
int pile_hint_syntax(const yaml_parser_t *parser, const char *text, size_t size,
		     struct pile_error *err);

/**
 * pile_hint_nearest - the word that was probably meant
 * @next: gives the i-th known word, NULL at the end
 * Returns one of the known words, or NULL when none is near (more than two letters and more than a
 * third of them differ).
 */
const char *pile_hint_nearest(const char *word, const char *(*next)(const void *words, size_t i),
			      const void *words);

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * shape.h: the tree of locate.h held against the table of schema.h: where libcyaml would only say
 * "invalid". Owns nothing. Pure; never blocks; never logs.
 */
#pragma once

#include "policy/locate.h"
#include "util/error.h"

/**
 * pile_shape_check - keys, kinds, counts, lengths and words
 * Stricter than libcyaml, and with places and advice: unknown keys name the nearest known one,
 * double keys the first.
 * @tree: not empty
 * Returns 0 or -EINVAL with line, column and text set.
 */
int pile_shape_check(const struct pile_locate *tree, struct pile_error *err);

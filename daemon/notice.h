/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * notice.h: an event as the journal has it: the line, whose it is, and the entry of the message catalog
 * (dist/pileguard.catalog) that tells what it means, what it costs and how to undo it. Called from the slow thread
 * only: the journal may block. The ids never change: people and machines look for them.
 */
#pragma once

#include <stdbool.h>

#include "record/record.h"

/**
 * pile_notice_write - one line
 * @to_journal: with all its fields; else the text alone, to stderr
 * Fields: MESSAGE_ID, OBJECT_SYSTEMD_UNIT (where the group is a unit), PILEGUARD_GROUP, PILEGUARD_DESTINATION,
 * PILEGUARD_EXPLAIN (0 = none), PILEGUARD_UNDO (a command, or "nothing").
 */
void pile_notice_write(const struct pile_event *event, bool to_journal);

/** pile_notice_undo - the command that undoes what the event tells, or "nothing". Returns @buf. */
const char *pile_notice_undo(const struct pile_event *event, char *buf, size_t size);

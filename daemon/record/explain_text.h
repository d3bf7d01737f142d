/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * explain_text.h: the sentences: why, did, did not, cost, undo, and the one-line journal texts.
 * Pure: no clock, no allocation, no lock, no floating point; writes into the caller's buffer only.
 * Called from the control loop (journal lines) and from the api process (explain); never blocks;
 * never logs. Each function terminates buf when size > 0, cuts what does not fit, and returns buf.
 * Numbers carry their unit; times are rounded to what a person reads (2.4 s, 52 s, 15 min).
 */
#pragma once

#include <stdint.h>

#include "decide/intent.h"
#include "record/record.h"
#include "util/macro.h"

/** Large enough for every sentence below (the longest is `why`). */
#define PILE_EXPLAIN_TEXT_MAX 512

/** pile_explain_text_why - all terms of the decision: "dead: 41 connecting ... at risk: 32/s x 6.0
 * MiB ..." */
const char *pile_explain_text_why(const struct pile_explain *explain, char *buf, size_t size);

/** pile_explain_text_did - what was done, and what that saved; in observe mode: what would have
 * been done */
const char *pile_explain_text_did(const struct pile_explain *explain, char *buf, size_t size);

/** pile_explain_text_did_not - what was left undone, and the switch that stopped it, in words */
const char *pile_explain_text_did_not(const struct pile_explain *explain, char *buf, size_t size);

/** pile_explain_text_cost - who paid for it: "1,204 connects failed at once instead of waiting" */
const char *pile_explain_text_cost(const struct pile_explain *explain, char *buf, size_t size);

/** pile_explain_text_undo - how it ends by itself, and how to end it now (or: nothing to undo) */
const char *pile_explain_text_undo(const struct pile_explain *explain, char *buf, size_t size);

/** pile_explain_text_command - the exact command that ends it now, or "" when there is nothing to
 * undo */
const char *pile_explain_text_command(const struct pile_explain *explain, char *buf, size_t size);

/** pile_explain_text_state - "open", "half open", "closed"; "would be open" when blocked. Static
 * text. */
const char *pile_explain_text_state(const struct pile_explain *explain);

/** pile_explain_is_share - an episode of rung 2 that began by its share, not at a limit. */
static inline bool pile_explain_is_share(const struct pile_why *why)
{
	return why->by_share;
}

/**
 * pile_explain_text_intent - the journal's line for an intent
 * @group: the group's name; "" or NULL stands for the whole host
 * @explain: the episode's record when there is one, else NULL (CLOSE then leaves the steps out)
 * @buf: "" for kinds that deserve no line (BREAKER_RENEW, NONE)
 */
const char *pile_explain_text_intent(const struct pile_intent *intent, const char *group,
				     const struct pile_explain *explain, char *buf, size_t size);

/** pile_explain_text_probing - the second line after an OPEN that acted: "www:
 * probing 10.9.0.2:3306 every 1.0 s. explain 17" */
const char *pile_explain_text_probing(const struct pile_intent *intent, const char *group,
				      char *buf, size_t size);

/** pile_explain_text_back - what became of a knob that was to be turned back; @now: what another hand has set. */
const char *pile_explain_text_back(const struct pile_explain *explain, const char *now, char *buf,
				   size_t size);

/** pile_explain_text_blocked - the switch as an operator knows it ("mode: observe"); "" for
 * PILE_BLOCKED_NO. */
const char *pile_explain_text_blocked(uint32_t blocked);

/** pile_explain_text_stage - "calm", "suspect", "relieve", "evict". Static text. */
const char *pile_explain_text_stage(uint32_t stage);

/** pile_explain_text_duration - "480 ms", "2.4 s", "52 s", "15 min", "3 h"; UINT64_MAX: "never" */
const char *pile_explain_text_duration(uint64_t ns, char *buf, size_t size);

/** pile_explain_text_bytes - "512 B", "6.0 MiB", "1.1 GiB" */
const char *pile_explain_text_bytes(uint64_t bytes, char *buf, size_t size);

/** pile_explain_text_count - "1,204" */
const char *pile_explain_text_count(uint64_t count, char *buf, size_t size);

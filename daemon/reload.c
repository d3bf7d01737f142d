// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * reload.c: which policy is in force: at start, at a reload, and how the files on disk stand to it.
 * A start takes the last committed policy, not the files: a push that was cut in the middle leaves files of which each
 * is valid, and the whole is not what anybody wrote. Files that differ are told, and wait for a reload.
 * Everything here runs on the control loop; reading and writing is the slow thread's.
 */
#include <errno.h>
#include <string.h>
#include <systemd/sd-daemon.h>

#include "guard.h"
#include "policy/diff.h"
#include "policy/load.h"
#include "policy/store.h"
#include "util/clock.h"

/* ---- the files against what is in force ---- */

static enum pile_files_state files_state(const struct pile_guard *g)
{
	const struct pile_watch *w = &g->watch;

	if (w->result == -ENOENT)
		return PILE_FILES_NONE;
	if (w->result < 0)
		return PILE_FILES_INVALID;
	if (w->result > 0)
		return PILE_FILES_MIXED;
	return strcmp(w->hash, g->policy.hash) ? PILE_FILES_DIFFER : PILE_FILES_SAME;
}

/* Into policy_trouble: why the files are not what is in force; empty when they are. */
static void trouble_format(struct pile_guard *g)
{
	bool built_in = !strcmp(g->policy.source, PILE_POLICY_BUILT_IN);
	char text[768];

	g->policy_trouble[0] = '\0';
	switch (g->files_state) {
	case PILE_FILES_SAME:
		break;
	case PILE_FILES_NONE:
		if (!built_in)
			snprintf(
				g->policy_trouble, sizeof(g->policy_trouble),
				"%s is gone; in force is the last committed policy (pileguardctl policy show)",
				g->options.policy_path);
		break;
	case PILE_FILES_DIFFER:
		snprintf(
			g->policy_trouble, sizeof(g->policy_trouble),
			"the files are another policy (hash %.7s) than the one in force. What changes: pileguardctl "
			"policy diff   Take it: sudo systemctl reload pileguard",
			g->watch.hash);
		break;
	case PILE_FILES_MIXED:
	case PILE_FILES_INVALID:
		pile_error_format(&g->watch.error, text, sizeof(text));
		snprintf(g->policy_trouble, sizeof(g->policy_trouble), "%.500s", text);
		break;
	}
}

void pile_reload_status_tell(const struct pile_guard *g, const char *first)
{
	sd_notifyf(0, "%sSTATUS=%s%s mode, policy %.7s%s", first,
		   g->disarm.now.on ? "DISARMED by hand (pileguardctl arm ends it), " : "",
		   g->view.mode == PILE_MODE_ENFORCE ? "enforce" : "observe", g->policy.hash,
		   g->policy_trouble[0]
			   ? "; the files on disk are not the policy in force: pileguardctl status"
			   : "");
}

void pile_reload_files_say(struct pile_guard *g)
{
	if (g->policy_trouble[0])
		pile_guard_say(g, PILE_EVENT_FILES, PILE_NO_GROUP,
			       "policy %.7s stays in force: %.210s", g->policy.hash,
			       g->policy_trouble);
}

/* The files, or what is in force, may have changed. */
static void files_compare(struct pile_guard *g)
{
	g->files_state = files_state(g);
	trouble_format(g);
}

static void files_follow(struct pile_guard *g)
{
	char before[sizeof(g->policy_trouble)];

	snprintf(before, sizeof(before), "%s", g->policy_trouble);
	files_compare(g);
	if (!strcmp(before, g->policy_trouble))
		return;
	pile_reload_files_say(g);
	if (!g->policy_trouble[0])
		pile_guard_say(g, PILE_EVENT_FILES, PILE_NO_GROUP,
			       "policy %.7s: the files on disk are the policy in force again",
			       g->policy.hash);
	pile_reload_status_tell(g, "");
}

/* ---- in force ---- */

/* In force from here on, as a whole. */
static void policy_commit(struct pile_guard *g, const struct pile_policy *policy, const char *text)
{
	uint64_t now_ns = pile_clock_ns(CLOCK_MONOTONIC);

	pile_policy_copy(&g->policy, policy);
	snprintf(g->policy_text, sizeof(g->policy_text), "%s", text);
	g->view.mode = pile_policy_mode(policy, g->host_share_permille);
	g->view.outside_share = g->view.mode != policy->mode;
	g->view.memory_reserve_bytes = policy->memory_reserve_bytes;
	g->view.leak_notice_ns = policy->leak_notice_ns;
	pile_growth_policy(&g->sense.growth, policy->leak_notice_ns);
	g->sense.look.reserve_bytes = policy->memory_reserve_bytes;
	pile_load_protect(&g->sense.load, policy);
	pile_throttles_reloaded(&g->decide.throttles);
	/* by place: what was learned of another unit is nothing */
	if (g->view.n_protect != policy->n_protect ||
	    memcmp(g->view.protect, policy->protect, sizeof(g->view.protect)) != 0)
		memset(&g->decide.throttles.starves, 0, sizeof(g->decide.throttles.starves));
	g->view.n_protect = policy->n_protect;
	memcpy(g->view.protect, policy->protect, sizeof(g->view.protect));
	pile_groups_apply(&g->groups, &g->kernel, &g->policy, now_ns, pile_tick_group, g);
	g->posture_due = true;
	pile_tick_view(g, true);
	files_compare(g);
}

/* ---- reload ---- */

static void reload_refuse(struct pile_guard *g)
{
	char text[768];

	pile_error_format(&g->loaded.error, text, sizeof(text));
	g->reloads_refused++;
	pile_guard_say(g, PILE_EVENT_POLICY, PILE_NO_GROUP,
		       "policy refused, nothing changed: %.200s", text);
	pile_child_reply(g, g->reload.command_id, g->loaded.result < 0 ? g->loaded.result : -EINVAL,
			 text);
	files_compare(g);
	pile_reload_status_tell(g, "");
}

void pile_reload_tick(struct pile_guard *g, uint64_t now_ns)
{
	int error;
	bool done = pile_slow_committed(&g->slow, g->generation, &error);

	pile_child_late(g, &g->reload.late, done, error, "a restart takes the one before it",
			now_ns);
}

static void reload_take(struct pile_guard *g)
{
	char text[256];

	if (pile_diff_format(&g->policy, &g->loaded.policy, text, sizeof(text)) == 0)
		snprintf(text, sizeof(text), "nothing changes");
	g->generation++;
	g->committed_realtime_ns = pile_clock_ns(CLOCK_REALTIME);
	policy_commit(g, &g->loaded.policy, g->loaded.text);
	if (g->view.outside_share)
		snprintf(text + MIN(strlen(text), sizeof(text) - 80), 80,
			 "; enforce_share %.3g%% leaves this host out: it observes",
			 g->policy.enforce_share_permille / 10.0);
	pile_slow_commit(&g->slow, &g->policy, g->generation);
	pile_slow_watch(&g->slow, &g->policy);
	g->reloads++;
	pile_reload_status_tell(g, "");
	pile_guard_say(g, PILE_EVENT_POLICY, PILE_NO_GROUP,
		       "policy %.7s in force (generation %llu): %.180s", g->policy.hash,
		       (unsigned long long)g->generation, text);
	pile_child_reply_late(g, &g->reload.late, g->reload.command_id, text);
}

int pile_guard_reload(struct pile_guard *g, uint32_t command_id)
{
	int r;

	if (g->reload.waiting) {
		if (!command_id)
			g->reload.again = true;
		return -EBUSY;
	}
	r = pile_slow_load(&g->slow, ++g->reload.ticket);
	if (r < 0)
		return r;
	g->reload.waiting = true;
	g->reload.command_id = command_id;
	return 0;
}

int pile_reload_done(sd_event_source *source, int fd, uint32_t revents, void *arg)
{
	struct pile_guard *g = arg;
	bool loaded, watched;

	(void)source;
	(void)fd;
	(void)revents;
	/* in this order: the first takes the event away, and what comes after that makes another */
	loaded = pile_slow_loaded(&g->slow, &g->loaded);
	watched = pile_slow_watched(&g->slow, &g->watch);
	if (!loaded) {
		if (watched)
			files_follow(g);
		return 0;
	}
	if (g->loaded.result != 0)
		reload_refuse(g);
	else
		reload_take(g);
	g->reload.waiting = false;
	g->reload.command_id = 0;
	if (g->reload.again) {
		g->reload.again = false;
		pile_guard_reload(g, 0);
	}
	return 0;
}

/* ---- start ---- */

/* There is none that was committed, or it cannot be trusted: the files, if they are whole. */
static int boot_from_files(struct pile_guard *g, int committed, const struct pile_error *why,
			   struct pile_error *err, struct pile_policy *policy)
{
	g->generation++;
	g->committed_realtime_ns = pile_clock_ns(CLOCK_REALTIME);
	g->commit_due = true;
	if (committed != -ENOENT)
		pile_error_format(why, g->store_trouble, sizeof(g->store_trouble));
	if (g->watch.result == -ENOENT)
		return pile_load_builtin(policy);
	if (g->watch.result != 0) {
		/* why not the committed one, too: two troubles, one sentence */
		size_t len = strlen(err->text);

		if (g->store_trouble[0])
			snprintf(err->text + len, sizeof(err->text) - len,
				 " (and of the committed policy: %.200s)", g->store_trouble);
		return -EINVAL;
	}
	pile_policy_copy(policy, &g->loaded.policy);
	return 0;
}

int pile_reload_boot(struct pile_guard *g, struct pile_policy *policy, struct pile_error *err)
{
	struct pile_error store_err = {};
	int committed;

	pile_watch_load(&g->slow.watch, g->options.policy_path, &g->loaded.policy, err);
	g->watch = g->slow.watch;
	committed = pile_store_load(g->options.state_dir, policy, &g->generation, &store_err);
	if (committed < 0)
		return boot_from_files(g, committed, &store_err, err, policy);
	g->committed_realtime_ns = pile_store_time(g->options.state_dir);
	/* the same: told as what the operator knows, his files or that there are none */
	if (g->watch.result == -ENOENT)
		pile_load_builtin(&g->loaded.policy);
	if ((g->watch.result == 0 || g->watch.result == -ENOENT) &&
	    !strcmp(g->loaded.policy.hash, policy->hash))
		pile_policy_copy(policy, &g->loaded.policy);
	return 0;
}

void pile_reload_start(struct pile_guard *g, const struct pile_policy *policy)
{
	int r = pile_slow_policy_text(policy, g->loaded.text);

	policy_commit(g, policy, g->loaded.text);
	if (g->commit_due)
		pile_slow_commit(&g->slow, &g->policy, g->generation);
	pile_slow_watch(&g->slow, &g->policy);
	if (g->store_trouble[0])
		pile_guard_say(g, PILE_EVENT_TROUBLE, PILE_NO_GROUP,
			       "the files are in force, since: %.180s", g->store_trouble);
	if (r < 0)
		pile_guard_say(g, PILE_EVENT_TROUBLE, PILE_NO_GROUP,
			       "the policy in force cannot be shown before the next reload: %s",
			       strerror(-r));
}

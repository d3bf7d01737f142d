// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * guard.c: start and stop: the page to read first; tick.c is the second.
 *
 *   tick:   groups_check -> sense -> decide -> act -> record -> publish     (every 100 ms)
 *   drain:  act alone: more of the waits behind the gates are ended        (every 5 ms while some are left)
 *   reload: slow thread reads and checks -> commit, in one step -> slow thread keeps it    (reload.c)
 */
#include "guard.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <systemd/sd-daemon.h>
#include <systemd/sd-id128.h>

#include "keep.h"
#include "pileguard/api.h"
#include "util/clock.h"

#define PILE_APP_ID SD_ID128_MAKE(6c, 1f, 5e, 0d, 9a, 7b, 4e, 43, 8d, 2c, 51, 70, a9, e4, 0b, 36)

/* Once, so many from now. */
static void drain_schedule(struct pile_guard *g)
{
	uint64_t next = (pile_clock_ns(CLOCK_MONOTONIC) + PILE_ACT_DRAIN_PASS_NS) / NS_PER_US;

	sd_event_source_set_time(g->drain, next);
	sd_event_source_set_enabled(g->drain, SD_EVENT_ONESHOT);
}

static int on_drain(sd_event_source *source, uint64_t usec, void *arg)
{
	struct pile_guard *g = arg;

	(void)source;
	(void)usec;
	if (pile_act_drain_pass(&g->act, &g->kernel, &g->sense, g->groups.own_netns,
				pile_clock_ns(CLOCK_MONOTONIC)))
		drain_schedule(g);
	return 0;
}

static int on_tick(sd_event_source *source, uint64_t usec, void *arg)
{
	uint64_t now = 0, next = usec + PILE_TICK_NS / NS_PER_US;
	struct pile_guard *g = arg;

	pile_tick(g);
	if (g->act.draining)
		drain_schedule(g);
	sd_event_now(sd_event_source_get_event(source), CLOCK_MONOTONIC, &now);
	/* after a stall: no burst of ticks to catch up */
	if (next < now)
		next = now + PILE_TICK_NS / NS_PER_US;
	sd_event_source_set_time(source, next);
	return 0;
}

/* ---- start and stop ---- */

static int on_signal(sd_event_source *source, const struct signalfd_siginfo *si, void *arg)
{
	struct pile_guard *g = arg;

	if (si->ssi_signo == SIGHUP) {
		pile_guard_reload(g, 0);
		return 0;
	}
	return sd_event_exit(sd_event_source_get_event(source), 0);
}

static const int guard_signals[] = { SIGHUP, SIGTERM, SIGINT };

/* Before any thread is made: all of them inherit the mask, and only the event loop hears. */
static void signals_block(void)
{
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < ARRAY_LEN(guard_signals); i++)
		sigaddset(&set, guard_signals[i]);
	sigaddset(&set, SIGPIPE);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
}

static int signals_open(struct pile_guard *g)
{
	int r = 0;

	for (size_t i = 0; i < ARRAY_LEN(guard_signals) && r >= 0; i++)
		r = sd_event_add_signal(g->event, NULL, guard_signals[i], on_signal, g);
	return r;
}

/* The tick's timer must go on after its first shot; the drain's is set when there is something to end. */
static int timers_open(struct pile_guard *g)
{
	sd_event_source *timer = NULL;
	int r;

	r = sd_event_add_time(g->event, &timer, CLOCK_MONOTONIC,
			      pile_clock_ns(CLOCK_MONOTONIC) / NS_PER_US, 1000, on_tick, g);
	if (r >= 0)
		r = sd_event_source_set_enabled(timer, SD_EVENT_ON);
	if (r >= 0)
		r = sd_event_source_set_floating(timer, true);
	sd_event_source_unref(timer);
	if (r >= 0)
		r = sd_event_add_time(g->event, &g->drain, CLOCK_MONOTONIC, 0, 1000, on_drain, g);
	if (r >= 0)
		r = sd_event_source_set_enabled(g->drain, SD_EVENT_OFF);
	return r;
}

/* What this host does not give us, and what that costs: for `status`. */
static void missing_add(struct pile_guard *g, const char *what)
{
	size_t len = strlen(g->missing);

	snprintf(g->missing + len, sizeof(g->missing) - len, "%s%s", len ? "; " : "", what);
}

static void missing_collect(struct pile_guard *g, int diag)
{
	if (g->kernel.missing[0])
		missing_add(g, g->kernel.missing);
	if (diag < 0)
		missing_add(
			g,
			"pending connects cannot be ended (no netlink): only new ones are refused");
	g->sensors_missing = g->missing[0] != '\0'; /* what follows costs no sensor and no gate */
	if (access("/proc/pressure/memory", R_OK) < 0)
		missing_add(
			g,
			"pressure (PSI) is off: nobody is seen to wait for a processor, so rung 3 acts on fork storms alone; boot with psi=1");
}

/*
 * Real time, so that a pile-up of runnable workers cannot keep the guard from its tick; only where
 * LimitRTTIME bounds a tick that would not end. Not inherited by the api process or the slow thread
 * (SCHED_RESET_ON_FORK).
 */
static void priority_raise(struct pile_guard *g)
{
	struct sched_param param = { .sched_priority = 1 };
	struct rlimit limit;

	if (mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) < 0)
		missing_add(g, "memory is not locked: ticks may come late when the host swaps");
	if (getrlimit(RLIMIT_RTTIME, &limit) < 0 || limit.rlim_cur == RLIM_INFINITY)
		return;
	if (pthread_setschedparam(pthread_self(), SCHED_RR | SCHED_RESET_ON_FORK, &param) != 0)
		missing_add(g, "no real-time priority: ticks may come late under load");
}

/* For jitter, and for enforce_share: a host keeps its place as long as it keeps its machine id. */
static void host_place(struct pile_guard *g)
{
	sd_id128_t id;
	uint32_t seed = 2166136261u;

	if (sd_id128_get_machine_app_specific(PILE_APP_ID, &id) < 0) {
		g->host_seed = (uint32_t)pile_clock_ns(CLOCK_REALTIME);
		g->host_share_permille = 1000;
		return;
	}
	for (size_t i = 0; i < sizeof(id.bytes); i++)
		seed = (seed ^ id.bytes[i]) * 16777619u;
	g->host_seed = seed;
	g->host_share_permille = seed % 1000;
}

static int start(struct pile_guard *g, struct pile_error *err)
{
	static struct pile_policy policy;
	struct pile_hierarchy hierarchy;
	int r, diag;

	/* before anything is touched that another guard may own: two would share what is kept, and what is shown */
	r = pile_child_listen(g, err);
	if (r < 0)
		return r;
	r = pile_reload_boot(g, &policy, err);
	if (r < 0)
		return -EBADMSG;
	/* where the policy was read last is no part of what follows */
	memset(err, 0, sizeof(*err));
	r = pile_groups_hierarchy_find(&hierarchy, err);
	if (r < 0)
		return r;
	r = pile_kernel_open(&g->kernel, err);
	if (r < 0)
		return r;
	pile_groups_init(&g->groups, &hierarchy);
	diag = pile_act_open(&g->act);
	missing_collect(g, diag);
	if (pile_act_evicts_open(&g->evicts) < 0)
		missing_add(g, "processes cannot be held by a pidfd: no worker is evicted");
	else if (g->evicts.reaper_fd < 0)
		missing_add(
			g,
			"no thread for it: the memory of a worker that is killed is free only when it has ended");
	r = pile_manager_open(&g->manager, NULL);
	if (r < 0 && r != -EOPNOTSUPP)
		missing_add(g, "no thread for it: nothing is asked of systemd");
	if (pile_placing_open(g) < 0)
		missing_add(g, "no thread for it: no process is placed");
	r = pile_sense_init(&g->sense);
	if (r < 0)
		return pile_error_set(err, r, "cannot read /proc/meminfo: %s", strerror(-r));
	r = pile_slow_start(&g->slow, g->options.policy_path, g->options.state_dir,
			    g->options.motd_path);
	if (r < 0)
		return pile_error_set(err, r, "cannot start the slow thread: %s", strerror(-r));
	pile_slow_motd(&g->slow, ""); /* of a guard that was killed */
	g->n_learned = pile_keep_learned_load(g->options.state_dir, g->learned, PILE_GROUPS_MAX);
	pile_command_recall(g);
	pile_evicted_recall(g);
	pile_throttled_start(g);
	pile_reload_start(g, &policy);
	r = pile_publish_open(g);
	if (r < 0)
		return pile_error_set(err, r, "cannot make the snapshot: %s", strerror(-r));
	g->groups.own_cookie = pile_child_cookie(g);
	return 0;
}

static int events_open(struct pile_guard *g, struct pile_error *err)
{
	int r;

	r = sd_event_new(&g->event);
	if (r >= 0)
		r = signals_open(g);
	if (r >= 0)
		r = sd_event_add_io(g->event, NULL, g->slow.event_fd, EPOLLIN, pile_reload_done, g);
	if (r >= 0)
		r = timers_open(g);
	if (r < 0)
		return pile_error_set(err, r, "cannot set up the event loop: %s", strerror(-r));
	return 0;
}

/* Services that stay down when the guard ends: systemd starts them at their time. */
static void held_say(struct pile_guard *g, uint64_t now_ns)
{
	for (uint32_t i = 0; i < g->groups.n_groups; i++) {
		const struct pile_stop_episode *e = pile_stop_held(&g->decide.stops, i);
		const char *unit = g->groups.groups[i].config.unit;

		if (e)
			pile_guard_say(
				g, PILE_EVENT_TROUBLE, i,
				"%s stays down, systemd starts it in %llu s; now: sudo systemctl start %s",
				g->groups.groups[i].config.name,
				(unsigned long long)((e->until_ns - MIN(now_ns, e->until_ns)) /
						     NS_PER_SEC),
				unit);
	}
}

static void stop(struct pile_guard *g)
{
	uint64_t now_ns = pile_clock_ns(CLOCK_MONOTONIC);

	pile_decide_stop(&g->decide, g->intents, &g->n_intents);
	pile_act_throttles_carry_out(&g->throttles, &g->groups, &g->manager, g->intents,
				     g->n_intents, now_ns);
	if (g->kernel.shards) {
		pile_act_carry_out(&g->act, &g->kernel, g->intents, g->n_intents, &g->sense,
				   g->groups.own_netns, now_ns);
		pile_act_close(&g->act, &g->kernel);
		pile_groups_fini(&g->groups, &g->kernel);
	}
	if (g->slow.running) {
		pile_tick_record(g, now_ns);
		pile_learned_save(g, now_ns);
		pile_slow_motd(&g->slow, "");
	}
	/* it may hang for seconds: what must not be lost is handed over by now */
	pile_placing_stop(g);
	if (g->slow.running) {
		held_say(g, now_ns);
		pile_guard_say(g, PILE_EVENT_STOP, PILE_NO_GROUP,
			       "pileguard stops: everything is open");
	}
	pile_throttled_stop(g);
	pile_manager_close(&g->manager);
	pile_act_evicts_close(&g->evicts);
	pile_child_stop(g);
	if (g->child.listen_fd >= 0) {
		close(g->child.listen_fd);
		unlink(g->options.socket_path);
	}
	pile_slow_stop(&g->slow);
	if (pile_slow_trouble(&g->slow) < 0)
		fprintf(stderr,
			"pileguardd: %s cannot be written (%s): the next start does not know all of this one\n",
			g->options.state_dir, strerror(-pile_slow_trouble(&g->slow)));
	if (g->disarm.marked)
		pile_keep_end(g->options.state_dir);
	pile_kernel_close(&g->kernel);
	pile_sense_fini(&g->sense);
	sd_event_source_unref(g->drain);
	sd_event_unref(g->event);
}

static void hello(struct pile_guard *g)
{
	size_t len;

	pile_guard_say(g, PILE_EVENT_START, PILE_NO_GROUP,
		       "pileguard %s in %s mode%s, sensors: tier %s; policy %s, hash %.7s",
		       PILE_VERSION, g->view.mode == PILE_MODE_ENFORCE ? "ENFORCE" : "OBSERVE",
		       g->disarm.now.on ? ", but DISARMED" : "",
		       pile_kernel_tier_name(g->kernel.tier), g->policy.source, g->policy.hash);
	for (const char *at = g->missing; at[0]; at += strspn(at, "; ")) {
		len = strcspn(at, ";");
		pile_guard_say(g, PILE_EVENT_START, PILE_NO_GROUP, "missing on this host: %.*s",
			       (int)len, at);
		at += len;
	}
	pile_reload_files_say(g);
}

int pile_guard_run(const struct pile_options *options)
{
	static struct pile_guard guard; /* a few MiB, fixed: no allocation after start */
	struct pile_guard *g = &guard;
	struct pile_error err = {};
	char text[1024];
	int r;

	signals_block();
	g->options = *options;
	g->child.listen_fd = g->child.snapshot_fd = g->child.command_fd = -1;
	g->act.diag_fd = g->sense.meminfo_fd = -1;
	g->started_ns = pile_clock_ns(CLOCK_MONOTONIC);
	g->started_realtime_ns = pile_clock_ns(CLOCK_REALTIME);
	host_place(g);
	g->view.host_seed = g->host_seed;
	g->watchdog = sd_watchdog_enabled(0, NULL) > 0;
	pile_record_init(&g->record);
	g->explain_next_kept = pile_keep_explain_next_load(g->options.state_dir);
	pile_decide_init(&g->decide, g->explain_next_kept);
	r = start(g, &err);
	if (r >= 0)
		r = events_open(g, &err);
	if (r < 0) {
		fprintf(stderr, "pileguardd: %s\n", pile_error_format(&err, text, sizeof(text)));
		stop(g);
		return r == -EBADMSG ? PILE_EXIT_CONFIG : PILE_EXIT_FAILURE;
	}
	malloc_trim(0); /* what loading the programs needed is not needed any more */
	priority_raise(g);
	hello(g);
	pile_command_hello(g);
	/* groups are followed and a snapshot stands before anybody is told that we are ready */
	pile_tick(g);
	r = pile_child_start(g);
	if (r < 0)
		pile_guard_say(g, PILE_EVENT_TROUBLE, PILE_NO_GROUP, "no stats socket: %s",
			       strerror(-r));
	pile_reload_status_tell(g, "READY=1\n");
	r = sd_event_loop(g->event);
	sd_notify(0, "STOPPING=1");
	stop(g);
	return r < 0 ? PILE_EXIT_FAILURE : PILE_EXIT_OK;
}

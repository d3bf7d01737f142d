/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * record.h: events and explain records: what was decided, why, what it did, what it cost, how it
 * ends.
 * Owned by the guard, fixed size, no allocation after start; written by the control loop only.
 * Lines for the journal are handed to the slow thread; this room never blocks and never logs
 * itself.
 * A reader (api) sees copies in the snapshot.
 */
#pragma once

#include "decide/intent.h"
#include "pileguard/limits.h"

enum pile_event_kind {
	PILE_EVENT_START = 1, /* the guard started */
	PILE_EVENT_STOP,
	PILE_EVENT_POLICY,    /* a policy was committed, or refused */
	PILE_EVENT_GROUP,     /* a group appeared, was attached again, went away */
	PILE_EVENT_STAGE,     /* S1..S3, recorded only */
	PILE_EVENT_OPEN,      /* rung 1 opened, or would have */
	PILE_EVENT_HALF_OPEN, /* the destination answered the guard's probe */
	PILE_EVENT_CLOSE,
	PILE_EVENT_NETWORK, /* own network suspected, or over */
	PILE_EVENT_COMMAND, /* an operator's hand */
	PILE_EVENT_TROUBLE, /* something the guard could not do */
	PILE_EVENT_PROBE, /* the guard connects by itself before anything is opened; was answered */
	PILE_EVENT_DISARM,  /* by hand: it only observes */
	PILE_EVENT_ARM,	    /* ... and may act again */
	PILE_EVENT_DROPPED, /* lines that did not get into the journal */
	PILE_EVENT_FILES,   /* the policy's files are not what is in force, or are it again */
	PILE_EVENT_LEAK,    /* workers whose memory grows without end, or no longer */
	PILE_EVENT_SHED, /* connections are refused at a listener's limit, or would be; or no longer */
	PILE_EVENT_THROTTLE, /* rung 3: a knob is turned, or would be; turned back */
	PILE_EVENT_EVICT,    /* rung 4: a worker is ended, or would be; it is gone */
	PILE_EVENT_STOPPED,  /* rung 5: a service is stopped, or would be; it is down, runs again */
	PILE_EVENT_FORKS, /* a group is at a limit of tasks, and its forks fail early, or no more */
};

/** What the event means, for the journal's message catalog; the ids are in daemon/notice.c. */
enum pile_notice {
	PILE_NOTICE_NONE = 0,
	PILE_NOTICE_START,
	PILE_NOTICE_STOP,
	PILE_NOTICE_POLICY,
	PILE_NOTICE_GROUP,
	PILE_NOTICE_STAGE,
	PILE_NOTICE_REFUSED,	  /* connects are refused from now on */
	PILE_NOTICE_WOULD_REFUSE, /* ... would be, if no switch forbade it */
	PILE_NOTICE_PROBING,
	PILE_NOTICE_HALF_OPEN,
	PILE_NOTICE_ALLOWED, /* an episode that acted is over */
	PILE_NOTICE_WOULD_ALLOW,
	PILE_NOTICE_NETWORK,
	PILE_NOTICE_NETWORK_OVER,
	PILE_NOTICE_HAND,
	PILE_NOTICE_TROUBLE,
	PILE_NOTICE_SCOUT, /* the guard's own connect before anything is opened */
	PILE_NOTICE_DISARMED,
	PILE_NOTICE_ARMED,
	PILE_NOTICE_DROPPED,
	PILE_NOTICE_FILES,
	PILE_NOTICE_LEAK,
	PILE_NOTICE_LEAK_OVER,
	PILE_NOTICE_SHED, /* connections are refused from now on, or would be */
	PILE_NOTICE_SHED_OVER,
	PILE_NOTICE_EVICT, /* a worker is sent SIGTERM */
	PILE_NOTICE_EVICT_OVER,
	PILE_NOTICE_WOULD_EVICT,
	PILE_NOTICE_WOULD_EVICT_OVER,
	PILE_NOTICE_STOPPED, /* a service is stopped; it is down */
	PILE_NOTICE_STOPPED_OVER,
	PILE_NOTICE_WOULD_STOP,
	PILE_NOTICE_WOULD_STOP_OVER,
	PILE_NOTICE_THROTTLE, /* a knob of a cgroup is turned */
	PILE_NOTICE_THROTTLE_OVER,
	PILE_NOTICE_WOULD_THROTTLE,
	PILE_NOTICE_WOULD_THROTTLE_OVER,
	PILE_NOTICE_FORKS, /* at a limit of tasks: they fail early */
	PILE_NOTICE_FORKS_OVER,
	PILE_NOTICES,
};

struct pile_event {
	uint64_t seq;	      /* 1.. */
	uint64_t t_ns;	      /* CLOCK_MONOTONIC */
	uint64_t realtime_ns; /* CLOCK_REALTIME */
	uint32_t kind;	      /* enum pile_event_kind */
	uint32_t explain_id;  /* 0 = none */
	uint32_t notice;      /* enum pile_notice */
	char group[PILE_NAME_MAX];
	char unit[PILE_UNIT_MAX];		  /* for OBJECT_SYSTEMD_UNIT; "" = none */
	char destination[PILE_ENDPOINT_TEXT_MAX]; /* "" = about none */
	char text[256];				  /* the whole line, as the journal has it */
};

/** One episode of rung 1 (or a stage, or own network): the answer to `pileguardctl explain ID`. */
struct pile_explain {
	uint32_t id;
	/* enum pile_intent_kind that opened it: BREAKER_OPEN, SHED_OPEN, STAGE, NETWORK, EVICT, STOP, THROTTLE, FORKS */
	uint32_t kind;
	char group[PILE_NAME_MAX];
	char unit[PILE_UNIT_MAX];
	struct pile_endpoint endpoint;
	uint32_t blocked; /* enum pile_blocked: 0 = it acted */
	struct pile_why why;
	uint64_t opened_ns, opened_realtime_ns;
	uint64_t half_open_ns; /* 0 = not yet */
	uint64_t closed_ns;    /* 0 = still going on */
	uint32_t close_reason; /* enum pile_close_reason */
	uint64_t refused;      /* connects, connections or forks refused */
	uint64_t ended;	       /* waits ended */
	uint64_t probes;       /* the guard's own connects */
	uint64_t admitted;     /* connects let through while half open */
	/* monotonic time of the first refused or ended connect; 0 = none yet */
	uint64_t first_effect_ns;
	uint64_t saved_wait_ns;		   /* (refused + ended) x what a wait lasts: see record.c */
	uint64_t saved_bytes;		   /* memory those waits would have held at once */
	uint32_t refuse_errno;		   /* what the refused connects saw, positive */
	uint64_t flips;			   /* half-open steps that failed */
	struct pile_candidates candidates; /* EVICT: those it was chosen from, the first of them */
};

#define PILE_RECORD_EVENTS PILE_SNAPSHOT_EVENTS
#define PILE_RECORD_EXPLAINS PILE_SNAPSHOT_EXPLAINS

struct pile_record {
	uint64_t next_seq;
	uint32_t n_events; /* in the ring, at most PILE_RECORD_EVENTS */
	uint32_t n_explains;
	/* ring: event with seq s is at s % size */
	struct pile_event events[PILE_RECORD_EVENTS];
	struct pile_explain explains[PILE_RECORD_EXPLAINS]; /* ring: by order of opening */

	uint64_t opened_total, refused_total, ended_total, closed_total, would_open_total;
	uint64_t shed_total; /* connections refused (rung 2) */
	uint64_t evicted_total, would_evict_total;
	uint64_t stopped_total, would_stop_total;
	uint64_t throttled_total, would_throttle_total,
		useless_total; /* useless: of those, undone since it did not help */
};

/** What the gate of an episode has counted so far; zero for episodes that did not act. */
struct pile_record_effects {
	uint64_t refused, admitted, ended, probes;
	uint64_t first_effect_ns; /* monotonic; 0 = none yet */
};

/** pile_record_init - @r: zeroed by the caller. */
void pile_record_init(struct pile_record *r);

/** pile_record_event - append an event. Returns it, borrowed, until the ring comes round. */
const struct pile_event *pile_record_event(struct pile_record *r, enum pile_event_kind kind,
					   uint32_t explain_id, const char *group, const char *unit,
					   uint64_t now_ns, uint64_t realtime_ns, const char *fmt,
					   ...) _printf_(8, 9);

/**
 * pile_record_intent - keep an intent: its explain record and, where a person should hear of it, an
 * event
 * Returns the event, or NULL for intents that deserve no line (leases).
 */
const struct pile_event *pile_record_intent(struct pile_record *r, const struct pile_intent *intent,
					    const char *group, const char *unit, uint64_t now_ns,
					    uint64_t realtime_ns);

/** pile_record_probing - the second line of an opening that acted: how often the guard asks. */
const struct pile_event *pile_record_probing(struct pile_record *r,
					     const struct pile_intent *intent, const char *group,
					     const char *unit, uint64_t now_ns,
					     uint64_t realtime_ns);

/** pile_record_candidates - from whom the worker of an eviction was chosen. */
void pile_record_candidates(struct pile_record *r, uint32_t explain_id,
			    const struct pile_candidates *candidates);

/**
 * pile_record_undone - what became of a knob that was to be turned back
 * @back: enum pile_throttle_back; @now: TAKEN: what it is instead. Returns the event that tells of it, or NULL.
 */
const struct pile_event *pile_record_undone(struct pile_record *r, uint32_t explain_id,
					    uint32_t back, const char *now, uint64_t now_ns,
					    uint64_t realtime_ns);

/** pile_record_effects - bring an open episode's counts up to date. */
void pile_record_effects(struct pile_record *r, uint32_t explain_id,
			 const struct pile_record_effects *effects);

/** pile_record_explain - borrowed, or NULL. */
struct pile_explain *pile_record_explain(struct pile_record *r, uint32_t id);

/**
 * pile_record_would_have - blocked openings of a group in the last 24 h; @ret_last: the newest, or
 * NULL.
 */
uint32_t pile_record_would_have(const struct pile_record *r, const char *group, uint64_t now_ns,
				const struct pile_explain **ret_last);

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ctl.h: what the commands of pileguardctl share: the options, and one function a command.
 * One process, one thread, one command; may block and allocate; prints answers to stdout, one
 * sentence of trouble to stderr, and returns an exit status of api.h.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "policy/files.h"
#include "policy/policy.h"

#ifndef PILE_SYSCONFDIR
#define PILE_SYSCONFDIR "/etc"
#endif
/* the unit's conditions, dist/pileguard.service.in */
#define PILE_CTL_DISABLED_FILE PILE_SYSCONFDIR "/pileguard/disabled"
#define PILE_CTL_OFF_WORD "pileguard.off"
#define PILE_CTL_POLICY_FILE PILE_SYSCONFDIR "/pileguard/policy.yaml"

#define PILE_CTL_WITH_MAX 16 /* files of one push */

/** What the command line said. */
struct pile_ctl {
	const char *socket;
	const char *file;  /* --file, or NULL: the daemon's own (pile_policy_path()) */
	const char *group; /* --group, or NULL */
	uint64_t for_ns;   /* --for; 0 = not given */
	size_t n_with;	   /* --with, as often as it was given */
	struct pile_files_with with[PILE_CTL_WITH_MAX];
	const char *textfile; /* --textfile, or NULL */
	uint64_t every_ns;    /* --every; 0 = once */
	bool json;
	bool follow;
	bool color;
	unsigned int width; /* columns of the terminal; 0 = no limit */
	int n_args;	    /* after the command's name */
	char **args;
};

/* status.c */
int pile_status_show(const struct pile_ctl *ctl);
/* lists.c */
int pile_lists_groups(const struct pile_ctl *ctl);
int pile_lists_workers(const struct pile_ctl *ctl);
int pile_lists_dependencies(const struct pile_ctl *ctl);
/* events.c */
int pile_events_show(const struct pile_ctl *ctl);
/* explain.c */
int pile_explain_show(const struct pile_ctl *ctl);
/* metrics.c */
int pile_metrics_command(const struct pile_ctl *ctl);
/* policy.c */
int pile_policy_command(const struct pile_ctl *ctl);
/** pile_policy_path - --file, else what the daemon's @status names, else (NULL, or it does not) the usual file */
const char *pile_policy_path(const struct pile_ctl *ctl, const json_t *status);
/**
 * pile_policy_read - the policy that the files at @path are, fragments and --with included
 * Returns 0; 1 when their revisions disagree; negative errno; with @err.
 */
int pile_policy_read(const struct pile_ctl *ctl, const char *path, struct pile_policy *ret,
		     struct pile_error *err);
/**
 * pile_policy_in_force - the daemon's policy; where it does not run, what the files say
 * Returns 0, or negative errno with @err.
 */
int pile_policy_in_force(const struct pile_ctl *ctl, struct pile_policy *ret,
			 struct pile_error *err);
/* init.c */
int pile_init_show(const struct pile_ctl *ctl);
/* residue.c */
int pile_residue_show(const struct pile_ctl *ctl);
/* run.c */
int pile_run_command(const struct pile_ctl *ctl);
/* unplace.c */
int pile_unplace_command(const struct pile_ctl *ctl);
/** pile_unplace_path - a file beside the stats socket, into @ret. */
void pile_unplace_path(const struct pile_ctl *ctl, const char *name, char *ret, size_t size);
/** pile_unplace_mount - where cgroup v2 is mounted. Returns 0 or -ENOENT. */
int pile_unplace_mount(char *ret, size_t size);
/* hand.c */
int pile_hand_reload(const struct pile_ctl *ctl);
int pile_hand_hold(const struct pile_ctl *ctl);
int pile_hand_release(const struct pile_ctl *ctl);
int pile_hand_disarm(const struct pile_ctl *ctl);
int pile_hand_arm(const struct pile_ctl *ctl);

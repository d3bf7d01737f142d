// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * listeners.c: which listening socket belongs to which group; found services become observed
 * groups.
 */
#include <ctype.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "groups/groups.h"
#include "groups/proc.h"
#include "groups/table.h"

/* a found service whose listeners are gone is forgotten after this */
#define GONE_AFTER_NS (30 * NS_PER_SEC)
#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262 /* glibc 2.36 lacks it */
#endif

#define WALKS_MAX 3 /* in one discovery: find, tag, adopt */

struct walk {
	struct pile_groups *g;
	struct pile_kernel *k;
	uint64_t now_ns;
	pile_groups_event_fn fn;
	void *arg;
	bool untold; /* the kernel could not be told of the cgroup of the last one */
};

static struct pile_listener *listener_find(struct pile_groups *g, uint64_t cookie)
{
	for (uint32_t i = 0; i < g->n_listeners; i++)
		if (g->listeners[i].used && g->listeners[i].cookie == cookie)
			return &g->listeners[i];
	return NULL;
}

static void listener_drop(struct walk *w, struct pile_listener *l)
{
	if (w->g->groups[l->group].cgroup_id != l->cgroup_id)
		pile_kernel_cgroup_remove(w->k, l->cgroup_id);
	pile_table_listener_drop(w->g, w->k, l);
}

/* A free place; for one that the policy names, else that of one that it does not name. */
static struct pile_listener *listener_take(struct walk *w, bool configured)
{
	struct pile_listener *other = NULL;

	for (int i = 0; i < PILE_LISTENERS_MAX; i++) {
		struct pile_listener *l = &w->g->listeners[i];

		if (!l->used)
			return l;
		if (!w->g->groups[l->group].configured)
			other = l;
	}
	if (!configured || !other)
		return NULL;
	listener_drop(w, other);
	return other;
}

/* An abstract name begins with '@', and has one for each NUL, as ss(8) and /proc/net/unix print it. */
static void path_read(const struct pile_bpf_record_listener *rec, char *ret, size_t size)
{
	size_t len = MIN(MIN(rec->path_len, sizeof(rec->path)), size - 1);

	if (len && rec->path[0])
		len = strnlen((const char *)rec->path, len);
	for (size_t i = 0; i < len; i++) {
		ret[i] = (char)(rec->path[i] ? rec->path[i] : '@');
		if (iscntrl((unsigned char)ret[i]))
			ret[i] = '?'; /* it ends up in the journal and on terminals */
	}
	ret[len] = '\0';
}

static int endpoint_read(const struct pile_bpf_record_listener *rec, struct pile_endpoint *ret)
{
	struct pile_endpoint ep = { .family = (uint8_t)rec->family };

	if (rec->family != AF_UNIX) {
		ep.port = rec->port;
		memcpy(ep.addr, rec->addr, sizeof(ep.addr));
	} else {
		path_read(rec, ep.path, sizeof(ep.path));
		if (!ep.path[0])
			return -ENOENT;
	}
	*ret = ep;
	return 0;
}

static int by_tgid(const void *a, const void *b)
{
	const struct pile_matched *x = a, *y = b;

	return x->tgid < y->tgid ? -1 : x->tgid > y->tgid;
}

/* The group whose rule this process matches, or PILE_NO_GROUP. */
static uint32_t matched_group(const struct pile_groups *g, uint32_t tgid)
{
	const struct pile_matched key = { .tgid = tgid },
				  *found = bsearch(&key, g->matched, g->n_matched,
						   sizeof(g->matched[0]), by_tgid);

	return found && g->groups[found->group].used && g->groups[found->group].configured
		       ? found->group
		       : PILE_NO_GROUP;
}

/* ... or in whose cgroup it was placed meanwhile. */
static uint32_t matched_to(const struct pile_groups *g, const struct pile_bpf_record_listener *rec)
{
	uint32_t group = matched_group(g, rec->tgid);

	for (uint32_t i = 0; group == PILE_NO_GROUP && i < g->n_groups; i++)
		if (g->groups[i].used && g->groups[i].configured &&
		    pile_policy_matches(&g->groups[i].config) &&
		    g->groups[i].cgroup_id == rec->cgroup_id)
			group = i;
	return group;
}

/* Of a listener that was another's before a process that matches was met with it. */
static uint32_t claimed_group(const struct pile_groups *g, uint64_t cookie)
{
	for (uint32_t i = 0; i < MIN(g->n_claimed, PILE_CLAIMED_MAX); i++)
		if (g->claimed[i].cookie == cookie)
			return g->claimed[i].group;
	return PILE_NO_GROUP;
}

/*
 * A found service's listener that is held by a process that matches, a master's before its workers: the service is
 * found anew, without this one. Tags on sockets go with its slot; so it goes as a whole.
 */
static void claim(struct pile_groups *g, const struct pile_listener *l, uint32_t group)
{
	uint32_t at = g->n_claimed % PILE_CLAIMED_MAX;

	if (claimed_group(g, l->cookie) == PILE_NO_GROUP) {
		g->claimed[at].cookie = l->cookie;
		g->claimed[at].group = group;
		g->n_claimed++;
	}
	g->claimed_from[l->group / 32] |= 1u << (l->group % 32);
}

static bool claims(const struct pile_groups *g, uint32_t slot,
		   const struct pile_bpf_record_listener *rec, const char *cgroup,
		   const struct pile_endpoint *ep)
{
	const struct pile_policy_group *config = &g->groups[slot].config;
	char unit[PILE_UNIT_MAX];
	size_t len = strlen(config->cgroup);

	if (config->listen.family && !pile_endpoint_matches(&config->listen, ep))
		return false;
	if (pile_policy_matches(config) &&
	    (matched_group(g, rec->tgid) == slot || claimed_group(g, rec->cookie) == slot))
		return true;
	if (config->unit[0])
		return !pile_proc_foreign(cgroup) && pile_proc_unit(cgroup, unit, sizeof(unit)) &&
		       strcmp(unit, config->unit) == 0;
	return len && strncmp(cgroup, config->cgroup, len) == 0 &&
	       (cgroup[len] == '\0' || cgroup[len] == '/');
}

/*
 * A name for a found service: its unit without the suffix, else the last part of its cgroup, else
 * the program.
 */
static void found_name(const struct pile_groups *g, const char *cgroup, const char *comm, char *ret,
		       size_t size)
{
	char base[PILE_UNIT_MAX], *dot;
	const char *slash = strrchr(cgroup, '/');

	if (pile_proc_unit(cgroup, base, sizeof(base))) {
		dot = strrchr(base, '.');
		if (dot)
			*dot = '\0';
	} else {
		snprintf(base, sizeof(base), "%s", slash && slash[1] ? slash + 1 : comm);
	}
	for (char *p = base; *p; p++)
		if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-@",
			    *p))
			*p = '-';
	base[PILE_NAME_MAX - 8] = '\0';
	snprintf(ret, size, "%s", base);
	/* no two have one name: there are fewer groups than numbers */
	for (int i = 2; pile_groups_find(g, ret) != PILE_NO_GROUP && i < PILE_GROUPS_MAX + 2; i++)
		snprintf(ret, size, "%s.%d", base, i);
}

static uint32_t found_group(struct walk *w, const struct pile_bpf_record_listener *rec,
			    const char *cgroup)
{
	struct pile_groups *g = w->g;
	char name[PILE_NAME_MAX], comm[16];
	bool root = strcmp(cgroup, "/") == 0;
	struct pile_group *group;
	uint32_t slot;

	snprintf(comm, sizeof(comm), "%.15s", (const char *)rec->comm);
	for (uint32_t i = 0; i < g->n_groups; i++) {
		group = &g->groups[i];
		if (!group->used || group->configured || strcmp(group->cgroup, cgroup) != 0)
			continue;
		/* in the root cgroup services are told apart by program */
		if (!root || strcmp(group->config.name, comm) == 0)
			return i;
	}
	slot = pile_table_slot_take(g, w->k, w->now_ns);
	if (slot == PILE_NO_GROUP)
		return slot;
	found_name(g, cgroup, comm, name, sizeof(name));
	group = &g->groups[slot];
	pile_policy_group_init(&group->config, name);
	if (!pile_proc_unit(cgroup, group->config.unit, sizeof(group->config.unit)))
		group->config.unit[0] = '\0';
	pile_table_cgroup_set(g, w->k, slot, cgroup, rec->cgroup_id);
	group->foreign = pile_proc_foreign(cgroup);
	w->fn(PILE_GROUPS_RESET, slot, w->arg);
	w->fn(PILE_GROUPS_APPEARED, slot, w->arg);
	return slot;
}

/* The unit's own cgroup: a process may live below it. */
static void unit_cgroup(const struct pile_policy_group *config, const char *cgroup, char *ret)
{
	const char *at = config->unit[0] ? strstr(cgroup, config->unit) : NULL;
	size_t len = at ? (size_t)(at - cgroup) + strlen(config->unit) : strlen(config->cgroup);

	snprintf(ret, PILE_CGROUP_MAX, "%.*s", (int)len, cgroup);
}

static uint32_t group_configured(struct walk *w, const struct pile_bpf_record_listener *rec,
				 const char *cgroup, const struct pile_endpoint *ep)
{
	struct pile_groups *g = w->g;

	for (uint32_t i = 0; i < g->n_groups; i++) {
		if (!g->groups[i].used || !g->groups[i].configured ||
		    !claims(g, i, rec, cgroup, ep))
			continue;
		/* where it is found others may be too: its cgroup says nothing, but for the one it is placed in */
		if (pile_policy_matches(&g->groups[i].config) &&
		    rec->cgroup_id != g->groups[i].cgroup_id)
			return i;
		/*
		 * a unit outside system.slice shows where it lives by its listener; the next check
		 * takes it up
		 */
		if (!g->groups[i].cgroup_id)
			unit_cgroup(&g->groups[i].config, cgroup, g->groups[i].cgroup);
		else if (g->groups[i].cgroup_id != rec->cgroup_id)
			w->untold = pile_kernel_cgroup_set(w->k, rec->cgroup_id, i) < 0;
		return i;
	}
	return PILE_NO_GROUP;
}

static void listener_new(struct walk *w, const struct pile_bpf_record_listener *rec)
{
	struct pile_endpoint ep = {};
	char cgroup[PILE_CGROUP_MAX];
	struct pile_listener *l;
	uint32_t group;

	/* the process may be gone by now, or the socket: the next walk tells */
	if (pile_proc_cgroup(rec->tgid, cgroup, sizeof(cgroup)) < 0 || endpoint_read(rec, &ep) < 0)
		return;
	/* ... and its number another's since the kernel wrote this down */
	if (pile_table_cgroup_other(w->g, cgroup, rec->cgroup_id))
		return;
	w->untold = false;
	group = group_configured(w, rec, cgroup, &ep);
	if (w->untold)
		return; /* the next walk meets it again */
	l = listener_take(w, group != PILE_NO_GROUP);
	if (l && group == PILE_NO_GROUP)
		group = found_group(w, rec, cgroup);
	if (!l || group == PILE_NO_GROUP ||
	    pile_kernel_listener_set(w->k, rec->cookie, group, 0) < 0) {
		w->g->walk_lost++;
		return;
	}
	memset(l, 0, sizeof(*l));
	w->g->n_listeners = MAX(w->g->n_listeners, (uint32_t)(l - w->g->listeners) + 1);
	l->used = true;
	l->mptcp = rec->protocol == IPPROTO_MPTCP;
	l->v6only = rec->v6only;
	l->type = rec->type;
	l->group = group;
	l->cookie = rec->cookie;
	/* of a group that is matched no other cgroup is told to the kernel, and so none taken away */
	l->cgroup_id = pile_policy_matches(&w->g->groups[group].config)
			       ? w->g->groups[group].cgroup_id
			       : rec->cgroup_id;
	l->tgid = rec->tgid;
	l->netns = rec->netns;
	l->endpoint = ep;
	l->epoch = w->g->epoch;
	memcpy(l->comm, rec->comm, sizeof(l->comm) - 1);
	pile_table_port_tell(w->g, w->k, l->netns, ep.port);
	w->g->doors_due = true;
	w->g->walk_again = true;
	w->g->walk_mptcp |= l->mptcp;
}

/* In the guard's own network namespace: a port of another one is another port. */
static void holder_see(struct pile_groups *g, const struct pile_bpf_record_listener *rec)
{
	struct pile_holders *to = &g->holders_next;

	for (uint32_t i = 0; rec->port && rec->netns == g->own_netns && i < g->n_groups; i++) {
		if (!g->groups[i].used || g->groups[i].config.match.port != rec->port ||
		    to->n == PILE_HOLDERS_MAX)
			continue;
		to->table[to->n].tgid = rec->tgid;
		to->table[to->n++].port = rec->port;
		return;
	}
}

static void listener_see(const struct pile_bpf_record *record, void *arg)
{
	const struct pile_bpf_record_listener *rec = (const void *)record;
	struct walk *w = arg;
	struct pile_listener *l;
	uint32_t group;

	if (record->type != PILE_RECORD_LISTENER ||
	    (rec->type != SOCK_STREAM && rec->type != SOCK_SEQPACKET) ||
	    rec->cookie == w->g->own_cookie)
		return;
	holder_see(w->g, rec);
	l = listener_find(w->g, rec->cookie);
	if (!l) {
		listener_new(w, rec);
		return;
	}
	l->epoch = w->g->epoch;
	l->backlog = rec->backlog;
	l->tgid = rec->tgid;
	group = w->g->groups[l->group].configured ? PILE_NO_GROUP : matched_to(w->g, rec);
	if (group != PILE_NO_GROUP &&
	    (!w->g->groups[group].config.listen.family ||
	     pile_endpoint_matches(&w->g->groups[group].config.listen, &l->endpoint)))
		claim(w->g, l, group);
	if (rec->group == PILE_NO_GROUP)
		w->g->walk_again = true;
}

static void listeners_expire(struct walk *w)
{
	struct pile_groups *g = w->g;

	for (uint32_t i = 0; i < g->n_groups; i++)
		g->groups[i].n_listeners = 0;
	for (uint32_t i = 0; i < g->n_listeners; i++) {
		struct pile_listener *l = &g->listeners[i];

		if (!l->used)
			continue;
		if (l->epoch != g->epoch) {
			listener_drop(w, l);
			continue;
		}
		g->groups[l->group].n_listeners++;
		g->groups[l->group].seen_ns = w->now_ns;
	}
	while (g->n_listeners && !g->listeners[g->n_listeners - 1].used)
		g->n_listeners--;
}

static void found_expire(struct walk *w)
{
	uint32_t gone[PILE_GROUPS_MAX / 32] = {};
	struct pile_groups *g = w->g;
	bool any = false;

	for (uint32_t i = 0; i < g->n_groups; i++) {
		struct pile_group *group = &g->groups[i];

		if (!group->used || group->configured)
			continue;
		group->present = group->n_listeners > 0;
		if (w->now_ns - group->seen_ns > GONE_AFTER_NS) {
			w->fn(PILE_GROUPS_GONE, i, w->arg);
			pile_table_group_drop(g, w->k, i);
			gone[i / 32] |= 1u << (i % 32);
			any = true;
		}
	}
	if (any)
		pile_kernel_groups_retire(w->k, gone);
}

/* Services that a rule has taken a listener from. */
static void claimed_retire(struct walk *w)
{
	struct pile_groups *g = w->g;
	bool any = false;

	for (uint32_t i = 0; i < g->n_groups; i++) {
		uint32_t *word = &g->claimed_from[i / 32], bit = 1u << (i % 32);

		if (!(*word & bit))
			continue;
		any |= g->groups[i].used && !g->groups[i].configured;
		if (!g->groups[i].used || g->groups[i].configured)
			*word &= ~bit;
		if (*word & bit) {
			w->fn(PILE_GROUPS_GONE, i, w->arg);
			pile_table_group_drop(g, w->k, i);
		}
	}
	if (any)
		pile_kernel_groups_retire(w->k, g->claimed_from);
	memset(g->claimed_from, 0, sizeof(g->claimed_from));
}

/* A walk has come to its end: what it did not meet is gone. */
static void discovered(struct walk *w)
{
	struct pile_groups *g = w->g;

	g->walked = g->epoch;
	if (g->walk_mptcp)
		pile_kernel_discover_hidden(w->k);
	g->listeners_lost = MAX(g->listeners_lost, g->walk_lost);
	listeners_expire(w);
	found_expire(w);
	claimed_retire(w);
	pile_kernel_unix_expire(w->k);
}

int pile_groups_discover(struct pile_groups *g, struct pile_kernel *k, uint64_t now_ns,
			 pile_groups_event_fn fn, void *arg)
{
	struct walk w = { .g = g, .k = k, .now_ns = now_ns, .fn = fn, .arg = arg };
	int r;

	do {
		if (!k->discovering) {
			g->walk_again = false;
			g->walk_lost = g->walk_parts = 0;
			g->holders_next.n = 0;
			g->epoch++;
		}
		g->walk_parts++;
		g->doors_untagged = false;
		r = pile_kernel_discover(k, listener_see, &w);
		if (r > 0)
			return r;
		/* what is new gets its door now, so that the next walk brings it along with the tag */
		pile_groups_doors(g, k);
		g->walk_round++;
		if (r == 0) {
			g->holders = g->holders_next;
			g->holders_new = true;
		}
	} while (r == 0 && g->walk_again && g->walk_round < WALKS_MAX);
	if (r == 0)
		discovered(&w);
	g->walk_round = 0;
	g->walk_mptcp = false;
	return r;
}

// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * doors.c: which listeners have a door. One for each address that a group with connections_max listens on: several
 * sockets that are bound alike (SO_REUSEPORT, or a restart) share it, and it outlives them as long as the policy does
 * not change.
 */
#include <string.h>
#include <sys/socket.h>

#include "groups/groups.h"

#define DOORS_OF_GROUP_MAX 32 /* half of all: one group's listeners leave the others room */

static bool is_exempt(const struct pile_policy_group *config, const struct pile_endpoint *ep)
{
	for (uint32_t i = 0; i < config->n_shed_exempt; i++) {
		const struct pile_endpoint *exempt = &config->shed_exempt[i];

		/* one without a port is a client's address */
		if ((exempt->port || exempt->family == AF_UNIX) &&
		    pile_endpoint_matches(exempt, ep))
			return true;
	}
	return false;
}

static bool wants_door(const struct pile_groups *g, uint32_t slot, const struct pile_endpoint *ep)
{
	const struct pile_group *group = &g->groups[slot];

	return group->used && group->configured && !group->foreign &&
	       (group->config.connections_max || group->config.shed_share_permille) &&
	       !is_exempt(&group->config, ep);
}

static uint32_t door_find(const struct pile_groups *g, const struct pile_listener *l)
{
	for (uint32_t i = 1; i < PILE_DOORS_MAX; i++) {
		const struct pile_door *d = &g->doors[i];

		if (d->used && !d->gone && d->group == l->group && d->netns == l->netns &&
		    pile_endpoint_equal(&d->endpoint, &l->endpoint))
			return i;
	}
	return 0;
}

static void door_leave(struct pile_groups *g, uint32_t index)
{
	struct pile_door *d = &g->doors[index];

	d->gone = true;
	d->gone_sweeps = g->doors_sweeps;
	d->gone_epoch = g->epoch;
	g->doors_gone |= 1ULL << index;
}

/* A free place. Where there is none, one whose listener is gone leaves: its place is free after two sweeps and a walk. */
static uint32_t door_take(struct pile_groups *g, struct pile_kernel *k,
			  const struct pile_listener *l)
{
	uint32_t of_group = 0, idle = 0, free_at = 0;

	for (uint32_t i = 1; i < PILE_DOORS_MAX; i++) {
		struct pile_door *d = &g->doors[i];

		if (!d->used)
			free_at = free_at ? free_at : i;
		else if (!d->gone && !d->n_listeners)
			idle = idle ? idle : i;
		of_group += d->used && d->group == l->group;
	}
	if (of_group >= DOORS_OF_GROUP_MAX || !free_at) {
		if (idle)
			door_leave(g, idle);
		return 0;
	}
	g->doors[free_at] = (struct pile_door){
		.used = true,
		.out_of_reach = l->endpoint.family != AF_UNIX && l->netns != g->own_netns,
		.group = l->group,
		.netns = l->netns,
		.n_listeners = 1,
		.endpoint = l->endpoint,
	};
	pile_kernel_door_claim(k, free_at, l->group);
	return free_at;
}

static void listener_door_set(struct pile_groups *g, struct pile_kernel *k, struct pile_listener *l,
			      uint32_t index)
{
	/* the next walk brings it into the socket itself; and into the hidden one behind an MPTCP listener */
	if (index != l->door && pile_kernel_listener_set(k, l->cookie, l->group, index) == 0) {
		l->door = index;
		g->doors_untagged = true;
		g->walk_mptcp |= l->mptcp;
	}
}

/* Those that have one first, so that nobody who comes takes a place whose listener is there. */
static void listeners_doors(struct pile_groups *g, struct pile_kernel *k)
{
	uint64_t lost = 0;

	for (uint32_t i = 0; i < g->n_listeners; i++) {
		struct pile_listener *l = &g->listeners[i];
		uint32_t index =
			l->used && wants_door(g, l->group, &l->endpoint) ? door_find(g, l) : 0;

		if (index)
			g->doors[index].n_listeners++;
		if (l->used && (index || !wants_door(g, l->group, &l->endpoint)))
			listener_door_set(g, k, l, index);
	}
	for (uint32_t i = 0; i < g->n_listeners; i++) {
		struct pile_listener *l = &g->listeners[i];
		uint32_t index;

		if (!l->used || !wants_door(g, l->group, &l->endpoint))
			continue;
		index = door_find(g, l);
		if (!index) {
			index = door_take(g, k, l);
			lost += !index;
		}
		listener_door_set(g, k, l, index);
	}
	g->doors_lost = MAX(g->doors_lost, lost);
}

static bool is_wildcard(const struct pile_endpoint *ep)
{
	static const uint8_t any[sizeof(ep->addr)],
		any_v4[sizeof(ep->addr)] = { [10] = 0xff, [11] = 0xff };

	return !memcmp(ep->addr, any, sizeof(any)) || !memcmp(ep->addr, any_v4, sizeof(any_v4));
}

/* Only a door on every address could catch what is a neighbour's. */
static bool port_has_wildcard_door(const struct pile_groups *g, uint16_t port)
{
	for (uint32_t i = 1; i < PILE_DOORS_MAX; i++)
		if (g->doors[i].used && !g->doors[i].gone && g->doors[i].endpoint.port == port &&
		    is_wildcard(&g->doors[i].endpoint))
			return true;
	return false;
}

static struct pile_door_port *port_find(struct pile_groups *g, uint32_t which,
					const struct pile_endpoint *ep)
{
	for (uint32_t i = 0; i < g->n_door_ports[which]; i++)
		if (pile_endpoint_equal(&g->door_ports[which][i].endpoint, ep))
			return &g->door_ports[which][i];
	return NULL;
}

/* Connections there may be refused by nobody: whose they are is not known. */
static void port_give_up(struct pile_groups *g, uint32_t which, uint16_t port)
{
	for (uint32_t i = 0; i < g->n_door_ports[which]; i++) {
		struct pile_door_port *p = &g->door_ports[which][i];

		if (p->endpoint.port != port || !p->door)
			continue;
		g->doors[p->door].ambiguous = true;
		p->door = 0;
	}
}

/* What one address leads to. Where two groups listen on the same one, nobody knows whose a connection will be. */
static void port_add(struct pile_groups *g, uint32_t which, const struct pile_listener *l)
{
	struct pile_door_port *p = port_find(g, which, &l->endpoint);

	if (p) {
		if (p->door == l->door)
			return;
		g->doors[l->door].ambiguous = g->doors[p->door].ambiguous = true;
		p->door = 0;
		return;
	}
	if (g->n_door_ports[which] == PILE_DOOR_PORTS_MAX) {
		port_give_up(g, which, l->endpoint.port);
		g->doors[l->door].ambiguous = true;
		return;
	}
	p = &g->door_ports[which][g->n_door_ports[which]++];
	*p = (struct pile_door_port){ l->endpoint, l->door, l->v6only };
}

static bool is_in_reach(const struct pile_groups *g, const struct pile_listener *l)
{
	return l->used && l->endpoint.family != AF_UNIX && l->netns == g->own_netns;
}

static void ports_tell(struct pile_groups *g, struct pile_kernel *k)
{
	uint32_t old = g->door_ports_told, next = !old;
	const struct pile_door_port *p;

	g->n_door_ports[next] = 0;
	for (uint32_t i = 0; i < PILE_DOORS_MAX; i++)
		g->doors[i].ambiguous = false;
	for (uint32_t i = 0; i < g->n_listeners; i++)
		if (is_in_reach(g, &g->listeners[i]) && g->listeners[i].door)
			port_add(g, next, &g->listeners[i]);
	for (uint32_t i = 0; i < g->n_listeners; i++) {
		const struct pile_listener *l = &g->listeners[i];

		if (is_in_reach(g, l) && !l->door &&
		    (port_has_wildcard_door(g, l->endpoint.port) ||
		     port_find(g, next, &l->endpoint)))
			port_add(g, next, l);
	}
	g->doors[0].ambiguous = false;
	for (uint32_t i = 0; i < g->n_door_ports[old]; i++) {
		p = &g->door_ports[old][i];
		if (!port_find(g, next, &p->endpoint))
			pile_kernel_door_port_set(k, &p->endpoint, -1, false);
	}
	/* those without one first: no neighbour is refused in between */
	for (int with = 0; with <= 1; with++)
		for (uint32_t i = 0; i < g->n_door_ports[next]; i++) {
			p = &g->door_ports[next][i];
			if ((p->door != 0) == with)
				pile_kernel_door_port_set(k, &p->endpoint, (int)p->door, p->v6only);
		}
	g->door_ports_told = next;
}

/* After two sweeps no connection has its index any more; after a walk that began since no unix listener's address has. */
static bool is_free(const struct pile_groups *g, const struct pile_door *d)
{
	return d->gone && g->doors_sweeps >= d->gone_sweeps + 2 && g->walked > d->gone_epoch;
}

static void doors_free(struct pile_groups *g, struct pile_kernel *k)
{
	for (uint32_t i = 1; i < PILE_DOORS_MAX; i++) {
		struct pile_door *d = &g->doors[i];

		if (!is_free(g, d))
			continue;
		pile_kernel_door_clear(k, i);
		*d = (struct pile_door){ 0 };
		g->doors_gone &= ~(1ULL << i);
		g->doors_due = true;
	}
}

void pile_groups_doors(struct pile_groups *g, struct pile_kernel *k)
{
	uint32_t doored[PILE_GROUPS_MAX / 32] = {};

	if (g->doors_gone)
		doors_free(g, k);
	if (!g->doors_due)
		return;
	g->doors_due = false;
	for (uint32_t i = 1; i < PILE_DOORS_MAX; i++) {
		struct pile_door *d = &g->doors[i];

		d->n_listeners = 0;
		if (d->used && !d->gone && !wants_door(g, d->group, &d->endpoint))
			door_leave(g, i);
	}
	listeners_doors(g, k);
	for (uint32_t i = 1; i < PILE_DOORS_MAX; i++)
		if (g->doors[i].used && !g->doors[i].gone)
			doored[g->doors[i].group / 32] |= 1u << (g->doors[i].group % 32);
	ports_tell(g, k);
	pile_kernel_doors_tell(k, g->doors_gone, doored, g->own_netns);
}

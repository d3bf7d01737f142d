// SPDX-License-Identifier: GPL-2.0-or-later
/* check_group.c: the rules for one group by itself. */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "policy/check_rules.h"
#include "policy/claim.h"
#include "policy/schema.h"
#include "util/quantity.h"

#define UNIT_MAX 230 /* stop: "pileguard-start-" and ".service" are added, and 255 are allowed */
#define SHED_SHARE_MAX 900 /* permille; design.md: never more than 90 % */
/* Twice the 500 ms after which a pending connect counts as stuck (struct pile_sample_dependency). */
#define STUCK_VISIBLE_NS NS_PER_SEC

struct range {
	const char *key;
	size_t offset; /* uint64_t, in struct pile_policy_group */
	uint64_t min, max;
	bool zero_is_none;
	const char *advice;
};

#define RANGE(key, field, ...)                                              \
	{                                                                   \
		key, offsetof(struct pile_policy_group, field), __VA_ARGS__ \
	}

/*
 * dead_after: below 1 s one lost SYN (sent again after 1 s) is a death. probe_every: design.md,
 * never rarer than 2 s. connect_deadline: the first retransmission needs 200 ms to be of use; above
 * 60 s the kernel's own end is near.
 */
static const struct range ranges[] = {
	RANGE("dead_after", dead_after_ns, NS_PER_SEC, 60 * NS_PER_SEC, false, "write 1s to 1min"),
	RANGE("probe_every", probe_every_ns, 200 * NS_PER_MS, 2 * NS_PER_SEC, false,
	      "write 200ms to 2s"),
	RANGE("connect_deadline", connect_deadline_ns, 300 * NS_PER_MS, 60 * NS_PER_SEC, true,
	      "write 300ms to 1min, or none"),
	RANGE("stop_hold", stop_hold_ns, NS_PER_SEC, 600 * NS_PER_SEC, false, "write 1s to 10min"),
	RANGE("cache_life", cache_life_ns, NS_PER_SEC, 3600 * NS_PER_SEC, true,
	      "write 1s to 1h, or none"),
};

static int check_name(const struct pile_policy_group *g, struct pile_check_fault *f)
{
	static const char first[] = "abcdefghijklmnopqrstuvwxyz0123456789";
	static const char others[] = "abcdefghijklmnopqrstuvwxyz0123456789._-";

	f->key = "name";
	if (g->name[0] && strchr(first, g->name[0]) && !g->name[strspn(g->name, others)])
		return 0;
	return pile_error_set(
		f->err, EINVAL,
		"name: '%s' is not a group's name: write small letters, digits, '.', '_' and "
		"'-', beginning with a letter or digit",
		g->name);
}

/* What acts through a cgroup needs one that is the group's alone. */
static int check_match(const struct pile_policy_group *g, struct pile_check_fault *f)
{
	if (g->unit[0] || g->cgroup[0]) {
		f->key = "match";
		return pile_error_set(f->err, EINVAL,
				      "match: group '%s' has a %s as well: keep one of the two",
				      g->name, g->unit[0] ? "unit" : "cgroup");
	}
	if (!g->place &&
	    (g->connect_deadline_ns ||
	     (g->enforce & (PILE_RUNG_FAIL_FAST | PILE_RUNG_THROTTLE | PILE_RUNG_EVICT)))) {
		f->key = g->connect_deadline_ns ? "connect_deadline" : "enforce";
		return pile_error_set(
			f->err, EINVAL,
			"%s: acts on a cgroup of the group's own, and where it is found this one has none: "
			"write place: yes, or leave it out",
			f->key);
	}
	return pile_claim_check_match(&g->match, &f->key, f->err);
}

static int check_place(const struct pile_policy_group *g, struct pile_check_fault *f)
{
	if (pile_policy_matches(g))
		return check_match(g, f);
	f->key = "place";
	if (g->place)
		return pile_error_set(
			f->err, EINVAL,
			"place: only what match finds is placed, a unit and a cgroup are guarded where they are: "
			"leave it out");
	if (!g->unit[0] && !g->cgroup[0]) {
		f->key = "name";
		return pile_error_set(
			f->err, EINVAL,
			"group '%s' has no processes: write unit: NAME.service or cgroup: /PATH",
			g->name);
	}
	if (g->unit[0] && g->cgroup[0]) {
		f->key = "cgroup";
		return pile_error_set(f->err, EINVAL,
				      "cgroup: group '%s' has a unit as well: keep one of the two",
				      g->name);
	}
	f->key = g->unit[0] ? "unit" : "cgroup";
	return g->unit[0] ? pile_claim_check_unit(g->unit, f->err)
			  : pile_claim_check_cgroup(g->cgroup, f->err);
}

static int check_ranges(const struct pile_policy_group *g, struct pile_check_fault *f)
{
	char text[32];

	for (size_t i = 0; i < ARRAY_LEN(ranges); i++) {
		const struct range *r = &ranges[i];
		uint64_t value = *(const uint64_t *)((const char *)g + r->offset);

		if ((value >= r->min && value <= r->max) || (!value && r->zero_is_none))
			continue;
		f->key = r->key;
		return pile_error_set(f->err, EINVAL, "%s: %s is out of range: %s", r->key,
				      pile_quantity_format_duration(value, text, sizeof(text)),
				      r->advice);
	}
	return 0;
}

static int check_deadline(const struct pile_policy_group *g, struct pile_check_fault *f)
{
	char text[32];

	if (!(g->enforce & PILE_RUNG_FAIL_FAST) || !g->connect_deadline_ns ||
	    g->connect_deadline_ns >= STUCK_VISIBLE_NS)
		return 0;
	f->key = "connect_deadline";
	return pile_error_set(
		f->err, EINVAL,
		"connect_deadline: %s ends connects before fail_fast can see them stuck (500ms): "
		"write 1s or more, or take fail_fast out of enforce",
		pile_quantity_format_duration(g->connect_deadline_ns, text, sizeof(text)));
}

static int check_pool(const struct pile_policy_group *g, struct pile_check_fault *f)
{
	if (g->workers_max && g->workers == PILE_WORKERS_EVENTS) {
		f->key = "workers_max";
		return pile_error_set(
			f->err, EINVAL,
			"workers_max: a worker of workers: events holds any number of requests, "
			"so this is no cap: leave it out");
	}
	if (!g->workers_max || g->baseline_waiting <= g->workers_max / 2)
		return 0;
	f->key = "baseline_waiting";
	return pile_error_set(
		f->err, EINVAL,
		"baseline_waiting: %u is more than half of workers_max (%u), where a group counts "
		"as at risk: write at most %u, or learn",
		g->baseline_waiting, g->workers_max, g->workers_max / 2);
}

static int check_memory(const struct pile_policy_group *g, struct pile_check_fault *f)
{
	f->key = "memory_budget";
	if (g->memory_budget_bytes && g->memory_budget_permille)
		return pile_error_set(
			f->err, EINVAL,
			"memory_budget: given as a size and as a share: keep one of the two");
	if (g->memory_budget_permille > 1000)
		return pile_error_set(f->err, EINVAL,
				      "memory_budget: more than the host has: write at most 100%%");
	if (g->memory_budget_bytes && g->memory_budget_bytes < PILE_CHECK_MEMORY_MIN)
		return pile_error_set(
			f->err, EINVAL,
			"memory_budget: %llu bytes hold no worker: write 1MiB or more, or host",
			(unsigned long long)g->memory_budget_bytes);
	return 0;
}

static int check_refuse(const struct pile_policy_group *g, struct pile_check_fault *f)
{
	f->key = "refuse_with";
	for (size_t i = 0; i < ARRAY_LEN(pile_schema_errnos); i++)
		if (g->refuse_errno == pile_schema_errnos[i].val)
			return 0;
	return pile_error_set(
		f->err, EINVAL,
		"refuse_with: errno %d is not what connect() says of a dead destination: "
		"write ECONNREFUSED",
		g->refuse_errno);
}

static int check_enforce(const struct pile_policy_group *g, struct pile_check_fault *f)
{
	f->key = "enforce";
	if (g->enforce & PILE_RUNG_EVICT && g->workers != PILE_WORKERS_PREFORK)
		return pile_error_set(
			f->err, EINVAL,
			"enforce: evict ends single workers, which is for pools alone where each has one request at a time: "
			"write workers: prefork, or take evict out of enforce");
	if ((g->enforce & PILE_RUNG_SHED) && !g->connections_max && !g->shed_share_permille)
		return pile_error_set(
			f->err, EINVAL,
			"enforce: shed refuses connections beyond connections_max, and by shed_share, and both are "
			"none: write connections_max: 200, or take shed out");
	f->key = "shed_share";
	if (g->shed_share_permille > SHED_SHARE_MAX)
		return pile_error_set(
			f->err, EINVAL,
			"shed_share: nobody would find out that it is over: write at most 90%%");
	return 0;
}

/* What a login, or the host itself, lives by: whoever stops that is the outage. */
static bool is_vital(const char *unit)
{
	static const char *const vital[] = {
		"ssh.",	       "sshd.",		 "ssh@",	   "sshd@",   "systemd-",
		"dbus",	       "pileguard",	 "user@",	   "getty@",  "serial-getty@",
		"networking.", "network",	 "NetworkManager", "polkit",  "init.",
		"session-",    "cron.",		 "rsyslog.",	   "sssd",    "nslcd",
		"winbind",     "nscd",		 "named",	   "bind9",   "unbound",
		"dnsmasq",     "resolvconf",	 "tailscaled",	   "openvpn", "wg-quick@",
		"ifup@",       "wpa_supplicant", "multipathd",	   "iscsi",   "qemu-guest-agent",
		"docker",      "containerd",	 "auditd",	   "cloud-",
	};

	for (size_t i = 0; i < ARRAY_LEN(vital); i++)
		if (!strncmp(unit, vital[i], strlen(vital[i])))
			return true;
	return false;
}

static int check_stop(const struct pile_policy_group *g, struct pile_check_fault *f)
{
	const char *dot = strrchr(g->unit, '.');

	f->key = "enforce";
	if (!(g->enforce & PILE_RUNG_STOP))
		return 0;
	if (!dot || strcmp(dot, ".service"))
		return pile_error_set(
			f->err, EINVAL,
			"enforce: stop has systemd stop the group's service and start it again, and this group has none: "
			"write unit: NAME.service, or take stop out");
	if (strlen(g->unit) > UNIT_MAX)
		return pile_error_set(
			f->err, EINVAL,
			"enforce: stop needs a timer named after the unit, and this name is too long for that: take stop out");
	if (is_vital(g->unit))
		return pile_error_set(
			f->err, EINVAL,
			"enforce: '%s' is what the host, or a login, lives by, and is never stopped: take stop out",
			g->unit);
	return 0;
}

static bool is_any_address(const struct pile_endpoint *ep)
{
	static const uint8_t any[sizeof(ep->addr)], /* ::, and 0.0.0.0 as it is mapped */
		any_v4[sizeof(ep->addr)] = { [10] = 0xff, [11] = 0xff };
	return !memcmp(ep->addr, any, sizeof(any)) || !memcmp(ep->addr, any_v4, sizeof(any_v4));
}

static bool covers_everything(const struct pile_endpoint *ep)
{
	return !ep->port && is_any_address(ep);
}

static int check_exempt(const struct pile_policy_group *g, struct pile_check_fault *f)
{
	char text[PILE_ENDPOINT_TEXT_MAX];

	f->key = "exempt";
	for (uint32_t i = 0; i < g->n_exempt; i++) {
		const struct pile_endpoint *ep = &g->exempt[i];

		f->index = i + 1;
		pile_endpoint_format(ep, text, sizeof(text));
		if (ep->family != AF_INET && ep->family != AF_INET6)
			return pile_error_set(f->err, EINVAL,
					      "exempt: '%s' is not an IP address: leave it out",
					      text);
		if (covers_everything(ep))
			return pile_error_set(
				f->err, EINVAL,
				"exempt: '%s' covers every destination: take fail_fast out of "
				"enforce instead",
				text);
		for (uint32_t j = 0; j < i; j++)
			if (pile_endpoint_equal(ep, &g->exempt[j]))
				return pile_error_set(f->err, EINVAL,
						      "exempt: '%s' is given twice: remove one",
						      text);
	}
	f->index = 0;
	return 0;
}

static int check_shed_exempt(const struct pile_policy_group *g, struct pile_check_fault *f)
{
	char text[PILE_ENDPOINT_TEXT_MAX];

	f->key = "shed_exempt";
	for (uint32_t i = 0; i < g->n_shed_exempt; i++) {
		const struct pile_endpoint *ep = &g->shed_exempt[i];

		f->index = i + 1;
		pile_endpoint_format(ep, text, sizeof(text));
		if (ep->family != AF_UNIX && covers_everything(ep))
			return pile_error_set(
				f->err, EINVAL,
				"shed_exempt: '%s' covers every client: take shed out of enforce instead",
				text);
		for (uint32_t j = 0; j < i; j++)
			if (pile_endpoint_equal(ep, &g->shed_exempt[j]))
				return pile_error_set(
					f->err, EINVAL,
					"shed_exempt: '%s' is given twice: remove one", text);
	}
	f->index = 0;
	return 0;
}

static int check_speaks_first(const struct pile_policy_group *g, struct pile_check_fault *f)
{
	char text[PILE_ENDPOINT_TEXT_MAX];

	f->key = "server_speaks_first";
	for (uint32_t i = 0; i < g->n_server_speaks_first; i++) {
		const struct pile_endpoint *ep = &g->server_speaks_first[i];

		f->index = i + 1;
		pile_endpoint_format(ep, text, sizeof(text));
		if ((ep->family != AF_INET && ep->family != AF_INET6) || !ep->port)
			return pile_error_set(
				f->err, EINVAL,
				"server_speaks_first: '%s' is not an IP address with a port: leave it out",
				text);
		if (is_any_address(ep))
			return pile_error_set(
				f->err, EINVAL,
				"server_speaks_first: '%s' is every server on that port, also one that greets late: "
				"write the address of each",
				text);
		for (uint32_t j = 0; j < i; j++)
			if (pile_endpoint_equal(ep, &g->server_speaks_first[j]))
				return pile_error_set(
					f->err, EINVAL,
					"server_speaks_first: '%s' is given twice: remove one",
					text);
	}
	f->index = 0;
	return 0;
}

typedef int (*group_rule)(const struct pile_policy_group *, struct pile_check_fault *);

static const group_rule group_rules[] = {
	check_name,   check_place,	  check_ranges,	     check_deadline,
	check_pool,   check_memory,	  check_refuse,	     check_enforce,
	check_exempt, check_speaks_first, check_shed_exempt, check_stop,
};

int pile_check_group(const struct pile_policy_group *g, struct pile_check_fault *f)
{
	int r = 0;

	for (size_t i = 0; i < ARRAY_LEN(group_rules) && r == 0; i++)
		r = group_rules[i](g, f);
	return r;
}

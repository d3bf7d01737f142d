// SPDX-License-Identifier: GPL-2.0-or-later
#include "util/endpoint.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

static const uint8_t any_address[16];
static const uint8_t mapped_prefix[12] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff };

static bool is_mapped(const uint8_t addr[16])
{
	return !memcmp(addr, mapped_prefix, sizeof(mapped_prefix));
}

static bool is_any(const uint8_t addr[16])
{
	return !memcmp(addr, any_address, sizeof(any_address));
}

/* 0.0.0.0 as it is held: every IPv4 address, no IPv6 one. */
static bool is_any_v4(const uint8_t addr[16])
{
	return is_mapped(addr) && !memcmp(addr + 12, any_address, 4);
}

/* strtoul takes blanks and signs; a port takes neither. */
static int parse_port(const char *text, uint16_t *ret)
{
	unsigned int port = 0;
	size_t n = strlen(text);

	if (n < 1 || n > 5 || strspn(text, "0123456789") != n)
		return -EINVAL;
	for (; *text; text++)
		port = port * 10 + (unsigned int)(*text - '0');
	if (port < 1 || port > UINT16_MAX)
		return -EINVAL;
	*ret = (uint16_t)port;
	return 0;
}

static int parse_v4(const char *text, struct pile_endpoint *ep)
{
	memcpy(ep->addr, mapped_prefix, sizeof(mapped_prefix));
	ep->family = AF_INET;
	return inet_pton(AF_INET, text, ep->addr + 12) == 1 ? 0 : -EINVAL;
}

static int parse_v6(const char *text, struct pile_endpoint *ep)
{
	if (inet_pton(AF_INET6, text, ep->addr) != 1)
		return -EINVAL;
	ep->family = is_mapped(ep->addr) ? AF_INET : AF_INET6;
	return 0;
}

static int parse_unix(const char *text, struct pile_endpoint *ep)
{
	size_t n = strlen(text);

	/* "/" and "@" alone name nothing; a path that ends in a slash is a directory. */
	if (n < 2 || n >= sizeof(ep->path) || (text[0] == '/' && text[n - 1] == '/'))
		return -EINVAL;
	for (size_t i = 0; i < n; i++)
		if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
			return -EINVAL;
	memcpy(ep->path, text, n + 1);
	ep->family = AF_UNIX;
	return 0;
}

/* "[addr]:port", "[addr]": @host is a writable copy of the text. */
static int parse_bracketed(char *host, bool port_optional, struct pile_endpoint *ep)
{
	char *end = strchr(host, ']');

	if (!end)
		return -EINVAL;
	*end++ = '\0';
	if (parse_v6(host + 1, ep) < 0)
		return -EINVAL;
	if (!*end)
		return port_optional ? 0 : -EINVAL;
	return *end == ':' ? parse_port(end + 1, &ep->port) : -EINVAL;
}

/* "addr:port", ":port", "addr"; an IPv6 address without brackets cannot carry a port. */
static int parse_bare(char *host, bool port_optional, struct pile_endpoint *ep)
{
	char *colon = strchr(host, ':');

	if (!colon)
		return port_optional ? parse_v4(host, ep) : -EINVAL;
	if (strchr(colon + 1, ':'))
		return port_optional ? parse_v6(host, ep) : -EINVAL;
	*colon = '\0';
	if (colon == host)
		ep->family = AF_INET6; /* any address: all zero */
	else if (parse_v4(host, ep) < 0)
		return -EINVAL;
	return parse_port(colon + 1, &ep->port);
}

static int parse_inet(const char *text, bool port_optional, struct pile_endpoint *ep)
{
	char host[INET6_ADDRSTRLEN + sizeof("[]:65535")];

	if ((size_t)snprintf(host, sizeof(host), "%s", text) >= sizeof(host))
		return -EINVAL;
	if (host[0] == '[')
		return parse_bracketed(host, port_optional, ep);
	return parse_bare(host, port_optional, ep);
}

int pile_endpoint_parse(const char *text, bool port_optional, struct pile_endpoint *ret)
{
	struct pile_endpoint ep = { 0 };
	int r;

	if (text[0] == '/' || text[0] == '@')
		r = parse_unix(text, &ep);
	else
		r = parse_inet(text, port_optional, &ep);
	if (r < 0)
		return r;
	*ret = ep;
	return 0;
}

struct pile_endpoint pile_endpoint_of(const uint8_t addr[16], uint16_t port)
{
	struct pile_endpoint ep = { .family = is_mapped(addr) ? AF_INET : AF_INET6, .port = port };

	memcpy(ep.addr, addr, sizeof(ep.addr));
	return ep;
}

const char *pile_endpoint_format(const struct pile_endpoint *ep, char *buf, size_t size)
{
	char host[INET6_ADDRSTRLEN] = "";
	bool v4 = is_mapped(ep->addr);

	if (ep->family == AF_UNIX || !ep->family) {
		snprintf(buf, size, "%s", ep->family ? ep->path : "");
		return buf;
	}
	if (v4)
		inet_ntop(AF_INET, ep->addr + 12, host, sizeof(host));
	else if (!ep->port || !is_any(ep->addr))
		inet_ntop(AF_INET6, ep->addr, host, sizeof(host));
	if (!ep->port)
		snprintf(buf, size, "%s", host);
	else if (v4 || !host[0])
		snprintf(buf, size, "%s:%u", host, ep->port);
	else
		snprintf(buf, size, "[%s]:%u", host, ep->port);
	return buf;
}

static bool same_path(const struct pile_endpoint *a, const struct pile_endpoint *b)
{
	return a->family == b->family && !strcmp(a->path, b->path);
}

bool pile_endpoint_equal(const struct pile_endpoint *a, const struct pile_endpoint *b)
{
	if (!a->family || !b->family)
		return a->family == b->family;
	if (a->family == AF_UNIX || b->family == AF_UNIX)
		return same_path(a, b);
	return a->port == b->port && !memcmp(a->addr, b->addr, sizeof(a->addr));
}

bool pile_endpoint_matches(const struct pile_endpoint *pattern, const struct pile_endpoint *ep)
{
	if (!pattern->family || !ep->family)
		return false;
	if (pattern->family == AF_UNIX || ep->family == AF_UNIX)
		return same_path(pattern, ep);
	if (pattern->port && pattern->port != ep->port)
		return false;
	if (is_any(pattern->addr))
		return true;
	if (is_any_v4(pattern->addr))
		return is_mapped(ep->addr);
	return !memcmp(pattern->addr, ep->addr, sizeof(ep->addr));
}

bool pile_endpoint_listed(const struct pile_endpoint *list, uint32_t n,
			  const struct pile_endpoint *ep)
{
	for (uint32_t i = 0; i < n; i++)
		if (pile_endpoint_matches(&list[i], ep))
			return true;
	return false;
}

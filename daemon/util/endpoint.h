/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * endpoint.h: socket addresses as text and back: "10.9.0.2:3306", "[2001:db8::1]:443", ":9000",
 * "/run/x.sock", "@abstract".
 * Pure; callable from any thread; never blocks; never logs.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "pileguard/limits.h"
#include "util/macro.h"

/** A socket address as the policy and the sensors hold it. v4 is held as ::ffff:a.b.c.d. */
struct pile_endpoint {
	uint8_t addr[16]; /* network order, v4-mapped for IPv4; all zero = any address */
	uint16_t port;	  /* host order; 0 for unix, or "any port" in an exemption */
	uint8_t family;	  /* 0 none, AF_INET, AF_INET6, AF_UNIX */
	uint8_t pad;
	char path[PILE_UNIX_PATH_MAX]; /* unix only; a leading '@' stands for the abstract NUL */
};

/**
 * pile_endpoint_parse - text to endpoint
 * ":9000" is any address; IPv4 (and v4-mapped IPv6) becomes ::ffff:a.b.c.d with family AF_INET;
 * "host" without a port (IPv6 then with or without brackets) gives port 0, only where
 * @port_optional. Port 0 is never written. Names and %scopes are refused: addresses only.
 * A unix path is absolute, or '@' and an abstract name.
 * Returns 0 or -EINVAL; *ret is untouched on failure.
 */
int pile_endpoint_parse(const char *text, bool port_optional, struct pile_endpoint *ret);

/** pile_endpoint_of - from an address as the kernel has it: network order, v4-mapped for IPv4. @port: host order */
struct pile_endpoint pile_endpoint_of(const uint8_t addr[16], uint16_t port);

/**
 * pile_endpoint_format - the text form, which pile_endpoint_parse() reads back
 * ::ffff:a.b.c.d prints as IPv4, any address as ":port", family 0 as "". Returns buf.
 */
const char *pile_endpoint_format(const struct pile_endpoint *ep, char *buf, size_t size);

/**
 * pile_endpoint_equal - same address and port, or the same path
 * A v4-mapped v6 address equals its IPv4 form.
 */
bool pile_endpoint_equal(const struct pile_endpoint *a, const struct pile_endpoint *b);

/**
 * pile_endpoint_matches - @pattern covers @ep
 * Port 0 is any port, the all-zero address any address, 0.0.0.0 any IPv4 address. Family 0 matches
 * nothing.
 */
bool pile_endpoint_matches(const struct pile_endpoint *pattern, const struct pile_endpoint *ep);

/** pile_endpoint_listed - one of @list's @n patterns covers @ep */
bool pile_endpoint_listed(const struct pile_endpoint *list, uint32_t n,
			  const struct pile_endpoint *ep);

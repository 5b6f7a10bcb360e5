/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

#include <netinet/in.h>
#include <stdbool.h>

#include "fairlead/types.h"

/* "[v6]:port" or "v4:port"; also fits the longest address without a port. */
#define ADDRESS_TEXT_SIZE (INET6_ADDRSTRLEN + sizeof("[]:65535"))

/*
 * Reads an IPv4 or IPv6 address. Leading zeros in IPv4 octets are decimal (kube-proxy's rule A23).
 * A mapped address (::ffff:a.b.c.d) is the IPv4 address. Returns 0 or -EINVAL. Silent.
 */
int address_parse(const char *text, struct ip_addr *ret_addr);

/*
 * Reads `address/bits`; a bare address has the full prefix length. `ret_prefix` counts from 128
 * bits, for IPv4 too. Bits after the prefix are cleared. Returns 0 or -EINVAL. Silent.
 */
int cidr_parse(const char *text, struct ip_addr *ret_addr, __u8 *ret_prefix);

struct ip_addr address_from_ipv4(__be32 ipv4);

bool address_is_ipv4(const struct ip_addr *addr);
enum ip_family address_family(const struct ip_addr *addr);
bool address_equal(const struct ip_addr *a, const struct ip_addr *b);
bool address_is_zero(const struct ip_addr *addr);
bool address_is_loopback(const struct ip_addr *addr);

/* 127.0.0.1 or ::1: the loopback address of the family that may have frontends. */
struct ip_addr address_loopback(enum ip_family family);

/* Writes the canonical text into `buf` and returns `buf`. */
const char *address_format(const struct ip_addr *addr, char buf[ADDRESS_TEXT_SIZE]);

/* The same with a port, `10.0.0.1:80` or `[fd00::1]:80`. */
const char *endpoint_format(const struct ip_addr *addr, __be16 port, char buf[ADDRESS_TEXT_SIZE]);

/* "TCP", "UDP", "SCTP" or "?". */
const char *proto_name(__u8 proto);

/* The reverse, in Kubernetes' spelling; 0: the name is none of the three. */
__u8 proto_parse(const char *name);

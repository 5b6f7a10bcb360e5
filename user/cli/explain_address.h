/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

#include <arpa/inet.h>
#include <string.h>

#include "address.h"

static inline bool address_is_loopback(const struct ip_addr *addr)
{
	static const struct ip_addr one = {.bytes = {[15] = 1}};

	return address_is_ipv4(addr) ? addr->bytes[12] == IN_LOOPBACKNET
				     : address_equal(addr, &one);
}

/* 127.0.0.1 or ::1: the loopback address of its family that has frontends. */
static inline struct ip_addr address_loopback(enum ip_family family)
{
	return family == FAMILY_IPV4 ? address_from_ipv4(htonl(INADDR_LOOPBACK))
				     : (struct ip_addr){.bytes = {[15] = 1}};
}

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

/* Addresses of either family as four words, and lookups in the `addresses` map. */

#include <stdbool.h>
#include <bpf/bpf_endian.h>

#include "config.h"
#include "fairlead/atomic.h"
#include "maps.h"

/* The families in the kernel's structs; <sys/socket.h>, which has them, needs a C library. */
#define AF_INET  2
#define AF_INET6 10

#define MAPPED_PREFIX_WORD ((__u32)bpf_htonl(0xffff)) /* third word of ::ffff:a.b.c.d */

static __always_inline __u32 *address_words(struct ip_addr *addr)
{
	return (__u32 *)addr->bytes;
}

static __always_inline const __u32 *address_words_const(const struct ip_addr *addr)
{
	return (const __u32 *)addr->bytes;
}

static __always_inline void address_set_ipv4(struct ip_addr *addr, __be32 ipv4)
{
	__u32 *words = address_words(addr);

	words[0] = 0;
	words[1] = 0;
	words[2] = MAPPED_PREFIX_WORD;
	words[3] = ipv4;
}

static __always_inline __be32 address_ipv4(const struct ip_addr *addr)
{
	return address_words_const(addr)[3];
}

static __always_inline bool address_is_ipv4(const struct ip_addr *addr)
{
	const __u32 *words = address_words_const(addr);

	return !words[0] && !words[1] && words[2] == MAPPED_PREFIX_WORD;
}

static __always_inline bool address_is_loopback(const struct ip_addr *addr)
{
	const __u32 *words = address_words_const(addr);

	if (words[0] | words[1])
		return false;
	return words[2] == MAPPED_PREFIX_WORD ? addr->bytes[12] == 127
					      : !words[2] && words[3] == (__u32)bpf_htonl(1);
}

static __always_inline bool address_equal(const struct ip_addr *a, const struct ip_addr *b)
{
	const __u32 *left = address_words_const(a);
	const __u32 *right = address_words_const(b);

	return left[0] == right[0] && left[1] == right[1] && left[2] == right[2] &&
	       left[3] == right[3];
}

/* What we know about the address, or NULL if it is unknown. */
static __always_inline const struct address_info *address_lookup(const struct ip_addr *addr)
{
	return bpf_map_lookup_elem(&addresses, addr);
}

static __always_inline struct address_flows *address_flows_of(const struct address_info *info)
{
	__u32 index = info->index;

	return index ? bpf_map_lookup_elem(&address_flows, &index) : NULL;
}

/*
 * False if no flow of this VIP or backend can exist, so that the flow tables need not be searched.
 */
static __always_inline bool address_may_have_flows(const struct address_info *info)
{
	const struct address_flows *busy = address_flows_of(info);

	return busy && (busy->confirmed || busy->new_until_s >= now_seconds());
}

/* True if the address is a backend's and the backend may have flows. */
static __always_inline bool backend_may_have_flows(const struct ip_addr *addr)
{
	const struct address_info *info = address_lookup(addr);

	return info && info->flags & ADDRESS_BACKEND && address_may_have_flows(info);
}

static __always_inline void address_expect_flows(const struct ip_addr *addr, __u32 until_s)
{
	const struct address_info *info = address_lookup(addr);
	struct address_flows *busy = info ? address_flows_of(info) : NULL;

	if (busy && busy->new_until_s < until_s)
		busy->new_until_s = until_s;
}

/* False if no client of this backend has a translated direct conversation. */
static __always_inline bool address_may_have_direct_flows(const struct address_info *info)
{
	const struct address_flows *busy = address_flows_of(info);

	return busy && busy->direct_until_s >= now_seconds();
}

static __always_inline void address_expect_direct_flows(const struct ip_addr *addr, __u32 until_s)
{
	const struct address_info *info = address_lookup(addr);
	struct address_flows *busy = info ? address_flows_of(info) : NULL;

	if (busy && busy->direct_until_s < until_s)
		busy->direct_until_s = until_s;
}

/* Records that a datagram goes straight to this backend. */
static __always_inline void address_record_datagram(const struct address_info *info, __u32 now_s)
{
	struct address_flows *busy = address_flows_of(info);

	if (busy && busy->datagram_s != now_s)
		busy->datagram_s = now_s;
}

/* When a datagram last went straight to a backend, in seconds; 0 if never. */
static __always_inline __u32 address_datagram_s(const struct ip_addr *addr)
{
	const struct address_info *info = address_lookup(addr);
	const struct address_flows *busy = info ? address_flows_of(info) : NULL;

	return busy ? busy->datagram_s : 0;
}

static __always_inline void address_count_flow(const struct ip_addr *addr, int change)
{
	const struct address_info *info = address_lookup(addr);
	struct address_flows *busy = info ? address_flows_of(info) : NULL;

	/* A flow that another node brought here may be older than this address's entry. */
	if (busy && (change > 0 || busy->confirmed))
		ATOMIC_ADD(busy->confirmed, change);
}

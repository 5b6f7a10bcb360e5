/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

/*
 * The call that a socket hook sees: its address, which is of either family, its socket, and whether
 * it is made on the node or in a pod.
 */

#include <linux/bpf.h>
#include <stdbool.h>
#include <bpf/bpf_helpers.h>

#include "packet/address.h"
#include "config.h"
#include "fairlead/atomic.h"
#include "maps.h"

#define LOOPBACK_IPV4 ((__u32)bpf_htonl(0x7f000001))
#define LOOPBACK_IPV6 ((__u32)bpf_htonl(1)) /* the last word of ::1 */

/* What a hook returns to the kernel about the call. */
enum socket_verdict {
	SOCKET_REFUSE = 0,
	SOCKET_ALLOW = 1, /* perhaps with another address */
};

/*
 * Sockets of the agent: its path to the API server must not depend on what it has programmed.
 * Written by the agent before it connects.
 */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, __u32);
} agent_sockets SEC(".maps");

/* The address and port of a call, of either family. */
struct endpoint {
	struct ip_addr addr;
	__be16 port;
};

static __always_inline void endpoint_read4(const struct bpf_sock_addr *ctx, struct endpoint *ret)
{
	address_set_ipv4(&ret->addr, ctx->user_ip4);
	ret->port = (__be16)ctx->user_port;
}

static __always_inline void endpoint_write4(struct bpf_sock_addr *ctx,
					    const struct endpoint *endpoint)
{
	ctx->user_ip4 = address_ipv4(&endpoint->addr);
	ctx->user_port = endpoint->port;
}

static __always_inline void endpoint_read6(const struct bpf_sock_addr *ctx, struct endpoint *ret)
{
	__u32 *words = address_words(&ret->addr);

	words[0] = ctx->user_ip6[0];
	words[1] = ctx->user_ip6[1];
	words[2] = ctx->user_ip6[2];
	words[3] = ctx->user_ip6[3];
	ret->port = (__be16)ctx->user_port;
}

static __always_inline void endpoint_write6(struct bpf_sock_addr *ctx,
					    const struct endpoint *endpoint)
{
	const __u32 *words = address_words_const(&endpoint->addr);

	ctx->user_ip6[0] = words[0];
	ctx->user_ip6[1] = words[1];
	ctx->user_ip6[2] = words[2];
	ctx->user_ip6[3] = words[3];
	ctx->user_port = endpoint->port;
}

static __always_inline bool endpoint_is(const struct endpoint *endpoint, const struct ip_addr *addr,
					__be16 port)
{
	return endpoint->port == port && address_equal(&endpoint->addr, addr);
}

/*
 * True if the address is unspecified, which means loopback to connect() and every address to
 * bind().
 */
static __always_inline bool address_is_any(const struct ip_addr *addr)
{
	const __u32 *words = address_words_const(addr);

	return !words[3] && !words[0] && !words[1] && (!words[2] || words[2] == MAPPED_PREFIX_WORD);
}

/* Sets the address to the one loopback address of its family that has frontends. */
static __always_inline void address_set_loopback(struct ip_addr *addr)
{
	address_words(addr)[3] = address_is_ipv4(addr) ? LOOPBACK_IPV4 : LOOPBACK_IPV6;
}

/*
 * The socket, loaded once: if the compiler finds several loads, it may compute the address of the
 * field once and share it, which the verifier rejects.
 */
static __always_inline struct bpf_sock *socket_of(const struct bpf_sock_addr *ctx)
{
	struct bpf_sock *socket = ctx->sk;

	barrier_var(socket);
	return socket;
}

/* True for a socket of the agent itself: it dials the frontend, and may bind to any port. */
static __always_inline bool socket_is_agents(struct bpf_sock *socket)
{
	return bpf_sk_storage_get(&agent_sockets, socket, NULL, 0);
}

/* False in pods, whose loopback addresses are their own. */
static __always_inline bool is_on_node(struct bpf_sock_addr *ctx)
{
	return config.netns_cookie && bpf_get_netns_cookie(ctx) == config.netns_cookie;
}

/*
 * True if a TC hook sees packets to the address. Packets from a process of the node to one of the
 * node's own addresses never leave by a link.
 */
static __always_inline bool is_met_by_tc(struct bpf_sock_addr *ctx, const struct ip_addr *addr)
{
	const struct address_info *address;

	if (!config.tc_attached || address_is_loopback(addr) || address_is_any(addr))
		return false;
	address = address_lookup(addr);
	return !address || !(address->flags & ADDRESS_NODE) || !is_on_node(ctx);
}

/*
 * The address that a socket is bound to. If it is zero or unspecified, the kernel chooses one once
 * it knows the backend.
 */
static __always_inline void source_read(const struct bpf_sock *socket, struct ip_addr *ret_addr)
{
	__u32 *words = address_words(ret_addr);
	__be32 ipv4;

	__builtin_memset(ret_addr, 0, sizeof(*ret_addr));
	if (!socket)
		return;
	if (socket->family != AF_INET6) {
		ipv4 = socket->src_ip4;
		barrier_var(ipv4); /* else the compiler merges this load with an IPv6 word's */
		address_set_ipv4(ret_addr, ipv4);
		return;
	}
	words[0] = socket->src_ip6[0];
	words[1] = socket->src_ip6[1];
	words[2] = socket->src_ip6[2];
	words[3] = socket->src_ip6[3];
}

static __always_inline void peer_read(const struct bpf_sock *socket, struct ip_addr *ret_addr)
{
	__u32 *words = address_words(ret_addr);
	__be32 ipv4;

	if (socket->family != AF_INET6) {
		ipv4 = socket->dst_ip4;
		barrier_var(ipv4); /* else the compiler merges this load with an IPv6 word's */
		address_set_ipv4(ret_addr, ipv4);
		return;
	}
	words[0] = socket->dst_ip6[0];
	words[1] = socket->dst_ip6[1];
	words[2] = socket->dst_ip6[2];
	words[3] = socket->dst_ip6[3];
}

/* Reads the port as a 32-bit word, which every kernel accepts: before 5.18 the field is one. */
static __always_inline __be16 peer_read_port(const struct bpf_sock *socket)
{
	return (__be16)READ_ONCE(*(const __u32 *)&socket->dst_port);
}

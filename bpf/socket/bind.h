/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

/* bind(): a process of the node cannot bind to a NodePort of a Service. */

#include <linux/errno.h>

#include "service/service.h"
#include "socket/call.h"

#define BIND_ATTEMPTS_SIZE 4096 /* bytes, at least a page; attempts without room are not logged */

/* Processes that were refused a NodePort. Read by the agent, which logs them. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, BIND_ATTEMPTS_SIZE);
} bind_attempts SEC(".maps");

/* True if the address and port are a Service's NodePort. */
static __always_inline bool is_node_port(const struct ip_addr *addr, __be16 port, __u8 proto,
					 __u32 *ret_service)
{
	const struct frontend_target *target = frontend_lookup(addr, port, proto);

	if (!target || target->kind != FRONTEND_NODE_PORT)
		return false;
	*ret_service = target->service;
	return true;
}

/*
 * True if binding to the endpoint would cover a NodePort. The unspecified address covers all of
 * them; loopback, which has every NodePort, is looked up in its place. That of IPv6 covers IPv4 as
 * well.
 */
static __always_inline bool endpoint_covers_node_port(const struct endpoint *endpoint, __u8 proto,
						      __u32 *ret_service)
{
	struct ip_addr addr = endpoint->addr;
	bool is_any = address_is_any(&addr), is_ipv4 = address_is_ipv4(&addr);

	if (is_any || address_is_loopback(&addr))
		address_set_loopback(&addr);
	if (is_node_port(&addr, endpoint->port, proto, ret_service))
		return true;
	if (!is_any || is_ipv4)
		return false;
	address_set_ipv4(&addr, LOOPBACK_IPV4);
	return is_node_port(&addr, endpoint->port, proto, ret_service);
}

/*
 * Reports an attempt to bind for the agent's log; if the ring buffer is full, the attempt is not
 * logged.
 */
static __always_inline void bind_attempt_report(const struct endpoint *endpoint, __u8 proto,
						__u32 service)
{
	struct bind_attempt *attempt = bpf_ringbuf_reserve(&bind_attempts, sizeof(*attempt), 0);

	if (!attempt)
		return;
	attempt->wanted.vip = endpoint->addr;
	attempt->wanted.port = endpoint->port;
	attempt->wanted.proto = proto;
	attempt->wanted.pad = 0;
	attempt->service = service;
	attempt->pid = (__u32)(bpf_get_current_pid_tgid() >> 32);
	if (bpf_get_current_comm(attempt->process, sizeof(attempt->process)))
		attempt->process[0] = '\0';
	bpf_ringbuf_submit(attempt, 0);
}

/*
 * Refuses a bind to a NodePort: the process would never be reached, because the Service gets its
 * clients. A process that is already listening keeps its socket. Kernels before 5.18 can only
 * return EPERM.
 */
static __always_inline enum socket_verdict socket_bind(struct bpf_sock_addr *ctx,
						       const struct endpoint *endpoint)
{
	__u8 proto = ctx->protocol;
	__u32 service;

	if (!endpoint->port || !is_on_node(ctx) || socket_is_agents(ctx->sk) ||
	    !endpoint_covers_node_port(endpoint, proto, &service))
		return SOCKET_ALLOW;
	bind_attempt_report(endpoint, proto, service);
	if (config.has_retval)
		bpf_set_retval(-EADDRINUSE);
	return SOCKET_REFUSE;
}

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

/*
 * Calls to frontends: which frontend is dialled, whether the client may use it, and what happens to
 * a call that gets no backend.
 */

#include <linux/errno.h>

#include "counter.h"
#include "service/select.h"
#include "socket/call.h"
#include "socket/state.h"

/*
 * Looks up the frontend that is dialled. On the node every loopback address stands for a NodePort
 * address. A socket bound to loopback is left alone: none of its packets could leave the node.
 */
static __always_inline const struct frontend_target *
frontend_dialled(struct bpf_sock_addr *ctx, const struct bpf_sock *socket,
		 const struct endpoint *endpoint, __u8 proto)
{
	struct ip_addr addr = endpoint->addr, source;

	if (address_is_loopback(&addr) || address_is_any(&addr)) {
		if (!is_on_node(ctx))
			return NULL;
		source_read(socket, &source);
		if (address_is_loopback(&source))
			return NULL;
		address_set_loopback(&addr);
	}
	return frontend_lookup(&addr, endpoint->port, proto);
}

/*
 * True if the client may use a load-balancer IP. The source of an unbound socket is not known yet:
 * on the node, the node's own address is assumed (rule I110). Only the TC hooks see a pod's source,
 * so a pod is not allowed here.
 */
static __always_inline bool socket_is_allowed(struct bpf_sock_addr *ctx,
					      const struct bpf_sock *socket,
					      const struct frontend_target *target)
{
	const struct service *service;
	struct ip_addr source;

	if (target->kind != FRONTEND_LOAD_BALANCER_IP)
		return true;
	service = service_lookup(target->service);
	if (!service || !(service->flags & SERVICE_SOURCE_RANGES))
		return true;
	source_read(socket, &source);
	if (!address_is_any(&source))
		return source_is_allowed(&source, target);
	return service->flags & SERVICE_NODE_ALLOWED && is_on_node(ctx);
}

/* Identifies a pod by its network namespace, because its source address is not chosen yet. */
static __always_inline void client_of(struct bpf_sock_addr *ctx, struct client *ret_client)
{
	__u64 cookie = bpf_get_netns_cookie(ctx);

	__builtin_memset(ret_client, 0, sizeof(*ret_client));
	__builtin_memcpy(ret_client->addr.bytes, &cookie, sizeof(cookie));
	ret_client->kind = AFFINITY_NETNS;
}

/*
 * Refuses the call. If the kernel cannot return ECONNREFUSED to the application (before 5.18), the
 * call may go on unchanged, so that the TC hook refuses the packet; if no TC hook sees it, the
 * application gets EPERM.
 */
static __always_inline enum socket_verdict
socket_refuse(struct bpf_sock_addr *ctx, const struct endpoint *dialled, enum counter_reason reason)
{
	counter_add(reason, 0);
	if (config.has_retval) {
		bpf_set_retval(-ECONNREFUSED);
		return SOCKET_REFUSE;
	}
	return is_met_by_tc(ctx, &dialled->addr) ? SOCKET_ALLOW : SOCKET_REFUSE;
}

/*
 * Handles a call whose packets are to be dropped silently, which the TC hook does. If no TC hook
 * sees them, the application gets EPERM, as it does when netfilter drops the node's own packets.
 */
static __always_inline enum socket_verdict
socket_drop(struct bpf_sock_addr *ctx, const struct endpoint *dialled, enum counter_reason reason)
{
	if (is_met_by_tc(ctx, &dialled->addr))
		return SOCKET_ALLOW;
	counter_add(reason, 0);
	return SOCKET_REFUSE;
}

/* Handles a call for which service_select() found no backend; `err` is its error. */
static __always_inline enum socket_verdict socket_unserved(struct bpf_sock_addr *ctx,
							   const struct endpoint *dialled, int err)
{
	return err == -COUNTER_DROP_NO_LOCAL ? socket_drop(ctx, dialled, -err)
					     : socket_refuse(ctx, dialled, -err);
}

/* Handles a call if there is no memory for the socket's state; TC does not need that state. */
static __always_inline enum socket_verdict socket_without_state(struct bpf_sock_addr *ctx,
								const struct endpoint *dialled)
{
	if (!is_met_by_tc(ctx, &dialled->addr))
		return socket_refuse(ctx, dialled, COUNTER_SOCKET_STATE_FULL);
	counter_add(COUNTER_SOCKET_STATE_FULL, 0);
	return SOCKET_ALLOW;
}

static __always_inline void state_fill(struct socket_state *state, const struct endpoint *frontend,
				       const struct choice *choice)
{
	state->frontend_addr = frontend->addr;
	state->frontend_port = frontend->port;
	state->backend_addr = choice->addr;
	state->backend_port = choice->port;
	state->backend = choice->backend;
	state->generation = choice->generation;
	state->service = choice->service;
	state->slot = choice->slot;
}

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

/* connect() and getpeername(): the socket is connected to a backend and shows what it dialled. */

#include <linux/in.h>

#include "socket/frontend.h"

/*
 * Rewrites the frontend that a socket connects to into a backend. `*endpoint` is changed only if
 * the connection is allowed.
 */
static __always_inline enum socket_verdict
socket_connect(struct bpf_sock_addr *ctx, struct endpoint *endpoint, bool *ret_rewritten)
{
	struct bpf_sock *socket = socket_of(ctx);
	const struct frontend_target *target;
	const struct address_info *address;
	struct choice choice = {};
	struct socket_state *state;
	struct client client;
	int err;

	target = frontend_dialled(ctx, socket, endpoint, ctx->protocol);
	if (!target) {
		/*
		 * A socket that connects again must not keep the frontend of its last connection.
		 */
		if (bpf_sk_storage_get(&socket_state, socket, NULL, 0))
			(void)bpf_sk_storage_delete(&socket_state, socket);
		/*
		 * ping and traceroute connect a UDP socket to an arbitrary port only to learn their
		 * own address; if a socket does send, TC refuses the packet.
		 */
		if (ctx->protocol != IPPROTO_TCP && config.tc_attached)
			return SOCKET_ALLOW;
		address = address_lookup(&endpoint->addr);
		return address && address->flags & ADDRESS_CLUSTER_IP
			       ? socket_refuse(ctx, endpoint, COUNTER_REJECT_NO_PORT)
			       : SOCKET_ALLOW;
	}
	if (socket_is_agents(socket))
		return SOCKET_ALLOW;
	if (!socket_is_allowed(ctx, socket, target))
		return socket_drop(ctx, endpoint, COUNTER_DROP_SOURCE_RANGE);
	client_of(ctx, &client);
	err = service_select(&client, target, true, &choice);
	if (err)
		return socket_unserved(ctx, endpoint, err);
	state = bpf_sk_storage_get(&socket_state, socket, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	if (!state)
		return socket_without_state(ctx, endpoint);
	state_fill(state, endpoint, &choice);
	endpoint->addr = choice.addr;
	endpoint->port = choice.port;
	*ret_rewritten = true;
	stats_count_connection(choice.service);
	counter_add(COUNTER_CONNECTED, 0);
	return SOCKET_ALLOW;
}

/*
 * Replaces a backend with the frontend that the socket dialled; false if the socket dialled none.
 */
static __always_inline bool socket_name_peer(struct bpf_sock_addr *ctx, struct endpoint *endpoint)
{
	const struct socket_state *state = bpf_sk_storage_get(&socket_state, ctx->sk, NULL, 0);

	if (!state || !endpoint_is(endpoint, &state->backend_addr, state->backend_port))
		return false;
	endpoint->addr = state->frontend_addr;
	endpoint->port = state->frontend_port;
	return true;
}

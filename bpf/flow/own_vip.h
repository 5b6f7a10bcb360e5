/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

/*
 * Processes of the node that are bound to a VIP. Several nodes may have that VIP, so a backend on
 * another node must not see it as its client: the reply could go to any of them. As for a far
 * client, the packet gets the node's address on the link to the backend as its source, and the
 * reply gets the VIP back.
 *
 * Without the socket hooks this is a flow like any other (flow_choose_source). With them the packet
 * is already addressed to its backend, and the socket's state shows that it dialled a frontend. Any
 * other packet to a backend keeps its source: the process may be a server, and the packet its
 * answer.
 */

#include "fairlead/decision.h"
#include "flow/flow.h"
#include "packet/packet.h"
#include "route/route.h"
#include "service/service.h"
#include "socket/state.h"

static __always_inline bool leads_to(const struct socket_state *state, const struct packet *packet)
{
	return state->backend && state->backend_port == packet->dst_port &&
	       address_equal(&state->backend_addr, &packet->dst);
}

/*
 * The frontend and backend that the packet's socket dialled, or NULL if it did not dial a frontend.
 */
static __noinline const struct socket_state *socket_dialled(struct __sk_buff *skb,
							    const struct packet *packet)
{
	const struct datagram_state *datagram;
	const struct socket_state *state;
	struct bpf_sock *socket = skb->sk;

	if (!socket)
		return NULL;
	socket = bpf_sk_fullsock(socket);
	if (!socket)
		return NULL;
	state = bpf_sk_storage_get(&socket_state, socket, NULL, 0);
	if (state && leads_to(state, packet))
		return state;
	datagram = bpf_sk_storage_get(&datagram_state, socket, NULL, 0);
	if (!datagram)
		return NULL;
	for (int i = 0; i < DATAGRAM_FRONTENDS_MAX; i++) {
		if (leads_to(&datagram->frontends[i], packet))
			return &datagram->frontends[i];
	}
	return NULL;
}

/* False if the VIP is this node's own address on the link: its replies come back in any case. */
static __always_inline bool vip_needs_node_address(const struct packet *packet,
						   const struct hook *hook)
{
	struct ip_addr own;

	return link_source_of(hook->ifindex, packet->family, &own) &&
	       !address_equal(&own, &packet->src);
}

/* False if the packet opens another conversation from the same port, or the flow is over. */
static __always_inline bool own_vip_flow_goes_on(const struct packet *packet,
						 const struct flow *flow)
{
	bool opens = proto_has_handshake(packet->proto) && packet_opens(packet) &&
		     packet->fragment != FRAGMENT_LATER;

	return !flow_is_expired(flow, packet->proto, now_seconds()) &&
	       !(opens && flow->state == FLOW_CLOSED);
}

/* Copies the socket hooks' choice of backend; false if there is none, or if it is on this node. */
static __noinline bool own_vip_choice(struct __sk_buff *skb, const struct packet *packet,
				      struct decision *ret_decision)
{
	const struct socket_state *dialled = socket_dialled(skb, packet);
	const struct backend *backend;

	if (!dialled)
		return false;
	backend = backend_lookup(dialled->backend);
	if (!backend || backend->flags & BACKEND_LOCAL)
		return false;
	__builtin_memset(&ret_decision->choice, 0, sizeof(ret_decision->choice));
	ret_decision->choice.service = dialled->service;
	ret_decision->choice.slot = dialled->slot;
	ret_decision->choice.backend = dialled->backend;
	ret_decision->choice.generation = dialled->generation;
	ret_decision->choice.addr = packet->dst;
	ret_decision->choice.port = packet->dst_port;
	ret_decision->place = (struct client_place){.is_near = true, .returns_here = true};
	ret_decision->target = (struct frontend_target){.service = dialled->service};
	return true;
}

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

/*
 * Conversations of the node itself, and those it masquerades, whose source port happens to be a
 * NodePort. Their replies arrive at an address of the node, at a port where a frontend answers, and
 * yet belong to the stack.
 *
 * TCP and SCTP: a packet that opens nothing and has no flow is such a reply, or is stray; the stack
 * knows which. UDP: every datagram may open a flow, so two checks come first. The first is whether
 * a datagram has left this node in the other direction. Egress records those in `own_replies`, but
 * only if their source port is a NodePort, so all others pay for one byte's lookup. The second is
 * whether a socket of the node is connected to the sender: it may be older than the NodePort, and
 * may never have sent anything.
 *
 * A datagram to a flow's client also leaves from a NodePort of the node, and may meet a second hook
 * on its way: after a redirect, or on the link below a VLAN or a bond. So it is marked
 * (packet/mark.h).
 */

#include "flow/flow.h"
#include "packet/mark.h"
#include "packet/packet.h"
#include "packet/ports.h"
#include "service/node_ports_used.h"

/*
 * A datagram leaves from a NodePort of the node and has no flow: its replies belong to the stack.
 */
static __noinline int own_reply_insert(const struct packet *packet)
{
	struct scratch *scratch = scratch_get();
	__u32 now_s = now_seconds(), *last_use_s;

	if (!scratch)
		return 0;
	packet_flow_key_back(packet, FLOW_REPLY, &scratch->own_reply_key);
	last_use_s = bpf_map_lookup_elem(&own_replies, &scratch->own_reply_key);
	if (!last_use_s)
		(void)bpf_map_update_elem(&own_replies, &scratch->own_reply_key, &now_s, BPF_ANY);
	else if (*last_use_s != now_s)
		*last_use_s = now_s;
	return 0;
}

/*
 * True if the node's socket is connected to the sender of the datagram. All fields are read before
 * the first comparison: if the compiler sees two alternative loads, it may compute the address
 * first, which the verifier rejects.
 */
static __always_inline bool socket_is_peer(const struct bpf_sock *socket,
					   const struct flow_key *key)
{
	__be32 ipv4 = socket->dst_ip4;
	struct ip_addr peer;
	__u32 *words = address_words(&peer);

	words[0] = socket->dst_ip6[0];
	words[1] = socket->dst_ip6[1];
	words[2] = socket->dst_ip6[2];
	words[3] = socket->dst_ip6[3];
	barrier();
	if (address_is_ipv4(&key->src))
		address_set_ipv4(&peer, ipv4);
	return socket->dst_port == key->src_port && address_equal(&peer, &key->src);
}

static __noinline bool own_socket_awaits(void *ctx, const struct flow_key *key)
{
	struct bpf_sock_tuple tuple = {};
	__u32 size = flow_key_socket_tuple(key, &tuple);
	struct bpf_sock *socket;
	bool awaits;

	socket = bpf_sk_lookup_udp(ctx, &tuple, size, BPF_F_CURRENT_NETNS, 0);
	if (!socket)
		return false;
	awaits = socket_is_peer(socket, key);
	bpf_sk_release(socket);
	return awaits;
}

/*
 * Checks a packet without a flow that is addressed to a frontend at an address of the node. Returns
 * true if it belongs to the stack and opens no flow. `ctx` is the hook's context.
 */
static __noinline bool is_own_reply(void *ctx, const struct packet *packet,
				    struct flow_key *ret_key)
{
	__u32 now_s = now_seconds(), *last_use_s;

	if (packet->proto != IPPROTO_UDP)
		return !packet_opens(packet);
	packet_flow_key(packet, FLOW_REPLY, ret_key);
	last_use_s = bpf_map_lookup_elem(&own_replies, ret_key);
	if (!last_use_s || !datagram_is_recent(*last_use_s, now_s))
		return own_socket_awaits(ctx, ret_key);
	if (*last_use_s != now_s)
		*last_use_s = now_s;
	return true;
}

/*
 * Handles a packet that leaves from an address of the node with frontends: the node's own, or one
 * that the node masquerades, unless it belongs to a flow. Records a datagram from a NodePort.
 */
static __always_inline void own_reply_note(struct __sk_buff *skb, struct packet *packet)
{
	if (packet->proto != IPPROTO_UDP && !proto_is_extension(packet->proto))
		return;
	if (packet_is_translated(skb) || packet_read_ports_noinline(skb, packet))
		return;
	if (packet->proto == IPPROTO_UDP && node_port_is_marked(packet->src_port))
		(void)own_reply_insert(packet);
}

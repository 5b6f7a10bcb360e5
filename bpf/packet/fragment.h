/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

/*
 * Only the first fragment of a packet has ports. They are stored under the fields that all its
 * fragments share (RFC 791, 3.2; RFC 8200, 4.5), so that later fragments find the same flow.
 */

#include "packet/packet.h"

static __always_inline void fragment_key_of(const struct packet *packet,
					    struct fragment_key *ret_key)
{
	__builtin_memset(ret_key, 0, sizeof(*ret_key));
	ret_key->src = packet->src;
	ret_key->dst = packet->dst;
	ret_key->id = packet->fragment_id;
	ret_key->proto = packet->proto;
}

/*
 * Records the ports of a first fragment, or fills in those of a later one. Returns false for a
 * later fragment whose first fragment was not seen: its flow is unknown.
 */
static __noinline bool fragment_ports(struct packet *packet)
{
	struct fragment_ports seen = {.src_port = packet->src_port, .dst_port = packet->dst_port};
	const struct fragment_ports *ports;
	struct fragment_key key;

	fragment_key_of(packet, &key);
	if (packet->fragment == FRAGMENT_FIRST) {
		(void)bpf_map_update_elem(&fragments, &key, &seen, BPF_ANY);
		return true;
	}
	ports = bpf_map_lookup_elem(&fragments, &key);
	if (!ports)
		return false;
	packet->src_port = ports->src_port;
	packet->dst_port = ports->dst_port;
	return true;
}

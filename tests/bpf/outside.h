/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * A node with a side where clients from outside are, and one where backends on other nodes are:
 *
 *   clients ---- fl-up (192.168.0.1, default route)   NODE   fl-over (172.20.0.1) ---- pods
 * 10.1.0.0/24
 *
 * Packets to pods get 172.20.0.1 (inner) as their source, and at most MTU_OVER bytes.
 */

#include "bpf/datapath.h"

#define MTU_OVER  1400
#define NODE_PORT 30080

extern unsigned uplink, overlay; /* their ifindexes */

int outside_load(void (*configure)(struct tc_bpf *skeleton));
int outside_load_default(void **state);

/* The node's address on the side of the backends, and one that the node does not have. */
struct peer inner(__u16 port);
struct peer external(__u16 port);

/*
 * A service port with pod(1) to pod(count), none of them on this node, at all four kinds of
 * frontend: vip(80), node(NODE_PORT), external(80), and another_vip(80), which is a load
 * balancer's. Clients are far. Returns its id.
 */
__u32 given_outside(unsigned count);
struct peer dialled(enum frontend_kind kind);

/* A packet from the side of the clients, and one from the side of the backends. */
void when_asked(struct frame frame);
void when_answered(struct frame frame);

/* As a router sends a packet on: one hop less. */
struct frame passed(struct packet_spec spec);

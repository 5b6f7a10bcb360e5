/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* Packets inside of packets, as nodes send them to each other with direct server return. */

#include "bpf/outside.h"

/* The same address, another port. */
struct peer peer_at(struct peer peer, __u16 port);

/* Another node of the cluster, and what is none but says so of itself. */
struct peer other_node(void);
struct peer stranger(void);

void given_cluster_node(struct peer node, __u32 value);

/* The cluster is node() and other_node(). */
void given_nodes(void);

/* The frame in an outer header that names the backend. */
struct frame encapsulated(struct frame inside, struct peer from, struct peer backend);

/* The same frame, asking whether its flow is confirmed. */
struct frame asking(struct frame frame);

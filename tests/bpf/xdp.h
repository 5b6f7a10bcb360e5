/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * The XDP program beside the TC programs, on the node of outside.h, with the same maps. Frames may
 * be sent out of either link.
 */

#include "bpf/outside.h"
#include "skeleton/xdp.skel.h"

extern struct xdp_bpf *xdp;

int xdp_load(void **state);
int xdp_load_with(void (*configure)(struct tc_bpf *skeleton));
int xdp_unload(void **state);

/* When a packet went by TC last for the sake of a neighbour: at first, not for a long time to come. */
void given_neighbours_used(__s32 seconds_ago);

/* A frame from the side of the clients, and one from the side of the backends. */
void when_client_sends(struct frame frame);
void when_backend_sends(struct frame frame);

/* A frame of any link. */
void when_received(struct frame frame, __u32 ifindex);

/* What came of it. */
#define then_goes_up()              then_(XDP_PASS, *before(), __FILE__, __LINE__)
#define then_redirected_as(...)     then_(XDP_REDIRECT, __VA_ARGS__, __FILE__, __LINE__)
#define then_sent_back_as(...)      then_(XDP_TX, __VA_ARGS__, __FILE__, __LINE__)
#define then_dropped_by_xdp(reason) then_dropped_by_xdp_(reason, __FILE__, __LINE__)
void then_dropped_by_xdp_(enum counter_reason reason, const char *file, int line);

/* What a router makes of a packet: one hop less, and the addresses of the next link. */
struct frame sent_to_pods(struct packet_spec spec);
struct frame sent_to_clients(struct packet_spec spec);

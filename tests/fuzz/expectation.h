/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * What the well-formed packets of a conversation must become: the first one's fate is that of all
 * others, and what comes back leads to where it began.
 */

#include "fuzz/oracle.h"
#include "fuzz/random.h"
#include "fuzz/world.h"

/* Runs a packet, and judges it; false: BPF_PROG_RUN does not take it. */
typedef bool packet_runner(struct run *run);
/* Tells that something is wrong with what became of a packet. */
typedef void complainer(const struct run *run, const char *complaint);

struct outlet {
	packet_runner *run;
	complainer *complain;
};

/* Where the client is. */
enum place { NEAR, FAR, NODE, POD };

/* What the first packet of a flow became. */
struct fate {
	bool is_known;
	bool is_encapsulated;
	struct peer src, dst;
};

struct conversation {
	struct random *random;
	const struct outlet *outlet;
	enum forwarding forwarding;
	enum ip_family family;
	enum place place;
	bool is_bare;
	bool by_xdp;
	__u8 proto;
	__u8 host; /* of the client */
	__u8 vip;
	__u32 sequence; /* TCP: of the first packet, on both sides */
	struct peer client, frontend;
	struct fate fate;
	struct run run; /* the last packet, and what came of it */
};

bool same_peer(const struct peer *a, const struct peer *b);

/* Client and backend are one. */
bool is_hairpin(const struct conversation *talk);
/* A flow whose packets are routed here, and not by the stack. */
bool is_transit(const struct conversation *talk);
/* A tag may be of no link that the node has, and is the stack's then. */
bool is_left_with_its_tag(const struct conversation *talk);

void complain(struct conversation *talk, const char *complaint);

/* Each complains if the last packet did not become what it must. */
void expect_forward(struct conversation *talk); /* of the client, to the frontend */
void expect_back(struct conversation *talk);    /* of the backend */
void expect_error(struct conversation *talk);   /* ICMP, about what the client sent */
void expect_refusal(struct conversation *talk);
void expect_untouched(struct conversation *talk);
/* Straight to a pod; returns as whom its client is seen there. */
struct peer expect_direct(struct conversation *talk, struct peer client, struct peer pod);
void expect_direct_answer(struct conversation *talk, struct peer pod, struct peer there,
			  struct peer client);
void expect_unwrapped(struct conversation *talk); /* put into another by another node */

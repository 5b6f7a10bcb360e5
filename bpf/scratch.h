/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

/*
 * The memory that programs work in besides the stack, on which a whole call chain has 512 bytes. It
 * also passes arguments: global functions take no pointers (flow_end_held() says why), so they look
 * the scratch up and find here what they work on; and members marked "in" are set by the caller of
 * the function that reads them.
 *
 * A member belongs to the headers named beside it: no other header writes it, except by a pointer
 * that they pass. A step that needs only one part gets a pointer to that part.
 */

#include "fairlead/decision.h"
#include "maps.h"
#include "nat/rewrite.h"
#include "packet/packet.h"
#include "route/route.h"

/* Both halves of a flow. */
struct flow_pair {
	struct flow_key original_key;
	struct flow_key reply_key;
	struct flow original;
	struct flow reply;
};

/*
 * Work on a flow that is deferred until its packet has been handled, when the stack is no longer
 * deep.
 */
enum flow_due {
	FLOW_DUE_NOTHING,
	FLOW_DUE_CONFIRM,  /* of the original half */
	FLOW_DUE_NEW_PORT, /* its backend has another connection with the reply tuple */
};

/* The ICMP error by which this node answers a packet. */
struct icmp_answer {
	__u8 type;
	__u8 code;
	__u16 quoted; /* how many bytes of the transport header */
	__be32 rest;
	struct ip_addr from;
};

/* The packet that an ICMP error quotes, and its flow. */
struct icmp_scratch {
	struct packet quote;
	__u32 quote_end;      /* where the ICMP error that contains it ends */
	struct rewrite inner; /* of the quote */
	struct flow_key key;  /* by which the quote's flow was found */
	struct flow flow;     /* the half with that key */
};

/* A packet that carries another one. */
struct dsr_scratch {
	struct packet inner;
	struct ip_addr sender; /* of the outer packet */
	bool asked;            /* the outer header that was removed asked for a confirmation */
	bool must_confirm;     /* ... which is to be sent */
	bool asks;             /* in: the outer header that is written is to ask for one */
	bool is_sending;       /* a packet of our own is being sent */
};

/* The search for a source port that makes a new flow's reply tuple unique. */
struct claim_scratch {
	bool is_from_node; /* in: its source is an address of this node: not every port is ours */
	bool has_oldest;
	__be16 oldest_port; /* of the source ports tried, the one whose flow is displaced first */
	__u32 oldest_use_s;
	struct flow holder; /* of the reply tuple: its reply half */
};

/*
 * One per CPU. Programs of the hooks do not interrupt each other on a CPU, so nobody else writes it
 * meanwhile.
 */
struct scratch {
	/*
	 * The backend for a packet that opens a flow: from the choice until the flow is opened.
	 * Written where the choice is made (flow/original.h, for own sockets flow/own_vip.h) or
	 * read from the outer header (dsr/receive.h). User space reads it, so it comes first.
	 */
	struct decision decision;

	/*
	 * The packet, until the program ends. Written by the hooks, through the readers of packet/;
	 * dsr/receive.h replaces a packet that it unwraps. All steps get it as `packet`.
	 */
	struct packet packet;

	/*
	 * How a packet leaves, until the step returns that sends it (send/, dsr/) or that looks up
	 * a route to choose a source (flow/create.h): each step fills in what it reads.
	 */
	struct rewrite rewrite; /* its new addresses and ports, by which the route is looked up */
	struct route route;
	union {
		struct iphdr ipv4;
		struct ipv6hdr ipv6;
	} outer; /* its new header: of an answer (send/reject.h), or around it (dsr/) */
	struct icmp_answer answer; /* send/reject.h, send/transit.h, dsr/error.h */

	/* The packet that it quotes or carries, until the program ends. */
	struct icmp_scratch icmp; /* send/icmp.h, dsr/error.h */
	struct dsr_scratch dsr;   /* dsr/; `is_sending` is false between packets */

	/*
	 * The flow that the packet, or the one it carries, belongs to or opens: until the work that
	 * is due has been done. Found by flow/original.h, flow/reply.h, flow/direct_flow.h and
	 * dsr/, which fill in the half that they find; made by flow/create.h and flow/claim.h,
	 * which fill in both. flow/follow.h and dsr/flow_state.h keep its state.
	 */
	struct flow_pair pair;
	__u8 due; /* enum flow_due: set by those who find the flow, done by flow/deferred.h */

	/* What the flow tables' functions work with: dead after the function that filled it. */
	struct claim_scratch claim;      /* flow/claim.h; `is_from_node`: its callers */
	struct flow_pair ended;          /* flow/end.h and its callers: the flow being removed */
	struct confirmed_flow confirmed; /* flow/confirm.h: the value for `flows` */
	struct flow_check check;         /* flow/sweep.h: one entry of `flow_checks` */
	struct flow_key peer_key;        /* flow/flow.h, flow/follow.h: of the other half */
	struct flow restored;            /* flow/flow.h: a half that was evicted */
	struct flow_renewal renewal;     /* flow/follow.h: the value for `flow_renewals` */
	struct flow_key own_reply_key;   /* flow/own_ports.h: the key of `own_replies` */
};
_Static_assert(offsetof(struct scratch, decision) == 0, "`fairlead explain` reads it there");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct scratch);
} flow_drafts SEC(".maps");

static __always_inline struct scratch *scratch_get(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&flow_drafts, &zero);
}

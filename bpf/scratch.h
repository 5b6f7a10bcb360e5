/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

/*
 * Data of the packet that a program runs for, and of its flow, too large for the stack. Each part
 * has the header that writes it; the others read it, or fill what the owner's functions ask for.
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

/* send/icmp.h: the packet that an ICMP error quotes, and its flow. */
struct icmp_scratch {
	struct packet quote;
	__u32 quote_end;      /* where the ICMP error that contains it ends */
	struct rewrite inner; /* of the quote */
	struct flow_key key;  /* by which the quote's flow was found */
	struct flow flow;     /* the half with that key */
};

/* flow/claim.h: the search for a source port that makes the reply tuple unique. */
struct claim_scratch {
	bool is_from_node; /* in: its source is an address of this node: not every port is ours */
	bool has_oldest;
	__be16 oldest_port; /* of the source ports tried, the one whose flow is displaced first */
	__u32 oldest_use_s;
	struct flow holder; /* of the reply tuple: its reply half */
};

/* dsr/: a packet that carries another one. */
struct dsr_scratch {
	struct packet inner;
	struct ip_addr sender;
	bool asked;        /* the outer header that was removed asked for a confirmation */
	bool must_confirm; /* ... which is to be sent */
	bool asks;         /* in: the outer header that is written is to ask for one */
	bool is_sending;   /* a packet of our own is being sent */
};

/*
 * One per CPU. Programs of the hooks do not interrupt each other on a CPU, so nobody else writes it
 * meanwhile.
 */
struct scratch {
	struct decision decision; /* flow/create.h; user space reads it: it comes first */
	struct packet packet;     /* the one that the program runs for: written by the hooks */
	struct rewrite rewrite;   /* of a packet that is about to be rewritten or routed */
	struct route route;       /* its route */
	union {
		struct iphdr ipv4;
		struct ipv6hdr ipv6;
	} outer; /* the header about to be written: an outer one, or that of an answer */
	struct icmp_answer answer; /* send/reject.h */
	struct icmp_scratch icmp;
	struct dsr_scratch dsr;
	struct flow_pair pair; /* the flow of the packet, known or being created */
	__u8 due;              /* enum flow_due */
	struct claim_scratch claim;
	struct flow_pair ended;          /* flow/end.h: the flow being removed */
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

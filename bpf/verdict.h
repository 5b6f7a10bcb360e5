/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

/*
 * What the steps of the packet hooks return. The hooks translate it into the kernel's actions, of
 * which two have the number of a verdict: see redirect_verdict() in send/forward.h.
 */

#include <linux/types.h>
#include <stdbool.h>
#include <bpf/bpf_helpers.h>

#include "fairlead/counters.h"

/*
 * What a step has decided about a packet. Steps that decide nothing but can fail return an int: 0,
 * or -enum counter_reason, which verdict_of() translates.
 */
enum verdict {
	VERDICT_NEXT,        /* nothing: the packet goes on, to the next question or to the stack */
	VERDICT_DONE,        /* it goes on translated: no other step may handle it again */
	VERDICT_DROPPED = 2, /* and counted */
	VERDICT_SENT = 7,    /* it leaves by a link that the step has chosen: redirect_verdict() */
	VERDICT_SENT_BACK,   /* XDP: it leaves by the link that it arrived by */
	/* The caller has another question to ask, or something to do. */
	VERDICT_ASK_VIP,         /* the packet is no reply, but may be for a frontend */
	VERDICT_NO_FRONTEND,     /* the address is a VIP without a frontend at this port */
	VERDICT_OPEN_FLOW,       /* the scratch describes its flow, which is still to be opened */
	VERDICT_UNWRAPPED,       /* it is now the inner packet, the scratch names its backend */
	VERDICT_ENCAPSULATE,     /* it goes encapsulated to the backend of its flow */
	VERDICT_TRANSLATE_ERROR, /* it is an ICMP error about the flow in scratch->icmp */
	/* It is given up: this, plus the reason. It is counted where it is answered or dropped. */
	VERDICT_GIVE_UP,
};

static __always_inline enum verdict verdict_give_up(enum counter_reason reason)
{
	return (enum verdict)(VERDICT_GIVE_UP + reason);
}

static __always_inline bool verdict_is_given_up(enum verdict verdict)
{
	return verdict >= VERDICT_GIVE_UP;
}

/* Why the packet is given up. */
static __always_inline enum counter_reason verdict_reason(enum verdict verdict)
{
	return (enum counter_reason)(verdict - VERDICT_GIVE_UP);
}

/* The verdict on a packet after a step that returned 0 or -enum counter_reason. */
static __always_inline enum verdict verdict_of(int err)
{
	return err ? verdict_give_up((enum counter_reason) - err) : VERDICT_NEXT;
}

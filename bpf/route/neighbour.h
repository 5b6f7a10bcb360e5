/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

/*
 * Next hops whose link-layer address the kernel does not know. It asks for one when a packet is
 * sent there, but where it gets no answer, packets of ours die in silence: it does not know whom to
 * tell. So it is remembered here since when it asks, and once it must have given up, senders are
 * told by us.
 */

#include "config.h"
#include "maps.h"

/* So long the kernel asks for a neighbour before it gives up: three times, a second apart. */
#define NEIGHBOUR_WAIT_MS 2900
/* After that, a packet makes it ask again so often, for the neighbour may have come. */
#define NEIGHBOUR_ASK_MS 500
/* A search that no packet has been part of for so long is over, whatever came of it. */
#define NEIGHBOUR_FORGET_S 10

static __always_inline __u32 *neighbour_sought_s(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&neighbour_sought, &zero);
}

/* True if there may be a search, of whatever neighbour: rarely, so that the rest pay for a load. */
static __always_inline bool neighbours_are_sought(void)
{
	const __u32 *sought_s = neighbour_sought_s();

	return sought_s && *sought_s;
}

/* Notes that there is a search. */
static __always_inline void neighbour_note_search(void)
{
	__u32 now_s = now_seconds(), *sought_s = neighbour_sought_s();

	if (sought_s && *sought_s != now_s)
		*sought_s = now_s;
}

/* A fresh search, for the packet that is to be sent now. */
static __always_inline int neighbour_search_begin(const struct neighbour *neighbour, __u64 now_ms)
{
	struct neighbour_search fresh = {
		.begun_ms = now_ms,
		.asked_ms = now_ms,
		.seen_ms = now_ms,
	};

	(void)bpf_map_update_elem(&neighbour_searches, neighbour, &fresh, BPF_ANY);
	return 0;
}

/*
 * What becomes of a client's packet to a next hop that the kernel does not know. Returns 0: to be
 * sent, or -COUNTER_NO_NEIGHBOUR: its sender is to be told.
 */
static __noinline int neighbour_judge(const struct neighbour *neighbour)
{
	__u64 now_ms = bpf_ktime_get_ns() / NSEC_PER_MSEC;
	struct neighbour_search *search;

	neighbour_note_search();
	search = bpf_map_lookup_elem(&neighbour_searches, neighbour);
	if (!search || now_ms - search->seen_ms > NEIGHBOUR_FORGET_S * 1000)
		return neighbour_search_begin(neighbour, now_ms);
	search->seen_ms = now_ms;
	if (now_ms - search->begun_ms < NEIGHBOUR_WAIT_MS ||
	    (search->was_told && now_ms - search->asked_ms >= NEIGHBOUR_ASK_MS)) {
		search->asked_ms = now_ms;
		search->was_told = false;
		return 0;
	}
	search->was_told = true;
	return -COUNTER_NO_NEIGHBOUR;
}

/*
 * Ends the search for a neighbour that is known, if neighbours_are_sought(): should the kernel
 * forget it, it asks anew and has all its time again.
 */
static __noinline int neighbour_search_end(const struct neighbour *neighbour)
{
	__u32 *sought_s = neighbour_sought_s();

	if (!sought_s)
		return 0;
	if (now_seconds() - *sought_s > NEIGHBOUR_FORGET_S) {
		*sought_s = 0;
		return 0;
	}
	if (bpf_map_lookup_elem(&neighbour_searches, neighbour))
		(void)bpf_map_delete_elem(&neighbour_searches, neighbour);
	return 0;
}

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

/*
 * Next hops whose link-layer address the kernel does not know. It resolves the address when a
 * packet is sent there; but if that fails, our packets are dropped silently, because the kernel
 * does not know whom to tell. So the start of each resolution is recorded here, and once the kernel
 * must have given up, we tell the senders.
 */

#include "config.h"
#include "maps.h"

/* How long the kernel tries to resolve a neighbour: three requests, a second apart. */
#define NEIGHBOUR_WAIT_MS 2900
/*
 * After that, a packet triggers a new attempt this often, because the neighbour may have come up.
 */
#define NEIGHBOUR_ASK_MS 500
/* A search that no packet has needed for this long is over, whatever its result. */
#define NEIGHBOUR_FORGET_S 10

static __always_inline __u32 *neighbour_sought_s(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&neighbour_sought, &zero);
}

/*
 * True if some neighbour may be unresolved. That is rare, so all other packets pay only for a load.
 */
static __always_inline bool neighbours_are_sought(void)
{
	const __u32 *sought_s = neighbour_sought_s();

	return sought_s && *sought_s;
}

/* Records that a neighbour is being sought. */
static __always_inline void neighbour_record_search(void)
{
	__u32 now_s = now_seconds(), *sought_s = neighbour_sought_s();

	if (sought_s && *sought_s != now_s)
		*sought_s = now_s;
}

/* Records a new search, begun by the packet that is about to be sent. */
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
 * Decides on a client's packet to an unresolved next hop. Returns 0 if the packet is to be sent, or
 * -COUNTER_NO_NEIGHBOUR if its sender is to be told.
 */
static __noinline int neighbour_judge(const struct neighbour *neighbour)
{
	__u64 now_ms = bpf_ktime_get_ns() / NSEC_PER_MSEC;
	struct neighbour_search *search;

	neighbour_record_search();
	search = bpf_map_lookup_elem(&neighbour_searches, neighbour);
	if (!search || now_ms - search->seen_ms > NEIGHBOUR_FORGET_S * 1000)
		return neighbour_search_begin(neighbour, now_ms);
	search->seen_ms = now_ms;
	if (now_ms - search->begun_ms < NEIGHBOUR_WAIT_MS ||
	    (search->was_notified && now_ms - search->asked_ms >= NEIGHBOUR_ASK_MS)) {
		search->asked_ms = now_ms;
		search->was_notified = false;
		return 0;
	}
	search->was_notified = true;
	return -COUNTER_NO_NEIGHBOUR;
}

/*
 * Ends the search for a neighbour that is resolved; called if neighbours_are_sought(). If the
 * kernel forgets the neighbour later, it starts again with its full time.
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

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

/*
 * Datagrams that go straight to a backend. They are left alone, and are no flow; but a flow that
 * began by the same port later would take their answers for its own, so it begins by another. It is
 * enough to know when a datagram of a tuple was last seen, and, for each of them pays for it, to
 * know it roughly: tuples that share a lock, where it is noted, take each other's port for nothing.
 */

#include "flow/flow.h"
#include "maps.h"
#include "flow/tuple_lock.h"

/* Notes a packet straight to a backend by the tuple of its answer; of datagrams alone. */
static __always_inline void direct_note(const struct address_info *backend,
					const struct flow_key *reply_key, __u32 now_s)
{
	struct tuple_lock *place;

	if (reply_key->proto != IPPROTO_UDP)
		return;
	address_note_datagram(backend, now_s);
	place = tuple_lock_of(reply_key);
	if (place && place->datagram_s != now_s)
		place->datagram_s = now_s;
}

/*
 * True if datagrams may have gone straight to a backend whose answers have this tuple. Few backends
 * get any, so the backend is asked first.
 */
static __always_inline bool direct_is_awaited(const struct flow_key *reply_key, __u32 now_s)
{
	__u32 last_s = address_datagram_s(&reply_key->src);
	const struct tuple_lock *place;

	if (!last_s || !datagram_is_recent(last_s, now_s))
		return false;
	place = tuple_lock_of(reply_key);
	return place && place->datagram_s && datagram_is_recent(place->datagram_s, now_s);
}

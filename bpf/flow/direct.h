/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

/*
 * Datagrams that clients send straight to a backend. They are left alone and have no flow. But a
 * flow that later began with the same source port would take their answers for its own, so such a
 * flow gets another port. It is enough to know roughly when a datagram of a tuple was last seen,
 * because every datagram pays for the bookkeeping: the time is stored in the tuple's lock, so
 * tuples that share a lock may change ports needlessly.
 */

#include "flow/flow.h"
#include "maps.h"
#include "flow/tuple_lock.h"

/*
 * Records a datagram sent straight to a backend, by the tuple of its answer; ignores other
 * protocols.
 */
static __always_inline void direct_record(const struct address_info *backend,
					  const struct flow_key *reply_key, __u32 now_s)
{
	struct tuple_lock *place;

	if (reply_key->proto != IPPROTO_UDP)
		return;
	address_record_datagram(backend, now_s);
	place = tuple_lock_of(reply_key);
	if (place && place->datagram_s != now_s)
		place->datagram_s = now_s;
}

/*
 * True if datagrams may have gone straight to a backend whose answers have this tuple. Few backends
 * receive any, so the backend's own timestamp is checked first.
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

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

/*
 * Only one CPU at a time may give a flow's tuples away, move the flow or change its state. Each
 * flow has a lock, found by the hash of its reply tuple and shared with other flows. A CPU that
 * finds it held waits for about as long as such work takes; then it leaves the flow as it is, and a
 * later packet tries again. (On a virtual machine the holder may be descheduled for much longer
 * than its work takes.)
 *
 * The spin lock guards only the word beside it, or a few stores, because no helper may be called
 * while it is held.
 */

#include <stdbool.h>

#include "flow/key.h"
#include "maps.h"

static __always_inline struct tuple_lock *tuple_lock_of(const struct flow_key *reply_key)
{
	__u32 index = flow_key_hash(reply_key) >> (32 - TUPLE_LOCKS_BITS);

	return bpf_map_lookup_elem(&tuple_locks, &index);
}

/* Attempts at a lock that another CPU holds: some microseconds in all. */
#define TUPLE_LOCK_TRIES 100

/* Returns false if another CPU still holds the lock. */
static __noinline bool tuple_lock_hold(struct tuple_lock *lock)
{
	bool was_held = true;

	for (int i = 0; i < TUPLE_LOCK_TRIES && was_held; i++) {
		bpf_spin_lock(&lock->lock);
		was_held = lock->is_held;
		lock->is_held = 1;
		bpf_spin_unlock(&lock->lock);
	}
	return !was_held;
}

static __always_inline void tuple_lock_release(struct tuple_lock *lock)
{
	bpf_spin_lock(&lock->lock);
	lock->is_held = 0;
	bpf_spin_unlock(&lock->lock);
}

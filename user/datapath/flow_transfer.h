/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * Puts a larger table in the place of `flows` while packets arrive. Programs of before use the
 * smaller table, those of today the larger one, and hook by hook the latter replace the former. If
 * one of them confirmed or ended a flow, the others would not know: a packet of the connection
 * could reach another backend. So in the meantime none does:
 *
 *   hold      all tuple locks (bpf/flow/tuple_lock.h). Programs of both generations then leave each
 *             flow as it is: one that could be confirmed stays in `new_flows`, which both share,
 *             and a packet that would end a flow is dropped (`flow-busy`), or tried again by the
 *             sweeper. All others go on.
 *   copy      the halves, as they are now, with the queue of their expiry checks.
 *             Now hooks may get the programs of today, and each packet changes the flow in the
 *             table that its program knows.
 *   merge     once no program uses the smaller table: what changed there since.
 *   release   the locks.
 *
 * Whoever does this may end in the midst of it; pinned_maps.h says how the next agent goes on. All
 * functions are silent, and return 0 or a negative errno unless they say otherwise.
 */

#include "datapath/map_fds.h"

struct flow_transfer;

/* The smaller tables, or -1 where only `address_flows` is replaced. */
struct flow_tables {
	int flows;
	int sweeper; /* may be -1 */
};

/* Loads the programs. `maps` has the larger tables; all of this is borrowed for the call. */
int flow_transfer_open(const struct map_fds *maps, struct flow_tables before,
		       struct flow_transfer **ret_transfer);

/* -EBUSY: a CPU has held a lock for a second; none is held then. */
int flow_transfer_hold(const struct flow_transfer *transfer);

/* The larger tables must be empty, and no program may use them yet. */
int flow_transfer_copy(const struct flow_transfer *transfer);

/*
 * Ends the smaller table's timer. Its programs would go on to look at that table, and end flows of
 * the same tuples in `new_flows`. To be called when no hook gets programs of before any more.
 */
int flow_transfer_stop_sweeper(const struct flow_transfer *transfer);

/* To be called when no program uses the smaller table any more. A second time changes nothing. */
int flow_transfer_merge(const struct flow_transfer *transfer);

/* Releases all locks, also those that an agent held which has died. */
int flow_transfer_release(const struct flow_transfer *transfer);

/* Does not release the locks. NULL is fine. */
void flow_transfer_close(struct flow_transfer *transfer);

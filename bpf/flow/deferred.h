/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

/* Work on a flow that waits until its packet has been handled: enum flow_due. */

#include "counter.h"
#include "flow/confirm.h"
#include "flow/create.h"
#include "flow/end.h"

/* Gives the flow of scratch->pair.reply another source port; the client's next SYN uses it. */
static __always_inline int flow_change_port(void *ctx, struct scratch *scratch)
{
	const struct address_info *source;

	if (!flow_end(FLOW_REPLY, FLOW_LEAVES_NOTHING))
		return 0;
	scratch->pair.original_key = scratch->ended.original_key;
	scratch->pair.original = scratch->ended.original;
	source = address_lookup(&scratch->pair.original.new_src);
	scratch->claim.is_from_node = source && source->flags & ADDRESS_NODE;
	counter_add(COUNTER_TUPLE_CHANGED, 0);
	return flow_insert(ctx, scratch, false);
}

/* Does the work on the flow that was deferred while its packet was handled. */
static __always_inline int flow_run_deferred(void *ctx, struct scratch *scratch)
{
	if (scratch->due == FLOW_DUE_CONFIRM)
		return flow_confirm(scratch);
	return scratch->due == FLOW_DUE_NEW_PORT ? flow_change_port(ctx, scratch) : 0;
}

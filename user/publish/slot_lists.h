/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * Lists of backends in the map `slots`: written where no program looks, then swung into place with
 * one store.
 */

#include <stdbool.h>
#include <stdint.h>

#include "fairlead/types.h"
#include "publish/buddy.h"
#include "publish/publisher.h"
#include "publish/retirement.h"
#include "publish/shortage.h"

struct slot_lists {
	struct slot *slots; /* the map, mapped */
	uint32_t max;
	struct buddy free;
	uint32_t used; /* slots of lists that programs may see now */
	/* Borrowed. */
	struct retirement *retirement;
	struct shortage *shortage;
};

/* Returns 0 or a negative errno; slot_lists_fini frees what was made in any case. */
int slot_lists_init(struct slot_lists *lists, const struct publisher_maps *maps,
		    struct retirement *retirement, struct shortage *shortage);
void slot_lists_fini(struct slot_lists *lists);

/*
 * Writes the ids, which ascend, into a free range. Returns 0 and the word of `services`, or
 * -ENOSPC. An empty list is the verdict alone.
 */
int slot_lists_write(struct slot_lists *lists, const uint32_t *ids, uint32_t count,
		     enum empty_verdict verdict, struct slot_range *ret_range);

/* Undoes slot_lists_write for a list that was never swung into place. */
void slot_lists_drop(struct slot_lists *lists, struct slot_range range);

/* Reserves the range of an earlier run. False if it cannot have been one. */
bool slot_lists_adopt(struct slot_lists *lists, struct slot_range range);

/* True if the range holds these ids. */
bool slot_lists_equal(const struct slot_lists *lists, struct slot_range range, const uint32_t *ids,
		      uint32_t count, enum empty_verdict verdict);

/* Replaces the range of a service port with one store and retires the old one. */
void slot_lists_swing(struct slot_lists *lists, struct slot_range *word, struct slot_range range);

/* Empties the lists that the policies of a service port do not use. */
void slot_lists_empty_unused(struct slot_lists *lists, struct service *entry);

/* True if a list that the flags `before` use is one that the flags `after` do not. */
bool slot_lists_change_use(__u32 before, __u32 after);

/* True if a frontend of the service port may send clients on the node to the backend. */
bool slot_lists_serve(const struct slot_lists *lists, const struct service *entry,
		      uint32_t backend);

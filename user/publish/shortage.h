/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* What had no room for the plans, and whether some of it was freed since. */

#include <stdbool.h>
#include <stdint.h>

/* What may have no room for a service port. */
enum full {
	FULL_SERVICES,
	FULL_FRONTENDS,
	FULL_SLOTS,
	FULL_BACKENDS,
	FULL_ADDRESSES,
	FULL_SOURCE_RANGES,
	FULL_LIST, /* not a map: over SLOT_RANGE_MAX */
};

struct shortage {
	enum full last;  /* the cause of the last -ENOSPC */
	uint32_t wanted; /* 1U << enum full: what was too full since the last retry */
	bool has_room;   /* some of `wanted` was freed since */
};

/* Records that there was no room. Returns -ENOSPC. */
int shortage_record(struct shortage *shortage, enum full full);

/* Records that an entry was freed. */
void shortage_record_freed(struct shortage *shortage, enum full freed);

/* The last cause as operators read it: the map, and the option that makes it larger. */
const char *shortage_text(const struct shortage *shortage);

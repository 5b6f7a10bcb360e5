/* SPDX-License-Identifier: BSD-2-Clause */
#include "publish/shortage.h"

#include <errno.h>

#include "fairlead/limits.h"

#define TEXT_OF(macro)  TEXT_OF_(macro)
#define TEXT_OF_(macro) #macro

static const char *const full_texts[] = {
	[FULL_SERVICES] = "map services is full: raise --max-services",
	[FULL_FRONTENDS] = "map frontends is full: raise --max-frontends",
	[FULL_SLOTS] = "map slots is full: raise --max-slots",
	[FULL_BACKENDS] = "map backends is full: raise --max-backends",
	[FULL_ADDRESSES] = "map addresses is full: raise --max-backends",
	[FULL_SOURCE_RANGES] = "map source_ranges is full: raise --max-source-ranges",
	[FULL_LIST] = ("more than " TEXT_OF(SLOT_RANGE_MAX) " endpoints: split the Service"),
};

int shortage_record(struct shortage *shortage, enum full full)
{
	shortage->last = full;
	shortage->wanted |= 1U << full;
	return -ENOSPC;
}

void shortage_record_freed(struct shortage *shortage, enum full freed)
{
	shortage->has_room |= (shortage->wanted & 1U << freed) != 0;
}

const char *shortage_text(const struct shortage *shortage)
{
	return full_texts[shortage->last];
}

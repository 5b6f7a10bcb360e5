/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

#include <stdbool.h>

#include "fairlead/agent.h"

/* Whether it has our XDP program. */
static inline bool link_has_xdp(const struct link_info *info)
{
	return info->xdp == LINK_XDP_NATIVE || info->xdp == LINK_XDP_GENERIC;
}

/* enum link_xdp in a word: "native", "generic", "off" for what has none and might, else "none". */
const char *link_xdp_word(__u8 xdp);

/* Why a link that might have XDP has none; "" for others. */
const char *link_xdp_reason(__u8 xdp);

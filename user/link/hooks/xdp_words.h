/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

#include <stdbool.h>

#include "fairlead/agent.h"

/* Whether the link runs our XDP program. */
static inline bool link_has_xdp(const struct link_info *info)
{
	return info->xdp == LINK_XDP_NATIVE || info->xdp == LINK_XDP_GENERIC;
}

/*
 * enum link_xdp as a word: "native", "generic", "off" for an eligible link without XDP, else
 * "none".
 */
const char *link_xdp_word(__u8 xdp);

/* Why an eligible link does not run XDP; "" for all other links. */
const char *link_xdp_reason(__u8 xdp);

/* SPDX-License-Identifier: BSD-2-Clause */
#include "link/hooks/xdp_words.h"

const char *link_xdp_word(__u8 xdp)
{
	switch (xdp) {
	case LINK_XDP_NATIVE:
		return "native";
	case LINK_XDP_GENERIC:
		return "generic";
	case LINK_XDP_NONE:
		return "none";
	default:
		return "off";
	}
}

const char *link_xdp_reason(__u8 xdp)
{
	switch (xdp) {
	case LINK_XDP_OFF:
		return "switched off";
	case LINK_XDP_VIRTUAL:
		return "no hardware is behind the link";
	case LINK_XDP_OTHER:
		return "another program is there";
	case LINK_XDP_FAILED:
		return "the driver does not take the program";
	case LINK_XDP_NO_PROGRAM:
		return "the kernel does not take the program";
	case LINK_XDP_NO_PEER:
		return "the link's peer takes no frames: switch GRO on there";
	default:
		return "";
	}
}

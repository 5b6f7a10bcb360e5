/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* Reads what nftables has, and so iptables-nft, in the network namespace of the agent. */

#include <libmnl/libmnl.h>
#include <stdint.h>

/*
 * Calls `on_object` with a message for each object of all families that `type`, such as
 * NFT_MSG_GETCHAIN, lists. `begin` and the result: see netlink_request_dump(). Silent.
 */
int nftables_dump(uint16_t type, mnl_cb_t on_object, void (*begin)(void *data), void *data);

/* The text of an attribute of the message, or "": there is none. The message owns it. */
const char *nftables_text(const struct nlmsghdr *message, int type);

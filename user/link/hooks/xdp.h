/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * XDP on a link, in addition to the TC hooks, which are complete without it: a BPF link, pinned in
 * the pin directory as link_<ifindex>_xdp. All functions are silent.
 */

#include <linux/bpf.h>
#include <stdbool.h>

#include "fairlead/agent.h"
#include "link/hooks/hook.h"
#include "link/netlink/netlink.h"

/* Has the program loaded if a link of this role is to get it. */
void xdp_prepare(struct hooks *hooks, const struct link_facts *facts, const struct link_info *info);

/*
 * Attaches or detaches XDP as the mode requires for the link's role. `is_new`: the link's state is
 * unknown, and an earlier run may have left a program; that is replaced in place, atomically.
 * `info` holds the current state (xdp, xdp_err) and is updated.
 */
void xdp_sync(struct hooks *hooks, const struct link_facts *facts, bool is_new,
	      struct link_info *info);

/*
 * Checks again whether frames may be redirected to a link that runs our program; a veth whose peer
 * no longer accepts them loses XDP.
 */
void xdp_check_targets(const struct hooks *hooks, const struct link_facts *facts,
		       struct link_info *info);

/* Whether a link that runs our program according to `info` still does. */
bool xdp_is_attached(const struct hooks *hooks, int ifindex, const struct link_info *info);

/* Whether a BPF link, whoever holds it, is an XDP link to a link of this network namespace. */
bool xdp_link_is_in_netns(const struct bpf_link_info *info);

/* Detaches XDP from a link that must not have it, or is gone. Returns 0 or a negative errno. */
int xdp_detach(const struct hooks *hooks, int ifindex);

/* Whether the link runs our XDP program. */
static inline bool link_has_xdp(const struct link_info *info)
{
	return info->xdp == LINK_XDP_NATIVE || info->xdp == LINK_XDP_GENERIC;
}

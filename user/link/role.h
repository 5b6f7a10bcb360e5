/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* A link's role, and whether near clients are behind it, by fixed rules. Pure. */

#include <stdbool.h>

#include "fairlead/agent.h"
#include "fairlead/types.h"
#include "link/netlink/netlink.h"

/* Globs (fnmatch) that override the rules, each a comma-separated list or NULL. */
struct link_overrides {
	const char *pod;
	const char *uplink;
	const char *overlay;
	const char *ignore;
};

/*
 * Which links have near clients behind them: with `bridge` its ports, with `name_prefix` the links
 * whose name, or whose master's name, begins with it; otherwise the links with role pod.
 */
struct link_near {
	const char *bridge;
	const char *name_prefix;
};

/* `master` is the name of the link's master, or NULL. Pure. */
bool link_is_near(const struct link_near *near, const struct link_facts *facts, enum link_role role,
		  const char *master);

#define LINK_WHY_SIZE sizeof(((struct link_info *)0)->why)

/* Decides a link's role and writes the rule that decided, as text, into `why`. Pure. */
enum link_role link_role_decide(const struct link_facts *facts,
				const struct link_overrides *overrides, char why[LINK_WHY_SIZE]);

/*
 * Why a link with the role pod may be an uplink after all. A pair whose peer is elsewhere is a
 * pod's or, where the node itself is in a namespace, a network's that has no gateway. The node's
 * routes and addresses tell: on a pod's link it has none, or one for this pod alone. `has_network`:
 * see address_table_has_network(). LINK_DOUBT_NONE where the operator has named the link. Pure.
 */
enum link_doubt link_pod_doubt(const struct link_facts *facts,
			       const struct link_overrides *overrides, bool has_network);

/*
 * Whether the link is a port: a master (a bridge, Open vSwitch) takes its frames before the stack
 * does, including frames addressed to other MAC addresses. Pure.
 */
bool link_is_port(const struct link_facts *facts);

/* Whether it is one end of a pair: veth or netkit. */
bool link_is_pair(const struct link_facts *facts);

/* Whether its packets begin with the IP header. */
bool link_is_layer3(const struct link_facts *facts);

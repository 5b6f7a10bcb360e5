/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* What a link is to us: a role, and whether near clients are behind it, by written rules. Pure. */

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
 * Which links have near clients behind them: with `bridge` its ports, with `name_prefix` those
 * whose name, or whose master's, begins so; else those with role pod.
 */
struct link_near {
	const char *bridge;
	const char *name_prefix;
};

/* `master` is the name of the link it is a member of, or NULL. Pure. */
bool link_is_near(const struct link_near *near, const struct link_facts *facts, enum link_role role,
		  const char *master);

#define LINK_WHY_SIZE sizeof(((struct link_info *)0)->why)

/*
 * Decides a link's role; writes the rule that decided, in words, into `why`. Pure.
 */
enum link_role link_role_decide(const struct link_facts *facts,
				const struct link_overrides *overrides, char why[LINK_WHY_SIZE]);

/*
 * It is a port: something above it (a bridge, Open vSwitch) takes frames from it before the stack
 * does, also those that are not to its own address. Pure.
 */
bool link_is_port(const struct link_facts *facts);

/* Its packets begin with the IP header. */
bool link_is_layer3(const struct link_facts *facts);

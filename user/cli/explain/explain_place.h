/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* Where a packet meets the datapath: by which link it comes, and which program is there. */

#include <net/if.h>

#include "cli/explain/explain_question.h"
#include "cli/maps.h"
#include "fairlead/agent.h"

struct place {
	bool is_local;  /* the client is this node */
	bool is_egress; /* its packets are met where they leave */
	bool is_given;  /* the link was named on the command line */
	bool has_info;  /* the agent has decided about the link: */
	struct link_info info;
	int ifindex;
	char link[IF_NAMESIZE];
	/*
	 * The program of ours there; -1: none. Then `is_socket` says whether connect() decides
	 * instead, for a client that is this node.
	 */
	int program;
	bool is_socket;
	/* A program that shows how the datapath is configured: that one, or another of ours. */
	int any_program;
	bool has_socket_hooks;
};

#define PLACE_MAPS (MAP_BIT(MAP_ADDRESSES) | MAP_BIT(MAP_LINKS))

/*
 * Finds out. `link` is a name or NULL: the one that the kernel's route to the client leads to, or,
 * for this node itself, that to the destination. Complains. Returns 0, -ENODEV: no such link or no
 * way, or another negative errno; either way the caller calls place_fini.
 */
int place_find(const struct maps *maps, const struct question *question, const char *link,
	       struct place *ret_place);
void place_fini(struct place *place);

/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* Where a packet meets the datapath: the link that it passes, and the program there. */

#include <net/if.h>

#include "cli/explain/explain_question.h"
#include "cli/shown_maps.h"
#include "fairlead/agent.h"

struct place {
	bool is_local;  /* the client is this node */
	bool is_egress; /* its packets are handled on egress */
	bool is_given;  /* named on the command line */
	bool has_info;  /* the agent has an entry for the link: */
	struct link_info info;
	int ifindex;
	char link[IF_NAMESIZE];
	/*
	 * Our program there; -1: none. In that case `is_socket` says whether connect() decides
	 * instead, for a client that is this node.
	 */
	int program;
	bool is_socket;
	/* A program to read the datapath's configuration from: that one, or another of fairlead. */
	int any_program;
	bool has_socket_hooks;
};

#define PLACE_MAPS (MAP_BIT(MAP_ADDRESSES) | MAP_BIT(MAP_LINKS))

/*
 * Finds the place. `link` is a name or NULL: the link of the kernel's route to the client or, if
 * the client is this node, to the destination. Complains. Returns 0, -ENODEV if there is no such
 * link or no route, or another negative errno; either way the caller calls place_fini.
 */
int place_find(const struct shown_maps *maps, const struct question *question, const char *link,
	       struct place *ret_place);
void place_fini(struct place *place);

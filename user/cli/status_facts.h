/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* The facts that `fairlead status` shows, gathered from the maps and /proc. */

#include <stdbool.h>
#include <stdint.h>
#include <sys/utsname.h>

#include "cli/links.h"
#include "cli/shown_maps.h"
#include "fairlead/agent.h"
#include "fairlead/counters.h"
#include "fairlead/types.h"

struct map_fill {
	bool is_counted; /* false: an array, whose entries always exist */
	uint64_t used;
	uint64_t max;
	uint64_t bytes;
};

struct degraded_item {
	const char *word;
	const char *sentence;
};

#define DEGRADED_ITEMS_MAX 34 /* one per bit, and two that the agent cannot report itself */

struct status_facts {
	const char *pin_dir;
	struct utsname kernel;
	uint64_t now_ns;

	struct agent_status agent;
	char version[sizeof(((struct agent_status *)0)->version) + 1];
	char source[sizeof(((struct agent_status *)0)->source) + 1];
	char node_name[sizeof(((struct agent_status *)0)->node_name) + 1];
	char cgroup[sizeof(((struct agent_status *)0)->cgroup) + 1];
	__u32 running_pid;  /* the running agent; 0: none */
	uint64_t agent_rss; /* bytes; 0: unknown */

	uint32_t programmed; /* service ports */
	uint32_t refusing;   /* among them: no usable endpoint */
	uint32_t dropping;   /* among them: none on this node, policy Local */
	uint32_t unprogrammed;
	uint64_t confirmed_flows;
	uint64_t new_flows;
	struct map_fill maps[MAP_COUNT];
	uint64_t map_bytes;
	struct counter counters[COUNTER_COUNT];
	struct link_list links;

	struct degraded_item degraded[DEGRADED_ITEMS_MAX];
	size_t degraded_count;
};

/* Complains. Returns 0 or a negative errno; either way the caller calls status_facts_fini. */
int status_facts_gather(const struct shown_maps *maps, struct status_facts *facts);
void status_facts_fini(struct status_facts *facts);

/* The number of links with this role and hook. */
size_t status_facts_links(const struct status_facts *facts, enum link_role role,
			  enum link_hook hook);

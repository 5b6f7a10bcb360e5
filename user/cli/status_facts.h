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
#include "node/other_proxy.h"

struct map_fill {
	bool is_counted; /* false: an array, whose entries always exist */
	uint64_t used;
	uint64_t max;
	uint64_t bytes;
};

struct degraded_item {
	bool is_harmful;
	const char *word;
	const char *sentence;
};

#define DEGRADED_ITEMS_MAX 35 /* one per bit, and three that the agent does not report */

/* Whether Services work on this node, from well to bad. */
enum node_verdict {
	NODE_OK,
	NODE_NOTE,     /* Services work; something optional is missing, or another proxy runs */
	NODE_DEGRADED, /* traffic suffers */
	NODE_DOWN,     /* no agent runs */
};

/* "OK", "NOTE", "DEGRADED" or "DOWN". */
const char *node_verdict_word(enum node_verdict verdict);

struct status_facts {
	const char *pin_dir;
	struct utsname kernel;
	uint64_t now_ns;

	struct agent_status agent;
	char version[sizeof(((struct agent_status *)0)->version) + 1];
	char source[sizeof(((struct agent_status *)0)->source) + 1];
	char node_name[sizeof(((struct agent_status *)0)->node_name) + 1];
	char cgroup[sizeof(((struct agent_status *)0)->cgroup) + 1];
	__u32 running_pid;        /* the running agent; 0: none */
	bool is_starting;         /* it has not reported yet: `agent` is of the run before */
	uint64_t agent_anonymous; /* bytes of memory that is its own; 0: unknown */
	uint64_t agent_rss;       /* the same with the maps, files and libraries it has mapped */
	char other_proxy[OTHER_PROXY_SIZE]; /* what shows that there is one; "": none */
	char other_proxy_sentence[2 * OTHER_PROXY_SIZE];
	char *other_instance_sentence; /* owned; NULL: there is none */

	uint32_t programmed; /* service ports */
	uint32_t refusing;   /* among them: no usable endpoint */
	uint32_t dropping;   /* among them: none on this node, policy Local */
	uint32_t unprogrammed;
	uint64_t confirmed_flows;
	uint64_t new_flows;
	struct map_fill maps[MAP_COUNT];
	uint64_t map_bytes;
	struct counter counters[COUNTER_COUNT]; /* by enum counter_reason */
	struct link_list links;

	struct degraded_item degraded[DEGRADED_ITEMS_MAX];
	size_t degraded_count;
	enum node_verdict verdict;
};

/*
 * Whether the verdict on the node with these maps is OK or NOTE, by what the agent reports alone.
 * Silent: false if there is nothing to read yet.
 */
bool status_facts_are_well(const char *pin_dir);

/* Complains. Returns 0 or a negative errno; either way the caller calls status_facts_fini. */
int status_facts_gather(const struct shown_maps *maps, struct status_facts *facts);
void status_facts_fini(struct status_facts *facts);

/* The number of links with this role and hook. */
size_t status_facts_links(const struct status_facts *facts, enum link_role role,
			  enum link_hook hook);

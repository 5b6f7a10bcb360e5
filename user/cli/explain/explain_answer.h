/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* The findings of `fairlead explain`, before they are put into words. */

#include <stdbool.h>
#include <stddef.h>

#include "cli/explain/explain_client.h"
#include "cli/explain/explain_instance.h"
#include "cli/explain/explain_place.h"
#include "cli/explain/explain_question.h"
#include "cli/shown_maps.h"
#include "fairlead/types.h"

enum action {
	ACTION_NONE,   /* passes unchanged, or the node answers for a ClusterIP */
	ACTION_DNAT,   /* to a backend */
	ACTION_REJECT, /* the client gets an error */
	ACTION_DROP,
};

/* A backend that may be chosen, and the packet's fate in that case. */
struct candidate {
	__u32 id;
	struct backend backend;
	enum action action; /* ACTION_DNAT, unless prevented for `reason` */
	const char *reason;
	bool is_source_nat;
	bool is_dsr;            /* it replies to the client directly */
	bool has_new_src;       /* false: the kernel chooses it later, or nothing arrives */
	struct ip_addr new_src; /* the source address that the backend sees */
};

struct answer {
	struct flow_key tuple;
	bool opens; /* the packet opens a connection or conversation */
	struct place place;
	struct outcome outcome;

	enum action action;
	const char *reason;   /* a stable word */
	const char *sentence; /* the same as a sentence */

	bool has_address; /* the datapath knows the destination address: */
	struct address_info address;
	bool has_target;
	struct frontend_target target;
	struct service service;
	bool has_name;
	struct service_name name;

	bool is_decided; /* the program decided on near or far and on the list */
	bool is_near;
	char why[CLIENT_WHY_SIZE];

	/*
	 * Source ranges: whether one contains the packet's source, and whether connect() of a
	 * process was allowed earlier, by the node's own address.
	 */
	bool is_source_in_range;
	bool is_let_in_as_node;

	bool has_flow; /* the packet belongs to an existing flow: */
	struct flow flow;
	bool has_affinity; /* the client has an affinity entry: */
	struct affinity affinity;

	struct candidate *candidates;
	size_t candidate_count;
	size_t candidate_capacity;
};

/* An empty answer, safe to pass to answer_fini. */
#define ANSWER_NONE ((struct answer){.place = {.program = -1, .any_program = -1}})

#define ANSWER_MAPS                                                                         \
	(PLACE_MAPS | MAP_BIT(MAP_FRONTENDS) | MAP_BIT(MAP_SERVICES) | MAP_BIT(MAP_SLOTS) | \
	 MAP_BIT(MAP_BACKENDS) | MAP_BIT(MAP_SERVICE_NAMES) | MAP_BIT(MAP_ADDRESS_FLOWS) |  \
	 MAP_BIT(MAP_AFFINITY) | MAP_BIT(MAP_FLOWS) | MAP_BIT(MAP_NEW_FLOWS))

/*
 * Runs the programs on the question. Reuses `*instance` (or NULL) if it fits, else replaces it,
 * since loading programs is the main cost of an answer. Complains. Returns 0, -ENODEV if there is
 * no such link or no route, or another negative errno; either way the caller calls answer_fini.
 */
int answer_find(const struct shown_maps *maps, const struct question *question, const char *link,
		struct instance **instance, struct answer *ret_answer);
void answer_fini(struct answer *answer);

/* "shop/web:http (TCP)". */
#define SERVICE_TITLE_SIZE (NAME_SIZE * 3 + 32)
const char *answer_service(const struct answer *answer, char buf[SERVICE_TITLE_SIZE]);

const char *action_word(enum action action); /* "none", "dnat", "reject", "drop" */
/* Whether a backend would see an address of this node, or reply to the client directly. */
bool answer_is_source_nat(const struct answer *answer);
bool answer_is_dsr(const struct answer *answer);
/* The traffic policy that applied, "Cluster" or "Local"; NULL: none did. */
const char *answer_policy(const struct answer *answer);
/* The backend that this run chose, or that of the flow; NULL: none. */
const struct candidate *answer_chosen(const struct answer *answer);

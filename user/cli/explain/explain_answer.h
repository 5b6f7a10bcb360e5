/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* What `fairlead explain` found out, before it is put into words. */

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>

#include "cli/explain/explain_instance.h"
#include "cli/explain/explain_place.h"
#include "cli/explain/explain_question.h"
#include "cli/maps.h"
#include "fairlead/types.h"

enum action {
	ACTION_NONE,   /* goes on as it is, or the node answers for a ClusterIP */
	ACTION_DNAT,   /* to a backend */
	ACTION_REJECT, /* the client is told */
	ACTION_DROP,
};

/* A backend that the choice may fall on, and what becomes of the packet then. */
struct candidate {
	__u32 id;
	struct backend backend;
	enum action action; /* ACTION_DNAT, unless `reason` says what is in the way */
	const char *reason;
	bool is_source_nat;
	bool is_dsr;      /* it answers the client straight */
	bool has_new_src; /* false: a socket's source is chosen later, or nothing gets there */
	struct ip_addr new_src; /* as whom the client is seen there */
};

/* Why a client is near or far, and with which range. */
#define CLIENT_WHY_SIZE 256

struct answer {
	struct flow_key tuple;
	bool opens; /* a conversation begins with the packet */
	struct place place;
	struct outcome outcome;

	enum action action;
	const char *reason;   /* a word that stays as it is */
	const char *sentence; /* the same for people */

	bool has_address; /* the destination is an address that the datapath knows: */
	struct address_info address;
	bool has_target;
	struct frontend_target target;
	struct service service;
	bool has_name;
	struct service_name name;

	bool is_decided; /* by the program: where the client is, and the list */
	bool is_near;
	char why[CLIENT_WHY_SIZE];

	/*
	 * Source ranges: whether one has the packet's source, and whether connect() of a process
	 * has let it in before, by the node's own address.
	 */
	bool is_source_in_range;
	bool is_let_in_as_node;

	bool has_flow; /* the packet belongs to one that is there: */
	struct flow flow;
	bool has_affinity; /* the client is remembered: */
	struct affinity affinity;

	struct candidate *candidates;
	size_t candidate_count;
	size_t candidate_capacity;
};

/* What answer_fini takes before there is an answer. */
#define ANSWER_NONE ((struct answer){.place = {.program = -1, .any_program = -1}})

#define ANSWER_MAPS                                                                         \
	(PLACE_MAPS | MAP_BIT(MAP_FRONTENDS) | MAP_BIT(MAP_SERVICES) | MAP_BIT(MAP_SLOTS) | \
	 MAP_BIT(MAP_BACKENDS) | MAP_BIT(MAP_SERVICE_NAMES) | MAP_BIT(MAP_ADDRESS_FLOWS) |  \
	 MAP_BIT(MAP_AFFINITY) | MAP_BIT(MAP_FLOWS) | MAP_BIT(MAP_NEW_FLOWS))

/*
 * Puts the address of a Service that was asked for by its name into the question. Complains.
 * Returns 0, -ENOENT: there is none, or another negative errno.
 */
int question_resolve(const struct maps *maps, struct question *question);

/*
 * Lets the programs decide. Those that are in `*instance` (or NULL) are asked if they fit, else
 * others take their place: to load them is what an answer costs. Complains. Returns 0, -ENODEV:
 * there is no such link or no way, or another negative errno; either way the caller calls
 * answer_fini.
 */
int answer_find(const struct maps *maps, const struct question *question, const char *link,
		struct instance **instance, struct answer *ret_answer);
void answer_fini(struct answer *answer);

/* Where a client is and why, by the tables that the programs ask. */
void client_find(const struct instance *instance, const struct answer *answer, bool *ret_is_near,
		 char ret_why[CLIENT_WHY_SIZE]);

/* The entry of the client, of a packet's source or a process' namespace; false: there is none. */
bool affinity_find(const struct maps *maps, const struct answer *answer, __u64 node_cookie,
		   struct affinity *ret_affinity);

/* In words, on standard output; and for scripts, as an object that the caller frees. */
void answer_print(const struct answer *answer);
cJSON *answer_json(const struct answer *answer);

/* One step of the packet's way; answer_steps calls for each, in order. */
typedef void (*step_fn)(const char *step, const char *text, void *context);
void answer_steps(const struct answer *answer, step_fn fn, void *context);

/* "shop/web:http (TCP)". */
#define SERVICE_TITLE_SIZE (NAME_SIZE * 3 + 32)
const char *answer_service(const struct answer *answer, char buf[SERVICE_TITLE_SIZE]);

const char *action_word(enum action action); /* "none", "dnat", "reject", "drop" */
bool answer_is_source_nat(const struct answer *answer);
/* The policy that applied, "Cluster" or "Local"; NULL: none was asked. */
const char *answer_policy(const struct answer *answer);
/* The backend that this run chose, or the flow's; NULL: none. */
const struct candidate *answer_chosen(const struct answer *answer);

/* SPDX-License-Identifier: BSD-2-Clause */

/* Prints the answer, as text for operators and as JSON for scripts. */

#include "cli/explain/explain_print.h"

#include <stdio.h>
#include <string.h>

#include "base/address.h"
#include "base/cleanup.h"
#include "base/text.h"
#include "words/words.h"
#include "cli/explain/explain_steps.h"
#include "cli/json.h"
#include "cli/table.h"

#define STEP_INDENT 2
#define STEP_WIDTH  15
#define LIST_INDENT (STEP_INDENT + STEP_WIDTH)

/* Formats an endpoint, or only its address if the protocol has no ports. */
static const char *party_format(const struct answer *answer, const struct ip_addr *addr,
				__be16 port, char buf[ADDRESS_TEXT_SIZE])
{
	return answer->tuple.proto == IPPROTO_ICMP ? address_format(addr, buf)
						   : endpoint_format(addr, port, buf);
}

static void candidates_print(const struct answer *answer)
{
	static const char *const headers[] = {"BACKEND", "STATE", "WHERE", "SOURCE", NULL};
	auto_cleanup(table_freep) struct table *table = table_new(headers);

	for (size_t i = 0; i < answer->candidate_count; i++) {
		const struct candidate *candidate = &answer->candidates[i];
		const struct backend *backend = &candidate->backend;
		char text[ADDRESS_TEXT_SIZE];

		table_cell(table, "%s", endpoint_format(&backend->addr, backend->port, text));
		table_cell(table, "%s", backend_state_word(backend->state, backend->flags));
		table_cell(table, "%s",
			   backend->flags & BACKEND_LOCAL ? "on this node" : "elsewhere");
		if (candidate->reason)
			table_cell(table, "%s: %s", action_word(candidate->action),
				   candidate->reason);
		else if (candidate->has_new_src)
			table_cell(table, "seen there as %s%s",
				   address_format(&candidate->new_src, text),
				   candidate->is_source_nat ? " (source NAT)"
				   : candidate->is_dsr      ? " (direct server return)"
							    : "");
		else
			table_cell(table, "%s", "");
	}
	table_print(table, stdout, LIST_INDENT, TABLE_NO_HEADERS);
}

static void step_print(const char *step, const char *text, void *context)
{
	const struct answer *answer = context;

	(void)printf("%*s%-*s%s\n", STEP_INDENT, "", STEP_WIDTH, step, text);
	if (!strcmp(step, "candidates"))
		candidates_print(answer);
}

void answer_print(const struct answer *answer)
{
	char src[ADDRESS_TEXT_SIZE], dst[ADDRESS_TEXT_SIZE];

	(void)printf("%s from %s to %s: %s\n\n",
		     answer->tuple.proto == IPPROTO_ICMP ? "ICMP" : proto_name(answer->tuple.proto),
		     party_format(answer, &answer->tuple.src, answer->tuple.src_port, src),
		     party_format(answer, &answer->tuple.dst, answer->tuple.dst_port, dst),
		     action_word(answer->action));
	steps_describe(answer, step_print, (void *)answer);
}

static void json_add_target(cJSON *root, const struct answer *answer)
{
	char text[NAME_SIZE];
	cJSON *item;

	if (!answer->has_target) {
		(void)cJSON_AddNullToObject(root, "service");
		(void)cJSON_AddNullToObject(root, "frontend");
		return;
	}
	item = cJSON_AddObjectToObject(root, "service");
	json_add_text(item, "namespace", text_of_array(answer->name.namespace_, text));
	json_add_text(item, "name", text_of_array(answer->name.name, text));
	json_add_text(item, "port_name", text_of_array(answer->name.port_name, text));
	(void)cJSON_AddStringToObject(item, "protocol", proto_name(answer->tuple.proto));
	(void)cJSON_AddNumberToObject(item, "id", answer->target.service);
	item = json_add_endpoint(root, "frontend", &answer->tuple.dst, answer->tuple.dst_port);
	(void)cJSON_AddStringToObject(item, "kind", frontend_kind_word(answer->target.kind));
}

static void json_add_candidate(cJSON *array, const struct candidate *candidate)
{
	cJSON *item = json_add_endpoint(json_add_item(array), NULL, &candidate->backend.addr,
					candidate->backend.port);
	char text[ADDRESS_TEXT_SIZE];

	(void)cJSON_AddNumberToObject(item, "id", candidate->id);
	(void)cJSON_AddStringToObject(
		item, "state",
		backend_state_word(candidate->backend.state, candidate->backend.flags));
	(void)cJSON_AddBoolToObject(item, "local", candidate->backend.flags & BACKEND_LOCAL);
	(void)cJSON_AddStringToObject(item, "action", action_word(candidate->action));
	json_add_text(item, "reason", candidate->reason ? candidate->reason : "");
	(void)cJSON_AddBoolToObject(item, "source_nat", candidate->is_source_nat);
	(void)cJSON_AddBoolToObject(item, "direct_server_return", candidate->is_dsr);
	json_add_text(item, "seen_as",
		      candidate->has_new_src ? address_format(&candidate->new_src, text) : "");
}

static void json_add_affinity(cJSON *root, const struct answer *answer)
{
	cJSON *item;

	if (!answer->has_target || !answer->service.affinity_timeout_s) {
		(void)cJSON_AddNullToObject(root, "affinity");
		return;
	}
	item = cJSON_AddObjectToObject(root, "affinity");
	(void)cJSON_AddNumberToObject(item, "timeout_seconds", answer->service.affinity_timeout_s);
	(void)cJSON_AddBoolToObject(item, "remembered",
				    answer->outcome.decision.choice.is_remembered);
}

static void step_add(const char *step, const char *text, void *context)
{
	cJSON *item = json_add_item(context);

	(void)cJSON_AddStringToObject(item, "step", step);
	(void)cJSON_AddStringToObject(item, "text", text);
}

static const char *hook_word(const struct place *place)
{
	if (place->is_socket)
		return "socket";
	if (place->program < 0)
		return "";
	return place->is_egress ? "egress" : "ingress";
}

cJSON *answer_json(const struct answer *answer)
{
	const struct candidate *chosen = answer_chosen(answer);
	const char *policy = answer_policy(answer);
	cJSON *root = cJSON_CreateObject();
	cJSON *item, *array;

	(void)cJSON_AddStringToObject(root, "action", action_word(answer->action));
	(void)cJSON_AddStringToObject(root, "reason", answer->reason);
	json_add_target(root, answer);
	item = json_add_endpoint(root, "client", &answer->tuple.src, answer->tuple.src_port);
	(void)cJSON_AddBoolToObject(item, "near", answer->is_near);
	(void)cJSON_AddStringToObject(item, "why", answer->why);
	json_add_text(root, "hook", hook_word(&answer->place));
	json_add_text(root, "link", answer->place.link);
	json_add_text(root, "policy", policy ? policy : "");
	json_add_affinity(root, answer);
	array = cJSON_AddArrayToObject(root, "candidates");
	for (size_t i = 0; i < answer->candidate_count; i++)
		json_add_candidate(array, &answer->candidates[i]);
	if (chosen)
		(void)json_add_endpoint(root, "backend", &chosen->backend.addr,
					chosen->backend.port);
	else
		(void)cJSON_AddNullToObject(root, "backend");
	(void)cJSON_AddBoolToObject(root, "source_nat", answer_is_source_nat(answer));
	array = cJSON_AddArrayToObject(root, "steps");
	steps_describe(answer, step_add, array);
	return root;
}

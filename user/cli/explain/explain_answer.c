/* SPDX-License-Identifier: BSD-2-Clause */
#include "cli/explain/explain_answer.h"

#include <bpf/bpf.h>
#include <linux/pkt_cls.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/address.h"
#include "base/cleanup.h"
#include "base/text.h"
#include "words/words.h"
#include "cli/alloc.h"

/* The range of source ports to choose from if the question has none: the first without a flow. */
#define CLIENT_PORT_FIRST 50000
#define CLIENT_PORT_LAST  59999

void answer_fini(struct answer *answer)
{
	free(answer->candidates);
	place_fini(&answer->place);
}

const char *action_word(enum action action)
{
	static const char *const words[] = {
		[ACTION_NONE] = "none",
		[ACTION_DNAT] = "dnat",
		[ACTION_REJECT] = "reject",
		[ACTION_DROP] = "drop",
	};

	return words[action];
}

const char *answer_service(const struct answer *answer, char buf[SERVICE_TITLE_SIZE])
{
	char namespace_[NAME_SIZE], name[NAME_SIZE], port[NAME_SIZE];

	if (!answer->has_name) {
		(void)snprintf(buf, SERVICE_TITLE_SIZE, "service port %u", answer->target.service);
		return buf;
	}
	(void)text_of_array(answer->name.namespace_, namespace_);
	(void)text_of_array(answer->name.name, name);
	(void)text_of_array(answer->name.port_name, port);
	(void)snprintf(buf, SERVICE_TITLE_SIZE, "%s/%s%s%s (%s)", namespace_, name,
		       *port ? ":" : "", port, proto_name(answer->name.proto));
	return buf;
}

const char *answer_policy(const struct answer *answer)
{
	__u32 flag = answer->target.kind == FRONTEND_CLUSTER_IP ? SERVICE_INTERNAL_LOCAL
								: SERVICE_EXTERNAL_LOCAL;

	if (!answer->has_target)
		return NULL;
	return answer->service.flags & flag ? "Local" : "Cluster";
}

bool answer_is_source_nat(const struct answer *answer)
{
	for (size_t i = 0; i < answer->candidate_count; i++) {
		if (answer->candidates[i].is_source_nat)
			return true;
	}
	return false;
}

bool answer_is_dsr(const struct answer *answer)
{
	for (size_t i = 0; i < answer->candidate_count; i++) {
		if (answer->candidates[i].is_dsr)
			return true;
	}
	return false;
}

const struct candidate *answer_chosen(const struct answer *answer)
{
	__u32 id = answer->is_decided ? answer->outcome.decision.choice.backend
		   : answer->has_flow ? answer->flow.backend
				      : 0;

	if (answer->action != ACTION_DNAT)
		return NULL;
	for (size_t i = 0; i < answer->candidate_count; i++) {
		if (answer->candidates[i].id == id)
			return &answer->candidates[i];
	}
	return NULL;
}

static bool table_find(const struct shown_maps *maps, enum map_id id, const void *key,
		       void *ret_value)
{
	return !bpf_map_lookup_elem(maps->items[id].fd, key, ret_value);
}

/* Looks up a flow; leaves out what a map's value may contain after it. */
static bool flow_find_in(const struct shown_maps *maps, enum map_id id, const struct flow_key *key,
			 struct flow *ret_flow)
{
	auto_cleanup(cleanup_free) void *value = alloc_zeroed(1, maps->items[id].value_size);

	if (!table_find(maps, id, key, value))
		return false;
	memcpy(ret_flow, value, sizeof(*ret_flow));
	return true;
}

static bool flow_find(const struct shown_maps *maps, const struct flow_key *key,
		      struct flow *ret_flow, bool *ret_is_confirmed)
{
	*ret_is_confirmed = flow_find_in(maps, MAP_FLOWS, key, ret_flow);
	return *ret_is_confirmed || flow_find_in(maps, MAP_NEW_FLOWS, key, ret_flow);
}

/* Fills in the packet; if the question has no source port, uses one without a flow. */
static void tuple_fill(const struct shown_maps *maps, const struct question *question,
		       struct answer *answer)
{
	struct flow_key *tuple = &answer->tuple;
	struct flow flow;
	bool is_confirmed;

	tuple->src = question->src;
	tuple->dst = answer->place.is_egress && address_is_loopback(&question->dst)
			     ? address_loopback(address_family(&question->dst))
			     : question->dst;
	tuple->dst_port = question->dst_port;
	tuple->src_port = question->src_port;
	tuple->proto = question->proto;
	answer->opens = true;
	if (question->proto == IPPROTO_ICMP || question->src_port)
		return;
	for (unsigned int port = CLIENT_PORT_FIRST; port <= CLIENT_PORT_LAST; port++) {
		tuple->src_port = htons((__u16)port);
		if (!flow_find(maps, tuple, &flow, &is_confirmed))
			return;
	}
}

/* Copies the packet's flow, if there is one, into the instance, in both directions. */
static int flow_seed(const struct shown_maps *maps, struct instance *instance,
		     struct answer *answer)
{
	const struct flow_key *key = &answer->tuple;
	struct flow *flow = &answer->flow;
	struct flow_key peer_key;
	struct flow peer;
	bool is_confirmed;
	int err;

	answer->has_flow = flow_find(maps, key, flow, &is_confirmed);
	if (!answer->has_flow)
		return 0;
	/* Protocols without a handshake open a conversation with every packet. */
	answer->opens = (key->proto != IPPROTO_TCP && key->proto != IPPROTO_SCTP) ||
			flow->state < FLOW_ESTABLISHED || flow->state == FLOW_CLOSED;
	err = instance_set_flow(instance, key, flow, is_confirmed);
	if (err)
		return err;
	peer_key = (struct flow_key){
		.src = flow->new_dst,
		.dst = flow->new_src,
		.src_port = flow->new_dst_port,
		.dst_port = flow->new_src_port,
		.proto = key->proto,
		.direction = FLOW_REPLY,
	};
	if (!flow_find(maps, &peer_key, &peer, &is_confirmed))
		return 0;
	return instance_set_flow(instance, &peer_key, &peer, is_confirmed);
}

/*
 * An unbound socket of a process on the node has no source address at connect(), so the hook checks
 * the node's own address. If that is allowed, the connection goes to a backend and no program
 * checks again.
 */
static void source_ranges_find(const struct instance *instance, struct answer *answer)
{
	/* The same lookup as source_is_allowed in bpf/service/service.h. */
	const struct source_range key = {
		.prefix = 8 * (sizeof(key.service) + sizeof(key.addr)),
		.service = htonl(answer->target.service),
		.addr = answer->tuple.src,
	};
	__u32 value;

	if (answer->target.kind != FRONTEND_LOAD_BALANCER_IP ||
	    !(answer->service.flags & SERVICE_SOURCE_RANGES))
		return;
	answer->is_source_in_range =
		!bpf_map_lookup_elem(instance_table(instance, MAP_SOURCE_RANGES), &key, &value);
	answer->is_let_in_as_node = answer->place.is_egress && answer->place.has_socket_hooks &&
				    answer->service.flags & SERVICE_NODE_ALLOWED;
}

/* The target's service port as the program must see it. */
static struct service service_judged(const struct answer *answer)
{
	struct service service = answer->service;

	if (answer->is_let_in_as_node)
		service.flags &= ~(__u32)SERVICE_SOURCE_RANGES;
	return service;
}

static int service_seed(const struct shown_maps *maps, struct instance *instance, __u32 id,
			struct answer *answer)
{
	struct service service;

	if (!table_find(maps, MAP_SERVICES, &id, &answer->service))
		return 0;
	answer->has_name = table_find(maps, MAP_SERVICE_NAMES, &id, &answer->name);
	if (!instance)
		return 0;
	source_ranges_find(instance, answer);
	service = service_judged(answer);
	return instance_set_service(instance, id, &service);
}

static int affinity_seed(const struct shown_maps *maps, struct instance *instance,
			 struct answer *answer)
{
	const struct affinity_key key = {.client = answer->tuple.src,
					 .service = answer->target.service};

	if (!answer->service.affinity_timeout_s)
		return 0;
	answer->has_affinity =
		client_find_affinity(maps, &answer->place, &key,
				     instance_config(instance)->netns_cookie, &answer->affinity);
	return answer->has_affinity ? instance_set_affinity(instance, &key, &answer->affinity) : 0;
}

static int address_seed(const struct shown_maps *maps, struct instance *instance,
			const struct ip_addr *addr)
{
	struct address_flows busy;
	struct address_info info;

	if (!table_find(maps, MAP_ADDRESSES, addr, &info) || !info.index ||
	    !table_find(maps, MAP_ADDRESS_FLOWS, &info.index, &busy))
		return 0;
	return instance_set_address_flows(instance, info.index, &busy);
}

/* Copies the entries that the programs look up and would modify. */
static int instance_seed(const struct shown_maps *maps, struct instance *instance,
			 struct answer *answer)
{
	int err = flow_seed(maps, instance, answer);
	struct service other;

	if (err)
		return err;
	if (answer->has_target) {
		err = service_seed(maps, instance, answer->target.service, answer);
		if (err)
			return err;
		err = affinity_seed(maps, instance, answer);
		if (err)
			return err;
	}
	if (answer->has_flow && answer->flow.service != answer->target.service &&
	    table_find(maps, MAP_SERVICES, &answer->flow.service, &other)) {
		err = instance_set_service(instance, answer->flow.service, &other);
		if (err)
			return err;
	}
	err = address_seed(maps, instance, &answer->tuple.dst);
	return err ? err : address_seed(maps, instance, &answer->tuple.src);
}

/* Whether the counter also counts packets that pass. */
static bool counter_counts_passed(enum counter_reason reason)
{
	switch (reason) {
	case COUNTER_FORWARDED_NEW:
	case COUNTER_FLOWS_FULL:
	case COUNTER_ICMP_TRANSLATED:
	case COUNTER_RESELECTED:
	case COUNTER_FORGOTTEN:
	case COUNTER_FORWARDED_XDP:
	case COUNTER_AFFINITY_FULL:
		return true;
	default:
		return false;
	}
}

/* The reason why a packet did not pass, or COUNTER_COUNT. */
static enum counter_reason counted_reason(const struct outcome *outcome)
{
	for (int reason = 0; reason < COUNTER_COUNT; reason++) {
		if (outcome->counted[reason] && !counter_counts_passed((enum counter_reason)reason))
			return (enum counter_reason)reason;
	}
	return COUNTER_COUNT;
}

static bool is_translated(const struct flow_key *tuple, const struct outcome *outcome)
{
	struct ip_addr src, dst;

	return test_frame_addresses(&outcome->frame, &src, &dst) &&
	       (!address_equal(&src, &tuple->src) || !address_equal(&dst, &tuple->dst));
}

/*
 * Derives the action from the verdict, the counters and the packet. connect() sends nothing, so for
 * it the action is DNAT if a backend was chosen.
 */
static enum action action_of(const struct place *place, const struct flow_key *tuple,
			     const struct outcome *outcome, enum counter_reason *ret_reason)
{
	enum counter_reason reason = counted_reason(outcome);

	*ret_reason = reason;
	if (place->is_socket && outcome->counted[COUNTER_FORWARDED_NEW]) {
		*ret_reason = COUNTER_FORWARDED_NEW;
		return ACTION_DNAT;
	}
	if (outcome->verdict == TC_ACT_SHOT)
		return ACTION_DROP;
	if (reason == COUNTER_ECHO_ANSWERED || reason == COUNTER_SKIPPED)
		return ACTION_NONE;
	if (reason != COUNTER_COUNT)
		return ACTION_REJECT;
	if (outcome->counted[COUNTER_RESELECTED])
		*ret_reason = COUNTER_RESELECTED;
	else if (outcome->counted[COUNTER_FORWARDED_NEW])
		*ret_reason = COUNTER_FORWARDED_NEW;
	return *ret_reason != COUNTER_COUNT || is_translated(tuple, outcome) ? ACTION_DNAT
									     : ACTION_NONE;
}

struct reason_words {
	const char *word;
	const char *sentence;
};

/* Why no Service handles a packet. */
static struct reason_words none_reason(const struct answer *answer)
{
	const __u32 flags = answer->has_address ? answer->address.flags : 0;

	if (!answer->has_address)
		return (struct reason_words){"not-ours", "no Service has this address"};
	if (flags & ADDRESS_SERVED && !answer->has_target)
		return (struct reason_words){
			"no-such-frontend",
			"no Service has this port here, and others may serve it"};
	if (flags & ADDRESS_SERVED)
		return (struct reason_words){"left-alone", "the packet belongs to no Service"};
	if (flags & ADDRESS_NODE)
		return (struct reason_words){"node", "the node's own address"};
	if (flags & ADDRESS_BACKEND)
		return (struct reason_words){"backend",
					     "the address of an endpoint, dialled directly"};
	return (struct reason_words){"retired", "no Service has this address any more"};
}

/* Fills in what the outcome of the run says about the packet. */
static void answer_judge(struct answer *answer)
{
	const struct decision *decision = &answer->outcome.decision;
	struct reason_words words = {"unknown", "for a reason that is not counted"};
	enum counter_reason reason;

	answer->action = action_of(&answer->place, &answer->tuple, &answer->outcome, &reason);
	if (reason != COUNTER_COUNT)
		words = (struct reason_words){counter_word(reason), counter_sentence(reason)};
	else if (answer->action == ACTION_DNAT)
		words = (struct reason_words){"existing-flow",
					      "the packet belongs to an existing flow"};
	else if (answer->action == ACTION_NONE)
		words = none_reason(answer);
	answer->reason = words.word;
	answer->sentence = words.sentence;
	answer->is_decided = decision->target.service && reason != COUNTER_DROP_SOURCE_RANGE &&
			     reason != COUNTER_REJECT_NO_FLOW;
	if (answer->is_decided)
		answer->is_near = decision->place.is_near;
	else if (answer->action == ACTION_DNAT && answer->has_flow)
		answer->is_near = answer->flow.is_near;
}

static struct candidate *candidate_add(const struct shown_maps *maps, struct answer *answer,
				       __u32 id)
{
	struct backend backend;
	struct candidate *candidate;

	if (!table_find(maps, MAP_BACKENDS, &id, &backend) || backend.state == BACKEND_FREE)
		return NULL;
	answer->candidates =
		alloc_one_more(answer->candidates, answer->candidate_count,
			       &answer->candidate_capacity, sizeof(*answer->candidates));
	candidate = &answer->candidates[answer->candidate_count++];
	*candidate = (struct candidate){
		.id = id,
		.backend = backend,
		.action = ACTION_DNAT,
	};
	return candidate;
}

static void candidate_set_source(struct candidate *candidate, const struct flow *flow)
{
	candidate->is_source_nat = flow->flags & FLOW_SOURCE_NAT;
	candidate->is_dsr = flow->flags & FLOW_DSR;
	candidate->has_new_src = true;
	candidate->new_src = flow->new_src;
}

/* Runs the program with this slot as the only choice, and records the packet's fate. */
static int candidate_try(struct instance *instance, const struct answer *answer, __u32 slot,
			 struct candidate *candidate)
{
	struct service service = service_judged(answer);
	enum counter_reason reason;
	struct outcome outcome;
	int err;

	service.cluster_slots = (struct slot_range){.first = slot, .count = 1};
	service.local_slots = service.cluster_slots;
	service.affinity_timeout_s = 0;
	err = instance_forget(instance);
	if (err)
		return err;
	err = instance_set_service(instance, answer->target.service, &service);
	if (err)
		return err;
	err = instance_run(instance, &answer->tuple, true, &outcome);
	if (err)
		return err;
	candidate->action = action_of(&answer->place, &answer->tuple, &outcome, &reason);
	candidate->reason = candidate->action == ACTION_DNAT ? NULL : counter_word(reason);
	if (outcome.has_flow && candidate->action == ACTION_DNAT && !answer->place.is_socket)
		candidate_set_source(candidate, &outcome.flow);
	return 0;
}

static int slot_try(const struct shown_maps *maps, struct instance *instance, struct answer *answer,
		    __u32 index)
{
	struct candidate *candidate;
	struct slot slot;

	if (!table_find(maps, MAP_SLOTS, &index, &slot))
		return 0;
	candidate = candidate_add(maps, answer, slot.backend);
	return candidate ? candidate_try(instance, answer, index, candidate) : 0;
}

/*
 * Collects the backends of the list that the program chose from, or the one named by affinity or
 * the flow.
 */
static int candidates_find(const struct shown_maps *maps, struct instance *instance,
			   struct answer *answer)
{
	const struct choice *choice = &answer->outcome.decision.choice;
	int err;

	if (!answer->is_decided && answer->has_flow && answer->action == ACTION_DNAT) {
		struct candidate *candidate = candidate_add(maps, answer, answer->flow.backend);

		if (candidate)
			candidate_set_source(candidate, &answer->flow);
		return 0;
	}
	if (!answer->is_decided)
		return 0;
	if (choice->is_remembered)
		return slot_try(maps, instance, answer, choice->slot);
	for (__u32 i = 0; i < choice->list.count; i++) {
		err = slot_try(maps, instance, answer, choice->list.first + i);
		if (err)
			return err;
	}
	return 0;
}

/* Runs the program on the packet, and then once for each backend that may be chosen. */
static int answer_by_program(const struct shown_maps *maps, struct instance *instance,
			     struct answer *answer)
{
	int err = instance_seed(maps, instance, answer);

	if (err)
		return err;
	err = instance_run(instance, &answer->tuple, answer->opens, &answer->outcome);
	if (err)
		return err;
	answer->is_near = client_is_near(instance, &answer->place, &answer->tuple.src, answer->why);
	answer_judge(answer);
	return candidates_find(maps, instance, answer);
}

/* The link has no program, so the packet passes unchanged. */
static void answer_without_program(const struct shown_maps *maps, struct answer *answer)
{
	answer->action = ACTION_NONE;
	answer->reason = "no-hook";
	answer->sentence = "no program of fairlead is on this link";
	answer->is_near = client_is_near(NULL, &answer->place, &answer->tuple.src, answer->why);
	if (answer->has_target)
		(void)service_seed(maps, NULL, answer->target.service, answer);
}

/* Provides an instance that fits the place, without any state of earlier questions. */
static int instance_get(const struct shown_maps *maps, const struct place *place,
			const struct ip_addr *dst, struct instance **instance)
{
	const struct ip_addr *loopback = place->is_socket && address_is_loopback(dst) ? dst : NULL;

	if (*instance && instance_fits(*instance, place, loopback))
		return instance_forget(*instance);
	instance_closep(instance);
	*instance = NULL;
	return instance_open(maps, place, loopback, instance);
}

int answer_find(const struct shown_maps *maps, const struct question *question, const char *link,
		struct instance **instance, struct answer *ret_answer)
{
	struct place *place = &ret_answer->place;
	struct frontend frontend;
	int err;

	*ret_answer = (struct answer){0};
	err = place_find(maps, question, link, place);
	if (err)
		return err;
	tuple_fill(maps, question, ret_answer);
	frontend = (struct frontend){.vip = ret_answer->tuple.dst,
				     .port = ret_answer->tuple.dst_port,
				     .proto = ret_answer->tuple.proto};
	ret_answer->has_address =
		table_find(maps, MAP_ADDRESSES, &ret_answer->tuple.dst, &ret_answer->address);
	ret_answer->has_target = table_find(maps, MAP_FRONTENDS, &frontend, &ret_answer->target);
	if ((place->program < 0 && !place->is_socket) || place->any_program < 0) {
		answer_without_program(maps, ret_answer);
		return 0;
	}
	err = instance_get(maps, place, &ret_answer->tuple.dst, instance);
	return err ? err : answer_by_program(maps, *instance, ret_answer);
}

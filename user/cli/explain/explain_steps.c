/* SPDX-License-Identifier: BSD-2-Clause */

/* The path of a packet through the decision, described step by step. */

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/address.h"
#include "base/cleanup.h"
#include "cli/alloc.h"
#include "base/clock.h"
#include "cli/explain/explain_answer.h"
#include "cli/table.h"
#include "words/words.h"

#define NS_PER_S 1000000000ULL

struct steps {
	const struct answer *answer;
	step_fn fn;
	void *context;
};

static void tell(const struct steps *steps, const char *step, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

static void tell(const struct steps *steps, const char *step, const char *format, ...)
{
	auto_cleanup(cleanup_free) char *text = NULL;
	va_list args;

	va_start(args, format);
	if (vasprintf(&text, format, args) < 0)
		text = alloc_text(step);
	va_end(args);
	steps->fn(step, text, steps->context);
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

static void step_packet(const struct steps *steps)
{
	const struct answer *answer = steps->answer;

	if (answer->has_flow)
		tell(steps, "packet", "of a %s that the flow tables know (%s)%s",
		     answer->tuple.proto == IPPROTO_UDP ? "conversation" : "connection",
		     flow_state_word(answer->flow.state),
		     answer->opens && answer->tuple.proto != IPPROTO_UDP ? "; it opens one again"
									 : "");
	else if (answer->tuple.proto == IPPROTO_ICMP)
		tell(steps, "packet", "an echo request");
	else
		tell(steps, "packet", "the first of a %s",
		     answer->tuple.proto == IPPROTO_UDP ? "conversation" : "connection");
}

/* Hooks that handle the packet earlier, and decide by code compiled from the same source. */
static const char *decided_before(const struct place *place)
{
	bool is_of_process = place->is_egress || (place->has_info && place->info.is_near);

	if (is_of_process && place->has_socket_hooks)
		return "; connect() of a process has decided before, by the same code";
	if (!place->is_egress && place->has_info &&
	    (place->info.xdp == LINK_XDP_NATIVE || place->info.xdp == LINK_XDP_GENERIC))
		return "; XDP has decided before, by the same code";
	return "";
}

static void step_hook(const struct steps *steps)
{
	const struct place *place = &steps->answer->place;

	if (place->is_socket)
		tell(steps, "hook",
		     "connect() and sendmsg(): the socket hooks decide, by the code that is run here");
	else if (place->program < 0)
		tell(steps, "hook", "none: link %s has no program of fairlead%s%s", place->link,
		     place->has_info ? ", role " : "",
		     place->has_info ? link_role_word(place->info.role) : "");
	else
		tell(steps, "hook", "%s of link %s (%s), %s%s",
		     place->is_egress ? "egress" : "ingress", place->link,
		     place->has_info ? link_role_word(place->info.role) : "unknown",
		     place->is_given    ? "as asked"
		     : place->is_egress ? "by which the node sends it"
					: "by which the node reaches the client",
		     decided_before(place));
}

static void step_frontend(const struct steps *steps)
{
	const struct answer *answer = steps->answer;
	char text[ADDRESS_TEXT_SIZE], service[SERVICE_TITLE_SIZE];

	if (answer->has_target) {
		tell(steps, "frontend", "%s %s of %s", frontend_kind_word(answer->target.kind),
		     endpoint_format(&answer->tuple.dst, answer->tuple.dst_port, text),
		     answer_service(answer, service));
		return;
	}
	(void)address_format(&answer->tuple.dst, text);
	if (!answer->has_address)
		tell(steps, "frontend", "none: %s is an address that no Service has", text);
	else if (answer->tuple.proto == IPPROTO_ICMP && answer->address.flags & ADDRESS_CLUSTER_IP)
		tell(steps, "frontend", "%s is a ClusterIP", text);
	else if (answer->address.flags & ADDRESS_CLUSTER_IP)
		tell(steps, "frontend", "none: %s is a ClusterIP without this port", text);
	else if (answer->address.flags & (ADDRESS_EXTERNAL | ADDRESS_NODE_PORTS))
		tell(steps, "frontend", "none: %s is left alone at this port", text);
	else if (answer->address.flags & ADDRESS_NODE)
		tell(steps, "frontend", "none: %s is this node's own", text);
	else if (answer->address.flags & ADDRESS_BACKEND)
		tell(steps, "frontend", "none: %s is the address of an endpoint", text);
	else
		tell(steps, "frontend", "none: %s was a Service's and is no more", text);
}

/* What happens to a client that is in none of the Service's source ranges. */
static const char *step_source_ranges_none(const struct answer *answer)
{
	if (answer->is_let_in_as_node)
		return "the node's own address is in one, which lets a process in that is not bound "
		       "to another; one that is bound to this address is not let in";
	if (answer->place.is_socket)
		return "the client is in none: connect() and sendmsg() fail with EPERM, for what "
		       "they would send meets no TC hook";
	return "the client is in none";
}

static void step_source_ranges(const struct steps *steps)
{
	const struct answer *answer = steps->answer;

	if (answer->target.kind != FRONTEND_LOAD_BALANCER_IP ||
	    !(answer->service.flags & SERVICE_SOURCE_RANGES))
		return;
	tell(steps, "source ranges", "the Service has some, and %s",
	     answer->is_source_in_range ? "the client is in one" : step_source_ranges_none(answer));
}

static void step_policy(const struct steps *steps)
{
	const struct answer *answer = steps->answer;
	const bool is_internal = answer->target.kind == FRONTEND_CLUSTER_IP;
	const char *name = is_internal ? "internalTrafficPolicy" : "externalTrafficPolicy";
	const char *policy = answer_policy(answer);
	const char *what = "endpoints of all nodes";

	if (!strcmp(policy, "Local"))
		what = is_internal       ? "endpoints on this node only"
		       : answer->is_near ? "but the client is near: endpoints of all nodes"
					 : "the client is far: endpoints on this node only";
	tell(steps, "policy", "%s %s, %s", name, policy, what);
}

static void step_affinity(const struct steps *steps)
{
	const struct answer *answer = steps->answer;
	const __u64 now_s = clock_now_ns() / NS_PER_S;
	char timeout[TEXT_SHORT_SIZE], idle[TEXT_SHORT_SIZE];

	if (!answer->service.affinity_timeout_s)
		return;
	(void)duration_format(answer->service.affinity_timeout_s, timeout);
	(void)duration_format(clock_since(now_s, answer->affinity.last_use_s), idle);
	if (answer->outcome.decision.choice.is_remembered)
		tell(steps, "affinity",
		     "ClientIP for %s: the client was here %s ago and stays with its backend",
		     timeout, idle);
	else if (answer->has_affinity)
		tell(steps, "affinity",
		     "ClientIP for %s: the client was here %s ago, but that is over, or its backend has left",
		     timeout, idle);
	else
		tell(steps, "affinity", "ClientIP for %s: the client has no backend yet", timeout);
}

static void step_candidates(const struct steps *steps)
{
	const struct answer *answer = steps->answer;
	const __u32 listed = answer->outcome.decision.choice.list.count;

	if (!answer->is_decided && answer->has_flow)
		tell(steps, "candidates", "the backend of the flow");
	else if (answer->outcome.decision.choice.is_remembered)
		tell(steps, "candidates", "1 of %u, by affinity", listed);
	else if (!listed)
		tell(steps, "candidates", "none");
	else
		tell(steps, "candidates", "%zu, each as likely as the others",
		     answer->candidate_count);
}

static bool has_dsr(const struct answer *answer)
{
	for (size_t i = 0; i < answer->candidate_count; i++) {
		if (answer->candidates[i].is_dsr)
			return true;
	}
	return false;
}

static void step_source_nat(const struct steps *steps)
{
	const struct answer *answer = steps->answer;

	if (answer->action != ACTION_DNAT || answer->place.is_socket)
		return;
	if (has_dsr(answer))
		tell(steps, "source",
		     "no source NAT: the packet travels inside of another to a backend elsewhere, whose "
		     "node answers the client");
	else if (answer_is_source_nat(answer))
		tell(steps, "source",
		     "an address of this node takes the client's place where the backend is elsewhere");
	else
		tell(steps, "source", "no source NAT: replies pass this node anyway");
}

static void step_verdict(const struct steps *steps)
{
	const struct answer *answer = steps->answer;

	tell(steps, "verdict", "%s, %s: %s", action_word(answer->action), answer->reason,
	     answer->sentence);
}

void answer_steps(const struct answer *answer, step_fn fn, void *context)
{
	const struct steps steps = {.answer = answer, .fn = fn, .context = context};

	step_packet(&steps);
	step_hook(&steps);
	step_frontend(&steps);
	tell(&steps, "client", "%s: %s", answer->is_near ? "near" : "far", answer->why);
	if (answer->has_target)
		step_source_ranges(&steps);
	if (answer->is_decided) {
		step_policy(&steps);
		step_affinity(&steps);
	}
	if (answer->is_decided || answer->candidate_count)
		step_candidates(&steps);
	step_source_nat(&steps);
	step_verdict(&steps);
}

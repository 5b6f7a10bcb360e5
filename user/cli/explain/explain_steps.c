/* SPDX-License-Identifier: BSD-2-Clause */
#include "cli/explain/explain_steps.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/address.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "words/words.h"
#include "cli/alloc.h"
#include "cli/table.h"

struct steps {
	const struct answer *answer;
	step_fn fn;
	void *context;
};

static void step_emit(const struct steps *steps, const char *step, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

static void step_emit(const struct steps *steps, const char *step, const char *format, ...)
{
	auto_cleanup(cleanup_free) char *text = NULL;
	va_list args;

	va_start(args, format);
	if (vasprintf(&text, format, args) < 0)
		text = alloc_text(step);
	va_end(args);
	steps->fn(step, text, steps->context);
}

static void step_packet(const struct steps *steps)
{
	const struct answer *answer = steps->answer;

	if (answer->has_flow)
		step_emit(steps, "packet", "of a known %s (%s)%s",
			  answer->tuple.proto == IPPROTO_UDP ? "conversation" : "connection",
			  flow_state_word(answer->flow.state),
			  answer->opens && answer->tuple.proto != IPPROTO_UDP
				  ? "; it opens a new one"
				  : "");
	else if (answer->tuple.proto == IPPROTO_ICMP)
		step_emit(steps, "packet", "an echo request");
	else
		step_emit(steps, "packet", "the first of a %s",
			  answer->tuple.proto == IPPROTO_UDP ? "conversation" : "connection");
}

/* Names a hook that handles the packet earlier, with code compiled from the same source. */
static const char *decided_before(const struct place *place)
{
	bool is_of_process = place->is_egress || (place->has_info && place->info.is_near);

	if (is_of_process && place->has_socket_hooks)
		return "; connect() of a process has already decided, by the same code";
	if (!place->is_egress && place->has_info &&
	    (place->info.xdp == LINK_XDP_NATIVE || place->info.xdp == LINK_XDP_GENERIC))
		return "; XDP has already decided, by the same code";
	return "";
}

static void step_hook(const struct steps *steps)
{
	const struct place *place = &steps->answer->place;

	if (place->is_socket)
		step_emit(
			steps, "hook",
			"connect() and sendmsg(): the socket hooks decide, by the same code as here");
	else if (place->program < 0)
		step_emit(steps, "hook", "none: link %s has no program of fairlead%s%s",
			  place->link, place->has_info ? ", role " : "",
			  place->has_info ? link_role_word(place->info.role) : "");
	else
		step_emit(steps, "hook", "%s of link %s (%s), %s%s",
			  place->is_egress ? "egress" : "ingress", place->link,
			  place->has_info ? link_role_word(place->info.role) : "unknown",
			  place->is_given    ? "as given by --link"
			  : place->is_egress ? "by which the node sends it"
					     : "by which the node reaches the client",
			  decided_before(place));
}

static void step_frontend(const struct steps *steps)
{
	const struct answer *answer = steps->answer;
	char text[ADDRESS_TEXT_SIZE], service[SERVICE_TITLE_SIZE];

	if (answer->has_target) {
		step_emit(steps, "frontend", "%s %s of %s", frontend_kind_word(answer->target.kind),
			  endpoint_format(&answer->tuple.dst, answer->tuple.dst_port, text),
			  answer_service(answer, service));
		return;
	}
	(void)address_format(&answer->tuple.dst, text);
	if (!answer->has_address)
		step_emit(steps, "frontend", "none: %s is an address that no Service has", text);
	else if (answer->tuple.proto == IPPROTO_ICMP && answer->address.flags & ADDRESS_CLUSTER_IP)
		step_emit(steps, "frontend", "%s is a ClusterIP", text);
	else if (answer->address.flags & ADDRESS_CLUSTER_IP)
		step_emit(steps, "frontend", "none: %s is a ClusterIP without this port", text);
	else if (answer->address.flags & (ADDRESS_EXTERNAL | ADDRESS_NODE_PORTS))
		step_emit(steps, "frontend", "none: fairlead leaves %s alone at this port", text);
	else if (answer->address.flags & ADDRESS_NODE)
		step_emit(steps, "frontend", "none: %s is an address of this node", text);
	else if (answer->address.flags & ADDRESS_BACKEND)
		step_emit(steps, "frontend", "none: %s is the address of an endpoint", text);
	else
		step_emit(steps, "frontend", "none: %s belonged to a Service that is gone", text);
}

static void step_source_ranges(const struct steps *steps)
{
	const struct answer *answer = steps->answer;
	const char *what = "the client is in none";

	if (answer->target.kind != FRONTEND_LOAD_BALANCER_IP ||
	    !(answer->service.flags & SERVICE_SOURCE_RANGES))
		return;
	if (answer->is_source_in_range)
		what = "the client is in one";
	else if (answer->is_let_in_as_node)
		what = "the node's own address is in one, so a process that is not bound to another "
		       "address is let in; one that is bound to this address is not let in";
	else if (answer->place.is_socket)
		what = "the client is in none: connect() and sendmsg() fail with EPERM, because what "
		       "they would send meets no TC hook";
	step_emit(steps, "source ranges", "the Service has some, and %s", what);
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
	step_emit(steps, "policy", "%s %s, %s", name, policy, what);
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
		step_emit(
			steps, "affinity",
			"ClientIP for %s: the client was last seen %s ago and stays with its backend",
			timeout, idle);
	else if (answer->has_affinity)
		step_emit(
			steps, "affinity",
			"ClientIP for %s: the client was last seen %s ago, but its entry has expired or its "
			"backend is gone",
			timeout, idle);
	else
		step_emit(steps, "affinity", "ClientIP for %s: the client has no backend yet",
			  timeout);
}

static void step_candidates(const struct steps *steps)
{
	const struct answer *answer = steps->answer;
	const __u32 listed = answer->outcome.decision.choice.list.count;

	if (!answer->is_decided && answer->has_flow)
		step_emit(steps, "candidates", "the backend of the flow");
	else if (answer->outcome.decision.choice.is_remembered)
		step_emit(steps, "candidates", "1 of %u, by affinity", listed);
	else if (!listed)
		step_emit(steps, "candidates", "none");
	else
		step_emit(steps, "candidates", "%zu, all equally likely", answer->candidate_count);
}

static void step_source_nat(const struct steps *steps)
{
	const struct answer *answer = steps->answer;

	if (answer->action != ACTION_DNAT || answer->place.is_socket)
		return;
	if (answer_is_dsr(answer))
		step_emit(
			steps, "source",
			"no source NAT: the packet is encapsulated for a backend elsewhere, whose node "
			"answers the client");
	else if (answer_is_source_nat(answer))
		step_emit(
			steps, "source",
			"an address of this node replaces the client's if the backend is elsewhere");
	else
		step_emit(steps, "source", "no source NAT: replies pass this node anyway");
}

void steps_describe(const struct answer *answer, step_fn fn, void *context)
{
	const struct steps steps = {.answer = answer, .fn = fn, .context = context};

	step_packet(&steps);
	step_hook(&steps);
	step_frontend(&steps);
	step_emit(&steps, "client", "%s: %s", answer->is_near ? "near" : "far", answer->why);
	if (answer->has_target)
		step_source_ranges(&steps);
	if (answer->is_decided) {
		step_policy(&steps);
		step_affinity(&steps);
	}
	if (answer->is_decided || answer->candidate_count)
		step_candidates(&steps);
	step_source_nat(&steps);
	step_emit(&steps, "verdict", "%s, %s: %s", action_word(answer->action), answer->reason,
		  answer->sentence);
}

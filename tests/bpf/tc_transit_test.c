/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * What this node is to packets of flows with source NAT: a router. It counts hops, tells senders
 * what fits, and passes on what others have to say about their packets, in their own terms.
 */

#include "bpf/outside.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <string.h>

struct error_kind {
	__u8 type, code;
};

static bool is_ipv4(void)
{
	return variant.family == FAMILY_IPV4;
}

static struct error_kind time_exceeded(void)
{
	return is_ipv4() ? (struct error_kind){11, 0} : (struct error_kind){3, 0};
}

static struct error_kind too_big(void)
{
	return is_ipv4() ? (struct error_kind){3, 4} : (struct error_kind){2, 0};
}

static __u8 icmp(void)
{
	return is_ipv4() ? IPPROTO_ICMP : IPPROTO_ICMPV6;
}

/* What this node answers about a packet, to its sender. */
static struct frame told(struct frame about, struct error_kind kind, __u32 rest, struct peer from,
			 struct peer to)
{
	return packet(.src = from, .dst = to, .proto = icmp(), .icmp_type = kind.type,
		      .icmp_code = kind.code, .icmp_rest = rest, .quote = &about,
		      .quote_transport = variant.proto == IPPROTO_TCP ? 20 : 8, .is_returned = true,
		      .is_fresh = true);
}

static void given_a_flow(void)
{
	given_outside(1);
	when_asked(opens(client(4000), vip(80)));
	when_answered(answers(pod(1), inner(4000)));
	when_asked(follows(client(4000), vip(80)));
	then_returns_as(passed(following(inner(4000), pod(1))));
}

/*
 * Source ports of those who cannot have their own: at first those below the range of the node's own
 * sockets and those above it, which are nobody's.
 */
static void ports_that_are_given_are_nobodys(void **state)
{
	unsigned low = 0, high = 0;

	(void)state;
	given_outside(1);
	for (__u16 port = 40000; port < 40200; port++) {
		__u16 given;

		when_asked(opens(another_client(port), vip(80)));
		when_asked(opens(client(port), vip(80)));
		given = source_port_of(outcome());
		low += given >= LOW_PORT_MIN_DEFAULT && given < HOST_PORT_MIN_DEFAULT;
		high += given >= SOURCE_PORT_MIN_DEFAULT;
	}
	assert_int_equal(low + high, 200);
	assert_true(low && high);
}

/* Hops. */

static void traceroute_shows_this_node(void **state)
{
	struct packet_spec spec = opening(client(4000), vip(80));

	(void)state;
	given_outside(1);
	spec.ttl = 1;

	when_asked(built(spec));

	then_returns_as(told(built(spec), time_exceeded(), 0, node(0), client(0)));
	then_counted(COUNTER_TIME_EXCEEDED, 1);
}

static void the_last_hop_of_an_established_flow_is_told_on_either_side(void **state)
{
	struct packet_spec asked = following(client(4000), vip(80));
	struct packet_spec answered = following(pod(1), inner(4000));

	(void)state;
	given_a_flow();
	asked.ttl = answered.ttl = 1;

	when_asked(built(asked));
	then_returns_as(told(built(asked), time_exceeded(), 0, node(0), client(0)));
	when_answered(built(answered));
	then_returns_as(told(built(answered), time_exceeded(), 0, inner(0), pod(1)));
}

static void a_packet_with_two_hops_left_goes_on_with_one(void **state)
{
	struct packet_spec asked = opening(client(4000), vip(80));
	struct packet_spec sent = opening(inner(4000), pod(1));

	(void)state;
	given_outside(1);
	asked.ttl = 2;
	sent.ttl = 1;

	when_asked(built(asked));

	then_returns_as(built(sent));
}

/* Size. */

static __u32 headers(void)
{
	return (is_ipv4() ? IPV4_HEADER_SIZE : IPV6_HEADER_SIZE) +
	       (variant.proto == IPPROTO_TCP ? 20 : 8);
}

static struct packet_spec sized(struct packet_spec spec, __u32 size)
{
	spec.payload = size - headers();
	return spec;
}

static void a_packet_as_big_as_the_way_goes_on(void **state)
{
	(void)state;
	given_a_flow();

	when_asked(built(sized(following(client(4000), vip(80)), MTU_OVER)));

	then_returns_as(passed(sized(following(inner(4000), pod(1)), MTU_OVER)));
}

static void a_packet_too_big_for_the_way_is_told_what_fits(void **state)
{
	struct frame big = built(sized(following(client(4000), vip(80)), MTU_OVER + 1));

	(void)state;
	given_a_flow();

	when_asked(big);

	then_returns_as(told(big, too_big(), MTU_OVER, node(0), client(0)));
	then_counted(COUNTER_TOO_BIG, 1);
}

/* The clients' link takes less than what the backend sends. */
static void a_reply_too_big_for_the_clients_side_is_told_what_fits(void **state)
{
	struct frame big = built(sized(following(pod(1), inner(4000)), 1501));

	(void)state;
	given_a_flow();

	when_answered(big);

	then_returns_as(told(big, too_big(), 1500, inner(0), pod(1)));
}

/* Nobody here could cut it; a sender that hears what fits cuts it itself. */
static void a_packet_that_may_be_cut_is_told_as_well(void **state)
{
	struct packet_spec spec = sized(following(client(4000), vip(80)), MTU_OVER + 100);
	struct frame big;

	(void)state;
	given_a_flow();
	spec.cut_to = MTU_OVER + 8; /* the first fragment of something larger */
	spec.payload += 400;
	big = built(spec);

	when_asked(big);

	then_returns_as(told(big, too_big(), MTU_OVER, node(0), client(0)));
}

/* What the kernel will cut into segments (GSO) is as big as one of them. */
static int run_segments(struct frame frame, __u32 segment_size, struct frame *ret_frame)
{
	struct __sk_buff context = {
		.ifindex = uplink,
		.ingress_ifindex = uplink,
		.gso_size = segment_size,
		.gso_segs = 2,
	};
	LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = frame.bytes, .data_size_in = frame.size,
		    .data_out = ret_frame->bytes, .data_size_out = sizeof(ret_frame->bytes),
		    .ctx_in = &context, .ctx_size_in = sizeof(context));

	assert_int_equal(
		bpf_prog_test_run_opts(bpf_program__fd(programs->progs.fl_ingress), &options), 0);
	ret_frame->size = options.data_size_out;
	return (int)options.retval;
}

static void segments_are_judged_one_by_one(void **state)
{
	struct frame big = built(sized(following(client(4000), vip(80)), 1900)), became, wanted;

	(void)state;
	given_a_flow();

	assert_int_equal(run_segments(big, MTU_OVER - headers(), &became), TC_ACT_REDIRECT);
	wanted = passed(sized(following(inner(4000), pod(1)), 1900));
	assert_true(frame_equal(&became, &wanted));

	assert_int_equal(run_segments(big, MTU_OVER - headers() + 1, &became), TC_ACT_REDIRECT);
	wanted = told(big, too_big(), MTU_OVER, node(0), client(0));
	assert_true(frame_equal(&became, &wanted));
	then_counted(COUNTER_TOO_BIG, 1);
}

static void answers_have_their_limit(void **state)
{
	struct packet_spec spec = following(client(4000), vip(80));
	unsigned told_of = 0;

	(void)state;
	given_a_flow();
	spec.ttl = 1;
	for (int i = 0; i < 3 * REJECTS_PER_SECOND_DEFAULT; i++) {
		when_asked(built(spec));
		told_of += verdict() == TC_ACT_REDIRECT;
	}

	/* Seconds may turn meanwhile. */
	assert_between(told_of, REJECTS_PER_SECOND_DEFAULT, 3 * REJECTS_PER_SECOND_DEFAULT);
	then_counted(COUNTER_TIME_EXCEEDED, told_of);
	then_counted(COUNTER_DROP_REJECT_LIMIT, 3 * REJECTS_PER_SECOND_DEFAULT - told_of);
}

/* What others say. */

static struct packet_spec error_about(const struct frame *quote, struct error_kind kind,
				      struct peer from, struct peer to)
{
	return (struct packet_spec){
		.src = from,
		.dst = to,
		.proto = icmp(),
		.icmp_type = kind.type,
		.icmp_code = kind.code,
		.icmp_rest = 1280,
		.quote = quote,
		.quote_transport = variant.proto == IPPROTO_TCP ? 20 : 8,
	};
}

static void errors_about_requests_reach_the_client(void **state)
{
	struct frame inside, outside;

	(void)state;
	given_a_flow();
	inside = follows(inner(4000), pod(1));
	outside = follows(client(4000), vip(80));

	when_answered(built(error_about(&inside, too_big(), router(), inner(0))));
	then_returns_as(passed(error_about(&outside, too_big(), router(), client(0))));
	/* The backend speaks as the frontend. */
	when_answered(built(error_about(&inside, time_exceeded(), pod(1), inner(0))));
	then_returns_as(passed(error_about(&outside, time_exceeded(), vip(0), client(0))));
	then_counted(COUNTER_ICMP_TRANSLATED, 2);
}

static void errors_about_answers_reach_the_backend(void **state)
{
	struct frame inside, outside;

	(void)state;
	given_a_flow();
	outside = follows(vip(80), client(4000));
	inside = follows(pod(1), inner(4000));

	when_asked(built(error_about(&outside, too_big(), router(), vip(0))));
	then_returns_as(passed(error_about(&inside, too_big(), router(), pod(1))));
	/* The client speaks as this node. */
	when_asked(built(error_about(&outside, time_exceeded(), client(0), vip(0))));
	then_returns_as(passed(error_about(&inside, time_exceeded(), inner(0), pod(1))));
}

/* Here the frontend's address is the node's own, where errors arrive for many reasons. */
static void errors_at_a_node_port_find_their_flow(void **state)
{
	struct frame inside, outside, other;

	(void)state;
	given_outside(1);
	when_asked(opens(client(4000), node(NODE_PORT)));
	outside = follows(node(NODE_PORT), client(4000));
	inside = follows(pod(1), inner(4000));
	other = follows(node(50000), client(22));

	when_asked(built(error_about(&outside, too_big(), router(), node(0))));
	then_returns_as(passed(error_about(&inside, too_big(), router(), pod(1))));

	inside = follows(inner(4000), pod(1));
	outside = follows(client(4000), node(NODE_PORT));
	when_answered(built(error_about(&inside, too_big(), router(), inner(0))));
	then_returns_as(passed(error_about(&outside, too_big(), router(), client(0))));

	when_asked(built(error_about(&other, too_big(), router(), node(0))));
	then_goes_on();
}

static void an_error_whose_hops_run_out_is_told_to_nobody(void **state)
{
	struct packet_spec error;
	struct frame inside;

	(void)state;
	given_a_flow();
	inside = follows(inner(4000), pod(1));
	error = error_about(&inside, too_big(), router(), inner(0));
	error.ttl = 1;

	when_answered(built(error));

	then_dropped(COUNTER_TIME_EXCEEDED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		EACH(ports_that_are_given_are_nobodys),
		EACH(traceroute_shows_this_node),
		EACH(the_last_hop_of_an_established_flow_is_told_on_either_side),
		EACH(a_packet_with_two_hops_left_goes_on_with_one),
		EACH(a_packet_as_big_as_the_way_goes_on),
		EACH(a_packet_too_big_for_the_way_is_told_what_fits),
		EACH(a_reply_too_big_for_the_clients_side_is_told_what_fits),
		PROTOS(a_packet_that_may_be_cut_is_told_as_well),
		VARIANT(segments_are_judged_one_by_one, " (IPv4, TCP)", 0),
		VARIANT(segments_are_judged_one_by_one, " (IPv6, TCP)", 2),
		FAMILIES(answers_have_their_limit),
		EACH(errors_about_requests_reach_the_client),
		EACH(errors_about_answers_reach_the_backend),
		EACH(errors_at_a_node_port_find_their_flow),
		EACH(an_error_whose_hops_run_out_is_told_to_nobody),
	};

	return cmocka_run_group_tests_name("transit", tests, outside_load_default, datapath_unload);
}

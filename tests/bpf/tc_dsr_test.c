/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Direct server return, where clients arrive: their packets go to the backend's node inside of
 * another packet, and all that this node ever sees of a flow is what the client says.
 */

#include "bpf/encapsulated.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <string.h>

#include "base/map.h"

static bool is_ipv4(void)
{
	return variant.family == FAMILY_IPV4;
}

static void choose_dsr(struct tc_bpf *skeleton)
{
	skeleton->rodata->config.forwarding = FORWARDING_DSR;
}

static void choose_hybrid(struct tc_bpf *skeleton)
{
	skeleton->rodata->config.forwarding = FORWARDING_HYBRID;
}

static int load_dsr(void **state)
{
	(void)state;
	return outside_load(choose_dsr);
}

static int load_hybrid(void **state)
{
	(void)state;
	return outside_load(choose_hybrid);
}

static __u32 given_dsr(unsigned count)
{
	__u32 service = given_outside(count);

	for (__u32 backend = 1; backend <= count; backend++)
		given_backend_flags(backend, BACKEND_ON_NODE);
	given_nodes();
	return service;
}

/* What the client's packet is on the way to pod(1). */
static struct frame sent(struct packet_spec spec)
{
	return encapsulated(passed(spec), node(0), pod(1));
}

static void a_clients_packets_reach_the_backends_node_unchanged(void **state)
{
	(void)state;
	given_dsr(1);
	for (enum frontend_kind kind = FRONTEND_CLUSTER_IP; kind <= FRONTEND_LOAD_BALANCER_IP;
	     kind++) {
		when_asked(opens(client(4000), dialled(kind)));
		then_returns_as(sent(opening(client(4000), dialled(kind))));

		when_asked(follows(client(4000), dialled(kind)));
		then_returns_as(asking(sent(following(client(4000), dialled(kind)))));
	}
	then_counted(COUNTER_FORWARDED_NEW, FRONTEND_LOAD_BALANCER_IP);
}

static void a_connection_keeps_its_backend(void **state)
{
	struct frame first;

	(void)state;
	given_dsr(8);
	for (__u16 port = 4000; port < 4010; port++) {
		struct packet_spec spec = opening(client(port), vip(80));

		when_asked(built(spec));
		first = variant.proto == IPPROTO_UDP ? asking(*outcome()) : *outcome();
		for (int again = 0; again < 5; again++) {
			when_asked(built(spec));
			then_returns_as(first);
		}
	}
}

/* The inner packet may have all that packets can have. */
static void packets_of_all_shapes_are_encapsulated(void **state)
{
	struct packet_spec spec = following(client(4000), vip(80));

	(void)state;
	given_dsr(1);
	when_asked(opens(client(4000), vip(80)));

	spec.ipv4_options = is_ipv4() ? 8 : 0;
	spec.payload = 1001;
	when_asked(built(spec));
	then_returns_as(sent(spec));
}

static void tags_stay_on_the_clients_link(void **state)
{
	(void)state;
	given_dsr(1);
	given_port(uplink, false, own_mac);
	for (__u8 tags = 1; tags <= 2; tags++) {
		struct packet_spec spec = opening(client(4000 + tags), vip(80)), tagged = spec;

		tagged.tags = tags;
		when_asked(built(tagged));
		then_returns_as(sent(spec));
	}
}

static void fragments_follow_their_first(void **state)
{
	struct packet_spec spec = opening(client(4000), vip(80));
	struct packet_spec first, later;

	(void)state;
	given_dsr(1);
	spec.payload = 200;
	if (!is_ipv4())
		spec.extensions[0] = (struct extension){.proto = IPPROTO_FRAGMENT, .size = 8};
	first = later = spec;
	first.cut_to = 104;
	later.cut_from = 104;
	later.cut_to = 208;

	when_asked(built(first));
	then_returns_as(sent(first));
	when_asked(built(later));
	then_returns_as(sent(later));
}

/* Of a packet that was summed by the hardware, or is to be, only the outer header is new. */
static void sctp_is_encapsulated(void **state)
{
	struct packet_spec spec;

	(void)state;
	variant.proto = IPPROTO_SCTP;
	given_dsr(1);
	spec = opening(client(4000), vip(80));
	spec.sctp_chunk = SCTP_INIT;
	spec.payload = 16;

	when_asked(built(spec));

	then_returns_as(sent(spec));
}

/* Which flows. */

static void then_source_nat(struct frame asked, __u16 port)
{
	when_asked(asked);
	then_returns_as(passed(opening(inner(port), pod(1))));
}

static void hybrid_is_for_tcp(void **state)
{
	(void)state;
	given_dsr(1);

	if (variant.proto != IPPROTO_TCP) {
		then_source_nat(opens(client(4000), vip(80)), 4000);
		return;
	}
	when_asked(opens(client(4000), vip(80)));
	then_returns_as(sent(opening(client(4000), vip(80))));
}

static void without_an_address_that_others_know_it_is_source_nat(void **state)
{
	struct link_source nobody = {};
	__u32 zero = 0;

	(void)state;
	given_dsr(1);
	assert_int_equal(bpf_map_update_elem(bpf_map__fd(programs->maps.node_address), &zero,
					     &nobody, BPF_ANY),
			 0);

	then_source_nat(opens(client(4000), vip(80)), 4000);
}

static void an_endpoint_without_a_node_gets_source_nat(void **state)
{
	(void)state;
	given_dsr(1);
	given_backend_flags(1, 0);

	then_source_nat(opens(client(4000), vip(80)), 4000);
}

/* It would find its own address in what it unwraps. */
static void a_client_that_is_a_node_gets_source_nat(void **state)
{
	(void)state;
	given_dsr(1);
	given_cluster_node(client(0), CLUSTER_NODE_OTHER);

	then_source_nat(opens(client(4000), vip(80)), 4000);
}

static void a_backend_that_meets_itself_gets_source_nat(void **state)
{
	(void)state;
	given_dsr(1);

	when_asked(opens(peer_at(pod(1), 4000), vip(80)));

	then_returns_as(passed(opening(inner(4000), pod(1))));
}

/* Flows. */

/* The backend's node sends a client's packet back. */
static struct frame confirmation(struct frame frame)
{
	return encapsulated(frame, other_node(), node(BACKEND_PORT));
}

static void given_confirmed(void)
{
	const __u64 taken = counted(COUNTER_CONFIRMATION);

	when_asked(confirmation(follows(client(4000), vip(80))));
	assert_int_equal(verdict(), TC_ACT_SHOT);
	then_counted(COUNTER_CONFIRMATION, taken + 1);
}

/* Anybody can send what a client would, who has no answer to hear. */
static void what_the_client_says_alone_confirms_nothing(void **state)
{
	struct flow flow;

	(void)state;
	given_dsr(1);
	when_asked(opens(client(4000), vip(80)));
	assert_int_equal(original_place(&flow), FLOW_AMONG_NEW);
	assert_int_equal(flow.flags, FLOW_DSR);

	for (int again = 0; again < 3; again++) {
		when_asked(follows(client(4000), vip(80)));
		then_returns_as(asking(sent(following(client(4000), vip(80)))));
		given_time_passed(1);
	}

	assert_int_equal(original_place(&flow), FLOW_AMONG_NEW);
	assert_int_equal(flow.state, FLOW_REPLIED);
	assert_int_equal(address_flows_of(vip(0).addr).confirmed, 0);
}

static void the_backends_node_confirms_a_flow(void **state)
{
	struct flow flow;

	(void)state;
	given_dsr(1);
	when_asked(opens(client(4000), vip(80)));
	when_asked(follows(client(4000), vip(80)));

	given_confirmed();

	assert_int_equal(original_place(&flow), FLOW_CONFIRMED);
	assert_int_equal(flow.state, FLOW_ESTABLISHED);
	assert_int_equal(reply_place(NULL), FLOW_NOWHERE);
	assert_int_equal(map_count(bpf_map__fd(programs->maps.new_flows)), 0);
	assert_int_equal(address_flows_of(vip(0).addr).confirmed, 1);
	assert_int_equal(address_flows_of(pod(1).addr).confirmed, 1);
	/* And is not asked again. */
	when_asked(follows(client(4000), vip(80)));
	then_returns_as(sent(following(client(4000), vip(80))));
	given_confirmed();
	assert_int_equal(address_flows_of(vip(0).addr).confirmed, 1);
}

static void a_flow_is_confirmed_only_when_its_client_has_gone_on(void **state)
{
	(void)state;
	given_dsr(1);
	when_asked(opens(client(4000), vip(80)));

	given_confirmed();

	assert_int_equal(original_place(NULL), FLOW_AMONG_NEW);
}

static void only_nodes_confirm_a_flow(void **state)
{
	(void)state;
	given_dsr(1);
	when_asked(opens(client(4000), vip(80)));
	when_asked(follows(client(4000), vip(80)));

	when_asked(encapsulated(follows(client(4000), vip(80)), stranger(), node(BACKEND_PORT)));
	then_goes_on();
	/* By the other link nobody comes to that node. */
	when_answered(confirmation(follows(client(4000), vip(80))));
	then_dropped(COUNTER_DROP_NOT_A_NODE);

	assert_int_equal(original_place(NULL), FLOW_AMONG_NEW);
}

static void what_is_of_no_flow_of_ours_confirms_nothing(void **state)
{
	(void)state;
	given_dsr(1);
	when_asked(opens(client(4000), vip(80)));
	when_asked(follows(client(4000), vip(80)));

	when_asked(confirmation(follows(client(4001), vip(80))));
	then_goes_on();

	assert_int_equal(original_place(NULL), FLOW_AMONG_NEW);
}

/* It might be cut on the way, where it may be. */
static void a_large_packet_does_not_ask(void **state)
{
	struct packet_spec spec = following(client(4000), vip(80));

	(void)state;
	given_dsr(1);
	when_asked(opens(client(4000), vip(80)));
	spec.payload = 600;

	when_asked(built(spec));

	then_returns_as(sent(spec));
}

static void a_flood_of_first_packets_confirms_nothing(void **state)
{
	(void)state;
	given_dsr(1);
	for (__u16 port = 1000; port < 1300; port++) {
		when_asked(opens(client(port), vip(80)));
		when_asked(opens(client(port), vip(80)));
	}
	assert_int_equal(map_count(bpf_map__fd(programs->maps.flows)), 0);
}

static void a_flow_that_ended_is_forgotten_and_its_port_used_again(void **state)
{
	struct packet_spec last = segment(client(4000), vip(80), FIN | ACK);
	struct flow flow;

	(void)state;
	given_dsr(1);
	when_asked(opens(client(4000), vip(80)));
	when_asked(follows(client(4000), vip(80)));
	given_confirmed();
	last.seq += following(client(4000), vip(80)).payload;
	when_asked(built(last));
	then_returns_as(sent(last));
	assert_int_equal(original_place(&flow), FLOW_CONFIRMED);
	assert_int_equal(flow.state, FLOW_CLOSED);
	/* It may be half of it: what the client says still goes on. */
	when_asked(tcp(client(4000), vip(80), ACK));
	then_returns_as(sent(segment(client(4000), vip(80), ACK)));

	when_asked(opens(client(4000), vip(80)));

	then_returns_as(sent(opening(client(4000), vip(80))));
	assert_int_equal(original_place(&flow), FLOW_AMONG_NEW);
	assert_int_equal(address_flows_of(vip(0).addr).confirmed, 0);
	assert_int_equal(address_flows_of(pod(1).addr).confirmed, 0);
}

/* Once more, or of somebody who saw it. */
static void an_old_fin_closes_nothing(void **state)
{
	struct packet_spec old = segment(client(4000), vip(80), FIN | ACK);
	struct packet_spec data = following(client(4000), vip(80));
	struct flow flow;

	(void)state;
	given_dsr(1);
	when_asked(opens(client(4000), vip(80)));
	data.payload = 100;
	when_asked(built(data));
	given_confirmed();
	old.seq = data.seq;
	old.ack = data.ack;

	when_asked(built(old));

	assert_int_equal(original_place(&flow), FLOW_CONFIRMED);
	assert_int_equal(flow.state, FLOW_ESTABLISHED);
}

static void one_client_port_at_two_frontends_is_no_conflict(void **state)
{
	(void)state;
	given_dsr(1);

	when_asked(opens(client(4000), vip(80)));
	when_asked(opens(client(4000), external(80)));
	then_returns_as(sent(opening(client(4000), external(80))));
	when_asked(follows(client(4000), vip(80)));
	then_returns_as(asking(sent(following(client(4000), vip(80)))));
}

/* Size. */

static __u32 headers(void)
{
	return (is_ipv4() ? IPV4_HEADER_SIZE : IPV6_HEADER_SIZE) +
	       (variant.proto == IPPROTO_TCP ? 20 : 8);
}

static __u32 fitting(void)
{
	return MTU_OVER - (is_ipv4() ? IPV4_HEADER_SIZE : IPV6_HEADER_SIZE);
}

static struct packet_spec sized(struct packet_spec spec, __u32 size)
{
	spec.payload = size - headers();
	return spec;
}

static void the_outer_header_counts_for_the_way(void **state)
{
	struct packet_spec spec = sized(following(client(4000), vip(80)), fitting());
	struct frame big;

	(void)state;
	given_dsr(1);
	when_asked(opens(client(4000), vip(80)));

	when_asked(built(spec));
	then_returns_as(sent(spec));

	spec.payload++;
	big = built(spec);
	when_asked(big);
	then_returns_as(packet(.src = node(0), .dst = client(0),
			       .proto = is_ipv4() ? IPPROTO_ICMP : IPPROTO_ICMPV6,
			       .icmp_type = is_ipv4() ? 3 : 2, .icmp_code = is_ipv4() ? 4 : 0,
			       .icmp_rest = fitting(), .quote = &big,
			       .quote_transport = variant.proto == IPPROTO_TCP ? 20 : 8,
			       .is_returned = true, .is_fresh = true));
	then_counted(COUNTER_TOO_BIG, 1);
}

/*
 * What the kernel will cut into segments (GSO) has to fit segment by segment. That is all that can be
 * seen here: packets of BPF_PROG_RUN have a size of segments and no type, and take no outer header.
 */
static void when_segments_asked(struct frame frame, __u32 segment_size)
{
	struct frame became;
	struct __sk_buff context = {
		.ifindex = uplink,
		.ingress_ifindex = uplink,
		.gso_size = segment_size,
		.gso_segs = 2,
	};
	LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = frame.bytes, .data_size_in = frame.size,
		    .data_out = became.bytes, .data_size_out = sizeof(became.bytes),
		    .ctx_in = &context, .ctx_size_in = sizeof(context));

	assert_int_equal(
		bpf_prog_test_run_opts(bpf_program__fd(programs->progs.fl_ingress), &options), 0);
}

static void segments_are_judged_one_by_one(void **state)
{
	struct frame big = built(sized(following(client(4000), vip(80)), 1900));

	(void)state;
	given_dsr(1);
	when_asked(opens(client(4000), vip(80)));

	when_segments_asked(big, fitting() - headers());
	then_counted(COUNTER_TOO_BIG, 0);
	when_segments_asked(big, fitting() - headers() + 1);
	then_counted(COUNTER_TOO_BIG, 1);
}

static void traceroute_shows_this_node(void **state)
{
	struct packet_spec spec = opening(client(4000), vip(80));
	struct frame asked;

	(void)state;
	given_dsr(1);
	spec.ttl = 1;
	asked = built(spec);

	when_asked(asked);

	then_returns_as(packet(.src = node(0), .dst = client(0),
			       .proto = is_ipv4() ? IPPROTO_ICMP : IPPROTO_ICMPV6,
			       .icmp_type = is_ipv4() ? 11 : 3, .quote = &asked,
			       .quote_transport = variant.proto == IPPROTO_TCP ? 20 : 8,
			       .is_returned = true, .is_fresh = true));
}

/* A client that cannot take what the backend sends is heard by the backend's node. */
static void errors_about_replies_reach_the_backends_node(void **state)
{
	struct frame reply;
	struct packet_spec error;

	(void)state;
	given_dsr(1);
	when_asked(opens(client(4000), vip(80)));
	reply = follows(vip(80), client(4000));
	error = (struct packet_spec){.src = router(),
				     .dst = vip(0),
				     .proto = is_ipv4() ? IPPROTO_ICMP : IPPROTO_ICMPV6,
				     .icmp_type = is_ipv4() ? 3 : 2,
				     .icmp_code = is_ipv4() ? 4 : 0,
				     .icmp_rest = 1280,
				     .quote = &reply,
				     .quote_transport = 8};

	when_asked(built(error));

	then_returns_as(sent(error));
}

/* What is too big only further on: the client hears it about its own packet. */
static void errors_about_what_was_encapsulated_reach_the_client(void **state)
{
	struct packet_spec spec = following(client(4000), vip(80));
	struct frame quoted, own;
	struct packet_spec error = {.src = router(),
				    .dst = node(0),
				    .proto = is_ipv4() ? IPPROTO_ICMP : IPPROTO_ICMPV6,
				    .icmp_type = is_ipv4() ? 3 : 2,
				    .icmp_code = is_ipv4() ? 4 : 0,
				    .icmp_rest = 1400,
				    .quote = &quoted};
	__u32 header = is_ipv4() ? IPV4_HEADER_SIZE : IPV6_HEADER_SIZE;
	__u32 transport = variant.proto == IPPROTO_TCP ? 20 : 8;

	(void)state;
	given_dsr(1);
	when_asked(opens(client(4000), vip(80)));
	spec.payload = 300;
	quoted = sent(spec);
	own = passed(spec);
	for (__u32 more = 0; more <= 300; more += 150) {
		error.quote_transport = header + transport + more;
		when_asked(built(error));
		then_returns_as(packet(.src = node(0), .dst = client(0), .proto = error.proto,
				       .icmp_type = error.icmp_type, .icmp_code = error.icmp_code,
				       .icmp_rest = 1400 - header, .quote = &own,
				       .quote_transport = transport, .is_fresh = true));
	}
	then_counted(COUNTER_TOO_BIG, 3);
}

static void errors_about_tunnels_of_others_are_the_nodes_own_business(void **state)
{
	struct frame quoted;
	struct packet_spec error = {.src = router(),
				    .dst = node(0),
				    .proto = is_ipv4() ? IPPROTO_ICMP : IPPROTO_ICMPV6,
				    .icmp_type = is_ipv4() ? 3 : 2,
				    .icmp_code = is_ipv4() ? 4 : 0,
				    .icmp_rest = 1400,
				    .quote = &quoted};
	__u32 header = is_ipv4() ? IPV4_HEADER_SIZE : IPV6_HEADER_SIZE;

	(void)state;
	given_dsr(1);
	quoted = encapsulated(follows(client(4000), vip(80)), node(0), pod(1));

	for (__u32 size = 0; size <= header + 8; size += 4) {
		error.quote_transport = size;
		when_asked(built(error));
		then_goes_on();
	}
}

int main(void)
{
	const struct CMUnitTest dsr[] = {
		EACH(a_clients_packets_reach_the_backends_node_unchanged),
		EACH(a_connection_keeps_its_backend),
		EACH(packets_of_all_shapes_are_encapsulated),
		EACH(tags_stay_on_the_clients_link),
		VARIANT(fragments_follow_their_first, " (IPv4, UDP)", 1),
		VARIANT(fragments_follow_their_first, " (IPv6, UDP)", 3),
		FAMILIES(sctp_is_encapsulated),
		EACH(without_an_address_that_others_know_it_is_source_nat),
		EACH(an_endpoint_without_a_node_gets_source_nat),
		EACH(a_client_that_is_a_node_gets_source_nat),
		EACH(a_backend_that_meets_itself_gets_source_nat),
		EACH(what_the_client_says_alone_confirms_nothing),
		EACH(the_backends_node_confirms_a_flow),
		EACH(a_flow_is_confirmed_only_when_its_client_has_gone_on),
		EACH(only_nodes_confirm_a_flow),
		EACH(what_is_of_no_flow_of_ours_confirms_nothing),
		EACH(a_large_packet_does_not_ask),
		EACH(a_flood_of_first_packets_confirms_nothing),
		FAMILIES(a_flow_that_ended_is_forgotten_and_its_port_used_again),
		FAMILIES(an_old_fin_closes_nothing),
		EACH(one_client_port_at_two_frontends_is_no_conflict),
		EACH(the_outer_header_counts_for_the_way),
		VARIANT(segments_are_judged_one_by_one, " (IPv4, TCP)", 0),
		VARIANT(segments_are_judged_one_by_one, " (IPv6, TCP)", 2),
		EACH(traceroute_shows_this_node),
		EACH(errors_about_replies_reach_the_backends_node),
		EACH(errors_about_what_was_encapsulated_reach_the_client),
		EACH(errors_about_tunnels_of_others_are_the_nodes_own_business),
	};
	const struct CMUnitTest hybrid[] = {
		EACH(hybrid_is_for_tcp),
	};
	int failed = cmocka_run_group_tests(dsr, load_dsr, datapath_unload);

	return failed | cmocka_run_group_tests(hybrid, load_hybrid, datapath_unload);
}

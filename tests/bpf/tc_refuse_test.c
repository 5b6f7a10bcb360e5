/* SPDX-License-Identifier: BSD-2-Clause */

/* Nobody to answer: a RST, an ICMP port unreachable, or silence. */

#include "bpf/datapath.h"

#define REJECTS_PER_SECOND 200

static void make_limited(struct tc_bpf *skeleton)
{
	skeleton->rodata->config.rejects_per_second = REJECTS_PER_SECOND;
}

static int load_limited(void **state)
{
	(void)state;
	return datapath_load(make_limited);
}

/* RFC 9293, 3.10.7.1: what answers a segment without ACK, and one with. */
static struct frame reset_of(const struct packet_spec *refused, __u32 length)
{
	bool has_ack = refused->tcp_flags & ACK;

	return packet(.src = refused->dst, .dst = refused->src, .proto = IPPROTO_TCP,
		      .tcp_flags = has_ack ? RST : RST | ACK, .seq = has_ack ? refused->ack : 0,
		      .ack = has_ack ? 0 : refused->seq + length, .is_fresh = true,
		      .is_returned = true);
}

static struct frame unreachable(const struct frame *refused, struct peer from, struct peer to)
{
	bool is_ipv4 = variant.family == FAMILY_IPV4;

	return packet(.src = from, .dst = to, .proto = is_ipv4 ? IPPROTO_ICMP : IPPROTO_ICMPV6,
		      .icmp_type = is_ipv4 ? 3 : 1, .icmp_code = is_ipv4 ? 3 : 4, .quote = refused,
		      .quote_transport = 8, .is_fresh = true, .is_returned = true);
}

static void then_refused(struct frame refused, struct packet_spec spec, __u32 length)
{
	if (variant.proto == IPPROTO_TCP)
		then_returns_as(reset_of(&spec, length));
	else
		then_returns_as(unreachable(&refused, spec.dst, spec.src));
}

static void a_service_without_backends_refuses(void **state)
{
	struct packet_spec spec = opening(client(4000), vip(80));

	(void)state;
	given_pods(0);

	when_ingress(built(spec));

	then_refused(built(spec), spec, 1);
	then_counted(COUNTER_REJECT_NO_BACKEND, 1);
}

static void a_port_that_the_cluster_ip_does_not_have_refuses(void **state)
{
	struct packet_spec spec = opening(client(4000), vip(81));

	(void)state;
	given_pods(1);

	when_ingress(built(spec));

	then_refused(built(spec), spec, 1);
	then_counted(COUNTER_REJECT_NO_PORT, 1);
}

static void a_process_of_the_node_is_refused_too(void **state)
{
	struct packet_spec spec = opening(node(4000), vip(81));

	(void)state;
	given_pods(1);
	given_address(node(0).addr, ADDRESS_NODE);

	when_node_sends(built(spec));

	then_refused(built(spec), spec, 1);
	then_counted(COUNTER_REJECT_NO_PORT, 1);
}

static void a_syn_with_data_and_options_is_refused_in_full(void **state)
{
	struct packet_spec spec = opening(client(4000), vip(81));

	(void)state;
	given_pods(1);
	spec.payload = 101;
	spec.tcp_options = 20;

	when_ingress(built(spec));

	then_returns_as(reset_of(&spec, 102));
}

static void a_segment_of_no_connection_is_refused(void **state)
{
	struct packet_spec spec = following(client(4000), vip(80));

	(void)state;
	given_pods(1);

	when_ingress(built(spec));

	then_returns_as(reset_of(&spec, 0));
	then_counted(COUNTER_REJECT_NO_FLOW, 1);
}

static void a_syn_in_a_tagged_frame_with_long_headers_is_refused(void **state)
{
	struct packet_spec spec = opening(client(4000), vip(81)), reset;

	(void)state;
	given_pods(1);
	given_port(LINK_IFINDEX, true, own_mac);
	spec.tags = 2;
	if (variant.family == FAMILY_IPV4)
		spec.ipv4_options = 8;
	else
		spec.extensions[0] = (struct extension){.proto = IPPROTO_DSTOPTS, .size = 16};
	reset = segment(vip(81), client(4000), RST | ACK);
	reset.seq = 0;
	reset.ack = spec.seq + 1;
	reset.tags = 2;
	reset.is_fresh = reset.is_returned = true;

	when_ingress(built(spec));

	then_returns_as(built(reset));
}

static void a_datagram_with_long_headers_is_quoted_whole(void **state)
{
	struct packet_spec spec = opening(client(4000), vip(81));
	struct frame refused, expected;

	(void)state;
	given_pods(1);
	if (variant.family == FAMILY_IPV6) {
		/* The quote's size must be told: the builder knows of no extension headers there.
		 */
		spec.extensions[0] = (struct extension){.proto = IPPROTO_DSTOPTS, .size = 24};
		refused = built(spec);
		expected = packet(.src = spec.dst, .dst = spec.src, .proto = IPPROTO_ICMPV6,
				  .icmp_type = 1, .icmp_code = 4, .quote = &refused,
				  .quote_transport = 24 + 8, .is_fresh = true, .is_returned = true);
	} else {
		spec.ipv4_options = 40;
		refused = built(spec);
		expected = unreachable(&refused, spec.dst, spec.src);
	}

	when_ingress(refused);

	then_returns_as(expected);
}

static void a_datagram_without_checksum_is_quoted_as_it_is(void **state)
{
	struct packet_spec spec = opening(client(4000), vip(81));
	struct frame refused;

	(void)state;
	given_pods(1);
	spec.no_checksum = true;
	refused = built(spec);

	when_ingress(refused);

	then_returns_as(unreachable(&refused, spec.dst, spec.src));
}

/* Only QinQ leaves a tag in the packet, and there the kernel's helper makes no room for an ICMP
 * header. */
static void a_datagram_in_a_tagged_frame_dies_unanswered(void **state)
{
	struct packet_spec spec = opening(client(4000), vip(81));

	(void)state;
	given_pods(1);
	given_port(LINK_IFINDEX, true, own_mac);
	spec.tags = 1;

	when_ingress(built(spec));

	then_dropped(COUNTER_DROP_REWRITE);
}

static void a_reset_is_not_answered(void **state)
{
	(void)state;
	given_pods(1);

	when_ingress(tcp(client(4000), vip(81), RST));

	then_dropped(COUNTER_REJECT_NO_PORT);
}

static void no_backend_on_this_node_is_silence(void **state)
{
	(void)state;
	given_no_slots(given_pods(1), EMPTY_DROP);

	when_ingress(opens(client(4000), vip(80)));

	then_dropped(COUNTER_DROP_NO_LOCAL);
}

static void a_protocol_that_no_service_has_is_refused(void **state)
{
	struct packet_spec spec = {.src = client(0), .dst = vip(0), .proto = 47, .payload = 30};
	struct frame refused = built(spec);

	(void)state;
	given_pods(1);

	when_ingress(refused);

	then_returns_as(unreachable(&refused, spec.dst, spec.src));
	then_counted(COUNTER_REJECT_PROTOCOL, 1);
}

/* RFC 792 wants 8 bytes of what the packet carried; one that has fewer is quoted to its end. */
static void a_packet_shorter_than_its_quote_is_refused_with_a_right_checksum(void **state)
{
	bool is_ipv4 = variant.family == FAMILY_IPV4;

	(void)state;
	given_pods(1);
	for (__u32 size = 0; size < 8; size++) {
		struct packet_spec spec = {
			.src = client(0), .dst = vip(0), .proto = 47, .payload = size};
		struct frame refused = built(spec), padded = refused;

		/* Where the link fills the frame up, what it put there is nobody's to know. */
		for (; padded.size < refused.size + 20; padded.size++)
			padded.bytes[padded.size] = 0xaa;

		when_ingress(padded);

		then_returns_as(packet(.src = spec.dst, .dst = spec.src,
				       .proto = is_ipv4 ? IPPROTO_ICMP : IPPROTO_ICMPV6,
				       .icmp_type = is_ipv4 ? 3 : 1, .icmp_code = is_ipv4 ? 3 : 4,
				       .quote = &refused, .quote_transport = size, .is_fresh = true,
				       .is_returned = true));
	}
}

static void refusals_are_limited(void **state)
{
	(void)state;
	given_pods(1);

	/* More than two seconds' worth, in case a second ends meanwhile. */
	for (__u16 i = 0; i < 3 * REJECTS_PER_SECOND; i++)
		when_ingress(opens(client((__u16)(4000 + i)), vip(81)));

	assert_int_equal(verdict(), TC_ACT_SHOT);
	assert_between(counted(COUNTER_REJECT_NO_PORT), REJECTS_PER_SECOND, 2 * REJECTS_PER_SECOND);
	then_counted(COUNTER_DROP_REJECT_LIMIT,
		     3 * REJECTS_PER_SECOND - counted(COUNTER_REJECT_NO_PORT));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		EACH(a_service_without_backends_refuses),
		EACH(a_port_that_the_cluster_ip_does_not_have_refuses),
		EACH(a_process_of_the_node_is_refused_too),
		FAMILIES(a_syn_with_data_and_options_is_refused_in_full),
		FAMILIES(a_segment_of_no_connection_is_refused),
		FAMILIES(a_syn_in_a_tagged_frame_with_long_headers_is_refused),
		VARIANT(a_datagram_with_long_headers_is_quoted_whole, " (IPv4)", 1),
		VARIANT(a_datagram_with_long_headers_is_quoted_whole, " (IPv6)", 3),
		VARIANT(a_datagram_without_checksum_is_quoted_as_it_is, " (IPv4)", 1),
		VARIANT(a_datagram_in_a_tagged_frame_dies_unanswered, " (IPv4)", 1),
		VARIANT(a_datagram_in_a_tagged_frame_dies_unanswered, " (IPv6)", 3),
		FAMILIES(a_reset_is_not_answered),
		EACH(no_backend_on_this_node_is_silence),
		FAMILIES(a_protocol_that_no_service_has_is_refused),
		FAMILIES(a_packet_shorter_than_its_quote_is_refused_with_a_right_checksum),
		EACH(refusals_are_limited),
	};

	return cmocka_run_group_tests_name("refusals", tests, load_limited, datapath_unload);
}

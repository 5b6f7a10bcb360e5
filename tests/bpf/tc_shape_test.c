/* SPDX-License-Identifier: BSD-2-Clause */

/* The shapes a packet comes in: tags, options, extension headers, fragments, no checksum. */

#include "bpf/datapath.h"

#define PAYLOAD   200
#define FIRST_CUT 64

/* The same packet, there and back, in another shape. */
static void then_served_in_shape(struct packet_spec shape)
{
	struct packet_spec there = opening(client(4000), vip(80));
	struct packet_spec translated = opening(client(4000), pod(1));
	struct packet_spec back = answering(pod(1), client(4000));
	struct packet_spec restored = answering(vip(80), client(4000));
	struct packet_spec *specs[] = {&there, &translated, &back, &restored};

	for (size_t i = 0; i < sizeof(specs) / sizeof(specs[0]); i++) {
		specs[i]->tags = shape.tags;
		specs[i]->ipv4_options = shape.ipv4_options;
		specs[i]->tcp_options = shape.tcp_options;
		specs[i]->no_checksum = shape.no_checksum;
		specs[i]->payload = shape.payload;
		for (int n = 0; n < EXTENSIONS_MAX; n++)
			specs[i]->extensions[n] = shape.extensions[n];
	}
	when_ingress(built(there));
	then_goes_on_as(built(translated));
	when_egress(built(back));
	then_goes_on_as(built(restored));
}

static void a_tagged_frame_is_served(void **state)
{
	(void)state;
	given_pods(1);
	given_port(LINK_IFINDEX, true, own_mac);
	then_served_in_shape((struct packet_spec){.tags = 1});
}

static void a_frame_with_two_tags_is_served(void **state)
{
	(void)state;
	given_pods(1);
	given_port(LINK_IFINDEX, true, own_mac);
	then_served_in_shape((struct packet_spec){.tags = 2});
}

static void ipv4_options_are_stepped_over(void **state)
{
	(void)state;
	given_pods(1);
	then_served_in_shape((struct packet_spec){.ipv4_options = 4});
	then_served_in_shape((struct packet_spec){.ipv4_options = 40, .payload = 1});
}

static void tcp_options_and_odd_lengths_stay_as_they_are(void **state)
{
	(void)state;
	given_pods(1);
	then_served_in_shape((struct packet_spec){.tcp_options = 40, .payload = 1001});
}

static void a_datagram_without_checksum_gets_none(void **state)
{
	(void)state;
	given_pods(1);
	then_served_in_shape((struct packet_spec){.no_checksum = true, .payload = 3});
}

static void extension_headers_are_stepped_over(void **state)
{
	static const struct extension chains[][EXTENSIONS_MAX] = {
		{{IPPROTO_HOPOPTS, 8, 0}},
		{{IPPROTO_DSTOPTS, 64, 0}},
		{{IPPROTO_ROUTING, 24, 0}},
		{{IPPROTO_AH, 24, 0}},
		{{IPPROTO_HOPOPTS, 16, 0},
		 {IPPROTO_ROUTING, 8, 0},
		 {IPPROTO_AH, 32, 0},
		 {IPPROTO_DSTOPTS, 8, 0}},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(chains) / sizeof(chains[0]); i++) {
		struct packet_spec shape = {.payload = 5};

		assert_int_equal(datapath_setup(&(void *){&variant}), 0);
		given_pods(1);
		for (int n = 0; n < EXTENSIONS_MAX; n++)
			shape.extensions[n] = chains[i][n];
		then_served_in_shape(shape);
	}
}

/* The VIP is a stop on its way, not where it goes: its checksum is about another address. */
static void a_packet_with_segments_left_is_dropped(void **state)
{
	struct packet_spec spec = opening(client(4000), vip(80));

	(void)state;
	given_pods(1);
	spec.extensions[0] = (struct extension){IPPROTO_ROUTING, 24, 1};

	when_ingress(built(spec));

	then_dropped(COUNTER_DROP_MALFORMED);
}

static void a_chain_without_end_is_dropped(void **state)
{
	struct packet_spec spec = {
		.src = client(0), .dst = vip(0), .proto = IPPROTO_DSTOPTS, .payload = 4};
	struct frame frame;

	(void)state;
	given_pods(1);
	frame = built(spec);
	/* Many small headers, each of which says that another one follows. */
	for (__u32 at = frame_transport(&frame); at < 400; at += 8) {
		for (__u32 i = 0; i < 8; i++)
			frame.bytes[at + i] = 0;
		frame.bytes[at] = IPPROTO_DSTOPTS;
		frame.size = at + 8;
	}

	when_ingress(frame);

	then_dropped(COUNTER_DROP_MALFORMED);
}

static struct frame fragment(struct peer src, struct peer dst, __u32 from, __u32 to)
{
	struct packet_spec spec = opening(src, dst);

	spec.payload = PAYLOAD;
	spec.cut_from = from;
	spec.cut_to = to;
	return built(spec);
}

static void fragments_follow_the_first_of_them(void **state)
{
	(void)state;
	given_pods(50);
	when_ingress(fragment(client(4000), vip(80), 0, FIRST_CUT));
	assert_int_equal(verdict(), TC_ACT_UNSPEC);

	for (unsigned number = 1; number <= 50; number++) {
		if (flow_place(pod(number), client(4000), FLOW_REPLY, NULL) == FLOW_NOWHERE)
			continue;
		then_goes_on_as(fragment(client(4000), pod(number), 0, FIRST_CUT));
		when_ingress(fragment(client(4000), vip(80), FIRST_CUT, 2 * FIRST_CUT));
		then_goes_on_as(fragment(client(4000), pod(number), FIRST_CUT, 2 * FIRST_CUT));
		when_ingress(fragment(client(4000), vip(80), 2 * FIRST_CUT, 1000));
		then_goes_on_as(fragment(client(4000), pod(number), 2 * FIRST_CUT, 1000));
		return;
	}
	fail();
}

static void fragments_of_a_reply_come_from_the_frontend(void **state)
{
	(void)state;
	given_pods(1);
	when_ingress(opens(client(4000), vip(80)));

	when_egress(fragment(pod(1), client(4000), 0, FIRST_CUT));
	then_goes_on_as(fragment(vip(80), client(4000), 0, FIRST_CUT));
	when_egress(fragment(pod(1), client(4000), FIRST_CUT, 1000));
	then_goes_on_as(fragment(vip(80), client(4000), FIRST_CUT, 1000));
}

static void a_fragment_without_the_first_is_dropped(void **state)
{
	(void)state;
	given_pods(1);

	when_ingress(fragment(client(4000), vip(80), FIRST_CUT, 1000));

	then_dropped(COUNTER_DROP_FRAGMENT);
}

static void fragments_of_direct_traffic_go_on(void **state)
{
	(void)state;
	given_pods(1);
	when_ingress(opens(another_client(4000), vip(80)));

	when_ingress(fragment(client(4000), pod(1), FIRST_CUT, 1000));
	then_goes_on();
	when_egress(fragment(pod(1), client(4000), FIRST_CUT, 1000));
	then_goes_on();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		EACH(a_tagged_frame_is_served),
		EACH(a_frame_with_two_tags_is_served),
		PROTOS(ipv4_options_are_stepped_over),
		FAMILIES(tcp_options_and_odd_lengths_stay_as_they_are),
		VARIANT(a_datagram_without_checksum_gets_none, " (IPv4)", 1),
		VARIANT(a_datagram_without_checksum_gets_none, " (IPv6)", 3),
		VARIANT(extension_headers_are_stepped_over, " (IPv6, TCP)", 2),
		VARIANT(extension_headers_are_stepped_over, " (IPv6, UDP)", 3),
		VARIANT(a_packet_with_segments_left_is_dropped, " (IPv6)", 2),
		VARIANT(a_chain_without_end_is_dropped, " (IPv6)", 2),
		EACH(fragments_follow_the_first_of_them),
		EACH(fragments_of_a_reply_come_from_the_frontend),
		EACH(a_fragment_without_the_first_is_dropped),
		EACH(fragments_of_direct_traffic_go_on),
	};

	return cmocka_run_group_tests_name("shapes", tests, datapath_load_default, datapath_unload);
}

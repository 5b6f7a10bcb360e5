/* SPDX-License-Identifier: BSD-2-Clause */

/* ICMP errors about packets that were translated, and echo requests to a ClusterIP. */

#include "bpf/datapath.h"

#define MTU 1280

static bool is_ipv4(void)
{
	return variant.family == FAMILY_IPV4;
}

static void given_a_flow(void)
{
	given_pods(1);
	when_ingress(opens(client(4000), vip(80)));
	when_egress(answers(pod(1), client(4000)));
	when_ingress(follows(client(4000), vip(80)));
}

struct error_kind {
	__u8 type, code;
};

/* Fragmentation needed or packet too big; port unreachable; time exceeded. */
static const struct error_kind kinds4[] = {{3, 4}, {3, 3}, {11, 0}};
static const struct error_kind kinds6[] = {{2, 0}, {1, 4}, {3, 0}};
#define KINDS 3

static struct frame error_about(struct frame quote, struct error_kind kind, struct peer from,
				struct peer to, __u32 quoted)
{
	return packet(.src = from, .dst = to, .proto = is_ipv4() ? IPPROTO_ICMP : IPPROTO_ICMPV6,
		      .icmp_type = kind.type, .icmp_code = kind.code, .icmp_rest = MTU,
		      .quote = &quote, .quote_transport = quoted);
}

/* Quotes of each length that makes a difference: the least, without the checksum, with it. */
static const __u32 quoted_sizes[] = {8, 12, 16, 18, 20, 31};
#define QUOTED_SIZES (sizeof(quoted_sizes) / sizeof(quoted_sizes[0]))

typedef void each_error(struct error_kind kind, __u32 quoted);

static void for_each_error(each_error *check)
{
	for (size_t kind = 0; kind < KINDS; kind++) {
		for (size_t i = 0; i < QUOTED_SIZES; i++) {
			if (variant.proto == IPPROTO_TCP || quoted_sizes[i] <= 18)
				check((is_ipv4() ? kinds4 : kinds6)[kind], quoted_sizes[i]);
		}
	}
}

static void check_from_router(struct error_kind kind, __u32 quoted)
{
	when_egress(error_about(follows(client(4000), pod(1)), kind, router(), client(0), quoted));
	then_goes_on_as(
		error_about(follows(client(4000), vip(80)), kind, router(), client(0), quoted));
}

static void an_error_from_a_router_tells_the_client_of_the_frontend(void **state)
{
	(void)state;
	given_a_flow();
	for_each_error(check_from_router);
}

static void check_from_backend(struct error_kind kind, __u32 quoted)
{
	when_egress(error_about(follows(client(4000), pod(1)), kind, pod(0), client(0), quoted));
	then_goes_on_as(
		error_about(follows(client(4000), vip(80)), kind, pod(0), client(0), quoted));
	when_egress(error_about(follows(client(4000), pod(1)), kind, pod(1), client(0), quoted));
	then_goes_on_as(
		error_about(follows(client(4000), vip(80)), kind, vip(0), client(0), quoted));
}

static void an_error_from_the_backend_comes_from_the_frontend(void **state)
{
	(void)state;
	given_a_flow();
	for_each_error(check_from_backend);
	then_counted(COUNTER_ICMP_TRANSLATED,
		     2 * KINDS * (variant.proto == IPPROTO_TCP ? QUOTED_SIZES : 4));
}

static void check_from_client(struct error_kind kind, __u32 quoted)
{
	when_ingress(error_about(follows(vip(80), client(4000)), kind, client(0), vip(0), quoted));
	then_goes_on_as(
		error_about(follows(pod(1), client(4000)), kind, client(0), pod(1), quoted));
	when_ingress(error_about(follows(vip(80), client(4000)), kind, router(), vip(0), quoted));
	then_goes_on_as(error_about(follows(pod(1), client(4000)), kind, router(), pod(1), quoted));
}

static void an_error_from_the_clients_side_reaches_the_backend(void **state)
{
	(void)state;
	given_a_flow();
	for_each_error(check_from_client);
}

static void an_error_about_a_new_flow_is_translated_too(void **state)
{
	(void)state;
	given_pods(1);
	when_ingress(opens(client(4000), vip(80)));
	for_each_error(check_from_router);
	for_each_error(check_from_client);
}

static void a_quote_without_checksum_stays_without(void **state)
{
	struct packet_spec there = opening(client(4000), pod(1));
	struct packet_spec restored = opening(client(4000), vip(80));

	(void)state;
	given_a_flow();
	there.no_checksum = restored.no_checksum = true;

	when_egress(error_about(built(there), kinds4[1], router(), client(0), 8));

	then_goes_on_as(error_about(built(restored), kinds4[1], router(), client(0), 8));
}

static void an_error_about_no_flow_goes_on(void **state)
{
	(void)state;
	given_a_flow();

	when_egress(error_about(follows(client(4001), pod(1)), (is_ipv4() ? kinds4 : kinds6)[0],
				router(), client(0), 8));
	then_goes_on();
	when_egress(error_about(follows(client(4000), another_client(80)),
				(is_ipv4() ? kinds4 : kinds6)[0], router(), client(0), 8));
	then_goes_on();
}

static void an_error_for_a_frontend_about_no_flow_is_dropped(void **state)
{
	(void)state;
	given_a_flow();

	when_ingress(error_about(follows(vip(80), client(4001)), (is_ipv4() ? kinds4 : kinds6)[0],
				 client(0), vip(0), 8));
	then_dropped(COUNTER_DROP_ICMP);
}

static void an_error_of_the_node_itself_does_not_leave_for_a_frontend(void **state)
{
	(void)state;
	given_a_flow();
	given_address(node(0).addr, ADDRESS_NODE);

	when_node_sends(error_about(follows(vip(80), node(4001)), (is_ipv4() ? kinds4 : kinds6)[0],
				    node(0), vip(0), 8));

	then_dropped(COUNTER_DROP_ICMP);
}

/* A pod that reached itself: its error is about what the frontend seems to have sent it. */
static void an_error_about_a_hairpin_packet_goes_back_to_the_pod(void **state)
{
	struct packet_spec there, restored;
	struct peer self = pod(1);
	struct frame quote, expected;
	struct error_kind kind = (is_ipv4() ? kinds4 : kinds6)[1];

	(void)state;
	given_pods(1);
	self.port = 4000;
	when_ingress(opens(self, vip(80)));
	there = opening(vip(4000), pod(1));
	restored = opening(self, vip(80));
	quote = built(restored);
	expected = packet(.src = vip(0), .dst = pod(1),
			  .proto = is_ipv4() ? IPPROTO_ICMP : IPPROTO_ICMPV6, .is_returned = true,
			  .icmp_type = kind.type, .icmp_code = kind.code, .icmp_rest = MTU,
			  .quote = &quote, .quote_transport = 8);

	when_ingress(error_about(built(there), kind, pod(1), vip(0), 8));

	then_returns_as(expected);
}

static struct packet_spec echo(struct peer src, struct peer dst, bool is_reply)
{
	return (struct packet_spec){
		.src = src,
		.dst = dst,
		.proto = is_ipv4() ? IPPROTO_ICMP : IPPROTO_ICMPV6,
		.icmp_type = is_ipv4() ? (is_reply ? 0 : 8) : (is_reply ? 129 : 128),
		.icmp_rest = 0x12340001,
		.payload = 57,
		.is_returned = is_reply,
	};
}

static void an_echo_request_to_a_cluster_ip_is_answered(void **state)
{
	struct packet_spec request = echo(client(0), vip(0), false);

	(void)state;
	given_pods(0);
	request.ttl = 3;

	when_ingress(built(request));
	then_returns_as(built(echo(vip(0), client(0), true)));
	then_counted(COUNTER_ECHO_ANSWERED, 1);

	given_address(node(0).addr, ADDRESS_NODE);
	request = echo(node(0), vip(0), false);
	when_node_sends(built(request));
	then_returns_as(built(echo(vip(0), node(0), true)));
}

static void an_echo_request_in_fragments_is_answered_in_fragments(void **state)
{
	struct packet_spec request = echo(client(0), vip(0), false);
	struct packet_spec answer = echo(vip(0), client(0), true);
	struct frame expected;

	(void)state;
	given_pods(0);
	request.cut_to = answer.cut_to = 32;
	expected = built(answer);
	when_ingress(built(request));
	then_returns_as(expected);

	request.cut_from = answer.cut_from = 32;
	request.cut_to = answer.cut_to = 1000;
	when_ingress(built(request));
	then_returns_as(built(answer));
}

static void an_echo_request_to_a_backend_goes_on(void **state)
{
	(void)state;
	given_a_flow();

	when_ingress(built(echo(client(0), pod(1), false)));
	then_goes_on();
	when_egress(built(echo(pod(1), client(0), true)));
	then_goes_on();
}

static void other_icmp_for_a_cluster_ip_is_dropped(void **state)
{
	struct packet_spec timestamp = echo(client(0), vip(0), false);

	(void)state;
	given_pods(1);
	timestamp.icmp_type = is_ipv4() ? 13 : 139;

	when_ingress(built(timestamp));

	then_dropped(COUNTER_DROP_ICMP);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		EACH(an_error_from_a_router_tells_the_client_of_the_frontend),
		EACH(an_error_from_the_backend_comes_from_the_frontend),
		EACH(an_error_from_the_clients_side_reaches_the_backend),
		EACH(an_error_about_a_new_flow_is_translated_too),
		VARIANT(a_quote_without_checksum_stays_without, " (IPv4)", 1),
		EACH(an_error_about_no_flow_goes_on),
		EACH(an_error_for_a_frontend_about_no_flow_is_dropped),
		EACH(an_error_of_the_node_itself_does_not_leave_for_a_frontend),
		EACH(an_error_about_a_hairpin_packet_goes_back_to_the_pod),
		FAMILIES(an_echo_request_to_a_cluster_ip_is_answered),
		FAMILIES(an_echo_request_in_fragments_is_answered_in_fragments),
		FAMILIES(an_echo_request_to_a_backend_goes_on),
		FAMILIES(other_icmp_for_a_cluster_ip_is_dropped),
	};

	return cmocka_run_group_tests_name("icmp", tests, datapath_load_default, datapath_unload);
}

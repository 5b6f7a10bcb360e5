/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Processes of the node itself that only TC can see: translated where their packets leave, and sent
 * by the route to the backend.
 *
 *   node ---- fl-up (192.168.0.1, default route)        VIPs are reached by it
 *        ---- fl-pod (route to the pods 10.1.0.0/24)
 */

#include "bpf/datapath.h"

#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MTU_POD 1400

static unsigned up, pod_link;

static int run_all(const char *const *commands)
{
	for (; *commands; commands++) {
		if (system(*commands)) {
			print_error("failed: %s\n", *commands);
			return -1;
		}
	}
	return 0;
}

static int load_with_links(void **state)
{
	static const char *const commands[] = {
		"ip link add fl-up address 02:00:00:00:00:02 type veth peer name fl-far",
		"ip link add fl-pod address 02:00:00:00:00:02 mtu 1400 type veth peer name fl-in "
		"mtu 1400",
		"sysctl -q -w net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1",
		"for l in fl-up fl-far fl-pod fl-in; do ip link set $l up; done",
		"ip addr add 192.168.0.1/24 dev fl-up",
		"ip addr add fdee::1/64 dev fl-up nodad",
		"ip route add default via 192.168.0.254",
		"ip -6 route add default via fdee::fe",
		"ip route add 10.1.0.0/24 dev fl-pod",
		"ip -6 route add fd01::/64 dev fl-pod",
		"ip route add unreachable 10.1.0.9/32",
		"ip -6 route add unreachable fd01::9/128",
		NULL,
	};

	(void)state;
	if (datapath_load(NULL) || run_all(commands))
		return -1;
	up = if_nametoindex("fl-up");
	pod_link = if_nametoindex("fl-pod");
	return up && pod_link ? 0 : -1;
}

static void given_world(void)
{
	given_pods(1);
	given_address(node(0).addr, ADDRESS_NODE);
}

static void when_leaves(struct frame frame)
{
	when_run(programs->progs.fl_egress, frame, up, 0);
}

/* Goes to an interface's ingress: from the link's own address and to it. */
static struct frame delivered(struct packet_spec spec)
{
	struct frame frame = built(spec);

	for (int i = 0; i < 6; i++)
		frame.bytes[i] = frame.bytes[6 + i];
	return frame;
}

static void a_process_of_the_node_reaches_a_backend(void **state)
{
	(void)state;
	given_world();

	when_leaves(opens(node(4000), vip(80)));

	then_returns_as(opens(node(4000), pod(1)));
	then_counted(COUNTER_FORWARDED_NEW, 1);

	when_run(programs->progs.fl_ingress, answers(pod(1), node(4000)), pod_link, pod_link);
	assert_int_equal(verdict(), TC_ACT_REDIRECT);
	when_leaves(follows(node(4000), vip(80)));
	then_returns_as(follows(node(4000), pod(1)));
	then_counted(COUNTER_FORWARDED_NEW, 1);
}

/* The process' own link is where the reverse path filter expects the frontend. */
static void a_reply_to_a_process_comes_in_by_the_link_it_dialled_through(void **state)
{
	struct frame wanted;

	(void)state;
	given_world();
	when_leaves(opens(node(4000), vip(80)));

	/* The frame's destination is now the source that the first packet had. */
	wanted = delivered(answering(vip(80), node(4000)));
	when_run(programs->progs.fl_ingress, answers(pod(1), node(4000)), pod_link, pod_link);
	then_returns_as(wanted);

	when_run(programs->progs.fl_ingress, answers(pod(1), node(4000)), up, up);
	then_goes_on_as(answers(vip(80), node(4000)));
}

/* A tag is of the link where the reply was seen: on another one it would name a VLAN that is not there. */
static void a_reply_to_a_process_loses_its_tags(void **state)
{
	struct packet_spec reply = answering(pod(1), node(4000));

	(void)state;
	given_world();
	given_port(up, true, own_mac);
	given_port(pod_link, true, own_mac);
	when_leaves(opens(node(4000), vip(80)));

	for (reply.tags = 1; reply.tags <= 2; reply.tags++) {
		when_run(programs->progs.fl_ingress, built(reply), pod_link, pod_link);
		then_returns_as(delivered(answering(vip(80), node(4000))));

		when_run(programs->progs.fl_ingress, built(reply), up, up);
		then_goes_on_as(answers(vip(80), node(4000)));
	}
}

static struct packet_spec sized(struct packet_spec spec, __u32 size)
{
	bool is_ipv4 = variant.family == FAMILY_IPV4;

	spec.payload = size - (is_ipv4 ? IPV4_HEADER_SIZE : IPV6_HEADER_SIZE) -
		       (variant.proto == IPPROTO_TCP ? 20 : 8);
	return spec;
}

/*
 * The route to the backend takes less than the one that the kernel has chosen for the VIP. The process
 * hears it from the VIP, for an address of its own node would be a martian.
 */
static void a_packet_too_big_for_the_route_to_the_backend_is_told_what_fits(void **state)
{
	bool is_ipv4 = variant.family == FAMILY_IPV4;
	struct frame big = built(sized(following(node(4000), vip(80)), MTU_POD + 1));

	(void)state;
	given_world();
	when_leaves(opens(node(4000), vip(80)));
	when_run(programs->progs.fl_ingress, answers(pod(1), node(4000)), pod_link, pod_link);

	when_leaves(built(sized(following(node(4000), vip(80)), MTU_POD)));
	then_returns_as(built(sized(following(node(4000), pod(1)), MTU_POD)));

	when_leaves(big);
	then_returns_as(packet(.src = vip(0), .dst = node(0),
			       .proto = is_ipv4 ? IPPROTO_ICMP : IPPROTO_ICMPV6,
			       .icmp_type = is_ipv4 ? 3 : 2, .icmp_code = is_ipv4 ? 4 : 0,
			       .icmp_rest = MTU_POD, .quote = &big,
			       .quote_transport = variant.proto == IPPROTO_TCP ? 20 : 8,
			       .is_returned = true, .is_fresh = true));
	then_counted(COUNTER_TOO_BIG, 1);
}

static void a_process_hears_that_there_is_no_route_to_the_backend(void **state)
{
	bool is_ipv4 = variant.family == FAMILY_IPV4;
	struct frame asked = opens(node(4000), vip(80));
	__u32 backend;

	(void)state;
	backend = given_backend(pod(9), variant.proto);
	given_service(vip(80), variant.proto, 1, &backend);
	given_address(node(0).addr, ADDRESS_NODE);

	when_leaves(asked);

	then_returns_as(packet(.src = vip(0), .dst = node(0),
			       .proto = is_ipv4 ? IPPROTO_ICMP : IPPROTO_ICMPV6,
			       .icmp_type = is_ipv4 ? 3 : 1, .icmp_code = is_ipv4 ? 1 : 0,
			       .quote = &asked,
			       .quote_transport = variant.proto == IPPROTO_TCP ? 20 : 8,
			       .is_returned = true, .is_fresh = true));
	then_counted(COUNTER_UNREACHABLE, 1);
}

static void a_forwarded_packet_is_not_translated_again_at_egress(void **state)
{
	(void)state;
	given_world();

	when_run(programs->progs.fl_egress, opens(client(4000), vip(80)), up, pod_link);

	then_goes_on();
}

static struct packet_spec turned(struct packet_spec spec)
{
	spec.is_returned = true;
	return spec;
}

/* A backend in the host's network, asked by a process of the host, from this or another address. */
static void given_backend_on_the_node(void)
{
	struct peer self = node(BACKEND_PORT);
	__u32 backend = given_backend(self, variant.proto);

	given_address(self.addr, ADDRESS_NODE);
	given_address(client(0).addr, ADDRESS_NODE);
	given_service(vip(80), variant.proto, 1, &backend);
}

static void then_the_node_reaches_itself_as(struct peer who)
{
	struct frame back;

	when_leaves(opens(who, vip(80)));
	then_returns_as(built(turned(opening(vip(4000), node(BACKEND_PORT)))));

	/* On its way in it must not look like a direct connection. */
	back = *outcome();
	memcpy(back.bytes, own_mac, sizeof(own_mac));
	when_run(programs->progs.fl_ingress, back, up, up);
	then_goes_on();
	then_counted(COUNTER_SKIPPED, 0);

	when_leaves(answers(node(BACKEND_PORT), vip(4000)));
	then_returns_as(delivered(answering(vip(80), who)));

	when_leaves(follows(who, vip(80)));
	then_returns_as(built(turned(following(vip(4000), node(BACKEND_PORT)))));
	then_counted(COUNTER_FORWARDED_NEW, 1);
	then_counted(COUNTER_FORGOTTEN, 0);
}

static void a_process_of_the_node_reaches_another_one(void **state)
{
	(void)state;
	given_backend_on_the_node();
	then_the_node_reaches_itself_as(node(4000));
}

static void a_process_reaches_another_one_from_another_address_of_the_node(void **state)
{
	(void)state;
	given_backend_on_the_node();
	then_the_node_reaches_itself_as(client(4000));
}

static void an_error_about_a_process_packet_comes_in_by_its_link(void **state)
{
	bool is_ipv4 = variant.family == FAMILY_IPV4;
	struct frame quote = opens(node(4000), pod(1)), restored = opens(node(4000), vip(80));
	struct packet_spec error = {
		.src = pod(1),
		.dst = node(0),
		.proto = is_ipv4 ? IPPROTO_ICMP : IPPROTO_ICMPV6,
		.icmp_type = is_ipv4 ? 3 : 1,
		.icmp_code = is_ipv4 ? 3 : 4,
		.quote = &quote,
		.quote_transport = 8,
	};
	struct packet_spec wanted = error;

	(void)state;
	given_world();
	when_leaves(opens(node(4000), vip(80)));
	wanted.src = vip(0);
	wanted.quote = &restored;

	when_run(programs->progs.fl_ingress, built(error), pod_link, pod_link);
	then_returns_as(delivered(wanted));

	error.src = wanted.src = router();
	when_run(programs->progs.fl_ingress, built(error), pod_link, pod_link);
	then_goes_on_as(built(wanted));
}

static void a_direct_connection_of_the_node_is_left_alone(void **state)
{
	(void)state;
	given_world();

	when_run(programs->progs.fl_egress, opens(node(4000), pod(1)), pod_link, 0);
	then_goes_on();
	when_run(programs->progs.fl_ingress, answers(pod(1), node(4000)), pod_link, pod_link);
	then_goes_on();
}

/* As for forwarded packets, but what the node sends itself never passes an ingress hook. */
static void a_direct_conversation_of_the_node_by_the_port_of_a_flow_gets_another(void **state)
{
	struct packet_spec asked = opening(node(4000), pod(1)), sent, answered, returned;

	(void)state;
	given_world();
	when_leaves(opens(node(4000), vip(80)));
	when_run(programs->progs.fl_ingress, answers(pod(1), node(4000)), pod_link, pod_link);
	when_leaves(follows(node(4000), vip(80)));
	given_time_passed(10);
	asked.seq = 70000;
	sent = asked;

	when_run(programs->progs.fl_egress, built(asked), pod_link, 0);

	sent.src.port = source_port_of(outcome());
	assert_int_not_equal(sent.src.port, 4000);
	then_goes_on_as(built(sent));
	answered = answering(pod(1), sent.src);
	returned = answering(pod(1), node(4000));
	answered.ack = returned.ack = variant.proto == IPPROTO_TCP ? 70001 : 0;
	when_run(programs->progs.fl_ingress, built(answered), pod_link, pod_link);
	then_goes_on_as(built(returned));
	when_run(programs->progs.fl_ingress, follows(pod(1), node(4000)), pod_link, pod_link);
	assert_int_not_equal(source_port_of(outcome()), BACKEND_PORT);
}

static void a_flow_of_the_node_by_the_port_of_its_direct_conversation_gets_another(void **state)
{
	struct peer kept;

	(void)state;
	given_world();
	when_run(programs->progs.fl_egress, opens(node(4000), pod(1)), pod_link, 0);
	then_goes_on();

	when_leaves(opens(node(4000), vip(80)));
	kept = node(source_port_of(outcome()));
	assert_int_not_equal(kept.port, 4000);

	when_run(programs->progs.fl_ingress, answers(pod(1), node(4000)), pod_link, pod_link);
	then_goes_on();
	when_run(programs->progs.fl_egress, follows(node(4000), pod(1)), pod_link, 0);
	then_goes_on();
}

/* A load balancer's address that a link of this node has, and perhaps other nodes have too. */
static struct peer shared(__u16 port)
{
	return peer(variant.family == FAMILY_IPV4 ? "203.0.113.1" : "2001:db8::1", port);
}

static void given_shared_address(void)
{
	given_world();
	given_address(shared(0).addr, ADDRESS_NODE | ADDRESS_EXTERNAL);
	given_link_source(up, node(0).addr);
}

/* The link to the pods has no address of its own: the one that the packet would leave by lends its. */
static void a_process_bound_to_a_vip_asks_a_backend_elsewhere_by_the_nodes_address(void **state)
{
	(void)state;
	given_shared_address();

	when_leaves(opens(shared(4000), vip(80)));
	then_returns_as(opens(node(4000), pod(1)));

	/* The hook of the other link sees it once more. */
	when_run(programs->progs.fl_egress, opens(node(4000), pod(1)), pod_link, 0);
	then_goes_on();

	when_run(programs->progs.fl_ingress, answers(pod(1), node(4000)), pod_link, pod_link);
	then_returns_as(delivered(answering(vip(80), shared(4000))));
	when_leaves(follows(shared(4000), vip(80)));
	then_returns_as(follows(node(4000), pod(1)));
	then_counted(COUNTER_FORWARDED_NEW, 1);
}

static void a_port_is_kept_for_another_address_where_no_socket_has_it(void **state)
{
	(void)state;
	given_shared_address();

	when_leaves(opens(shared(40000), vip(80)));

	then_returns_as(opens(node(40000), pod(1)));
}

static void a_process_bound_to_a_vip_keeps_it_for_a_backend_of_this_node(void **state)
{
	(void)state;
	given_shared_address();
	given_backend_flags(1, BACKEND_LOCAL);

	when_leaves(opens(shared(4000), vip(80)));

	then_returns_as(opens(shared(4000), pod(1)));
}

/* It is the one that the node would take anyhow. */
static void a_vip_that_is_the_links_own_address_is_kept(void **state)
{
	(void)state;
	given_shared_address();
	given_link_source(up, shared(0).addr);

	when_leaves(opens(shared(40000), vip(80)));

	then_returns_as(opens(shared(40000), pod(1)));
}

/* A server that is bound to a VIP answers a pod, or a client asks it by its own address. */
static void what_a_vip_sends_to_a_pod_itself_is_left_alone(void **state)
{
	(void)state;
	given_shared_address();
	given_link_source(pod_link, node(0).addr);

	when_run(programs->progs.fl_egress, opens(shared(4000), pod(1)), pod_link, 0);
	then_goes_on();
	when_run(programs->progs.fl_egress, answers(shared(53), pod(1)), pod_link, 0);
	then_goes_on();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		EACH(a_process_of_the_node_reaches_a_backend),
		EACH(a_reply_to_a_process_loses_its_tags),
		EACH(a_reply_to_a_process_comes_in_by_the_link_it_dialled_through),
		EACH(a_packet_too_big_for_the_route_to_the_backend_is_told_what_fits),
		EACH(a_process_hears_that_there_is_no_route_to_the_backend),
		EACH(a_forwarded_packet_is_not_translated_again_at_egress),
		EACH(a_process_of_the_node_reaches_another_one),
		EACH(a_process_reaches_another_one_from_another_address_of_the_node),
		EACH(an_error_about_a_process_packet_comes_in_by_its_link),
		EACH(a_direct_connection_of_the_node_is_left_alone),
		EACH(a_direct_conversation_of_the_node_by_the_port_of_a_flow_gets_another),
		DATAGRAMS(a_flow_of_the_node_by_the_port_of_its_direct_conversation_gets_another),
		EACH(a_process_bound_to_a_vip_asks_a_backend_elsewhere_by_the_nodes_address),
		EACH(a_port_is_kept_for_another_address_where_no_socket_has_it),
		EACH(a_process_bound_to_a_vip_keeps_it_for_a_backend_of_this_node),
		EACH(a_vip_that_is_the_links_own_address_is_kept),
		EACH(what_a_vip_sends_to_a_pod_itself_is_left_alone),
	};

	return cmocka_run_group_tests_name("node", tests, load_with_links, datapath_unload);
}

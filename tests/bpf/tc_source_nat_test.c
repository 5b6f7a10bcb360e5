/* SPDX-License-Identifier: BSD-2-Clause */

/* Far clients whose backend is on another node: an address of this node takes their place. */

#include "bpf/outside.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/map.h"

#define PORT_MIN  61000
#define PORTS     4
#define FIRST_CUT 48

/* RFC 9260, 3.2 */

static void make_ports_scarce(struct tc_bpf *skeleton)
{
	skeleton->rodata->config.source_port_min = PORT_MIN;
	skeleton->rodata->config.source_port_max = PORT_MIN + PORTS - 1;
	skeleton->rodata->config.low_port_min = 0;
}

static int load_scarce(void **state)
{
	(void)state;
	return outside_load(make_ports_scarce);
}

static void a_client_reaches_a_backend_elsewhere_through_each_frontend(void **state)
{
	(void)state;
	given_outside(1);
	for (enum frontend_kind kind = FRONTEND_CLUSTER_IP; kind <= FRONTEND_LOAD_BALANCER_IP;
	     kind++) {
		__u16 port = (__u16)(4000 + kind);

		when_asked(opens(client(port), dialled(kind)));
		then_returns_as(passed(opening(inner(port), pod(1))));

		when_answered(answers(pod(1), inner(port)));
		then_returns_as(passed(answering(dialled(kind), client(port))));

		when_asked(follows(client(port), dialled(kind)));
		then_returns_as(passed(following(inner(port), pod(1))));

		when_answered(follows(pod(1), inner(port)));
		then_returns_as(passed(following(dialled(kind), client(port))));
	}
	then_counted(COUNTER_FORWARDED_NEW, FRONTEND_LOAD_BALANCER_IP);
}

/* A socket of the node's own, so that replies for its port are its, not a flow's. */
static int node_socket(__u16 port)
{
	bool is_ipv4 = variant.family == FAMILY_IPV4;
	int fd = socket(is_ipv4 ? AF_INET : AF_INET6,
			variant.proto == IPPROTO_TCP ? SOCK_STREAM : SOCK_DGRAM, 0);
	struct sockaddr_in6 ipv6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
	struct sockaddr_in ipv4 = {.sin_family = AF_INET, .sin_port = htons(port)};

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, is_ipv4 ? (struct sockaddr *)&ipv4 : (struct sockaddr *)&ipv6,
			      is_ipv4 ? sizeof(ipv4) : sizeof(ipv6)),
			 0);
	if (variant.proto == IPPROTO_TCP)
		assert_int_equal(listen(fd, 1), 0);
	return fd;
}

/* A tuple may not be in use twice. */
static void a_port_of_a_socket_of_the_node_is_not_kept(void **state)
{
	int own = node_socket(40000);
	__u16 port;

	(void)state;
	given_outside(1);

	when_asked(opens(client(40000), node(NODE_PORT)));

	port = source_port_of(outcome());
	assert_int_not_equal(port, 40000);
	then_returns_as(passed(opening(inner(port), pod(1))));
	when_answered(answers(pod(1), inner(port)));
	then_returns_as(passed(answering(node(NODE_PORT), client(40000))));
	(void)close(own);
}

static void a_port_of_the_nodes_range_is_kept_where_no_socket_has_it(void **state)
{
	(void)state;
	given_outside(1);

	when_asked(opens(client(40000), node(NODE_PORT)));

	then_returns_as(passed(opening(inner(40000), pod(1))));
}

static void two_clients_with_one_port_are_told_apart(void **state)
{
	__u16 port;

	(void)state;
	given_outside(1);
	when_asked(opens(client(4000), node(NODE_PORT)));

	when_asked(opens(another_client(4000), node(NODE_PORT)));

	port = source_port_of(outcome());
	assert_between(port, PORT_MIN, PORT_MIN + PORTS - 1);
	then_returns_as(passed(opening(inner(port), pod(1))));
	when_answered(answers(pod(1), inner(port)));
	then_returns_as(passed(answering(node(NODE_PORT), another_client(4000))));
	when_answered(answers(pod(1), inner(4000)));
	then_returns_as(passed(answering(node(NODE_PORT), client(4000))));
}

static struct exhausted exhausted_of(__u32 service)
{
	struct exhausted exhausted = {};

	(void)bpf_map_lookup_elem(bpf_map__fd(programs->maps.exhausted), &service, &exhausted);
	return exhausted;
}

/* As many clients as there are source ports, which are few here, are served by one backend. */
static unsigned when_clients_ask(__u16 from, unsigned clients, __u16 given[], bool are_established)
{
	unsigned count = 0;

	for (__u16 port = from; port < from + clients; port++) {
		when_asked(opens(client(port), node(NODE_PORT)));
		if (verdict() == TC_ACT_SHOT)
			continue;
		given[count++] = source_port_of(outcome());
		if (!are_established)
			continue;
		when_answered(answers(pod(1), inner(given[count - 1])));
		then_returns_as(passed(answering(node(NODE_PORT), client(port))));
		when_asked(follows(client(port), node(NODE_PORT)));
		assert_int_equal(verdict(), TC_ACT_REDIRECT);
	}
	return count;
}

/*
 * Those that have a port go on; those that get none are counted, and for whom. Their own ports are
 * of no use to them here, for they are a socket's.
 */
static void ports_that_run_out_break_nobody(void **state)
{
	__u16 given[2 * PORTS];
	int own[2 * PORTS];
	unsigned count, refused;
	__u32 service;

	(void)state;
	service = given_outside(1);
	for (unsigned i = 0; i < 2 * PORTS; i++)
		own[i] = node_socket((__u16)(40000 + i));

	count = when_clients_ask(40000, 2 * PORTS, given, true);

	refused = 2 * PORTS - count;
	assert_between(count, 1, PORTS);
	then_counted(COUNTER_DROP_NO_PORT_FREE, refused);
	assert_int_equal(exhausted_of(service).count, refused);
	assert_true(exhausted_of(service).last_s > 0);
	for (unsigned i = 0; i < count; i++) {
		when_answered(follows(pod(1), inner(given[i])));
		assert_int_equal(verdict(), TC_ACT_REDIRECT);
	}
	for (unsigned i = 0; i < 2 * PORTS; i++)
		(void)close(own[i]);
}

/* A flood of clients that go no further takes no port from those that come, nor from those that are. */
static void flows_that_nobody_answers_give_their_ports_away(void **state)
{
	__u16 given[3 * PORTS];
	__u16 first;
	int own[3 * PORTS];

	(void)state;
	given_outside(1);
	for (unsigned i = 0; i < 3 * PORTS; i++)
		own[i] = node_socket((__u16)(40000 + i));
	assert_int_equal(when_clients_ask(40000, 1, &first, true), 1);

	assert_int_equal(when_clients_ask(40001, 3 * PORTS - 1, given, false), 3 * PORTS - 1);

	for (unsigned i = 0; i < 3 * PORTS - 1; i++)
		assert_int_not_equal(given[i], first);
	when_answered(follows(pod(1), inner(first)));
	then_returns_as(passed(following(node(NODE_PORT), client(40000))));
	for (unsigned i = 0; i < 3 * PORTS; i++)
		(void)close(own[i]);
}

static void a_client_hears_that_there_is_no_route_to_the_backend(void **state)
{
	bool is_ipv4 = variant.family == FAMILY_IPV4;
	struct frame asked = opens(client(4000), node(NODE_PORT));
	__u32 backend, service;

	(void)state;
	service = given_outside(0);
	backend = given_backend(pod(9), variant.proto);
	given_slots(service, 1, &backend);

	when_asked(asked);

	then_returns_as(packet(.src = node(0), .dst = client(0),
			       .proto = is_ipv4 ? IPPROTO_ICMP : IPPROTO_ICMPV6,
			       .icmp_type = is_ipv4 ? 3 : 1, .icmp_code = is_ipv4 ? 1 : 0,
			       .quote = &asked,
			       .quote_transport = variant.proto == IPPROTO_TCP ? 20 : 8,
			       .is_returned = true, .is_fresh = true));
	then_counted(COUNTER_UNREACHABLE, 1);
	assert_int_equal(map_count(bpf_map__fd(programs->maps.new_flows)), 0);
}

/* A link without addresses of its own borrows those of the link that the packet came by. */
static void a_way_without_addresses_uses_those_of_the_clients_side(void **state)
{
	(void)state;
	given_outside(1);
	assert_int_equal(
		bpf_map__delete_elem(programs->maps.link_sources, &overlay, sizeof(overlay), 0), 0);

	when_asked(opens(client(4000), vip(80)));
	then_returns_as(passed(opening(node(4000), pod(1))));

	when_answered(answers(pod(1), node(4000)));
	then_returns_as(passed(answering(vip(80), client(4000))));
}

static void a_client_keeps_its_address_where_the_backend_is_on_this_node(void **state)
{
	(void)state;
	given_outside(1);
	given_backend_flags(1, BACKEND_LOCAL);

	when_asked(opens(client(40000), node(NODE_PORT)));
	then_goes_on_as(opens(client(40000), pod(1)));

	when_egress(answers(pod(1), client(40000)));
	then_goes_on_as(answers(node(NODE_PORT), client(40000)));
}

/* A pod of the host's network: its address is the node's. */
static void a_backend_that_is_the_node_itself_sees_the_client(void **state)
{
	__u32 backend, service;

	(void)state;
	service = given_outside(0);
	backend = given_backend(node(BACKEND_PORT), variant.proto);
	given_slots(service, 1, &backend);

	when_asked(opens(client(40000), node(NODE_PORT)));
	then_goes_on_as(opens(client(40000), node(BACKEND_PORT)));

	when_run(programs->progs.fl_egress, answers(node(BACKEND_PORT), client(40000)), uplink, 0);
	then_goes_on_as(answers(node(NODE_PORT), client(40000)));
	when_asked(follows(client(40000), node(NODE_PORT)));
	then_goes_on_as(follows(client(40000), node(BACKEND_PORT)));
}

static void a_pod_of_this_node_keeps_its_address(void **state)
{
	(void)state;
	given_outside(1);

	when_ingress(opens(client(40000), node(NODE_PORT)));
	then_goes_on_as(opens(client(40000), pod(1)));

	when_egress(answers(pod(1), client(40000)));
	then_goes_on_as(answers(node(NODE_PORT), client(40000)));
}

/* A backend elsewhere that is its own client through this node is a far client like any other. */
static void a_backend_elsewhere_that_dials_itself_is_served(void **state)
{
	struct peer self = pod(1);

	(void)state;
	given_outside(1);
	self.port = 4000;

	when_answered(opens(self, vip(80)));
	then_returns_as(passed(opening(inner(4000), pod(1))));

	when_answered(answers(pod(1), inner(4000)));
	then_returns_as(passed(answering(vip(80), self)));
}

static struct frame hopped(struct packet_spec spec)
{
	spec.ttl = TTL_DEFAULT - 1;
	spec.is_returned = true;
	return built(spec);
}

/* The node's address takes its place. */
static void a_pod_reaches_itself_through_a_node_port(void **state)
{
	struct peer self = pod(1);
	const __u16 port = 40000;

	(void)state;
	given_outside(1);
	given_backend_flags(1, BACKEND_LOCAL);
	self.port = port;

	when_ingress(opens(self, node(NODE_PORT)));
	then_returns_as(hopped(opening(node(port), pod(1))));

	when_ingress(answers(pod(1), node(port)));
	then_returns_as(hopped(answering(node(NODE_PORT), self)));
	when_ingress(follows(self, node(NODE_PORT)));
	then_returns_as(hopped(following(node(port), pod(1))));
}

/* One shape of packet, in both directions. Tags stay on the link they came by. */
static void check_shape(struct packet_spec shape)
{
	struct packet_spec asked = opening(client(4000), node(NODE_PORT));
	struct packet_spec sent = opening(inner(4000), pod(1));
	struct packet_spec answered = answering(pod(1), inner(4000));
	struct packet_spec returned = answering(node(NODE_PORT), client(4000));
	struct packet_spec *const specs[] = {&asked, &sent, &answered, &returned};

	given_outside(1);
	given_port(uplink, false, own_mac);
	given_port(overlay, false, own_mac);
	for (int i = 0; i < 4; i++) {
		specs[i]->tags = i % 2 ? 0 : shape.tags;
		specs[i]->ipv4_options = shape.ipv4_options;
		memcpy(specs[i]->extensions, shape.extensions, sizeof(shape.extensions));
		specs[i]->no_checksum = shape.no_checksum;
		specs[i]->payload = shape.payload;
	}
	when_asked(built(asked));
	then_returns_as(passed(sent));
	when_answered(built(answered));
	then_returns_as(passed(returned));
}

static void tagged_frames_leave_without_tags(void **state)
{
	(void)state;
	check_shape((struct packet_spec){.tags = 1});
}

static void frames_with_two_tags_leave_without_tags(void **state)
{
	(void)state;
	check_shape((struct packet_spec){.tags = 2});
}

static void ipv4_options_are_kept(void **state)
{
	(void)state;
	check_shape((struct packet_spec){.ipv4_options = 40, .payload = 33});
}

static void extension_headers_are_kept(void **state)
{
	(void)state;
	check_shape((struct packet_spec){
		.extensions = {{IPPROTO_HOPOPTS, 8, 0}, {IPPROTO_DSTOPTS, 16, 0}}});
}

static void datagrams_without_checksum_stay_without(void **state)
{
	(void)state;
	check_shape((struct packet_spec){.no_checksum = true, .payload = 20});
}

static struct packet_spec fragment(struct peer src, struct peer dst, __u32 from, __u32 to)
{
	struct packet_spec spec = opening(src, dst);

	spec.payload = 200;
	spec.cut_from = from;
	spec.cut_to = to;
	return spec;
}

static void fragments_go_the_same_way_in_both_directions(void **state)
{
	static const __u32 cuts[][2] = {{0, FIRST_CUT}, {96, 1000}, {FIRST_CUT, 96}};

	(void)state;
	given_outside(1);
	for (int i = 0; i < 3; i++) {
		when_asked(built(fragment(client(4000), vip(80), cuts[i][0], cuts[i][1])));
		then_returns_as(passed(fragment(inner(4000), pod(1), cuts[i][0], cuts[i][1])));
	}
	for (int i = 0; i < 3; i++) {
		when_answered(built(fragment(pod(1), inner(4000), cuts[i][0], cuts[i][1])));
		then_returns_as(passed(fragment(vip(80), client(4000), cuts[i][0], cuts[i][1])));
	}
}

/* The datagram cannot be put together there any more; nothing of it goes astray here. */
static void a_fragment_before_the_first_is_dropped(void **state)
{
	(void)state;
	given_outside(1);

	when_asked(built(fragment(client(4000), vip(80), FIRST_CUT, 1000)));

	then_dropped(COUNTER_DROP_FRAGMENT);
}

static struct packet_spec sctp(struct peer src, struct peer dst, __u8 chunk)
{
	return (struct packet_spec){.src = src,
				    .dst = dst,
				    .proto = IPPROTO_SCTP,
				    .sctp_chunk = chunk,
				    .seq = chunk == SCTP_INIT ? 0 : 0x01020304,
				    .payload = 16};
}

/* Its ports are in its checksum, its addresses are not. */
static void an_association_keeps_its_checksum_right(void **state)
{
	__u16 port;

	(void)state;
	variant.proto = IPPROTO_SCTP;
	given_outside(1);
	when_asked(built(sctp(another_client(40000), node(NODE_PORT), SCTP_INIT)));

	when_asked(built(sctp(client(40000), node(NODE_PORT), SCTP_INIT)));
	port = source_port_of(outcome());
	assert_int_not_equal(port, 40000);
	then_returns_as(passed(sctp(inner(port), pod(1), SCTP_INIT)));
	when_answered(built(sctp(pod(1), inner(port), SCTP_INIT_ACK)));
	then_returns_as(passed(sctp(node(NODE_PORT), client(40000), SCTP_INIT_ACK)));
}

/* Established flows go on when their Service loses its NodePort; others are the node's business. */
static void a_flow_outlives_its_node_port(void **state)
{
	(void)state;
	given_outside(1);
	when_asked(opens(client(4000), node(NODE_PORT)));
	when_answered(answers(pod(1), inner(4000)));
	when_asked(follows(client(4000), node(NODE_PORT)));
	given_no_frontend(node(NODE_PORT), variant.proto);

	when_asked(follows(client(4000), node(NODE_PORT)));
	if (variant.proto == IPPROTO_TCP)
		then_returns_as(passed(following(inner(4000), pod(1))));

	when_asked(opens(client(4001), node(NODE_PORT)));
	then_goes_on();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		EACH(a_client_reaches_a_backend_elsewhere_through_each_frontend),
		EACH(a_port_of_a_socket_of_the_node_is_not_kept),
		EACH(a_port_of_the_nodes_range_is_kept_where_no_socket_has_it),
		EACH(two_clients_with_one_port_are_told_apart),
		EACH(ports_that_run_out_break_nobody),
		EACH(flows_that_nobody_answers_give_their_ports_away),
		EACH(a_client_hears_that_there_is_no_route_to_the_backend),
		EACH(a_way_without_addresses_uses_those_of_the_clients_side),
		EACH(a_client_keeps_its_address_where_the_backend_is_on_this_node),
		EACH(a_backend_that_is_the_node_itself_sees_the_client),
		EACH(a_pod_of_this_node_keeps_its_address),
		EACH(a_backend_elsewhere_that_dials_itself_is_served),
		EACH(a_pod_reaches_itself_through_a_node_port),
		EACH(tagged_frames_leave_without_tags),
		EACH(frames_with_two_tags_leave_without_tags),
		PROTOS(ipv4_options_are_kept),
		VARIANT(extension_headers_are_kept, " (TCP)", 2),
		VARIANT(extension_headers_are_kept, " (UDP)", 3),
		VARIANT(datagrams_without_checksum_stay_without, " (IPv4)", 1),
		EACH(fragments_go_the_same_way_in_both_directions),
		EACH(a_fragment_before_the_first_is_dropped),
		FAMILIES(an_association_keeps_its_checksum_right),
		EACH(a_flow_outlives_its_node_port),
	};

	return cmocka_run_group_tests_name("source NAT", tests, load_scarce, datapath_unload);
}

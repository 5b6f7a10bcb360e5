/* SPDX-License-Identifier: BSD-2-Clause */

/* What XDP leaves to TC, exactly as it came, and what it drops because TC would. */

#include "bpf/xdp.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/map.h"

/* In the range of the others, and nobody's. */
static struct peer unused_vip(__u16 port)
{
	struct peer made = vip(port);

	made.addr.bytes[15] = 99;
	return made;
}

static void what_is_no_services_goes_up(void **state)
{
	(void)state;
	given_outside(1);
	given_address(node(0).addr, ADDRESS_NODE);

	when_client_sends(opens(client(4000), router()));
	then_goes_up();
	when_client_sends(opens(client(4000), node(22)));
	then_goes_up();
	when_backend_sends(opens(pod(1), inner(22)));
	then_goes_up();
	when_client_sends(opens(client(4000), pod(1)));
	then_goes_up();
	assert_int_equal(map_count(bpf_map__fd(programs->maps.new_flows)), 0);
}

static void given_flow(void)
{
	given_outside(1);
	when_client_sends(opens(client(4000), vip(80)));
	then_redirected_as(sent_to_pods(opening(inner(4000), pod(1))));
}

static void goes_up(struct packet_spec spec)
{
	when_client_sends(built(spec));
	then_goes_up();
}

static void shapes_that_are_not_plain_go_up(void **state)
{
	const struct packet_spec plain = opening(client(4000), vip(80));
	struct packet_spec spec;

	(void)state;
	given_flow();
	spec = plain, spec.tags = 1, goes_up(spec);
	spec = plain, spec.tags = 2, goes_up(spec);
	if (variant.family == FAMILY_IPV4) {
		spec = plain, spec.ipv4_options = 4, goes_up(spec);
		spec = plain, spec.ipv4_options = 40, goes_up(spec);
	} else {
		spec = plain;
		spec.extensions[0] = (struct extension){.proto = IPPROTO_HOPOPTS, .size = 8};
		goes_up(spec);
	}
	then_counted(COUNTER_FORWARDED_XDP, 1);
}

static void fragments_go_up(void **state)
{
	static const __u32 cuts[][2] = {{0, 48}, {48, 96}, {96, 1000}};

	(void)state;
	given_flow();
	for (size_t i = 0; i < sizeof(cuts) / sizeof(cuts[0]); i++) {
		struct packet_spec spec = opening(client(4000), vip(80));

		spec.payload = 200;
		spec.cut_from = cuts[i][0];
		spec.cut_to = cuts[i][1];
		goes_up(spec);
	}
}

static void frames_cut_anywhere_go_up(void **state)
{
	struct frame whole;

	(void)state;
	given_flow();
	whole = opens(client(4000), vip(80));
	for (__u32 size = LINK_HEADER_SIZE; size < frame_transport(&whole) + 8; size++) {
		when_client_sends(frame_cut(&whole, size));
		then_goes_up();
	}
}

static void packets_whose_hops_run_out_go_up(void **state)
{
	struct packet_spec spec;

	(void)state;
	given_flow();
	for (__u8 ttl = 1; ttl <= 2; ttl++) {
		spec = opening(client(4000), vip(80));
		spec.ttl = ttl;
		when_client_sends(built(spec));
		if (ttl == 1)
			then_goes_up();
		else
			assert_int_equal(verdict(), XDP_REDIRECT);
	}
}

static void packets_too_big_for_the_way_go_up(void **state)
{
	struct packet_spec spec;
	__u32 fits;

	(void)state;
	given_flow();
	spec = segment(client(4000), vip(80), ACK);
	spec.payload = 0;
	fits = MTU_OVER - (built(spec).size - LINK_HEADER_SIZE);

	spec.payload = fits + 1;
	goes_up(spec);
	spec.payload = fits;
	when_client_sends(built(spec));
	assert_int_equal(verdict(), XDP_REDIRECT);
}

/* A packet from the same machine, over a veth: the pseudo header's sum is where the checksum goes. */
static void unfinished_checksums_go_up(void **state)
{
	__u32 offset = variant.proto == IPPROTO_TCP ? 16 : 6, sum = 0, size;
	struct frame frame;
	const __u8 *addresses;

	(void)state;
	given_flow();
	frame = opens(client(4000), vip(80));
	addresses = frame.bytes + LINK_HEADER_SIZE + (variant.family == FAMILY_IPV4 ? 12 : 8);
	size = frame.size - frame_transport(&frame);
	for (int i = 0; i < (variant.family == FAMILY_IPV4 ? 8 : 32); i += 2)
		sum += (__u32)addresses[i] << 8 | addresses[i + 1];
	sum += variant.proto + size;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	frame.bytes[frame_transport(&frame) + offset] = (__u8)(sum >> 8);
	frame.bytes[frame_transport(&frame) + offset + 1] = (__u8)sum;

	when_client_sends(frame);

	then_goes_up();
}

static void sctp_without_checksum_goes_up(void **state)
{
	struct packet_spec spec = {.src = client(4000),
				   .dst = vip(80),
				   .proto = IPPROTO_SCTP,
				   .sctp_chunk = 1,
				   .payload = 16,
				   .no_checksum = true};

	(void)state;
	variant.proto = IPPROTO_SCTP;
	spec.src = client(4000);
	spec.dst = vip(80);
	given_outside(1);

	goes_up(spec);
}

static void icmp_goes_up(void **state)
{
	bool is_ipv4 = variant.family == FAMILY_IPV4;
	struct packet_spec spec = {.proto = is_ipv4 ? IPPROTO_ICMP : IPPROTO_ICMPV6,
				   .icmp_type = is_ipv4 ? 8 : 128};
	struct frame quoted;

	(void)state;
	given_flow();
	spec.src = client(0);
	spec.dst = vip(0);
	goes_up(spec);
	quoted = opens(pod(1), inner(4000));
	spec.icmp_type = is_ipv4 ? 3 : 1;
	spec.quote = &quoted;
	spec.quote_transport = 8;
	spec.dst = inner(0);
	goes_up(spec);
}

static void run(const char *command)
{
	assert_int_equal(system(command), 0);
}

static void know_router(void)
{
	run("ip neigh add 172.20.0.2 lladdr 02:00:00:00:00:20 dev fl-over");
	run("ip neigh add fd20::2 lladdr 02:00:00:00:00:20 dev fl-over");
}

static void forget_router(void)
{
	run("ip neigh del 172.20.0.2 dev fl-over; ip neigh del fd20::2 dev fl-over");
}

static void unknown_neighbours_are_for_tc_to_ask_for(void **state)
{
	(void)state;
	given_flow();
	forget_router();

	when_client_sends(opens(client(4000), vip(80)));
	then_goes_up();
	when_client_sends(opens(client(4001), vip(80)));
	then_goes_up();

	know_router();
	/* What was begun with XDP goes on with either. */
	when_asked(opens(client(4001), vip(80)));
	then_returns_as(passed(opening(inner(4001), pod(1))));
	then_counted(COUNTER_FORWARDED_NEW, 2);
}

/* So that TC, should the kernel forget it, gives it all its time again. */
static void a_frame_to_a_known_neighbour_ends_the_search_for_it(void **state)
{
	int searches = bpf_map__fd(programs->maps.neighbour_searches);

	(void)state;
	given_flow();
	forget_router();
	when_asked(opens(client(4000), vip(80)));
	assert_int_equal(map_count(searches), 1);

	know_router();
	when_client_sends(opens(client(4000), vip(80)));
	then_redirected_as(sent_to_pods(opening(inner(4000), pod(1))));
	assert_int_equal(map_count(searches), 0);
}

static void links_that_take_no_frames_are_for_tc_to_send_to(void **state)
{
	(void)state;
	given_outside(1);
	assert_int_equal(
		bpf_map__delete_elem(xdp->maps.redirect_targets, &overlay, sizeof(overlay), 0), 0);

	when_client_sends(opens(client(4000), vip(80)));

	assert_int_equal(bpf_map__update_elem(xdp->maps.redirect_targets, &overlay, sizeof(overlay),
					      &overlay, sizeof(overlay), BPF_ANY),
			 0);
	then_goes_up();
}

static void a_link_that_does_not_forward_is_for_the_stack_to_judge(void **state)
{
	(void)state;
	given_flow();
	run("sysctl -q -w net.ipv4.conf.fl-up.forwarding=0 net.ipv6.conf.fl-up.forwarding=0");

	when_client_sends(opens(client(4000), vip(80)));

	run("sysctl -q -w net.ipv4.conf.fl-up.forwarding=1 net.ipv6.conf.fl-up.forwarding=1");
	then_goes_up();
}

/* XDP chooses, and TC goes on with that: choosing twice would favour backends elsewhere. */
static void a_backend_on_this_node_is_for_the_stack_to_deliver(void **state)
{
	unsigned local = 0;

	(void)state;
	given_outside(2);
	given_backend_flags(1, BACKEND_LOCAL);
	for (__u16 port = 4000; port < 4200; port++) {
		when_client_sends(opens(client(port), vip(80)));
		if (verdict() == XDP_REDIRECT)
			continue;
		then_goes_up();
		when_asked(opens(client(port), vip(80)));
		then_goes_on_as(opens(client(port), pod(1)));
		local++;
	}
	assert_between(local, 60, 140);
	then_counted(COUNTER_FORWARDED_NEW, 200);
}

static void refusals_are_for_tc_to_answer(void **state)
{
	__u32 service;

	(void)state;
	service = given_outside(1);
	when_client_sends(opens(client(4000), vip(81)));
	then_goes_up();
	if (variant.proto == IPPROTO_TCP) {
		when_client_sends(follows(client(4000), vip(80)));
		then_goes_up();
	}
	given_no_slots(service, EMPTY_REJECT);
	when_client_sends(opens(client(4000), vip(80)));
	then_goes_up();
	assert_int_equal(map_count(bpf_map__fd(programs->maps.new_flows)), 0);
}

/* A pod of another node that reaches itself by a VIP of this one has a flow that TC knows how to
 * answer. */
static void hairpins_go_up(void **state)
{
	struct peer self = pod(1);

	(void)state;
	given_outside(1);
	given_backend_flags(1, BACKEND_LOCAL);
	self.port = 4000;
	when_ingress(opens(self, vip(80)));
	assert_int_equal(verdict(), TC_ACT_REDIRECT);

	when_backend_sends(answers(pod(1), vip(4000)));

	then_goes_up();
}

static void a_client_in_no_source_range_is_dropped(void **state)
{
	__u32 service;

	(void)state;
	service = given_outside(1);
	given_local_slots(service, SERVICE_SOURCE_RANGES, 0, NULL);

	when_client_sends(opens(client(4000), dialled(FRONTEND_LOAD_BALANCER_IP)));
	then_dropped_by_xdp(COUNTER_DROP_SOURCE_RANGE);

	when_client_sends(opens(client(4000), dialled(FRONTEND_NODE_PORT)));
	assert_int_equal(verdict(), XDP_REDIRECT);
}

static void policy_local_without_a_backend_here_is_dropped(void **state)
{
	__u32 service;

	(void)state;
	service = given_outside(1);
	given_local_slots(service, SERVICE_EXTERNAL_LOCAL, 0, NULL);

	when_client_sends(opens(client(4000), node(NODE_PORT)));

	then_dropped_by_xdp(COUNTER_DROP_NO_LOCAL);
}

static void addresses_that_no_service_has_are_dropped(void **state)
{
	struct service_ranges ranges = {.count = 1};
	__u32 zero = 0;

	(void)state;
	given_outside(1);
	ranges.ranges[0].addr = vip(0).addr;
	ranges.ranges[0].addr.bytes[15] = 0;
	memset(ranges.ranges[0].mask.bytes, 0xff, 15);
	assert_int_equal(bpf_map__update_elem(programs->maps.service_ranges, &zero, sizeof(zero),
					      &ranges, sizeof(ranges), BPF_ANY),
			 0);

	when_client_sends(opens(client(4000), another_vip(80)));
	assert_int_equal(verdict(), XDP_REDIRECT);
	when_client_sends(opens(client(4000), unused_vip(80)));
	then_dropped_by_xdp(COUNTER_DROP_UNUSED_ADDRESS);

	/* Rule C46: another proxy's is left to it. */
	given_address(unused_vip(0).addr, ADDRESS_EXTERNAL);
	when_client_sends(opens(client(4000), unused_vip(80)));
	then_goes_up();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		EACH(what_is_no_services_goes_up),
		EACH(shapes_that_are_not_plain_go_up),
		EACH(fragments_go_up),
		EACH(frames_cut_anywhere_go_up),
		EACH(packets_whose_hops_run_out_go_up),
		EACH(packets_too_big_for_the_way_go_up),
		EACH(unfinished_checksums_go_up),
		FAMILIES(sctp_without_checksum_goes_up),
		FAMILIES(icmp_goes_up),
		EACH(unknown_neighbours_are_for_tc_to_ask_for),
		EACH(a_frame_to_a_known_neighbour_ends_the_search_for_it),
		EACH(links_that_take_no_frames_are_for_tc_to_send_to),
		FAMILIES(a_link_that_does_not_forward_is_for_the_stack_to_judge),
		EACH(a_backend_on_this_node_is_for_the_stack_to_deliver),
		EACH(refusals_are_for_tc_to_answer),
		EACH(hairpins_go_up),
		EACH(a_client_in_no_source_range_is_dropped),
		EACH(policy_local_without_a_backend_here_is_dropped),
		EACH(addresses_that_no_service_has_are_dropped),
	};

	return cmocka_run_group_tests_name("XDP leaves to TC", tests, xdp_load, xdp_unload);
}

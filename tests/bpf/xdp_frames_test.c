/* SPDX-License-Identifier: BSD-2-Clause */

/* Frames that are for others, or from nobody, go up from XDP as they came. */

#include "bpf/xdp.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <string.h>

#include "base/map.h"

static const __u8 others_mac[6] = {2, 0, 0, 0, 0, 0x99};
static const __u8 bridge_mac[6] = {2, 0, 0, 0, 0, 0xbb};
static const __u8 everybody[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

static struct frame sent_to(struct frame frame, const __u8 mac[6])
{
	memcpy(frame.bytes, mac, 6);
	return frame;
}

/* The uplink's addresses, in the place of `ifindex`. */
static void given_uplink(__u32 ifindex, const __u8 second_mac[6])
{
	struct xdp_link value = {.ifindex = ifindex};
	__u32 place = uplink % XDP_LINKS_MAX;

	memcpy(value.mac, own_mac, sizeof(value.mac));
	memcpy(value.bridge_mac, second_mac, sizeof(value.bridge_mac));
	assert_int_equal(
		bpf_map_update_elem(bpf_map__fd(xdp->maps.xdp_links), &place, &value, BPF_ANY), 0);
}

static void then_no_flow(void)
{
	assert_int_equal(map_count(bpf_map__fd(programs->maps.new_flows)), 0);
	then_counted(COUNTER_FORWARDED_XDP, 0);
}

static void frames_for_others_go_up(void **state)
{
	(void)state;
	given_outside(1);
	for (enum frontend_kind kind = FRONTEND_CLUSTER_IP; kind <= FRONTEND_LOAD_BALANCER_IP;
	     kind++) {
		when_client_sends(sent_to(opens(client(4000), dialled(kind)), others_mac));
		then_goes_up();
		when_client_sends(sent_to(opens(client(4000), dialled(kind)), everybody));
		then_goes_up();
	}
	then_no_flow();
}

static void replies_for_others_go_up(void **state)
{
	(void)state;
	given_outside(1);
	when_client_sends(opens(client(4000), vip(80)));
	then_redirected_as(sent_to_pods(opening(inner(4000), pod(1))));

	when_backend_sends(sent_to(answers(pod(1), inner(4000)), others_mac));
	then_goes_up();
	when_backend_sends(answers(pod(1), inner(4000)));
	then_redirected_as(sent_to_clients(answering(vip(80), client(4000))));
}

static void frames_for_the_bridge_of_a_port_are_forwarded(void **state)
{
	(void)state;
	given_outside(1);
	given_uplink(uplink, bridge_mac);

	when_client_sends(sent_to(opens(client(4000), vip(80)), bridge_mac));
	then_redirected_as(sent_to_pods(opening(inner(4000), pod(1))));
	when_client_sends(opens(client(4001), vip(80)));
	then_redirected_as(sent_to_pods(opening(inner(4001), pod(1))));
	when_client_sends(sent_to(opens(client(4002), vip(80)), others_mac));
	then_goes_up();
	given_uplink(uplink, own_mac);
}

/* Another link may have its place. */
static void frames_of_a_link_whose_address_is_not_known_go_up(void **state)
{
	(void)state;
	given_outside(1);
	given_uplink(uplink + XDP_LINKS_MAX, own_mac);

	when_client_sends(opens(client(4000), vip(80)));

	then_goes_up();
	then_no_flow();
	given_uplink(uplink, own_mac);
}

static void packets_from_nobody_go_up(void **state)
{
	static const char *const sources4[] = {"127.0.0.1", "0.0.0.0", "224.0.0.1",
					       "255.255.255.255"};
	static const char *const sources6[] = {"::", "::1", "ff02::1", "ff0e::1"};

	(void)state;
	given_outside(1);
	for (int i = 0; i < 4; i++) {
		struct peer source =
			peer((variant.family == FAMILY_IPV4 ? sources4 : sources6)[i], 4000);

		when_client_sends(opens(source, vip(80)));
		then_goes_up();
	}
	then_no_flow();
}

static void broken_headers_go_up(void **state)
{
	(void)state;
	given_outside(1);
	for (unsigned offset = 1; offset < 16; offset++) {
		struct frame frame = opens(client(4000), vip(80));

		frame.bytes[LINK_HEADER_SIZE + offset] ^= 0x10;
		when_client_sends(frame);
		then_goes_up();
	}
	then_no_flow();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		EACH(frames_for_others_go_up),
		EACH(replies_for_others_go_up),
		FAMILIES(frames_for_the_bridge_of_a_port_are_forwarded),
		FAMILIES(frames_of_a_link_whose_address_is_not_known_go_up),
		EACH(packets_from_nobody_go_up),
		ONCE(broken_headers_go_up),
	};

	return cmocka_run_group_tests_name("xdp frames", tests, xdp_load, xdp_unload);
}

/* SPDX-License-Identifier: BSD-2-Clause */

/* What is not ours goes on as it came; what cannot be read does no harm. */

#include "bpf/datapath.h"

#include <stdlib.h>
#include <string.h>

#define GARBAGE_FRAMES 4000

static void given_a_flow(void)
{
	given_pods(1);
	given_port(LINK_IFINDEX, true, own_mac);
	given_address(node(0).addr, ADDRESS_NODE);
	when_ingress(opens(client(4000), vip(80)));
	when_egress(answers(pod(1), client(4000)));
	when_ingress(follows(client(4000), vip(80)));
}

static int load_with_l3(void **state)
{
	(void)state;
	return datapath_load(datapath_with_l3);
}

static void when_everywhere_then_goes_on(struct frame frame)
{
	const struct bpf_program *all[] = {programs->progs.fl_ingress, programs->progs.fl_egress,
					   programs->progs.fl_ingress_l3,
					   programs->progs.fl_egress_l3};

	for (size_t i = 0; i < 4; i++) {
		when_run(all[i], frame, LINK_IFINDEX, LINK_IFINDEX);
		then_goes_on();
		when_run(all[i], frame, LINK_IFINDEX, 0);
		then_goes_on();
	}
}

static void a_packet_of_no_service_goes_on(void **state)
{
	(void)state;
	given_a_flow();

	when_everywhere_then_goes_on(opens(client(4000), router()));
	when_everywhere_then_goes_on(follows(another_client(4000), client(80)));
}

static void what_is_not_ip_goes_on(void **state)
{
	static const __u16 types[] = {0x0806, 0x8847, 0x88cc, 0x0004, 0x88a8};
	struct frame frame = opens(client(4000), vip(80));

	(void)state;
	given_a_flow();
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		frame.bytes[12] = (__u8)(types[i] >> 8);
		frame.bytes[13] = (__u8)types[i];
		when_everywhere_then_goes_on(frame);
	}
}

/* An IPv4 header in a frame that says IPv6, and the other way about; a version that nobody has. */
static void a_header_of_the_wrong_version_goes_on(void **state)
{
	struct frame frame = opens(client(4000), vip(80));
	__u8 first = frame.bytes[LINK_HEADER_SIZE];

	(void)state;
	given_a_flow();
	for (unsigned version = 0; version < 16; version++) {
		if (version == (unsigned)variant.family)
			continue;
		frame.bytes[LINK_HEADER_SIZE] = (__u8)((first & 0xf) | version << 4);
		when_everywhere_then_goes_on(frame);
	}
}

static void an_ipv4_header_that_is_too_short_goes_on(void **state)
{
	struct frame frame = opens(client(4000), vip(80));

	(void)state;
	given_a_flow();
	for (__u8 words = 0; words < 5; words++) {
		frame.bytes[LINK_HEADER_SIZE] = 0x40 | words;
		when_everywhere_then_goes_on(frame);
	}
}

static __u64 all_drops(void)
{
	__u64 sum = 0;

	for (unsigned reason = COUNTER_REJECT_NO_BACKEND; reason <= COUNTER_DROP_NEW_FLOWS;
	     reason++)
		sum += counted(reason);
	return sum;
}

/* The kernel does not run an untagged frame without a whole network header: so cut tagged ones. */
static struct frame tagged(struct packet_spec spec)
{
	spec.tags = 1;
	return built(spec);
}

/* Cuts a packet at every byte, for every program: it goes on as it is, or dies and is counted. */
static void when_cut_then_harmless(struct frame frame, __u32 headers)
{
	const struct bpf_program *all[] = {programs->progs.fl_ingress, programs->progs.fl_egress,
					   programs->progs.fl_ingress_l3,
					   programs->progs.fl_egress_l3};

	for (__u32 size = LINK_HEADER_SIZE; size < headers; size++) {
		for (size_t i = 0; i < 8; i++) {
			struct frame cut = frame_cut(&frame, size);
			__u64 before = all_drops();

			when_run(all[i / 2], cut, LINK_IFINDEX, i % 2);
			if (verdict() == TC_ACT_SHOT) {
				assert_int_equal(all_drops(), before + 1);
				continue;
			}
			then_goes_on();
			assert_int_equal(all_drops(), before);
		}
	}
}

static void a_packet_cut_anywhere_does_no_harm(void **state)
{
	struct frame whole = tagged(following(client(4000), vip(80)));
	__u32 headers = frame_transport(&whole) + (variant.proto == IPPROTO_TCP ? 20 : 8);

	(void)state;
	given_a_flow();
	when_cut_then_harmless(whole, headers);
	when_cut_then_harmless(tagged(opening(client(4001), vip(80))), headers);
	when_cut_then_harmless(tagged(opening(client(4001), vip(81))), headers);
	when_cut_then_harmless(tagged(opening(client(4001), pod(1))), headers);
	when_cut_then_harmless(tagged(following(pod(1), client(4000))), headers);
	when_cut_then_harmless(tagged(following(pod(1), node(4000))), headers);
}

static void a_packet_for_a_frontend_that_cannot_be_read_is_dropped(void **state)
{
	struct frame whole = tagged(following(client(4000), vip(80)));
	__u32 transport = frame_transport(&whole);
	__u32 headers = transport + (variant.proto == IPPROTO_TCP ? 20 : 8);
	__u64 count = 0;

	(void)state;
	given_a_flow();
	for (__u32 size = LINK_HEADER_SIZE; size < transport; size++) {
		when_ingress(frame_cut(&whole, size));
		then_goes_on();
	}
	for (__u32 size = transport; size < headers; size++) {
		when_ingress(frame_cut(&whole, size));
		assert_int_equal(verdict(), TC_ACT_SHOT);
		then_counted(COUNTER_DROP_MALFORMED, ++count);
	}
}

static void an_icmp_message_cut_anywhere_does_no_harm(void **state)
{
	bool is_ipv4 = variant.family == FAMILY_IPV4;
	struct frame quote = follows(client(4000), pod(1));
	struct packet_spec error = {
		.src = router(),
		.dst = client(0),
		.proto = is_ipv4 ? IPPROTO_ICMP : IPPROTO_ICMPV6,
		.icmp_type = is_ipv4 ? 3 : 1,
		.icmp_code = 3,
		.quote = &quote,
		.quote_transport = 8,
	};
	/* The last 4 bytes are not needed to tell whose it is. */
	__u32 headers = tagged(error).size - 4;

	(void)state;
	given_a_flow();
	when_cut_then_harmless(tagged(error), headers);
	error.dst = node(0);
	when_cut_then_harmless(tagged(error), headers);
	quote = follows(vip(80), client(4000));
	error.dst = vip(0);
	when_cut_then_harmless(tagged(error), headers);
}

static void tags_and_extension_headers_cut_anywhere_do_no_harm(void **state)
{
	struct packet_spec spec = opening(client(4000), vip(80));
	struct frame whole;

	(void)state;
	given_a_flow();
	spec.tags = 2;
	if (variant.family == FAMILY_IPV6) {
		spec.extensions[0] = (struct extension){.proto = IPPROTO_HOPOPTS, .size = 8};
		spec.extensions[1] = (struct extension){.proto = IPPROTO_DSTOPTS, .size = 16};
	} else {
		spec.ipv4_options = 12;
	}
	whole = built(spec);
	when_cut_then_harmless(whole, whole.size - (variant.proto == IPPROTO_TCP ? 0 : 11));
}

/* The same in every run. */
static void garbage_does_no_harm(void **state)
{
	struct frame frame = tagged(opening(client(4000), vip(80))), garbled;
	unsigned seed = 1;

	(void)state;
	given_a_flow();
	for (int i = 0; i < GARBAGE_FRAMES; i++) {
		garbled = frame;
		garbled.size = LINK_HEADER_SIZE + (__u32)rand_r(&seed) % (frame.size + 40);
		for (int bytes = rand_r(&seed) % 8; bytes >= 0; bytes--)
			garbled.bytes[LINK_HEADER_SIZE + rand_r(&seed) % 60] = (__u8)rand_r(&seed);
		when_ingress(garbled);
		assert_true(verdict() == TC_ACT_UNSPEC || verdict() == TC_ACT_SHOT ||
			    verdict() == TC_ACT_REDIRECT);
		when_node_sends(garbled);
		assert_true(verdict() == TC_ACT_UNSPEC || verdict() == TC_ACT_SHOT ||
			    verdict() == TC_ACT_REDIRECT);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		EACH(a_packet_of_no_service_goes_on),
		FAMILIES(what_is_not_ip_goes_on),
		FAMILIES(a_header_of_the_wrong_version_goes_on),
		ONCE(an_ipv4_header_that_is_too_short_goes_on),
		EACH(a_packet_cut_anywhere_does_no_harm),
		EACH(a_packet_for_a_frontend_that_cannot_be_read_is_dropped),
		EACH(an_icmp_message_cut_anywhere_does_no_harm),
		EACH(tags_and_extension_headers_cut_anywhere_do_no_harm),
		EACH(garbage_does_no_harm),
	};

	return cmocka_run_group_tests_name("pass", tests, load_with_l3, datapath_unload);
}

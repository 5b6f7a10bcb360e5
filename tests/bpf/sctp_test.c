/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * SCTP: its checksum, corrected for ports that change, against one computed bit by bit over all of
 * the packet; and associations through a Service.
 */

#include "bpf/datapath.h"

#include <bpf/bpf.h>
#include <linux/in.h>
#include <stdlib.h>
#include <string.h>

#include "../../bpf/packet/crc32c.h"

enum chunk {
	DATA = 0,
	INIT = 1,
	INIT_ACK = 2,
	HEARTBEAT = 4,
	ABORT = 6,
	SHUTDOWN = 7,
	SHUTDOWN_ACK = 8,
	COOKIE_ECHO = 10,
	COOKIE_ACK = 11,
	SHUTDOWN_COMPLETE = 14,
};

static struct packet_spec chunk_of(struct peer src, struct peer dst, enum chunk chunk,
				   __u32 payload)
{
	return (struct packet_spec){
		.src = src,
		.dst = dst,
		.proto = IPPROTO_SCTP,
		.sctp_chunk = (__u8)chunk,
		.seq = chunk == INIT ? 0 : 0x01020304,
		.payload = payload,
	};
}

static struct frame sctp(struct peer src, struct peer dst, enum chunk chunk)
{
	return built(chunk_of(src, dst, chunk, 16));
}

static void given_established(void)
{
	given_pods(1);
	when_ingress(sctp(client(4000), vip(80), INIT));
	when_egress(sctp(pod(1), client(4000), INIT_ACK));
	when_ingress(sctp(client(4000), vip(80), COOKIE_ECHO));
	assert_int_equal(verdict(), TC_ACT_UNSPEC);
}

static enum flow_state state_now(void)
{
	struct flow original, reply;

	assert_int_not_equal(original_place(&original), FLOW_NOWHERE);
	assert_int_not_equal(reply_place(&reply), FLOW_NOWHERE);
	assert_int_equal(original.state, reply.state);
	return original.state;
}

static __u32 little(const __u8 *bytes)
{
	return bytes[0] | (__u32)bytes[1] << 8 | (__u32)bytes[2] << 16 | (__u32)bytes[3] << 24;
}

/* Changes four bytes at the begin of `size` random ones: both ways must have the same checksum. */
static void then_corrected(__u8 *bytes, __u32 size)
{
	__u32 before, after, difference;

	for (__u32 i = 0; i < size; i++)
		bytes[i] = (__u8)random();
	before = crc32c(bytes, size);
	difference = little(bytes);
	for (__u32 i = 0; i < 4; i++)
		bytes[i] = (__u8)random();
	difference ^= little(bytes);
	after = crc32c(bytes, size);
	if ((before ^ crc32c_advance(difference, (__u16)size)) != after)
		fail_msg("wrong for %u bytes", size);
}

static void a_checksum_is_corrected_for_every_length(void **state)
{
	static __u8 bytes[UINT16_MAX];
	static const __u32 lengths[] = {9000, 32767, 32768, 65534, 65535};

	(void)state;
	srandom(20260504);
	for (__u32 size = 12; size <= 1500; size++)
		then_corrected(bytes, size);
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++)
		then_corrected(bytes, lengths[i]);
}

static void the_checksum_itself_is_the_standards(void **state)
{
	(void)state;
	/* The check value that CRC catalogues give. */
	assert_int_equal(crc32c((const __u8 *)"123456789", 9), 0xe3069283);
}

static void packets_of_every_length_are_right_both_ways(void **state)
{
	(void)state;
	given_established();
	for (__u32 payload = 0; payload <= 1460; payload += 4) {
		when_ingress(built(chunk_of(client(4000), vip(80), DATA, payload)));
		then_goes_on_as(built(chunk_of(client(4000), pod(1), DATA, payload)));
		when_egress(built(chunk_of(pod(1), client(4000), DATA, payload)));
		then_goes_on_as(built(chunk_of(vip(80), client(4000), DATA, payload)));
	}
}

static void the_length_does_not_come_from_the_frame(void **state)
{
	struct frame packet, expected;

	(void)state;
	given_established();
	packet = built(chunk_of(client(4000), vip(80), DATA, 4));
	expected = built(chunk_of(client(4000), pod(1), DATA, 4));
	/* Ethernet pads short frames. */
	memset(packet.bytes + packet.size, 0, 6);
	memset(expected.bytes + expected.size, 0, 6);
	packet.size += 6;
	expected.size += 6;

	when_ingress(packet);

	then_goes_on_as(expected);
}

static void options_and_extensions_are_not_part_of_the_length(void **state)
{
	struct packet_spec in, out;

	(void)state;
	given_established();
	in = chunk_of(client(4000), vip(80), DATA, 100);
	out = chunk_of(client(4000), pod(1), DATA, 100);
	in.ipv4_options = out.ipv4_options = variant.family == FAMILY_IPV4 ? 8 : 0;
	if (variant.family == FAMILY_IPV6)
		in.extensions[0] = out.extensions[0] =
			(struct extension){.proto = IPPROTO_DSTOPTS, .size = 16};

	when_ingress(built(in));

	then_goes_on_as(built(out));
}

static void a_checksum_that_was_not_made_is_not_made(void **state)
{
	struct packet_spec in, out;

	(void)state;
	given_established();
	in = chunk_of(client(4000), vip(80), DATA, 100);
	out = chunk_of(client(4000), pod(1), DATA, 100);
	in.no_checksum = out.no_checksum = true;

	when_ingress(built(in));

	then_goes_on_as(built(out));
}

static void an_association_is_followed_to_its_end(void **state)
{
	static const struct {
		bool is_reply;
		enum chunk chunk;
		enum flow_state after;
	} steps[] = {
		{false, INIT, FLOW_NEW},
		{true, INIT_ACK, FLOW_REPLIED},
		{false, INIT, FLOW_REPLIED},
		{false, COOKIE_ECHO, FLOW_ESTABLISHED},
		{true, COOKIE_ACK, FLOW_ESTABLISHED},
		{false, DATA, FLOW_ESTABLISHED},
		{true, HEARTBEAT, FLOW_ESTABLISHED},
		{false, SHUTDOWN, FLOW_CLOSING},
		{true, SHUTDOWN_ACK, FLOW_CLOSING},
		{false, SHUTDOWN_COMPLETE, FLOW_CLOSED},
	};

	(void)state;
	given_pods(1);
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		if (steps[i].is_reply) {
			when_egress(sctp(pod(1), client(4000), steps[i].chunk));
			then_goes_on_as(sctp(vip(80), client(4000), steps[i].chunk));
		} else {
			when_ingress(sctp(client(4000), vip(80), steps[i].chunk));
			then_goes_on_as(sctp(client(4000), pod(1), steps[i].chunk));
		}
		assert_int_equal(state_now(), steps[i].after);
	}
	then_counted(COUNTER_FORWARDED_NEW, 1);
}

static void an_abort_closes_an_association(void **state)
{
	(void)state;
	given_established();

	when_egress(sctp(pod(1), client(4000), ABORT));

	then_goes_on_as(sctp(vip(80), client(4000), ABORT));
	assert_int_equal(state_now(), FLOW_CLOSED);
}

/* It goes where that goes; the backend knows whether it is meant (RFC 9260, 5.2.2). */
static void an_init_on_an_association_changes_nothing(void **state)
{
	(void)state;
	given_established();

	when_ingress(sctp(client(4000), vip(80), INIT));

	then_goes_on_as(sctp(client(4000), pod(1), INIT));
	then_counted(COUNTER_FORWARDED_NEW, 1);
	assert_int_equal(state_now(), FLOW_ESTABLISHED);
}

static void an_association_ends_where_nobody_speaks(void **state)
{
	(void)state;
	given_established();
	given_time_passed(TIMEOUT_SCTP_ESTABLISHED_S - 1);
	when_ingress(sctp(client(4000), vip(80), HEARTBEAT));
	then_goes_on_as(sctp(client(4000), pod(1), HEARTBEAT));
	given_time_passed(TIMEOUT_SCTP_ESTABLISHED_S + 1);

	when_ingress(sctp(client(4000), vip(80), DATA));

	then_counted(COUNTER_REJECT_NO_FLOW, 1);
}

/* What answers a packet that is refused. */
static struct frame port_unreachable(const struct frame *refused)
{
	bool is_ipv4 = variant.family == FAMILY_IPV4;

	return packet(.src = {vip(0).addr, 0}, .dst = {client(0).addr, 0},
		      .proto = is_ipv4 ? IPPROTO_ICMP : IPPROTO_ICMPV6,
		      .icmp_type = is_ipv4 ? 3 : 1, .icmp_code = is_ipv4 ? 3 : 4, .quote = refused,
		      .quote_transport = 12, .is_fresh = true, .is_returned = true);
}

static void without_a_backend_an_init_is_answered_with_port_unreachable(void **state)
{
	struct frame init = sctp(client(4000), vip(80), INIT);
	__u32 service = given_pods(0);

	(void)state;
	given_no_slots(service, EMPTY_REJECT);

	when_ingress(init);

	then_returns_as(port_unreachable(&init));
	then_counted(COUNTER_REJECT_NO_BACKEND, 1);
}

static void a_packet_of_no_association_is_refused(void **state)
{
	struct frame data = sctp(client(4000), vip(80), DATA);

	(void)state;
	given_pods(1);

	when_ingress(data);

	then_returns_as(port_unreachable(&data));
	then_counted(COUNTER_REJECT_NO_FLOW, 1);
}

/* The chunk that the first does not hold whole says how long the packet is. */
static void a_large_chunk_in_fragments_is_translated(void **state)
{
	(void)state;
	given_established();
	for (__u32 payload = 1000; payload < 1032; payload += 4) {
		struct packet_spec in = chunk_of(client(4000), vip(80), DATA, payload);
		struct packet_spec out = chunk_of(client(4000), pod(1), DATA, payload);

		in.cut_to = out.cut_to = 512;
		when_ingress(built(in));
		then_goes_on_as(built(out));
		in.cut_from = out.cut_from = 512;
		in.cut_to = out.cut_to = 2000;
		when_ingress(built(in));
		then_goes_on_as(built(out));
	}
}

static void a_fragment_whose_checksum_nobody_can_correct_is_dropped(void **state)
{
	struct packet_spec spec;
	struct frame fragment;

	(void)state;
	given_established();
	spec = chunk_of(client(4000), vip(80), DATA, 1000);
	spec.cut_to = 512;
	fragment = built(spec);
	/* Its chunk ends before the fragment does. */
	fragment.bytes[fragment.size - spec.cut_to + 14] = 0;

	when_ingress(fragment);

	then_dropped(COUNTER_DROP_FRAGMENT);
}

static void fragments_go_on_where_ports_stay(void **state)
{
	struct packet_spec in, out;

	(void)state;
	given_pods(1);
	(void)given_service(vip(BACKEND_PORT), IPPROTO_SCTP, 1, (const __u32[]){1});
	when_ingress(sctp(client(4001), vip(BACKEND_PORT), INIT));
	when_egress(sctp(pod(1), client(4001), INIT_ACK));
	in = chunk_of(client(4001), vip(BACKEND_PORT), COOKIE_ECHO, 1000);
	out = chunk_of(client(4001), pod(1), COOKIE_ECHO, 1000);
	in.cut_to = out.cut_to = 512;
	when_ingress(built(in));
	then_goes_on_as(built(out));
	in.cut_from = out.cut_from = 512;
	in.cut_to = out.cut_to = 2000;

	when_ingress(built(in));

	then_goes_on_as(built(out));
}

static void a_packet_cut_short_is_dropped(void **state)
{
	struct frame init = sctp(client(4000), vip(80), INIT);

	(void)state;
	given_pods(1);

	when_ingress(frame_cut(&init, frame_transport(&init) + 11));

	then_dropped(COUNTER_DROP_MALFORMED);
}

static void an_error_about_a_packet_names_what_the_client_sent(void **state)
{
	struct frame sent, seen, error, expected;
	bool is_ipv4 = variant.family == FAMILY_IPV4;

	(void)state;
	given_established();
	sent = built(chunk_of(client(4000), vip(80), DATA, 400));
	seen = built(chunk_of(client(4000), pod(1), DATA, 400));
#define TOO_BIG(from, about)                                                                   \
	packet(.src = {from, 0}, .dst = {client(0).addr, 0},                                   \
	       .proto = is_ipv4 ? IPPROTO_ICMP : IPPROTO_ICMPV6, .icmp_type = is_ipv4 ? 3 : 2, \
	       .icmp_code = is_ipv4 ? 4 : 0, .icmp_rest = 1280, .quote = &(about),             \
	       .quote_transport = 8)
	error = TOO_BIG(router().addr, seen);
	expected = TOO_BIG(router().addr, sent);

	when_egress(error);

	then_goes_on_as(expected);
}

int main(void)
{
	struct CMUnitTest tests[] = {
		cmocka_unit_test(a_checksum_is_corrected_for_every_length),
		cmocka_unit_test(the_checksum_itself_is_the_standards),
		FAMILIES(packets_of_every_length_are_right_both_ways),
		FAMILIES(the_length_does_not_come_from_the_frame),
		FAMILIES(options_and_extensions_are_not_part_of_the_length),
		FAMILIES(a_checksum_that_was_not_made_is_not_made),
		FAMILIES(an_association_is_followed_to_its_end),
		FAMILIES(an_abort_closes_an_association),
		FAMILIES(an_init_on_an_association_changes_nothing),
		FAMILIES(an_association_ends_where_nobody_speaks),
		FAMILIES(without_a_backend_an_init_is_answered_with_port_unreachable),
		FAMILIES(a_packet_of_no_association_is_refused),
		FAMILIES(a_large_chunk_in_fragments_is_translated),
		FAMILIES(a_fragment_whose_checksum_nobody_can_correct_is_dropped),
		FAMILIES(fragments_go_on_where_ports_stay),
		FAMILIES(a_packet_cut_short_is_dropped),
		FAMILIES(an_error_about_a_packet_names_what_the_client_sent),
	};

	/* The harness' variants are of TCP and UDP; these tests are of SCTP alone. */
	for (size_t i = 0; i < sizeof(variants) / sizeof(variants[0]); i++)
		variants[i].proto = IPPROTO_SCTP;
	return cmocka_run_group_tests(tests, datapath_load_default, datapath_unload);
}

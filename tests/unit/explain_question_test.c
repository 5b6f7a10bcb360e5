/* SPDX-License-Identifier: BSD-2-Clause */

/* What `fairlead explain` makes of its arguments, and which tables it would write to. */

#include <arpa/inet.h>
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "base/address.h"
#include "cli/explain/explain_packet.h"
#include "cli/explain/explain_question.h"
#include "cli/explain/explain_tables.h"
#include "skeleton/tc.skel.h"

static struct question question_of(const char *dst, const char *src)
{
	struct question question = {0};

	assert_null(question_parse_dst(dst, &question));
	assert_null(question_parse_src(src, &question));
	assert_null(question_check(&question));
	return question;
}

static void then_address(const struct ip_addr *addr, const char *wanted)
{
	char text[ADDRESS_TEXT_SIZE];

	assert_string_equal(address_format(addr, text), wanted);
}

static void an_address_has_a_port_and_a_protocol(void **state)
{
	struct question question = question_of("10.96.0.10:53/udp", "10.244.1.5");

	(void)state;
	then_address(&question.dst, "10.96.0.10");
	then_address(&question.src, "10.244.1.5");
	assert_int_equal(ntohs(question.dst_port), 53);
	assert_int_equal(question.src_port, 0);
	assert_int_equal(question.proto, IPPROTO_UDP);
	assert_false(question_has_name(&question));

	question = question_of("[fd00::a]:443/SCTP", "[fd00::5]:4000");
	then_address(&question.dst, "fd00::a");
	assert_int_equal(ntohs(question.dst_port), 443);
	assert_int_equal(ntohs(question.src_port), 4000);
	assert_int_equal(question.proto, IPPROTO_SCTP);
}

static void an_echo_request_has_no_port(void **state)
{
	struct question question = question_of("fd00::a/icmp", "fd00::5");

	(void)state;
	then_address(&question.dst, "fd00::a");
	assert_int_equal(question.proto, IPPROTO_ICMP);
	question = question_of("10.0.0.1/ICMP", "10.0.0.2");
	assert_int_equal(question.dst_port, 0);
}

static void a_service_may_be_named(void **state)
{
	struct question question = question_of("shop/web:http/Tcp", "10.244.1.5");

	(void)state;
	assert_true(question_has_name(&question));
	assert_string_equal(question.namespace_, "shop");
	assert_string_equal(question.name, "web");
	assert_string_equal(question.port_name, "http");
	assert_int_equal(question.dst_port, 0);

	question = question_of("shop/web:8080/tcp", "fd00::5");
	assert_int_equal(ntohs(question.dst_port), 8080);
	assert_string_equal(question.port_name, "");

	question = question_of("shop/web/udp", "fd00::5");
	assert_string_equal(question.name, "web");
	assert_int_equal(question.dst_port, 0);
}

static void what_is_no_destination_is_told(void **state)
{
	static const char *const texts[] = {
		"",
		"/tcp",
		"10.0.0.1:80",
		"10.0.0.1:80/",
		"10.0.0.1:80/x",
		"10.0.0.1:0/tcp",
		"10.0.0.1:x/tcp",
		"10.0.0.1:65536/tcp",
		"shop//tcp",
		"/web:80/tcp",
		"a/b/c/tcp",
		"[fd00::1:80/tcp",
		"shop/web:/tcp",
		"fd00::1]:80/tcp",
		"nonsense:80/tcp",
		"10.0.0.256:80/tcp",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		struct question question = {0};

		if (!question_parse_dst(texts[i], &question))
			fail_msg("`%s` is taken for a destination", texts[i]);
	}
}

static void long_names_do_not_fit_and_are_told(void **state)
{
	struct question question = {0};
	char text[1024];

	(void)state;
	memset(text, 'a', sizeof(text));
	text[4] = '/';
	(void)strcpy(text + sizeof(text) - sizeof("/tcp"), "/tcp");
	assert_non_null(question_parse_dst(text, &question));
	(void)strcpy(text + 80, ":1/tcp");
	assert_non_null(question_parse_dst(text, &question));
}

static void what_does_not_fit_together_is_told(void **state)
{
	static const char *const pairs[][2] = {
		{"10.0.0.1/tcp", "10.0.0.2"},     {"10.0.0.1:80/icmp", "10.0.0.2"},
		{"10.0.0.1/icmp", "10.0.0.2:80"}, {"[fd00::1]:80/tcp", "10.0.0.2"},
		{"10.0.0.1:80/tcp", "fd00::2"},   {"shop/web:80/icmp", "10.0.0.2"},
	};
	struct question question = {0};

	(void)state;
	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		question = (struct question){0};
		assert_null(question_parse_dst(pairs[i][0], &question));
		assert_null(question_parse_src(pairs[i][1], &question));
		assert_non_null(question_check(&question));
	}
	question = (struct question){0};
	assert_null(question_parse_dst("10.0.0.1:80/tcp", &question));
	assert_non_null(question_check(&question));
	assert_non_null(question_parse_src("here", &question));
}

static struct test_frame frame_of(const char *dst, const char *src, __u8 proto)
{
	struct flow_key tuple = {.src_port = htons(4000), .dst_port = htons(80), .proto = proto};

	assert_int_equal(address_parse(dst, &tuple.dst), 0);
	assert_int_equal(address_parse(src, &tuple.src), 0);
	return test_frame_build(&tuple, true, (const __u8[6]){2, 0, 0, 0, 0, 1});
}

static void packets_have_the_addresses_and_the_size_that_they_say(void **state)
{
	struct test_frame frame = frame_of("10.0.0.1", "10.0.0.2", IPPROTO_TCP);
	struct ip_addr src, dst;

	(void)state;
	assert_int_equal(frame.size, 14 + 20 + 20);
	assert_int_equal(frame.bytes[14 + 3], 40);
	assert_true(test_frame_addresses(&frame, &src, &dst));
	then_address(&src, "10.0.0.2");
	then_address(&dst, "10.0.0.1");

	frame = frame_of("fd00::1", "fd00::2", IPPROTO_ICMP);
	assert_int_equal(frame.size, 14 + 40 + 8);
	assert_int_equal(frame.bytes[14 + 6], IPPROTO_ICMPV6);
	assert_true(test_frame_addresses(&frame, &src, &dst));
	then_address(&src, "fd00::2");

	frame.size = 20;
	assert_false(test_frame_addresses(&frame, &src, &dst));
}

/*
 * Each table of the programs stands in one of two lists: those that programs only look into, which
 * are shared, and those they write to. A new one must be put into one of them by somebody who knows.
 */
static void every_table_is_known_to_be_written_to_or_not(void **state)
{
	static const char *const written[] = {
		"address_flows",      "affinity",         "agent_status",  "counters",
		"datagram_state",     "exhausted",        "flow_checks",   "flow_drafts",
		"flow_renewals",      "flow_sweeper",     "flows",         "fragments",
		"neighbour_searches", "neighbour_sought", "new_flows",     "node_ports",
		"own_replies",        "redirect_targets", "reject_budget", "service_names",
		"service_stats",      "services",         "socket_state",  "tuple_locks",
		"unprogrammed",
	};
	struct tc_bpf *tc = tc_bpf__open();
	const struct bpf_map *map;

	(void)state;
	assert_non_null(tc);
	bpf_object__for_each_map (map, tc->obj) {
		bool is_written = bpf_map__is_internal(map);

		for (size_t i = 0; i < sizeof(written) / sizeof(written[0]); i++)
			is_written |= !strcmp(bpf_map__name(map), written[i]);
		if (is_written == map_has_trait(bpf_map__name(map), MAP_IS_LOOKED_INTO))
			fail_msg("is the table %s written to by programs? fairlead/maps.h and this "
				 "test must say so",
				 bpf_map__name(map));
	}
	tc_bpf__destroy(tc);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_address_has_a_port_and_a_protocol),
		cmocka_unit_test(an_echo_request_has_no_port),
		cmocka_unit_test(a_service_may_be_named),
		cmocka_unit_test(what_is_no_destination_is_told),
		cmocka_unit_test(long_names_do_not_fit_and_are_told),
		cmocka_unit_test(what_does_not_fit_together_is_told),
		cmocka_unit_test(packets_have_the_addresses_and_the_size_that_they_say),
		cmocka_unit_test(every_table_is_known_to_be_written_to_or_not),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: BSD-2-Clause */

/* Where a service port answers, whom its load-balancer IPs are for, and which sets that needs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "base/address.h"
#include "plan/plan.h"

#define TEXT_SIZE 1024
#define ITEMS_MAX 8

static struct ip_addr ip(const char *text)
{
	struct ip_addr addr;

	assert_int_equal(address_parse(text, &addr), 0);
	return addr;
}

static const char *no_link(const struct ip_addr *addr, void *context)
{
	(void)addr;
	(void)context;
	return NULL;
}

static const char *cluster_ip_is_on_a_link(const struct ip_addr *addr, void *context)
{
	const struct ip_addr assigned = ip("10.96.0.1");

	(void)context;
	return address_equal(addr, &assigned) ? "nodelocaldns" : NULL;
}

/* shop/web with one port, http 80/TCP, in both families; what is external is written as words. */
struct given {
	struct object service;
	struct service_port port;
	struct ip_addr external[ITEMS_MAX], balanced[ITEMS_MAX], node_ports[ITEMS_MAX];
	struct cidr ranges[ITEMS_MAX];
	struct plan_context context;
};

static __u32 read_addresses(const char *text, struct ip_addr *addrs)
{
	char copy[TEXT_SIZE], *rest = NULL;
	__u32 count = 0;

	(void)snprintf(copy, sizeof(copy), "%s", text);
	for (char *word = strtok_r(copy, " ", &rest); word; word = strtok_r(NULL, " ", &rest))
		addrs[count++] = ip(word);
	return count;
}

static void given_service(struct given *given, __u16 node_port, const char *external,
			  const char *balanced)
{
	struct service_object *spec = &given->service.service;

	*given = (struct given){
		.port = {.name = "http", .proto = IPPROTO_TCP, .port = 80, .node_port = node_port},
		.service = {.kind = OBJECT_SERVICE, .namespace_ = "shop", .name = "web"},
		.context = {.node_name = "here", .link_with_address = no_link},
	};
	spec->cluster_ips[0] = ip("10.96.0.1");
	spec->cluster_ips[1] = ip("fd00:96::1");
	spec->cluster_ip_count = 2;
	spec->ports = &given->port;
	spec->port_count = 1;
	spec->external_ips = given->external;
	spec->external_ip_count = read_addresses(external, given->external);
	spec->load_balancer_ips = given->balanced;
	spec->load_balancer_ip_count = read_addresses(balanced, given->balanced);
	given->context.node_port_addresses = given->node_ports;
	given->context.node_port_address_count =
		read_addresses("127.0.0.1 172.18.0.11 fd00:18::11", given->node_ports);
	given->context.node_ips[0] = ip("172.18.0.11");
	given->context.node_ips[1] = ip("fd00:18::11");
}

static void given_ranges(struct given *given, const char *text)
{
	struct service_object *spec = &given->service.service;
	char copy[TEXT_SIZE], *rest = NULL;

	(void)snprintf(copy, sizeof(copy), "%s", text);
	spec->source_ranges = given->ranges;
	spec->source_range_count = 0;
	for (char *word = strtok_r(copy, " ", &rest); word; word = strtok_r(NULL, " ", &rest)) {
		struct cidr *range = &given->ranges[spec->source_range_count++];

		assert_int_equal(cidr_parse(word, &range->addr, &range->prefix), 0);
	}
}

static struct plan when_planned(const struct given *given)
{
	struct plan plan;

	assert_int_equal(plan_service(&given->context, &given->service, NULL, 0, &plan), 0);
	return plan;
}

/* "10.96.0.1:80=1 203.0.113.1:80=3": each with the number of its kind, in order. */
static void then_frontends(const struct planned_port *port, const char *expected)
{
	char text[TEXT_SIZE] = "", one[ADDRESS_TEXT_SIZE];

	assert_int_equal(port->unprogrammed, 0);
	for (size_t i = 0; i < port->frontend_count; i++) {
		const struct planned_frontend *frontend = &port->frontends[i];
		size_t length = strlen(text);

		assert_int_equal(frontend->frontend.proto, IPPROTO_TCP);
		(void)snprintf(
			text + length, sizeof(text) - length, "%s%s=%u", i ? " " : "",
			endpoint_format(&frontend->frontend.vip, frontend->frontend.port, one),
			frontend->kind);
	}
	assert_string_equal(text, expected);
}

static void then_ranges(const struct planned_port *port, const char *expected)
{
	char text[TEXT_SIZE] = "", one[ADDRESS_TEXT_SIZE];

	for (size_t i = 0; i < port->source_range_count; i++) {
		const struct cidr *range = &port->source_ranges[i];
		size_t length = strlen(text);

		(void)snprintf(text + length, sizeof(text) - length, "%s%s/%u", i ? " " : "",
			       address_format(&range->addr, one), range->prefix);
	}
	assert_string_equal(text, expected);
}

static void each_kind_answers_in_its_family(void **state)
{
	struct given given;
	struct plan plan;

	(void)state;
	given_service(&given, 30080, "203.0.113.2 2001:db8::2", "203.0.113.1 2001:db8::1");

	plan = when_planned(&given);

	assert_int_equal(plan.port_count, 2);
	then_frontends(&plan.ports[0], "10.96.0.1:80=1 127.0.0.1:30080=2 172.18.0.11:30080=2 "
				       "203.0.113.1:80=4 203.0.113.2:80=3");
	then_frontends(&plan.ports[1],
		       "[2001:db8::1]:80=4 [2001:db8::2]:80=3 [fd00:18::11]:30080=2 "
		       "[fd00:96::1]:80=1");
	plan_fini(&plan);
}

/* Rule I114: what is a load balancer's is filtered, whatever else it is. */
static void an_address_that_is_several_things_is_planned_once(void **state)
{
	struct given given;
	struct plan plan;

	(void)state;
	given_service(&given, 80, "203.0.113.1 203.0.113.1 172.18.0.11 10.96.0.1", "203.0.113.1");

	plan = when_planned(&given);

	then_frontends(&plan.ports[0],
		       "10.96.0.1:80=1 127.0.0.1:80=2 172.18.0.11:80=3 203.0.113.1:80=4");
	plan_fini(&plan);
}

static void a_cluster_ip_on_a_link_is_left_alone_the_rest_is_served(void **state)
{
	struct given given;
	struct plan plan;

	(void)state;
	given_service(&given, 30080, "", "");
	given.context.link_with_address = cluster_ip_is_on_a_link;

	plan = when_planned(&given);

	then_frontends(&plan.ports[0], "127.0.0.1:30080=2 172.18.0.11:30080=2");
	plan_fini(&plan);

	given_service(&given, 0, "", "");
	given.context.link_with_address = cluster_ip_is_on_a_link;
	plan = when_planned(&given);
	assert_int_equal(plan.ports[0].unprogrammed, UNPROGRAMMED_LOCAL_ADDRESS);
	assert_string_equal(plan.ports[0].detail, "nodelocaldns");
	plan_fini(&plan);
}

/* Rules E59, E60, B30 and D50 to D52. */
static void the_policies_say_which_sets_are_needed(void **state)
{
	static const struct {
		const char *what;
		__u16 node_port;
		const char *external;
		bool internal_local, external_local;
		bool uses_cluster, uses_local;
		__u32 flags;
	} rows[] = {
		{"nothing external", 0, "", false, true, true, false, 0},
		{"iTP Local alone", 0, "", true, true, false, true, SERVICE_INTERNAL_LOCAL},
		{"a NodePort", 30080, "", false, false, true, false, SERVICE_EXTERNAL},
		{"a NodePort, eTP Local", 30080, "", false, true, true, true,
		 SERVICE_EXTERNAL | SERVICE_EXTERNAL_LOCAL},
		{"a NodePort, iTP Local", 30080, "", true, false, true, true,
		 SERVICE_EXTERNAL | SERVICE_INTERNAL_LOCAL},
		{"an external IP, both Local", 0, "203.0.113.1", true, true, true, true,
		 SERVICE_EXTERNAL | SERVICE_INTERNAL_LOCAL | SERVICE_EXTERNAL_LOCAL},
		{"an external IP of the other family", 0, "2001:db8::1", true, true, false, true,
		 SERVICE_INTERNAL_LOCAL},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct planned_port *port;
		struct given given;
		struct plan plan;

		given_service(&given, rows[i].node_port, rows[i].external, "");
		given.service.service.internal_local = rows[i].internal_local;
		given.service.service.external_local = rows[i].external_local;
		plan = when_planned(&given);
		port = &plan.ports[0];
		if (port->uses_cluster != rows[i].uses_cluster ||
		    port->uses_local != rows[i].uses_local || port->flags != rows[i].flags)
			fail_msg("%s: cluster %d, local %d, flags %u", rows[i].what,
				 port->uses_cluster, port->uses_local, port->flags);
		assert_int_equal(port->empty_local, EMPTY_REJECT);
		plan_fini(&plan);
	}
}

static void source_ranges_are_those_of_the_family(void **state)
{
	static const struct {
		const char *what, *ranges, *ipv4, *ipv6;
		__u32 ipv4_flags, ipv6_flags;
	} rows[] = {
		{"none", "", "", "", 0, 0},
		{"both families", "10.0.0.0/8 2001:db8:5::/48", "10.0.0.0/104", "2001:db8:5::/48",
		 SERVICE_SOURCE_RANGES, SERVICE_SOURCE_RANGES},
		{"one family leaves the other open", "10.0.0.0/8 10.0.0.0/8", "10.0.0.0/104", "",
		 SERVICE_SOURCE_RANGES, 0},
		{"a range of all opens the family", "10.0.0.0/8 0.0.0.0/0 2001:db8::/32 ::/0", "",
		 "", 0, 0},
		{"the node's address lets the VIP in", "172.18.0.0/16 10.0.0.0/8",
		 "10.0.0.0/104 172.18.0.0/112 203.0.113.1/128", "",
		 SERVICE_SOURCE_RANGES | SERVICE_NODE_ALLOWED, 0},
		{"the node's address in IPv6", "fd00:18::11/128", "",
		 "2001:db8::1/128 fd00:18::11/128", 0,
		 SERVICE_SOURCE_RANGES | SERVICE_NODE_ALLOWED},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct given given;
		struct plan plan;

		given_service(&given, 0, "", "203.0.113.1 2001:db8::1");
		given_ranges(&given, rows[i].ranges);
		plan = when_planned(&given);
		print_message("%s\n", rows[i].what);
		then_ranges(&plan.ports[0], rows[i].ipv4);
		then_ranges(&plan.ports[1], rows[i].ipv6);
		assert_int_equal(plan.ports[0].flags, rows[i].ipv4_flags | SERVICE_EXTERNAL);
		assert_int_equal(plan.ports[1].flags, rows[i].ipv6_flags | SERVICE_EXTERNAL);
		plan_fini(&plan);
	}
}

static void a_range_that_was_skipped_does_not_open_the_service(void **state)
{
	struct given given;
	struct plan plan;

	(void)state;
	given_service(&given, 0, "", "203.0.113.1");
	given.service.service.has_bad_source_range = true;

	plan = when_planned(&given);

	assert_true(plan.ports[0].flags & SERVICE_SOURCE_RANGES);
	then_ranges(&plan.ports[0], "");
	plan_fini(&plan);
}

static void ranges_without_load_balancer_ips_are_nothing(void **state)
{
	struct given given;
	struct plan plan;

	(void)state;
	given_service(&given, 30080, "203.0.113.1", "");
	given_ranges(&given, "10.0.0.0/8");

	plan = when_planned(&given);

	assert_int_equal(plan.ports[0].flags, SERVICE_EXTERNAL);
	then_ranges(&plan.ports[0], "");
	plan_fini(&plan);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_kind_answers_in_its_family),
		cmocka_unit_test(an_address_that_is_several_things_is_planned_once),
		cmocka_unit_test(a_cluster_ip_on_a_link_is_left_alone_the_rest_is_served),
		cmocka_unit_test(the_policies_say_which_sets_are_needed),
		cmocka_unit_test(source_ranges_are_those_of_the_family),
		cmocka_unit_test(a_range_that_was_skipped_does_not_open_the_service),
		cmocka_unit_test(ranges_without_load_balancer_ips_are_nothing),
	};

	return cmocka_run_group_tests_name("plan_frontends", tests, NULL, NULL);
}

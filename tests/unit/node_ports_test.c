/* SPDX-License-Identifier: BSD-2-Clause */

/* On which addresses NodePorts are served: rows of what is known, and what follows. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "agent/node_port_addresses.h"
#include "base/address.h"

#define TEXT_SIZE 512
#define ITEMS_MAX 8

static size_t read_addresses(const char *text, struct ip_addr *addrs)
{
	char copy[TEXT_SIZE], *rest = NULL;
	size_t count = 0;

	(void)snprintf(copy, sizeof(copy), "%s", text);
	for (char *word = strtok_r(copy, " ", &rest); word; word = strtok_r(NULL, " ", &rest))
		assert_int_equal(address_parse(word, &addrs[count++]), 0);
	return count;
}

static void then_addresses(const struct ip_addr *addrs, size_t count, const char *what,
			   const char *expected)
{
	char text[TEXT_SIZE] = "", one[ADDRESS_TEXT_SIZE];

	for (size_t i = 0; i < count; i++) {
		size_t length = strlen(text);

		(void)snprintf(text + length, sizeof(text) - length, "%s%s", i ? " " : "",
			       address_format(&addrs[i], one));
	}
	if (strcmp(text, expected) != 0)
		fail_msg("%s: \"%s\", expected \"%s\"", what, text, expected);
}

struct row {
	const char *what;
	const char *option;  /* --nodeport-addresses */
	const char *bound;   /* --bind-address */
	const char *node;    /* its InternalIPs; NULL: it is not known */
	const char *guesses; /* "" or one of each family */
	const char *expected;
};

#define ASSIGNED "10.244.1.1 172.18.0.11 192.0.2.5 2001:db8::5 fd00:18::11"

static const struct row rows[] = {
	{"the Node says which are primary, one of each family", "", "0.0.0.0",
	 "172.18.0.11 172.18.0.12 fd00:18::11", "192.0.2.5 2001:db8::5", "172.18.0.11 fd00:18::11"},
	{"so it does for the word primary", "primary", "::", "172.18.0.11", "192.0.2.5 2001:db8::5",
	 "172.18.0.11"},
	{"an address to bind to is the primary one of its family", "", "192.0.2.5",
	 "172.18.0.11 fd00:18::11", "", "192.0.2.5 fd00:18::11"},
	{"without a Node the links' guess is taken", "", "0.0.0.0", NULL, "172.18.0.11 fd00:18::11",
	 "172.18.0.11 fd00:18::11"},
	{"so it is for a Node without addresses", "", "0.0.0.0", "", "172.18.0.11 fd00:18::11",
	 "172.18.0.11 fd00:18::11"},
	{"without any, all addresses are", "primary", "0.0.0.0", NULL, "", ASSIGNED},
	{"CIDRs choose among those that are assigned", "192.0.2.0/24,fd00::/16", "0.0.0.0",
	 "172.18.0.11", "", "192.0.2.5 fd00:18::11"},
	{"a family without a CIDR is served everywhere", "192.0.2.0/24", "0.0.0.0", NULL, "",
	 "192.0.2.5 2001:db8::5 fd00:18::11"},
	{"CIDRs may match nothing", "198.51.100.0/24,2001:db8:9::/64", "0.0.0.0", "172.18.0.11",
	 "172.18.0.11", ""},
	{"a CIDR of everything", "0.0.0.0/0,::/0", "0.0.0.0", NULL, "", ASSIGNED},
};

static void node_ports_are_served_where_the_rules_say(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct row *row = &rows[i];
		struct ip_addr assigned[ITEMS_MAX], internal[ITEMS_MAX];
		struct traffic_options traffic = {};
		struct node_object node = {.internal_ips = internal};
		struct node_facts facts = {.traffic = &traffic, .assigned = assigned};
		struct node_port_addresses ports;
		const char *why;
		int count = nodeport_addresses_parse(row->option, traffic.nodeport_addresses,
						     &traffic.is_nodeport_primary, &why);

		assert_true(count >= 0);
		traffic.nodeport_address_count = (size_t)count;
		assert_int_equal(address_parse(row->bound, &traffic.bind_address), 0);
		facts.assigned_count = read_addresses(ASSIGNED, assigned);
		(void)read_addresses(row->guesses, facts.guesses);
		if (row->node)
			node.internal_ip_count = read_addresses(row->node, internal);
		facts.node = row->node ? &node : NULL;
		assert_int_equal(node_port_addresses_choose(&facts, &ports), 0);
		then_addresses(ports.addresses, ports.count, row->what, row->expected);
		node_port_addresses_fini(&ports);
	}
}

static void processes_of_the_node_have_loopback_too(void **state)
{
	struct traffic_options traffic = {};
	struct node_facts facts = {.traffic = &traffic, .with_loopback = true};
	struct node_port_addresses ports;

	(void)state;
	(void)read_addresses("172.18.0.11", facts.guesses);
	assert_int_equal(node_port_addresses_choose(&facts, &ports), 0);
	then_addresses(ports.addresses, ports.count, "loopback", "::1 127.0.0.1 172.18.0.11");
	assert_true(node_port_addresses_equal(&ports, &ports));
	node_port_addresses_fini(&ports);
}

static void an_explicit_mode_serves_them_on_all_addresses(void **state)
{
	struct ip_addr assigned[ITEMS_MAX];
	struct traffic_options traffic = {.is_nodeport_all = true};
	struct node_facts facts = {.traffic = &traffic, .assigned = assigned};
	struct node_port_addresses ports;

	(void)state;
	facts.assigned_count = read_addresses(ASSIGNED, assigned);
	(void)read_addresses("172.18.0.11", facts.guesses);
	assert_int_equal(node_port_addresses_choose(&facts, &ports), 0);
	then_addresses(ports.addresses, ports.count, "mode iptables", ASSIGNED);
	node_port_addresses_fini(&ports);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(node_ports_are_served_where_the_rules_say),
		cmocka_unit_test(processes_of_the_node_have_loopback_too),
		cmocka_unit_test(an_explicit_mode_serves_them_on_all_addresses),
	};

	return cmocka_run_group_tests_name("node_ports", tests, NULL, NULL);
}

/* SPDX-License-Identifier: BSD-2-Clause */

/* ClusterIPs that a Service has though nothing is served there: what `addresses` says of them. */
#include "publish_fixture.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/map.h"

#define VIP  "10.96.0.1"
#define VIP6 "fd00:96::1"

/* shop/<name> is another proxy's, and has these ClusterIPs; NULL: none of that family. */
static int when_left_alone(struct fixture *fixture, const char *name, const char *ipv4,
			   const char *ipv6)
{
	struct planned_port port = {.unprogrammed = UNPROGRAMMED_OTHER_PROXY};
	struct plan plan = {.ports = &port, .port_count = 1};

	(void)snprintf(port.name.namespace_, NAME_SIZE, "shop");
	(void)snprintf(port.name.name, NAME_SIZE, "%s", name);
	if (ipv4)
		plan.left_alone[plan.left_alone_count++] = ip(ipv4);
	if (ipv6)
		plan.left_alone[plan.left_alone_count++] = ip(ipv6);
	return publisher_apply(fixture->publisher, "shop", name, &plan);
}

static uint32_t addresses_in(struct fixture *fixture)
{
	return map_count(fixture->maps.addresses);
}

static void test_comes_and_goes(void **state)
{
	struct fixture *fixture = *state;

	assert_int_equal(when_left_alone(fixture, "web", VIP, VIP6), 0);
	then_address(fixture, VIP, ADDRESS_EXTERNAL);
	then_address(fixture, VIP6, ADDRESS_EXTERNAL);
	assert_int_equal(when_left_alone(fixture, "web", VIP, VIP6), 0);
	assert_int_equal(when_left_alone(fixture, "web", NULL, VIP6), 0);
	then_address(fixture, VIP, 0);
	then_address(fixture, VIP6, ADDRESS_EXTERNAL);
	when_gone(fixture, "web");
	assert_int_equal(addresses_in(fixture), 0);
	when_settled(fixture);
	assert_int_equal(numbers_of(fixture).addresses, 0);
}

/* Rule A4: the label of another proxy comes, and goes. */
static void test_given_away_and_back(void **state)
{
	struct fixture *fixture = *state;

	assert_int_equal(when_service(fixture, "web", VIP, "1 2"), 0);
	assert_int_equal(when_left_alone(fixture, "web", VIP, NULL), 0);
	then_address(fixture, VIP, ADDRESS_EXTERNAL);
	assert_int_equal(numbers_of(fixture).frontends, 0);
	when_settled(fixture);
	then_address(fixture, VIP, ADDRESS_EXTERNAL);

	assert_int_equal(when_service(fixture, "web", VIP, "1 2"), 0);
	then_address(fixture, VIP, ADDRESS_CLUSTER_IP);
	then_served(fixture, VIP, "1 2");
	when_gone(fixture, "web");
	then_address(fixture, VIP, ADDRESS_RETIRED);
	when_settled(fixture);
	assert_int_equal(addresses_in(fixture), 0);
}

/* A Service under a new name, whose old one goes later. */
static void test_two_services(void **state)
{
	struct fixture *fixture = *state;

	assert_int_equal(when_left_alone(fixture, "old", VIP, NULL), 0);
	assert_int_equal(when_left_alone(fixture, "new", VIP, NULL), 0);
	when_gone(fixture, "old");
	then_address(fixture, VIP, ADDRESS_EXTERNAL);
	assert_int_equal(when_service(fixture, "ours", VIP, "1"), 0);
	then_address(fixture, VIP, ADDRESS_EXTERNAL | ADDRESS_CLUSTER_IP);
	when_gone(fixture, "new");
	then_address(fixture, VIP, ADDRESS_CLUSTER_IP);
}

static void test_restart(void **state)
{
	struct fixture *fixture = *state;
	struct dump before;

	assert_int_equal(when_left_alone(fixture, "stays", VIP, VIP6), 0);
	assert_int_equal(when_left_alone(fixture, "goes", "10.96.0.2", NULL), 0);
	when_settled(fixture);
	before = dump_of(fixture);
	when_restarted(fixture);
	then_unchanged(fixture, &before);
	when_settled(fixture);

	/* Its Service may come late. */
	then_address(fixture, VIP, ADDRESS_EXTERNAL);
	assert_int_equal(when_left_alone(fixture, "stays", VIP, VIP6), 0);
	then_address(fixture, "10.96.0.2", ADDRESS_EXTERNAL);
	publisher_remove_unclaimed(fixture->publisher);
	when_settled(fixture);
	then_address(fixture, VIP, ADDRESS_EXTERNAL);
	then_address(fixture, VIP6, ADDRESS_EXTERNAL);
	then_address(fixture, "10.96.0.2", 0);
	when_gone(fixture, "stays");
	assert_int_equal(addresses_in(fixture), 0);
}

/* The label went while no agent ran, or all of the Service did. */
static void test_restart_after_a_change(void **state)
{
	struct fixture *fixture = *state;

	assert_int_equal(when_left_alone(fixture, "web", VIP, VIP6), 0);
	when_restarted(fixture);
	assert_int_equal(when_service(fixture, "web", VIP, "1 2"), 0);
	publisher_remove_unclaimed(fixture->publisher);
	then_address(fixture, VIP, ADDRESS_CLUSTER_IP);
	when_settled(fixture);
	then_address(fixture, VIP6, 0);
	then_served(fixture, VIP, "1 2");
}

/* An address of the node stays its own, whoever has it besides. */
static void test_address_of_the_node(void **state)
{
	struct fixture *fixture = *state;
	const struct ip_addr addr = ip(VIP);

	assert_int_equal(publisher_write_node_addresses(fixture->publisher, &addr, 1), 0);
	assert_int_equal(when_left_alone(fixture, "web", VIP, NULL), 0);
	then_address(fixture, VIP, ADDRESS_NODE | ADDRESS_EXTERNAL);
	when_gone(fixture, "web");
	then_address(fixture, VIP, ADDRESS_NODE);
}

static void test_unfitting(void **state)
{
	struct fixture *fixture = given_maps(&(struct sizes){2, 64, 64, 64, 64});

	(void)state;
	when_started(fixture);
	assert_int_equal(when_service(fixture, "web", VIP, "1 2"), 0);
	assert_int_equal(when_service(fixture, "big", "10.96.0.9", "21 22"), -ENOSPC);
	then_address(fixture, "10.96.0.9", ADDRESS_EXTERNAL);
	/* Left as it was, it is served. */
	assert_int_equal(when_service(fixture, "web", VIP, "1 2"), 0);
	then_address(fixture, VIP, ADDRESS_CLUSTER_IP);

	when_gone(fixture, "web");
	when_settled(fixture);
	assert_int_equal(when_service(fixture, "big", "10.96.0.9", "21 22"), 0);
	then_address(fixture, "10.96.0.9", ADDRESS_CLUSTER_IP);
	fixture_free(fixture);
}

static int retry(const char *namespace_, const char *name, void *context)
{
	assert_string_equal(namespace_, "shop");
	return when_left_alone(context, name, VIP6, NULL);
}

static void test_addresses_full(void **state)
{
	struct fixture *fixture = given_maps(&(struct sizes){16, 64, 64, 64, 3});

	(void)state;
	when_started(fixture);
	assert_int_equal(when_service(fixture, "web", VIP, "1"), 0);
	assert_int_equal(when_left_alone(fixture, "theirs", VIP6, NULL), -ENOSPC);
	then_address(fixture, VIP6, 0);
	assert_int_equal(numbers_of(fixture).unfitting, 1);
	/* The agent makes the maps larger when something was refused. */
	assert_int_equal(numbers_of(fixture).refused_service_ports, 1);
	when_gone(fixture, "web");
	when_settled(fixture);
	assert_int_equal(publisher_retry_unfitting(fixture->publisher, retry, fixture), 0);
	then_address(fixture, VIP6, ADDRESS_EXTERNAL);
	assert_int_equal(numbers_of(fixture).unfitting, 0);
	fixture_free(fixture);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST("the ClusterIPs of another proxy's Service are left alone while it has them",
		     test_comes_and_goes),
		TEST("a Service is given to another proxy, and comes back",
		     test_given_away_and_back),
		TEST("two Services leave an address alone until both are gone", test_two_services),
		TEST("a restart leaves alone what was, until all Services are known", test_restart),
		TEST("a Service that came back while no agent ran is served",
		     test_restart_after_a_change),
		TEST("an address of the node stays the node's", test_address_of_the_node),
		{"the ClusterIP of a Service that does not fit is left alone", test_unfitting, NULL,
		 NULL, NULL},
		{"addresses full: it is tried again when there is room", test_addresses_full, NULL,
		 NULL, NULL},
	};

	log_set_level(LOG_ERROR);
	return cmocka_run_group_tests_name("publish_left_alone", tests, NULL, NULL);
}

/* SPDX-License-Identifier: BSD-2-Clause */

/* A Service of many ports or addresses: the work for a change grows with their number, no faster. */
#include "publish_fixture.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "growth.h"

static struct fixture *given_room(unsigned int ports, unsigned int services)
{
	const struct sizes sizes = {services, 8 * ports, 2 * ports, 2 * ports, 4 * ports};
	struct fixture *fixture = given_maps(&sizes);

	when_started(fixture);
	return fixture;
}

/* The Service comes, changes, is adopted by the next run, loses every second port, and goes. */
static uint64_t life_ns(unsigned int count, const void *context)
{
	struct fixture *fixture = given_room(count, 2 * count);
	struct many_ports many = given_ports("web", IPPROTO_TCP, count);
	uint64_t took_ns = growth_cpu_ns();

	(void)context;
	assert_int_equal(when_ports(fixture, &many), 0);
	many.backend.addr = ip("10.0.0.2");
	assert_int_equal(when_ports(fixture, &many), 0);
	when_restarted(fixture);
	assert_int_equal(when_ports(fixture, &many), 0);
	publisher_remove_unclaimed(fixture->publisher);
	for (unsigned int i = 0; i < count / 2; i++)
		many.plan.ports[i] = many.plan.ports[2 * i];
	many.plan.port_count = count / 2;
	assert_int_equal(when_ports(fixture, &many), 0);
	assert_int_equal(numbers_of(fixture).service_ports, count / 2);
	when_gone(fixture, "web");
	took_ns = growth_cpu_ns() - took_ns;
	assert_int_equal(numbers_of(fixture).service_ports, 0);
	ports_free(&many);
	fixture_free(fixture);
	return took_ns;
}

static void test_life(void **state)
{
	(void)state;
	assert_grows_evenly(life_ns, NULL, 2000);
}

/* The lists that a policy leaves behind wait for their grace period. */
static uint64_t policies_ns(unsigned int count, const void *context)
{
	struct fixture *fixture = given_room(count, 2 * count);
	struct many_ports many = given_ports("web", IPPROTO_TCP, count);
	uint64_t took_ns;

	(void)context;
	assert_int_equal(when_ports(fixture, &many), 0);
	for (unsigned int i = 0; i < count; i++) {
		struct planned_port *port = &many.plan.ports[i];

		port->uses_cluster = false;
		port->uses_local = true;
		port->flags = SERVICE_INTERNAL_LOCAL;
	}
	many.backend.in_local = true;
	assert_int_equal(when_ports(fixture, &many), 0);
	took_ns = growth_cpu_ns();
	when_settled(fixture);
	took_ns = growth_cpu_ns() - took_ns;
	assert_int_equal(service_of(fixture, "10.96.0.1")->cluster_slots.count, 0);
	assert_int_equal(service_of(fixture, "10.96.0.1")->local_slots.count, 1);
	ports_free(&many);
	fixture_free(fixture);
	return took_ns;
}

static void test_policies(void **state)
{
	(void)state;
	assert_grows_evenly(policies_ns, NULL, 2000);
}

/* What does not fit has a reason each, and so have the same ones the next time. */
static uint64_t reasons_ns(unsigned int count, const void *context)
{
	struct fixture *fixture = given_room(count, 2);
	struct many_ports many = given_ports("web", IPPROTO_TCP, count);
	uint64_t took_ns = growth_cpu_ns();

	(void)context;
	assert_int_equal(when_ports(fixture, &many), -ENOSPC);
	assert_int_equal(when_ports(fixture, &many), -ENOSPC);
	took_ns = growth_cpu_ns() - took_ns;
	assert_int_equal(numbers_of(fixture).unfitting, count - 1);
	ports_free(&many);
	fixture_free(fixture);
	return took_ns;
}

static void test_reasons(void **state)
{
	(void)state;
	assert_grows_evenly(reasons_ns, NULL, 1000);
}

static void taken_count(const struct service_name *name, const char *detail, void *context)
{
	(void)name;
	(void)detail;
	++*(unsigned int *)context;
}

/* Another Service wants all of them, and gets them. */
static uint64_t taken_ns(unsigned int count, const void *context)
{
	struct fixture *fixture = given_room(2 * count, 4 * count);
	struct many_ports web = given_ports("web", IPPROTO_TCP, count),
			  other = given_ports("zoo", IPPROTO_TCP, count);
	unsigned int taken = 0;
	uint64_t took_ns;

	(void)context;
	assert_int_equal(when_ports(fixture, &web), 0);
	took_ns = growth_cpu_ns();
	assert_int_equal(when_ports(fixture, &other), 0);
	publisher_drain_taken(fixture->publisher, taken_count, &taken);
	assert_int_equal(taken, count);
	when_gone(fixture, "web");
	publisher_drain_taken(fixture->publisher, taken_count, &taken);
	took_ns = growth_cpu_ns() - took_ns;
	assert_int_equal(taken, count);
	assert_int_equal(numbers_of(fixture).service_ports, count);
	ports_free(&web);
	ports_free(&other);
	fixture_free(fixture);
	return took_ns;
}

static void test_taken(void **state)
{
	(void)state;
	assert_grows_evenly(taken_ns, NULL, 1000);
}

/* Makes the addresses from `first` on the external IPs of one port. */
static void when_external(struct fixture *fixture, unsigned int first, unsigned int count)
{
	struct planned_frontend *frontends = calloc(count, sizeof(*frontends));
	struct port_plan plan;

	assert_non_null(frontends);
	port_begin(&plan, "web", "11.0.0.0", IPPROTO_TCP);
	for (unsigned int i = 0; i < count; i++) {
		const uint32_t addr = htonl(0x0b000000U + first + i);

		frontends[i] = plan.frontend;
		frontends[i].kind = FRONTEND_EXTERNAL_IP;
		memcpy(&frontends[i].frontend.vip.bytes[12], &addr, sizeof(addr));
	}
	plan.port.frontends = frontends;
	plan.port.frontend_count = count;
	assert_int_equal(when_applied(fixture, &plan), 0);
	free(frontends);
}

/* Before the addresses that a port has come as many others, and go again. */
static uint64_t addresses_ns(unsigned int count, const void *context)
{
	struct fixture *fixture = given_room(count, 4);
	uint64_t took_ns;

	(void)context;
	when_external(fixture, count, count);
	took_ns = growth_cpu_ns();
	when_external(fixture, 0, 2 * count);
	when_external(fixture, count, count);
	took_ns = growth_cpu_ns() - took_ns;
	assert_int_equal(numbers_of(fixture).frontends, count);
	fixture_free(fixture);
	return took_ns;
}

static void test_addresses(void **state)
{
	(void)state;
	assert_grows_evenly(addresses_ns, NULL, 8000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		{"a Service of many ports comes, changes and goes", test_life, NULL, NULL, NULL},
		{"the policy of many ports changes", test_policies, NULL, NULL, NULL},
		{"many ports do not fit", test_reasons, NULL, NULL, NULL},
		{"many frontends pass to another Service", test_taken, NULL, NULL, NULL},
		{"many addresses of a port come and go", test_addresses, NULL, NULL, NULL},
	};

	log_set_level(LOG_ERROR);
	return cmocka_run_group_tests_name("publish_ports", tests, NULL, NULL);
}

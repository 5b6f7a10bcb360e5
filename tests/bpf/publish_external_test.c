/* SPDX-License-Identifier: BSD-2-Clause */

/* A service port that answers at several places: what is written, in which order, and what goes. */
#include "publish_fixture.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/address.h"
#include "base/log.h"
#include "base/map.h"

#define FRONTENDS_MAX 16

/* shop/web at 10.96.0.1:80, and where else. */
struct external_plan {
	struct port_plan base;
	struct planned_frontend frontends[FRONTENDS_MAX];
	struct cidr ranges[SOURCE_RANGES + 1];
};

static int compare(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct frontend));
}

/* "node 172.18.0.11:30080", "external 203.0.113.1:80", "balancer ..." */
static void plan_frontend(struct external_plan *plan, char *word)
{
	static const char *const kinds[] = {[FRONTEND_CLUSTER_IP] = "cluster",
					    [FRONTEND_NODE_PORT] = "node",
					    [FRONTEND_EXTERNAL_IP] = "external",
					    [FRONTEND_LOAD_BALANCER_IP] = "balancer"};
	struct planned_frontend *frontend = &plan->frontends[plan->base.port.frontend_count++];
	char *rest = NULL, *kind = strtok_r(word, "@", &rest), *addr = strtok_r(NULL, "/", &rest);

	*frontend = (struct planned_frontend){
		.frontend = {.vip = ip(addr),
			     .port = htons((uint16_t)strtoul(rest, NULL, 10)),
			     .proto = IPPROTO_TCP}};
	for (enum frontend_kind i = FRONTEND_CLUSTER_IP; i <= FRONTEND_LOAD_BALANCER_IP; i++) {
		if (!strcmp(kinds[i], kind))
			frontend->kind = i;
	}
	assert_int_not_equal(frontend->kind, 0);
}

/* "cluster@10.96.0.1/80 node@172.18.0.11/30080" */
static void plan_begin(struct external_plan *plan, const char *name, const char *frontends)
{
	char copy[512], *rest = NULL;

	memset(plan, 0, sizeof(*plan));
	port_begin(&plan->base, name, "10.96.0.1", IPPROTO_TCP);
	port_add_text(&plan->base, "1 2");
	plan->base.port.frontends = plan->frontends;
	plan->base.port.frontend_count = 0;
	plan->base.port.flags = SERVICE_EXTERNAL;
	(void)snprintf(copy, sizeof(copy), "%s", frontends);
	for (char *word = strtok_r(copy, " ", &rest); word; word = strtok_r(NULL, " ", &rest))
		plan_frontend(plan, word);
	qsort(plan->frontends, plan->base.port.frontend_count, sizeof(plan->frontends[0]), compare);
}

static void plan_range(struct external_plan *plan, const char *text)
{
	struct cidr *range = &plan->ranges[plan->base.port.source_range_count++];

	assert_int_equal(cidr_parse(text, &range->addr, &range->prefix), 0);
	plan->base.port.source_ranges = plan->ranges;
	plan->base.port.flags |= SERVICE_SOURCE_RANGES;
}

static int when_published(struct fixture *fixture, const char *name, const char *frontends)
{
	struct external_plan plan;

	plan_begin(&plan, name, frontends);
	return when_applied(fixture, &plan.base);
}

static struct frontend_target target_of(struct fixture *fixture, const char *addr, uint16_t port)
{
	const struct frontend key = {.vip = ip(addr), .port = htons(port), .proto = IPPROTO_TCP};
	struct frontend_target target = {};

	if (bpf_map_lookup_elem(fixture->maps.frontends, &key, &target))
		return (struct frontend_target){};
	return target;
}

static uint32_t frontend_count(struct fixture *fixture)
{
	return map_count(fixture->maps.frontends);
}

static uint32_t range_count(struct fixture *fixture)
{
	return map_count(fixture->maps.source_ranges);
}

#define EVERYWHERE                                                                                  \
	"cluster@10.96.0.1/80 node@172.18.0.11/30080 node@127.0.0.1/30080 external@203.0.113.1/80 " \
	"balancer@203.0.113.2/80"

static void test_all_kinds(void **state)
{
	struct fixture *fixture = *state;

	assert_int_equal(when_published(fixture, "web", EVERYWHERE), 0);

	assert_int_equal(frontend_count(fixture), 5);
	assert_int_equal(target_of(fixture, "172.18.0.11", 30080).kind, FRONTEND_NODE_PORT);
	assert_int_equal(target_of(fixture, "203.0.113.2", 80).kind, FRONTEND_LOAD_BALANCER_IP);
	assert_int_equal(target_of(fixture, "203.0.113.1", 80).service,
			 target_of(fixture, "10.96.0.1", 80).service);
	then_address(fixture, "10.96.0.1", ADDRESS_CLUSTER_IP);
	then_address(fixture, "172.18.0.11", ADDRESS_NODE_PORTS);
	then_address(fixture, "203.0.113.1", ADDRESS_EXTERNAL);
	then_address(fixture, "203.0.113.2", ADDRESS_EXTERNAL);
	/* Packets never have it, so it is nothing to them. */
	then_address(fixture, "127.0.0.1", 0);
	assert_int_equal(numbers_of(fixture).frontends, 5);

	when_gone(fixture, "web");
	assert_int_equal(frontend_count(fixture), 0);
	then_address(fixture, "172.18.0.11", ADDRESS_RETIRED);
	then_address(fixture, "203.0.113.1", ADDRESS_RETIRED);
	when_settled(fixture);
	assert_int_equal(map_count(fixture->maps.addresses), 0);
	assert_int_equal(numbers_of(fixture).frontends, 0);
}

/*
 * Programs remember what else leaves from the port of a frontend at an address of the node, from
 * the moment that it is one.
 */
static void test_ports_at_addresses_of_the_node_are_noted(void **state)
{
	struct fixture *fixture = *state;
	const uint8_t *used = fixture->node_ports->used;
	const struct ip_addr addrs[] = {ip("172.18.0.11"), ip("203.0.113.2")};

	assert_int_equal(publisher_write_node_addresses(fixture->publisher, addrs, 1), 0);
	assert_int_equal(when_published(fixture, "web", EVERYWHERE), 0);
	assert_int_equal(used[30080], 1);
	assert_int_equal(used[80], 0);

	/* All Services are published again when the node's addresses have changed. */
	assert_int_equal(publisher_write_node_addresses(fixture->publisher, addrs, 2), 0);
	assert_int_equal(when_published(fixture, "web", EVERYWHERE), 0);
	assert_int_equal(used[80], 1);

	/* Flows of the port may outlive it. */
	when_gone(fixture, "web");
	when_settled(fixture);
	assert_int_equal(used[30080], 1);
}

static void test_frontends_come_and_go(void **state)
{
	struct fixture *fixture = *state;
	uint32_t id;

	assert_int_equal(when_published(fixture, "web", "cluster@10.96.0.1/80"), 0);
	id = target_of(fixture, "10.96.0.1", 80).service;
	assert_int_equal(when_published(fixture, "web", EVERYWHERE), 0);
	assert_int_equal(target_of(fixture, "203.0.113.2", 80).service, id);

	assert_int_equal(
		when_published(fixture, "web", "cluster@10.96.0.1/80 node@172.18.0.12/30080"), 0);
	assert_int_equal(frontend_count(fixture), 2);
	assert_int_equal(target_of(fixture, "172.18.0.12", 30080).service, id);
	then_address(fixture, "172.18.0.11", ADDRESS_RETIRED);
	when_settled(fixture);
	then_address(fixture, "172.18.0.11", 0);
	then_served(fixture, "10.96.0.1", "1 2");
	/* Its id is its own as long as it lives. */
	assert_int_equal(target_of(fixture, "10.96.0.1", 80).service, id);
}

static void test_kind_changes(void **state)
{
	struct fixture *fixture = *state;

	assert_int_equal(
		when_published(fixture, "web", "cluster@10.96.0.1/80 external@203.0.113.1/80"), 0);
	assert_int_equal(
		when_published(fixture, "web", "cluster@10.96.0.1/80 balancer@203.0.113.1/80"), 0);
	assert_int_equal(target_of(fixture, "203.0.113.1", 80).kind, FRONTEND_LOAD_BALANCER_IP);
	then_address(fixture, "203.0.113.1", ADDRESS_EXTERNAL);
	when_gone(fixture, "web");
	when_settled(fixture);
	assert_int_equal(map_count(fixture->maps.addresses), 0);
}

static void test_cluster_ip_is_not_taken_away(void **state)
{
	struct fixture *fixture = *state;
	uint32_t id;

	assert_int_equal(when_published(fixture, "dns", "cluster@10.96.0.10/80"), 0);
	id = target_of(fixture, "10.96.0.10", 80).service;
	assert_int_equal(
		when_published(fixture, "thief", "cluster@10.96.0.1/80 external@10.96.0.10/80"), 0);
	assert_int_equal(target_of(fixture, "10.96.0.10", 80).service, id);
	assert_int_equal(target_of(fixture, "10.96.0.10", 80).kind, FRONTEND_CLUSTER_IP);

	/* Gone, the next by right has it; come again, it has its own back. */
	when_gone(fixture, "dns");
	assert_int_equal(target_of(fixture, "10.96.0.10", 80).kind, FRONTEND_EXTERNAL_IP);
	assert_int_equal(when_published(fixture, "dns", "cluster@10.96.0.10/80"), 0);
	assert_int_equal(target_of(fixture, "10.96.0.10", 80).kind, FRONTEND_CLUSTER_IP);
	when_gone(fixture, "dns");
	when_gone(fixture, "thief");
	assert_int_equal(frontend_count(fixture), 0);
}

/* Rule B31: the numbers of NodePorts are looked for last. */
static void test_node_port_comes_last(void **state)
{
	struct fixture *fixture = *state;
	uint32_t id;

	assert_int_equal(when_published(fixture, "vip", "external@172.18.0.11/30080"), 0);
	id = target_of(fixture, "172.18.0.11", 30080).service;
	assert_int_equal(when_published(fixture, "port", "node@172.18.0.11/30080"), 0);
	assert_int_equal(target_of(fixture, "172.18.0.11", 30080).service, id);

	when_gone(fixture, "vip");
	assert_int_equal(target_of(fixture, "172.18.0.11", 30080).kind, FRONTEND_NODE_PORT);
	assert_int_equal(when_published(fixture, "vip", "external@172.18.0.11/30080"), 0);
	assert_int_equal(target_of(fixture, "172.18.0.11", 30080).kind, FRONTEND_EXTERNAL_IP);
	when_gone(fixture, "vip");
	when_gone(fixture, "port");
	assert_int_equal(frontend_count(fixture), 0);
}

static int when_limited(struct fixture *fixture, const char *frontends, const char *first,
			const char *second)
{
	struct external_plan plan;

	plan_begin(&plan, "web", frontends);
	if (first)
		plan_range(&plan, first);
	if (second)
		plan_range(&plan, second);
	return when_applied(fixture, &plan.base);
}

#define BALANCED "cluster@10.96.0.1/80 balancer@203.0.113.2/80"

static void test_source_ranges(void **state)
{
	struct fixture *fixture = *state;
	struct source_range key = {.prefix = 32 + 128};
	uint32_t value;

	assert_int_equal(when_limited(fixture, BALANCED, "10.0.0.0/8", "192.0.2.0/24"), 0);
	assert_int_equal(range_count(fixture), 2);
	assert_true(service_of(fixture, "203.0.113.2")->flags & SERVICE_SOURCE_RANGES);
	key.service = htonl(target_of(fixture, "203.0.113.2", 80).service);
	key.addr = ip("192.0.2.77");
	assert_int_equal(bpf_map_lookup_elem(fixture->maps.source_ranges, &key, &value), 0);
	key.addr = ip("192.0.3.77");
	assert_int_not_equal(bpf_map_lookup_elem(fixture->maps.source_ranges, &key, &value), 0);

	assert_int_equal(when_limited(fixture, BALANCED, "10.0.0.0/8", "198.51.100.0/24"), 0);
	assert_int_equal(range_count(fixture), 2);
	assert_int_equal(when_limited(fixture, BALANCED, NULL, NULL), 0);
	assert_int_equal(range_count(fixture), 0);
	assert_false(service_of(fixture, "203.0.113.2")->flags & SERVICE_SOURCE_RANGES);

	assert_int_equal(when_limited(fixture, BALANCED, "10.0.0.0/8", NULL), 0);
	when_gone(fixture, "web");
	assert_int_equal(range_count(fixture), 0);
	assert_int_equal(numbers_of(fixture).source_ranges, 0);
}

static void test_source_ranges_full(void **state)
{
	struct fixture *fixture = *state;
	struct external_plan plan;
	char text[32];

	assert_int_equal(when_limited(fixture, BALANCED, "10.0.0.0/8", NULL), 0);
	plan_begin(&plan, "big", "cluster@10.96.0.2/80 balancer@203.0.113.3/80");
	for (unsigned int i = 0; i < SOURCE_RANGES; i++) {
		(void)snprintf(text, sizeof(text), "192.0.%u.0/24", i);
		plan_range(&plan, text);
	}

	assert_int_equal(when_applied(fixture, &plan.base), -ENOSPC);

	then_full(fixture, "big", "source_ranges", "--max-source-ranges");
	assert_int_equal(range_count(fixture), 1);
	assert_int_equal(target_of(fixture, "203.0.113.3", 80).service, 0);
	then_address(fixture, "203.0.113.3", 0);
}

/* Some of them fit: nothing is half there. */
static void test_frontends_full(void **state)
{
	const struct sizes small = {16, 64, 64, 3, 64};
	struct fixture *fixture = given_maps(&small);

	(void)state;
	when_started(fixture);
	assert_int_equal(when_published(fixture, "web", EVERYWHERE), -ENOSPC);
	then_full(fixture, "web", "frontends", "--max-frontends");
	assert_int_equal(frontend_count(fixture), 0);
	/* Only its ClusterIP, to be left alone. */
	assert_int_equal(map_count(fixture->maps.addresses), 1);
	then_address(fixture, "10.96.0.1", ADDRESS_EXTERNAL);
	assert_int_equal(numbers_of(fixture).addresses, 1);
	assert_int_equal(when_published(fixture, "web",
					"cluster@10.96.0.1/80 node@172.18.0.11/1 "
					"node@172.18.0.11/2"),
			 0);
	assert_int_equal(frontend_count(fixture), 3);
	/* What was there stays as it was. */
	assert_int_equal(when_published(fixture, "web", EVERYWHERE), -ENOSPC);
	assert_int_equal(target_of(fixture, "172.18.0.11", 2).kind, FRONTEND_NODE_PORT);
	fixture_free(fixture);
}

static void test_restart(void **state)
{
	struct fixture *fixture = *state;
	struct dump before;

	assert_int_equal(when_limited(fixture, EVERYWHERE, "10.0.0.0/8", "192.0.2.0/24"), 0);
	before = dump_of(fixture);
	when_restarted(fixture);
	assert_int_equal(when_limited(fixture, EVERYWHERE, "10.0.0.0/8", "192.0.2.0/24"), 0);
	publisher_remove_unclaimed(fixture->publisher);
	assert_int_equal(numbers_of(fixture).changed_service_ports, 0);
	then_unchanged(fixture, &before);

	when_restarted(fixture);
	publisher_remove_unclaimed(fixture->publisher);
	assert_int_equal(frontend_count(fixture), 0);
	assert_int_equal(range_count(fixture), 0);
	when_settled(fixture);
	assert_int_equal(map_count(fixture->maps.addresses), 0);
}

static void test_ranges_of_nobody_are_removed(void **state)
{
	struct fixture *fixture = *state;
	const struct source_range key = {
		.prefix = 32 + 104, .service = htonl(7), .addr = ip("10.0.0.0")};
	const uint32_t value = 1;

	when_stopped(fixture);
	assert_int_equal(bpf_map_update_elem(fixture->maps.source_ranges, &key, &value, BPF_ANY),
			 0);
	when_started(fixture);
	assert_int_equal(range_count(fixture), 0);
}

/* Both policies have their list; a policy that goes leaves its list for a grace period. */
static void test_lists_of_both_policies(void **state)
{
	struct fixture *fixture = *state;
	struct external_plan plan;
	struct service *service;

	plan_begin(&plan, "web", EVERYWHERE);
	plan.base.port.flags = SERVICE_EXTERNAL | SERVICE_EXTERNAL_LOCAL;
	plan.base.port.uses_local = true;
	plan.base.backends[0].in_local = true;
	assert_int_equal(when_applied(fixture, &plan.base), 0);
	service = service_of(fixture, "10.96.0.1");
	then_list(fixture, service->cluster_slots, "1 2");
	then_list(fixture, service->local_slots, "1");

	assert_int_equal(when_published(fixture, "web", EVERYWHERE), 0);
	then_list(fixture, service->local_slots, "1");
	when_settled(fixture);
	then_list(fixture, service->local_slots, "");
	then_list(fixture, service->cluster_slots, "1 2");
}

/* The address has flows of other Services all the time: an id is free when no flow knows it. */
static void test_ids_at_a_busy_address(void **state)
{
	const struct sizes small = {8, 64, 64, 64, 64};
	struct fixture *fixture = given_maps(&small);
	const struct flow_key key = {.proto = IPPROTO_TCP};
	struct {
		struct flow flow;
		__u32 ticket;
	} held = {};
	char name[16], frontends[64];

	(void)state;
	when_started(fixture);
	for (int i = 1; i < 8; i++) {
		(void)snprintf(name, sizeof(name), "s%d", i);
		(void)snprintf(frontends, sizeof(frontends), "node@172.18.0.11/%d", 30000 + i);
		assert_int_equal(when_published(fixture, name, frontends), 0);
	}
	flows_of(fixture, "172.18.0.11")->confirmed = 1;
	held.flow.service = target_of(fixture, "172.18.0.11", 30002).service;
	assert_int_equal(bpf_map_update_elem(fixture->maps.flows, &key, &held, BPF_ANY), 0);
	when_gone(fixture, "s1");
	when_gone(fixture, "s2");
	when_settled(fixture);
	assert_int_equal(when_published(fixture, "s8", "node@172.18.0.11/30008"), -ENOSPC);

	when_later(fixture, 700);
	when_later(fixture, 700);
	assert_int_equal(when_published(fixture, "s8", "node@172.18.0.11/30008"), 0);
	assert_int_equal(when_published(fixture, "s9", "node@172.18.0.11/30009"), -ENOSPC);
	assert_int_not_equal(target_of(fixture, "172.18.0.11", 30008).service, held.flow.service);
	fixture_free(fixture);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST("a service port answers at all its frontends, and at none when it is gone",
		     test_all_kinds),
		TEST("ports of frontends at addresses of the node are noted",
		     test_ports_at_addresses_of_the_node_are_noted),
		TEST("frontends come and go while the service port lives",
		     test_frontends_come_and_go),
		TEST("an external IP becomes a load balancer's", test_kind_changes),
		TEST("a ClusterIP is not taken away by an external IP",
		     test_cluster_ip_is_not_taken_away),
		TEST("a NodePort comes after an external IP", test_node_port_comes_last),
		TEST("source ranges follow the Service", test_source_ranges),
		TEST("source ranges full: refused by name, rolled back", test_source_ranges_full),
		{"frontends full: all or nothing", test_frontends_full, NULL, NULL, NULL},
		TEST("a restart changes nothing, and removes what nobody claims", test_restart),
		TEST("source ranges of no service port are removed at the start",
		     test_ranges_of_nobody_are_removed),
		{"at a busy address an id is free when no flow knows it",
		 test_ids_at_a_busy_address, NULL, NULL, NULL},
		TEST("both policies have a list of their own", test_lists_of_both_policies),
	};

	log_set_level(LOG_ERROR);
	return cmocka_run_group_tests_name("publish_external", tests, NULL, NULL);
}

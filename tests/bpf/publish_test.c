/* SPDX-License-Identifier: BSD-2-Clause */

/* What a plan makes of the maps, and what becomes of what leaves. */
#include "publish_fixture.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/map.h"

/* What direct server return asks: is there a node that unwraps. */
static void test_backends_know_whether_they_are_on_a_node(void **state)
{
	struct fixture *fixture = *state;

	assert_int_equal(when_service(fixture, "web", "10.96.0.1", "1 2:here 3:there"), 0);
	assert_int_equal(fixture->backends[backend_id_of(fixture, 1, IPPROTO_TCP)].flags, 0);
	assert_int_equal(fixture->backends[backend_id_of(fixture, 3, IPPROTO_TCP)].flags,
			 BACKEND_ON_NODE);

	assert_int_equal(when_service(fixture, "web", "10.96.0.1", "1:there 2:here 3"), 0);
	assert_int_equal(fixture->backends[backend_id_of(fixture, 1, IPPROTO_TCP)].flags,
			 BACKEND_ON_NODE);
	assert_int_equal(fixture->backends[backend_id_of(fixture, 3, IPPROTO_TCP)].flags, 0);
}

/* The id that the datapath is told of for backends that have the same lower bits as this one. */
static uint32_t far_backend(const struct fixture *fixture, uint32_t id)
{
	uint32_t place = id % FAR_BACKENDS, far;

	assert_int_equal(bpf_map_lookup_elem(fixture->maps.far_backends, &place, &far), 0);
	return far;
}

/* By the ways that lead to some of them it is judged where packets of nodes can come from. */
static void test_some_backends_on_other_nodes_are_told(void **state)
{
	struct fixture *fixture = *state;
	uint32_t here, there, place, ids[FAR_BACKENDS + 1];

	assert_int_equal(when_service(fixture, "web", "10.96.0.1", "1 2:here 3:there"), 0);
	here = backend_id_of(fixture, 2, IPPROTO_TCP);
	there = backend_id_of(fixture, 3, IPPROTO_TCP);
	assert_int_equal(far_backend(fixture, there), there);
	assert_int_equal(far_backend(fixture, here), 0);
	when_restarted(fixture);
	assert_int_equal(far_backend(fixture, there), there);

	/* Ids follow each other, so the last one shares its place with the first. */
	assert_int_equal(when_service(fixture, "api", "10.96.0.2",
				      "11:there 12:there 13:there 14:there 15:there 16:there "
				      "17:there 18:there 19:there"),
			 0);
	when_gone(fixture, "web");
	when_settled(fixture);
	for (uint32_t i = 0; i <= FAR_BACKENDS; i++)
		ids[i] = backend_id_of(fixture, 11 + i, IPPROTO_TCP);
	assert_int_equal(ids[0] % FAR_BACKENDS, ids[FAR_BACKENDS] % FAR_BACKENDS);
	for (uint32_t i = 1; i < FAR_BACKENDS; i++)
		assert_int_equal(far_backend(fixture, ids[i]), ids[i]);
	assert_int_equal(far_backend(fixture, ids[0]), ids[0]);

	assert_int_equal(when_service(fixture, "api", "10.96.0.2", "12 19:there"), 0);
	when_settled(fixture);
	assert_int_equal(far_backend(fixture, ids[0]), ids[FAR_BACKENDS]);
	assert_int_equal(far_backend(fixture, ids[1]), 0); /* on no node any more */
	assert_int_equal(far_backend(fixture, ids[2]), 0);
	when_gone(fixture, "api");
	when_settled(fixture);
	assert_int_equal(far_backend(fixture, ids[0]), 0);

	/* As an agent that was killed leaves it. */
	place = ids[1] % FAR_BACKENDS;
	assert_int_equal(bpf_map_update_elem(fixture->maps.far_backends, &place, &ids[1], BPF_ANY),
			 0);
	when_restarted(fixture);
	assert_int_equal(far_backend(fixture, ids[1]), 0);
}

static void then_unused(struct fixture *fixture, uint32_t number, bool expected)
{
	uint32_t id = backend_id_of(fixture, number, IPPROTO_TCP);

	assert_int_equal(!!(fixture->backends[id].flags & BACKEND_UNUSED), expected);
}

static void test_what_a_policy_leaves_out_is_unused_and_what_leaves_drains(void **state)
{
	struct fixture *fixture = *state;
	struct port_plan plan;

	port_begin(&plan, "web", "10.96.0.1", IPPROTO_TCP);
	port_add_text(&plan, "1:here 2 3:leaving 4:unready");
	port_make_local(&plan);
	assert_int_equal(when_applied(fixture, &plan), 0);
	then_unused(fixture, 1, false);
	then_unused(fixture, 2, true);
	then_unused(fixture, 3, false);
	then_unused(fixture, 4, true);
	then_state(fixture, 3, BACKEND_DRAINING);
	assert_int_equal(numbers_of(fixture).draining, 1);
	assert_int_equal(numbers_of(fixture).unused, 2);

	/* Another Service that uses it makes it active; without that, what is left out leaves. */
	assert_int_equal(when_service(fixture, "api", "10.96.0.2", "2"), 0);
	then_state(fixture, 2, BACKEND_ACTIVE);
	then_unused(fixture, 2, false);
	assert_int_equal(when_service(fixture, "api", "10.96.0.2", ""), 0);
	then_unused(fixture, 2, true);
	when_restarted(fixture);
	assert_int_equal(when_applied(fixture, &plan), 0);
	assert_int_equal(numbers_of(fixture).unused, 2);
	assert_int_equal(when_service(fixture, "web", "10.96.0.1", "1:here"), 0);
	then_state(fixture, 2, BACKEND_DRAINING);
	then_unused(fixture, 2, false);
	then_unused(fixture, 4, false);
	assert_int_equal(numbers_of(fixture).unused, 0);
}

static void test_new_service(void **state)
{
	struct fixture *fixture = *state;
	struct service_name name;
	uint32_t id;

	assert_int_equal(when_service(fixture, "web", "10.96.0.1", "1 2:here 3:unready"), 0);

	then_served(fixture, "10.96.0.1", "1 2");
	then_address(fixture, "10.96.0.1", ADDRESS_CLUSTER_IP);
	then_address(fixture, "10.0.0.1", ADDRESS_BACKEND);
	then_address(fixture, "10.0.0.3", ADDRESS_BACKEND);
	then_state(fixture, 3, BACKEND_DRAINING);
	then_unused(fixture, 3, true);
	assert_int_equal(fixture->backends[backend_id_of(fixture, 2, IPPROTO_TCP)].flags,
			 BACKEND_LOCAL | BACKEND_ON_NODE);
	id = service_id_of(fixture, "10.96.0.1", IPPROTO_TCP);
	assert_int_equal(bpf_map_lookup_elem(fixture->maps.service_names, &id, &name), 0);
	assert_string_equal(name.name, "web");
	assert_int_equal(name.total, 3);
	assert_int_equal(numbers_of(fixture).service_ports, 1);
	assert_int_equal(numbers_of(fixture).backends, 3);
	assert_int_equal(numbers_of(fixture).draining, 0);
	assert_int_equal(numbers_of(fixture).unused, 1);
	assert_int_equal(numbers_of(fixture).slots, 2);
	assert_int_equal(numbers_of(fixture).frontends, 1);
}

static void test_index_zero(void **state)
{
	struct fixture *fixture = *state;
	const struct backend no_backend = {};
	const struct service no_service = {};
	const struct address_flows no_flows = {};

	for (char name[] = "a"; name[0] <= 'e'; name[0]++) {
		char vip[32];

		(void)snprintf(vip, sizeof(vip), "10.96.0.%d", name[0]);
		assert_int_equal(when_service(fixture, name, vip, "1 2 3"), 0);
	}

	assert_memory_equal(&fixture->services[0], &no_service, sizeof(no_service));
	assert_memory_equal(&fixture->backends[0], &no_backend, sizeof(no_backend));
	assert_memory_equal(&fixture->address_flows[0], &no_flows, sizeof(no_flows));
}

static void test_same_plan_again(void **state)
{
	struct fixture *fixture = *state;
	struct publisher_numbers before;
	struct dump dump;

	assert_int_equal(when_service(fixture, "web", "10.96.0.1", "1 2 3:leaving"), 0);
	dump = dump_of(fixture);
	before = numbers_of(fixture);

	assert_int_equal(when_service(fixture, "web", "10.96.0.1", "1 2 3:leaving"), 0);

	then_unchanged(fixture, &dump);
	assert_int_equal(numbers_of(fixture).changed_service_ports, before.changed_service_ports);
}

static void test_ids_are_stable(void **state)
{
	struct fixture *fixture = *state;
	uint32_t service, first, second;

	assert_int_equal(when_service(fixture, "web", "10.96.0.1", "1 2"), 0);
	service = service_id_of(fixture, "10.96.0.1", IPPROTO_TCP);
	first = backend_id_of(fixture, 1, IPPROTO_TCP);
	second = backend_id_of(fixture, 2, IPPROTO_TCP);

	assert_int_equal(when_service(fixture, "api", "10.96.0.2", "9 2 1"), 0);
	assert_int_equal(when_service(fixture, "web", "10.96.0.1", "5 6 2 7"), 0);
	when_settled(fixture);
	assert_int_equal(when_service(fixture, "web", "10.96.0.1", "1 2"), 0);

	assert_int_equal(service_id_of(fixture, "10.96.0.1", IPPROTO_TCP), service);
	assert_int_equal(backend_id_of(fixture, 1, IPPROTO_TCP), first);
	assert_int_equal(backend_id_of(fixture, 2, IPPROTO_TCP), second);
	then_served(fixture, "10.96.0.1", "1 2");
	then_served(fixture, "10.96.0.2", "1 2 9");
}

static void test_protocols_have_their_own_backends(void **state)
{
	struct fixture *fixture = *state;
	struct port_plan udp;

	port_begin(&udp, "dns", "10.96.0.1", IPPROTO_UDP);
	port_add_text(&udp, "1");
	assert_int_equal(when_service(fixture, "web", "10.96.0.1", "1"), 0);
	assert_int_equal(when_applied(fixture, &udp), 0);

	assert_int_not_equal(backend_id_of(fixture, 1, IPPROTO_TCP),
			     backend_id_of(fixture, 1, IPPROTO_UDP));
	assert_int_not_equal(service_id_of(fixture, "10.96.0.1", IPPROTO_TCP),
			     service_id_of(fixture, "10.96.0.1", IPPROTO_UDP));

	/* The VIP stays one while the other Service has it. */
	when_gone(fixture, "dns");
	then_address(fixture, "10.96.0.1", ADDRESS_CLUSTER_IP);
	when_settled(fixture);
	then_address(fixture, "10.96.0.1", ADDRESS_CLUSTER_IP);
	then_served(fixture, "10.96.0.1", "1");
}

static void test_empty_lists_say_what_clients_get(void **state)
{
	struct fixture *fixture = *state;
	struct service *service;
	struct port_plan plan;

	assert_int_equal(when_service(fixture, "web", "10.96.0.1", ""), 0);
	service = service_of(fixture, "10.96.0.1");
	assert_int_equal(service->cluster_slots.count, 0);
	assert_int_equal(service->cluster_slots.first, EMPTY_REJECT);

	port_begin(&plan, "web", "10.96.0.1", IPPROTO_TCP);
	port_add_text(&plan, "1 2");
	port_make_local(&plan);
	assert_int_equal(when_applied(fixture, &plan), 0);

	assert_int_equal(service->flags, SERVICE_IN_USE | SERVICE_INTERNAL_LOCAL);
	assert_int_equal(service->local_slots.count, 0);
	assert_int_equal(service->local_slots.first, EMPTY_DROP);
	then_state(fixture, 1, BACKEND_DRAINING);
}

static void test_policy_changes(void **state)
{
	struct fixture *fixture = *state;
	struct service *service;
	struct port_plan plan;

	assert_int_equal(when_service(fixture, "web", "10.96.0.1", "1:here 2"), 0);
	service = service_of(fixture, "10.96.0.1");

	port_begin(&plan, "web", "10.96.0.1", IPPROTO_TCP);
	port_add_text(&plan, "1:here 2");
	port_make_local(&plan);
	assert_int_equal(when_applied(fixture, &plan), 0);
	then_list(fixture, service->local_slots, "1");
	then_state(fixture, 2, BACKEND_DRAINING);
	/* A program that has read the old flags looks at the old list next. */
	assert_int_equal(service->cluster_slots.count, 2);
	when_later(fixture, GRACE_S + 1);
	then_list(fixture, service->cluster_slots, "");

	assert_int_equal(when_service(fixture, "web", "10.96.0.1", "1:here 2"), 0);
	then_list(fixture, service->cluster_slots, "1 2");
	assert_int_equal(service->flags, SERVICE_IN_USE);
	when_settled(fixture);
	then_list(fixture, service->cluster_slots, "1 2");
	then_list(fixture, service->local_slots, "");
	assert_int_equal(numbers_of(fixture).slots, 2);
}

/* To Local, back, and to Local again: the first change's grace period is not the last one's. */
static void test_policy_changes_to_and_fro(void **state)
{
	struct fixture *fixture = *state;
	struct port_plan cluster, local;
	struct service *service;
	uint64_t first_ns;

	port_begin(&cluster, "web", "10.96.0.1", IPPROTO_TCP);
	port_add_text(&cluster, "1:here 2");
	local = cluster;
	local.port.backends = local.backends;
	local.port.frontends = &local.frontend;
	port_make_local(&local);
	assert_int_equal(when_applied(fixture, &cluster), 0);
	service = service_of(fixture, "10.96.0.1");

	assert_int_equal(when_applied(fixture, &local), 0);
	first_ns = now_ns();
	assert_int_equal(when_applied(fixture, &cluster), 0);
	assert_int_equal(when_applied(fixture, &local), 0);
	(void)publisher_reclaim(fixture->publisher, first_ns + GRACE_S * NS_PER_S);

	assert_int_equal(service->cluster_slots.count, 2);
	when_settled(fixture);
	assert_int_equal(service->cluster_slots.count, 0);
	then_list(fixture, service->local_slots, "1");
	assert_int_equal(numbers_of(fixture).slots, 1);
}

static void test_affinity(void **state)
{
	struct fixture *fixture = *state;
	struct port_plan plan;
	struct slot_range before;

	assert_int_equal(when_service(fixture, "web", "10.96.0.1", "1"), 0);
	before = service_of(fixture, "10.96.0.1")->cluster_slots;
	port_begin(&plan, "web", "10.96.0.1", IPPROTO_TCP);
	port_add_text(&plan, "1");
	plan.port.affinity_timeout_s = 600;

	assert_int_equal(when_applied(fixture, &plan), 0);

	assert_int_equal(service_of(fixture, "10.96.0.1")->affinity_timeout_s, 600);
	assert_memory_equal(&service_of(fixture, "10.96.0.1")->cluster_slots, &before,
			    sizeof(before));
}

static void test_new_cluster_ip(void **state)
{
	struct fixture *fixture = *state;
	uint32_t id;

	assert_int_equal(when_service(fixture, "web", "10.96.0.1", "1 2"), 0);
	id = service_id_of(fixture, "10.96.0.1", IPPROTO_TCP);

	assert_int_equal(when_service(fixture, "web", "10.96.0.7", "1 2"), 0);

	assert_int_equal(service_id_of(fixture, "10.96.0.1", IPPROTO_TCP), 0);
	assert_int_equal(service_id_of(fixture, "10.96.0.7", IPPROTO_TCP), id);
	then_address(fixture, "10.96.0.1", ADDRESS_RETIRED);
	then_served(fixture, "10.96.0.7", "1 2");
	assert_int_equal(numbers_of(fixture).frontends, 1);
	when_settled(fixture);
	then_address(fixture, "10.96.0.1", 0);
}

static void test_service_that_goes(void **state)
{
	struct fixture *fixture = *state;
	uint32_t id;

	assert_int_equal(when_service(fixture, "web", "10.96.0.1", "1 2"), 0);
	id = service_id_of(fixture, "10.96.0.1", IPPROTO_TCP);

	when_gone(fixture, "web");

	assert_int_equal(service_id_of(fixture, "10.96.0.1", IPPROTO_TCP), 0);
	assert_int_equal(fixture->services[id].flags, 0);
	assert_int_equal(map_count(fixture->maps.service_names), 0);
	when_settled(fixture);
	assert_int_equal(map_count(fixture->maps.addresses), 0);
	then_state(fixture, 1, BACKEND_FREE);
	assert_int_equal(numbers_of(fixture).service_ports, 0);
	assert_int_equal(numbers_of(fixture).backends, 0);
	assert_int_equal(numbers_of(fixture).draining, 0);
	assert_int_equal(numbers_of(fixture).slots, 0);
	assert_int_equal(numbers_of(fixture).frontends, 0);
	assert_int_equal(publisher_reclaim(fixture->publisher, now_ns() + fixture->ahead_ns), 0);
}

static void test_reasons(void **state)
{
	struct fixture *fixture = *state;
	struct port_plan plan;

	assert_int_equal(when_service(fixture, "web", "10.96.0.1", "1"), 0);
	port_begin(&plan, "web", "10.96.0.1", IPPROTO_TCP);
	plan.port.frontend_count = 0;
	plan.port.unprogrammed = UNPROGRAMMED_LOCAL_ADDRESS;
	(void)snprintf(plan.port.detail, sizeof(plan.port.detail), "nodelocaldns");

	assert_int_equal(when_applied(fixture, &plan), 0);
	assert_int_equal(reason_of(fixture, "web").reason, UNPROGRAMMED_LOCAL_ADDRESS);
	assert_string_equal(reason_of(fixture, "web").detail, "nodelocaldns");
	assert_int_equal(service_id_of(fixture, "10.96.0.1", IPPROTO_TCP), 0);

	assert_int_equal(when_service(fixture, "web", "10.96.0.1", "1"), 0);
	then_fits(fixture, "web");
	then_served(fixture, "10.96.0.1", "1");

	assert_int_equal(when_applied(fixture, &plan), 0);
	when_gone(fixture, "web");
	then_fits(fixture, "web");
}

static void test_terminating_then_gone(void **state)
{
	struct fixture *fixture = *state;

	assert_int_equal(when_service(fixture, "web", "10.96.0.1", "1 2"), 0);
	assert_int_equal(when_service(fixture, "web", "10.96.0.1", "1 2:leaving"), 0);
	then_state(fixture, 2, BACKEND_DRAINING);

	assert_int_equal(when_service(fixture, "web", "10.96.0.1", "1"), 0);

	then_state(fixture, 2, BACKEND_DEAD);
	assert_int_equal(numbers_of(fixture).draining, 0);
}

static void test_gone_without_terminating(void **state)
{
	struct fixture *fixture = *state;

	assert_int_equal(when_service(fixture, "web", "10.96.0.1", "1 2"), 0);
	flows_of(fixture, "10.0.0.2")->confirmed = 1;

	assert_int_equal(when_service(fixture, "web", "10.96.0.1", "1"), 0);
	when_settled(fixture);
	then_state(fixture, 2, BACKEND_DRAINING);
	then_address(fixture, "10.0.0.2", ADDRESS_BACKEND);

	flows_of(fixture, "10.0.0.2")->confirmed = 0;
	when_settled(fixture);
	then_state(fixture, 2, BACKEND_FREE);
	then_address(fixture, "10.0.0.2", 0);
}

static void test_new_flows_keep_a_backend(void **state)
{
	struct fixture *fixture = *state;
	uint64_t now = now_ns();

	assert_int_equal(when_service(fixture, "web", "10.96.0.1", "1 2"), 0);
	flows_of(fixture, "10.0.0.2")->new_until_s = (uint32_t)(now / NS_PER_S + 60);
	assert_int_equal(when_service(fixture, "web", "10.96.0.1", "1"), 0);

	when_later(fixture, 30);
	then_state(fixture, 2, BACKEND_DRAINING);
	when_later(fixture, 40);
	then_state(fixture, 2, BACKEND_FREE);
}

static void test_backend_of_two_services(void **state)
{
	struct fixture *fixture = *state;

	assert_int_equal(when_service(fixture, "web", "10.96.0.1", "1"), 0);
	assert_int_equal(when_service(fixture, "api", "10.96.0.2", "1"), 0);

	when_gone(fixture, "web");
	then_state(fixture, 1, BACKEND_ACTIVE);
	assert_int_equal(when_service(fixture, "api", "10.96.0.2", "1:unready"), 0);
	then_state(fixture, 1, BACKEND_DRAINING);
}

/* Its first grace period must not serve for the second. */
static void test_backend_that_leaves_twice(void **state)
{
	struct fixture *fixture = *state;

	assert_int_equal(when_service(fixture, "web", "10.96.0.1", "1 2"), 0);
	assert_int_equal(when_service(fixture, "web", "10.96.0.1", "1"), 0);
	fixture->ahead_ns += (GRACE_S + 1) * NS_PER_S;
	assert_int_equal(when_service(fixture, "web", "10.96.0.1", "1 2"), 0);
	assert_int_equal(when_service(fixture, "web", "10.96.0.1", "1"), 0);

	when_later(fixture, 0);
	then_state(fixture, 2, BACKEND_DRAINING);
	then_address(fixture, "10.0.0.2", ADDRESS_BACKEND);

	when_settled(fixture);
	then_state(fixture, 2, BACKEND_FREE);
	then_address(fixture, "10.0.0.2", 0);
}

/* Two ports of one pod: flows are known by address, so those of one keep the other's entry. */
static void test_backends_of_one_address(void **state)
{
	struct fixture *fixture = *state;
	struct port_plan plan;

	port_begin(&plan, "web", "10.96.0.1", IPPROTO_TCP);
	port_add_text(&plan, "1 1");
	plan.backends[1].port = htons(9090);
	assert_int_equal(when_applied(fixture, &plan), 0);
	assert_int_equal(numbers_of(fixture).backends, 2);
	flows_of(fixture, "10.0.0.1")->confirmed = 1;

	plan.port.backend_count = 1;
	assert_int_equal(when_applied(fixture, &plan), 0);
	when_settled(fixture);
	assert_int_equal(numbers_of(fixture).draining, 1);

	flows_of(fixture, "10.0.0.1")->confirmed = 0;
	when_settled(fixture);
	assert_int_equal(numbers_of(fixture).backends, 1);
	then_address(fixture, "10.0.0.1", ADDRESS_BACKEND);
	then_served(fixture, "10.96.0.1", "1");
}

static void test_backend_that_comes_back(void **state)
{
	struct fixture *fixture = *state;
	uint32_t id, generation;

	assert_int_equal(when_service(fixture, "web", "10.96.0.1", "1 2"), 0);
	id = backend_id_of(fixture, 2, IPPROTO_TCP);
	generation = fixture->backends[id].generation;
	assert_int_not_equal(generation, 0);
	assert_int_equal(when_service(fixture, "web", "10.96.0.1", "1 2:leaving"), 0);
	assert_int_equal(when_service(fixture, "web", "10.96.0.1", "1"), 0);
	then_state(fixture, 2, BACKEND_DEAD);

	assert_int_equal(when_service(fixture, "web", "10.96.0.1", "1 2"), 0);
	when_settled(fixture);

	then_state(fixture, 2, BACKEND_ACTIVE);
	assert_int_equal(backend_id_of(fixture, 2, IPPROTO_TCP), id);
	assert_int_equal(fixture->backends[id].generation, generation);
	then_served(fixture, "10.96.0.1", "1 2");
}

static void when_udp(struct fixture *fixture, const char *endpoints)
{
	struct port_plan plan;

	port_begin(&plan, "dns", "10.96.0.10", IPPROTO_UDP);
	port_add_text(&plan, endpoints);
	assert_int_equal(when_applied(fixture, &plan), 0);
}

static void test_left_udp_backends_are_told(void **state)
{
	struct fixture *fixture = *state;
	struct port_plan other;

	assert_int_equal(when_service(fixture, "web", "10.96.0.1", "8 9"), 0);
	when_udp(fixture, "1 2 3 4");
	then_left(fixture, "");

	assert_int_equal(when_service(fixture, "web", "10.96.0.1", "8"), 0);
	when_udp(fixture, "1 2 3:leaving");
	then_left(fixture, "3 4 ");
	then_left(fixture, "");

	/* One that is back by the time of telling has not left. */
	when_udp(fixture, "1");
	when_udp(fixture, "1 2");
	then_left(fixture, "");

	/* One that another Service has as well has left this one all the same. */
	port_begin(&other, "other", "10.96.0.11", IPPROTO_UDP);
	port_add_text(&other, "2");
	assert_int_equal(when_applied(fixture, &other), 0);
	when_udp(fixture, "1");
	then_left(fixture, "2 ");
	when_gone(fixture, "other");
	then_left(fixture, "2 ");
}

static void test_grace_of_slots_and_backends(void **state)
{
	struct fixture *fixture = *state;
	struct slot_range old;
	uint32_t id;

	assert_int_equal(when_service(fixture, "web", "10.96.0.1", "1 2"), 0);
	old = service_of(fixture, "10.96.0.1")->cluster_slots;
	id = backend_id_of(fixture, 2, IPPROTO_TCP);
	assert_int_equal(when_service(fixture, "web", "10.96.0.1", "1"), 0);

	/* The list that programs may still look at keeps its content, whatever is published. */
	for (uint32_t i = 0; i < 100; i++) {
		char other[16];

		(void)snprintf(other, sizeof(other), "%u %u", 10 + i, 11 + i);
		assert_int_equal(when_service(fixture, "api", "10.96.0.2", other), 0);
		when_later(fixture, 0);
	}
	assert_int_equal(fixture->slots[old.first + 1].backend, id);
	assert_int_equal(fixture->backends[id].addr.bytes[15], 2);
	then_state(fixture, 2, BACKEND_DRAINING);
}

static void test_reclaim_says_when(void **state)
{
	struct fixture *fixture = *state;
	uint64_t wait_ms;

	assert_int_equal(when_service(fixture, "web", "10.96.0.1", "1"), 0);
	assert_int_equal(publisher_reclaim(fixture->publisher, now_ns()), 0);

	assert_int_equal(when_service(fixture, "web", "10.96.0.1", "1 2"), 0);

	wait_ms = publisher_reclaim(fixture->publisher, now_ns());
	assert_between(wait_ms, 1, GRACE_S * 1000 + 1);
}

static void test_reused_id_has_another_generation(void **state)
{
	const struct sizes sizes = {8, 64, 4, 8, 32};
	struct fixture *fixture = given_maps(&sizes);
	uint32_t id, generation;

	(void)state;
	when_started(fixture);
	assert_int_equal(when_service(fixture, "web", "10.96.0.1", "1 2 3"), 0);
	id = backend_id_of(fixture, 2, IPPROTO_TCP);
	generation = fixture->backends[id].generation;
	assert_int_equal(when_service(fixture, "web", "10.96.0.1", "1 3"), 0);
	when_settled(fixture);

	assert_int_equal(when_service(fixture, "web", "10.96.0.1", "1 3 4"), 0);

	assert_int_equal(backend_id_of(fixture, 4, IPPROTO_TCP), id);
	assert_int_not_equal(fixture->backends[id].generation, generation);
	then_served(fixture, "10.96.0.1", "1 3 4");
	fixture_free(fixture);
}

static void test_vip_stays_while_flows_do(void **state)
{
	struct fixture *fixture = *state;

	assert_int_equal(when_service(fixture, "web", "10.96.0.1", "1"), 0);
	flows_of(fixture, "10.96.0.1")->confirmed = 1;

	when_gone(fixture, "web");
	then_address(fixture, "10.96.0.1", ADDRESS_RETIRED);
	when_settled(fixture);
	then_address(fixture, "10.96.0.1", ADDRESS_RETIRED);

	flows_of(fixture, "10.96.0.1")->confirmed = 0;
	when_settled(fixture);
	then_address(fixture, "10.96.0.1", 0);
}

static void test_vip_that_comes_back(void **state)
{
	struct fixture *fixture = *state;

	assert_int_equal(when_service(fixture, "web", "10.96.0.1", "1"), 0);
	flows_of(fixture, "10.96.0.1")->confirmed = 1;
	when_gone(fixture, "web");

	assert_int_equal(when_service(fixture, "web", "10.96.0.1", "1"), 0);

	then_address(fixture, "10.96.0.1", ADDRESS_CLUSTER_IP);
	assert_int_equal(flows_of(fixture, "10.96.0.1")->confirmed, 1);
	flows_of(fixture, "10.96.0.1")->confirmed = 0;
	when_settled(fixture);
	then_address(fixture, "10.96.0.1", ADDRESS_CLUSTER_IP);
	then_served(fixture, "10.96.0.1", "1");
}

static void test_service_id_waits_for_flows(void **state)
{
	const struct sizes sizes = {3, 64, 64, 8, 64}; /* ids 1 and 2 */
	struct fixture *fixture = given_maps(&sizes);
	uint32_t id;

	(void)state;
	when_started(fixture);
	assert_int_equal(when_service(fixture, "web", "10.96.0.1", "1"), 0);
	assert_int_equal(when_service(fixture, "api", "10.96.0.2", "1"), 0);
	id = service_id_of(fixture, "10.96.0.1", IPPROTO_TCP);
	flows_of(fixture, "10.96.0.1")->confirmed = 1;
	when_gone(fixture, "web");
	when_settled(fixture);

	assert_int_equal(when_service(fixture, "new", "10.96.0.3", "1"), -ENOSPC);
	then_full(fixture, "new", "services", "--max-services");

	flows_of(fixture, "10.96.0.1")->confirmed = 0;
	when_settled(fixture);
	assert_int_equal(when_service(fixture, "new", "10.96.0.3", "1"), 0);
	assert_int_equal(service_id_of(fixture, "10.96.0.3", IPPROTO_TCP), id);
	then_fits(fixture, "new");
	fixture_free(fixture);
}

static void test_node_addresses(void **state)
{
	struct fixture *fixture = *state;
	const struct ip_addr first[] = {ip("192.0.2.1"), ip("10.0.0.1"), ip("10.96.0.1")};
	const struct ip_addr second[] = {ip("192.0.2.2")};

	assert_int_equal(when_service(fixture, "web", "10.96.0.1", "1"), 0);
	assert_int_equal(publisher_write_node_addresses(fixture->publisher, first, 3), 0);
	then_address(fixture, "192.0.2.1", ADDRESS_NODE);
	then_address(fixture, "10.0.0.1", ADDRESS_NODE | ADDRESS_BACKEND);
	then_address(fixture, "10.96.0.1", ADDRESS_NODE | ADDRESS_CLUSTER_IP);

	/* An agent that starts anew must find those it has to take back. */
	when_stopped(fixture);
	when_started(fixture);
	assert_int_equal(publisher_write_node_addresses(fixture->publisher, second, 1), 0);
	then_address(fixture, "192.0.2.1", 0);
	then_address(fixture, "192.0.2.2", ADDRESS_NODE);
	then_address(fixture, "10.0.0.1", ADDRESS_BACKEND);
	then_address(fixture, "10.96.0.1", ADDRESS_CLUSTER_IP);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST("backends know whether they are on a node",
		     test_backends_know_whether_they_are_on_a_node),
		TEST("some backends on other nodes are told",
		     test_some_backends_on_other_nodes_are_told),
		TEST("a new Service is complete in every map", test_new_service),
		TEST("what a policy leaves out is unused, and what leaves drains",
		     test_what_a_policy_leaves_out_is_unused_and_what_leaves_drains),
		TEST("index 0 of services, backends and address_flows is never used",
		     test_index_zero),
		TEST("the same plan again writes nothing", test_same_plan_again),
		TEST("ids stay while anything uses them", test_ids_are_stable),
		TEST("TCP and UDP have service ports and backends of their own",
		     test_protocols_have_their_own_backends),
		TEST("an empty list says what clients get", test_empty_lists_say_what_clients_get),
		TEST("a policy that changes leaves its old list for a grace period",
		     test_policy_changes),
		TEST("a policy that changes to and fro has its last grace period whole",
		     test_policy_changes_to_and_fro),
		TEST("affinity alone changes no list", test_affinity),
		TEST("a Service made anew at another ClusterIP moves there", test_new_cluster_ip),
		TEST("a Service that goes leaves nothing behind", test_service_that_goes),
		TEST("a reason stands while it holds", test_reasons),
		TEST("a backend that terminated and went is dead at once",
		     test_terminating_then_gone),
		TEST("a backend that went without terminating drains while it has flows",
		     test_gone_without_terminating),
		TEST("flows that may still be new keep a backend", test_new_flows_keep_a_backend),
		TEST("a backend of two Services stays while one has it",
		     test_backend_of_two_services),
		TEST("a backend that leaves twice has two grace periods",
		     test_backend_that_leaves_twice),
		TEST("two backends of one address end together with its flows",
		     test_backends_of_one_address),
		TEST("a backend that comes back has its id and its generation",
		     test_backend_that_comes_back),
		TEST("UDP backends that left are told once", test_left_udp_backends_are_told),
		TEST("slots and backends that left are as they were within the grace period",
		     test_grace_of_slots_and_backends),
		TEST("reclaim says when it wants to be called again", test_reclaim_says_when),
		TEST("a reused backend id has another generation",
		     test_reused_id_has_another_generation),
		TEST("a VIP is retired while its flows last", test_vip_stays_while_flows_do),
		TEST("a retired VIP that comes back is a ClusterIP again",
		     test_vip_that_comes_back),
		TEST("a service port's id waits for the flows of its VIP",
		     test_service_id_waits_for_flows),
		TEST("addresses of the node come and go, over restarts too", test_node_addresses),
	};

	log_set_level(LOG_ERROR);
	return cmocka_run_group_tests_name("publish", tests, NULL, NULL);
}

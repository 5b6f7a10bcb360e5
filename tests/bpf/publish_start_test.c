/* SPDX-License-Identifier: BSD-2-Clause */

/* What an earlier run left in the maps: it is adopted, and put right where that run was killed. */
#include "publish_fixture.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/map.h"

static void test_restart_writes_nothing(void **state)
{
	struct fixture *fixture = *state;
	const struct ip_addr node[] = {ip("192.0.2.1"), ip("10.0.0.1")};
	struct port_plan plan, reason;
	struct dump before;

	port_begin(&plan, "local", "10.96.0.3", IPPROTO_TCP);
	port_add_text(&plan, "1:here 2 3:here");
	port_make_local(&plan);
	plan.port.affinity_timeout_s = 600;
	port_begin(&reason, "other", "10.96.0.4", IPPROTO_TCP);
	reason.port.unprogrammed = UNPROGRAMMED_HEADLESS;
	/* 10.0.0.9 is a VIP and a backend at once. */
	for (int run = 0; run < 2; run++) {
		assert_int_equal(publisher_write_node_addresses(fixture->publisher, node, 2), 0);
		assert_int_equal(when_service(fixture, "web", "10.96.0.1", "1 2:here 5:leaving"),
				 0);
		assert_int_equal(when_service(fixture, "api", "10.0.0.9", "9 2:here 6:unready"), 0);
		assert_int_equal(when_applied(fixture, &plan), 0);
		assert_int_equal(when_applied(fixture, &reason), 0);
		if (run)
			break;
		when_settled(fixture);
		before = dump_of(fixture);
		when_restarted(fixture);
	}
	publisher_remove_unclaimed(fixture->publisher);
	when_settled(fixture);

	then_unchanged(fixture, &before);
	assert_int_equal(numbers_of(fixture).changed_service_ports, 0);
	assert_int_equal(numbers_of(fixture).service_ports, 3);
	assert_int_equal(numbers_of(fixture).backends, 6);
	then_left(fixture, "");
}

static void test_nothing_is_removed_before_it_is_known_to_be_gone(void **state)
{
	struct fixture *fixture = *state;
	struct port_plan reason;

	port_begin(&reason, "other", "10.96.0.4", IPPROTO_TCP);
	reason.port.unprogrammed = UNPROGRAMMED_HEADLESS;
	assert_int_equal(when_service(fixture, "web", "10.96.0.1", "1"), 0);
	assert_int_equal(when_service(fixture, "api", "10.96.0.2", "2"), 0);
	assert_int_equal(when_applied(fixture, &reason), 0);
	when_restarted(fixture);

	assert_int_equal(when_service(fixture, "web", "10.96.0.1", "1"), 0);
	when_settled(fixture);
	then_served(fixture, "10.96.0.2", "2");
	assert_int_equal(reason_of(fixture, "other").reason, UNPROGRAMMED_HEADLESS);

	publisher_remove_unclaimed(fixture->publisher);
	assert_int_equal(service_id_of(fixture, "10.96.0.2", IPPROTO_TCP), 0);
	assert_int_equal(reason_of(fixture, "other").reason, 0);
	then_served(fixture, "10.96.0.1", "1");
	when_settled(fixture);
	then_state(fixture, 2, BACKEND_FREE);
	then_address(fixture, "10.96.0.2", 0);
}

static void test_retired_vip_survives_a_restart(void **state)
{
	struct fixture *fixture = *state;

	assert_int_equal(when_service(fixture, "web", "10.96.0.1", "1"), 0);
	flows_of(fixture, "10.96.0.1")->confirmed = 2;
	flows_of(fixture, "10.0.0.1")->confirmed = 2;
	when_gone(fixture, "web");

	when_restarted(fixture);
	when_settled(fixture);

	then_address(fixture, "10.96.0.1", ADDRESS_RETIRED);
	then_state(fixture, 1, BACKEND_DRAINING);
	flows_of(fixture, "10.96.0.1")->confirmed = 0;
	flows_of(fixture, "10.0.0.1")->confirmed = 0;
	when_settled(fixture);
	assert_int_equal(map_count(fixture->maps.addresses), 0);
}

/* What a publish that stopped halfway leaves behind, and worse; nothing of it may do harm. */
static void test_crash_repair(void **state)
{
	struct fixture *fixture = *state;
	struct service_name name = {.namespace_ = "shop", .name = "half", .port_name = "http"};
	struct service_name twin = {.namespace_ = "shop",
				    .name = "web",
				    .port_name = "http",
				    .proto = IPPROTO_TCP,
				    .family = FAMILY_IPV4};
	struct frontend frontend = {
		.vip = ip("10.96.0.77"), .port = htons(80), .proto = IPPROTO_TCP};
	struct frontend_target target = {.service = 40, .kind = FRONTEND_CLUSTER_IP};
	struct address_info bad_index = {.flags = ADDRESS_BACKEND, .index = 9999};
	struct ip_addr addr = ip("10.0.0.99");
	uint32_t id = 40;

	assert_int_equal(when_service(fixture, "web", "10.96.0.1", "1 2"), 0);
	when_stopped(fixture);
	/* A names entry without a services entry, and a services entry without a name. */
	assert_int_equal(bpf_map_update_elem(fixture->maps.service_names, &id, &name, BPF_ANY), 0);
	fixture->services[41] = (struct service){.cluster_slots = {0, 4}, .flags = SERVICE_IN_USE};
	fixture->services[42] = (struct service){.cluster_slots = {0, 4}};
	/* A second port of the same name, whose list is the first one's. */
	id = 43;
	assert_int_equal(bpf_map_update_elem(fixture->maps.service_names, &id, &twin, BPF_ANY), 0);
	fixture->services[43] = fixture->services[1];
	/* A backend that nobody has, one of no known state, and one twice. */
	fixture->backends[50] = (struct backend){.addr = ip("10.0.0.50"),
						 .port = htons(8080),
						 .proto = IPPROTO_TCP,
						 .state = BACKEND_ACTIVE,
						 .generation = 7};
	fixture->backends[51] = (struct backend){.addr = ip("10.0.0.51"), .state = 99};
	fixture->backends[52] = fixture->backends[1];
	/* A frontend that leads nowhere, an address with an index out of bounds. */
	assert_int_equal(bpf_map_update_elem(fixture->maps.frontends, &frontend, &target, BPF_ANY),
			 0);
	assert_int_equal(bpf_map_update_elem(fixture->maps.addresses, &addr, &bad_index, BPF_ANY),
			 0);

	when_started(fixture);
	assert_int_equal(when_service(fixture, "web", "10.96.0.1", "1 2"), 0);
	publisher_remove_unclaimed(fixture->publisher);
	when_settled(fixture);

	then_served(fixture, "10.96.0.1", "1 2");
	then_state(fixture, 50, BACKEND_FREE);
	then_state(fixture, 51, BACKEND_FREE);
	then_address(fixture, "10.0.0.99", 0);
	then_address(fixture, "10.96.0.77", 0);
	assert_int_equal(map_count(fixture->maps.service_names), 1);
	assert_int_equal(map_count(fixture->maps.frontends), 1);
	assert_int_equal(map_count(fixture->maps.addresses), 3);
	assert_int_equal(fixture->services[41].flags, 0);
	assert_int_equal(numbers_of(fixture).backends, 2);
	assert_int_equal(numbers_of(fixture).draining, 0);
}

/* Stopped between the services entry and the frontend: the port is there, and gets its frontend. */
static void test_crash_before_the_frontend(void **state)
{
	struct fixture *fixture = *state;
	struct frontend frontend = {
		.vip = ip("10.96.0.1"), .port = htons(80), .proto = IPPROTO_TCP};
	struct ip_addr vip = ip("10.96.0.1");
	uint32_t id;

	assert_int_equal(when_service(fixture, "web", "10.96.0.1", "1 2"), 0);
	id = service_id_of(fixture, "10.96.0.1", IPPROTO_TCP);
	when_stopped(fixture);
	assert_int_equal(bpf_map_delete_elem(fixture->maps.frontends, &frontend), 0);
	assert_int_equal(bpf_map_delete_elem(fixture->maps.addresses, &vip), 0);

	when_started(fixture);
	assert_int_equal(when_service(fixture, "web", "10.96.0.1", "1 2"), 0);

	assert_int_equal(service_id_of(fixture, "10.96.0.1", IPPROTO_TCP), id);
	then_served(fixture, "10.96.0.1", "1 2");
	then_address(fixture, "10.96.0.1", ADDRESS_CLUSTER_IP);
}

static void test_list_that_is_no_list(void **state)
{
	struct fixture *fixture = *state;
	struct service *service;

	assert_int_equal(when_service(fixture, "web", "10.96.0.1", "1 2"), 0);
	assert_int_equal(when_service(fixture, "api", "10.96.0.2", "1 2"), 0);
	when_stopped(fixture);
	/* One beyond the end, one whose ids do not ascend. */
	service_of(fixture, "10.96.0.1")->cluster_slots.first = fixture->sizes.slots - 1;
	service = service_of(fixture, "10.96.0.2");
	fixture->slots[service->cluster_slots.first].backend =
		fixture->slots[service->cluster_slots.first + 1].backend;

	when_started(fixture);
	assert_int_equal(when_service(fixture, "web", "10.96.0.1", "1 2"), 0);
	assert_int_equal(when_service(fixture, "api", "10.96.0.2", "1 2"), 0);

	then_served(fixture, "10.96.0.1", "1 2");
	then_served(fixture, "10.96.0.2", "1 2");
}

/* Starts, and returns how many lines of the log say that something was put right. */
static int when_started_with_log(struct fixture *fixture)
{
	char text[TEXT_SIZE];
	int lines = 0;

	log_begin();
	when_started(fixture);
	log_end(text);
	for (const char *at = text; (at = strstr(at, "put right")); at++)
		lines++;
	return lines;
}

static void given_address(struct fixture *fixture, const char *text, uint32_t index)
{
	struct address_info info = {.flags = ADDRESS_BACKEND, .index = index};
	struct ip_addr addr = ip(text);

	assert_int_equal(bpf_map_update_elem(fixture->maps.addresses, &addr, &info, BPF_ANY), 0);
}

/* Each list of the Services is wrong in its own way. */
static void given_wrong_lists(struct fixture *fixture)
{
	struct slot_range first = service_of(fixture, "10.96.0.1")->cluster_slots;
	struct service *service;

	/* The range of another. */
	service_of(fixture, "10.96.0.2")->cluster_slots = first;
	/* Backends that are free, that cannot be, and that nobody is. */
	service = service_of(fixture, "10.96.0.3");
	fixture->slots[service->cluster_slots.first].backend = fixture->sizes.backends - 1;
	service = service_of(fixture, "10.96.0.4");
	fixture->slots[service->cluster_slots.first].backend = UINT32_MAX;
	service = service_of(fixture, "10.96.0.5");
	fixture->slots[service->cluster_slots.first + 1].backend = 0;
	/* Longer than the map, and of no known verdict. */
	service_of(fixture, "10.96.0.6")->cluster_slots.count = UINT32_MAX;
	service_of(fixture, "10.96.0.7")->cluster_slots = (struct slot_range){.first = 7};
	/* A list that the policy does not look at. */
	service_of(fixture, "10.96.0.8")->local_slots = (struct slot_range){512, 3};
}

static void when_eight_services(struct fixture *fixture)
{
	for (uint32_t i = 1; i <= 8; i++) {
		char name[16], vip[32];

		(void)snprintf(name, sizeof(name), "s%u", i);
		(void)snprintf(vip, sizeof(vip), "10.96.0.%u", i);
		assert_int_equal(when_service(fixture, name, vip, "1 2 3"), 0);
	}
}

static void test_garbage_of_every_kind(void **state)
{
	struct fixture *fixture = *state;
	struct frontend frontend = {.port = htons(80), .proto = IPPROTO_TCP};
	struct frontend_target target = {.kind = FRONTEND_CLUSTER_IP};
	uint32_t nowhere[] = {0, 63, 64, UINT32_MAX, 1};
	struct dump sound;

	when_eight_services(fixture);
	when_settled(fixture);
	given_wrong_lists(fixture);
	when_stopped(fixture);
	for (uint32_t i = 0; i < sizeof(nowhere) / sizeof(nowhere[0]); i++) {
		frontend.vip = ip_number("10.97", i);
		target.service = nowhere[i];
		assert_int_equal(
			bpf_map_update_elem(fixture->maps.frontends, &frontend, &target, BPF_ANY),
			0);
	}
	given_address(fixture, "10.0.0.90", 0);
	given_address(fixture, "10.0.0.91", fixture->sizes.addresses);
	given_address(fixture, "10.0.0.92", 1);
	given_address(fixture, "10.0.0.93", 300);

	assert_int_equal(when_started_with_log(fixture), 1);
	when_eight_services(fixture);
	publisher_remove_unclaimed(fixture->publisher);
	when_settled(fixture);

	for (uint32_t i = 1; i <= 8; i++) {
		char vip[32];

		(void)snprintf(vip, sizeof(vip), "10.96.0.%u", i);
		then_served(fixture, vip, "1 2 3");
		then_list(fixture, service_of(fixture, vip)->local_slots, "");
	}
	assert_int_equal(map_count(fixture->maps.frontends), 8);
	assert_int_equal(map_count(fixture->maps.addresses), 11);
	assert_int_equal(numbers_of(fixture).slots, 24);
	/* All is sound now: the next start has nothing to put right, nor to write. */
	sound = dump_of(fixture);
	when_stopped(fixture);
	assert_int_equal(when_started_with_log(fixture), 0);
	when_eight_services(fixture);
	when_settled(fixture);
	then_unchanged(fixture, &sound);
}

/* Killed after a policy changed, before its old list was emptied. */
static void test_stop_after_a_policy_change(void **state)
{
	struct fixture *fixture = *state;
	struct port_plan plan;

	port_begin(&plan, "web", "10.96.0.1", IPPROTO_TCP);
	port_add_text(&plan, "1:here 2");
	assert_int_equal(when_applied(fixture, &plan), 0);
	port_make_local(&plan);
	assert_int_equal(when_applied(fixture, &plan), 0);

	when_stopped(fixture);
	assert_int_equal(when_started_with_log(fixture), 0);

	then_state(fixture, 1, BACKEND_ACTIVE);
	then_state(fixture, 2, BACKEND_DRAINING);
	then_list(fixture, service_of(fixture, "10.96.0.1")->cluster_slots, "");
	then_list(fixture, service_of(fixture, "10.96.0.1")->local_slots, "1");
	assert_int_equal(when_applied(fixture, &plan), 0);
	when_settled(fixture);
	assert_int_equal(numbers_of(fixture).slots, 1);
	then_state(fixture, 2, BACKEND_DRAINING);
}

static void test_map_that_cannot_be_opened(void **state)
{
	static const struct {
		size_t map; /* where its descriptor is */
		const char *said;
	} cases[] = {
		{offsetof(struct publisher_maps, services), "table of services"},
		{offsetof(struct publisher_maps, slots), "table of slots"},
		{offsetof(struct publisher_maps, address_flows), "table of addresses"},
		{offsetof(struct publisher_maps, backends), "table of backends"},
		{offsetof(struct publisher_maps, node_ports), "map node_ports"},
		{offsetof(struct publisher_maps, addresses), "map addresses"},
		{offsetof(struct publisher_maps, service_names), "map service_names"},
		{offsetof(struct publisher_maps, frontends), "map frontends"},
		{offsetof(struct publisher_maps, source_ranges), "map source_ranges"},
		{offsetof(struct publisher_maps, unprogrammed), "map unprogrammed"},
	};
	const struct fixture *fixture = *state;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct publisher_maps maps = fixture->maps;
		struct publisher *publisher = NULL;
		char text[TEXT_SIZE];
		int err;

		memcpy((char *)&maps + cases[i].map, &(int){-1}, sizeof(int));
		log_begin();
		err = publisher_open(&maps, &publisher);
		log_end(text);
		assert_true(err < 0);
		assert_non_null(strstr(text, cases[i].said));
		assert_null(publisher);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST("a map that cannot be opened is named", test_map_that_cannot_be_opened),
		TEST("a restart with the same plans writes nothing", test_restart_writes_nothing),
		TEST("after a restart nothing goes before the source was read",
		     test_nothing_is_removed_before_it_is_known_to_be_gone),
		TEST("retired VIPs and draining backends survive a restart",
		     test_retired_vip_survives_a_restart),
		TEST("what a crash left behind is put right", test_crash_repair),
		TEST("a crash before the frontend: the port keeps its id and gets it",
		     test_crash_before_the_frontend),
		TEST("a list that is none is replaced", test_list_that_is_no_list),
		TEST("garbage of every kind is put right, once, and said once",
		     test_garbage_of_every_kind),
		TEST("a stop after a policy change leaves no list behind",
		     test_stop_after_a_policy_change),
	};

	log_set_level(LOG_ERROR);
	return cmocka_run_group_tests_name("publish_start", tests, NULL, NULL);
}

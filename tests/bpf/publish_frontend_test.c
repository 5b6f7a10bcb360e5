/* SPDX-License-Identifier: BSD-2-Clause */

/* Frontends that move: from port to port, from Service to Service, and back. */
#include "publish_fixture.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"

static void then_retired_and_gone(struct fixture *fixture, const char *vip)
{
	then_address(fixture, vip, ADDRESS_RETIRED);
	when_settled(fixture);
	then_address(fixture, vip, 0);
}

static void test_moves_to_another_service(void **state)
{
	struct fixture *fixture = *state;

	assert_int_equal(when_service(fixture, "old", "10.96.0.1", "1"), 0);
	when_gone(fixture, "old");
	assert_int_equal(when_service(fixture, "new", "10.96.0.1", "2"), 0);

	then_served(fixture, "10.96.0.1", "2");
	then_address(fixture, "10.96.0.1", ADDRESS_CLUSTER_IP);
	when_settled(fixture);
	then_address(fixture, "10.96.0.1", ADDRESS_CLUSTER_IP);
	when_gone(fixture, "new");
	then_retired_and_gone(fixture, "10.96.0.1");
}

static void test_is_taken_by_another_service(void **state)
{
	struct fixture *fixture = *state;

	assert_int_equal(when_service(fixture, "old", "10.96.0.1", "1"), 0);
	assert_int_equal(when_service(fixture, "new", "10.96.0.1", "2"), 0);
	then_served(fixture, "10.96.0.1", "2");
	when_gone(fixture, "old");

	then_served(fixture, "10.96.0.1", "2");
	when_settled(fixture);
	then_address(fixture, "10.96.0.1", ADDRESS_CLUSTER_IP);
	assert_int_equal(numbers_of(fixture).frontends, 1);
	when_gone(fixture, "new");
	assert_int_equal(service_id_of(fixture, "10.96.0.1", IPPROTO_TCP), 0);
	then_retired_and_gone(fixture, "10.96.0.1");
	assert_int_equal(numbers_of(fixture).frontends, 0);
}

static void test_two_services_swap(void **state)
{
	struct fixture *fixture = *state;

	assert_int_equal(when_service(fixture, "a", "10.96.0.1", "1"), 0);
	assert_int_equal(when_service(fixture, "b", "10.96.0.2", "2"), 0);

	assert_int_equal(when_service(fixture, "a", "10.96.0.2", "1"), 0);
	assert_int_equal(when_service(fixture, "b", "10.96.0.1", "2"), 0);

	then_served(fixture, "10.96.0.1", "2");
	then_served(fixture, "10.96.0.2", "1");
	when_settled(fixture);
	then_address(fixture, "10.96.0.1", ADDRESS_CLUSTER_IP);
	then_address(fixture, "10.96.0.2", ADDRESS_CLUSTER_IP);
	when_gone(fixture, "a");
	then_served(fixture, "10.96.0.1", "2");
	then_retired_and_gone(fixture, "10.96.0.2");
}

/* Somebody copied a manifest and removes the copy: the first Service answers again. */
static void test_is_given_back(void **state)
{
	struct fixture *fixture = *state;

	assert_int_equal(when_service(fixture, "web", "10.96.0.1", "1 2"), 0);
	assert_int_equal(when_service(fixture, "copy", "10.96.0.1", "3"), 0);
	assert_int_equal(when_service(fixture, "copy-of-copy", "10.96.0.1", "4"), 0);
	then_served(fixture, "10.96.0.1", "4");

	when_gone(fixture, "copy");
	then_served(fixture, "10.96.0.1", "4");
	when_gone(fixture, "copy-of-copy");
	then_served(fixture, "10.96.0.1", "1 2");
	assert_int_equal(map_count(fixture->maps.frontends, sizeof(struct frontend)), 1);

	/* So it is where the other one leaves for another address. */
	assert_int_equal(when_service(fixture, "copy", "10.96.0.1", "3"), 0);
	assert_int_equal(when_service(fixture, "copy", "10.96.0.2", "3"), 0);
	then_served(fixture, "10.96.0.1", "1 2");
	then_served(fixture, "10.96.0.2", "3");
	assert_int_equal(map_count(fixture->maps.frontends, sizeof(struct frontend)), 2);

	when_gone(fixture, "web");
	when_gone(fixture, "copy");
	assert_int_equal(map_count(fixture->maps.frontends, sizeof(struct frontend)), 0);
	when_settled(fixture);
	assert_int_equal(map_count(fixture->maps.addresses, sizeof(struct ip_addr)), 0);
}

static void when_named(struct fixture *fixture, const char *port_name)
{
	struct port_plan plan;

	port_begin(&plan, "web", "10.96.0.1", IPPROTO_TCP);
	port_add_text(&plan, "1 2");
	memset(plan.port.name.port_name, 0, NAME_SIZE);
	(void)snprintf(plan.port.name.port_name, NAME_SIZE, "%s", port_name);
	assert_int_equal(when_applied(fixture, &plan), 0);
}

#define RENAMES 1000

struct watcher {
	int frontends;
	struct frontend frontend;
	bool stop;
	uint64_t looks, missing;
};

static void *watch(void *context)
{
	struct watcher *watcher = context;
	struct frontend_target target;

	while (!__atomic_load_n(&watcher->stop, __ATOMIC_RELAXED)) {
		watcher->missing +=
			bpf_map_lookup_elem(watcher->frontends, &watcher->frontend, &target) != 0;
		watcher->looks++;
	}
	return NULL;
}

static void test_port_is_renamed(void **state)
{
	const struct sizes sizes = {2 * RENAMES, 8 * RENAMES, 64, 1, 64};
	struct fixture *fixture = given_maps(&sizes);
	struct watcher watcher = {
		.frontends = fixture->maps.frontends,
		.frontend = {.vip = ip("10.96.0.1"), .port = htons(80), .proto = IPPROTO_TCP}};
	pthread_t thread;

	(void)state;
	when_started(fixture);
	when_named(fixture, "http");
	assert_int_equal(pthread_create(&thread, NULL, watch, &watcher), 0);

	/* The map of frontends is full all the time, and has no need to be larger. */
	for (int i = 0; i < RENAMES; i++)
		when_named(fixture, i % 2 ? "http" : "web");

	__atomic_store_n(&watcher.stop, true, __ATOMIC_RELAXED);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(watcher.missing, 0);
	assert_true(watcher.looks > 100);
	then_served(fixture, "10.96.0.1", "1 2");
	assert_int_equal(numbers_of(fixture).frontends, 1);
	assert_int_equal(numbers_of(fixture).service_ports, 1);
	when_settled(fixture);
	then_address(fixture, "10.96.0.1", ADDRESS_CLUSTER_IP);
	fixture_free(fixture);
}

/* One retry, for whatever did not fit: shop/api moves in. */
static int retry(const char *namespace_, const char *name, void *context)
{
	assert_string_equal(namespace_, "shop");
	return when_service(context, name, "10.96.0.2", "2");
}

static void test_room_of_a_frontend(void **state)
{
	const struct sizes sizes = {16, 64, 64, 1, 64};
	struct fixture *fixture = given_maps(&sizes);

	(void)state;
	when_started(fixture);
	assert_int_equal(when_service(fixture, "web", "10.96.0.1", "1"), 0);
	assert_int_equal(when_service(fixture, "api", "10.96.0.2", "2"), -ENOSPC);
	then_full(fixture, "api", "frontends", "--max-frontends");
	/* Flows keep the address, not the room in the map. */
	flows_of(fixture, "10.96.0.1")->confirmed = 1;
	when_gone(fixture, "web");

	assert_int_equal(publisher_retry_unfitting(fixture->publisher, retry, fixture), 0);

	then_served(fixture, "10.96.0.2", "2");
	then_fits(fixture, "api");
	then_address(fixture, "10.96.0.1", ADDRESS_RETIRED);
	fixture_free(fixture);
}

static int fail_first(const char *namespace_, const char *name, void *context)
{
	int *calls = context;

	(void)namespace_;
	(void)name;
	return (*calls)++ ? 0 : -ENOMEM;
}

static void test_retry_that_fails(void **state)
{
	const struct sizes sizes = {16, 64, 64, 1, 64};
	struct fixture *fixture = given_maps(&sizes);
	int calls = 0;

	(void)state;
	when_started(fixture);
	assert_int_equal(when_service(fixture, "web", "10.96.0.1", "1"), 0);
	assert_int_equal(when_service(fixture, "api", "10.96.0.2", "2"), -ENOSPC);
	assert_int_equal(when_service(fixture, "dns", "10.96.0.3", "3"), -ENOSPC);
	when_gone(fixture, "web");

	assert_int_equal(publisher_retry_unfitting(fixture->publisher, fail_first, &calls),
			 -ENOMEM);
	assert_int_equal(calls, 1);
	assert_int_equal(publisher_retry_unfitting(fixture->publisher, fail_first, &calls), 0);
	assert_int_equal(calls, 3);
	fixture_free(fixture);
}

#define SERVICES 8
#define VIPS     3
#define STEPS    3000

static uint32_t random_below(uint64_t *seed, uint32_t end)
{
	/* Knuth's MMIX generator; its upper bits are good enough here. */
	*seed = *seed * 6364136223846793005ULL + 1442695040888963407ULL;
	return (uint32_t)(*seed >> 33) % end;
}

static void when_wanted(struct fixture *fixture, uint32_t service, uint32_t vip)
{
	char name[16], vip_text[32];

	(void)snprintf(name, sizeof(name), "s%u", service);
	(void)snprintf(vip_text, sizeof(vip_text), "10.96.0.%u", vip);
	if (vip)
		assert_int_equal(when_service(fixture, name, vip_text, "1 2"), 0);
	else
		when_gone(fixture, name);
}

/* A VIP that anybody wants leads to one who does; others lead nowhere. */
static void then_someone_who_wants_it_has_it(struct fixture *fixture, const uint32_t *wanted)
{
	for (uint32_t vip = 1; vip <= VIPS; vip++) {
		struct service_name name;
		bool is_wanted = false;
		uint32_t id;
		char text[32];

		for (uint32_t i = 0; i < SERVICES; i++)
			is_wanted |= wanted[i] == vip;
		(void)snprintf(text, sizeof(text), "10.96.0.%u", vip);
		id = service_id_of(fixture, text, IPPROTO_TCP);
		assert_int_equal(id != 0, is_wanted);
		if (!id)
			continue;
		then_served(fixture, text, "1 2");
		assert_int_equal(bpf_map_lookup_elem(fixture->maps.service_names, &id, &name), 0);
		assert_int_equal(wanted[name.name[1] - '0'], vip);
	}
}

static void test_random_wishes(void **state)
{
	const struct sizes sizes = {1024, 4096, 64, 1024, 64};
	struct fixture *fixture = given_maps(&sizes);
	uint32_t wanted[SERVICES] = {}; /* a VIP, or 0: the Service is gone */
	uint64_t seed = 1;

	(void)state;
	when_started(fixture);
	for (int step = 0; step < STEPS; step++) {
		uint32_t service = random_below(&seed, SERVICES);

		wanted[service] = random_below(&seed, VIPS + 1);
		when_wanted(fixture, service, wanted[service]);
		if (random_below(&seed, 100) == 0) {
			when_restarted(fixture);
			for (uint32_t i = 0; i < SERVICES; i++)
				when_wanted(fixture, i, wanted[i]);
		}
		if (random_below(&seed, 20) == 0)
			when_later(fixture, 10);
		then_someone_who_wants_it_has_it(fixture, wanted);
	}
	for (uint32_t i = 0; i < SERVICES; i++)
		when_wanted(fixture, i, 0);
	when_settled(fixture);
	assert_int_equal(map_count(fixture->maps.frontends, sizeof(struct frontend)), 0);
	assert_int_equal(map_count(fixture->maps.addresses, sizeof(struct ip_addr)), 0);
	assert_int_equal(numbers_of(fixture).frontends, 0);
	fixture_free(fixture);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST("a ClusterIP moves to another Service, which comes after the first went",
		     test_moves_to_another_service),
		TEST("a ClusterIP moves to another Service, which comes before the first goes",
		     test_is_taken_by_another_service),
		TEST("two Services swap their ClusterIPs", test_two_services_swap),
		TEST("a frontend that two Services want is given back when one goes",
		     test_is_given_back),
		{"a port that gets another name answers without pause", test_port_is_renamed, NULL,
		 NULL, NULL},
		{"a frontend that went leaves room at once", test_room_of_a_frontend, NULL, NULL,
		 NULL},
		{"Services that want one another's frontends at random: each is somebody's who "
		 "wants it",
		 test_random_wishes, NULL, NULL, NULL},
		{"a retry that fails is tried again", test_retry_that_fails, NULL, NULL, NULL},
	};

	log_set_level(LOG_ERROR);
	return cmocka_run_group_tests_name("publish_frontend", tests, NULL, NULL);
}

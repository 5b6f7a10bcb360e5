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
#include "base/map.h"

static void then_retired_and_gone(struct fixture *fixture, const char *vip)
{
	then_address(fixture, vip, ADDRESS_RETIRED);
	when_settled(fixture);
	then_address(fixture, vip, 0);
}

/* A Service that was created at that second. */
static void when_aged(struct fixture *fixture, const char *name, uint64_t created_s,
		      const char *vip, const char *endpoints)
{
	struct port_plan plan;

	port_begin(&plan, name, vip, IPPROTO_TCP);
	port_add_text(&plan, endpoints);
	plan.created_s = created_s;
	assert_int_equal(when_applied(fixture, &plan), 0);
}

static void then_taken(struct fixture *fixture, const char *name, const char *detail)
{
	struct unprogrammed reason = reason_of(fixture, name);

	assert_int_equal(reason.reason, UNPROGRAMMED_TAKEN);
	assert_string_equal(reason.detail, detail);
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

	when_aged(fixture, "old", 100, "10.96.0.1", "1");
	when_aged(fixture, "new", 200, "10.96.0.1", "2");
	then_served(fixture, "10.96.0.1", "1");
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

/* Somebody copied a manifest and removes the original. */
static void test_is_given_back(void **state)
{
	struct fixture *fixture = *state;

	when_aged(fixture, "web", 100, "10.96.0.1", "1 2");
	when_aged(fixture, "copy-of-copy", 300, "10.96.0.1", "4");
	when_aged(fixture, "copy", 200, "10.96.0.1", "3");
	then_served(fixture, "10.96.0.1", "1 2");
	then_fits(fixture, "web");
	then_taken(fixture, "copy", "10.96.0.1:80/TCP by shop/web");
	then_taken(fixture, "copy-of-copy", "10.96.0.1:80/TCP by shop/web");

	when_gone(fixture, "web");
	then_served(fixture, "10.96.0.1", "3");
	then_fits(fixture, "copy");
	then_taken(fixture, "copy-of-copy", "10.96.0.1:80/TCP by shop/copy");
	when_aged(fixture, "web", 400, "10.96.0.1", "1 2");
	then_served(fixture, "10.96.0.1", "3");
	assert_int_equal(map_count(fixture->maps.frontends), 1);

	/* So it is where the winner leaves for another address. */
	when_aged(fixture, "copy", 200, "10.96.0.2", "3");
	then_served(fixture, "10.96.0.1", "4");
	then_served(fixture, "10.96.0.2", "3");
	then_taken(fixture, "web", "10.96.0.1:80/TCP by shop/copy-of-copy");
	assert_int_equal(map_count(fixture->maps.frontends), 2);

	when_gone(fixture, "web");
	then_fits(fixture, "web");
	when_gone(fixture, "copy-of-copy");
	when_gone(fixture, "copy");
	assert_int_equal(map_count(fixture->maps.frontends), 0);
	when_settled(fixture);
	assert_int_equal(map_count(fixture->maps.addresses), 0);
}

static void test_older_service_takes_over(void **state)
{
	struct fixture *fixture = *state;

	when_aged(fixture, "young", 200, "10.96.0.1", "1");
	when_aged(fixture, "old", 100, "10.96.0.1", "2");

	then_served(fixture, "10.96.0.1", "2");
	then_fits(fixture, "old");
	then_taken(fixture, "young", "10.96.0.1:80/TCP by shop/old");
}

/* A displaced Service is made anew, or an edited manifest has another creationTimestamp. */
static void test_age_changes(void **state)
{
	struct fixture *fixture = *state;

	when_aged(fixture, "a", 100, "10.96.0.1", "1");
	when_aged(fixture, "b", 200, "10.96.0.1", "2");
	then_served(fixture, "10.96.0.1", "1");
	when_aged(fixture, "b", 50, "10.96.0.1", "2");
	then_served(fixture, "10.96.0.1", "2");
	then_taken(fixture, "a", "10.96.0.1:80/TCP by shop/b");
	when_aged(fixture, "b", 300, "10.96.0.1", "2");
	then_served(fixture, "10.96.0.1", "1");
	then_taken(fixture, "b", "10.96.0.1:80/TCP by shop/a");
	then_fits(fixture, "a");
}

/* As in a folder of manifests. */
static void test_of_unknown_age(void **state)
{
	struct fixture *fixture = *state;

	when_aged(fixture, "b", 0, "10.96.0.1", "1");
	when_aged(fixture, "c", 0, "10.96.0.1", "2");
	then_served(fixture, "10.96.0.1", "1");
	when_aged(fixture, "a", 0, "10.96.0.1", "3");
	then_served(fixture, "10.96.0.1", "3");
	then_taken(fixture, "b", "10.96.0.1:80/TCP by shop/a");
	then_taken(fixture, "c", "10.96.0.1:80/TCP by shop/a");
}

static void test_restart_decides_alike(void **state)
{
	struct fixture *fixture = *state;

	when_aged(fixture, "old", 100, "10.96.0.1", "1");
	when_aged(fixture, "young", 200, "10.96.0.1", "2");
	for (int order = 0; order < 2; order++) {
		when_restarted(fixture);
		if (order)
			when_aged(fixture, "old", 100, "10.96.0.1", "1");
		when_aged(fixture, "young", 200, "10.96.0.1", "2");
		then_served(fixture, "10.96.0.1", "1");
		when_aged(fixture, "old", 100, "10.96.0.1", "1");
		publisher_remove_unclaimed(fixture->publisher);
		then_served(fixture, "10.96.0.1", "1");
		then_fits(fixture, "old");
		then_taken(fixture, "young", "10.96.0.1:80/TCP by shop/old");
	}

	/* The winner's age turns out with its plan, or the winner has gone meanwhile. */
	when_restarted(fixture);
	when_aged(fixture, "young", 50, "10.96.0.1", "2");
	then_served(fixture, "10.96.0.1", "1");
	when_aged(fixture, "old", 100, "10.96.0.1", "1");
	then_served(fixture, "10.96.0.1", "2");
	then_fits(fixture, "young");
	then_taken(fixture, "old", "10.96.0.1:80/TCP by shop/young");
	when_restarted(fixture);
	when_aged(fixture, "old", 100, "10.96.0.1", "1");
	then_taken(fixture, "old", "10.96.0.1:80/TCP by shop/young");
	publisher_remove_unclaimed(fixture->publisher);
	then_served(fixture, "10.96.0.1", "1");
	then_fits(fixture, "old");
}

static void count_taken(const struct service_name *name, const char *detail, void *context)
{
	int *calls = context;

	assert_string_equal(name->name, "young");
	assert_string_equal(detail, "10.96.0.1:80/TCP by shop/old");
	(*calls)++;
}

static void test_is_reported_once(void **state)
{
	struct fixture *fixture = *state;
	int calls = 0;

	when_aged(fixture, "old", 100, "10.96.0.1", "1");
	when_aged(fixture, "young", 200, "10.96.0.1", "2");
	for (int i = 0; i < 2; i++) {
		when_aged(fixture, "young", 200, "10.96.0.1", "2 3");
		publisher_drain_taken(fixture->publisher, count_taken, &calls);
		assert_int_equal(calls, 1);
	}
	when_gone(fixture, "young");
	when_aged(fixture, "young", 200, "10.96.0.1", "2");
	publisher_drain_taken(fixture->publisher, count_taken, &calls);
	assert_int_equal(calls, 2);

	/* Nor again by the next process, until it has ended and begun again. */
	when_restarted(fixture);
	when_aged(fixture, "young", 200, "10.96.0.1", "2");
	when_aged(fixture, "old", 100, "10.96.0.1", "1");
	publisher_drain_taken(fixture->publisher, count_taken, &calls);
	assert_int_equal(calls, 2);
	when_gone(fixture, "old");
	publisher_drain_taken(fixture->publisher, count_taken, &calls);
	when_aged(fixture, "old", 100, "10.96.0.1", "1");
	publisher_drain_taken(fixture->publisher, count_taken, &calls);
	assert_int_equal(calls, 3);
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

/* A VIP that anybody wants leads to the first by name; others lead nowhere. */
static void then_the_first_who_wants_it_has_it(struct fixture *fixture, const uint32_t *wanted)
{
	for (uint32_t vip = 1; vip <= VIPS; vip++) {
		struct service_name name;
		uint32_t first = 0, id;
		char text[32];

		while (first < SERVICES && wanted[first] != vip)
			first++;
		(void)snprintf(text, sizeof(text), "10.96.0.%u", vip);
		id = service_id_of(fixture, text, IPPROTO_TCP);
		assert_int_equal(id != 0, first < SERVICES);
		if (!id)
			continue;
		then_served(fixture, text, "1 2");
		assert_int_equal(bpf_map_lookup_elem(fixture->maps.service_names, &id, &name), 0);
		assert_int_equal(name.name[1] - '0', first);
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
		then_the_first_who_wants_it_has_it(fixture, wanted);
	}
	for (uint32_t i = 0; i < SERVICES; i++)
		when_wanted(fixture, i, 0);
	when_settled(fixture);
	assert_int_equal(map_count(fixture->maps.frontends), 0);
	assert_int_equal(map_count(fixture->maps.addresses), 0);
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
		TEST("a frontend that Services want is the oldest's, and the next's when that goes",
		     test_is_given_back),
		TEST("an older Service that comes later takes a frontend over",
		     test_older_service_takes_over),
		TEST("a Service that is older or younger than before wins or loses at once",
		     test_age_changes),
		TEST("of Services of unknown age, the first by name has the frontend",
		     test_of_unknown_age),
		TEST("a restart gives a frontend to the same Service", test_restart_decides_alike),
		TEST("a frontend that another Service has is reported once", test_is_reported_once),
		{"a port that gets another name answers without pause", test_port_is_renamed, NULL,
		 NULL, NULL},
		{"a frontend that went leaves room at once", test_room_of_a_frontend, NULL, NULL,
		 NULL},
		{"Services that want one another's frontends at random: each is the first's who "
		 "wants it",
		 test_random_wishes, NULL, NULL, NULL},
		{"a retry that fails is tried again", test_retry_that_fails, NULL, NULL, NULL},
	};

	log_set_level(LOG_ERROR);
	return cmocka_run_group_tests_name("publish_frontend", tests, NULL, NULL);
}

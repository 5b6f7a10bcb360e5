/* SPDX-License-Identifier: BSD-2-Clause */

/* Maps that are full: each Service that does not fit is refused as a whole, and tried again. */
#include "publish_fixture.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "fairlead/limits.h"
#include "log.h"

static int retry(const char *namespace_, const char *name, void *context)
{
	struct fixture *fixture = context;

	assert_string_equal(namespace_, "shop");
	return when_service(fixture, name, "10.96.0.9", "21 22 23 24");
}

/*
 * shop/big (10.96.0.9 -> 21 to 24) does not fit beside shop/web: nothing of it is left in any map;
 * when shop/web is gone it is tried again and fits. Until then it is not tried in vain.
 */
static void then_refused_until_room(const struct sizes *sizes, const char *map, const char *flag)
{
	struct fixture *fixture = given_maps(sizes);
	struct dump before;
	struct unprogrammed_key key = {.namespace_ = "shop",
				       .name = "big",
				       .port_name = "http",
				       .proto = IPPROTO_TCP,
				       .family = FAMILY_IPV4};

	when_started(fixture);
	assert_int_equal(when_service(fixture, "web", "10.96.0.1", "1 2"), 0);
	when_settled(fixture);
	before = dump_of(fixture);

	assert_int_equal(when_service(fixture, "big", "10.96.0.9", "21 22 23 24"), -ENOSPC);

	then_full(fixture, "big", map, flag);
	assert_int_equal(numbers_of(fixture).refused_service_ports, 1);
	assert_int_equal(numbers_of(fixture).unfitting, 1);
	assert_int_equal(numbers_of(fixture).service_ports, 1);
	assert_int_equal(numbers_of(fixture).backends, 2);
	assert_int_equal(numbers_of(fixture).draining, 0);
	then_served(fixture, "10.96.0.1", "1 2");
	then_state(fixture, 21, BACKEND_FREE);

	when_settled(fixture);
	assert_int_equal(publisher_retry_unfitting(fixture->publisher, retry, fixture), 0);
	assert_int_equal(numbers_of(fixture).refused_service_ports, 1);

	/* Apart from the reason, and entries that are free, the maps are as they were. */
	assert_int_equal(bpf_map_delete_elem(fixture->maps.unprogrammed, &key), 0);
	for (uint32_t id = 1; id < sizes->backends; id++) {
		if (fixture->backends[id].state == BACKEND_FREE)
			memset(&fixture->backends[id], 0, sizeof(fixture->backends[id]));
	}
	then_unchanged(fixture, &before);

	when_gone(fixture, "web");
	when_settled(fixture);
	assert_int_equal(publisher_retry_unfitting(fixture->publisher, retry, fixture), 0);
	then_served(fixture, "10.96.0.9", "21 22 23 24");
	then_fits(fixture, "big");
	assert_int_equal(numbers_of(fixture).unfitting, 0);
	fixture_free(fixture);
}

static void test_services_full(void **state)
{
	(void)state;
	then_refused_until_room(&(struct sizes){2, 64, 64, 64, 64}, "services", "--max-services");
}

static void test_slots_full(void **state)
{
	(void)state;
	then_refused_until_room(&(struct sizes){16, 4, 64, 64, 64}, "slots", "--max-slots");
}

static void test_backends_full(void **state)
{
	(void)state;
	then_refused_until_room(&(struct sizes){16, 64, 6, 64, 64}, "backends", "--max-backends");
}

static void test_frontends_full(void **state)
{
	(void)state;
	then_refused_until_room(&(struct sizes){16, 64, 64, 1, 64}, "frontends", "--max-services");
}

static void test_addresses_full(void **state)
{
	(void)state;
	then_refused_until_room(&(struct sizes){16, 64, 64, 64, 6}, "addresses", "--max-backends");
}

static void test_change_that_does_not_fit(void **state)
{
	const struct sizes sizes = {16, 64, 4, 16, 64};
	struct fixture *fixture = given_maps(&sizes);
	struct service_name name;
	uint32_t id;

	(void)state;
	when_started(fixture);
	assert_int_equal(when_service(fixture, "web", "10.96.0.1", "1 2"), 0);

	assert_int_equal(when_service(fixture, "web", "10.96.0.1", "2 3 4"), -ENOSPC);

	then_served(fixture, "10.96.0.1", "1 2");
	then_full(fixture, "web", "backends", "--max-backends");
	id = service_id_of(fixture, "10.96.0.1", IPPROTO_TCP);
	assert_int_equal(bpf_map_lookup_elem(fixture->maps.service_names, &id, &name), 0);
	assert_int_equal(name.total, 2);
	assert_int_equal(when_service(fixture, "api", "10.96.0.2", "1 2"), 0);
	then_served(fixture, "10.96.0.2", "1 2");

	assert_int_equal(when_service(fixture, "web", "10.96.0.1", "2 3"), 0);
	then_served(fixture, "10.96.0.1", "2 3");
	then_fits(fixture, "web");
	assert_int_equal(numbers_of(fixture).unfitting, 0);
	fixture_free(fixture);
}

static void test_list_beyond_the_limit(void **state)
{
	const struct sizes sizes = {8, 4 * SLOT_RANGE_MAX, 2 * SLOT_RANGE_MAX, 8,
				    2 * SLOT_RANGE_MAX};
	struct fixture *fixture = given_maps(&sizes);
	size_t count = SLOT_RANGE_MAX + 1;
	struct planned_backend *backends = calloc(count, sizeof(*backends));
	struct port_plan plan;

	(void)state;
	assert_non_null(backends);
	when_started(fixture);
	for (size_t i = 0; i < count; i++)
		backends[i] = (struct planned_backend){.addr = ip("10.0.0.1"),
						       .port = htons((uint16_t)i),
						       .state = BACKEND_ACTIVE,
						       .in_cluster = true};
	backends[count - 1].addr = ip("10.0.0.2");
	port_begin(&plan, "huge", "10.96.0.1", IPPROTO_TCP);
	plan.port.backends = backends;
	plan.port.backend_count = count;

	assert_int_equal(when_applied(fixture, &plan), -ENOSPC);
	assert_int_equal(reason_of(fixture, "huge").reason, UNPROGRAMMED_MAP_FULL);
	assert_non_null(strstr(reason_of(fixture, "huge").detail, "65536"));

	plan.port.backend_count--;
	assert_int_equal(when_applied(fixture, &plan), 0);
	assert_int_equal(service_of(fixture, "10.96.0.1")->cluster_slots.count, SLOT_RANGE_MAX);
	fixture_free(fixture);
	free(backends);
}

#define TEST(sentence, function)                                          \
	{                                                                 \
		sentence, function, publish_setup, publish_teardown, NULL \
	}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST("services full: refused by name, rolled back, tried again",
		     test_services_full),
		TEST("slots full: refused by name, rolled back, tried again", test_slots_full),
		TEST("backends full: refused by name, rolled back, tried again",
		     test_backends_full),
		TEST("frontends full: refused by name, rolled back, tried again",
		     test_frontends_full),
		TEST("addresses full: refused by name, rolled back, tried again",
		     test_addresses_full),
		TEST("a change that does not fit leaves the service port as it was",
		     test_change_that_does_not_fit),
		TEST("a list longer than programs can search is refused",
		     test_list_beyond_the_limit),
	};

	log_set_level(LOG_ERROR);
	return cmocka_run_group_tests_name("publish_full", tests, NULL, NULL);
}

/* SPDX-License-Identifier: BSD-2-Clause */

/* ClusterIPs for Services whose manifests have none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/address.h"
#include "base/file.h"
#include "model/cidr.h"
#include "source/cluster_ips.h"

#define RANGES_MAX 4

struct fixture {
	char dir[64];
	struct cidr ranges[RANGES_MAX];
	size_t range_count;
	struct model *model;
	struct cluster_ips *ips;
	const char *why;
};

/* Begins anew with an empty model; the state folder stays. */
static void given_ranges(struct fixture *fixture, const char *first, const char *second)
{
	const char *const texts[] = {first, second};

	cluster_ips_free(fixture->ips);
	model_free(fixture->model);
	fixture->range_count = 0;
	for (size_t i = 0; i < 2 && texts[i]; i++) {
		struct cidr *range = &fixture->ranges[fixture->range_count++];

		assert_int_equal(cidr_parse(texts[i], &range->addr, &range->prefix), 0);
	}
	fixture->model = model_new();
	fixture->ips = cluster_ips_new(fixture->ranges, fixture->range_count, fixture->dir);
	assert_non_null(fixture->ips);
}

static int setup(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));

	if (!fixture)
		return -1;
	(void)snprintf(fixture->dir, sizeof(fixture->dir), "%s/fl-cluster-ips-XXXXXX",
		       getenv("TMPDIR") ?: "/tmp");
	if (!mkdtemp(fixture->dir))
		return -1;
	given_ranges(fixture, "10.96.0.0/16", NULL);
	*state = fixture;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *fixture = *state;
	char path[128];

	cluster_ips_free(fixture->ips);
	model_free(fixture->model);
	(void)snprintf(path, sizeof(path), "%s/cluster-ips", fixture->dir);
	(void)unlink(path);
	(void)rmdir(fixture->dir);
	free(fixture);
	return 0;
}

/* A Service as it is decoded, with what was chosen for it before. */
static void given_object(struct fixture *fixture, const struct object *loose)
{
	struct object *object = object_new(loose);

	assert_non_null(object);
	cluster_ips_fill(fixture->ips, object);
	assert_int_equal(model_put(fixture->model, object), 0);
}

static struct object service_of(const char *name)
{
	return (struct object){
		.kind = OBJECT_SERVICE, .namespace_ = (char *)"shop", .name = (char *)name};
}

static void given_service(struct fixture *fixture, const char *name, const char *addr)
{
	struct object service = service_of(name);

	if (addr) {
		assert_int_equal(address_parse(addr, &service.service.cluster_ips[0]), 0);
		service.service.cluster_ip_count = 1;
	}
	given_object(fixture, &service);
}

static int when_chosen(struct fixture *fixture, const char *name)
{
	int err = cluster_ips_choose(fixture->ips, fixture->model, "shop", name, &fixture->why);

	cluster_ips_keep(fixture->ips);
	return err;
}

/* "10.96.1.2 fd00::3": the Service's addresses, "": none. */
static const char *addresses_of(const struct fixture *fixture, const char *name)
{
	static char texts[4][2 * ADDRESS_TEXT_SIZE];
	static unsigned int next;
	char *text = texts[next++ % 4], one[ADDRESS_TEXT_SIZE];
	const struct object *service = model_service(fixture->model, "shop", name);

	assert_non_null(service);
	*text = '\0';
	for (size_t i = 0; i < service->service.cluster_ip_count; i++)
		(void)snprintf(text + strlen(text), 2 * ADDRESS_TEXT_SIZE - strlen(text), "%s%s",
			       i ? " " : "", address_format(&service->service.cluster_ips[i], one));
	return text;
}

static void the_address_depends_on_the_name_alone(void **state)
{
	struct fixture *fixture = *state;

	given_service(fixture, "web", NULL);
	assert_int_equal(when_chosen(fixture, "web"), 0);
	assert_string_equal(addresses_of(fixture, "web"), "10.96.179.92");
	assert_int_equal(model_changes(fixture->model, OBJECT_SERVICE), 1);
	for (unsigned int i = 0; i < 100; i++) {
		char name[16];

		(void)snprintf(name, sizeof(name), "other-%u", i);
		given_service(fixture, name, NULL);
		assert_int_equal(when_chosen(fixture, name), 0);
	}
	assert_string_equal(addresses_of(fixture, "web"), "10.96.179.92");
}

/* Of 10.0.0.0/28, .2 to .14 can be chosen, but for the one that is written. */
static void each_address_is_chosen_once_until_there_is_none(void **state)
{
	struct fixture *fixture = *state;
	unsigned int seen = 0;

	given_ranges(fixture, "10.0.0.0/28", NULL);
	given_service(fixture, "written", "10.0.0.7");
	for (unsigned int i = 0; i < 12; i++) {
		char name[16];
		const struct object *service;
		unsigned int bit;

		(void)snprintf(name, sizeof(name), "web-%u", i);
		given_service(fixture, name, NULL);
		assert_int_equal(when_chosen(fixture, name), 0);
		service = model_service(fixture->model, "shop", name);
		assert_true(cidr_has(&fixture->ranges[0], &service->service.cluster_ips[0]));
		bit = 1U << (service->service.cluster_ips[0].bytes[15] & 15);
		assert_false(seen & bit);
		seen |= bit;
	}
	assert_int_equal(seen, 0x7f7c);
	given_service(fixture, "one-more", NULL);
	assert_int_equal(when_chosen(fixture, "one-more"), -EADDRNOTAVAIL);
	assert_string_equal(fixture->why, "has no free IPv4 address");
	assert_string_equal(addresses_of(fixture, "one-more"), "");
	model_remove(fixture->model, OBJECT_SERVICE, "shop", "web-3");
	assert_int_equal(when_chosen(fixture, "one-more"), 0);
}

/* Those that wait for an address are many, where a range is full. */
static void a_full_range_is_searched_once_a_batch(void **state)
{
	struct fixture *fixture = *state;
	const char *why;
	char name[16];
	clock_t begun = 0;

	given_ranges(fixture, "10.0.0.0/20", NULL);
	for (unsigned int i = 0; i < 4093 + 5000; i++) {
		if (i == 4093)
			begun = clock();
		(void)snprintf(name, sizeof(name), "web-%u", i);
		given_service(fixture, name, NULL);
		assert_int_equal(
			cluster_ips_choose(fixture->ips, fixture->model, "shop", name, &why),
			i < 4093 ? 0 : -EADDRNOTAVAIL);
	}
	assert_true(clock() - begun < 2 * CLOCKS_PER_SEC);
	cluster_ips_keep(fixture->ips);
	model_remove(fixture->model, OBJECT_SERVICE, "shop", "web-7");
	assert_int_equal(when_chosen(fixture, name), 0);
}

static void the_lower_part_is_left_to_those_who_write_addresses(void **state)
{
	struct fixture *fixture = *state;

	given_ranges(fixture, "10.0.0.0/24", NULL);
	for (unsigned int i = 0; i < 253; i++) {
		char name[16];
		const struct object *service;

		(void)snprintf(name, sizeof(name), "web-%u", i);
		given_service(fixture, name, NULL);
		assert_int_equal(when_chosen(fixture, name), 0);
		service = model_service(fixture->model, "shop", name);
		assert_int_equal(service->service.cluster_ips[0].bytes[15] < 16, i >= 239);
	}
}

/* Five Services share the five addresses of 10.0.0.0/29: most do not get the one of their hash. */
static void a_restart_finds_the_same_whatever_came_first(void **state)
{
	struct fixture *fixture = *state;
	char before[2][64];

	given_ranges(fixture, "10.0.0.0/29", NULL);
	for (unsigned int i = 0; i < 5; i++) {
		char name[16];

		(void)snprintf(name, sizeof(name), "web-%u", 4 - i);
		given_service(fixture, name, NULL);
		assert_int_equal(when_chosen(fixture, name), 0);
	}
	(void)snprintf(before[0], sizeof(before[0]), "%s", addresses_of(fixture, "web-0"));
	(void)snprintf(before[1], sizeof(before[1]), "%s", addresses_of(fixture, "web-4"));
	given_ranges(fixture, "10.0.0.0/29", NULL);
	given_service(fixture, "web-0", NULL);
	assert_string_equal(addresses_of(fixture, "web-0"), before[0]);
	given_service(fixture, "web-4", NULL);
	assert_string_equal(addresses_of(fixture, "web-4"), before[1]);
	cluster_ips_forget_others(fixture->ips, fixture->model);
	given_service(fixture, "new", NULL);
	assert_int_equal(when_chosen(fixture, "new"), 0);
}

static void an_address_that_was_chosen_stays_and_who_writes_it_later_is_named(void **state)
{
	struct fixture *fixture = *state;
	const char *chosen;

	given_service(fixture, "web", NULL);
	assert_int_equal(when_chosen(fixture, "web"), 0);
	chosen = addresses_of(fixture, "web");
	given_service(fixture, "late", chosen);
	assert_string_equal(cluster_ips_owner(fixture->ips, fixture->model,
					      model_service(fixture->model, "shop", "late")),
			    "shop/web");
	assert_null(cluster_ips_owner(fixture->ips, fixture->model,
				      model_service(fixture->model, "shop", "web")));
	model_remove(fixture->model, OBJECT_SERVICE, "shop", "web");
	assert_null(cluster_ips_owner(fixture->ips, fixture->model,
				      model_service(fixture->model, "shop", "late")));
}

/* Another file's object of the same Service comes into the model without the address. */
static void a_service_that_comes_again_without_its_address_gets_the_same(void **state)
{
	struct fixture *fixture = *state;
	struct object again = service_of("web");
	char before[64];

	given_service(fixture, "web", NULL);
	assert_int_equal(when_chosen(fixture, "web"), 0);
	(void)snprintf(before, sizeof(before), "%s", addresses_of(fixture, "web"));
	for (unsigned int i = 0; i < 2; i++) {
		assert_int_equal(model_put(fixture->model, object_new(&again)), 0);
		assert_string_equal(addresses_of(fixture, "web"), "");
		assert_int_equal(when_chosen(fixture, "web"), 0);
		assert_string_equal(addresses_of(fixture, "web"), before);
	}
	given_ranges(fixture, "10.96.0.0/16", NULL);
	given_service(fixture, "web", NULL);
	assert_string_equal(addresses_of(fixture, "web"), before);
}

static void what_could_not_be_written_is_written_later(void **state)
{
	struct fixture *fixture = *state;
	char path[128], temporary[128];

	(void)snprintf(path, sizeof(path), "%s/cluster-ips", fixture->dir);
	(void)snprintf(temporary, sizeof(temporary), "%s/cluster-ips.new", fixture->dir);
	assert_int_equal(mkdir(temporary, 0755), 0);
	given_service(fixture, "web", NULL);
	assert_int_equal(when_chosen(fixture, "web"), 0);
	assert_int_not_equal(access(path, F_OK), 0);
	assert_int_equal(rmdir(temporary), 0);
	cluster_ips_keep(fixture->ips);
	assert_int_equal(access(path, F_OK), 0);
}

static void each_family_that_a_service_asks_for_gets_its_address(void **state)
{
	static const struct {
		__u8 families[2];
		__u8 policy;
		const char *second_range;
		const char *families_chosen; /* as digits */
		int err;
	} rows[] = {
		{{}, FAMILY_POLICY_SINGLE, "fd00::/112", "4", 0},
		{{FAMILY_IPV6}, FAMILY_POLICY_SINGLE, "fd00::/112", "6", 0},
		{{}, FAMILY_POLICY_PREFER_DUAL, "fd00::/112", "46", 0},
		{{}, FAMILY_POLICY_PREFER_DUAL, NULL, "4", 0},
		{{FAMILY_IPV6}, FAMILY_POLICY_REQUIRE_DUAL, "fd00::/112", "64", 0},
		{{}, FAMILY_POLICY_REQUIRE_DUAL, NULL, "4", -EADDRNOTAVAIL},
		{{FAMILY_IPV6, FAMILY_IPV4}, FAMILY_POLICY_SINGLE, "fd00::/64", "64", 0},
		{{FAMILY_IPV6}, FAMILY_POLICY_SINGLE, NULL, "", -EADDRNOTAVAIL},
	};
	struct fixture *fixture = *state;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct object service = service_of("web");
		const struct object *chosen;
		char families[3] = "";

		given_ranges(fixture, "10.96.0.0/16", rows[i].second_range);
		memcpy(service.service.ip_families, rows[i].families, 2);
		service.service.ip_family_policy = rows[i].policy;
		given_object(fixture, &service);
		assert_int_equal(when_chosen(fixture, "web"), rows[i].err);
		if (rows[i].err)
			assert_string_equal(fixture->why, "has no IPv6 range");
		chosen = model_service(fixture->model, "shop", "web");
		for (size_t j = 0; j < chosen->service.cluster_ip_count; j++)
			families[j] = (char)('0' + address_family(&chosen->service.cluster_ips[j]));
		if (strcmp(families, rows[i].families_chosen) != 0)
			fail_msg("row %zu: %s", i, families);
	}
}

static void whoever_needs_no_address_gets_none(void **state)
{
	struct fixture *fixture = *state;
	struct object service = service_of("headless");

	service.service.headless = true;
	given_object(fixture, &service);
	assert_int_equal(when_chosen(fixture, "headless"), 0);
	assert_string_equal(addresses_of(fixture, "headless"), "");
	service = service_of("elsewhere");
	service.service.type = SERVICE_TYPE_EXTERNAL_NAME;
	given_object(fixture, &service);
	assert_int_equal(when_chosen(fixture, "elsewhere"), 0);
	assert_string_equal(addresses_of(fixture, "elsewhere"), "");
	given_service(fixture, "written", "10.96.0.7");
	assert_int_equal(when_chosen(fixture, "written"), 0);
	assert_string_equal(addresses_of(fixture, "written"), "10.96.0.7");
}

static void lines_that_are_none_are_left_out_of_the_file(void **state)
{
	struct fixture *fixture = *state;
	char path[128];
	FILE *file;

	(void)snprintf(path, sizeof(path), "%s/cluster-ips", fixture->dir);
	file = fopen(path, "w");
	assert_non_null(file);
	assert_true(
		fputs("# x\n\nshop\n/ \nshop/web ten\nno-slash 10.96.0.9\n"
		      "shop/web 10.97.9.9\nshop/web 10.96.9.9\nshop/web 10.96.9.10\nshop/b 10.96.9.9\n",
		      file) >= 0);
	assert_int_equal(fclose(file), 0);
	given_ranges(fixture, "10.96.0.0/16", NULL);
	given_service(fixture, "web", NULL);
	assert_string_equal(addresses_of(fixture, "web"), "10.96.9.9");
	given_service(fixture, "b", NULL);
	assert_string_equal(addresses_of(fixture, "b"), "");
}

int main(void)
{
#define cluster_ips_test(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
	const struct CMUnitTest tests[] = {
		cluster_ips_test(the_address_depends_on_the_name_alone),
		cluster_ips_test(each_address_is_chosen_once_until_there_is_none),
		cluster_ips_test(a_full_range_is_searched_once_a_batch),
		cluster_ips_test(the_lower_part_is_left_to_those_who_write_addresses),
		cluster_ips_test(a_restart_finds_the_same_whatever_came_first),
		cluster_ips_test(an_address_that_was_chosen_stays_and_who_writes_it_later_is_named),
		cluster_ips_test(a_service_that_comes_again_without_its_address_gets_the_same),
		cluster_ips_test(what_could_not_be_written_is_written_later),
		cluster_ips_test(each_family_that_a_service_asks_for_gets_its_address),
		cluster_ips_test(whoever_needs_no_address_gets_none),
		cluster_ips_test(lines_that_are_none_are_left_out_of_the_file),
	};

	return cmocka_run_group_tests_name("cluster_ips", tests, NULL, NULL);
}

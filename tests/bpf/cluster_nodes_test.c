/* SPDX-License-Identifier: BSD-2-Clause */

/* What the maps of direct server return hold, by the Nodes that the model has. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <bpf/bpf.h>
#include <string.h>
#include <unistd.h>

#include "agent/cluster_nodes.h"
#include "base/address.h"
#include "fairlead/types.h"

#define ADDRESSES_MAX 4

static struct {
	int nodes, address;
	struct model *model;
} fixture;

static int setup(void **state)
{
	(void)state;
	fixture.nodes = bpf_map_create(BPF_MAP_TYPE_HASH, "nodes", sizeof(struct ip_addr),
				       sizeof(__u32), 64, NULL);
	fixture.address = bpf_map_create(BPF_MAP_TYPE_ARRAY, "address", sizeof(__u32),
					 sizeof(struct link_source), 1, NULL);
	fixture.model = model_new();
	return fixture.nodes < 0 || fixture.address < 0 || !fixture.model;
}

static int teardown(void **state)
{
	(void)state;
	model_free(fixture.model);
	(void)close(fixture.address);
	return close(fixture.nodes);
}

/* `texts` ends with NULL. */
static void given_node(const char *name, const char *const *texts)
{
	struct ip_addr addrs[ADDRESSES_MAX];
	struct object node = {.kind = OBJECT_NODE, .namespace_ = "", .name = (char *)name};
	struct object *packed;

	node.node.internal_ips = addrs;
	for (; *texts; texts++)
		assert_int_equal(address_parse(*texts, &addrs[node.node.internal_ip_count++]), 0);
	packed = object_new(&node);
	assert_non_null(packed);
	assert_int_equal(model_put(fixture.model, packed), 0);
}

#define given_node(name, ...) given_node(name, (const char *const[]){__VA_ARGS__, NULL})

static bool when_written(void)
{
	return cluster_nodes_write(fixture.nodes, fixture.address, fixture.model, "one");
}

static __u32 what_is(const char *text)
{
	struct ip_addr addr;
	__u32 value = 0;

	assert_int_equal(address_parse(text, &addr), 0);
	(void)bpf_map_lookup_elem(fixture.nodes, &addr, &value);
	return value;
}

static void then_known_by(const char *ipv4, const char *ipv6)
{
	struct link_source own, wanted = {};
	__u32 zero = 0;

	if (ipv4)
		assert_int_equal(address_parse(ipv4, &wanted.ipv4), 0);
	if (ipv6)
		assert_int_equal(address_parse(ipv6, &wanted.ipv6), 0);
	assert_int_equal(bpf_map_lookup_elem(fixture.address, &zero, &own), 0);
	assert_memory_equal(&own, &wanted, sizeof(own));
}

static void all_addresses_of_all_nodes_are_known(void **state)
{
	(void)state;
	given_node("one", "192.0.2.1", "192.0.2.11", "2001:db8::1");
	given_node("two", "2001:db8::2", "192.0.2.2");

	assert_true(when_written());

	then_known_by("192.0.2.1", "2001:db8::1");
	assert_int_equal(what_is("192.0.2.11"), CLUSTER_NODE_THIS);
	assert_int_equal(what_is("2001:db8::1"), CLUSTER_NODE_THIS);
	assert_int_equal(what_is("192.0.2.2"), CLUSTER_NODE_OTHER);
	assert_int_equal(what_is("2001:db8::2"), CLUSTER_NODE_OTHER);
	assert_int_equal(what_is("192.0.2.3"), 0);
}

static void a_node_that_is_not_known_has_no_address(void **state)
{
	(void)state;
	given_node("two", "192.0.2.2");

	assert_false(when_written());
	then_known_by(NULL, NULL);

	given_node("one", "192.0.2.1");
	assert_true(when_written());
	then_known_by("192.0.2.1", NULL);
}

static void nothing_is_removed_before_all_are_listed(void **state)
{
	(void)state;
	given_node("one", "192.0.2.1");
	given_node("two", "192.0.2.2");
	given_node("three", "192.0.2.3");
	(void)when_written();
	model_remove(fixture.model, OBJECT_NODE, "", "two");

	(void)when_written();
	assert_int_equal(what_is("192.0.2.2"), CLUSTER_NODE_OTHER);

	model_set_listed(fixture.model, OBJECT_NODE);
	(void)when_written();
	assert_int_equal(what_is("192.0.2.2"), 0);
	assert_int_equal(what_is("192.0.2.3"), CLUSTER_NODE_OTHER);
}

static void an_address_may_change_hands(void **state)
{
	(void)state;
	model_set_listed(fixture.model, OBJECT_NODE);
	given_node("one", "192.0.2.1");
	given_node("two", "192.0.2.2");
	(void)when_written();

	given_node("one", "192.0.2.2");
	given_node("two", "192.0.2.1");
	assert_true(when_written());

	then_known_by("192.0.2.2", NULL);
	assert_int_equal(what_is("192.0.2.2"), CLUSTER_NODE_THIS);
	assert_int_equal(what_is("192.0.2.1"), CLUSTER_NODE_OTHER);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(all_addresses_of_all_nodes_are_known, setup,
						teardown),
		cmocka_unit_test_setup_teardown(a_node_that_is_not_known_has_no_address, setup,
						teardown),
		cmocka_unit_test_setup_teardown(nothing_is_removed_before_all_are_listed, setup,
						teardown),
		cmocka_unit_test_setup_teardown(an_address_may_change_hands, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

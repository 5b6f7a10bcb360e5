/* SPDX-License-Identifier: BSD-2-Clause */

/* When flows without source ports are logged, and which ports are the node's own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>

#include "agent/exhausted_ports.h"
#include "datapath/local_port_range.h"

#define SECOND_NS 1000000000ULL

static __u64 unlogged(struct rate_limit_entry *entry, __u64 count, uint64_t at_s)
{
	const struct exhausted seen = {.count = count, .last_s = (__u32)at_s};

	return exhausted_ports_unlogged(entry, &seen, at_s * SECOND_NS);
}

static void the_first_flows_are_logged_at_once(void **state)
{
	struct rate_limit_entry entry = {};

	(void)state;
	assert_int_equal(unlogged(&entry, 7, 1000), 7);
}

static void more_of_them_are_logged_once_a_minute(void **state)
{
	struct rate_limit_entry entry = {};

	(void)state;
	(void)unlogged(&entry, 7, 1000);
	assert_int_equal(unlogged(&entry, 9, 1010), 0);
	assert_int_equal(unlogged(&entry, 20, 1059), 0);
	assert_int_equal(unlogged(&entry, 27, 1060), 20);
	assert_int_equal(unlogged(&entry, 28, 1070), 0);
}

static void nothing_new_is_not_logged(void **state)
{
	struct rate_limit_entry entry = {};

	(void)state;
	(void)unlogged(&entry, 7, 1000);
	assert_int_equal(unlogged(&entry, 7, 2000), 0);
}

/* The table of notes made room for others meanwhile. */
static void a_note_that_begins_anew_counts_in_full(void **state)
{
	struct rate_limit_entry entry = {};

	(void)state;
	(void)unlogged(&entry, 700, 1000);
	assert_int_equal(unlogged(&entry, 3, 2000), 3);
}

static void the_nodes_own_ports_are_read(void **state)
{
	__u16 min = 0, max = 0;

	(void)state;
	assert_int_equal(local_port_range_parse("32768\t60999\n", &min, &max), 0);
	assert_int_equal(min, 32768);
	assert_int_equal(max, 60999);
	assert_int_equal(local_port_range_parse("", &min, &max), -EINVAL);
	assert_int_equal(local_port_range_parse("5", &min, &max), -EINVAL);
	assert_int_equal(local_port_range_parse("9 8", &min, &max), -EINVAL);
	assert_int_equal(local_port_range_parse("1 70000", &min, &max), -EINVAL);
}

static void ports_that_are_reserved_are_not_the_nodes_own(void **state)
{
	struct local_ports ports = {.min = 32768, .max = 60999};
	struct local_ports unreserved = ports;

	(void)state;
	local_ports_reserve(&ports, "80,40000-40010,50000\n");
	assert_false(local_ports_have(&ports, 32767));
	assert_true(local_ports_have(&ports, 32768));
	assert_true(local_ports_have(&ports, 39999));
	assert_false(local_ports_have(&ports, 40000));
	assert_false(local_ports_have(&ports, 40010));
	assert_true(local_ports_have(&ports, 40011));
	assert_false(local_ports_have(&ports, 50000));
	assert_true(local_ports_have(&ports, 60999));
	assert_false(local_ports_have(&ports, 61000));
	local_ports_reserve(&unreserved, "\n");
	assert_true(local_ports_have(&unreserved, 40000));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_first_flows_are_logged_at_once),
		cmocka_unit_test(more_of_them_are_logged_once_a_minute),
		cmocka_unit_test(nothing_new_is_not_logged),
		cmocka_unit_test(a_note_that_begins_anew_counts_in_full),
		cmocka_unit_test(the_nodes_own_ports_are_read),
		cmocka_unit_test(ports_that_are_reserved_are_not_the_nodes_own),
	};

	return cmocka_run_group_tests_name("exhausted", tests, NULL, NULL);
}

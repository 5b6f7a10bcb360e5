/* SPDX-License-Identifier: BSD-2-Clause */

/* The table of maps in fairlead/maps.h says what the programs have. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include <bpf/libbpf.h>
#include <string.h>

#include "base/map.h"
#include "fairlead/config.h"
#include "skeleton/socket.skel.h"
#include "skeleton/sweep.skel.h"
#include "skeleton/tc.skel.h"
#include "skeleton/transfer.skel.h"
#include "skeleton/xdp.skel.h"

static struct {
	struct tc_bpf *tc;
	struct xdp_bpf *xdp;
	struct socket_bpf *socket;
	struct sweep_bpf *sweep;
	struct transfer_bpf *transfer;
} programs;

static int programs_open(void **state)
{
	(void)state;
	programs.tc = tc_bpf__open();
	programs.xdp = xdp_bpf__open();
	programs.socket = socket_bpf__open();
	programs.sweep = sweep_bpf__open();
	programs.transfer = transfer_bpf__open();
	return programs.tc && programs.xdp && programs.socket && programs.sweep && programs.transfer
		       ? 0
		       : -1;
}

static int programs_close(void **state)
{
	(void)state;
	tc_bpf__destroy(programs.tc);
	xdp_bpf__destroy(programs.xdp);
	socket_bpf__destroy(programs.socket);
	sweep_bpf__destroy(programs.sweep);
	transfer_bpf__destroy(programs.transfer);
	return 0;
}

static const struct bpf_object *object(int index)
{
	const struct bpf_object *objects[] = {programs.tc->obj, programs.xdp->obj,
					      programs.socket->obj, programs.sweep->obj,
					      programs.transfer->obj};

	return objects[index];
}

#define OBJECTS 5

/* What it has of its own is gone with the programs. */
static void a_map_that_is_not_in_the_table_is_scratch(void **state)
{
	static const char *const scratch[] = {"flow_drafts", "reject_budget", "neighbours_used",
					      "flows_before"};
	const struct bpf_map *map;

	(void)state;
	for (int i = 0; i < OBJECTS; i++) {
		bpf_object__for_each_map (map, object(i)) {
			bool is_known =
				map_table_find(bpf_map__name(map)) || bpf_map__is_internal(map);

			for (size_t j = 0; j < sizeof(scratch) / sizeof(scratch[0]); j++)
				is_known |= !strcmp(bpf_map__name(map), scratch[j]);
			if (!is_known)
				fail_msg("fairlead/maps.h does not have the map %s",
					 bpf_map__name(map));
		}
	}
}

static void keys_and_values_are_as_large_as_the_table_says(void **state)
{
	(void)state;
	for (int id = 0; id < MAP_COUNT; id++) {
		const struct map_spec *entry = &map_table[id];
		int found = 0;

		for (int i = 0; i < OBJECTS; i++) {
			const struct bpf_map *map =
				bpf_object__find_map_by_name(object(i), entry->name);

			if (!map)
				continue;
			found++;
			if (bpf_map__key_size(map) != entry->key_size ||
			    bpf_map__value_size(map) != entry->value_size)
				fail_msg("%s has entries of %u + %u bytes, not of %zu + %zu",
					 entry->name, bpf_map__key_size(map),
					 bpf_map__value_size(map), entry->key_size,
					 entry->value_size);
		}
		if (!found)
			fail_msg("fairlead/maps.h has the map %s, and no program does",
				 entry->name);
	}
}

static void a_map_is_found_by_its_name(void **state)
{
	(void)state;
	assert_ptr_equal(map_table_find("slots"), &map_table[MAP_SLOTS]);
	assert_null(map_table_find("slot"));
	assert_true(map_has_trait("slots", MAP_GROWS));
	assert_false(map_has_trait("flows", MAP_GROWS));
	assert_true(map_has_trait("flow_sweeper", MAP_IS_OF_FLOWS));
	assert_false(map_has_trait("flow_drafts", MAP_GROWS));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_map_that_is_not_in_the_table_is_scratch),
		cmocka_unit_test(keys_and_values_are_as_large_as_the_table_says),
		cmocka_unit_test(a_map_is_found_by_its_name),
	};

	return cmocka_run_group_tests_name("maps", tests, programs_open, programs_close);
}

/* SPDX-License-Identifier: BSD-2-Clause */
#include "bpf/sweep.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <string.h>

/*
 * As in the agent, each object has working memory of its own: the timer may interrupt a program
 * that BPF_PROG_RUN runs, which the kernel's own paths do not allow.
 */
static bool map_is_shared(const struct bpf_map *map)
{
	return !bpf_map__is_internal(map) && strcmp(bpf_map__name(map), "flow_drafts") != 0;
}

struct sweep_bpf *sweep_load(void)
{
	struct sweep_bpf *loaded = sweep_bpf__open();
	struct bpf_map *map;

	if (!loaded)
		return NULL;
	bpf_object__for_each_map (map, loaded->obj) {
		if (map_is_shared(map) &&
		    bpf_map__reuse_fd(map, bpf_object__find_map_fd_by_name(programs->obj,
									   bpf_map__name(map))))
			goto failed;
	}
	loaded->rodata->config = programs->rodata->config;
	if (!sweep_bpf__load(loaded))
		return loaded;
failed:
	sweep_bpf__destroy(loaded);
	return NULL;
}

int sweep_run(const struct sweep_bpf *sweep)
{
	__u8 frame[64] = {};
	LIBBPF_OPTS(bpf_test_run_opts, run, .data_in = frame, .data_size_in = sizeof(frame));

	if (bpf_prog_test_run_opts(bpf_program__fd(sweep->progs.fl_sweep_start), &run))
		return -1;
	return (int)run.retval;
}

struct sweep_bpf *sweep_start(void)
{
	struct sweep_bpf *loaded;

	if (timer_set(false))
		return NULL;
	loaded = sweep_load();
	if (loaded && sweep_run(loaded)) {
		sweep_bpf__destroy(loaded);
		return NULL;
	}
	return loaded;
}

struct flow_sweeper sweeper(void)
{
	struct flow_sweeper value;
	__u32 zero = 0;

	assert_int_equal(
		bpf_map_lookup_elem(bpf_map__fd(programs->maps.flow_sweeper), &zero, &value), 0);
	return value;
}

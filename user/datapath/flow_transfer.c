/* SPDX-License-Identifier: BSD-2-Clause */
#include "datapath/flow_transfer.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/map.h"
#include "fairlead/flow_mark.h"
#include "fairlead/limits.h"
#include "skeleton/transfer.skel.h"

/* A CPU holds a lock for microseconds, unless it is a virtual one that does not run just then. */
#define HOLD_MAX_NS   NS_PER_S
#define HOLD_PAUSE_NS (100 * NS_PER_US)
#define COPY_BATCH    1024
#define MERGE_BATCH   64 /* keys that fl_flows_merge takes */
#define FRAME_MIN     64

struct flow_transfer {
	struct transfer_bpf *programs;
	struct flow_tables before, after;
	int checks;
};

static void transfer_closep(struct flow_transfer **transfer)
{
	flow_transfer_close(*transfer);
}

int flow_transfer_open(const struct map_fds *maps, struct flow_tables before,
		       struct flow_transfer **ret_transfer)
{
	auto_cleanup(transfer_closep) struct flow_transfer *transfer = calloc(1, sizeof(*transfer));
	struct transfer_bpf *programs;
	int err;

	if (!transfer)
		return -ENOMEM;
	programs = transfer_bpf__open();
	if (!programs)
		return -errno;
	transfer->programs = programs;
	transfer->before = before;
	transfer->after = (struct flow_tables){
		.flows = maps->maps[MAP_FLOWS].fd,
		.sweeper = maps->maps[MAP_FLOW_SWEEPER].fd,
	};
	transfer->checks = maps->maps[MAP_FLOW_CHECKS].fd;
	err = map_fds_reuse(maps, programs->obj);
	if (!err && before.flows >= 0)
		err = bpf_map__reuse_fd(programs->maps.flows_before, before.flows);
	if (!err)
		err = transfer_bpf__load(programs);
	if (err)
		return err;
	*ret_transfer = take_ptr(transfer);
	return 0;
}

void flow_transfer_close(struct flow_transfer *transfer)
{
	if (!transfer)
		return;
	transfer_bpf__destroy(transfer->programs);
	free(transfer);
}

/* Runs a program on these locks. Returns how many it was successful with, or a negative errno. */
static int locks_run(const struct bpf_program *program, uint32_t first, uint32_t end)
{
	struct __sk_buff context = {.mark = first, .priority = end};
	__u8 frame[FRAME_MIN] = {};
	LIBBPF_OPTS(bpf_test_run_opts, run, .data_in = frame, .data_size_in = sizeof(frame),
		    .ctx_in = &context, .ctx_size_in = sizeof(context));
	int err = bpf_prog_test_run_opts(bpf_program__fd(program), &run);

	return err ? err : (int)run.retval;
}

static int locks_release(const struct flow_transfer *transfer, uint32_t end)
{
	for (uint32_t first = 0; first < end;) {
		int count = locks_run(transfer->programs->progs.fl_flows_free, first, end);

		if (count <= 0)
			return count ? count : -EINVAL;
		first += (uint32_t)count;
	}
	return 0;
}

int flow_transfer_release(const struct flow_transfer *transfer)
{
	return locks_release(transfer, TUPLE_LOCKS);
}

int flow_transfer_hold(const struct flow_transfer *transfer)
{
	const struct timespec pause = {.tv_nsec = HOLD_PAUSE_NS};
	const uint64_t deadline_ns = clock_now_ns() + HOLD_MAX_NS;
	uint32_t held = 0;

	while (held < TUPLE_LOCKS) {
		int count = locks_run(transfer->programs->progs.fl_flows_hold, held, TUPLE_LOCKS);

		if (!count && clock_now_ns() > deadline_ns)
			count = -EBUSY;
		if (count < 0) {
			/* Not the others: to release those would take them from their CPUs. */
			(void)locks_release(transfer, held);
			return count;
		}
		if (!count)
			(void)nanosleep(&pause, NULL);
		held += (uint32_t)count;
	}
	return 0;
}

/* Halves on their way into the larger table. */
struct halves {
	const struct flow_transfer *transfer;
	struct flow_key keys[COPY_BATCH];
	struct confirmed_flow values[COPY_BATCH];
	uint32_t count;
	uint32_t checks, checks_max, now_s;
	int err;
};

static void halves_store(struct halves *halves)
{
	uint32_t count = halves->count;

	if (count && !halves->err &&
	    bpf_map_update_batch(halves->transfer->after.flows, halves->keys, halves->values,
				 &count, NULL))
		halves->err = -errno;
	halves->count = 0;
}

/*
 * The checks of before cannot be read without taking them out of the queue. These are spread over
 * the time in which each flow is checked once: too early does no harm.
 */
static void check_store(struct halves *halves, const struct flow_key *key, uint32_t ticket)
{
	const struct flow_check check = {
		.key = *key,
		.ticket = ticket,
		.due_s = halves->now_s +
			 (uint32_t)((uint64_t)halves->checks * FLOW_CHECK_S / halves->checks_max),
	};

	if (bpf_map_update_elem(halves->transfer->checks, NULL, &check, BPF_ANY))
		halves->err = -errno;
	halves->checks++;
}

static void half_copy(const void *key, const void *value, void *context)
{
	struct halves *halves = context;
	struct flow_key *copied_key = &halves->keys[halves->count];
	struct confirmed_flow *copied = &halves->values[halves->count];

	if (halves->err)
		return;
	memcpy(copied_key, key, sizeof(*copied_key));
	memcpy(copied, value, sizeof(*copied));
	copied->copied = flow_mark_of(&copied->flow);
	if (copied_key->direction == FLOW_ORIGINAL)
		check_store(halves, copied_key, copied->ticket);
	if (++halves->count == COPY_BATCH)
		halves_store(halves);
}

int flow_transfer_copy(const struct flow_transfer *transfer)
{
	auto_cleanup(cleanup_free) struct halves *halves = calloc(1, sizeof(*halves));
	struct flow_sweeper sweeper = {};
	const __u32 zero = 0;
	int err;

	if (!halves)
		return -ENOMEM;
	halves->transfer = transfer;
	halves->checks_max = map_max_entries(transfer->before.flows);
	halves->now_s = (uint32_t)(clock_now_ns() / NS_PER_S);
	err = map_each(transfer->before.flows, half_copy, halves);
	halves_store(halves);
	if (err || halves->err)
		return err ? err : halves->err;
	sweeper.waiting = halves->checks;
	return bpf_map_update_elem(transfer->after.sweeper, &zero, &sweeper, BPF_ANY) ? -errno : 0;
}

int flow_transfer_stop_sweeper(const struct flow_transfer *transfer)
{
	struct flow_sweeper sweeper = {};
	const __u32 zero = 0;

	/* The kernel cancels the timer of an element that user space writes. */
	if (transfer->before.sweeper < 0)
		return 0;
	return bpf_map_update_elem(transfer->before.sweeper, &zero, &sweeper, BPF_ANY) ? -errno : 0;
}

struct merging {
	int program;
	struct flow_key keys[MERGE_BATCH];
	uint32_t count;
	int err;
};

static void keys_merge(struct merging *merging)
{
	LIBBPF_OPTS(bpf_test_run_opts, run, .data_in = merging->keys,
		    .data_size_in = (__u32)(merging->count * sizeof(merging->keys[0])));

	if (merging->count && !merging->err)
		merging->err = bpf_prog_test_run_opts(merging->program, &run);
	merging->count = 0;
}

static void half_merge(const void *key, const void *value, void *context)
{
	struct merging *merging = context;

	(void)value;
	memcpy(&merging->keys[merging->count], key, sizeof(merging->keys[0]));
	if (++merging->count == MERGE_BATCH)
		keys_merge(merging);
}

int flow_transfer_merge(const struct flow_transfer *transfer)
{
	struct merging merging = {
		.program = bpf_program__fd(transfer->programs->progs.fl_flows_merge)};
	int err = map_each(transfer->before.flows, half_merge, &merging);

	keys_merge(&merging);
	return err ? err : merging.err;
}

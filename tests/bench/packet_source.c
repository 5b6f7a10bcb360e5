/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Measures a datapath with packets that differ from one to the next (packet_source.bpf.c), and
 * prints what it found as JSON. The recipe for the packets is read from standard input.
 *
 *   packet_source run NETNS LINK tc|xdp CPU PROGRAM-ID BATCHES REPEAT
 *	Nanoseconds a packet in one program, by BPF_PROG_RUN, and what the making of packets takes:
 *	the two by turns, in short batches.
 *   packet_source send NETNS LINK tc|xdp CPU SINK-NETNS SINK-LINK PACKETS
 *	Sends packets out of a link as fast as it goes, and counts those that arrive by another one,
 *	at TC or with XDP. All that happens between the two happens on this CPU.
 */

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "bench/packet_source.h"
#include "skeleton/packet_source.skel.h"

#define ARGUMENTS      9
#define BATCHES_MAX    1000
#define FRAMES_AT_ONCE 64
#define TCX_INGRESS    46 /* BPF_TCX_INGRESS, newer than some headers */

static struct packet_source_bpf *source;

static void fail(const char *what)
{
	fprintf(stderr, "packet_source: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void take_cpu(unsigned cpu)
{
	cpu_set_t cpus;

	CPU_ZERO(&cpus);
	CPU_SET(cpu, &cpus);
	if (sched_setaffinity(0, sizeof(cpus), &cpus))
		fail("cannot stay on that CPU");
	/* Whoever else is on this CPU shall not be measured. */
	if (setpriority(PRIO_PROCESS, 0, -20))
		fail("cannot go before others");
}

static void enter_netns(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || setns(fd, CLONE_NEWNET))
		fail(path);
	(void)close(fd);
}

static unsigned link_index(const char *name)
{
	unsigned ifindex = if_nametoindex(name);

	if (!ifindex)
		fail(name);
	return ifindex;
}

static unsigned read_recipe(const char *link)
{
	struct packet_recipe recipe;

	if (fread(&recipe, sizeof(recipe), 1, stdin) != 1) {
		errno = EINVAL;
		fail("no recipe on standard input");
	}
	source = packet_source_bpf__open();
	if (!source)
		fail("cannot open the programs");
	recipe.ifindex = link_index(link);
	memcpy((void *)&source->rodata->recipe, &recipe, sizeof(recipe));
	memcpy(source->bss->frame, recipe.frame, sizeof(recipe.frame));
	source->bss->sequence = recipe.first;
	if (packet_source_bpf__load(source))
		fail("cannot load the programs");
	return recipe.ifindex;
}

/* What becomes of the packets of one program. */
struct measured {
	int program; /* -1: nothing */
	__u32 times[BATCHES_MAX];
	__u32 verdict;
};

static void run_batch(struct measured *measured, bool is_xdp, unsigned ifindex, unsigned batch,
		      int repeat)
{
	/* The kernel reads the first packet's protocol before a program writes it. */
	const __u8 *frame = (const __u8 *)source->rodata->recipe.frame;
	struct __sk_buff skb = {.ifindex = ifindex, .ingress_ifindex = ifindex};
	struct xdp_md xdp = {.data_end = FRAME_SIZE, .ingress_ifindex = ifindex};
	LIBBPF_OPTS(bpf_test_run_opts, run, .data_in = frame, .data_size_in = FRAME_SIZE,
		    .repeat = repeat);
	const struct bpf_map *slot = is_xdp ? source->maps.measured_xdp : source->maps.measured_tc;
	__u32 zero = 0;

	if (is_xdp) {
		run.ctx_in = &xdp;
		run.ctx_size_in = sizeof(xdp);
	} else {
		run.ctx_in = &skb;
		run.ctx_size_in = sizeof(skb);
	}
	if (bpf_map_update_elem(bpf_map__fd(slot), &zero, &measured->program, BPF_ANY))
		fail("the program cannot be called");
	if (bpf_prog_test_run_opts(
		    bpf_program__fd(is_xdp ? source->progs.run_xdp : source->progs.run_tc), &run))
		fail("BPF_PROG_RUN");
	measured->times[batch] = run.duration;
	measured->verdict = run.retval;
}

static int compare(const void *left, const void *right)
{
	const __u32 *a = left, *b = right;

	return *a < *b ? -1 : *a > *b;
}

static int run(char **arguments, bool is_xdp, unsigned ifindex)
{
	static struct measured program, nothing;
	unsigned batches = (unsigned)atoi(arguments[6]);
	int repeat = atoi(arguments[7]);

	program.program = bpf_prog_get_fd_by_id((__u32)atoi(arguments[5]));
	nothing.program =
		bpf_program__fd(is_xdp ? source->progs.nothing_xdp : source->progs.nothing_tc);
	if (program.program < 0)
		fail("there is no such program");
	if (batches > BATCHES_MAX)
		batches = BATCHES_MAX;
	for (unsigned i = 0; i < batches; i++) {
		/* Not counted: packets that are made for nothing are of the same sequence. */
		__u64 sequence = source->bss->sequence;

		run_batch(&nothing, is_xdp, ifindex, i, repeat);
		source->bss->sequence = sequence;
		run_batch(&program, is_xdp, ifindex, i, repeat);
	}
	qsort(program.times, batches, sizeof(program.times[0]), compare);
	qsort(nothing.times, batches, sizeof(nothing.times[0]), compare);
	printf("{\"median_ns\": %u, \"least_ns\": %u, \"floor_ns\": %u, \"verdict\": %u}\n",
	       program.times[batches / 2], program.times[0], nothing.times[batches / 2],
	       program.verdict);
	return 0;
}

static int attach_sink(char **arguments, bool is_xdp)
{
	const struct bpf_program *program =
		is_xdp ? source->progs.count_xdp : source->progs.count_tc;
	int fd;

	enter_netns(arguments[5]);
	fd = bpf_link_create(bpf_program__fd(program), (int)link_index(arguments[6]),
			     is_xdp ? BPF_XDP : (enum bpf_attach_type)TCX_INGRESS, NULL);
	if (fd < 0)
		fail("packets cannot be counted there");
	return fd;
}

/* The kernel's softirq thread may have some left to do. */
static void wait_for_last(void)
{
	const struct timespec pause = {.tv_nsec = 2000000};
	__u64 before;

	do {
		before = *(volatile __u64 *)&source->bss->arrived;
		(void)nanosleep(&pause, NULL);
	} while (*(volatile __u64 *)&source->bss->arrived != before);
}

static int send_packets(char **arguments, bool is_xdp)
{
	__u8 frame[FRAME_SIZE] = {};
	unsigned packets = (unsigned)atoi(arguments[7]);
	LIBBPF_OPTS(bpf_test_run_opts, run, .data_in = frame, .data_size_in = sizeof(frame),
		    .repeat = (int)packets, .flags = BPF_F_TEST_XDP_LIVE_FRAMES,
		    .batch_size = FRAMES_AT_ONCE);
	int sink = attach_sink(arguments, is_xdp);
	__u64 took;

	/* The recipe's link is in the first namespace, whose links redirection looks in. */
	enter_netns(arguments[1]);
	if (bpf_prog_test_run_opts(bpf_program__fd(source->progs.send_xdp), &run))
		fail("sending");
	wait_for_last();
	/* The system call's own start and end take milliseconds: only the programs' clock counts. */
	took = source->bss->seen_ns - source->bss->begun_ns;
	(void)close(sink);
	printf("{\"sent\": %u, \"arrived\": %llu, \"took_ns\": %llu}\n", packets,
	       (unsigned long long)source->bss->arrived, (unsigned long long)took);
	return 0;
}

int main(int argc, char **argv)
{
	char **arguments = argv + 1; /* mode, namespace, link, tc or xdp, CPU, ... */
	unsigned ifindex;
	bool is_xdp;

	if (argc != ARGUMENTS) {
		fprintf(stderr, "packet_source: see scripts/bench-outside, which calls it\n");
		return 2;
	}
	is_xdp = !strcmp(arguments[3], "xdp");
	take_cpu((unsigned)atoi(arguments[4]));
	enter_netns(arguments[1]);
	ifindex = read_recipe(arguments[2]);
	return strcmp(arguments[0], "run") ? send_packets(arguments, is_xdp)
					   : run(arguments, is_xdp, ifindex);
}

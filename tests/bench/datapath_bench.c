/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * What a packet costs in each TC direction: nanoseconds of the real programs by BPF_PROG_RUN, with
 * 1,000 and 10,000 Services in the maps. The kernel repeats a run on one packet, which is changed
 * by it; so an established flow leads from one address to a second one, where another flow leads
 * back.
 */

#include "bpf/outside.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define BATCHES      41
#define REPEAT       20000
#define NEW_FLOWS    2000
#define SERVICES_MAX 10000
#define ADDRESSES    40000

static void make_large(struct tc_bpf *skeleton)
{
	(void)bpf_map__set_max_entries(skeleton->maps.frontends, ADDRESSES);
	(void)bpf_map__set_max_entries(skeleton->maps.addresses, ADDRESSES);
	(void)bpf_map__set_max_entries(skeleton->maps.address_flows, ADDRESSES);
	(void)bpf_map__set_max_entries(skeleton->maps.services, ADDRESSES);
	(void)bpf_map__set_max_entries(skeleton->maps.service_stats, ADDRESSES);
	(void)bpf_map__set_max_entries(skeleton->maps.slots, ADDRESSES);
	(void)bpf_map__set_max_entries(skeleton->maps.backends, ADDRESSES);
	(void)bpf_map__set_max_entries(skeleton->maps.flows, FLOWS_DEFAULT);
	(void)bpf_map__set_max_entries(skeleton->maps.new_flows, NEW_FLOWS_DEFAULT);
}

static __u32 run_on(const struct bpf_program *program, const struct frame *frame, int repeat,
		    __u32 ifindex)
{
	struct __sk_buff context = {.ifindex = ifindex, .ingress_ifindex = ifindex};
	LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = frame->bytes,
		    .data_size_in = frame->size, .repeat = repeat, .ctx_in = &context,
		    .ctx_size_in = sizeof(context));

	if (bpf_prog_test_run_opts(bpf_program__fd(program), &options)) {
		perror("datapath_bench: BPF_PROG_RUN");
		exit(1);
	}
	return options.duration;
}

static __u32 run(const struct bpf_program *program, const struct frame *frame, int repeat)
{
	return run_on(program, frame, repeat, LINK_IFINDEX);
}

static int compare(const void *left, const void *right)
{
	const __u32 *a = left, *b = right;

	return *a < *b ? -1 : *a > *b;
}

static void report(const char *name, __u32 *times, unsigned count)
{
	qsort(times, count, sizeof(times[0]), compare);
	printf("  %-34s %5u %5u\n", name, times[count / 2], times[0]);
}

static void measure(const char *name, const struct bpf_program *program, struct frame frame)
{
	__u32 times[BATCHES];

	for (int i = 0; i < BATCHES; i++)
		times[i] = run(program, &frame, REPEAT);
	report(name, times, BATCHES);
}

/* One half that leads elsewhere, established and just used. */
static void given_flow(struct peer src, struct peer dst, struct peer new_src, struct peer new_dst,
		       enum flow_direction direction)
{
	struct flow_key key = flow_key_of(src, dst, direction);
	struct flow flow = {
		.new_src = new_src.addr,
		.new_dst = new_dst.addr,
		.new_src_port = htons(new_src.port),
		.new_dst_port = htons(new_dst.port),
		.backend = 1,
		.generation = 1,
		.service = 1,
		.check = flow_check_of(&key),
		.state = FLOW_ESTABLISHED,
		.sent = 1001,
		.acked = 1001,
	};
	__u8 value[256] = {};
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	flow.last_use_s = (__u32)now.tv_sec;
	memcpy(value, &flow, sizeof(flow));
	if (bpf_map_update_elem(bpf_map__fd(programs->maps.flows), &key, value, BPF_ANY)) {
		perror("datapath_bench: flows");
		exit(1);
	}
}

static void measure_established(void)
{
	struct address_flows busy = {.confirmed = 1};
	struct peer pod1 = pod(1), pod2 = pod(2);

	for (__u32 index = 1; index < 8; index++)
		(void)bpf_map_update_elem(bpf_map__fd(programs->maps.address_flows), &index, &busy,
					  BPF_ANY);
	given_flow(client(4000), vip(80), client(4000), another_vip(90), FLOW_ORIGINAL);
	given_flow(client(4000), another_vip(90), client(4000), vip(80), FLOW_ORIGINAL);
	pod2.port = 9090;
	given_flow(pod1, client(4000), pod2, client(4000), FLOW_REPLY);
	given_flow(pod2, client(4000), pod1, client(4000), FLOW_REPLY);
	measure("established, ingress", programs->progs.fl_ingress, follows(client(4000), vip(80)));
	measure("established, egress", programs->progs.fl_egress, follows(pod1, client(4000)));
	measure("direct to a busy backend, ingress", programs->progs.fl_ingress,
		follows(another_client(4000), pod1));
	measure("direct from a busy backend, egress", programs->progs.fl_egress,
		follows(pod1, another_client(4000)));
}

/* One call a flow: so the clock is in it, and what the call left in the caches. */
static void measure_new(void)
{
	static __u32 times[NEW_FLOWS];
	struct frame known = follows(another_client(1), client(1));

	for (__u32 i = 0; i < NEW_FLOWS; i++) {
		struct frame frame = opens(client((__u16)(10000 + i)), vip(80));

		times[i] = run(programs->progs.fl_ingress, &frame, 1);
	}
	report("new flow, ingress (one call each)", times, NEW_FLOWS);
	for (__u32 i = 0; i < NEW_FLOWS; i++)
		times[i] = run(programs->progs.fl_ingress, &known, 1);
	report("no Service's (one call each)", times, NEW_FLOWS);
}

/* A hop less each time, so the kernel cannot repeat it: one call a packet here as well. */
static void measure_source_nat(void)
{
	static __u32 there[NEW_FLOWS], back[NEW_FLOWS], new[NEW_FLOWS];
	struct frame asks = follows(client(4000), node(NODE_PORT));
	struct frame replies = follows(pod(3), inner(4000)), opens_flow;

	when_asked(opens(client(4000), node(NODE_PORT)));
	when_answered(answers(pod(3), inner(4000)));
	when_asked(follows(client(4000), node(NODE_PORT)));
	for (__u32 i = 0; i < NEW_FLOWS; i++) {
		there[i] = run_on(programs->progs.fl_ingress, &asks, 1, uplink);
		back[i] = run_on(programs->progs.fl_ingress, &replies, 1, overlay);
		opens_flow = opens(client((__u16)(10000 + i)), node(NODE_PORT));
		new[i] = run_on(programs->progs.fl_ingress, &opens_flow, 1, uplink);
	}
	report("source NAT, new flow", new, NEW_FLOWS);
	report("source NAT, established", there, NEW_FLOWS);
	report("source NAT, reply", back, NEW_FLOWS);
}

static void measure_variant(void)
{
	printf(" IPv%d %s\n", variant.family, variant.proto == IPPROTO_TCP ? "TCP" : "UDP");
	measure("no Service's, ingress", programs->progs.fl_ingress,
		follows(another_client(1), client(1)));
	measure("no Service's, egress", programs->progs.fl_egress,
		follows(another_client(1), client(1)));
	measure("the node's own, egress", programs->progs.fl_egress,
		follows(node(40000), client(1)));
	measure("the node's own, from a NodePort, egress", programs->progs.fl_egress,
		follows(node(NODE_PORT), client(1)));
	measure("direct to an idle backend, ingress", programs->progs.fl_ingress,
		follows(another_client(4000), pod(2)));
	measure_new();
	measure_established();
	measure_source_nat();
}

static void given_world(__u32 services)
{
	struct peer filler = vip(80);

	given_pods(1);
	given_backend(pod(2), variant.proto);
	given_service(another_vip(90), variant.proto, 1, &(__u32){2});
	given_backend(pod(3), variant.proto);
	given_frontend(node(NODE_PORT), variant.proto, FRONTEND_NODE_PORT,
		       given_service(vip(99), variant.proto, 1, &(__u32){3}));
	given_link(uplink, false);
	given_link(overlay, false);
	given_link_source(uplink, node(0).addr);
	given_link_source(overlay, inner(0).addr);
	for (__u32 i = 0; i < services; i++) {
		filler.addr.bytes[13] = (__u8)(100 + i / 10000);
		filler.addr.bytes[14] = (__u8)(i / 250);
		filler.addr.bytes[15] = (__u8)(3 + i % 250);
		given_service(filler, variant.proto, 0, NULL);
	}
}

int main(void)
{
	static const __u32 sizes[] = {1000, SERVICES_MAX};

	if (outside_load(make_large)) {
		fprintf(stderr, "datapath_bench: cannot load the programs: run it as root\n");
		return 1;
	}
	for (int size = 0; size < 2; size++) {
		printf("%u Services: nanoseconds a packet, median and least\n", sizes[size]);
		for (int i = 0; i < 4; i++) {
			void *state = &variants[i];

			(void)datapath_setup(&state);
			given_world(sizes[size]);
			measure_variant();
		}
	}
	return datapath_unload(NULL);
}

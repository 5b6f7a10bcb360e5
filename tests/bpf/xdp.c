/* SPDX-License-Identifier: BSD-2-Clause */
#include "bpf/xdp.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* No test takes so long. */
#define LONG_AGO_S 100000

struct xdp_bpf *xdp;

static const __u8 clients_mac[6] = {2, 0, 0, 0, 0, 0xfe};
static const __u8 pods_mac[6] = {2, 0, 0, 0, 0, 0x20};
static __u8 uplink_mac[6], overlay_mac[6];

static int mac_read(const char *link, __u8 mac[6])
{
	char command[128];
	FILE *output;
	int count;

	(void)snprintf(command, sizeof(command),
		       "ip -o link show %s | sed 's/.*ether \\([^ ]*\\).*/\\1/'", link);
	output = popen(command, "r");
	if (!output)
		return -1;
	count = fscanf(output, "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", &mac[0], &mac[1], &mac[2], &mac[3],
		       &mac[4], &mac[5]);
	return pclose(output) || count != 6 ? -1 : 0;
}

static int maps_share(void)
{
	struct bpf_map *map, *shared;

	bpf_object__for_each_map (map, xdp->obj) {
		shared = bpf_object__find_map_by_name(programs->obj, bpf_map__name(map));
		if (bpf_map__is_internal(map) || !shared)
			continue;
		if (bpf_map__reuse_fd(map, bpf_map__fd(shared)))
			return -1;
	}
	return 0;
}

void given_neighbours_used(__s32 seconds_ago)
{
	__u32 places = bpf_map__max_entries(xdp->maps.neighbours_used);
	size_t cpus = (size_t)libbpf_num_possible_cpus();
	__u64 *used_s = calloc(cpus, sizeof(*used_s));
	struct timespec now;

	assert_non_null(used_s);
	(void)clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	for (size_t i = 0; i < cpus; i++)
		used_s[i] = (__u32)((__s32)now.tv_sec - seconds_ago);
	for (__u32 place = 0; place < places; place++)
		assert_int_equal(bpf_map_update_elem(bpf_map__fd(xdp->maps.neighbours_used), &place,
						     used_s, BPF_ANY),
				 0);
	free(used_s);
}

/* Frames may leave by a link, and come by one only while a program is attached to it. */
static int link_open(unsigned link, const __u8 mac[6])
{
	struct xdp_link value = {.ifindex = link};
	__u32 place = link % XDP_LINKS_MAX;

	memcpy(value.mac, mac, sizeof(value.mac));
	memcpy(value.bridge_mac, mac, sizeof(value.bridge_mac));
	return bpf_map__update_elem(xdp->maps.xdp_links, &place, sizeof(place), &value,
				    sizeof(value), BPF_ANY) ||
			       bpf_map__update_elem(xdp->maps.redirect_targets, &link, sizeof(link),
						    &link, sizeof(link), BPF_ANY) ||
			       bpf_xdp_attach((int)link, bpf_program__fd(xdp->progs.fl_xdp),
					      XDP_FLAGS_DRV_MODE, NULL)
		       ? -1
		       : 0;
}

int xdp_load_with(void (*configure)(struct tc_bpf *skeleton))
{
	if (outside_load(configure))
		return -1;
	xdp = xdp_bpf__open();
	if (!xdp)
		return -1;
	xdp->rodata->config = programs->rodata->config;
	if (maps_share() || xdp_bpf__load(xdp))
		return -1;
	given_neighbours_used(-LONG_AGO_S);
	return mac_read("fl-up", uplink_mac) || mac_read("fl-over", overlay_mac) ||
			       link_open(uplink, uplink_mac) || link_open(overlay, overlay_mac)
		       ? -1
		       : 0;
}

int xdp_load(void **state)
{
	(void)state;
	return xdp_load_with(NULL);
}

int xdp_unload(void **state)
{
	xdp_bpf__destroy(xdp);
	return datapath_unload(state);
}

void when_received(struct frame frame, __u32 ifindex)
{
	struct xdp_md context = {.data_end = frame.size, .ingress_ifindex = ifindex};

	when_run_in(bpf_program__fd(xdp->progs.fl_xdp), frame, &context, sizeof(context));
}

void when_client_sends(struct frame frame)
{
	when_received(frame, uplink);
}

void when_backend_sends(struct frame frame)
{
	when_received(frame, overlay);
}

void then_dropped_by_xdp_(enum counter_reason reason, const char *file, int line)
{
	then_(XDP_DROP, *before(), file, line);
	_assert_int_equal(counted(reason), 1, file, line);
}

static struct frame addressed(struct packet_spec spec, const __u8 to[6], const __u8 from[6])
{
	struct frame frame;

	spec.ttl = (__u8)((spec.ttl ? spec.ttl : TTL_DEFAULT) - 1);
	frame = built(spec);

	memcpy(frame.bytes, to, 6);
	memcpy(frame.bytes + 6, from, 6);
	return frame;
}

struct frame sent_to_pods(struct packet_spec spec)
{
	return addressed(spec, pods_mac, overlay_mac);
}

struct frame sent_to_clients(struct packet_spec spec)
{
	return addressed(spec, clients_mac, uplink_mac);
}

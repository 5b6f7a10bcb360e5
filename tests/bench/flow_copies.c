/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Fills a datapath's table of established flows for measurements: copies of the one flow that is
 * in it, each with another client, frontend and backend. Prints how many.
 *
 *   flow_copies PINS COUNT PROTO CLIENT FIRST-PORT PORTS BACKEND FRONTEND ADDRESSES FRONTEND-PORTS
 *	PINS is the folder of the pinned maps. Flow i is that of the client CLIENT + i, port
 *	FIRST-PORT + i % PORTS, that dialled FRONTEND + i % ADDRESSES, port 80 + i / ADDRESSES %
 *	FRONTEND-PORTS, and has got BACKEND + i / PORTS.
 */

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/address.h"
#include "fairlead/types.h"
#include "flow_check.h"

#define ARGUMENTS     11
#define FRONTEND_PORT 80
#define FLOWS_AT_ONCE 16384
#define VALUE_SIZE    128 /* a flow and its timer, at most */

/* What the command line says, in its order. */
static struct {
	__u32 count;
	__u8 proto;
	struct ip_addr client;
	__u32 first_port, ports;
	struct ip_addr backend, frontend;
	__u32 addresses, frontend_ports;
} options;

static int flows, addresses, address_flows;

struct half {
	struct flow_key key;
	__u8 value[VALUE_SIZE] __attribute__((aligned(8))); /* begins with struct flow */
};

static void fail(const char *what)
{
	fprintf(stderr, "flow_copies: %s: %s\n", what, strerror(errno));
	exit(1);
}

static __u32 number_of(const char *text)
{
	return (__u32)strtoul(text, NULL, 0);
}

static struct ip_addr address_of(const char *text)
{
	struct ip_addr addr;

	if (address_parse(text, &addr)) {
		errno = EINVAL;
		fail(text);
	}
	return addr;
}

static void options_read(char **arguments)
{
	options.count = number_of(arguments[0]);
	options.proto = (__u8)number_of(arguments[1]);
	options.client = address_of(arguments[2]);
	options.first_port = number_of(arguments[3]);
	options.ports = number_of(arguments[4]);
	options.backend = address_of(arguments[5]);
	options.frontend = address_of(arguments[6]);
	options.addresses = number_of(arguments[7]);
	options.frontend_ports = number_of(arguments[8]);
}

static int open_map(const char *folder, const char *name)
{
	char path[4096];
	int fd;

	(void)snprintf(path, sizeof(path), "%s/%s", folder, name);
	fd = bpf_obj_get(path);
	if (fd < 0)
		fail(path);
	return fd;
}

static size_t value_size(void)
{
	struct bpf_map_info info = {};
	__u32 size = sizeof(info);

	if (bpf_obj_get_info_by_fd(flows, &info, &size) || info.value_size > VALUE_SIZE)
		fail("flows");
	return info.value_size;
}

/* The original half of the only flow. */
static struct half read_flow(void)
{
	struct half half = {};
	struct flow_key key;
	void *previous = NULL;

	while (!bpf_map_get_next_key(flows, previous, &key)) {
		half.key = key;
		if (key.direction == FLOW_ORIGINAL && !bpf_map_lookup_elem(flows, &key, half.value))
			return half;
		previous = &key;
	}
	fail("there is no established flow");
	return half;
}

static struct ip_addr address_after(struct ip_addr addr, __u32 number)
{
	__u32 low;

	memcpy(&low, addr.bytes + 12, sizeof(low));
	low = htonl(ntohl(low) + number);
	memcpy(addr.bytes + 12, &low, sizeof(low));
	return addr;
}

/* The two halves of flow i, made out of the pattern. */
static void copy_flow(const struct half *pattern, __u32 i, struct half halves[2])
{
	struct flow *original = (struct flow *)halves[0].value;
	struct flow *reply = (struct flow *)halves[1].value;
	struct flow_key *key = &halves[0].key;

	halves[0] = *pattern;
	key->proto = options.proto;
	key->src = address_after(options.client, i);
	key->src_port = htons((__u16)(options.first_port + i % options.ports));
	key->dst = address_after(options.frontend, i % options.addresses);
	key->dst_port =
		htons((__u16)(FRONTEND_PORT + i / options.addresses % options.frontend_ports));
	original->new_src_port = key->src_port;
	original->new_dst = address_after(options.backend, i / options.ports);
	original->state = FLOW_ESTABLISHED;
	original->check = flow_check_of(key);
	halves[1] = halves[0];
	halves[1].key = (struct flow_key){
		.src = original->new_dst,
		.dst = original->new_src,
		.src_port = original->new_dst_port,
		.dst_port = original->new_src_port,
		.proto = key->proto,
		.direction = FLOW_REPLY,
	};
	reply->new_src = key->dst;
	reply->new_dst = key->src;
	reply->new_src_port = key->dst_port;
	reply->new_dst_port = key->src_port;
	reply->check = flow_check_of(&halves[1].key);
}

static void insert(const struct flow_key *keys, const void *values, __u32 count)
{
	LIBBPF_OPTS(bpf_map_batch_opts, batch);

	if (bpf_map_update_batch(flows, keys, values, &count, &batch))
		fail("flows cannot be inserted");
}

/* An address knows that it has flows, as the datapath would have noted. */
static void mark_busy(struct ip_addr addr)
{
	struct address_flows busy;
	struct address_info info;

	if (bpf_map_lookup_elem(addresses, &addr, &info) ||
	    bpf_map_lookup_elem(address_flows, &info.index, &busy))
		fail("a backend's address is not known");
	busy.confirmed += options.ports;
	if (bpf_map_update_elem(address_flows, &info.index, &busy, BPF_ANY))
		fail("address_flows");
}

static void copy_all(const struct half *pattern)
{
	static struct flow_key keys[2 * FLOWS_AT_ONCE];
	static __u8 values[2 * FLOWS_AT_ONCE * VALUE_SIZE];
	size_t size = value_size();
	struct half halves[2];
	__u32 used = 0;

	for (__u32 i = 0; i < options.count; i++) {
		copy_flow(pattern, i, halves);
		if (i % options.ports == 0)
			mark_busy(((struct flow *)halves[0].value)->new_dst);
		for (int j = 0; j < 2; j++) {
			keys[used] = halves[j].key;
			memcpy(values + used * size, halves[j].value, size);
			used++;
		}
		if (used == 2 * FLOWS_AT_ONCE || i + 1 == options.count) {
			insert(keys, values, used);
			used = 0;
		}
	}
}

int main(int argc, char **argv)
{
	struct half pattern;

	if (argc != ARGUMENTS) {
		fprintf(stderr, "flow_copies: see scripts/bench-outside, which calls it\n");
		return 2;
	}
	options_read(argv + 2);
	flows = open_map(argv[1], "flows");
	addresses = open_map(argv[1], "addresses");
	address_flows = open_map(argv[1], "address_flows");
	pattern = read_flow();
	copy_all(&pattern);
	printf("{\"flows\": %u}\n", options.count);
	return 0;
}

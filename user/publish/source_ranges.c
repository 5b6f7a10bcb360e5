/* SPDX-License-Identifier: BSD-2-Clause */
#include "publish/source_ranges.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SERVICE_BITS 32

static int range_compare(const void *a, const void *b)
{
	const struct cidr *left = a, *right = b;
	int order = memcmp(&left->addr, &right->addr, sizeof(left->addr));

	return order ? order : left->prefix - right->prefix;
}

static bool range_is_among(const struct cidr *range, const struct cidr *ranges, size_t count)
{
	return count && bsearch(range, ranges, count, sizeof(*ranges), range_compare);
}

static struct source_range key_of(const struct port_record *port, const struct cidr *range)
{
	return (struct source_range){
		.prefix = SERVICE_BITS + range->prefix,
		.service = htonl(port->id),
		.addr = range->addr,
	};
}

static void range_remove(struct source_ranges *ranges, const struct port_record *port,
			 const struct cidr *range)
{
	const struct source_range key = key_of(port, range);

	(void)bpf_map_delete_elem(ranges->map, &key);
	ranges->count--;
	shortage_record_freed(ranges->shortage, FULL_SOURCE_RANGES);
}

void source_ranges_sort(struct port_record *port)
{
	if (port->range_count)
		qsort(port->ranges, port->range_count, sizeof(*port->ranges), range_compare);
}

/* Writes the range, and appends it to the port's; there is room. */
static int range_add(struct source_ranges *ranges, struct port_record *port,
		     const struct cidr *range)
{
	const struct source_range key = key_of(port, range);
	const __u32 value = 1;

	if (!bpf_map_update_elem(ranges->map, &key, &value, BPF_ANY)) {
		port->ranges[port->range_count++] = *range;
		ranges->count++;
		return 0;
	}
	/* A full trie returns ENOSPC where other maps return E2BIG. */
	return errno == ENOSPC || errno == E2BIG
		       ? shortage_record(ranges->shortage, FULL_SOURCE_RANGES)
		       : -errno;
}

int source_ranges_add(struct source_ranges *ranges, struct port_record *port,
		      const struct planned_port *planned)
{
	uint32_t before = port->range_count;
	int err = 0;
	void *room;

	if (!planned->source_range_count)
		return 0;
	room = realloc(port->ranges,
		       (before + planned->source_range_count) * sizeof(*port->ranges));
	if (!room)
		return -ENOMEM;
	port->ranges = room;
	for (size_t i = 0; !err && i < planned->source_range_count; i++) {
		if (!range_is_among(&planned->source_ranges[i], port->ranges, before))
			err = range_add(ranges, port, &planned->source_ranges[i]);
	}
	return err;
}

void source_ranges_undo(struct source_ranges *ranges, struct port_record *port, uint32_t before)
{
	while (port->range_count > before)
		range_remove(ranges, port, &port->ranges[--port->range_count]);
}

bool source_ranges_remove_others(struct source_ranges *ranges, struct port_record *port,
				 const struct planned_port *planned)
{
	uint32_t kept = 0, before = port->range_count;

	for (uint32_t i = 0; i < before; i++) {
		if (planned && range_is_among(&port->ranges[i], planned->source_ranges,
					      planned->source_range_count))
			port->ranges[kept++] = port->ranges[i];
		else
			range_remove(ranges, port, &port->ranges[i]);
	}
	port->range_count = kept;
	source_ranges_sort(port);
	return kept != before;
}

int source_ranges_adopt(struct source_ranges *ranges, struct port_record *port,
			const struct source_range *key)
{
	struct cidr range = {.addr = key->addr};
	struct cidr *room;

	if (key->prefix < SERVICE_BITS || key->prefix > SERVICE_BITS + 128)
		return -EINVAL;
	range.prefix = (__u8)(key->prefix - SERVICE_BITS);
	/* Room is always a power of two: a count that is a power of two, or 0, has used it up. */
	if (!(port->range_count & (port->range_count - 1))) {
		room = realloc(port->ranges,
			       (size_t)(port->range_count ? port->range_count * 2 : 1) *
				       sizeof(*room));
		if (!room)
			return -ENOMEM;
		port->ranges = room;
	}
	port->ranges[port->range_count++] = range;
	ranges->count++;
	return 0;
}

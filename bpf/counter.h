/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

#include "maps.h"

/* Counts a packet at the place where it is dropped, refused or left alone. */
static __always_inline void counter_add(enum counter_reason reason, __u32 bytes)
{
	__u32 zero = 0;
	__u64 index = reason;
	struct counters *of_cpu = bpf_map_lookup_elem(&counters, &zero);
	struct counter *counter;

	/* Else the compiler checks a 32-bit copy, from which old verifiers infer nothing. */
	barrier_var(index);
	if (!of_cpu || index >= COUNTER_COUNT)
		return;
	counter = (struct counter *)of_cpu + index;
	counter->packets++;
	counter->bytes += bytes;
}

/* Service port 0 stands for flows whose backend another node chose: that node counts them. */
static __always_inline void stats_count_connection(__u32 service)
{
	struct service_stats *stats =
		service ? bpf_map_lookup_elem(&service_stats, &service) : NULL;

	if (stats)
		stats->connections++;
}

static __always_inline void stats_count_packet(__u32 service, __u32 bytes)
{
	struct service_stats *stats =
		service ? bpf_map_lookup_elem(&service_stats, &service) : NULL;

	if (!stats)
		return;
	stats->packets++;
	stats->bytes += bytes;
}

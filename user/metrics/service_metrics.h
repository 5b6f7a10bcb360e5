/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* Metrics of Services and backends, read from the BPF maps. */

#include <stdint.h>
#include <stdio.h>

#include "metrics/fairlead_metrics.h"

/*
 * Counts of service ports with policy Local that have endpoints, but none on this node; [1] is
 * IPv6.
 */
struct no_local_counts {
	uint32_t internal[2], external[2];
};

/* Writes the families. Omits those whose maps cannot be read. */
void service_metrics_write(FILE *out, const struct fairlead_metrics_source *source,
			   struct no_local_counts *ret_no_local);

/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* The process_* metrics that every Prometheus client has, read from /proc/self when scraped. */

#include <stdio.h>

/* A metrics_collect_fn. Omits what cannot be read. */
void process_metrics_collect(FILE *out, void *unused);

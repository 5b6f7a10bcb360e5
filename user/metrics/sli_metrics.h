/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * /metrics/slis, as Kubernetes components serve it: the state of each health check as a metric, for
 * measuring availability over time.
 */

#include <stdbool.h>
#include <stddef.h>

struct sli_metrics;

/* `disabled`: see metrics_disable. NULL: memory is short. */
struct sli_metrics *sli_metrics_new(const char *disabled);
void sli_metrics_free(struct sli_metrics *slis);

/* Sets the state of a check. `type` is the probe: "healthz", "livez", "readyz". */
void sli_metrics_state(struct sli_metrics *slis, const char *type, const char *name,
		       bool is_passed);

/* Sets the state and counts the check: a probe was answered. */
void sli_metrics_checked(struct sli_metrics *slis, const char *type, const char *name,
			 bool is_passed);

/* See metrics_write. */
char *sli_metrics_write(const struct sli_metrics *slis, size_t *ret_size);

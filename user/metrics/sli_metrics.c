/* SPDX-License-Identifier: BSD-2-Clause */
#include "metrics/sli_metrics.h"

#include <stdlib.h>

#include "base/cleanup.h"
#include "metrics/metrics.h"

/* Names and labels are those of Kubernetes' component-base. */
static const struct metric_spec state_spec = {.name = "kubernetes_healthcheck",
					      .help = "Whether a health check passes (1).",
					      .type = METRIC_GAUGE,
					      .labels = {"name", "type"}};
static const struct metric_spec total_spec = {.name = "kubernetes_healthchecks_total",
					      .help = "Health checks, by how they ended.",
					      .type = METRIC_COUNTER,
					      .labels = {"name", "status", "type"}};

struct sli_metrics {
	struct metrics *metrics;
	struct metric *state, *total;
};

static void sli_metrics_freep(struct sli_metrics **slis)
{
	sli_metrics_free(*slis);
}

struct sli_metrics *sli_metrics_new(const char *disabled)
{
	auto_cleanup(sli_metrics_freep) struct sli_metrics *slis = calloc(1, sizeof(*slis));

	if (!slis)
		return NULL;
	slis->metrics = metrics_new();
	if (!slis->metrics)
		return NULL;
	metrics_disable(slis->metrics, disabled);
	slis->state = metrics_add(slis->metrics, &state_spec);
	slis->total = metrics_add(slis->metrics, &total_spec);
	return slis->state && slis->total ? take_ptr(slis) : NULL;
}

void sli_metrics_free(struct sli_metrics *slis)
{
	if (!slis)
		return;
	metrics_free(slis->metrics);
	free(slis);
}

void sli_metrics_state(struct sli_metrics *slis, const char *type, const char *name, bool is_passed)
{
	metric_set(slis->state, (const char *const[]){name, type}, is_passed);
}

void sli_metrics_checked(struct sli_metrics *slis, const char *type, const char *name,
			 bool is_passed)
{
	sli_metrics_state(slis, type, name, is_passed);
	metric_add(slis->total, (const char *const[]){name, is_passed ? "success" : "error", type},
		   1);
}

char *sli_metrics_write(const struct sli_metrics *slis, size_t *ret_size)
{
	return metrics_write(slis->metrics, ret_size);
}

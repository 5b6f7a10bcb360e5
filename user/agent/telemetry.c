/* SPDX-License-Identifier: BSD-2-Clause */
#include "agent/telemetry.h"

#include <errno.h>
#include <stdio.h>

#include "agent/plane.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/map.h"
#include "datapath/datapath.h"
#include "link/hooks/cgroup.h"
#include "metrics/fairlead_metrics.h"
#include "metrics/metrics.h"
#include "metrics/process_metrics.h"
#include "metrics/sli_metrics.h"
#include "node/other_proxy.h"
#include "publish/publisher.h"

/*
 * How long the result of a search for another proxy is reused; a search may take many milliseconds.
 */
#define OTHER_PROXY_FRESH_NS (60 * NS_PER_S)

static const enum ip_family families[] = {FAMILY_IPV4, FAMILY_IPV6};

#define FAMILY_COUNT (sizeof(families) / sizeof(families[0]))

static int telemetry_map(enum map_id id, void *context)
{
	const struct telemetry *telemetry = context;

	return telemetry->plane ? datapath_map(telemetry->plane->datapath, id) : -1;
}

static bool telemetry_numbers(struct publisher_numbers *ret_numbers, void *context)
{
	const struct telemetry *telemetry = context;

	if (!telemetry->plane)
		return false;
	publisher_numbers(telemetry->plane->publisher, ret_numbers);
	return true;
}

/*
 * A folder of manifests may lack Nodes: then nothing says that this Node is being removed (rule
 * L132).
 */
static bool telemetry_is_node_eligible(void *context)
{
	const struct telemetry *telemetry = context;
	const struct agent_options *options = telemetry->options;
	const struct object *node = model_node(telemetry->model, options->node_name);

	return node ? !node->node.leaving : options->manifests != NULL;
}

static size_t telemetry_on_readyz(struct health_check ret_checks[HEALTH_CHECKS_MAX], void *context)
{
	struct telemetry *telemetry = context;
	size_t count = telemetry_ready_checks(telemetry, ret_checks);

	for (size_t i = 0; i < count; i++)
		sli_metrics_checked(telemetry->slis, "readyz", ret_checks[i].name,
				    ret_checks[i].is_passed);
	return count;
}

static void telemetry_on_probe(const char *probe, unsigned int status, void *context)
{
	const struct telemetry *telemetry = context;

	kube_proxy_metrics_probed(telemetry->kube_proxy, probe, status);
	sli_metrics_checked(telemetry->slis, probe, "sync", health_is_alive(telemetry->health));
}

/* Repeats the search: kube-proxy may have been started or stopped since. */
static void other_proxy_collect(FILE *out, void *context)
{
	struct telemetry *telemetry = context;
	uint64_t now_ns = clock_now_ns();
	char found[OTHER_PROXY_SIZE];

	if (!telemetry->other_proxy_asked_ns ||
	    now_ns - telemetry->other_proxy_asked_ns >= OTHER_PROXY_FRESH_NS) {
		telemetry->other_proxy_kinds = other_proxy_find(found);
		telemetry->other_proxy_asked_ns = now_ns;
	}
	exposition_family(out, "fairlead_other_proxy", METRIC_GAUGE,
			  "Whether there is a kube-proxy on this node too (1), by what shows it.");
	for (int kind = 0; kind < OTHER_PROXY_KINDS; kind++) {
		const struct metric_label label = {
			"kind", other_proxy_kind_word((enum other_proxy_kind)kind)};

		exposition_sample(out, "fairlead_other_proxy", "", &label, 1,
				  telemetry->other_proxy_kinds >> kind & 1);
	}
}

static int metrics_open(struct telemetry *telemetry, uv_loop_t *loop)
{
	const struct health_options health = {
		.is_node_eligible = telemetry_is_node_eligible,
		.checks = telemetry_on_readyz,
		.answered = telemetry_on_probe,
		.context = telemetry,
	};
	const struct fairlead_metrics_source source = {
		.status = telemetry->status,
		.map = telemetry_map,
		.numbers = telemetry_numbers,
		.context = telemetry,
		.with_services = telemetry->options->service_metrics,
	};

	telemetry->health = health_new(&health);
	telemetry->metrics = metrics_new();
	telemetry->slis = sli_metrics_new(telemetry->options->disabled_metrics);
	if (!telemetry->health || !telemetry->metrics || !telemetry->slis)
		return -ENOMEM;
	metrics_disable(telemetry->metrics, telemetry->options->disabled_metrics);
	telemetry->kube_proxy = kube_proxy_metrics_new(telemetry->metrics);
	if (!telemetry->kube_proxy)
		return -ENOMEM;
	telemetry->fairlead =
		fairlead_metrics_new(loop, telemetry->metrics, telemetry->kube_proxy, &source);
	if (!telemetry->fairlead)
		return -ENOMEM;
	if (metrics_add_collector(telemetry->metrics, other_proxy_collect, telemetry))
		return -ENOMEM;
	return metrics_add_collector(telemetry->metrics, process_metrics_collect, NULL);
}

/* The socket programs that are loaded, or will be. */
static unsigned int socket_programs_count(const struct telemetry *telemetry)
{
	struct cgroup_program programs[SOCKET_PROGRAM_COUNT];

	if (telemetry->plane)
		return (unsigned int)datapath_socket_programs(telemetry->plane->datapath, programs);
	return SOCKET_PROGRAM_COUNT -
	       (telemetry->options->bind_protection ? 0 : BIND_PROGRAM_COUNT);
}

int telemetry_open(struct telemetry *telemetry, uv_loop_t *loop,
		   const struct agent_options *options, const struct agent_status *status,
		   struct model *model)
{
	int err;

	telemetry->options = options;
	telemetry->status = status;
	telemetry->model = model;
	(void)snprintf(telemetry->ready.unreachable, sizeof(telemetry->ready.unreachable),
		       "it was not reached yet");
	triggers_begin(&telemetry->triggers, model);
	err = metrics_open(telemetry, loop);
	if (err)
		return log_err(err, "cannot prepare the metrics");
	if (options->with_socket)
		telemetry_socket_hooks(telemetry, 0, socket_programs_count(telemetry));
	return 0;
}

void telemetry_close(struct telemetry *telemetry)
{
	if (telemetry->model)
		triggers_end(&telemetry->triggers, telemetry->model);
	fairlead_metrics_free(telemetry->fairlead);
	kube_proxy_metrics_free(telemetry->kube_proxy);
	metrics_free(telemetry->metrics);
	sli_metrics_free(telemetry->slis);
	health_free(telemetry->health);
	*telemetry = (struct telemetry){};
}

void telemetry_source_reachable(struct telemetry *telemetry, const char *why)
{
	(void)snprintf(telemetry->ready.unreachable, sizeof(telemetry->ready.unreachable), "%s",
		       why ? why : "");
	fairlead_metrics_source_reachable(telemetry->fairlead, !why);
}

void telemetry_socket_hooks(struct telemetry *telemetry, unsigned int attached,
			    unsigned int missing)
{
	telemetry->ready.is_hooked = !missing;
	fairlead_metrics_socket_hooks(telemetry->fairlead, attached, missing);
}

void telemetry_hooked(struct telemetry *telemetry)
{
	telemetry->ready.is_hooked = true;
	if (telemetry->options->with_socket)
		telemetry_socket_hooks(telemetry, socket_programs_count(telemetry), 0);
}

void telemetry_publish_begins(struct telemetry *telemetry)
{
	for (size_t i = 0; i < FAMILY_COUNT; i++) {
		health_queued(telemetry->health, families[i]);
		kube_proxy_metrics_queued(telemetry->kube_proxy, families[i]);
	}
}

static void telemetry_on_trigger(enum ip_family family, double seconds, void *context)
{
	const struct telemetry *telemetry = context;

	kube_proxy_metrics_programmed(telemetry->kube_proxy, family, seconds);
}

void telemetry_published(struct telemetry *telemetry, uint64_t woken_ns, bool is_full,
			 enum publish_result result)
{
	double seconds = (double)(uv_hrtime() - woken_ns) / (double)NS_PER_S;
	bool is_complete = result == PUBLISH_COMPLETE;

	fairlead_metrics_published(telemetry->fairlead, is_complete, seconds);
	for (size_t i = 0; i < FAMILY_COUNT && result != PUBLISH_FAILED; i++)
		health_updated(telemetry->health, families[i]);
	if (!is_complete && !telemetry->incomplete_ns)
		telemetry->incomplete_ns = clock_now_ns();
	/* Unpublished Services stay queued, and their triggers wait with them. */
	if (!is_complete)
		return;
	telemetry->incomplete_ns = 0;
	for (size_t i = 0; i < FAMILY_COUNT; i++)
		kube_proxy_metrics_synced(telemetry->kube_proxy, families[i], is_full, seconds);
	triggers_drain(&telemetry->triggers, telemetry_on_trigger, telemetry);
	telemetry_count_changes(telemetry);
	telemetry->service_changes.published = telemetry->service_changes.come;
	telemetry->endpoint_changes.published = telemetry->endpoint_changes.come;
}

void telemetry_count_changes(struct telemetry *telemetry)
{
	const struct model *model = telemetry->model;

	telemetry->service_changes.come = model_changes(model, OBJECT_SERVICE);
	telemetry->endpoint_changes.come = model_changes(model, OBJECT_ENDPOINT_SLICE) +
					   model_changes(model, OBJECT_ENDPOINTS) +
					   model_changes(model, OBJECT_POD);
}

size_t telemetry_ready_checks(struct telemetry *telemetry,
			      struct health_check ret_checks[HEALTH_CHECKS_MAX])
{
	telemetry->ready.pending_ns =
		telemetry->incomplete_ns ? clock_now_ns() - telemetry->incomplete_ns : 0;
	return health_ready_checks(&telemetry->ready, telemetry->options, telemetry->status,
				   ret_checks);
}

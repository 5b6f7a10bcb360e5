/* SPDX-License-Identifier: BSD-2-Clause */
#include "agent/observe.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "config/configz.h"
#include "agent/triggers.h"
#include "base/cleanup.h"
#include "metrics/fairlead_metrics.h"
#include "health/health.h"
#include "metrics/kube_proxy_metrics.h"
#include "metrics/metrics.h"
#include "metrics/process_metrics.h"
#include "http/server.h"
#include "metrics/sli_metrics.h"
#include "base/log.h"

#define NS_PER_S 1e9

static const enum ip_family families[] = {FAMILY_IPV4, FAMILY_IPV6};

#define FAMILY_COUNT (sizeof(families) / sizeof(families[0]))

struct observe {
	uv_loop_t *loop;
	struct observe_sources sources;
	struct metrics *metrics;
	struct kube_proxy_metrics *kube_proxy;
	struct fairlead_metrics *fairlead;
	struct sli_metrics *slis;
	struct health *health;
	struct http_server *health_server, *metrics_server;
	struct triggers triggers;
	struct ready_facts ready;
	struct change_counts service_changes, endpoint_changes;
	bool is_next_full;
};

static void changes_count(struct observe *observe)
{
	const struct model *model = observe->sources.model;

	observe->service_changes.come = model_changes(model, OBJECT_SERVICE);
	observe->endpoint_changes.come = model_changes(model, OBJECT_ENDPOINT_SLICE) +
					 model_changes(model, OBJECT_ENDPOINTS) +
					 model_changes(model, OBJECT_POD);
}

static void metrics_answer(struct observe *observe, struct http_response *response)
{
	changes_count(observe);
	kube_proxy_metrics_changes(observe->kube_proxy, &observe->service_changes,
				   &observe->endpoint_changes);
	response->status = 200;
	response->headers[0] = (struct http_header){"Content-Type", EXPOSITION_CONTENT_TYPE};
	response->body = metrics_write(observe->metrics, &response->body_size);
}

static void configz_answer(const struct observe *observe, struct http_response *response)
{
	auto_cleanup(cleanup_free) char *text = configz_write(observe->sources.options);

	http_respond_text(response, 200, "application/json", text ? text : "{}");
}

static size_t ready_checks_now(struct observe *observe,
			       struct health_check ret_checks[HEALTH_CHECKS_MAX])
{
	observe->ready.pending_ns = health_pending_ns(observe->health);
	return ready_checks(&observe->ready, observe->sources.options, observe->sources.status,
			    ret_checks);
}

static void slis_answer(struct observe *observe, struct http_response *response)
{
	struct health_check checks[HEALTH_CHECKS_MAX] = {};
	size_t count = ready_checks_now(observe, checks);

	for (size_t i = 0; i < count; i++)
		sli_metrics_state(observe->slis, "readyz", checks[i].name, checks[i].is_passed);
	sli_metrics_state(observe->slis, "livez", "sync", health_is_alive(observe->health));
	response->status = 200;
	response->headers[0] = (struct http_header){"Content-Type", EXPOSITION_CONTENT_TYPE};
	response->body = sli_metrics_write(observe->slis, &response->body_size);
}

/* Like kube-proxy's answer on this port: it only says that the process answers. */
static void ping_answer(const struct observe *observe, struct http_response *response)
{
	sli_metrics_checked(observe->slis, "healthz", "ping", true);
	http_respond_text(response, 200, "text/plain; charset=utf-8", "ok");
}

static void metrics_handle(const struct http_request *request, struct http_response *response,
			   void *context)
{
	struct observe *observe = context;

	if (!strcmp(request->path, "/metrics"))
		metrics_answer(observe, response);
	else if (!strcmp(request->path, "/metrics/slis"))
		slis_answer(observe, response);
	else if (!strcmp(request->path, "/configz"))
		configz_answer(observe, response);
	else if (!strcmp(request->path, "/proxyMode"))
		http_respond_text(response, 200, "text/plain; charset=utf-8", "fairlead");
	else if (!strcmp(request->path, "/healthz"))
		ping_answer(observe, response);
}

static int datapath_map_of(const char *name, void *context)
{
	const struct observe *observe = context;
	const struct datapath *datapath = *observe->sources.datapath;

	return datapath ? datapath_map(datapath, name) : -1;
}

static bool numbers_of(struct publisher_numbers *ret_numbers, void *context)
{
	const struct observe *observe = context;
	const struct publisher *publisher = *observe->sources.publisher;

	if (publisher)
		publisher_numbers(publisher, ret_numbers);
	return publisher != NULL;
}

/*
 * A folder of manifests may lack Nodes: then nothing says that this Node is being removed (rule
 * L132).
 */
static bool is_node_eligible(void *context)
{
	const struct observe *observe = context;
	const struct agent_options *options = observe->sources.options;
	const struct object *node = model_node(observe->sources.model, options->node_name);

	return node ? !node->node.leaving : options->manifests != NULL;
}

static size_t ready_checks_of(struct health_check ret_checks[HEALTH_CHECKS_MAX], void *context)
{
	struct observe *observe = context;
	size_t count = ready_checks_now(observe, ret_checks);

	for (size_t i = 0; i < count; i++)
		sli_metrics_checked(observe->slis, "readyz", ret_checks[i].name,
				    ret_checks[i].is_passed);
	return count;
}

static void probe_answered(const char *probe, unsigned int status, void *context)
{
	const struct observe *observe = context;

	kube_proxy_metrics_probed(observe->kube_proxy, probe, status);
	sli_metrics_checked(observe->slis, probe, "sync", health_is_alive(observe->health));
}

static int facts_open(struct observe *observe, uv_loop_t *loop)
{
	const struct health_options health = {
		.is_node_eligible = is_node_eligible,
		.checks = ready_checks_of,
		.answered = probe_answered,
		.context = observe,
	};
	const struct fairlead_metrics_source source = {
		.status = observe->sources.status,
		.map = datapath_map_of,
		.numbers = numbers_of,
		.context = observe,
		.with_services = observe->sources.options->service_metrics,
	};

	observe->health = health_new(&health);
	observe->metrics = metrics_new();
	observe->slis = sli_metrics_new();
	if (!observe->health || !observe->metrics || !observe->slis)
		return -ENOMEM;
	observe->kube_proxy = kube_proxy_metrics_new(observe->metrics);
	if (!observe->kube_proxy)
		return -ENOMEM;
	observe->fairlead =
		fairlead_metrics_new(loop, observe->metrics, observe->kube_proxy, &source);
	if (!observe->fairlead)
		return -ENOMEM;
	return metrics_add_collector(observe->metrics, process_metrics_collect, NULL);
}

static void health_unserved(const char *why, void *context)
{
	const struct observe *observe = context;
	char note[256];

	(void)snprintf(note, sizeof(note), "failed to start proxy healthz on %s: %s",
		       observe->sources.options->healthz_bind_address, why);
	observe->sources.unserved(note, observe->sources.context);
}

int observe_serve(struct observe *observe)
{
	const struct agent_options *options = observe->sources.options;
	const struct http_server_options health = {
		.what = "healthz",
		.address = options->healthz_bind_address,
		.is_bind_fatal = options->bind_address_hard_fail,
		.handler = health_handle,
		.context = observe->health,
		.failed = health_unserved,
		.failed_context = observe,
	};
	const struct http_server_options metrics = {
		.what = "metrics",
		.address = options->metrics_bind_address,
		.is_bind_fatal = options->bind_address_hard_fail,
		.handler = metrics_handle,
		.context = observe,
	};
	int err = 0;

	if (*health.address)
		err = http_server_open(observe->loop, &health, &observe->health_server);
	if (!err && *metrics.address)
		err = http_server_open(observe->loop, &metrics, &observe->metrics_server);
	return err;
}

/* The socket programs that are loaded, or will be. */
static unsigned int socket_programs_count(const struct observe *observe)
{
	struct cgroup_program programs[SOCKET_PROGRAM_COUNT];
	const struct datapath *datapath = *observe->sources.datapath;

	if (datapath)
		return (unsigned int)datapath_socket_programs(datapath, programs);
	return SOCKET_PROGRAM_COUNT -
	       (observe->sources.options->bind_protection ? 0 : BIND_PROGRAM_COUNT);
}

int observe_open(uv_loop_t *loop, const struct observe_sources *sources,
		 struct observe **ret_observe)
{
	struct observe *observe = calloc(1, sizeof(*observe));
	int err;

	if (!observe)
		return log_err(-ENOMEM, "cannot allocate what metrics are counted in");
	observe->loop = loop;
	observe->sources = *sources;
	(void)snprintf(observe->ready.unreachable, sizeof(observe->ready.unreachable),
		       "it was not reached yet");
	triggers_begin(&observe->triggers, sources->model);
	err = facts_open(observe, loop);
	if (err) {
		observe_close(observe);
		return log_err(err, "cannot prepare the metrics");
	}
	if (sources->options->with_socket)
		observe_socket_hooks(observe, 0, socket_programs_count(observe));
	*ret_observe = observe;
	return 0;
}

void observe_close(struct observe *observe)
{
	if (!observe)
		return;
	http_server_close(observe->health_server);
	http_server_close(observe->metrics_server);
	triggers_end(&observe->triggers, observe->sources.model);
	fairlead_metrics_free(observe->fairlead);
	kube_proxy_metrics_free(observe->kube_proxy);
	metrics_free(observe->metrics);
	sli_metrics_free(observe->slis);
	health_free(observe->health);
	free(observe);
}

bool observe_is_alive(const struct observe *observe)
{
	return health_is_alive(observe->health);
}

void observe_source_reachable(struct observe *observe, const char *why)
{
	(void)snprintf(observe->ready.unreachable, sizeof(observe->ready.unreachable), "%s",
		       why ? why : "");
	fairlead_metrics_source_reachable(observe->fairlead, !why);
}

void observe_request(struct observe *observe, const char *method, const char *verb,
		     const char *host, unsigned int code, double seconds)
{
	kube_proxy_metrics_request(observe->kube_proxy, method, verb, host, code, seconds);
}

void observe_source_complete(struct observe *observe)
{
	observe->ready.is_source_complete = true;
	observe->is_next_full = true;
}

void observe_hooked(struct observe *observe)
{
	observe->ready.is_hooked = true;
	if (observe->sources.options->with_socket)
		observe_socket_hooks(observe, socket_programs_count(observe), 0);
}

void observe_socket_hooks(struct observe *observe, unsigned int attached, unsigned int missing)
{
	observe->ready.is_hooked = !missing;
	fairlead_metrics_socket_hooks(observe->fairlead, attached, missing);
}

void observe_hooks_lost(struct observe *observe, const char *hook, unsigned int count)
{
	fairlead_metrics_hooks_lost(observe->fairlead, hook, count);
}

void observe_event(struct observe *observe, const char *result)
{
	fairlead_metrics_event(observe->fairlead, result);
}

void observe_all_touched(struct observe *observe)
{
	observe->is_next_full = true;
}

void observe_changed(struct observe *observe)
{
	for (size_t i = 0; i < FAMILY_COUNT; i++) {
		health_queued(observe->health, families[i]);
		kube_proxy_metrics_queued(observe->kube_proxy, families[i]);
	}
}

static void programmed(enum ip_family family, double seconds, void *context)
{
	const struct observe *observe = context;

	kube_proxy_metrics_programmed(observe->kube_proxy, family, seconds);
}

void observe_published(struct observe *observe, uint64_t woken_ns, int err)
{
	double seconds = (double)(uv_hrtime() - woken_ns) / NS_PER_S;

	fairlead_metrics_published(observe->fairlead, !err, seconds);
	/* Unpublished Services stay queued, and their triggers wait with them. */
	if (err)
		return;
	for (size_t i = 0; i < FAMILY_COUNT; i++) {
		health_updated(observe->health, families[i]);
		kube_proxy_metrics_synced(observe->kube_proxy, families[i], observe->is_next_full,
					  seconds);
	}
	triggers_drain(&observe->triggers, programmed, observe);
	observe->is_next_full = false;
	changes_count(observe);
	observe->service_changes.published = observe->service_changes.come;
	observe->endpoint_changes.published = observe->endpoint_changes.come;
}

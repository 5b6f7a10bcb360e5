/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * The API server as the source: one reflector per resource writes to the model. All changes of one
 * turn of the loop are reported by one call of `changed`.
 */

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "kube/client/client.h"
#include "kube/config/config.h"
#include "kube/post/event_poster.h"
#include "base/log.h"
#include "source/kube_source.h"

#define WATCH_S      300
#define ABSENT_S     60
#define NODE_WAIT_MS 30000 /* rule P177: longest wait for the Node before the first publish */

static void on_idle(uv_idle_t *idle)
{
	(void)idle;
}

void kube_source_note_change(struct kube_source *source)
{
	if (source->woken_ns)
		return;
	source->woken_ns = kube_client_woken_ns(source->client);
	(void)uv_idle_start(&source->idle, on_idle);
}

static bool node_is_known(const struct kube_source *source)
{
	return model_node(source->model, source->options.node_name);
}

/*
 * True if the state is complete: Services and endpoints are listed (rule Q181), and the Node is
 * known or the wait for it is over (rule P177).
 */
static bool is_complete(const struct kube_source *source)
{
	bool has_endpoints = watched_is_listed(source, RESOURCE_SLICES) ||
			     (source->watched[RESOURCE_SLICES].is_absent &&
			      watched_is_listed(source, RESOURCE_ENDPOINTS));

	bool has_nodes = node_is_known(source) && (!source->options.with_all_nodes ||
						   watched_is_listed(source, RESOURCE_NODE));

	return watched_is_listed(source, RESOURCE_SERVICES) && has_endpoints &&
	       (has_nodes || source->node_is_given_up);
}

/* The addresses of a slice's ready endpoints, with its port "https" or else its first one. */
static size_t servers_of_slice(const struct slice_object *slice, struct server_address *addresses,
			       size_t room)
{
	__u16 number = 0;
	size_t count = 0;

	for (size_t i = 0; i < slice->port_count; i++) {
		if (!number || !strcmp(slice->ports[i].name, "https"))
			number = slice->ports[i].port;
	}
	for (size_t i = 0; number && i < slice->endpoint_count && count < room; i++) {
		const struct slice_endpoint endpoint = slice_endpoint_at(slice, i);

		if (endpoint.ready)
			addresses[count++] = (struct server_address){endpoint.addr, htons(number)};
	}
	return count;
}

static void servers_note(struct kube_source *source)
{
	const struct object *service = model_service(source->model, "default", "kubernetes");
	auto_cleanup(cleanup_free) const struct slice_object **slices = NULL;
	struct server_address addresses[SERVERS_KNOWN_MAX / 2];
	size_t count = 0, room = sizeof(addresses) / sizeof(addresses[0]);
	int slice_count;

	source->servers_changed = false;
	slice_count = service ? model_slices(source->model, service, &slices) : 0;
	for (int i = 0; i < slice_count; i++)
		count += servers_of_slice(slices[i], &addresses[count], room - count);
	kube_client_learn(source->client, addresses, count);
}

/* Runs after all other callbacks of this turn of the loop. */
static void on_check(uv_check_t *check)
{
	struct kube_source *source = check->data;
	uint64_t woken_ns = source->woken_ns;

	if (!woken_ns)
		return;
	watched_switch_endpoints(source);
	source->woken_ns = 0;
	(void)uv_idle_stop(&source->idle);
	if (source->servers_changed)
		servers_note(source);
	if (source->is_synced) {
		source->events.changed(woken_ns, source->events.context);
		return;
	}
	if (!is_complete(source))
		return;
	source->is_synced = true;
	(void)uv_timer_stop(&source->node_wait);
	log_info(
		"the API server's state is complete: %zu Services, %zu EndpointSlices, %zu Endpoints",
		model_count(source->model, OBJECT_SERVICE),
		model_count(source->model, OBJECT_ENDPOINT_SLICE),
		model_count(source->model, OBJECT_ENDPOINTS));
	source->events.synced(woken_ns, source->events.context);
}

static void on_node_wait(uv_timer_t *timer)
{
	struct kube_source *source = timer->data;

	source->node_is_given_up = true;
	if (node_is_known(source))
		return;
	log_warning("the API server has not told of Node %s for %u s: going on without its zone "
		    "(--node-name must be the Node's name)",
		    source->options.node_name, NODE_WAIT_MS / 1000);
	kube_source_note_change(source);
}

static void on_closed(uv_handle_t *handle)
{
	struct kube_source *source = handle->data;

	if (--source->open_handles)
		return;
	free(source->node_query);
	free(source);
}

static void kube_tell(struct source *base, const struct event_text *text)
{
	kube_events_tell(((struct kube_source *)base)->told, text);
}

static bool kube_is_telling(const struct source *base)
{
	return kube_events_is_busy(((const struct kube_source *)base)->told);
}

static void kube_close(struct source *base)
{
	struct kube_source *source = (struct kube_source *)base;

	for (size_t i = 0; i < RESOURCE_COUNT; i++)
		reflector_close(take_ptr(source->watched[i].reflector));
	kube_events_close(take_ptr(source->told));
	kube_client_close(take_ptr(source->client));
	uv_close((uv_handle_t *)&source->check, on_closed);
	uv_close((uv_handle_t *)&source->idle, on_closed);
	uv_close((uv_handle_t *)&source->node_wait, on_closed);
}

static int config_read(const struct kube_source_options *options, struct kube_config **ret_config)
{
	int err;

	if (options->kubeconfig)
		err = kube_config_load(options->kubeconfig, ret_config);
	else if (options->server_count && !kube_is_in_cluster())
		return kube_config_from_servers(options->servers, options->server_count,
						ret_config);
	else
		err = kube_config_in_cluster(ret_config);
	if (err || !options->server_count)
		return err;
	err = kube_config_set_servers(*ret_config, options->servers, options->server_count);
	if (err)
		kube_config_free(take_ptr(*ret_config));
	return err;
}

static int source_begin(struct kube_source *source)
{
	static const enum resource_id first[] = {RESOURCE_SERVICES, RESOURCE_SLICES, RESOURCE_NODE,
						 RESOURCE_SERVICE_CIDRS};
	const struct kube_client_events events = {
		.socket_made = source->options.socket_made,
		.observed = source->options.observed,
		.reachable = source->events.reachable,
		.context = source->events.context,
	};
	struct kube_config *config;
	int err = config_read(&source->options, &config);

	if (err)
		return err;
	err = kube_client_open(source->check.loop, config, source->options.state_dir, &events,
			       &source->client);
	if (err)
		return err;
	source->told = kube_events_new(source->check.loop, source->client,
				       &(struct kube_events_options){
					       .node_name = source->options.node_name,
					       .counted = source->options.event_counted,
					       .context = source->events.context,
				       });
	if (!source->told)
		return log_err(-ENOMEM, "cannot watch the API server");
	if (!source->options.kubeconfig && !source->options.server_count)
		kube_client_prefer_learned(source->client);
	err = watched_init(source);
	for (size_t i = 0; !err && i < sizeof(first) / sizeof(first[0]); i++)
		err = watched_begin(source, first[i]);
	return err ? log_err(err, "cannot watch the API server") : 0;
}

int source_kube_open(uv_loop_t *loop, const struct kube_source_options *options,
		     struct model *model, const struct source_events *events,
		     struct source **ret_source)
{
	struct kube_source *source = calloc(1, sizeof(*source));
	int err;

	if (!source)
		return log_err(-ENOMEM, "cannot watch the API server");
	source->source = (struct source){
		.close = kube_close, .tell = kube_tell, .is_telling = kube_is_telling};
	source->model = model;
	source->events = *events;
	source->options = *options;
	source->limits = (struct reflector_limits){
		.watch_s = WATCH_S, .silence_s = options->silence_s, .absent_s = ABSENT_S};
	source->open_handles = 3;
	(void)uv_check_init(loop, &source->check);
	(void)uv_idle_init(loop, &source->idle);
	(void)uv_timer_init(loop, &source->node_wait);
	source->check.data = source;
	source->idle.data = source;
	source->node_wait.data = source;
	err = source_begin(source);
	if (err) {
		kube_close(&source->source);
		return err;
	}
	(void)uv_check_start(&source->check, on_check);
	(void)uv_timer_start(&source->node_wait, on_node_wait, NODE_WAIT_MS, 0);
	log_info("watching the API server %s", kube_client_server(source->client));
	*ret_source = &source->source;
	return 0;
}

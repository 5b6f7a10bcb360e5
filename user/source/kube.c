/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * The API server as the source: a reflector for each resource writes the model. Whatever arrives in
 * one turn of the loop is told in one `changed`. Objects of a list carry the list's number as their
 * origin: what has an older one when the list is complete has vanished while nobody watched.
 */

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "kube/client.h"
#include "kube/config.h"
#include "kube/events.h"
#include "kube/reflector.h"
#include "log.h"
#include "source/decode.h"
#include "source/source.h"

#define WATCH_S      300
#define ABSENT_S     60
#define NODE_WAIT_MS 30000 /* rule P177 */

/* Rule A2: other proxies' objects and headless Services are not even sent. */
#define NOT_OURS \
	"labelSelector=%21service.kubernetes.io%2Fservice-proxy-name%2C%21service.kubernetes.io%2Fheadless&"
/* Rule A5; servers before 1.33 know no such field of a Service. */
#define NOT_HEADLESS "fieldSelector=spec.clusterIP%21%3DNone&"

enum resource_id {
	RESOURCE_SERVICES,
	RESOURCE_SLICES,
	RESOURCE_ENDPOINTS, /* of servers without EndpointSlices */
	RESOURCE_NODE,
	RESOURCE_SERVICE_CIDRS,
	RESOURCE_COUNT
};

struct kube_source;

/* One resource, as its reflector's context. */
struct watched {
	struct kube_source *source;
	struct reflector_resource resource;
	struct decode_defaults defaults;
	struct reflector *reflector;
	size_t given; /* objects of the list that has begun last */
	__u32 list;   /* its number */
	enum object_kind kind;
	bool is_absent;
};

struct kube_source {
	struct source source;
	uv_check_t check;
	uv_idle_t idle; /* runs while there is a change to tell */
	uv_timer_t node_wait;
	unsigned int open_handles;
	struct kube_client *client;
	struct kube_events *told; /* about the own Node */
	struct model *model;
	struct source_events events;
	struct kube_source_options options;
	struct reflector_limits limits;
	struct watched watched[RESOURCE_COUNT];
	char *node_query;
	uint64_t woken_ns; /* of the first change that was not told yet; 0: none */
	bool is_synced;
	bool node_is_given_up;
	bool servers_changed; /* the endpoints of default/kubernetes */
};

static void on_idle(uv_idle_t *idle)
{
	(void)idle;
}

/* What libcurl's timer brings comes before the loop waits for events: it must not wait then. */
static void change_note(struct kube_source *source)
{
	if (source->woken_ns)
		return;
	source->woken_ns = kube_client_woken_ns(source->client);
	(void)uv_idle_start(&source->idle, on_idle);
}

static void object_rejected(const char *text, void *context)
{
	const struct watched *watched = context;
	const struct source_events *events = &watched->source->events;

	log_warning("%s", text);
	events->rejected(events->context);
}

/* Where the API servers are: the Service that every cluster has. */
static bool is_of_kubernetes(const struct object *object)
{
	const char *name =
		object->kind == OBJECT_ENDPOINT_SLICE ? object->slice.service_name : object->name;

	return name && !strcmp(object->namespace_, "default") && !strcmp(name, "kubernetes");
}

static const char *text_of(const cJSON *metadata, const char *name)
{
	const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(metadata, name));

	return text ? text : "";
}

static int on_deleted(const cJSON *item, void *context)
{
	const struct watched *watched = context;
	const cJSON *metadata = cJSON_GetObjectItemCaseSensitive(item, "metadata");

	change_note(watched->source);
	model_remove(watched->source->model, watched->kind, text_of(metadata, "namespace"),
		     text_of(metadata, "name"));
	return 0;
}

/* An object that cannot be used counts as none, as it will when all are listed again. */
static int on_put(const cJSON *item, void *context)
{
	struct watched *watched = context;
	struct kube_source *source = watched->source;
	const struct decode_problems problems = {object_rejected, watched};
	struct object *object;
	int err = object_decode(item, &watched->defaults, &problems, &object);

	watched->given++;
	if (err)
		return err;
	if (!object || object->kind != watched->kind) {
		object_free(object);
		return on_deleted(item, context);
	}
	object->origin = watched->list;
	if (is_of_kubernetes(object))
		source->servers_changed = true;
	change_note(source);
	return model_put(source->model, object);
}

static void on_list_begun(void *context)
{
	struct watched *watched = context;

	watched->list++;
	watched->given = 0;
}

struct sweep {
	struct model *model;
	__u32 list;
	size_t removed;
};

static int sweep_object(const struct object *object, void *context)
{
	struct sweep *sweep = context;
	char namespace_[OBJECT_NAME_MAX + 1], name[OBJECT_NAME_MAX + 1];

	if (object->origin == sweep->list)
		return 0;
	(void)snprintf(namespace_, sizeof(namespace_), "%s", object->namespace_);
	(void)snprintf(name, sizeof(name), "%s", object->name);
	sweep->removed++;
	model_remove(sweep->model, object->kind, namespace_, name);
	return 0;
}

/* Removes what a complete list has not given; 0 as its number removes everything. */
static size_t sweep_kind(struct kube_source *source, enum object_kind kind, __u32 list)
{
	struct sweep sweep = {.model = source->model, .list = list};

	(void)model_each(source->model, kind, sweep_object, &sweep);
	if (sweep.removed)
		change_note(source);
	return sweep.removed;
}

static struct watched *watched_of(struct kube_source *source, enum resource_id id)
{
	return &source->watched[id];
}

static bool is_listed(const struct kube_source *source, enum resource_id id)
{
	const struct watched *watched = &source->watched[id];

	return watched->reflector && !watched->is_absent &&
	       reflector_has_listed(watched->reflector);
}

static int watched_begin(struct kube_source *source, enum resource_id id);

/*
 * EndpointSlices count where the server has them, Endpoints where it has not. The others leave the
 * model when these are complete. Not from a reflector's callback, which must not close another.
 */
static void endpoints_switch(struct kube_source *source)
{
	struct watched *endpoints = watched_of(source, RESOURCE_ENDPOINTS);

	if (is_listed(source, RESOURCE_SLICES) && endpoints->reflector) {
		log_info("the server has EndpointSlices now: Endpoints are not watched any more");
		reflector_close(take_ptr(endpoints->reflector));
		(void)sweep_kind(source, OBJECT_ENDPOINTS, 0);
	} else if (!is_listed(source, RESOURCE_SLICES) && is_listed(source, RESOURCE_ENDPOINTS)) {
		(void)sweep_kind(source, OBJECT_ENDPOINT_SLICE, 0);
	}
}

static void on_listed(void *context)
{
	struct watched *watched = context;
	struct kube_source *source = watched->source;
	size_t known = model_count(source->model, watched->kind);
	size_t removed;

	if (watched->is_absent)
		log_info("the server has %s now", watched->resource.name);
	watched->is_absent = false;
	removed = sweep_kind(source, watched->kind, watched->list);
	if (!watched->given && removed)
		log_warning("the server's list of %s is empty although there were %zu: all of them "
			    "are removed, as it says",
			    watched->resource.name, known);
	else if (removed)
		log_info("%zu %s have vanished while they were not watched", removed,
			 watched->resource.name);
	log_debug("listed %zu %s", watched->given, watched->resource.name);
	change_note(source);
}

static void on_absent(void *context)
{
	struct watched *watched = context;
	struct kube_source *source = watched->source;
	enum resource_id id = (enum resource_id)(watched - source->watched);

	if (watched->is_absent)
		return;
	watched->is_absent = true;
	if (id == RESOURCE_SLICES) {
		log_info(
			"the server has no EndpointSlices (discovery.k8s.io/v1): watching Endpoints "
			"until it has");
		if (!watched_of(source, RESOURCE_ENDPOINTS)->reflector &&
		    watched_begin(source, RESOURCE_ENDPOINTS))
			(void)log_err(-ENOMEM, "cannot watch Endpoints");
	} else if (id == RESOURCE_SERVICE_CIDRS) {
		log_info(
			"the server has no ServiceCIDRs (networking.k8s.io/v1): the service range is "
			"not known");
	} else {
		log_warning("the server has no %s (%s answers 404): is it a Kubernetes API server?",
			    watched->resource.name, watched->resource.path);
	}
}

static int watched_begin(struct kube_source *source, enum resource_id id)
{
	static const struct reflector_events events = {
		.list_begun = on_list_begun,
		.put = on_put,
		.deleted = on_deleted,
		.listed = on_listed,
		.absent = on_absent,
	};
	struct watched *watched = watched_of(source, id);

	watched->reflector = reflector_new(source->check.loop, source->client, &watched->resource,
					   &events, &source->limits, watched);
	return watched->reflector ? 0 : -ENOMEM;
}

static bool node_is_known(const struct kube_source *source)
{
	return model_node(source->model, source->options.node_name);
}

/* Rule Q181, and P177 for the Node. */
static bool is_complete(const struct kube_source *source)
{
	bool has_endpoints =
		is_listed(source, RESOURCE_SLICES) || (source->watched[RESOURCE_SLICES].is_absent &&
						       is_listed(source, RESOURCE_ENDPOINTS));

	return is_listed(source, RESOURCE_SERVICES) && has_endpoints &&
	       (node_is_known(source) || source->node_is_given_up);
}

/* The addresses of a slice's ready endpoints, with its https port. */
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

/* After everything that this turn of the loop has brought. */
static void on_check(uv_check_t *check)
{
	struct kube_source *source = check->data;
	uint64_t woken_ns = source->woken_ns;

	if (!woken_ns)
		return;
	endpoints_switch(source);
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
	change_note(source);
}

static int resources_set(struct kube_source *source)
{
	static const struct watched resources[RESOURCE_COUNT] = {
		[RESOURCE_SERVICES] = {.kind = OBJECT_SERVICE,
				       .resource = {"services", "/api/v1/services",
						    NOT_OURS NOT_HEADLESS, NOT_OURS},
				       .defaults = {"Service", "v1"}},
		[RESOURCE_SLICES] = {.kind = OBJECT_ENDPOINT_SLICE,
				     .resource = {"endpointslices",
						  "/apis/discovery.k8s.io/v1/endpointslices",
						  NOT_OURS, NOT_OURS},
				     .defaults = {"EndpointSlice", "discovery.k8s.io/v1"}},
		[RESOURCE_ENDPOINTS] = {.kind = OBJECT_ENDPOINTS,
					.resource = {"endpoints", "/api/v1/endpoints", NOT_OURS,
						     NOT_OURS},
					.defaults = {"Endpoints", "v1"}},
		[RESOURCE_NODE] = {.kind = OBJECT_NODE,
				   .resource = {"nodes", "/api/v1/nodes", NULL, NULL},
				   .defaults = {"Node", "v1"}},
		[RESOURCE_SERVICE_CIDRS] = {.kind = OBJECT_SERVICE_CIDR,
					    .resource = {"servicecidrs",
							 "/apis/networking.k8s.io/v1/servicecidrs",
							 NOT_OURS, NOT_OURS},
					    .defaults = {"ServiceCIDR", "networking.k8s.io/v1"}},
	};

	memcpy(source->watched, resources, sizeof(resources));
	for (size_t i = 0; i < RESOURCE_COUNT; i++)
		source->watched[i].source = source;
	if (asprintf(&source->node_query, "fieldSelector=metadata.name%%3D%s&",
		     source->options.node_name) < 0) {
		source->node_query = NULL;
		return -ENOMEM;
	}
	source->watched[RESOURCE_NODE].resource.query = source->node_query;
	source->watched[RESOURCE_NODE].resource.plain_query = source->node_query;
	return 0;
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
	err = resources_set(source);
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

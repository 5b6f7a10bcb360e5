/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * The API server as the source: one reflector per resource writes to the model. All changes of one
 * turn of the loop are reported by one call of `changed`.
 *
 * The objects of a list carry its number as their origin: an object with an older number when the
 * list is complete was deleted while it was not watched.
 */

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "decode/cjson.h"
#include "decode/decode.h"
#include "kube/client/client.h"
#include "kube/config/config.h"
#include "kube/post/event_poster.h"
#include "kube/watch/reflector.h"
#include "source/source.h"

#define WATCH_S      300
#define ABSENT_S     60
#define NODE_WAIT_MS 30000 /* rule P177: longest wait for the Node before the first publish */
#define CATCH_UP_MS  100   /* interval at which watches are checked after an outage */

/*
 * Rule A2 (objects of other proxies are not programmed): the server does not even send their
 * endpoints. It does send their Services, because their ClusterIPs must not be taken for unused
 * addresses (rule C46).
 */
#define NOT_OURS \
	"labelSelector=%21service.kubernetes.io%2Fservice-proxy-name%2C%21service.kubernetes.io%2Fheadless&"
/*
 * Rule A5: headless Services are not listed. Servers before 1.33 do not know this field selector.
 */
#define NOT_HEADLESS "fieldSelector=spec.clusterIP%21%3DNone&"

enum resource_id {
	RESOURCE_SERVICES,
	RESOURCE_SLICES,
	RESOURCE_ENDPOINTS, /* only on servers without EndpointSlices */
	RESOURCE_NODE,
	RESOURCE_SERVICE_CIDRS,
	RESOURCE_COUNT
};

/* One watched resource: the context of its reflector. */
struct watched {
	struct kube_source *source;
	struct reflector_resource resource;
	struct decode_defaults defaults;
	struct reflector *reflector;
	size_t listed; /* objects of the latest list so far */
	__u32 list;    /* the number of the latest list */
	enum object_kind kind;
	bool is_absent;
};

struct kube_source {
	struct source source;
	uv_check_t check;
	uv_idle_t idle; /* runs while a change is to be reported */
	uv_timer_t node_wait;
	uv_timer_t catch_up; /* runs from the end of an outage until all watches go on */
	unsigned int open_handles;
	struct kube_client *client;
	struct event_poster *poster; /* of Events about our own Node and Services */
	struct model *model;
	struct source_events events;
	struct kube_source_options options;
	struct reflector_limits limits;
	struct watched watched[RESOURCE_COUNT];
	char *node_query;
	uint64_t woken_ns; /* of the first change not reported yet; 0: none */
	bool is_synced;
	bool node_is_given_up;
	bool is_away;         /* no server can be used */
	bool servers_changed; /* the endpoints of default/kubernetes have changed */
};

static void kube_on_idle(uv_idle_t *idle)
{
	(void)idle;
}

/*
 * Records that the model has changed, to be reported in this turn of the loop. Starts an idle
 * handle: libcurl's timer runs before the loop polls for events, and the poll must not block then.
 */
static void kube_mark_changed(struct kube_source *source)
{
	if (source->woken_ns)
		return;
	source->woken_ns = kube_client_woken_ns(source->client);
	(void)uv_idle_start(&source->idle, kube_on_idle);
}

static void watched_on_problem(const char *text, void *context)
{
	const struct watched *watched = context;
	const struct source_events *events = &watched->source->events;

	log_warning("%s", text);
	events->rejected(events->context);
}

/*
 * True for the Service default/kubernetes and its slices, which name the API servers of every
 * cluster.
 */
static bool object_is_of_api_server(const struct object *object)
{
	const char *name =
		object->kind == OBJECT_ENDPOINT_SLICE ? object->slice.service_name : object->name;

	return name && !strcmp(object->namespace_, "default") && !strcmp(name, "kubernetes");
}

static const char *metadata_string(const cJSON *metadata, const char *name)
{
	const char *text = cjson_string(metadata, name);

	return text ? text : "";
}

static int watched_on_deleted(const cJSON *item, void *context)
{
	const struct watched *watched = context;
	const cJSON *metadata = cJSON_GetObjectItemCaseSensitive(item, "metadata");

	kube_mark_changed(watched->source);
	model_remove(watched->source->model, watched->kind, metadata_string(metadata, "namespace"),
		     metadata_string(metadata, "name"));
	return 0;
}

/* An unusable object is treated as deleted, as it will be when everything is listed again. */
static int watched_on_put(const cJSON *item, void *context)
{
	struct watched *watched = context;
	struct kube_source *source = watched->source;
	const struct decode_problems problems = {watched_on_problem, watched};
	struct object *object;
	int err = object_decode(item, &watched->defaults, &problems, &object);

	watched->listed++;
	if (err)
		return err;
	if (!object || object->kind != watched->kind) {
		object_free(object);
		return watched_on_deleted(item, context);
	}
	object->origin = watched->list;
	if (object_is_of_api_server(object))
		source->servers_changed = true;
	kube_mark_changed(source);
	return model_put(source->model, object);
}

static void watched_on_list_begun(void *context)
{
	struct watched *watched = context;

	watched->list++;
	watched->listed = 0;
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

/* Removes the objects that are not from list number `list`; 0 removes all. */
static size_t sweep_kind(struct kube_source *source, enum object_kind kind, __u32 list)
{
	struct sweep sweep = {.model = source->model, .list = list};

	(void)model_each(source->model, kind, sweep_object, &sweep);
	if (sweep.removed)
		kube_mark_changed(source);
	return sweep.removed;
}

/* True if the server has the resource and its first list is complete in the model. */
static bool watched_is_listed(const struct kube_source *source, enum resource_id id)
{
	const struct watched *watched = &source->watched[id];

	return watched->reflector && !watched->is_absent &&
	       reflector_has_listed(watched->reflector);
}

/*
 * Uses EndpointSlices if the server has them, otherwise Endpoints. Once the chosen kind is
 * complete, the objects of the other kind leave the model. Must not be called from a reflector's
 * callback, because it may close another reflector.
 */
static void watched_switch_endpoints(struct kube_source *source)
{
	struct watched *endpoints = &source->watched[RESOURCE_ENDPOINTS];

	if (watched_is_listed(source, RESOURCE_SLICES) && endpoints->reflector) {
		log_info("the server has EndpointSlices now: Endpoints are not watched any more");
		reflector_close(take_ptr(endpoints->reflector));
		(void)sweep_kind(source, OBJECT_ENDPOINTS, 0);
	} else if (!watched_is_listed(source, RESOURCE_SLICES) &&
		   watched_is_listed(source, RESOURCE_ENDPOINTS)) {
		(void)sweep_kind(source, OBJECT_ENDPOINT_SLICE, 0);
	}
}

static void watched_on_listed(void *context)
{
	struct watched *watched = context;
	struct kube_source *source = watched->source;
	size_t known = model_count(source->model, watched->kind);
	size_t removed;

	if (watched->is_absent)
		log_info("the server has %s now", watched->resource.name);
	watched->is_absent = false;
	removed = sweep_kind(source, watched->kind, watched->list);
	if (!watched->listed && removed)
		log_warning("the server's list of %s is empty although there were %zu: all of them "
			    "are removed, as it says",
			    watched->resource.name, known);
	else if (removed)
		log_info("%zu %s have vanished while they were not watched", removed,
			 watched->resource.name);
	model_set_listed(source->model, watched->kind);
	log_debug("listed %zu %s", watched->listed, watched->resource.name);
	kube_mark_changed(source);
}

static int watched_begin(struct kube_source *source, enum resource_id id);

static void watched_on_absent(void *context)
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
		if (!source->watched[RESOURCE_ENDPOINTS].reflector &&
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
		.list_begun = watched_on_list_begun,
		.put = watched_on_put,
		.deleted = watched_on_deleted,
		.listed = watched_on_listed,
		.absent = watched_on_absent,
	};
	struct watched *watched = &source->watched[id];

	watched->reflector = reflector_new(source->check.loop, source->client, &watched->resource,
					   &events, &source->limits, watched);
	return watched->reflector ? 0 : -ENOMEM;
}

static int watched_init(struct kube_source *source)
{
	static const struct watched resources[RESOURCE_COUNT] = {
		[RESOURCE_SERVICES] = {.kind = OBJECT_SERVICE,
				       .resource = {"services", "/api/v1/services", NOT_HEADLESS,
						    ""},
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
	if (source->options.with_all_nodes)
		return 0;
	source->watched[RESOURCE_NODE].resource.query = source->node_query;
	source->watched[RESOURCE_NODE].resource.plain_query = source->node_query;
	return 0;
}

static bool kube_knows_node(const struct kube_source *source)
{
	return model_node(source->model, source->options.node_name);
}

/*
 * True if the state is complete: Services and endpoints are listed (rule Q181), and the Node is
 * known or the wait for it is over (rule P177).
 */
static bool kube_is_complete(const struct kube_source *source)
{
	bool has_endpoints = watched_is_listed(source, RESOURCE_SLICES) ||
			     (source->watched[RESOURCE_SLICES].is_absent &&
			      watched_is_listed(source, RESOURCE_ENDPOINTS));

	bool has_nodes = kube_knows_node(source) && (!source->options.with_all_nodes ||
						     watched_is_listed(source, RESOURCE_NODE));

	return watched_is_listed(source, RESOURCE_SERVICES) && has_endpoints &&
	       (has_nodes || source->node_is_given_up);
}

/* The addresses of a slice's ready endpoints, with its port "https" or else its first one. */
static size_t servers_in_slice(const struct slice_object *slice, struct server_address *addresses,
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

static void kube_learn_servers(struct kube_source *source)
{
	const struct object *service = model_service(source->model, "default", "kubernetes");
	auto_cleanup(cleanup_free) const struct slice_object **slices = NULL;
	struct server_address addresses[SERVERS_KNOWN_MAX / 2];
	size_t count = 0, room = sizeof(addresses) / sizeof(addresses[0]);
	int slice_count;

	source->servers_changed = false;
	slice_count = service ? model_slices(source->model, service, &slices) : 0;
	for (int i = 0; i < slice_count; i++)
		count += servers_in_slice(slices[i], &addresses[count], room - count);
	kube_client_learn_servers(source->client, addresses, count);
}

/* Runs after all other callbacks of this turn of the loop. */
static void kube_on_check(uv_check_t *check)
{
	struct kube_source *source = check->data;
	uint64_t woken_ns = source->woken_ns;

	if (!woken_ns)
		return;
	watched_switch_endpoints(source);
	source->woken_ns = 0;
	(void)uv_idle_stop(&source->idle);
	if (source->servers_changed)
		kube_learn_servers(source);
	if (source->is_synced) {
		source->events.changed(woken_ns, source->events.context);
		return;
	}
	if (!kube_is_complete(source))
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

static void kube_on_node_wait(uv_timer_t *timer)
{
	struct kube_source *source = timer->data;

	source->node_is_given_up = true;
	if (kube_knows_node(source))
		return;
	log_warning("the API server has not reported Node %s for %u s: continuing without its zone "
		    "(--node-name must be the Node's name)",
		    source->options.node_name, (unsigned int)(NODE_WAIT_MS / MS_PER_S));
	kube_mark_changed(source);
}

static void kube_on_closed(uv_handle_t *handle)
{
	struct kube_source *source = handle->data;

	if (--source->open_handles)
		return;
	free(source->node_query);
	free(source);
}

static void kube_post_event(struct source *base, const struct event_text *text)
{
	event_poster_post(((struct kube_source *)base)->poster, text);
}

static bool kube_is_posting(const struct source *base)
{
	return event_poster_is_busy(((const struct kube_source *)base)->poster);
}

static void kube_close(struct source *base)
{
	struct kube_source *source = (struct kube_source *)base;

	for (size_t i = 0; i < RESOURCE_COUNT; i++)
		reflector_close(take_ptr(source->watched[i].reflector));
	event_poster_close(take_ptr(source->poster));
	kube_client_close(take_ptr(source->client));
	uv_close((uv_handle_t *)&source->check, kube_on_closed);
	uv_close((uv_handle_t *)&source->idle, kube_on_closed);
	uv_close((uv_handle_t *)&source->node_wait, kube_on_closed);
	uv_close((uv_handle_t *)&source->catch_up, kube_on_closed);
}

static int kube_read_config(const struct kube_source_options *options,
			    struct kube_config **ret_config)
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

static void kube_on_socket_made(int fd, void *context)
{
	const struct kube_source *source = context;

	if (source->options.socket_made)
		source->options.socket_made(fd, source->events.context);
}

static void kube_on_observed(const struct kube_observation *observation, void *context)
{
	const struct kube_source *source = context;

	if (source->options.observed)
		source->options.observed(observation, source->events.context);
}

static void kube_report_reachable(const struct kube_source *source, const char *why)
{
	if (source->events.reachable)
		source->events.reachable(why, source->events.context);
}

/*
 * The outage has ended when everything that was watched before is watched again. What the server
 * refuses now is another matter, which the log has.
 */
static void kube_on_catch_up(uv_timer_t *timer)
{
	struct kube_source *source = timer->data;

	for (size_t i = 0; i < RESOURCE_COUNT; i++) {
		const struct reflector *reflector = source->watched[i].reflector;

		if (watched_is_listed(source, (enum resource_id)i) &&
		    !reflector_is_watching(reflector) && !reflector_has_problem(reflector))
			return;
	}
	(void)uv_timer_stop(timer);
	kube_report_reachable(source, NULL);
}

/*
 * After an outage all watches begin again at once, not each when its own backoff is over; until
 * then the state is stale.
 */
static void kube_on_reachable(const char *why, void *context)
{
	struct kube_source *source = context;
	bool was_away = source->is_away;

	source->is_away = why;
	if (why || !was_away || !source->is_synced) {
		(void)uv_timer_stop(&source->catch_up);
		kube_report_reachable(source, why);
	} else {
		kube_report_reachable(source, "the API server answers again; what has changed "
					      "meanwhile is being read");
		(void)uv_timer_start(&source->catch_up, kube_on_catch_up, CATCH_UP_MS, CATCH_UP_MS);
	}
	for (size_t i = 0; !why && i < RESOURCE_COUNT; i++) {
		if (source->watched[i].reflector)
			reflector_retry_soon(source->watched[i].reflector);
	}
}

static int kube_begin(struct kube_source *source)
{
	static const enum resource_id first[] = {RESOURCE_SERVICES, RESOURCE_SLICES, RESOURCE_NODE,
						 RESOURCE_SERVICE_CIDRS};
	const struct kube_client_events events = {
		.socket_made = kube_on_socket_made,
		.observed = kube_on_observed,
		.reachable = kube_on_reachable,
		.context = source,
	};
	struct kube_config *config;
	int err = kube_read_config(&source->options, &config);

	if (err)
		return err;
	err = kube_client_open(source->check.loop, config, source->options.state_dir, &events,
			       &source->client);
	if (err)
		return err;
	source->poster = event_poster_new(source->check.loop, source->client,
					  &(struct event_poster_options){
						  .node_name = source->options.node_name,
						  .counted = source->options.event_counted,
						  .context = source->events.context,
					  });
	if (!source->poster)
		return log_err(-ENOMEM, "cannot watch the API server");
	if (!source->options.kubeconfig && !source->options.server_count)
		kube_client_prefer_learned_servers(source->client);
	err = watched_init(source);
	if (err)
		return log_err(err, "cannot watch the API server");
	for (size_t i = 0; i < sizeof(first) / sizeof(first[0]); i++) {
		err = watched_begin(source, first[i]);
		if (err)
			return log_err(err, "cannot watch the API server");
	}
	return 0;
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
		.close = kube_close, .post_event = kube_post_event, .is_posting = kube_is_posting};
	source->model = model;
	source->events = *events;
	source->options = *options;
	source->limits = (struct reflector_limits){
		.watch_s = WATCH_S, .silence_s = options->silence_s, .absent_s = ABSENT_S};
	source->open_handles = 4;
	(void)uv_check_init(loop, &source->check);
	(void)uv_idle_init(loop, &source->idle);
	(void)uv_timer_init(loop, &source->node_wait);
	(void)uv_timer_init(loop, &source->catch_up);
	source->check.data = source;
	source->idle.data = source;
	source->node_wait.data = source;
	source->catch_up.data = source;
	err = kube_begin(source);
	if (err) {
		kube_close(&source->source);
		return err;
	}
	(void)uv_check_start(&source->check, kube_on_check);
	(void)uv_timer_start(&source->node_wait, kube_on_node_wait, NODE_WAIT_MS, 0);
	log_info("watching the API server %s", kube_client_server(source->client));
	*ret_source = &source->source;
	return 0;
}

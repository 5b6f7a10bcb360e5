/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Writes what the reflectors receive to the model. The objects of a list carry its number as their
 * origin: an object with an older number when the list is complete was deleted while it was not
 * watched.
 */

#include "source/kube_source.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"

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

static void object_rejected(const char *text, void *context)
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

	kube_source_note_change(watched->source);
	model_remove(watched->source->model, watched->kind, text_of(metadata, "namespace"),
		     text_of(metadata, "name"));
	return 0;
}

/* An unusable object is treated as deleted, as it will be when everything is listed again. */
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
	kube_source_note_change(source);
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

/* Removes the objects that are not from list number `list`; 0 removes all. */
static size_t sweep_kind(struct kube_source *source, enum object_kind kind, __u32 list)
{
	struct sweep sweep = {.model = source->model, .list = list};

	(void)model_each(source->model, kind, sweep_object, &sweep);
	if (sweep.removed)
		kube_source_note_change(source);
	return sweep.removed;
}

static struct watched *watched_of(struct kube_source *source, enum resource_id id)
{
	return &source->watched[id];
}

bool watched_is_listed(const struct kube_source *source, enum resource_id id)
{
	const struct watched *watched = &source->watched[id];

	return watched->reflector && !watched->is_absent &&
	       reflector_has_listed(watched->reflector);
}

void watched_switch_endpoints(struct kube_source *source)
{
	struct watched *endpoints = watched_of(source, RESOURCE_ENDPOINTS);

	if (watched_is_listed(source, RESOURCE_SLICES) && endpoints->reflector) {
		log_info("the server has EndpointSlices now: Endpoints are not watched any more");
		reflector_close(take_ptr(endpoints->reflector));
		(void)sweep_kind(source, OBJECT_ENDPOINTS, 0);
	} else if (!watched_is_listed(source, RESOURCE_SLICES) &&
		   watched_is_listed(source, RESOURCE_ENDPOINTS)) {
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
	model_note_listed(source->model, watched->kind);
	log_debug("listed %zu %s", watched->given, watched->resource.name);
	kube_source_note_change(source);
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

int watched_begin(struct kube_source *source, enum resource_id id)
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

int watched_init(struct kube_source *source)
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

/* SPDX-License-Identifier: BSD-2-Clause */
#include "decode/manifest_check.h"

#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "decode/decode_objects.h"
#include "decode/items.h"

#define ANY_KIND   OBJECT_KIND_COUNT
#define PATH_SIZE  256
#define TEXT_SIZE  1024
#define NAME_PRINT 63 /* characters of a name in a message */

/* Unknown fields of an object for which a name that was meant is sought. */
#define SUGGESTIONS_MAX 12

/*
 * The fields of Kubernetes' API, to release 1.34 and of the releases since 1.17 that still served
 * more. Below a path that is not here, anything may be: the values of a map, or what changes with
 * releases and matters to nobody here.
 */
struct known_fields {
	enum object_kind kind; /* or ANY_KIND */
	const char *path;      /* of an object, or of the array that it is in */
	const char *names;     /* NULL: any */
};

static const struct known_fields known_fields[] = {
	{OBJECT_SERVICE, "", "apiVersion kind metadata spec status"},
	{OBJECT_SERVICE, "spec",
	 "allocateLoadBalancerNodePorts clusterIP clusterIPs externalIPs externalName "
	 "externalTrafficPolicy healthCheckNodePort internalTrafficPolicy ipFamilies ipFamily "
	 "ipFamilyPolicy loadBalancerClass loadBalancerIP loadBalancerSourceRanges ports "
	 "publishNotReadyAddresses selector sessionAffinity sessionAffinityConfig topologyKeys "
	 "trafficDistribution type"},
	{OBJECT_SERVICE, "spec.ports", "appProtocol name nodePort port protocol targetPort"},
	{OBJECT_SERVICE, "spec.sessionAffinityConfig", "clientIP"},
	{OBJECT_SERVICE, "spec.sessionAffinityConfig.clientIP", "timeoutSeconds"},
	{OBJECT_SERVICE, "status", "conditions loadBalancer"},
	{OBJECT_SERVICE, "status.loadBalancer", "ingress"},
	{OBJECT_SERVICE, "status.loadBalancer.ingress", "hostname ip ipMode ports"},
	{OBJECT_ENDPOINT_SLICE, "", "addressType apiVersion endpoints kind metadata ports"},
	{OBJECT_ENDPOINT_SLICE, "endpoints",
	 "addresses conditions deprecatedTopology hints hostname nodeName targetRef topology zone"},
	{OBJECT_ENDPOINT_SLICE, "endpoints.conditions", "ready serving terminating"},
	{OBJECT_ENDPOINT_SLICE, "endpoints.hints", "forNodes forZones"},
	{OBJECT_ENDPOINT_SLICE, "endpoints.hints.forNodes", "name"},
	{OBJECT_ENDPOINT_SLICE, "endpoints.hints.forZones", "name"},
	{OBJECT_ENDPOINT_SLICE, "ports", "appProtocol name port protocol"},
	{OBJECT_ENDPOINTS, "", "apiVersion kind metadata subsets"},
	{OBJECT_ENDPOINTS, "subsets", "addresses notReadyAddresses ports"},
	{OBJECT_ENDPOINTS, "subsets.addresses", "hostname ip nodeName targetRef"},
	{OBJECT_ENDPOINTS, "subsets.notReadyAddresses", "hostname ip nodeName targetRef"},
	{OBJECT_ENDPOINTS, "subsets.ports", "appProtocol name port protocol"},
	{OBJECT_NODE, "", "apiVersion kind metadata spec status"},
	{OBJECT_NODE, "spec",
	 "configSource externalID podCIDR podCIDRs providerID taints unschedulable"},
	{OBJECT_NODE, "status",
	 "addresses allocatable capacity conditions config daemonEndpoints declaredFeatures "
	 "features images nodeInfo phase runtimeHandlers volumesAttached volumesInUse"},
	{OBJECT_NODE, "status.addresses", "address type"},
	{OBJECT_POD, "", "apiVersion kind metadata spec status"},
	{OBJECT_POD, "spec", NULL},
	{OBJECT_POD, "spec.containers", NULL},
	{OBJECT_POD, "spec.containers.ports", "containerPort hostIP hostPort name protocol"},
	{OBJECT_SERVICE_CIDR, "", "apiVersion kind metadata spec status"},
	{OBJECT_SERVICE_CIDR, "spec", "cidrs"},
	{ANY_KIND, "metadata",
	 "annotations clusterName creationTimestamp deletionGracePeriodSeconds deletionTimestamp "
	 "finalizers generateName generation labels managedFields name namespace ownerReferences "
	 "resourceVersion selfLink uid"},
};

/* A list's; below its path there is nothing, so its metadata may have anything. */
static const struct known_fields list_fields = {ANY_KIND, "List", "apiVersion items kind metadata"};

/* A field of the object that is being checked. */
struct place {
	const struct place *parent; /* NULL: the object is */
	const char *name;           /* NULL: an element of an array */
	size_t index;
};

/* The object that is being checked. */
struct check {
	const struct manifest_warnings *warnings;
	enum object_kind kind; /* or ANY_KIND */
	const cJSON *item;
	const char *kind_name;
	unsigned int unknown_fields; /* found so far */
};

const char *manifest_warning_word(enum manifest_warning warning)
{
	static const char *const words[] = {
		[WARNING_UNKNOWN_KIND] = "unknown-kind",
		[WARNING_UNKNOWN_FIELD] = "unknown-field",
		[WARNING_UNKNOWN_VALUE] = "unknown-value",
		[WARNING_NO_SERVICE_NAME] = "no-service-name",
		[WARNING_NO_SERVICE] = "no-service",
		[WARNING_NO_CLUSTER_IP] = "no-cluster-ip",
		[WARNING_CLUSTER_IP_TAKEN] = "cluster-ip-taken",
		[WARNING_NO_NODE_PORT] = "no-node-port",
		[WARNING_NODE_PORT_TAKEN] = "node-port-taken",
		[WARNING_NO_NODE] = "no-node",
		[WARNING_PORT_UNMATCHED] = "port-unmatched",
	};

	return words[warning];
}

static const char *metadata_text(const cJSON *item, const char *name)
{
	return cJSON_GetStringValue(field_get(field_get(item, "metadata"), name));
}

static void check_warn(const struct check *check, enum manifest_warning warning, unsigned int line,
		       const char *format, ...) __attribute__((format(printf, 4, 5)));

static void check_warn(const struct check *check, enum manifest_warning warning, unsigned int line,
		       const char *format, ...)
{
	const char *name = metadata_text(check->item, "name");
	const char *namespace_ = metadata_text(check->item, "namespace");
	bool has_namespace = kind_has_namespace(check->kind);
	char text[TEXT_SIZE];
	va_list args;
	int len;

	if (!namespace_ || !*namespace_)
		namespace_ = "default";
	len = snprintf(text, sizeof(text), "%.*s%s%.*s%s%.*s: ", NAME_PRINT, check->kind_name,
		       name ? " " : "", NAME_PRINT, name && has_namespace ? namespace_ : "",
		       name && has_namespace ? "/" : "", OBJECT_NAME_MAX, name ? name : "");
	va_start(args, format);
	(void)vsnprintf(text + len, sizeof(text) - (size_t)len, format, args);
	va_end(args);
	text_make_plain(text);
	check->warnings->found(warning, line, text, check->warnings->context);
}

/* "spec.ports[2].port" */
static void path_write(const struct place *place, char path[PATH_SIZE])
{
	size_t len;

	path[0] = '\0';
	if (!place)
		return;
	path_write(place->parent, path);
	len = strlen(path);
	if (place->name)
		(void)snprintf(path + len, PATH_SIZE - len, "%s%.*s", len ? "." : "", NAME_PRINT,
			       place->name);
	else
		(void)snprintf(path + len, PATH_SIZE - len, "[%zu]", place->index);
}

static bool name_is_known(const char *names, const char *name)
{
	size_t len = strlen(name);

	for (; names && *names; names += *names == ' ') {
		size_t known_len = strcspn(names, " ");

		if (known_len == len && !memcmp(names, name, len))
			return true;
		names += known_len;
	}
	return !names;
}

/* The distance from which on another word is not what was meant. */
static unsigned int distance_too_far(const char *word)
{
	return (unsigned int)strlen(word) * 2 / 5 + 1;
}

/* Finds the most similar of the names. Returns false if none is similar. */
static bool name_nearest(const char *names, const char *name, char nearest[NAME_PRINT + 1])
{
	unsigned int least = distance_too_far(name);
	bool is_found = false;
	char known[NAME_PRINT + 1];

	for (; *names; names += *names == ' ') {
		int len = (int)strcspn(names, " ");
		unsigned int distance;

		(void)snprintf(known, sizeof(known), "%.*s", len, names);
		names += len;
		distance = text_distance(known, name);
		if (distance >= least)
			continue;
		least = distance;
		is_found = true;
		memcpy(nearest, known, sizeof(known));
	}
	return is_found;
}

/* Where else an object of the kind has a field of that name, which may be indented wrongly. */
static const struct known_fields *name_elsewhere(enum object_kind kind, const char *name)
{
	for (size_t i = 0; i < sizeof(known_fields) / sizeof(known_fields[0]); i++) {
		const struct known_fields *fields = &known_fields[i];

		if ((fields->kind == kind || fields->kind == ANY_KIND) && fields->names &&
		    name_is_known(fields->names, name))
			return fields;
	}
	return NULL;
}

static void field_warn(struct check *check, const struct known_fields *siblings,
		       const struct place *place, unsigned int line)
{
	bool is_suggesting = check->unknown_fields++ < SUGGESTIONS_MAX;
	const struct known_fields *elsewhere =
		is_suggesting ? name_elsewhere(check->kind, place->name) : NULL;
	char path[PATH_SIZE], nearest[NAME_PRINT + 1];

	path_write(place, path);
	if (!is_suggesting)
		check_warn(check, WARNING_UNKNOWN_FIELD, line, "unknown field %s", path);
	else if (name_nearest(siblings->names, place->name, nearest))
		check_warn(check, WARNING_UNKNOWN_FIELD, line, "unknown field %s, did you mean %s?",
			   path, nearest);
	else if (elsewhere)
		check_warn(check, WARNING_UNKNOWN_FIELD, line,
			   "unknown field %s, did you mean %s%s%s?", path, elsewhere->path,
			   *elsewhere->path ? "." : "", place->name);
	else
		check_warn(check, WARNING_UNKNOWN_FIELD, line,
			   "unknown field %s: it has no effect, remove it", path);
}

static const struct known_fields *fields_below(enum object_kind kind,
					       const struct known_fields *fields, const char *name)
{
	size_t len = strlen(fields->path), dot = len != 0;

	for (size_t i = 0; i < sizeof(known_fields) / sizeof(known_fields[0]); i++) {
		const char *path = known_fields[i].path;

		if ((known_fields[i].kind == kind || known_fields[i].kind == ANY_KIND) &&
		    !strncmp(path, fields->path, len) && !strncmp(path + len, ".", dot) &&
		    !strcmp(path + len + dot, name))
			return &known_fields[i];
	}
	return NULL;
}

static const struct known_fields *fields_of_kind(enum object_kind kind)
{
	const struct known_fields *fields = known_fields;

	while (fields->kind != kind || *fields->path)
		fields++;
	return fields;
}

/* Checks an object against the fields that it may have, or the objects of an array. */
static void fields_check(struct check *check, const struct known_fields *fields,
			 const struct place *parent, const cJSON *node)
{
	struct place place = {.parent = parent};
	const struct known_fields *below;
	const cJSON *child;

	if (!cJSON_IsObject(node) && !cJSON_IsArray(node))
		return;
	cJSON_ArrayForEach(child, node)
	{
		place.name = child->string;
		if (cJSON_IsArray(node)) {
			fields_check(check, fields, &place, child);
			place.index++;
			continue;
		}
		if (!name_is_known(fields->names, child->string)) {
			field_warn(check, fields, &place, item_line(child));
			continue;
		}
		below = fields_below(check->kind, fields, child->string);
		if (below)
			fields_check(check, below, &place, child);
	}
}

/* A node's line; if it is missing, that of the one which it should be in. */
static unsigned int line_of(const cJSON *node, unsigned int fallback)
{
	return node ? item_line(node) : fallback;
}

static bool text_is_in(const cJSON *field, const char *text)
{
	const char *value = cJSON_GetStringValue(field);

	return value && (text ? !strcmp(value, text) : *value);
}

static bool service_has_cluster_ip(const cJSON *spec)
{
	const cJSON *addresses = field_get(spec, "clusterIPs");
	const cJSON *address;

	cJSON_ArrayForEach(address, addresses)
	{
		if (text_is_in(address, NULL))
			return true;
	}
	return text_is_in(field_get(spec, "clusterIP"), NULL);
}

/* True if an API server would choose the NodePorts that are missing, and clients need them. */
static bool service_needs_node_ports(const cJSON *item, const cJSON *spec)
{
	const cJSON *type = field_get(spec, "type");
	const cJSON *balancer = field_get(field_get(item, "status"), "loadBalancer");

	if (text_is_in(type, "NodePort"))
		return true;
	return text_is_in(type, "LoadBalancer") &&
	       !cJSON_IsFalse(field_get(spec, "allocateLoadBalancerNodePorts")) &&
	       !cJSON_GetArraySize(field_get(balancer, "ingress"));
}

/* The decoder rejects a Service with another unknown value, but these it ignores. */
static void families_check(const struct check *check, const cJSON *spec)
{
	const cJSON *policy = field_get(spec, "ipFamilyPolicy");
	const cJSON *family;

	if (policy && !text_is_in(policy, "SingleStack") &&
	    !text_is_in(policy, "PreferDualStack") && !text_is_in(policy, "RequireDualStack"))
		check_warn(check, WARNING_UNKNOWN_VALUE, item_line(policy),
			   "spec.ipFamilyPolicy must be SingleStack, PreferDualStack or "
			   "RequireDualStack");
	cJSON_ArrayForEach(family, field_get(spec, "ipFamilies"))
	{
		if (!text_is_in(family, "IPv4") && !text_is_in(family, "IPv6"))
			check_warn(check, WARNING_UNKNOWN_VALUE, item_line(family),
				   "each of spec.ipFamilies must be IPv4 or IPv6");
	}
}

/*
 * What Kubernetes does not have is no port of ours: a cluster of a later release may have it, but
 * in a file it is a mistake. `path` is the array's, and may have the number of one around it.
 */
static void protocols_check(const struct check *check, const cJSON *ports, const char *path)
{
	static const char known[] = "TCP UDP SCTP";
	char nearest[NAME_PRINT + 1];
	const cJSON *port;
	size_t index = 0;

	cJSON_ArrayForEach(port, ports)
	{
		const cJSON *field = field_get(port, "protocol");
		const char *value = cJSON_GetStringValue(field);
		bool is_known = !value || !*value || name_is_known(known, value);

		if (!is_known && name_nearest(known, value, nearest))
			check_warn(check, WARNING_UNKNOWN_VALUE, item_line(field),
				   "%s[%zu].protocol %.*s is not served, did you mean %s?", path,
				   index, NAME_PRINT, value, nearest);
		else if (!is_known)
			check_warn(check, WARNING_UNKNOWN_VALUE, item_line(field),
				   "%s[%zu].protocol %.*s is not served: it must be TCP, UDP or "
				   "SCTP",
				   path, index, NAME_PRINT, value);
		index++;
	}
}

static void endpoints_check(const struct check *check)
{
	const cJSON *subset;
	char path[PATH_SIZE];
	size_t index = 0;

	cJSON_ArrayForEach(subset, field_get(check->item, "subsets"))
	{
		(void)snprintf(path, sizeof(path), "subsets[%zu].ports", index++);
		protocols_check(check, field_get(subset, "ports"), path);
	}
}

static void service_check(const struct check *check, unsigned int line)
{
	const cJSON *spec = field_get(check->item, "spec");
	const cJSON *port;
	size_t index = 0;

	if (!spec || text_is_in(field_get(spec, "type"), "ExternalName"))
		return;
	families_check(check, spec);
	protocols_check(check, field_get(spec, "ports"), "spec.ports");
	if (!service_has_cluster_ip(spec))
		check_warn(check, WARNING_NO_CLUSTER_IP, line_of(spec, line),
			   "it has no clusterIP: " NO_CLUSTER_IP_REMEDY);
	if (!service_needs_node_ports(check->item, spec))
		return;
	cJSON_ArrayForEach(port, field_get(spec, "ports"))
	{
		if (!field_get(port, "nodePort"))
			check_warn(check, WARNING_NO_NODE_PORT, line_of(port, line),
				   "spec.ports[%zu] has no nodePort: write one, the agent chooses "
				   "none",
				   index);
		index++;
	}
}

static void slice_check(const struct check *check, unsigned int line)
{
	const cJSON *metadata = field_get(check->item, "metadata");
	const cJSON *labels = field_get(metadata, "labels");

	protocols_check(check, field_get(check->item, "ports"), "ports");
	if (!text_is_in(field_get(labels, LABEL_SERVICE_NAME), NULL))
		check_warn(check, WARNING_NO_SERVICE_NAME, line_of(labels, line_of(metadata, line)),
			   "it has no label " LABEL_SERVICE_NAME
			   ", so no Service uses it: add the label with the Service's name");
}

/* True for the groups of Kubernetes itself: "v1", "apps/v1", "discovery.k8s.io/v1". */
static bool version_is_kubernetes(const char *api_version)
{
	static const char suffix[] = ".k8s.io";
	size_t len = strcspn(api_version, "/");
	size_t suffix_len = sizeof(suffix) - 1;

	if (!api_version[len] || !memchr(api_version, '.', len))
		return true;
	return len > suffix_len && !memcmp(api_version + len - suffix_len, suffix, suffix_len);
}

/* Most kinds that are not known have nothing to do with Services; one may be a mistake. */
static void kind_check(const struct check *check, const char *api_version, unsigned int line)
{
	const char *kind = check->kind_name;

	for (const struct known_kind *known = known_kinds; known->name; known++) {
		if (!strcmp(known->name, kind) && version_is_kubernetes(api_version)) {
			check_warn(check, WARNING_UNKNOWN_KIND, line,
				   "there is no such kind in apiVersion %.*s, did you mean %s?",
				   NAME_PRINT, api_version, known->versions[0]);
			return;
		}
		if (version_is_in_group(api_version, known->group) &&
		    text_distance(known->name, kind) < distance_too_far(known->name)) {
			check_warn(check, WARNING_UNKNOWN_KIND, line,
				   "unknown kind, did you mean %s?", known->name);
			return;
		}
	}
}

void manifest_check(const cJSON *item, const struct decode_defaults *defaults, unsigned int line,
		    const struct manifest_warnings *warnings)
{
	const char *kind = cJSON_GetStringValue(field_get(item, "kind"));
	const char *api_version = cJSON_GetStringValue(field_get(item, "apiVersion"));
	struct check check = {.warnings = warnings, .kind = ANY_KIND, .item = item};
	const struct known_kind *known;

	check.kind_name = kind ? kind : defaults->kind;
	api_version = api_version ? api_version : defaults->api_version;
	if (!check.kind_name || !api_version)
		return; /* object_decode rejects it */
	known = kind_find(check.kind_name, api_version);
	if (!known) {
		kind_check(&check, api_version, line_of(field_get(item, "kind"), line));
		return;
	}
	check.kind = known->kind;
	fields_check(&check, fields_of_kind(known->kind), NULL, item);
	if (field_get(field_get(field_get(item, "metadata"), "labels"), LABEL_PROXY_NAME))
		return; /* another proxy's */
	if (known->kind == OBJECT_SERVICE)
		service_check(&check, line);
	else if (known->kind == OBJECT_ENDPOINT_SLICE)
		slice_check(&check, line);
	else if (known->kind == OBJECT_ENDPOINTS)
		endpoints_check(&check);
}

void manifest_check_list(const cJSON *head, const struct manifest_warnings *warnings)
{
	const char *kind = cJSON_GetStringValue(field_get(head, "kind"));
	struct check check = {.warnings = warnings,
			      .kind = ANY_KIND,
			      .item = head,
			      .kind_name = kind ? kind : "List"};

	/* An object of somebody else's may be of a kind such as IPAllowList. */
	if (strcmp(check.kind_name, "List") != 0 && !field_get(head, "items"))
		return;
	fields_check(&check, &list_fields, NULL, head);
}

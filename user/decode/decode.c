/* SPDX-License-Identifier: BSD-2-Clause */
#include "decode/decode.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "decode/decode_objects.h"

#define LIST_SUFFIX "List"

const struct known_kind known_kinds[] = {
	{"Service", "", {"v1"}, OBJECT_SERVICE},
	{"EndpointSlice",
	 "discovery.k8s.io",
	 {"discovery.k8s.io/v1", "discovery.k8s.io/v1beta1"},
	 OBJECT_ENDPOINT_SLICE},
	{"Endpoints", "", {"v1"}, OBJECT_ENDPOINTS},
	{"Node", "", {"v1"}, OBJECT_NODE},
	{"Pod", "", {"v1"}, OBJECT_POD},
	{"ServiceCIDR",
	 "networking.k8s.io",
	 {"networking.k8s.io/v1", "networking.k8s.io/v1beta1"},
	 OBJECT_SERVICE_CIDR},
	{},
};

bool kind_is_list(const char *kind)
{
	size_t len = kind ? strlen(kind) : 0;

	return len >= strlen(LIST_SUFFIX) && !strcmp(kind + len - strlen(LIST_SUFFIX), LIST_SUFFIX);
}

struct decode_defaults list_defaults(const char *kind, const char *api_version, char buf[KIND_SIZE])
{
	size_t len = strlen(kind) - strlen(LIST_SUFFIX);

	if (!len || len >= KIND_SIZE)
		return (struct decode_defaults){};
	memcpy(buf, kind, len);
	buf[len] = '\0';
	return (struct decode_defaults){buf, api_version};
}

bool version_is_in_group(const char *api_version, const char *group)
{
	const char *slash = strchr(api_version, '/');
	size_t len = slash ? (size_t)(slash - api_version) : 0;

	return strlen(group) == len && !memcmp(api_version, group, len);
}

const struct known_kind *kind_find(const char *kind, const char *api_version)
{
	for (const struct known_kind *known = known_kinds; known->name; known++) {
		if (!strcmp(known->name, kind) && version_is_in_group(api_version, known->group))
			return known;
	}
	return NULL;
}

static bool version_is_known(const struct known_kind *known, const char *api_version)
{
	for (const char *const *version = known->versions; *version; version++) {
		if (!strcmp(*version, api_version))
			return true;
	}
	return false;
}

bool kind_has_namespace(enum object_kind kind)
{
	return kind != OBJECT_NODE && kind != OBJECT_SERVICE_CIDR;
}

/*
 * RFC 3339 in UTC, as API servers and controllers write it, in ms. An invalid time is treated as
 * missing: 0.
 */
static __u64 time_decode_ms(const cJSON *item)
{
	const char *text = cJSON_GetStringValue(item);
	struct tm tm = {};
	const char *rest = text ? strptime(text, "%Y-%m-%dT%H:%M:%S", &tm) : NULL;
	double fraction = 0;
	char *end = (char *)rest;
	time_t seconds;

	if (rest && *rest == '.')
		fraction = strtod(rest, &end);
	if (!rest || strcmp(end, "Z") != 0)
		return 0;
	seconds = timegm(&tm);
	return seconds > 0 ? (__u64)seconds * MS_PER_S + (__u64)(fraction * MS_PER_S) : 0;
}

/* Reads the names first, because later messages identify the object by them. */
static void metadata_decode(struct decoder *decoder, const cJSON *item, struct object *object)
{
	static const char *const proxy_labels[] = {LABEL_PROXY_NAME, LABEL_HEADLESS, NULL};
	static const char *const node_labels[] = {LABEL_ZONE, NULL};
	const cJSON *metadata = field_object(decoder, item, "metadata");
	size_t name_max = object->kind == OBJECT_SERVICE ? NAME_SIZE - 1 : OBJECT_NAME_MAX;
	const char *const *wanted = proxy_labels;

	decoder_at(decoder, "metadata");
	object->name = field_name(decoder, metadata, "name", name_max, "");
	if (!*object->name)
		decoder_fail(decoder, "name", "is missing");
	if (kind_has_namespace(object->kind))
		object->namespace_ =
			field_name(decoder, metadata, "namespace", NAME_SIZE - 1, "default");
	if (kind_has_namespace(object->kind) && !*object->namespace_)
		object->namespace_ = (char *)"default";
	object->triggered_ms = time_decode_ms(
		field_get(field_get(metadata, "annotations"), ANNOTATION_TRIGGER_TIME));
	if (object->kind == OBJECT_SERVICE)
		object->service.created_s =
			time_decode_ms(field_get(metadata, "creationTimestamp")) / MS_PER_S;
	if (object->kind == OBJECT_POD)
		wanted = NULL;
	else if (object->kind == OBJECT_NODE)
		wanted = node_labels;
	field_labels(decoder, metadata, "labels", wanted, &object->labels);
}

static void kind_decode(struct decoder *decoder, const cJSON *item, struct object *object)
{
	decoder_at(decoder, "");
	switch (object->kind) {
	case OBJECT_SERVICE:
		service_decode(decoder, item, &object->service);
		break;
	case OBJECT_ENDPOINT_SLICE:
		slice_decode(decoder, item, &object->slice);
		break;
	case OBJECT_ENDPOINTS:
		endpoints_decode(decoder, item, &object->endpoints);
		break;
	case OBJECT_NODE:
		node_decode(decoder, item, &object->node);
		break;
	case OBJECT_POD:
		pod_decode(decoder, item, &object->pod);
		break;
	case OBJECT_SERVICE_CIDR:
		service_cidr_decode(decoder, item, &object->service_cidr);
		break;
	case OBJECT_KIND_COUNT:
		break;
	}
}

static int known_decode(struct decoder *decoder, const cJSON *item, const struct known_kind *known,
			const char *api_version, struct object **ret_object)
{
	struct object loose = {.kind = known->kind, .namespace_ = (char *)"", .name = (char *)""};

	decoder->object = &loose;
	metadata_decode(decoder, item, &loose);
	if (!version_is_known(known, api_version)) {
		decoder_at(decoder, "");
		decoder_fail(decoder, "apiVersion", "\"%s\" is not known, use %s", api_version,
			     known->versions[0]);
	}
	if (!decoder->err)
		kind_decode(decoder, item, &loose);
	if (decoder->err == -EINVAL) {
		decoder_report(decoder, known->name, &loose, "the object is skipped");
		return 0;
	}
	if (decoder->err)
		return decoder->err;
	*ret_object = object_new(&loose);
	return *ret_object ? 0 : -ENOMEM;
}

int object_decode(const cJSON *item, const struct decode_defaults *defaults,
		  const struct decode_problems *problems, struct object **ret_object)
{
	auto_cleanup(decoder_fini) struct decoder decoder = {
		.problems = problems, .path = "", .index = SIZE_MAX};
	struct object unknown = {};
	const struct known_kind *known;
	const char *kind, *api_version;

	*ret_object = NULL;
	if (!cJSON_IsObject(item))
		decoder_fail(&decoder, "it", "is not an object");
	kind = field_string(&decoder, item, "kind", defaults->kind);
	api_version = field_string(&decoder, item, "apiVersion", defaults->api_version);
	if (!kind || !api_version)
		decoder_fail(&decoder, kind ? "apiVersion" : "kind", "is missing");
	if (decoder.err || !kind || !api_version) {
		decoder_report(&decoder, kind ? kind : "object", &unknown, "the object is skipped");
		return 0;
	}
	known = kind_find(kind, api_version);
	if (known)
		return known_decode(&decoder, item, known, api_version, ret_object);
	log_debug("ignoring an object of kind %.63s (%.63s): it has no effect on Services", kind,
		  api_version);
	return 0;
}

/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * One decoder for each kind. Each fills in the object that is being decoded, without its metadata,
 * and leaves problems in the decoder.
 */

#include <cjson/cJSON.h>

#include "decode/field.h"

#define PORT_MAX 65535

/* A kind that we use. */
struct known_kind {
	const char *name;
	const char *group;
	const char *versions[3]; /* as in apiVersion, ending in NULL; the first is the newest */
	enum object_kind kind;
};

/* Ends with a kind without a name. */
extern const struct known_kind known_kinds[];

/*
 * Looks up the kind in its API group: another group may have a kind of the same name (Knative has a
 * Service). NULL: we do not use it.
 */
const struct known_kind *kind_find(const char *kind, const char *api_version);

bool kind_has_namespace(enum object_kind kind);
bool version_is_in_group(const char *api_version, const char *group);

void service_decode(struct decoder *decoder, const cJSON *item, struct service_object *ret_service);
void slice_decode(struct decoder *decoder, const cJSON *item, struct slice_object *ret_slice);
void endpoints_decode(struct decoder *decoder, const cJSON *item,
		      struct endpoints_object *ret_endpoints);
void node_decode(struct decoder *decoder, const cJSON *item, struct node_object *ret_node);
void pod_decode(struct decoder *decoder, const cJSON *item, struct pod_object *ret_pod);
void service_cidr_decode(struct decoder *decoder, const cJSON *item,
			 struct service_cidr_object *ret_service_cidr);

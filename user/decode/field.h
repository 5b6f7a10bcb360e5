/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * Fields of a cJSON tree, read with their type checked. The first thing that is wrong is kept with
 * the field's path in the decoder; later reads give their default, so that only the end has to ask.
 * Strings are borrowed from the tree.
 */

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>

#include "model/object.h"
#include "decode/decode.h"

struct decoder_memory;

struct decoder {
	const struct decode_problems *problems;
	const struct object *object;   /* the loose object: its name is in messages */
	struct decoder_memory *memory; /* its arrays */
	const char *path;              /* where the field at hand is: "spec.ports" */
	size_t index;                  /* ... and which element; SIZE_MAX: it is no array */
	int err;                       /* -EINVAL: `text` says why; -ENOMEM */
	char text[320];
};

/* Frees all that decoder_array gave. */
void decoder_fini(struct decoder *decoder);

/* Zeroed room for an array that lives as long as the decoder; NULL where there is none, which is
 * kept. */
void *decoder_array(struct decoder *decoder, size_t count, size_t size);

/* Sets the place that problems are reported at. */
void decoder_at(struct decoder *decoder, const char *path);
void decoder_at_index(struct decoder *decoder, const char *path, size_t index);

/* Keeps a problem of `field` at the place at hand, unless there is one already. */
void decoder_fail(struct decoder *decoder, const char *field, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* A member; NULL where there is none or it is null. */
const cJSON *field_get(const cJSON *object, const char *name);

/* An object or an array; NULL where there is none. */
const cJSON *field_object(struct decoder *decoder, const cJSON *object, const char *name);
const cJSON *field_array(struct decoder *decoder, const cJSON *object, const char *name);

/* A string, or `fallback` where there is none. */
char *field_string(struct decoder *decoder, const cJSON *object, const char *name,
		   const char *fallback);

bool field_bool(struct decoder *decoder, const cJSON *object, const char *name, bool fallback);

/* A whole number from `min` to `max`, or `fallback` where there is none. */
__u32 field_number(struct decoder *decoder, const cJSON *object, const char *name, __u32 min,
		   __u32 max, __u32 fallback);

/* TCP where there is none; 0 for a protocol that we do not know. */
__u8 field_proto(struct decoder *decoder, const cJSON *object);

/*
 * A name that may appear in a log line and in a map: letters, digits, '-', '_' and '.', and at most
 * `max` of them. "" is fine, `fallback` is for a missing one.
 */
char *field_name(struct decoder *decoder, const cJSON *object, const char *name, size_t max,
		 const char *fallback);

/* Labels or a selector. With `wanted` (ending in NULL) only those keys. */
void field_labels(struct decoder *decoder, const cJSON *object, const char *name,
		  const char *const *wanted, struct labels *ret_labels);

/* A decoder for each kind fills in the loose object. */
void service_decode(struct decoder *decoder, const cJSON *item, struct service_object *ret_service);
void service_external_decode(struct decoder *decoder, const cJSON *item, const cJSON *spec,
			     struct service_object *service);
void slice_decode(struct decoder *decoder, const cJSON *item, struct slice_object *ret_slice);
void endpoints_decode(struct decoder *decoder, const cJSON *item,
		      struct endpoints_object *ret_endpoints);
void node_decode(struct decoder *decoder, const cJSON *item, struct node_object *ret_node);
void pod_decode(struct decoder *decoder, const cJSON *item, struct pod_object *ret_pod);
void service_cidr_decode(struct decoder *decoder, const cJSON *item,
			 struct service_cidr_object *ret_service_cidr);

/*
 * Tells of a part that is left out, `consequence` ("the endpoint is skipped"), and forgets the
 * problem. True if there was one.
 */
bool decoder_skip(struct decoder *decoder, const char *consequence);

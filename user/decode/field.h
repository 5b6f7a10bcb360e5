/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * Reads fields of a cJSON tree and checks their types. The decoder keeps the first error with the
 * field's path; later reads return their default, so that the caller checks only once, at the end.
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
	const struct object *object;   /* the object being decoded; messages name it */
	struct decoder_memory *memory; /* its arrays */
	const char *path;              /* path of the current field: */
	size_t index;                  /* index of the element; SIZE_MAX: not in an array */
	int err;                       /* 0, -EINVAL (`text` says why) or -ENOMEM */
	char text[320];
};

/* Frees all memory from decoder_array. */
void decoder_fini(struct decoder *decoder);

/*
 * Allocates a zeroed array that lives as long as the decoder. NULL if memory is short, which the
 * decoder records.
 */
void *decoder_array(struct decoder *decoder, size_t count, size_t size);

/* Sets the path at which problems are reported. */
void decoder_at(struct decoder *decoder, const char *path);
void decoder_at_index(struct decoder *decoder, const char *path, size_t index);

/* Records a problem of `field` at the current path, unless there is one already. */
void decoder_fail(struct decoder *decoder, const char *field, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/*
 * Reports the decoder's problem with an object (any of its names may be NULL) to its `problems`,
 * with the `consequence` ("the object is skipped").
 */
void decoder_report(struct decoder *decoder, const char *kind, const struct object *object,
		    const char *consequence);

/*
 * Reports a part of the decoder's object that is left out and the `consequence` ("the endpoint is
 * skipped"), and clears the problem. Returns true if there was one.
 */
bool decoder_skip(struct decoder *decoder, const char *consequence);

/* A member; NULL if it is missing or null. */
const cJSON *field_get(const cJSON *object, const char *name);

/* An object or an array; NULL if it is missing. */
const cJSON *field_object(struct decoder *decoder, const cJSON *object, const char *name);
const cJSON *field_array(struct decoder *decoder, const cJSON *object, const char *name);

/* A string, or `fallback` if it is missing. */
char *field_string(struct decoder *decoder, const cJSON *object, const char *name,
		   const char *fallback);

bool field_bool(struct decoder *decoder, const cJSON *object, const char *name, bool fallback);

/* A whole number from `min` to `max`, or `fallback` if it is missing. */
__u32 field_number(struct decoder *decoder, const cJSON *object, const char *name, __u32 min,
		   __u32 max, __u32 fallback);

/* The protocol: TCP if it is missing, 0 if it is unknown. */
__u8 field_proto(struct decoder *decoder, const cJSON *object);

/*
 * A name that is safe in a log line and in a map: letters, digits, '-', '_' and '.', at most `max`
 * of them, or "". `fallback` if it is missing.
 */
char *field_name(struct decoder *decoder, const cJSON *object, const char *name, size_t max,
		 const char *fallback);

/* Labels or a selector. If `wanted` (ending in NULL) is given, only those keys. */
void field_labels(struct decoder *decoder, const cJSON *object, const char *name,
		  const char *const *wanted, struct labels *ret_labels);

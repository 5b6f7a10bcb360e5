/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* Decodes a Kubernetes object from a cJSON tree into our struct, by kube-proxy's rules. */

#include <cjson/cJSON.h>
#include <stdbool.h>

#include "model/object.h"

/* Receives each problem found while decoding; `text` names the object and the reason. */
struct decode_problems {
	void (*found)(const char *text, void *context);
	void *context;
};

/*
 * Defaults for the items of a list, which the API server sends without their own: the kind (that of
 * a "ServiceList" without "List") and its apiVersion. NULL: every item must have its own.
 */
struct decode_defaults {
	const char *kind;
	const char *api_version;
};

/* True for the kind of a list: "ServiceList" or "List". NULL is fine. */
bool kind_is_list(const char *kind);

/* The defaults of the items of a list of that kind and apiVersion; `buf` holds the items' kind. */
#define KIND_SIZE 64
struct decode_defaults list_defaults(const char *kind, const char *api_version,
				     char buf[KIND_SIZE]);

/*
 * Decodes an object. `ret_object` is a packed object that the caller owns (object_free), or NULL if
 * we do not use its kind or the object is unusable; the latter is reported to `problems`. An
 * endpoint with an unusable address is left out of its object and reported too. Returns 0 or
 * -ENOMEM.
 */
int object_decode(const cJSON *item, const struct decode_defaults *defaults,
		  const struct decode_problems *problems, struct object **ret_object);

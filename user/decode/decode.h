/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* Decoding: from one Kubernetes object as a cJSON tree to our struct, by kube-proxy's reading
 * rules. */

#include <cjson/cJSON.h>

#include "model/object.h"

/* Who hears what could not be used: `text` names the object and the reason. Called once a problem.
 */
struct decode_problems {
	void (*found)(const char *text, void *context);
	void *context;
};

/*
 * What the items of a list are where they do not say it themselves, as the API server sends them:
 * the kind of a "ServiceList" without "List", and its apiVersion. NULL: they must say it.
 */
struct decode_defaults {
	const char *kind;
	const char *api_version;
};

/*
 * Decodes an object. `ret_object` is a packed object that the caller owns (object_free), or NULL:
 * it is of a kind that we do not use, or it could not be used, which `problems` heard. An endpoint
 * with an unusable address is left out of its object, which `problems` hears too. Returns 0 or
 * -ENOMEM.
 */
int object_decode(const cJSON *item, const struct decode_defaults *defaults,
		  const struct decode_problems *problems, struct object **ret_object);

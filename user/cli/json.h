/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* JSON for scripts: the fields are stable and documented in fairlead(8). */

#include <cjson/cJSON.h>

#include "fairlead/types.h"

/* Prints the tree, followed by a newline, and frees it. */
void json_print(cJSON *root);
void json_freep(cJSON **root);

/* Adds an object to an array and returns it, borrowed. */
cJSON *json_add_item(cJSON *array);

/*
 * Adds {"address": "10.0.0.1", "port": 80} as `name` and returns it, borrowed. If `name` is NULL,
 * adds the fields to `object` itself.
 */
cJSON *json_add_endpoint(cJSON *object, const char *name, const struct ip_addr *addr, __be16 port);

/* Adds a text; an empty one becomes null. */
void json_add_text(cJSON *object, const char *name, const char *text);

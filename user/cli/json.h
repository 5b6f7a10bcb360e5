/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* JSON for scripts: the fields are documented in fairlead(8) and stay as they are. */

#include <cjson/cJSON.h>

#include "fairlead/types.h"

/* Prints with a newline behind and frees. */
void json_print(cJSON *root);
void json_freep(cJSON **root);

/* Adds an object to an array and is the object, borrowed. */
cJSON *json_add_item(cJSON *array);

/* {"address": "10.0.0.1", "port": 80} as `name`; borrowed. A NULL name adds the fields to `object`.
 */
cJSON *json_add_endpoint(cJSON *object, const char *name, const struct ip_addr *addr, __be16 port);

/* An empty text becomes null. */
void json_add_text(cJSON *object, const char *name, const char *text);

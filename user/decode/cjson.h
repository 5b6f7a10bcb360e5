/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

#include <cjson/cJSON.h>

/* For auto_cleanup: deletes a cJSON tree when its variable leaves its scope. */
static inline void cleanup_cjson(cJSON **tree)
{
	cJSON_Delete(*tree);
}

/* The text of a member, borrowed; NULL if there is none, or if it is not a string. */
static inline const char *cjson_string(const cJSON *object, const char *name)
{
	return cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, name));
}

/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* For auto_cleanup: deletes a cJSON tree when its variable leaves its scope. */

#include <cjson/cJSON.h>

static inline void cleanup_cjson(cJSON **tree)
{
	cJSON_Delete(*tree);
}

/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

#include <cjson/cJSON.h>

/* Returns a tree as YAML text in block style, which the caller frees. NULL: memory is short. */
char *yaml_write(const cJSON *tree);

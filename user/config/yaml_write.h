/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

#include <cjson/cJSON.h>

/* The YAML text of a tree, in block style, which the caller frees. NULL: memory is short. */
char *yaml_write(const cJSON *tree);

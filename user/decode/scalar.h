/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

#include <cjson/cJSON.h>

/*
 * Resolves a plain YAML scalar by the core schema (YAML 1.2, 10.3.2): null, true, false, a number,
 * or else a string. The caller owns the result; NULL if memory is short.
 */
cJSON *scalar_resolve(const char *text);

/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

#include <cjson/cJSON.h>

/*
 * What a plain scalar of YAML is by the core schema (YAML 1.2, 10.3.2): null, true, false, a
 * number, or else a string. The caller owns it; NULL where memory is short.
 */
cJSON *scalar_resolve(const char *text);

/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * What an API server may answer to the whole of the source: reflectors that list, stream and watch,
 * the model that their objects enter, Events that are posted. The client below them is replaced by
 * one that has its answers from the input.
 */

#include <stddef.h>
#include <stdint.h>

void api_server_begin(void);
void api_server_fuzz(const uint8_t *data, size_t size);

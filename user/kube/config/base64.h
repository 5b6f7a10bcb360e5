/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

#include <stddef.h>

/*
 * Decodes base64 (RFC 4648, padded), ignoring line ends. The caller frees `ret_bytes`, which is
 * NUL-terminated. Returns 0, -EINVAL or -ENOMEM. Silent.
 */
int base64_decode(const char *text, char **ret_bytes, size_t *ret_size);

/* Encodes as one line. The caller frees the result; NULL if memory is short. */
char *base64_encode(const char *bytes, size_t size);

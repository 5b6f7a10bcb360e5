/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

#include <stddef.h>

/*
 * Reads base64 (RFC 4648, with its padding); line ends in it do not count. `ret_bytes` is the
 * caller's to free and has a NUL behind it. Returns 0, -EINVAL or -ENOMEM. Silent.
 */
int base64_decode(const char *text, char **ret_bytes, size_t *ret_size);

/* The other way, on one line. The caller frees; NULL where memory is short. */
char *base64_encode(const char *bytes, size_t size);

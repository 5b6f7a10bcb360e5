/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/*
 * True if `text` may be certificates or a key: no NUL within its size, and at least one PEM block,
 * of which the last one also ends. A file that is being written is often seen without its end.
 */
bool pem_is_plausible(const char *text, size_t size);

/* True if `token` can be sent in a header: printable ASCII without spaces, and not empty. */
bool token_is_plausible(const char *token);

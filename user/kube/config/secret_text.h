/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/*
 * True if `text` may be certificates or a key: no NUL within `size`, and at least one PEM block,
 * the last of which is complete. A file that is being written often lacks its end.
 */
bool pem_is_plausible(const char *text, size_t size);

/* True if `token` can be sent in a header: non-empty, printable ASCII without spaces. */
bool token_is_plausible(const char *token);

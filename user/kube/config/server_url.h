/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

#include <stdbool.h>

/*
 * Brings the address of an API server into the form of kube_config: https:// unless the text has a
 * scheme, always with a port, IPv6 in brackets, no trailing slash. The caller frees `ret_url`.
 * Returns 0, -EINVAL with `ret_why` ("has a query"), or -ENOMEM. Silent.
 */
int server_url_make(const char *text, char **ret_url, const char **ret_why);

/* True if the connection is not encrypted. `url` comes from server_url_make. */
bool server_url_is_plain(const char *url);

/* True if traffic to `url` does not leave this machine: localhost, 127.0.0.0/8, ::1. */
bool server_url_is_loopback(const char *url);

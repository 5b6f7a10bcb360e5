/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

#include <stdbool.h>

/*
 * The address of an API server in the form of kube_config: https:// where the text has no scheme,
 * the port always, IPv6 in brackets, no slash at the end. The caller frees `ret_url`. Returns 0,
 * -EINVAL with `ret_why` ("has a query"), or -ENOMEM. Silent.
 */
int server_url_make(const char *text, char **ret_url, const char **ret_why);

/* True if nothing is encrypted on the way there. `url` is of server_url_make. */
bool server_url_is_plain(const char *url);

/* True if it does not leave this machine: localhost, 127.0.0.0/8, ::1. */
bool server_url_is_loopback(const char *url);

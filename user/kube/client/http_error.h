/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

#include <curl/curl.h>
#include <stdbool.h>
#include <stddef.h>

/*
 * Why an exchange has failed, in words that are the same each time: without the milliseconds and
 * bytes that libcurl counts, for what is new is told by comparing. `detail` is libcurl's error
 * buffer. Silent.
 */
void http_error_describe(CURL *easy, CURLcode code, const char *detail, bool has_proxy, char *buf,
			 size_t size);

/* True if the server has shown a certificate that we do not trust. */
bool http_error_is_distrust(CURLcode code);

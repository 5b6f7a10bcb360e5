/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

#include <curl/curl.h>
#include <stdbool.h>
#include <stddef.h>

/*
 * Writes why a request has failed. The text is the same for the same failure: it leaves out the
 * milliseconds and bytes that libcurl counts, because callers compare texts to log only new
 * failures. `detail` is libcurl's error buffer. Silent.
 */
void http_error_describe(CURL *easy, CURLcode code, const char *detail, bool has_proxy, char *buf,
			 size_t size);

/* True if the server's certificate is not trusted. */
bool http_error_is_distrust(CURLcode code);

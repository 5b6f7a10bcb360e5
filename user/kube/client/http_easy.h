/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* libcurl's handle of an exchange, with what it borrows. It must not move while it is open. */

#include <curl/curl.h>

#include "kube/client/http.h"

struct http_easy {
	CURL *curl;
	struct curl_slist *headers, *connect_to;
	char *body; /* to be sent */
	char error[CURL_ERROR_SIZE];
};

/* Says all of `request` to libcurl. Returns 0 or a negative errno; nothing is open then. Silent. */
int http_easy_open(struct http_easy *easy, const struct http_request *request);

/* One that is not open is fine. */
void http_easy_close(struct http_easy *easy);

/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* libcurl's handle of a request, and the memory it borrows. Must not move while it is open. */

#include <curl/curl.h>

#include "kube/client/transfer.h"

struct http_easy {
	CURL *curl;
	struct curl_slist *headers, *connect_to;
	char *body; /* of the request */
	char error[CURL_ERROR_SIZE];
};

/*
 * Opens a handle that is set up for `request`. Returns 0 or a negative errno, and then nothing is
 * open. Silent.
 */
int http_easy_open(struct http_easy *easy, const struct http_request *request);

/* Closing a handle that is not open is fine. */
void http_easy_close(struct http_easy *easy);

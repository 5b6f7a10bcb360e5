/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * libcurl's "easy handle" of one transfer, and the memory that it borrows: how a request becomes
 * options, and what a failure is called.
 */

#include <curl/curl.h>
#include <stdbool.h>
#include <stddef.h>

#include "kube/client/transfer.h"

/* Must not move while it is open. */
struct transfer_easy {
	CURL *curl;
	struct curl_slist *headers, *connect_to;
	char *body; /* of the request */
	char error[CURL_ERROR_SIZE];
	bool has_proxy;
};

/*
 * Opens a handle that is set up for `request`. Returns 0 or a negative errno, and then nothing is
 * open. Silent.
 */
int transfer_easy_open(struct transfer_easy *easy, const struct transfer_request *request);

/* Closing a handle that is not open is fine. */
void transfer_easy_close(struct transfer_easy *easy);

/*
 * Writes why the transfer has failed with `code`. The text is the same for the same failure: it
 * leaves out the milliseconds and bytes that libcurl counts, because callers compare texts to log
 * only new failures. Silent.
 */
void transfer_easy_describe(const struct transfer_easy *easy, CURLcode code, char *buf,
			    size_t size);

/* True if `code` says that the server's certificate is not trusted. */
bool transfer_easy_is_distrust(CURLcode code);

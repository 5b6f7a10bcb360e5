/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* A response of our HTTP servers, as handlers fill it in. */

#include <stddef.h>

#define HTTP_HEADERS_MAX 4

struct MHD_Connection;

struct http_header {
	const char *name;
	const char *value; /* static, or points to the response's number_text */
};

struct http_response {
	unsigned int status;
	struct http_header headers[HTTP_HEADERS_MAX]; /* up to a NULL name or the array's end */
	char number_text[24];
	char *body; /* malloc'ed, freed by the server; NULL: no memory, sent as a 500 */
	size_t body_size;
};

/* Makes a text response. `text` is copied; `content_type` is borrowed and must be static. */
void http_respond_text(struct http_response *response, unsigned int status,
		       const char *content_type, const char *text);

/*
 * Queues the response on the connection; libmicrohttpd owns its body from now on. A response
 * without a status is sent as a 404. Silent. Returns 0 or -ENOMEM.
 */
int http_response_send(struct MHD_Connection *connection, struct http_response *response);

/* SPDX-License-Identifier: BSD-2-Clause */
#include "http/response.h"

#include <errno.h>
#include <microhttpd.h>
#include <stdlib.h>
#include <string.h>

void http_respond_text(struct http_response *response, unsigned int status,
		       const char *content_type, const char *text)
{
	*response = (struct http_response){
		.status = status,
		.headers = {{"Content-Type", content_type}},
		.body = strdup(text),
		.body_size = strlen(text),
	};
}

/* Returns NULL if memory is short; the body is freed then. */
static struct MHD_Response *response_make(struct http_response *response)
{
	static char failed[] = "not enough memory\n";
	struct MHD_Response *made;

	if (!response->body) {
		response->status = MHD_HTTP_INTERNAL_SERVER_ERROR;
		return MHD_create_response_from_buffer(strlen(failed), failed,
						       MHD_RESPMEM_PERSISTENT);
	}
	made = MHD_create_response_from_buffer(response->body_size, response->body,
					       MHD_RESPMEM_MUST_FREE);
	if (!made) {
		free(response->body);
		return NULL;
	}
	for (size_t i = 0; i < HTTP_HEADERS_MAX && response->headers[i].name; i++)
		(void)MHD_add_response_header(made, response->headers[i].name,
					      response->headers[i].value);
	return made;
}

int http_response_send(struct MHD_Connection *connection, struct http_response *response)
{
	struct MHD_Response *made;
	enum MHD_Result result;

	if (!response->status)
		http_respond_text(response, MHD_HTTP_NOT_FOUND, "text/plain",
				  "404 page not found\n");
	made = response_make(response);
	if (!made)
		return -ENOMEM;
	result = MHD_queue_response(connection, response->status, made);
	MHD_destroy_response(made);
	return result == MHD_YES ? 0 : -ENOMEM;
}

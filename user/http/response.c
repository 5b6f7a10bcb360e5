/* SPDX-License-Identifier: BSD-2-Clause */
#include "http/response.h"

#include <microhttpd.h>
#include <stdlib.h>
#include <string.h>

struct MHD_Response *http_response_make(struct http_response *answer)
{
	static char failed[] = "not enough memory\n";
	struct MHD_Response *response;

	if (!answer->body) {
		answer->status = MHD_HTTP_INTERNAL_SERVER_ERROR;
		return MHD_create_response_from_buffer(strlen(failed), failed,
						       MHD_RESPMEM_PERSISTENT);
	}
	response = MHD_create_response_from_buffer(answer->body_size, answer->body,
						   MHD_RESPMEM_MUST_FREE);
	if (!response)
		free(answer->body);
	for (size_t i = 0; response && i < HTTP_HEADERS_MAX && answer->headers[i].name; i++)
		(void)MHD_add_response_header(response, answer->headers[i].name,
					      answer->headers[i].value);
	return response;
}

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

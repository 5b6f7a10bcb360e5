/* SPDX-License-Identifier: BSD-2-Clause */
#include "http/response.h"

#include <stdlib.h>
#include <string.h>

/* Returns NULL if memory is short; the body is freed then. */
static struct MHD_Response *response_make(struct http_response *answer)
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

enum MHD_Result http_response_send(struct MHD_Connection *connection, struct http_response *answer)
{
	struct MHD_Response *response;
	enum MHD_Result result;

	if (!answer->status)
		http_respond_text(answer, MHD_HTTP_NOT_FOUND, "text/plain", "404 page not found\n");
	response = response_make(answer);
	if (!response)
		return MHD_NO;
	result = MHD_queue_response(connection, answer->status, response);
	MHD_destroy_response(response);
	return result;
}

void http_daemon_run(struct MHD_Daemon *daemon, uv_timer_t *timer, uv_timer_cb on_timeout)
{
	MHD_UNSIGNED_LONG_LONG timeout_ms;

	(void)MHD_run(daemon);
	if (MHD_get_timeout(daemon, &timeout_ms) == MHD_YES)
		(void)uv_timer_start(timer, on_timeout, timeout_ms, 0);
	else
		(void)uv_timer_stop(timer);
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

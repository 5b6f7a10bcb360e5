/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * A small HTTP server in the event loop, for probes and scrapes. It answers GET and HEAD through a
 * handler on the loop's thread, and never waits for a client: connections are few, each has little
 * memory, and an idle one is closed.
 */

#include <stdbool.h>
#include <sys/socket.h>
#include <uv.h>

#include "http/response.h"

#define HTTP_BIND_RETRY_MS 5000

struct http_request {
	const char *path; /* without the query string */
	bool is_verbose;  /* the query has "verbose" */
};

/* Answers a request. A response left untouched becomes a 404. */
typedef void (*http_handler_fn)(const struct http_request *request, struct http_response *response,
				void *context);

struct http_server_options {
	const char *what;    /* for the log: "metrics" */
	const char *address; /* "1.2.3.4:80" or "[::1]:80"; [::] serves IPv4 too */
	bool is_bind_fatal;  /* failing to bind is an error; otherwise it is retried */
	http_handler_fn handler;
	void *context; /* passed to the handler; borrowed */
	/*
	 * Called once if the server cannot listen on the address; `why` is the reason. May be NULL.
	 */
	void (*failed)(const char *why, void *context);
	void *failed_context;
};

struct http_server;

/* Parses "address:port". Returns the length of `ret_addr`, or -EINVAL. Silent. */
int http_address_parse(const char *text, struct sockaddr_storage *ret_addr);

/*
 * Listens and serves. If the address cannot be bound, logs that and retries every five seconds;
 * with is_bind_fatal this is an error. The strings of `options` are borrowed. Logs. Returns 0 or a
 * negative errno.
 */
int http_server_open(uv_loop_t *loop, const struct http_server_options *options,
		     struct http_server **ret_server);

/* Closes all connections; the loop's next turn frees the server. NULL is fine. */
void http_server_close(struct http_server *server);

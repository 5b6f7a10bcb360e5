/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * A small HTTP server in the event loop, for probes and scrapes. It answers GET and HEAD from a
 * handler that is called on the loop's thread, and never waits for a client: connections are few,
 * each has little memory, and one that is silent is closed.
 */

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>
#include <uv.h>

#define HTTP_HEADERS_MAX   4
#define HTTP_BIND_RETRY_MS 5000

struct http_request {
	const char *path; /* without the query */
	bool is_verbose;  /* the query has "verbose" */
};

struct http_header {
	const char *name;
	const char *value; /* static, or the response's number_text */
};

struct http_response {
	unsigned int status;
	struct http_header headers[HTTP_HEADERS_MAX]; /* ends with a name of NULL, or is full */
	char number_text[24];
	char *body; /* malloc'ed, freed by the server; NULL: memory was short, which is a 500 */
	size_t body_size;
};

/* Answers a request. What it leaves alone is a 404. */
typedef void (*http_handler_fn)(const struct http_request *request, struct http_response *response,
				void *context);

struct http_server_options {
	const char *what;    /* for the log: "metrics" */
	const char *address; /* "1.2.3.4:80" or "[::1]:80"; [::] serves IPv4 too */
	bool is_bind_fatal;  /* an address that cannot be had is an error, not tried again */
	http_handler_fn handler;
	void *context; /* of the handler; borrowed */
	/* The address cannot be had, for this reason; told once. Or NULL. */
	void (*failed)(const char *why, void *context);
	void *failed_context;
};

struct http_server;

/* Reads "address:port" into `ret_addr`. Returns its length, or -EINVAL. Silent. */
int http_address_parse(const char *text, struct sockaddr_storage *ret_addr);

/*
 * Listens and serves. An address that is taken is logged and tried again every five seconds, or
 * with is_bind_fatal an error. The strings of `options` are borrowed. Logs. Returns 0 or a negative
 * errno.
 */
int http_server_open(uv_loop_t *loop, const struct http_server_options *options,
		     struct http_server **ret_server);

/* Ends all connections; the loop's next turn frees the server. NULL is fine. */
void http_server_close(struct http_server *server);

/* The port it listens at (for port 0); 0: it does not yet. */
unsigned int http_server_port(const struct http_server *server);

/* Makes a response of a text. `content_type` and `text` are copied, or static in the former's case.
 */
void http_respond_text(struct http_response *response, unsigned int status,
		       const char *content_type, const char *text);

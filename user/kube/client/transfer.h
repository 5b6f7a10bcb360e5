/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * HTTP requests through libcurl's multi interface in the event loop: HTTP/2 where the server
 * supports it (all watches then share one connection), otherwise HTTP/1.1; gzip; TLS verified
 * unless `insecure` is set. Nothing blocks.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "kube/client/credentials.h"

#define HTTP_BODY_KEPT 2048

/* Everything is borrowed until the call returns. */
struct http_request {
	const char *method;     /* GET or POST */
	const char *url;        /* the certificate must be valid for its host */
	const char *connect_to; /* curl's "::host:port": where to connect; NULL: to url's host */
	const char *host;       /* the Host header; NULL: url's */
	const char *proxy_url;  /* NULL: from the environment (HTTPS_PROXY, NO_PROXY) */
	const char *body;       /* JSON body of a POST */
	struct kube_secrets secrets;
	bool insecure;
	uint32_t total_s; /* time limit for the whole request; 0: none */
};

struct http_outcome {
	const char *error; /* why there is no response or only part of it; NULL: it is complete */
	bool is_abort;     /* the receiver aborted it */
	bool is_distrust;  /* the server's certificate is not trusted */
	long status;       /* 0: no response */
	uint32_t retry_after_s;
	double seconds;
	char body[HTTP_BODY_KEPT]; /* the beginning of an error response, as text */
};

struct http_events {
	/*
	 * The headers of a response have arrived: its status, and the time since the request began.
	 * The restriction on `data` applies here too. May be NULL.
	 */
	void (*begun)(long status, double seconds, void *context);
	/*
	 * Bytes of a successful response (2xx). A return value other than 0 aborts it. The callback
	 * must not send or cancel anything.
	 */
	int (*data)(const char *bytes, size_t size, void *context);
	/* Called once, from the loop, unless the call is cancelled; the call is freed already. */
	void (*done)(const struct http_outcome *outcome, void *context);
};

struct http;
struct http_call;

/* Called with each socket before it connects. */
typedef void (*http_socket_fn)(int fd, void *context);

/* Logs. Returns 0 or a negative errno. */
int http_open(uv_loop_t *loop, http_socket_fn own_socket, void *context, struct http **ret_http);

/* Starts a request. Returns 0 or a negative errno; `done` is called only after 0. Silent. */
int http_send(struct http *http, const struct http_request *request,
	      const struct http_events *events, void *context, struct http_call **ret_call);

/* Cancels a request and frees the call; `done` is not called. */
void http_cancel(struct http_call *call);

/*
 * Inside `data` or `done`: uv_hrtime() of the wake-up that brought the data. Elsewhere: the time
 * now.
 */
uint64_t http_woken_ns(const struct http *http);

/*
 * Lets running requests finish and closes itself after the last of them. The caller must send no
 * new ones, because the connections may be dead unnoticed. NULL is fine.
 */
void http_retire(struct http *http);

/*
 * Cancels all requests without calling `done`; the loop frees it in its next turns. NULL is fine.
 */
void http_close(struct http *http);

/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * HTTP exchanges through libcurl's multi interface in the event loop: HTTP/2 where the server has
 * it (all watches share one connection then), HTTP/1.1 else, gzip, TLS always verified. Nothing
 * blocks.
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
	const char *url;        /* its host is the name that the certificate must have */
	const char *connect_to; /* curl's "::host:port": where to connect instead; NULL: to url */
	const char *host;       /* the Host header; NULL: url's */
	const char *proxy_url;  /* NULL: as the environment says (HTTPS_PROXY, NO_PROXY) */
	const char *body;       /* JSON, of a POST */
	struct kube_secrets secrets;
	bool insecure;
	uint32_t total_s; /* ends after that long in all; 0: never */
};

struct http_outcome {
	const char *error; /* why there was no answer, or not all of it; NULL: all of it is there */
	bool is_abort;     /* the receiver ended it */
	bool is_distrust;  /* the server's certificate is not trusted */
	long status;       /* 0: none */
	uint32_t retry_after_s;
	double seconds;
	char body[HTTP_BODY_KEPT]; /* the beginning of an answer that is no success, as text */
};

struct http_events {
	/*
	 * The head of an answer is there: its status, and how long after the exchange began. Or
	 * NULL. What holds for `data` holds here.
	 */
	void (*begun)(long status, double seconds, void *context);
	/*
	 * Bytes of a successful answer (2xx). Not 0 ends the exchange. Nothing may be sent or
	 * cancelled from here.
	 */
	int (*data)(const char *bytes, size_t size, void *context);
	/* The end, once, unless cancelled; from the loop. The call is no more. */
	void (*done)(const struct http_outcome *outcome, void *context);
};

struct http;
struct http_call;

/* Called with each socket before it connects. */
typedef void (*http_socket_fn)(int fd, void *context);

/* Logs. Returns 0 or a negative errno. */
int http_open(uv_loop_t *loop, http_socket_fn own_socket, void *context, struct http **ret_http);

/* Begins an exchange. Returns 0 or a negative errno; `done` is called for 0 only. Silent. */
int http_send(struct http *http, const struct http_request *request,
	      const struct http_events *events, void *context, struct http_call **ret_call);

/* Ends an exchange without a word. */
void http_cancel(struct http_call *call);

/*
 * uv_hrtime() of the wake-up that brought what `data` or `done` is being told; now, elsewhere.
 */
uint64_t http_woken_ns(const struct http *http);

/*
 * No new exchange may use its connections, for they may be dead without a word; those that are
 * there go on. It closes itself when the last of them has ended. NULL is fine.
 */
void http_retire(struct http *http);

/* Ends all exchanges without a word; the loop's next turns free it. NULL is fine. */
void http_close(struct http *http);

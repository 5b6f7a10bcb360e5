/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * HTTP transfers through libcurl's multi interface in the event loop: HTTP/2 where the server
 * supports it (all watches then share one connection), otherwise HTTP/1.1; gzip; TLS verified
 * unless `insecure` is set. Nothing blocks.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "kube/client/credentials.h"

#define TRANSFER_BODY_KEPT 2048

/* Everything is borrowed until the call returns. */
struct transfer_request {
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

struct transfer_outcome {
	const char *error; /* why there is no response or only part of it; NULL: it is complete */
	bool is_abort;     /* the receiver aborted it */
	bool is_distrust;  /* the server's certificate is not trusted */
	long status;       /* 0: no response */
	uint32_t retry_after_s;
	double seconds;
	char body[TRANSFER_BODY_KEPT]; /* the beginning of an error response, as text */
};

struct transfer_events {
	/*
	 * The headers of a response have arrived: its status, and the time since the request began.
	 * The restriction on `data` applies here too. May be NULL.
	 */
	void (*begun)(long status, double seconds, void *context);
	/*
	 * Bytes of a successful response (2xx). A return value other than 0 aborts it. The callback
	 * must not start or cancel anything.
	 */
	int (*data)(const char *bytes, size_t size, void *context);
	/* Called once, from the loop, unless it is cancelled; the transfer is freed already. */
	void (*done)(const struct transfer_outcome *outcome, void *context);
};

struct transfer;

/* Transfers that may share connections. */
struct transfer_pool;

/* Called with each socket before it connects. */
typedef void (*transfer_socket_fn)(int fd, void *context);

/* `own_socket` may be NULL. Logs. Returns 0 or a negative errno. */
int transfer_pool_open(uv_loop_t *loop, transfer_socket_fn own_socket, void *context,
		       struct transfer_pool **ret_pool);

/* Starts a transfer. Returns 0 or a negative errno; `done` is called only after 0. Silent. */
int transfer_start(struct transfer_pool *pool, const struct transfer_request *request,
		   const struct transfer_events *events, void *context,
		   struct transfer **ret_transfer);

/* Cancels and frees a transfer; `done` is not called. */
void transfer_cancel(struct transfer *transfer);

/*
 * Inside `data` or `done`: uv_hrtime() of the wake-up that brought the data. Elsewhere: the time
 * now.
 */
uint64_t transfer_pool_woken_ns(const struct transfer_pool *pool);

/*
 * Lets running transfers finish and closes the pool after the last of them. The caller must start
 * no new ones, because the connections may be dead unnoticed. NULL is fine.
 */
void transfer_pool_retire(struct transfer_pool *pool);

/*
 * Cancels all transfers without calling `done`; the loop frees the pool in its next turns. NULL is
 * fine.
 */
void transfer_pool_close(struct transfer_pool *pool);

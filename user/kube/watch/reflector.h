/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * A reflector follows one resource: it lists, watches from the list's version, and lists again when
 * the server no longer has that version (410 Gone). Failures are retried with backoff, and change
 * nothing for the receiver.
 *
 * A list comes as a stream of events if the server supports that (sendInitialEvents, KEP-3157),
 * otherwise in pages, from the server's cache first (resourceVersion 0), as in client-go.
 */

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <uv.h>

#include "kube/client/client.h"

struct reflector_resource {
	const char *name; /* "services" */
	const char *path; /* /api/v1/services */
	/*
	 * URL-encoded selectors, each ending in "&". `plain_query` is for servers that reject
	 * `query`.
	 */
	const char *query, *plain_query;
};

struct reflector_events {
	/* A complete list begins. An object that is not put before `listed` does not exist. */
	void (*list_begun)(void *context);
	/*
	 * An object of the list, or one that was added or changed; borrowed. Returns 0, or an error
	 * if memory is short.
	 */
	int (*put)(const cJSON *object, void *context);
	int (*deleted)(const cJSON *object, void *context);
	void (*listed)(void *context);
	/* The server has no such resource. The reflector keeps retrying. */
	void (*absent)(void *context);
};

struct reflector_limits {
	uint32_t watch_s;   /* a watch is renewed after one to two times this */
	uint32_t silence_s; /* a watch that receives nothing for this long is given up */
	uint32_t absent_s;  /* retry interval for a missing resource; shorter at first */
};

struct reflector;

/*
 * `client`, `resource`, `events` and `limits` are borrowed. Starts at once. NULL: memory is short.
 */
struct reflector *reflector_new(uv_loop_t *loop, struct kube_client *client,
				const struct reflector_resource *resource,
				const struct reflector_events *events,
				const struct reflector_limits *limits, void *context);

/*
 * A server answers again: if none was reached by the last attempt, the next one comes at once (at a
 * random moment of a quarter second), however often it has failed. A reflector that a server has
 * answered, if only with an error, keeps to its wait.
 */
void reflector_retry_soon(struct reflector *reflector);

/* True from the first complete list until close, whatever happens to the server. */
bool reflector_has_listed(const struct reflector *reflector);

/* True while the server sends what changes: nothing is missed. */
bool reflector_is_watching(const struct reflector *reflector);

/* True while a problem of its own is logged, such as a refusal: nothing is known of its end. */
bool reflector_has_problem(const struct reflector *reflector);

/* The loop frees it in its next turns. NULL is fine. */
void reflector_close(struct reflector *reflector);

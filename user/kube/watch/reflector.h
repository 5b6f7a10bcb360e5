/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * A reflector keeps up with one resource: it lists, watches from where the list was, and lists
 * again when the server has forgotten where that is (410 Gone). Whatever fails is tried again,
 * later each time, and changes nothing for the receiver meanwhile.
 *
 * A list comes as a stream of events where the server can (sendInitialEvents, KEP-3157), else in
 * pages, from the server's cache first (resourceVersion 0), as client-go does.
 */

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <uv.h>

#include "kube/client/client.h"

struct reflector_resource {
	const char *name; /* "services" */
	const char *path; /* /api/v1/services */
	/*
	 * Selectors in URL encoding, "&" at the end; the second for servers that refuse the first.
	 */
	const char *query, *plain_query;
};

struct reflector_events {
	/* A complete list begins. What is not given until `listed` does not exist. */
	void (*list_begun)(void *context);
	/*
	 * An object of the list, or one that has come or changed; borrowed. Not 0: memory is short.
	 */
	int (*put)(const cJSON *object, void *context);
	int (*deleted)(const cJSON *object, void *context);
	void (*listed)(void *context);
	/* The server has no such resource; it will be asked again. */
	void (*absent)(void *context);
};

struct reflector_limits {
	uint32_t watch_s;   /* a watch is made anew after this to twice this */
	uint32_t silence_s; /* a server that says nothing in a watch for so long is given up */
	uint32_t absent_s;  /* how often a missing resource is asked for; at first more often */
};

struct reflector;

/*
 * `client`, `resource`, `events` and `limits` are borrowed. Begins at once. NULL: memory is short.
 */
struct reflector *reflector_new(uv_loop_t *loop, struct kube_client *client,
				const struct reflector_resource *resource,
				const struct reflector_events *events,
				const struct reflector_limits *limits, void *context);

/* True between the first list and close, whatever the server does. */
bool reflector_has_listed(const struct reflector *reflector);

/* The loop's next turns free it. NULL is fine. */
void reflector_close(struct reflector *reflector);

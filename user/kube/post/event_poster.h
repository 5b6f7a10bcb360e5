/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * Kubernetes Events (events.k8s.io/v1) about our own Node, or a Service on it, for operators.
 * event_book.h limits when and how often they are posted; nothing depends on their success.
 */

#include <stdbool.h>
#include <uv.h>

#include "kube/client/client.h"
#include "kube/post/event_book.h"

struct event_poster_options {
	const char *node_name; /* borrowed */
	/*
	 * Called when an Event is "posted", "failed" (and given up) or "folded" into another. May
	 * be NULL.
	 */
	void (*counted)(const char *result, void *context);
	void *context;
};

struct event_poster;

/* The client is borrowed. NULL: memory is short. */
struct event_poster *event_poster_new(uv_loop_t *loop, struct kube_client *client,
				      const struct event_poster_options *options);

/* Posts an event as soon as the limits allow. A NULL `poster` is fine. Logs a failure to post. */
void event_poster_post(struct event_poster *poster, const struct event_text *text);

/* True while a post is in flight or due at once. */
bool event_poster_is_busy(const struct event_poster *poster);

/*
 * Call it before the client is closed. Events not posted yet are lost. The loop's next turn frees
 * it. NULL is fine.
 */
void event_poster_close(struct event_poster *poster);

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

struct kube_events_options {
	const char *node_name; /* borrowed */
	/*
	 * Called when an Event is "posted", "failed" (and given up) or "folded" into another. May
	 * be NULL.
	 */
	void (*counted)(const char *result, void *context);
	void *context;
};

struct kube_events;

/* The client is borrowed. NULL: memory is short. */
struct kube_events *kube_events_new(uv_loop_t *loop, struct kube_client *client,
				    const struct kube_events_options *options);

/* Posts an event as soon as the limits allow. A NULL `poster` is fine. Logs a failure to post. */
void kube_events_tell(struct kube_events *poster, const struct event_text *text);

/* True while a post is in flight or due at once. */
bool kube_events_is_busy(const struct kube_events *poster);

/*
 * Call it before the client is closed. Events not posted yet are lost. The loop's next turn frees
 * it. NULL is fine.
 */
void kube_events_close(struct kube_events *poster);

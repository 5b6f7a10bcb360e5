/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * Kubernetes Events (events.k8s.io/v1) about the own Node, or a Service on it, for what an operator
 * must see. They are posted when and as often as event_book.h allows; nothing depends on whether
 * that works.
 */

#include <stdbool.h>
#include <uv.h>

#include "kube/client/client.h"
#include "kube/events/event_book.h"

struct kube_events_options {
	const char *node_name; /* borrowed */
	/* One was "posted", "failed" (and given up), or "folded" into another. Or NULL. */
	void (*counted)(const char *result, void *context);
	void *context;
};

struct kube_events;

/* The client is borrowed. NULL: memory is short. */
struct kube_events *kube_events_new(uv_loop_t *loop, struct kube_client *client,
				    const struct kube_events_options *options);

/* Tells it, soon or later. A NULL `events` is fine. Logs what cannot be posted. */
void kube_events_tell(struct kube_events *events, const struct event_text *text);

/* True while something is on its way. */
bool kube_events_is_busy(const struct kube_events *events);

/* Before the client. What was not posted is lost; the loop's next turn frees it. NULL is fine. */
void kube_events_close(struct kube_events *events);

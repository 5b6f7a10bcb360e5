/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* Private to the API server as a source: shared by kube.c and kube_watched.c. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "kube/watch/reflector.h"
#include "model/model.h"
#include "decode/decode.h"
#include "source/source.h"

enum resource_id {
	RESOURCE_SERVICES,
	RESOURCE_SLICES,
	RESOURCE_ENDPOINTS, /* only on servers without EndpointSlices */
	RESOURCE_NODE,
	RESOURCE_SERVICE_CIDRS,
	RESOURCE_COUNT
};

struct kube_source;

/* One watched resource: the context of its reflector. */
struct watched {
	struct kube_source *source;
	struct reflector_resource resource;
	struct decode_defaults defaults;
	struct reflector *reflector;
	size_t given; /* objects of the latest list so far */
	__u32 list;   /* the number of the latest list */
	enum object_kind kind;
	bool is_absent;
};

struct kube_source {
	struct source source;
	uv_check_t check;
	uv_idle_t idle; /* runs while a change is to be reported */
	uv_timer_t node_wait;
	unsigned int open_handles;
	struct kube_client *client;
	struct kube_events *told; /* Events about our own Node */
	struct model *model;
	struct source_events events;
	struct kube_source_options options;
	struct reflector_limits limits;
	struct watched watched[RESOURCE_COUNT];
	char *node_query;
	uint64_t woken_ns; /* of the first change not reported yet; 0: none */
	bool is_synced;
	bool node_is_given_up;
	bool servers_changed; /* the endpoints of default/kubernetes have changed */
};

/* kube.c */

/*
 * Notes a change of the model, to be reported in this turn of the loop. Starts an idle handle:
 * libcurl's timer runs before the loop polls for events, and the poll must not block then.
 */
void kube_source_note_change(struct kube_source *source);

/* kube_watched.c */

/* Fills in the description of each resource. Returns 0 or -ENOMEM. Silent. */
int watched_init(struct kube_source *source);

/* Starts the reflector of a resource. Returns 0 or -ENOMEM. Silent. */
int watched_begin(struct kube_source *source, enum resource_id id);

/* True if the server has the resource and its first list is complete in the model. */
bool watched_is_listed(const struct kube_source *source, enum resource_id id);

/*
 * Uses EndpointSlices if the server has them, otherwise Endpoints. Once the chosen kind is
 * complete, the objects of the other kind leave the model. Must not be called from a reflector's
 * callback, because it may close another reflector.
 */
void watched_switch_endpoints(struct kube_source *source);

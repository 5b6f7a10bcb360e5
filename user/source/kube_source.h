/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* Inside of the source that is the API server: what kube.c and kube_watched.c share. */

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
	RESOURCE_ENDPOINTS, /* of servers without EndpointSlices */
	RESOURCE_NODE,
	RESOURCE_SERVICE_CIDRS,
	RESOURCE_COUNT
};

struct kube_source;

/* One resource, as its reflector's context. */
struct watched {
	struct kube_source *source;
	struct reflector_resource resource;
	struct decode_defaults defaults;
	struct reflector *reflector;
	size_t given; /* objects of the list that has begun last */
	__u32 list;   /* its number */
	enum object_kind kind;
	bool is_absent;
};

struct kube_source {
	struct source source;
	uv_check_t check;
	uv_idle_t idle; /* runs while there is a change to tell */
	uv_timer_t node_wait;
	unsigned int open_handles;
	struct kube_client *client;
	struct kube_events *told; /* about the own Node */
	struct model *model;
	struct source_events events;
	struct kube_source_options options;
	struct reflector_limits limits;
	struct watched watched[RESOURCE_COUNT];
	char *node_query;
	uint64_t woken_ns; /* of the first change that was not told yet; 0: none */
	bool is_synced;
	bool node_is_given_up;
	bool servers_changed; /* the endpoints of default/kubernetes */
};

/* kube.c */

/*
 * The model has changed, which is told in this turn of the loop: what libcurl's timer brings comes
 * before the loop waits for events, and it must not wait then.
 */
void kube_source_note_change(struct kube_source *source);

/* kube_watched.c */

/* Fills in what each resource is. Returns 0 or -ENOMEM. Silent. */
int watched_init(struct kube_source *source);

/* Begins to watch. Returns 0 or -ENOMEM. Silent. */
int watched_begin(struct kube_source *source, enum resource_id id);

/* True if the model has had the whole of it, and the server has such a resource. */
bool watched_is_listed(const struct kube_source *source, enum resource_id id);

/*
 * EndpointSlices count where the server has them, Endpoints where it has not. The others leave the
 * model when these are complete. Not from a reflector's callback, which must not close another.
 */
void watched_switch_endpoints(struct kube_source *source);

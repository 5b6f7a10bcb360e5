/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * Where objects come from: a folder of manifests or the API server. A source writes the model from
 * the event loop and says when there is something to publish; everything behind it is shared.
 */

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "model/model.h"

struct source_events {
	/*
	 * The model is complete: from now on what it does not hold does not exist. Called once,
	 * always from the loop, before the first `changed`.
	 */
	void (*synced)(uint64_t woken_ns, void *context);
	/* The model has changed, after everything that one wake-up brought. `woken_ns`: uv_hrtime()
	 * of it. */
	void (*changed)(uint64_t woken_ns, void *context);
	/* An object could not be used; it was logged, with file, line and reason. */
	void (*rejected)(void *context);
	/*
	 * Whether the source can be reached has changed. `why` says why not; NULL: it can.
	 * What was read stays in the model.
	 */
	void (*reachable)(const char *why, void *context);
	void *context;
};

struct event_text;

struct source {
	/* Closes handles and frees the source once the loop has run again. */
	void (*close)(struct source *source);
	/* See source_tell; NULL where there is nobody to tell. */
	void (*tell)(struct source *source, const struct event_text *text);
	bool (*is_telling)(const struct source *source);
};

/*
 * Watches `dir` (every *.yaml, *.yml and *.json in it, not below it; names that begin with a dot
 * are left out). Reads it once before it returns; `synced` follows with the loop's first turn.
 * Afterwards a changed, added or removed file is in the model as soon as inotify tells.
 * `model` and `events` are borrowed and must outlive the source. Logs. Returns 0 or a negative
 * errno, e.g. where the folder does not exist.
 */
int source_manifests_open(uv_loop_t *loop, const char *dir, struct model *model,
			  const struct source_events *events, struct source **ret_source);

struct kube_observation;

struct kube_source_options {
	const char *kubeconfig;     /* NULL: what a Pod is given */
	const char *const *servers; /* in place of the configuration's; may be none */
	size_t server_count;
	const char *node_name;
	bool with_all_nodes;   /* watches all Nodes, not only the own one */
	const char *state_dir; /* remembers the cluster's API servers; NULL: does not */
	uint32_t silence_s;    /* a server that says nothing in a watch for so long is given up */
	/* See struct kube_client_events; with the source_events' context. Or NULL. */
	void (*socket_made)(int fd, void *context);
	void (*observed)(const struct kube_observation *observation, void *context);
	/* See struct kube_events_options. */
	void (*event_counted)(const char *result, void *context);
};

/*
 * Watches the Services, EndpointSlices (Endpoints where the server has none), ServiceCIDRs and the
 * own Node, or all of them, of an API server. `synced` comes when Services and endpoints are
 * complete and the Node is known (or all are), or has not been told for 30 s. Losing the server
 * changes nothing. Strings in `options`, `model` and `events` are borrowed and must outlive the
 * source. Logs. Returns 0 or a negative errno.
 */
int source_kube_open(uv_loop_t *loop, const struct kube_source_options *options,
		     struct model *model, const struct source_events *events,
		     struct source **ret_source);

/* Tells something about the own Node where the objects come from, if anybody listens there. */
static inline void source_tell(struct source *source, const struct event_text *text)
{
	if (source && source->tell)
		source->tell(source, text);
}

/* True while something is on its way. */
static inline bool source_is_telling(const struct source *source)
{
	return source && source->is_telling && source->is_telling(source);
}

/* Closes handles; the loop must run once more (uv_run) before it can be closed. NULL is fine. */
static inline void source_close(struct source *source)
{
	if (source)
		source->close(source);
}

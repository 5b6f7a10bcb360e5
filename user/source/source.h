/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * The origin of objects: a folder of manifests or the API server. A source writes to the model from
 * the event loop and reports when there is something to publish; everything after that is shared.
 */

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "model/model.h"

struct source_events {
	/*
	 * The model is complete: an object that it does not hold does not exist. Called once,
	 * always from the loop, before the first `changed`.
	 */
	void (*synced)(uint64_t woken_ns, void *context);
	/*
	 * The model has changed; called after all changes of one wake-up. `woken_ns`: uv_hrtime()
	 * of that wake-up.
	 */
	void (*changed)(uint64_t woken_ns, void *context);
	/*
	 * An object could not be used; that was logged, with the file and line or the object's
	 * name, and the reason.
	 */
	void (*rejected)(void *context);
	/*
	 * Something in a manifest may be a mistake (`why`: manifest_warning_word()); that was
	 * logged. May be NULL.
	 */
	void (*warned)(const char *why, void *context);
	/*
	 * The reachability of the source has changed. `why`: the reason that it cannot be reached,
	 * or NULL: it can. The objects stay in the model.
	 */
	void (*reachable)(const char *why, void *context);
	void *context;
};

struct event_text;

struct source {
	/* Closes the handles; the source is freed once the loop has run again. */
	void (*close)(struct source *source);
	/* See source_post_event and source_is_posting_events; NULL if it cannot post Events. */
	void (*post_event)(struct source *source, const struct event_text *text);
	bool (*is_posting)(const struct source *source);
};

struct manifests_options {
	const char *dir;
	/*
	 * Uses no file that `warned` would be called for, or that cannot be used as it is: then the
	 * source does not open, and later the objects that the file had before stay. The same for a
	 * Service, with its EndpointSlices and Endpoints, that `warned` would be called for because
	 * of what several files have.
	 */
	bool is_strict;
	/* This node's, to warn if there are Nodes and none of them is it; NULL: no. Borrowed. */
	const char *node_name;
	/*
	 * Services without a ClusterIP get one from these; `state_dir` keeps which, NULL: no. All
	 * borrowed, for as long as the source is open.
	 */
	const struct cidr *service_cidrs;
	size_t service_cidr_count;
	const char *state_dir;
};

/*
 * Watches `dir`: every *.yaml, *.yml and *.json in it, but not in its subfolders, and no name that
 * begins with a dot. Reads it once before it returns; `synced` follows in the loop's first turn.
 * Afterwards a changed, added or removed file reaches the model as soon as inotify reports it.
 * `model` and `events` are borrowed and must outlive the source. Logs. Returns 0 or a negative
 * errno, e.g. if the folder does not exist.
 */
int source_manifests_open(uv_loop_t *loop, const struct manifests_options *options,
			  struct model *model, const struct source_events *events,
			  struct source **ret_source);

struct kube_observation;

struct kube_source_options {
	const char *kubeconfig;     /* NULL: a Pod's environment */
	const char *const *servers; /* replace the configuration's; may be none */
	size_t server_count;
	const char *node_name;
	bool with_all_nodes;   /* watches all Nodes, not only the own one */
	const char *state_dir; /* keeps the addresses of the cluster's API servers; NULL: no */
	uint32_t silence_s;    /* a watch that receives nothing for this long is given up */
	/*
	 * See struct kube_client_events; called with the context of the source_events. May be NULL.
	 */
	void (*socket_made)(int fd, void *context);
	void (*observed)(const struct kube_observation *observation, void *context);
	/* See struct event_poster_options. */
	void (*event_counted)(const char *result, void *context);
};

/*
 * Watches an API server's Services, EndpointSlices (Endpoints if it has none), ServiceCIDRs, and
 * our own Node or all Nodes. `synced` is called when Services and endpoints are complete and the
 * Node (or all Nodes) is known, or after 30 s without it. Losing the server changes nothing.
 * Strings in `options`, `model` and `events` are borrowed and must outlive the source. Logs.
 * Returns 0 or a negative errno.
 */
int source_kube_open(uv_loop_t *loop, const struct kube_source_options *options,
		     struct model *model, const struct source_events *events,
		     struct source **ret_source);

/* Posts an Event about our own Node or a Service, if the source can post Events. */
static inline void source_post_event(struct source *source, const struct event_text *text)
{
	if (source && source->post_event)
		source->post_event(source, text);
}

/* True while an Event is being posted or due at once. */
static inline bool source_is_posting_events(const struct source *source)
{
	return source && source->is_posting && source->is_posting(source);
}

/*
 * Closes the source; the loop must run once more (uv_run) before it can be closed itself. NULL is
 * fine.
 */
static inline void source_close(struct source *source)
{
	if (source)
		source->close(source);
}

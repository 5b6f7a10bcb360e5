/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * The Kubernetes Events that the agent posts about its Node or a Service, for operators who look at
 * the cluster. `source` may be NULL, or a folder of manifests: then nothing is posted.
 */

#include <stdint.h>
#include <uv.h>

struct source;

/* The agent starts. If another proxy serves the same Services, logs and posts that too. */
void event_post_start(struct source *source);

/* `unfitting` service ports do not fit into the maps. */
void event_post_map_full(struct source *source, uint32_t unfitting);

/* The health server cannot listen on `address`; `why` says why. */
void event_post_healthz_failed(struct source *source, const char *address, const char *why);

/* The health check port of a Service cannot be opened. */
void event_post_health_check_failed(struct source *source, const char *namespace_, const char *name,
				    const char *note);

/* A Service does not get an address that another one has; `detail` says which, and whose it is. */
void event_post_taken(struct source *source, const char *namespace_, const char *name,
		      const char *detail);

/* Somebody has removed or replaced a hook. */
void event_post_hook_lost(struct source *source, const char *note);

/* Runs the loop until all Events are sent, for three seconds at most. */
void event_posts_flush(struct source *source, uv_loop_t *loop);

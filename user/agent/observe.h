/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * What the agent tells the world over HTTP: the health server, the metrics server, and what is
 * behind them. The agent says what happens; everything else is read when somebody asks.
 */

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "datapath/datapath.h"
#include "config/options.h"
#include "fairlead/agent.h"
#include "model/model.h"
#include "publish/publish.h"

/* Where the agent keeps things; borrowed. The last two lead to NULL while there are none. */
struct observe_sources {
	const struct agent_options *options;
	const struct agent_status *status;
	struct model *model;
	struct datapath *const *datapath;
	struct publisher *const *publisher;
	/* The health server's address cannot be had, in words. */
	void (*unserved)(const char *note, void *context);
	void *context;
};

struct observe;

/* Begins to count. Logs. Returns 0 or a negative errno. */
int observe_open(uv_loop_t *loop, const struct observe_sources *sources,
		 struct observe **ret_observe);

/* Begins to serve, as the options say. Logs. Returns 0 or a negative errno. */
int observe_serve(struct observe *observe);

/* Before the model and the datapath go; the loop's next turn frees it. NULL is fine. */
void observe_close(struct observe *observe);

/* True if the agent is well, as /livez says. */
bool observe_is_alive(const struct observe *observe);

/* The source can be reached, or cannot: `why` says why not, in words; NULL: it can. */
void observe_source_reachable(struct observe *observe, const char *why);

/* The API server has answered a request, or has not; see kube_proxy_metrics_request. */
void observe_request(struct observe *observe, const char *method, const char *verb,
		     const char *host, unsigned int code, double seconds);

/* The source has said that the model is complete. */
void observe_source_complete(struct observe *observe);

/* The socket hooks are attached. */
void observe_hooked(struct observe *observe);

/* How many socket hooks are attached, and how many should be and are not. */
void observe_socket_hooks(struct observe *observe, unsigned int attached, unsigned int missing);

/* Somebody has removed or replaced hooks: "tc", "xdp", "socket". */
void observe_hooks_lost(struct observe *observe, const char *hook, unsigned int count);

/* An Event about the Node was "posted", "failed" or "folded" into another. */
void observe_event(struct observe *observe, const char *result);

/* Every Service was made dirty: the next publish is a full one. */
void observe_all_touched(struct observe *observe);

/* Changes have come, and are about to be published. */
void observe_changed(struct observe *observe);

/* A publish that began with the wake-up at `woken_ns` (uv_hrtime) has ended; `err`: how. */
void observe_published(struct observe *observe, uint64_t woken_ns, int err);

/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * Everything that the agent publishes over HTTP: the health server, the metrics server, and the
 * data behind them. The agent calls these functions when something happens; everything else is read
 * when a request arrives.
 */

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "datapath/datapath.h"
#include "config/options.h"
#include "fairlead/agent.h"
#include "model/model.h"
#include "publish/publisher.h"

/* The agent's own variables; borrowed. The last two point to NULL while there are none. */
struct observe_sources {
	const struct agent_options *options;
	const struct agent_status *status;
	struct model *model;
	struct datapath *const *datapath;
	struct publisher *const *publisher;
	/* Called if the health server cannot bind its address; `note` says why. */
	void (*unserved)(const char *note, void *context);
	void *context;
};

struct observe;

/* Starts counting. Logs. Returns 0 or a negative errno. */
int observe_open(uv_loop_t *loop, const struct observe_sources *sources,
		 struct observe **ret_observe);

/* Starts the servers that the options ask for. Logs. Returns 0 or a negative errno. */
int observe_serve(struct observe *observe);

/*
 * Call it before the model and the datapath are freed; the loop's next iteration frees it. NULL is
 * fine.
 */
void observe_close(struct observe *observe);

/* True if the agent is alive, as /livez reports. */
bool observe_is_alive(const struct observe *observe);

/*
 * The source has become reachable (`why` is NULL) or unreachable, for the reason that `why` gives.
 */
void observe_source_reachable(struct observe *observe, const char *why);

/* A request to the API server has been answered or has failed; see kube_proxy_metrics_request. */
void observe_request(struct observe *observe, const char *method, const char *verb,
		     const char *host, unsigned int code, double seconds);

/* The source has reported that the model is complete. */
void observe_source_complete(struct observe *observe);

/* The socket hooks are attached. */
void observe_hooked(struct observe *observe);

/* How many socket hooks are attached, and how many are missing. */
void observe_socket_hooks(struct observe *observe, unsigned int attached, unsigned int missing);

/* Somebody has removed or replaced hooks. `hook`: "tc", "xdp" or "socket". */
void observe_hooks_lost(struct observe *observe, const char *hook, unsigned int count);

/* An Event about the Node was "posted", "failed" or "folded" into an earlier one. */
void observe_event(struct observe *observe, const char *result);

/* All Services were marked dirty: the next publish is a full one. */
void observe_all_touched(struct observe *observe);

/* Changes have arrived and are about to be published. */
void observe_changed(struct observe *observe);

/*
 * A publish has ended with the result `err`; the wake-up that caused it was at `woken_ns`
 * (uv_hrtime).
 */
void observe_published(struct observe *observe, uint64_t woken_ns, int err);

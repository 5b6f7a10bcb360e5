/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * The agent's two HTTP servers. --healthz-bind-address: /healthz, /livez and /readyz
 * (health/health.h). --metrics-bind-address: /metrics, /metrics/slis, /configz, /proxyMode and
 * /healthz. Pages are written when a request arrives.
 */

#include <uv.h>

#include "agent/telemetry.h"

struct http_server;
struct source;

struct http_pages {
	struct telemetry *telemetry;
	struct source *source;
	struct http_server *health_server, *metrics_server;
};

/*
 * Starts the servers that the options ask for. Posts an Event through `source` if the health server
 * cannot listen. `telemetry` and `source` are borrowed, and `pages` must not move. Logs. Returns 0
 * or a negative errno; http_pages_close in either case.
 */
int http_pages_open(struct http_pages *pages, uv_loop_t *loop, struct telemetry *telemetry,
		    struct source *source);

/*
 * Call it before the telemetry is closed. The loop's next iteration frees the servers. Pages of
 * zeros are fine.
 */
void http_pages_close(struct http_pages *pages);

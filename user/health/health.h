/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * The agent's health, for probes. /healthz and /livez follow kube-proxy's rules (L129 to L134): a
 * family is unhealthy while a change has been waiting for its publish for longer than
 * HEALTH_TIMEOUT_NS, unless it waits because of its Service alone. An idle family is healthy, and
 * so is every family before its first publish.
 * /readyz lists our own checks: whether Services work on this node as the source specifies.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fairlead/types.h"
#include "http/server.h"

#define HEALTH_TIMEOUT_NS 60000000000ULL /* twice kube-proxy's sync period */
#define HEALTH_CHECKS_MAX 12
#define HEALTH_WHY_SIZE   512

struct health_clock {
	uint64_t monotonic_ns;
	uint64_t realtime_ns; /* since 1970 */
};

struct health_check {
	const char *name;          /* static */
	bool is_passed;            /* false: `why` says what is wrong */
	bool is_informative;       /* its failure is listed, but /readyz stays 200 */
	char why[HEALTH_WHY_SIZE]; /* the reason of a failure */
};

struct health_options {
	/* Returns the time; NULL: the system's clocks. */
	struct health_clock (*now)(void);
	/* True if load balancers may send traffic to this node (L132). */
	bool (*is_node_eligible)(void *context);
	/* Fills in the checks of /readyz and returns their number. */
	size_t (*checks)(struct health_check ret_checks[HEALTH_CHECKS_MAX], void *context);
	/* Called when "healthz" or "livez" was answered with this status. May be NULL. */
	void (*answered)(const char *probe, unsigned int status, void *context);
	void *context;
};

/* What the checks of /readyz are about, besides the agent's options and status. */
struct health_ready_facts {
	bool is_source_complete, is_hooked;
	char unreachable[HEALTH_WHY_SIZE]; /* why the source cannot be reached; "": it can */
	uint64_t pending_ns;               /* age of the oldest pending change; 0: none */
};

struct agent_options;
struct agent_status;
struct health;

/* `options` is copied, its context borrowed. NULL: memory is short. */
struct health *health_new(const struct health_options *options);
void health_free(struct health *health);

/* A change has arrived that concerns the family's frontends. The oldest pending one counts. */
void health_queued(struct health *health, enum ip_family family);

/*
 * All changes of the family so far are published, but for those of single Services that fail while
 * others are published.
 */
void health_updated(struct health *health, enum ip_family family);

/* True if no family has a change that has waited too long. */
bool health_is_alive(const struct health *health);

/* Answers /healthz, /livez and /readyz; an http_handler_fn whose context is the struct health. */
void health_handle(const struct http_request *request, struct http_response *response,
		   void *health);

/* Fills in the checks and returns their number. */
size_t health_ready_checks(const struct health_ready_facts *facts,
			   const struct agent_options *options, const struct agent_status *status,
			   struct health_check ret_checks[HEALTH_CHECKS_MAX]);

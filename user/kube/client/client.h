/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * The API client: sends a request to the current server with the current credentials. When a server
 * fails, the client moves on to the next one; retrying the request is up to the caller.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "kube/client/servers.h"
#include "kube/config/config.h"

/* One attempt at a request, for statistics. */
struct kube_observation {
	const char *method; /* GET, POST */
	const char *verb;   /* list, watch, ... */
	const char *host;   /* the server's host and port */
	long status;        /* 0: no response */
	double seconds;
};

struct kube_client_events {
	/* Called with each of the client's sockets before it connects. May be NULL. */
	void (*socket_made)(int fd, void *context);
	/*
	 * Called when a response begins, or when a request has failed without one. The callback
	 * must not send anything. May be NULL.
	 */
	void (*observed)(const struct kube_observation *observation, void *context);
	/*
	 * Called when the reachability of the servers changes, and when the reason changes. `why`:
	 * the reason that no server can be used, or NULL: one can. The client has logged it, unless
	 * it is about the credentials. May be NULL.
	 */
	void (*reachable)(const char *why, void *context);
	void *context;
};

struct kube_client;

/*
 * Takes ownership of `config`, also on error. `state_dir`: the folder that keeps the addresses of
 * the cluster's API servers, or NULL. Logs. Returns 0 or a negative errno.
 */
int kube_client_open(uv_loop_t *loop, struct kube_config *config, const char *state_dir,
		     const struct kube_client_events *events, struct kube_client **ret_client);

/* The result of a request. */
struct kube_answer {
	/* Complete and successful. */
	bool ok;
	bool is_abort; /* the receiver aborted it */
	/* No API server was reached: there is no response, or it is a load balancer's own. */
	bool is_unreached;
	long status; /* HTTP status; 0: no response */
	uint32_t retry_after_s;
	/*
	 * The reason, as text: "HTTP 403: services is forbidden: ..." or "Connection refused". ""
	 * if ok.
	 */
	char why[512];
};

/* True for a status by which a server says that it cannot serve: the next server is tried. */
bool status_is_of_broken_server(long status);

/* True for a status by which a load balancer may say that it reaches no server. */
bool status_may_be_of_gateway(long status);

struct kube_call_events {
	int (*data)(const char *bytes, size_t size, void *context);
	void (*done)(const struct kube_answer *answer, void *context);
};

struct kube_request {
	const char *verb; /* for statistics */
	const char *path; /* including the query, e.g. /api/v1/nodes?limit=500 */
	const char *body; /* NULL: GET; else JSON to POST */
	uint32_t total_s; /* time limit for the whole request; 0: none */
};

struct kube_call;

/*
 * Starts a request; the strings are borrowed only during the call. `done` is called once, from the
 * loop, also if there are no credentials, unless the call is cancelled first. Returns NULL if
 * memory is short; then `done` is not called.
 */
struct kube_call *kube_client_send(struct kube_client *client, const struct kube_request *request,
				   const struct kube_call_events *events, void *context);

/* True if the response headers have arrived; the body may still take long. */
bool kube_call_has_begun(const struct kube_call *call);

void kube_call_cancel(struct kube_call *call);

/*
 * Cancels a call whose server has gone silent. Later requests go to the next server, through new
 * connections.
 */
void kube_call_give_up(struct kube_call *call, const char *why);

/* See servers.h. */
void kube_client_learn_servers(struct kube_client *client, const struct server_address *addresses,
			       size_t count);

/*
 * For a configured server that is the address of a Service, which may be unreachable on a node
 * whose Services we have yet to program: tries the servers learned from the cluster first. Call it
 * before sending anything.
 */
void kube_client_prefer_learned_servers(struct kube_client *client);

/*
 * True in the first seconds after a time when no server was reached: the one that answers may have
 * started just now.
 */
bool kube_client_was_away(const struct kube_client *client);

/* The server in use, for messages. Borrowed. */
const char *kube_client_server(const struct kube_client *client);

/* When the data that the current callback reports arrived; see transfer_pool_woken_ns. */
uint64_t kube_client_woken_ns(const struct kube_client *client);

/*
 * Cancels all calls without calling `done`; the loop frees the client in its next turns. NULL is
 * fine.
 */
void kube_client_close(struct kube_client *client);

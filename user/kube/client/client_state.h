/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * Private to the API client: shared by client.c (servers, waiting calls) and call.c (one request).
 */

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "kube/client/client.h"
#include "kube/config/config.h"
#include "kube/client/servers.h"

struct kube_call {
	struct kube_client *client;
	struct kube_call_events events;
	void *context;
	char *path, *body;
	const char *verb;
	uint32_t total_s;
	struct transfer *transfer; /* NULL: waits for credentials */
	char *server;              /* the name of the server it was sent to */
	/* The credentials it was sent with. */
	char *bearer;
	uint64_t tls_revision;
	bool is_resent; /* after the server refused the first credentials */
	bool has_begun; /* the response headers have arrived */
	bool is_observed;
	struct kube_call *prev, *next;
};

struct kube_client {
	uv_timer_t timer; /* sends the calls that wait */
	struct kube_config *config;
	struct kube_credentials *credentials;
	struct transfer_pool *transfers;
	struct servers servers;
	struct kube_client_events events;
	struct kube_call *calls;
	bool is_told;  /* `reachable` was called; `problem` is what it said */
	char *problem; /* why no server can be used; NULL: one can */
};

/* call.c */

/*
 * Sends the call, or ends it with an error if it cannot be sent. Returns false if it still waits
 * for credentials. Silent.
 */
bool call_go(struct kube_call *call);

/* client.c */

/* Sends the waiting calls in the loop's next turn. */
void client_wake(struct kube_client *client);

/* The server with that name, or NULL if the list no longer has it. */
const struct server *client_server_named(const struct kube_client *client, const char *name);

/* Reports a change of reachability to the receiver. `why` is NULL: a server can be used. */
void client_tell_reachable(struct kube_client *client, const char *why);

/*
 * Moves the calls that have no response yet from a failed server to the next one. Otherwise those
 * that share its connection would each have to time out in turn.
 */
void client_move_calls(struct kube_client *client, const char *server);

/*
 * A server has not answered, or has answered with a status that says it cannot serve; `why` is the
 * reason as text. Logs.
 */
void client_fail_server(struct kube_client *client, const struct server *server, const char *why);

/*
 * Opens new connections for later requests: HTTP/2 would keep the connection of a cancelled request
 * and send the next one into the same silence. Responses that have begun may continue on the old
 * connections.
 */
void client_renew_connections(struct kube_client *client);

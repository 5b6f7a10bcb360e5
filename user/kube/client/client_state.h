/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* Inside of the API client: what client.c (the servers, what is asked next) and call.c share. */

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
	struct http_call *http; /* NULL: waits for credentials */
	char *server;           /* the name of the one that is asked */
	/* What it was sent with. */
	char *bearer;
	uint64_t tls_revision;
	bool is_resent; /* for the first credentials were refused */
	bool has_begun; /* the head of the answer is there */
	bool is_observed;
	struct kube_call *prev, *next;
};

struct kube_client {
	uv_timer_t timer; /* of calls that wait */
	struct kube_config *config;
	struct kube_credentials *credentials;
	struct http *http;
	struct servers servers;
	struct kube_client_events events;
	struct kube_call *calls;
	bool is_told;  /* the receiver knows whether a server can be reached: */
	char *problem; /* why none can; NULL: one can */
};

/* call.c */

/*
 * Sends the call, or ends it where there is no way to. False: it waits for its credentials. Silent.
 */
bool call_go(struct kube_call *call);

/* client.c */

/* Looks through the calls that wait, from the loop's next turn. */
void client_wake(struct kube_client *client);

/* The server that a call was sent to, or NULL where it is not known any more. */
const struct server *client_server_named(const struct kube_client *client, const char *name);

/* Tells the receiver where that is news. `why`: NULL: a server can be used. */
void client_tell_reachable(struct kube_client *client, const char *why);

/*
 * Exchanges that wait for a server which is given up go to the next one: those that would share its
 * connection would else wait for it one after the other.
 */
void client_move_calls(struct kube_client *client, const char *server);

/* A server has not answered, or only that it cannot; `why` in words. Logs. */
void client_fail_server(struct kube_client *client, const struct server *server, const char *why);

/*
 * HTTP/2 keeps a connection whose exchange was cancelled, and would take the next one to the same
 * silence. What has begun to be answered there may go on.
 */
void client_renew_connections(struct kube_client *client);

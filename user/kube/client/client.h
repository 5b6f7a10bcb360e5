/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * The API client: an exchange with whichever server answers, with the credentials of the moment.
 * A server that fails is given up for the next; trying again is the caller's.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "kube/config/config.h"
#include "kube/client/servers.h"

/* One exchange as it ended, for statistics. */
struct kube_observation {
	const char *method; /* GET, POST */
	const char *verb;   /* list, watch, ... */
	const char *host;   /* of the server */
	long status;        /* 0: no answer */
	double seconds;
};

struct kube_client_events {
	/* A socket of the client's, before it connects. Or NULL. */
	void (*socket_made)(int fd, void *context);
	/* An exchange was answered, or will not be. Nothing may be sent from here. Or NULL. */
	void (*observed)(const struct kube_observation *observation, void *context);
	/*
	 * Whether a server can be used, when that changes: NULL, or why none can, in words; also
	 * when it is for other reasons. Was logged, unless `why` is about the credentials. Or NULL.
	 */
	void (*reachable)(const char *why, void *context);
	void *context;
};

struct kube_client;

/*
 * Takes ownership of `config`, also on error. `state_dir`: where the servers that the cluster names
 * are kept, or NULL. Logs. Returns 0 or a negative errno.
 */
int kube_client_open(uv_loop_t *loop, struct kube_config *config, const char *state_dir,
		     const struct kube_client_events *events, struct kube_client **ret_client);

/* What an exchange ended with. */
struct kube_answer {
	/* Complete and successful. */
	bool ok;
	bool is_abort; /* the receiver ended it */
	long status;   /* HTTP's; 0: there was no answer */
	uint32_t retry_after_s;
	/* In words: "HTTP 403: services is forbidden: ..." or "Connection refused". "" where ok. */
	char why[512];
};

struct kube_call_events {
	int (*data)(const char *bytes, size_t size, void *context);
	void (*done)(const struct kube_answer *answer, void *context);
};

struct kube_request {
	const char *verb; /* for statistics */
	const char *path; /* with its query, e.g. /api/v1/nodes?limit=500 */
	const char *body; /* NULL: GET, else JSON to POST */
	uint32_t total_s; /* ends after that long in all; 0: never */
};

struct kube_call;

/*
 * Begins an exchange; strings are borrowed until it returns. `done` is called from the loop, once,
 * also where there are no credentials, unless the call is cancelled first. Returns NULL where
 * memory is short; then `done` is not called.
 */
struct kube_call *kube_client_send(struct kube_client *client, const struct kube_request *request,
				   const struct kube_call_events *events, void *context);

/* True if the head of the answer is there: what follows may take its time. */
bool kube_call_has_begun(const struct kube_call *call);

void kube_call_cancel(struct kube_call *call);

/*
 * Cancels a call whose server has gone silent: the next one is asked from now on, through new
 * connections.
 */
void kube_call_give_up(struct kube_call *call, const char *why);

/* See servers.h. */
void kube_client_learn(struct kube_client *client, const struct server_address *addresses,
		       size_t count);

/*
 * The configured server is a Service's address, which may lead nowhere on a node whose Services are
 * ours to program: those that the cluster named earlier are asked first. Before anything is sent.
 */
void kube_client_prefer_learned(struct kube_client *client);

/* The server in use, for people. Borrowed. */
const char *kube_client_server(const struct kube_client *client);

/* When what an event tells has come; see http_woken_ns. */
uint64_t kube_client_woken_ns(const struct kube_client *client);

/* Ends all exchanges without a word; the loop's next turns free it. NULL is fine. */
void kube_client_close(struct kube_client *client);
